"""The configuration of a real OpenSIPS: render it, look it over, show what a person changed."""

import contextlib
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from rcsops.errors import DatabaseError, EngineError, SettingsError
from rcsops.opensips.config import ConfigModel, Rendered, Secrets, Tls, driver, opensips_url, render
from rcsops.opensips.config.check import check as check_by_opensips
from rcsops.opensips.config.cli_config import CLI, render_cli
from rcsops.opensips.config.kept import KeptFiles, difference
from rcsops.opensips.config.lint import lint
from rcsops.opensips.config.model import is_loopback
from rcsops.opensips.config.problem import Problem
from rcsops.opensips.config.render import SECRETS
from rcsops.opensips.installed import Installation, find, settings_prefix
from rcsops.opensips.releases import (
    HEP_MODULES,
    minimal_modules,
    release_line,
    resolve_release,
)
from rcsops.settings import Listen, Project, private_directory

_SECRET_NAMES = ("opensips:auth_secret", "opensips:route_key", "opensips:stored_key")


@dataclass(frozen=True, slots=True)
class ConfigPlan:
    """A rendered configuration that is not written yet.

    ``changed_by_hand`` are the files in which a person's changes would be lost.
    """

    path: Path
    release: str
    installed: bool
    rendered: Rendered
    current: bool
    changed_by_hand: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConfigWritten:
    """``written`` are the files that are new or different; ``kept`` what a person had changed."""

    path: Path
    written: tuple[str, ...]
    kept: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class ConfigChecked:
    """``version`` is that of the OpenSIPS that was asked, "" when none is installed."""

    path: Path
    version: str
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether a server can start with it."""
        return all(each.warning for each in self.problems)


@dataclass(frozen=True, slots=True)
class ConfigShown:
    """The configuration as it stands in its file."""

    path: Path
    text: str
    changed_by_hand: bool


def config_files(project: Project) -> KeptFiles:
    """Where the configuration of a project is.

    That is its run directory; or, where that had to be moved for its sockets' sake to a place that
    does not outlive a restart of the machine, where it would have been.
    """
    return KeptFiles(project.state_dir / "run")


def plan(project: Project, *, release: str | None = None) -> ConfigPlan:
    """Renders the configuration of a project, for the OpenSIPS that is installed, or for
    ``release``.

    Raises `SettingsError` for settings that no OpenSIPS can be given.
    """
    files = config_files(project)
    private_directory(project.make_state_dir() / "run")
    installation = None if release else find(project)
    version = installation.version if installation else _release_version(project, release)
    model = config_model(project, installation, version)
    known = _secrets(project)
    files_of_server = render(model, known).files
    scripts = installation.scripts_dir if installation else None
    for_cli = render_cli(
        run_dir=model.run_dir,
        state_dir=str(project.state_dir),
        schema_path=str(scripts or settings_prefix(project) / "share" / "opensips"),
        domain=model.domain,
        mi_transport=project.settings.mi_transport,
        mi_http=project.settings.mi_http,
        database_url=known.database_url,
    )
    rendered = Rendered({**files_of_server, CLI: for_cli})
    return ConfigPlan(
        path=files.main,
        release=version,
        installed=installation is not None,
        rendered=rendered,
        current=all(files.text(name) == text for name, text in rendered.files.items()),
        changed_by_hand=files.changed_by_hand(),
    )


def write(project: Project, planned: ConfigPlan) -> ConfigWritten:
    """Writes what `plan` rendered; a person's changes are kept beside it, as ``NAME.old``.

    Raises `SettingsError`.
    """
    files = config_files(project)
    private_directory(project.make_state_dir() / "run")
    written = files.write(planned.rendered)
    kept = [name for name in planned.changed_by_hand if name in written]
    return ConfigWritten(
        files.main, written, tuple(files.directory / f"{name}.old" for name in kept)
    )


def ready(project: Project) -> Path:
    """The configuration to start a server with: what a person made of it is left as it is,
    otherwise it follows the settings. Raises `SettingsError`."""
    planned = plan(project)
    if planned.changed_by_hand:
        # Only secrets.cfg can be missing then, or be older than the password of the database.
        files = config_files(project)
        missing = {
            name: text
            for name, text in planned.rendered.files.items()
            if name not in planned.changed_by_hand
        }
        files.write(Rendered(missing))
        return files.main
    return write(project, planned).path


def check(project: Project, path: Path | None = None, *, database: bool = True) -> ConfigChecked:
    """Looks a configuration over: by the OpenSIPS of the project, where there is one, and for what
    that does not see.

    Raises `SettingsError` when there is no such file, `EngineError` when OpenSIPS cannot be run.
    """
    own = path is None
    path = path.absolute() if path else config_files(project).main
    if not path.is_file():
        raise SettingsError(f"there is no file {path}", hint="make it: rcsops config render")
    project.make_run_dir()
    installation = find(project)
    problems = check_by_opensips(installation, path) if installation else []
    line = installation.line if installation else None
    if line is None:
        with contextlib.suppress(SettingsError):
            line = release_line(_release_version(project, None))
    seen = {(each.file, each.line) for each in problems}
    problems += [
        each
        for each in lint(path, line=line, database=database)
        if (each.file, each.line) not in seen
    ]
    if own and _names_another_database(project):
        hint = "type: rcsops config render, as secrets.cfg names the database otherwise than the "
        hint += "project does by now"
        secret_file = str(config_files(project).directory / SECRETS)
        problems = [
            replace(each, hint=hint) if each.file == secret_file else each for each in problems
        ]
    problems.sort(key=lambda each: (each.warning, each.file != str(path), each.file, each.line))
    return ConfigChecked(path, installation.version if installation else "", tuple(problems))


def _names_another_database(project: Project) -> bool:
    """Whether what was rendered has another address or password of the database than the project:
    either may have changed since."""
    text = config_files(project).text(SECRETS)
    try:
        return text is not None and opensips_url(project.settings.database_url) not in text
    except SettingsError:
        return False


def show(project: Project) -> ConfigShown:
    """The configuration as it is; raises `SettingsError` when there is none."""
    files = config_files(project)
    text = files.text(files.main.name)
    if text is None:
        raise SettingsError("there is no configuration yet", hint="make it: rcsops config render")
    return ConfigShown(files.main, text, files.main.name in files.changed_by_hand())


def diff(project: Project, *, pending: bool = False) -> list[str]:
    """What a person changed in opensips.cfg since it was rendered; or, ``pending``, what rendering
    it now would change. Lines of a unified diff.

    Raises `SettingsError` when there is no configuration, or it was never rendered here.
    """
    shown = show(project)
    if pending:
        new = plan(project).rendered.text
        return difference(shown.text, new, str(shown.path), "as it would be rendered")
    old = config_files(project).rendered_text()
    if old is None:
        raise SettingsError(
            f"{shown.path} was not made by rcsops",
            hint="compare it with what would be rendered: rcsops config diff --pending",
        )
    return difference(old, shown.text, "as it was rendered", str(shown.path))


def config_model(project: Project, installation: Installation | None, version: str) -> ConfigModel:
    """What the templates are given for a project; raises `SettingsError`."""
    settings = project.settings
    line = installation.line if installation else release_line(version)
    listen = _expanded(settings.listen_addresses)
    transports = tuple(address.transport for address in listen)
    if installation:
        modules_dir = installation.modules_dir
        modules = installation.modules
    else:
        modules_dir = settings_prefix(project) / "lib64" / "opensips" / "modules"
        modules = minimal_modules(
            line,
            database_url=settings.database_url,
            mi_transport=settings.mi_transport,
            hep=bool(settings.trace_hep),
            transports=transports,
        )
    lacking = [name for name in HEP_MODULES if settings.trace_hep and name not in modules]
    if lacking:
        raise SettingsError(
            f"hep in [trace] needs modules that this OpenSIPS lacks: {', '.join(lacking)}",
            hint="to build them: rcsops install; or leave hep out of rcsops.toml",
        )
    return ConfigModel(
        line=line,
        domain=settings.domain,
        listen=tuple(map(str, listen)),
        config_dir=str(config_files(project).directory),
        run_dir=str(project.run_dir),
        modules_dir=str(modules_dir),
        modules=frozenset(modules),
        driver=driver(settings.database_url),
        digest_algorithms=_algorithms(project, line),
        mi_group=settings.mi_group,
        mi_http=settings.mi_http if settings.mi_transport == "http" else "",
        hep=settings.trace_hep,
        tls=_tls(project),
        min_expires=settings.registrar_min_expires,
        max_expires=settings.registrar_max_expires,
        offline_messages=settings.offline_messages,
        offline_expires=settings.offline_expires,
    )


def _release_version(project: Project, release: str | None) -> str:
    return resolve_release(release or project.settings.release).version


def _secrets(project: Project) -> Secrets:
    """The secrets of the project, made when they are first needed: the same for every render."""
    store = project.secrets
    values = []
    for name in _SECRET_NAMES:
        value = store.get(name)
        if value is None:
            # 32 characters: what every release takes as the secret of its nonces.
            value = secrets.token_hex(16)
            store.put(name, value)
        values.append(value)
    return Secrets(opensips_url(project.settings.database_url), *values)


def _algorithms(project: Project, line: tuple[int, int]) -> tuple[str, ...]:
    """Those of the settings whose hash every account has, as far as the database can be asked."""
    wanted = project.settings.digest_algorithms
    if line < (3, 4):
        if "MD5" not in wanted:
            raise SettingsError(
                f"OpenSIPS {line[0]}.{line[1]} knows the digest algorithm MD5 alone",
                hint='add "MD5" to digest.algorithms, or take a newer release',
            )
        return ("MD5",)
    from rcsops.database import Subscribers, open_engine, reading
    from rcsops.database.shapes import shape_of
    from rcsops.database.subscribers import usable_algorithms

    url = project.settings.database_url
    with contextlib.suppress(DatabaseError), reading(open_engine(url), url) as connection:
        return usable_algorithms(Subscribers(connection, shape_of(line).line).lacking(), wanted)
    return wanted


def _tls(project: Project) -> Tls | None:
    pair = project.certificate
    if pair is None:
        return None
    ca = project.authorities
    return Tls(str(pair[0]), str(pair[1]), str(ca) if ca else "")


def _expanded(addresses: tuple[Listen, ...]) -> tuple[Listen, ...]:
    """Addresses as OpenSIPS needs them: what stands in a Record-Route must be reachable, so each
    wildcard becomes the addresses that this machine has now."""
    found: list[Listen] = []
    for address in addresses:
        if address.port == 0:
            raise SettingsError(f"{address}: OpenSIPS needs a port", hint="0 is none to it")
        if address.host in ("0.0.0.0", "::"):  # noqa: S104
            found += [address._replace(host=host) for host in _own_hosts(address.host)]
        else:
            found.append(address)
    return tuple(dict.fromkeys(found))


def _own_hosts(wildcard: str) -> list[str]:
    import psutil

    hosts = [
        each.address
        for interface in psutil.net_if_addrs().values()
        for each in interface
        if (":" in each.address) == (wildcard == "::")
        and each.family.name in ("AF_INET", "AF_INET6")
        and "%" not in each.address  # link-local: good on one cable only
    ]
    if not hosts:
        raise EngineError(f"this machine has no address for {wildcard}")
    return sorted(hosts, key=lambda host: not is_loopback(host))
