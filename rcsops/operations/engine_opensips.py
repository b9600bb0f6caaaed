"""A real OpenSIPS as a process: `Engine` for it.

Whether it runs is told by its processes themselves (`rcsops.opensips.process`). The traps that this
goes around: a second OpenSIPS on the same files would delete the first one's FIFO and pid file, so
starts take turns by a lock and look first; workers outlive a main process that was killed and
ignore SIGTERM; an exit code of 0 does not mean that it listens.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from rcsops.database import check_tables, open_engine, reading
from rcsops.database.shapes import shape_of
from rcsops.errors import EngineError, MiError, RcsopsError
from rcsops.opensips.installed import find
from rcsops.opensips.log import said
from rcsops.opensips.ports import listens
from rcsops.opensips.process import (
    Account,
    Processes,
    end_processes,
    find_account,
    is_writing,
    memory_of,
    server_processes,
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
    wait_for,
    wait_in_foreground,
)
from rcsops.operations.mi import MiClient
from rcsops.operations.opensips_launch import (
    Launch,
    listen_addresses,
    live_config,
    record_path,
    settings_part,
)
from rcsops.operations.terminations import terminations
from rcsops.server.run_files import RunFiles, RunLock, write_private
from rcsops.settings import Project, masked_url

__all__ = ["check", "reload", "run_in_foreground", "start", "status", "stop"]

_TERMINATE_SECONDS = 5.0
_KILL_SECONDS = 5.0
_CLEANUP_SECONDS = 60.0
# It answers `kill` by ending: there is nothing to wait for.
_KILL_ANSWER_SECONDS = 0.3
_STATISTICS = ["core:", "tm:", "usrloc:", "registrar:", "sl:", "net:", "shmem:", "msilo:"]
_LAST_WORDS = 8192
# The first line of releases whose reload_routes can be relied on.
_RELOADS = (3, 4)


def start(project: Project, options: StartOptions, timeout: float) -> Started:
    launch = Launch.of(project, _remembered(project, options))
    found = _locked(launch, timeout)
    if isinstance(found, Started):
        return found
    try:
        with terminations():
            pid = launch.start(timeout)
    finally:
        found.release()
    notes = tuple(_notes(launch))
    return _describe(launch.project, launch.files, pid, already=False, notes=notes)


def run_in_foreground(project: Project, options: StartOptions) -> int:
    launch = Launch.of(project, _remembered(project, options))
    found = _locked(launch, START_SECONDS)
    if isinstance(found, Started):
        raise EngineError(
            f"the server is already running, pid {found.pid}", hint="end it first: rcsops stop"
        )
    try:
        with terminations():
            process = launch.run(START_SECONDS)
            found.release()
            return wait_in_foreground(process, lambda: stop(project, STOP_SECONDS))
    except KeyboardInterrupt:
        stop(project, STOP_SECONDS)
        raise
    finally:
        found.release()


def stop(project: Project, timeout: float) -> Stopped:
    files = RunFiles(project.run_dir)
    run = files.directory
    processes = server_processes(run)
    if not processes:
        _forget(project, files)
        return Stopped(None, "")
    main = processes.main
    steps: tuple[tuple[str, Callable[[], object], float], ...] = (
        ("mi", lambda: _kill_by_mi(files), timeout),
        ("SIGTERM", lambda: _terminate(main), _TERMINATE_SECONDS),
        ("SIGKILL", lambda: end_processes(run, signal.SIGKILL), _KILL_SECONDS),
    )
    # Workers without a main process pay no heed to anything milder.
    for how, action, seconds in steps if main else steps[-1:]:
        action()
        if wait_for(lambda: not server_processes(run), seconds) or _cleaned_up(project, main):
            _forget(project, files)
            return Stopped(main or processes.pids[0], how)
    raise EngineError(
        f"the server, pid {main or processes.pids[0]}, does not end",
        hint=f"look at its log: {files.log}; its processes may belong to another user",
    )


def reload(project: Project) -> tuple[str, ...]:
    files = RunFiles(project.run_dir)
    if not server_processes(files.directory):
        raise EngineError("the server is not running", hint="to start it: rcsops start")
    installation = find(project)
    if installation is not None and installation.line < _RELOADS:
        raise EngineError(
            f"OpenSIPS {installation.version} does not survive a reload: its workers refuse the "
            "second one, and its FIFO falls silent",
            hint="rcsops restart does the same; registrations stay",
        )
    started = _record(project)
    if group := started.get("group"):
        from dataclasses import replace

        project = replace(project, settings=replace(project.settings, mi_group=str(group)))
    _check_config(project, "the script has errors, and the server keeps the one it has", False)
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


def check(project: Project, options: StartOptions) -> None:
    launch = Launch.of(project, _remembered(project, options))
    _check_config(launch.project, "it would not start with this, so nothing was stopped", True)


def status(project: Project, timeout: float) -> ServerStatus:
    files = RunFiles(project.run_dir)
    processes = server_processes(files.directory)
    answer: dict[str, Any] = {}
    if processes:
        client = MiClient(files, timeout=timeout)
        with contextlib.suppress(MiError, KeyError, TypeError, ValueError, IndexError):
            answer["version"] = str(client.call("version")["Server"])
            answer["uptime"] = _seconds(client.call("uptime")["Up time"])
            counts = client.call("get_statistics", {"statistics": _STATISTICS})
            answer["counts"] = {str(name): int(value) for name, value in counts.items()}
    return ServerStatus(
        engine="opensips",
        running=bool(processes),
        answers="counts" in answer,
        pid=processes.main or None,
        version=answer.get("version", ""),
        uptime=answer.get("uptime"),
        listeners=_listeners(project) if answer else (),
        memory=memory_of(processes.pids),
        counts=answer.get("counts", {}),
        database=masked_url(project.settings.database_url),
        log=str(files.log),
        processes=len(processes.pids),
        fault=_fault(project, files, processes),
    )


# --- inside ------------------------------------------------------------------------------------


def _notes(launch: Launch) -> Iterator[str]:
    """What a person should know of how it runs."""
    if os.geteuid() != 0:
        if launch.project.settings.mi_group:
            yield (
                "the group of [mi] cannot come to its sockets, which are in a private directory; "
                "root can change that: sudo rcsops start --user NAME --group NAME"
            )
    elif launch.account is None or launch.account.uid == 0:
        yield "it runs as root; on a network, give it a user of its own: --user NAME"


def _locked(launch: Launch, timeout: float) -> RunLock | Started:
    """The lock, with no server running; or the server that runs already. Ends what is left of one
    whose main process was killed, and waits for somebody else who is starting one."""
    files = launch.files
    deadline = time.monotonic() + timeout
    while True:
        lock = RunLock(files)
        try:
            lock.acquire(announce=False)
        except EngineError:
            if not files.lock.exists():
                raise
        else:
            try:
                pid = _running(launch, deadline)
            except BaseException:
                lock.release()
                raise
            if not pid:
                return lock
            lock.release()
            return _describe(launch.project, files, pid, already=True)
        if time.monotonic() > deadline:
            raise EngineError("another rcsops start is at work", hint="see: rcsops status")
        time.sleep(POLL_SECONDS)


def _running(launch: Launch, deadline: float) -> int:
    """The server that runs and answers, 0 for none; raises `EngineError` for one that is stuck."""
    files = launch.files
    while processes := server_processes(files.directory):
        if not processes.main:
            end_processes(files.directory, signal.SIGKILL)
        elif answers(files):
            return processes.main
        if time.monotonic() > deadline:
            raise EngineError(
                f"the server, pid {processes.main}, is running but does not answer",
                hint="end it with: rcsops stop",
            )
        time.sleep(POLL_SECONDS)
    return 0


def _remembered(project: Project, options: StartOptions) -> StartOptions:
    """A server that was killed is started again as the user that it had."""
    if options.user or os.geteuid() != 0:
        return options
    record = _record(project)
    return StartOptions(options.trace, str(record.get("user", "")), str(record.get("group", "")))


def _record(project: Project) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        record = json.loads(record_path(project).read_text(encoding="utf-8"))
        if isinstance(record, dict):
            return record
    return {}


def _check_config(project: Project, consequence: str, database: bool) -> None:
    config.ready(project)
    for problem in config.check(project, database=database).problems:
        if not problem.warning:
            raise EngineError(
                f"{consequence}: {problem.text} ({problem.file}, line {problem.line})",
                hint="see all of them: rcsops config check",
            )


def _started_as(record: dict[str, Any]) -> Account | None:
    user = str(record.get("user", ""))
    return find_account(user, str(record.get("group", ""))) if user else None


def _forget(project: Project, files: RunFiles) -> None:
    """Tidies up; that somebody stopped it is noted, and as whom it ran is kept."""
    if not files.directory.is_dir():
        return
    remove_stale(files)
    record = _record(project)
    if record.get("pid"):
        write_private(record_path(project), json.dumps(record | {"pid": None}).encode())


def _kill_by_mi(files: RunFiles) -> None:
    with contextlib.suppress(MiError):
        MiClient(files, timeout=_KILL_ANSWER_SECONDS).call("kill")


def _cleaned_up(project: Project, main: int) -> bool:
    """Whether a main process whose workers have gone ends by itself: it writes what it holds in
    memory, contacts and dialogs, to the database, and aborts when that takes too long
    (``SHUTDOWN_TIMEOUT`` of OpenSIPS's config.h). One that has not come so far as to have workers,
    or stands still, has nothing to write."""
    run = project.run_dir
    if not main or _record(project).get("pid") != main or not is_writing(server_processes(run)):
        return False
    return wait_for(lambda: not is_writing(server_processes(run)), _CLEANUP_SECONDS) and (
        not server_processes(run)
    )


def _terminate(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGTERM)


def _describe(
    project: Project, files: RunFiles, pid: int, *, already: bool, notes: tuple[str, ...] = ()
) -> Started:
    try:
        version = str(MiClient(files, timeout=2.0).call("version")["Server"])
    except (MiError, KeyError, TypeError):
        version = ""
    return Started(pid, _listeners(project), version, already, files.log, notes)


def _listeners(project: Project) -> tuple[str, ...]:
    """Where it listens: the addresses of its configuration, those for connections by whether they
    are accepted."""
    main = config.config_files(project).main
    with contextlib.suppress(OSError):
        text = main.read_text("utf-8", "surrogateescape")
        return tuple(
            str(address)
            for address in listen_addresses(text)
            if address.transport == "udp" or listens(address)
        )
    return ()


def _seconds(text: object) -> int:
    """The number in ``13 [sec]``."""
    return int(str(text).split()[0])


def _fault(project: Project, files: RunFiles, processes: Processes) -> str:
    if not processes:
        return _end_of(project, files)
    if not processes.main:
        return (
            f"its main process was killed, and {len(processes.pids)} others go on without it; "
            "rcsops start mends that"
        )
    if not os.access(project.state_dir, os.X_OK):
        # The group that may use MI: the database's password is not theirs to read.
        return ""
    url = project.settings.database_url
    installation = find(project)
    try:
        with reading(open_engine(url), url) as connection:
            if installation is not None:
                check_tables(connection, shape_of(installation.line))
    except RcsopsError as error:
        return f"its database cannot be used: {error}"
    return ""


def _end_of(project: Project, files: RunFiles) -> str:
    """Why a server that `stop` did not end has ended; "" where that did.

    A worker that is killed takes all others with it, and OpenSIPS says nothing of it at our level
    of its log."""
    record = _record(project)
    if not record.get("pid"):
        return ""
    words, size, begin = "", file_size(files.log), int(record.get("log", 0))
    with contextlib.suppress(OSError), files.log.open("rb") as log:
        # Since its start; all of it when the log was cut meanwhile.
        log.seek(max(0, size - _LAST_WORDS, begin if begin <= size else 0))
        for line in log.read().decode("utf-8", "replace").splitlines():
            words = said(line) or words
    if files.pid.exists():
        return "it was killed; rcsops start starts it again"
    return f"it ended without being told to: {words}" if words else "it ended without rcsops stop"
