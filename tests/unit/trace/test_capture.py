"""Captures: file formats, link layers, fragments, TCP as networks deliver it, and broken ones."""

import dataclasses
import ipaddress
import random
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcsops.errors import UsageError
from rcsops.trace import Arrow, TraceEntry, merge
from rcsops.trace.capture import CaptureReader
from rcsops.trace.capture_file import read_packets
from rcsops.trace.export_pcap import write_pcap
from rcsops.trace.export_text import export
from rcsops.trace.framing import StreamFraming
from rcsops.trace.hep import decode_hep
from rcsops.trace.packets import PacketDecoder, Payload
from rcsops.trace.reassembly import TcpReassembler

from .messages import ALEX, SERVER, msrp, request, response, seen

ONE = ("127.0.0.1", 40001)
TWO = ("127.0.0.1", 5060)
OPTIONS = request("OPTIONS", branch="1", headers="X: é\r\n")
STREAM = b"".join(
    [
        b"\r\n\r\n",
        request("REGISTER", branch="1"),
        response(200, "OK", "REGISTER", branch="1"),
        request("MESSAGE", branch="2", body="SIP/2.0 200 OK\r\n\r\nMSRP abcd SEND\r\n"),
    ]
)
MESSAGES = [
    request("REGISTER", branch="1"),
    response(200, "OK", "REGISTER", branch="1"),
    request("MESSAGE", branch="2", body="SIP/2.0 200 OK\r\n\r\nMSRP abcd SEND\r\n"),
]


def ip_packet(data: bytes, transport: str = "udp") -> bytes:
    """The packet that our own export makes of a message; what tshark says of it is tested too."""
    arrow = dataclasses.replace(arrow_of(data), transport=transport)
    file = b"".join(write_pcap([arrow]))
    import io

    return [each.data for each in read_packets(io.BytesIO(file), "x")][-1]


def arrow_of(data: bytes) -> Arrow:
    return merge([seen(1.5, "alex", "out", ALEX, SERVER, data)])[0]


def pcap(packets: Iterable[bytes], link: int, order: str = "<", magic: int = 0xA1B2C3D4) -> bytes:
    head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 262144, link)
    return head + b"".join(
        struct.pack(f"{order}IIII", 1, 500_000, len(each), len(each)) + each for each in packets
    )


def read(tmp_path: Path, file: bytes) -> list[TraceEntry]:
    path = tmp_path / "some.pcap"
    path.write_bytes(file)
    return list(CaptureReader(path).read())


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("link", "before"),
    [
        (0, struct.pack("<I", 2)),
        (108, struct.pack(">I", 2)),
        (1, bytes(12) + b"\x08\x00"),
        (1, bytes(12) + b"\x81\x00\x00\x01\x81\x00\x00\x02\x08\x00"),
        (101, b""),
        (228, b""),
        (113, bytes(14) + b"\x08\x00"),
        (276, b"\x08\x00" + bytes(18)),
    ],
)
def test_link_types(tmp_path: Path, link: int, before: bytes, order: str) -> None:
    packet = before + ip_packet(OPTIONS) + b"padding of a short frame"
    entries = read(tmp_path, pcap([packet, b"\x01\x02"], link, order))
    assert [each.data for each in entries] == [OPTIONS]
    assert (entries[0].source, entries[0].target) == (ONE, TWO)
    assert entries[0].time == 1.5
    assert entries[0].direction == "seen"


def test_nanoseconds(tmp_path: Path) -> None:
    entries = read(tmp_path, pcap([ip_packet(OPTIONS)], 101, ">", 0xA1B23C4D))
    assert entries[0].time == pytest.approx(1.0005)


