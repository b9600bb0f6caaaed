"""MSRP file transfer between two agents, beside a bare asyncio stream that copies the same file.

    python benchmarks/file_transfer.py [--size MB] [--large MB] [--rounds N] [--only TEST]

Two processes each. The agents: one offers a file, the other takes it, both with SHA-1 and SHA-256;
the clock runs from the offer until the sender knows that the file is there, verified and on the
disk. The bare pair does the same with asyncio streams and nothing else: the sender reads the file
for its hashes, as an offer needs them, then copies it in blocks of 64 KiB; the receiver hashes and
writes them, syncs the file, compares the hashes and says so. What takes long at once, the hashes of
the sender and the sync, is done by threads. They take turns, so that whatever else the machine does
falls on both alike, and the medians are compared.

The latency of a message is the time from before `Chat.send` to the event at the other side, by the
clock of the machine, for one message every 10 ms in a chat between the same two agents, while a
file is paused and while one file after the other goes. Bare lines beside bare streams, without
MSRP, receipts or an agent, show what the machine has to do with it: less is not to be had.

Exit code 1 when the agents have less than half of the bare pair's rate with chunks of 64 KiB (that
with chunks of 2 KiB is shown), when either agent's memory grows by more than 64 MB for a large
file, or when p99 of the messages beside a file that goes is above 5 ms.
"""

import argparse
import asyncio
import contextlib
import cProfile
import hashlib
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from rcsops import Agent
from rcsops.settings import FileRules
from rcsops.transport.loop import settle_collector
from rcsops.ua import Chat, FileOffered, TextReceived

GOAL = 0.5
MOST_GROWTH = 64 << 20
MOST_P99 = 5.0
BLOCK = 65536
MESSAGES = 500


# --- the bare pair -------------------------------------------------------------------------------


class Hashes:
    """What both pairs compute."""

    def __init__(self) -> None:
        self._all = hashlib.sha1(usedforsecurity=False), hashlib.sha256()

    def update(self, data: bytes) -> None:
        for each in self._all:
            each.update(data)

    def digest(self) -> bytes:
        return b"".join(each.digest() for each in self._all)


