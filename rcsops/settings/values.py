"""Checks of single values: each takes what TOML or the environment gives, and returns it as the
settings have it, or raises `ValueError` with the reason.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence

from rcsops.errors import SettingsError
from rcsops.settings.file_rules import FileRule
from rcsops.settings.listen import Listen, parse_listen

DATABASE_SCHEMES = ("sqlite", "mysql", "mysql+mysqldb", "mariadb", "mariadb+mysqldb")

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def string(value: object) -> str:
    """Without the spaces around it, and without control characters."""
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
    domain = string(value).rstrip(".")
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


def choice(names: Sequence[str]) -> Callable[[object], str]:
    """One of these, in whatever case."""

    def check(value: object) -> str:
        text = string(value)
        for name in names:
            if text.lower() == name.lower():
                return name
        raise ValueError(f"{text!r} is not one of {', '.join(names)}")

    return check


def strings(
    check: Callable[[object], str], *, empty: bool = False
) -> Callable[[object], tuple[str, ...]]:
    """A list of what passes ``check``, each once; a single string is a list of one."""

    def check_all(value: object) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not (items or empty):
            more = "" if empty else " with at least one entry"
            raise ValueError(f"must be a list of strings{more}")
        return tuple(dict.fromkeys(check(item) for item in items))

    return check_all


def listen_address(parse: Callable[[str], Listen]) -> Callable[[object], str]:
    """What ``parse`` takes, in its usual form."""

    def check(value: object) -> str:
        try:
            return str(parse(string(value)))
        except SettingsError as error:
            raise ValueError(f"{error}; {error.hint}" if error.hint else str(error)) from None

    return check


def release(value: object) -> str:
    """A release of OpenSIPS, or a release line."""
    text = string(value)
    if not re.fullmatch(r"[0-9]+(\.[0-9]+){1,2}", text):
        raise ValueError(f'{text!r} is not a release; write it like "3.0.2"')
    return text


def database_url(value: object) -> str:
    """The URL of a database of one of `DATABASE_SCHEMES`; a SQLite one names a file."""
    text = string(value)
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in DATABASE_SCHEMES:
        raise ValueError(
            'is not a database URL; write "sqlite:///file.db" or "mysql://user@host/name"'
        )
    if scheme.lower() == "sqlite" and rest.strip("/") in ("", ":memory:"):
        raise ValueError('needs a file: "sqlite:///file.db"')
    return text


def host_name(value: object) -> str:
    """A name or an address, perhaps with a port; what it is worth shows when it is used."""
    text = string(value)
    if not text or re.search(r"[\s\"<>;,]", text):
        raise ValueError(f"{text!r} is not an address")
    return text


def nameserver(value: object) -> str:
    """``address:port`` of a DNS server; the port is 53 unless given."""
    text = string(value)
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


def origin(value: object) -> str:
    """A web page's origin (RFC 6454 §7), as browsers name it, or "*"."""
    text = string(value)
    if text != "*" and not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", text):
        raise ValueError(f'{text!r} is not an origin; write "https://chat.example", or "*" for any')
    return text


def loopback(value: object) -> str:
    """``address:port`` on this very machine: whoever reaches MI over HTTP commands the server."""
    text = string(value)
    try:
        address = parse_listen(f"tcp:{text}")
        own = ipaddress.ip_address(address.host).is_loopback
    except (SettingsError, ValueError):
        own = False
    if not own:
        raise ValueError(f'{text!r} is not a loopback address and port; write "127.0.0.1:8888"')
    return text


def hep_address(value: object) -> str:
    """``address:port`` on this very machine, or empty: HEP proves nothing. The port after it is
    the one that OpenSIPS sends from."""
    if value == "":
        return ""
    try:
        text = loopback(value)
    except ValueError as error:
        raise ValueError(str(error).replace("8888", "9060")) from None
    if not 0 < parse_listen(f"tcp:{text}").port < 65535:
        raise ValueError(f"{text!r}: there has to be a port after it, for the other end")
    return text


def alias(value: object) -> str:
    """Another name of the server: a domain name, or an address in figures."""
    text = string(value).strip("[]")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return valid_domain(text)


def whole(least: int, most: int, *, of: str = "") -> Callable[[object], int]:
    """A whole number between these, or its digits (from the environment); ``of`` is the unit."""

    def check(value: object) -> int:
        if isinstance(value, str):
            digits = value.strip()
            if digits.isascii() and digits.isdigit() and len(digits) < 20:
                value = int(digits)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"must be a whole number{f' of {of}' if of else ''}")
        if not least <= value <= most:
            raise ValueError(f"{value} is not between {least} and {most}{f' {of}' if of else ''}")
        return value

    return check


def switch(value: object) -> bool:
    """true or false, or these words (from the environment)."""
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower(), value)
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def file_rule(value: object) -> str:
    """A line of ``files.rules``."""
    text = string(value)
    FileRule.parse(text)
    return text
