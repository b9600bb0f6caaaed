"""One connection of MSRP: TCP, with TLS on it for msrps.

Drives :class:`~rcsops.msrp.connection.MsrpConnection`; a frame is made only when the socket can
take it, which is all the back-pressure that a stream needs.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from rcsops.errors import AgentError
from rcsops.msrp.connection import MsrpConnection
from rcsops.transport.addresses import Address, host_port
from rcsops.transport.clock import Alarm
from rcsops.transport.layers import ConnectionFailed
from rcsops.transport.tap import record_now
from rcsops.transport.turns import SLICE_SECONDS

if TYPE_CHECKING:
    from rcsops.transport.msrp import MsrpEndpoint, MsrpLink
    from rcsops.transport.msrps import MsrpTlsLayer

__all__ = ["MsrpStream"]

_HIGH_WATER = 256 << 10
_TURN_OCTETS = 64 << 10
_AT_ONCE = 64 << 10
# So many frames that came, or pieces of large ones, are dealt with before the clock is looked at.
_FEW_FRAMES = 4
# With so many octets to deal with, no more are read.
_MOST_BEHIND = 512 << 10


class MsrpStream(asyncio.Protocol):
    """One connection; ``link`` is the session that we opened it for, None when the peer did, and
    ``layer`` its TLS, if any."""

    def __init__(
        self, endpoint: "MsrpEndpoint", link: "MsrpLink | None", layer: "MsrpTlsLayer | None" = None
    ) -> None:
        self.local = ""
        self.remote = ""
        self.security = ""
        self._endpoint = endpoint
        self._link = link
        self._layer = layer
        self._established: asyncio.Future[None] | None = None
        self.machine = MsrpConnection(endpoint.table, tap=endpoint.tap is not None)
        self._transport: asyncio.Transport | None = None
        self._addresses: tuple[Address, Address] = (("", 0), ("", 0))
        self._writable = True
        self._allowance = _TURN_OCTETS
        self._pumping = False
        self._pump_due = False
        self._slice_due = False
        # Octets that have come since all had been dealt with.
        self._behind = 0
        self._stopped = False
        self._closing = False
        self._alarm = Alarm()
        self._failure = ""
        self._unbound: asyncio.TimerHandle | None = None
        self._unsent: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        peer = stream.get_extra_info("peername")
        if peer is None or not self._endpoint.opened(self):
            self._closing = True
            stream.abort()
            return
        self._transport = stream
        self._addresses = (stream.get_extra_info("sockname")[:2], peer[:2])
        self.local, self.remote = (host_port(*address) for address in self._addresses)
        stream.set_write_buffer_limits(high=_HIGH_WATER)
        if self._link is None:
            self._unbound = asyncio.get_running_loop().call_later(
                self._endpoint.limits.bind_seconds, self.close_if_unused
            )
        if self._layer is None:
            self._ready()
        else:
            self._through(self._layer.start)

    @property
    def ready(self) -> bool:
        """Whether TCP, and TLS where there is some, are there."""
        return self._transport is not None and (self._layer is None or bool(self.security))

    async def established(self) -> None:
        """Waits for TLS. Raises AgentError when it fails, or is not with the peer of the SDP."""
        if not self.security and not self._closing:
            self._established = asyncio.get_running_loop().create_future()
            await self._established
        if self._failure:
            raise AgentError(self._failure)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        layer = self._layer
        if layer is None:
            self._keep(data)
        else:
            for chunk in self._through(lambda: layer.receive_data(data)) or ():
                self._keep(chunk)
        if self._slice_due:
            self._read()
        elif self._endpoint.turns.held:
            # It is read nevertheless: a BYE must not overtake what was said before it.
            self._slice_soon()
        else:
            self._slice()

    def _keep(self, data: bytes) -> None:
        self._behind += len(data)
        self.machine.keep_data(data)

    def _slice_soon(self) -> None:
        self._slice_due = True
        self._endpoint.turns.call(self._slice)
        self._read()

    def _slice(self) -> None:
        """Deals with what has come for a slice of time; the rest waits for its turn."""
        self._slice_due = False
        machine, endpoint = self.machine, self._endpoint
        end = time.monotonic() + SLICE_SECONDS
        is_first = True
        while not self._closing and not self._stopped:
            machine.receive_more(endpoint.now, _FEW_FRAMES)
            if is_first:
                self.pump()
            else:
                # The answers leave together.
                self._pumping = True
                try:
                    self._deliver()
                finally:
                    self._pumping = False
            if not machine.behind:
                self._behind = 0
                self._read()
                break
            if time.monotonic() >= end:
                self._slice_soon()
                break
            is_first = False
        if not is_first and not self._closing:
            self.pump()

    def catch_up(self) -> None:
        """Deals with all that has come, and sends all that waits: what it is for ends now."""
        if self.machine.behind:
            self.machine.receive_more(self._endpoint.now)
            self._behind = 0
            self._read()
        self.pump()

    def go_on(self) -> None:
        """The SDP of a session has come, perhaps of the one that this connection waits for."""
        if self.machine.waiting:
            self.machine.go_on(self._endpoint.now)
            self.resume_reading()
            self.pump()

    def _end_wait(self) -> None:
        if self._established is not None and not self._established.done():
            self._established.set_result(None)

    def _ready(self) -> None:
        """TCP, and TLS where there is some, are there."""
        link = self._link
        if link is not None:
            if link.closed or not self.machine.attach(link.session, self._endpoint.now):
                # The peer was faster, or is not the right one, or nobody wants it any more.
                if link.session.distrusted:
                    self._failure = "its certificate is not the one of its SDP"
                self.close()
                return
            link.attached(self)
        self.pump()

    def _through(self, work: Callable[[], list[bytes] | None]) -> list[bytes] | None:
        """Has TLS do something, and sends what it has to say."""
        layer, transport = self._layer, self._transport
        assert layer is not None and transport is not None
        try:
            result = work()
        except ConnectionFailed as error:
            result = None
            self._failure = str(error)
        transport.write(layer.data_to_send())
        if self._failure:
            self.abort()
        elif layer.established and not self.security:
            self.security = layer.version
            self.machine.certificate = layer.peer_certificate
            self._ready()
        if self.security or self._failure:
            self._end_wait()
        return result

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self.pump()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closing:
            self.catch_up()
        self._closing = True
        self._alarm.cancel()
        if self._unbound is not None:
            self._unbound.cancel()
        if self._unsent is not None:
            self._unsent.cancel()
        self._endpoint.gone(self)
        reason = str(error) if error else "the connection was closed"
        self._failure = self._failure or reason
        self._end_wait()
        links = self._links()
        self.machine.connection_lost(reason)
        for link in links:
            link.detached(reason)
        if self._transport is not None:
            with contextlib.suppress(AttributeError):
                # A transport of asyncio holds itself by this method, and some 3 KiB with it; each
                # session has one, and they would wait for the collector. Nothing is read any more.
                del self._transport._read_ready_cb  # type: ignore[attr-defined]
        self._link = self._transport = None

    def pump_soon(self) -> None:
        """Does as ``pump``, in another turn of the loop: once for all that ask for it in one."""
        if not self._pump_due:
            self._pump_due = True
            self._endpoint.turns.call(self._pump_in_turn)

    def _pump_in_turn(self) -> None:
        if self._pump_due and not self._closing:
            self.pump()

    def pump(self) -> None:
        """Sends what the sessions have and hands their events on, until nothing moves.

        A file that a fast peer takes as it comes goes on in the next turn of the loop, after what
        the other connections have to say.
        """
        if self._pumping:
            return
        self._pumping = True
        self._pump_due = False
        self._allowance = _TURN_OCTETS
        machine = self.machine
        try:
            busy = True
            while busy:
                self._write()
                self._deliver()
                busy = self._writable and machine.has_data_to_send()
                if self._transport is None or self._transport.is_closing():
                    break
                if self._allowance <= 0:
                    if busy:
                        asyncio.get_running_loop().call_soon(self.pump)
                    break
        finally:
            self._pumping = False
        if machine.next_event() is not None:
            self.close()
        elif machine.waiting:
            self.pause_reading()
        elif not self._closing:
            self._alarm.set(machine.next_timer(), self._timer_due)

    def _deliver(self) -> None:
        for link in self._links():
            link.attached(self)
            link.deliver()

    def pause_reading(self) -> None:
        self._stopped = True
        self._read()

    def resume_reading(self) -> None:
        self._stopped = False
        if self.machine.behind and not self._slice_due:
            self._slice_soon()
        self._read()

    def _read(self) -> None:
        """Reads on, or not: TCP then holds the peer back."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._stopped or self._behind > _MOST_BEHIND:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def close_if_unused(self) -> None:
        """Closes when no session is on it, after what is buffered has gone."""
        if not self.machine.sessions and (self._unbound is None or self._has_served()):
            self.close()

    def close(self) -> None:
        if self._transport is not None and not self._closing:
            self._allowance = _TURN_OCTETS
            self._write()
            if self._layer is not None:
                self._layer.close()
                self._transport.write(self._layer.data_to_send())
            self._transport.close()
            # A peer that does not read would keep the socket for as long as it likes.
            self._unsent = asyncio.get_running_loop().call_later(
                self._endpoint.limits.linger_seconds, self.abort
            )
        self._closing = True

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def _has_served(self) -> bool:
        if self._unbound is None:
            return True
        return self._unbound.when() <= self._endpoint.now

    def _links(self) -> list["MsrpLink"]:
        found = []
        for session in self.machine.sessions:
            if self._unbound is not None:
                self._unbound.cancel()
                self._unbound = None
            link = self._endpoint.link_of(session)
            if link is not None:
                found.append(link)
        return found

    def _write(self) -> None:
        transport = self._transport
        layer = self._layer
        if transport is None or transport.is_closing() or (layer and not layer.established):
            return
        more = True
        while more and self._writable and self._allowance > 0 and not transport.is_closing():
            data = self.machine.data_to_send(self._endpoint.now, _AT_ONCE)
            if not data:
                break
            # Less than was asked for is all that there is.
            more = len(data) >= _AT_ONCE
            self._allowance -= len(data)
            if layer is not None:
                try:
                    layer.send(data)
                except ConnectionFailed as error:
                    self._failure = str(error)
                    self.abort()
                    break
                data = layer.data_to_send()
            transport.write(data)
        self._show()

    def _show(self) -> None:
        tap = self._endpoint.tap
        if tap is None:
            return
        local, remote = self._addresses
        for seen in self.machine.frames_seen():
            direction = "in" if seen.direction == "in" else "out"
            transport = "tcp" if self._layer is None else "tls"
            record = record_now("msrp", direction, transport, local, remote, seen.data)  # type: ignore[arg-type]
            tap(record._replace(omitted=seen.omitted) if seen.omitted else record)

    def _timer_due(self) -> None:
        self.machine.handle_timer(self._endpoint.now)
        self.pump()
