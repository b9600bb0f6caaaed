"""Replies, reactions, emoji and places in ``rcsops chat`` and ``rcsops send``, as processes."""

import json
import subprocess

import pytest

from tests.cli.chatting import CHAT, ChatProcess, Lab, talk
from tests.cli.test_scripts import RCSOPS, listening, send, sent

SCRIPTS = [
    "👩‍🚀 👨‍👩‍👧‍👦 🏳️‍🌈 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f 👍🏽 ❤️",
    "שלום, مرحبا, می‌خواهم, नमस्ते, 日本語",
    "e\u0301 is not \u00e9; \u202eturned",
]
PLACE = {"latitude": 48.2082, "longitude": 16.3738, "radius": 0.0, "label": "meeting point 👋"}


@pytest.fixture(params=["session", "no session"])
def pair(request: pytest.FixtureRequest, lab: Lab) -> "tuple[Lab, str, str, bool]":
    alex, bob = lab.users("alex", "bob")
    return lab, alex, bob, request.param == "session"


def meet(alex: ChatProcess, bob: ChatProcess, *, session: bool) -> None:
    """What one types goes to the other from now on."""
    if session:
        alex.type(f"/invite {bob.user}")
        talk(alex, bob)
        return
    alex.type(f"/message {bob.user}")
    bob.type(f"/message {alex.user}")
    alex.wait("pager")
    bob.wait("pager")


def test_a_reply_and_a_reaction(pair: "tuple[Lab, str, str, bool]") -> None:
    lab, one, other, session = pair
    with lab.waiting(one) as alex, lab.waiting(other) as bob:
        meet(alex, bob, session=session)
        bob.say("first\nof two lines")
        bob.say("see you at nine?")
        alex.wait("message", text="see you at nine?")
        alex.type("/reply nine is fine", "/reply 2 pm?", "/react 👍🏽", "/react 2 ❤️")
        bob.wait("message", text="> see you at nine?\nnine is fine")
        bob.wait("message", text="> first\n> of two lines\npm?")
        bob.wait("message", text="Reacted 👍🏽 to “see you at nine?”")
        bob.wait("message", text="Reacted ❤️ to “first of two lines”")
        # A quotation is not quoted again.
        bob.type("/reply 4 good", "/reply 99 what?", "/react yes", "/reply")
        alex.wait("message", text="> nine is fine\ngood")
        assert "messages" in bob.wait("error")["error"]
        assert bob.wait("error")["error"] == "'yes' is no emoji"
        assert bob.wait("error")["hint"] == "/reply nine is fine"
        alex.finish()
        bob.finish()


def test_a_reply_to_a_message_of_an_earlier_run(lab: Lab) -> None:
    one, other = lab.users("alex", "bob")
    with lab.waiting(one) as alex:
        assert send(lab, other, one, "are you there?").code == 0
        alex.wait("message", text="are you there?")
    with lab.waiting(other) as bob:
        done = lab.run(one, "--json", stdin=f"/message {other}\n/reply now I am\n")
        assert done.code == 0, done.out
        bob.wait("message", text="> are you there?\nnow I am")


def test_nobody_to_answer(lab: Lab) -> None:
    one, other = lab.users("alex", "bob")
    done = lab.run(one, "--json", stdin=f"/reply hello\n/message {other}\n/react 👍\n")
    assert done.code == 1
    first, second = done.of("error")
    assert first["error"] == "nobody has written to you here"
    assert second["error"] == f"there is no message of {other} to answer"


def test_emoji_and_scripts_arrive_as_they_were_written(
    pair: "tuple[Lab, str, str, bool]",
) -> None:
    lab, one, other, session = pair
    with lab.waiting(one) as alex, lab.waiting(other) as bob:
        meet(alex, bob, session=session)
        for text in SCRIPTS:
            alex.say(text)
            assert bob.wait("message", text=text)
            alex.wait("status", status="delivered")
    shown = subprocess.run(
        [*RCSOPS, "history", other, one],
        cwd=lab.directory,
        env=lab.environment,
        capture_output=True,
        timeout=60,
        check=True,
    ).stdout.decode()
    assert all(text in shown for text in SCRIPTS[:2])
    assert "e\u0301 is not \u00e9; \\u202eturned" in shown


