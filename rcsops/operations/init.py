"""Making a project: rcsops.toml with every setting explained, and changing it without losing what
a person wrote in it."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rcsops.errors import SettingsError
from rcsops.settings import CONFIG_NAME, Project, Settings, parse_settings, sqlite_file

_TEMPLATE = """\
# The settings of an rcsops project. Every key that is left out has the value shown here.
# A variable of the environment wins over this file: RCSOPS_ENGINE, RCSOPS_DATABASE_URL, ...

# The SIP domain of the accounts: what stands behind the @. It is part of every password hash,
# so it cannot change while there are users.
domain = {domain}

# "embedded": the server that comes with rcsops. "opensips": a real OpenSIPS.
engine = {engine}

# Where the server listens: transport:address:port, one entry for each.
# 127.0.0.1 is reached from this machine only.
listen = [{listen}]

# The OpenSIPS release of the engine "opensips".
# release = "3.0.2"

[database]
# An SQLite file (relative to this one) or a MySQL database: "mysql://user@host/name", without the
# password, which `rcsops db create` makes and keeps apart. Left out: the project's own SQLite file,
# or "mysql://opensips@localhost/opensips" with the engine "opensips".
# url = "sqlite:///.rcsops/rcsops.db"

[mi]
# How rcsops talks to the running server: "fifo", "datagram" or "http".
# transport = "fifo"
# The group that may use the FIFO and the socket besides the server's own user, and where MI
# listens when the transport is "http", which asks nobody on this machine for a password.
# group = ""
# http = "127.0.0.1:8888"

[trace]
# With the engine "opensips": where `rcsops trace --follow` listens for copies of the messages,
# "127.0.0.1:9060". OpenSIPS sends them, while somebody follows, from the port after it, with the
# modules proto_hep and tracer, which `rcsops install` then builds as well. Empty: it sends none.
# hep = ""

[tls]
# For listen entries tls: and wss:. PEM files, relative to this one; left out, those that
# `rcsops certs` makes. `ca` holds the authorities that agents, and a server that asks clients for
# a certificate ("none", "optional", "required"), believe.
# certificate = ""
# private_key = ""
# ca = ""
# client_certificates = "none"

[ws]
# The web pages whose browsers may connect, such as "https://chat.example"; "*" for any.
# origins = []

[digest]
# What the server offers to those who log in, the preferred one first, and the weakest that an
# agent accepts.
# algorithms = ["SHA-256", "MD5"]
# min_algorithm = "MD5"

[registrar]
# For how long a registration counts, in seconds: who asks for less than the least is told so, who
# asks for more gets the most.
# min_expires = 60
# max_expires = 3600
# How long a connection over which an agent is reached may be silent, in seconds (0: for ever).
# flow_timer = 120

[offline]
# How many messages may wait for one user who is away, and for how long, in seconds (three days).
# messages = 200
# expires = 259200

[agent]
# Which server the agents use (empty: this project's own), how they reach it (udp, tcp, tls, ws,
# wss), and the address that they take part in chats from.
# server = ""
# transport = "tcp"
# bind = "127.0.0.1"
# The certificate that they show to a server that asks for one.
# certificate = ""
# private_key = ""
# The direct connections between two agents: "tcp", "tls" (no other is offered or taken), "auto"
# (TLS where the way to the server is encrypted and the peer takes it).
# msrp_security = "auto"
# Whether whoever writes learns that its message was seen.
# display_notifications = true
# After so many seconds without a message or an octet of a file a session ends, also while somebody
# types; whoever has something to say opens it again. 0 leaves it open.
# idle_timeout = 300
# The content server for files over HTTP ("https://files.example.org/ft"; empty: the one of
# [content]), and hosts beside it and those of our domain that files are fetched from.
# content = ""
# content_hosts = []
# A longer text to somebody who is away is left to the server where the way to it is no UDP: up to
# so many octets, the whole request counted; 1300 for a server that takes no more.
# max_pager_size = 16384

[files]
# Which files of peers are taken: the first rule that fits decides (accept, ask or refuse), and what
# none fits is asked. More octets than max_size are always refused, and so is what would leave less
# than reserve free on the disk.
# rules = ["accept size<=100MB"]
# max_size = 1073741824
# reserve = 100000000
# A file whose connection broke is tried for so long after its last octet.
# resume_seconds = 300

