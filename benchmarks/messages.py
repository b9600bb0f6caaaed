"""Small messages with delivery and display receipts between two agents, and what a server keeps.

    python benchmarks/messages.py [--messages N] [--rounds N] [--only TEST] [--profile ROLE]

``rate``: two processes with one MSRP session. One sends short texts, up to 64 of them under way;
the other marks each as displayed when its event comes, so that both notifications go back, each a
SEND with its 200. A message counts when its sender knows that it was displayed. Once with bare
agents, once with a history at both sides as ``rcsops chat`` has it, where every message is on the
disk before it is sent and before it is shown. Beside that two asyncio sockets that send the same
octets, frame by frame, and find where each ends, but read nothing in them. All take turns, and the
medians are compared. What a message costs each side in CPU time (all threads, user and system) is
shown as well: on a machine that others use it says more than the rate.

``offline``: MESSAGEs for users who are away, which the embedded server has committed before its
202, by bare sockets with credentials: one sender, and 32 with a message each under way. Beside
that the same rows into the same table of SQLite, with the same settings, committed one by one and
32 at a time.

How long a message takes beside a file is measured by file_transfer.py (``--only chat``). Exit code
1 when the agents have less than 5,000 messages a second, or the server keeps less than half as
many as SQLite commits one by one.
"""

import argparse
import asyncio
import contextlib
import cProfile
import os
import pstats
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from call_setup import DOMAIN, Bare

from rcsops import Agent
from rcsops.database import open_engine
from rcsops.testing import EmbeddedServer
from rcsops.transport.tap import TapRecord
from rcsops.ua import TextReceived

GOAL = 5000
OFFLINE_GOAL = 0.5
UNDER_WAY = 64
SENDERS = 32
TEXT = "message {0}: nine is fine, and bring the map"
_END = b"\r\n-------"


class Taken(NamedTuple):
    """Seconds by the clock, and of CPU time in this process."""

    seconds: float
    cpu: float


class Watch:
    """Measures from when it is made."""

    def __init__(self) -> None:
        self._started, self._used = time.perf_counter(), time.process_time()

    @property
    def taken(self) -> Taken:
        """What has gone by since."""
        return Taken(time.perf_counter() - self._started, time.process_time() - self._used)


# --- the bare pair -------------------------------------------------------------------------------


class Frames(asyncio.Protocol):
    """Octets come in, whole frames of MSRP go to ``heard``."""

    def __init__(self, heard: Callable[[bytes, asyncio.Transport], None]) -> None:
        self._heard = heard
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        buffer, at = self._buffer + data, 0
        while (end := buffer.find(_END, at)) >= 0:
            end = buffer.find(b"\r\n", end + len(_END)) + 2
            if end < 2:
                break
            self._heard(buffer[at:end], self._transport)
            at = end
        self._buffer = buffer[at:]


def samples(directory: Path) -> dict[str, bytes]:
    """What agents have put on the wire for one message: it, its answer, the two notifications."""
    return {
        name: (directory / f"{name}.frame").read_bytes()
        for name in ("message", "answer", "delivered", "displayed")
    }


async def bare_receive(directory: Path) -> None:
    """Prints its port; answers every message with the frames of its receipts."""
    frames = samples(directory)

    def heard(frame: bytes, transport: asyncio.Transport) -> None:
        if b" SEND\r\n" in frame:
            transport.write(frames["answer"])
            transport.write(frames["delivered"])
            transport.write(frames["displayed"])

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Frames(heard), "127.0.0.1", 0)
    await serve_until_told(server.sockets[0].getsockname()[1])


async def serve_until_told(port: int) -> None:
    """Says the port, waits for the end of the input, and says what CPU time was used meanwhile."""
    print(port, flush=True)
    used = time.process_time()
    await asyncio.to_thread(sys.stdin.read)
    print(time.process_time() - used, flush=True)


async def bare_send(port: int, directory: Path, count: int) -> Taken:
    """What it took until the last of ``count`` messages is known to be displayed."""
    frames = samples(directory)
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    sent = shown = 0

    def heard(frame: bytes, transport: asyncio.Transport) -> None:
        nonlocal sent, shown
        if b" SEND\r\n" not in frame:
            return
        transport.write(frames["answer"])
        if b"<displayed/>" in frame:
            shown += 1
            if sent < count:
                sent += 1
                transport.write(frames["message"])
            elif shown == count:
                done.set_result(None)

    transport, _ = await loop.create_connection(lambda: Frames(heard), "127.0.0.1", port)
    watch = Watch()
    for _ in range(min(UNDER_WAY, count)):
        sent += 1
        transport.write(frames["message"])
    await done
    taken = watch.taken
    transport.close()
    return taken


# --- the agents ----------------------------------------------------------------------------------


def agent(name: str, directory: Path, *, kept: bool) -> Agent:
    history = directory / f"{name}-{secrets.token_hex(4)}.db" if kept else None
    return Agent(f"sip:{name}@{DOMAIN}", history=history)