async def bare_receive(directory: Path) -> None:
    """Prints its port, then a line for each file that is there."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Streams of asyncio complain of a task that is cancelled, as the last one may be.
        with contextlib.suppress(asyncio.CancelledError):
            await take(reader, writer)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = await reader.read(1)
        if not kind:
            return
        if kind == b"m":
            while line := await reader.readline():
                print(f"{(time.monotonic() - float(line)) * 1000:.4f}", flush=True)
            return
        size = int.from_bytes(await reader.readexactly(8), "big")
        digest = await reader.readexactly(52)
        path = directory / "bare.part"
        hashes = Hashes()
        with path.open("wb", buffering=0) as file:
            while size:
                data = await reader.read(min(BLOCK, size))
                if not data:
                    return
                hashes.update(data)
                file.write(data)
                size -= len(data)
            await asyncio.to_thread(os.fsync, file.fileno())
        assert hashes.digest() == digest
        # It may take the place of one, whose blocks are then freed.
        await asyncio.to_thread(path.replace, directory / "bare.bin")
        writer.write(b"ok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


def digest_of(path: Path) -> bytes:
    hashes = Hashes()
    with path.open("rb", buffering=0) as file:
        while data := file.read(1 << 20):
            hashes.update(data)
    return hashes.digest()


async def bare_send(port: int, path: Path) -> float:
    """The seconds until the receiver says that the file is there."""
    started = time.perf_counter()
    digest = await asyncio.to_thread(digest_of, path)
    with path.open("rb", buffering=0) as file:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"f" + path.stat().st_size.to_bytes(8, "big") + digest)
        while data := file.read(BLOCK):
            writer.write(data)
            await writer.drain()
        assert await reader.read() == b"ok"
    writer.close()
    return time.perf_counter() - started


async def bare_chat(port: int, path: Path) -> None:
    """Lines with their time, while one file after the other goes."""

    async def keep_busy() -> None:
        while True:
            await bare_send(port, path)

    _, writer = await asyncio.open_connection("127.0.0.1", port)
    files = asyncio.create_task(keep_busy())
    writer.write(b"m")
    for _ in range(MESSAGES):
        writer.write(f"{time.monotonic():.6f}\n".encode())
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    files.cancel()


# --- the agents ----------------------------------------------------------------------------------


def agent(name: str, directory: Path, chunk: int) -> Agent:
    return Agent(
        f"sip:{name}@rcs.example",
        file_rules=FileRules.parse(["accept"]),
        downloads=directory / name,
        transfers=directory / f"{name}-state",
        max_file_size=1 << 40,
        file_chunk=chunk,
    )


async def agent_receive(directory: Path) -> None:
    """Takes every chat and every file; says on its output when a text was on its way how long."""
    settle_collector()
    async with agent("bob", directory, BLOCK) as bob:
        address = bob.host.addresses[0]
        print(address.port, flush=True)

        async def chats() -> None:
            async for invitation in bob.incoming():
                await invitation.accept()

        async def follow() -> None:
            async for event in bob.events():
                if isinstance(event, FileOffered):
                    await event.offer.accept(directory / "bob")
                elif isinstance(event, TextReceived):
                    now = time.monotonic()
                    print(f"{(now - float(event.text)) * 1000:.4f}", flush=True)

        tasks = [asyncio.create_task(each) for each in (chats(), follow())]
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()


async def agent_send(port: int, directory: Path, path: Path, chunk: int) -> float:
    """The seconds until the file is known to be there."""
    async with agent("alex", directory, chunk) as alex:
        started = time.perf_counter()
        transfer = await alex.send_file(f"sip:bob@127.0.0.1:{port}", path)
        await transfer.done()
        return time.perf_counter() - started


async def latencies(port: int, directory: Path, path: Path, busy: bool) -> None:
    """Chats while a file stands still, or while one after the other goes."""
    settle_collector()
    async with agent("alex", directory, BLOCK) as alex:
        peer = f"sip:bob@127.0.0.1:{port}"
        chat = await alex.invite(peer)
        sending = await chat.send_file(path)
        if not busy:
            while not sending.octets:
                await asyncio.sleep(0.001)
            await sending.pause()
            await say(chat)
            await sending.cancel()
            return
        files = asyncio.create_task(keep_busy(chat, path))
        await say(chat)
        files.cancel()
        for each in alex.transfers:
            await each.cancel()


async def keep_busy(chat: Chat, path: Path) -> None:
    while True:
        await (await chat.send_file(path)).done()


async def say(chat: Chat) -> None:
    for _ in range(MESSAGES):
        await chat.send(f"{time.monotonic():.6f}")
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)


# --- processes -----------------------------------------------------------------------------------


@contextlib.contextmanager
def receiver(role: str, directory: Path) -> "Iterator[tuple[subprocess.Popen[str], int]]":
    with subprocess.Popen(
        [sys.executable, __file__, "--role", role, "--directory", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        yield process, int(process.stdout.readline())
        process.stdin.close()
        process.stdout.read()
        process.wait(30)


def sender(role: str, directory: Path, port: int, path: Path, *more: str) -> tuple[float, int]:
    """Runs it; the seconds that it says, and by how much its memory grew."""
    words = [
        "--role",
        role,
        "--directory",
        str(directory),
        "--port",
        str(port),
        "--file",
        str(path),
    ]
    done = subprocess.run(
        [sys.executable, __file__, *words, *more], check=True, capture_output=True, text=True
    )
    seconds, growth = done.stdout.split()[-2:]
    return float(seconds), int(growth)


def peak(pid: int | None = None) -> int:
    """The most memory (RSS) that a process has had."""
    text = Path(f"/proc/{pid or os.getpid()}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) << 10


def made(directory: Path, megabytes: int) -> Path:
    path = directory / f"{megabytes}.bin"
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for number in range(megabytes):
            file.write(number.to_bytes(8, "big") + block[8:])
    return path


def emptied(directory: Path) -> None:
    for path in directory.glob("*/*.bin"):
        path.unlink()


# --- what is measured ----------------------------------------------------------------------------


def compare(directory: Path, size: int, rounds: int) -> bool:
    path = made(directory, size)
    took: dict[str, list[float]] = {"bare stream": [], "64 KiB chunks": [], "2 KiB chunks": []}
    with (
        receiver("bare-receive", directory) as (_, bare),
        receiver("receive", directory) as (_, ours),
    ):
        for number in range(rounds + 1):
            for name, figures in took.items():
                if name == "bare stream":
                    seconds, _ = sender("bare-send", directory, bare, path)
                elif name == "2 KiB chunks" and number % 2 == 0:
                    continue
                else:
                    chunk = "65536" if name == "64 KiB chunks" else "2048"
                    seconds, _ = sender("send", directory, ours, path, "--chunk", chunk)
                emptied(directory)
                # The first round warms up.
                if number:
                    figures.append(seconds)
    medians = {name: statistics.median(figures) for name, figures in took.items()}
    for name, seconds in medians.items():
        print(f"{name:<14} {size / seconds:7.0f} MiB/s")
    ratio = medians["bare stream"] / medians["64 KiB chunks"]
    small = medians["bare stream"] / medians["2 KiB chunks"]
    print(f"of the bare stream's rate: {ratio:.2f} (goal {GOAL}); with chunks of 2 KiB {small:.2f}")
    return ratio >= GOAL


def memory(directory: Path, size: int) -> bool:
    small, large = made(directory, 1), made(directory, size)
    with receiver("receive", directory) as (process, port):
        sender("send", directory, port, small)
        before = psutil.Process(process.pid).memory_info().rss
        _, growth = sender("send", directory, port, large)
        received = peak(process.pid) - before
    large.unlink()
    emptied(directory)
    print(
        f"a file of {size} MiB: memory of the sender grows by {growth / 1e6:.1f} MB, of the "
        f"receiver by {received / 1e6:.1f} MB (goal {MOST_GROWTH / 1e6:.0f})"
    )
    return max(growth, received) <= MOST_GROWTH


def chat(directory: Path, size: int) -> bool:
    path = made(directory, size)
    worst = 0.0
    for name, roles, more in (
        ("paused", ("receive", "chat"), ()),
        ("going", ("receive", "chat"), ("--busy",)),
        ("going, bare lines and streams", ("bare-receive", "bare-chat"), ()),
    ):
        with receiver(roles[0], directory) as (process, port):
            assert process.stdout is not None
            with subprocess.Popen(
                [
                    *(sys.executable, __file__, "--role", roles[1], "--directory", str(directory)),
                    *("--port", str(port), "--file", str(path), *more),
                ],
                stderr=subprocess.DEVNULL,
            ):
                took = [float(process.stdout.readline()) for _ in range(MESSAGES)]
        emptied(directory)
        p50, p99 = statistics.median(took), statistics.quantiles(took, n=100)[98]
        worst = p99 if more else worst
        print(f"messages beside a file ({name}): p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    load = os.getloadavg()[0]
    print(f"(goal: p99 of at most {MOST_P99:.0f} ms beside a file that goes; load {load:.1f})")
    return worst <= MOST_P99


def play(options: argparse.Namespace) -> int:
    """One of the processes."""
    profile = cProfile.Profile() if options.profile else None
    if options.role == "bare-receive":
        asyncio.run(bare_receive(options.directory))
    elif options.role == "receive":
        asyncio.run(agent_receive(options.directory))
    elif options.role == "bare-chat":
        asyncio.run(bare_chat(options.port, options.file))
    elif options.role == "chat":
        asyncio.run(latencies(options.port, options.directory, options.file, options.busy))
    else:
        before = peak()
        if options.role == "bare-send":
            seconds = asyncio.run(bare_send(options.port, options.file))
        else:
            if profile is not None:
                profile.enable()
            seconds = asyncio.run(
                agent_send(options.port, options.directory, options.file, options.chunk)
            )
        print(seconds, peak() - before)
    if profile is not None:
        profile.disable()
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(30)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="MSRP file transfer beside a bare stream")
    parser.add_argument("--size", type=int, default=256, metavar="MB")
    parser.add_argument("--large", type=int, default=1024, metavar="MB")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--profile", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=("rate", "memory", "chat"))
    for name, kind in (("role", str), ("directory", Path), ("file", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--chunk", type=int, default=BLOCK, help=argparse.SUPPRESS)
    parser.add_argument("--busy", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        return play(options)
    with tempfile.TemporaryDirectory(prefix="rcsops-") as place:
        directory = Path(place)
        tests: dict[str, Callable[[], bool]] = {
            "rate": lambda: compare(directory, options.size, options.rounds),
            "memory": lambda: memory(directory, options.large),
            "chat": lambda: chat(directory, options.size),
        }
        good = [test() for name, test in tests.items() if options.only in (None, name)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
