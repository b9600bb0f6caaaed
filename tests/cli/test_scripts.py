"""``rcsops send`` and ``rcsops listen``: scripts and bots, as processes on the embedded server."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from rcsops.testing import wait_until
from tests.cli.chatting import PATIENCE, Finished, Lab, talk

RCSOPS = (sys.executable, "-m", "rcsops")
HOSTILE = "$(touch pwned) `touch pwned`; touch pwned #' \" \\ \x1b[31m\nsecond line\t👋"


class Place(Protocol):
    """Where a command runs: a project's directory, whatever its server is."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]: ...


def send(lab: Place, *words: str, stdin: bytes = b"", **environment: str) -> Finished:
    return rcsops(lab, "send", *words, stdin=stdin, **environment)


def rcsops(lab: Place, *words: str, stdin: bytes = b"", **environment: str) -> Finished:
    done = subprocess.run(
        [*RCSOPS, *words],
        cwd=lab.directory,
        env={**lab.environment, **environment},
        input=stdin,
        capture_output=True,
        timeout=90,
        check=False,
    )
    return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())


def sent(lab: Place, *words: str, stdin: bytes = b"") -> dict[str, Any]:
    """What ``send --json`` says, with its exit code."""
    done = send(lab, *words, "--json", stdin=stdin)
    assert done.out, done.err
    document: dict[str, Any] = json.loads(done.out)
    assert document["done"] is (done.code == 0)
    return document


class Listening:
    """``rcsops listen USER …`` as it runs."""

    def __init__(self, lab: Place, user: str, *words: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*RCSOPS, "listen", user, *words],
            cwd=lab.directory,
            env={**lab.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))

    def sees(self, text: str) -> None:
        wait_until(lambda: any(text in line for line in self.out), PATIENCE)

    def notes(self, text: str) -> None:
        wait_until(lambda: any(text in line for line in self.err), PATIENCE)

    @property
    def messages(self) -> list[Mapping[str, Any]]:
        """What ``--json`` printed."""
        return [json.loads(line) for line in self.out]

    def ended(self) -> int:
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        assert not any("Traceback" in line for line in self.err), self.err
        return code

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.ended()


@contextmanager
def listening(lab: Place, user: str, *words: str, **environment: str) -> Iterator[Listening]:
    """The same, registered."""
    listener = Listening(lab, user, *words, **environment)
    try:
        listener.notes("registered as")
        yield listener
    finally:
        if listener.process.poll() is None:
            listener.process.kill()
        listener.ended()


# --- send ------------------------------------------------------------------------------------


