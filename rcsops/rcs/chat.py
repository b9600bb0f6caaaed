"""What chat messages are made of: text in CPIM, with the notifications that it asks for."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from rcsops.errors import CpimParseError
from rcsops.rcs import composing, cpim, fthttp, geolocation, imdn
from rcsops.rcs.cpim import CpimMessage
from rcsops.rcs.fthttp import FileInfo
from rcsops.rcs.geolocation import Location
from rcsops.rcs.imdn import ImdnReport
from rcsops.tokens import Tokens

TEXT = "text/plain;charset=UTF-8"

_CHARSETS = {
    "us-ascii": "utf-8",
    "utf-8": "utf-8",
    "utf-16": "utf-16",
    "iso-8859-1": "iso-8859-1",
}
MAX_MESSAGE_ID = 256


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A body to be sent; ``message_id`` is the IMDN Message-ID, empty for isComposing."""

    message_id: str
    content_type: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TextReceived:
    """A text; ``sent_at`` is the sender's DateTime, None when it gave none.

    ``message_id`` is empty when the peer sent no CPIM or no Message-ID. ``date_time`` and
    ``routes`` are what a notification about it has to repeat. A ``location`` that was pushed, and a
    ``file`` on a content server, have their words as ``text``.
    """

    message_id: str
    text: str
    sent_at: datetime | None
    wants_delivery: bool = False
    wants_display: bool = False
    date_time: str = ""
    routes: tuple[str, ...] = ()
    location: Location | None = None
    file: FileInfo | None = None

    @property
    def content_type(self) -> str:
        """What kind of message it came as, without parameters."""
        if self.file is not None:
            return fthttp.CONTENT_TYPE
        return "text/plain" if self.location is None else geolocation.CONTENT_TYPE


@dataclass(frozen=True, slots=True)
class ContentReceived:
    """A message that is no text, or none that may be read as one: its type and octets.

    ``not_understood`` are the headers that its sender requires to be understood and that are not
    known here (RFC 3862 §4.7). ``wants_failure``: the sender asks to be told that it is not taken.
    """

    message_id: str
    content_type: str
    body: bytes = field(repr=False)
    sent_at: datetime | None
    wants_delivery: bool = False
    wants_display: bool = False
    date_time: str = ""
    routes: tuple[str, ...] = ()
    wants_failure: bool = False
    not_understood: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Why it is not read here, for people."""
        if self.not_understood:
            names = ", ".join(self.not_understood)
            return f"it requires {names[:80]}, which is not known here"
        return f"it is of type {self.content_type[:80]}, which is not read here"


@dataclass(frozen=True, slots=True)
class DeliveryReceived:
    """A notification about a message of ours: see :class:`~rcsops.rcs.imdn.ImdnReport`."""

    message_id: str
    kind: str
    status: str


@dataclass(frozen=True, slots=True)
class ComposingReceived:
    """The peer is typing, for ``expiry`` seconds unless it says so again, or has stopped."""

    active: bool
    expiry: int


@dataclass(frozen=True, slots=True)
class Malformed:
    """A body that says it is CPIM, IMDN or isComposing and is not."""

    content_type: str
    reason: str


class Reportable(Protocol):
    """What a notification has to repeat of the message that it is about."""

    @property
    def message_id(self) -> str:
        """Its Message-ID."""

    @property
    def date_time(self) -> str:
        """Its DateTime, as it was written there."""

    @property
    def routes(self) -> tuple[str, ...]:
        """Its IMDN-Record-Routes."""


Received = TextReceived | ContentReceived | DeliveryReceived | ComposingReceived | Malformed


class ChatCodec:
    """Composes and reads the bodies of a 1-to-1 chat, in a session or by pager mode.

    ``display`` says whether displayed-notifications are asked for. ``from_`` and ``to`` are the
    CPIM addresses, anonymous by default since SIP names the users.
    """

    def __init__(
        self,
        tokens: Tokens,
        *,
        display: bool = True,
        from_: str = cpim.ANONYMOUS,
        to: str = cpim.ANONYMOUS,
    ) -> None:
        self._tokens = tokens
        self._wanted = imdn.POSITIVE_DELIVERY + (f", {imdn.DISPLAY}" if display else "")
        self._from = from_
        self._to = to

    def compose_text(self, text: str, now: datetime, *, message_id: str | None = None) -> Outgoing:
        """A text that asks for its notifications; ``now`` has to be an aware datetime.

        ``message_id`` is given when the same message is sent again.
        """
        return self.compose(TEXT, text.encode("utf-8", "replace"), now, message_id=message_id)

    def compose_location(
        self, location: Location, now: datetime, *, entity: str, message_id: str | None = None
    ) -> Outgoing:
        """A geolocation push of ``entity``, the URI of who is there."""
        number = self._tokens.imdn_id()
        body = geolocation.make_location(location, entity=entity, number=number, now=now)
        return self.compose(geolocation.CONTENT_TYPE, body, now, message_id=message_id)

    def compose_file(
        self, file: FileInfo, now: datetime, *, message_id: str | None = None
    ) -> Outgoing:
        """Where a file is on a content server, in that server's own words."""
        body = file.document or fthttp.make_file_info(file)
        return self.compose(fthttp.CONTENT_TYPE, body, now, message_id=message_id)

    def compose(
        self, content_type: str, body: bytes, now: datetime, *, message_id: str | None = None
    ) -> Outgoing:
        """A message of any type that asks for its notifications."""
        message_id = message_id or self._tokens.imdn_id()
        headers = [("Message-ID", message_id), ("Disposition-Notification", self._wanted)]
        message = CpimMessage.make(
            content_type, body, date_time=now, imdn=headers, from_=self._from, to=self._to
        )
        return Outgoing(message_id, cpim.CONTENT_TYPE, bytes(message))

    def delivery_report(
        self, message: Reportable, now: datetime, *, status: str = "delivered"
    ) -> Outgoing:
        """The notification that ``message`` was stored here, or ``failed``, ``error``."""
        return self._report(message, "delivery", status, now)

    def display_report(
        self, message: Reportable, now: datetime, *, status: str = "displayed"
    ) -> Outgoing:
        """The notification that a person has seen ``message``."""
        return self._report(message, "display", status, now)

    def _report(self, message: Reportable, kind: str, status: str, now: datetime) -> Outgoing:
        body = imdn.make_imdn(ImdnReport(message.message_id, kind, status, message.date_time))
        message_id = self._tokens.imdn_id()
        headers = [("Message-ID", message_id)]
        headers += [("IMDN-Route", route) for route in message.routes]
        wrapped = CpimMessage.make(
            imdn.CONTENT_TYPE,
            body,
            date_time=now,
            imdn=headers,
            content_headers=[("Content-Disposition", "notification")],
            from_=self._from,
            to=self._to,
        )
        return Outgoing(message_id, cpim.CONTENT_TYPE, bytes(wrapped))

    def composing(self, active: bool, refresh: int = composing.MIN_REFRESH) -> Outgoing:
        """That our user is typing or has stopped; it is not wrapped and asks for nothing."""
        state = composing.Composing(active, refresh if active else None)
        return Outgoing("", composing.CONTENT_TYPE, composing.make_composing(state))

    def receive(self, content_type: str, body: bytes) -> Received:
        """Read a body that came by MSRP or MESSAGE; never raises."""
        kind = media_type(content_type)
        try:
            if kind == cpim.CONTENT_TYPE:
                return _receive_cpim(CpimMessage.parse(body))
            return _receive_plain(content_type, body)
        except CpimParseError as error:
            return Malformed(kind, str(error))


