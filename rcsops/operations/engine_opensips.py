"""A real OpenSIPS as a process: `Engine` for it.

Whether it runs is told by the lock that all its processes hold (`rcsops.opensips.process`). The
traps that this goes around: a second OpenSIPS on the same files would delete the first one's FIFO
and pid file, so none is started while the lock is held; workers outlive a main process that was
killed and ignore SIGTERM; an exit code of 0 does not mean that it listens.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from rcsops.database import check_tables, open_engine, reading
from rcsops.database.shapes import shape_of
from rcsops.errors import EngineError, MiError, RcsopsError
from rcsops.opensips.installed import find
from rcsops.opensips.log import said
from rcsops.opensips.process import (
    Account,
    end_processes,
    find_account,
    lock_holders,
    main_lives,
    memory_of,
)
from rcsops.operations import config
from rcsops.operations.engine import (
    POLL_SECONDS,
    START_SECONDS,
    STOP_SECONDS,
    ServerStatus,
    Started,
    StartOptions,
    Stopped,
    answers,
    file_size,
    remove_stale,
    tell_systemd,
    wait_for,
    wait_in_foreground,
)
from rcsops.operations.mi import MiClient
from rcsops.operations.opensips_launch import Launch, live_config, record_path, settings_part
from rcsops.server.run_files import RunFiles, RunLock, running_pid, write_private
from rcsops.settings import Project, masked_url, parse_listen

__all__ = ["reload", "run_in_foreground", "start", "status", "stop"]

_TERMINATE_SECONDS = 5.0
_KILL_SECONDS = 5.0
# It answers `kill` by ending: there is nothing to wait for.
_KILL_ANSWER_SECONDS = 0.3
_STATISTICS = ["core:", "tm:", "usrloc:", "registrar:", "sl:", "net:", "shmem:", "msilo:"]
_LAST_WORDS = 8192


def start(project: Project, options: StartOptions, timeout: float) -> Started:
    launch = Launch.of(project, _remembered(project, options))
    found = _locked(launch, timeout)
    if isinstance(found, Started):
        return found
    try:
        pid = launch.start(found, timeout)
    finally:
        # Either its processes hold the lock now, or nobody does.
        found.hand_over()
    notes = []
    if launch.account is None and os.geteuid() == 0:
        notes.append("it runs as root; on a network, give it a user of its own: --user NAME")
    return _describe(project, launch.files, pid, already=False, notes=tuple(notes))


def run_in_foreground(project: Project, options: StartOptions) -> int:
    launch = Launch.of(project, options)
    found = _locked(launch, START_SECONDS)
    if isinstance(found, Started):
        raise EngineError(
            f"the server is already running, pid {found.pid}", hint="end it first: rcsops stop"
        )
    try:
        process = launch.run(found, START_SECONDS)
    finally:
        found.hand_over()
    tell_systemd("READY=1")
    return wait_in_foreground(process, lambda: stop(project, STOP_SECONDS))


def stop(project: Project, timeout: float) -> Stopped:
    files = RunFiles(project.run_dir)
    pid = running_pid(files)
    if pid is None:
        _forget(files)
        return Stopped(None, "")
    steps: tuple[tuple[str, Callable[[], bool], float], ...] = (
        ("mi", lambda: main_lives(pid) and _kill_by_mi(files), timeout),
        ("SIGTERM", lambda: main_lives(pid) and _terminate(pid), _TERMINATE_SECONDS),
        ("SIGKILL", lambda: end_processes(files.lock, pid, signal.SIGKILL) > 0, _KILL_SECONDS),
    )
    for how, action, seconds in steps:
        if (action() and wait_for(lambda: running_pid(files) is None, seconds)) or (
            running_pid(files) is None
        ):
            wait_for(lambda: not main_lives(pid), _KILL_SECONDS)
            _forget(files)
            return Stopped(pid or None, how)
    raise EngineError(
        f"the server, pid {pid}, does not end",
        hint=f"look at its log: {files.log}; its processes may belong to another user",
    )


def reload(project: Project) -> tuple[str, ...]:
    files = RunFiles(project.run_dir)
    if running_pid(files) is None:
        raise EngineError("the server is not running", hint="to start it: rcsops start")
    started = _record(files)
    if group := started.get("group"):
        from dataclasses import replace

        project = replace(project, settings=replace(project.settings, mi_group=str(group)))
    config.ready(project)
    checked = config.check(project, database=False)
    for problem in checked.problems:
        if not problem.warning:
            raise EngineError(
                f"the script has errors, and the server keeps the one it has: {problem.text} "
                f"({problem.file}, line {problem.line})",
                hint="see all of them: rcsops config check",
            )
    path = live_config(project, files, _started_as(started))
    try:
        MiClient(files, timeout=START_SECONDS).call("reload_routes")
    except MiError as error:
        raise EngineError(
            f"the server keeps the script it has: {error}", hint="see why: rcsops logs"
        ) from error
    if started.get("settings") not in (None, settings_part(path)):
        return (
            "settings before the script (addresses, modules) changed too; they count from the next "
            "rcsops restart on",
        )
    return ()


def status(project: Project, timeout: float) -> ServerStatus:
    files = RunFiles(project.run_dir)
    pid = running_pid(files)
    holders = lock_holders(files.lock) if pid is not None else []
    answer: dict[str, Any] = {}
    if pid is not None:
        client = MiClient(files, timeout=timeout)
        with contextlib.suppress(MiError, KeyError, TypeError, ValueError, IndexError):
            answer["version"] = str(client.call("version")["Server"])
            answer["uptime"] = _seconds(client.call("uptime")["Up time"])
            answer["listeners"] = _listeners(project, client)
            counts = client.call("get_statistics", {"statistics": _STATISTICS})
            answer["counts"] = {str(name): int(value) for name, value in counts.items()}
    return ServerStatus(
        engine="opensips",
        running=pid is not None,
        answers="counts" in answer,
        pid=pid or None,
        version=answer.get("version", ""),
        uptime=answer.get("uptime"),
        listeners=answer.get("listeners", ()),
        memory=memory_of(holders),
        counts=answer.get("counts", {}),
        database=masked_url(project.settings.database_url),
        log=str(files.log),
        processes=len(holders),
        fault=_fault(project, files, pid, len(holders)),
    )


# --- inside ------------------------------------------------------------------------------------


def _locked(launch: Launch, timeout: float) -> RunLock | Started:
    """The lock, once it is free; or the server that runs already. Ends what is left of one whose
    main process was killed."""
    files = launch.files
    deadline = time.monotonic() + timeout
    while True:
        pid = running_pid(files)
        if pid is None:
            lock = RunLock(files)
            with contextlib.suppress(EngineError):
                lock.acquire(announce=False)
                return lock
            if not files.lock.exists():
                # Not somebody who was faster: it cannot be made at all.
                lock.acquire(announce=False)
        elif pid and not main_lives(pid):
            end_processes(files.lock, pid, signal.SIGKILL)
        elif answers(files):
            return _describe(launch.project, files, pid, already=True)
        if time.monotonic() > deadline:
            raise EngineError(
                f"the server, pid {pid or 'unknown'}, is running but does not answer",
                hint="end it with: rcsops stop",
            )
        time.sleep(POLL_SECONDS)


def _remembered(project: Project, options: StartOptions) -> StartOptions:
    """A server that was killed is started again as the user that it had."""
    if options.user or os.geteuid() != 0:
        return options
    record = _record(RunFiles(project.run_dir))
    return StartOptions(options.trace, str(record.get("user", "")), str(record.get("group", "")))


def _record(files: RunFiles) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        record = json.loads(record_path(files).read_text(encoding="utf-8"))
        if isinstance(record, dict):
            return record
    return {}


def _started_as(record: dict[str, Any]) -> Account | None:
    user = str(record.get("user", ""))
    return find_account(user, str(record.get("group", ""))) if user else None


def _forget(files: RunFiles) -> None:
    """Tidies up; that somebody stopped it is noted, and as whom it ran is kept."""
    if not files.directory.is_dir() or running_pid(files) is not None:
        return
    remove_stale(files)
    record = _record(files)
    if record.get("pid"):
        write_private(record_path(files), json.dumps(record | {"pid": None}).encode())


def _kill_by_mi(files: RunFiles) -> bool:
    with contextlib.suppress(MiError):
        MiClient(files, timeout=_KILL_ANSWER_SECONDS).call("kill")
    return True


def _terminate(pid: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGTERM)
    return True


def _describe(
    project: Project, files: RunFiles, pid: int, *, already: bool, notes: tuple[str, ...] = ()
) -> Started:
    client = MiClient(files, timeout=2.0)
    try:
        version = str(client.call("version")["Server"])
        listeners = _listeners(project, client)
    except (MiError, KeyError, TypeError):
        version, listeners = "", project.settings.listen
    return Started(pid, listeners, version, already, files.log, notes)


def _listeners(project: Project, client: MiClient) -> tuple[str, ...]:
    """Where it listens: UDP by its processes' own word, connections by who accepts them."""
    from rcsops.opensips.ports import accepts

    kinds = [str(each.get("Type", "")) for each in client.call("ps")["Processes"]]
    found = dict.fromkeys(
        kind.split()[-1].lower() for kind in kinds if kind.startswith("SIP receiver ")
    )
    for text in project.settings.listen:
        address = parse_listen(text)
        if address.transport != "udp" and accepts(address.reachable):
            found[str(address)] = None
    return tuple(found)


def _seconds(text: object) -> int:
    """The number in ``13 [sec]``."""
    return int(str(text).split()[0])


def _fault(project: Project, files: RunFiles, pid: int | None, processes: int) -> str:
    if pid is None:
        return _end_of(files)
    if pid and not main_lives(pid):
        return (
            f"its main process was killed, and {processes} others go on without it; "
            "rcsops restart mends that"
        )
    url = project.settings.database_url
    installation = find(project)
    try:
        with reading(open_engine(url), url) as connection:
            if installation is not None:
                check_tables(connection, shape_of(installation.line))
    except RcsopsError as error:
        return f"its database cannot be used: {error}"
    return ""


def _end_of(files: RunFiles) -> str:
    """Why a server that nobody stopped has ended; "" where somebody did."""
    if not _record(files).get("pid"):
        return ""
    words = ""
    with contextlib.suppress(OSError), files.log.open("rb") as log:
        log.seek(max(0, file_size(files.log) - _LAST_WORDS))
        for line in log.read().decode("utf-8", "replace").splitlines():
            words = said(line) or words
    if files.pid.exists():
        return "it was killed; rcsops start starts it again"
    return f"it ended by itself: {words}" if words else ""
