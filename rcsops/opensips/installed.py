"""What OpenSIPS is on this machine: found, asked for its version, its parts located."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rcsops.errors import EngineError, UsageError
from rcsops.opensips.releases import (
    Line,
    Release,
    known_release,
    release_line,
    resolve_release,
)
from rcsops.settings import Project

# What `rcsops install` leaves in a prefix that it made.
RECORD_NAME = "rcsops-install.json"

_VERSION = re.compile(rb"^version: opensips (\S+)", re.MULTILINE)
_VERSION_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Installation:
    """An OpenSIPS that can be run: ``prefix`` is the directory above ``sbin``.

    ``scripts_dir`` is where the SQL scripts of its schema are, None when it came without any.
    ``release`` is None for a version that is not known by name; ``adopted``: not built by rcsops.
    """

    version: str
    prefix: Path
    binary: Path
    modules_dir: Path
    scripts_dir: Path | None
    modules: tuple[str, ...]
    release: Release | None
    adopted: bool

    @property
    def line(self) -> Line:
        """Major and minor number."""
        return release_line(self.version)


def private_prefix(project: Project, version: str) -> Path:
    """Where ``rcsops install`` puts a release unless told otherwise."""
    return project.state_dir / "opensips" / version


def settings_prefix(project: Project) -> Path:
    """The prefix that the settings of the project name: their ``prefix``, or the private one of
    their ``release``."""
    if project.settings.prefix:
        return project.directory / os.path.expanduser(project.settings.prefix)
    try:
        version = resolve_release(project.settings.release).version
    except UsageError:
        version = project.settings.release
    return private_prefix(project, version)


def find(project: Project) -> Installation | None:
    """The OpenSIPS of the project, None when none is installed where its settings say.

    Raises `EngineError` when what is there cannot be run.
    """
    prefix = settings_prefix(project)
    try:
        there = (prefix / "sbin" / "opensips").exists()
    except PermissionError as error:
        raise EngineError(
            f"cannot look into {prefix}: {error.strerror}",
            hint="type it as the owner of this project",
        ) from error
    return inspect(prefix) if there else None


def inspect(place: Path) -> Installation:
    """The OpenSIPS with this prefix or binary, by its own word; raises `EngineError`."""
    binary = place / "sbin" / "opensips" if place.is_dir() else place
    if not binary.exists():
        raise EngineError(
            f"there is no OpenSIPS in {place}",
            hint="name the directory above sbin/opensips, or that program",
        )
    version = _version(binary)
    # A link such as /usr/sbin/opensips -> /opt/opensips/sbin/opensips leads to the real prefix.
    binary = binary.absolute() if place.is_dir() else binary.resolve()
    prefix = binary.parent.parent
    modules_dir = _modules_dir(prefix)
    scripts = prefix / "share" / "opensips"
    return Installation(
        version=version,
        prefix=prefix,
        binary=binary,
        modules_dir=modules_dir,
        scripts_dir=scripts if any(scripts.glob("*/standard-create.sql")) else None,
        modules=tuple(sorted(each.stem for each in modules_dir.glob("*.so"))),
        release=known_release(version),
        adopted=not (prefix / RECORD_NAME).is_file(),
    )


def _version(binary: Path) -> str:
    try:
        shown = subprocess.run(  # noqa: S603
            [binary, "-V"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EngineError(f"{binary} cannot be run: {reason}") from error
    match = _VERSION.search(shown.stdout)
    if match is None:
        said = (shown.stderr or shown.stdout).decode("utf-8", "replace").strip()[-300:]
        raise EngineError(f"{binary} -V does not say that it is OpenSIPS: {said or 'nothing'}")
    return match[1].decode("ascii", "replace")


def _modules_dir(prefix: Path) -> Path:
    for pattern in ("lib64", "lib", "lib/*-linux-*"):
        for library in sorted(prefix.glob(pattern)):
            found = library / "opensips" / "modules"
            if found.is_dir():
                return found
    raise EngineError(
        f"the OpenSIPS in {prefix} has no modules",
        hint="install its packages of modules, or build one: rcsops install",
    )
