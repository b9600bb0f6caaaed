"""A relay for TCP that passes no more than so many octets a second, for tests that need a transfer
to be half way."""

import contextlib
import socket
import threading
import time
from types import TracebackType

_PIECE = 1 << 16


class SlowRelay:
    """Passes connections on to ``port`` of this machine, ``rate`` octets a second each way, which
    may be set while it runs; 0 for as fast as it goes.

    ``up`` and ``down`` count what has passed.
    """

    def __init__(self, port: int, rate: int) -> None:
        self.rate = rate
        self.up = self.down = 0
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []

    @property
    def address(self) -> str:
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> "SlowRelay":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            for each in (near, far):
                # So that what one end has sent the other has nearly got.
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PIECE)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIECE)
            self._open += (near, far)
            for name, source, sink in (("up", near, far), ("down", far, near)):
                threading.Thread(target=self._pass, args=(name, source, sink), daemon=True).start()

    def _pass(self, name: str, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(_PIECE):
                if self.rate:
                    time.sleep(len(data) / self.rate)
                sink.sendall(data)
                with self._lock:
                    setattr(self, name, getattr(self, name) + len(data))
        except OSError:
            pass
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
