"""The files that tcpdump and Wireshark write: pcap and pcapng, packet by packet."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from rcsops.errors import UsageError
from rcsops.trace.record import LATEST

_PCAP = {
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
}
_SECTION = b"\x0a\x0d\x0d\x0a"
_INTERFACE, _SIMPLE, _ENHANCED = 1, 3, 6
_RESOLUTION = 9
# Wireshark itself takes no longer packet; a file that says so is broken, and must not fill memory.
_LONGEST = 1 << 20
_MOST_INTERFACES = 4096


class Packet(NamedTuple):
    """``link`` is the LINKTYPE number, ``time`` seconds since 1970."""

    time: float
    link: int
    data: bytes


def is_capture(start: bytes) -> bool:
    """Whether a file that begins with these (four) octets is a capture."""
    return start[:4] in _PCAP or start[:4] == _SECTION


def read_packets(stream: BinaryIO, name: str) -> Iterator[Packet]:
    """The packets of a capture; a last one that is cut off is left out.

    Raises UsageError, which names the file by ``name``, for what is no capture, or is broken.
    """
    start = stream.read(4)
    if start in _PCAP:
        yield from _read_pcap(stream, *_PCAP[start], name)
    elif start == _SECTION:
        yield from _read_pcapng(stream, name)
    else:
        raise UsageError(f"{name} is no capture", hint="it takes pcap and pcapng")


def _read_pcap(stream: BinaryIO, order: str, resolution: float, name: str) -> Iterator[Packet]:
    header = stream.read(20)
    if len(header) < 20:
        return
    link = struct.unpack(f"{order}I", header[16:])[0] & 0x0FFFFFFF
    while len(head := stream.read(16)) == 16:
        seconds, fraction, length, _ = struct.unpack(f"{order}IIII", head)
        if length > _LONGEST:
            raise UsageError(f"{name} is broken: it has a packet of {length} octets")
        data = stream.read(length)
        if len(data) < length:
            return
        yield Packet(seconds + fraction * resolution, link, data)


def _read_pcapng(stream: BinaryIO, name: str) -> Iterator[Packet]:
    order = "<"
    interfaces: list[tuple[int, float]] = []
    kind = _SECTION
    while True:
        if kind == _SECTION:
            head = stream.read(8)
            if len(head) < 8:
                return
            order = "<" if head[4:] == b"\x4d\x3c\x2b\x1a" else ">"
            length = struct.unpack(f"{order}I", head[:4])[0] - 4
            interfaces = []
        else:
            head = stream.read(4)
            if len(head) < 4:
                return
            length = struct.unpack(f"{order}I", head)[0]
        if length < 12 or length > _LONGEST + 4096:
            raise UsageError(f"{name} is broken: it has a block of {length} octets")
        body = stream.read(length - 8)
        if len(body) < length - 8:
            return
        try:
            yield from _block(kind, body[:-4], order, interfaces, name)
        except struct.error as error:
            raise UsageError(f"{name} is broken: a block is cut short") from error
        kind = stream.read(4)
        if len(kind) < 4:
            return


def _block(
    kind: bytes, body: bytes, order: str, interfaces: list[tuple[int, float]], name: str
) -> Iterator[Packet]:
    if kind == _SECTION:
        return
    number = struct.unpack(f"{order}I", kind)[0]
    if number == _INTERFACE:
        if len(interfaces) < _MOST_INTERFACES:
            link = struct.unpack_from(f"{order}H", body)[0]
            interfaces.append((link, _resolution(body[8:], order)))
        return
    if number == _ENHANCED:
        which, high, low, length = struct.unpack_from(f"{order}IIII", body)
        data = body[20 : 20 + length]
    elif number == _SIMPLE:
        which, high, low = 0, 0, 0
        data = body[4 : 4 + struct.unpack_from(f"{order}I", body)[0]]
    else:
        return
    if which >= len(interfaces):
        raise UsageError(f"{name} is broken: it has a packet of an interface that it does not name")
    link, resolution = interfaces[which]
    time = ((high << 32) | low) * resolution
    if time > LATEST:
        raise UsageError(f"{name} is broken: it has a packet of a time that cannot be")
    yield Packet(time, link, data)


def _resolution(options: bytes, order: str) -> float:
    """Seconds of one tick of the time stamps (option if_tsresol)."""
    at = 0
    while at + 4 <= len(options):
        code, length = struct.unpack_from(f"{order}HH", options, at)
        if code == _RESOLUTION and length == 1 and at + 4 < len(options):
            value = options[at + 4]
            return float(2.0 ** -(value & 127) if value & 128 else 10.0**-value)
        at += 4 + (length + 3) // 4 * 4
    return 1e-6
