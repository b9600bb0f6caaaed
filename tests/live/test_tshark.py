"""tshark's opinion of the demo: it decodes every message that our taps have seen, and no other."""

from collections import Counter
from pathlib import Path

import pytest

from rcsops.operations.demo import demonstrate
from rcsops.testing import Capture, TsharkUnavailable
from rcsops.trace import Arrow

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.server("tshark"),
    pytest.mark.feature("decodes every message of the demo"),
]


def start_line(arrow: Arrow) -> str:
    return arrow.data.split(b"\r\n", 1)[0].decode("utf-8", "replace")


def test_it_sees_what_our_taps_have_seen(tmp_path: Path) -> None:
    try:
        with Capture(tmp_path) as capture:
            result = demonstrate(tmp_path / "demo", report=lambda progress: None)
    except TsharkUnavailable as error:
        pytest.skip(str(error))
    assert result.problems == []
    sip = [arrow for arrow in result.ladder if arrow.protocol == "sip"]
    msrp = [arrow for arrow in result.ladder if arrow.protocol == "msrp"]
    server_ports = {
        address[1]
        for arrow in sip
        for name, address in (
            (arrow.source, arrow.source_address),
            (arrow.target, arrow.target_address),
        )
        if name == "server"
    }
    msrp_ports = {
        port for arrow in msrp for port in (arrow.source_address[1], arrow.target_address[1])
    }
    frames = capture.frames(sip_ports=server_ports, msrp_ports=msrp_ports)
    assert [frame for frame in frames if frame.malformed] == []
    # Each message as often as it was sent: a retransmission counts on both sides.
    assert Counter(line for frame in frames for line in frame.sip) == Counter(map(start_line, sip))
    assert Counter(line for frame in frames for line in frame.msrp) == Counter(
        map(start_line, msrp)
    )
    with_sdp = sum(b"\r\nm=message " in arrow.data for arrow in sip)
    assert sum(frame.sdp for frame in frames) == with_sdp
    assert with_sdp >= 4
