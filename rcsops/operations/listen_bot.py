"""``rcsops listen --exec``: a command for each message, whose output is the answer."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping

from rcsops.errors import RcsopsError
from rcsops.ua import TextReceived

__all__ = ["MAX_ANSWER", "Bot", "run_command"]

MAX_ANSWER = 64 << 10
"""Octets of an answer."""

_AT_ONCE = 4
_MAX_WAITING = 256
_MAX_COMPLAINT = 4096
_KILLED_SECONDS = 2.0
# The system takes 128 KiB for one variable.
_MAX_VARIABLE = 100_000


class Bot:
    """Runs ``command`` for each message, four at a time and one at a time for each sender, so that
    answers keep the order of the messages.

    ``answer`` sends what a command printed; ``done`` gets each message whose command succeeded,
    before its answer goes; ``note`` gets what went wrong, in words. A command that
    runs longer than ``seconds`` is killed.
    """

    def __init__(
        self,
        command: str,
        *,
        answer: Callable[[TextReceived, str], Awaitable[None]],
        done: Callable[[TextReceived], None],
        note: Callable[[str], None],
        seconds: float,
    ) -> None:
        self._command = command
        self._answer = answer
        self._on_done = done
        self._note = note
        self._seconds = seconds
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._room = asyncio.Semaphore(_MAX_WAITING)
        self._last: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, message: TextReceived, name: str, variables: Mapping[str, str]) -> None:
        """Begins with a message of ``name``; waits while too many have not had their turn."""
        await self._room.acquire()
        task = asyncio.create_task(
            self._serve(message, name, variables, self._last.get(message.peer))
        )
        self._last[message.peer] = task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(message.peer, done))

    async def finished(self) -> None:
        """Waits until every message has had its answer."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Kills the commands that run."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, peer: str, task: "asyncio.Task[None]") -> None:
        self._room.release()
        self._tasks.discard(task)
        if self._last.get(peer) is task:
            del self._last[peer]
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._note(f"a message was not answered: {fault}")

    async def _serve(
        self,
        message: TextReceived,
        name: str,
        variables: Mapping[str, str],
        before: "asyncio.Task[None] | None",
    ) -> None:
        if before is not None:
            await asyncio.wait((before,))
        try:
            async with self._turns:
                said, complaint = await run_command(
                    self._command, message.text, variables, seconds=self._seconds
                )
            for line in complaint.splitlines():
                self._note(f"the command says: {line}")
            self._on_done(message)
            if said:
                await self._answer(message, said)
        except RcsopsError as error:
            self._note(f"no answer to {name}: {error}")


async def run_command(
    command: str, text: str, variables: Mapping[str, str], *, seconds: float
) -> tuple[str, str]:
    """Runs ``command`` by ``sh -c`` with ``text`` as its input, ``variables`` in its environment.

    The text is never a part of a command line. Returns what it printed, without the line ends
    behind it, and the beginning of its complaints. Raises RcsopsError when it fails, takes longer
    than ``seconds`` or prints more than `MAX_ANSWER` octets; it is then killed with what it
    started.
    """
    environment = {name: value for name, value in os.environ.items() if name != "RCSOPS_PASSWORD"}
    environment.update((name, _storable(value)) for name, value in variables.items())
    try:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            # A group of its own: Ctrl-C is for us, and nothing of it stays behind.
            start_new_session=True,
        )
    except OSError as error:
        raise RcsopsError(f"the command did not start: {error.strerror}") from error
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    try:
        async with asyncio.timeout(seconds):
            _, (said, too_long), (complaint, _) = await asyncio.gather(
                _feed(process.stdin, text.encode("utf-8", "replace")),
                _read(process.stdout, MAX_ANSWER, lambda: _kill(process)),
                _read(process.stderr, _MAX_COMPLAINT, lambda: None),
            )
            code = await process.wait()
    except TimeoutError:
        raise RcsopsError(f"the command took more than {seconds:g} s") from None
    finally:
        if process.returncode is None:
            _kill(process)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _KILLED_SECONDS)
    if too_long:
        raise RcsopsError(f"the command printed more than {MAX_ANSWER} octets")
    words = complaint.decode("utf-8", "replace").strip()
    if code:
        ending = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise RcsopsError(f"the command failed ({ending})" + (f": {words}" if words else ""))
    return said.decode("utf-8", "replace").rstrip("\r\n"), words


def _storable(value: str) -> str:
    """A value as a variable can have it: without NUL, and cut off where the system would refuse."""
    octets = value.replace("\0", "\ufffd").encode("utf-8", "replace")
    return octets[:_MAX_VARIABLE].decode("utf-8", "ignore")


async def _feed(stream: asyncio.StreamWriter, data: bytes) -> None:
    # A command need not read it.
    with contextlib.suppress(ConnectionError):
        stream.write(data)
        await stream.drain()
    with contextlib.suppress(ConnectionError):
        stream.close()
        await stream.wait_closed()


async def _read(
    stream: asyncio.StreamReader, limit: int, exceeded: Callable[[], None]
) -> tuple[bytes, bool]:
    """Up to ``limit`` octets, and whether there were more, which nobody keeps."""
    read = bytearray()
    more = False
    while piece := await stream.read(65536):
        if len(read) + len(piece) > limit and not more:
            more = True
            exceeded()
        read += piece[: limit - len(read)]
    return bytes(read), more


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
