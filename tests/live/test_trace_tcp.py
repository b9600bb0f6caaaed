"""TCP as networks deliver it, in a capture: tshark and `rcsops trace` read the same out of it."""

import dataclasses
import io
import json
import os
import random
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rcsops.trace import Arrow, TraceEntry, merge
from rcsops.trace.capture_file import read_packets
from rcsops.trace.export_pcap import write_pcap
from tests.unit.trace.messages import (
    ALEX,
    ALEX_MSRP,
    BOB_MSRP,
    SERVER,
    Address,
    msrp,
    request,
    response,
    seen,
)
from tests.unit.trace.test_capture import pcap

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.server("tshark"),
    pytest.mark.feature("reads our captures, and we read its"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

RAW = 101
PEOPLE = "From: <sip:alex@rcs.example>;tag=1\r\nTo: <sip:bob@rcs.example>\r\n"
SECRET = 'Authorization: Digest username="alex", nonce="n0nce", response="5ecret"\r\n'
SIP = [
    request("REGISTER", branch="1", headers=PEOPLE),
    request("REGISTER", branch="2", cseq=2, headers=PEOPLE + SECRET),
    request("MESSAGE", branch="3", cseq=3, headers=PEOPLE, body="SIP/2.0 200 OK\r\n\r\n" * 30),
    request("OPTIONS", branch="4", cseq=4, headers=PEOPLE).replace(b"call-1", b"call-2"),
]
ANSWERS = [
    response(401, "Unauthorized", "REGISTER", branch="1"),
    response(200, "OK", "REGISTER", branch="2"),
    response(202, "Accepted", "MESSAGE", branch="3"),
]
CHAT = [
    msrp(f"t{number}aa", "SEND", "Content-Type: text/plain\r\n", f"line {number} " * number * 9)
    for number in range(1, 9)
]
REPORTS = [msrp(f"t{number}aa", "200 OK") for number in range(1, 9)]
STREAMS: list[tuple[Address, Address, list[bytes]]] = [
    (ALEX, SERVER, SIP),
    (SERVER, ALEX, ANSWERS),
    (ALEX_MSRP, BOB_MSRP, CHAT),
    (BOB_MSRP, ALEX_MSRP, REPORTS),
]


def segments(source: Address, target: Address, data: bytes, chance: random.Random) -> list[Arrow]:
    """One direction of a connection, cut anywhere: in a message, or after several."""
    cuts = sorted({0, len(data), *(chance.randrange(len(data)) for _ in range(12))})
    arrows = []
    for start, end in pairwise(cuts):
        entry: TraceEntry = seen(1.5, "alex", "out", source, target, data[start:end])
        arrows += merge([dataclasses.replace(entry, transport="tcp")])
    return arrows


def capture(path: Path, chance: random.Random) -> None:
    """Each direction's segments out of order by some places, and some of them again."""
    # Written by our own export, of which tshark finds no fault elsewhere.
    arrows = [segments(*ends, b"".join(messages), chance) for *ends, messages in STREAMS]
    packets = [each.data for each in read_packets(io.BytesIO(b"".join(
        write_pcap([arrow for direction in arrows for arrow in direction]))), "x")]  # fmt: skip
    shuffled = []
    at = 0
    for number, direction in enumerate(arrows):
        if number % 2 == 0:
            # The handshake of a connection stays before all.
            shuffled += packets[at : at + 3]
            at += 3
        own = packets[at : at + len(direction)]
        at += len(direction)
        own += chance.sample(own, k=3)
        order = sorted(range(len(own)), key=lambda place: place + chance.randint(0, 5))
        shuffled += [own[place] for place in order]
    assert at == len(packets)
    assert shuffled != packets
    path.write_bytes(pcap(shuffled, RAW))


def tshark(file: Path, *words: str) -> list[str]:
    ordered = ("-o", "tcp.reassemble_out_of_order:TRUE")
    finished = subprocess.run(
        [shutil.which("tshark") or "tshark", "-n", "-r", str(file), *ordered, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        check=True,
    )
    return finished.stdout.splitlines()


def followed(file: Path, stream: int) -> tuple[bytes, bytes]:
    """What went each way over a connection, as tshark puts it together."""
    there = back = b""
    for line in tshark(file, "-q", "-z", f"follow,tcp,raw,{stream}"):
        if line.startswith("\t"):
            back += bytes.fromhex(line.strip())
        elif line and set(line) <= set("0123456789abcdef"):
            there += bytes.fromhex(line)
    return there, back


def trace(*words: str) -> Any:
    finished = subprocess.run(
        [sys.executable, "-m", "rcsops", "trace", *words, "--json"], capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_disorder_and_repetitions(tmp_path: Path, seed: int) -> None:
    file = tmp_path / "shuffled.pcap"
    capture(file, random.Random(seed))
    for number in (0, 1):
        sent = tuple(b"".join(messages) for *_, messages in STREAMS[2 * number : 2 * number + 2])
        assert followed(file, number) == sent
    saved = tmp_path / "all.jsonl"
    command = [sys.executable, "-m", "rcsops", "trace", str(file), "--export", "trace"]
    subprocess.run(
        [*command, "--show-credentials", "-o", str(saved)], check=True, capture_output=True
    )
    entries = [TraceEntry.from_json(line) for line in saved.read_text().splitlines()]
    for source, target, messages in STREAMS:
        ours = [each.data for each in entries if (each.source, each.target) == (source, target)]
        assert ours == messages
    fields = ("-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code", "-E", "aggregator=,")
    theirs = " ".join(tshark(file, "-Y", "sip.Method || sip.Status-Code", *fields)).split()
    said = [word for each in theirs for word in each.split(",")]
    found = trace(str(file))
    ours_said = [
        str(each.get("method") or each.get("status")) for each in found if each["protocol"] == "sip"
    ]
    assert sorted(ours_said) == sorted(said)


def test_the_command_chooses_and_hides(tmp_path: Path) -> None:
    file = tmp_path / "shuffled.pcap"
    capture(file, random.Random(4))
    assert [each["method"] for each in trace(str(file), "--call-id", "call-2")] == ["OPTIONS"]
    assert len(trace(str(file), "--method", "REGISTER")) == 4
    assert len(trace(str(file), "--method", "SEND")) == len(CHAT) + len(REPORTS)
    assert trace(str(file), "--user", "nobody") == []
    assert len(trace(str(file), "--user", "bob", "--method", "MESSAGE")) == 2
    exported = subprocess.run(
        [sys.executable, "-m", "rcsops", "trace", str(file), "--export", "trace"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert 'response=\\"xxxxxx\\"' in exported
    assert "5ecret" not in exported
    assert "n0nce" not in exported
