"""Overload: the pressure with simulated time, the quick 503, and what goes on while it lasts."""

import asyncio
import itertools

import pytest

from rcsops.server.overload import OverloadControl
from rcsops.server.screening import Screen
from rcsops.sip import Flow, Request, Response, parse_message
from tests.unit.server.conftest import DOMAIN, Lab
from tests.unit.server.test_limits import Raw, raws

__all__ = ["raws"]

FLOW = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.9", 40000))
BUSY = 500


def control(target: float = 0.1, draw: float = 0.5) -> OverloadControl:
    return OverloadControl(target, lambda: draw)


def ticks(made: OverloadControl, count: int, waited: float, messages: int = BUSY) -> None:
    """So many intervals with a queue that grows from ``waited`` by a little."""
    for number in range(count):
        made.waited(waited + number / 10000)
        made.tick(0.0, messages)


def push(made: OverloadControl, pressure: float) -> None:
    while made.pressure < pressure:
        made.lost(1)
        made.tick(0.0, BUSY)


def test_no_queue_no_pressure() -> None:
    made = control()
    ticks(made, 400, 0.05)
    assert not made.active
    assert not made.refuses(credentials=False)
    assert made.refused == 0


def test_a_standing_queue_raises_the_pressure_and_an_empty_one_lowers_it_slowly() -> None:
    made = control()
    ticks(made, 5, 0.3)
    high = made.pressure
    assert 0.4 < high < 0.75
    ticks(made, 5, 0.01)
    assert high / 2 < made.pressure < high
    ticks(made, 100, 0.01)
    assert not made.active


def test_a_queue_that_shrinks_already_needs_no_more_pressure() -> None:
    made = control()
    made.waited(3.0)
    made.tick(0.0, BUSY)
    high = made.pressure
    for waited in (2.0, 1.0, 0.2):
        made.waited(waited)
        made.tick(0.0, BUSY)
        assert made.pressure == high


def test_one_batch_that_did_not_wait_shows_that_the_queue_empties() -> None:
    made = control()
    made.waited(5.0)
    made.waited(0.001)
    made.tick(0.0, BUSY)
    assert not made.active


def test_lost_datagrams_are_overload_too_however_short_the_queue() -> None:
    made = control()
    made.waited(0.001)
    made.lost(7)
    made.tick(0.0, BUSY)
    assert made.active


def test_a_loop_that_is_late_once_is_forgiven_and_twice_is_not() -> None:
    made = control()
    made.tick(0.5, BUSY)
    made.tick(0.0, BUSY)
    made.tick(0.5, BUSY)
    assert not made.active
    made.tick(0.5, BUSY)
    assert made.active


def test_a_server_with_little_to_do_is_not_overloaded_by_a_busy_machine() -> None:
    made = control()
    ticks(made, 100, 3.0, messages=5)
    made.tick(9.0, 5)
    assert not made.active


def test_a_target_of_0_turns_it_off() -> None:
    made = control(target=0.0)
    ticks(made, 100, 3.0)
    assert not made.active


@pytest.mark.parametrize(
    ("pressure", "fresh", "with_credentials"),
    [(0.4, False, False), (0.7, True, False), (1.0, True, False), (1.7, True, True)],
)
def test_work_that_was_begun_goes_last(
    pressure: float, fresh: bool, with_credentials: bool
) -> None:
    made = control(draw=0.6)
    push(made, pressure)
    assert made.refuses(credentials=False) is fresh
    assert made.refuses(credentials=True) is with_credentials
    assert made.refused == fresh + with_credentials


def test_the_pressure_has_a_bound() -> None:
    made = control()
    for _ in range(10_000):
        made.lost(1)
        made.tick(0.0, BUSY)
    assert made.pressure < 2.0
    ticks(made, 300, 0.0)
    assert not made.active


@pytest.mark.parametrize(("load", "least"), [(150, 93), (200, 88), (400, 75), (1000, 40)])
def test_the_load_that_is_let_in_settles_at_what_can_be_done(load: int, least: int) -> None:
    """A queue in figures: 100 can be done in a tick, a refusal costs a twentieth of one of them."""
    draws = itertools.count()
    made = OverloadControl(0.1, lambda: (next(draws) * 0.618034) % 1.0)
    queue = 0
    done = []
    for _ in range(600):
        made.waited(queue / 1000)
        queue += load
        budget, accepted = 100.0, 0
        while queue and budget > 0:
            queue -= 1
            if made.refuses(credentials=False):
                budget -= 0.05
            else:
                budget -= 1.0
                accepted += 1
        made.tick(0.0, load)
        done.append(accepted)
    assert sum(done[300:]) / 300 > least
    assert queue < 2 * load


