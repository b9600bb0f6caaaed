"""The lines between devices and their server, cut and mended from a test that is no coroutine."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, TypeVar

from rcsops.testing import TcpRelay

Result = TypeVar("Result")
_PATIENCE = 30.0


class Line:
    """A TCP relay of one device."""

    def __init__(self, network: "Network", relay: TcpRelay) -> None:
        self._network = network
        self._relay = relay
        self.address = relay.address

    def cut(self) -> None:
        """What is open is reset, and nothing new passes."""
        self._set(shut=True)

    def mend(self) -> None:
        """Connections pass again."""
        self._set(shut=False)

    def _set(self, *, shut: bool) -> None:
        async def change() -> None:
            self._relay.shut = shut
            if shut:
                self._relay.cut()

        self._network.run(change())


class Network:
    """Relays on a loop in a thread of its own; a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stack = AsyncExitStack()

    def __enter__(self) -> "Network":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    def line(self, server: str) -> Line:
        """A new line to ``server`` (host:port)."""
        return Line(self, self.run(self._stack.enter_async_context(TcpRelay(server))))
