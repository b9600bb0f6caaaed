"""The transaction layer: matching, Via, stateless answers, bounds (RFC 3261 §17.1.3 to §18.2.2)."""

import random

import pytest

from rcsops.errors import LocalProtocolError, SipParseError
from rcsops.sip import (
    AckReceived,
    Flow,
    InviteServerTransaction,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    State,
    StrayResponse,
    TransactionLayer,
    TransportFailed,
    UnreadableRequest,
    parse_message,
)
from rcsops.sip.alarms import AlarmQueues
from rcsops.tokens import Tokens
from tests.unit.sip.sim import PEER, US, World, from_peer, make_request, reparsed


def with_via(via: str, method: str = "OPTIONS", **more: object) -> Request:
    request = make_request(method, **more)  # type: ignore[arg-type]
    request.prepend("Via", via)
    return reparsed(request)


def requests(world: World) -> list[RequestReceived]:
    return [event for _, event in world.events if isinstance(event, RequestReceived)]


# --- matching of requests ---------------------------------------------------------------------


@pytest.mark.rfc("3261", "17.2.3")
@pytest.mark.parametrize(
    "same",
    [
        "SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKone",
        "SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKone",
        "sip/2.0/udp  192.0.2.2:5060 ;Branch=Z9HG4BKONE;rport",
    ],
)
def test_branch_and_sent_by_make_a_retransmission(same: str) -> None:
    world = World()
    world.accept(with_via("SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKone"))
    world.receive(with_via(same))
    assert len(requests(world)) == 1


@pytest.mark.rfc("3261", "17.2.3")
@pytest.mark.parametrize(
    "other",
    [
        "SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKtwo",
        "SIP/2.0/UDP 192.0.2.2:5061;branch=z9hG4bKone",
        "SIP/2.0/UDP 192.0.2.3:5060;branch=z9hG4bKone",
    ],
)
def test_another_branch_or_sent_by_is_another_transaction(other: str) -> None:
    world = World()
    world.accept(with_via("SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKone"))
    world.accept(with_via(other))
    assert len(requests(world)) == 2
    assert len(world.layer) == 2


@pytest.mark.rfc("3261", "17.2.3")
def test_another_method_is_another_transaction() -> None:
    world = World()
    for method in ("OPTIONS", "MESSAGE"):
        world.accept(with_via("SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKone", method))
    assert len(world.layer) == 2


OLD_VIAS = ["SIP/2.0/UDP 192.0.2.2:5060", "SIP/2.0/UDP h;branch=1", "SIP/2.0/UDP h;branch=z9hG4bK"]


@pytest.mark.rfc("3261", "17.2.3")
@pytest.mark.parametrize("via", OLD_VIAS)
def test_without_the_cookie_the_rules_of_rfc_2543_match(via: str) -> None:
    world = World()
    request = with_via(via)
    world.accept(request)
    world.receive(request)
    assert len(requests(world)) == 1
    for change in (
        ("CSeq", "2 OPTIONS"),
        ("Call-ID", "call-2"),
        ("From", "<sip:alice@example.org>;tag=a2"),
        ("To", "<sip:bob@example.org>;tag=b"),
        ("Via", "SIP/2.0/UDP 192.0.2.77:5060"),
    ):
        other = request.copy()
        other.set(*change)
        world.receive(other)
    other = request.copy()
    other.uri = "sip:carol@example.org"
    world.receive(other)
    assert len(requests(world)) == 7


@pytest.mark.rfc("3261", "17.2.3")
@pytest.mark.parametrize("via", OLD_VIAS)
def test_an_ack_of_rfc_2543_matches_by_the_tag_of_our_response(via: str) -> None:
    world = World()
    request = with_via(via, "INVITE")
    transaction = world.accept(request)
    world.receive(request)
    world.respond(transaction, 486, request)
    stranger = world.ack(request)
    stranger.set("To", "<sip:bob@example.org>;tag=other")
    world.receive(stranger)
    assert transaction.state is State.COMPLETED
    assert isinstance(world.events[-1][1], AckReceived)
    world.receive(world.ack(request))
    assert transaction.state is State.CONFIRMED
    assert len(requests(world)) == 1


