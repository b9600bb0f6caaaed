"""What TLS and WebSocket cost: OPTIONS through the embedded server and through Kamailio.

One client of ours asks both servers over each transport, in turns. "on one connection" keeps 32
requests under way on a connection that is there; "each on a new one" opens a connection for every
request, so that the handshake is in it. Client and servers share the machine, and the client is
Python: on one connection it is the limit for Kamailio, so that column says what the client can do.
The memory is what the embedded server grows by for each idle connection.

    python benchmarks/transports.py [--rounds 3] [--requests 3000] [--connections 300]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from rcsops.settings import Project
from rcsops.sip import Event, Request, ResponseReceived, TransportFailed
from rcsops.testing import EmbeddedServer, KamailioServer
from rcsops.transport import SipEndpoint, Tls, TlsOptions, TransactionUser

TRANSPORTS = ("tcp", "tls", "ws", "wss")
DOMAIN = "rcs.example"
WINDOW = 32
Where = Callable[[str], str]


class Waiter(TransactionUser):
    """One request's answer."""

    def __init__(self) -> None:
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def transaction_event(self, event: Event) -> None:
        if self.future.done():
            return
        if isinstance(event, ResponseReceived):
            self.future.set_result(event.response.status)
        elif isinstance(event, TransportFailed):
            self.future.set_exception(ConnectionError(event.error))


async def ask(endpoint: SipEndpoint, transport: str, where: str) -> None:
    """OPTIONS and its 200."""
    host, _, port = where.rpartition(":")
    tokens = endpoint.tokens
    request = Request(
        "OPTIONS",
        f"sip:{DOMAIN}",
        [
            ("Max-Forwards", "70"),
            ("From", f"<sip:bench@{DOMAIN}>;tag={tokens.tag()}"),
            ("To", f"<sip:{DOMAIN}>"),
            ("Call-ID", tokens.call_id()),
            ("CSeq", "1 OPTIONS"),
        ],
    )
    waiter = Waiter()
    target = endpoint.target(transport, (host, int(port)), DOMAIN)
    endpoint.send_request(request, target, context=waiter)
    status = await waiter.future
    assert status == 200, status


async def client(tls: TlsOptions) -> SipEndpoint:
    endpoint = SipEndpoint(on_event=lambda _: None, tls=Tls(tls), dials=TRANSPORTS)
    await endpoint.listen("tcp", "127.0.0.1", 0)
    return endpoint


async def on_one(tls: TlsOptions, transport: str, where: str, count: int) -> float:
    """Requests a second on one connection."""
    endpoint = await client(tls)
    await ask(endpoint, transport, where)
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await ask(endpoint, transport, where)

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(WINDOW)))
    seconds = time.perf_counter() - begun
    await endpoint.close()
    return count / seconds


async def on_new_ones(tls: TlsOptions, transport: str, where: str, count: int) -> float:
    """Connections a second, each with one request, one after the other."""
    endpoint = await client(tls)
    begun = time.perf_counter()
    for _ in range(count):
        await ask(endpoint, transport, where)
        for flow in endpoint.connections:
            endpoint.close_flow(flow)
    seconds = time.perf_counter() - begun
    await endpoint.close()
    return count / seconds


async def grown(directory: Path, transport: str, count: int) -> float:
    """Octets that a new server takes for one idle connection."""
    with _server(directory) as server:
        return await _grown(server, transport, count)


async def _grown(server: EmbeddedServer, transport: str, count: int) -> float:
    tls = _tls(server)
    process = psutil.Process(server.json("status")["pid"])
    endpoints = []
    before = process.memory_info().rss
    for _ in range(count):
        endpoint = await client(tls)
        await ask(endpoint, transport, server.where(transport))
        endpoints.append(endpoint)
    after = process.memory_info().rss
    for endpoint in endpoints:
        await endpoint.close()
    return max(0, after - before) / count


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--connections", type=int, default=300)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="rcsops-") as name:
        asyncio.run(_run(Path(name), options))


async def _run(directory: Path, options: argparse.Namespace) -> None:
    with _server(directory / "ours") as ours:
        tls = _tls(ours)
        certificate = Project.find(ours.directory, environment={}).certificate
        servers: dict[str, Where] = {"rcsops": ours.where}
        missing = KamailioServer.missing(secure=True)
        if missing:
            print(f"without Kamailio: {missing}")
            await _compare(servers, tls, options)
        else:
            kamailio = KamailioServer(
                directory / "kamailio", domain=DOMAIN, certificate=certificate
            )
            with kamailio:
                servers["Kamailio"] = kamailio.where
                await _compare(servers, tls, options)
    for transport in TRANSPORTS:
        size = await grown(directory / transport, transport, options.connections)
        print(f"memory for an idle connection, {transport:<4} {size / 1000:8.0f} kB")


def _server(directory: Path) -> EmbeddedServer:
    more = [each for each in TRANSPORTS if each != "tcp"]
    limits = "[limits]\nrate = 1000000\nburst = 1000000\n"
    return EmbeddedServer(directory, {}, domain=DOMAIN, more=more, settings=limits)


def _tls(server: EmbeddedServer) -> TlsOptions:
    project = Project.find(server.directory, environment={})
    return TlsOptions(ca=project.authorities, system_ca=False)


async def _compare(servers: dict[str, Where], tls: TlsOptions, options: argparse.Namespace) -> None:
    one: dict[tuple[str, str], list[float]] = {}
    new: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.rounds):
        for transport in TRANSPORTS:
            for name, where in servers.items():
                key = (transport, name)
                rate = await on_one(tls, transport, where(transport), options.requests)
                one.setdefault(key, []).append(rate)
                rate = await on_new_ones(tls, transport, where(transport), options.connections)
                new.setdefault(key, []).append(rate)
    for title, found in (("on one connection", one), ("each on a new one", new)):
        print(f"OPTIONS a second, {title}")
        for transport in TRANSPORTS:
            rates = [(name, statistics.median(found[transport, name])) for name in servers]
            print(f"  {transport:<4}", *(f"{name} {rate:7,.0f}" for name, rate in rates))


if __name__ == "__main__":
    main()
