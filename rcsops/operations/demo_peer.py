"""One agent of the demo: ``rcsops chat`` as a process of its own, driven over pipes."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rcsops.errors import AgentError

# A line of JSON carries at most one chat message.
_LONGEST_LINE = 1 << 21
_PATIENCE = 20.0
_GRACE = 3.0
_RCSOPS = (sys.executable, "-m", "rcsops")

Notice = Mapping[str, Any]


class DemoFailed(AgentError):
    """Something did not happen, so that the rest of the demo cannot."""


class Peer:
    """The process of one user; what it tells arrives as objects with an ``event``.

    ``on_notice`` is called with each as it comes.
    """

    def __init__(self, name: str, on_notice: Callable[["Peer", Notice], None]) -> None:
        self.name = name
        self.pid = 0
        self._on_notice = on_notice
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()
        self._notices: list[Notice] = []
        self._ended = False

    async def start(self, project: Path, *words: str, environment: Mapping[str, str]) -> None:
        """Runs ``rcsops chat NAME WORDS`` on the project of that directory."""
        # A session of its own: Ctrl-C is for the demo, which ends its agents in order.
        self._process = await asyncio.create_subprocess_exec(
            *_RCSOPS,
            *("--project", str(project)),
            *("chat", self.name, *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
        self.pid = self._process.pid
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                with contextlib.suppress(ValueError):
                    notice = json.loads(line)
                    if isinstance(notice, dict) and "event" in notice:
                        await self._take(notice)
        finally:
            async with self._news:
                self._ended = True
                self._news.notify_all()

    async def _take(self, notice: Notice) -> None:
        async with self._news:
            self._notices.append(notice)
            self._news.notify_all()
        self._on_notice(self, notice)

    async def wait_for(
        self,
        event: str,
        matching: Callable[[Notice], bool] = lambda notice: True,
        *,
        what: str,
        patience: float = _PATIENCE,
    ) -> Notice:
        """The first notice of that kind that matches, from all that have come or will come.

        Raises :class:`DemoFailed` naming ``what`` was awaited when the process reports an error or
        ends first, or when it takes too long.
        """
        try:
            async with asyncio.timeout(patience), self._news:
                while True:
                    for notice in self._notices:
                        if notice["event"] == event and matching(notice):
                            return notice
                    errors = [each for each in self._notices if _is_error(each)]
                    if errors:
                        raise DemoFailed(f"{self.name}: {what}: {_words(errors[0])}")
                    if self._ended:
                        raise DemoFailed(f"{self.name} ended: {what}: {await self._last_words()}")
                    await self._news.wait()
        except TimeoutError:
            raise DemoFailed(f"{self.name}: {what}: nothing after {patience:g} s") from None

    async def _last_words(self) -> str:
        if self._process is None or self._process.stderr is None:
            return "nothing said"
        said = (await self._process.stderr.read()).decode("utf-8", "replace").strip()
        return said[-500:] or "nothing said"

    async def type(self, line: str) -> None:
        """One line of input; raises :class:`DemoFailed` when the process has ended."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
            await self._process.stdin.drain()
        except OSError as error:
            raise DemoFailed(f"{self.name} has ended: {await self._last_words()}") from error

    async def finish(self, patience: float = _PATIENCE) -> int:
        """Closes its input and waits for its end; the exit code."""
        assert self._process is not None
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(patience):
                code = await self._process.wait()
        except TimeoutError:
            raise DemoFailed(f"{self.name} did not end within {patience:g} s") from None
        if self._reader is not None:
            await self._reader
        return code

    async def kill(self) -> None:
        """Ends it whatever it does: what is left when the demo goes wrong."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await self._process.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader


def _is_error(notice: Notice) -> bool:
    return notice["event"] in ("error", "file-failed") or notice.get("status") == "failed"


def _words(notice: Notice) -> str:
    for key in ("error", "reason", "text"):
        if notice.get(key):
            return str(notice[key])
    return str(dict(notice))
