"""Our side of the next chat is made ahead, and is still that chat's alone."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from rcsops import Agent
from rcsops.errors import InviteError
from rcsops.testing.waiting import eventually
from rcsops.transport.tap import TapRecord
from rcsops.ua import Chat
from tests.unit.ua.test_agent_direct import talk, uri_of

pytestmark = pytest.mark.timeout(30)


class Descriptions:
    """The SDP of the INVITEs and of the answers to them, as they left."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, record: TapRecord) -> None:
        head, _, body = record.data.partition(b"\r\n\r\n")
        if record.direction == "out" and b"application/sdp" in head and b"ACK" not in head[:4]:
            self.bodies.append(body)

    def each(self, pattern: bytes) -> list[bytes]:
        found = [re.search(pattern, body) for body in self.bodies]
        return [match[1] for match in found if match is not None]


def theirs_ended(chat: Chat) -> Callable[[], bool]:
    return lambda: chat.ended


async def test_no_two_chats_share_a_path_or_a_session_id() -> None:
    alexs, bobs = Descriptions(), Descriptions()
    async with (
        Agent("sip:alex@rcs.example", tap=alexs) as alex,
        Agent("sip:bob@rcs.example", tap=bobs) as bob,
    ):
        # In turns, so that what was made ahead for a call of ours meets one of the peer's.
        for caller, callee in ((alex, bob), (alex, bob), (bob, alex), (alex, bob)):
            ours, theirs = await talk(caller, callee)
            await (await ours.send("hello")).delivered(timeout=5)
            await ours.close()
            await eventually(theirs_ended(theirs))
    for descriptions in (alexs, bobs):
        for pattern in (rb"a=path:(\S+)", rb"o=- (\d+) "):
            values = descriptions.each(pattern)
            assert len(values) == 4
            assert len(set(values)) == 4


async def test_what_was_made_ahead_is_not_used_when_our_part_has_changed() -> None:
    descriptions = Descriptions()
    async with (
        Agent("sip:alex@rcs.example") as alex,
        Agent("sip:bob@rcs.example", tap=descriptions) as bob,
    ):
        for setup in ("active", "passive"):
            bob.options = replace(bob.options, answer_setup=setup)
            ours, _ = await talk(alex, bob)
            await ours.close()
    assert descriptions.each(rb"a=setup:(\w+)") == [b"active", b"passive"]


async def test_a_call_that_fails_leaves_the_next_one_its_own_path() -> None:
    descriptions = Descriptions()
    async with (
        Agent("sip:alex@rcs.example", tap=descriptions) as alex,
        Agent("sip:bob@rcs.example") as bob,
    ):
        for _ in range(2):
            calling = asyncio.create_task(alex.invite(uri_of(bob)))
            async for invitation in bob.incoming():
                invitation.reject(486)
                break
            with pytest.raises(InviteError):
                await calling
        ours, _ = await talk(alex, bob)
        await ours.close()
    assert len(set(descriptions.each(rb"a=path:(\S+)"))) == 3
