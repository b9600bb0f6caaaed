"""``rcsops trace`` on files, as a process."""

import dataclasses
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from rcsops.trace import TraceEntry
from tests.unit.trace.messages import (
    ALEX,
    ALEX_MSRP,
    BOB_MSRP,
    SERVER,
    msrp,
    request,
    response,
    sent,
)

SECRET = 'Authorization: Digest username="alex", nonce="n0nce", response="5ecret"\r\n'
PEOPLE = "From: <sip:{}@rcs.example>;tag=1\r\nTo: <sip:{}@rcs.example>\r\n"
EVIL = "From: \x1b]0;owned\x07<sip:evil@rcs.example>\r\n"


def lines(entries: list[TraceEntry]) -> str:
    return "".join(f"{entry.to_json()}\n" for entry in entries)


@pytest.fixture
def traces(tmp_path: Path) -> list[str]:
    alex, server = ("alex", ALEX), ("server", SERVER)
    entries = [
        *sent(
            10.0,
            alex,
            server,
            request("REGISTER", branch="1", headers=PEOPLE.format("alex", "alex")),
        ),
        *sent(10.1, server, alex, response(401, "Unauthorized", "REGISTER", branch="1")),
        *sent(10.2, alex, server, request("REGISTER", branch="2", cseq=2, headers=SECRET)),
        *sent(10.3, server, alex, response(200, "OK", "REGISTER", branch="2")),
        *sent(10.4, alex, ("bob", BOB_MSRP), msrp("t1", "SEND")),
        *sent(10.5, alex, server, request("OPTIONS\x1b[31m", branch="9", headers=EVIL)),
    ]
    entries[8] = dataclasses.replace(entries[8], local=ALEX_MSRP)
    entries[9] = dataclasses.replace(entries[9], remote=ALEX_MSRP)
    files = []
    for node in ("alex", "server", "bob"):
        file = tmp_path / f"{node}.jsonl"
        file.write_text(lines([each for each in entries if each.node == node]))
        files.append(str(file))
    return files


def rcsops(*words: str, code: int = 0, unicode: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1"}
    environment["PYTHONIOENCODING"] = "utf-8" if unicode else "ascii"
    finished = subprocess.run(
        [sys.executable, "-m", "rcsops", "trace", *words],
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert finished.returncode == code, (finished.stdout, finished.stderr)
    assert "Traceback" not in finished.stderr
    assert "\x1b" not in finished.stdout + finished.stderr
    return finished


def test_the_ladder(traces: list[str]) -> None:
    shown = rcsops(*traces).stdout.splitlines()
    assert re.fullmatch(r" +seconds +since alex +server +bob", shown[1])
    assert re.fullmatch(r" +1 +0\.000 +│─+ REGISTER ─+▶│ +│", shown[2])
    assert re.match(r" +2 +\d\.\d{3} +\+\d+(\.\d)? ms +│◀─", shown[3])
    assert "401 Unauthorized (REGISTER)" in shown[3]
    assert "OPTIONS\\x1b[31m" in shown[7]
    assert len(shown) == 8


def test_where_the_terminal_has_ascii_only(traces: list[str]) -> None:
    assert rcsops(*traces, "--explain", unicode=False).stdout.isascii()


def test_as_json(traces: list[str]) -> None:
    document = json.loads(rcsops(*traces, "--json", "--explain").stdout)
    assert [each.get("method", each.get("status")) for each in document][:5] == [
        "REGISTER", 401, "REGISTER", 200, "SEND",
    ]  # fmt: skip
    assert "without credentials" in document[0]["explanation"]


def test_choosing(traces: list[str]) -> None:
    def labels(*words: str) -> list[str]:
        return [each["label"] for each in json.loads(rcsops(*traces, "--json", *words).stdout)]

    assert labels("--method", "SEND") == ["SEND (empty)"]
    assert len(labels("--method", "REGISTER", "--method", "OPTIONS")) == 4
    assert labels("--call-id", "nobody's") == []
    assert len(labels("--user", "alex", "--call-id", "call-1")) == 5
    assert len(labels("--limit", "3")) == 3
    assert "only the first 3" in rcsops(*traces, "--limit", "3").stderr


def test_credentials_are_shown_on_request_alone(traces: list[str]) -> None:
    hidden = rcsops(*traces, "--show", "3").stdout
    assert "5ecret" not in hidden
    assert "n0nce" not in hidden
    assert 'response="xxxxxx"' in hidden
    for form in ("html", "trace", "text"):
        assert "5ecret" not in rcsops(*traces, "--export", form).stdout
    assert 'response="5ecret"' in rcsops(*traces, "--show", "3", "--show-credentials").stdout


def test_one_message_and_two_compared(traces: list[str]) -> None:
    shown = rcsops(*traces, "--show", "1").stdout
    assert "without credentials" in shown
    assert "    REGISTER sip:bob@rcs.example SIP/2.0\n" in shown
    assert "Via (RFC 3261" in shown
    assert "\\x1b]0;owned\\x07" in rcsops(*traces, "--show", "6").stdout
    compared = rcsops(*traces, "--compare", "1", "3").stdout
    assert "- CSeq: 1 REGISTER\n+ CSeq: 2 REGISTER\n" in compared
    assert "+ Authorization: Digest" in compared
    assert "What changed:\n" in compared
    assert "Authorization is added: this one answers the challenge" in compared


@pytest.mark.parametrize("columns", [109, 110])
def test_two_stand_side_by_side_where_the_terminal_is_wide(traces: list[str], columns: int) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "rcsops", "trace", *traces, "--compare", "1", "3"],
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": str(columns)},
        dimensions=(40, columns),
        encoding="utf-8",
        timeout=60,
    )
    child.expect(pexpect.EOF)
    child.close()
    # NO_COLOR leaves bold and dim.
    shown = re.sub(r"\x1b\[[\d;]*m", "", str(child.before)).replace("\r\n", "\n")
    assert child.exitstatus == 0, shown
    beside = re.search(r"^CSeq +1 REGISTER +≠ 2 REGISTER$", shown, re.M) is not None
    assert beside == (columns >= 110)
    assert ("- CSeq: 1 REGISTER" in shown) == (columns < 110)
    assert "What changed:" in shown
    assert max(map(len, shown.splitlines())) <= columns


