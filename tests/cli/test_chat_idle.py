"""Sessions that nobody uses, as two ``rcsops chat`` processes see them."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.chatting import ChatProcess, Lab, talk
from tests.cli.test_scripts import RCSOPS

IDLE = {"RCSOPS_AGENT_IDLE_TIMEOUT": "2"}


class QuietLab(Lab):
    """Its agents let no session rest for more than two seconds."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **IDLE}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with QuietLab(tmp_path_factory.mktemp("quiet")) as lab:
        yield lab


def texts(lab: Lab, user: str, peer: str) -> list[dict[str, object]]:
    shown = subprocess.run(
        [*RCSOPS, "history", user, peer, "--json"],
        cwd=lab.directory,
        env=lab.environment,
        capture_output=True,
        timeout=60,
        check=True,
    ).stdout
    messages: list[dict[str, object]] = json.loads(shown)["messages"]
    return messages


def rest(*chats: ChatProcess) -> list[dict[str, object]]:
    """Waits until each says that its session rests."""
    return [chat.wait("session-ended", idle=True) for chat in chats]


def test_the_next_message_of_either_side_goes_on_with_it(quiet: Lab) -> None:
    one, other = quiet.users("alex", "bob")
    with quiet.waiting(one) as alex, quiet.waiting(other, "--ask") as bob:
        alex.type(f"/invite {other}")
        bob.wait("invited", waits=True)
        bob.type("/accept")
        talk(alex, bob)
        ends = rest(alex, bob)
        assert any(not end["by_peer"] for end in ends)
        # Nobody invites and nobody accepts, though bob is asked about invitations.
        for speaker, listener in ((alex, bob), (bob, alex), (alex, bob)):
            speaker.type("are you", "still", "there?")
            for text in ("are you", "still", "there?"):
                assert listener.wait("message")["text"] == text
            speaker.wait("status", status="delivered", text="there?")
            rest(alex, bob)
        for chat in (alex, bob):
            assert not [each for each in chat.notices if each["event"] == "error"]
            assert chat.finish() == 0
    sent = [each for each in texts(quiet, one, other) if each["direction"] == "out"]
    threads = {each["conversation_id"] for each in sent if each["text"] in ("are you", "there?")}
    assert len(threads) == 1


def test_both_speak_up_at_once(quiet: Lab) -> None:
    one, other = quiet.users("alex", "bob")
    with quiet.waiting(one) as alex, quiet.waiting(other) as bob:
        alex.type(f"/invite {other}")
        talk(alex, bob)
        for turn in range(5):
            rest(alex, bob)
            alex.type(f"alex {turn}")
            bob.type(f"bob {turn}")
            alex.wait("message", text=f"bob {turn}")
            bob.wait("message", text=f"alex {turn}")
        assert alex.finish() == 0 and bob.finish() == 0
    for user, peer in ((one, other), (other, one)):
        turns = [each["text"] for each in texts(quiet, user, peer)]
        assert len(turns) == len(set(turns)) == 12


def test_bye_ends_what_rests_for_good(quiet: Lab) -> None:
    one, other = quiet.users("alex", "bob")
    with quiet.waiting(one) as alex, quiet.waiting(other) as bob:
        alex.type(f"/invite {other}")
        talk(alex, bob)
        rest(alex, bob)
        alex.type("/who")
        assert alex.wait("who", peer=None)["resting"] == bob.address
        alex.type("/bye")
        alex.wait("note", note=f"the session with {other} is over")
        alex.type("hello?")
        assert alex.wait("error")["error"] == "not sent: there is no session"
        assert alex.finish() == 1


def test_a_file_wakes_it_and_keeps_it_awake(quiet: Lab, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("what was said\n" * 1000)
    one, other = quiet.users("alex", "bob")
    with quiet.waiting(one) as alex, quiet.waiting(other) as bob:
        alex.type(f"/invite {other}")
        talk(alex, bob)
        rest(alex, bob)
        alex.type(f"/send {file}")
        bob.wait("session")
        bob.wait("file-received")
        alex.wait("file-sent")
        rest(alex, bob)
        assert alex.finish() == 0 and bob.finish() == 0


def test_on_a_terminal(quiet: Lab) -> None:
    one, other = quiet.users("alex", "bob")
    with quiet.waiting(other) as bob, quiet.terminal(one, other) as alex:
        alex.sees("session with")
        bob.wait("session")
        alex.sees(f"the session with {other} rests, as nobody used it", f"{other} (resting)>")
        rest(bob)
        alex.type("good morning")
        bob.wait("message", text="good morning")
        alex.sees("✓✓ delivered")
        alex.type("/quit")
        assert alex.ended() == 0
