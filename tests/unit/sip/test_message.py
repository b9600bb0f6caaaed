"""Messages: parsing, reading, changing, writing (RFC 3261 §7, §8.2.6)."""

import pytest

from rcsops.errors import LocalProtocolError, SipParseError
from rcsops.sip import Message, Request, Response, Uri, parse_message, reason_phrase

# RFC 4475 §3.1.1.1 in nature: folding, odd spacing, mixed names, unknown headers, leading zeros.
TORTUOUS = (
    b"INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\n"
    b"TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n"
    b'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n'
    b"MaX-fOrWaRdS: 0068\r\n"
    b"Call-ID: wsinv.ndaksdj@192.0.2.1\r\n"
    b"Content-Length   : 5\r\n"
    b"cseq: 0009\r\n  INVITE\r\n"
    b"Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\n"
    b"s :\r\n"
    b"NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n"
    b"UnknownHeaderWithUnusualValue: ;;,,;;,;\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n"
    b"v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n"
    b" SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n"
    b'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =\r\n      newvalue ;\r\n'
    b"  secondparam ; q = 0.33\r\n"
    b"X-Octets: \xff\xfe \xc3\xa4\r\n\r\n"
    b"\x00\xffv=0"
)


def request(*lines: str, body: bytes = b"") -> Request:
    head = "\r\n".join(("INVITE sip:bob@example.org SIP/2.0", *lines, "", ""))
    message = parse_message(head.encode() + body)
    assert isinstance(message, Request)
    return message


def response(*lines: str) -> Response:
    message = parse_message("\r\n".join(("SIP/2.0 200 OK", *lines, "", "")).encode())
    assert isinstance(message, Response)
    return message


def test_tortuous_request_is_read_and_written_octet_by_octet() -> None:
    message = parse_message(TORTUOUS)
    assert bytes(message) == TORTUOUS
    assert isinstance(message, Request)
    assert message.method == "INVITE"
    assert message.request_uri.host == "chair-dnrc.example.com"
    assert (message.to_tag, message.from_tag) == ("1918181833n", "98asjd8")
    assert message.from_.display == 'J Rosenberg \\"'
    assert message.max_forwards == 68
    assert message.cseq == (9, "INVITE")
    assert message.get("Subject") == ""
    assert message.get("newfangledheader") == "newfangled value continued newfangled value"
    hops = [(via.transport, via.host, via.branch) for via in message.vias]
    assert hops == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    (contact,) = message.contacts
    assert dict(contact.params) == {"newparam": "newvalue", "secondparam": None, "q": "0.33"}
    assert message.routes[0].uri.params.get("unknownwith") == "value"
    assert message.content_length == 5
    assert message.body == b"\x00\xffv=0"
    assert message.get("X-Octets") == "\udcff\udcfe ä"
    assert message.fields()[0] == (
        "TO",
        "sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n",
    )
    assert "\ufffd" in str(message)


def test_an_untouched_header_survives_a_change_elsewhere() -> None:
    message = parse_message(TORTUOUS)
    message.set("Max-Forwards", "67")
    changed = TORTUOUS.replace(b"MaX-fOrWaRdS: 0068", b"Max-Forwards: 67")
    assert bytes(message) == changed


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_kinds_of_bytes(kind: type) -> None:
    assert bytes(parse_message(kind(TORTUOUS))) == TORTUOUS


def test_status_lines() -> None:
    assert response().reason == "OK"
    for line, reason in (
        (b"SIP/2.0 100 ", ""),
        (b"SIP/2.0 100", ""),
        ("SIP/2.0 183 = 2**3 * 9**2 но сто".encode(), "= 2**3 * 9**2 но сто"),
    ):
        message = parse_message(line + b"\r\n\r\n")
        assert isinstance(message, Response)
        assert message.reason == reason
        assert bytes(message) == line + b"\r\n\r\n"


def test_other_versions_and_unknown_methods_frame() -> None:
    message = parse_message(b"OPTIONS sip:x SIP/7.0\r\n\r\n")
    assert message.version == "SIP/7.0"
    message = parse_message(b"RE%47IST%45R sip:x sip/2.0\r\n\r\n")
    assert isinstance(message, Request)
    assert (message.method, message.version) == ("RE%47IST%45R", "SIP/2.0")


