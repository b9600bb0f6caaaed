"""Kamailio sends HEP, and `rcsops trace` draws what it did."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from rcsops.testing.kamailio import KamailioServer
from rcsops.ua import Agent
from tests.cli.test_trace_live import following
from tests.live.talking import session

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.server("Kamailio"),
    pytest.mark.feature("sends HEP to rcsops trace"),
    pytest.mark.skipif(bool(KamailioServer.missing()), reason=KamailioServer.missing()),
]


async def test_the_ladder_of_a_call(tmp_path: Path) -> None:
    words = ("--hep", "udp:127.0.0.1:0", "--json")
    with following(tmp_path / "follower", *words) as follower:
        await asyncio.to_thread(follower.ready, "listening for HEP at udp:")
        port = follower.said.strip().rpartition(":")[2]
        with KamailioServer(tmp_path / "kamailio", hep=f"127.0.0.1:{port}") as kamailio:
            for name in ("alex", "bob"):
                kamailio.add_user(name, f"of {name}")
            async with (
                Agent("sip:alex@rcs.example", password="of alex", server=kamailio.address) as alex,
                Agent("sip:bob@rcs.example", password="of bob", server=kamailio.address) as bob,
                asyncio.timeout(60),
            ):
                await asyncio.gather(alex.register(), bob.register())
                chat, _ = await session(alex, bob)
                await chat.close()
            await asyncio.to_thread(follower.wait_for, "BYE")
        assert await asyncio.to_thread(follower.end) == 0
    ladder = [json.loads(line) for line in follower.printed.splitlines()]
    sent = Counter((each["from"], each["to"], each.get("method")) for each in ladder)
    assert sent["alex", "server", "REGISTER"] >= 2
    assert sent["server", "bob", "INVITE"] == 1
    assert sent["alex", "server", "ACK"] >= 1
    ok = [each for each in ladder if each.get("status") == 200 and each["cseq_method"] == "INVITE"]
    assert {(each["from"], each["to"]) for each in ok} == {("bob", "server"), ("server", "alex")}