[content]
# The content server for files over HTTP, which runs beside the server where it says where it
# listens ("http:127.0.0.1:8088"); https takes the certificate of [tls]. docs/files-http.md has
# the other keys of this section, docs/server.md those of [limits] and [proxy], docs/chat.md [chat].
# listen = ""
"""


@dataclass(frozen=True, slots=True)
class InitResult:
    """What `initialise` did: ``changed`` maps a key to its old and new value."""

    path: Path
    created: bool
    changed: Mapping[str, tuple[object, object]]
    settings: Settings


def planned_changes(
    path: Path, *, domain: str | None = None, listen: tuple[str, ...] = ()
) -> dict[str, tuple[object, object]]:
    """What `initialise` would change in the file that is there: key -> (old, new).

    Empty when there is no file or it says so already. Raises `SettingsError` when the file or a
    wanted value is wrong.
    """
    wanted = _checked(domain, listen)
    if not path.exists():
        return {}
    old = parse_settings(_read(path), name=str(path))
    changes: dict[str, tuple[object, object]] = {}
    if domain is not None and old.domain != wanted.domain:
        changes["domain"] = (old.domain, wanted.domain)
    if listen and old.listen != wanted.listen:
        changes["listen"] = (list(old.listen), list(wanted.listen))
    return changes


def initialise(
    directory: Path, *, domain: str | None = None, listen: tuple[str, ...] = ()
) -> InitResult:
    """Writes ``directory``/rcsops.toml, or changes in the one that is there just the keys that are
    given, leaving everything else as it was written.

    Raises `SettingsError`, also when ``domain`` would change while there are users.
    """
    path = directory / CONFIG_NAME
    wanted = _checked(domain, listen)
    changes = planned_changes(path, domain=domain, listen=listen)
    if path.exists():
        if "domain" in changes:
            _refuse_with_users(directory, wanted.domain)
        if changes:
            _write(path, _edited(_read(path), changes))
        return InitResult(path, False, changes, parse_settings(_read(path), name=str(path)))
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot make {directory}: {error.strerror}") from error
    text = _TEMPLATE.format(
        domain=_quoted(wanted.domain),
        engine=_quoted(wanted.engine),
        listen=", ".join(_quoted(each) for each in wanted.listen),
    )
    _write(path, text)
    return InitResult(path, True, {}, wanted)


def _checked(domain: str | None, listen: tuple[str, ...]) -> Settings:
    given = {}
    if domain is not None:
        given["RCSOPS_DOMAIN"] = domain
    if listen:
        given["RCSOPS_LISTEN"] = ",".join(listen)
    try:
        return parse_settings("", environment=given)
    except SettingsError as error:
        said = str(error).replace("RCSOPS_DOMAIN in the environment", "the domain")
        said = said.replace("RCSOPS_LISTEN in the environment", "the address")
        raise SettingsError(said, hint=error.hint) from None


def _refuse_with_users(directory: Path, wanted: str) -> None:
    project = Project.find(directory)
    file = sqlite_file(project.settings.database_url)
    if file is not None and not file.exists():
        return
    # SQLAlchemy is only needed when there is a database.
    from rcsops.database import Subscribers, open_engine, reading
    from rcsops.database.tables import is_empty

    url = project.settings.database_url
    with reading(open_engine(url), url) as connection:
        domains = {} if is_empty(connection) else Subscribers(connection).domains()
    others = {name: count for name, count in domains.items() if name != wanted}
    if others:
        name, count = max(others.items(), key=lambda item: item[1])
        raise SettingsError(
            f"the domain cannot change to {wanted}: there {_users(count)} of {name}, and the "
            "domain is part of every password hash",
            hint="remove the users first, or make another project: rcsops init --directory DIR",
        )


def _users(count: int) -> str:
    return "is 1 user" if count == 1 else f"are {count} users"


def change_settings(project: Project, wanted: Mapping[str, object]) -> dict[str, object]:
    """Writes top-level keys into the settings file of the project, which is made where there is
    none; a key whose value is None is taken out. Everything else stays as it was written.

    Returns what has changed. Raises `SettingsError`.
    """
    path = project.config_path
    if not path.exists():
        initialise(path.parent)
    text = _read(path)
    there = tomllib.loads(text)
    changed = {key: value for key, value in wanted.items() if there.get(key) != value}
    if changed:
        import tomlkit

        document = tomlkit.parse(text)
        for key, value in changed.items():
            if value is None:
                document.remove(key)
            else:
                document[key] = value
        new = tomlkit.dumps(document)
        parse_settings(new, name=str(path))
        _write(path, new)
    return changed


def _edited(text: str, changes: Mapping[str, tuple[object, object]]) -> str:
    import tomlkit

    document = tomlkit.parse(text)
    for key, (_, new) in changes.items():
        document[key] = new
    return tomlkit.dumps(document)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error


def _write(path: Path, text: str) -> None:
    """Replaces the file in one step: whoever reads it sees the old text or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SettingsError(
            f"cannot write {path}: {error.strerror}", hint="check who owns that directory"
        ) from error


def _quoted(value: str) -> str:
    return f'"{value}"'
