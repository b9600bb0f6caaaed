"""What people type as a user and as a password: checks that need no database."""

import re
import secrets
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from rcsops.errors import UsageError

# RFC 3261 §25.1: user = 1*( unreserved / escaped / user-unreserved )
_UNESCAPED = r"A-Za-z0-9\-_.!~*'()&=+$,;?/"
_USER = re.compile(rf"(?:[{_UNESCAPED}]|%[0-9A-Fa-f]{{2}})+")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_CHARACTER = re.compile(r"%[0-9A-Fa-f]{2}|.", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_MAX_USER = 64  # what the columns of OpenSIPS hold
_MIN_PASSWORD, _MAX_PASSWORD = 6, 256
_MAX_PLAIN = 25  # password CHAR(25) in every release
# No letters or digits that look alike, so that it can be read out and typed.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


class UserName(NamedTuple):
    """A user of a domain, in the one form in which it is stored and hashed."""

    username: str
    domain: str

    def __str__(self) -> str:
        return f"{self.username}@{self.domain}"


def parse_user(
    text: str, domain: str, others: Sequence[str] = (), *, opensips: bool = False
) -> UserName:
    """``bob``, ``bob@rcs.example`` or ``sip:bob@rcs.example`` as a user of ``domain``, or, when it
    is named, of one of ``others``.

    An escape of a character that needs none is undone and others are in capitals, since both forms
    are the same user (RFC 3261 §19.1.4). Raises `UsageError` for a name that cannot stand in a SIP
    URI, for another domain, and with ``opensips`` for a name that OpenSIPS lets nobody register.
    """
    given = text.strip()
    if given.lower().startswith("sip:"):
        given = given[4:]
    user, at, other = given.rpartition("@")
    if not at:
        user = given
    elif (named := other.lower().rstrip(".")) in others:
        domain = named
    elif named != domain:
        every = f"domains, which are {', '.join((domain, *others))}" if others else ""
        raise UsageError(
            f"{text!r} is not of this project's {every or f'domain, which is {domain}'}",
            hint=f"type {user or 'the user'!r} alone, or choose another project with --project",
        )
    if not user:
        raise UsageError("the user's name is empty", hint="type a name such as bob")
    if opensips:
        _check_for_opensips(user)
    if not _USER.fullmatch(user):
        escaped = quote(user, safe="-_.!~*'()&=+$,;?/%", errors="surrogateescape")
        raise UsageError(
            f"{user!r} cannot be a SIP user: letters, digits and -_.!~*'()&=+$,;?/ can",
            hint=f"escape the others: {escaped}" if _USER.fullmatch(escaped) else "",
        )
    if "%" in user:
        user = _ESCAPE.sub(_normal_escape, user)
    if len(user) > _MAX_USER:
        raise UsageError(
            f"the name is longer than the {_MAX_USER} characters that a database holds"
        )
    return UserName(user, domain)


def _check_for_opensips(user: str) -> None:
    """A name that OpenSIPS answers 400 to in a REGISTER is one with an escape of anything but a
    printable character of ASCII (lib/reg/sip_msg.c); other characters would need such an escape."""
    if user.isascii() and "%" not in user and user.isprintable():
        return
    for found in _CHARACTER.findall(user):
        code = int(found[1:], 16) if len(found) > 1 else ord(found)
        if not 32 <= code <= 126:
            shown = found if len(found) > 1 else repr(found)
            raise UsageError(
                f"OpenSIPS lets nobody register whose name has {shown} in it",
                hint="take a name of ASCII characters; the embedded engine takes any",
            )


def bound_name(user: str) -> str:
    """The name under which OpenSIPS keeps the contacts of a user: without escapes."""
    return unquote_to_bytes(user).decode("utf-8", "replace")


def account_name(bound: str) -> str:
    """The opposite of `bound_name`."""
    return quote(bound, safe="-_.!~*'()&=+$,;?/")


def _normal_escape(match: re.Match[str]) -> str:
    character = unquote_to_bytes(match[0]).decode("latin-1")
    needless = re.fullmatch(rf"[{_UNESCAPED}]", character)
    return character if needless else match[0].upper()


def check_password(password: str, user: UserName) -> None:
    """Raises `UsageError` for a password that is no protection or that cannot be typed again."""
    problem = ""
    if len(password) < _MIN_PASSWORD:
        problem = f"has fewer than {_MIN_PASSWORD} characters"
    elif len(password) > _MAX_PASSWORD:
        problem = f"has more than {_MAX_PASSWORD} characters"
    elif _CONTROLS.search(password):
        problem = "holds control characters"
    elif _SURROGATES.search(password):
        problem = "is not UTF-8 text"
    elif password.lower() in (user.username.lower(), str(user).lower()):
        problem = "is the user's name"
    if problem:
        raise UsageError(f"the password {problem}", hint="--generate makes a good one")


def check_plain(password: str) -> None:
    """Raises `UsageError` for a password that OpenSIPS's column for it cannot hold."""
    if len(password) > _MAX_PLAIN:
        raise UsageError(
            f"the column for passwords holds {_MAX_PLAIN} characters",
            hint="take a shorter one, or store hashes alone, which need no column for it",
        )


def generate_password() -> str:
    """A password with 98 bits of randomness, in groups that can be read out."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))
    return "-".join(groups)
