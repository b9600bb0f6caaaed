"""When sessions began and how they ended, in the history of chats that were processes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rcsops.testing import wait_until
from tests.cli.chatting import Lab, talk
from tests.cli.test_scripts import rcsops

pytestmark = pytest.mark.timeout(180)


def sessions(lab: Lab, user: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        rcsops(lab, "history", user, "--sessions", "--json").out
    )["sessions"]
    return found


def ended(lab: Lab, user: str) -> list[tuple[str, str]]:
    return [(each["direction"], each["ended"]) for each in sessions(lab, user)]


def lines(lab: Lab, user: str, *words: str) -> list[str]:
    """What is shown, without the times."""
    shown = rcsops(lab, "history", user, *words).out.splitlines()
    return [re.sub(r"^[0-9-]{10} [0-9:]{8} ", "", line) for line in shown]


def test_who_said_good_bye_is_told_on_both_sides(lab: Lab, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as callee, lab.start(alex, bob) as caller:
        talk(caller, callee)
        caller.type("/bye")
        callee.wait("session-ended")
        callee.type(f"/invite {alex}")
        talk(callee, caller)
        # The last of the other side.
        callee.type("/bye")
        caller.wait("session-ended")
        assert (caller.finish(), callee.finish()) == (0, 0)
    assert ended(lab, alex) == [("out", "us"), ("in", "peer")]
    assert ended(lab, bob) == [("in", "peer"), ("out", "us")]
    first, second = sessions(lab, alex)
    assert first["peer"] == f"sip:{bob}@rcs.example"
    assert first["began_at"] < first["ended_at"] < second["began_at"] < second["ended_at"]
    assert first["chat_id"] == sessions(lab, bob)[0]["chat_id"]

    shown = lines(lab, alex, "--sessions")
    marks = [each for each in shown if each.startswith("-- ")]
    assert marks == [
        f"-- session with {bob}, you invited",
        f"-- the session with {bob} ended: by you",
        f"-- session with {bob}, {bob} invited",
        f"-- the session with {bob} ended: by {bob}",
    ]
    assert shown[0] == marks[0] and shown[-1] == marks[-1] and len(shown) == 8
    # Without the flag all is as it was.
    assert lines(lab, alex) == [each for each in shown if each not in marks]
    assert "sessions" not in json.loads(rcsops(lab, "history", alex, "--json").out)
    # The last messages, and what was from then on.
    assert lines(lab, alex, "--sessions", "--limit", "1") == shown[-2:]

    for form, mark in (("txt", marks[1]), ("html", marks[1])):
        file = tmp_path / f"kept.{form}"
        rcsops(lab, "history", alex, "--sessions", "--export", str(file))
        assert mark in file.read_text()
    file = tmp_path / "kept.json"
    rcsops(lab, "history", alex, "--sessions", "--export", str(file))
    kept = json.loads(file.read_text())
    assert len(kept["messages"]) == 4 and kept["sessions"] == sessions(lab, alex)


def test_a_session_that_breaks_one_that_is_killed_and_one_that_never_was(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as callee, lab.waiting(alex) as caller:
        caller.type(f"/invite {bob}")
        talk(caller, callee)
        callee.kill()
        caller.wait("session-ended", timeout=60)
        caller.type("/invite nobody-at-all")
        caller.wait("error")
        assert caller.finish() in (0, 1)
    assert ended(lab, alex) == [("out", "broken"), ("out", "not reached")]
    assert sessions(lab, alex)[1]["reason"]
    # Whose process was killed has no end of it.
    (cut,) = sessions(lab, bob)
    assert (cut["ended_at"], cut["ended"]) == (None, "")
    assert lines(lab, bob, "--sessions")[0] == f"-- session with {alex}, {alex} invited"
    assert lines(lab, alex, "--sessions")[-1].startswith("-- no session with nobody-at-all: ")


def test_how_invitations_ended_that_no_session_came_of(lab: Lab) -> None:
    alex, bob, carol = lab.users("alex", "bob", "carol")
    with lab.waiting(alex, "--ask") as one, lab.waiting(bob) as two, lab.waiting(carol) as three:
        two.type(f"/invite {alex}")
        one.wait("invited")
        one.type("/decline")
        two.wait("error", status=603)
        two.type(f"/invite {alex}")
        one.wait("invited")
        two.type("/bye")
        one.wait("invite-cancelled")
        three.type(f"/invite {alex}")
        one.wait("invited")
        one.type("/accept")
        one.wait("session")
        two.type(f"/invite {alex}")
        two.wait("error", status=486)
        for each in (one, two, three):
            each.finish()
    assert ended(lab, bob) == [("out", "declined"), ("out", "cancelled"), ("out", "busy")]
    assert lines(lab, bob, "--sessions") == [
        f"-- no session with {alex}: {alex} declined",
        f"-- no session with {alex}: you took it back",
        f"-- no session with {alex}: {alex} was busy",
    ]
    assert [each for each in lines(lab, alex, "--sessions") if bob in each] == [
        f"-- no session with {bob}, {bob} invited: you declined",
        f"-- no session with {bob}, {bob} invited: you did not answer",
        f"-- no session with {bob}, {bob} invited: you were busy",
    ]
    theirs = [each for each in sessions(lab, alex) if bob in each["peer"]]
    assert [(each["direction"], each["ended"]) for each in theirs] == [
        ("in", "declined"),
        ("in", "missed"),
        ("in", "busy"),
    ]
    assert all(each["chat_id"] and each["began_at"] <= each["ended_at"] for each in theirs)


def test_an_invitation_that_rang_when_its_process_was_killed(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(alex, "--ask") as callee, lab.waiting(bob) as caller:
        caller.type(f"/invite {alex}")
        callee.wait("invited")
        wait_until(lambda: ended(lab, alex) == [("in", "ringing")], 20)
        callee.kill()
        caller.type("/bye")
        with lab.waiting(alex, "--ask") as again:
            caller.skip()
            caller.type(f"/invite {alex}")
            again.wait("invited")
            again.type("/accept")
            talk(caller, again)
    rang, session = sessions(lab, alex)
    assert (rang["ended"], rang["ended_at"]) == ("ringing", None)
    assert rang["peer"] == f"sip:{bob}@rcs.example"
    assert session["ended"] != "ringing"
    assert lines(lab, alex, "--sessions")[0] == (
        f"-- no session with {bob}, {bob} invited:"
        " no answer yet, or rcsops was killed while it rang"
    )


def test_an_invitation_of_ours_that_rang_when_its_process_was_killed(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob, "--ask") as callee:
        with lab.start(alex, bob) as caller:
            callee.wait("invited")
            wait_until(lambda: ended(lab, alex) == [("out", "ringing")], 20)
            caller.kill()
        with lab.start(alex) as again:
            again.wait("registered")
    (rang,) = sessions(lab, alex)
    assert (rang["ended"], rang["ended_at"]) == ("ringing", None)
    assert rang["peer"] == f"sip:{bob}@rcs.example"
    assert lines(lab, alex, "--sessions") == [
        f"-- no session with {bob}: no answer yet, or rcsops was killed while it rang"
    ]


def test_what_makes_no_sense_is_refused(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    assert rcsops(lab, "history", alex, "--sessions", "--search", "x").code == 2
    assert rcsops(lab, "history", alex, "--sessions", "--peers").code == 2
    assert rcsops(lab, "history", alex, "--sessions").code == 0