def test_to_one_who_is_there(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with listening(lab, bob) as listener:
        done = send(lab, alex, bob, "hello")
        assert (done.code, done.out) == (0, f"delivered to {bob}\n")
        listener.sees(f"{alex} (no session): hello")
        assert listener.end() == 0
    assert not lab.is_registered(bob)


def test_a_program_hears_how_it_goes(lab: Lab, tmp_path: Path) -> None:
    """On standard error an object a line, as `rcsops chat --json` has them; the result stays alone
    on standard output."""

    def told(*words: str) -> list[dict[str, Any]]:
        done = send(lab, alex, bob, *words, "--json")
        assert json.loads(done.out)["done"] is True and done.code == 0
        notices = [json.loads(line) for line in done.err.splitlines()]
        assert all("time" in each for each in notices)
        assert notices[0]["event"] == "registered"
        return notices[1:]

    alex, bob = lab.users("alex", "bob")
    file = tmp_path / "film.bin"
    file.write_bytes(os.urandom(3_000_000))
    answers = ("--exec", "echo yes", "--files", str(tmp_path / "in"))
    with listening(lab, bob, *answers) as listener:
        statuses = [each["status"] for each in told("hello", "--wait", "displayed")]
        assert statuses == ["sent", "delivered", "displayed"]
        events = [each["event"] for each in told("hello", "--session", "--wait", "displayed")]
        assert events[:3] == ["progress", "progress", "session"]
        assert {"status", "message"} <= set(events) and events[-1] == "session-ended"
        progress = [each for each in told("--file", str(file)) if each["event"] == "file-progress"]
        assert progress and all(each["total"] == 3_000_000 for each in progress)
        assert listener.end() == 0


def test_to_one_who_is_away_and_comes_back(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    done = send(lab, alex, bob, "first")
    assert (done.code, done.out) == (0, f"stored by the server: {bob} gets it later\n")
    assert sent(lab, alex, bob, "-", stdin="second\nGrüße 👋\n".encode())["status"] == "stored"
    assert sent(lab, alex, bob, "third", "--wait", "stored")["status"] == "stored"
    with listening(lab, bob, "--json", "--count", "2") as listener:
        assert listener.ended() == 0
    assert [each["text"] for each in listener.messages] == ["first", "second\nGrüße 👋"]
    # The third was left to the server.
    with listening(lab, bob, "--json", "--count", "1") as listener:
        assert listener.ended() == 0
    assert [each["text"] for each in listener.messages] == ["third"]


def test_what_does_not_come_in_time(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    document = sent(lab, alex, bob, "hello?", "--wait", "delivered", "--timeout", "2")
    assert (document["done"], document["status"]) == (False, "stored")
    assert document["error"] == "the message was not delivered within 2 s"
    done = send(lab, alex, bob, "hello?", "--wait", "sent", "--timeout", "2")
    assert done.code == 1
    assert "error: the message was not sent within 2 s" in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("gap", [0.0, 0.004, 0.03])
def test_a_signal_that_comes_twice(lab: Lab, number: signal.Signals, gap: float) -> None:
    """As `timeout` sends it, to the process and to its group."""
    alex, bob = lab.users("alex", "bob")
    with subprocess.Popen(
        [*RCSOPS, "send", alex, bob, "are you there?", "--wait", "delivered"],
        cwd=lab.directory,
        env=lab.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        wait_until(lambda: lab.is_registered(alex), PATIENCE)
        process.send_signal(number)
        time.sleep(gap)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err.strip()) == (130, b"", b"")
    assert not lab.is_registered(alex)


def test_a_long_text_goes_in_a_session(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    text = "a long text, more than a server keeps. " * 1000
    document = sent(lab, alex, bob, "-", stdin=text.encode())
    assert (document["done"], document["status"]) == (False, "failed")
    assert "octets too long for a message without a session" in document["error"]
    with listening(lab, bob, "--json") as listener:
        document = sent(lab, alex, bob, "-", "--wait", "delivered", stdin=text.encode())
        assert (document["way"], document["status"]) == ("session", "delivered")
        document = sent(lab, alex, bob, "short", "--session")
        assert (document["way"], document["status"]) == ("session", "delivered")
        wait_until(lambda: len(listener.out) == 2, PATIENCE)
        assert [each["text"] for each in listener.messages] == [text, "short"]
        assert [each["pager"] for each in listener.messages] == [False, False]


def test_a_file(lab: Lab, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    file = tmp_path / "picture.bin"
    file.write_bytes(bytes(range(256)) * 4000)
    with listening(lab, bob, "--json", "--files", str(tmp_path / "in")) as listener:
        done = send(lab, alex, bob, "--file", str(file))
        assert (done.code, done.out) == (0, f"delivered to {bob}\n"), done.err
        listener.sees("file-received")
        (received,) = listener.messages
        assert received["sha1"] == hashlib.sha1(file.read_bytes()).hexdigest()
        assert Path(received["path"]).read_bytes() == file.read_bytes()
    with listening(lab, bob) as listener:
        document = sent(lab, alex, bob, "--file", str(file))
        assert (document["done"], document["status"], document["code"]) == (False, "failed", 603)
        listener.notes("refused, for there is no --files DIR")


@pytest.mark.parametrize(
    ("setting", "value", "told", "noted"),
    [
        ("RULES", "refuse", "declined", "refused, as your rules say"),
        ("MAX_SIZE", "100", "the file is larger than the peer takes", "refused, as your rules say"),
        ("RESERVE", "1000000000000000", "the peer has no place for the file", "do not fit"),
    ],
)
def test_a_file_that_is_not_taken(
    lab: Lab, tmp_path: Path, setting: str, value: str, told: str, noted: str
) -> None:
    """Both sides hear why."""
    letter = tmp_path / "letter.txt"
    letter.write_bytes(b"x" * 1000)
    limits = {f"RCSOPS_FILES_{setting}": value}
    alex, bob = lab.users("alex", "bob")
    with listening(lab, bob, "--files", str(tmp_path / "got"), **limits) as listener:
        outcome = sent(lab, alex, bob, "--file", str(letter))
        listener.notes(noted)
        assert listener.end() == 0
    assert told in outcome["error"]
    assert not (tmp_path / "got").exists() or list((tmp_path / "got").iterdir()) == []


def test_to_nobody_and_as_nobody(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    done = send(lab, alex, "nobody", "hello")
    assert done.code == 1
    assert "error: there is no such user (404 Not Found)" in done.err
    done = send(lab, alex, bob, "hello", RCSOPS_PASSWORD="wrong")
    assert done.code == 1
    assert "403" in done.err or "401" in done.err or "password" in done.err
    listener = Listening(lab, bob, RCSOPS_PASSWORD="wrong")
    assert listener.ended() == 1
    assert listener.out == []


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("hello", "--file", "rcsops.toml"),
        ("--file", "not-there"),
        ("",),
        ("hello", "--timeout", "0"),
        ("--file", "rcsops.toml", "--wait", "displayed"),
    ],
)
def test_what_makes_no_sense(lab: Lab, words: tuple[str, ...]) -> None:
    done = send(lab, "alex", "bob", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")


def test_a_chat_of_the_same_user_goes_on(lab: Lab) -> None:
    alex, bob, carol = lab.users("alex", "bob", "carol")
    with lab.waiting(bob) as peer, lab.start(alex, bob) as chat:
        talk(chat, peer)
        assert sent(lab, alex, bob, "beside")["status"] == "delivered"
        peer.wait("message", text="beside", pager=True)
        chat.say("undisturbed")
        peer.wait("message", text="undisturbed", pager=False)
    # What waits for the sender is left to whoever reads it.
    assert sent(lab, carol, alex, "for your eyes")["status"] == "stored"
    assert sent(lab, alex, carol, "unread yet")["status"] == "stored"
    with lab.start(alex) as chat:
        chat.wait("message", text="for your eyes")


# --- listen ----------------------------------------------------------------------------------


def test_an_echo_bot_answers_two_at_once(lab: Lab) -> None:
    alex, bob, bot = lab.users("alex", "bob", "bot")
    with listening(lab, bot, "--exec", "sed s/^/echo:/") as listener:
        with lab.waiting(alex, bot) as one, lab.start(bob) as two:
            two.wait("registered")
            two.type(f"/message {bot}", "by message")
            one.wait("session")
            for number in range(5):
                one.say(f"line {number}")
            for number in range(5):
                one.wait("message", text=f"echo:line {number}", pager=False)
            two.wait("message", text="echo:by message", pager=True)
        assert listener.end() == 0


def test_hostile_text_stays_text(lab: Lab) -> None:
    alex, bot = lab.users("alex", "bot")
    script = 'printf "%s|%s|" "$RCSOPS_FROM" "$RCSOPS_TEXT"; cat'
    with listening(lab, bot, "--exec", script, RCSOPS_PASSWORD=f"secret of {bot}") as listener:
        with lab.waiting(alex, bot) as chat:
            chat.wait("session")
            chat.say(HOSTILE)
            answer = chat.wait("message", pager=False)["text"]
        assert answer == f"sip:{alex}@rcs.example|{HOSTILE}|{HOSTILE}"
        assert listener.end() == 0
    assert not (lab.directory / "pwned").exists()
    shown = "\n".join(listener.out)
    assert "\x1b" not in shown and "\\x1b[31m" in shown
    assert listener.out[1].startswith(" ")


def test_commands_that_fail_do_not_end_the_bot(lab: Lab) -> None:
    alex, bot = lab.users("alex", "bot")
    script = (
        'case "$RCSOPS_TEXT" in fail) echo sorry >&2; exit 3;; big) head -c 70000 /dev/zero;; '
        "slow) sleep 60;; none) ;; env) echo ${RCSOPS_PASSWORD-unset};; *) echo fine;; esac"
    )
    words = ("--exec", script, "--exec-timeout", "1")
    with listening(lab, bot, *words, RCSOPS_PASSWORD=f"secret of {bot}") as listener:
        with lab.waiting(alex, bot) as chat:
            chat.wait("session")
            for text in ("fail", "big", "slow", "none", "env", "well"):
                chat.say(text)
            assert chat.wait("message")["text"] == "unset"
            assert chat.wait("message")["text"] == "fine"
        listener.notes(f"no answer to {alex}: the command failed (exit code 3): sorry")
        listener.notes("the command printed more than 65536 octets")
        listener.notes("the command took more than 1 s")
        assert listener.end() == 0


def test_so_many_messages_and_no_more(lab: Lab) -> None:
    alex, bot = lab.users("alex", "bot")
    words = ("--exec", "cat", "--count", "2", "--timeout", "60")
    with listening(lab, bot, *words) as listener, lab.waiting(alex) as chat:
        chat.type(f"/message {bot}", "one", "two")
        chat.wait("message", text="one")
        chat.wait("message", text="two")
        assert listener.ended() == 0
    with listening(lab, bot, "--count", "1", "--timeout", "1") as listener:
        assert listener.ended() == 1
    with listening(lab, bot, "--timeout", "1") as listener:
        assert listener.ended() == 0
    assert not lab.is_registered(bot)


# --- seen ------------------------------------------------------------------------------------


def test_a_bot_has_seen_what_its_command_took(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    command = 'read line; test "$line" != fail'
    with listening(lab, bob, "--exec", command) as listener:
        done = send(lab, alex, bob, "hello", "--wait", "displayed")
        assert (done.code, done.out) == (0, f"displayed to {bob}\n")
        assert sent(lab, alex, bob, "by session", "--session", "--wait", "displayed")["done"]
        failed = sent(lab, alex, bob, "fail", "--wait", "displayed", "--timeout", "3")
        assert failed["status"] == "delivered"
        listener.notes("the command failed")
        assert listener.end() == 0


def test_what_only_goes_to_a_pipe_is_not_called_seen(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with listening(lab, bob) as listener:
        outcome = sent(lab, alex, bob, "anybody?", "--wait", "displayed", "--timeout", "3")
        assert (outcome["status"], outcome["done"]) == ("delivered", False)
        listener.sees("anybody?")


def test_a_program_that_reads_a_chat_says_what_it_has_seen(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as reader, lab.start(alex, bob) as writer:
        talk(writer, reader)
        writer.say("read this")
        identity = reader.wait("message", text="read this")["message_id"]
        writer.wait("status", status="delivered", message_id=identity)
        reader.type(json.dumps({"displayed": identity}))
        shown = writer.wait("status", status="displayed")
        assert (shown["message_id"], shown["text"]) == (identity, "read this")
        reader.type(json.dumps({"displayed": identity}))
        reader.wait("error", error="no message with that id waits to be seen")
        assert writer.finish() == 0


@pytest.mark.parametrize("told", [True, False], ids=["on", "off"])
def test_a_person_at_a_terminal_sees(lab: Lab, told: bool) -> None:
    alex, bob = lab.users("alex", "bob")
    file = lab.directory / "rcsops.toml"
    before = file.read_text()
    file.write_text(before if told else f"{before}\n[agent]\ndisplay_notifications = false\n")
    try:
        with lab.terminal(bob) as screen:
            screen.sees("waiting for an invitation")
            file.write_text(before)
            words = [bob, "look", "--wait", "displayed", "--timeout", "20" if told else "2"]
            outcome = sent(lab, alex, *words)
            assert outcome["status"] == ("displayed" if told else "delivered")
            with lab.terminal(alex, bob) as hers:
                hers.sees("session with")
                hers.type("see?")
                screen.sees(f"{alex}: see?")
                hers.sees("✓ sent “see?”", "✓✓ delivered “see?”")
                if told:
                    hers.sees("✓✓ displayed “see?”")
    finally:
        file.write_text(before)
