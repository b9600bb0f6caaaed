"""Building and installing an OpenSIPS for a project, or taking one that is there."""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rcsops import __version__
from rcsops.errors import EngineError, UsageError
from rcsops.opensips import tree
from rcsops.opensips.build import (
    Build,
    BuildProgress,
    available_modules,
    check_modules,
    default_modules,
    with_dependencies,
)
from rcsops.opensips.installed import Installation, inspect, private_prefix
from rcsops.opensips.needs import Need, build_needs
from rcsops.opensips.packages import (
    DATABASE_SERVER,
    database_server_runs,
    has_database_server,
    install_command,
    install_commands,
    missing_needs,
    run_commands,
    start_commands,
    wants_database_server,
)
from rcsops.opensips.releases import RECOMMENDED
from rcsops.opensips.source import Checked, check, obtain
from rcsops.opensips.stage import (
    install_core,
    keep_configuration,
    make_staging,
    remove_staging,
    staged_prefix,
    swap,
    write_record,
)
from rcsops.operations.init import change_settings
from rcsops.operations.install_plan import InstallOptions, Plan, chosen_url, plan_install
from rcsops.operations.terminations import terminations
from rcsops.settings import Project

__all__ = [
    "BuildProgress",
    "Event",
    "InstallOptions",
    "InstallResult",
    "Plan",
    "Step",
    "Transfer",
    "install",
    "plan_install",
]

# What is written in the last moments before make was killed may be half a file.
_SUSPECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """Something has begun; with ``asks`` it may want the terminal for a question (sudo's)."""

    text: str
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Transfer:
    """So many octets of the source are here; ``total`` is None when nobody knows."""

    done: int
    total: int | None


Event = Step | Transfer | BuildProgress
Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class InstallResult:
    """What there is now.

    ``built`` are the modules that were built for it, ``already`` says that nothing had to be done.
    ``settings`` are the keys of rcsops.toml that were changed, ``warnings`` are for a person.
    """

    version: str
    prefix: Path
    binary: Path
    modules: tuple[str, ...]
    built: tuple[str, ...]
    already: bool
    adopted: bool
    seconds: float
    tree: str
    verified: bool
    settings: Mapping[str, object]
    config_path: Path
    warnings: tuple[str, ...]


def install(
    project: Project,
    options: InstallOptions,
    listener: Listener = lambda event: None,
    *,
    plan: Plan | None = None,
) -> InstallResult:
    """Does what `plan_install` says, and makes OpenSIPS the engine of the project.

    What is installed already stays as it is until the new one is complete and has passed its
    checks; what is compiled already is not compiled again after an interruption. Raises
    `EngineError`, `UsageError` or `SettingsError`.
    """
    plan = plan or plan_install(project, options)
    started = time.monotonic()
    if plan.nothing_to_do:
        assert plan.installed is not None
        return _result(project, plan, plan.installed, (), None, time.monotonic() - started)
    project.make_state_dir()
    try:
        plan.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(f"cannot make {plan.home}: {error.strerror}") from error
    with _lock(plan) as lock, terminations():
        plan.log.write_bytes(b"")
        _packages(project, plan, listener)
        checked = _source(project, plan, listener)
        plan = _complete(plan, listener)
        try:
            said = _build(project, plan, checked, listener, lock)
        finally:
            remove_staging(plan.prefix)
        listener(Step("cleaning up"))
        if not options.keep_source:
            shutil.rmtree(plan.source_dir, ignore_errors=True)
            _state_file(plan).unlink(missing_ok=True)
    seconds = time.monotonic() - started
    result = _result(project, plan, inspect(plan.prefix), plan.building, checked, seconds)
    return replace(result, warnings=(*result.warnings, *said))


def _packages(project: Project, plan: Plan, listener: Listener) -> None:
    server = plan.options.packages and wants_database_server(chosen_url(project))
    more = (DATABASE_SERVER,) if server and not has_database_server() else ()
    _provide(plan, plan.missing, listener, more)
    if server and not database_server_runs():
        listener(Step("starting the database server", asks=True))
        run_commands(start_commands(), plan.log)


