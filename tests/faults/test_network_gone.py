"""The network of one of two who chat is gone for a minute: namespaces of Linux and a NAT."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rcsops.testing import EmbeddedServer, NatNetwork
from tests.cli.chatting import ChatProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

GONE = 60.0
LONG = 150.0  # a keep-alive over TCP comes after two minutes at the latest


@pytest.fixture(scope="module")
def network() -> Iterator[NatNetwork]:
    if reason := NatNetwork.missing():
        pytest.skip(reason)
    with NatNetwork() as made:
        yield made


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_nothing_acknowledged_is_lost(network: NatNetwork, transport: str, tmp_path: Path) -> None:
    users = {"alex": "of alex", "bob": "of bob"}
    way = ("--transport", transport)
    with ExitStack() as stack:
        server = stack.enter_context(
            EmbeddedServer(
                tmp_path / "project",
                users,
                host=network.host_outside,
                port=5060,
                prefix=network.outside,
            )
        )
        alex = stack.enter_context(ChatProcess(server, "alex", *way, prefix=network.inside))
        bob = stack.enter_context(ChatProcess(server, "bob", *way, prefix=network.outside))
        for each in (alex, bob):
            each.wait("registered")
        alex.type("/invite bob")
        for one, other in ((alex, bob), (bob, alex)):
            one.wait("session", peer=other.address)
        alex.say("before")
        alex.wait("status", status="delivered")
        network.unplug()
        begun = time.monotonic()
        # Written into the void, as the person cannot know.
        for number in range(3):
            alex.say(f"meanwhile {number}")
        time.sleep(max(0.0, GONE - (time.monotonic() - begun)))
        network.plug()
        # Each line came through late, or the person is told that it did not.
        for _ in range(3):
            fate = alex.wait_any("status", "error", "session-ended", timeout=LONG)
            if fate["event"] != "status" or fate["status"] == "failed":
                break
        alex.type("/bye")
        bob.settled("session-ended", timeout=LONG)
        alex.skip()
        # Both are reachable again, and the next chat is as any other.
        said = back_together(alex, bob)
        assert said
        acknowledged = {
            notice["message_id"]
            for notice in alex.notices
            if notice["event"] == "status" and notice.get("status") == "delivered"
        }
        assert len(acknowledged) >= 2
    path = server.directory / ".rcsops" / "agents" / "bob@rcs.example" / "history.db"
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT message_id FROM message WHERE direction = 'in'").fetchall()
    arrived = [row[0] for row in rows]
    assert acknowledged <= set(arrived), json.dumps(alex.notices[-20:])
    assert len(arrived) == len(set(arrived))


def back_together(alex: ChatProcess, bob: ChatProcess) -> str:
    """Invites until the agent has noticed that its way to the server is another one."""
    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline:
        alex.type("/invite bob")
        event = alex.settled("session", "error", timeout=LONG)
        if event == "session":
            bob.wait("session", peer=alex.address, timeout=LONG)
            alex.say("and after")
            alex.wait("status", status="delivered")
            return str(bob.wait("message", text="and after")["text"])
        time.sleep(2)
    raise AssertionError("never back")
