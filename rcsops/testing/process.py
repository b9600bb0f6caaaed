"""A process of ours: started in its own session, its output in a file, ended by its id."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

from rcsops.errors import EngineError
from rcsops.testing.waiting import wait_until


class ManagedProcess:
    """Runs ``command`` until it is stopped; a context manager.

    ``ready`` is asked until it is true, for ``timeout`` seconds; an
    :class:`~rcsops.errors.EngineError` with the end of the log says when the process ended instead.
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        log: Path,
        ready: Callable[[], bool] | None = None,
        timeout: float = 20.0,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.command = [os.fspath(word) for word in command]
        self.log = log
        self._ready = ready
        self._timeout = timeout
        self._cwd = cwd
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the process; raises EngineError when it does not run."""
        if self._process is None:
            raise EngineError(f"{self.command[0]} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._cwd,
                env=self._env,
                start_new_session=True,
            )
        if self._ready is None:
            return
        try:
            wait_until(self._is_ready, self._timeout, what=f"{self.command[0]} being ready")
        except BaseException as error:
            self.stop()
            if isinstance(error, TimeoutError):
                raise EngineError(f"{error}: {self.tail()}") from error
            raise

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._ready is not None
        if self._process.poll() is not None:
            raise EngineError(f"{self.command[0]} ended at its start: {self.tail()}")
        return self._ready()

    def tail(self, size: int = 2000) -> str:
        """The end of what it has printed."""
        with contextlib.suppress(OSError):
            return self.log.read_text("utf-8", "replace")[-size:]
        return ""

    def stop(self, timeout: float = 10.0, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Asks it to end, then kills the rest of its group; its exit code, None if it never ran."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout)
        # Workers of a server whose main process has died would keep its ports.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    def __enter__(self) -> "ManagedProcess":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def children_of(pid: int) -> list[int]:
    """The ids of the living processes below ``pid``."""
    with contextlib.suppress(psutil.Error):
        return [
            child.pid
            for child in psutil.Process(pid).children(recursive=True)
            if child.status() != psutil.STATUS_ZOMBIE
        ]
    return []
