"""The wrapping of a message, message/cpim (RFC 3862)."""

import re
from datetime import UTC, datetime
from functools import lru_cache

from rcsops.errors import CpimParseError, LocalProtocolError
from rcsops.limits import CPIM_HEAD, CPIM_HEADERS

CONTENT_TYPE = "message/cpim"
CPIM_NAMESPACE = "urn:ietf:params:cpim-headers:"
IMDN_NAMESPACE = "urn:ietf:params:imdn"
ANONYMOUS = "<sip:anonymous@anonymous.invalid>"
"""Who a message is from and to inside of a 1-to-1 session, where SIP says it already."""

_HEADER = re.compile(
    r"([A-Za-z0-9!#$%&'*+\-^_`|~.]+):"
    r"((?:;[^\s;=\"]+=(?:\"[^\"]*\"|[^\s;\"]*))*)[ \t]*(.*)",
    re.DOTALL,
)
_PARAM = re.compile(r";[^\s;=\"]+=")
_MIME_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+\-^_`|~]+):[ \t]*(.*)", re.DOTALL)
_NS = re.compile(r"(?:(\S+?)[ \t]*)?<([^<>]*)>")
_OURS = frozenset(
    {
        *("From", "To", "DateTime", "NS", "Content-Type", "Content-Length"),
        *("imdn.Message-ID", "imdn.Disposition-Notification", "Content-Disposition"),
    }
)
_REQUIRE = (CPIM_NAMESPACE, "require")
# What is acted on here. Of the headers of RFC 3862 that leaves out cc and Subject, which are read
# and shown to nobody.
_UNDERSTOOD = frozenset(
    {
        *((CPIM_NAMESPACE, name) for name in ("from", "to", "datetime", "ns", "require")),
        *((IMDN_NAMESPACE, name) for name in ("message-id", "disposition-notification")),
        *((IMDN_NAMESPACE, name) for name in ("imdn-record-route", "imdn-route")),
    }
)
_KNOWN = 128
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "r": "\r"}
_TO_ESCAPE = re.compile(r"[\x00-\x1f\x7f\\\"']")
_DATE_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:)([0-9]{2})(\.[0-9]+)?"
    r"(?:([Zz])|([+-][0-9]{2}:[0-9]{2}))"
)


class CpimMessage:
    """A message/cpim body: its headers, the MIME headers of the content, the content.

    ``headers`` and ``content_headers`` are (name, value) as written, names with their prefix.
    Parameters of a header (``Subject:;lang=fr Bonjour``) stand before the value, as written.
    """

    __slots__ = ("_not_understood", "_resolved", "body", "content_headers", "headers")

    def __init__(
        self,
        headers: list[tuple[str, str]],
        content_headers: list[tuple[str, str]],
        body: bytes,
    ) -> None:
        self.headers = headers
        self.content_headers = content_headers
        self.body = body
        self._resolved: dict[tuple[str, str], list[str]] | None = None
        self._not_understood: list[str] = []

    @classmethod
    def make(
        cls,
        content_type: str,
        body: bytes,
        *,
        date_time: datetime,
        imdn: list[tuple[str, str]] | None = None,
        content_headers: list[tuple[str, str]] | None = None,
        from_: str = ANONYMOUS,
        to: str = ANONYMOUS,
    ) -> "CpimMessage":
        """A message of ours: ``imdn`` are the headers of RFC 5438 without their prefix."""
        headers = [("From", from_), ("To", to), ("DateTime", format_date_time(date_time))]
        if imdn:
            headers.append(("NS", f"imdn <{IMDN_NAMESPACE}>"))
            headers += [(f"imdn.{name}", value) for name, value in imdn]
        inner = [("Content-Type", content_type), *(content_headers or [])]
        inner.append(("Content-Length", str(len(body))))
        return cls(headers, inner, body)

    @classmethod
    def parse(cls, data: bytes) -> "CpimMessage":
        """Read a body; raise CpimParseError.

        Lenient where the field is sloppy: LF for CRLF, any case of names, no space after a colon,
        a missing or too large inner Content-Length, no blank line before the content's headers.
        """
        head, rest = _block(data)
        inner, body = _block(rest)
        start = _content_type(head)
        if start is not None and _content_type(inner) is None:
            # As in the example of RFC 4975 §11.4: no CPIM header has that name.
            head, inner, body = head[:start], head[start:], rest
        headers = [(_known_header if len(line) < _KNOWN else _header)(line) for line in head]
        content_headers = [
            (_known_mime_header if len(line) < _KNOWN else _mime_header)(line)
            for line in _unfold(inner)
        ]
        if not headers or not content_headers:
            raise CpimParseError("not CPIM: a block of headers is missing")
        message = cls(headers, content_headers, body)
        length = message.content("content-length")
        if length is not None and length.isascii() and length.isdigit() and len(length) < 19:
            message.body = body[: int(length)]
        return message

    def get(self, name: str, namespace: str = CPIM_NAMESPACE) -> str | None:
        """The first value of a header by its name without prefix and its namespace's URI."""
        values = self.get_all(name, namespace)
        return values[0] if values else None

    def get_all(self, name: str, namespace: str = CPIM_NAMESPACE) -> list[str]:
        """All values of that header; prefixes mean what the ``NS`` lines above them say."""
        if self._resolved is None:
            self._resolved = self._resolve()
        return list(self._resolved.get((namespace, name.lower()), ()))

    def _resolve(self) -> dict[tuple[str, str], list[str]]:
        """The values of all headers by namespace and name in lower case."""
        prefixes = {"": CPIM_NAMESPACE}
        found: dict[tuple[str, str], list[str]] = {}
        for written, text in self.headers:
            name = written.lower()
            if name == "ns":
                match = _NS.fullmatch(text.strip())
                if match is not None:
                    prefixes[(match[1] or "").lower()] = match[2].strip()
                continue
            key = _key(name, prefixes)
            if key is not None:
                found.setdefault(key, []).append(text)
            if key == _REQUIRE:
                self._not_understood += [
                    each
                    for part in header_text(text).split(",")
                    if (each := part.strip()) and _key(each.lower(), prefixes) not in _UNDERSTOOD
                ]
        return found

    def not_understood(self) -> list[str]:
        """What its ``Require`` headers name and nobody here knows, as it is written there.

        A message that has any is not to be read as if it were understood (RFC 3862 §3.5, §4.7).
        """
        self.get("require")
        return list(self._not_understood)

    def imdn(self, name: str) -> str | None:
        """The first value of a header of RFC 5438, whatever its prefix."""
        return self.get(name, IMDN_NAMESPACE)

    def content(self, name: str) -> str | None:
        """The value of a MIME header of the content, or None."""
        for written, value in self.content_headers:
            if written.lower() == name.lower():
                return value
        return None

    @property
    def content_type(self) -> str:
        """The content's type with its parameters; text/plain when it has none (RFC 2045 §5.2)."""
        return self.content("content-type") or "text/plain"

    @property
    def date_time(self) -> datetime | None:
        """The DateTime header, or None when there is none or it is no date."""
        try:
            return parse_date_time(self.get("datetime") or "")
        except CpimParseError:
            return None

    def __bytes__(self) -> bytes:
        lines = []
        for block in (self.headers, self.content_headers):
            for name, value in block:
                if not (name in _OURS or _HEADER.fullmatch(f"{name}:")) or _UNSAFE.search(value):
                    raise LocalProtocolError(f"not a CPIM header: {name}: {value[:80]!r}")
                space = "" if value.startswith(";") else " "
                lines.append(f"{name}:{space}{value}")
            lines.append("")
        head = "\r\n".join(lines) + "\r\n"
        return head.encode("utf-8", "surrogateescape") + self.body


def _key(name: str, prefixes: dict[str, str]) -> tuple[str, str] | None:
    """Namespace and name of a header in lower case; None for a prefix that nothing explains."""
    prefix, _, local = name.rpartition(".")
    # Without its NS line `imdn.` can still mean one thing only.
    uri = prefixes.get(prefix, IMDN_NAMESPACE if prefix == "imdn" else None)
    return None if uri is None else (uri, local)


def _block(data: bytes) -> tuple[list[str], bytes]:
    """The lines up to the first blank one, and what follows it."""
    ends = [(i, n) for n in (b"\r\n\r\n", b"\n\n") if (i := data.find(n, 0, CPIM_HEAD)) >= 0]
    if data[:2] == b"\r\n" or data[:1] == b"\n":
        return [], data[2 if data[:1] == b"\r" else 1 :]
    if ends:
        end, blank = min(ends)
        head, rest = data[:end], data[end + len(blank) :]
    else:
        head, rest = data, b""
    text = head.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    lines = text.split("\n") if text else []
    while lines and not lines[-1]:
        lines.pop()
    if len(head) > CPIM_HEAD or len(lines) > CPIM_HEADERS:
        raise CpimParseError("CPIM headers that are too long")
    return lines, rest


def _content_type(lines: list[str]) -> int | None:
    """Which line is the Content-Type, None when there is none."""
    for index, line in enumerate(lines):
        if line[:13].lower() == "content-type:":
            return index
    return None


def _unfold(lines: list[str]) -> list[str]:
    unfolded: list[str] = []
    for line in lines:
        if line[:1] in (" ", "\t") and unfolded:
            unfolded[-1] += " " + line.strip()
        else:
            unfolded.append(line)
    return unfolded


def _header(line: str) -> tuple[str, str]:
    match = _HEADER.fullmatch(line)
    if match is None or _UNSAFE.search(line):
        raise CpimParseError(f"not a CPIM header: {line[:80]!r}")
    params = f"{match[2]} " if match[2] else ""
    text = match[3]
    if text[:1] == ";" and not match[2] and _PARAM.match(text):
        # After a space it begins no parameter, as it would when it is written without one.
        text = _escape(";") + text[1:]
    return match[1], params + text


# From, To, NS and what is asked for are the same in all messages of a chat. Bounded, for they are
# a stranger's words.
_known_header = lru_cache(64)(_header)


def _mime_header(line: str) -> tuple[str, str]:
    match = _MIME_HEADER.fullmatch(line)
    if match is None or _UNSAFE.search(line):
        raise CpimParseError(f"not a MIME header: {line[:80]!r}")
    return match[1], match[2].rstrip()


_known_mime_header = lru_cache(64)(_mime_header)


def header_text(value: str) -> str:
    """A header's value for people: without parameters, with its escapes undone (RFC 3862 §3.3)."""
    match = _HEADER.fullmatch(f"x:{value}")
    text = value if match is None else match[3]
    return _unescaped(text)


def escape_text(text: str) -> str:
    """A text as it may stand in a header's value (RFC 3862 §3.3)."""
    back = {value: f"\\{key}" for key, value in _ESCAPES.items()}
    escaped = _TO_ESCAPE.sub(lambda m: back.get(m[0]) or _escape(m[0]), text)
    # At the start a space would be skipped and a semicolon would begin a parameter.
    return _escape(escaped[0]) + escaped[1:] if escaped[:1] in (" ", ";") else escaped


def _escape(character: str) -> str:
    return f"\\{character}" if character in "\\\"'" else f"\\u{ord(character):04x}"


def _unescaped(text: str) -> str:
    text = _ESCAPE.sub(_unescape, text)
    # Two escapes can make one character; half a pair, or an octet that was no UTF-8, is none.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 5:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, code)


def parse_address(value: str) -> tuple[str, str]:
    """Display name and URI of From, To or cc; raise CpimParseError (RFC 3862 §4.1)."""
    text = value.strip()
    display, opening, uri = text[:-1].rpartition("<")
    if not opening or not text.endswith(">") or ">" in uri:
        raise CpimParseError(f"not a CPIM address: {value[:80]!r}")
    display = display.strip()
    if len(display) >= 2 and display[0] == display[-1] == '"':
        display = display[1:-1]
    return _unescaped(display), uri.strip()


def parse_date_time(text: str) -> datetime:
    """An aware datetime from RFC 3339; raise CpimParseError. A leap second becomes :59."""
    match = _DATE_TIME.fullmatch(text.strip()) if len(text) <= 64 else None
    if match is None:
        raise CpimParseError(f"not a date: {text[:80]!r}")
    seconds = "59" if match[3] == "60" else match[3]
    fraction = (match[4] or "")[:7]
    zone = match[6] or "+00:00"
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}{seconds}{fraction}{zone}")
    except ValueError as error:
        raise CpimParseError(f"not a date: {text[:80]!r}") from error


def format_date_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds; raise LocalProtocolError for a time without a zone."""
    if moment.tzinfo is None:
        raise LocalProtocolError("a time without its zone")
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
