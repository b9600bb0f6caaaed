"""What ``rcsops install`` is going to do, decided before anything is done."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcsops.errors import EngineError, UsageError
from rcsops.opensips import tree
from rcsops.opensips.build import available_modules, check_modules, check_path
from rcsops.opensips.installed import (
    Installation,
    inspect,
    private_prefix,
    settings_prefix,
)
from rcsops.opensips.needs import Need, build_needs
from rcsops.opensips.packages import install_command, missing_needs
from rcsops.opensips.releases import (
    CORE_PROTOCOLS,
    Release,
    known_release,
    minimal_modules,
    resolve_release,
)
from rcsops.opensips.source import Kind, Origin, no_source, origin_of, version_of
from rcsops.opensips.stage import check_prefix, read_record
from rcsops.settings import Project, refuse_socket

ALL = "all"
MINIMAL = "minimal"


@dataclass(frozen=True, slots=True)
class InstallOptions:
    """What a person asks of `install`; empty means the default.

    ``modules`` are names beyond the minimal set, "minimal" or "all"; ``base`` is the directory
    that relative paths count from.
    """

    release: str = ""
    source: str = ""
    prefix: str = ""
    modules: tuple[str, ...] = ()
    jobs: int = 0
    packages: bool = False
    force: bool = False
    keep_source: bool = False
    allow_modified: bool = False
    base: Path = Path()


@dataclass(frozen=True, slots=True)
class Plan:
    """``modules`` are those that there are in the end, ``building`` those that are built for it;
    ``everything`` asks for upstream's whole set, which the source names.

    ``installed`` is what is in ``prefix`` now; ``core`` whether the server itself is built.
    """

    release: Release
    origin: Origin
    prefix: Path
    home: Path
    modules: tuple[str, ...]
    building: tuple[str, ...]
    everything: bool
    core: bool
    jobs: int
    missing: tuple[Need, ...]
    installed: Installation | None
    options: InstallOptions

    @property
    def source_dir(self) -> Path:
        """Where the source is unpacked and built."""
        return self.home / "src"

    @property
    def log(self) -> Path:
        """Everything that the tools print."""
        return self.home / "install.log"

    @property
    def nothing_to_do(self) -> bool:
        """Whether all of it is there."""
        return not self.core and not self.building and not self.everything

    def steps(self) -> list[str]:
        """The plan, a line for each step."""
        if self.nothing_to_do:
            return [f"nothing: OpenSIPS {self.release.version} is in {self.prefix}"]
        steps = []
        if self.missing:
            names = tuple(need.package for need in self.missing)
            who = "install packages" if self.options.packages else "ask for packages"
            steps.append(f"{who}: {install_command(names)}")
        steps.append(f"take the source of {self.release.version} from {self.origin}")
        steps.append(f"check it: {self._check()}")
        steps.append(f"unpack it in {self.source_dir}")
        if self.core:
            extra = " ".join(self.release.compiler_options)
            steps.append(f"build the server ({self.jobs} jobs{', ' + extra if extra else ''})")
        beyond = ", and all others that need no further library" if self.everything else ""
        count = f"{len(self.building)} modules" if len(self.building) != 1 else "the module"
        steps.append(f"build {count}: {' '.join(self.building)}{beyond}")
        steps.append("check it with opensips -V and opensips -C")
        steps.append(f"put it into {self.prefix} in one step")
        if not self.options.keep_source:
            steps.append(f"remove {self.source_dir}")
        return steps

    def _check(self) -> str:
        if not self.release.known:
            return "not possible, this release is not known"
        allowed = " (other files are allowed)" if self.options.allow_modified else ""
        return f"tree id {self.release.archive_tree}{allowed}"


def plan_install(project: Project, options: InstallOptions) -> Plan:
    """Decides what to do; changes nothing. Raises `UsageError`, `EngineError`, or `SettingsError`
    for a database that no OpenSIPS could use."""
    refuse_socket(chosen_url(project))
    origin = origin_of(options.source, options.base) if options.source else None
    release = _release(project, options, origin)
    prefix = _prefix(project, options, release)
    installed = inspect(prefix) if (prefix / "sbin" / "opensips").exists() else None
    adopted = installed is not None and installed.adopted and not options.prefix
    if not adopted:
        check_prefix(prefix)
    record = read_record(prefix)
    wanted, everything = _modules(project, options, release)
    _check_names(wanted, release, origin)
    core = _needs_core(options, release, installed, record)
    there: tuple[str, ...] = installed.modules if installed is not None else ()
    building: tuple[str, ...] = ()
    if adopted:
        # It is somebody else's: what it lacks is told, not built.
        modules, everything = there, False
    elif core:
        # A new build has at least what the one that it replaces had.
        kept = _kept(record, release) if installed is not None else ()
        modules = building = tuple(sorted({*wanted, *kept}))
        everything = everything or bool(record.get("all"))
    else:
        building = tuple(name for name in wanted if name not in there)
        everything = everything and not record.get("all")
        modules = tuple(sorted({*there, *wanted}))
    home = (project.root or project.state_dir).resolve() / f"opensips-{release.version}"
    work = core or bool(building) or everything
    if work:
        check_path(prefix)
        check_path(home)
    return Plan(
        release=release,
        origin=origin or _recorded_origin(record, release),
        prefix=prefix,
        home=home,
        modules=modules,
        building=building,
        everything=everything,
        core=core,
        jobs=options.jobs or len(os.sched_getaffinity(0)),
        missing=missing_needs(build_needs(building, release.line)) if work else (),
        installed=installed,
        options=options,
    )


def _release(project: Project, options: InstallOptions, origin: Origin | None) -> Release:
    asked = options.release
    found = version_of(origin) if origin is not None else ""
    if origin is not None and not found and origin.kind in (Kind.DIRECTORY, Kind.CHECKOUT):
        raise no_source(origin)
    if not asked and not found:
        asked = project.settings.release
    if origin is None:
        return resolve_release(asked)
    if not asked:
        return known_release(found) or Release(found)
    try:
        release = resolve_release(asked)
    except UsageError:
        # Any release that somebody has the source of; `check` sees to it that it is that one.
        release = Release(asked)
        _ = release.line
    if found and found != release.version:
        raise UsageError(
            f"{origin} is OpenSIPS {found}, not {release.version}",
            hint=f"leave --release out, or type --release {found}",
        )
    return release


def _prefix(project: Project, options: InstallOptions, release: Release) -> Path:
    private = private_prefix(project, release.version)
    if options.prefix:
        return Path(os.path.abspath(options.base / os.path.expanduser(options.prefix)))
    if not project.settings.prefix:
        return private.absolute()
    chosen = Path(os.path.abspath(settings_prefix(project)))
    if read_record(chosen) or not (chosen / "sbin" / "opensips").exists():
        return chosen
    # An adopted one: it serves as it is, or is left alone.
    adopted = inspect(chosen)
    asked = bool(options.release or options.source or options.modules or options.force)
    return private.absolute() if asked or adopted.version != release.version else chosen


def chosen_url(project: Project) -> str:
    """The database URL of the project; "" as long as nobody has chosen one and its own SQLite file
    stands there."""
    url = project.settings.database_url
    return "" if url == f"sqlite:///{project.state_dir / 'rcsops.db'}" else url


def _modules(
    project: Project, options: InstallOptions, release: Release
) -> tuple[tuple[str, ...], bool]:
    settings = project.settings
    minimal = minimal_modules(
        release.line,
        database_url=chosen_url(project),
        mi_transport=settings.mi_transport,
        hep=bool(settings.trace_hep),
        transports=tuple(each.transport for each in settings.listen_addresses),
    )
    named = {name.removesuffix(".so") for name in options.modules}
    extra = named - {ALL, MINIMAL} - {*CORE_PROTOCOLS}
    return tuple(sorted({*minimal, *extra})), ALL in named


def _check_names(modules: tuple[str, ...], release: Release, origin: Origin | None) -> None:
    """Refuses unknown names before anything is fetched, as far as they can be known."""
    if origin is not None and origin.kind in (Kind.DIRECTORY, Kind.CHECKOUT):
        check_modules(modules, available_modules(Path(origin.place)), release.version)
        return
    listed = tree.manifest(release.version) if release.known else None
    if listed is not None and origin is None:
        check_modules(modules, _listed_modules(listed), release.version)


def _listed_modules(paths: Iterable[str]) -> tuple[str, ...]:
    parts = (path.split("/") for path in paths)
    return tuple(p[1] for p in parts if len(p) == 3 and p[0] == "modules" and p[2] == "Makefile")


def _needs_core(
    options: InstallOptions,
    release: Release,
    installed: Installation | None,
    record: dict[str, Any],
) -> bool:
    if installed is None or options.force or installed.version != release.version:
        return True
    if installed.adopted:
        return False
    # What was built from changed sources does not stand for the release, nor the reverse.
    return bool(options.source) and bool(record.get("verified")) == options.allow_modified


def _kept(record: dict[str, Any], release: Release) -> tuple[str, ...]:
    if record.get("version") != release.version:
        return ()
    return tuple(str(name) for name in record.get("modules", ()))


def _recorded_origin(record: dict[str, Any], release: Release) -> Origin:
    """Where the source of what is installed came from, or upstream's archive."""
    place, kind = record.get("source"), record.get("source_kind")
    if record.get("version") == release.version and place and kind:
        try:
            origin = Origin(Kind[str(kind)], str(place))
        except KeyError:
            origin = None
        if origin is not None and (not origin.local or Path(origin.place).exists()):
            return origin
    if not release.known:
        raise EngineError(
            f"the source of OpenSIPS {release.version} is not at {place} any more",
            hint="say where it is with --from",
        )
    return Origin(Kind.URL, release.url)
