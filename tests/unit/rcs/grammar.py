"""A second opinion on what we send: CPIM and what it wraps as regular expressions.

Written from RFC 3862, 5438 and 3994, and for places and files over HTTP from the documents that RCS
clients exchange; strict where our reading is lenient.
"""

import re

_DATE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
_ID = r"[A-Za-z0-9]{16,64}"
_REQUEST = "(?:positive-delivery|negative-delivery|processing|display)"

CPIM = re.compile(
    r"From: (?:[^<>\r\n]* )?<[^<>\s]+>\r\n"
    r"To: (?:[^<>\r\n]* )?<[^<>\s]+>\r\n"
    rf"DateTime: {_DATE}\r\n"
    r"NS: imdn <urn:ietf:params:imdn>\r\n"
    rf"imdn\.Message-ID: (?P<id>{_ID})\r\n"
    rf"(?:imdn\.Disposition-Notification: (?P<wanted>{_REQUEST}(?:, {_REQUEST})*)\r\n)?"
    r"(?:imdn\.IMDN-Route: <[^<>\s]+>\r\n)*"
    r"\r\n"
    r"Content-Type: (?P<type>[a-z]+/[a-z0-9.+\-]+)(?:;charset=UTF-8)?\r\n"
    r"(?:Content-Disposition: (?P<disposition>notification)\r\n)?"
    r"Content-Length: (?P<length>\d+)\r\n"
    r"\r\n"
)
IMDN = re.compile(
    r'<\?xml version="1\.0" encoding="UTF-8"\?>\s*<imdn xmlns="urn:ietf:params:xml:ns:imdn">\s*'
    rf"<message-id>[^<>&]+</message-id>\s*<datetime>{_DATE}</datetime>\s*"
    r"(?:<recipient-uri>[^<>]+</recipient-uri>\s*"
    r"<original-recipient-uri>[^<>]+</original-recipient-uri>\s*(?:<subject>[^<>]*</subject>\s*)?)?"
    r"(?:<delivery-notification><status><(?:delivered|failed|forbidden|error)/></status>"
    r"</delivery-notification>"
    r"|<processing-notification><status><(?:processed|stored|forbidden|error)/></status>"
    r"</processing-notification>"
    r"|<display-notification><status><(?:displayed|forbidden|error)/></status>"
    r"</display-notification>)\s*</imdn>\s*"
)
COMPOSING = re.compile(
    r'<\?xml version="1\.0" encoding="UTF-8"\?>\s*'
    r'<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing">\s*'
    r"<state>(?:active|idle)</state>\s*"
    rf"(?:<lastactive>{_DATE}</lastactive>\s*)?(?:<contenttype>[^<>]+</contenttype>\s*)?"
    r"(?:<refresh>[1-9]\d*</refresh>\s*)?</isComposing>\s*"
)
_XML = r'<\?xml version="1\.0" encoding="UTF-8"\?>\s*'
_VALUE = r"(?:[^<>&\"]|&(?:amp|lt|gt|quot|#\d+);)*"
_ATTRIBUTE = rf"(?:\"{_VALUE}\"|'(?:[^<>&']|&(?:amp|lt|gt);)*')"
_NUMBER = r"-?\d+(?:\.\d+)?"
_POSITION = rf"<gml:pos>{_NUMBER} {_NUMBER}</gml:pos>"
_SRS = r'srsName="urn:ogc:def:crs:EPSG::4326"'
LOCATION = re.compile(
    rf'{_XML}<rcsenvelope xmlns="urn:gsma:params:xml:ns:rcs:rcs:geolocation"'
    r' xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10" xmlns:gml="http://www\.opengis\.net/gml"'
    rf' xmlns:gs="http://www\.opengis\.net/pidflo/1\.0" entity="{_VALUE}">'
    rf'<rcspushlocation id="[A-Za-z0-9]+"(?: label={_ATTRIBUTE})?><gp:geopriv><gp:location-info>'
    rf"(?:<gml:Point {_SRS}>{_POSITION}</gml:Point>"
    rf'|<gs:Circle {_SRS}>{_POSITION}<gs:radius uom="urn:ogc:def:uom:EPSG::9001">{_NUMBER}'
    rf"</gs:radius></gs:Circle>)</gp:location-info><gp:usage-rules><gp:retention-expiry>{_DATE}"
    rf"</gp:retention-expiry></gp:usage-rules></gp:geopriv><timestamp>{_DATE}</timestamp>"
    r"</rcspushlocation></rcsenvelope>\s*"
)
_DATA = rf'<data url="https?://{_VALUE}" until="{_DATE}"/>\s*'
FILE = re.compile(
    rf'{_XML}<file xmlns="urn:gsma:params:xml:ns:rcs:rcs:fthttp">\s*'
    r'(?:<file-info type="thumbnail">\s*<file-size>\d+</file-size>\s*'
    rf"<content-type>[a-z]+/[a-z0-9.+\-]+</content-type>\s*{_DATA}</file-info>\s*)?"
    r'<file-info type="file"(?: file-disposition="(?:attachment|render)")?>\s*'
    rf"<file-size>\d+</file-size>\s*<file-name>{_VALUE}</file-name>\s*"
    rf"<content-type>[a-z]+/[a-z0-9.+\-]+</content-type>\s*{_DATA}</file-info>\s*</file>\s*"
)
CONTENTS = {
    "message/imdn+xml": IMDN,
    "application/im-iscomposing+xml": COMPOSING,
    "application/vnd.gsma.rcspushlocation+xml": LOCATION,
    "application/vnd.gsma.rcs-ft-http+xml": FILE,
}


def check_cpim(data: bytes) -> tuple["re.Match[str]", bytes]:
    """The parts of a CPIM body of ours, and its content; AssertionError when it is none."""
    head, blank, rest = data.partition(b"\r\n\r\n")
    inner, second, body = rest.partition(b"\r\n\r\n")
    match = CPIM.fullmatch((head + blank + inner + second).decode())
    assert match is not None, data
    assert int(match["length"]) == len(body)
    if match["disposition"]:
        assert match["type"] == "message/imdn+xml"
        assert match["wanted"] is None, "no notification about a notification"
        assert IMDN.fullmatch(body.decode()), body
    return match, body


def check_message_body(content_type: str, body: bytes) -> str:
    """The kind of content in the body of a message of ours, unwrapped; AssertionError when it is
    not by its grammar, or of a kind that has none here."""
    kind = content_type.partition(";")[0]
    if kind == "message/cpim":
        match, body = check_cpim(body)
        kind = match["type"]
    if kind == "text/plain":
        body.decode()
        return kind
    assert kind in CONTENTS, f"no grammar for {content_type}"
    assert CONTENTS[kind].fullmatch(body.decode()), body
    return kind
