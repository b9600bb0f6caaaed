"""The machine: Python, compiler and packages, limits, disk, clock, and who may read our files."""

import datetime
import importlib.metadata
import os
import pwd
import re
import resource
import shlex
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rcsops.database.engine import open_engine, reading
from rcsops.errors import RcsopsError
from rcsops.opensips.installed import find
from rcsops.opensips.needs import build_needs
from rcsops.opensips.packages import install_command, missing_needs
from rcsops.opensips.releases import minimal_modules, resolve_release
from rcsops.operations.doctor.finding import Finding, bad, good, note, warn
from rcsops.settings import Project

__all__ = ["clock", "compiler", "disk", "limits", "private_files", "python"]

_FILES = 1024
_ROOM = 200_000_000
_NEVER_BEFORE = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_SKEW = datetime.timedelta(seconds=120)
_SERVER_SKEW = 5.0
_LEAST = re.compile(r">=\s*([0-9.]+[0-9])")
_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_PACKAGE = re.compile(r"^([A-Za-z0-9._-]+)([^;]*)(?:;(.*))?$")


def python(project: Project) -> Iterator[Finding]:
    """Whether the Python packages that rcsops needs are there."""
    missing = dict(_missing_packages())
    if project.settings.database_url.startswith(("mysql", "mariadb")) and not _has("mysqlclient"):
        yield bad(
            "python",
            "the Python package mysqlclient, for MySQL and MariaDB, is not installed",
            f"{_pip_install(['mysqlclient'])} (it is compiled: first install "
            "default-libmysqlclient-dev, gcc, pkg-config and Python's headers)",
        )
    if missing:
        yield bad(
            "python",
            f"Python packages are missing or too old: {', '.join(missing)}",
            _pip_install(missing.values()),
        )
    else:
        version = ".".join(map(str, sys.version_info[:3]))
        yield good("python", f"Python {version}, and every package that rcsops needs")


def _pip_install(requirements: Iterable[str]) -> str:
    """The command for the Python that runs here: it may be that of a virtual environment."""
    return shlex.join([sys.executable, "-m", "pip", "install", *requirements])


def _missing_packages() -> Iterator[tuple[str, str]]:
    """What to call it and the requirement (``dnspython>=2.6``) of each that is missing or older."""
    try:
        wanted = importlib.metadata.requires("rcsops") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for text in wanted:
        match = _PACKAGE.match(text)
        if match is None or match[3]:
            continue
        name, least = match[1], _LEAST.search(match[2])
        if not _has(name):
            yield name, text
        elif least is not None:
            there = importlib.metadata.version(name)
            if _numbers(there) < _numbers(least[1]):
                yield f"{name} ({there}, not {least[1]} or later)", text


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: enough for a bound from below."""
    found = _NUMBERS.match(version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _has(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def compiler(project: Project) -> Iterator[Finding]:
    """Whether an OpenSIPS could be built, where one is to be."""
    if project.settings.engine != "opensips":
        yield note("compiler", "not looked at: the embedded server needs no compiler")
        return
    try:
        if find(project) is not None:
            yield note("compiler", "not looked at: an OpenSIPS is installed")
            return
        release = resolve_release(project.settings.release)
    except RcsopsError as error:
        yield bad("compiler", str(error), error.hint or "")
        return
    settings = project.settings
    modules = minimal_modules(
        release.line,
        database_url=settings.database_url,
        mi_transport=settings.mi_transport,
        hep=bool(settings.trace_hep),
        transports=tuple(each.transport for each in settings.listen_addresses),
    )
    missing = missing_needs(build_needs(modules, release.line))
    if missing:
        names = [need.package for need in missing]
        yield bad(
            "compiler",
            f"packages that OpenSIPS {release.version} is built with are missing: "
            f"{', '.join(names)}",
            install_command(names),
        )
    else:
        yield good("compiler", f"everything that OpenSIPS {release.version} is built with")


def limits(_project: Project) -> Iterator[Finding]:
    """Whether a server may have enough files and sockets open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        yield warn(
            "limits",
            f"a process may have {soft} files and sockets open: one for each connection",
            f"ulimit -n {min(hard, 65536) if hard > 0 else 65536} before rcsops start",
        )
    else:
        yield good("limits", f"a process may have {soft} files and sockets open")


