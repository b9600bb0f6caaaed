"""Geolocation push: what leaves, what others send, and what is no place."""

from datetime import UTC, datetime

import pytest

from rcsops.errors import CpimParseError, UsageError
from rcsops.rcs import (
    ChatCodec,
    Location,
    Malformed,
    TextReceived,
    geolocation,
    make_location,
    parse_location,
)
from rcsops.tokens import Tokens

from .grammar import check_cpim

NOW = datetime(2026, 11, 23, 22, 10, tzinfo=UTC)
HEAD = (
    '<rcsenvelope xmlns="urn:gsma:params:xml:ns:rcs:rcs:geolocation" '
    'xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10" xmlns:gml="http://www.opengis.net/gml" '
    'xmlns:gs="http://www.opengis.net/pidflo/1.0" entity="sip:alice@example.org">'
)
# As another client writes it, with parts that ours leaves out.
OTHERS = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    + HEAD.replace("<rcsenvelope ", '<rcsenvelope xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" ')
    + """
<rcspushlocation id="loc-77" label="meeting point">
<rpid:place-type rpid:until="2026-11-24T00:00:00Z"/>
<rpid:time-offset rpid:until="2026-11-24T00:00:00Z">60</rpid:time-offset>
<gp:geopriv><gp:location-info>
<gs:Circle srsName="urn:ogc:def:crs:EPSG::4326"><gml:pos>48.2082 16.3738</gml:pos>\
<gs:radius uom="urn:ogc:def:uom:EPSG::9001">15</gs:radius></gs:Circle>
</gp:location-info><gp:usage-rules><gp:retention-expiry>2026-11-24T00:00:00Z\
</gp:retention-expiry></gp:usage-rules></gp:geopriv>
<timestamp>2026-11-23T22:10:00Z</timestamp>
</rcspushlocation>
</rcsenvelope>
"""
).encode()


def pushed(inner: str) -> bytes:
    return f'{HEAD}<rcspushlocation id="a">{inner}</rcspushlocation></rcsenvelope>'.encode()


@pytest.mark.parametrize(
    "location",
    [
        Location(48.2082, 16.3738, 15.0, "meeting point"),
        Location(-33.8567844, 151.2152967),
        Location(0.0, -180.0, 0.5, 'a <b> "c" & d 👩‍🚀'),
        Location(90.0, 0.0000001, label="مكان اللقاء"),
    ],
)
def test_what_leaves_is_read_again(location: Location) -> None:
    document = make_location(location, entity="sip:alice@example.org", number="1", now=NOW)
    assert parse_location(document) == location
    assert b"2026-11-23T22:10:00.000Z" in document
    assert b"2026-11-24T22:10:00.000Z" in document


def test_what_another_client_writes() -> None:
    assert parse_location(OTHERS) == Location(48.2082, 16.3738, 15.0, "meeting point")


def test_a_point_and_an_altitude() -> None:
    point = '<gml:Point srsName="urn:ogc:def:crs:EPSG::4979"><gml:pos>1 2 300</gml:pos></gml:Point>'
    assert parse_location(pushed(point)) == Location(1.0, 2.0)


def test_words_and_links() -> None:
    location = Location(48.2082, 16.37380001, 15.0, " meeting\r\npoint ")
    assert location.label == "meeting point"
    assert location.geo_uri == "geo:48.2082,16.3738;u=15"
    assert location.text == (
        "location meeting point: 48.2082, 16.3738, within 15 m\n"
        "geo:48.2082,16.3738;u=15\n"
        "https://www.openstreetmap.org/?mlat=48.2082&mlon=16.3738#map=16/48.2082/16.3738"
    )
    assert Location(-0.00000001, 7.0).coordinates == "0, 7"
    assert len(Location(0, 0, label="x" * 5000).label) == 200
    assert Location(0, 0, label="a\x00\x1b[2J\udc80\ufffeb").label == "a [2J b"


@pytest.mark.parametrize(
    "values", [(91.0, 0.0), (0.0, 180.1), (float("nan"), 0.0), (0.0, 0.0, -1.0), (0.0, 0.0, 1e9)]
)
def test_nowhere(values: tuple[float, ...]) -> None:
    with pytest.raises(UsageError):
        Location(*values)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<rcsenvelope/>",
        HEAD.encode() + b"</rcsenvelope>",
        pushed(""),
        pushed("<gml:pos/>"),
        pushed("<gml:pos>48.2</gml:pos>"),
        pushed("<gml:pos>1 2 3 4</gml:pos>"),
        pushed("<gml:pos>north east</gml:pos>"),
        pushed("<gml:pos>nan inf</gml:pos>"),
        pushed("<gml:pos>1e400 0</gml:pos>"),
        pushed("<gml:pos>95 0</gml:pos>"),
        pushed(f"<gml:pos>{'1' * 70} 0</gml:pos>"),
        pushed("<gml:pos>1 2</gml:pos><gs:radius>-5</gs:radius>"),
        pushed("<gml:pos>1 2</gml:pos>" + "<x>" * 40 + "</x>" * 40),
        b'<!DOCTYPE a [<!ENTITY b "c">]>' + pushed("<gml:pos>1 2</gml:pos>"),
        pushed("<gml:pos>1 2</gml:pos>" + " " * 70_000),
    ],
)
def test_what_is_no_place(document: bytes) -> None:
    with pytest.raises(CpimParseError):
        parse_location(document)


def test_in_a_chat_a_place_is_a_message_that_people_can_read() -> None:
    codec = ChatCodec(Tokens(lambda count: bytes(range(count))))
    place = Location(48.2082, 16.3738, 15.0, "meeting point")
    message = codec.compose_location(place, NOW, entity="sip:alice@example.org")
    check_cpim(message.body)
    assert f"Content-Type: {geolocation.CONTENT_TYPE}".encode() in message.body
    assert len(message.body) <= 1300
    received = codec.receive(message.content_type, message.body)
    assert isinstance(received, TextReceived)
    assert received.location == place
    assert received.text == place.text
    assert received.message_id == message.message_id
    assert received.wants_delivery
    assert received.wants_display
    assert received.content_type == geolocation.CONTENT_TYPE
    assert isinstance(codec.receive(geolocation.CONTENT_TYPE, b"<a/>"), Malformed)
