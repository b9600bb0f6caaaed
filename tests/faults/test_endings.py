"""Endings in order, with something under way: nothing is lost, and nothing is there twice."""

import hashlib
import json
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from rcsops.testing import wait_until
from tests.cli.chatting import PATIENCE, ChatProcess, Lab, talk, timed
from tests.faults.endings import ENDINGS, all_delivered, end, numbers, shown

pytestmark = pytest.mark.timeout(240)

# What MSRP is given to finish, the BYE, its answer, and the server to take the contact away.
_BOUND = 12.0
# What was sent may be this long without an answer, then without a receipt, at the end of the input.
_ANSWERS = 33.0 + 10.0
LONG = "y" * 500_000


@pytest.mark.parametrize("how", ENDINGS)
def test_what_is_under_way_to_one_who_reads_is_finished(lab: Lab, how: str) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as two, lab.start(alex, bob) as one:
        talk(one, two)
        for number in range(4):
            one.say(f"{number} {LONG if number % 2 else 'short'}")
        two.wait("message", text="0 short")
        end(one, how)
        two.wait("session-ended", by_peer=True)
        if how == "bye":
            one.wait("session-ended")
            # What was typed behind it has no session.
            assert one.finish() == 0
        else:
            one.ended()
        # What the end was faster than is said, or goes again.
        with lab.waiting(alex):
            count = all_delivered(lab, alex)
        assert (
            numbers(lab.history(bob), "in") == numbers(lab.history(alex), "out") == [*range(count)]
        )
        assert count > 0
        assert set(shown(two).values()) == {1}


def write_to_who_stands_still(one: ChatProcess, two: ChatProcess) -> None:
    """A long text is on its way to a process that does not go on."""
    talk(one, two)
    two.signal(signal.SIGSTOP)
    one.say(f"0 {LONG}")
    one.wait("status", status="queued")


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(how, marks=[pytest.mark.slow] if how == "end of input" else [])
        for how in ENDINGS
    ],
)
def test_a_long_text_to_one_who_stands_still_goes_again(lab: Lab, how: str) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as two, lab.start(alex, bob) as one:
        write_to_who_stands_still(one, two)
        end(one, how)
        if how == "bye":
            assert timed(lambda: one.wait("session-ended")) < _BOUND
        else:
            # The end of the input waits for the answer to each message first.
            answers = _ANSWERS if how == "end of input" else 0
            assert timed(lambda: one.ended(90)) < answers + _BOUND
            [left] = [each for each in lab.history(alex) if each["text"].startswith("0 ")]
            assert left["status"] == "queued"
        two.signal(signal.SIGCONT)
        if how == "bye":
            assert all_delivered(lab, alex) == 1
            assert one.finish() == 0
        else:
            with lab.waiting(alex):
                assert all_delivered(lab, alex) == 1
        assert numbers(lab.history(bob), "in") == [0]
        assert shown(two) == {"0": 1}


@pytest.mark.parametrize("how", ENDINGS)
def test_receipts_under_way_at_the_end_of_the_receiver(lab: Lab, how: str) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(alex) as one, lab.waiting(bob) as two:
        one.type(f"/invite {bob}")
        talk(one, two)
        for number in range(60):
            one.say(f"{number} {LONG if number == 30 else 'x' * 300}")
        two.wait("message", text=f"10 {'x' * 300}")
        # It hears no receipt before the end.
        one.signal(signal.SIGSTOP)
        end(two, how)
        if how == "bye":
            two.wait("session-ended")
        else:
            assert two.ended(60) == 0
        one.signal(signal.SIGCONT)
        with lab.waiting(bob) as again:
            count = all_delivered(lab, alex)
            # Those that nobody acknowledged are refused, which is told, or go again.
            assert numbers(lab.history(bob), "in") == [*range(count)]
            assert count > 10
            assert set(shown(two, again).values()) == {1}
        # 1 where a line was typed when the session was over, which was told.
        one.finish()


