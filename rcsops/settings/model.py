"""The keys of rcsops.toml: their types, defaults and the checks they must pass.

Every key can also be given in the environment: ``RCSOPS_`` and the key in capitals, with the table
in front (``RCSOPS_ENGINE``, ``RCSOPS_DATABASE_URL``, ``RCSOPS_AGENT_TRANSPORT``); lists are
separated by commas. The environment wins over the file.
"""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from rcsops.errors import SettingsError
from rcsops.settings.chat import CHAT_FRONTS, CHAT_MOUSE, CHAT_NOTIFICATIONS, CHAT_THEMES, keymap
from rcsops.settings.content import CONTENT_CHECKS, Content, content_url
from rcsops.settings.file_rules import FileRule, FileRules
from rcsops.settings.limits import LIMIT_CHECKS, Limits
from rcsops.settings.listen import Listen, parse_listen

ENGINES = ("embedded", "opensips")
REDIRECTS = ("relay", "follow")
MI_TRANSPORTS = ("fifo", "datagram", "http")
# From the weakest to the strongest: min_algorithm draws the line (RFC 8760 §2.4).
DIGEST_ALGORITHMS = ("MD5", "SHA-256", "SHA-512-256")
# "auto": what the DNS says of the server (RFC 3263 §4.1).
AGENT_TRANSPORTS = ("auto", "udp", "tcp", "tls", "ws", "wss")
MSRP_SECURITY = ("auto", "tcp", "tls")
CLIENT_CERTIFICATES = ("none", "optional", "required")
DEFAULT_MYSQL_URL = "mysql://opensips@localhost/opensips"
DATABASE_SCHEMES = ("sqlite", "mysql", "mysql+mysqldb", "mariadb", "mariadb+mysqldb")

# A week: who is gone for longer is not to be found at the old address.
_LONGEST = 7 * 86400

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a project says about itself; every value has passed its check.

    An empty ``database_url`` stands for the engine's own: the project's SQLite file, or for a real
    OpenSIPS `DEFAULT_MYSQL_URL` (`Project.settings` fills it in, and the password that is kept
    apart from it), an empty ``agent_server`` for the project's own server, an empty ``dns`` for the
    DNS servers of the system.
    """

    domain: str = "rcs.example"
    domains: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    engine: str = "embedded"
    listen: tuple[str, ...] = ("udp:127.0.0.1:5060", "tcp:127.0.0.1:5060")
    release: str = "3.0.2"
    prefix: str = ""
    dns: tuple[str, ...] = ()
    database_url: str = ""
    mi_transport: str = "fifo"
    mi_group: str = ""
    mi_http: str = "127.0.0.1:8888"
    tls_certificate: str = ""
    tls_private_key: str = ""
    tls_ca: str = ""
    tls_client_certificates: str = "none"
    ws_origins: tuple[str, ...] = ()
    digest_algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    digest_min_algorithm: str = "MD5"
    registrar_min_expires: int = 60
    registrar_max_expires: int = 3600
    registrar_flow_timer: int = 120
    offline_messages: int = 200
    offline_expires: int = 259_200
    proxy_redirects: str = "relay"
    limits: Limits = field(default_factory=Limits)
    content: Content = field(default_factory=Content)
    agent_server: str = ""
    agent_transport: str = "tcp"
    agent_bind: str = "127.0.0.1"
    agent_certificate: str = ""
    agent_private_key: str = ""
    agent_msrp_security: str = "auto"
    agent_display_notifications: bool = True
    agent_idle_timeout: int = 300
    agent_max_pager_size: int = 16384
    files_rules: tuple[str, ...] = ("accept size<=100MB",)
    files_max_size: int = 1 << 30
    files_reserve: int = 100_000_000
    files_resume_seconds: int = 300
    chat_front: str = "screen"
    chat_theme: str = "dark"
    chat_notifications: str = "desktop"
    chat_mouse: str = "on"
    chat_keys: tuple[tuple[str, str], ...] = ()
    agent_content: str = ""
    agent_content_hosts: tuple[str, ...] = ()

    @property
    def listen_addresses(self) -> tuple[Listen, ...]:
        """``listen`` as values."""
        return tuple(parse_listen(text) for text in self.listen)

    @property
    def all_domains(self) -> tuple[str, tuple[str, ...]]:
        """The domain, and the others that the embedded server has accounts of."""
        return self.domain, self.domains

    @property
    def file_rules(self) -> FileRules:
        """``files_rules`` as a value."""
        return FileRules.parse(self.files_rules, domain=self.domain)

    @property
    def upload_url(self) -> str:
        """Where the project's agents upload files: the content server that is named for them, or
        else the project's own; "" without one."""
        return self.agent_content or self.content.upload_url

    def local_server(self, transport: str | None = None) -> Listen | None:
        """Where an agent on this machine finds the project's server by ``transport``.

        ``transport`` is ``agent_transport`` unless given; None: the server does not listen so.
        """
        wanted = transport or self.agent_transport
        for name in ("tcp", "udp") if wanted == "auto" else (wanted,):
            for address in self.listen_addresses:
                if address.transport == name:
                    return address.reachable
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must not hold control characters")
    return value.strip()


