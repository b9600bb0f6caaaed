"""A message taken apart for showing: start line, header fields, body, whatever the bytes are.

The parsers of the cores refuse what is wrong; what was on the wire must be shown all the same.
"""

from dataclasses import dataclass

# What the parsers take stands in `rcsops.limits`; a picture has no use for more lines than these.
_MOST_HEADERS = 512

COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
"""The one-letter names of SIP headers (RFC 3261 §7.3.3 and the registry), lower case."""


@dataclass(frozen=True, slots=True)
class Header:
    """One field as it was written; ``key`` is its full name in lower case."""

    name: str
    value: str
    key: str


@dataclass(frozen=True, slots=True)
class Dissected:
    """``end`` is the end-line of an MSRP frame, "" for SIP.

    Texts are decoded as UTF-8; a byte that is not stands as a lone surrogate, which
    `rcsops.text.visible` writes out.
    """

    start: str
    headers: tuple[Header, ...]
    body: str
    end: str = ""

    def first(self, key: str) -> str:
        """The value of the first field of that name, in lower case; "" if there is none."""
        return next((header.value for header in self.headers if header.key == key), "")

    def all(self, key: str) -> list[str]:
        """The values of every field of that name."""
        return [header.value for header in self.headers if header.key == key]


def dissect(protocol: str, data: bytes) -> Dissected:
    """Takes one message apart; never raises."""
    text = data.decode("utf-8", "surrogateescape")
    end = ""
    if protocol == "msrp":
        text, end = _without_end(text)
    else:
        text = text.lstrip("\r\n")
    head, _, body = text.partition("\r\n\r\n")
    lines = head.split("\r\n")
    headers: list[Header] = []
    for line in lines[1:]:
        if not line:
            continue
        if line[0] in " \t" and headers:
            # A folded line goes on with the field above (RFC 3261 §7.3.1).
            last = headers[-1]
            headers[-1] = Header(last.name, f"{last.value} {line.strip()}".strip(), last.key)
            continue
        if len(headers) == _MOST_HEADERS:
            break
        name, colon, value = line.partition(":")
        name = name.strip()
        key = name.lower() if colon else ""
        if protocol == "sip":
            key = COMPACT.get(key, key)
        headers.append(Header(name if colon else line, value.strip(), key))
    return Dissected(lines[0], tuple(headers), body, end)


def _without_end(text: str) -> tuple[str, str]:
    """An MSRP frame without its end-line ``-------tid$`` (RFC 4975 §7.1), and that line."""
    whole = text.removesuffix("\r\n")
    at = whole.rfind("\r\n-------")
    if at < 0:
        return text, ""
    return whole[:at], whole[at + 2 :]
