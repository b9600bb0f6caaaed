"""``rcsops chat`` to somebody who is away, on the embedded server: kept, handed on, once."""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import InviteError
from rcsops.msrp import MsrpUri
from rcsops.testing import wait_until
from rcsops.ua import TextReceived
from tests.cli.chatting import PATIENCE, ChatProcess, Lab


def silo(lab: Lab, user: str) -> list[str]:
    """The bodies that wait for a user."""
    with closing(sqlite3.connect(lab.directory / ".rcsops" / "rcsops.db")) as connection:
        query = "SELECT body FROM silo WHERE username = ? ORDER BY id"
        return [row[0].decode() for row in connection.execute(query, (user,))]


def history(lab: Lab, user: str, direction: str) -> list[tuple[str, str]]:
    """Texts and states of a user's history, in the order in which they were written."""
    path = lab.directory / ".rcsops" / "agents" / f"{user}@rcs.example" / "history.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT text, status FROM message WHERE direction = ? ORDER BY sent_at, id"
        try:
            return list(connection.execute(query, (direction,)))
        except sqlite3.OperationalError:
            # Its tables are not there yet.
            return []


def texts_of(chat: ChatProcess) -> list[str]:
    return [each["text"] for each in chat.notices if each["event"] == "message"]


def test_away_and_back(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    lines = ["are you there?", "Grüße 👋", "call me"]
    with lab.start(alex, bob) as chat:
        chat.wait("error", status=480)
        chat.wait("pager", peer=f"sip:{bob}@rcs.example")
        for line in lines:
            chat.type(line)
            chat.wait("status", status="stored", text=line)
        assert len(silo(lab, bob)) == 3
        assert lab.server.json("user", "show", bob)["messages"] == 3
        with lab.start(bob) as peer:
            for line in lines:
                came = peer.wait("message", text=line)
                assert came["pager"] is True
                assert came["chat_id"] == ""
                assert came["sent_at"] <= came["received_at"]
            for line in lines:
                chat.wait("status", status="delivered", text=line)
            wait_until(lambda: silo(lab, bob) == [], PATIENCE)
            peer.type("here I am")
            chat.wait("message", text="here I am", pager=True)
            chat.type(f"/invite {bob}")
            chat.wait("session")
            chat.type("and now directly")
            peer.wait("message", text="and now directly", pager=False)
            assert texts_of(peer) == [*lines, "and now directly"]
            assert chat.finish() == 0
            assert peer.finish() == 0


def test_a_line_of_a_script_is_kept(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    done = lab.run(alex, bob, stdin="the backup is done\n")
    assert done.code == 0, done.out
    assert f"! {bob} is not there now (480)" in done.texts
    assert f"* stored by the server “the backup is done”: {bob} gets it later" in done.texts
    # An invitation that failed, and nothing else, is a failure.
    assert lab.run(alex, bob).code == 1
    with lab.terminal(bob) as terminal:
        terminal.sees("the backup is done", f"what you write goes to {alex} without a session")
        terminal.sees(f"{bob} → {alex} (no session)>")
        terminal.type("thank you")
        terminal.sees("stored by the server “thank you”")
        terminal.type("/who")
        terminal.sees(f"writing to {alex} without a session")
        terminal.type("/bye")
        terminal.sees(f"you write no longer to {alex}")
        terminal.type("hello?")
        terminal.sees("not sent: there is no session")
    with lab.start(alex) as chat:
        chat.wait("message", text="thank you", pager=True)


def test_the_receipts_wait_for_a_sender_who_has_left(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    assert lab.run(alex, bob, stdin="one\ntwo\n").code == 0
    with lab.start(bob) as peer:
        peer.wait("message", text="one")
        peer.wait("message", text="two")
        assert peer.finish() == 0
    wait_until(lambda: len(silo(lab, alex)) == 2, PATIENCE)
    assert history(lab, alex, "out") == [("one", "stored"), ("two", "stored")]
    with lab.start(alex) as chat:
        chat.wait("status", status="delivered")
        chat.wait("status", status="delivered")
    assert history(lab, alex, "out") == [("one", "delivered"), ("two", "delivered")]


def test_a_user_who_is_removed_takes_the_messages_along(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    assert lab.run(alex, bob, stdin="one\ntwo\n").code == 0
    removed = lab.server.json("user", "remove", bob, "--yes")
    assert removed["messages"] == 2
    assert silo(lab, bob) == []
    done = lab.run(alex, stdin=f"/message {bob}\nhello?\n")
    assert done.code == 1
    assert "! not sent “hello?”: there is no such user (404 Not Found)" in done.texts


def test_a_long_text_to_one_who_is_away(lab: Lab) -> None:
    """By ``chat`` and by ``send``: kept by the server, there once, and told of."""
    alex, bob = lab.users("alex", "bob")
    long, longer = "long é" * 500, "longer é" * 1000
    assert lab.run(alex, bob, stdin=f"{long}\n").code == 0
    assert lab.server.json("send", alex, bob, longer)["status"] == "stored"
    with lab.waiting(bob) as peer:
        peer.wait("message", text=long, pager=True)
        peer.wait("message", text=longer, pager=True)
    with lab.start(alex) as chat:
        chat.wait("status", status="delivered")
        chat.wait("status", status="delivered")
    assert history(lab, alex, "out") == [(long, "delivered"), (longer, "delivered")]


def test_one_without_a_session_while_the_peer_is_there(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as peer, lab.waiting(alex) as chat:
        chat.type(f"/message {bob}", "short question")
        chat.wait("status", status="sent", text="short question")
        chat.wait("status", status="delivered", text="short question")
        peer.wait("message", text="short question", pager=True)
        chat.type("é" * 300)
        peer.wait("message", text="é" * 300, pager=True)
        chat.type("é" * 9000)
        refused = chat.wait("error")
        assert "octets too long for a message without a session" in refused["error"]


def test_how_long_it_may_be_is_a_setting(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    file = lab.directory / "rcsops.toml"
    before = file.read_text()
    try:
        file.write_text(f"{before}\n[agent]\nmax_pager_size = 1300\n")
        with lab.waiting(alex) as chat:
            chat.type(f"/message {bob}", "é" * 300)
            refused = chat.wait("error")
            assert "octets too long for a message without a session" in refused["error"]
        file.write_text(f"{before}\n[agent]\nmax_pager_size = 40000\n")
        with lab.waiting(alex) as chat:
            chat.type(f"/message {bob}", "é" * 15_000)
            chat.wait("status", status="stored")
    finally:
        file.write_text(before)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_nothing_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    """kill -9 at moments that nobody chose, while messages come and go."""
    seed = int(os.environ.get("RCSOPS_TEST_SEED", time.time_ns()))
    print("RCSOPS_TEST_SEED", seed)
    chance = random.Random(seed)
    with Lab(tmp_path) as lab:
        alex, bob = lab.users("alex", "bob")
        number = 0
        seen: list[str] = []
        for _ in range(8):
            with lab.start(alex) as chat, lab.start(bob) as peer:
                if chance.random() < 0.7:
                    peer.wait("registered")
                chat.wait("registered")
                chat.type(f"/message {bob}")
                for _ in range(10):
                    number += 1
                    chat.type(f"message {number}")
                time.sleep(chance.random())
                os.kill(lab.server.json("status")["pid"], signal.SIGKILL)
                time.sleep(chance.random() / 2)
                subprocess.run(
                    [sys.executable, "-m", "rcsops", "start"],
                    cwd=lab.directory,
                    env=lab.environment,
                    check=True,
                    capture_output=True,
                    timeout=60,
                )
                # What was under way has come to its end, good or bad.
                wait_until(lambda: not any(s == "queued" for _, s in history(lab, alex, "out")), 60)
                if chance.random() < 0.5:
                    peer.kill()
                seen += texts_of(peer)
        with lab.start(bob) as peer:
            peer.wait("registered")
            wait_until(lambda: silo(lab, bob) == [], 60)
            # The last one is answered before it leaves the table; it may be shown a moment later.
            time.sleep(1)
            assert peer.finish() == 0
        seen += texts_of(peer)
        came = [text for text, _ in history(lab, bob, "in")]
        accepted = [text for text, s in history(lab, alex, "out") if s != "failed"]
        assert set(accepted) <= set(came)
        assert len(came) == len(set(came))
        assert len(seen) == len(set(seen))
        assert set(seen) <= set(came)
        assert came == sorted(came, key=lambda text: int(text.split()[1]))


async def test_where_no_msrp_connection_comes_about(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    alex, bob = lab.users("alex", "bob")
    agent = Agent(
        f"sip:{bob}@rcs.example",
        server=lab.server.address,
        password=f"secret of {bob}",
        answer_setup="passive",
    )
    async with agent:
        feed = agent.events()
        await agent.register()
        msrp = await agent.host.msrp()
        new_path = msrp.new_path

        def elsewhere(host: str, *, secure: bool = False) -> "tuple[MsrpUri, ...]":
            # Port 9 of the loopback: nobody listens.
            return tuple(replace(uri, port=9) for uri in new_path(host, secure=secure))

        monkeypatch.setattr(msrp, "new_path", elsewhere)

        async def accept() -> None:
            async for invitation in agent.incoming():
                with contextlib.suppress(InviteError):
                    await invitation.accept()
                return

        accepting = asyncio.create_task(accept())

        def write() -> None:
            with lab.start(alex, bob) as chat:
                chat.type("all the same")
                failed = chat.wait("error", status=503)
                assert "has no connection" in failed["error"]
                chat.wait("pager", peer=f"sip:{bob}@rcs.example")
                chat.wait("status", status="delivered", text="all the same")
                assert chat.finish() == 0

        await asyncio.to_thread(write)
        async for event in feed:
            if isinstance(event, TextReceived):
                assert (event.text, event.pager) == ("all the same", True)
                break
        await accepting
