"""The support bundle: what helps another to help, and no secret in it."""

import contextlib
import importlib.metadata
import io
import json
import os
import platform
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rcsops import __version__
from rcsops.errors import RcsopsError, UsageError
from rcsops.opensips.installed import find
from rcsops.operations import config
from rcsops.operations.doctor.finding import Finding
from rcsops.server.run_files import RunFiles
from rcsops.settings import Project
from rcsops.settings.database_url import url_password

__all__ = ["write_bundle"]

_LOG_OCTETS = 512 << 10
_SECONDS = 20.0
_HIDDEN = "(hidden)"
# Credentials of digests, passwords in URLs, and settings whose name tells what they are.
_PATTERNS = (
    re.compile(r"(?im)^((?:proxy-)?authorization|authentication-info)\s*:.*$"),
    re.compile(r"(?i)\b(response|nonce|cnonce|opaque|rspauth|nextnonce)=\"[^\"]*\""),
    re.compile(r"(?i)(://[^:@/\s\"']*):[^@/\s\"']*@"),
    re.compile(r"(?im)^([\s#]*[\w.-]*(?:password|secret|passwd)[\w.-]*\s*=\s*).*$"),
)
_WITH = (rf"\1: {_HIDDEN}", rf'\1="{_HIDDEN}"', rf"\1:{_HIDDEN}@", rf"\1{_HIDDEN}")
_SHORTEST = 6


def write_bundle(path: Path, project: Project | None, findings: Sequence[Finding]) -> list[str]:
    """Writes a .tar.gz (0600) and returns the names in it.

    Files that hold secrets are left out, and what is known as a secret here, or looks like one, is
    hidden in the others. Raises UsageError when the file cannot be written.
    """
    hide = _Hider(project)
    written: list[str] = []
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise UsageError(f"there is a file {path} already", hint="choose another name") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in _contents(project, findings):
            data = hide(text).encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"rcsops-support/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(data))
            written.append(name)
    return written


class _Hider:
    """Takes secrets out of a text: those that are known here, and what looks like one."""

    def __init__(self, project: Project | None) -> None:
        self._known = sorted(_secrets(project), key=len, reverse=True) if project else []

    def __call__(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, _HIDDEN)
        for pattern, hidden in zip(_PATTERNS, _WITH, strict=True):
            text = pattern.sub(hidden, text)
        return text


def _secrets(project: Project) -> set[str]:
    found = {url_password(project.settings.database_url) or ""}
    for name in ("secrets.json", "credentials.json"):
        with contextlib.suppress(OSError, ValueError):
            found |= set(_strings(json.loads((project.state_dir / name).read_text("utf-8"))))
    with contextlib.suppress(OSError):
        text = config.config_files(project).secrets.read_text("utf-8", "replace")
        found |= set(re.findall(r'"([^"\s]+)"', text))
    return {each for each in found if len(each) >= _SHORTEST}


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)


def _contents(project: Project | None, findings: Sequence[Finding]) -> Iterator[tuple[str, str]]:
    yield "findings.json", json.dumps([_plain(each) for each in findings], indent=2)
    yield "versions.txt", "\n".join(_versions(project)) + "\n"
    if project is None:
        return
    files = RunFiles(project.run_dir)
    for name, path in (
        ("rcsops.toml", project.config_path),
        ("opensips.cfg", config.config_files(project).main),
        ("server.log", files.log),
        ("install.log", project.state_dir / "install.log"),
    ):
        text = _end_of(path)
        if text:
            yield name, text


def _plain(finding: Finding) -> dict[str, str]:
    return {name: getattr(finding, name) for name in ("subject", "level", "text", "mend")}


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_OCTETS))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _versions(project: Project | None) -> Iterator[str]:
    yield f"rcsops {__version__}"
    yield f"Python {platform.python_version()}, {platform.platform()}"
    with contextlib.suppress(OSError):
        yield platform.freedesktop_os_release().get("PRETTY_NAME", "")
    for wanted in importlib.metadata.requires("rcsops") or []:
        if "extra ==" in wanted and "mysql" not in wanted:
            continue
        name = re.split(r"[^A-Za-z0-9._-]", wanted, maxsplit=1)[0]
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield f"{name} {importlib.metadata.version(name)}"
    if project is None:
        return
    with contextlib.suppress(RcsopsError, OSError, subprocess.SubprocessError):
        installation = find(project)
        if installation is not None:
            done = subprocess.run(  # noqa: S603
                [str(installation.binary), "-V"],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
            yield done.stdout + done.stderr
