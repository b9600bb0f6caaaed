"""Memory per registered idle agent: 10,000 agents in one process, below 150 MB.

    python benchmarks/agents_memory.py [--agents 10000] [--transport udp|tcp] [--json]

The agents share one host and register with digest at a registrar in a process of its own, so that
only the agents count. What is reported is the resident memory of the agents' process: before the
first agent, and after all are registered and the last transaction has ended. Exit code 1 above the
limit.
"""

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import psutil

from rcsops import Agent
from rcsops.sip import Credential, DigestServer, Event, RequestReceived, Response, Verdict
from rcsops.transport import SipEndpoint, system_tokens
from rcsops.ua import AgentHost

DOMAIN = "rcs.example"
PASSWORD = "wonder-land"
LIMIT = 150.0
BATCH = 200
SETTLE_SECONDS = 6.0


async def registrar() -> None:
    """Registers everybody who knows the password; prints its address and runs until stdin ends."""
    tokens = system_tokens()
    auth = DigestServer(DOMAIN, b"benchmark", tokens, algorithms=("SHA-256",))

    def on_event(event: Event) -> None:
        if not isinstance(event, RequestReceived):
            return
        request = event.request
        user = request.to.uri.username
        for credentials in request.authorizations:
            known = Credential.from_password(user, DOMAIN, PASSWORD)
            verdict = auth.verify(credentials, "REGISTER", b"", known.ha1, endpoint.now)
            if verdict is Verdict.OK:
                headers = [("Contact", request.get("Contact") or ""), ("Expires", "3600")]
                response = Response.to_request(request, 200, to_tag="r", headers=headers)
                break
        else:
            challenges = [("WWW-Authenticate", c) for c in auth.challenges(endpoint.now)]
            response = Response.to_request(request, 401, to_tag="r", headers=challenges)
        endpoint.reply_stateless(request, event.flow, response)

    endpoint = SipEndpoint(on_event=on_event, tokens=tokens)
    address, _ = await endpoint.listen_pair("127.0.0.1", 0)
    print(f"{address.host}:{address.port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await endpoint.close()


async def measure(count: int, transport: str, server: str) -> dict[str, object]:
    """Registers ``count`` agents and weighs them."""
    process = psutil.Process()
    async with AgentHost() as host:
        gc.collect()
        before = process.memory_info().rss
        started = time.monotonic()
        agents = []
        for first in range(0, count, BATCH):
            batch = [
                Agent(
                    f"sip:agent{number}@{DOMAIN}",
                    server=server,
                    transport=transport,
                    password=PASSWORD,
                    host=host,
                )
                for number in range(first, min(first + BATCH, count))
            ]
            for agent in batch:
                await agent.start()
            await asyncio.gather(*(agent.register() for agent in batch))
            agents += batch
        seconds = time.monotonic() - started
        # Timer K: the client transactions end 5 s after their response.
        await asyncio.sleep(SETTLE_SECONDS)
        gc.collect()
        after = process.memory_info().rss
        registered = sum(agent.registered for agent in agents)
        transactions = len(host.endpoint.layer)
        if registered != count or transactions:
            raise SystemExit(f"{registered} registered, {transactions} transactions left")
        report = {
            "agents": count,
            "transport": transport,
            "base_mb": round(before / 1e6, 1),
            "total_mb": round(after / 1e6, 1),
            "per_agent_bytes": round((after - before) / count),
            "registrations_per_second": round(count / seconds),
        }
        await asyncio.gather(*(agent.unregister() for agent in agents))
        for agent in agents:
            await agent.close()
        return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--registrar", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.registrar:
        asyncio.run(registrar())
        return 0
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "--registrar"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None and server.stdin is not None
        address = server.stdout.readline().strip()
        report = asyncio.run(measure(options.agents, options.transport, address))
        server.stdin.close()
    if options.json:
        print(json.dumps(report))
    else:
        print(
            f"{report['agents']} agents over {options.transport}: {report['total_mb']} MB in all "
            f"({report['base_mb']} MB before the first, {report['per_agent_bytes']} octets each), "
            f"{report['registrations_per_second']} registrations a second; limit {LIMIT:g} MB"
        )
    return 0 if cast(float, report["total_mb"]) < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
