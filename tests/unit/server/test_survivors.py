"""Of a request that is over nothing is left, and no collector of cycles is needed for that."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rcsops.server.options import ServerOptions
from rcsops.server.proxy import _BranchUser
from rcsops.server.response_context import Branch, Destination, ResponseContext
from rcsops.sip import Request, Response
from rcsops.sip.client_transaction import InviteClientTransaction, NonInviteClientTransaction
from rcsops.sip.server_transaction import InviteServerTransaction, NonInviteServerTransaction
from rcsops.testing import eventually
from tests.survivors import alive, no_collector, none_more_than
from tests.unit.server.conftest import DOMAIN, Lab, Phone

COUNTED = (
    ResponseContext,
    Branch,
    Destination,
    _BranchUser,
    InviteClientTransaction,
    NonInviteClientTransaction,
    InviteServerTransaction,
    NonInviteServerTransaction,
    Request,
    Response,
)

Scenario = Callable[[Phone, Phone], Awaitable[None]]


def invite(alex: Phone, bob: Phone) -> Request:
    return alex.make("INVITE", bob.aor, ("Contact", f"<{alex.contact}>"))


async def message(alex: Phone, bob: Phone) -> None:
    bob.answer = lambda request: bob.reply(request, 200)
    assert (await alex.ask(alex.make("MESSAGE", bob.aor))).status == 200


async def message_refused(alex: Phone, bob: Phone) -> None:
    bob.answer = lambda request: bob.reply(request, 415)
    assert (await alex.ask(alex.make("MESSAGE", bob.aor))).status == 415


async def message_kept(alex: Phone, bob: Phone) -> None:
    bob.answer = lambda request: bob.reply(request, 503)
    assert (await alex.ask(alex.make("MESSAGE", bob.aor))).status == 202


async def call(alex: Phone, bob: Phone) -> None:
    bob.answer = lambda request: bob.reply(request, 200)
    request = invite(alex, bob)
    accepted = await alex.final(await alex.ringing(request))
    alex.ack(request, accepted)
    await asyncio.wait_for(bob.acks.get(), 5)
    assert (await alex.final(alex.send(alex.in_dialog("BYE", request, accepted)))).status == 200


async def call_refused(alex: Phone, bob: Phone) -> None:
    bob.answer = lambda request: bob.reply(request, 486)
    assert (await alex.final(await alex.ringing(invite(alex, bob)))).status == 486


async def call_cancelled(alex: Phone, bob: Phone) -> None:
    queue = await _rings(alex, bob)
    alex.endpoint.cancel(alex.last)
    assert (await alex.final(queue)).status == 487


async def call_not_answered(alex: Phone, bob: Phone) -> None:
    # Timer C.
    assert (await alex.final(await _rings(alex, bob), 10)).status == 487


async def call_redirected(alex: Phone, bob: Phone) -> None:
    bob.answer = lambda request: Response.to_request(
        request, 302, to_tag="t", headers=[("Contact", f"<sip:carol@{DOMAIN}>")]
    )
    assert (await alex.final(await alex.ringing(invite(alex, bob)))).status == 486


async def call_forked(alex: Phone, bob: Phone, other: Phone) -> None:
    """The first phone that answers ends the ringing of the other, which gets what was kept."""
    other.answer = lambda request: other.reply(request, 180 if request.method == "INVITE" else 200)
    assert (await other.register()).status == 200
    await call(alex, bob)
    assert (await other.register(contact=f"<{other.contact}>;expires=0")).status == 200


async def _rings(alex: Phone, bob: Phone) -> "asyncio.Queue[Any]":
    bob.answer = lambda request: bob.reply(request, 180)
    queue = await alex.ringing(invite(alex, bob))
    async with asyncio.timeout(5):
        while (await queue.get()).status != 180:
            pass
    return queue


SCENARIOS = (
    message,
    message_refused,
    message_kept,
    call,
    call_refused,
    call_cancelled,
    call_not_answered,
    call_redirected,
)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_nothing_outlives_a_request(idle_lab: Lab, transport: str) -> None:
    lab = idle_lab
    await lab.start(ServerOptions(flush_seconds=0.05, follow_redirects=True))
    alex = await lab.registered("alex", transport)
    bob = await lab.registered("bob", transport)
    carol = await lab.registered("carol", transport)
    carol.answer = lambda request: carol.reply(request, 486)
    other = await lab.phone("bob", transport)

    async def run() -> None:
        for scenario in SCENARIOS:
            await scenario(alex, bob)
        await call_forked(alex, bob, other)
        layers = [lab.running.endpoint.layer, *(phone.endpoint.layer for phone in lab.phones)]
        await eventually(lambda: not any(map(len, layers)), what="the end of all transactions")
        for phone in lab.phones:
            # What the phones themselves keep for the tests.
            phone.requests, phone.acks = asyncio.Queue(), asyncio.Queue()

    with no_collector():
        await run()
        before = alive(*COUNTED)
        await run()
        await none_more_than(before, *COUNTED)
