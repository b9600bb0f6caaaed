"""tshark's opinion of our captures: of what we read out of one, and of what we write as one."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from rcsops.operations.demo import demonstrate
from rcsops.testing import Capture, TsharkUnavailable
from rcsops.testing.embedded import EmbeddedServer
from rcsops.trace import Arrow, TraceEntry
from rcsops.trace.capture import CaptureReader
from rcsops.trace.export_text import export

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.server("tshark"),
    pytest.mark.feature("reads our captures, and we read its"),
]

CHECKS = ("ip.check_checksum", "tcp.check_checksum", "udp.check_checksum")
# Above a comment and a chat: the bits of severities note, warning and error.
SEVERE = "_ws.expert.severity >= 0x400000"


def start_lines(messages: Iterable[TraceEntry | Arrow], protocol: str) -> Counter[str]:
    return Counter(
        each.data.lstrip(b"\r\n").split(b"\r\n", 1)[0].decode("utf-8", "replace")
        for each in messages
        if each.protocol == protocol
    )


def tshark(file: Path, *words: str) -> list[str]:
    options = [word for check in CHECKS for word in ("-o", f"{check}:TRUE")]
    finished = subprocess.run(
        [shutil.which("tshark") or "tshark", "-n", "-r", str(file), *options, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def ports(arrows: Iterable[Arrow], protocol: str) -> set[int]:
    return {
        port
        for arrow in arrows
        if arrow.protocol == protocol
        for port in (arrow.source_address[1], arrow.target_address[1])
    }


def ours(capture: Path, ladder: list[Arrow]) -> list[TraceEntry]:
    """What we read of the capture; other tests may be talking on loopback too."""
    wanted = ports(ladder, "sip") | ports(ladder, "msrp")
    return [
        entry
        for entry in CaptureReader(capture).read()
        if entry.source[1] in wanted and entry.target[1] in wanted
    ]


def test_we_read_what_tshark_reads(tmp_path: Path) -> None:
    try:
        with Capture(tmp_path) as capture:
            result = demonstrate(tmp_path / "demo", report=lambda progress: None)
    except TsharkUnavailable as error:
        pytest.skip(str(error))
    assert result.problems == []
    ladder = result.ladder
    entries = ours(capture.file, ladder)
    frames = capture.frames(sip_ports=ports(ladder, "sip"), msrp_ports=ports(ladder, "msrp"))
    theirs = Counter(line for frame in frames for line in frame.sip)
    assert start_lines(entries, "sip") == theirs == start_lines(ladder, "sip")
    assert (
        start_lines(entries, "msrp")
        == Counter(line for frame in frames for line in frame.msrp)
        == start_lines(ladder, "msrp")
    )
    assert {entry.transport for entry in entries} >= {"tcp"}
    # The command knows who is who, from what they say.
    finished = subprocess.run(
        [sys.executable, "-m", "rcsops", "trace", str(capture.file), "--json", "--user", "bob"],
        capture_output=True,
        check=True,
    )
    document = json.loads(finished.stdout)
    # Other tests may have servers on loopback too: ours may be "server 2".
    ends = {
        (each["from"].partition(" ")[0], each["to"].partition(" ")[0])
        for each in document
        if each.get("method") in ("INVITE", "SEND")
    }
    assert {("alex", "server"), ("server", "bob"), ("alex", "bob")} <= ends


@pytest.mark.parametrize("transport", ["as it was", "udp", "tls"])
def test_tshark_reads_what_we_write(tmp_path: Path, transport: str) -> None:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed (apt-get install tshark)")
    ladder = demonstrate(tmp_path / "demo", report=lambda progress: None).ladder
    if transport != "as it was":
        ladder = [
            dataclasses.replace(arrow, transport=transport)
            for arrow in ladder
            if transport == "tls" or arrow.protocol == "sip"
        ]
    file = tmp_path / "ladder.pcapng"
    file.write_bytes(b"".join(export(ladder, "pcap", title="")))
    assert tshark(file, "-Y", "_ws.malformed") == []
    severe = tshark(file, "-Y", SEVERE, "-T", "fields", "-e", "_ws.expert.message")
    # Wireshark does not know the two headers that RCS adds.
    complaints = [word for line in severe for word in line.split(",")]
    assert [word for word in complaints if "Bad checksum" in word or "TCP" in word] == []
    fields = ("-T", "fields", "-e", "sip.Request-Line", "-e", "sip.Status-Line")
    sip = tshark(file, "-Y", "sip", *fields)
    assert Counter(line.strip() for line in sip) == start_lines(ladder, "sip")
    assert len(tshark(file, "-Y", "msrp")) == sum(start_lines(ladder, "msrp").values())


def test_over_udp_and_tcp(tmp_path: Path) -> None:
    password = "of alex"
    with EmbeddedServer(tmp_path / "server", {"alex": password, "bob": "of bob"}) as server:
        try:
            with Capture(tmp_path) as capture:
                for transport in ("udp", "tcp"):
                    command = [sys.executable, "-m", "rcsops", "-C", str(server.directory)]
                    command += ["send", "alex", "bob", "hello", "--wait", "stored"]
                    command += ["--transport", transport]
                    subprocess.run(command, check=True, capture_output=True)
        except TsharkUnavailable as error:
            pytest.skip(str(error))
    frames = capture.frames(sip_ports={server.port})
    entries = [
        entry
        for entry in CaptureReader(capture.file).read()
        if server.port in (entry.source[1], entry.target[1])
    ]
    theirs = Counter(line for frame in frames for line in frame.sip)
    assert start_lines(entries, "sip") == theirs
    assert {entry.transport for entry in entries} == {"udp", "tcp"}
    assert theirs["SIP/2.0 202 Accepted"] == 2
