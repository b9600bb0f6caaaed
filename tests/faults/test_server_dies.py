"""kill -9 of the embedded server in the middle of every step of a session, and its return.

Whatever the step: each side comes to a defined end that it is told of, what was acknowledged is
there, and once the server is back the two can talk again.
"""

import os
import signal
import sqlite3

import pytest

from rcsops.testing import wait_until
from tests.cli.chatting import ChatProcess, Lab, talk

pytestmark = pytest.mark.timeout(150)

LONG = 60.0


def registrations(chat: ChatProcess) -> int:
    return sum(notice["event"] == "registered" for notice in chat.notices)


class Crash:
    """kill -9, and who was registered then."""

    def __init__(self, lab: Lab, *chats: ChatProcess) -> None:
        self.lab = lab
        self.before = {chat: registrations(chat) for chat in chats}
        os.kill(lab.server.json("status")["pid"], signal.SIGKILL)

    def over(self) -> None:
        """The server is there again, and the chats have come back to it."""
        back(self.lab)
        for chat, count in self.before.items():
            wait_until(
                lambda chat=chat, count=count: registrations(chat) > count,  # type: ignore[misc]
                timeout=LONG,
                what=f"{chat.user} is back",
            )


def back(lab: Lab) -> None:
    lab.server.start()


def talk_again(alex: ChatProcess, bob: ChatProcess) -> None:
    """A session works in both directions."""
    alex.skip()
    bob.skip()
    alex.type(f"/invite {bob.user}")
    talk(alex, bob)


def test_while_it_registers(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    os.kill(pid := lab.server.json("status")["pid"], signal.SIGSTOP)
    with lab.start(alex) as chat:
        try:
            wait_until(lambda: chat.is_connected, timeout=LONG, what="the connection")
        finally:
            os.kill(pid, signal.SIGKILL)
            back(lab)
        chat.wait("registered", timeout=LONG)


@pytest.mark.rfc("5626", "4.5")
def test_while_they_wait(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(alex) as one, lab.waiting(bob) as two:
        Crash(lab, one, two).over()
        talk_again(one, two)


def test_while_it_rings(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob, "--ask") as two, lab.start(alex, bob) as one:
        two.wait("invited")
        one.wait("progress", status=180)
        Crash(lab, one, two).over()
        two.type("/accept")
        ends = ("session", "session-ended", "error", "invite-cancelled")
        outcomes = {chat.settled(*ends, timeout=LONG) for chat in (one, two)}
        # Both have a session, or both know that there is none.
        assert outcomes == {"session"} or "session" not in outcomes, outcomes
        for chat in (one, two):
            chat.type("/who")
            chat.wait("who")


def test_in_a_session(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as two, lab.start(alex, bob) as one:
        talk(one, two)
        crash = Crash(lab, one, two)
        # They are connected to each other, not by the server.
        for number in range(3):
            one.say(f"without a server {number}")
            one.wait("status", status="delivered")
            two.wait("message", text=f"without a server {number}")
        crash.over()
        one.type("/bye")
        two.wait("session-ended", timeout=LONG)
        talk_again(one, two)
        one.type("/quit")
        two.type("/quit")
        assert one.ended() == two.ended() == 0
    for user, direction in ((alex, "out"), (bob, "in")):
        kept = history(lab, user, "without a server")
        assert kept == [(f"without a server {number}", direction) for number in range(3)]


def test_when_it_ends(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as two, lab.start(alex, bob) as one:
        talk(one, two)
        crash = Crash(lab, one, two)
        one.type("/bye")
        one.wait("session-ended", by_peer=False, timeout=LONG)
        # The BYE went nowhere, but the connection is closed.
        two.wait("session-ended", timeout=LONG)
        crash.over()
        talk_again(one, two)


def test_it_stays_away(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as two, lab.waiting(alex) as one:
        crash = Crash(lab, one, two)
        lost = one.wait("registration-lost", timeout=LONG)
        assert "does not answer" in lost["reason"] or "closed" in lost["reason"], lost
        one.type(f"/invite {bob}")
        error = one.wait("error", timeout=LONG)
        assert error["error"] and "Traceback" not in error["error"]
        crash.over()
        talk_again(one, two)


def history(lab: Lab, user: str, text: str) -> list[tuple[str, str]]:
    path = lab.project.agent_dir(f"{user}@rcs.example") / "history.db"
    with sqlite3.connect(path) as database:
        return database.execute(
            "SELECT text, direction FROM message WHERE text LIKE ? ORDER BY id", (f"{text}%",)
        ).fetchall()