def disk(project: Project) -> Iterator[Finding]:
    """Whether there is room for the database, files and logs."""
    place = project.state_dir
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < _ROOM:
        yield bad(
            "disk",
            f"{free // 1_000_000} MB are free at {place}",
            "make room there: old logs (rcsops status names them), opensips-*/ sources",
        )
    else:
        yield good("disk", f"{free // 1_000_000_000} GB are free at {place}")


def clock(project: Project) -> Iterator[Finding]:
    """Whether the time is right, as far as that can be seen from here."""
    now = datetime.datetime.now(datetime.UTC)
    if now < _NEVER_BEFORE:
        yield bad(
            "clock", f"it is {now:%Y-%m-%d} by the clock, which cannot be", "timedatectl set-ntp on"
        )
        return
    newest = max(map(_changed, _own_files(project)), default=now)
    if newest > now + _SKEW:
        yield bad(
            "clock",
            f"a file of this project was written at {newest:%Y-%m-%d %H:%M} UTC, which is still to "
            "come: the clock has been set back",
            "timedatectl set-ntp on",
        )
        return
    ahead = _database_ahead(project)
    if ahead is not None and abs(ahead) > _SERVER_SKEW:
        yield warn(
            "clock",
            f"the database server's clock is {abs(ahead):.0f} s "
            f"{'ahead of' if ahead > 0 else 'behind'} this one: registrations end too "
            f"{'early' if ahead > 0 else 'late'}",
            "set both machines' clocks by NTP: timedatectl set-ntp on",
        )
        return
    yield good("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _own_files(project: Project) -> Iterator[Path]:
    for place in (project.directory, project.state_dir, project.run_dir):
        try:
            yield from (path for path in place.iterdir() if path.is_file())
        except OSError:
            continue


def _changed(path: Path) -> datetime.datetime:
    try:
        return datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
    except (OSError, OverflowError, ValueError):
        return _NEVER_BEFORE


def _database_ahead(project: Project) -> float | None:
    url = project.settings.database_url
    if url.startswith("sqlite"):
        return None
    from sqlalchemy import text

    try:
        with reading(open_engine(url), url) as connection:
            theirs = connection.execute(text("SELECT UNIX_TIMESTAMP(NOW(6))")).scalar_one()
    except RcsopsError:
        return None
    return float(theirs) - datetime.datetime.now(datetime.UTC).timestamp()


def _other_owner(path: Path) -> str:
    """Who owns it; "" when that is the user who runs this."""
    number = path.stat().st_uid
    if number == os.geteuid():
        return ""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"


def private_files(project: Project) -> Iterator[Finding]:
    """Whether what holds secrets is for its owner only, and open to us."""
    state = project.state_dir
    if state.is_dir() and not os.access(state, os.R_OK | os.X_OK):
        who = _other_owner(state)
        yield bad(
            "secrets",
            f"{state} is closed to you; it belongs to {who or 'you'}. Nothing of the database, the "
            "credentials and the server can be seen from here",
            f"sudo -u {who} rcsops doctor" if who else f"chmod 700 {state}",
        )
        return
    names = ["credentials.json", "secrets.json", "rcsops.db", "run/secrets.cfg"]
    paths = [project.state_dir / name for name in names]
    pair = project.certificate
    if pair is not None:
        paths.append(pair[1])
    found = False
    for path in paths:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        found = True
        if mode & 0o007 or (mode & 0o070 and path.name != "secrets.cfg"):
            yield bad("secrets", f"others may read {path} (mode {mode:04o})", f"chmod 600 {path}")
            return
    yield good("secrets", "for their owner only" if found else "there are none yet")
