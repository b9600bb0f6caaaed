"""IMDN and isComposing: what we write, what we read, what we refuse."""

import pytest

from rcsops.errors import CpimParseError, LocalProtocolError
from rcsops.rcs import Composing, ImdnReport, make_composing, make_imdn, parse_composing, parse_imdn
from rcsops.rcs.imdn import STATUSES, parse_disposition
from tests.unit.rcs.grammar import COMPOSING, IMDN

DATE = "2026-11-23T22:00:09.500Z"
NS = 'xmlns="urn:ietf:params:xml:ns:imdn"'


@pytest.mark.parametrize(
    ("kind", "status"), [(kind, status) for kind, all_ in STATUSES.items() for status in all_]
)
def test_every_notification_survives(kind: str, status: str) -> None:
    for report in (
        ImdnReport("hK4x", kind, status, DATE),
        ImdnReport("hK4x", kind, status, DATE, "sip:a&b@c", "sip:x@y", "five > four"),
    ):
        data = make_imdn(report)
        assert IMDN.fullmatch(data.decode())
        assert parse_imdn(data) == report


def test_no_such_notification() -> None:
    for kind, status in (("delivery", "displayed"), ("display", ""), ("other", "error")):
        with pytest.raises(LocalProtocolError):
            make_imdn(ImdnReport("x", kind, status))


def test_other_prefixes_order_and_extensions() -> None:
    data = b"""<?xml version="1.0"?>
    <i:imdn xmlns:i="urn:ietf:params:xml:ns:imdn" xmlns:o="urn:oma:xml:cpm:imdn-extensions:1.0">
      <o:interworking-notification><o:status><o:legacy-sms/></o:status></o:interworking-notification>
      <i:message-id> abc </i:message-id><x xmlns="urn:x"><y/></x>
    </i:imdn>"""
    assert parse_imdn(data) == ImdnReport("abc", "interworking", "legacy-sms")


BOMB = (
    '<!DOCTYPE imdn [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'
    f"<imdn {NS}><message-id>&b;</message-id></imdn>"
)
OUTSIDE = (
    '<!DOCTYPE imdn [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    f"<imdn {NS}><message-id>&x;</message-id></imdn>"
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "<imdn>",
        BOMB,
        OUTSIDE,
        f'<!DOCTYPE imdn SYSTEM "http://evil.example/x.dtd"><imdn {NS}/>',
        "<imdn><message-id>x</message-id></imdn>",
        '<imdn xmlns="urn:other"><message-id>x</message-id></imdn>',
        f"<other {NS}><message-id>x</message-id></other>",
        f"<imdn {NS}/>",
        f"<imdn {NS}><message-id>x</message-id></imdn>",
        f"<imdn {NS}><message-id>x</message-id><delivery-notification/></imdn>",
        f"<imdn {NS}><message-id>x</message-id><delivery-notification><status/>"
        "</delivery-notification></imdn>",
        f"<imdn {NS}><message-id>x</message-id><delivery-notification><status><displayed/>"
        "</status></delivery-notification></imdn>",
        f"<imdn {NS}><message-id> </message-id><delivery-notification><status><delivered/>"
        "</status></delivery-notification></imdn>",
        f"<imdn {NS}>" + "<a>" * 10_000,
        f"<imdn {NS}>" + " " * 70_000 + "</imdn>",
        '<?xml version="1.0" encoding="no-such-thing"?><imdn/>',
    ],
)
def test_what_is_no_notification(text: str) -> None:
    for parse in (parse_imdn, parse_composing):
        with pytest.raises(CpimParseError):
            parse(text.encode())


def test_binary_is_no_notification() -> None:
    for data in (b"\x00\x01", b"\xff\xfe<\x00", bytes(range(256))):
        with pytest.raises(CpimParseError):
            parse_imdn(data)


def test_what_is_asked_for() -> None:
    asked = parse_disposition(" Positive-Delivery,display ; x=y,, interworking ")
    assert asked == {"positive-delivery", "display", "interworking"}
    assert parse_disposition("") == frozenset()


@pytest.mark.parametrize(
    "state",
    [
        Composing(True, 60),
        Composing(True, None),
        Composing(False),
        Composing(True, 90, "text/html", DATE),
    ],
)
def test_composing_survives(state: Composing) -> None:
    data = make_composing(state)
    assert COMPOSING.fullmatch(data.decode())
    assert parse_composing(data) == state


def test_composing_as_others_write_it() -> None:
    def read(inner: str) -> Composing:
        xmlns = "urn:ietf:params:xml:ns:im-iscomposing"
        return parse_composing(f"<isComposing xmlns='{xmlns}'>{inner}</isComposing>".encode())

    assert read("<state>active</state>").expiry == 120
    assert read("<state>active</state><refresh>90</refresh>").expiry == 90
    assert read("<state>active</state><refresh>0</refresh>").expiry == 120
    assert read("<state>active</state><refresh>-5</refresh>").refresh is None
    assert read(f"<state>active</state><refresh>{'9' * 5000}</refresh>").refresh is None
    assert not read("<state>dancing</state><x xmlns='urn:x'/>").active
    with pytest.raises(CpimParseError):
        read("<refresh>60</refresh>")
    with pytest.raises(LocalProtocolError):
        make_composing(Composing(True, 59))
