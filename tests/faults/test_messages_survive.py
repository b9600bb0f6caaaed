"""kill -9 of agents with messages under way: each arrives once, in order, and its state is true."""

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from rcsops.testing import wait_until
from tests.cli.chatting import PATIENCE, Lab, talk
from tests.faults.endings import all_delivered, numbers, status_of

pytestmark = pytest.mark.timeout(240)


@contextmanager
def listening(lab: Lab, user: str) -> Iterator[None]:
    """``rcsops listen``, to which a message is displayed as soon as it is there."""
    with subprocess.Popen(
        [sys.executable, "-m", "rcsops", "listen", user, "--exec", "true"],
        cwd=lab.directory,
        env=lab.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_until(lambda: lab.is_registered(user), PATIENCE)
            yield
        finally:
            process.terminate()


def test_the_receiver_is_killed_among_messages(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    shown: list[str] = []
    with lab.start(alex) as one:
        one.wait("registered")
        with lab.waiting(bob) as two:
            one.type(f"/invite {bob}")
            talk(one, two)
            for number in range(40):
                one.say(f"{number} {'x' * 300}")
            two.wait("message", text=f"5 {'x' * 300}")
            two.kill()
        one.wait("session-ended")
        shown += [each["text"] for each in two.notices if each["event"] == "message"]
        with lab.waiting(bob) as two:
            # What was typed when the session was over was refused, which was told.
            count = all_delivered(lab, alex)
            assert count > 5
            assert numbers(lab.history(bob), "in") == list(range(count))
            shown += [each["text"] for each in two.notices if each["event"] == "message"]
        assert one.finish() == 0
    assert len(shown) == len(set(shown))


def test_the_sender_is_killed_with_messages_under_way(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    long = "y" * 5000
    with lab.waiting(bob) as two:
        with lab.start(alex, bob) as one:
            talk(one, two)
            for number in range(30):
                one.say(f"{number} {long if number % 10 == 3 else 'short'}")
            one.wait("status", status="queued", text="2 short")
            one.kill()
        two.wait("session-ended")
        count = len(numbers(lab.history(alex), "out"))
        assert count
        with lab.waiting(alex):
            assert all_delivered(lab, alex) == count
        got = numbers(lab.history(bob), "in")
        assert got == list(range(count))
        shown = [each["text"] for each in two.notices if each["event"] == "message"]
        assert len(shown) == len(set(shown)) == count + 1


def test_what_is_owed_is_told_at_the_next_start(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(alex) as one:
        with lab.waiting(bob) as two:
            one.type(f"/message {bob}", "0 hello")
            two.wait("message", text="0 hello")
            one.wait("status", status="delivered")
        # As if bob had been killed before his notification had left.
        file = lab.project.make_agent_dir(f"{bob}@rcs.example") / "history.db"
        with sqlite3.connect(file) as history:
            changed = history.execute(
                "UPDATE message SET owed = 3, status = 'displayed', displayed_at = 1e9"
            )
            assert changed.rowcount == 1
        history.close()
        with lab.waiting(bob):
            one.wait("status", status="displayed")
            owed = sqlite3.connect(file)
            try:
                query = "SELECT sum(owed) FROM message"
                wait_until(lambda: owed.execute(query).fetchone() == (0,), PATIENCE)
            finally:
                owed.close()
        assert one.finish() == 0


def test_what_is_displayed_is_told_again_to_who_was_killed(lab: Lab) -> None:
    """The sender hears that its message was displayed, which is told once, and is killed within a
    moment: before it has noted that, it has not answered either."""
    chance = random.Random(6)
    alex, bob = lab.users("alex", "bob")
    with listening(lab, bob):
        for number in range(5):
            with lab.waiting(alex) as one:
                one.type(f"/invite {bob}")
                one.wait("session")
                one.say(f"{number} seen?")
                one.wait("status", status="displayed", text=f"{number} seen?")
                time.sleep(chance.random() * 0.02)
                one.kill()
        with lab.waiting(alex):
            wait_until(
                lambda: set(status_of(lab, alex).values()) == {"displayed"},
                PATIENCE,
                what="the sender knows all that its peer told",
            )
    assert len(status_of(lab, alex)) == 5


def test_a_sender_without_a_server_sends_when_it_is_back(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(alex) as one, lab.waiting(bob) as two:
        lab.server.stop()
        one.wait("registration-lost")
        one.type(f"/message {bob}")
        for number in range(3):
            one.type(f"{number} while it is gone")
        wait_until(lambda: len(status_of(lab, alex)) == 3, timeout=PATIENCE)
        assert set(status_of(lab, alex).values()) == {"queued"}
        lab.server.start()
        two.wait("message", text="2 while it is gone", timeout=60)
        assert all_delivered(lab, alex) == 3
        assert numbers(lab.history(bob), "in") == [0, 1, 2]


def test_the_first_message_of_all_is_not_taken_before_it_is_kept(lab: Lab) -> None:
    """Nobody knows yet whether the receiver tells what it has: its 200 has to be true."""
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(alex) as sender:
        with lab.waiting(bob) as receiver:
            sender.type(f"/invite {bob}")
            sender.wait("session")
            receiver.wait("session")
            path = lab.directory / ".rcsops" / "agents" / f"{bob}@rcs.example" / "history.db"
            with closing(sqlite3.connect(path, isolation_level=None)) as database:
                # Its disk is busy when the message comes, and then it is killed.
                database.execute("BEGIN IMMEDIATE")
                sender.say("the very first")
                sender.wait("status", status="queued", text="the very first")
                time.sleep(1)
                receiver.kill()
        sender.wait("session-ended")
        assert not [each for each in sender.notices if each.get("status") == "sent"]
        with lab.waiting(bob) as receiver:
            receiver.wait("message", text="the very first")
            sender.wait("status", status="delivered", text="the very first")
    assert [each["text"] for each in lab.history(bob)] == ["the very first"]