def _provide(
    plan: Plan, missing: tuple[Need, ...], listener: Listener, more: tuple[str, ...] = ()
) -> None:
    """Installs packages, or says which command would."""
    packages = (*(need.package for need in missing), *more)
    if not packages:
        return
    if not plan.options.packages:
        raise EngineError(
            f"to build OpenSIPS {plan.release.version} with these modules, "
            f"{'packages are' if len(packages) > 1 else 'a package is'} missing: "
            f"{' '.join(packages)}",
            hint=f"type: {install_command(packages)} (or add --packages, which runs that)",
        )
    listener(Step(f"installing {' '.join(packages)}", asks=True))
    run_commands(install_commands(packages), plan.log)
    for need in missing_needs(missing):
        raise EngineError(
            f"the compiler still does not find {' '.join(need.headers or need.programs)} "
            f"of {need.package}",
            hint=f"see the log: {plan.log}",
        )


def _source(project: Project, plan: Plan, listener: Listener) -> Checked:
    """The source in its place, whole and checked; what was compiled in it before is kept."""
    source, state = plan.source_dir, _read_state(plan)
    if state.get("prefix") != str(plan.prefix):
        # The prefix is compiled in.
        shutil.rmtree(source, ignore_errors=True)
    elif not state.get("clean"):
        _remove_suspects(source)
    if plan.options.force:
        shutil.rmtree(source, ignore_errors=True)
    if source.is_dir() and state.get("verified") and not plan.options.allow_modified:
        with contextlib.suppress(EngineError):
            checked = check(source, plan.release, (), plan.origin)
            _write_state(plan, checked, clean=False)
            return checked
        shutil.rmtree(source, ignore_errors=True)
    listener(Step(f"taking the source of {plan.release.version} from {plan.origin}"))
    checked = obtain(
        plan.origin,
        plan.release,
        source,
        downloads=project.state_dir / "downloads",
        allow_modified=plan.options.allow_modified,
        on_progress=lambda done, total: listener(Transfer(done, total)),
    )
    _write_state(plan, checked, clean=False)
    return checked


def _complete(plan: Plan, listener: Listener) -> Plan:
    """The plan with what only the source can tell: upstream's whole set of modules by name, and
    the modules that those which were named cannot do without."""
    source = plan.source_dir
    check_modules(plan.building, available_modules(source), plan.release.version)
    there = plan.installed.modules if plan.installed is not None and not plan.core else ()
    wanted = {*with_dependencies(plan.building, source)}
    if plan.everything:
        wanted.update(default_modules(source))
    building = tuple(sorted(name for name in wanted if name not in there))
    more = tuple(name for name in building if name not in plan.building)
    _provide(plan, missing_needs(build_needs(more, plan.release.line)), listener)
    return replace(plan, building=building, modules=tuple(sorted({*plan.modules, *building})))


def _build(
    project: Project, plan: Plan, checked: Checked, listener: Listener, lock: int
) -> tuple[str, ...]:
    """Builds, checks and puts it into place; returns what a person should know of it."""
    stage = make_staging(plan.prefix, copy_from=None if plan.core else plan.prefix)
    staged = staged_prefix(stage, plan.prefix)
    build = Build(
        release=plan.release,
        source=plan.source_dir,
        prefix=plan.prefix,
        stage=stage,
        modules=plan.building,
        jobs=plan.jobs,
        core=plan.core,
    )
    what = f"OpenSIPS {plan.release.version}" if plan.core else ", ".join(plan.building)
    listener(Step(f"building {what}"))
    try:
        build.run(plan.log, listener, lock=lock)
    except BaseException:
        # make was told to end and has ended: nothing is half written.
        _write_state(plan, checked, clean=True)
        raise
    _write_state(plan, checked, clean=True)
    if plan.core:
        install_core(plan.source_dir, staged)
        if plan.installed is not None:
            keep_configuration(plan.prefix, staged)
    write_record(
        staged,
        {
            "version": plan.release.version,
            "modules": plan.modules,
            "all": plan.everything,
            "source": plan.origin.place,
            "source_kind": plan.origin.kind.name,
            "tree": checked.tree,
            "verified": checked.verified,
            "prefix": str(plan.prefix),
            "compiler_options": plan.release.compiler_options,
            "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "rcsops": __version__,
        },
    )
    # The templates' engine is not needed to see that there is nothing to do.
    from rcsops.operations.install_check import check_staged

    listener(Step("checking what was built"))
    said = check_staged(project, plan, inspect(staged))
    listener(Step(f"putting it into {plan.prefix}"))
    swap(stage, plan.prefix)
    return said


