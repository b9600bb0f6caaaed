"""HEP version 3, the packets by which OpenSIPS, Kamailio and others send copies of their messages
to a capture server (the "Homer Encapsulation Protocol")."""

import ipaddress
import struct
import zlib
from collections.abc import Iterator

from rcsops.trace.record import LATEST, TraceEntry

_SIP = 1
_TRANSPORTS = {6: "tcp", 17: "udp", 22: "tls", 132: "sctp"}
_LONGEST = 1 << 20
_MOST_CHUNKS = 64

# The chunks of vendor 0.
_PROTOCOL, _SOURCE4, _TARGET4, _SOURCE6, _TARGET6 = 2, 3, 4, 5, 6
_SOURCE_PORT, _TARGET_PORT, _SECONDS, _MICROSECONDS, _KIND, _AGENT = 7, 8, 9, 10, 11, 12
_PAYLOAD, _COMPRESSED = 15, 16


def decode_hep(packet: bytes) -> TraceEntry | None:
    """The message of one packet, None when it carries none (or is broken).

    The node of the entry is ``hep:`` and the number that the sender has given itself.
    """
    try:
        return _decode(packet)
    except (struct.error, ValueError, IndexError, zlib.error):
        return None


def _chunks(packet: bytes) -> Iterator[tuple[int, bytes]]:
    magic, total = struct.unpack_from("!4sH", packet)
    if magic != b"HEP3" or total > len(packet):
        raise ValueError("not HEP3")
    at = 6
    for _ in range(_MOST_CHUNKS):
        if at + 6 > total:
            return
        vendor, kind, length = struct.unpack_from("!HHH", packet, at)
        if length < 6 or at + length > total:
            raise ValueError("a chunk is cut short")
        if vendor == 0:
            yield kind, packet[at + 6 : at + length]
        at += length


def _decode(packet: bytes) -> TraceEntry | None:
    chunks = dict(_chunks(packet))
    payload = chunks.get(_PAYLOAD)
    if payload is None and _COMPRESSED in chunks:
        # As much as a message may be, however little it takes to say more.
        payload = zlib.decompressobj(wbits=47).decompress(chunks[_COMPRESSED], _LONGEST)
    if not payload:
        return None
    is_msrp = payload.startswith(b"MSRP ")
    if chunks.get(_KIND, b"\x01")[-1] != _SIP and not is_msrp:
        return None
    time = _number(chunks, _SECONDS) + _number(chunks, _MICROSECONDS) / 1_000_000
    if time > LATEST:
        raise ValueError("a time that cannot be")
    transport = _TRANSPORTS.get(_number(chunks, _PROTOCOL), "udp")
    return TraceEntry(
        time=time,
        protocol="msrp" if is_msrp else "sip",
        direction="seen",
        transport=transport,
        local=(_host(chunks, _SOURCE4, _SOURCE6), _number(chunks, _SOURCE_PORT)),
        remote=(_host(chunks, _TARGET4, _TARGET6), _number(chunks, _TARGET_PORT)),
        node=f"hep:{_number(chunks, _AGENT)}",
        data=payload,
    )


def _number(chunks: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(chunks.get(kind, b"")[:8], "big")


def _host(chunks: dict[int, bytes], version4: int, version6: int) -> str:
    return str(ipaddress.ip_address(chunks.get(version4) or chunks.get(version6) or bytes(4)))
