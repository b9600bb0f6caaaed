"""Putting a build in its place: a staging prefix beside the final one, checks, one step over."""

import ctypes
import errno
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rcsops.errors import EngineError, UsageError
from rcsops.opensips.installed import RECORD_NAME, Installation

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CHECK_SECONDS = 60.0
_RECORD_FORMAT = 1

_DEPENDS = re.compile(r"module (\w+) depends on ")
_NO_LISTENER = re.compile(r"No binding found for protocol (\w+)")

# Directories that other programs use too: what is in them cannot be swapped as a whole.
_SHARED = ("/", "/usr", "/usr/local", "/opt", "/bin", "/etc", "/home", "/root", "/srv", "/var")


def check_prefix(prefix: Path) -> None:
    """Raises `UsageError` for a prefix that is not ours to replace as a whole."""
    shared = str(prefix) in _SHARED or str(prefix) == os.path.expanduser("~")
    if shared or (
        prefix.exists() and not (prefix / RECORD_NAME).is_file() and _has_entries(prefix)
    ):
        raise UsageError(
            f"{prefix} holds other things than an OpenSIPS of rcsops, which would be replaced",
            hint=f"name a directory for it alone, such as --prefix {prefix}/opensips; "
            "to use an OpenSIPS that is there: rcsops install --adopt PATH",
        )


def _has_entries(directory: Path) -> bool:
    if not directory.is_dir():
        return True
    try:
        return any(directory.iterdir())
    except OSError as error:
        raise UsageError(f"cannot look into {directory}: {error.strerror}") from error


def staging_directory(prefix: Path) -> Path:
    """Where the build for ``prefix`` is put together: beside it, on the same file system."""
    return prefix.parent / f".{prefix.name}.rcsops-staging"


def make_staging(prefix: Path, *, copy_from: Path | None = None) -> Path:
    """Makes an empty staging directory, or one with a copy of the installation that modules are
    added to; returns the directory below which ``prefix`` counts."""
    stage = staging_directory(prefix)
    remove_staging(prefix)
    staged = staged_prefix(stage, prefix)
    try:
        if copy_from is not None:
            shutil.copytree(copy_from, staged, symlinks=True)
        else:
            staged.mkdir(parents=True)
    except OSError as error:
        place = error.filename or stage
        raise EngineError(
            f"cannot write {place}: {error.strerror or error}",
            hint="choose another --prefix, or type the command as the owner of that directory",
        ) from error
    return stage


def staged_prefix(stage: Path, prefix: Path) -> Path:
    """Where the files of ``prefix`` are while they are put together."""
    return stage / prefix.relative_to("/")


def remove_staging(prefix: Path) -> None:
    """Removes what a build that did not end has left beside ``prefix``."""
    aside = _aside(prefix)
    if aside.exists() and not prefix.exists():
        os.rename(aside, prefix)
    shutil.rmtree(staging_directory(prefix), ignore_errors=True)


def install_core(source: Path, staged: Path) -> None:
    """Puts the server itself into the staged prefix.

    Upstream's target for it builds menuconfig as well, a program of its own that needs curses.
    """
    target = staged / "sbin" / "opensips"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / "opensips", target)
        target.chmod(0o755)
    except OSError as error:
        place = error.filename or target
        raise EngineError(f"cannot install {place}: {error.strerror or error}") from error


def keep_configuration(prefix: Path, staged: Path) -> None:
    """Takes over what a person has put into ``etc`` of the installation that is replaced."""
    old = prefix / "etc"
    if old.is_dir():
        shutil.copytree(old, staged / "etc", symlinks=True, dirs_exist_ok=True)