# --- the quick 503 -------------------------------------------------------------------------------

FIELDS = {
    "Via": "SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bKx1;rport",
    "Max-Forwards": "70",
    "From": "<sip:alex@rcs.example>;tag=a",
    "To": "<sip:bob@rcs.example>",
    "Call-ID": "one@x",
    "CSeq": "1 INVITE",
    "Contact": "<sip:alex@192.0.2.9:5070>",
}


def datagram(method: str = "INVITE", **more: str) -> bytes:
    fields = {**FIELDS, "CSeq": f"1 {method}"}
    fields.update((name.replace("_", "-"), value) for name, value in more.items())
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} sip:bob@rcs.example SIP/2.0\r\n{head}\r\n".encode()


def screen(refuses: bool = True, known: bool = False) -> Screen:
    return Screen(b"s", lambda credentials: refuses, lambda *key: known, lambda: 7)


def refusal(data: bytes) -> tuple[Response, Flow]:
    answer = screen()(data, FLOW)
    assert answer is not None
    response = parse_message(answer[0])
    assert isinstance(response, Response)
    return response, answer[1]


@pytest.mark.rfc("3261", "21.5.4", "8.2.6")
def test_the_quick_503_is_the_answer_that_the_ordinary_way_gives() -> None:
    response, back = refusal(datagram())
    request = parse_message(datagram())
    assert isinstance(request, Request)
    assert (response.status, response.retry_after) == (503, 7)
    for name in ("From", "Call-ID", "CSeq"):
        assert response.get(name) == request.get(name)
    assert response.to.uri == request.to.uri
    assert response.to_tag
    via = response.top_via
    assert (via.received, via.rport, via.branch) == ("192.0.2.9", 40000, "z9hG4bKx1")
    assert back == FLOW
    assert response.to_tag == refusal(datagram())[0].to_tag
    assert response.to_tag != refusal(datagram(Call_ID="two@x"))[0].to_tag


@pytest.mark.rfc("3261", "18.2.2")
@pytest.mark.parametrize(
    ("via", "remote"),
    [
        ("SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bKx1", ("192.0.2.9", 5070)),
        ("SIP/2.0/UDP phone.example;branch=z9hG4bKx1", ("192.0.2.9", 5060)),
        ("sip/2.0/udp [2001:db8::1];rport;branch=z9hG4bKx1", ("192.0.2.9", 40000)),
    ],
)
def test_where_the_quick_503_goes(via: str, remote: tuple[str, int]) -> None:
    response, back = refusal(datagram(Via=via))
    assert back.remote == remote
    assert response.top_via.received == "192.0.2.9"
    assert response.top_via.branch == "z9hG4bKx1"


def test_all_vias_are_in_it_and_nothing_else_is() -> None:
    data = datagram().replace(
        b"Max-Forwards", b"Via: SIP/2.0/TCP other;branch=z9hG4bK2\r\nMax-Forwards"
    )
    response, _ = refusal(data)
    assert [via.host for via in response.vias] == ["192.0.2.9", "other"]
    assert not response.has("Contact")
    assert len(bytes(response)) < len(data) + 100


@pytest.mark.parametrize(
    "data",
    [
        datagram("ACK"),
        datagram("BYE"),
        datagram("CANCEL"),
        datagram("PRACK"),
        datagram(To="<sip:bob@rcs.example>;tag=b"),
        datagram(To="<sip:bob@rcs.example> ; x=1 ; Tag=b"),
        datagram(Via="SIP/2.0/UDP h;maddr=192.0.2.66;branch=z9hG4bKx1"),
        datagram(Via="SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/UDP b;branch=z9hG4bK2"),
        datagram(Subject="a\r\n folded"),
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx1\r\n\r\n",
        b"\r\n\r\n",
        b"\x00" * 500,
        b"INVITE",
    ],
)
def test_what_is_left_to_the_ordinary_way(data: bytes) -> None:
    assert screen()(data, FLOW) is None


