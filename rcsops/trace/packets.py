"""Packets of a capture down to what SIP and MSRP travel in: link layer, IP, UDP and TCP."""

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rcsops.trace.names import forget_oldest
from rcsops.trace.record import Address

ETHERNET, RAW, UPPER_PDU = 1, 101, 252
_NULL, _LOOP, _SLL, _SLL2 = 0, 108, 113, 276
_RAW_KINDS = frozenset({12, 14, RAW, 228, 229})
_TCP, _UDP, _FRAGMENT = 6, 17, 44
# Hop-by-hop, routing, destination options, mobility: headers of eight octets each and more.
_EXTENSIONS = frozenset({0, 43, 60, 135})
_IPV4, _IPV6 = 0x0800, 0x86DD
_VLANS = frozenset({0x8100, 0x88A8, 0x9100})
_MOST_DATAGRAMS = 256
_LONGEST_DATAGRAM = 65535
_MOST_FRAGMENTS = 64


@dataclass(frozen=True, slots=True)
class Payload:
    """What one packet carries, from ``source`` to ``target``.

    ``kind`` "pdu" is a message that an exporter has decoded before, "udp" a datagram, "tcp" a
    segment with its sequence number and the flags SYN, FIN and RST.
    """

    time: float
    kind: Literal["udp", "tcp", "pdu"]
    source: Address
    target: Address
    data: bytes
    sequence: int = 0
    syn: bool = False
    end: bool = False


class PacketDecoder:
    """Packets in, payloads out; what is neither UDP nor TCP over IP gives none.

    IP fragments are put together, within bounds. Nothing in a packet makes it raise.
    """

    def __init__(self) -> None:
        self._fragments: dict[tuple[bytes, bytes, int, int], dict[int, tuple[bytes, bool]]] = {}

    def decode(self, time: float, link: int, data: bytes) -> Iterator[Payload]:
        """The payload of a packet of the link type ``link`` (a LINKTYPE number), if it has one."""
        try:
            if link == UPPER_PDU:
                yield from _upper_pdu(time, data)
                return
            packet = _network(link, data)
            if packet is not None:
                yield from self._internet(time, packet)
        except (struct.error, IndexError, ValueError):
            # Cut off by the capture, or broken.
            return

    def _internet(self, time: float, packet: bytes) -> Iterator[Payload]:
        version = packet[0] >> 4
        if version == 4:
            yield from self._version4(time, packet)
        elif version == 6:
            yield from self._version6(time, packet)

    def _version4(self, time: float, packet: bytes) -> Iterator[Payload]:
        header = (packet[0] & 15) * 4
        total, identity, position = struct.unpack_from("!HHH", packet, 2)
        source, target = packet[12:16], packet[16:20]
        # Segmentation left to the network card leaves 0 for a length.
        content = packet[header : total or len(packet)]
        offset, more = (position & 0x1FFF) * 8, bool(position & 0x2000)
        whole: bytes | None = content
        if offset or more:
            whole = self._join((source, target, identity, packet[9]), offset, content, more)
        if whole is not None:
            yield from _transport(time, packet[9], source, target, whole)

    def _version6(self, time: float, packet: bytes) -> Iterator[Payload]:
        length = struct.unpack_from("!H", packet, 4)[0]
        following = packet[6]
        source, target = packet[8:24], packet[24:40]
        content = packet[40 : 40 + length] if length else packet[40:]
        while following in _EXTENSIONS:
            following, content = content[0], content[(content[1] + 1) * 8 :]
        if following == _FRAGMENT:
            position, identity = struct.unpack_from("!HI", content, 2)
            following = content[0]
            key = (source, target, identity, following)
            joined = self._join(key, position & 0xFFF8, content[8:], bool(position & 1))
            if joined is None:
                return
            content = joined
        yield from _transport(time, following, source, target, content)

    def _join(
        self, key: tuple[bytes, bytes, int, int], offset: int, content: bytes, more: bool
    ) -> bytes | None:
        """The whole datagram once its last fragment is there."""
        parts = self._fragments.setdefault(key, {})
        if offset + len(content) > _LONGEST_DATAGRAM or len(parts) >= _MOST_FRAGMENTS:
            del self._fragments[key]
            return None
        parts.setdefault(offset, (content, more))
        whole = bytearray()
        for start in sorted(parts):
            part, goes_on = parts[start]
            if start > len(whole):
                break
            whole += part[len(whole) - start :]
            if not goes_on:
                del self._fragments[key]
                return bytes(whole)
        forget_oldest(self._fragments, _MOST_DATAGRAMS)
        return None


def _network(link: int, data: bytes) -> bytes | None:
    """The IP packet in a frame, None when it carries something else."""
    if link in _RAW_KINDS:
        return data
    if link in (_NULL, _LOOP):
        # An address family in the byte order of the machine that captured; IP says its own version.
        return data[4:]
    if link == ETHERNET:
        kind, at = struct.unpack_from("!H", data, 12)[0], 14
    elif link == _SLL:
        kind, at = struct.unpack_from("!H", data, 14)[0], 16
    elif link == _SLL2:
        kind, at = struct.unpack_from("!H", data, 0)[0], 20
    else:
        return None
    while kind in _VLANS:
        kind, at = struct.unpack_from("!H", data, at + 2)[0], at + 4
    return data[at:] if kind in (_IPV4, _IPV6) else None


def _transport(
    time: float, protocol: int, source: bytes, target: bytes, content: bytes
) -> Iterator[Payload]:
    if protocol not in (_TCP, _UDP):
        return
    ports = struct.unpack_from("!HH", content)
    ends = _address(source, ports[0]), _address(target, ports[1])
    if protocol == _UDP:
        length = struct.unpack_from("!H", content, 4)[0]
        yield Payload(time, "udp", *ends, content[8 : max(length, 8) if length else None])
        return
    sequence = struct.unpack_from("!I", content, 4)[0]
    header, flags = (content[12] >> 4) * 4, content[13]
    yield Payload(
        time,
        "tcp",
        *ends,
        content[max(header, 20) :],
        sequence=sequence,
        syn=bool(flags & 2),
        end=bool(flags & 5),
    )


def _address(host: bytes, port: int) -> Address:
    return str(ipaddress.ip_address(host)), port


_PDU_NAME, _PDU_SOURCES, _PDU_TARGETS = 12, (20, 22), (21, 23)
_PDU_SOURCE_PORT, _PDU_TARGET_PORT = 25, 26


def _upper_pdu(time: float, data: bytes) -> Iterator[Payload]:
    """Wireshark's exported PDU: tags that say what it is and from where, then the message."""
    source_host = target_host = bytes(4)
    source_port = target_port = 0
    name = b""
    at = 0
    while True:
        tag, length = struct.unpack_from("!HH", data, at)
        value = data[at + 4 : at + 4 + length]
        at += 4 + length
        if tag == 0:
            break
        if tag == _PDU_NAME:
            name = value.rstrip(b"\0")
        elif tag in _PDU_SOURCES:
            source_host = value
        elif tag in _PDU_TARGETS:
            target_host = value
        elif tag == _PDU_SOURCE_PORT:
            source_port = struct.unpack("!I", value)[0] & 0xFFFF
        elif tag == _PDU_TARGET_PORT:
            target_port = struct.unpack("!I", value)[0] & 0xFFFF
    if name in (b"sip", b"msrp"):
        ends = _address(source_host, source_port), _address(target_host, target_port)
        yield Payload(time, "pdu", *ends, data[at:])