def check_modules_load(installation: Installation) -> tuple[str, ...]:
    """Lets the server load every one of its modules; raises `EngineError` for the first that it
    cannot, with the loader's own words.

    Returns those that want another module which is not there: they are whole, but of no use alone.
    """
    logging = "log_stderror=yes" if installation.line <= (3, 0) else "stderror_enabled=yes"
    listen = "listen" if installation.line <= (3, 0) else "socket"
    head = f'{logging}\n{listen}=udp:127.0.0.1:5060\nmpath="{installation.modules_dir}/"\n'
    names = ["proto_udp", *(each for each in installation.modules if each != "proto_udp")]
    lonely: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rcsops-") as directory:
        config = Path(directory) / "opensips.cfg"
        while True:
            load = "".join(f'loadmodule "{name}.so"\n' for name in names)
            config.write_text(f"{head}{load}route {{ exit; }}\n", encoding="utf-8")
            said = _complaints(installation, config)
            wanting = {match for match in _DEPENDS.findall(said or "") if match in names}
            # From 4.0 on a transport without a listener is an error; it has been loaded, though.
            silent = {match for match in _NO_LISTENER.findall(said or "") if match in names}
            if not wanting | silent:
                break
            lonely += wanting
            names = [name for name in names if name not in wanting | silent]
        _raise_complaint(said)
    return tuple(sorted(lonely))


def _complaints(installation: Installation, config: Path) -> str | None:
    """What ``opensips -C`` prints about a configuration that it does not take, None if it does."""
    command = [str(installation.binary), "-C", "-f", str(config), "-w", str(config.parent)]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_CHECK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError(f"{' '.join(command)}: {error}") from error
    if done.returncode == 0:
        return None
    return done.stderr.decode("utf-8", "replace") or f"it ended with code {done.returncode}"


def _raise_complaint(said: str | None) -> None:
    if said is None:
        return
    lines = said.splitlines()
    errors = [line for line in lines if "ERROR:" in line or "CRITICAL:" in line] or lines[-1:]
    raise EngineError(
        f"the OpenSIPS that was built does not take its configuration: {errors[0].strip()}",
        hint="nothing was installed; build it again with --force, or leave that module out",
    )


def write_record(staged: Path, facts: Mapping[str, Any]) -> None:
    """Leaves in the prefix what was built, from what and how."""
    text = json.dumps({"format": _RECORD_FORMAT, **facts}, indent=1)
    (staged / RECORD_NAME).write_text(text + "\n", encoding="utf-8")


def read_record(prefix: Path) -> dict[str, Any]:
    """What `write_record` has left there, {} when nothing of use."""
    try:
        facts = json.loads((prefix / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and facts.get("format") == _RECORD_FORMAT else {}


def swap(stage: Path, prefix: Path) -> None:
    """Puts the staged prefix in the place of ``prefix`` in one step: at no time is there none or
    half of one. Raises `EngineError`, after which the old one is as it was."""
    staged = staged_prefix(stage, prefix)
    try:
        if not prefix.exists():
            os.rename(staged, prefix)
        elif not _has_entries(prefix):
            # rename(2) takes the place of an empty directory.
            os.rename(staged, prefix)
        else:
            _exchange(staged, prefix)
    except OSError as error:
        raise EngineError(
            f"cannot put {prefix} into place: {error.strerror or error}",
            hint="what was there before is unchanged",
        ) from error
    shutil.rmtree(stage, ignore_errors=True)


def _exchange(staged: Path, prefix: Path) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    rename = getattr(library, "renameat2", None)
    code = errno.ENOSYS
    if rename is not None:
        names = os.fsencode(staged), os.fsencode(prefix)
        if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
    if code not in (errno.ENOSYS, errno.EINVAL, errno.EXDEV):
        raise OSError(code, os.strerror(code), str(prefix))
    # A file system without the exchange: two steps, and back again if the second fails.
    aside = _aside(prefix)
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(prefix, aside)
    try:
        os.rename(staged, prefix)
    except OSError:
        os.rename(aside, prefix)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _aside(prefix: Path) -> Path:
    return prefix.with_name(f".{prefix.name}.rcsops-old")
