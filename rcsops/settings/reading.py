"""Reading rcsops.toml: its keys, the check of each value, and what is told of a mistake.

Every key can also be given in the environment: ``RCSOPS_`` and the key in capitals, with the table
in front (``RCSOPS_ENGINE``, ``RCSOPS_DATABASE_URL``, ``RCSOPS_AGENT_TRANSPORT``); lists are
separated by commas. The environment wins over the file.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rcsops.errors import SettingsError
from rcsops.settings.chat import CHAT_FRONTS, CHAT_MOUSE, CHAT_NOTIFICATIONS, CHAT_THEMES, keymap
from rcsops.settings.content import CONTENT_CHECKS, Content, content_url
from rcsops.settings.database_url import refuse_socket
from rcsops.settings.limits import LIMIT_CHECKS, Limits
from rcsops.settings.listen import parse_listen
from rcsops.settings.model import (
    AGENT_TRANSPORTS,
    CLIENT_CERTIFICATES,
    DIGEST_ALGORITHMS,
    ENGINES,
    MI_TRANSPORTS,
    MSRP_SECURITY,
    REDIRECTS,
    Settings,
)
from rcsops.settings.values import (
    alias,
    choice,
    database_url,
    file_rule,
    hep_address,
    host_name,
    listen_address,
    loopback,
    nameserver,
    origin,
    release,
    string,
    strings,
    switch,
    valid_domain,
    whole,
)

# A week: who is gone for longer is not to be found at the old address.
_LIFETIME = whole(1, 7 * 86400, of="seconds")
# Up to an hour; 0 for no limit.
_SILENCE = whole(0, 3600, of="seconds")
_YEAR = 31_536_000
_COUNT = whole(1, 100_000)
_OCTETS = whole(1, 10**15)

# key of rcsops.toml -> (attribute of Settings, its check)
_KEYS: dict[str, tuple[str, Callable[[object], object]]] = {
    "domain": ("domain", valid_domain),
    "domains": ("domains", strings(valid_domain, empty=True)),
    "aliases": ("aliases", strings(alias, empty=True)),
    "engine": ("engine", choice(ENGINES)),
    "listen": ("listen", strings(listen_address(parse_listen))),
    "release": ("release", release),
    "prefix": ("prefix", string),
    "dns": ("dns", strings(nameserver)),
    "database.url": ("database_url", database_url),
    "mi.transport": ("mi_transport", choice(MI_TRANSPORTS)),
    "mi.group": ("mi_group", string),
    "mi.http": ("mi_http", loopback),
    "trace.hep": ("trace_hep", hep_address),
    "tls.certificate": ("tls_certificate", string),
    "tls.private_key": ("tls_private_key", string),
    "tls.ca": ("tls_ca", string),
    "tls.client_certificates": ("tls_client_certificates", choice(CLIENT_CERTIFICATES)),
    "ws.origins": ("ws_origins", strings(origin, empty=True)),
    "digest.algorithms": ("digest_algorithms", strings(choice(DIGEST_ALGORITHMS))),
    "digest.min_algorithm": ("digest_min_algorithm", choice(DIGEST_ALGORITHMS)),
    "registrar.min_expires": ("registrar_min_expires", _LIFETIME),
    "registrar.max_expires": ("registrar_max_expires", _LIFETIME),
    "registrar.flow_timer": ("registrar_flow_timer", _SILENCE),
    "offline.messages": ("offline_messages", _COUNT),
    "offline.expires": ("offline_expires", whole(1, _YEAR)),
    "proxy.redirects": ("proxy_redirects", choice(REDIRECTS)),
    "agent.server": ("agent_server", host_name),
    "agent.transport": ("agent_transport", choice(AGENT_TRANSPORTS)),
    "agent.bind": ("agent_bind", host_name),
    "agent.certificate": ("agent_certificate", string),
    "agent.private_key": ("agent_private_key", string),
    "agent.msrp_security": ("agent_msrp_security", choice(MSRP_SECURITY)),
    "agent.display_notifications": ("agent_display_notifications", switch),
    "agent.idle_timeout": ("agent_idle_timeout", whole(0, _YEAR)),
    "agent.max_pager_size": ("agent_max_pager_size", _COUNT),
    "files.rules": ("files_rules", strings(file_rule, empty=True)),
    "files.max_size": ("files_max_size", _OCTETS),
    "files.reserve": ("files_reserve", _OCTETS),
    "files.resume_seconds": ("files_resume_seconds", whole(0, _YEAR)),
    "chat.front": ("chat_front", choice(CHAT_FRONTS)),
    "chat.theme": ("chat_theme", choice(CHAT_THEMES)),
    "chat.notifications": ("chat_notifications", choice(CHAT_NOTIFICATIONS)),
    "chat.mouse": ("chat_mouse", choice(CHAT_MOUSE)),
    "chat.keys": ("chat_keys", keymap),
    "agent.content": ("agent_content", content_url),
    "agent.content_hosts": ("agent_content_hosts", strings(host_name, empty=True)),
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
        raise SettingsError(f"{name}: {error}", hint=_toml_hint(str(error), text)) from None
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
    _check_together(settings, name)
    return settings


def _check_together(settings: Settings, name: str) -> None:
    """Raises `SettingsError` when the values, each good alone, do not fit each other."""
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
    if settings.engine == "opensips":
        try:
            refuse_socket(settings.database_url)
        except SettingsError as error:
            raise SettingsError(f"{name}: {error}", hint=error.hint) from None


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


def _toml_hint(said: str, text: str) -> str:
    """What to do about an error of TOML. A section that was pasted beside the one that
    `rcsops init` wrote is the most frequent."""
    twice = re.match(r"Cannot declare \('(\w+)',\) twice", said)
    if twice:
        _, found, line = _place("", text, twice[1]).partition("line ")
        if found:
            return f"[{twice[1]}] is there already, in line {line}: write its keys below that one"
    return "mend that line; see https://toml.io"


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
