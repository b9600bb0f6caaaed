"""Server transactions: exact times, RFC 4320, RFC 6026 (RFC 3261 §17.2)."""

import pytest

from rcsops.errors import LocalProtocolError
from rcsops.sip import AckReceived, InviteServerTransaction, Response, State
from tests.unit.sip.sim import World, from_peer


@pytest.mark.rfc("3261", "17.2.1")
def test_an_invite_is_answered_100_after_200_ms() -> None:
    world = World()
    request = from_peer()
    request.add("Timestamp", "54")
    transaction = world.accept(request)
    world.run_until(0.199)
    assert world.sent == []
    world.run_until(0.2)
    assert world.sent_at(0.2) == ["100"]
    trying = world.sent[-1][1]
    assert trying.to_tag is None
    assert trying.get("Timestamp") == "54"
    assert transaction.status == 100
    world.run_until(60)
    assert len(world.sent) == 1


@pytest.mark.rfc("3261", "17.2.1")
@pytest.mark.parametrize("status", [180, 200, 486])
def test_an_answer_within_200_ms_saves_the_100(status: int) -> None:
    world = World("tcp")
    request = from_peer()
    transaction = world.accept(request)
    world.now = 0.1
    world.respond(transaction, status, request)
    world.run_until(10)
    assert world.times("100") == []


def test_trying_sends_100_at_once_and_only_once() -> None:
    world = World()
    transaction = world.accept(from_peer())
    assert transaction.trying(0.0)
    assert not transaction.trying(0.0)
    world.drain()
    world.run_until(10)
    assert world.times("100") == [0]


@pytest.mark.rfc("3261", "17.2.1")
def test_a_retransmitted_invite_gets_the_newest_response_again() -> None:
    world = World()
    request = from_peer()
    transaction = world.accept(request)
    world.receive(request)
    assert world.sent == []
    for status in (180, 183):
        world.respond(transaction, status, request)
    world.sent.clear()
    world.receive(request)
    assert world.sent_at(0.0) == ["183"]
    assert len(world.events) == 1


@pytest.mark.rfc("3261", "17.2.1")
def test_timer_g_doubles_up_to_t2_until_timer_h() -> None:
    world = World()
    request = from_peer()
    transaction = world.accept(request)
    world.respond(transaction, 486, request)
    world.run_until(100)
    assert world.times("486") == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert world.told_at(32.0) == ["TimedOut", "Terminated"]


@pytest.mark.rfc("3261", "17.2.1")
def test_a_refusal_over_tcp_is_sent_once_and_still_waits_for_its_ack() -> None:
    world = World("tcp")
    request = from_peer()
    transaction = world.accept(request)
    world.respond(transaction, 486, request)
    world.run_until(31.9)
    assert world.times("486") == [0]
    assert transaction.state is State.COMPLETED
    world.receive(world.ack(request))
    assert world.told_at(world.now) == ["Terminated"]  # timer I is zero
    assert len(world.layer) == 0


@pytest.mark.rfc("3261", "17.2.1")
def test_the_ack_stops_timer_g_and_is_not_passed_up() -> None:
    world = World()
    request = from_peer()
    transaction = world.accept(request)
    world.respond(transaction, 486, request)
    world.run_until(1)
    world.receive(world.ack(request))
    world.receive(world.ack(request))
    assert transaction.state is State.CONFIRMED
    world.run_until(5.999)
    assert world.times("486") == [0, 0.5]
    assert transaction.state is State.CONFIRMED
    world.run_until(6)
    assert [type(event).__name__ for _, event in world.events] == ["RequestReceived", "Terminated"]


@pytest.mark.rfc("6026", "7.1")
def test_a_2xx_is_left_to_the_tu_and_invites_are_absorbed() -> None:
    world = World()
    request = from_peer()
    transaction = world.accept(request)
    world.respond(transaction, 200, request)
    world.run_until(3)
    world.receive(request)
    assert world.times("200") == [0]
    assert world.respond(transaction, 200, request)
    assert world.times("200") == [0, 3]
    assert not world.respond(transaction, 486, request)
    ack = world.ack(request)
    world.receive(ack)
    assert isinstance(world.events[-1][1], AckReceived)
    world.run_until(32)
    assert world.told_at(32) == ["Terminated"]


def test_after_a_final_response_no_other_goes_out() -> None:
    world = World()
    for method in ("INVITE", "OPTIONS"):
        request = from_peer(method)
        transaction = world.accept(request)
        assert world.respond(transaction, 404, request)
        world.sent.clear()
        for status in (180, 200, 500):
            assert not world.respond(transaction, status, request)
        assert world.sent == []