def test_retransmissions_of_what_is_under_way_are_left_alone() -> None:
    seen: list[tuple[str, str, int, str]] = []

    def knows(*key: object) -> bool:
        seen.append(key)  # type: ignore[arg-type]
        return True

    data = datagram(Proxy_Authorization='Digest username="alex"')
    made = Screen(b"s", lambda credentials: True, knows, lambda: 7)
    assert made(data, FLOW) is None
    assert seen == [("z9hg4bkx1", "192.0.2.9", 5070, "INVITE")]
    assert screen()(data, FLOW) is not None


def test_hostile_bytes_are_looked_at_in_no_time() -> None:
    for piece in (b"\r\nVia: ", b";", b"\r\nTo: ;tag", b"a", b"\r\nTo:" + b" " * 1000):
        data = b"INVITE sip:x SIP/2.0" + piece * (60000 // len(piece))
        screen()(data, FLOW)


# --- over sockets --------------------------------------------------------------------------------


def overload(lab: Lab, pressure: float) -> None:
    """Puts a running server under pressure, which then falls again by itself."""
    server = lab.running
    server.overload.pressure = pressure
    server.endpoint.screen = server._screen


async def test_new_work_is_refused_and_what_was_begun_is_finished(
    lab: Lab, raws: list[Raw]
) -> None:
    bob = await lab.registered("bob")
    bob.answer = lambda request: bob.reply(request, 180)
    alex = await lab.phone("alex")
    carol = await lab.phone("carol", "tcp")
    queue = await alex.ringing(alex.make("INVITE", bob.aor, ("Contact", f"<{alex.contact}>")))
    invite, transaction = await bob.received()
    for _ in range(3):
        overload(lab, 1.9)
        for phone in (await lab.phone("alex"), carol):
            response = await phone.ask(phone.make("MESSAGE", bob.aor), login=False)
            assert response.status == 503
            assert 5 <= (response.retry_after or 0) <= 10
    overload(lab, 1.9)
    bob.endpoint.respond(transaction, bob.reply(invite, 200))
    accepted = await alex.final(queue)
    assert accepted.status == 200
    overload(lab, 1.9)
    ack_for = alex.last.request
    alex.ack(ack_for, accepted)
    assert (await asyncio.wait_for(bob.acks.get(), 5)).uri == bob.contact
    bob.answer = lambda request: bob.reply(request, 200)
    overload(lab, 1.9)
    assert (await alex.final(alex.send(alex.in_dialog("BYE", ack_for, accepted)))).status == 200
    counts = lab.running.statistics.select(["overload:"])
    assert counts["overload:refused"] >= 6


async def test_the_second_half_of_a_digest_goes_before_new_work(lab: Lab) -> None:
    bob = await lab.phone("bob")
    register = bob.make("REGISTER", f"sip:{DOMAIN}", ("Contact", f"<{bob.contact}>"), to=bob.aor)
    plain = register.copy()
    challenge = await bob.ask(register, login=False)
    assert bob.digest.authorize(plain, challenge)
    # Every request without credentials is refused, and none with.
    overload(lab, 1.0)
    assert (await bob.final(bob.send(plain))).status == 200


async def test_pressure_that_has_no_reason_is_over_soon(lab: Lab) -> None:
    overload(lab, 0.1)
    async with asyncio.timeout(10):
        while lab.running.overload.active or lab.running.endpoint.screen is not None:
            await asyncio.sleep(0.02)
    bob = await lab.registered("bob")
    assert bob.cseq


async def test_datagrams_tell_how_long_they_waited(lab: Lab, raws: list[Raw]) -> None:
    import time

    waits: list[float] = []
    lab.running.overload.waited = waits.append  # type: ignore[method-assign]
    raws.append(raw := Raw(lab.port))
    alex = await lab.phone("alex")
    request = alex.make("OPTIONS", f"sip:{DOMAIN}")
    request.prepend("Via", f"SIP/2.0/UDP 192.0.2.1;branch={alex.tokens.branch()};rport")
    raw.send(bytes(request))
    # The loop stands still: nobody reads the socket.
    time.sleep(0.3)
    await raw.answers()
    assert 0.25 < max(waits) < 10.0
