"""Who is behind an address, and choosing messages."""

from rcsops.trace import TraceEntry, merge
from rcsops.trace.select import Selection, Wanted

from .messages import ALEX, BOB, BOB_MSRP, SERVER, msrp, request, response, seen, sent

STRANGER = ("10.0.0.9", 5999)
PEOPLE = "From: <sip:{}@rcs.example>;tag=1\r\nTo: <sip:{}@rcs.example>\r\n"
SDP = "v=0\r\na=path:msrp://127.0.0.1:{}/session-of-{};tcp\r\n"


def passed(data: bytes) -> bytes:
    return data.replace(b"Via:", b"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKp\r\nVia:", 1)


def observed(time: float, source: tuple[str, int], target: tuple[str, int], data: bytes,
             node: str = "capture") -> TraceEntry:  # fmt: skip
    return seen(time, node, "seen", source, target, data)


def session() -> list[TraceEntry]:
    invite = request(
        "INVITE", branch="2", headers=PEOPLE.format("alex", "bob"), body=SDP.format(50001, "alex")
    )
    ok = response(200, "OK", "INVITE", branch="2").replace(
        b"\r\n\r\n", b"\r\n\r\n" + SDP.format(50002, "bob").encode()
    )
    register = request("REGISTER", branch="1", headers=PEOPLE.format("alex", "alex"))
    return [
        observed(0.0, ALEX, SERVER, register),
        observed(0.1, ALEX, SERVER, invite),
        observed(0.2, SERVER, BOB, passed(invite)),
        observed(0.3, BOB, SERVER, passed(ok)),
        observed(0.4, SERVER, ALEX, ok),
        observed(0.5, ("127.0.0.1", 61234), BOB_MSRP, msrp("t1", "SEND")),
        observed(0.6, BOB_MSRP, ("127.0.0.1", 61234), msrp("t1", "200 OK")),
    ]


def test_strangers_are_called_by_what_they_say() -> None:
    arrows = merge(session(), guess=True)
    assert [(each.source, each.target) for each in arrows] == [
        ("alex", "server"),
        ("alex", "server"),
        ("server", "bob"),
        ("bob", "server"),
        ("server", "alex"),
        ("alex", "bob"),
        ("bob", "alex"),
    ]
    assert not any(each.lost for each in arrows)
    assert arrows[-1].call_id == "call-1"


def test_nobody_becomes_the_server_by_calling_himself_so() -> None:
    options = request("OPTIONS", branch="9", headers=PEOPLE.format("server", "x"))
    entries = [
        observed(0.0, ALEX, SERVER, request("REGISTER", branch="1")),
        observed(0.1, STRANGER, SERVER, options),
    ]
    assert merge(entries, guess=True)[1].source == "10.0.0.9:5999"


def test_the_server_by_a_connection_of_its_own_is_the_server() -> None:
    """An OpenSIPS connects to a phone's Contact for what comes within a dialog."""
    own = ("127.0.0.1", 45454)
    bye = request("BYE", branch="of-the-bye", cseq=2)
    forged = passed(request("BYE", branch="no-such-branch", cseq=3))
    entries = [
        *session(),
        observed(1.0, ALEX, SERVER, bye),
        observed(1.1, own, BOB, passed(bye)),
        observed(1.2, STRANGER, BOB, forged),
    ]
    *_, through, stranger = merge(entries, guess=True)
    assert (through.source, through.target) == ("server", "bob")
    assert stranger.source == "10.0.0.9:5999"


def test_without_guessing_a_stranger_is_an_address() -> None:
    assert {each.source for each in merge(session())} >= {"127.0.0.1:40001", "127.0.0.1:5060"}


def test_two_observers_saw_one_message() -> None:
    data = request("OPTIONS", branch="1")
    twice = [
        observed(0.0, ALEX, SERVER, data, "hep:1"),
        observed(0.01, ALEX, SERVER, data, "hep:2"),
    ]
    assert len(merge(twice)) == 1
    again = [observed(0.0, ALEX, SERVER, data), observed(0.01, ALEX, SERVER, data)]
    assert [each.retransmission for each in merge(again)] == [False, True]


def test_a_capture_beside_the_trace_of_an_end() -> None:
    data = request("OPTIONS", branch="1")
    entries = [
        *sent(0.0, ("alex", ALEX), ("server", SERVER), data),
        observed(0.0005, ALEX, SERVER, data),
    ]
    assert len(merge(entries)) == 1
    arrived = [seen(0.0, "server", "in", SERVER, ALEX, data), observed(0.001, ALEX, SERVER, data)]
    assert len(merge(arrived)) == 1


def chosen(**wanted: tuple[str, ...]) -> list[str]:
    other = request("OPTIONS", branch="5", headers=PEOPLE.format("carol", "dave"))
    entries = [*session(), observed(0.7, STRANGER, SERVER, other.replace(b"call-1", b"call-2"))]
    arrows = merge(entries, guess=True)
    return [each.label for each in Selection(Wanted(**wanted)).choose(arrows)]


def test_choosing() -> None:
    assert len(chosen()) == 8
    assert chosen(users=("carol",)) == ["OPTIONS"]
    assert chosen(users=("sip:DAVE@rcs.example",)) == ["OPTIONS"]
    assert chosen(users=("dave@elsewhere",)) == []
    assert chosen(users=("bob",))[-2:] == ["SEND (empty)", "200 OK"]
    assert chosen(call_ids=("call-2",)) == ["OPTIONS"]
    assert chosen(methods=("send",)) == ["SEND (empty)", "200 OK"]
    assert len(chosen(methods=("INVITE",))) == 4
    assert chosen(users=("bob",), methods=("OPTIONS",)) == []
