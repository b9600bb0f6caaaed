"""Store and forward: what waits for whom, for how long, and how it is handed on."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest

from rcsops.server import silo
from rcsops.server.options import ServerOptions
from rcsops.sip import Request, Response
from rcsops.testing import eventually
from tests.unit.server.conftest import Lab, Phone

pytestmark = pytest.mark.timeout(60)


def rows(lab: Lab, columns: str = "username, body") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(lab.url.removeprefix("sqlite:///"))) as connection:
        return list(connection.execute(f"SELECT {columns} FROM silo ORDER BY id"))


def text(
    phone: Phone, to: str, body: str, *headers: tuple[str, str], kind: str = "text/plain"
) -> Request:
    request = phone.make("MESSAGE", f"sip:{to}@rcs.example", *headers)
    request.set_body(body.encode(), kind)
    return request


def takes(phone: Phone, status: int = 200) -> list[str]:
    """Answers every request; the bodies in the order in which they come."""
    came: list[str] = []

    def answer(request: Request) -> Response:
        came.append(request.body.decode())
        return Response.to_request(request, status, to_tag="t")

    phone.answer = answer
    return came


async def all_taken(lab: Lab) -> None:
    await eventually(lambda: not rows(lab), 10)


async def test_it_is_in_the_table_when_the_202_comes(lab: Lab) -> None:
    alex = await lab.registered("alex")
    before = int(time.time())
    response = await alex.ask(text(alex, "bob", "später 👋", kind="message/cpim"))
    assert response.status == 202
    columns = "src_addr, dst_addr, username, domain, inc_time, exp_time, snd_time, ctype, body"
    ((source, target, user, domain, came, expires, sent, kind, body),) = rows(lab, columns)
    assert (source, target) == ("sip:alex@rcs.example", "sip:bob@rcs.example")
    assert (user, domain, sent, kind) == ("bob", "rcs.example", 0, "message/cpim")
    assert before <= came <= time.time()
    assert expires == came + ServerOptions().offline_expires
    assert body.decode() == "später 👋"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_it_is_handed_on_in_order_when_the_user_registers(lab: Lab, transport: str) -> None:
    alex = await lab.registered("alex", transport)
    texts = [str(number) for number in range(30)]
    for each in texts:
        assert (await alex.ask(text(alex, "bob", each))).status == 202
    bob = await lab.phone("bob", transport)
    came = takes(bob)
    assert (await bob.register()).status == 200
    await all_taken(lab)
    assert came == texts
    request, _ = await bob.received()
    assert str(request.from_.uri) == "sip:alex@rcs.example"
    assert str(request.to.uri) == "sip:bob@rcs.example"
    assert request.get("P-Asserted-Identity") == "<sip:alex@rcs.example>"
    assert request.has("Date")
    assert not request.has("Contact")
    # No more than once.
    assert (await bob.register()).status == 200
    await asyncio.sleep(0.1)
    assert came == texts
    counts = lab.running.statistics.counts
    assert counts["msilo:stored_messages"] == counts["msilo:dumped_messages"] == 30


THREAD = (
    ("Conversation-ID", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
    ("Contribution-ID", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"),
    ("InReplyTo-Contribution-ID", "11111111-2222-3333-4444-555555555555"),
    ("P-Preferred-Service", "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg"),
    ("Accept-Contact", '*;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.msg"'),
)
CHARSET = 'text/plain;charset="utf-8";x="a;b"'


async def test_it_comes_out_with_the_thread_that_it_came_in_with(lab: Lab) -> None:
    alex = await lab.registered("alex")
    await alex.ask(text(alex, "bob", "whole", *THREAD, kind=CHARSET))
    await alex.ask(text(alex, "bob", "bare", kind=CHARSET))
    hostile = ("Conversation-ID", 'a;b="c"\td')
    await alex.ask(text(alex, "bob", "hostile", hostile, THREAD[1], kind="message/cpim"))
    long = "message/cpim;x=" + "y" * 205
    await alex.ask(text(alex, "bob", "long", *THREAD, kind=long))
    # OpenSIPS's own columns hold all of it.
    assert all(len(kind) <= 255 for (kind,) in rows(lab, "ctype"))
    bob = await lab.phone("bob")
    takes(bob)
    assert (await bob.register()).status == 200
    await all_taken(lab)
    whole, bare, odd, cut = [(await bob.received())[0] for _ in range(4)]
    assert [(name, whole.get(name)) for name, _ in THREAD] == list(THREAD)
    assert whole.get("Content-Type") == bare.get("Content-Type") == CHARSET
    assert not any(bare.has(name) for name, _ in THREAD)
    assert not odd.has("Conversation-ID")
    assert odd.get("Contribution-ID") == THREAD[1][1]
    assert (cut.get("Content-Type"), cut.get("Conversation-ID")) == (long, None)


async def test_a_query_and_a_removal_hand_nothing_on(lab: Lab) -> None:
    alex = await lab.registered("alex")
    await alex.ask(text(alex, "bob", "x"))
    bob = await lab.phone("bob")
    came = takes(bob)
    assert (await bob.register(contact=f"<{bob.contact}>;expires=0")).status == 200
    query = bob.make("REGISTER", "sip:rcs.example", to=bob.aor)
    assert (await bob.ask(query)).status == 200
    await asyncio.sleep(0.1)
    assert came == []
    assert len(rows(lab)) == 1


async def test_a_device_that_vanished_counts_as_away(lab: Lab) -> None:
    alex = await lab.registered("alex")
    bob = await lab.registered("bob")
    await bob.endpoint.close()
    response = await alex.ask(text(alex, "bob", "hello?"))
    assert response.status == 202
    again = await lab.phone("bob")
    came = takes(again)
    await again.register()
    # The contact that is dead is there still; the newest is tried first.
    await all_taken(lab)
    assert came == ["hello?"]


@pytest.mark.parametrize(("status", "kept"), [(480, True), (503, True), (415, False), (486, False)])
async def test_what_a_device_says_itself_goes_back(lab: Lab, status: int, kept: bool) -> None:
    alex = await lab.registered("alex")
    bob = await lab.registered("bob")
    takes(bob, status)
    response = await alex.ask(text(alex, "bob", "x"))
    assert response.status == (202 if kept else status)
    assert len(rows(lab)) == kept


async def test_who_registers_while_the_old_contact_fails_waits_no_longer(idle_lab: Lab) -> None:
    lab = idle_lab
    await lab.start(ServerOptions(flush_seconds=0.05, offline_after=1.0))
    alex = await lab.registered("alex")
    old = await lab.registered("bob")
    silent: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answer(request: Request) -> None:
        if not silent.done():
            silent.set_result(None)

    old.answer = answer
    asking = asyncio.create_task(alex.ask(text(alex, "bob", "between")))
    async with asyncio.timeout(5):
        await silent
    bob = await lab.phone("bob")
    came = takes(bob)
    await bob.register()
    assert (await asking).status == 202
    await all_taken(lab)
    assert came == ["between"]


async def test_a_new_message_does_not_overtake_those_that_waited(lab: Lab) -> None:
    alex = await lab.registered("alex")
    for number in range(5):
        await alex.ask(text(alex, "bob", str(number)))
    bob = await lab.phone("bob")
    go_on = asyncio.Event()
    came: list[str] = []

    async def serve() -> None:
        while True:
            request, transaction = await bob.received(30)
            came.append(request.body.decode())
            await go_on.wait()
            bob.endpoint.respond(transaction, Response.to_request(request, 200, to_tag="t"))

    serving = asyncio.create_task(serve())
    try:
        await bob.register()
        await eventually(lambda: len(came) == 1, 5)
        assert (await alex.ask(text(alex, "bob", "new"))).status == 202
        go_on.set()
        await all_taken(lab)
        assert came == ["0", "1", "2", "3", "4", "new"]
        await eventually(lambda: not lab.running._core.silo._running, 5)  # type: ignore[union-attr]
        assert (await alex.ask(text(alex, "bob", "now"))).status == 200
    finally:
        serving.cancel()


async def test_what_a_device_refuses_stays_and_holds_up_nothing(lab: Lab) -> None:
    alex = await lab.registered("alex")
    for body in ("good", "bad", "better"):
        await alex.ask(text(alex, "bob", body))
    bob = await lab.phone("bob")
    came: list[str] = []

    def answer(request: Request) -> Response:
        body = request.body.decode()
        came.append(body)
        return Response.to_request(request, 415 if body == "bad" else 200, to_tag="t")

    bob.answer = answer
    await bob.register()
    await eventually(lambda: len(rows(lab)) == 1, 5)
    assert came == ["good", "bad", "better"]
    await bob.register()
    await eventually(lambda: came[3:] == ["bad"], 5)


async def test_a_device_that_is_busy_is_tried_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silo, "_RETRY_SECONDS", 0.2)
    alex = await lab.registered("alex")
    for body in ("one", "two"):
        await alex.ask(text(alex, "bob", body))
    bob = await lab.phone("bob")
    statuses = [200, 480, 200]
    came: list[str] = []

    def answer(request: Request) -> Response:
        came.append(request.body.decode())
        return Response.to_request(request, statuses.pop(0), to_tag="t")

    bob.answer = answer
    await bob.register()
    await all_taken(lab)
    assert came == ["one", "two", "two"]


async def test_what_is_not_stored(lab: Lab) -> None:
    alex = await lab.registered("alex", "tcp")
    typing = text(alex, "bob", "<x/>", kind="application/im-iscomposing+xml")
    assert (await alex.ask(typing)).status == 480
    assert (await alex.ask(text(alex, "nobody", "x"))).status == 404
    assert (await alex.ask(text(alex, "bob", "x" * 65536))).status == 513
    within = text(alex, "bob", "x", ("To", "<sip:bob@rcs.example>;tag=t"))
    assert (await alex.ask(within)).status == 480
    assert (await alex.ask(alex.make("OPTIONS", "sip:bob@rcs.example"))).status == 480
    stranger = text(alex, "bob", "x", ("From", "<sip:carol@rcs.example>;tag=f"))
    assert (await alex.ask(stranger)).status in (403, 407)
    assert rows(lab) == []


async def test_so_many_and_no_more(idle_lab: Lab) -> None:
    await idle_lab.start(ServerOptions(flush_seconds=0.05, offline_messages=3))
    alex = await idle_lab.registered("alex")
    for number in range(3):
        assert (await alex.ask(text(alex, "bob", str(number)))).status == 202
    full = await alex.ask(text(alex, "bob", "3"))
    assert (full.status, full.reason) == (486, "Too Many Messages Wait")
    # Each user has room for so many.
    assert (await alex.ask(text(alex, "carol", "x"))).status == 202
    bob = await idle_lab.phone("bob")
    takes(bob)
    await bob.register()
    await eventually(lambda: len(rows(idle_lab)) == 1, 5)


async def test_what_has_expired_is_neither_counted_nor_delivered(
    idle_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silo, "_SWEEP_SECONDS", 0.1)
    options = ServerOptions(flush_seconds=0.05, offline_messages=1, offline_expires=3600)
    await idle_lab.start(options)
    alex = await idle_lab.registered("alex")
    assert (await alex.ask(text(alex, "bob", "now", ("Expires", "0")))).status == 202
    assert (await alex.ask(text(alex, "bob", "later", ("Expires", "99999")))).status == 202
    await eventually(lambda: len(rows(idle_lab)) == 1, 5)
    ((body, lifetime),) = rows(idle_lab, "body, exp_time - inc_time")
    assert (body, lifetime) == (b"later", 3600)
    bob = await idle_lab.phone("bob")
    came = takes(bob)
    await bob.register()
    await all_taken(idle_lab)
    assert came == ["later"]


Step = Callable[[Lab], Awaitable[None]]


async def test_a_restart_hands_on_to_who_is_still_registered(idle_lab: Lab) -> None:
    await idle_lab.start()
    alex = await idle_lab.registered("alex")
    await alex.ask(text(alex, "bob", "kept"))
    bob = await idle_lab.phone("bob")
    takes(bob, 480)
    await bob.register()
    await bob.received()
    await eventually(lambda: len(rows(idle_lab)) == 1, 5)
    await idle_lab.stop()
    came = takes(bob)
    await idle_lab.start()
    await all_taken(idle_lab)
    assert came == ["kept"]


async def test_a_database_that_fails_is_said(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> bool:
        raise sqlite3.OperationalError("disk I/O error")

    alex = await lab.registered("alex")
    monkeypatch.setattr(silo.table, "add", broken)
    assert (await alex.ask(text(alex, "bob", "x"))).status == 500
    monkeypatch.undo()
    assert (await alex.ask(text(alex, "bob", "x"))).status == 202
