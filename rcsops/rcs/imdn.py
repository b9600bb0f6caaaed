"""Notifications about a message: delivered, displayed, failed (RFC 5438)."""

import re
from dataclasses import dataclass
from xml.sax.saxutils import escape

from rcsops.errors import CpimParseError, LocalProtocolError
from rcsops.rcs.xml import child_text, parse_document

CONTENT_TYPE = "message/imdn+xml"
NAMESPACE = "urn:ietf:params:xml:ns:imdn"
INTERWORKING_NAMESPACE = "urn:oma:xml:cpm:imdn-extensions:1.0"

POSITIVE_DELIVERY = "positive-delivery"
NEGATIVE_DELIVERY = "negative-delivery"
PROCESSING = "processing"
DISPLAY = "display"

STATUSES = {
    "delivery": ("delivered", "failed", "forbidden", "error"),
    "processing": ("processed", "stored", "forbidden", "error"),
    "display": ("displayed", "forbidden", "error"),
}
"""The status elements of each kind of notification (RFC 5438 §11.1)."""

_PLAIN_SIZE = 1024
_NS = f"{{{NAMESPACE}}}"
# The element of each kind, and the namespace of what is in it.
_NOTIFICATIONS = {
    f"{namespace}{kind}-notification": (kind, namespace)
    for kind, namespace in (
        *((kind, _NS) for kind in STATUSES),
        ("interworking", f"{{{INTERWORKING_NAMESPACE}}}"),
    )
}


# A document as nearly everybody writes it, in characters that mean themselves: no references, no
# markup but this. It says the same to any parser of XML, which takes ten times as long.
_PLAIN = re.compile(
    rb'<\?xml version="1\.0" encoding="UTF-8"\?>[ \t\r\n]*'
    rb'<imdn xmlns="urn:ietf:params:xml:ns:imdn">[ \t\r\n]*'
    rb"<message-id>([!-%'-;=?-~]+)</message-id>[ \t\r\n]*"
    rb"<datetime>([!-%'-;=?-~]*)</datetime>[ \t\r\n]*"
    rb"<(delivery|display)-notification>[ \t\r\n]*"
    rb"<status>[ \t\r\n]*<([a-z]+)/>[ \t\r\n]*</status>[ \t\r\n]*"
    rb"</\3-notification>[ \t\r\n]*</imdn>[ \t\r\n]*"
)


@dataclass(frozen=True, slots=True)
class ImdnReport:
    """What became of one message.

    ``kind`` is delivery, processing, display or interworking, ``status`` one of STATUSES (free for
    interworking); ``date_time`` is the DateTime of that message, as it was written there.
    """

    message_id: str
    kind: str
    status: str
    date_time: str = ""
    recipient_uri: str = ""
    original_recipient_uri: str = ""
    subject: str = ""


def make_imdn(report: ImdnReport) -> bytes:
    """The XML document; raise LocalProtocolError for a kind or status that does not exist."""
    if report.status not in STATUSES.get(report.kind, ()):
        raise LocalProtocolError(f"not a notification: {report.kind} {report.status}")
    recipient = ""
    if report.recipient_uri:
        original = report.original_recipient_uri or report.recipient_uri
        recipient = (
            f"<recipient-uri>{escape(report.recipient_uri)}</recipient-uri>\r\n"
            f"<original-recipient-uri>{escape(original)}</original-recipient-uri>\r\n"
        )
        if report.subject:
            recipient += f"<subject>{escape(report.subject)}</subject>\r\n"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\r\n'
        f'<imdn xmlns="{NAMESPACE}">\r\n'
        f"<message-id>{escape(report.message_id)}</message-id>\r\n"
        f"<datetime>{escape(report.date_time)}</datetime>\r\n"
        f"{recipient}"
        f"<{report.kind}-notification><status><{report.status}/></status>"
        f"</{report.kind}-notification>\r\n"
        "</imdn>\r\n"
    ).encode()


def parse_imdn(data: bytes) -> ImdnReport:
    """Read a document; raise CpimParseError for another root or namespace, or without a status."""
    plain = _PLAIN.fullmatch(data) if len(data) <= _PLAIN_SIZE else None
    if plain is not None:
        message_id, date_time, kind, status = (part.decode() for part in plain.groups())
        if status in STATUSES[kind]:
            return ImdnReport(message_id, kind, status, date_time)
    ns = _NS
    root = parse_document(data, f"{ns}imdn")
    message_id = child_text(root, f"{ns}message-id")
    if not message_id:
        raise CpimParseError("a notification without its message-id")
    for notification in root:
        kind, namespace = _NOTIFICATIONS.get(str(notification.tag), ("", ""))
        if not kind:
            continue
        status = notification.find(f"{namespace}status")
        child = next(iter(status), None) if status is not None else None
        name = "" if child is None else str(child.tag).removeprefix(namespace)
        if name not in STATUSES.get(kind, (name,)) or not name:
            raise CpimParseError(f"not a status of a {kind} notification: {name[:80]!r}")
        return ImdnReport(
            message_id,
            kind,
            name,
            child_text(root, f"{ns}datetime") or "",
            child_text(root, f"{ns}recipient-uri") or "",
            child_text(root, f"{ns}original-recipient-uri") or "",
            child_text(root, f"{ns}subject") or "",
        )
    raise CpimParseError("a notification that notifies of nothing")


def parse_disposition(value: str) -> frozenset[str]:
    """What a Disposition-Notification header asks for (RFC 5438 §6.2), in lower case."""
    return frozenset(part.partition(";")[0].strip().lower() for part in value.split(",")) - {""}