async def agent_receive(directory: Path, kept: bool) -> None:
    """Takes every chat, and marks every message as displayed as soon as it is shown."""
    async with agent("bob", directory, kept=kept) as bob:

        async def chats() -> None:
            async for invitation in bob.incoming():
                await invitation.accept()

        async def follow() -> None:
            async for event in bob.events():
                if isinstance(event, TextReceived):
                    bob.mark_displayed(event)

        tasks = [asyncio.create_task(each) for each in (chats(), follow())]
        await serve_until_told(bob.host.addresses[0].port)
        for task in tasks:
            task.cancel()


async def agent_send(port: int, directory: Path, count: int, kept: bool) -> Taken:
    """The same as `bare_send`, by an agent."""
    async with agent("alex", directory, kept=kept) as alex:
        chat = await alex.invite(f"sip:bob@127.0.0.1:{port}")
        numbers = iter(range(count))

        async def write() -> None:
            for number in numbers:
                receipt = await chat.send(TEXT.format(number))
                await receipt.displayed(30)

        watch = Watch()
        await asyncio.gather(*(write() for _ in range(UNDER_WAY)))
        return watch.taken


async def take_samples(directory: Path) -> None:
    """Writes down what agents put on the wire for a message."""
    found: dict[str, bytes] = {}
    whole = asyncio.Event()

    def watch(record: TapRecord) -> None:
        if record.protocol != "msrp" or record.direction != "in":
            return
        data = record.data
        if b" 200 OK\r\n" in data:
            found["answer"] = data
        elif b"text/plain" in data:
            found["message"] = data
        elif b"<delivered/>" in data:
            found["delivered"] = data
        elif b"<displayed/>" in data:
            found["displayed"] = data
        if len(found) == 4:
            whole.set()

    async with (
        Agent(f"sip:bob@{DOMAIN}", tap=watch) as bob,
        Agent(f"sip:alex@{DOMAIN}", tap=watch) as alex,
    ):
        port = bob.host.addresses[0].port
        inviting = asyncio.create_task(alex.invite(f"sip:bob@127.0.0.1:{port}"))
        async for invitation in bob.incoming():
            theirs = await invitation.accept()
            break
        receipt = await (await inviting).send(TEXT.format(1000))
        async for event in theirs:
            if isinstance(event, TextReceived):
                bob.mark_displayed(event)
                break
        await receipt.displayed(10)
        await whole.wait()
    for name, data in found.items():
        (directory / f"{name}.frame").write_bytes(data)


# --- processes -----------------------------------------------------------------------------------


def words(role: str, directory: Path, options: argparse.Namespace) -> list[str]:
    made = [sys.executable, __file__, "--role", role, "--directory", str(directory)]
    if options.profile and role.endswith(options.profile):
        made += ["--profile", options.profile]
    return made


