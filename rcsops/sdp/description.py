"""Session descriptions as lines (RFC 8866 §5).

Lines stand as they came, in their order, whether we know them or not; what is asked for by name is
looked up in them. So a description that is only passed on, or changed in one attribute, keeps
everything else byte for byte.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from rcsops.errors import LocalProtocolError, SdpParseError
from rcsops.limits import SDP_LINES, SDP_MEDIA, SDP_SIZE

_MEDIA = re.compile(r"([^\s/]+) +([0-9]{1,5})(?:/([0-9]{1,5}))? +(\S+)((?: +\S+)+)")
_UNSAFE = re.compile(r"[\x00\r\n]")
_LINES = re.compile(r"(?>(?:[a-z]=[^\x00\r\n]*+(?:\n|\Z))*)")
_LONGEST = 64
_DIRECTIONS = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})

Line = tuple[str, str]
"""Type letter and value of one line."""


class Connection(NamedTuple):
    """A ``c=`` line: address family (``IP4`` or ``IP6``) and address (RFC 8866 §5.7)."""

    address: str
    family: str = "IP4"
    network: str = "IN"

    @classmethod
    def parse(cls, value: str) -> "Connection":
        """Read the value of the line; raise SdpParseError."""
        parts = value.split()
        if len(parts) != 3:
            raise SdpParseError(f"not a connection: {value[:80]!r}")
        return cls(parts[2], parts[1], parts[0])

    @classmethod
    @lru_cache(maxsize=64)
    def to(cls, host: str) -> "Connection":
        """The line for an address or a host name; IPv6 without brackets (RFC 5118 §4.6)."""
        host = host.strip("[]")
        try:
            return cls(host, f"IP{ip_address(host).version}")
        except ValueError:
            return cls(host)

    def __str__(self) -> str:
        return f"{self.network} {self.family} {self.address}"


def _connection(value: str) -> Connection:
    # The addresses of those whom one talks to come again and again.
    return Connection.parse(value) if len(value) > _LONGEST else _known_connection(value)


_known_connection = lru_cache(maxsize=64)(Connection.parse)


class Origin(NamedTuple):
    """An ``o=`` line (RFC 8866 §5.2); the version grows with every change of the description."""

    username: str
    session_id: str
    version: int
    address: Connection

    @classmethod
    def parse(cls, value: str) -> "Origin":
        """Read the value of the line; raise SdpParseError."""
        parts = value.split()
        if len(parts) != 6 or not re.fullmatch(r"[0-9]{1,20}", parts[2]):
            raise SdpParseError(f"not an origin: {value[:80]!r}")
        return cls(parts[0], parts[1], int(parts[2]), Connection(parts[5], parts[4], parts[3]))

    def __str__(self) -> str:
        return f"{self.username} {self.session_id} {self.version} {self.address}"


class _Section:
    """Lines in order, with attributes by name."""

    __slots__ = ("lines",)

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines

    def get(self, letter: str) -> str | None:
        """The value of the first line with that letter, or None."""
        for kind, value in self.lines:
            if kind == letter:
                return value
        return None

    def attribute(self, name: str) -> str | None:
        """The value of the first ``a=name:value``; empty for a flag, None when it is not there."""
        return next(self._values_of(name), None)

    def attributes(self, name: str) -> list[str]:
        """The values of all attributes of that name; names count with their case (§6)."""
        return list(self._values_of(name))

    def first_attributes(self) -> dict[str, str]:
        """The first value of every attribute by its name, for who wants many of them."""
        found: dict[str, str] = {}
        for kind, value in self.lines:
            if kind == "a":
                name, _, rest = value.partition(":")
                found.setdefault(name, rest)
        return found

    def _values_of(self, name: str) -> Iterator[str]:
        for kind, value in self.lines:
            # Most attributes are another: only those that may be the one are taken apart.
            if kind == "a" and value.startswith(name):
                key, _, rest = value.partition(":")
                if key == name:
                    yield rest

    def add_attribute(self, name: str, value: str | None = None) -> None:
        """Put an attribute at the end; a flag when ``value`` is None."""
        self.add_line("a", name if value is None else f"{name}:{value}")

    def remove_attribute(self, name: str) -> None:
        """Take all attributes of that name out."""
        self.lines = [
            line for line in self.lines if line[0] != "a" or line[1].partition(":")[0] != name
        ]

    def set_attribute(self, name: str, value: str | None = None) -> None:
        """Replace the first attribute of that name and drop the others, or put it at the end."""
        text = name if value is None else f"{name}:{value}"
        check_value(text)
        for index, (kind, old) in enumerate(self.lines):
            if kind == "a" and old.partition(":")[0] == name:
                rest = _Section(self.lines[index + 1 :])
                rest.remove_attribute(name)
                self.lines = [*self.lines[:index], ("a", text), *rest.lines]
                return
        self.lines.append(("a", text))

    def add_line(self, letter: str, value: str) -> None:
        """Put a line at the end; raise LocalProtocolError when the value holds a line end."""
        check_value(value)
        self.lines.append((letter, value))

    @property
    def connection(self) -> Connection | None:
        """The ``c=`` line of this section, or None; raises SdpParseError."""
        value = self.get("c")
        return None if value is None else _connection(value)

    def __str__(self) -> str:
        return "".join([f"{letter}={value}\r\n" for letter, value in self.lines])


class MediaDescription(_Section):
    """One ``m=`` line and what belongs to it (RFC 8866 §5.14)."""

    __slots__ = ("count", "formats", "media", "port", "proto")

    def __init__(
        self,
        media: str,
        port: int,
        proto: str,
        formats: tuple[str, ...] = ("*",),
        lines: list[Line] | None = None,
    ) -> None:
        super().__init__([] if lines is None else lines)
        self.media = media
        self.port = port
        self.proto = proto
        self.formats = formats
        self.count: str = ""

    @classmethod
    def parse(cls, value: str) -> "MediaDescription":
        """Read the value of an ``m=`` line; raise SdpParseError."""
        match = _MEDIA.fullmatch(value.rstrip(" "))
        if match is None or int(match[2]) > 65535:
            raise SdpParseError(f"not a media description: {value[:80]!r}")
        media = cls(match[1], int(match[2]), match[4], tuple(match[5].split()))
        media.count = match[3] or ""
        return media

    def __str__(self) -> str:
        count = f"/{self.count}" if self.count else ""
        formats = " ".join(self.formats)
        head = f"m={self.media} {self.port}{count} {self.proto} {formats}\r\n"
        return head + super().__str__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MediaDescription) and str(self) == str(other)

    __hash__ = None  # type: ignore[assignment]


class SessionDescription(_Section):
    """The session's own lines, and its media in order."""

    __slots__ = ("media",)

    def __init__(self, lines: list[Line], media: list[MediaDescription] | None = None) -> None:
        super().__init__(lines)
        self.media = [] if media is None else media

    @property
    def origin(self) -> Origin:
        """The ``o=`` line; raises SdpParseError."""
        return Origin.parse(self.get("o") or "")

    def connection_for(self, media: MediaDescription) -> Connection | None:
        """The connection that holds for ``media``: its own, else the session's (§5.7)."""
        value = media.get("c")
        if value is None:
            value = self.get("c")
        return None if value is None else _connection(value)

    def direction_of(self, media: MediaDescription) -> str:
        """sendrecv (the default), sendonly, recvonly or inactive, for ``media`` (§6.7)."""
        for section in (media, self):
            for kind, value in section.lines:
                if kind == "a" and value in _DIRECTIONS:
                    return value
        return "sendrecv"

    def __str__(self) -> str:
        return super().__str__() + "".join(map(str, self.media))

    def __bytes__(self) -> bytes:
        return str(self).encode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SessionDescription) and str(self) == str(other)

    __hash__ = None  # type: ignore[assignment]


