"""A project: the directory with rcsops.toml, or the per-user directories where there is none."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from rcsops.errors import SettingsError
from rcsops.settings.credentials import CredentialStore
from rcsops.settings.database_url import (
    secret_name,
    sqlite_file,
    url_password,
    url_with_password,
)
from rcsops.settings.directories import (
    private_directory,
    shared_run_directory,
    short_run_directory,
)
from rcsops.settings.model import DEFAULT_MYSQL_URL, Settings
from rcsops.settings.reading import parse_settings
from rcsops.settings.secrets import SecretStore

CONFIG_NAME = "rcsops.toml"
_SECRETS_NAME = "secrets.json"


@dataclass(frozen=True, slots=True)
class Project:
    """Where a project keeps its things, and its settings.

    ``root`` is the directory that holds rcsops.toml, None for the per-user project. ``state_dir``
    and ``run_dir`` are only names: `make_state_dir` and `make_run_dir` make them (0700).
    """

    root: Path | None
    config_path: Path
    state_dir: Path
    settings: Settings

    @classmethod
    def find(
        cls,
        start: str | os.PathLike[str] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        engine: str | None = None,
    ) -> "Project":
        """The project of the directory ``start`` (the current one): rcsops.toml is looked for
        there and upward; without one the per-user directories serve.

        ``engine`` overrides the file and the environment. Raises `SettingsError`.
        """
        environ = dict(os.environ if environment is None else environment)
        if engine:
            environ["RCSOPS_ENGINE"] = engine
        try:
            origin = Path(start or ".").resolve(strict=True)
            if not origin.is_dir():
                raise NotADirectoryError
        except OSError as error:
            raise SettingsError(
                f"there is no directory {os.fspath(start or '.')!r}",
                hint="name an existing one with --project",
            ) from error
        user_config, user_state = _user_directories()
        for directory in (origin, *origin.parents):
            if directory == user_config.resolve():
                break
            path = directory / CONFIG_NAME
            if path.is_file():
                _check_owner(path, named=directory == origin)
                return cls._load(directory, path, directory / ".rcsops", environ)
        return cls._load(None, user_config / CONFIG_NAME, user_state, environ)

    @classmethod
    def _load(
        cls, root: Path | None, config: Path, state: Path, environ: Mapping[str, str]
    ) -> "Project":
        try:
            text = config.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = ""
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read {config}: {error}") from error
        settings = parse_settings(text, name=str(config), environment=environ)
        url = _absolute_url(settings.database_url, root or config.parent)
        if not url:
            embedded = settings.engine == "embedded"
            url = f"sqlite:///{_own_file(state)}" if embedded else DEFAULT_MYSQL_URL
        return cls(
            root=root,
            config_path=config,
            state_dir=state,
            settings=replace(settings, database_url=_complete_url(url, state)),
        )

    @property
    def own_database(self) -> Path:
        """The SQLite file of the project: the embedded engine's, where no other is set."""
        return _own_file(self.state_dir)

    @property
    def directory(self) -> Path:
        """The directory that `find` (or ``rcsops --project``) takes to come to this project."""
        return self.config_path.parent

    @property
    def run_dir(self) -> Path:
        """The directory of the running server: pid, lock, FIFO, mi.sock, log.

        Short enough for a Unix socket in it, wherever the project is.
        """
        wanted = self.state_dir / "run"
        shared = shared_run_directory(wanted)
        return shared if shared.is_dir() else short_run_directory(wanted)

    @property
    def content_dir(self) -> Path:
        """Where the content server keeps the files of users."""
        return self.state_dir / "content"

    @property
    def tls_dir(self) -> Path:
        """Where `rcsops certs` puts what it makes."""
        return self.state_dir / "tls"

    @property
    def certificate(self) -> tuple[Path, Path] | None:
        """The server's certificate and private key: those of [tls], or else those of `rcsops
        certs`; None without. Raises `SettingsError` when one is named without the other."""
        settings = self.settings
        pair = self._pair("[tls]", settings.tls_certificate, settings.tls_private_key)
        own = self.tls_dir / "server.pem", self.tls_dir / "server-key.pem"
        # Not Path.exists: who may use MI alone (a group) may not look into the directory.
        return pair or (own if os.path.exists(own[0]) else None)

    @property
    def agent_certificate(self) -> tuple[Path, Path] | None:
        """What agents show to servers that ask: certificate and private key of [agent]."""
        settings = self.settings
        return self._pair("[agent]", settings.agent_certificate, settings.agent_private_key)

    @property
    def authorities(self) -> Path | None:
        """The file of authorities that are believed: that of [tls], or else the one of `rcsops
        certs`; None without."""
        if self.settings.tls_ca:
            return self.path_of(self.settings.tls_ca)
        own = self.tls_dir / "ca.pem"
        return own if os.path.exists(own) else None

    def path_of(self, name: str) -> Path:
        """A file that the settings name, relative to rcsops.toml."""
        return self.directory.absolute() / os.path.expanduser(name)

    def _pair(self, table: str, certificate: str, private_key: str) -> tuple[Path, Path] | None:
        if bool(certificate) != bool(private_key):
            raise SettingsError(f"{table} needs both certificate and private_key")
        if not certificate:
            return None
        return self.path_of(certificate), self.path_of(private_key)

    @property
    def secrets(self) -> SecretStore:
        """The passwords that rcsops.toml must not hold."""
        return SecretStore(self.state_dir / _SECRETS_NAME)

    @property
    def credentials(self) -> CredentialStore:
        """The accounts that agents of this project can use without asking."""
        return CredentialStore(self.state_dir / "credentials.json")

    def make_state_dir(self) -> Path:
        """Makes ``state_dir`` (0700), which git is told to leave alone, and returns it."""
        private_directory(self.state_dir)
        if self.root is None:
            private_directory(self.directory)
        else:
            ignore = self.state_dir / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        return self.state_dir

    def make_run_dir(self) -> Path:
        """Makes ``run_dir`` (0700) and returns it."""
        self.make_state_dir()
        run = self.run_dir
        if run == shared_run_directory(self.state_dir / "run"):
            return run
        return private_directory(run, shared_parent=self.state_dir not in run.parents)

    def make_shared_run_dir(self, uid: int, gid: int, *, for_group: bool) -> Path:
        """Makes ``run_dir`` anew, for a server that root starts as the user ``uid``; the group may
        use it too with ``for_group``. Raises `SettingsError` for anybody but root."""
        self.make_state_dir()
        run = shared_run_directory(self.state_dir / "run")
        try:
            run.mkdir(mode=0o700, exist_ok=True)
            os.chown(run, uid, gid)
            # What is made in it belongs to the group as well (the set-group-ID bit), which makes
            # its replies there, and touches nothing that others have made (the sticky bit).
            run.chmod(0o3770 if for_group else 0o700)
        except OSError as error:
            raise SettingsError(
                f"cannot make the directory {run}: {error.strerror}",
                hint="only root can start a server as another user",
            ) from error
        return run

    def make_agent_dir(self, user: str) -> Path:
        """Makes the private directory of the agent of ``user`` (``user@domain``; the project's
        domain where there is none) and returns it: history, received files."""
        self.make_state_dir()
        private_directory(self.state_dir / "agents")
        return private_directory(self.agent_dir(user))

    def agent_dir(self, user: str) -> Path:
        """The name of that directory; every user name gives a safe one of its own."""
        name = user if "@" in user else f"{user}@{self.settings.domain}"
        local, _, domain = name.rpartition("@")
        safe = quote(f"{local}@{domain.lower()}", safe="@+=$,;&!'()")
        if safe.startswith("."):
            safe = f"%2E{safe[1:]}"
        return self.state_dir / "agents" / safe


