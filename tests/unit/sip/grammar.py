"""A second opinion on what we send: SIP messages and their SDP as regular expressions.

Written from RFC 3261 §25.1 and the RFCs of each header and attribute, strict where our parsers are
lenient, and sharing no code with them. A header or attribute that is not in a table is an error:
what we send has to have its grammar here.
"""

import re
from typing import NamedTuple

TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]+"
WORD = r"[A-Za-z0-9\-.!%*_+`'~()<>:\\\"/\[\]?{}]+"
QUOTED = r'"(?:[^"\\\x00-\x1f\x7f]|\\[\x00-\x09\x0b\x0c\x0e-\x7f])*"'
HOSTNAME = r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?\.)*[A-Za-z](?:[A-Za-z0-9\-]*[A-Za-z0-9])?"
IPV4 = r"\d{1,3}(?:\.\d{1,3}){3}"
IPV6 = r"[0-9A-Fa-f:]+(?::" + IPV4 + r")?"
HOST = rf"(?:{HOSTNAME}|{IPV4}|\[{IPV6}\])"
HOSTPORT = rf"{HOST}(?::\d{{1,5}})?"
ESCAPED = r"%[0-9A-Fa-f]{2}"
UNRESERVED = r"A-Za-z0-9\-_.!~*'()"
USERINFO = rf"(?:[{UNRESERVED}&=+$,;?/]|{ESCAPED})+@"
PCHAR = rf"(?:[\[\]/:&+${UNRESERVED}]|{ESCAPED})+"
URI = rf"sips?:(?:{USERINFO})?{HOSTPORT}(?:;{PCHAR}(?:={PCHAR})?)*"
VALUE = rf"(?:{TOKEN}|{HOST}|{QUOTED})"
PARAM = rf"(?:;{TOKEN}(?:={VALUE})?)"
NAME = rf"(?:(?:{QUOTED}|{TOKEN}(?: {TOKEN})*) ?)?"
NAME_ADDR = rf"{NAME}<{URI}>"
# RFC 3840 §9: a feature tag as a parameter of Contact.
FEATURE = r'(?:;\+?[A-Za-z0-9.!%\'\-]+(?:="(?:[^"\\]|\\.)*")?)'
CONTACT = rf"{NAME_ADDR}(?:{PARAM}|{FEATURE})*"
TEXT = r"[^\x00-\x1f\x7f]*"
TYPE = rf"{TOKEN}/{TOKEN}(?:;{TOKEN}=(?:{TOKEN}|{QUOTED}))*"
METHOD = "(?:INVITE|ACK|OPTIONS|BYE|CANCEL|REGISTER|MESSAGE|UPDATE)"
UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
HEX = "[0-9a-f]"
ICSI = r"urn:urn-7:3gpp-service\.ims\.icsi\.[a-z.]+"
DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
DATE = rf"{DAY}, \d\d {MONTH} \d{{4}} \d\d:\d\d:\d\d GMT"


def listed(item: str) -> str:
    """``1#item``, as we write it."""
    return rf"{item}(?:, ?{item})*"


CHALLENGE = listed(
    rf"(?:(?:realm|domain|nonce|opaque|qop)={QUOTED}|stale=(?:true|false)|algorithm={TOKEN})"
)
CREDENTIALS = listed(
    rf'(?:(?:username|realm|cnonce|opaque)={QUOTED}|nonce={QUOTED}|uri="{URI}"'
    rf'|response="{HEX}{{32}}(?:{HEX}{{32}})?"|algorithm={TOKEN}|qop=(?:auth|auth-int)|nc={HEX}{{8}})'
)
INFO = listed(rf'(?:nextnonce={QUOTED}|rspauth="{HEX}*"|cnonce={QUOTED}|qop={TOKEN}|nc={HEX}{{8}})')