def test_a_place(pair: "tuple[Lab, str, str, bool]") -> None:
    lab, one, other, session = pair
    with lab.waiting(one) as alex, lab.waiting(other) as bob:
        meet(alex, bob, session=session)
        alex.type("/location 48.2082 16.3738 meeting point 👋", "/location 91,0", "/location Rome")
        message = bob.wait("message", location=PLACE)
        assert message["pager"] is not session
        assert message["text"] == (
            "location meeting point 👋: 48.2082, 16.3738\n"
            "geo:48.2082,16.3738\n"
            "https://www.openstreetmap.org/?mlat=48.2082&mlon=16.3738#map=16/48.2082/16.3738"
        )
        hints = {alex.wait("error")["hint"], alex.wait("error")["hint"]}
        assert hints == {
            "latitude comes first, as in 48.2082,16.3738",
            "as in 48.2082,16.3738; south and west are negative",
        }
    out = subprocess.run(
        [*RCSOPS, "history", other, one, "--json"],
        cwd=lab.directory,
        env=lab.environment,
        capture_output=True,
        timeout=60,
        check=True,
    ).stdout
    kept = [each for each in json.loads(out)["messages"] if "geo:" in each["text"]]
    assert [each["content_type"] for each in kept] == ["application/vnd.gsma.rcspushlocation+xml"]


def test_a_place_on_a_terminal(lab: Lab) -> None:
    one, other = lab.users("alex", "bob")
    with lab.terminal(other) as bob:
        bob.sees("waiting for an invitation")
        done = send(lab, one, other, "--location=-33.8568,151.2153", "--radius", "20")
        assert (done.code, done.out) == (0, f"delivered to {other}\n")
        bob.sees(
            f"{one} (no session): location: -33.8568, 151.2153, within 20 m",
            "geo:-33.8568,151.2153;u=20",
            "https://www.openstreetmap.org/?mlat=-33.8568&mlon=151.2153",
        )


@pytest.mark.parametrize("way", ["message", "session"])
def test_send_a_place(lab: Lab, way: str) -> None:
    one, other = lab.users("alex", "bob")
    with listening(lab, other, "--json", "--count", "1") as listener:
        words = ["meeting point 👋", "--location", "48.2082,16.3738", "--wait", "delivered"]
        if way == "session":
            words.append("--session")
        document = sent(lab, one, other, *words)
        assert (document["status"], document["way"]) == ("delivered", way)
        assert document["text"].startswith("location meeting point 👋: 48.2082, 16.3738")
        assert listener.ended() == 0
    assert listener.messages[0]["location"] == PLACE


def test_a_place_for_one_who_is_away(lab: Lab) -> None:
    one, other = lab.users("alex", "bob")
    assert sent(lab, one, other, "--location", "48.2082,16.3738")["status"] == "stored"
    with listening(lab, other, "--json", "--count", "1") as listener:
        assert listener.ended() == 0
    assert listener.messages[0]["location"] == {**PLACE, "label": ""}


@pytest.mark.parametrize(
    "words",
    [
        ["--location", "here"],
        ["--location", "91,0"],
        ["--location", "1,2", "--file", __file__],
        ["hello", "--radius", "5"],
    ],
)
def test_places_that_make_no_sense(lab: Lab, words: list[str]) -> None:
    done = send(lab, "alex", "bob", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")


def test_help_names_them() -> None:
    assert CHAT[-1] == "chat"
    done = subprocess.run([*RCSOPS, "send", "--help"], capture_output=True, timeout=60, check=True)
    assert b"--location LAT,LON" in done.stdout