def _user_directories() -> tuple[Path, Path]:
    # Imported here: a project of one's own does not need it at the start of every command.
    import platformdirs

    return (
        Path(platformdirs.user_config_dir("rcsops", appauthor=False)),
        Path(platformdirs.user_state_dir("rcsops", appauthor=False)),
    )


def _check_owner(path: Path, *, named: bool) -> None:
    # Whoever writes rcsops.toml chooses the programs that we run. One that was merely come across
    # on the way up (/tmp/rcsops.toml) counts only when it is the user's own or the machine's.
    owner = path.stat().st_uid
    mine = {0, os.geteuid(), int(os.environ.get("SUDO_UID") or os.geteuid())}
    if not named and owner not in mine:
        raise SettingsError(
            f"{path} belongs to another user",
            hint=f"if you trust it, name its directory: rcsops --project {path.parent} …",
        )


def _own_file(state: Path) -> Path:
    return state / "rcsops.db"


def _complete_url(url: str, state: Path) -> str:
    """The URL of a MySQL database with the password that is kept for it, if any is."""
    if sqlite_file(url) is not None or url_password(url) is not None:
        return url
    store = state / _SECRETS_NAME
    try:
        store.stat()
    except PermissionError:
        # The group that may use MI has no business with the database.
        return url
    except OSError:
        pass
    password = SecretStore(store).get(secret_name(url))
    return url if password is None else url_with_password(url, password)


def _absolute_url(url: str, directory: Path) -> str:
    file = sqlite_file(url)
    return url if file is None else f"sqlite:///{directory / file}"