HEADERS = {
    "Accept": listed(TYPE),
    "Accept-Contact": rf"\*(?:{PARAM}|{FEATURE})*",
    "Allow": listed(METHOD),
    "Authentication-Info": INFO,
    "Authorization": rf"Digest {CREDENTIALS}",
    "Call-ID": rf"{WORD}(?:@{WORD})?",
    "Contact": rf"(?:\*|{listed(CONTACT)})",
    "Content-Length": r"\d+",
    "Content-Type": TYPE,
    "Contribution-ID": UUID,
    "Conversation-ID": UUID,
    "CSeq": rf"\d{{1,10}} {METHOD}",
    "Date": DATE,
    "Expires": r"\d{1,10}",
    "Flow-Timer": r"\d+",
    "From": rf"{NAME_ADDR}{PARAM}*;tag={TOKEN}{PARAM}*",
    "Max-Breadth": r"\d{1,3}",
    "Max-Forwards": r"\d{1,3}",
    "Min-Expires": r"\d+",
    "Min-SE": rf"\d+{PARAM}*",
    "P-Asserted-Identity": listed(NAME_ADDR),
    "P-Asserted-Service": ICSI,
    "P-Preferred-Service": ICSI,
    "Path": listed(rf"{NAME_ADDR}{PARAM}*"),
    "Proxy-Authenticate": rf"Digest {CHALLENGE}",
    "Proxy-Authorization": rf"Digest {CREDENTIALS}",
    "Reason": listed(rf"{TOKEN}(?:;cause=\d+|;text={QUOTED})*"),
    "Record-Route": listed(rf"{NAME_ADDR}{PARAM}*"),
    "Require": listed(TOKEN),
    "Retry-After": rf"\d+(?: \([^()]*\))?{PARAM}*",
    "Route": listed(rf"{NAME_ADDR}{PARAM}*"),
    "Server": TEXT,
    "Service-Route": listed(rf"{NAME_ADDR}{PARAM}*"),
    "Session-Expires": rf"\d+(?:;refresher=(?:uac|uas))?{PARAM}*",
    "Subject": TEXT,
    "Supported": f"(?:{listed(TOKEN)})?",
    "To": rf"{NAME_ADDR}{PARAM}*",
    "Unsupported": listed(TOKEN),
    "User-Agent": TEXT,
    "Via": listed(
        rf"SIP/2\.0/(?:UDP|TCP|TLS|WS|WSS) {HOSTPORT}{PARAM}*;branch=z9hG4bK{TOKEN}{PARAM}*"
    ),
    "Warning": listed(rf"\d{{3}} (?:{HOSTPORT}|{TOKEN}) {QUOTED}"),
    "WWW-Authenticate": rf"Digest {CHALLENGE}",
}
ONCE = ("Call-ID", "CSeq", "From", "To", "Max-Forwards", "Content-Length", "Content-Type")
REPEATED = ("Call-ID", "CSeq", "From", "Record-Route", "To", "Via")

REQUEST = re.compile(rf"(?P<method>{METHOD}) {URI} SIP/2\.0")
STATUS = re.compile(rf"SIP/2\.0 [1-6]\d\d {TEXT}")
PATTERNS = {name: re.compile(pattern) for name, pattern in HEADERS.items()}