@pytest.mark.rfc("3261", "17.2.3")
def test_a_reinvite_of_rfc_2543_is_no_retransmission() -> None:
    world = World()
    world.accept(with_via(OLD_VIAS[0], "INVITE"))
    world.receive(with_via(OLD_VIAS[0], "INVITE", to_tag="b1"))
    assert len(requests(world)) == 2


@pytest.mark.rfc("3261", "9.2")
@pytest.mark.parametrize("via", ["SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKone", OLD_VIAS[0]])
def test_a_cancel_names_its_invite(via: str) -> None:
    world = World()
    invite = world.accept(with_via(via, "INVITE"))
    world.receive(with_via(via, "CANCEL"))
    event = requests(world)[-1]
    assert event.request.method == "CANCEL"
    assert event.invite is invite
    cancel = world.layer.accept(event.request, event.flow, world.now)
    assert cancel is not invite
    assert isinstance(invite, InviteServerTransaction)
    world.receive(with_via(via, "CANCEL"))
    assert len(requests(world)) == 2


@pytest.mark.rfc("3261", "9.2")
def test_a_cancel_without_its_invite_says_so() -> None:
    world = World()
    world.accept(with_via("SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKone", "OPTIONS"))
    world.receive(with_via("SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKone", "CANCEL"))
    assert requests(world)[-1].invite is None


def test_an_ack_for_nothing_is_passed_up() -> None:
    world = World()
    world.receive(from_peer("ACK", to_tag="x"))
    (event,) = [event for _, event in world.events]
    assert isinstance(event, AckReceived)
    assert event.flow == world.flow


def test_an_ack_before_a_final_response_is_dropped() -> None:
    world = World()
    request = from_peer()
    transaction = world.accept(request)
    world.receive(world.ack(request))
    assert transaction.state is State.PROCEEDING
    assert len(world.events) == 1


def test_accepting_twice_or_an_ack_is_a_programming_error() -> None:
    world = World()
    request = from_peer("OPTIONS")
    world.accept(request)
    with pytest.raises(LocalProtocolError):
        world.layer.accept(request, world.flow, 0.0)
    with pytest.raises(LocalProtocolError):
        world.layer.accept(from_peer("ACK"), world.flow, 0.0)
    with pytest.raises(LocalProtocolError):
        world.layer.send_request(make_request("ACK"), world.target, 0.0)


# --- matching of responses --------------------------------------------------------------------


@pytest.mark.rfc("3261", "17.1.3", "18.1.2")
def test_branch_and_method_find_the_client_transaction() -> None:
    world = World()
    invite, options = world.send("INVITE"), world.send("OPTIONS")
    world.answer(options, 200)
    world.answer(invite, 180)
    told = [e.transaction for _, e in world.events if isinstance(e, ResponseReceived)]
    assert told == [options, invite]


@pytest.mark.rfc("3261", "17.1.3", "18.1.2")
def test_a_response_with_another_method_or_branch_is_stray() -> None:
    world = World()
    transaction = world.send("OPTIONS")
    response = Response.to_request(transaction.request, 200)
    for name, value in (
        ("CSeq", "1 INVITE"),
        ("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKelse"),
        ("Via", "SIP/2.0/UDP 192.0.2.1:5060"),
    ):
        other = response.copy()
        other.set(name, value)
        world.receive(other)
    assert all(isinstance(event, StrayResponse) for _, event in world.events)
    assert world.layer.strays == 3
    assert transaction.state is State.TRYING


@pytest.mark.rfc("6026", "7.2")
@pytest.mark.rfc("3261", "17.1.3")
def test_a_response_after_the_end_is_stray() -> None:
    world = World()
    transaction = world.send()
    request = transaction.request
    world.run_until(40)
    world.receive(Response.to_request(request, 200, to_tag="b"))
    assert isinstance(world.events[-1][1], StrayResponse)
    assert world.times("ACK") == []


