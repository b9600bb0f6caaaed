"""Client transactions: exact times, ACK, CANCEL (RFC 3261 §17.1, §9.1; RFC 6026 §7.2)."""

import pytest

from rcsops.errors import LocalProtocolError
from rcsops.sip import (
    ClientTransaction,
    InviteClientTransaction,
    Request,
    Response,
    ResponseReceived,
    State,
    TimedOut,
    Timers,
)
from tests.unit.sip.sim import World, make_request


def last_sent(world: World) -> Request:
    message = world.sent[-1][1]
    assert isinstance(message, Request)
    return message


@pytest.mark.rfc("3261", "17.1.1")
def test_timer_a_doubles_without_a_cap_until_timer_b() -> None:
    world = World()
    transaction = world.send()
    world.run_until(100)
    assert world.times("INVITE") == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert [(at, type(event).__name__) for at, event in world.events] == [
        (32.0, "TimedOut"),
        (32.0, "Terminated"),
    ]
    assert transaction.terminated
    assert len(world.layer) == 0


@pytest.mark.rfc("3261", "17.1.2")
def test_timer_e_doubles_up_to_t2_until_timer_f() -> None:
    world = World()
    world.send("OPTIONS")
    world.run_until(100)
    assert world.times("OPTIONS") == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert world.told_at(32.0) == ["TimedOut", "Terminated"]


@pytest.mark.rfc("3261", "17.1.2")
def test_timer_e_is_t2_after_a_provisional_response() -> None:
    world = World()
    transaction = world.send("OPTIONS")
    world.run_until(0.6)
    world.answer(transaction, 100)
    world.run_until(33)
    assert world.times("OPTIONS") == [0, 0.5, 1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5]
    assert world.told_at(32.0) == ["TimedOut", "Terminated"]


@pytest.mark.rfc("3261", "17.1.1")
def test_an_invite_that_rings_waits_for_ever() -> None:
    world = World()
    transaction = world.send()
    world.answer(transaction, 180)
    assert world.layer.next_timer() is None
    world.run_until(7200)
    assert world.times("INVITE") == [0]
    assert transaction.state is State.PROCEEDING


@pytest.mark.rfc("3261", "17.1.1", "17.1.2")
@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_nothing_is_resent_over_a_reliable_transport(method: str) -> None:
    world = World("tcp")
    world.send(method)
    world.run_until(40)
    assert world.times(method) == [0]
    assert world.told_at(32.0) == ["TimedOut", "Terminated"]


@pytest.mark.rfc("3261", "17.1.1", "17.1.2")
def test_reliable_transports_do_not_linger() -> None:
    world = World("tls")
    for method, status, told in (
        ("OPTIONS", 200, ["ResponseReceived", "Terminated"]),
        ("INVITE", 486, ["ResponseReceived", "Terminated"]),
        ("INVITE", 200, ["ResponseReceived"]),
    ):
        world.events.clear()
        transaction = world.send(method)
        world.answer(transaction, status)
        assert world.told_at(world.now) == told
    world.run_until(world.now + 32)
    assert world.told_at(world.now) == ["Terminated"]  # timer M runs on every transport
    assert len(world.layer) == 0


@pytest.mark.rfc("3261", "17.1.1", "17.1.2")
def test_completed_absorbs_a_response_that_comes_again() -> None:
    world = World()
    transaction = world.send("OPTIONS")
    world.answer(transaction, 200)
    world.answer(transaction, 200)
    world.answer(transaction, 404)
    assert [type(event) for _, event in world.events] == [ResponseReceived]
    world.run_until(5)
    assert world.told_at(5) == ["Terminated"]


@pytest.mark.rfc("6026", "7.2")
def test_accepted_passes_every_2xx_and_nothing_else() -> None:
    world = World()
    transaction = world.send()
    for status, tag in ((200, "b1"), (200, "b2"), (180, "b3"), (486, "b4"), (200, "b1")):
        world.answer(transaction, status, tag)
    passed = [event.response.to_tag for _, event in world.events]  # type: ignore[union-attr]
    assert passed == ["b1", "b2", "b1"]
    assert world.times("ACK") == []


@pytest.mark.rfc("3261", "17.1.1")
def test_the_ack_for_a_refusal_repeats_the_invite() -> None:
    world = World()
    transaction = world.send()
    world.answer(transaction, 486, "b9")
    ack = last_sent(world)
    invite = transaction.request
    assert (ack.method, ack.uri) == ("ACK", invite.uri)
    assert [str(via) for via in ack.vias] == [str(invite.top_via)]
    assert ack.get_all("Route") == invite.get_all("Route")
    assert ack.get("From") == invite.get("From")
    assert ack.to_tag == "b9"
    assert ack.call_id == invite.call_id
    assert ack.cseq == (1, "ACK")
    assert world.sent[-1][2] == world.flow


