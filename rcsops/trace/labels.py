"""The words on an arrow, in as few columns as there are: what says least gives way first."""

from collections.abc import Iterator

from rcsops.text import visible
from rcsops.trace.ladder import Arrow
from rcsops.trace.text import cell_width, fit

__all__ = ["fitting_label"]

# The phrases of RFC 3261 §21 and its kin that are long, as people say them.
_PHRASES = {
    "proxy authentication required": "Proxy Auth",
    "request timeout": "Timeout",
    "message too large": "Too Large",
    "unsupported media type": "Media Type",
    "session interval too small": "Interval Small",
    "too many messages wait": "Box Full",
    "temporarily unavailable": "Unavailable",
    "call/transaction does not exist": "No Such Call",
    "request terminated": "Terminated",
    "server internal error": "Server Error",
    "service unavailable": "Unavailable",
    "server time-out": "Time-out",
}
# The media types that RCS sends, by what makes each of them another.
_TYPES = {
    "application/im-iscomposing+xml": "iscomposing",
    "application/vnd.gsma.rcs-ft-http+xml": "ft-http",
    "application/vnd.gsma.rcspushlocation+xml": "pushlocation",
    "application/octet-stream": "octets",
}
# Which of the words in brackets goes first: every INVITE has an SDP, and nearly every request is
# sent once more with a digest; that a REGISTER removes is what it is about.
_LEAST_FIRST = ("SDP", "digest", "remove")


def fitting_label(arrow: Arrow, room: int, *, ellipsis: str = "…") -> str:
    """The label of ``arrow`` with its marks in at most ``room`` columns: the first of its shorter
    forms that fits, cut off only where none does. Safe to show."""
    marks = arrow.marks
    label = arrow.label
    for label in _shorter_and_shorter(arrow):
        if cell_width(visible(label) + marks) <= room:
            break
    return fit(visible(label) + marks, room, ellipsis=ellipsis)


def _shorter_and_shorter(arrow: Arrow) -> Iterator[str]:
    yield arrow.label
    if arrow.summary.status is not None:
        yield from _response(arrow)
    elif arrow.protocol == "msrp":
        method, _, rest = arrow.label.partition(" ")
        kind, _, rest = rest.partition(" ")
        if kind.lower() in _TYPES:
            yield " ".join(word for word in (method, _TYPES[kind.lower()], rest) if word)
    else:
        yield from _request(arrow)


def _response(arrow: Arrow) -> Iterator[str]:
    status, reason = arrow.summary.status, arrow.summary.reason
    method = f" ({arrow.summary.cseq_method})" if arrow.summary.cseq_method else ""
    reason = _PHRASES.get(reason.lower(), reason)
    short = f"{status} {reason}".rstrip()
    yield f"{short}{method}"
    if reason == "OK" and method:
        # What went well says more here than that it did.
        yield f"{status}{method}"
    yield short


def _request(arrow: Arrow) -> Iterator[str]:
    method = arrow.summary.method or ""
    left = list(arrow.summary.extras)
    for word in _LEAST_FIRST:
        if word in left:
            left.remove(word)
            yield f"{method} ({', '.join(left)})" if left else method
