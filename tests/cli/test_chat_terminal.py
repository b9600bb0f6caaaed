"""``rcsops chat`` at a terminal: what is typed, pasted, shown, and how it ends."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops.testing import wait_until
from tests.cli.chatting import CHAT, Lab


def test_every_command(lab: Lab, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    picture = tmp_path / "my picture.txt"
    picture.write_text("a thousand words")
    with lab.terminal(bob, "--files", str(tmp_path / "in")) as his:
        his.sees(f"registered as {bob} at {lab.server.address}", "waiting for an invitation")
        with lab.terminal(alex, bob) as hers:
            hers.sees(f"inviting {bob}", "trying", f"ringing at {bob}")
            ends = r"direct, (127\.0\.0\.1:\d+) <-> (127\.0\.0\.1:\d+)"
            here = hers.matches(f"session with {bob}: {ends}").groups()
            his.sees(f"{alex} invites you: accepted")
            there = his.matches(f"session with {alex}: {ends}").groups()
            assert here == there[::-1]
            hers.sees(f"{alex} → {bob}>")
            hers.type("Grüße 🙂 日本語")
            hers.sees("sent “Grüße 🙂 日本語”", "delivered “Grüße 🙂 日本語”")
            his.sees(f"{alex}: Grüße 🙂 日本語")
            hers.type("/who")
            hers.sees(f"you are {alex}, registered at", f"{here[0]} <-> {here[1]}")
            hers.type("/help")
            hers.sees("/invite PEER", "/send FILE", "/quit")
            hers.press("/se\t")
            hers.press(f"{str(picture)[:-8]}\t\r")
            hers.sees("offering my picture.txt (16 bytes)", "delivered my picture.txt")
            his.sees(f"{alex} sends my picture.txt (16 bytes)", "received my picture.txt:")
            assert (tmp_path / "in" / picture.name).read_text() == "a thousand words"
            hers.type(f'/send "{picture}"')
            his.sees("received my picture.txt:", "my picture (1).txt")
            hers.type("//slash")
            his.sees(f"{alex}: /slash")
            hers.type("/bye")
            hers.sees(f"you ended the session with {bob}", f"{alex}>")
            his.sees(f"{alex} ended the session", f"{bob}>")
            his.type(f"/invite {alex}")
            his.sees(f"session with {alex}")
            hers.sees(f"{bob} invites you: accepted", f"session with {bob}")
            his.type("the other way")
            hers.sees(f"{bob}: the other way")
            hers.type("/quit")
            hers.sees("unregistered; good bye")
            assert hers.ended() == 0
        his.sees(f"{alex} ended the session")
        assert not lab.is_registered(alex)
        assert lab.is_registered(bob)
        his.type("/quit")
        assert his.ended() == 0


@pytest.mark.parametrize("keys", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_keys_that_end_it(lab: Lab, keys: str) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as peer, lab.terminal(alex, bob) as screen:
        screen.sees("session with", f"{alex} → {bob}>")
        screen.press(keys)
        screen.sees(f"you ended the session with {bob}", "unregistered; good bye")
        assert screen.ended() == 0
        peer.wait("session-ended", by_peer=True)
        assert not lab.is_registered(alex)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_it(lab: Lab, number: signal.Signals) -> None:
    (alex,) = lab.users("alex")
    with lab.terminal(alex) as screen:
        screen.sees("waiting for an invitation", f"{alex}>")
        screen.signal(number)
        screen.sees("unregistered; good bye")
        assert screen.ended() == 0
    assert not lab.is_registered(alex)


def test_escape_sequences_are_shown(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.terminal(bob) as screen:
        screen.sees("waiting for an invitation")
        with lab.start(alex, bob) as peer:
            peer.wait("session")
            hostile = "\x1b]0;owned\x07 \x1b[2J \x9b31m \x08\x08\x7f \u202egnirts \ud83d\x00 end"
            peer.type(json.dumps({"text": hostile}))
            shown = screen.matches(rf"\d\d {alex}: (.*) end\r")[1]
            assert "\\x1b]0;owned\\x07 \\x1b[2J \\x9b31m \\x08\\x08\\x7f \\u202egnirts" in shown
            for character in "\x1b\x07\x9b\x08\x7f\u202e\x00":
                assert character not in shown
            # Nor is a message mistaken for a notice, or for somebody else's.
            peer.say("one\n12:34:56 * registered again\r\x1b[1A")
            found = screen.matches(r"(\d\d:\d\d:\d\d) \w+: one\r?\n(.*)registered again(.*)\r")
            assert found[2] == " " * 11 + "12:34:56 * "
            assert "\x1b[1A" not in found[3]
            screen.type("/who")
            screen.sees("in session with")
        screen.sees(f"{alex} is over: connection lost")


def test_pasting(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as peer, lab.terminal(alex, bob) as screen:
        screen.sees("session with", f"{alex} → {bob}>")
        # As terminals mark what is pasted: one message, sent with Enter.
        screen.press("\x1b[200~/one\n  two\n\nthree\n\x1b[201~")
        screen.press("\r")
        assert peer.wait("message")["text"] == "/one\n  two\n\nthree"
        screen.sees("delivered “/one two three”")
        # From a terminal that does not mark it: a message for each line.
        screen.press("four\rfive\r")
        assert [peer.wait("message")["text"] for _ in range(2)] == ["four", "five"]
        screen.press("\x1b[200~/quit\n\x1b[201~\r")
        assert screen.ended() == 0


def test_lines_typed_while_it_rings(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob, "--ask") as peer, lab.terminal(alex, bob) as screen:
        screen.sees("ringing at", f"{alex}>")
        screen.type("one", "two")
        peer.wait("invited")
        screen.type(f"/invite {bob}")
        screen.sees("another session is being set up")
        peer.type("/accept")
        assert [peer.wait("message")["text"] for _ in range(2)] == ["one", "two"]
        screen.type("/bye")
        screen.sees("you ended the session")
        screen.type(f"/invite {bob}")
        peer.wait("invited")
        screen.type("three", "/bye")
        screen.sees("your invitation is taken back; 1 line of yours not sent")
        peer.wait("invite-cancelled")
        screen.type("/quit")
        # A person has seen the errors; a shell's prompt need not repeat them.
        assert screen.ended() == 0


def test_questions(lab: Lab, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    (tmp_path / "file").write_text("file")
    with lab.terminal(bob, "--ask", "--files", str(tmp_path / "in")) as screen:
        screen.sees("waiting for an invitation")
        with lab.start(alex, bob) as peer:
            screen.sees(f"{alex} invites you: /accept or /decline")
            screen.type("/decline")
            screen.sees(f"declined {alex}")
            peer.wait("error", status=603)
            peer.type(f"/invite {bob}")
            screen.sees(f"{alex} invites you: /accept or /decline")
            screen.type("/accept")
            peer.wait("session")
            screen.sees("session with")
            peer.type(f"/send {tmp_path / 'file'}")
            screen.sees(f"{alex} sends file (4 bytes): /accept or /decline")
            screen.type("/accept")
            screen.sees("received file:")
            peer.wait("file-sent")
    assert (tmp_path / "in" / "file").read_text() == "file"


def test_the_password_is_asked_for(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    lab.forget_password(alex)
    with lab.terminal(alex) as screen:
        screen.sees(f"Password for {alex}@rcs.example: ")
        screen.type(f"secret of {alex}")
        shown = screen.sees("registered as")
        assert "secret" not in shown
        # A key that is pressed before there is a prompt to take it is the terminal's.
        screen.sees("waiting for an invitation", f"{alex}>")
        screen.press("\x04")
        assert screen.ended() == 0


def test_an_empty_line_and_nonsense(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    with lab.terminal(alex) as screen:
        screen.sees("waiting for an invitation")
        screen.type("", "   ", "hello?")
        shown = screen.sees("not sent: there is no session (/invite PEER starts one)")
        assert shown.count("not sent") == 0
        screen.type("/nonsense")
        screen.sees("there is no command /nonsense")
        # Not UTF-8: typed all the same.
        screen.press_bytes(b"/send \xff.txt\r")
        screen.sees("not sent: ")
        screen.type("/quit")
        assert screen.ended() == 0


# --- what the screen looks like ------------------------------------------------------------------


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[list[str]]:
    """A terminal that can be looked at."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    command = ["tmux", "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]
    yield command
    subprocess.run([*command, "kill-server"], capture_output=True, check=False)


