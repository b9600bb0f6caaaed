"""A second opinion on what we send: CPIM, IMDN and isComposing as regular expressions.

Written from RFC 3862, 5438 and 3994, strict where our reading is lenient.
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
