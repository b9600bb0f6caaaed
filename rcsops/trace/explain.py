"""Plain words for each message of a ladder, from what went before it, and for its headers.

Functions from arrows to values: the command, the exports and a screen show them, each in its way.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rcsops.trace import explain_words as words
from rcsops.trace.dissect import Dissected, dissect
from rcsops.trace.explain_headers import (
    CPIM_HEADERS,
    MSRP_HEADERS,
    SDP_LINES,
    SIP_HEADERS,
    HeaderNote,
)
from rcsops.trace.ladder import Arrow
from rcsops.trace.names import forget_oldest

_REMEMBERED = 100_000
_BRANCH = re.compile(r";\s*branch\s*=\s*([^;,\s]+)")
_TAG = re.compile(r";\s*tag\s*=")
_PATH = re.compile(r"^a=path:msrps?://(\[[^\]\s]+\]|[^/:\s]+):(\d+)/", re.MULTILINE)
_RECEIPT = re.compile(r"<(?:[\w.-]+:)?(delivered|displayed|failed|forbidden|error)[\s/>]")


@dataclass(frozen=True, slots=True)
class Explained:
    """``text`` says what the message does here.

    ``waited`` is seconds since the message before it in the same call, None for the first.
    ``answers`` is the number (from 0) of the request that it answers, ``repeats`` of the message
    that it repeats, ``follows`` of the earlier request that it is a new form of: the one without
    credentials, or the one that came in and is passed on.
    """

    text: str
    waited: float | None = None
    answers: int | None = None
    repeats: int | None = None
    follows: int | None = None


@dataclass(frozen=True, slots=True)
class ExplainedHeader:
    """A header field or line of SDP that is in the message, and what it says."""

    name: str
    value: str
    text: str
    rfc: str


def explain(arrows: Sequence[Arrow]) -> list[Explained]:
    """One explanation for each arrow, in order."""
    story = Story()
    return [story.tell(arrow) for arrow in arrows]


def explain_headers(protocol: str, data: bytes) -> list[ExplainedHeader]:
    """What the headers of one message say: each name once, in the order of the message."""
    message = dissect(protocol, data)
    notes = MSRP_HEADERS if protocol == "msrp" else SIP_HEADERS
    found = _noted(((each.name, each.key, each.value) for each in message.headers), notes)
    kind = message.first("content-type").lower()
    if kind.startswith("application/sdp"):
        found += _noted(map(_sdp_line, message.body.split("\r\n")), SDP_LINES)
    elif kind.startswith("message/cpim"):
        inner, _, rest = message.body.partition("\r\n\r\n")
        lines = [*inner.split("\r\n"), *rest.partition("\r\n\r\n")[0].split("\r\n")]
        found += _noted((_field(line) for line in lines), CPIM_HEADERS)
    return found


def _noted(
    fields: Iterable[tuple[str, str, str]], notes: dict[str, HeaderNote]
) -> list[ExplainedHeader]:
    found: dict[str, ExplainedHeader] = {}
    for name, key, value in fields:
        note = notes.get(key)
        if note is not None and key not in found:
            found[key] = ExplainedHeader(name, value, note.text, note.rfc)
    return list(found.values())


def _field(line: str) -> tuple[str, str, str]:
    name, _, value = line.partition(":")
    return name.strip(), name.strip().lower(), value.strip()


def _sdp_line(line: str) -> tuple[str, str, str]:
    """``a=name:value`` by its name, ``m=kind …`` by its first word."""
    name, separator, value = line.partition(":" if line.startswith("a=") else " ")
    return name, name.strip().lower(), value if separator else ""


class Story:
    """Tells of one message after the other, from what went before; its memory is bounded."""

    def __init__(self) -> None:
        self._number = 0
        self._first: dict[tuple[str, str, bytes], tuple[int, str]] = {}
        self._requests: dict[tuple[str, ...], tuple[int, Arrow]] = {}
        self._hops: dict[tuple[str, str, str], int] = {}
        self._last_time: dict[str, float] = {}
        self._challenged: dict[tuple[str, str], int] = {}
        self._forwarded: dict[tuple[str, str], int] = {}
        self._final: dict[tuple[str, str], int] = {}
        self._hung_up: dict[str, set[str]] = {}

    def tell(self, arrow: Arrow) -> Explained:
        """The explanation of the next message."""
        number, self._number = self._number, self._number + 1
        for table in (self._first, self._requests, self._hops, self._last_time, self._challenged,
                      self._forwarded, self._final, self._hung_up):  # fmt: skip
            forget_oldest(table, _REMEMBERED)
        before = self._last_time.get(arrow.call_id)
        self._last_time[arrow.call_id] = arrow.timestamp
        key = (arrow.source, arrow.target, arrow.data)
        message = dissect(arrow.protocol, arrow.data)
        told = self._msrp if arrow.protocol == "msrp" else self._sip
        text, answers, follows = told(number, arrow, message)
        repeats: int | None = None
        if arrow.retransmission:
            # It does what the first did, though meanwhile more was said.
            repeats, text = self._first.setdefault(key, (number, text))
            text = words.REPEATED + text
        else:
            self._first[key] = number, text
        if arrow.lost:
            text += words.LOST.format(target=arrow.target)
        waited = None if before is None else max(arrow.timestamp - before, 0.0)
        return Explained(text, waited, answers, repeats, follows)

    # --- SIP -----------------------------------------------------------------------------------

    def _sip(
        self, number: int, arrow: Arrow, message: Dissected
    ) -> tuple[str, int | None, int | None]:
        vias = message.all("via")
        found = _BRANCH.search(vias[0]) if vias else None
        branch = found[1] if found else ""
        hops = sum(via.count("SIP/2.0/") or 1 for via in vias)
        if arrow.summary.status is not None:
            return self._sip_response(arrow, message, branch, hops)
        return self._sip_request(number, arrow, message, branch, hops)

    def _sip_request(
        self, number: int, arrow: Arrow, message: Dissected, branch: str, hops: int
    ) -> tuple[str, int | None, int | None]:
        method = arrow.summary.method or ""
        if not arrow.retransmission:
            self._requests[("sip", branch, method)] = number, arrow
        if method == "BYE":
            self._hung_up.setdefault(arrow.call_id, set()).add(_from_tag(message))
        call = (arrow.call_id, f"{arrow.summary.cseq} {method}")
        follows = self._forwarded.get(call) if hops > 1 else None
        self._forwarded[call] = number
        if follows is None and _has_credentials(message):
            follows = self._challenged.get((arrow.call_id, method))
        key = self._request_key(arrow, message, method)
        text = words.REQUESTS.get(key) or words.REQUESTS.get(method) or words.UNKNOWN
        text = text.format(
            source=_origin(message, arrow) if hops > 1 else arrow.source,
            target=arrow.target,
            path=_path(message.body),
            receipt=_receipt(message.body),
        )
        if hops > 1:
            routed = _TAG.search(message.first("to")) and method not in ("CANCEL", "INVITE")
            more = words.PASSED_ON_ROUTE if routed else words.PASSED_ON
            text += more.format(source=arrow.source, target=arrow.target)
        return text, None, None if follows == number else follows

    def _request_key(self, arrow: Arrow, message: Dissected, method: str) -> str:
        if method == "REGISTER":
            if "remove" in arrow.label:
                return "REGISTER remove"
            if not _has_credentials(message):
                return "REGISTER first"
            known = (arrow.call_id, method) in self._challenged
            answered = self._challenged.pop((arrow.call_id, method), None) if known else None
            return "REGISTER known" if answered is None else "REGISTER answer"
        if method == "INVITE":
            if _TAG.search(message.first("to")):
                return "INVITE again"
            return "INVITE offer" if _path(message.body) else "INVITE"
        if method == "ACK":
            status = self._final.get((arrow.call_id, str(arrow.summary.cseq)), 0)
            return "ACK" if not status else "ACK 2xx" if status < 300 else "ACK refused"
        if method == "MESSAGE" and _receipt(message.body):
            return "MESSAGE receipt"
        return method

    def _sip_response(
        self, arrow: Arrow, message: Dissected, branch: str, hops: int
    ) -> tuple[str, int | None, int | None]:
        status = arrow.summary.status or 0
        method = arrow.summary.cseq_method
        found = self._requests.get(("sip", branch, method))
        answers, request = found if found else (None, None)
        if status >= 200 and method == "INVITE":
            self._final[(arrow.call_id, str(arrow.summary.cseq))] = status
        key = str(status)
        if status in (401, 407):
            if request is not None and _has_credentials(dissect("sip", request.data)):
                key += " again"
            if answers is not None:
                self._challenged[(arrow.call_id, method)] = answers
        elif status == 200:
            key = f"200 {method}"
            if method == "INVITE" and _path(message.body):
                key += " answer"
            elif method == "REGISTER" and request is not None and "remove" in request.label:
                key += " remove"
        elif status == 481 and method == "BYE":
            crossed = self._hung_up.get(arrow.call_id, set()) - {_from_tag(message)}
            key = "481 BYE crossed" if crossed else "481 BYE"
        text = words.STATUS.get(key) or words.STATUS.get(str(status))
        text = text or words.CLASSES.get(str(status)[:1], words.UNKNOWN)
        text = text.format(source=arrow.source, target=arrow.target, path=_path(message.body))
        if status > 100 and request is not None and self._passed_back(arrow, hops):
            text += words.PASSED_BACK.format(source=arrow.source)
        return text, answers, None

    def _passed_back(self, arrow: Arrow, hops: int) -> bool:
        """Whether the same answer came to its sender a moment before, with one Via more."""
        answer = f"{arrow.summary.cseq} {arrow.label}"
        self._hops[arrow.call_id, answer, arrow.target] = hops
        return self._hops.get((arrow.call_id, answer, arrow.source), 0) > hops

    # --- MSRP ----------------------------------------------------------------------------------

    def _msrp(
        self, number: int, arrow: Arrow, message: Dissected
    ) -> tuple[str, int | None, int | None]:
        summary = arrow.summary
        key = ("msrp", summary.transaction_id, "")
        answers = None
        receipt = _receipt(message.body)
        kind = summary.method or str(summary.status)
        if summary.status is not None:
            found = self._requests.get(key)
            answers = found[0] if found else None
        else:
            self._requests[key] = number, arrow
            if kind == "SEND":
                kind = _send_kind(arrow, message, receipt)
        text = words.MSRP.get(kind) or words.CLASSES.get(kind[:1], words.UNKNOWN)
        text = text.format(
            source=arrow.source,
            target=arrow.target,
            receipt=receipt,
            range=message.first("byte-range"),
        )
        return text, answers, None


def _send_kind(arrow: Arrow, message: Dissected, receipt: str) -> str:
    if arrow.label.startswith("SEND (empty)"):
        return "SEND empty"
    if receipt:
        return "SEND receipt"
    if "iscomposing" in arrow.label.lower():
        return "SEND composing"
    ranged = arrow.label.rpartition(" ")[2]
    return "SEND chunk" if "/" in ranged and "-" in ranged and ranged[:1].isdigit() else "SEND"


def _has_credentials(message: Dissected) -> bool:
    return bool(message.first("authorization") or message.first("proxy-authorization"))


def _from_tag(message: Dissected) -> str:
    """What tells the two ends of a call apart in its requests, and in their answers."""
    return message.first("from").lower().rpartition("tag=")[2].partition(";")[0].strip()


def _path(body: str) -> str:
    """host:port of the MSRP that an SDP body names."""
    found = _PATH.search(body)
    return f"{found[1]}:{found[2]}" if found else ""


def _receipt(body: str) -> str:
    if "imdn" not in body:
        return ""
    found = _RECEIPT.search(body)
    return words.RECEIPTS[found[1]] if found else ""


def _origin(message: Dissected, arrow: Arrow) -> str:
    """The user in From: who a request that was passed on came from."""
    found = re.search(r"sips?:([^@<>;\s]{1,64})@", message.first("from"))
    return found[1] if found else arrow.source
