"""``rcsops chat`` on pipes: the line protocol, JSON lines, exit codes."""

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops.cli.chat_lines import MAX_LINE
from rcsops.testing import wait_until
from rcsops.trace import read_trace
from tests.cli.chatting import CHAT, ChatProcess, Lab


@pytest.fixture(scope="module")
def bob(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatProcess]:
    """Somebody who takes every session and every file."""
    (name,) = lab.users("bob")
    files = tmp_path_factory.mktemp("files")
    with lab.waiting(name, "--files", str(files)) as chat:
        chat.files = files  # where what it receives goes
        yield chat


@pytest.fixture
def alex(lab: Lab) -> str:
    (name,) = lab.users("alex")
    return name


def test_a_line_goes_through(lab: Lab, bob: ChatProcess, alex: str) -> None:
    done = lab.run(alex, bob.user, stdin="hi\n")
    assert done.code == 0, done.out
    assert done.err == ""
    bob.wait("message", text="hi", peer=f"sip:{alex}@rcs.example")
    ended = bob.wait("session-ended")
    assert ended["by_peer"] is True
    texts = done.texts
    address = lab.server.address
    assert texts[:4] == [
        f"* registered as {alex} at {address}",
        f"* inviting {bob.user}",
        "* trying",
        f"* ringing at {bob.user}",
    ]
    assert texts[4].startswith(f"* session with {bob.user}: direct, 127.0.0.1:")
    assert texts[5:] == [
        "* ✓ sent “hi”",
        "* ✓✓ delivered “hi”",
        f"* you ended the session with {bob.user}",
        "* unregistered; good bye",
    ]
    assert not lab.is_registered(alex)


def test_lines_of_a_file_arrive_in_order(
    lab: Lab, bob: ChatProcess, alex: str, tmp_path: Path
) -> None:
    lines = [f"line {number}" for number in range(150)]
    script = tmp_path / "script"
    script.write_text("\n".join(lines))
    with script.open("rb") as stdin:
        done = subprocess.run(
            [*CHAT, alex, bob.user, "--json"],
            cwd=lab.directory,
            env=lab.environment,
            stdin=stdin,
            capture_output=True,
            timeout=60,
        )
    assert done.returncode == 0
    for line in lines:
        assert bob.wait("message")["text"] == line
    notices = [json.loads(line) for line in done.stdout.splitlines()]
    delivered = [each["text"] for each in notices if each.get("status") == "delivered"]
    assert delivered == lines


def test_odd_lines(lab: Lab, bob: ChatProcess, alex: str) -> None:
    long = "é" * 200_000
    stdin = b"\n".join(
        [
            b"",
            b"   ",
            b"caf\xe9",
            b"windows\r",
            "naïve 🙂 日本語".encode(),
            long.encode(),
            b"//etc/fstab",
            b"\x1b]0;owned\x07",
            b"{ no JSON here",
            b"without an end",
        ]
    )
    done = lab.run(alex, bob.user, stdin=stdin)
    assert done.code == 0, done.out[-2000:]
    expected = [
        "caf\ufffd",
        "windows",
        "naïve 🙂 日本語",
        long,
        "/etc/fstab",
        "\x1b]0;owned\x07",
        "{ no JSON here",
        "without an end",
    ]
    assert [bob.wait("message")["text"] for _ in expected] == expected
    assert "\x1b" not in done.out
    assert "\\x1b]0;owned\\x07" in done.out


def test_a_line_without_end(lab: Lab, bob: ChatProcess, alex: str) -> None:
    stdin = b"before\n" + b"x" * (MAX_LINE + 1) + b"\nafter\n" + b"y" * (2 * MAX_LINE)
    done = lab.run(alex, bob.user, "--json", stdin=stdin)
    assert done.code == 1
    errors = [notice["error"] for notice in done.of("error")]
    assert errors == [f"not sent: a line of more than {MAX_LINE} bytes"] * 2
    assert bob.wait("message")["text"] == "before"
    assert bob.wait("message")["text"] == "after"
    bob.wait("session-ended")


def test_json_messages(lab: Lab, bob: ChatProcess, alex: str) -> None:
    texts = ["two\nlines", "/quit is no command here", "{}", "\x00\x1b[2J"]
    stdin = "".join(json.dumps({"text": text}) + "\n" for text in texts) + "plain\n"
    done = lab.run(alex, bob.user, "--json", stdin=stdin)
    assert done.code == 0, done.out
    for text in [*texts, "plain"]:
        assert bob.wait("message")["text"] == text
    states = [(notice["text"], notice["status"]) for notice in done.of("status")]
    for text in [*texts, "plain"]:
        assert [state for each, state in states if each == text] == ["queued", "sent", "delivered"]
    for notice in done.notices:
        assert notice["time"][10] == "T"
    (session,) = done.of("session")
    assert session["direct"] is True
    assert session["peer"] == bob.address
    assert session["local"] != session["remote"]
    assert done.notices[-1]["event"] == "ended"