@pytest.mark.parametrize("who", ["sender", "receiver"])
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "end of input"])
def test_a_file_under_way_goes_on_at_the_next_start(
    lab: Lab, tmp_path: Path, how: str, who: str
) -> None:
    alex, bob = lab.users("alex", "bob")
    film, files = tmp_path / "film.bin", tmp_path / "in"
    film.write_bytes(secrets.token_bytes(1 << 20) * 90)
    words = (bob, "--files", str(files))
    with lab.waiting(alex) as one, lab.waiting(*words) as two:
        one.type(f"/invite {bob}")
        talk(one, two)
        one.type(f"/send {film}")
        while two.wait("file-progress")["octets"] < 10 << 20:
            continue
        end(one if who == "sender" else two, how)
        # The end of the input waits for the file, or for nothing of the other's.
        (one if who == "sender" else two).ended(60)
        (two if who == "sender" else one).finish(60)
    with lab.waiting(alex) as one, lab.waiting(*words) as two:
        names = [each["name"] for each in listed(two)]
        if names:
            assert names == ["film.bin"]
            two.type("/resume")
            two.wait("file-received", timeout=60)
        wait_until(lambda: [each["status"] for each in lab.history(alex)][-1] == "delivered", 30)
        assert one.finish() == two.finish() == 0
    assert [path.name for path in files.iterdir()] == ["film.bin"]
    whole = hashlib.sha256(film.read_bytes()).digest()
    assert hashlib.sha256((files / "film.bin").read_bytes()).digest() == whole
    for user, direction in ((alex, "out"), (bob, "in")):
        rows = [each["file"] for each in lab.history(user) if each["direction"] == direction]
        assert [each["name"] for each in rows if each is not None] == ["film.bin"]


def listed(chat: ChatProcess) -> list[dict[str, object]]:
    """What ``/files`` says."""
    chat.type("/files")
    found: list[dict[str, object]] = chat.wait("files")["files"]
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_leaves_at_once(lab: Lab, number: signal.Signals) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as two, lab.start(alex, bob) as one:
        write_to_who_stands_still(one, two)
        one.signal(number)
        one.wait("ending")
        one.signal(number)
        assert timed(one.ended) < 2
        two.signal(signal.SIGCONT)
        with lab.waiting(alex):
            assert all_delivered(lab, alex) == 1
        assert numbers(lab.history(bob), "in") == [0]
        assert shown(two) == {"0": 1}


# --- rcsops send, rcsops listen ------------------------------------------------------------------


def rcsops(lab: Lab, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "rcsops", *words],
        cwd=lab.directory,
        env=lab.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("text", ["short", "long"])
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "--timeout"])
def test_a_send_that_is_ended_sends_again_or_says_that_it_did_not(
    lab: Lab, how: str, text: str
) -> None:
    alex, bob = lab.users("alex", "bob")
    body = f"0 {LONG if text == 'long' else 'short'}"
    with lab.waiting(bob) as two:
        # So that nobody asks first what its device can do.
        two.type(f"/message {alex}", "hello")
        two.wait("status", status="stored")
        with lab.waiting(alex) as one:
            one.wait("message", text="hello")
            one.finish()
        two.signal(signal.SIGSTOP)
        more = ("--timeout", "3") if how == "--timeout" else ()
        with rcsops(lab, "send", alex, bob, "-", *more) as sending:
            assert sending.stdin is not None
            sending.stdin.write(body)
            sending.stdin.close()
            sending.stdin = None
            if how != "--timeout":
                time.sleep(3)
                sending.send_signal(signal.Signals[how])
            out, err = sending.communicate(timeout=60)
        assert "Traceback" not in err, err
        assert out == ""
        assert sending.returncode != 0
        two.signal(signal.SIGCONT)
        with lab.waiting(alex):
            wait_until(
                lambda: not [each for each in lab.history(alex) if each["status"] == "queued"],
                PATIENCE,
            )
            ours = [each for each in lab.history(alex) if each["direction"] == "out"]
            if ours and ours[-1]["status"] != "failed":
                assert all_delivered(lab, alex) == 1
        # As many as the sender's history says, and each once.
        came = numbers(lab.history(bob), "in")
        assert came == [0] * len([each for each in ours if each["status"] != "failed"])
        assert set(shown(two).values()) <= {1}
        if how == "--timeout":
            assert sending.returncode == 1
            assert err.startswith("error: the message was not sent within 3 s")


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_a_listener_that_is_ended_among_messages(lab: Lab, how: str) -> None:
    alex, bob = lab.users("alex", "bob")
    got: list[str] = []
    with lab.waiting(alex) as one:
        with rcsops(lab, "listen", bob, "--json", "--exec", "sleep 0.05; echo got") as listener:
            assert listener.stderr is not None and listener.stdout is not None
            while "registered as" not in listener.stderr.readline():
                continue
            one.type(f"/invite {bob}")
            one.wait("session")
            for number in range(30):
                one.say(f"{number} {LONG if number == 12 else 'short'}")
            for _ in range(3):
                got.append(listener.stdout.readline())
            listener.send_signal(signal.Signals[how])
            out, err = listener.communicate(timeout=60)
            assert listener.returncode == 0, err
            got += out.splitlines()
        with lab.waiting(bob) as two:
            count = all_delivered(lab, alex)
            assert numbers(lab.history(bob), "in") == [*range(count)]
            before = Counter(
                document["text"].split()[0]
                for document in map(json.loads, filter(None, got))
                if document.get("text", "")[:1].isdigit()
            )
            assert set((before + shown(two)).values()) == {1}
        # 1 where a line was typed when the session was over, which was told.
        one.finish()