def test_exports_to_a_file(traces: list[str], tmp_path: Path) -> None:
    for form, start in {
        "text": b"alex 127.0.0.1",
        "mermaid": b"sequenceDiagram\n",
        "svg": b"<svg ",
        "html": b"<!DOCTYPE html>",
        "pcap": b"\x0a\x0d\x0d\x0a",
        "trace": b'{"time": 10.0',
    }.items():
        file = tmp_path / f"ladder.{form}"
        done = rcsops(*traces, "--export", form, "-o", str(file))
        assert re.fullmatch(rf"wrote \d+ messages to {re.escape(str(file))}\n", done.stderr)
        assert file.read_bytes().startswith(start)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    refused = rcsops(*traces, "--export", "svg", "-o", str(tmp_path / "ladder.svg"), code=2)
    assert "is there already" in refused.stderr
    # A capture and a trace that it wrote are read like any other.
    for form in ("pcap", "trace"):
        again = json.loads(rcsops(str(tmp_path / f"ladder.{form}"), "--json").stdout)
        assert [each["label"] for each in again] == [
            each["label"] for each in json.loads(rcsops(*traces, "--json").stdout)
        ]


def test_what_cannot_be_done_is_said(traces: list[str], tmp_path: Path) -> None:
    for words, said in {
        (): "name a FILE",
        (str(tmp_path / "absent"),): "cannot be read",
        (traces[0], "-o", "x"): "-o needs --export",
        (traces[0], "--json", "--export", "svg"): "exclude each other",
        (traces[0], "--show", "99"): "no message 99",
        (*traces, "--compare", "1", "5"): "message 1 is sip, 5 is msrp",
    }.items():
        refused = rcsops(*words, code=2)
        assert said in refused.stderr
        assert refused.stderr.startswith(("error: ", '{"error": '))
    broken = tmp_path / "broken.jsonl"
    broken.write_text(Path(traces[0]).read_text().replace('"protocol"', '"x"', 1))
    assert "line 1" in rcsops(str(broken), code=2).stderr


@pytest.mark.parametrize("time", ["NaN", "Infinity", "-1e18", "1e300"])
def test_a_time_that_cannot_be_is_told(traces: list[str], time: str, tmp_path: Path) -> None:
    text = Path(traces[0]).read_text().splitlines()
    odd = tmp_path / "odd.jsonl"
    odd.write_text(re.sub(r'"time": [0-9.]+', f'"time": {time}', text[0]) + f"\n{text[0]}\n")
    for form in ("pcap", "html"):
        done = rcsops(str(odd), "--export", form, code=2)
        assert done.stderr.startswith(f"error: {odd} is not a trace: line 1: a time that cannot be")


def test_an_empty_trace(tmp_path: Path) -> None:
    file = tmp_path / "empty.jsonl"
    file.touch()
    shown = rcsops(str(file))
    assert (shown.stdout, shown.stderr) == ("", "no messages\n")
    assert json.loads(rcsops(str(file), "--json").stdout) == []