def test_json_that_is_not_understood(lab: Lab) -> None:
    (carl,) = lab.users("carl")
    lines = [
        '{"text": 1}',
        '{"text": ""}',
        '{"txt": "x"}',
        "{",
        '{"text": "a", "more": 1}',
        "{" * 9999,
        '{"text": ' + "[" * 99999,
    ]
    done = lab.run(carl, "--json", stdin="\n".join(lines))
    assert done.code == 1
    errors = done.of("error")
    assert len(errors) == len(lines)
    for error in errors:
        assert error["error"].startswith("this JSON is not understood: ")
        assert error["hint"] == 'a message is {"text": "hello"}'


def test_half_of_a_surrogate_pair(lab: Lab, bob: ChatProcess, alex: str) -> None:
    done = lab.run(alex, bob.user, "--json", stdin='{"text": "\\ud800!"}\n')
    assert done.code == 0, done.out
    assert bob.wait("message")["text"] == "?!"


def test_a_file_is_through_before_the_end(
    lab: Lab, bob: ChatProcess, alex: str, tmp_path: Path
) -> None:
    content = os.urandom(2_500_000)
    picture = tmp_path / "my picture.jpg"
    picture.write_bytes(content)
    done = lab.run(alex, bob.user, stdin=f"/send {picture}\nsee above\n")
    assert done.code == 0, done.out
    received = bob.wait("file-received", name="my picture.jpg")
    assert Path(received["path"]).parent == bob.files
    assert Path(received["path"]).read_bytes() == content
    assert f"* offering my picture.jpg (2.5 MB) to {bob.user}" in done.texts
    assert f"* delivered my picture.jpg (2.5 MB) to {bob.user}" in done.texts


def test_what_cannot_be_done(lab: Lab) -> None:
    (carl,) = lab.users("carl")
    errors = {
        "anybody?": "! not sent: there is no session (/invite PEER starts one)",
        "/send x": "! not sent: there is no session (/invite PEER starts one)",
        "/send": "! /send which file? (/send picture.jpg)",
        "/bye": "! there is no session to end",
        "/accept": "! nobody waits for your answer",
        "/decline": "! nobody waits for your answer",
        "/invite": "! /invite whom? (/invite bob)",
        "/invite <x": "! '<x' is not a SIP address: ",
        "/dance": "! there is no command /dance (/help shows them; // sends a line with /)",
        "/file x": "! there is no command /file (/send FILE: send a file to the peer; /help shows",
        "/mesage": "! there is no command /mesage (/message PEER: write to PEER without",
    }
    done = lab.run(carl, stdin="\n".join([*errors, "/help"]))
    assert done.code == 1
    said = [text for text in done.texts if text.startswith("! ")]
    for text, error in zip(said, errors.values(), strict=True):
        assert text.startswith(error)
    for command in ("/invite PEER", "/send FILE", "/who", "/bye", "/quit"):
        assert any(text.startswith(f"           {command}") for text in done.texts)


def test_a_file_that_cannot_be_read(lab: Lab, bob: ChatProcess, alex: str) -> None:
    done = lab.run(alex, bob.user, stdin="/send nothing.txt\n/send .\nstill here\n")
    assert done.code == 1
    assert "! not sent: nothing.txt cannot be read: No such file or directory" in done.texts
    assert "! not sent: . is not a file" in done.texts
    bob.wait("message", text="still here")


def test_a_script_of_commands(lab: Lab, bob: ChatProcess, alex: str) -> None:
    commands = [
        f"/invite {bob.user}",
        "one",
        "/bye",
        f"/invite {bob.user}",
        "two",
        "/quit",
        "three",
    ]
    done = lab.run(alex, stdin="\n".join(commands))
    assert done.code == 0, done.out
    assert bob.wait("message")["text"] == "one"
    bob.wait("session-ended", by_peer=True)
    assert bob.wait("message")["text"] == "two"
    bob.wait("session-ended", by_peer=True)
    assert "three" not in done.out