def test_what_is_being_typed_stays_whole(lab: Lab, tmux: list[str]) -> None:
    alex, bob = lab.users("alex", "bob")

    def screen() -> list[str]:
        shown = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, check=True)
        return [line.rstrip() for line in shown.stdout.decode().splitlines() if line.strip()]

    def press(*keys: str) -> None:
        subprocess.run([*tmux, "send-keys", *keys], check=True)

    subprocess.run(
        [*tmux, "new-session", "-d", "-x", "50", "-y", "24", *CHAT, bob, "--plain"],
        cwd=lab.directory,
        env=lab.environment,
        check=True,
    )
    wait_until(lambda: screen()[-1:] == [f"{bob}>"], what="the prompt")
    with lab.start(alex, bob) as peer:
        peer.wait("session")
        wait_until(lambda: screen()[-1:] == [f"{bob} → {alex}>"], what="the prompt")
        press("half a li")
        wait_until(lambda: screen()[-1:] == [f"{bob} → {alex}> half a li"], what="the typing")
        words = " ".join(["word"] * 12)
        for number in range(5):
            peer.say(f"{number} {words}")
        wait_until(lambda: any(f"{alex}: 4" in line for line in screen()), what="the messages")
        wait_until(lambda: screen()[-1:] == [f"{bob} → {alex}> half a li"], what="the prompt")
        press("ne", "Enter")
        assert peer.wait("message")["text"] == "half a line"
        wait_until(lambda: any("delivered “half a line”" in line for line in screen()))
    # Nothing is cut, and what goes on below is set in.
    shown = screen()
    first = next(index for index, line in enumerate(shown) if f"{alex}: 0" in line)
    assert re.fullmatch(rf"\d\d:\d\d:\d\d {alex}: 0( word)+", shown[first])
    assert re.fullmatch(r" {11}word( word)+", shown[first + 1])
    assert " ".join(shown[first : first + 2]).count("word") == 12