def _receive_plain(content_type: str, body: bytes) -> Received:
    kind = media_type(content_type)
    if kind == composing.CONTENT_TYPE:
        state = composing.parse_composing(body)
        return ComposingReceived(state.active, state.expiry)
    if kind == imdn.CONTENT_TYPE:
        report = imdn.parse_imdn(body)
        return DeliveryReceived(report.message_id, report.kind, report.status)
    if kind == "text/plain":
        return TextReceived("", decode_text(content_type, body), None)
    if kind == geolocation.CONTENT_TYPE:
        location = geolocation.parse_location(body)
        return TextReceived("", location.text, None, location=location)
    if kind == fthttp.CONTENT_TYPE:
        file = fthttp.parse_file_info(body)
        return TextReceived("", file.text, None, file=file)
    return ContentReceived("", content_type, body, None)


def _receive_cpim(message: CpimMessage) -> Received:
    not_understood = tuple(message.not_understood())
    plain: Received
    if not_understood:
        plain = ContentReceived("", message.content_type, message.body, None)
    else:
        plain = _receive_plain(message.content_type, message.body)
    if not isinstance(plain, TextReceived | ContentReceived):
        return plain
    message_id = (message.imdn("message-id") or "").strip()
    if not _is_id(message_id):
        message_id = ""
    wanted = imdn.parse_disposition(message.imdn("disposition-notification") or "")
    date_time = (message.get("datetime") or "").strip()
    sent_at = message.date_time
    # Without an id or a time nobody could tell what a notification is about (RFC 5438 §7.1.1).
    answerable = bool(message_id) and sent_at is not None
    rest = (
        sent_at,
        answerable and imdn.POSITIVE_DELIVERY in wanted,
        answerable and imdn.DISPLAY in wanted,
        "" if sent_at is None else date_time,
        tuple(message.get_all("imdn-record-route", cpim.IMDN_NAMESPACE)),
    )
    if isinstance(plain, TextReceived):
        return TextReceived(message_id, plain.text, *rest, location=plain.location, file=plain.file)
    # Nothing is notified of a notification (RFC 5438 §5).
    is_notification = media_type(plain.content_type) == imdn.CONTENT_TYPE
    wants_failure = answerable and imdn.NEGATIVE_DELIVERY in wanted and not is_notification
    return ContentReceived(
        message_id,
        plain.content_type,
        plain.body,
        *rest,
        wants_failure=wants_failure,
        not_understood=not_understood,
    )


def _is_id(text: str) -> bool:
    return 0 < len(text) <= MAX_MESSAGE_ID and text.isascii() and " " not in text


def media_type(content_type: str) -> str:
    """A Content-Type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def decode_text(content_type: str, body: bytes) -> str:
    """The text of a text/* body; what does not decode becomes U+FFFD.

    Only charsets that text really comes in are obeyed: Python knows codecs that are none.
    """
    charset = ""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    return body.decode(_CHARSETS.get(charset, "utf-8"), "replace")
