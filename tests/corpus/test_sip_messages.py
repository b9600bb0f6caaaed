"""The messages of RFC 4475 and RFC 5118 through the parser: verdicts, meanings, round trips."""

import hashlib
from collections.abc import Callable

import pytest

from rcsops.errors import SipParseError
from rcsops.sdp import parse_sdp
from rcsops.sip import Request, Response, StreamParser, check_request, check_response, parse_message
from tests.corpus.corpus import HERE, SIP, Case

pytestmark = [pytest.mark.rfc("4475", "3"), pytest.mark.rfc("5118", "4")]


def verdict(data: bytes) -> str | int:
    """accept, drop, or the status that the parser or the check gives."""
    try:
        message = parse_message(data)
    except SipParseError as error:
        return error.status if error.partial is not None else "drop"
    if isinstance(message, Response):
        return "accept" if check_response(message) else "drop"
    wrong = check_request(message)
    return "accept" if wrong is None else wrong.status


def test_every_message_of_the_two_rfcs_is_there() -> None:
    assert (len(list(HERE.glob("rfc4475/*.sip"))), len(list(HERE.glob("rfc5118/*.sip")))) == (
        49,
        12,
    )
    assert sorted(case.path for case in SIP) == sorted(HERE.glob("rfc*/*.sip"))


@pytest.mark.parametrize("case", SIP, ids=str)
def test_no_octet_of_a_message_has_changed(case: Case) -> None:
    assert hashlib.sha256(case.data).hexdigest() == case.entry["sha256"]


@pytest.mark.parametrize("case", SIP, ids=str)
def test_verdict(case: Case) -> None:
    assert verdict(case.data) in case.entry["parser"]


@pytest.mark.parametrize("case", SIP, ids=str)
def test_what_is_read_is_written_again_as_it_was(case: Case) -> None:
    try:
        message = parse_message(case.data)
    except SipParseError:
        assert "accept" not in case.entry["parser"] or len(case.entry["parser"]) > 1
        return
    written = bytes(message)
    assert case.data.startswith(written)
    assert bytes(parse_message(written)) == written
    # A proxy changes two lines; the others must not notice.
    copy = message.copy()
    copy.prepend("Via", "SIP/2.0/UDP 192.0.2.254;branch=z9hG4bKnew")
    assert copy.pop_first("Via") == "SIP/2.0/UDP 192.0.2.254;branch=z9hG4bKnew"
    assert bytes(copy) == written


def read_stream(data: bytes, size: int) -> list[str]:
    """What a stream gives in pieces of that size: messages, and the error that ended it."""
    parser = StreamParser()
    found = []
    for start in range(0, len(data), size):
        parser.receive_data(data[start : start + size])
        try:
            while (message := parser.next_message()) is not None:
                found.append(bytes(message).decode("latin-1"))
        except SipParseError as error:
            return [*found, str(error)]
    return found


@pytest.mark.parametrize("case", SIP, ids=str)
def test_a_stream_gives_the_same_however_it_is_split(case: Case) -> None:
    whole = read_stream(case.data, len(case.data))
    for size in (1, 2, 3, 7, 64, 333):
        assert read_stream(case.data, size) == whole


# --- what the messages mean ---------------------------------------------------------------------


def _wsinv(m: Request) -> None:
    assert (m.to_tag, m.from_tag, m.max_forwards) == ("1918181833n", "98asjd8", 68)
    assert m.from_.display == 'J Rosenberg \\"'
    assert (m.cseq.number, m.cseq.method, m.get("Subject")) == (9, "INVITE", "")
    assert [(via.transport, via.host, via.branch) for via in m.vias] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    assert m.get("NewFangledHeader") == "newfangled value continued newfangled value"
    assert m.get("UnknownHeaderWithUnusualValue") == ";;,,;;,;"
    assert m.routes[0].uri.params == {
        "lr": None, "unknownwith": "value", "unknown-no-value": None,
    }  # fmt: skip
    contact = m.contacts[0]
    assert (contact.display, contact.param("newparam")) == ('Quoted string ""', "newvalue")
    assert (contact.param("secondparam"), contact.param("q")) == ("", "0.33")
    assert "unknownparam" in m.request_uri.params


def _intmeth(m: Request) -> None:
    assert m.method == "!interesting-Method0123456789_*+`.%indeed'~" == m.cseq.method
    assert m.request_uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert m.request_uri.host == "example.com"
    assert m.to.display == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert m.from_.param("fromparam''~+*_!.-%") == "работающий"
    assert m.from_tag == "_token~1'+`*%!-."
    assert m.call_id == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert m.get("extensionHeader-!.%*+_`'~") == "\ufeff大停電"


def _esc01(m: Request) -> None:
    assert (m.request_uri.username, m.request_uri.host) == ("sips:user@example.com", "example.net")
    assert (m.to.uri.username, m.from_.uri.username) == ("user", "I have spaces")
    assert m.contacts[0].uri.params == {"%6c%72": None, "n%61me": "v%61lue%25%34%31"}


def _escnull(m: Request) -> None:
    assert m.to.uri.username == "null-\0-null"
    assert [contact.uri.username for contact in m.contacts] == ["\0", "\0\0"]


def _esc02(m: Request) -> None:
    assert m.method == "RE%47IST%45R"
    assert m.to.display == "%Z%45"
    assert [contact.uri.username for contact in m.contacts] == ["alias1", "alias3"]


