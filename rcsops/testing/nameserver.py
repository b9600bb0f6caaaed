"""A real DNS server for tests and labs: one zone, UDP and TCP on one port of loopback.

It answers as an authoritative server does, and lies or keeps silent when it is told to.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone

__all__ = ["NameServer", "Question"]

_MAX_CHAIN = 8
_TCP_SECONDS = 5.0


class Question(NamedTuple):
    """A question that was asked: the name without its last dot, the type, "udp" or "tcp"."""

    name: str
    kind: str
    transport: str


class NameServer:
    """Serves ``zone``, the text of a zone file, for ``origin``; a context manager.

    ``address`` is "127.0.0.1:PORT". ``questions`` are all that were asked, in order. ``silent``
    makes it answer nothing, ``rcode`` refuses everything, ``truncate`` sends every question by UDP
    on to TCP; `lie` gives answers that no zone would hold.
    """

    def __init__(
        self, zone: str, *, origin: str = "rcs.example", host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.origin = dns.name.from_text(origin)
        self.questions: list[Question] = []
        self.silent = False
        self.truncate = False
        self.rcode: dns.rcode.Rcode | None = None
        self._lies: dict[tuple[dns.name.Name, str], list[dns.rrset.RRset]] = {}
        self._zone = dns.zone.from_text(_with_start(zone), origin=self.origin, relativize=False)
        self._udp, self._tcp = _bound(host, port)
        self.host, self.port = host, int(self._udp.getsockname()[1])
        self._closed = False
        self._threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._serve_udp, self._serve_tcp)
        ]

    @property
    def address(self) -> str:
        """Where it listens: host and port."""
        return f"{self.host}:{self.port}"

    def load(self, zone: str) -> None:
        """Serves another zone from now on."""
        self._zone = dns.zone.from_text(_with_start(zone), origin=self.origin, relativize=False)

    def lie(self, name: str, kind: str, records: Iterable[str]) -> None:
        """Answers one question with records of any owner ("a.example. 60 IN A 192.0.2.1")."""
        sets = [
            dns.rrset.from_text(dns.name.from_text(owner), int(ttl), kind_class, its_kind, data)
            for owner, ttl, kind_class, its_kind, data in (r.split(maxsplit=4) for r in records)
        ]
        self._lies[(dns.name.from_text(name), kind)] = sets

    def asked(self, name: str, kind: str) -> int:
        """How often a question came."""
        return sum(1 for each in self.questions if (each.name, each.kind) == (name, kind))

    def __enter__(self) -> "NameServer":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed = True
        for sock in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(_TCP_SECONDS + 1)

    # --- sockets -------------------------------------------------------------------------------

    def _serve_udp(self) -> None:
        self._udp.settimeout(0.2)
        while not self._closed:
            try:
                data, peer = self._udp.recvfrom(65535)
            except TimeoutError:
                continue
            except OSError:
                return
            answer = self._answer(data, "udp")
            if answer is not None:
                with contextlib.suppress(OSError):
                    self._udp.sendto(answer, peer)

    def _serve_tcp(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, EOFError):
                connection.settimeout(_TCP_SECONDS)
                while True:
                    (length,) = struct.unpack("!H", _read(connection, 2))
                    answer = self._answer(_read(connection, length), "tcp")
                    if answer is None:
                        break
                    connection.sendall(struct.pack("!H", len(answer)) + answer)

    # --- answers -------------------------------------------------------------------------------

    def _answer(self, data: bytes, transport: str) -> bytes | None:
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return None
        if not query.question:
            return None
        asked = query.question[0]
        kind = dns.rdatatype.to_text(asked.rdtype)
        name = asked.name.to_text(omit_final_dot=True).lower()
        self.questions.append(Question(name, kind, transport))
        if self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        if self.truncate and transport == "udp":
            response.flags |= dns.flags.TC
        elif self.rcode is not None:
            response.set_rcode(self.rcode)
        elif (asked.name, kind) in self._lies:
            response.answer += self._lies[(asked.name, kind)]
        else:
            self._look_up(response, asked.name, asked.rdtype)
        if transport == "tcp":
            return response.to_wire(max_size=65535)
        try:
            return response.to_wire(max_size=query.payload or 512)
        except dns.exception.TooBig:
            short = dns.message.make_response(query)
            short.flags |= dns.flags.TC
            return short.to_wire()

    def _look_up(
        self, response: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> None:
        if not name.is_subdomain(self.origin):
            response.set_rcode(dns.rcode.REFUSED)
            return
        for _ in range(_MAX_CHAIN):
            found = self._zone.get_rrset(name, kind)
            if found is not None:
                response.answer.append(found)
                return
            alias = self._zone.get_rrset(name, dns.rdatatype.CNAME)
            if alias is None:
                break
            response.answer.append(alias)
            name = alias[0].target
            if not name.is_subdomain(self.origin):
                return
        if not any(node.is_subdomain(name) for node in self._zone.nodes):
            response.set_rcode(dns.rcode.NXDOMAIN)
        start = self._zone.get_rrset(self.origin, dns.rdatatype.SOA)
        if start is not None:
            response.authority.append(start)


def _with_start(zone: str) -> str:
    """The zone with the records that every zone has, unless it brings them."""
    zone = "\n".join(line.strip() for line in zone.splitlines())
    if " SOA " in zone:
        return zone
    return f"@ 60 IN SOA ns. root. 1 60 60 60 60\n@ 60 IN NS ns.\n{zone}"


def _bound(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(64):
        tcp = socket.create_server((host, port), family=family)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            udp.bind((host, tcp.getsockname()[1]))
        except OSError:
            udp.close()
            tcp.close()
            if port:
                raise
            continue
        return udp, tcp
    raise OSError("no port is free for both UDP and TCP")


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