@pytest.mark.parametrize(
    "start",
    [
        "",
        "INVITE",
        "INVITE sip:x",
        "INVITE  sip:x SIP/2.0",
        "INVITE sip:x SIP/2.0 ",
        "INVITE sip:x  SIP/2.0",
        "INVITE sip:x; lr SIP/2.0",
        " INVITE sip:x SIP/2.0",
        "INV(ITE sip:x SIP/2.0",
        "INVITE sip:x HTTP/1.1",
        "INVITE sip:x SIP/2",
        "SIP/2.0 99 Low",
        "SIP/2.0 700 High",
        "SIP/2.0 4294967301 better not break the receiver",
        "SIP/2.0 2\u0660\u0660 OK",
        "SIP/2.0 OK",
        "HTTP/1.1 200 OK",
    ],
)
def test_no_start_line(start: str) -> None:
    with pytest.raises(SipParseError):
        parse_message(f"{start}\r\nCall-ID: a\r\n\r\n".encode())


@pytest.mark.parametrize(
    "line",
    [
        b"no colon here",
        b"Via",
        b": no name",
        b"Bad Name: x",
        b"B\xc3\xa4d: x",
        b"Subject: a\rb",
        b"Subject: a\nb",
        b"Subject: a\n b",
        b"Subject: a\r",
        b"Content-Length: -1",
        b"Content-Length: +1",
        b"Content-Length: x",
        b"Content-Length:",
        b"Content-Length: 1_0",
        b"Content-Length: 1",
        b"Content-Length: 99999999999999999999",
        b"Content-Length: " + b"9" * 5000,
        b"Content-Length: 0\r\nl: 0",
        b"Content-Length: 0, 0",
    ],
)
def test_broken_heads_name_whom_to_answer(line: bytes) -> None:
    head = b"INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nf: <sip:a@x>\r\n"
    with pytest.raises(SipParseError) as caught:
        parse_message(head + line + b"\r\nCall-ID: c\r\n\r\n")
    partial = caught.value.partial
    assert isinstance(partial, Request)
    assert (partial.method, partial.call_id) == ("INVITE", "c")
    assert partial.top_via.branch == "z9hG4bK1"
    answer = Response.to_request(partial, caught.value.status, to_tag="t")
    assert isinstance(parse_message(bytes(answer)), Response)


def test_a_fold_right_after_the_start_line() -> None:
    with pytest.raises(SipParseError):
        parse_message(b"INVITE sip:x SIP/2.0\r\n folded: x\r\n\r\n")


def test_nothing_to_answer() -> None:
    for data in (b"", b"\r\n\r\n", b"\x00" * 9, b"SIP/2.0 200 OK\r\nx\r\n\r\n", b"x\r\n\r\n"):
        with pytest.raises(SipParseError) as caught:
            parse_message(data)
        assert caught.value.partial is None


@pytest.mark.rfc("3261", "18.3")
def test_datagram_rules() -> None:
    assert parse_message(b"\r\n\r\nACK sip:x SIP/2.0\r\n\r\n\r\nrest").body == b"\r\nrest"
    cut = parse_message(b"ACK sip:x SIP/2.0\r\nl: 2\r\n\r\nabBYE sip:x SIP/2.0\r\n\r\n")
    assert cut.body == b"ab"
    with pytest.raises(SipParseError):
        parse_message(b"ACK sip:x SIP/2.0\r\nCall-ID: no end")


def test_get_and_its_kin() -> None:
    message = request("Supported: a , b", "k: c", "Subject: x,y", 'Allow: "a,b",, <c,d>')
    assert message.get("k") == "a , b"
    assert message.get_all("SUPPORTED") == ["a , b", "c"]
    assert message.values("supported") == ["a", "b", "c"]
    assert message.values("Allow") == ['"a,b"', "<c,d>"]
    assert message.option_tags("Supported") == ("a", "b", "c")
    assert (message.get("Nix"), message.get_all("Nix"), message.values("Nix")) == (None, [], [])
    assert (message.has("s"), message.has("nix"), message.count("k")) == (True, False, 2)
    assert message.fields()[1] == ("k", "c")
    with pytest.raises(SipParseError):
        request('Allow: a, "b').values("Allow")
    with pytest.raises(LocalProtocolError):
        message.get("no name")


def test_set_add_prepend_remove() -> None:
    message = request("Via: SIP/2.0/UDP b", "To: <sip:b@x>", "Via: SIP/2.0/UDP c", "X: 1", "x: 2")
    message.prepend("v", "SIP/2.0/UDP a")
    message.add("Via", "SIP/2.0/UDP d")
    assert [via.host for via in message.vias] == ["a", "b", "c", "d"]
    message.set("x", "3")
    message.set("New", "4")
    message.prepend("Top", "5")
    message.add("Last", "6")
    assert message.fields() == [
        ("Top", "5"),
        ("v", "SIP/2.0/UDP a"),
        ("Via", "SIP/2.0/UDP b"),
        ("To", "<sip:b@x>"),
        ("Via", "SIP/2.0/UDP c"),
        ("Via", "SIP/2.0/UDP d"),
        ("x", "3"),
        ("New", "4"),
        ("Last", "6"),
    ]
    assert message.remove("via")
    assert not message.remove("via")
    assert message.vias == ()
    with pytest.raises(SipParseError):
        _ = message.top_via


