"""Every arrow of figures 5 to 8 of RFC 3261, as amended by RFC 6026 and RFC 4320.

The list below is written from the figures, not from the tables: a test holds the two together, and
each arrow is driven through the layer on UDP, at its exact time if a timer fires.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from rcsops.sip import (
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    On,
    Request,
    ServerTransaction,
    State,
    Transaction,
)
from tests.unit.sip.sim import World, from_peer

CALLING, TRYING, PROCEEDING = State.CALLING, State.TRYING, State.PROCEEDING
COMPLETED, CONFIRMED = State.COMPLETED, State.CONFIRMED
ACCEPTED, TERMINATED = State.ACCEPTED, State.TERMINATED

ICT, NICT = InviteClientTransaction, NonInviteClientTransaction
IST, NIST = InviteServerTransaction, NonInviteServerTransaction

TO_TU = "ResponseReceived"
OVER = "Terminated"
TIMEOUT = "TimedOut"
ERROR = "TransportFailed"


class Case(NamedTuple):
    machine: type[Transaction]
    state: State
    on: On
    to: State
    sent: list[str]
    told: list[str]


CASES = [
    # Figure 5, INVITE client, with Accepted and timer M of RFC 6026; CANCEL by §9.1.
    Case(ICT, CALLING, On.TIMER_A, CALLING, ["INVITE"], []),
    Case(ICT, CALLING, On.TIMER_B, TERMINATED, [], [TIMEOUT, OVER]),
    Case(ICT, CALLING, On.TRANSPORT_ERROR, TERMINATED, [], [ERROR, OVER]),
    Case(ICT, CALLING, On.RESPONSE_1XX, PROCEEDING, [], [TO_TU]),
    Case(ICT, CALLING, On.RESPONSE_2XX, ACCEPTED, [], [TO_TU]),
    Case(ICT, CALLING, On.RESPONSE_300_699, COMPLETED, ["ACK"], [TO_TU]),
    Case(ICT, PROCEEDING, On.RESPONSE_1XX, PROCEEDING, [], [TO_TU]),
    Case(ICT, PROCEEDING, On.RESPONSE_2XX, ACCEPTED, [], [TO_TU]),
    Case(ICT, PROCEEDING, On.RESPONSE_300_699, COMPLETED, ["ACK"], [TO_TU]),
    Case(ICT, PROCEEDING, On.CANCELLED, PROCEEDING, ["CANCEL"], []),
    Case(ICT, PROCEEDING, On.TIMER_CANCEL, TERMINATED, [], [TIMEOUT, OVER]),
    # Ours: a connection that dies while it rings.
    Case(ICT, PROCEEDING, On.TRANSPORT_ERROR, PROCEEDING, [], [ERROR]),
    Case(ICT, PROCEEDING, On.GIVEN_UP, TERMINATED, [], [OVER]),
    Case(ICT, COMPLETED, On.RESPONSE_300_699, COMPLETED, ["ACK"], []),
    Case(ICT, COMPLETED, On.TRANSPORT_ERROR, TERMINATED, [], [ERROR, OVER]),
    Case(ICT, COMPLETED, On.TIMER_D, TERMINATED, [], [OVER]),
    Case(ICT, ACCEPTED, On.RESPONSE_2XX, ACCEPTED, [], [TO_TU]),
    Case(ICT, ACCEPTED, On.TIMER_M, TERMINATED, [], [OVER]),
    # Figure 6, non-INVITE client.
    Case(NICT, TRYING, On.TIMER_E, TRYING, ["OPTIONS"], []),
    Case(NICT, TRYING, On.TIMER_F, TERMINATED, [], [TIMEOUT, OVER]),
    Case(NICT, TRYING, On.TRANSPORT_ERROR, TERMINATED, [], [ERROR, OVER]),
    Case(NICT, TRYING, On.RESPONSE_1XX, PROCEEDING, [], [TO_TU]),
    Case(NICT, TRYING, On.RESPONSE_200_699, COMPLETED, [], [TO_TU]),
    Case(NICT, PROCEEDING, On.TIMER_E, PROCEEDING, ["OPTIONS"], []),
    Case(NICT, PROCEEDING, On.TIMER_F, TERMINATED, [], [TIMEOUT, OVER]),
    Case(NICT, PROCEEDING, On.TRANSPORT_ERROR, TERMINATED, [], [ERROR, OVER]),
    Case(NICT, PROCEEDING, On.RESPONSE_1XX, PROCEEDING, [], [TO_TU]),
    Case(NICT, PROCEEDING, On.RESPONSE_200_699, COMPLETED, [], [TO_TU]),
    Case(NICT, COMPLETED, On.TIMER_K, TERMINATED, [], [OVER]),
    # Figure 7, INVITE server, with Accepted and timer L of RFC 6026.
    Case(IST, PROCEEDING, On.TIMER_100, PROCEEDING, ["100"], []),
    Case(IST, PROCEEDING, On.REQUEST, PROCEEDING, ["180"], []),
    Case(IST, PROCEEDING, On.RESPONSE_1XX, PROCEEDING, ["183"], []),
    Case(IST, PROCEEDING, On.RESPONSE_2XX, ACCEPTED, ["200"], []),
    Case(IST, PROCEEDING, On.RESPONSE_300_699, COMPLETED, ["486"], []),
    Case(IST, PROCEEDING, On.TRANSPORT_ERROR, PROCEEDING, [], [ERROR]),
    Case(IST, COMPLETED, On.REQUEST, COMPLETED, ["486"], []),
    Case(IST, COMPLETED, On.TIMER_G, COMPLETED, ["486"], []),
    Case(IST, COMPLETED, On.TRANSPORT_ERROR, COMPLETED, [], [ERROR]),
    Case(IST, COMPLETED, On.TIMER_H, TERMINATED, [], [TIMEOUT, OVER]),
    Case(IST, COMPLETED, On.ACK, CONFIRMED, [], []),
    Case(IST, CONFIRMED, On.TIMER_I, TERMINATED, [], [OVER]),
    Case(IST, ACCEPTED, On.REQUEST, ACCEPTED, [], []),
    Case(IST, ACCEPTED, On.ACK, ACCEPTED, [], ["AckReceived"]),
    Case(IST, ACCEPTED, On.RESPONSE_2XX, ACCEPTED, ["200"], []),
    Case(IST, ACCEPTED, On.TRANSPORT_ERROR, ACCEPTED, [], [ERROR]),
    Case(IST, ACCEPTED, On.TIMER_L, TERMINATED, [], [OVER]),
    # Figure 8, non-INVITE server, with the 100 and without the 408 of RFC 4320.
    Case(NIST, TRYING, On.TIMER_100, PROCEEDING, ["100"], []),
    Case(NIST, TRYING, On.RESPONSE_1XX, PROCEEDING, ["100"], []),
    Case(NIST, TRYING, On.RESPONSE_200_699, COMPLETED, ["200"], []),
    Case(NIST, TRYING, On.RESPONSE_408, COMPLETED, [], []),
    Case(NIST, PROCEEDING, On.REQUEST, PROCEEDING, ["100"], []),
    Case(NIST, PROCEEDING, On.RESPONSE_1XX, PROCEEDING, ["100"], []),
    Case(NIST, PROCEEDING, On.RESPONSE_200_699, COMPLETED, ["200"], []),
    Case(NIST, PROCEEDING, On.RESPONSE_408, COMPLETED, [], []),
    Case(NIST, PROCEEDING, On.TRANSPORT_ERROR, TERMINATED, [], [ERROR, OVER]),
    Case(NIST, COMPLETED, On.REQUEST, COMPLETED, ["200"], []),
    Case(NIST, COMPLETED, On.TRANSPORT_ERROR, TERMINATED, [], [ERROR, OVER]),
    Case(NIST, COMPLETED, On.TIMER_J, TERMINATED, [], [OVER]),
]

# When a timer fires, in seconds after the start below; E keeps running into Proceeding.
START = 10.0
LATER = 0.1
SINCE_START = {
    On.TIMER_A: 0.5,
    On.TIMER_B: 32.0,
    On.TIMER_E: 0.5,
    On.TIMER_F: 32.0,
    On.TIMER_100: 0.2,
}
SINCE_STATE = {
    On.TIMER_CANCEL: 32.0,
    On.TIMER_D: 32.0,
    On.TIMER_G: 0.5,
    On.TIMER_H: 32.0,
    On.TIMER_I: 5.0,
    On.TIMER_J: 32.0,
    On.TIMER_K: 5.0,
    On.TIMER_L: 32.0,
    On.TIMER_M: 32.0,
}
# How long each machine stays in the states that only wait, on UDP.
STAY = {
    (ICT, COMPLETED): 32.0,
    (ICT, ACCEPTED): 32.0,
    (NICT, COMPLETED): 5.0,
    (IST, COMPLETED): 32.0,
    (IST, CONFIRMED): 5.0,
    (IST, ACCEPTED): 32.0,
    (NIST, COMPLETED): 32.0,
}
STATUS = {
    On.RESPONSE_1XX: 183,
    On.RESPONSE_2XX: 200,
    On.RESPONSE_300_699: 486,
    On.RESPONSE_200_699: 200,
    On.RESPONSE_408: 408,
}


def test_the_cases_are_the_arrows_of_the_tables() -> None:
    for machine in (ICT, NICT, IST, NIST):
        drawn = [(arrow.state, arrow.on, arrow.to) for arrow in machine.ARROWS]
        driven = [(case.state, case.on, case.to) for case in CASES if case.machine is machine]
        assert len(set(drawn)) == len(drawn)
        assert sorted(drawn) == sorted(driven), machine.FIGURE


@pytest.mark.rfc("3261", "17.1.1", "17.1.2", "17.2.1", "17.2.2", "9.1")
@pytest.mark.rfc("6026", "7.1", "7.2")
@pytest.mark.rfc("4320", "4.1", "4.2")
@pytest.mark.parametrize(
    "case", CASES, ids=lambda c: f"{c.machine.__name__}-{c.state}-{c.on}".replace(" ", "_")
)
def test_arrow(case: Case) -> None:
    world = World("tcp" if case.on is On.RESPONSE_1XX and case.machine is NIST else "udp")
    world.now = START
    drive = drive_client if case.machine in (ICT, NICT) else drive_server
    transaction = drive(world, case)
    assert world.sent_at(world.now) == case.sent
    assert world.told_at(world.now) == case.told
    if case.to is not case.state and not transaction.terminated:
        check_stay(world, case, transaction)


def check_stay(world: World, case: Case, transaction: Transaction) -> None:
    """Whichever arrow led into a state that waits, it is left in time."""
    stay = STAY.get((case.machine, case.to))
    if stay is None:
        return
    entered = world.now
    world.run_until(entered + stay - 0.001)
    assert transaction.state is case.to
    world.run_until(entered + stay + 0.001)
    assert transaction.terminated
    assert len(world.layer) == 0


def fire(world: World, case: Case, transaction: Transaction, entered: float) -> None:
    """Let the timer of an arrow fire, and see that nothing ended a millisecond before."""
    if case.on in SINCE_STATE:
        due = entered + SINCE_STATE[case.on]
    elif case.machine is NIST:
        due = START + 3.5
    else:
        due = START + SINCE_START[case.on]
    world.run_until(due - 0.001)
    assert transaction.state is case.state
    world.run_until(due)


def drive_client(world: World, case: Case) -> Transaction:
    transaction = world.send("INVITE" if case.machine is ICT else "OPTIONS")
    assert type(transaction) is case.machine
    world.run_until(START + LATER)
    before = {PROCEEDING: [180], COMPLETED: [486], ACCEPTED: [200]}
    for status in before.get(case.state, []):
        world.answer(transaction, status)
    assert transaction.state is case.state
    entered = world.now
    if case.on is On.TIMER_CANCEL:
        world.layer.cancel(transaction, world.now)
        world.drain()
    world.now += LATER
    if case.on in STATUS:
        world.answer(transaction, STATUS[case.on])
    elif case.on is On.TRANSPORT_ERROR:
        world.fail()
    elif case.on is On.GIVEN_UP:
        world.layer.give_up(transaction, world.now)
        world.drain()
    elif case.on is On.CANCELLED:
        world.layer.cancel(transaction, world.now)
        world.drain()
    else:
        fire(world, case, transaction, entered)
    assert transaction.state is case.to
    return transaction


def drive_server(world: World, case: Case) -> Transaction:
    request = from_peer("INVITE" if case.machine is IST else "OPTIONS")
    transaction = world.accept(request)
    assert type(transaction) is case.machine
    world.run_until(START + LATER)
    for step in reach(case, transaction):
        step(world, transaction, request)
    assert transaction.state is case.state
    entered = world.now
    world.now += LATER
    if case.on in STATUS:
        status = STATUS[case.on] if case.machine is IST or case.on is not On.RESPONSE_1XX else 100
        assert world.respond(transaction, status, request)
    elif case.on is On.TRANSPORT_ERROR:
        world.fail()
    elif case.on is On.REQUEST:
        world.receive(request)
    elif case.on is On.ACK:
        world.receive(world.ack(request))
    else:
        fire(world, case, transaction, entered)
    assert transaction.state is case.to
    return transaction


Step = Callable[[World, ServerTransaction, Request], object]


def tu(status: int) -> Step:
    return lambda world, transaction, request: world.respond(transaction, status, request)


def peer_acknowledges(world: World, transaction: ServerTransaction, request: Request) -> None:
    world.receive(world.ack(request))


def wait_for_100(world: World, transaction: ServerTransaction, request: Request) -> None:
    world.run_until(START + 3.5)


def reach(case: Case, transaction: ServerTransaction) -> list[Step]:
    if case.machine is IST:
        return {
            PROCEEDING: [] if case.on is On.TIMER_100 else [tu(180)],
            COMPLETED: [tu(486)],
            CONFIRMED: [tu(486), peer_acknowledges],
            ACCEPTED: [tu(200)],
        }[case.state]
    return {TRYING: [], PROCEEDING: [wait_for_100], COMPLETED: [tu(200)]}[case.state]
