"""SIP messages: requests and responses (RFC 3261 §7).

A message keeps the lines of its head as they came, so that what nobody touched goes out octet by
octet as it came in; header values are parsed on first use. Reading costs no object for a header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Self, TypeVar

from rcsops.errors import LocalProtocolError, SipParseError
from rcsops.sip.grammar import is_token, split_first, split_list, unfold
from rcsops.sip.headers import METHODS, NameAddr
from rcsops.sip.names import HEADER_NAMES, reason_phrase
from rcsops.sip.typed import TypedHeaders
from rcsops.sip.uri import Uri

T = TypeVar("T")

ENCODING = "utf-8"
ERRORS = "surrogateescape"

_CONTENT_LENGTH = HEADER_NAMES["Content-Length"]
_SPACE = re.compile(r"[ \t\r\n]")


def _read_directly(*names: str) -> Callable[[type[T]], type[T]]:
    """Properties that give what the slot of their name holds do so without a call of Python's.

    Every rule asks for the method or the status, some ten times for one message.
    """

    def change(cls: type[T]) -> type[T]:
        for name in names:
            written: property = cls.__dict__[name]
            direct = property(attrgetter(f"_{name}"), written.fset, doc=written.__doc__)
            setattr(cls, name, direct)
        return cls

    return change


def _value(line: str) -> str:
    """The value of a header line, unfolded and stripped."""
    value = line.partition(":")[2].strip(" \t")
    return unfold(value) if "\n" in value else value


@_read_directly("version", "body")
class Message(TypedHeaders):
    """What requests and responses have in common. Mutable.

    Header names are case-insensitive and the compact form of a name is the same name. A value
    with a line break, and a name that is no token, raises LocalProtocolError.
    """

    __slots__ = ("_body", "_lines", "_names", "_start", "_typed", "_values", "_version")

    # The start line and the header lines as on the wire, without line ends; a folded header is
    # one entry with its line breaks inside. _names has the canonical name for each line.
    # _values is what parsing learned on the way, the texts after the colon (a list where a name
    # repeats): what is in it is right, a name that is not in it must be looked for in _names.
    _start: str
    _lines: list[str]
    _names: list[str]
    _typed: dict[str, Any]
    _values: dict[str, str | list[str]]
    _body: bytes
    _version: str

    def _fill(self, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        names: list[str] = []
        lines: list[str] = []
        values: dict[str, str | list[str]] = {}
        again: list[str] = []
        try:
            for name, value in headers:
                if "\r" in value or "\n" in value:
                    raise LocalProtocolError(f"a line break in the value of {name}")
                canonical = HEADER_NAMES[name]
                if canonical == "content-length":
                    continue
                names.append(canonical)
                lines.append(f"{name}: {value}")
                if canonical in values:
                    again.append(canonical)
                else:
                    values[canonical] = value
        except SipParseError as error:
            raise LocalProtocolError(str(error)) from None
        for canonical in again:
            values.pop(canonical, None)
        self._body = bytes(body)
        length = str(len(self._body))
        names.append(_CONTENT_LENGTH)
        lines.append(f"Content-Length: {length}")
        values[_CONTENT_LENGTH] = length
        self._names, self._lines, self._values = names, lines, values
        self._typed = {}
        self._version = "SIP/2.0"

    @property
    def version(self) -> str:
        """The SIP version of the start line, in upper case: "SIP/2.0"."""
        return self._version

    @property
    def body(self) -> bytes:
        """The body; setting it keeps Content-Length right."""
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        self._body = bytes(body)
        self.set("Content-Length", str(len(self._body)))

    def set_body(self, body: bytes, content_type: str) -> None:
        """Set the body and its Content-Type."""
        self.set("Content-Type", content_type)
        self.body = body

    def get(self, name: str) -> str | None:
        """The first field of that name, unfolded and stripped; None when there is none."""
        try:
            canonical = HEADER_NAMES[name]
        except SipParseError as error:
            raise LocalProtocolError(str(error)) from None
        value = self._values.get(canonical)
        if type(value) is str:
            value = value.strip(" \t")
            return unfold(value) if "\n" in value else value
        if canonical not in self._names:
            return None
        return _value(self._lines[self._names.index(canonical)])

    def get_all(self, name: str) -> list[str]:
        """Every field of that name in order, one string for each line."""
        return self._field_values(_canonical(name))

    def values(self, name: str) -> list[str]:
        """The values of that name with comma lists split; empty elements are left out.

        Raises SipParseError when a quote or bracket is not closed.
        """
        return [value for line in self.get_all(name) for value in split_list(line) if value]

    def has(self, name: str) -> bool:
        """Whether there is a field of that name."""
        return _canonical(name) in self._names

    def count(self, name: str) -> int:
        """How many fields (lines) have that name."""
        return self._names.count(_canonical(name))

    def fields(self) -> list[tuple[str, str]]:
        """(name as spelled, value) of every field in order."""
        return [(line[: line.index(":")].rstrip(" \t"), _value(line)) for line in self._lines]

    def set(self, name: str, value: str) -> None:
        """Replace the first field of that name and drop the others; append when there is none."""
        canonical = _checked(name, value)
        names = self._names
        line = f"{name}: {value}"
        if canonical not in names:
            names.append(canonical)
            self._lines.append(line)
        else:
            index = names.index(canonical)
            self._lines[index] = line
            if names.count(canonical) > 1:
                self._drop(canonical, index + 1)
        self._changed(canonical)

    def add(self, name: str, value: str) -> None:
        """Put a field after the last one of that name, at the end when there is none."""
        canonical = _checked(name, value)
        names = self._names
        if canonical not in names:
            names.append(canonical)
            self._lines.append(f"{name}: {value}")
            # That it was missing may have been noted.
            self._typed.pop(canonical, None)
            self._values[canonical] = value
            return
        index = len(names)
        while names[index - 1] != canonical:
            index -= 1
        names.insert(index, canonical)
        self._lines.insert(index, f"{name}: {value}")
        self._changed(canonical)

    def prepend(self, name: str, value: str) -> None:
        """Put a field above the first one of that name, on top of all when there is none."""
        canonical = _checked(name, value)
        names = self._names
        index = names.index(canonical) if canonical in names else 0
        names.insert(index, canonical)
        self._lines.insert(index, f"{name}: {value}")
        self._changed(canonical)

    def remove(self, name: str) -> bool:
        """Drop every field of that name; whether there was one."""
        canonical = _canonical(name)
        if canonical not in self._names:
            return False
        self._drop(canonical, 0)
        self._changed(canonical)
        return True

    def pop_first(self, name: str) -> str | None:
        """Take the topmost value off a comma list (Via, Route) and return it; None without one."""
        canonical = _canonical(name)
        if canonical not in self._names:
            return None
        index = self._names.index(canonical)
        first, rest = split_first(_value(self._lines[index]))
        if rest is None:
            del self._names[index], self._lines[index]
        else:
            self._put(index, rest)
        self._changed(canonical)
        return first

    def replace_first(self, name: str, value: str) -> None:
        """Replace the topmost value of a comma list and keep the rest; append without one."""
        canonical = _checked(name, value)
        if canonical not in self._names:
            self.add(name, value)
            return
        index = self._names.index(canonical)
        rest = split_first(_value(self._lines[index]))[1]
        self._put(index, value if rest is None else f"{value}, {rest}")
        self._changed(canonical)

    def _put(self, index: int, value: str) -> None:
        line = self._lines[index]
        self._lines[index] = f"{line[: line.index(':')].rstrip()}: {value}"

    def _drop(self, canonical: str, start: int) -> None:
        kept = [
            (name, line)
            for position, (name, line) in enumerate(zip(self._names, self._lines, strict=True))
            if position < start or name != canonical
        ]
        self._names = [name for name, _ in kept]
        self._lines = [line for _, line in kept]

    def copy(self) -> Self:
        """An independent copy."""
        other = type(self).__new__(type(self))
        other._start, other._version = self._start, self._version
        other._lines, other._names = self._lines[:], self._names[:]
        other._typed, other._body = dict(self._typed), self._body
        other._values = dict(self._values)
        return other

    def __bytes__(self) -> bytes:
        text = "\r\n".join((self._start, *self._lines, "", ""))
        try:
            return text.encode(ENCODING, ERRORS) + self._body
        except UnicodeEncodeError as error:
            raise LocalProtocolError(f"a header cannot be encoded: {error.reason}") from None

    def __str__(self) -> str:
        """The message as text for people: octets that are not UTF-8 are replaced."""
        return bytes(self).decode(ENCODING, "replace")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bytes(self) == bytes(other)

    __hash__ = None  # type: ignore[assignment]


@_read_directly("method", "uri")
class Request(Message):
    """A SIP request (RFC 3261 §7.1)."""

    __slots__ = ("_method", "_uri")

    _method: str
    _uri: str

    def __init__(
        self,
        method: str,
        uri: str | Uri,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        self._fill(headers, body)
        self._set_start(method, str(uri))

    def _set_start(self, method: str, uri: str) -> None:
        if not (method in METHODS or is_token(method)) or not uri or _SPACE.search(uri):
            raise LocalProtocolError(f"not a method and URI: {method[:20]!r} {uri[:60]!r}")
        self._method, self._uri = method, uri
        self._start = f"{method} {uri} {self._version}"
        self._typed.pop(":uri", None)

    @property
    def method(self) -> str:
        """The method; methods are case-sensitive (§7.1)."""
        return self._method

    @method.setter
    def method(self, method: str) -> None:
        self._set_start(method, self._uri)

    @property
    def uri(self) -> str:
        """The text of the Request-URI."""
        return self._uri

    @uri.setter
    def uri(self, uri: str | Uri) -> None:
        self._set_start(self._method, str(uri))

    @property
    def request_uri(self) -> Uri:
        """The Request-URI. Raises SipParseError when it is no URI."""
        uri = self._typed.get(":uri")
        if uri is None:
            uri = self._typed[":uri"] = Uri.parse(self._uri)
        return uri

    def copy(self) -> Self:
        """An independent copy."""
        other = super().copy()
        other._method, other._uri = self._method, self._uri
        return other

    def __repr__(self) -> str:
        return f"<Request {self._method} {self._uri}>"


@_read_directly("status", "reason")
class Response(Message):
    """A SIP response (RFC 3261 §7.2)."""

    __slots__ = ("_copied", "_reason", "_status")

    _status: int
    _reason: str
    # How many of its first lines `to_request` has copied.
    _copied: int

    def __init__(
        self,
        status: int,
        reason: str = "",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        self._fill(headers, body)
        self._set_start(status, reason or reason_phrase(status))

    def _set_start(self, status: int, reason: str) -> None:
        if not 100 <= status <= 699 or "\r" in reason or "\n" in reason:
            raise LocalProtocolError(f"not a status and phrase: {status} {reason[:60]!r}")
        self._status, self._reason = status, reason
        self._start = f"{self._version} {status} {reason}"

    @property
    def status(self) -> int:
        """The status code, 100 to 699."""
        return self._status

    @status.setter
    def status(self, status: int) -> None:
        self._set_start(status, reason_phrase(status))

    @property
    def reason(self) -> str:
        """The reason phrase."""
        return self._reason

    @reason.setter
    def reason(self, reason: str) -> None:
        self._set_start(self._status, reason)

    @classmethod
    def to_request(
        cls,
        request: Request,
        status: int,
        reason: str = "",
        to_tag: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        before: Response | None = None,
    ) -> Response:
        """The answer to a request (RFC 3261 §8.2.6.2).

        Copies every Via, From, To (with ``to_tag`` if it has no tag yet), Call-ID and CSeq; for
        100 the Timestamp, and for 101 to 299 to an INVITE the Record-Route (§12.1.1). Also makes
        an answer to a request that is broken, from what can be copied. ``before`` is an answer of
        101 to 299 to the same INVITE, for another one: what it has copied is taken from there.
        """
        wanted = _COPIED
        if status == 100:
            wanted = _COPIED_100
        elif status < 300 and request.method == "INVITE":
            wanted = _COPIED_DIALOG
        response = cls(status, reason, headers, body)
        if before is not None:
            count = before._copied
            names, lines = before._names[:count], before._lines[:count]
        else:
            names, lines = _copied(request, wanted, to_tag)
        response._copied = len(names)
        response._names[:0] = names
        response._lines[:0] = lines
        for name in response._values.keys() & wanted:
            del response._values[name]
        return response

    def copy(self) -> Self:
        """An independent copy."""
        other = super().copy()
        other._status, other._reason = self._status, self._reason
        return other

    def __repr__(self) -> str:
        return f"<Response {self._status} {self._reason}>"


_COPIED = frozenset(("via", "from", "to", "call-id", "cseq"))
_COPIED_100 = _COPIED | {"timestamp"}
_COPIED_DIALOG = _COPIED | {"record-route"}


def _copied(
    request: Request, wanted: frozenset[str], to_tag: str | None
) -> tuple[list[str], list[str]]:
    """The names and lines of a request that an answer repeats."""
    names = []
    lines = []
    for name, line in zip(request._names, request._lines, strict=True):
        if name in wanted:
            if name == "to" and to_tag and not _has_tag(request, line):
                line = f"{line.rstrip()};tag={to_tag}"
            names.append(name)
            lines.append(line)
    return names, lines


def _has_tag(request: Request, line: str) -> bool:
    # Whoever answers has mostly read To before; a broken request may have it twice.
    to = request._typed.get("to")
    try:
        return (to or NameAddr.parse(_value(line))).tag is not None
    except SipParseError:
        # An address that cannot be parsed is copied as it is: the answer is a 400 anyway.
        return True


def _canonical(name: str) -> str:
    try:
        return HEADER_NAMES[name]
    except SipParseError as error:
        raise LocalProtocolError(str(error)) from None


def _checked(name: str, value: str) -> str:
    if "\r" in value or "\n" in value:
        raise LocalProtocolError(f"a line break in the value of {name}")
    try:
        return HEADER_NAMES[name]
    except SipParseError as error:
        raise LocalProtocolError(str(error)) from None