MSRP_URI = rf"msrps?://(?:{IPV4}|\[{IPV6}\]|{HOSTNAME}):\d{{1,5}}/[A-Za-z0-9\-._~+=/]{{14,}};tcp"
QSTRING = r'"(?:[^"%\x00\r\n]|%[0-9A-Fa-f]{2})*"'
HASH = r"hash:(?:sha-1|sha-256):[0-9A-F]{2}(?::[0-9A-F]{2})+"
SELECTOR = rf"(?:name:{QSTRING}|type:{TOKEN}/{TOKEN}(?:;{TOKEN}={QSTRING})*|size:\d+|{HASH})"
ZONE_DATE = rf'"{DAY}, \d{{1,2}} {MONTH} \d{{4}} \d\d:\d\d:\d\d [+\-]\d{{4}}"'
TYPES = rf"(?:\*|{TOKEN}/(?:{TOKEN}|\*))(?: (?:\*|{TOKEN}/(?:{TOKEN}|\*)))*"
ATTRIBUTES = {
    "path": rf"{MSRP_URI}(?: {MSRP_URI})*",
    "setup": "(?:active|passive|actpass)",
    "accept-types": TYPES,
    "accept-wrapped-types": TYPES,
    "max-size": r"\d+",
    "fingerprint": "SHA-256 [0-9A-F]{2}(?::[0-9A-F]{2}){31}",
    "msrp-cema": None,
    "sendrecv": None,
    "sendonly": None,
    "recvonly": None,
    "inactive": None,
    "file-selector": rf"{SELECTOR}(?: {SELECTOR})*",
    "file-transfer-id": TOKEN,
    "file-disposition": "(?:render|attachment)",
    "file-date": rf"(?:creation|modification|read):{ZONE_DATE}",
    "file-range": r"[1-9]\d*-(?:\d+|\*)",
}
ADDRESS = rf"IN (?:IP4 (?:{IPV4}|{HOSTNAME})|IP6 (?:{IPV6}|{HOSTNAME}))"
SESSION = re.compile(
    rf"v=0\r\no=\S+ \d+ \d+ {ADDRESS}\r\ns=[^\r\n]+\r\nc={ADDRESS}\r\nt=0 0\r\n(?=m=)"
)
MEDIA = re.compile(r"m=message (\d{1,5}) TCP/(TLS/)?MSRP \*\r\n")


class Checked(NamedTuple):
    """A message that obeys the grammar; ``start`` is its method or status code."""

    start: str
    headers: tuple[tuple[str, str], ...]
    content_type: str
    body: bytes


def check_sip(data: bytes, *, repeats: bool = False) -> Checked:
    """Take a message apart; AssertionError at the first thing that is wrong.

    ``repeats``: what an answer repeats of the request need not be by the grammar.
    """
    head, blank, body = data.partition(b"\r\n\r\n")
    assert blank, data
    first, *lines = head.decode().split("\r\n")
    request = REQUEST.fullmatch(first)
    assert request or STATUS.fullmatch(first), first
    headers = []
    for line in lines:
        name, colon, value = (
            line.partition(": ") if not line.endswith(":") else (line[:-1], ":", "")
        )
        assert colon, line
        assert name in PATTERNS, f"no grammar for {line!r}"
        if not (repeats and request is None and name in REPEATED):
            assert PATTERNS[name].fullmatch(value), line
        headers.append((name, value))
    names = [name for name, _ in headers]
    for name in ONCE:
        assert names.count(name) <= 1, f"{name} stands twice in {data!r}"
    found = dict(headers)
    due = {"Via", "From", "To", "Call-ID", "CSeq", "Content-Length"}
    assert due | ({"Max-Forwards"} if request else set()) <= set(names), names
    assert int(found["Content-Length"]) == len(body), data
    assert ("Content-Type" in found) == bool(body), data
    start = request["method"] if request else first.split(" ")[1]
    if request:
        assert found["CSeq"].endswith(f" {start}"), data
    return Checked(start, tuple(headers), found.get("Content-Type", ""), body)


def check_sdp(body: bytes) -> list[str]:
    """The names of the attributes of an SDP of ours; AssertionError where it is none."""
    text = body.decode()
    session = SESSION.match(text)
    assert session, text
    names: list[str] = []
    streams = re.split(r"(?=^m=)", text[session.end() :], flags=re.MULTILINE)
    for stream in filter(None, streams):
        media = MEDIA.match(stream)
        assert media, stream
        own = []
        assert stream.endswith("\r\n"), stream
        for line in stream[media.end() :].split("\r\n")[:-1]:
            name, colon, value = line.removeprefix("a=").partition(":")
            assert line.startswith("a=") and name in ATTRIBUTES, line
            pattern = ATTRIBUTES[name]
            assert not colon if pattern is None else re.fullmatch(pattern, value), line
            own.append(name)
        assert len(own) == len(set(own)), stream
        if media[1] != "0":
            assert {"path", "accept-types"} <= set(own), stream
            # RFC 4975 §8.1: the port is that of the path. RFC 8122: TLS has a fingerprint.
            assert f":{media[1]}/" in stream, stream
            assert bool(media[2]) == ("fingerprint" in own) == ("a=path:msrps:" in stream), stream
        names += own
    assert names, text
    return names