def parse_sdp(data: bytes | str) -> SessionDescription:
    """Read a description; raise SdpParseError (RFC 8866 §5).

    Lines may end with LF alone; they are written with CRLF. ``v=0`` has to come first, ``o=`` and
    ``s=`` have to be there.
    """
    if len(data) > SDP_SIZE:
        raise SdpParseError("a description that is too long", status=413)
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    lines = text.replace("\r\n", "\n").split("\n")
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) > SDP_LINES or not lines or lines[0] != "v=0":
        raise SdpParseError("not a description of version 0")
    if not _LINES.fullmatch("\n".join(lines)):
        wrong = next(line for line in lines if not line or not _LINES.fullmatch(line))
        raise SdpParseError(f"not a line of SDP: {wrong[:80]!r}")
    session = SessionDescription([])
    section: _Section = session
    for line in lines:
        if line[0] == "m":
            if len(session.media) >= SDP_MEDIA:
                raise SdpParseError("too many media")
            media = MediaDescription.parse(line[2:])
            session.media.append(media)
            section = media
        else:
            section.lines.append((line[0], line[2:]))
    if session.get("o") is None or session.get("s") is None:
        raise SdpParseError("no origin or no session name")
    return session


def check_value(value: str) -> str:
    """The value of a line of ours as it is; raise LocalProtocolError when it holds a line end."""
    if _UNSAFE.search(value):
        raise LocalProtocolError(f"a line end within a line of SDP: {value[:80]!r}")
    return value