def valid_domain(value: object) -> str:
    """A SIP domain in lower case; raises `ValueError` with the reason for anything else.

    At most 64 characters, which is what the domain columns of OpenSIPS hold. Names outside ASCII
    are refused: the hash of an account covers the domain byte for byte, so the person should see
    and type the form that goes over the wire.
    """
    domain = _text(value).rstrip(".")
    if not domain.isascii():
        try:
            encoded = domain.encode("idna").decode("ascii").lower()
        except UnicodeError:
            encoded = ""
        wanted = f"; its ASCII form is {encoded!r}" if encoded else ""
        raise ValueError(f"{domain!r} has characters outside ASCII{wanted}")
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f'{domain!r} is not a domain name; write it like "rcs.example"')
    if len(domain) > 64:
        raise ValueError("is longer than the 64 characters that the database holds")
    return domain.lower()


def _choice(names: Sequence[str]) -> Callable[[object], str]:
    def check(value: object) -> str:
        text = _text(value)
        for name in names:
            if text.lower() == name.lower():
                return name
        raise ValueError(f"{text!r} is not one of {', '.join(names)}")

    return check


def _strings(
    check: Callable[[object], str], *, empty: bool = False
) -> Callable[[object], tuple[str, ...]]:
    def check_all(value: object) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not (items or empty):
            more = "" if empty else " with at least one entry"
            raise ValueError(f"must be a list of strings{more}")
        return tuple(dict.fromkeys(check(item) for item in items))

    return check_all


def _listen(value: object) -> str:
    try:
        return str(parse_listen(_text(value)))
    except SettingsError as error:
        raise ValueError(f"{error}; {error.hint}" if error.hint else str(error)) from None


def _release(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[0-9]+(\.[0-9]+){1,2}", text):
        raise ValueError(f'{text!r} is not a release; write it like "3.0.2"')
    return text


def _database_url(value: object) -> str:
    text = _text(value)
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in DATABASE_SCHEMES:
        raise ValueError(
            'is not a database URL; write "sqlite:///file.db" or "mysql://user@host/name"'
        )
    if scheme.lower() == "sqlite" and rest.strip("/") in ("", ":memory:"):
        raise ValueError('needs a file: "sqlite:///file.db"')
    return text


def _host(value: object) -> str:
    text = _text(value)
    if not text or re.search(r"[\s\"<>;,]", text):
        raise ValueError(f"{text!r} is not an address")
    return text


def _nameserver(value: object) -> str:
    """``address:port`` of a DNS server; the port is 53 unless given."""
    text = _text(value)
    host, port = text, "53"
    if text.count(":") == 1 or "]:" in text:
        host, _, port = text.rpartition(":")
    host = host.strip("[]")
    try:
        bracketed = f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
        return parse_listen(f"udp:{bracketed}:{port}").host_port
    except (SettingsError, ValueError):
        raise ValueError(
            f'{text!r} is not the address of a DNS server; write "192.0.2.53" or "192.0.2.53:5353"'
        ) from None


def _origin(value: object) -> str:
    """A web page's origin (RFC 6454 §7), as browsers name it, or "*"."""
    text = _text(value)
    if text != "*" and not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", text):
        raise ValueError(f'{text!r} is not an origin; write "https://chat.example", or "*" for any')
    return text


def _loopback(value: object) -> str:
    """``address:port`` on this very machine: whoever reaches MI over HTTP commands the server."""
    text = _text(value)
    try:
        address = parse_listen(f"tcp:{text}")
        own = ipaddress.ip_address(address.host).is_loopback
    except (SettingsError, ValueError):
        own = False
    if not own:
        raise ValueError(f'{text!r} is not a loopback address and port; write "127.0.0.1:8888"')
    return text


def _alias(value: object) -> str:
    """Another name of the server: a domain name, or an address in figures."""
    text = _text(value).strip("[]")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return valid_domain(text)


def _switch(value: object) -> bool:
    """true or false, or these words (from the environment)."""
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower(), value)
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _lifetime(value: object) -> int:
    """Seconds; a number, or its digits (from the environment)."""
    digits = _text(value) if isinstance(value, str) else value
    if isinstance(digits, str) and digits.isdecimal():
        digits = int(digits)
    if not isinstance(digits, int) or isinstance(digits, bool):
        raise ValueError("must be a number of seconds")
    if not 1 <= digits <= _LONGEST:
        raise ValueError(f"{digits} is not between 1 and {_LONGEST} seconds")
    return digits