@pytest.mark.rfc("3261", "18.1.2")
@pytest.mark.parametrize(
    "head",
    [
        "OPTIONS sip:b SIP/2.0",
        "ACK sip:b SIP/2.0",
        "ACK sip:b SIP/2.0\r\nVia: nonsense",
        "SIP/2.0 200 OK",
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx",
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nCSeq: INVITE",
        "SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\nVia: ,,,",
    ],
)
def test_what_cannot_be_matched_is_dropped(head: str) -> None:
    world = World()
    world.layer.receive_message(parse_message(f"{head}\r\n\r\n".encode()), world.flow, 0.0)
    world.drain()
    assert world.layer.dropped == 1
    assert world.events == world.sent == []


@pytest.mark.parametrize("via", ["nonsense", "", "SIP/2.0/UDP", "SIP/2.0/UDP 192.0.2.15;;,;,,"])
@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "CANCEL"])
def test_a_request_whose_via_cannot_be_read_is_answered_where_it_came_from(
    method: str, via: str
) -> None:
    world = World()
    wire = f"{method} sip:b SIP/2.0\r\nVia: {via}\r\n\r\n".encode()
    world.layer.receive_message(parse_message(wire), world.flow, 0.0)
    event = world.layer.next_event()
    assert isinstance(event, UnreadableRequest)
    refusal = Response.to_request(event.request, 400, to_tag="t")
    world.layer.reply_stateless(event.request, event.flow, refusal)
    assert world.layer.data_to_send() == [(bytes(refusal), world.flow)]
    assert len(world.layer) == 0


@pytest.mark.parametrize("via", ["SIP/2.0/UDP h;branch=z9hG4bKx", OLD_VIAS[0]])
@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "CANCEL", "ACK"])
def test_a_request_with_nothing_but_a_via_can_still_be_answered(method: str, via: str) -> None:
    world = World()
    request = parse_message(f"{method} sip:b SIP/2.0\r\nVia: {via}\r\n\r\n".encode())
    assert isinstance(request, Request)
    world.receive(request)
    if method == "ACK":
        assert isinstance(world.events[-1][1], AckReceived)
        return
    event = requests(world)[-1]
    refusal = Response.to_request(
        event.request, 400, to_tag=world.layer.stateless_tag(event.request)
    )
    world.layer.reply_stateless(event.request, event.flow, refusal)
    world.drain()
    assert world.sent_at(0.0) == ["400"]


# --- Via ---------------------------------------------------------------------------------------

NAT = Flow("udp", US, ("203.0.113.7", 40112))


@pytest.mark.rfc("3581", "4")
@pytest.mark.rfc("3261", "18.2.1", "18.2.2")
@pytest.mark.parametrize(
    ("via", "completed", "reply_to"),
    [
        # RFC 3261 §18.2.1: received when the host differs; the answer goes to the sent-by port.
        ("UDP 10.0.0.1;branch=z9hG4bKx", "received=203.0.113.7", ("203.0.113.7", 5060)),
        ("UDP 10.0.0.1:5080;branch=z9hG4bKx", "received=203.0.113.7", ("203.0.113.7", 5080)),
        ("UDP 203.0.113.7:5080;branch=z9hG4bKx", None, ("203.0.113.7", 5080)),
        # RFC 3581 §4: with rport, received always, and the answer goes back to where it came from.
        ("UDP 203.0.113.7;rport;branch=z9hG4bKx", "received=203.0.113.7", NAT.remote),
        ("UDP 10.0.0.1;branch=z9hG4bKx;rport", "received=203.0.113.7", NAT.remote),
        ('UDP 10.0.0.1;branch=z9hG4bKx;rport;x=";rport;"', "received=203.0.113.7", NAT.remote),
        ("UDP 10.0.0.1;branch=z9hG4bKx; RPORT ;a=b", "received=203.0.113.7", NAT.remote),
        # What the sender says about itself is overwritten.
        ("UDP 10.0.0.1;rport=9;branch=z9hG4bKx", "received=203.0.113.7", NAT.remote),
        ("UDP 10.0.0.1;rport;received=9.9.9.9;branch=z9hG4bKx", "received=203.0.113.7", NAT.remote),
        ("UDP 10.0.0.1;received=9.9.9.9;branch=z9hG4bKx", "received=203.0.113.7", None),
        # §18.2.2: maddr goes first, if it is an address.
        ("UDP 10.0.0.1;maddr=224.0.1.75;branch=z9hG4bKx", "received=", ("224.0.1.75", 5060)),
        ("UDP 10.0.0.1;maddr=evil.example;rport;branch=z9hG4bKx", "received=", NAT.remote),
    ],
)
def test_where_a_request_came_from_and_its_answer_goes(
    via: str, completed: str | None, reply_to: tuple[str, int] | None
) -> None:
    world = World()
    request = with_via(f"SIP/2.0/{via}, SIP/2.0/TCP below;branch=z9hG4bKb")
    world.receive(request, NAT)
    event = requests(world)[0]
    assert event.flow == NAT
    top, below = event.request.vias
    assert str(below) == "SIP/2.0/TCP below;branch=z9hG4bKb"
    assert top.branch == "z9hG4bKx"
    if completed is None:
        assert top.received is None
    else:
        assert completed in str(top)
        assert "9.9.9.9" not in str(top)
    if top.has_rport:
        assert top.rport == 40112
    transaction = world.layer.accept(event.request, event.flow, 0.0)
    world.respond(transaction, 200, event.request)
    expected = reply_to or ("203.0.113.7", 5060)
    assert [flow.remote for _, _, flow in world.sent] == [expected]
    # A retransmission is answered there as well.
    world.receive(request, NAT)
    assert [flow.remote for _, _, flow in world.sent] == [expected, expected]