def test_pop_and_replace_first() -> None:
    message = request("Route: <sip:a,b;lr> , <sip:c>", "Route: <sip:d>")
    assert message.pop_first("Route") == "<sip:a,b;lr>"
    message.replace_first("Route", "<sip:e>")
    assert [str(route) for route in message.routes] == ["<sip:e>", "<sip:d>"]
    assert message.pop_first("Route") == "<sip:e>"
    assert message.pop_first("Route") == "<sip:d>"
    assert message.pop_first("Route") is None
    message.replace_first("Route", "<sip:f>")
    assert [str(route) for route in message.routes] == ["<sip:f>"]
    folded = request("Via: SIP/2.0/UDP a\r\n ,\r\n SIP/2.0/UDP b")
    assert folded.top_via.host == "a"
    folded.replace_first("Via", "SIP/2.0/UDP c")
    assert folded.get("Via") == "SIP/2.0/UDP c, SIP/2.0/UDP b"
    assert folded.top_via.host == "c"


@pytest.mark.parametrize("value", ["a\r\nb", "a\n", "\r"])
def test_a_line_break_cannot_be_smuggled_in(value: str) -> None:
    message = request()
    for change in (message.set, message.add, message.prepend, message.replace_first):
        with pytest.raises(LocalProtocolError):
            change("Subject", value)
        with pytest.raises(LocalProtocolError):
            change("Subj ect", "x")
    with pytest.raises(LocalProtocolError):
        Request("INVITE", "sip:x", [("Subject", value)])
    with pytest.raises(LocalProtocolError):
        Response(200, value)
    with pytest.raises(LocalProtocolError):
        Request("INVITE", f"sip:x{value}")
    with pytest.raises(LocalProtocolError):
        Request(f"INVITE{value}", "sip:x")


def test_typed_values_follow_changes() -> None:
    message = request("From: <sip:a@x>;tag=1", "CSeq: 1 INVITE", "Via: SIP/2.0/UDP a")
    assert message.from_ is message.from_
    assert (message.from_tag, message.cseq.number, message.top_via.host) == ("1", 1, "a")
    message.set("f", "<sip:b@x>;tag=2")
    message.set("CSeq", "2 INVITE")
    message.set("Via", "SIP/2.0/UDP b")
    assert (message.from_tag, message.cseq.number, message.top_via.host) == ("2", 2, "b")


def test_numbers() -> None:
    message = request("Expires: 3600", "Min-Expires: 60", "Retry-After: 5 (later);duration=9")
    assert (message.expires, message.min_expires, message.retry_after) == (3600, 60, 5)
    assert (message.max_forwards, message.content_length) == (None, None)
    assert request("Expires: 4294967296").expires == 4294967295
    assert request("Expires: 1000000000000").expires == 4294967295
    assert request("Expires: " + "9" * 5000).expires == 4294967295
    for bad in ("x", "", "-1", "1.5", "\u0661"):
        with pytest.raises(SipParseError):
            _ = request(f"Expires: {bad}").expires
        with pytest.raises(SipParseError):
            _ = request(f"Max-Forwards: {bad}").max_forwards


def test_contacts() -> None:
    message = request("Contact: *")
    assert message.contact_star
    assert message.contacts == ()
    assert not request().contact_star
    several = request("Contact: <sip:a@x>;q=1, sip:b@x", 'm: "C, D" <sip:c@x>')
    assert [str(contact.uri) for contact in several.contacts] == ["sip:a@x", "sip:b@x", "sip:c@x"]
    for bad in ("Contact: *, <sip:a@x>", "Contact: <sip:a@x>\r\nContact: *", "Contact: a,,b"):
        with pytest.raises(SipParseError):
            _ = request(bad).contacts


def test_routes_need_brackets_and_single_headers_are_single() -> None:
    message = request("Record-Route: <sip:a;lr>", "Path: <sip:b;lr>", "Service-Route: <sip:c;lr>")
    found = [message.record_routes, message.paths, message.service_routes]
    assert [str(routes[0].uri) for routes in found] == ["sip:a;lr", "sip:b;lr", "sip:c;lr"]
    for line in ("Route: sip:a;lr", "Route: <sip:a>,"):
        with pytest.raises(SipParseError):
            _ = request(line).routes
    for name in ("from_", "to", "call_id", "cseq", "from_tag", "to_tag"):
        with pytest.raises(SipParseError):
            getattr(request(), name)
    doubled = request("To: <sip:a@x>", "t: <sip:a@x>", "Expires: 1", "Expires: 1")
    for name in ("to", "expires"):
        with pytest.raises(SipParseError):
            getattr(doubled, name)
    with pytest.raises(SipParseError):
        _ = request("Call-ID: a b").call_id


