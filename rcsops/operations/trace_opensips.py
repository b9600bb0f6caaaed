"""Messages of a running OpenSIPS as they pass: it sends copies by HEP while somebody follows."""

import contextlib
import time

from rcsops.errors import EngineError, MiError, MiUnreachable, UsageError
from rcsops.operations.mi import MiClient
from rcsops.operations.trace_live import HepSource
from rcsops.settings import Project
from rcsops.trace import TraceEntry

__all__ = ["OpenSipsSource"]

# As in the configuration that is rendered.
_NAME = "rcsops"
_MI_SECONDS = 2.0
_RENEW_SECONDS = 2.0


class OpenSipsSource:
    """The running OpenSIPS of a project, by the address ``hep`` in [trace] of its settings.

    Its tracing is turned on again and again, as a reader that ends or a restart turns it off, and
    off at the end. Raises `UsageError` when no address is set or somebody else has it,
    `MiUnreachable` when no server answers, `EngineError` for one that was started without it.
    """

    def __init__(self, project: Project) -> None:
        where = project.settings.trace_hep
        if not where:
            raise UsageError(
                "OpenSIPS can only be followed where it may send copies of its messages",
                hint='write hep = "127.0.0.1:9060" into [trace] of rcsops.toml, then: rcsops '
                "install, rcsops restart; or rcsops trace --hep, docs/trace.md",
            )
        self._client = MiClient.of(project, timeout=_MI_SECONDS)
        self._hep = HepSource(f"udp:{where}")
        self.ended = False
        self.notes: list[str] = []
        self._renew_at = 0.0
        try:
            self._turn("on")
        except MiUnreachable:
            self._hep.close()
            raise
        except MiError as error:
            self._hep.close()
            raise EngineError(
                f"this OpenSIPS sends no copies: {error}",
                hint="it was started before hep was set in [trace]: rcsops restart",
            ) from error

    def fileno(self) -> int:
        return self._hep.fileno()

    def read(self) -> list[TraceEntry]:
        if not self.ended and time.monotonic() > self._renew_at:
            try:
                self._turn("on")
            except MiUnreachable as error:
                self.ended = not error.running
                if self.ended:
                    self.notes.append("the server has ended")
            except MiError:
                self._renew_at = time.monotonic() + _RENEW_SECONDS
        return self._hep.read()

    def close(self) -> None:
        self._hep.close()
        if not self.ended:
            with contextlib.suppress(MiError):
                self._turn("off")

    def _turn(self, mode: str) -> None:
        # Each has to be on: the tracing as a whole, and the one of this name. (4.0 has two commands
        # that could be meant by "trace".)
        for more in ({}, {"id": _NAME}):
            self._client.call("tracer:trace", {**more, "mode": mode})
        self._renew_at = time.monotonic() + _RENEW_SECONDS
