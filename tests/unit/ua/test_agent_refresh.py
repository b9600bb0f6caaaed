"""Requests within a session: refreshes, moves, and what is not understood."""

import asyncio

import pytest

from rcsops import Agent
from rcsops.rcs import Service
from rcsops.rcs.capabilities import read_services
from rcsops.sip import Response, ResponseReceived
from rcsops.transport.requester import Walk
from rcsops.ua import Chat

pytestmark = pytest.mark.timeout(20)


async def talk(alex: Agent, bob: Agent) -> tuple[Chat, Chat]:
    async def accept() -> Chat:
        async for invitation in bob.incoming():
            return await invitation.accept()
        raise AssertionError("nobody called")

    port = bob.host.addresses[0].port
    ours, theirs = await asyncio.gather(alex.invite(f"sip:bob@127.0.0.1:{port}"), accept())
    return ours, theirs


async def ask(agent: Agent, chat: Chat, method: str, body: bytes) -> Response:
    """Sends a request of our making in the dialog of a chat."""
    call = chat.session.call
    assert call.dialog is not None
    request = call.dialog.create_request(method, [("Contact", call.request.get("Contact") or "")])
    if body:
        request.set_body(body, "application/sdp")
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def on_response(event: ResponseReceived) -> None:
        if event.response.status < 200 or future.done():
            return
        future.set_result(event.response)
        if method == "INVITE" and event.response.status < 300:
            assert call.dialog is not None
            call.send_ack(call.dialog.create_ack(request), call.dialog)

    targets = agent.host.targets_now(call.dialog.next_hop)
    assert targets is not None
    Walk(agent.host.endpoint, request, targets, on_response=on_response).start()
    return await asyncio.wait_for(future, 5)


@pytest.mark.rfc("3311", "5.2")
@pytest.mark.rfc("3261", "14.2")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
async def test_a_refresh_is_answered_and_changes_nothing(method: str) -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        ours, theirs = await talk(alex, bob)
        for agent, chat in ((alex, ours), (bob, theirs)):
            body = chat.session._description
            response = await ask(agent, chat, method, body)
            assert response.status == 200
            assert b"a=setup:actpass" not in response.body
            assert b"a=path:msrp://" in response.body
            assert response.contacts
        await (await ours.send("as before")).delivered(timeout=5)


async def test_an_update_without_a_body_is_answered_without_one() -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        ours, _ = await talk(alex, bob)
        response = await ask(alex, ours, "UPDATE", b"")
        assert (response.status, response.body) == (200, b"")


@pytest.mark.foul
@pytest.mark.rfc("3311", "5.2")
@pytest.mark.rfc("3261", "14.2")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
async def test_a_move_is_refused_and_the_session_goes_on(method: str) -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        ours, _ = await talk(alex, bob)
        moved = ours.session._description.replace(b"127.0.0.1", b"127.0.0.2")
        assert (await ask(alex, ours, method, moved)).status == 488
        assert (await ask(alex, ours, method, b"nonsense")).status == 488
        on_hold = ours.session._description.replace(b"a=sendrecv", b"a=inactive")
        assert b"a=inactive" in on_hold
        assert (await ask(alex, ours, method, on_hold)).status == 488
        await (await ours.send("still here")).delivered(timeout=5)


@pytest.mark.foul
@pytest.mark.rfc("3261", "8.2.1", "11.2", "12.2.2")
async def test_other_methods_in_the_dialog() -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        ours, _ = await talk(alex, bob)
        answer = await ask(alex, ours, "OPTIONS", b"")
        assert answer.status == 200
        services, is_rcs = read_services(answer.contacts)
        assert is_rcs
        assert Service.CHAT in services
        for name, value in (
            ("Allow", "MESSAGE"),
            ("Accept", "message/cpim"),
            ("Supported", "timer"),
        ):
            assert value in (answer.get(name) or "")
        refused = await ask(alex, ours, "INFO", b"")
        assert refused.status == 405
        assert "BYE" in (refused.get("Allow") or "")
        # A number that was used before.
        assert ours.session.call.dialog is not None
        ours.session.call.dialog.local_cseq = 0
        assert (await ask(alex, ours, "OPTIONS", b"")).status == 500
        ours.session.call.dialog.local_cseq = 100