@pytest.mark.rfc("4320", "4.1")
def test_100_to_other_than_invite_comes_at_3_5_seconds_on_udp() -> None:
    world = World()
    request = from_peer("OPTIONS")
    transaction = world.accept(request)
    assert not world.respond(transaction, 100, request)
    assert not transaction.trying(0.0)
    world.receive(request)
    assert world.sent == []
    world.run_until(3.5)
    assert world.sent_at(3.5) == ["100"]
    world.receive(request)
    assert world.times("100") == [3.5, 3.5]
    assert world.respond(transaction, 100, request)


@pytest.mark.rfc("4320", "4.1")
def test_100_to_other_than_invite_may_come_earlier_on_tcp() -> None:
    world = World("tcp")
    request = from_peer("OPTIONS")
    transaction = world.accept(request)
    assert world.respond(transaction, 100, request)
    world.run_until(10)
    assert world.times("100") == [0]


@pytest.mark.rfc("4320", "4.1")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_on_every_transport_100_is_due_when_there_is_no_answer(transport: str) -> None:
    world = World(transport)
    world.accept(from_peer("OPTIONS"))
    world.run_until(10)
    assert world.times("100") == [3.5]


@pytest.mark.rfc("4320", "4.1")
def test_no_other_provisional_response_goes_to_other_than_invite() -> None:
    world = World("tcp")
    request = from_peer("OPTIONS")
    transaction = world.accept(request)
    assert not world.respond(transaction, 183, request)
    world.run_until(5)
    assert not world.respond(transaction, 183, request)
    assert world.times("183") == []


@pytest.mark.rfc("4320", "4.2")
def test_408_is_never_sent_to_other_than_invite() -> None:
    world = World()
    request = from_peer("OPTIONS")
    transaction = world.accept(request)
    world.run_until(31)
    world.sent.clear()
    assert world.respond(transaction, 408, request)
    assert transaction.status == 408
    world.receive(request)
    assert world.sent == []
    world.run_until(63)
    assert world.told_at(63) == ["Terminated"]


@pytest.mark.rfc("4320", "4.2")
def test_408_before_the_100_is_silence_as_well() -> None:
    world = World()
    request = from_peer("OPTIONS")
    transaction = world.accept(request)
    assert world.respond(transaction, 408, request)
    assert transaction.status == 408
    world.run_until(40)
    assert world.sent == []


@pytest.mark.rfc("4320", "4.2")
def test_408_to_an_invite_is_sent() -> None:
    world = World()
    request = from_peer()
    transaction = world.accept(request)
    world.respond(transaction, 408, request)
    assert world.sent_at(0.0) == ["408"]


@pytest.mark.rfc("3261", "17.2.2")
def test_a_completed_transaction_keeps_its_response_and_no_more() -> None:
    world = World()
    request = from_peer("REGISTER")
    transaction = world.accept(request)
    assert transaction.request.method == "REGISTER"
    world.respond(transaction, 200, request)
    with pytest.raises(LocalProtocolError):
        _ = transaction.request
    assert transaction.last_response is None
    assert (transaction.method, transaction.status) == ("REGISTER", 200)
    world.run_until(31.9)
    world.receive(request)
    assert world.sent_at(31.9) == ["200"]
    world.run_until(32)
    assert world.told_at(32) == ["Terminated"]
    assert len(world.layer) == 0


@pytest.mark.rfc("3261", "17.2.2")
def test_over_tcp_a_non_invite_transaction_ends_with_its_answer() -> None:
    world = World("tcp")
    request = from_peer("OPTIONS")
    transaction = world.accept(request)
    world.respond(transaction, 200, request)
    assert world.told_at(0.0) == ["RequestReceived", "Terminated"]
    assert len(world.layer) == 0
    assert world.layer.next_timer() is None


@pytest.mark.rfc("3261", "17.2.4", "18.2.2")
def test_a_lost_connection_is_replaced_by_a_new_one_to_the_sent_by() -> None:
    world = World("tcp")
    request = from_peer()
    transaction = world.accept(request)
    assert isinstance(transaction, InviteServerTransaction)
    world.respond(transaction, 180, request)
    world.sent.clear()
    world.fail()
    (at, message, flow) = world.sent[0]
    assert (at, isinstance(message, Response)) == (0.0, True)
    assert (flow.remote, flow.connection) == (("192.0.2.2", 5060), 0)
    assert world.told_at(0.0) == ["RequestReceived"]
    world.respond(transaction, 200, request)
    assert world.sent[-1][2] == flow
    world.layer.transport_failed(flow, "refused", 1.0)
    world.now = 1.0
    world.drain()
    assert world.told_at(1.0) == ["TransportFailed"]
    assert transaction.state is State.ACCEPTED