@pytest.mark.rfc("3261", "18.2.1")
def test_an_ipv6_source_is_noted_without_brackets() -> None:
    world = World()
    flow = Flow("udp", ("2001:db8::1", 5060), ("2001:db8::2", 5070))
    world.receive(with_via("SIP/2.0/UDP [2001:db8::9]:5060;rport;branch=z9hG4bKx"), flow)
    top = requests(world)[0].request.top_via
    assert "received=2001:db8::2" in str(top)
    assert top.rport == 5070


@pytest.mark.rfc("3261", "18.2.2")
@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
def test_over_a_stream_the_answer_takes_the_same_connection(transport: str) -> None:
    world = World()
    flow = Flow(transport, US, ("203.0.113.7", 40112), 12)
    world.receive(with_via("SIP/2.0/TCP 10.0.0.1:5080;branch=z9hG4bKx"), flow)
    event = requests(world)[0]
    transaction = world.layer.accept(event.request, event.flow, 0.0)
    world.respond(transaction, 200, event.request)
    assert [where for _, _, where in world.sent] == [flow]


@pytest.mark.rfc("3261", "8.1.1", "18.1.1")
def test_our_own_via_names_the_transport() -> None:
    for transport in ("udp", "tcp", "tls", "ws", "wss"):
        world = World(transport)
        transaction = world.send("OPTIONS")
        assert transaction.request.top_via.transport == transport.upper()


# --- without a transaction ---------------------------------------------------------------------


@pytest.mark.rfc("3261", "8.2.7")
def test_stateless_answers_have_the_same_tag_each_time() -> None:
    world = World()
    tags = []
    for branch in ("z9hG4bKone", "z9hG4bKone", "z9hG4bKtwo"):
        world.receive(from_peer("OPTIONS", branch))
        event = requests(world)[-1]
        tags.append(world.layer.stateless_tag(event.request))
        response = Response.to_request(event.request, 401, to_tag=tags[-1])
        world.layer.reply_stateless(event.request, event.flow, response)
    world.drain()
    assert tags[0] == tags[1] != tags[2]
    assert [message.to_tag for _, message, _ in world.sent] == tags
    assert len(world.layer) == 0
    other = TransactionLayer(tokens=Tokens.deterministic(2))
    assert other.stateless_tag(requests(world)[0].request) != tags[0]


def test_an_ack_for_a_2xx_gets_a_via_once() -> None:
    world = World()
    ack = make_request("ACK", to_tag="b1")
    world.layer.send_ack(ack, world.target)
    world.layer.send_ack(ack, world.target)
    world.drain()
    first, second = (message for _, message, _ in world.sent)
    assert first == second
    assert len(first.vias) == 1
    assert len(world.layer) == 0


def test_send_message_sends_it_as_it_is() -> None:
    world = World()
    ack = from_peer("ACK")
    world.layer.send_message(ack, NAT)
    assert world.layer.data_to_send() == [(bytes(ack), NAT)]
    assert world.layer.data_to_send() == []


