"""MSRP over TLS between two agents: chats and files, and who will not have it."""

import os
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import InviteError, UsageError
from rcsops.transport import TapRecord
from rcsops.ua import FileReceived, SessionOpened, TextReceived
from tests.unit.ua.test_agent_direct import pair, take, talk, uri_of

pytestmark = [pytest.mark.timeout(30), pytest.mark.rfc("4975", "14.4")]


@pytest.mark.parametrize("setup", ["active", "passive"])
async def test_a_chat_and_a_file_over_tls(tmp_path: Path, setup: str) -> None:
    seen: list[TapRecord] = []
    source = tmp_path / "picture.bin"
    source.write_bytes(os.urandom(300_000))
    inbox = tmp_path / "inbox"
    async with pair(msrp_security="tls", answer_setup=setup, downloads=inbox, tap=seen.append) as (
        alex,
        bob,
    ):
        ours, theirs = await talk(alex, bob)
        opened = await take(ours, SessionOpened)
        assert isinstance(opened, SessionOpened)
        assert opened.security == ours.security == theirs.security == "TLSv1.3"
        receipt = await ours.send("behind a curtain")
        await receipt.delivered(timeout=5)
        text = await take(theirs, TextReceived)
        assert isinstance(text, TextReceived) and text.text == "behind a curtain"
        transfer = await ours.send_file(source)
        await transfer.done(timeout=20)
        await take(theirs, FileReceived)
        assert (inbox / "picture.bin").read_bytes() == source.read_bytes()
    assert {record.transport for record in seen if record.protocol == "msrp"} == {"tls"}
    offer = next(r.data for r in seen if r.data.startswith(b"INVITE ")).decode()
    assert "TCP/TLS/MSRP *" in offer and "a=path:msrps://" in offer
    assert "a=fingerprint:SHA-256 " in offer and "a=msrp-cema\r\n" in offer


async def test_who_wants_tls_and_who_has_none_come_to_nothing() -> None:
    async with (
        Agent("sip:alex@rcs.example", msrp_security="tls") as alex,
        Agent("sip:bob@rcs.example", msrp_security="tcp") as bob,
    ):
        with pytest.raises(InviteError) as refused:
            await alex.invite(uri_of(bob))
        assert refused.value.status == 488
        with pytest.raises(InviteError) as refused:
            await bob.invite(uri_of(alex))
        assert refused.value.status == 488
        transfer = await alex.send_file(uri_of(bob), __file__)
        with pytest.raises(Exception, match="not taken"):
            await transfer.done(timeout=10)


async def test_an_agent_that_leaves_it_open_takes_what_is_offered() -> None:
    async with (
        Agent("sip:alex@rcs.example", msrp_security="tls") as alex,
        Agent("sip:bob@rcs.example") as bob,
    ):
        ours, theirs = await talk(alex, bob)
        assert theirs.security == "TLSv1.3"
        await ours.close()
        # Its way to the peer is not encrypted, so it offers plain TCP, which alex does not take.
        with pytest.raises(InviteError):
            await bob.invite(uri_of(alex))


def test_a_word_that_means_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="msrp_security"):
        Agent("sip:alex@rcs.example", msrp_security="yes")