def _silence(value: object) -> int:
    """Seconds up to an hour; 0 for no limit."""
    if value in (0, "0") and not isinstance(value, bool):
        return 0
    seconds = _lifetime(value)
    if seconds > 3600:
        raise ValueError(f"{seconds} is more than an hour; 0 means no limit")
    return seconds


def _patience(value: object) -> int:
    """Seconds up to a year, or 0."""
    if value in (0, "0") and not isinstance(value, bool):
        return 0
    return _keeping(value)


def _keeping(value: object) -> int:
    """Seconds up to a year."""
    return _count(value, most=31_536_000)


def _rule(value: object) -> str:
    text = _text(value)
    FileRule.parse(text)
    return text


def _count(value: object, *, most: int = 100_000) -> int:
    """A whole number from 1 on, or its digits (from the environment)."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("must be a whole number")
    if not 1 <= value <= most:
        raise ValueError(f"{value} is not between 1 and {most}")
    return value


_octets = partial(_count, most=10**15)

# key of rcsops.toml -> (attribute of Settings, its check)
_KEYS: dict[str, tuple[str, Callable[[object], object]]] = {
    "domain": ("domain", valid_domain),
    "domains": ("domains", _strings(valid_domain, empty=True)),
    "aliases": ("aliases", _strings(_alias, empty=True)),
    "engine": ("engine", _choice(ENGINES)),
    "listen": ("listen", _strings(_listen)),
    "release": ("release", _release),
    "prefix": ("prefix", _text),
    "dns": ("dns", _strings(_nameserver)),
    "database.url": ("database_url", _database_url),
    "mi.transport": ("mi_transport", _choice(MI_TRANSPORTS)),
    "mi.group": ("mi_group", _text),
    "mi.http": ("mi_http", _loopback),
    "tls.certificate": ("tls_certificate", _text),
    "tls.private_key": ("tls_private_key", _text),
    "tls.ca": ("tls_ca", _text),
    "tls.client_certificates": ("tls_client_certificates", _choice(CLIENT_CERTIFICATES)),
    "ws.origins": ("ws_origins", _strings(_origin, empty=True)),
    "digest.algorithms": ("digest_algorithms", _strings(_choice(DIGEST_ALGORITHMS))),
    "digest.min_algorithm": ("digest_min_algorithm", _choice(DIGEST_ALGORITHMS)),
    "registrar.min_expires": ("registrar_min_expires", _lifetime),
    "registrar.max_expires": ("registrar_max_expires", _lifetime),
    "registrar.flow_timer": ("registrar_flow_timer", _silence),
    "offline.messages": ("offline_messages", _count),
    "offline.expires": ("offline_expires", _keeping),
    "proxy.redirects": ("proxy_redirects", _choice(REDIRECTS)),
    "agent.server": ("agent_server", _host),
    "agent.transport": ("agent_transport", _choice(AGENT_TRANSPORTS)),
    "agent.bind": ("agent_bind", _host),
    "agent.certificate": ("agent_certificate", _text),
    "agent.private_key": ("agent_private_key", _text),
    "agent.msrp_security": ("agent_msrp_security", _choice(MSRP_SECURITY)),
    "agent.display_notifications": ("agent_display_notifications", _switch),
    "agent.idle_timeout": ("agent_idle_timeout", _patience),
    "agent.max_pager_size": ("agent_max_pager_size", _count),
    "files.rules": ("files_rules", _strings(_rule, empty=True)),
    "files.max_size": ("files_max_size", _octets),
    "files.reserve": ("files_reserve", _octets),
    "files.resume_seconds": ("files_resume_seconds", _patience),
    "chat.front": ("chat_front", _choice(CHAT_FRONTS)),
    "chat.theme": ("chat_theme", _choice(CHAT_THEMES)),
    "chat.notifications": ("chat_notifications", _choice(CHAT_NOTIFICATIONS)),
    "chat.mouse": ("chat_mouse", _choice(CHAT_MOUSE)),
    "chat.keys": ("chat_keys", keymap),
    "agent.content": ("agent_content", content_url),
    "agent.content_hosts": ("agent_content_hosts", _strings(_host, empty=True)),
}
_KEYS |= {f"limits.{name}": (f"limits.{name}", check) for name, check in LIMIT_CHECKS.items()}
_KEYS |= {f"content.{name}": (f"content.{name}", check) for name, check in CONTENT_CHECKS.items()}
_LISTS = {
    "agent.content_hosts",
    "chat.keys",
    "limits.trusted",
    "listen",
    "dns",
    "digest.algorithms",
    "domains",
    "aliases",
    "ws.origins",
    "files.rules",
}
_TABLES = {key.partition(".")[0] for key in _KEYS if "." in key}


def environment_key(key: str) -> str:
    """The environment variable that overrides ``key``: ``database.url`` is RCSOPS_DATABASE_URL."""
    return "RCSOPS_" + key.upper().replace(".", "_")


def parse_settings(
    text: str, *, name: str = "rcsops.toml", environment: Mapping[str, str] | None = None
) -> Settings:
    """The settings that a text of TOML and the environment make together.

    Raises `SettingsError` that names the file, the line, the key and, for a misspelt key, the
    nearest known one.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"{name}: {error}", hint="mend that line; see https://toml.io"
        ) from None
    values: dict[str, Any] = {}
    for key, value in _flat(document, text, name):
        attribute, check = _KEYS[key]
        try:
            values[attribute] = check(value)
        except ValueError as error:
            raise SettingsError(f"{_place(name, text, key)}: {key}: {error}") from None
    for key, (attribute, check) in _KEYS.items():
        variable = environment_key(key)
        given = (environment or {}).get(variable, "")
        if given:
            try:
                values[attribute] = check(given.split(",") if key in _LISTS else given)
            except ValueError as error:
                raise SettingsError(f"{variable} in the environment: {error}") from None
    limits, content = (
        {key: values.pop(f"{table}.{key}") for key in checks if f"{table}.{key}" in values}
        for table, checks in (("limits", LIMIT_CHECKS), ("content", CONTENT_CHECKS))
    )
    settings = replace(
        Settings(),
        limits=replace(Limits(), **limits),
        content=replace(Content(), **content),
        **values,
    )
    try:
        settings.content.check()
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None
    if settings.registrar_min_expires > settings.registrar_max_expires:
        raise SettingsError(
            f"{name}: registrar.min_expires ({settings.registrar_min_expires}) is more than "
            f"registrar.max_expires ({settings.registrar_max_expires})",
            hint="the server grants what a client asks for, between these two",
        )
    if doubled := {settings.domain, *settings.domains} & {*settings.aliases}:
        raise SettingsError(
            f"{name}: {sorted(doubled)[0]} is a domain and cannot be in aliases too",
            hint="a name in `domains` has accounts of its own, one in `aliases` those of `domain`",
        )
    weakest = DIGEST_ALGORITHMS.index(settings.digest_min_algorithm)
    if all(DIGEST_ALGORITHMS.index(each) < weakest for each in settings.digest_algorithms):
        raise SettingsError(
            f"{name}: digest.algorithms offers nothing as strong as digest.min_algorithm "
            f"({settings.digest_min_algorithm})",
            hint="add that algorithm to digest.algorithms or lower digest.min_algorithm",
        )
    return settings


