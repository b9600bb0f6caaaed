"""The content server of a project as a process: start, stop, status.

It runs beside the SIP server, whichever engine that is, and never longer than it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from rcsops.content.store import usage_of
from rcsops.errors import EngineError
from rcsops.operations.engine import POLL_SECONDS, ContentStatus, file_size, last_error, wait_for
from rcsops.operations.terminations import held
from rcsops.server.child import end_child
from rcsops.server.run_files import RunFiles, running_pid
from rcsops.settings import Project

__all__ = ["content_status", "start_content", "stop_content"]

_START_SECONDS = 15.0
# The one that watches gives the one that serves 6 seconds.
_STOP_SECONDS = 10.0
# For one whose start was given up.
_END_SECONDS = 5.0


def start_content(project: Project, watched: int) -> bool:
    """Starts the content server, if the settings ask for one, for as long as the process
    ``watched`` lives, and waits until it listens; whether one was started.

    Raises `EngineError` with the reason from its log.
    """
    if not project.settings.content.listen:
        return False
    project.make_run_dir()
    files = _files(project)
    if running_pid(files) is not None:
        return False
    with contextlib.suppress(OSError):
        files.ready.unlink()
    log_start = file_size(files.log)
    command = [sys.executable, "-m", "rcsops.content"]
    command += ["--project", str(project.directory.resolve()), "--watch", str(watched)]
    environment = {key: value for key, value in os.environ.items() if key != "RCSOPS_PROJECT"}
    process = None
    try:
        with held():
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env=environment,
            )
        _await_ready(process, files, log_start)
    except BaseException:
        with held():
            if process is not None:
                end_child(process, _END_SECONDS)
        raise
    # It goes on without us: nobody waits for it, and no warning is due.
    process.returncode = 0
    return True


def _await_ready(process: "subprocess.Popen[bytes]", files: RunFiles, log_start: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _ready(files):
        if process.poll() is not None or time.monotonic() > deadline:
            reason, hint = last_error(files.log, log_start)
            raise EngineError(
                f"the content server did not start: {reason or f'see {files.log}'}", hint=hint
            )
        time.sleep(POLL_SECONDS)


def stop_content(project: Project) -> None:
    """Ends it, if it runs, by force if need be. Raises `EngineError` when even that fails."""
    files = _files(project)
    for number in (signal.SIGTERM, signal.SIGKILL):
        pid = running_pid(files)
        if pid is None:
            break
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        wait_for(lambda: running_pid(files) is None, _STOP_SECONDS)
    else:
        if running_pid(files) is not None:
            raise EngineError("the content server does not end", hint=f"see its log: {files.log}")
    with contextlib.suppress(OSError):
        files.ready.unlink()


def content_status(project: Project) -> ContentStatus | None:
    """What can be seen of it; None for a project without one."""
    files = _files(project)
    pid = running_pid(files)
    if pid is None and not project.settings.content.listen:
        return None
    ready = _ready(files) if pid is not None else {}
    usage = usage_of(project.content_dir)
    return ContentStatus(
        running=bool(ready),
        pid=pid or None,
        url=str(ready.get("url", "") or project.settings.content.upload_url),
        files=usage.files if usage else 0,
        octets=usage.octets if usage else 0,
        log=str(files.log),
    )


def _files(project: Project) -> RunFiles:
    return RunFiles(project.run_dir / "content")


def _ready(files: RunFiles) -> dict[str, Any]:
    try:
        found = json.loads(files.ready.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
