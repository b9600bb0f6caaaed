"""The ladder as a capture (pcapng) for Wireshark and tshark.

What went over UDP and TCP is put into IP packets made for it, a TCP connection with its handshake.
What was encrypted or framed on the wire (TLS, WebSocket) was read by a tap inside of that: it is
written as Wireshark's "exported PDU", which says what it is and from where to where.
"""

import ipaddress
import struct
from collections.abc import Iterable, Iterator

from rcsops.trace.ladder import Arrow
from rcsops.trace.packets import RAW, UPPER_PDU
from rcsops.trace.record import Address

_LONGEST_DATAGRAM = 65507
_SEGMENT = 16384
_SYN, _ACK, _PUSH = 2, 16, 8
_TCP, _UDP = 6, 17
_IP_INTERFACE, _PDU_INTERFACE = 0, 1

_Host = ipaddress.IPv4Address | ipaddress.IPv6Address


def write_pcap(arrows: Iterable[Arrow]) -> Iterator[bytes]:
    """The file in pieces; every message is one packet, unless it is longer than a segment."""
    yield _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    for link in (RAW, UPPER_PDU):
        # Option 9: time stamps in microseconds.
        options = struct.pack("<HHB3xHH", 9, 1, 6, 0, 0)
        yield _block(1, struct.pack("<HHI", link, 0, 0) + options)
    connections = _Connections()
    for arrow in arrows:
        words = f"{arrow.source} -> {arrow.target}: {arrow.marked_label}"
        source, target = _same_version(arrow.source_address, arrow.target_address)
        ends = (source, arrow.source_address[1]), (target, arrow.target_address[1])
        if arrow.transport == "udp" and len(arrow.data) <= _LONGEST_DATAGRAM:
            packets = [_udp(*ends, arrow.data)]
        elif arrow.transport == "tcp":
            packets = list(connections.packets(*ends, arrow.data))
        else:
            pdu = _pdu(arrow.protocol, *ends) + arrow.data
            yield _packet(_PDU_INTERFACE, arrow.timestamp, pdu, words)
            continue
        for packet in packets[:-1]:
            yield _packet(_IP_INTERFACE, arrow.timestamp, packet)
        yield _packet(_IP_INTERFACE, arrow.timestamp, packets[-1], words)


_End = tuple[_Host, int]


class _Connections:
    """The TCP connections so far: what each end has sent."""

    def __init__(self) -> None:
        self._sent: dict[tuple[_End, _End], int] = {}

    def packets(self, source: _End, target: _End, data: bytes) -> Iterator[bytes]:
        """The segments of one message; before the first one of a connection its handshake."""
        way, back = (source, target), (target, source)
        if way not in self._sent:
            yield _tcp(source, target, 0, 0, _SYN, b"")
            yield _tcp(target, source, 0, 1, _SYN | _ACK, b"")
            yield _tcp(source, target, 1, 1, _ACK, b"")
            self._sent[way] = self._sent[back] = 1
        for start in range(0, len(data), _SEGMENT):
            part = data[start : start + _SEGMENT]
            yield _tcp(source, target, self._sent[way], self._sent[back], _PUSH | _ACK, part)
            self._sent[way] = (self._sent[way] + len(part)) % (1 << 32)


def _same_version(source: Address, target: Address) -> tuple[_Host, _Host]:
    first, second = _host(source[0]), _host(target[0])
    if first.version == second.version:
        return first, second
    return _version6(first), _version6(second)


def _host(text: str) -> _Host:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        # A trace from elsewhere may have a name here.
        return ipaddress.ip_address(0)


def _version6(host: _Host) -> ipaddress.IPv6Address:
    return ipaddress.IPv6Address(f"::ffff:{host}") if host.version == 4 else host


def _port(number: int) -> int:
    return number & 0xFFFF


# --- packets -----------------------------------------------------------------------------------


def _udp(source: _End, target: _End, data: bytes) -> bytes:
    length = 8 + len(data)
    head = struct.pack("!HHHH", _port(source[1]), _port(target[1]), length, 0)
    total = _checksum(_pseudo(source[0], target[0], _UDP, length) + head + data) or 0xFFFF
    return _ip(source[0], target[0], _UDP, head[:6] + struct.pack("!H", total) + data)


def _tcp(source: _End, target: _End, number: int, other: int, flags: int, data: bytes) -> bytes:
    head = struct.pack(
        "!HHIIBBHHH", _port(source[1]), _port(target[1]), number, other, 5 << 4, flags, 65535, 0, 0
    )
    total = _checksum(_pseudo(source[0], target[0], _TCP, 20 + len(data)) + head + data)
    return _ip(source[0], target[0], _TCP, head[:16] + struct.pack("!H", total) + head[18:] + data)


def _pseudo(source: _Host, target: _Host, protocol: int, length: int) -> bytes:
    ends = source.packed + target.packed
    if source.version == 4:
        return ends + struct.pack("!BBH", 0, protocol, length)
    return ends + struct.pack("!IHBB", length, 0, 0, protocol)


def _ip(source: _Host, target: _Host, protocol: int, content: bytes) -> bytes:
    if source.version == 6:
        head = struct.pack("!IHBB", 6 << 28, len(content), protocol, 64)
        return head + source.packed + target.packed + content
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 0, 0x4000, 64, protocol, 0)
    head += source.packed + target.packed
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + content


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _pdu(protocol: str, source: _End, target: _End) -> bytes:
    """The tags before a message that Wireshark reads by the name of its dissector."""
    first = 20 if source[0].version == 4 else 22
    name = protocol.encode("ascii")
    tags = [
        (12, name + b"\0" * (-len(name) % 4)),
        (first, source[0].packed),
        (first + 1, target[0].packed),
        (24, struct.pack("!I", 2)),
        (25, struct.pack("!I", _port(source[1]))),
        (26, struct.pack("!I", _port(target[1]))),
    ]
    packed = b"".join(struct.pack("!HH", tag, len(value)) + value for tag, value in tags)
    return packed + struct.pack("!HH", 0, 0)


# --- pcapng ------------------------------------------------------------------------------------


def _packet(interface: int, time: float, data: bytes, comment: str = "") -> bytes:
    ticks = max(round(time * 1_000_000), 0) & ((1 << 64) - 1)
    head = struct.pack("<IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    options = b""
    if comment:
        words = comment.encode("utf-8", "replace")[:1024]
        options = struct.pack("<HH", 1, len(words)) + _padded(words) + struct.pack("<HH", 0, 0)
    return _block(6, head + _padded(data) + options)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length
