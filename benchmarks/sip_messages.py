"""How fast rcsops reads and writes SIP, beside other libraries in the same run.

Three tables:

- proxy: parse, decrement Max-Forwards, put a Via on top, serialise;
- serialise: parse and serialise;
- typed: parse and read Via, From, To, CSeq, Call-ID, Contact, Route and Authorization as objects.

"ceiling" splits the same octets at CRLF and ":" and joins them again, without understanding any of
it. Every figure is the median of rounds in which all of them take turns, so a busy machine slows
all alike. The peers are sipmessage, sippy and aiosipua (``pip install -e .[bench]``).

    python benchmarks/sip_messages.py [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from rcsops.sip import Request, parse_message
from rcsops.sip.typed import forget_addresses

VIA = "SIP/2.0/UDP 192.0.2.99:5060;branch=z9hG4bKproxy1f2e3d4c;rport"

_REGISTER = """\
REGISTER sip:example.org SIP/2.0
Via: SIP/2.0/TCP 192.0.2.10:5060;branch=z9hG4bKr1a7c;rport;alias
Max-Forwards: 70
From: <sip:alice@example.org>;tag=a1f0
To: <sip:alice@example.org>
Call-ID: 7c1f2e0a4b@192.0.2.10
CSeq: 2 REGISTER
Contact: <sip:alice@192.0.2.10:5060;transport=tcp;ob>;reg-id=1;\
+sip.instance="<urn:uuid:3f1b6c52-8d0e-4c0b-9a57-1c2d3e4f5a6b>";\
+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session";expires=3600
Supported: path, gruu, outbound
Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, UPDATE, NOTIFY
Authorization: Digest username="alice", realm="example.org", nonce="9f3c0a77b1e24d5f8a6c", \
uri="sip:example.org", \
response="1c4f17bffa11ac083776221ce40cb5343079584999d37e9f66d0a584aa0bb33b", \
algorithm=SHA-256, qop=auth, nc=00000001, cnonce="6b8b4567d1", opaque="op1"
Content-Length: 0

"""

_SDP = """\
v=0
o=alice 2890844526 2890844526 IN IP4 192.0.2.10
s=-
c=IN IP4 192.0.2.10
t=0 0
m=message 7394 TCP/MSRP *
a=accept-types:message/cpim
a=accept-wrapped-types:text/plain message/imdn+xml
a=path:msrp://192.0.2.10:7394/2s93i93idj;tcp
a=setup:actpass
a=sendrecv
"""

_INVITE = """\
INVITE sip:bob@192.0.2.20:5060;transport=tcp SIP/2.0
Via: SIP/2.0/UDP p3.example.org:5060;branch=z9hG4bK83749.3
Via: SIP/2.0/TCP p2.example.org:5060;branch=z9hG4bK83749.2;received=192.0.2.3
Via: SIP/2.0/UDP p1.example.org:5060;branch=z9hG4bK83749.1;received=192.0.2.2
Via: SIP/2.0/TCP 192.0.2.10:5060;branch=z9hG4bKnashds8;rport=40112;received=192.0.2.1
Max-Forwards: 67
Route: <sip:p4.example.org;lr>, <sip:p5.example.org:5061;transport=tcp;lr>
Record-Route: <sip:p3.example.org;lr>
Record-Route: <sip:p2.example.org;transport=tcp;lr>
From: "Alice Liddell" <sip:alice@example.org>;tag=1928301774
To: Bob <sip:bob@example.org>
Call-ID: a84b4c76e66710@pc33.example.org
CSeq: 314159 INVITE
Contact: <sip:alice@192.0.2.10:5060;transport=tcp>;\
+sip.instance="<urn:uuid:3f1b6c52-8d0e-4c0b-9a57-1c2d3e4f5a6b>";\
+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session"
Authorization: Digest username="alice", realm="example.org", nonce="9f3c0a77b1e24d5f8a6c", \
uri="sip:bob@example.org", response="c023b933d354cdc75f5e232afbb5d922", \
algorithm=MD5, qop=auth, nc=00000002, cnonce="6b8b4567d1"
Accept-Contact: *;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session"
Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE
Supported: timer, path
Session-Expires: 1800;refresher=uac
User-Agent: rcsops
Content-Type: application/sdp
Content-Length: LENGTH

"""

_OK = """\
SIP/2.0 200 OK
Via: SIP/2.0/UDP p3.example.org:5060;branch=z9hG4bK83749.3
Via: SIP/2.0/TCP 192.0.2.10:5060;branch=z9hG4bKnashds8;rport=40112;received=192.0.2.1
Record-Route: <sip:p3.example.org;lr>
From: "Alice Liddell" <sip:alice@example.org>;tag=1928301774
To: Bob <sip:bob@example.org>;tag=a6c85cf
Call-ID: a84b4c76e66710@pc33.example.org
CSeq: 314159 INVITE
Contact: <sip:bob@192.0.2.20:5060;transport=tcp>
Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE
Content-Type: application/sdp
Content-Length: LENGTH

