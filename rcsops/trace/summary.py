"""What a message is, in a few words: enough for a ladder, whatever the bytes are.

This reads only the start line and a handful of headers, because a trace must also show what the
parsers refuse.
"""

import re
from dataclasses import dataclass

# A ladder has room for a word here; what is longer is not a method that anybody defined.
_LONGEST = 64

_INNER_TYPE = re.compile(rb"^content-type[ \t]*:[ \t]*([^\s;]+)", re.IGNORECASE | re.MULTILINE)
_REMOVAL = re.compile(rb"^(?:contact|m)[ \t]*:.*;[ \t]*expires[ \t]*=[ \t]*0\b", re.I | re.M)
_IMDN_STATUS = re.compile(rb"<(?:[\w.-]+:)?(delivered|displayed|failed|forbidden|error)[\s/>]")


@dataclass(frozen=True, slots=True)
class Summary:
    """``method`` is set for a request, ``status`` for a response; ``cseq_method`` says to what.

    ``call_id`` is SIP's; ``transaction_id``, ``message_id`` and ``session_ids`` are MSRP's, except
    that a SIP body with SDP names in ``session_ids`` the MSRP sessions that it offers or accepts.
    ``extras`` are the words in the brackets of a request's label.
    """

    label: str
    method: str | None = None
    status: int | None = None
    reason: str = ""
    call_id: str = ""
    cseq: int | None = None
    cseq_method: str = ""
    transaction_id: str = ""
    message_id: str = ""
    session_ids: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()


def summarize(protocol: str, data: bytes) -> Summary:
    """The summary of one message; never raises."""
    return _summarize_msrp(data) if protocol == "msrp" else _summarize_sip(data)


def _headers(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            key = name.strip().lower().decode("ascii", "replace")
            headers.setdefault(key, value.strip().decode("utf-8", "replace"))
    return headers


def _word(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _summarize_sip(data: bytes) -> Summary:
    head, _, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    headers = _headers(head)
    start = head.split(b"\r\n", 1)[0].decode("utf-8", "replace").split(" ", 2)
    call_id = headers.get("call-id") or headers.get("i", "")
    number, _, cseq_method = headers.get("cseq", "").partition(" ")
    cseq_method = _word(cseq_method.strip())
    cseq = _number(number)
    session_ids = tuple(_sdp_sessions(body))
    if start[0].startswith("SIP/") and len(start) > 1:
        reason = _word(start[2]) if len(start) > 2 else ""
        label = f"{_word(start[1])} {reason}".rstrip()
        return Summary(
            label=f"{label} ({cseq_method})" if cseq_method else label,
            status=_number(start[1]),
            reason=reason,
            call_id=call_id,
            cseq=cseq,
            cseq_method=cseq_method,
            session_ids=session_ids,
        )
    method = _word(start[0])
    extras = []
    if "authorization" in headers or "proxy-authorization" in headers:
        extras.append("digest")
    if session_ids:
        extras.append("SDP")
    if method == "REGISTER" and (headers.get("expires") == "0" or _REMOVAL.search(head)):
        extras.append("remove")
    return Summary(
        label=f"{method} ({', '.join(extras)})" if extras else method,
        method=method,
        call_id=call_id,
        cseq=cseq,
        cseq_method=cseq_method,
        session_ids=session_ids,
        extras=tuple(extras),
    )


def _sdp_sessions(body: bytes) -> list[str]:
    return [
        session_id
        for line in body.split(b"\r\n")
        if line.startswith(b"a=path:")
        for session_id in _path_sessions(line[len(b"a=path:") :].decode("utf-8", "replace"))
    ]


def _path_sessions(path: str) -> list[str]:
    """The session-id of each URI (``msrp://host:port/session-id;tcp``, RFC 4975 §6) of a path."""
    return [uri.split("/", 3)[3].split(";", 1)[0] for uri in path.split() if uri.count("/") >= 3]


def _summarize_msrp(data: bytes) -> Summary:
    head, _, body = data.partition(b"\r\n\r\n")
    body = body.rpartition(b"\r\n-------")[0]
    headers = _headers(head)
    start = head.split(b"\r\n", 1)[0].decode("utf-8", "replace").split(" ", 3)
    transaction_id = _word(start[1]) if len(start) > 1 else ""
    kind = _word(start[2]) if len(start) > 2 else ""
    sessions = (
        *_path_sessions(headers.get("to-path", "")),
        *_path_sessions(headers.get("from-path", "")),
    )
    message_id = headers.get("message-id", "")
    status = _number(kind)
    if status is not None:
        reason = _word(start[3]) if len(start) > 3 else ""
        return Summary(
            label=f"{status} {reason}".rstrip(),
            status=status,
            reason=reason,
            transaction_id=transaction_id,
            session_ids=sessions,
        )
    label = kind
    if kind == "SEND":
        label = f"SEND {_contents(headers, body)}"
    elif kind == "REPORT":
        # Status: 000 200 OK: a namespace, then the status (RFC 4975 §7.1.2).
        label = f"REPORT {_word(headers.get('status', '')).partition(' ')[2]}".rstrip()
    return Summary(
        label=label or "?",
        method=kind,
        transaction_id=transaction_id,
        message_id=message_id,
        session_ids=sessions,
    )


def _contents(headers: dict[str, str], body: bytes) -> str:
    """What a SEND carries: the innermost type, the kind of notification, the part of a body."""
    outer = headers.get("content-type", "").partition(";")[0].strip()
    if not outer:
        return "(empty)"
    kind = outer
    if outer.lower() == "message/cpim":
        found = _INNER_TYPE.search(body)
        if found:
            kind = found[1].decode("ascii", "replace")
    if kind.lower() == "message/imdn+xml":
        found = _IMDN_STATUS.search(body)
        return f"imdn {found[1].decode('ascii')}" if found else "imdn"
    first, _, total = headers.get("byte-range", "").partition("/")
    if total.isdecimal() and not (first.startswith("1-") and len(body) >= int(total[:18])):
        return f"{_word(kind)} {_word(first)}/{_word(total)}"
    return _word(kind)
