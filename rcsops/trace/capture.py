"""SIP and MSRP out of a capture, as the entries of a trace."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rcsops.errors import UsageError
from rcsops.trace.capture_file import read_packets
from rcsops.trace.framing import StreamFraming
from rcsops.trace.hep import decode_hep
from rcsops.trace.names import forget_oldest
from rcsops.trace.packets import PacketDecoder, Payload
from rcsops.trace.reassembly import Part, TcpReassembler, Way
from rcsops.trace.record import TraceEntry

_MOST_STREAMS = 8192
# A datagram begins a message, also one that no parser takes; in a stream the beginning is searched.
_DATAGRAM = re.compile(rb"(?:\r?\n){0,8}(?:SIP/2\.0 |[^\r\n]{1,4096} SIP/2\.0\r?\n)")


class CaptureReader:
    """Reads one pcap or pcapng; the entries have the direction "seen" and the node "capture".

    Afterwards ``packets`` says how many there were, ``encrypted`` how many directions of
    connections were TLS: nobody but the two ends has what went over them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decoder = PacketDecoder()
        self._reassembler = TcpReassembler()
        self._streams: dict[Way, StreamFraming] = {}
        self.packets = 0
        self.encrypted = 0

    def read(self) -> Iterator[TraceEntry]:
        """The entries, in the order of the capture; raises UsageError for what is none."""
        try:
            with self._path.open("rb") as stream:
                yield from self._read(stream)
        except OSError as error:
            raise UsageError(f"{self._path} cannot be read: {error.strerror}") from error

    def _read(self, stream: BinaryIO) -> Iterator[TraceEntry]:
        for packet in read_packets(stream, str(self._path)):
            self.packets += 1
            for payload in self._decoder.decode(*packet):
                yield from self._payload(payload)
        for part in self._reassembler.close():
            yield from self._part(part)

    def _payload(self, payload: Payload) -> Iterator[TraceEntry]:
        if payload.kind == "tcp":
            for part in self._reassembler.receive(payload):
                yield from self._part(part)
        elif payload.kind == "pdu":
            yield _entry(payload, "tls")
        elif payload.data[:4] == b"HEP3":
            entry = decode_hep(payload.data)
            if entry is not None:
                yield entry
        elif _DATAGRAM.match(payload.data):
            yield _entry(payload, "udp")

    def _part(self, part: Part) -> Iterator[TraceEntry]:
        framing = self._streams.get(part.way)
        if framing is None or part.fresh:
            framing = self._streams[part.way] = StreamFraming()
            forget_oldest(self._streams, _MOST_STREAMS)
        if part.gap:
            framing.gap()
        known = framing.encrypted
        for message in framing.receive(part.data):
            yield TraceEntry(
                time=part.time,
                protocol=message.protocol,
                direction="seen",
                transport=message.transport,
                local=part.way[0],
                remote=part.way[1],
                node="capture",
                data=message.data,
            )
        self.encrypted += framing.encrypted and not known


def _entry(payload: Payload, transport: str) -> TraceEntry:
    return TraceEntry(
        time=payload.time,
        protocol="msrp" if payload.data.startswith(b"MSRP ") else "sip",
        direction="seen",
        transport=transport,
        local=payload.source,
        remote=payload.target,
        node="capture",
        data=payload.data,
    )
