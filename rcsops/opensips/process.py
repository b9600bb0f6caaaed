"""The processes of a real OpenSIPS: started under a lock that all of them hold, found, ended.

OpenSIPS runs with ``-F`` as the leader of a session of its own, and inherits the open file of
rcsops's lock. So the kernel itself keeps the account: the lock is free as soon as the last process
is gone, also of one whose main process was killed and whose workers live on, and until then no
other process can have got the group's id. No supervisor is needed, and no file can be stale.
"""

import contextlib
import fcntl
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
    "command_line",
    "end_processes",
    "find_account",
    "lock_holders",
    "main_lives",
    "memory_of",
    "spawn",
]

# In MB: what all processes share (transactions, contacts, dialogs), and what each has for itself.
_SHARED_MEMORY = 64
_PRIVATE_MEMORY = 8
# OpenSIPS closes what it inherits below 32 (daemonize.c).
_FIRST_KEPT = 200


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


def spawn(words: Sequence[str], *, log: int, lock: int) -> "subprocess.Popen[bytes]":
    """Starts the server with the lock's open file; ``log`` gets what it prints."""
    kept = fcntl.fcntl(lock, fcntl.F_DUPFD_CLOEXEC, _FIRST_KEPT)
    try:
        return subprocess.Popen(  # noqa: S603
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(kept,),
            cwd="/",
            umask=0o077,
        )
    finally:
        os.close(kept)


def lock_holders(lock: Path) -> list[int]:
    """The processes that have the lock file open, as far as this user may see; not our own."""
    try:
        wanted = lock.stat()
    except OSError:
        return []
    return [
        pid for pid in psutil.pids() if pid != os.getpid() and _has_open(pid, wanted, str(lock))
    ]


def _has_open(pid: int, wanted: os.stat_result, name: str) -> bool:
    directory = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for each in os.listdir(directory):
            with contextlib.suppress(OSError):
                # The name first: stat of every socket of every process would take long.
                if os.readlink(f"{directory}/{each}") == name:
                    found = os.stat(f"{directory}/{each}")
                    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)
    return False


def main_lives(pid: int) -> bool:
    """Whether a process is there, and not merely waiting to be reaped."""
    try:
        return pid > 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end_processes(lock: Path, main: int, number: signal.Signals) -> int:
    """Sends a signal to every process of the server; returns how many there are.

    ``main`` is the leader of its group. The signal goes to the group only while a member of it
    holds the lock: then its id cannot mean anything else.
    """
    holders = lock_holders(lock)
    groups = set()
    for pid in holders:
        with contextlib.suppress(OSError):
            if main > 1 and os.getpgid(pid) == main:
                groups.add(main)
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, number)
    for pid in holders:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
    return len(holders)


def memory_of(pids: Sequence[int]) -> int | None:
    """Octets of memory that processes take together, shared parts counted once; None when this
    user may not know."""
    sizes = list(_sizes(pids))
    return sum(sizes) if sizes else None


def _sizes(pids: Sequence[int]) -> Iterator[int]:
    for pid in pids:
        with contextlib.suppress(psutil.Error, OSError):
            yield int(psutil.Process(pid).memory_full_info().pss)
