"""Somebody is typing: isComposing (RFC 3994)."""

from dataclasses import dataclass
from xml.sax.saxutils import escape

from rcsops.errors import CpimParseError, LocalProtocolError
from rcsops.rcs.xml import child_text, parse_document

CONTENT_TYPE = "application/im-iscomposing+xml"
NAMESPACE = "urn:ietf:params:xml:ns:im-iscomposing"
DEFAULT_EXPIRY = 120
"""Seconds after which "active" ends at the receiver when no refresh is given (RFC 3994 §3.3)."""

MIN_REFRESH = 60
"""The least refresh interval in seconds (RFC 3994 §3.2)."""


@dataclass(frozen=True, slots=True)
class Composing:
    """Whether the peer is typing, and for how many seconds that holds without a refresh."""

    active: bool
    refresh: int | None = None
    content_type: str = "text/plain"
    last_active: str = ""

    @property
    def expiry(self) -> int:
        """Seconds until the receiver takes an active peer for idle."""
        return DEFAULT_EXPIRY if self.refresh is None else self.refresh


def make_composing(state: Composing) -> bytes:
    """The XML document; raise LocalProtocolError for a refresh below 60 seconds."""
    if state.refresh is not None and state.refresh < MIN_REFRESH:
        raise LocalProtocolError(f"a refresh of {state.refresh} s is less than {MIN_REFRESH} s")
    parts = [f"<state>{'active' if state.active else 'idle'}</state>"]
    if state.last_active:
        parts.append(f"<lastactive>{escape(state.last_active)}</lastactive>")
    parts.append(f"<contenttype>{escape(state.content_type)}</contenttype>")
    if state.active and state.refresh is not None:
        parts.append(f"<refresh>{state.refresh}</refresh>")
    body = "\r\n".join(parts)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\r\n'
        f'<isComposing xmlns="{NAMESPACE}">\r\n{body}\r\n</isComposing>\r\n'
    ).encode()


def parse_composing(data: bytes) -> Composing:
    """Read a document; raise CpimParseError for another root or namespace, or without a state.

    A state that we do not know counts as idle (RFC 3994 §3.4).
    """
    ns = f"{{{NAMESPACE}}}"
    root = parse_document(data, f"{ns}isComposing")
    state = child_text(root, f"{ns}state")
    if state is None:
        raise CpimParseError("isComposing without its state")
    text = child_text(root, f"{ns}refresh") or ""
    refresh = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    return Composing(
        state == "active",
        refresh or None,
        child_text(root, f"{ns}contenttype") or "text/plain",
        child_text(root, f"{ns}lastactive") or "",
    )
