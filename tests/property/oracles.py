"""For each parser: octets in, and nothing may come of it but a value or that parser's own error.

What was read is taken apart to the last property, written, and read again: the second writing is
the same as the first. Used by the property tests, the corpus and the fuzzer (tests/fuzz).
"""

import dataclasses
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from rcsops.errors import CpimParseError, MsrpParseError, SdpParseError, SipParseError
from rcsops.limits import MSRP_HEAD, MSRP_WHOLE_BODY
from rcsops.msrp import (
    ChunkData,
    ChunkEnd,
    ChunkStart,
    FrameParser,
    MsrpUri,
    format_path,
    parse_frame,
    parse_path,
)
from rcsops.msrp import Response as MsrpResponse
from rcsops.msrp.frame import ByteRange, Frame, parse_status
from rcsops.rcs import (
    ChatCodec,
    ContentReceived,
    CpimMessage,
    FileSelector,
    ImdnReport,
    TextReceived,
    find_chat,
    format_date_time,
    make_composing,
    make_imdn,
    make_location,
    parse_composing,
    parse_date_time,
    parse_imdn,
    parse_location,
    read_features,
    read_file_offer,
    safe_name,
)
from rcsops.rcs.composing import MIN_REFRESH
from rcsops.rcs.cpim import escape_text, header_text, parse_address
from rcsops.rcs.fthttp import (
    make_file_info,
    make_resume_info,
    parse_file_info,
    parse_resume_info,
)
from rcsops.rcs.imdn import STATUSES
from rcsops.sdp import SessionDescription, find_msrp, parse_sdp
from rcsops.sip import (
    Challenge,
    CSeq,
    Message,
    NameAddr,
    Request,
    Response,
    StreamParser,
    Uri,
    Via,
    check_request,
    check_response,
    parse_message,
)
from rcsops.sip.auth import Credentials
from rcsops.sip.headers import MediaType
from rcsops.sip.multipart import read_parts
from rcsops.tokens import Tokens

TYPED = [
    name for name in dir(Message) if isinstance(getattr(Message, name), property) and name[0] != "_"
]


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


# --- SIP ------------------------------------------------------------------------------------------


def touch_everything(message: Request | Response) -> None:
    """Every typed property, and everything inside its value: a value or SipParseError."""
    names = [*TYPED, "request_uri"] if isinstance(message, Request) else TYPED
    for name in names:
        try:
            found = getattr(message, name)
        except SipParseError:
            continue
        for each in found if type(found) is tuple else (found,):
            touch_value(each)
    for header in ("Supported", "Via", "Contact", "X-Unknown"):
        try:
            message.values(header)
            message.option_tags(header)
            message.copy().pop_first(header)
            message.copy().replace_first(header, "x")
        except SipParseError:
            pass
    if isinstance(message, Request):
        check_request(message)
        Response.to_request(message, 400, to_tag="t")
    else:
        check_response(message)


def touch_value(found: object) -> None:
    """Every property of a header's value, and of the URI in it."""
    for name in dir(type(found)):
        if isinstance(getattr(type(found), name), property):
            try:
                inner = getattr(found, name)
            except SipParseError:
                continue
            if isinstance(inner, Uri):
                touch_value(inner)
    try:
        str(found)
        hash(found)
        assert found == found
        rebuild(found)
    except SipParseError:
        pass


def rebuild(found: object) -> None:
    """A value put together from its parts is read as the same value."""
    made: NameAddr | Via | Uri
    if isinstance(found, NameAddr):
        made = found.without_param("nothing")
        assert str(NameAddr.parse(str(made)).without_param("nothing")) == str(made)
    elif isinstance(found, Via):
        made = found.with_params()
        assert Via.parse(str(made)) == made
    elif isinstance(found, Uri) and (found.is_sip or found.scheme == "tel"):
        made = found.without_param("nothing")
        assert Uri.parse(str(made)) == made == found


def sip(data: bytes) -> None:
    """A datagram."""
    try:
        message = parse_message(data)
    except SipParseError as error:
        if error.partial is not None:
            touch_everything(error.partial)
            bytes(error.partial)
        return
    touch_everything(message)
    again = parse_message(bytes(message))
    assert bytes(again) == bytes(message)


def sip_stream(data: bytes) -> None:
    """A stream whose first octet says how it is split; the split makes no difference."""
    size = data[0] + 1 if data else 1
    assert _messages(data[1:], size) == _messages(data[1:], len(data) + 1)