def _result(
    project: Project,
    plan: Plan,
    installation: Installation,
    built: tuple[str, ...],
    checked: Checked | None,
    seconds: float,
) -> InstallResult:
    private = private_prefix(project, installation.version)
    changed = change_settings(
        project,
        {
            "engine": "opensips",
            "release": installation.version,
            "prefix": None if _same(plan.prefix, private) else str(plan.prefix),
        },
    )
    return InstallResult(
        version=installation.version,
        prefix=installation.prefix,
        binary=installation.binary,
        modules=installation.modules,
        built=built,
        already=checked is None,
        adopted=installation.adopted,
        seconds=round(seconds, 1),
        tree=checked.tree if checked else "",
        verified=checked.verified if checked else False,
        settings=changed,
        config_path=project.config_path,
        warnings=tuple(_warnings(project, plan, installation, checked)),
    )


def _same(one: Path, other: Path) -> bool:
    return os.path.abspath(one) == os.path.abspath(other)


def _warnings(
    project: Project, plan: Plan, installation: Installation, checked: Checked | None
) -> Iterator[str]:
    yield from release_warnings(installation)
    if checked is not None and not checked.verified:
        differing = checked.differences.text()
        yield f"its source is not upstream's{f': {differing}' if differing else ''}"
    lacking = [name for name in plan.modules if name not in installation.modules]
    if lacking:
        yield f"it lacks modules that rcsops makes use of: {', '.join(lacking)}"
    wanted = checked is not None and wants_database_server(chosen_url(project))
    if wanted and not has_database_server():
        command = install_command((DATABASE_SERVER,))
        yield f"there is no database server on this machine yet: {command}"


def release_warnings(installation: Installation) -> Iterator[str]:
    """What a person must know before they put this release on a network."""
    release = installation.release
    if release is not None and release.ended:
        yield (
            f"the support of {release.version} ended in 2021: it is not for the open Internet; "
            f"production should take: rcsops install --release {RECOMMENDED}"
        )


@contextlib.contextmanager
def _lock(plan: Plan) -> Iterator[int]:
    """One at a time: two would write the same objects."""
    try:
        handle = os.open(plan.home / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EngineError(f"cannot write {plan.home}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another rcsops install is at work in {plan.home}",
                hint="wait until it is done, or end it",
            ) from None
        yield handle
    finally:
        os.close(handle)


def _state_file(plan: Plan) -> Path:
    return plan.home / ".state.json"


def _read_state(plan: Plan) -> dict[str, object]:
    with contextlib.suppress(OSError, ValueError):
        state = json.loads(_state_file(plan).read_text(encoding="utf-8"))
        if isinstance(state, dict):
            return state
    return {}


def _write_state(plan: Plan, checked: Checked, *, clean: bool) -> None:
    state = {"prefix": str(plan.prefix), "verified": checked.verified, "clean": clean}
    _state_file(plan).write_text(json.dumps(state), encoding="utf-8")


def _remove_suspects(source: Path) -> None:
    """After a kill -9 the objects of the last moments may be cut off: they are made again."""
    objects = [path for path in tree.files_below(source) if path.endswith((".o", ".so", ".a"))]
    times = {path: (source / path).stat().st_mtime for path in objects}
    newest = max(times.values(), default=0.0)
    for path, changed in times.items():
        if changed > newest - _SUSPECT_SECONDS:
            (source / path).unlink(missing_ok=True)
