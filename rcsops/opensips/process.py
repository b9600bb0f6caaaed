"""The processes of a real OpenSIPS: started, found, ended.

OpenSIPS runs with ``-F`` as the leader of a session of its own. Its processes are found by what
only they have: the run directory in their command line (``-w``), which its workers share. So an
orphan of a main process that was killed is found too, no file can be stale, and no supervisor has
to stay. (A lock that they inherit would be neater, but 4.0 closes every file except stderr.)
"""

import contextlib
import grp
import os
import pwd
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from rcsops.errors import UsageError
from rcsops.opensips.installed import Installation

__all__ = [
    "Account",
    "Processes",
    "command_line",
    "end_processes",
    "find_account",
    "is_writing",
    "memory_of",
    "server_processes",
    "spawn",
]

# In MB: what all processes share (transactions, contacts, dialogs), and what each has for itself.
_SHARED_MEMORY = 64
_PRIVATE_MEMORY = 8


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the server runs as, and which group may use its management interface."""

    user: str
    group: str
    uid: int
    gid: int


def find_account(user: str, group: str) -> Account:
    """The account of that user, with ``group`` or else its own; raises `UsageError`."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise UsageError(
            f"there is no user {user!r} on this machine",
            hint=f"make it: adduser --system --group --no-create-home {user}",
        ) from None
    if not group:
        with contextlib.suppress(KeyError):
            group = grp.getgrgid(entry.pw_gid).gr_name
        return Account(user, group or str(entry.pw_gid), entry.pw_uid, entry.pw_gid)
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError(
            f"there is no group {group!r} on this machine", hint=f"make it: addgroup {group}"
        ) from None
    return Account(user, group, entry.pw_uid, gid)


def command_line(
    installation: Installation, config: Path, run_dir: Path, pid_file: Path, account: Account | None
) -> list[str]:
    """How the server is called. Every path is absolute: it changes to / before it opens some."""
    words = [str(installation.binary), "-F", "-f", str(config), "-w", str(run_dir)]
    words += ["-P", str(pid_file), "-m", str(_SHARED_MEMORY), "-M", str(_PRIVATE_MEMORY)]
    if account is not None:
        words += ["-u", account.user, "-g", account.group]
    return words


@dataclass(frozen=True, slots=True)
class Processes:
    """Those of one server: ``main`` is 0 when it has died and others go on without it."""

    main: int
    pids: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.pids)


def spawn(words: Sequence[str], *, log: int) -> "subprocess.Popen[bytes]":
    """Starts the server; ``log`` gets what it prints."""
    return subprocess.Popen(  # noqa: S603
        words,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        cwd="/",
        umask=0o077,
    )


def server_processes(run_dir: Path) -> Processes:
    """The processes of the server with this run directory; zombies do not count."""
    marker = b"\0-w\0" + os.fsencode(run_dir) + b"\0"
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            program = words.partition(b"\0")[0]
            if marker in words and program.endswith(b"/opensips") and _trusted(pid, run_dir):
                found.append(pid)
    leaders = [pid for pid in found if _group_of(pid) == pid]
    return Processes(leaders[0] if leaders else 0, tuple(found))


def is_writing(processes: Processes) -> bool:
    """Whether of a server that ends its main process alone is left, and goes on."""
    if not processes.main or processes.pids != (processes.main,):
        return False
    with contextlib.suppress(psutil.Error):
        return psutil.Process(processes.main).status() != psutil.STATUS_STOPPED
    return False


def _trusted(pid: int, run_dir: Path) -> bool:
    """Not of somebody else who merely looks like the server."""
    return os.stat(f"/proc/{pid}").st_uid in (0, os.geteuid(), run_dir.stat().st_uid)


def _group_of(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.getpgid(pid)
    return 0


def end_processes(run_dir: Path, number: signal.Signals) -> int:
    """Sends a signal to every process of the server; returns how many there are."""
    processes = server_processes(run_dir)
    for group in {_group_of(pid) for pid in processes.pids} - {0, os.getpgrp()}:
        # A group cannot mean anything else while a member of it lives.
        with contextlib.suppress(OSError):
            os.killpg(group, number)
    return len(processes.pids)


def memory_of(pids: Sequence[int]) -> int | None:
    """Octets of memory that processes take together, shared parts counted once; None when this
    user may not know."""
    sizes = list(_sizes(pids))
    return sum(sizes) if sizes else None


def _sizes(pids: Sequence[int]) -> Iterator[int]:
    for pid in pids:
        with contextlib.suppress(psutil.Error, OSError):
            yield int(psutil.Process(pid).memory_full_info().pss)
