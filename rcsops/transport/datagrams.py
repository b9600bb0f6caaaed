"""A UDP socket for SIP: many datagrams per turn of the loop, and the network's own refusals."""

import asyncio
import contextlib
import errno
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rcsops.sip.target import Flow
from rcsops.transport.addresses import Address, family_of

__all__ = ["UdpSocket"]

_BATCH = 64
_MAX_DATAGRAM = 65535
_RECEIVE_BUFFER = 4 << 20
# linux/in.h, linux/in6.h, linux/errqueue.h: not in the socket module of Python 3.11.
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_MSG_ERRQUEUE = 0x2000
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_SO_RXQ_OVFL = 40
_TIMESTAMP = struct.Struct("=qq")
_COUNT = struct.Struct("=I")
_ANCILLARY = socket.CMSG_SPACE(_TIMESTAMP.size) + socket.CMSG_SPACE(_COUNT.size)
# A clock that was set makes nonsense of the time that a datagram has waited.
_LONGEST_WAIT = 10.0
_REFUSALS = frozenset(
    {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENOPROTOOPT}
)


class UdpSocket:
    """One bound UDP socket on the loop.

    ``on_datagram(data, flow)`` is called for each datagram, ``on_turn()`` after each batch of them,
    ``on_error(flow, text)`` when the network says that an address cannot be reached
    (RFC 3261 §18.4). ``on_wait(seconds, lost)``, when given, is told for each batch how long its
    first datagram has waited in the kernel, and how many found no room there since the last time.
    """

    __slots__ = (
        "_limit",
        "_loop",
        "_lost",
        "_on_datagram",
        "_on_error",
        "_on_turn",
        "_on_wait",
        "_queue",
        "_rearm",
        "_sock",
        "_writing",
        "dropped",
        "family",
        "local",
    )

    def __init__(
        self,
        host: str,
        port: int,
        *,
        on_datagram: Callable[[bytes, Flow], None],
        on_turn: Callable[[], None],
        on_error: Callable[[Flow, str], None],
        queue_limit: int,
        on_wait: Callable[[float, int], None] | None = None,
    ) -> None:
        self.family = family_of(host)
        sock = socket.socket(self.family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            if self.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
                # The second, for the privileged, goes beyond what the system gives to everybody.
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, option, _RECEIVE_BUFFER)
            if sys.platform == "linux":
                with contextlib.suppress(OSError):
                    if self.family == socket.AF_INET6:
                        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
                    else:
                        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
                if on_wait is not None:
                    with contextlib.suppress(OSError):
                        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                        sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
            sock.bind((host, port))
        except BaseException:
            sock.close()
            raise
        self._sock = sock
        self.local: Address = sock.getsockname()[:2]
        self._on_datagram = on_datagram
        self._on_turn = on_turn
        self._on_error = on_error
        self._on_wait = on_wait if sys.platform == "linux" else None
        self._lost = 0
        self._limit = queue_limit
        self._queue: deque[tuple[bytes, Address]] = deque()
        self._writing = False
        self._rearm = False
        self.dropped = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, data: bytes, remote: Address) -> str:
        """Sends one datagram; "" or what the system said against it.

        A full socket buffer is not an error: the datagram waits, and when too many wait it is
        dropped, as the network may do to any datagram.
        """
        if self._queue:
            self._enqueue(data, remote)
            return ""
        for attempt in range(3):
            try:
                self._sock.sendto(data, remote)
            except (BlockingIOError, InterruptedError):
                self._enqueue(data, remote)
                return ""
            except OSError as error:
                # With IP_RECVERR the first call after an ICMP error reports that error, whatever
                # address the call is for: it is noted for the address it belongs to, and the
                # datagram at hand is sent again.
                if attempt < 2 and error.errno in _REFUSALS and self._drain_errors():
                    continue
                return error.strerror or str(error)
            else:
                return ""
        return ""

    def close(self) -> None:
        """Closes the socket; what still waits is lost."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock.fileno())
        if self._writing:
            self._loop.remove_writer(self._sock.fileno())
        self._sock.close()

    def _enqueue(self, data: bytes, remote: Address) -> None:
        if len(self._queue) >= self._limit:
            self.dropped += 1
            return
        self._queue.append((data, remote))
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._sock.fileno(), self._writable)

    def _writable(self) -> None:
        while self._queue:
            data, remote = self._queue[0]
            try:
                self._sock.sendto(data, remote)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._drain_errors()
            self._queue.popleft()
        self._writing = False
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        recvfrom = self._sock.recvfrom
        on_datagram = self._on_datagram
        local = self.local
        measured = self._on_wait is None
        more = False
        for number in range(_BATCH):
            try:
                if measured:
                    data, address = recvfrom(_MAX_DATAGRAM)
                else:
                    measured = True
                    data, ancillary, _, address = self._sock.recvmsg(_MAX_DATAGRAM, _ANCILLARY)
                    self._measure(ancillary)
            except (BlockingIOError, InterruptedError):
                self._drain_errors()
                break
            except OSError:
                self._rearm = True
                self._drain_errors()
                continue
            on_datagram(data, Flow("udp", local, address[:2]))
            if number:
                more = True
            else:
                # Mostly it is the only one, and need not wait until the system has said so.
                self._on_turn()
            if self._sock.fileno() < 0:
                return
        if self._rearm:
            # libuv stops to watch a descriptor that had an error; asyncio's own loop does not mind.
            self._rearm = False
            self._loop.remove_reader(self._sock.fileno())
            self._loop.add_reader(self._sock.fileno(), self._readable)
        if more:
            self._on_turn()

    def _measure(self, ancillary: list[tuple[int, int, Any]]) -> None:
        waited, lost = 0.0, 0
        for level, kind, payload in ancillary:
            if level != socket.SOL_SOCKET:
                continue
            if kind == _SO_TIMESTAMPNS and len(payload) >= _TIMESTAMP.size:
                seconds, nanoseconds = _TIMESTAMP.unpack_from(payload)
                waited = time.time() - seconds - nanoseconds / 1e9
            elif kind == _SO_RXQ_OVFL and len(payload) >= _COUNT.size:
                total = _COUNT.unpack_from(payload)[0]
                lost, self._lost = (total - self._lost) & 0xFFFFFFFF, total
        if self._on_wait is not None:
            self._on_wait(waited if 0.0 < waited < _LONGEST_WAIT else 0.0, lost)

    def _drain_errors(self) -> bool:
        """Reads the queue of ICMP errors; whether there was one."""
        if sys.platform != "linux":
            return False
        found = False
        for _ in range(_BATCH):
            try:
                _, ancillary, _, address = self._sock.recvmsg(0, 512, _MSG_ERRQUEUE)
            except OSError:
                break
            found = self._rearm = True
            code = _error_code(ancillary)
            if code in _REFUSALS and address:
                self._on_error(Flow("udp", self.local, address[:2]), _describe(code))
        return found


def _error_code(ancillary: list[tuple[int, int, Any]]) -> int:
    for level, kind, payload in ancillary:
        if (level, kind) in (
            (socket.IPPROTO_IP, _IP_RECVERR),
            (socket.IPPROTO_IPV6, _IPV6_RECVERR),
        ):
            # struct sock_extended_err begins with the errno.
            return int(struct.unpack_from("=I", payload)[0])
    return 0


def _describe(code: int) -> str:
    return {
        errno.ECONNREFUSED: "nobody listens there",
        errno.EHOSTUNREACH: "no route to the host",
        errno.ENETUNREACH: "no route to the network",
    }.get(code, errno.errorcode.get(code, "unreachable").lower())