def _lwsdisp(m: Request) -> None:
    assert (m.from_.display, m.from_tag) == ("caller", "323")


def _longreq(m: Request) -> None:
    assert len(m.vias) == 34
    assert m.vias[-1].branch == f"very{'long' * 50}branchvalue"
    assert m.from_tag == f"12{'982' * 50}424"
    assert m.call_id == f"longreq.one{'really' * 20}longcallid"
    assert m.to.uri.params[f"longparam{'name' * 25}"] == "shortvalue"


def _dblreq(m: Request) -> None:
    assert (m.method, m.body) == ("REGISTER", b"")


def _semiuri(m: Request) -> None:
    assert (m.request_uri.username, m.request_uri.host) == ("user;par=u@example.net", "example.com")
    assert not m.request_uri.params


def _transports(m: Request) -> None:
    assert [via.transport for via in m.vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def _mpart01(m: Request) -> None:
    assert m.content_type is not None
    assert m.content_type.type_ == "multipart/mixed"
    boundary = f"--{m.content_type.params['boundary']}".encode()
    assert m.body.count(boundary) == 3
    assert b"\0\0" in m.body
    assert m.body.endswith(boundary + b"--\r\n")


def _unreason(m: Response) -> None:
    assert (m.status, m.reason) == (
        200, "= 2**3 * 5**2 но сто девяносто девять - простое",
    )  # fmt: skip


def _noreason(m: Response) -> None:
    assert (m.status, m.reason) == (100, "")


def _cparam01(m: Request) -> None:
    contact = m.contacts[0]
    assert "unknownparam" in contact.params
    assert not contact.uri.params


def _cparam02(m: Request) -> None:
    contact = m.contacts[0]
    assert not contact.params
    assert "unknownparam" in contact.uri.params


def _regescrt(m: Request) -> None:
    assert m.contacts[0].uri.headers == (("Route", "%3Csip:sip.example.com%3E"),)


def _unksm2(m: Request) -> None:
    assert (m.to.uri.scheme, m.to.uri.opaque) == ("isbn", "2983792873")
    assert (m.from_.uri.scheme, m.from_tag) == ("http", "3234233")
    assert (m.contacts[0].uri.scheme, m.contacts[0].uri.opaque) == ("name", "John_Smith")


def _bext01(m: Request) -> None:
    assert m.option_tags("Require") == ("nothingSupportsThis", "nothingSupportsThisEither")


def _regaut01(m: Request) -> None:
    assert not m.authorizations[0].is_digest


def _inv2543(m: Request) -> None:
    assert (m.top_via.branch, m.from_tag, m.max_forwards) == (None, None, None)
    assert len(parse_sdp(m.body).media) == 1
    assert m.to.uri.params == {}
    assert m.to.param("user") == "phone"


def _ipv6_good(m: Request) -> None:
    assert m.request_uri.host == "2001:db8::10"
    assert m.top_via.host == "2001:db8::9:1"
    assert m.contacts[0].uri.host == "2001:db8::1"


def _port_ambiguous(m: Request) -> None:
    assert (m.request_uri.host, m.request_uri.port) == ("2001:db8::10:5070", None)


def _port_unambiguous(m: Request) -> None:
    assert (m.request_uri.host, m.request_uri.port) == ("2001:db8::10", 5070)


def _received(m: Request) -> None:
    assert m.top_via.received == "2001:db8::9:255"


def _mult_ip_in_header(m: Request) -> None:
    assert [(via.host, via.port) for via in m.vias] == [
        ("2001:db8::9:1", 6050), ("192.0.2.1", None), ("2001:db8::9:255", None),
    ]  # fmt: skip
    assert m.vias[2].received == "192.0.2.200"


def _addresses(*expected: str | None) -> Callable[[Request], None]:
    def check(m: Request) -> None:
        session = parse_sdp(m.body)
        found = [session.connection_for(media) for media in session.media]
        assert tuple(each and each.address for each in found) == expected

    return check


MEANINGS: dict[str, Callable[..., None]] = {
    "wsinv": _wsinv,
    "intmeth": _intmeth,
    "esc01": _esc01,
    "escnull": _escnull,
    "esc02": _esc02,
    "lwsdisp": _lwsdisp,
    "longreq": _longreq,
    "dblreq": _dblreq,
    "semiuri": _semiuri,
    "transports": _transports,
    "mpart01": _mpart01,
    "unreason": _unreason,
    "noreason": _noreason,
    "cparam01": _cparam01,
    "cparam02": _cparam02,
    "regescrt": _regescrt,
    "unksm2": _unksm2,
    "bext01": _bext01,
    "regaut01": _regaut01,
    "inv2543": _inv2543,
    "ipv6-good": _ipv6_good,
    "port-ambiguous": _port_ambiguous,
    "port-unambiguous": _port_unambiguous,
    "via-received-param-no-delim": _received,
    "via-received-param-with-delim": _received,
    "mult-ip-in-header": _mult_ip_in_header,
    "ipv6-in-sdp": _addresses("2001:db8::20", "2001:db8::20"),
    "mult-ip-in-sdp": _addresses("192.0.2.1", "2001:db8::1"),
    "ipv4-mapped-ipv6": _addresses("::ffff:192.0.2.2", "::ffff:192.0.2.2"),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_it_means_what_the_rfc_says(name: str) -> None:
    [case] = [case for case in SIP if case.name == name]
    MEANINGS[name](parse_message(case.data))
