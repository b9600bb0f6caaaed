"""Directories that only their owner may look into."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from rcsops.errors import SettingsError

# sockaddr_un.sun_path holds 108 bytes with the closing NUL; the longest name that is put into a
# run directory must fit behind it.
_SOCKET_PATH_LIMIT = 107
_LONGEST_SOCKET_NAME = 24


def private_directory(path: Path, *, shared_parent: bool = False) -> Path:
    """Makes ``path`` (and what is missing above it) with mode 0700 and returns it.

    One that is there already is closed to others. With ``shared_parent`` (a directory in /tmp) it
    must be a real directory of this very user, since others could have put it there. Raises
    `SettingsError` when it cannot be made or belongs to somebody else.
    """
    try:
        made = not path.exists()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if made and os.geteuid() == 0 and not shared_parent:
            # Made by sudo in somebody's project, it must not lock that somebody out.
            above = path.parent.stat()
            os.chown(path, above.st_uid, above.st_gid)
        found = path.lstat() if shared_parent else path.stat()
        # root may use what belongs to the user it works for (sudo, a container's volume).
        owners = (found.st_uid,) if shared_parent else (0, found.st_uid)
        if os.geteuid() not in owners or not stat.S_ISDIR(found.st_mode):
            raise SettingsError(
                f"{path} belongs to another user", hint="remove it or choose another directory"
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise SettingsError(
            f"cannot make the directory {path}: {error.strerror}",
            hint="check who owns the directory above it and that the disk has room",
        ) from error
    return path


def shared_run_directory(wanted: Path) -> Path:
    """The stand-in for ``wanted`` where a server of root's runs as another user: that user cannot
    enter a private directory. Only root can make it, so whoever finds it may trust it."""
    return Path("/run") / f"rcsops-{_name_of(wanted)}"


def _name_of(wanted: Path) -> str:
    return hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]


def short_run_directory(wanted: Path) -> Path:
    """``wanted``, or a short private stand-in when a Unix socket's path in it would be too long."""
    if len(os.fsencode(wanted)) + 1 + _LONGEST_SOCKET_NAME <= _SOCKET_PATH_LIMIT:
        return wanted
    name = _name_of(wanted)
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and len(os.fsencode(runtime)) < 60 and os.access(runtime, os.W_OK):
        return Path(runtime) / f"rcsops-{name}"
    # A directory of our own inside /tmp: never the sticky directory itself, where
    # fs.protected_fifos keeps other processes from a FIFO.
    temporary = tempfile.gettempdir()
    if len(os.fsencode(temporary)) >= 60:
        temporary = "/tmp"  # noqa: S108
    return Path(temporary) / f"rcsops-{os.geteuid()}-{name}"
