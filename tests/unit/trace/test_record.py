"""Lines of a trace: written, masked, read back."""

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcsops.errors import UsageError
from rcsops.trace import TraceEntry, TraceWriter, mask_secrets, read_trace
from rcsops.transport.tap import TapRecord

LOCAL = ("127.0.0.1", 40001)
REMOTE = ("127.0.0.1", 5060)
REGISTER = (
    b"REGISTER sip:rcs.example SIP/2.0\r\n"
    b'Authorization: Digest username="bob", nonce="n", response="0123456789abcdef"\r\n'
    b"Content-Length: 22\r\n\r\n"
    b'I say response="hello"'
)


def record(data: bytes, time: float = 1.5) -> TapRecord:
    return TapRecord(time, "sip", "out", "udp", LOCAL, REMOTE, data)


@given(st.binary(max_size=200), st.floats(0, 4e9))
def test_any_bytes_come_back_as_they_were(data: bytes, time: float) -> None:
    entry = TraceEntry(round(time, 6), "msrp", "in", "tcp", LOCAL, REMOTE, "alex", data)
    line = entry.to_json()
    assert "\n" not in line
    assert TraceEntry.from_json(line) == entry


def test_a_trace_is_written_line_by_line_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "alex.jsonl"
    with TraceWriter(path, "alex") as writer:
        writer(record(b"OPTIONS sip:a SIP/2.0\r\n\r\n"))
        # There before the file is closed: a process that dies leaves what it has seen.
        assert len(read_trace(path)) == 1
        writer(record(b"\xff\x00"))
    first, second = read_trace(path)
    assert (first.node, first.source, first.target) == ("alex", LOCAL, REMOTE)
    assert second.data == b"\xff\x00"
    assert "data_b64" in json.loads(path.read_text().splitlines()[1])


def test_only_its_owner_may_read_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    old = os.umask(0)
    try:
        TraceWriter(path, "alex").close()
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_digests_are_masked_in_headers_and_nowhere_else(tmp_path: Path) -> None:
    masked = mask_secrets(REGISTER)
    assert b'response="xxxxxxxxxxxxxxxx"' in masked
    assert b'I say response="hello"' in masked
    assert len(masked) == len(REGISTER)
    for reveal in (False, True):
        path = tmp_path / f"trace-{reveal}"
        with TraceWriter(path, "bob", reveal=reveal) as writer:
            writer(record(REGISTER))
        assert ("0123456789abcdef" in path.read_text()) is reveal


def test_masking_is_linear(tmp_path: Path) -> None:
    hostile = b'response = "' * 50_000 + b"\r\n\r\n"
    assert len(mask_secrets(hostile)) == len(hostile)


def test_a_trace_is_added_to(tmp_path: Path) -> None:
    for _ in range(2):
        with TraceWriter(tmp_path / "trace", "alex") as writer:
            writer(record(b"x"))
    assert len(read_trace(tmp_path / "trace")) == 2


def test_a_trace_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        TraceWriter(tmp_path / "missing" / "trace", "alex")


def test_a_full_disk_ends_the_trace_and_not_the_call() -> None:
    with TraceWriter("/dev/full", "alex") as writer:
        writer(record(b"x"))
        writer(record(b"y"))
        assert writer.error is not None
    writer(record(b"after the end"))


def test_a_broken_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    with TraceWriter(path, "alex") as writer:
        writer(record(b"x"))
    whole = path.read_text()
    path.write_text(whole + whole[: len(whole) // 2])
    assert len(read_trace(path)) == 1


@pytest.mark.parametrize(
    "text",
    [
        'no json\n{"time": 1}\n',
        "a note of somebody\n",
        '{"time": 1}\n',
        "[]\n",
        '{"time":1,"protocol":"http","direction":"in","transport":"udp","local":["a",1],'
        '"remote":["b",2],"node":"n","data":""}\n',
        '{"time":1,"protocol":"sip","direction":"in","transport":"udp","local":["a"],'
        '"remote":["b",2],"node":"n","data":""}\n',
        '{"time":1,"protocol":"sip","direction":"in","transport":"udp","local":["a",1],'
        '"remote":["b",2],"node":"n","data_b64":"???"}\n',
    ],
)
def test_what_is_no_trace_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"not a trace: line 1"):
        read_trace(path)


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        read_trace(tmp_path / "nowhere")
