"""SIP on asyncio sockets: the driver of one transaction layer.

Bytes come in, the layer is pumped, what it wants sent goes out, its events go up, and one timer of
the loop follows it. No task is made for a message. TLS and WebSocket are layers of a connection
(`rcsops.transport.layers`); the table of connections and the pump know only flows.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from rcsops.errors import LocalProtocolError, SipParseError
from rcsops.sip.client_transaction import ClientTransaction
from rcsops.sip.events import Event, ResponseReceived, Terminated, TimedOut, TransportFailed
from rcsops.sip.layer import TransactionLayer
from rcsops.sip.message import Message, Request, Response
from rcsops.sip.parser import parse_message
from rcsops.sip.server_transaction import ServerTransaction
from rcsops.sip.target import Flow, Target
from rcsops.sip.timers import Timers
from rcsops.tokens import Tokens
from rcsops.transport.addresses import (
    Address,
    AddressBook,
    ListenAddress,
    family_of,
    host_port,
)
from rcsops.transport.clock import Alarm, loop_clock, system_tokens
from rcsops.transport.connections import ConnectionTable
from rcsops.transport.datagrams import UdpSocket
from rcsops.transport.hooks import Screen, TransactionUser
from rcsops.transport.limits import EndpointLimits, EndpointStatistics
from rcsops.transport.resolver import Resolver
from rcsops.transport.streams import PING
from rcsops.transport.tap import Tap, guarded, record_now
from rcsops.transport.tls import Tls

__all__ = ["SipEndpoint", "TransactionUser"]

logger = logging.getLogger(__name__)

_PAIR_ATTEMPTS = 64
_QUIET_SECONDS = 1.0
_OF_TRANSACTIONS = (ResponseReceived, TimedOut, TransportFailed, Terminated)


class SipEndpoint:
    """Sockets, connections and one transaction layer.

    ``on_event(event)`` is called synchronously for each event of the layer; it may call every
    method of the endpoint. Events of a client transaction whose context is a
    :class:`TransactionUser` go to that context instead. ``on_bad_message(error, flow)`` is told of
    datagrams that are not SIP (``error.partial`` may hold enough to answer 400);
    ``on_flow_closed(flow, error)`` of connections that are gone, and of addresses that the network
    says cannot be reached by UDP. ``nameservers`` are the DNS servers that find names for it,
    instead of the system's.

    ``tls`` has the certificates; ``dials`` are transports that it opens connections for though it
    does not listen on them; ``origins`` are the web pages whose WebSockets are taken.
    ``on_wait(seconds, lost)`` is told how long datagrams wait in the kernel, and of those lost.
    ``tap`` may be changed while it runs; who sets the attribute guards it (`tap.guarded`).

    Make it inside a running loop. A callback that raises is logged and never reaches the loop.
    """

    def __init__(
        self,
        *,
        on_event: Callable[[Event], None],
        on_bad_message: Callable[[SipParseError, Flow], None] | None = None,
        on_flow_closed: Callable[[Flow, str], None] | None = None,
        tokens: Tokens | None = None,
        timers: Timers | None = None,
        tap: Tap | None = None,
        limits: EndpointLimits | None = None,
        on_wait: Callable[[float, int], None] | None = None,
        nameservers: Sequence[str] = (),
        tls: Tls | None = None,
        dials: Iterable[str] = (),
        origins: Sequence[str] = (),
        open_udp: Callable[..., UdpSocket] = UdpSocket,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._time = loop_clock()
        self.tokens = tokens if tokens is not None else system_tokens()
        self.timers = timers if timers is not None else Timers()
        self.limits = limits if limits is not None else EndpointLimits()
        self.statistics = EndpointStatistics()
        self.layer = TransactionLayer(timers=self.timers, tokens=self.tokens)
        self.resolver = Resolver(nameservers, now=self._time, fraction=self.tokens.fraction)
        self.screen: Screen | None = None
        self._on_wait = on_wait
        self._on_event = on_event
        self._on_bad_message = on_bad_message
        self._on_flow_closed = on_flow_closed
        self.tap = guarded(tap)
        self._udp: dict[Address, UdpSocket] = {}
        self._open_udp = open_udp
        self._servers: dict[Address, asyncio.Server] = {}
        self.tls = tls if tls is not None else Tls()
        self.origins = tuple(origins)
        self._dials = tuple(dials)
        self._book = AddressBook(dials, f"{self.tokens.tag()}.invalid")
        self._table = ConnectionTable(self)
        self._failures: dict[Flow, str] = {}
        self._alarm = Alarm()
        self._pumping = False
        self._closed = False
        self._quiet_until = 0.0

    # --- listening ---------------------------------------------------------------------------

    @property
    def addresses(self) -> tuple[ListenAddress, ...]:
        """Where it listens, in the order of the calls to ``listen``."""
        return self._book.addresses

    @property
    def transports(self) -> tuple[str, ...]:
        """The transports that it can send by."""
        listening = (address.transport for address in self.addresses)
        return tuple(dict.fromkeys((*listening, *self._dials)))

    @property
    def now(self) -> float:
        """The loop's monotonic clock, in seconds: the ``now`` of every machine here."""
        return self._time()

    async def listen(self, transport: str, host: str, port: int) -> ListenAddress:
        """Listens on one numeric address; port 0 takes a free one.

        Raises OSError when the address cannot be had, SettingsError when the transport needs a
        certificate and there is none to use, and LocalProtocolError for an unknown transport.
        """
        address = await self._bind(transport, host, port)
        self._book.add(address)
        return address

    async def listen_pair(self, host: str, port: int) -> tuple[ListenAddress, ListenAddress]:
        """Listens on UDP and TCP with the same port; port 0 finds one that is free for both.

        Raises OSError when there is none.
        """
        for attempt in range(_PAIR_ATTEMPTS):
            stream = await self._bind("tcp", host, port)
            try:
                datagram = await self._bind("udp", host, stream.port)
            except OSError:
                self._servers.pop((stream.host, stream.port)).close()
                if port or attempt == _PAIR_ATTEMPTS - 1:
                    raise
                continue
            self._book.add(datagram, stream)
            return datagram, stream
        raise OSError("no port is free for both UDP and TCP")

    async def _bind(self, transport: str, host: str, port: int) -> ListenAddress:
        if transport == "udp":
            return ListenAddress(transport, *self._listen_udp(host, port))
        if transport in ("tcp", "tls", "ws", "wss"):
            if transport in ("tls", "wss"):
                # What is wrong with the certificate is to be heard of now.
                self.tls.server()
            return ListenAddress(transport, *await self._listen_stream(transport, host, port))
        raise LocalProtocolError(f"transport {transport!r} is not supported")

    def _listen_udp(self, host: str, port: int) -> Address:
        listener = self._open_udp(
            host,
            port,
            on_datagram=self._datagram_received,
            on_turn=self.pump,
            on_error=self._unreachable,
            queue_limit=self.limits.max_queued_datagrams,
            on_wait=self._on_wait,
        )
        self._udp[listener.local] = listener
        return listener.local

    async def _listen_stream(self, transport: str, host: str, port: int) -> Address:
        server = await self._loop.create_server(
            lambda: self._table.incoming(transport),
            host,
            port,
            backlog=1024,
        )
        local: Address = server.sockets[0].getsockname()[:2]
        self._servers[local] = server
        return local

    # --- targets -----------------------------------------------------------------------------

    def flow_to(self, transport: str, remote: Address) -> Flow:
        """The flow to an address from the listener that fits it best.

        Raises LocalProtocolError when nothing here listens for that transport and family.
        """
        return self._book.target(transport, remote).flow

    def target(self, transport: str, remote: Address, domain: str = "") -> Target:
        """The flow to an address, with the host and port under which that side can reach us.

        ``domain`` is what was looked up to find the address; over TLS the other end must prove it.
        Raises LocalProtocolError as `flow_to` does.
        """
        if transport == "ws" and self._table.has_secure_websocket(remote):
            # URIs say "ws" for both (RFC 7118 §5.2); to the same port only one of them leads.
            transport = "wss"
        return self._book.target(transport, remote, domain)

    def forget_own_addresses(self) -> None:
        """Asks the system anew from which address it would send to each peer."""
        self._book.forget()

    def target_of(self, flow: Flow) -> Target:
        """A target on a flow that exists, such as the connection that a request came by."""
        return Target(flow, self._book.sent_by(flow.transport, flow.remote))

    def host_towards(self, flow: Flow) -> str:
        """The address under which the other end of a flow sees this machine."""
        return self._book.host_towards(flow.transport, flow.remote)

    # --- what a transaction user does --------------------------------------------------------

    def accept(self, request: Request, flow: Flow) -> ServerTransaction:
        """Makes the server transaction of a request; call it on RequestReceived."""
        transaction = self.layer.accept(request, flow, self._time())
        if not self._pumping:
            self.pump()
        return transaction

    def respond(self, transaction: ServerTransaction, response: Response) -> None:
        """Sends a response through its server transaction."""
        self.layer.respond(transaction, response, self._time())
        self.pump()

    def reply_stateless(self, request: Request, flow: Flow, response: Response) -> None:
        """Answers with no transaction kept: for challenges and refusals."""
        self.layer.reply_stateless(request, flow, response)
        self.pump()

    def send_request(
        self,
        request: Request,
        target: Target,
        *,
        context: object = None,
        branch_suffix: str = "",
    ) -> ClientTransaction:
        """Sends a request in a new client transaction, whose Via is put on top of ``request``."""
        transaction = self.layer.send_request(
            request, target, self._time(), context=context, branch_suffix=branch_suffix
        )
        self.pump()
        return transaction

    def send_ack(self, request: Request, target: Target) -> None:
        """Sends the ACK for a 2xx: a Via of its own and no transaction (RFC 3261 §13.2.2.4)."""
        self.layer.send_ack(request, target)
        self.pump()

    def cancel(self, transaction: ClientTransaction, reason: str | None = None) -> None:
        """Cancels an INVITE, as soon as a provisional response allows it."""
        self.layer.cancel(transaction, self._time(), reason)
        self.pump()

    def send_message(self, message: Message, flow: Flow) -> None:
        """Sends a message outside every transaction."""
        self.layer.send_message(message, flow)
        self.pump()

    def pump(self) -> None:
        """Sends what the layer wants sent, delivers its events, and sets the timer.

        Called after every input; calls from within an event only add to the round that runs.
        """
        if self._pumping:
            # From within an event: what is to be sent need not wait for the end of its handler.
            for data, flow in self.layer.data_to_send():
                self._send(data, flow)
            return
        self._pumping = True
        layer = self.layer
        try:
            while True:
                for data, flow in layer.data_to_send():
                    self._send(data, flow)
                busy = False
                if self._failures:
                    busy = True
                    # Many messages may have failed on one flow: what waits is told once of all.
                    failed, self._failures = self._failures, {}
                    for flow, error in failed.items():
                        layer.transport_failed(flow, error, self._time())
                while (event := layer.next_event()) is not None:
                    busy = True
                    self._deliver(event)
                if not busy:
                    break
        finally:
            self._pumping = False
        if not self._closed:
            self._alarm.set(layer.next_timer(), self._timer_due)

    def _deliver(self, event: Event) -> None:
        try:
            if isinstance(event, _OF_TRANSACTIONS):
                context = event.transaction.context
                if isinstance(context, TransactionUser):
                    context.transaction_event(event)
                    return
            self._on_event(event)
        except Exception:
            logger.exception("the handler of %s failed", type(event).__name__)
        finally:
            if isinstance(event, Terminated):
                # What uses a transaction mostly holds it as well: after its last event the two
                # must not keep each other alive.
                event.transaction.context = None

    def _timer_due(self) -> None:
        self.layer.handle_timer(self._time())
        self.pump()

    # --- sending -----------------------------------------------------------------------------

    def _send(self, data: bytes, flow: Flow) -> None:
        if flow.transport == "udp":
            listener = self._udp.get(flow.local) or self._any_udp(flow.remote)
            error = "no UDP socket" if listener is None else listener.send(data, flow.remote)
            if not error:
                self.message_written(data, flow)
        else:
            error = self._table.send(data, flow)
        if error:
            self.statistics.send_errors += 1
            self._failures[flow] = error

    def _any_udp(self, remote: Address) -> UdpSocket | None:
        family = family_of(remote[0])
        for listener in self._udp.values():
            if listener.family == family:
                return listener
        return None

    def message_written(self, data: bytes, flow: Flow) -> None:
        """A message has been handed to the system: counts it and shows it to the tap."""
        self.statistics.sent += 1
        if self.tap is not None:
            self.tap(record_now("sip", "out", flow.transport, flow.local, flow.remote, data))

    # --- receiving ---------------------------------------------------------------------------

    def _datagram_received(self, data: bytes, flow: Flow) -> None:
        if len(data) <= 4 and not data.strip(b"\r\n\0"):
            # A keep-alive that only holds a NAT binding open.
            return
        if self.screen is not None and (answer := self.screen(data, flow)) is not None:
            self.statistics.received += 1
            self._send(*answer)
            return
        try:
            message = parse_message(data)
        except SipParseError as error:
            self.statistics.bad_datagrams += 1
            self._report_bad(error, flow)
            return
        if self.tap is not None:
            self.tap(record_now("sip", "in", "udp", flow.local, flow.remote, data))
        self._receive(message, flow)

    def _receive(self, message: Message, flow: Flow) -> None:
        self.statistics.received += 1
        try:
            self.layer.receive_message(message, flow, self._time())
        except SipParseError as error:
            self.statistics.bad_datagrams += 1
            self._report_bad(error, flow)
        except Exception:
            logger.exception("a message from %s could not be handled", flow.remote)

    def _report_bad(self, error: SipParseError, flow: Flow) -> None:
        if self._on_bad_message is None:
            return
        try:
            self._on_bad_message(error, flow)
        except Exception:
            logger.exception("the handler of bad messages failed")

    def _unreachable(self, flow: Flow, error: str) -> None:
        self._failures[flow] = error
        self._loop.call_soon(self.pump)
        # Not from here: this may be in the middle of sending.
        self._loop.call_soon(self.flow_closed, flow, error)

    # --- connections -------------------------------------------------------------------------

    @property
    def connections(self) -> tuple[Flow, ...]:
        """The flows of the connections that are open."""
        return self._table.flows()

    def close_flow(self, flow: Flow) -> None:
        """Closes the connection of a flow, when there is one."""
        connection = self._table.find(flow)
        if connection is not None:
            connection.close()

    def limit_idle(self, flow: Flow, seconds: float) -> None:
        """Closes the connection of a flow after so long without a sign of life from its peer,
        instead of ``limits.idle_seconds``."""
        connection = self._table.find(flow)
        if connection is not None:
            connection.idle_seconds = seconds

    def keep_alive(self, flow: Flow) -> bool:
        """Sends a CRLF keep-alive on the flow; False when it has no open connection or socket.

        On a connection the peer must answer within ``limits.pong_seconds`` or it is closed
        (RFC 5626 §4.4.1).
        """
        if flow.transport == "udp":
            listener = self._udp.get(flow.local)
            return listener is not None and not listener.send(PING, flow.remote)
        connection = self._table.find(flow)
        if connection is None or connection.closed:
            return False
        connection.ping()
        return True

    def connection_of(self, flow: Flow) -> int:
        """The number of the connection that a message to ``flow`` would take, 0 if none is open."""
        connection = self._table.find(flow)
        return 0 if connection is None else connection.number

    def stream_message(self, message: Message, flow: Flow) -> None:
        """A connection has framed a message."""
        if flow.transport in ("tls", "wss"):
            self._table.note_alias(message, flow)
        if self.tap is not None:
            # Untouched, a parsed message gives back the bytes that came.
            self.tap(
                record_now("sip", "in", flow.transport, flow.local, flow.remote, bytes(message))
            )
        self._receive(message, flow)

    def stream_broken(self, error: SipParseError, flow: Flow) -> None:
        """What a connection brought is not SIP; it closes after this call."""
        self.statistics.bad_streams += 1
        self._report_bad(error, flow)
        self.pump()

    def bad_message(self, error: SipParseError, flow: Flow) -> None:
        """What came in a message of its own is not SIP; the connection goes on."""
        self.statistics.bad_datagrams += 1
        self._report_bad(error, flow)

    def handshake_failed(self, flow: Flow, error: str) -> None:
        """A connection did not get as far as SIP."""
        self.statistics.failed_handshakes += 1
        # Strangers that knock in vain must not fill the log.
        if self.now >= self._quiet_until:
            self._quiet_until = self.now + _QUIET_SECONDS
            where = host_port(*flow.remote)
            logger.info("no connection by %s with %s: %s", flow.transport, where, error)

    def flow_failed(self, flows: Iterable[Flow], error: str) -> None:
        """What was under way on these flows has failed."""
        for flow in flows:
            self._failures[flow] = error
        self._loop.call_soon(self.pump)

    def flow_closed(self, flow: Flow, error: str) -> None:
        """A connection is gone; ``error`` is "" when we closed it."""
        if self._on_flow_closed is None or self._closed:
            return
        try:
            self._on_flow_closed(flow, error)
        except Exception:
            logger.exception("the handler of closed flows failed")

    # --- the end -----------------------------------------------------------------------------

    async def close(self) -> None:
        """Closes every socket and connection; afterwards no task and no timer is left."""
        if self._closed:
            return
        self.pump()
        self._closed = True
        self._alarm.cancel()
        for server in self._servers.values():
            server.close()
        await self._table.close()
        for listener in self._udp.values():
            listener.close()
        self._udp.clear()
        self._servers.clear()
        self._book.clear()