# --- failures and bounds -----------------------------------------------------------------------


@pytest.mark.rfc("3261", "17.1.4")
def test_a_transport_failure_concerns_its_flow_only() -> None:
    world = World()
    ours = world.send("OPTIONS")
    elsewhere = world.target._replace(flow=world.flow._replace(remote=("192.0.2.9", 5060)))
    other = world.layer.send_request(make_request("OPTIONS"), elsewhere, 0.0)
    world.fail()
    failed = [e for _, e in world.events if isinstance(e, TransportFailed)]
    assert [(e.transaction, e.error) for e in failed] == [(ours, "unreachable")]
    assert other.state is State.TRYING
    world.fail()
    assert len([e for _, e in world.events if isinstance(e, TransportFailed)]) == 1


def test_above_the_limit_requests_get_503_without_a_transaction() -> None:
    world = World(max_transactions=2)
    first = from_peer("OPTIONS", "z9hG4bK1")
    world.accept(first)
    invite = from_peer("INVITE", "z9hG4bK2")
    world.accept(invite)
    world.receive(from_peer("OPTIONS", "z9hG4bK3"))
    assert world.sent_at(0.0) == ["503"]
    assert world.sent[0][1].get("Retry-After") == "10"
    assert world.sent[0][1].to_tag
    assert world.layer.refused == 1
    assert len(requests(world)) == 2
    # What belongs to a transaction that exists still gets through.
    world.receive(first)
    world.receive(from_peer("CANCEL", "z9hG4bK2"))
    assert requests(world)[-1].invite is not None
    world.receive(from_peer("ACK", "z9hG4bK9"))
    assert isinstance(world.events[-1][1], AckReceived)
    assert len(world.layer) == 2


@pytest.mark.rfc("3261", "8.2.2")
def test_a_request_that_came_by_another_way_is_merged() -> None:
    world = World()
    transaction = world.accept(from_peer("INVITE", "z9hG4bK1"))
    copy = from_peer("INVITE", "z9hG4bK2")
    assert world.layer.is_merged(copy)
    assert not world.layer.is_merged(from_peer("INVITE", "z9hG4bK1"))
    assert not world.layer.is_merged(from_peer("INVITE", "z9hG4bK3", to_tag="b1"))
    assert not world.layer.is_merged(from_peer("INVITE", "z9hG4bK3", number=2))
    world.respond(transaction, 200, from_peer("INVITE", "z9hG4bK1"))
    assert world.layer.is_merged(copy)
    world.run_until(32)
    assert not world.layer.is_merged(copy)


def test_a_proxy_does_without_merge_detection() -> None:
    world = World(detect_merged=False)
    world.accept(from_peer("INVITE", "z9hG4bK1"))
    assert not world.layer.is_merged(from_peer("INVITE", "z9hG4bK2"))


def test_nothing_is_left_of_many_transactions() -> None:
    world = World()
    for number in range(500):
        request = from_peer("REGISTER", f"z9hG4bK{number}", number=number + 1)
        transaction = world.accept(request)
        world.respond(transaction, 200, request)
        world.answer(world.send("OPTIONS"), 200)
        world.now += 0.001
    assert len(world.layer) == 1000
    world.run_until(40)
    assert len(world.layer) == 0
    assert world.layer.next_timer() is None
    layer = world.layer
    assert not (layer._by_flow or layer._merge_keys or layer._clients or layer._servers)
    assert not layer._invites_2543