def _messages(data: bytes, size: int) -> list[bytes]:
    parser = StreamParser(max_head=300, max_body=100)
    found = []
    for start in range(0, len(data), size):
        parser.receive_data(data[start : start + size])
        try:
            while (message := parser.next_message()) is not None:
                touch_everything(message)
                found.append(bytes(message))
        except SipParseError:
            return [*found, b"error"]
        assert len(parser._buffer) <= 300 + 100 + size + 4
    return found


def sip_values(data: bytes) -> None:
    """The text of one header field or URI."""
    text = text_of(data)
    readers: list[Callable[[str], object]] = [
        Uri.parse, NameAddr.parse, Via.parse, CSeq.parse, MediaType.parse,
    ]  # fmt: skip
    for read in readers:
        try:
            found = read(text)
            touch_value(found)
            if isinstance(found, NameAddr):
                read_features(found.params)
        except SipParseError:
            pass


def digest(data: bytes) -> None:
    """A challenge and credentials."""
    text = text_of(data)
    for kind in (Challenge, Credentials):
        try:
            found = kind.parse(text)
        except SipParseError:
            continue
        touch_value(found)
        if found.is_digest:
            pairs = {name: found.inner(name) or "" for name in found.params}
            assert [found.get(name) is not None for name in pairs] == [True] * len(pairs)
            assert kind.parse(str(found)) == found


# --- SDP and MSRP ---------------------------------------------------------------------------------


def sdp(data: bytes) -> None:
    """A session description, and the offers that may be in it."""
    try:
        session = parse_sdp(data)
    except SdpParseError:
        return
    assert bytes(parse_sdp(bytes(session))) == bytes(session)
    readers: list[Callable[[SessionDescription], object]] = [find_msrp, find_chat, read_file_offer]
    for read in readers:
        try:
            read(session)
        except SdpParseError:
            pass
    for media in session.media:
        session.direction_of(media)
        try:
            str((session.origin, session.connection_for(media)))
        except SdpParseError:
            pass


def msrp(data: bytes) -> None:
    """One frame."""
    try:
        frame = parse_frame(data)
    except MsrpParseError:
        return
    written = bytes(frame)
    again = parse_frame(written)
    assert bytes(again) == written
    assert again.headers == frame.headers
    for read, name in ((parse_path, "To-Path"), (ByteRange.parse, "Byte-Range")):
        try:
            read(frame.get(name) or "")
        except MsrpParseError:
            pass


def msrp_stream(data: bytes) -> None:
    """Frames in a stream whose first octet says how it is split."""
    size = data[0] + 1 if data else 1
    assert _frames(data[1:], size) == _frames(data[1:], len(data) + 1)


def _frames(data: bytes, size: int) -> list[bytes]:
    parser = FrameParser()
    found: list[bytes] = []
    for start in range(0, len(data), size):
        parser.receive_data(data[start : start + size])
        try:
            while (event := parser.next_event()) is not None:
                if isinstance(event, ChunkStart):
                    found.append(event.request.head())
                elif isinstance(event, ChunkData):
                    found[-1] += event.data
                elif isinstance(event, ChunkEnd):
                    found[-1] += event.continuation.encode()
                else:
                    found.append(_whole(event))
        except MsrpParseError:
            return [*found, b"error"]
        assert len(parser._buffer) - parser._position <= MSRP_HEAD + MSRP_WHOLE_BODY + size + 64
    return found


def _whole(frame: Frame) -> bytes:
    """A frame as it would be told piece by piece."""
    if isinstance(frame, MsrpResponse) or frame.body is None:
        return bytes(frame)
    return frame.head() + frame.body + frame.continuation.encode()


def msrp_values(data: bytes) -> None:
    """The text of a path, a URI, a Byte-Range or a Status."""
    text = text_of(data)
    try:
        path = parse_path(text)
        assert parse_path(format_path(path)) == path
    except MsrpParseError:
        pass
    try:
        uri = MsrpUri.parse(text)
        hash(uri)
        assert MsrpUri.parse(str(uri)) == uri
    except MsrpParseError:
        pass
    try:
        span = ByteRange.parse(text)
        assert ByteRange.parse(str(span)) == span
    except MsrpParseError:
        pass
    try:
        parse_status(text)
    except MsrpParseError:
        pass


# --- RCS ------------------------------------------------------------------------------------------


