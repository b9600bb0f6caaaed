"""What agents send, against grammars that share nothing with their own."""

from collections import Counter
from dataclasses import dataclass, field

from rcsops.transport import TapRecord
from tests.unit.msrp.grammar import check_stream
from tests.unit.rcs.grammar import check_message_body
from tests.unit.sip.grammar import Checked, check_sdp, check_sip


@dataclass
class Seen:
    """How often there was what: methods, statuses and kinds of MSRP frames; headers of SIP;
    attributes of SDP; types of bodies, and of what CPIM wraps."""

    starts: Counter[str] = field(default_factory=Counter)
    headers: Counter[str] = field(default_factory=Counter)
    attributes: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)


def check_record(record: TapRecord, seen: Seen, *, repeats: bool = False) -> Checked | None:
    """One message of a tap, counted; AssertionError when it is not by its grammar. The parts of
    one of SIP. For ``repeats`` see `check_sip`."""
    if record.protocol == "msrp":
        if not record.omitted:
            _check_frames(record.data, seen)
        return None
    message = check_sip(record.data, repeats=repeats)
    seen.starts[message.start] += 1
    seen.headers.update(name for name, _ in message.headers)
    if message.content_type == "application/sdp":
        seen.types[message.content_type] += 1
        seen.attributes.update(check_sdp(message.body))
    elif message.body:
        seen.types[check_message_body(message.content_type, message.body)] += 1
    return message


def _check_frames(data: bytes, seen: Seen) -> None:
    for frame in check_stream(data):
        seen.starts[f"MSRP {frame.kind}"] += 1
        kind = (frame.head.get("type") or b"").decode().removeprefix("Content-Type: ").strip()
        whole = frame.flag == b"$" and (frame.head.get("range") or b"").startswith(b"1-")
        # A file is of any type, and its octets are its own.
        if frame.body and whole and kind in ("message/cpim", "application/im-iscomposing+xml"):
            seen.types[check_message_body(kind, frame.body)] += 1