def test_the_end_of_the_input_ends_it(lab: Lab) -> None:
    (carl,) = lab.users("carl")
    done = lab.run(carl)
    assert done.code == 0, done.out
    assert done.texts == [
        f"* registered as {carl} at {lab.server.address}",
        "* waiting for an invitation; /invite PEER sends one, /help shows more",
        "* unregistered; good bye",
    ]
    assert not lab.is_registered(carl)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it(lab: Lab, bob: ChatProcess, number: signal.Signals) -> None:
    (carl,) = lab.users("carl")
    with lab.start(carl, bob.user) as chat:
        chat.wait("session")
        chat.signal(number)
        chat.wait("ended", unregistered=True)
        assert chat.ended() == 0
    bob.wait("session-ended", peer=chat.address, by_peer=True)
    assert not lab.is_registered(carl)


def test_nobody_reads_the_output(lab: Lab, bob: ChatProcess) -> None:
    (carl,) = lab.users("carl")
    with subprocess.Popen(
        [*CHAT, carl, bob.user],
        cwd=lab.directory,
        env=lab.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        # Its input stays open: it is the output's end that ends it.
        assert process.wait(20) == 1
        assert b"Traceback" not in process.stderr.read()
    assert not lab.is_registered(carl)


def test_closed_standard_files(lab: Lab) -> None:
    (carl,) = lab.users("carl")
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&-', "sh", *CHAT, carl],
        cwd=lab.directory,
        env=lab.environment,
        stderr=subprocess.PIPE,
        timeout=30,
    )
    assert done.stderr == b""
    assert done.returncode == 0
    assert not lab.is_registered(carl)


def test_trace(lab: Lab, bob: ChatProcess, alex: str, tmp_path: Path) -> None:
    trace = tmp_path / "alex.jsonl"
    done = lab.run(alex, bob.user, "--trace", str(trace), stdin="hello in the trace\n")
    assert done.code == 0, done.out
    assert stat.S_IMODE(trace.stat().st_mode) == 0o600
    entries = list(read_trace(trace))
    starts = [entry.data.split(b"\r\n")[0].decode() for entry in entries]
    out = [text for text, entry in zip(starts, entries, strict=True) if entry.direction == "out"]
    came = [text for text, entry in zip(starts, entries, strict=True) if entry.direction == "in"]
    for method in ("REGISTER", "INVITE", "ACK", "BYE"):
        assert any(text.startswith(f"{method} sip:") for text in out), method
    for status in ("401", "180", "200"):
        assert any(text.startswith(f"SIP/2.0 {status}") for text in came), status
    assert any(text.startswith("MSRP ") and text.endswith(" SEND") for text in out)
    assert any(text.startswith("MSRP ") and text.endswith(" SEND") for text in came)
    assert any(text.startswith("MSRP ") and text.endswith(" 200 OK") for text in came)
    whole = b"".join(entry.data for entry in entries)
    assert b"hello in the trace" in whole
    assert b'response="xxxx' in whole
    assert {entry.node for entry in entries} == {alex}
    unmasked = whole.replace(b'response="' + b"x" * 64 + b'"', b"").replace(
        b'response="' + b"x" * 32 + b'"', b""
    )
    assert b'response="' not in unmasked


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_transport(lab: Lab, alex: str, tmp_path: Path, transport: str) -> None:
    trace = tmp_path / "trace"
    done = lab.run(
        alex,
        *("--transport", transport, "--server", lab.server.address),
        *("--bind", "127.0.0.2", "--trace", str(trace)),
    )
    assert done.code == 0, done.out
    assert f"* registered as {alex} at {lab.server.address}" in done.texts
    entries = list(read_trace(trace))
    assert {entry.transport for entry in entries} == {transport}
    assert {entry.local[0] for entry in entries} == {"127.0.0.2"}


def test_server_as_uri(lab: Lab, alex: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    uri = f"sip:{lab.server.address};transport=udp"
    done = lab.run(alex, "--server", uri, "--trace", str(trace))
    assert done.code == 0, done.out
    assert {entry.transport for entry in read_trace(trace)} == {"udp"}


def test_another_domain(lab: Lab, alex: str) -> None:
    done = lab.run(
        alex,
        *("--domain", "Other.Example", "--server", lab.server.address, "--json"),
        environment={"RCSOPS_PASSWORD": f"secret of {alex}"},
    )
    assert done.code == 1
    (error,) = done.of("error")
    assert error["status"] in (403, 404)
    assert done.notices[-1]["user"] == f"{alex}@other.example"


def test_twice_the_same_user(lab: Lab, bob: ChatProcess) -> None:
    (carl,) = lab.users("carl")
    with lab.waiting(carl) as first:
        with lab.waiting(carl) as second:
            dump = lab.server.json("contacts", carl)
            assert len(dump) == 2
            assert second.finish() == 0
        assert lab.is_registered(carl)
        assert first.finish() == 0
    wait_until(lambda: not lab.is_registered(carl))