def cpim(data: bytes) -> None:
    """A message/cpim body."""
    try:
        message = CpimMessage.parse(data)
    except CpimParseError:
        return
    written = bytes(message)
    again = CpimMessage.parse(written)
    assert bytes(again) == written
    assert (again.headers, again.body) == (message.headers, message.body)
    assert again.content_headers == message.content_headers
    assert again.not_understood() == message.not_understood()
    for name in ("From", "Subject", "DateTime"):
        value = message.get(name) or ""
        text = header_text(value)
        assert header_text(escape_text(text)) == text
        try:
            parse_address(value)
        except CpimParseError:
            pass
        try:
            format_date_time(parse_date_time(value))
        except (CpimParseError, OverflowError):
            pass


def imdn(data: bytes) -> None:
    """A message/imdn+xml document."""
    try:
        report = parse_imdn(data)
    except CpimParseError:
        return
    if report.kind in STATUSES:
        again = parse_imdn(make_imdn(report))
        assert again == _with_recipients(report)


def location(data: bytes) -> None:
    """An application/vnd.gsma.rcspushlocation+xml document."""
    try:
        place = parse_location(data)
    except CpimParseError:
        return
    now = datetime(2026, 11, 23, tzinfo=UTC)
    # What is finer than a centimetre is not written.
    again = parse_location(make_location(place, entity="sip:a@b", number="1", now=now))
    assert again == parse_location(make_location(again, entity="sip:a@b", number="1", now=now))
    assert place.label == again.label
    assert again.text.splitlines()[1].startswith("geo:")


def _with_recipients(report: ImdnReport) -> ImdnReport:
    """What can be written of a report: the rest has its place beside a recipient alone."""
    recipient = report.recipient_uri
    return ImdnReport(
        report.message_id,
        report.kind,
        report.status,
        report.date_time,
        recipient,
        (report.original_recipient_uri or recipient) if recipient else "",
        report.subject if recipient else "",
    )


def composing(data: bytes) -> None:
    """An application/im-iscomposing+xml document."""
    try:
        state = parse_composing(data)
    except CpimParseError:
        return
    assert state.expiry > 0
    if state.refresh is None or (state.active and state.refresh >= MIN_REFRESH):
        assert parse_composing(make_composing(state)) == state


def chat(data: bytes) -> None:
    """A content type, a line end, a body: what an agent makes of it never raises."""
    kind, _, body = data.partition(b"\n")
    codec = ChatCodec(Tokens.deterministic(1))
    got = codec.receive(text_of(kind), body)
    if isinstance(got, TextReceived):
        got.text.encode("utf-8")
    if isinstance(got, TextReceived | ContentReceived) and got.wants_delivery:
        assert got.sent_at is not None
        codec.delivery_report(got, got.sent_at)
    if isinstance(got, ContentReceived):
        got.reason.encode("utf-8", "surrogateescape")
        if got.wants_failure:
            assert got.sent_at is not None
            codec.delivery_report(got, got.sent_at, status="failed")


def selector(data: bytes) -> None:
    """The value of a=file-selector, and a file's name."""
    text = text_of(data)
    name = safe_name(text)
    assert name == safe_name(name)
    try:
        found = FileSelector.parse(text)
    except SdpParseError:
        return
    assert FileSelector.parse(str(found)) == found
    safe_name(found.name or "")


def features(data: bytes) -> None:
    """The services in the parameters of a Contact."""
    text = text_of(data)
    for urn in read_features([("+g.3gpp.icsi-ref", text), ("+g.3gpp.iari-ref", None)]):
        assert urn == urn.lower()


def multipart(data: bytes) -> None:
    """A boundary, a line end, a body of several parts."""
    boundary, _, body = data.partition(b"\n")
    try:
        parts = read_parts(body, text_of(boundary))
    except SipParseError:
        return
    for part in parts:
        assert part.type_ == part.type_.lower() and part.body in body
        assert part.is_optional in (True, False)


def fthttp(data: bytes) -> None:
    """The documents of file transfer over HTTP."""
    try:
        info = parse_file_info(data)
    except CpimParseError:
        pass
    else:
        # The page for people without RCS is not written again.
        assert parse_file_info(make_file_info(info)) == dataclasses.replace(info, branded_url="")
    try:
        resume = parse_resume_info(data)
    except CpimParseError:
        return
    assert parse_resume_info(make_resume_info(resume)) == resume


ORACLES: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (
        sip, sip_stream, sip_values, digest, sdp, msrp, msrp_stream, msrp_values,
        cpim, imdn, composing, location, chat, selector, features, fthttp, multipart,
    )
}  # fmt: skip


def hold(name: str, datas: Iterable[bytes]) -> None:
    """Puts each through an oracle."""
    for data in datas:
        ORACLES[name](data)
