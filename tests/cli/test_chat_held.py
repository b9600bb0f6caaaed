"""What is typed while a session is being set up is in the history before it is shown."""

import signal

import pytest

from rcsops.testing import wait_until
from tests.cli.chatting import Lab, Terminal

pytestmark = pytest.mark.timeout(180)


def held(lab: Lab, screen: Terminal, user: str, *lines: str) -> list[str]:
    """Types lines while it rings; the Message-IDs under which the history has them."""
    screen.sees("ringing at", f"{user}>")
    screen.type(*lines)
    wait_until(lambda: len(lab.history(user)) == len(lines), 20)
    ours = lab.history(user)
    assert [(each["status"], list(each["times"])) for each in ours] == [
        ("queued", ["queued"]) for _ in lines
    ]
    return [each["message_id"] for each in ours]


def test_it_goes_under_its_message_id_when_the_session_opens(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob, "--ask") as peer, lab.terminal(alex, bob) as screen:
        kept = held(lab, screen, alex, "one", "/location 48.2,16.3 here", "two")
        peer.wait("invited")
        peer.type("/accept")
        assert [peer.wait("message")["message_id"] for _ in kept] == kept
        wait_until(lambda: {each["status"] for each in lab.history(alex)} == {"delivered"}, 20)
    ours, theirs = lab.history(alex), lab.history(bob)
    assert [each["message_id"] for each in ours] == [each["message_id"] for each in theirs] == kept
    assert {tuple(each["times"]) for each in ours} == {("queued", "sent", "delivered")}
    # By which thread it went is known when it goes.
    assert {each["conversation_id"] for each in ours} == {theirs[0]["conversation_id"]} != {""}
    assert [each["content_type"] for each in ours] == [each["content_type"] for each in theirs]


def test_it_goes_under_its_message_id_without_a_session(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.terminal(alex) as screen:
        with lab.waiting(bob, "--ask") as peer:
            screen.sees(f"{alex}>")
            screen.type(f"/invite {bob}")
            kept = held(lab, screen, alex, "call me")
            peer.wait("invited")
            assert peer.finish() == 0
        screen.sees("stored by the server “call me”")
        with lab.waiting(bob) as peer:
            assert peer.wait("message", text="call me")["message_id"] == kept[0]
        wait_until(lambda: lab.history(alex)[0]["status"] == "delivered", 20)
    (ours,), (theirs,) = lab.history(alex), lab.history(bob)
    assert ours["message_id"] == theirs["message_id"] == kept[0]
    assert list(ours["times"]) == ["queued", "stored", "delivered"]


def test_it_says_that_it_failed_when_nothing_comes_of_the_session(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob, "--ask") as peer, lab.terminal(alex, bob) as screen:
        first = held(lab, screen, alex, "are you there?")
        peer.wait("invited")
        peer.type("/decline")
        screen.sees(f"{bob} declined (603); 1 line of yours not sent")
        wait_until(lambda: lab.history(alex)[0]["status"] == "failed", 20)
        screen.type(f"/invite {bob}")
        screen.sees("ringing at")
        screen.type("never mind", "/bye")
        screen.sees("your invitation is taken back; 1 line of yours not sent")
        screen.type("/quit")
        assert screen.ended() == 0
    ours = lab.history(alex)
    assert [(each["text"], each["status"], each["reason"]) for each in ours] == [
        ("are you there?", "failed", "there was no session"),
        ("never mind", "failed", "there was no session"),
    ]
    assert ours[0]["message_id"] == first[0]
    # It is over: the next one does not send it.
    with lab.waiting(bob) as peer, lab.start(alex, bob) as chat:
        chat.wait("session")
        chat.say("hello")
        assert peer.wait_any("message")["text"] == "hello"
    assert [each["text"] for each in lab.history(bob)] == ["hello"]


def test_it_arrives_once_though_its_process_was_killed(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob, "--ask") as peer:
        with lab.terminal(alex, bob) as screen:
            kept = held(lab, screen, alex, "one", "two")
            screen.signal(signal.SIGKILL)
            screen.rest()
        assert [each["status"] for each in lab.history(alex)] == ["queued", "queued"]
        with lab.waiting(alex):
            assert [peer.wait("message")["message_id"] for _ in kept] == kept
            wait_until(lambda: {each["status"] for each in lab.history(alex)} == {"delivered"}, 20)
        with lab.waiting(alex, bob):
            peer.wait("invited")
    assert [each["text"] for each in lab.history(alex)] == ["one", "two"]
    assert [each["text"] for each in lab.history(bob)] == ["one", "two"]
    assert [each["message_id"] for each in lab.history(bob)] == kept


def test_who_leaves_while_it_rings_is_told_that_it_waits(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob, "--ask") as peer:
        with lab.terminal(alex, bob) as screen:
            kept = held(lab, screen, alex, "one")
            screen.type("/quit")
            screen.sees("a line of yours has not gone yet: the next rcsops chat sends what waits")
            assert screen.ended() == 0
        with lab.waiting(alex):
            assert peer.wait("message", text="one")["message_id"] == kept[0]
    assert [each["text"] for each in lab.history(bob)] == ["one"]