def test_fragments_of_a_datagram(tmp_path: Path) -> None:
    data = request("MESSAGE", branch="1", body="x" * 3000)
    whole = ip_packet(data)
    head, content = whole[:20], whole[20:]
    pieces = []
    for at in range(0, len(content), 800):
        more = 0x2000 if at + 800 < len(content) else 0
        part = content[at : at + 800]
        pieces.append(
            head[:2] + struct.pack("!HHH", 20 + len(part), 77, more | at // 8) + head[8:] + part
        )
    random.Random(7).shuffle(pieces)
    # The first piece twice: fragments are doubled by networks as well.
    assert [each.data for each in read(tmp_path, pcap([pieces[0], *pieces], 101))] == [data]


def test_fragments_of_version_6(tmp_path: Path) -> None:
    data = request("MESSAGE", branch="1", body="x" * 3000)
    source = ipaddress.ip_address("2001:db8::1").packed
    udp = struct.pack("!HHHH", 5060, 5070, 8 + len(data), 0) + data
    packets = []
    for at in range(0, len(udp), 1200):
        part = udp[at : at + 1200]
        more = int(at + 1200 < len(udp))
        fragment = struct.pack("!BBHI", 17, 0, at | more, 9) + part
        options = bytes([44, 0, 1, 4, 0, 0, 0, 0])
        content = options + fragment
        packets.append(struct.pack("!IHBB", 6 << 28, len(content), 0, 64) + source * 2 + content)
    entries = read(tmp_path, pcap(packets[::-1], 229))
    assert [each.data for each in entries] == [data]
    assert entries[0].source == ("2001:db8::1", 5060)


def test_a_file_that_breaks_off(tmp_path: Path) -> None:
    whole = pcap([ip_packet(OPTIONS)] * 2, 101)
    assert len(read(tmp_path, whole[:-3])) == 1
    block = b"".join(write_pcap([arrow_of(OPTIONS), arrow_of(OPTIONS)]))
    assert len(read(tmp_path, block[:-3])) == 1


@pytest.mark.parametrize(
    "file",
    [
        b"no capture at all",
        b"",
        pcap([], 101) + struct.pack("<IIII", 1, 1, 0xFFFFFFF0, 1),
        b"\x0a\x0d\x0d\x0a\x04\x00\x00\x00\x4d\x3c\x2b\x1a",
        b"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x4d\x3c\x2b\x1a" + bytes(20) + b"\x06\x00\x00\x00"
        + struct.pack("<I", 36) + bytes(28),
    ],
)  # fmt: skip
def test_what_is_no_capture_is_said_to_be_none(tmp_path: Path, file: bytes) -> None:
    with pytest.raises(UsageError, match=r"some\.pcap"):
        read(tmp_path, file)


@given(st.binary(max_size=200), st.sampled_from([0, 1, 101, 108, 113, 228, 252, 276, 999]))
def test_any_packet_is_survived(data: bytes, link: int) -> None:
    decoder = PacketDecoder()
    for start in (b"", b"\x45", b"\x60", b"\x45\x00\x00\x50\x00\x01\x20\x00\x40\x11\x00\x00"):
        list(decoder.decode(0.0, link, start + data))


@given(st.binary(max_size=300))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    directory = tmp_path_factory.mktemp("captures")
    for start in (b"", pcap([], 1), b"".join(write_pcap([]))):
        try:
            read(directory, start + data)
        except UsageError:
            pass


# --- TCP ---------------------------------------------------------------------------------------


def segment(sequence: int, data: bytes, *, syn: bool = False, end: bool = False) -> Payload:
    return Payload(1.0, "tcp", ONE, TWO, data, sequence % (1 << 32), syn, end)


def messages_of(segments: Iterable[Payload]) -> list[bytes]:
    reassembler, framing = TcpReassembler(), StreamFraming()
    found: list[bytes] = []
    parts = [part for each in segments for part in reassembler.receive(each)]
    for part in [*parts, *reassembler.close()]:
        if part.fresh:
            framing = StreamFraming()
        if part.gap:
            framing.gap()
        found += [each.data for each in framing.receive(part.data)]
    return found


@given(st.randoms(use_true_random=False), st.sampled_from([0, 2**31 - 5, 2**32 - 100]))
def test_however_the_segments_come(chance: random.Random, start: int) -> None:
    """Cut anywhere, doubled, overlapping, out of order, around the end of the numbers."""
    segments = []
    at = 0
    while at < len(STREAM):
        size = chance.randint(1, 120)
        back = chance.randint(0, min(at, 20))
        segments.append(segment(start + 1 + at - back, STREAM[at - back : at + size]))
        at += size
    segments += chance.sample(segments, k=min(len(segments), 3))
    # Each at most a few places from where it was sent.
    order = sorted(range(len(segments)), key=lambda place: place + chance.randint(0, 6))
    shuffled = [segments[place] for place in order]
    assert messages_of([segment(start, b"", syn=True), *shuffled]) == MESSAGES


def test_a_capture_that_begins_in_the_middle() -> None:
    half = len(MESSAGES[0]) // 2
    rest = MESSAGES[0][half:] + MESSAGES[1] + MESSAGES[2]
    assert messages_of([segment(900, rest)]) == MESSAGES[1:]


def test_a_segment_that_the_capture_lost() -> None:
    first, second, third = MESSAGES
    lost = len(first) + 20
    whole = b"".join(MESSAGES)
    pieces = [segment(0, b"", syn=True), segment(1, whole[:lost])]
    pieces += [segment(1 + lost + 40, whole[lost + 40 :], end=True)]
    assert messages_of(pieces) == [first, third]
    assert second not in messages_of(pieces)


def test_the_ports_are_used_again() -> None:
    pieces = [segment(5, b"", syn=True), segment(6, MESSAGES[0][:30])]
    pieces += [segment(5, b"", syn=True)]  # the same SYN, sent again, begins nothing
    pieces += [segment(36, MESSAGES[0][30:]), segment(900_000, b"", syn=True)]
    pieces += [segment(900_001, MESSAGES[1])]
    assert messages_of(pieces) == MESSAGES[:2]


def test_memory_behind_a_gap_is_bounded() -> None:
    reassembler = TcpReassembler()
    list(reassembler.receive(segment(0, b"", syn=True)))
    octets = 0
    for number in range(600):
        piece = segment(10_000 + 5000 * number, b"x" * 4000)
        octets += sum(len(part.data) for part in reassembler.receive(piece))
    assert octets > 600 * 4000 - (1 << 21)


# --- framing -----------------------------------------------------------------------------------


def framed(stream: bytes, size: int) -> list[bytes]:
    framing = StreamFraming()
    return [
        message.data
        for at in range(0, len(stream), size)
        for message in framing.receive(stream[at : at + size])
    ]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_frames_of_msrp(size: int) -> None:
    inner = "a line\r\n-------other$\r\nMSRP abcd SEND\r\n"
    frames = [
        msrp("t1aa", "SEND", "Byte-Range: 1-40/40\r\n", inner),
        msrp("t1aa", "200 OK"),
        msrp("t2aa", "SEND", "Byte-Range: 1-4/40\r\n", "more").replace(b"t2aa$", b"t2aa+"),
    ]
    assert framed(b"".join(frames), size) == frames


def test_a_file_in_one_frame_is_cut_and_the_next_frame_is_found() -> None:
    large = msrp("t1aa", "SEND", "Byte-Range: 1-*/*\r\n", "x" * 300_000)
    after = msrp("t2aa", "200 OK")
    found = framed(large + after, 1400)
    assert found[1] == after
    assert found[0].startswith(large[:60_000])
    assert found[0].endswith(b"\r\n-------t1aa$\r\n")
    assert len(found[0]) < 70_000


def web_socket(data: bytes, *, mask: bytes = b"", first: int = 0x81) -> bytes:
    size = len(data)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack("!H", size)
    if not mask:
        return bytes([first]) + length + data
    masked = bytes(octet ^ mask[place % 4] for place, octet in enumerate(data))
    return bytes([first, length[0] | 128]) + length[1:] + mask + masked


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("mask", [b"", b"\x01\x02\x03\x04"])
def test_sip_over_web_socket(size: int, mask: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nUpgrade: WebSocket\r\n\r\n" if mask else (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    )  # fmt: skip
    stream = head + web_socket(MESSAGES[0], mask=mask) + web_socket(b"ping", mask=mask, first=0x89)
    stream += web_socket(MESSAGES[2][:50], mask=mask, first=0x01)
    stream += web_socket(MESSAGES[2][50:], mask=mask, first=0x80)
    assert framed(stream, size) == [MESSAGES[0], MESSAGES[2]]


def test_tls_is_said_to_be_encrypted() -> None:
    framing = StreamFraming()
    assert list(framing.receive(b"\x16\x03\x01\x02\x00" + STREAM)) == []
    assert framing.encrypted


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_octets_of_a_stream_are_survived(pieces: list[bytes]) -> None:
    for start in (b"", b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"MSRP abcd SEND\r\n",
                  b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 9\r\n"):  # fmt: skip
        framing = StreamFraming()
        for piece in (start, *pieces):
            list(framing.receive(piece))
        framing.gap()
        # Octets that begin as TLS does are held for it, and nothing after them is read.
        if not start.startswith(b"GET") and not framing.encrypted:
            assert [each.data for each in framing.receive(b"\r\n" + MESSAGES[0])] == [MESSAGES[0]]


# --- HEP ---------------------------------------------------------------------------------------


def hep(chunks: list[tuple[int, bytes]]) -> bytes:
    body = b"".join(struct.pack("!HHH", 0, kind, len(data) + 6) + data for kind, data in chunks)
    return b"HEP3" + struct.pack("!H", len(body) + 6) + body


CHUNKS = [
    (1, b"\x02"),
    (2, b"\x11"),
    (3, bytes([127, 0, 0, 1])),
    (4, bytes([10, 0, 0, 1])),
    (7, struct.pack("!H", 5060)),
    (8, struct.pack("!H", 5070)),
    (9, struct.pack("!I", 1000)),
    (10, struct.pack("!I", 250_000)),
    (11, b"\x01"),
    (12, struct.pack("!I", 7)),
]


def test_hep() -> None:
    entry = decode_hep(hep([*CHUNKS, (15, OPTIONS)]))
    assert entry is not None
    assert entry.data == OPTIONS
    assert entry.time == 1000.25
    assert (entry.transport, entry.node) == ("udp", "hep:7")
    assert (entry.source, entry.target) == (("127.0.0.1", 5060), ("10.0.0.1", 5070))


def test_hep_that_is_compressed_cannot_fill_memory() -> None:
    import zlib

    entry = decode_hep(hep([*CHUNKS, (16, zlib.compress(OPTIONS))]))
    assert entry is not None
    assert entry.data == OPTIONS
    bomb = decode_hep(hep([*CHUNKS, (16, zlib.compress(b"OPTIONS" + b" " * 50_000_000))]))
    assert bomb is None or len(bomb.data) <= 1 << 20


def test_other_things_by_hep_are_left_out() -> None:
    assert decode_hep(hep([*CHUNKS[:8], (11, b"\x05"), (15, b"{}")])) is None
    assert decode_hep(hep(CHUNKS)) is None


@given(st.binary(max_size=80))
def test_any_datagram_is_survived(data: bytes) -> None:
    decode_hep(data)
    decode_hep(b"HEP3" + struct.pack("!H", len(data) + 6) + data)
    decode_hep(hep([(3, data), (15, data)]))


@pytest.mark.parametrize("kind", [number for number, _ in CHUNKS])
@pytest.mark.parametrize("data", [b"", bytes([255] * 8), bytes([255] * 400)])
def test_any_chunk_of_hep_is_survived(kind: int, data: bytes) -> None:
    entry = decode_hep(hep([*((each, data if each == kind else given) for each, given in CHUNKS),
                            (15, OPTIONS)]))  # fmt: skip
    if entry is not None:
        # What is taken can be written, and drawn.
        for form in ("html", "pcap"):
            assert list(export(merge([entry]), form, title="x", width=80))


def test_hep_within_a_capture(tmp_path: Path) -> None:
    packet = ip_packet(hep([*CHUNKS, (15, OPTIONS)]))
    entries = read(tmp_path, pcap([packet], 101))
    assert [each.data for each in entries] == [OPTIONS]
    assert entries[0].target == ("10.0.0.1", 5070)