"""


def _wire(head: str, body: str = "") -> bytes:
    octets = body.replace("\n", "\r\n").encode()
    return head.replace("LENGTH", str(len(octets))).replace("\n", "\r\n").encode() + octets


MESSAGES = {
    "REGISTER": _wire(_REGISTER),
    "INVITE": _wire(_INVITE, _SDP),
    "200": _wire(_OK, _SDP),
}

Work = Callable[[bytes], object]


class Ceiling:
    """Splitting and joining: what any text protocol costs in Python."""

    name = "ceiling"

    @staticmethod
    def _split(data: bytes) -> tuple[list[str], list[list[str]], bytes]:
        head, _, body = data.partition(b"\r\n\r\n")
        start, *lines = head.decode().split("\r\n")
        return [start], [line.split(":", 1) for line in lines], body

    def serialise(self, data: bytes) -> bytes:
        lines, fields, body = self._split(data)
        lines += [f"{name}:{value}" for name, value in fields]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def proxy(self, data: bytes) -> bytes:
        lines, fields, body = self._split(data)
        for field in fields:
            if field[0] == "Max-Forwards":
                field[1] = f" {int(field[1]) - 1}"
        fields.insert(0, ["Via", " " + VIA])
        lines += [f"{name}:{value}" for name, value in fields]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Rcsops:
    name = "rcsops"

    def serialise(self, data: bytes) -> bytes:
        return bytes(parse_message(data))

    def proxy(self, data: bytes) -> bytes:
        message = parse_message(data)
        hops = message.max_forwards
        if hops is not None:
            message.set("Max-Forwards", str(hops - 1))
        message.prepend("Via", VIA)
        return bytes(message)

    def typed(self, data: bytes) -> object:
        # In a call the same addresses come again; here each message counts as the first with its.
        forget_addresses()
        message = parse_message(data)
        return (
            [(via.host, via.branch) for via in message.vias],
            (message.from_.uri.host, message.from_tag),
            (message.to.uri.host, message.to_tag),
            message.cseq.number,
            message.call_id,
            [contact.uri.host for contact in message.contacts],
            [route.uri.host for route in message.routes],
            [each.username for each in message.authorizations],
        )


class Sipmessage:
    name = "sipmessage"

    def __init__(self) -> None:
        import sipmessage

        self._parse = sipmessage.Message.parse

    def serialise(self, data: bytes) -> bytes:
        return bytes(self._parse(data))

    def proxy(self, data: bytes) -> bytes:
        message = self._parse(data)
        hops = message.max_forwards
        if hops is not None:
            message.max_forwards = hops - 1
        message.headers.setlist("Via", [VIA, *message.headers.getlist("Via")])
        return bytes(message)

    def typed(self, data: bytes) -> object:
        message = self._parse(data)
        from_, to = message.from_address, message.to_address
        credentials = message.authorization
        given = credentials.parameters if credentials else None
        return (
            [(via.host, via.parameters.get("branch")) for via in message.via],
            (from_.uri.host, from_.parameters.get("tag")),
            (to.uri.host, to.parameters.get("tag")),
            message.cseq.sequence,
            message.call_id,
            [contact.uri.host for contact in message.contact],
            [route.uri.host for route in message.route],
            [given.get("username")] if given else [],
        )


class Sippy:
    name = "sippy"

    def __init__(self) -> None:
        from sippy.SipHeader import SipHeader
        from sippy.SipRequest import SipRequest
        from sippy.SipResponse import SipResponse

        self._header, self._request, self._response = SipHeader, SipRequest, SipResponse

    def _parse(self, data: bytes) -> Any:
        text = data.decode()
        return (self._response if text.startswith("SIP/") else self._request)(text)

    def serialise(self, data: bytes) -> bytes:
        return str(self._parse(data)).encode()

    def proxy(self, data: bytes) -> bytes:
        message = self._parse(data)
        if message.countHFs("max-forwards"):
            message.getHFBody("max-forwards").incNum(-1)
        top = message.getHF("via")
        message.insertHeaderBefore(top, self._header(f"Via: {VIA}"))
        return str(message).encode()

    def typed(self, data: bytes) -> object:
        message = self._parse(data)
        from_, to = message.getHFBody("from"), message.getHFBody("to")
        return (
            [(via.getAddr()[0], via.getBranch()) for via in message.getHFBodys("via")],
            (from_.getUrl().host, from_.getTag()),
            (to.getUrl().host, to.getTag()),
            message.getHFBody("cseq").getCSeqNum(),
            str(message.getHFBody("call-id")),
            [contact.getUrl().host for contact in message.getHFBodys("contact")],
            [route.getUrl().host for route in message.getHFBodys("route")],
            [each.username for each in _parsed(message.getHFBodys("authorization"))],
        )


def _parsed(bodies: list[Any]) -> list[Any]:
    for body in bodies:
        body.parse()
    return bodies


class Aiosipua:
    name = "aiosipua"

    def __init__(self) -> None:
        from aiosipua import headers, message

        self._parse = message.SipMessage.parse
        self._address, self._auth = headers.parse_address, headers.parse_auth

    def typed(self, data: bytes) -> object:
        message = self._parse(data)
        from_, to, cseq = message.from_addr, message.to_addr, message.cseq
        return (
            [(via.host, via.branch) for via in message.via],
            (from_.uri.host, from_.tag),
            (to.uri.host, to.tag),
            cseq.seq,
            message.call_id,
            [contact.uri.host for contact in message.contact],
            [self._address(value).uri.host for value in message.get_header_values("route")],
            [
                self._auth(value, credentials=True).params.get("username")
                for value in message.get_header_values("authorization")
            ],
        )


def contestants() -> tuple[list[Any], list[str]]:
    """Those that can be imported, and the names of those that cannot."""
    found: list[Any] = [Ceiling(), Rcsops()]
    missing = []
    for kind in (Sipmessage, Sippy, Aiosipua):
        try:
            found.append(kind())
        except ImportError:
            missing.append(kind.name)
    return found, missing


def medians(works: dict[str, Work], data: bytes, rounds: int) -> dict[str, float]:
    """Microseconds for one call of each, the median of interleaved rounds."""
    repeat = {}
    for name, work in works.items():
        work(data)
        start = time.perf_counter()
        for _ in range(50):
            work(data)
        repeat[name] = max(20, int(0.02 / ((time.perf_counter() - start) / 50)))
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            count = repeat[name]
            start = time.perf_counter()
            for _ in range(count):
                work(data)
            times[name].append((time.perf_counter() - start) / count * 1e6)
    return {name: statistics.median(each) for name, each in times.items()}


# At least so much of the ceiling, and so many times as fast as the fastest peer. Of the messages
# only the INVITE has all the headers of the typed pass; the others are shown beside it.
BARS: dict[str, tuple[float | None, float | None]] = {
    "proxy": (0.4, 1.5),
    "serialise": (0.5, None),
    "typed": (None, 2.0),
}
WITHOUT_BAR = {"typed REGISTER", "typed 200"}


def check_same_answers(found: list[Any]) -> None:
    """Every contestant must have read the same, or the comparison means nothing."""
    for name, data in MESSAGES.items():
        answers = {each.name: each.typed(data) for each in found if hasattr(each, "typed")}
        ours = answers["rcsops"]
        for peer, answer in answers.items():
            if answer != ours:
                print(f"note: {peer} reads the {name} differently", file=sys.stderr)
        assert bytes(parse_message(data)) == data
        assert isinstance(parse_message(data), Request) == (name != "200")


def measure(rounds: int) -> dict[str, Any]:
    """All tables: microseconds and the two ratios for each pass and message."""
    found, missing = contestants()
    check_same_answers(found)
    result: dict[str, Any] = {"missing": missing, "rounds": rounds, "passes": {}}
    for kind, bars in BARS.items():
        for name, data in MESSAGES.items():
            bar_ceiling, bar_peer = bars
            works = {each.name: getattr(each, kind) for each in found if hasattr(each, kind)}
            times = medians(works, data, rounds)
            if f"{kind} {name}" in WITHOUT_BAR:
                bar_peer = None
            ours = times["rcsops"]
            peers = [value for peer, value in times.items() if peer not in ("ceiling", "rcsops")]
            of_ceiling = times["ceiling"] / ours if "ceiling" in times else None
            of_peer = min(peers) / ours if peers else None
            met = (bar_ceiling is None or of_ceiling is None or of_ceiling >= bar_ceiling) and (
                bar_peer is None or of_peer is None or of_peer >= bar_peer
            )
            result["passes"][f"{kind} {name}"] = {
                "microseconds": {key: round(value, 2) for key, value in times.items()},
                "of_ceiling": of_ceiling and round(of_ceiling, 2),
                "of_fastest_peer": of_peer and round(of_peer, 2),
                "bars": {"ceiling": bar_ceiling, "peer": bar_peer},
                "met": met,
            }
    return result


def table(result: dict[str, Any]) -> str:
    """The result for people: microseconds for one message, and the ratios with their bars."""
    columns = ["ceiling", "rcsops", "sipmessage", "sippy", "aiosipua"]
    lines = ["".join([f"{'µs a message':20}", *(f"{name:>12}" for name in columns)])]
    lines[0] += f"{'of ceiling':>16}{'of best peer':>16}"
    for name, row in result["passes"].items():
        cells = (row["microseconds"].get(column) for column in columns)
        line = f"{name:20}" + "".join(
            f"{'-' if c is None else format(c, '.1f'):>12}" for c in cells
        )
        for ratio, bar in (("of_ceiling", "ceiling"), ("of_fastest_peer", "peer")):
            value, least = row[ratio], row["bars"][bar]
            text = "-" if value is None else f"{value:.2f}"
            line += f"{text + (f' (>={least})' if least else ''):>16}"
        lines.append(line + ("" if row["met"] else "  MISSED"))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", metavar="FILE", help="write the result here; - is stdout")
    options = parser.parse_args()
    gc.disable()
    result = measure(options.rounds)
    if options.json == "-":
        print(json.dumps(result, indent=2))
    else:
        print(table(result))
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(result, file, indent=2)
    for name in result["missing"]:
        print(f"not installed, so not compared: {name}", file=sys.stderr)
    return 0 if all(row["met"] for row in result["passes"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