@pytest.mark.rfc("3261", "17.1.1")
def test_each_refusal_that_comes_again_gets_the_same_ack() -> None:
    world = World()
    transaction = world.send()
    world.answer(transaction, 486)
    # The TU may now rewrite the request for its next attempt; the ACK must not follow.
    transaction.request.set("CSeq", "2 INVITE")
    world.answer(transaction, 486)
    acks = [bytes(message) for _, message, _ in world.sent[1:]]
    assert len(acks) == 2
    assert acks[0] == acks[1]


def test_last_response_is_what_was_passed_up() -> None:
    world = World()
    transaction = world.send()
    assert transaction.last_response is None
    world.answer(transaction, 180)
    assert transaction.last_response is not None
    assert transaction.last_response.status == 180


def cancel(world: World, transaction: ClientTransaction, reason: str | None = None) -> bool:
    done = world.layer.cancel(transaction, world.now, reason)
    world.drain()
    return done


@pytest.mark.rfc("3261", "9.1")
def test_cancel_waits_for_the_first_provisional_response() -> None:
    world = World()
    transaction = world.send()
    assert cancel(world, transaction, 'SIP;cause=200;text="Call completed elsewhere"')
    assert world.times("CANCEL") == []
    world.run_until(0.3)
    world.answer(transaction, 100)
    assert world.times("CANCEL") == [0.3]
    message, invite = last_sent(world), transaction.request
    assert [str(via) for via in message.vias] == [str(invite.top_via)]
    assert message.uri == invite.uri
    assert message.get("To") == invite.get("To")
    assert message.get("From") == invite.get("From")
    assert message.call_id == invite.call_id
    assert message.cseq == (1, "CANCEL")
    assert message.get_all("Route") == invite.get_all("Route")
    assert message.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'


@pytest.mark.rfc("3261", "9.1")
def test_cancel_is_not_sent_after_a_final_response() -> None:
    world = World()
    transaction = world.send()
    cancel(world, transaction)
    world.answer(transaction, 486)
    assert world.times("CANCEL") == []
    assert not cancel(world, transaction)
    world.run_until(40)
    assert world.times("CANCEL") == []


@pytest.mark.rfc("3261", "9.1")
def test_cancel_is_its_own_transaction_and_the_tu_does_not_see_it() -> None:
    world = World()
    transaction = world.send()
    world.answer(transaction, 180)
    world.events.clear()
    assert cancel(world, transaction)
    assert cancel(world, transaction)
    world.run_until(0.5)
    assert world.times("CANCEL") == [0, 0.5]
    world.receive(Response.to_request(last_sent(world), 200))
    world.run_until(3)
    assert world.times("CANCEL") == [0, 0.5]
    assert world.events == []
    world.answer(transaction, 487)
    assert world.told_at(3) == ["ResponseReceived"]
    assert world.sent_at(3) == ["ACK"]


@pytest.mark.rfc("3261", "9.1")
def test_a_cancelled_invite_is_given_up_after_64_t1() -> None:
    world = World()
    transaction = world.send()
    world.answer(transaction, 180)
    world.run_until(60)
    cancel(world, transaction)
    world.run_until(91.999)
    assert isinstance(transaction, InviteClientTransaction)
    assert transaction.state is State.PROCEEDING
    world.run_until(92)
    assert world.told_at(92) == ["TimedOut", "Terminated"]


def test_a_200_that_crosses_the_cancel_is_passed_up() -> None:
    world = World()
    transaction = world.send()
    world.answer(transaction, 180)
    cancel(world, transaction)
    world.answer(transaction, 200)
    assert transaction.state is State.ACCEPTED


def test_only_an_invite_can_be_cancelled() -> None:
    world = World()
    transaction = world.send("OPTIONS")
    with pytest.raises(LocalProtocolError):
        world.layer.cancel(transaction, 0.0)


def test_timers_belong_to_the_instance() -> None:
    world = World(timers=Timers(t1=0.01, t2=0.04, t4=0.05))
    transaction = world.send("OPTIONS")
    world.run_until(1)
    assert world.times("OPTIONS")[:5] == [0, 0.01, 0.03, 0.07, 0.11]
    assert transaction.terminated
    assert isinstance(world.events[0][1], TimedOut)
    assert world.events[0][0] == pytest.approx(0.64)


@pytest.mark.rfc("3261", "8.1.1", "18.1.1")
def test_a_request_gets_our_via_on_top() -> None:
    world = World("tcp")
    request = make_request()
    request.prepend("Via", "SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKbelow")
    world.layer.send_request(request, world.target, 0.0)
    world.drain()
    top, below = last_sent(world).vias
    assert (top.transport, top.host, top.port) == ("TCP", "192.0.2.1", 5060)
    assert top.has_rport
    assert top.branch is not None
    assert top.branch.startswith("z9hG4bK")
    assert below.branch == "z9hG4bKbelow"