def spoiled(data: bytes, chance: random.Random) -> bytes:
    """The message with some lines dropped, doubled, emptied or scrambled."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    spoiled: list[bytes] = []
    for line in lines:
        name, _, value = line.partition(b":")
        junk = bytes(chance.randrange(32, 256) for _ in range(chance.randrange(12)))
        at = chance.randrange(len(value) + 1)
        spoiled += chance.choice(
            [[line]] * 14
            + [[], [line, line], [name + b": "], [name + b": " + junk]]
            + [[name + b":" + value[:at] + junk + value[at:]]]
        )
    return b"\r\n".join((first, *spoiled)) + b"\r\n\r\n" + body


@pytest.mark.parametrize("seed", range(20))
def test_no_message_of_a_peer_makes_it_raise(seed: int) -> None:
    chance = random.Random(seed)
    world = World(chance.choice(("udp", "tcp")))
    passed = 0
    for _ in range(150):
        method = chance.choice(("INVITE", "OPTIONS", "CANCEL", "ACK", "BYE"))
        if chance.random() < 0.5:
            wire = bytes(from_peer(method, chance.choice(("z9hG4bK1", "z9hG4bK2", "3"))))
        else:
            client = world.send("INVITE" if method == "INVITE" else "OPTIONS")
            status = chance.choice((100, 180, 200, 302, 486))
            wire = bytes(Response.to_request(client.request, status, to_tag="b"))
        try:
            message = parse_message(spoiled(wire, chance))
        except SipParseError:
            continue
        world.layer.receive_message(message, world.flow, world.now)
        while (event := world.layer.next_event()) is not None:
            passed += 1
            if isinstance(event, RequestReceived):
                world.layer.is_merged(event.request)
                transaction = world.layer.accept(event.request, event.flow, world.now)
                if chance.random() < 0.7:
                    refusal = Response.to_request(event.request, 400, to_tag="t")
                    world.layer.respond(transaction, refusal, world.now)
        world.layer.data_to_send()
        world.now += 0.05
        world.layer.handle_timer(world.now)
    assert passed > 20
    for transaction in list(world.layer._servers.values()):
        refusal = Response(500)
        world.layer.respond(transaction, refusal, world.now)
    for client in list(world.layer._clients.values()):
        world.layer.transport_failed(client.flow, "gone", world.now)
    world.now += 100
    world.layer.handle_timer(world.now)
    world.layer.handle_timer(world.now + 100)


# --- two layers --------------------------------------------------------------------------------


@pytest.mark.rfc("3261", "17.1.1", "17.1.2", "17.2.1", "17.2.2")
@pytest.mark.parametrize("seed", range(8))
def test_two_layers_get_through_a_network_that_loses_three_of_ten(seed: int) -> None:
    chance = random.Random(seed)
    here, there = World(), World()
    here_flow, there_flow = Flow("udp", US, PEER), Flow("udp", PEER, US)
    pending = {"INVITE": 486, "OPTIONS": 200, "MESSAGE": 202}
    done: dict[str, int] = {}
    for method in pending:
        here.layer.send_request(make_request(method), here.target, 0.0)
    now = 0.0
    while now < 70:
        for source, sink, flow in ((here, there, there_flow), (there, here, here_flow)):
            for data, _ in source.layer.data_to_send():
                if chance.random() > 0.3:
                    sink.layer.receive_message(parse_message(data), flow, now)
        while (event := there.layer.next_event()) is not None:
            if isinstance(event, RequestReceived):
                request = event.request
                transaction = there.layer.accept(request, event.flow, now)
                response = Response.to_request(request, pending[request.method], to_tag="t")
                there.layer.respond(transaction, response, now)
        while (told := here.layer.next_event()) is not None:
            if isinstance(told, ResponseReceived) and told.response.status >= 200:
                assert told.transaction.method not in done
                done[told.transaction.method] = told.response.status
        now += 0.01
        here.layer.handle_timer(now)
        there.layer.handle_timer(now)
    assert done == pending
    assert len(here.layer) == len(there.layer) == 0


# --- alarms ------------------------------------------------------------------------------------


def test_alarms_fire_in_the_order_of_time() -> None:
    chance = random.Random(5)
    alarms = AlarmQueues()
    due = []
    stopped = set()
    for number in range(1000):
        now = number * 0.01
        alarm = alarms.start(chance.choice((0.5, 1.0, 2.0, 4.0, 32.0)), now, number, "x")
        if chance.random() < 0.5:
            alarm.stop()
            stopped.add(number)
        else:
            due.append((alarm.due, number))
    fired = []
    while (next_due := alarms.next_due()) is not None:
        assert alarms.pop_due(next_due - 0.0001) is None
        alarm = alarms.pop_due(next_due)
        assert alarm is not None
        fired.append((alarm.due, alarm.owner))
    assert [at for at, _ in fired] == sorted(at for at, _ in due)
    assert sorted(fired) == sorted(due)