def between(kind: str, directory: Path, options: argparse.Namespace) -> tuple[float, ...]:
    """The seconds that all messages take from one process to the other, and the CPU time of both:
    sender and receiver."""
    with subprocess.Popen(
        words(f"{kind}receive", directory, options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        port = int(process.stdout.readline())
        taken = sender(f"{kind}send", directory, port, options)
        process.stdin.close()
        received = float(process.stdout.readline())
        process.wait(30)
    return *taken, received


def sender(role: str, directory: Path, port: int, options: argparse.Namespace) -> Taken:
    more = ["--port", str(port), "--messages", str(options.messages)]
    done = subprocess.run(
        [*words(role, directory, options), *more], check=True, stdout=subprocess.PIPE, text=True
    )
    return Taken(*map(float, done.stdout.split()))


def play(options: argparse.Namespace) -> int:
    """One of the processes."""
    profile = cProfile.Profile() if options.profile else contextlib.nullcontext()
    port, directory, count = options.port, options.directory, options.messages
    with profile:
        match options.role:
            case "bare-receive":
                asyncio.run(bare_receive(directory))
            case "bare-send":
                print(*asyncio.run(bare_send(port, directory, count)))
            case "receive" | "kept-receive":
                asyncio.run(agent_receive(directory, options.role == "kept-receive"))
            case _:
                print(*asyncio.run(agent_send(port, directory, count, options.role == "kept-send")))
    if isinstance(profile, cProfile.Profile):
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(60)
    return 0


# --- what is measured ----------------------------------------------------------------------------


def rate(directory: Path, options: argparse.Namespace) -> bool:
    asyncio.run(take_samples(directory))
    ways = {"bare sockets": "bare-", "agents": "", "agents with histories": "kept-"}
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in ways}
    for number in range(options.rounds + 1):
        for name, kind in ways.items():
            taken = between(kind, directory, options)
            # The first round warms up.
            if number or not options.rounds:
                found[name].append(taken)
    medians: dict[str, float] = {}
    for name, rounds in found.items():
        seconds, sent, received = (statistics.median(each) for each in zip(*rounds, strict=True))
        medians[name] = options.messages / seconds
        share = medians[name] / medians["bare sockets"]
        microseconds = [f"{each / options.messages * 1e6:.0f}" for each in (sent, received)]
        print(
            f"{name:<22} {medians[name]:7,.0f} messages a second, both receipts known   {share:.2f}"
            f"   CPU {' + '.join(microseconds)} µs each"
        )
    print(f"(goal {GOAL:,}; load {os.getloadavg()[0]:.1f})")
    return min(medians.values()) >= GOAL


def stored(server: EmbeddedServer, senders: list[Bare], count: int) -> float:
    """Messages a second that the server has stored, each sender with one under way."""
    body = b"x" * 700

    def post(bare: Bare, number: int) -> None:
        uri = f"sip:away{number % 50}@{DOMAIN}"
        own = f"<sip:{bare.name}@{DOMAIN}>;tag=m"
        head = bare.head("MESSAGE", uri, 1, f"<{uri}>", own, secrets.token_hex(8))
        proof = bare.credentials("MESSAGE", uri, "Proxy-Authorization")
        bare.send(*head, *proof, "Content-Type: text/plain", body=body)

    for bare in senders:
        post(bare, 0)
        answer = bare.final()
        if not answer.startswith(b"SIP/2.0 202"):
            bare.challenged(answer)
    started = time.perf_counter()
    for number in range(0, count, len(senders)):
        for index, bare in enumerate(senders):
            post(bare, number + index)
        for bare in senders:
            answer = bare.final()
            if not answer.startswith(b"SIP/2.0 202"):
                raise SystemExit(f"the server did not keep a message: {answer[:200]!r}")
    return count / (time.perf_counter() - started)


def committed(path: Path, count: int, group: int) -> float:
    """Rows a second into a copy of the server's table, so many with each commit."""
    engine = open_engine(f"sqlite:///{path}", create=True)
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        now = int(time.time())
        row = (f"sip:alex@{DOMAIN}", f"sip:away@{DOMAIN}", "away", DOMAIN, now, now + 9999)
        started = time.perf_counter()
        for _ in range(0, count, group):
            driver.execute("BEGIN IMMEDIATE")
            for _ in range(group):
                driver.execute(
                    "INSERT INTO silo (src_addr, dst_addr, username, domain, inc_time, exp_time, "
                    "ctype, body, snd_time) VALUES (?, ?, ?, ?, ?, ?, 'text/plain', ?, 0)",
                    (*row, b"x" * 700),
                )
            driver.execute("COMMIT")
        return count / (time.perf_counter() - started)


def offline(directory: Path, options: argparse.Namespace) -> bool:
    users = [f"user{number}" for number in range(SENDERS)]
    away = [f"away{number}" for number in range(50)]
    limits = "[limits]\nrate = 1000000\nburst = 1000000\n[offline]\nmessages = 100000\n"
    found: dict[str, list[float]] = {}
    count = options.stored
    with EmbeddedServer(directory / "project", domain=DOMAIN, settings=limits) as server:
        accounts = server.directory / "users.csv"
        accounts.write_text(
            "user,password\n" + "".join(f"{name},of {name}\n" for name in (*users, *away))
        )
        server.command("user", "import", str(accounts))
        senders = [Bare(server.address, name, "tcp") for name in users]
        for bare in senders:
            bare.register()
        bare_file = directory / "bare.db"
        with (
            contextlib.closing(sqlite3.connect(server.directory / ".rcsops/rcsops.db")) as source,
            contextlib.closing(sqlite3.connect(bare_file)) as target,
        ):
            source.backup(target)
        figures: dict[str, Callable[[], float]] = {
            "SQLite, one by one": lambda: committed(bare_file, count, 1),
            "server, one sender": lambda: stored(server, senders[:1], count),
            f"SQLite, {SENDERS} at a time": lambda: committed(bare_file, count, SENDERS),
            f"server, {SENDERS} senders": lambda: stored(server, senders, count),
        }
        for _ in range(max(options.rounds, 1)):
            for name, figure in figures.items():
                found.setdefault(name, []).append(figure())
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    for name, median in medians.items():
        print(f"{name:<22} {median:7,.0f} messages a second stored")
    alone, one, together, many = medians.values()
    print(
        f"of SQLite's: {one / alone:.2f} (goal {OFFLINE_GOAL}), "
        f"many at once {many / together:.2f}; load {os.getloadavg()[0]:.1f}"
    )
    return one / alone >= OFFLINE_GOAL


def main() -> int:
    parser = argparse.ArgumentParser(description="small messages with both receipts")
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--stored", type=int, default=1600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("rate", "offline"))
    parser.add_argument("--profile", choices=("send", "receive"))
    for name, kind in (("role", str), ("directory", Path), ("port", int)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        return play(options)
    with tempfile.TemporaryDirectory(prefix="rcsops-") as place:
        tests = {"rate": rate, "offline": offline}
        good = [
            test(Path(place), options)
            for name, test in tests.items()
            if options.only in (None, name)
        ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