def _flat(document: Mapping[str, Any], text: str, name: str) -> list[tuple[str, object]]:
    """``{"mi": {"transport": x}}`` as ``[("mi.transport", x)]``; raises for unknown keys."""
    pairs: list[tuple[str, object]] = []
    for key, value in document.items():
        if key in _TABLES and isinstance(value, dict):
            pairs += [(f"{key}.{inner}", each) for inner, each in value.items()]
        else:
            pairs.append((key, value))
    for key, _ in pairs:
        if key not in _KEYS:
            raise _unknown(key, text, name)
    return pairs


def _unknown(key: str, text: str, name: str) -> SettingsError:
    if key in _TABLES:
        return SettingsError(f"{_place(name, text, key)}: {key!r} is a table: write [{key}]")
    near = difflib.get_close_matches(key, [*_KEYS, *sorted(_TABLES)], n=1, cutoff=0.5)
    if not near and "." not in key:
        near = [known for known in _KEYS if known.endswith(f".{key}")][:1]
    if near and near[0] in _TABLES:
        hint = f"did you mean [{near[0]}]?"
    elif near:
        table, _, last = near[0].rpartition(".")
        hint = f"did you mean {last!r}{f' in [{table}]' if table else ''}?"
    else:
        hint = f"known keys: {', '.join(_KEYS)}"
    return SettingsError(f"{_place(name, text, key)}: there is no setting {key!r}", hint=hint)


def _place(name: str, text: str, key: str) -> str:
    """``rcsops.toml, line 3`` where the key stands; tomllib does not tell."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            table = header[1].replace('"', "").replace("'", "")
            written = table
        elif assignment := re.match(r"\s*([\w.\-\"' ]+?)\s*=", line):
            written = re.sub(r"[\"' ]", "", assignment[1])
            written = f"{table}.{written}" if table else written
        else:
            continue
        if written == key or written.startswith(f"{key}."):
            return f"{name}, line {number}"
    return name