def test_authentication_headers() -> None:
    line = 'Digest realm="r", nonce="n"'
    message = request(
        f"Authorization: {line}",
        "Authorization: Unknown x",
        f"Proxy-Authorization: {line}",
        f"WWW-Authenticate: {line}",
        f"Proxy-Authenticate: {line}",
    )
    assert [each.scheme for each in message.authorizations] == ["Digest", "Unknown"]
    assert message.proxy_authorizations[0].realm == "r"
    assert message.www_challenges[0].nonce == "n"
    assert message.proxy_challenges[0].nonce == "n"


def test_build_a_request() -> None:
    message = Request("MESSAGE", Uri.parse("sip:b@x"), [("To", "<sip:b@x>"), ("l", "99")], b"hi")
    assert bytes(message) == (
        b"MESSAGE sip:b@x SIP/2.0\r\nTo: <sip:b@x>\r\nContent-Length: 2\r\n\r\nhi"
    )
    message.set_body("ü".encode(), "text/plain")
    assert (message.content_length, message.body) == (2, "ü".encode())
    assert message.content_type is not None
    assert message.content_type.type_ == "text/plain"
    message.body = b""
    assert message.content_length == 0
    assert message.request_uri.user == "b"
    message.method, message.uri = "INFO", "sip:c@x"
    assert message.request_uri.user == "c"
    assert bytes(message).startswith(b"INFO sip:c@x SIP/2.0\r\n")
    assert repr(message) == "<Request INFO sip:c@x>"
    assert parse_message(bytes(message)) == message
    with pytest.raises(LocalProtocolError):
        bytes(Request("INFO", "sip:x", [("Subject", "\ud800")]))
    with pytest.raises(SipParseError):
        _ = Request("INFO", "<sip:x>").request_uri


def test_build_a_response() -> None:
    message = Response(180)
    assert bytes(message) == b"SIP/2.0 180 Ringing\r\nContent-Length: 0\r\n\r\n"
    message.reason = "Brr"
    assert repr(message) == "<Response 180 Brr>"
    message.status = 404
    assert bytes(message).startswith(b"SIP/2.0 404 Not Found\r\n")
    for status in (99, 700):
        with pytest.raises(LocalProtocolError):
            Response(status)
    assert reason_phrase(499) == "Bad Request"
    assert reason_phrase(999) == "Unknown"


def test_copies_are_independent() -> None:
    for message in (parse_message(TORTUOUS), Response(200)):
        assert isinstance(message, Message)
        other = message.copy()
        assert other == message
        assert type(other) is type(message)
        other.set("Subject", "x")
        other.body = b"other"
        assert other != message
        assert message.get("Subject") != "x"
    assert Response(200) != Request("INVITE", "sip:x")


@pytest.mark.rfc("3261", "8.2.6")
def test_answer() -> None:
    asked = request(
        "v: SIP/2.0/UDP a;branch=1,\r\n SIP/2.0/UDP b",
        "Record-Route: <sip:p;lr>",
        "Via: SIP/2.0/UDP c",
        "From: <sip:a@x>;tag=1",
        "To: <sip:b@x>",
        "Call-ID: c",
        "CSeq: 1 INVITE",
        "Timestamp: 54",
        "Subject: s",
    )
    ringing = Response.to_request(asked, 180, to_tag="9", headers=[("Contact", "<sip:b@y>")])
    assert bytes(ringing).decode() == (
        "SIP/2.0 180 Ringing\r\nv: SIP/2.0/UDP a;branch=1,\r\n SIP/2.0/UDP b\r\n"
        "Record-Route: <sip:p;lr>\r\nVia: SIP/2.0/UDP c\r\nFrom: <sip:a@x>;tag=1\r\n"
        "To: <sip:b@x>;tag=9\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:b@y>\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    assert Response.to_request(asked, 100).get("Timestamp") == "54"
    assert Response.to_request(asked, 100).to_tag is None
    refused = Response.to_request(asked, 486, "Not now", to_tag="9")
    assert (refused.reason, refused.has("Record-Route")) == ("Not now", False)
    asked.set("To", "<sip:b@x>;tag=old")
    assert Response.to_request(asked, 200, to_tag="9").to_tag == "old"
    asked.set("To", '"broken <sip:b@x>')
    assert Response.to_request(asked, 400, to_tag="9").get("To") == '"broken <sip:b@x>'
