"""One MSRP session between two endpoints (RFC 4975 §5, §7)."""

from collections import deque
from collections.abc import Callable

from rcsops.errors import LocalProtocolError, MsrpParseError
from rcsops.msrp.events import PeerBound, SessionEvent
from rcsops.msrp.frame import Request, Response, is_ident, response_to
from rcsops.msrp.incoming import ReceiveLimits, Receiver
from rcsops.msrp.outgoing import EXACT_CHUNK, Read, Sender, WireFrame
from rcsops.msrp.uri import Path, format_path, parse_path
from rcsops.tokens import Tokens

DEFAULT_RECEIVE_LIMITS = ReceiveLimits()
HIGH_WATER = 1 << 20


class MsrpSession:
    """A machine: messages in by ``send``, frames out by ``next_frame`` and back by ``receive_*``.

    ``local_path`` is the ``a=path`` of our SDP, ``remote_path`` the peer's; it may be empty while
    no answer has come, and is then set by ``set_remote_path``. ``active`` says that we open the
    connection and so send first. ``stream_incoming`` hands bodies on piece by piece (files) instead
    of keeping each message in memory until it is whole; with ``confirm_streams`` the REPORT that
    its sender asked for waits for ``confirm``. With ``hold_answers`` the 200 to the chunk that
    completes a message, or brings it again meanwhile, and a report on it wait for ``answer``.
    ``accept_types`` and ``limits.max_size`` are what our SDP says, ``remote_max_size`` what the
    peer's says. ``direction`` is ours: sendrecv, sendonly or recvonly. ``window`` is how many
    chunks may await their answer.

    A session is driven through an :class:`~rcsops.msrp.connection.MsrpConnection`.
    """

    def __init__(
        self,
        local_path: Path,
        remote_path: Path = (),
        *,
        tokens: Tokens,
        active: bool,
        accept_types: tuple[str, ...] = ("*",),
        limits: ReceiveLimits = DEFAULT_RECEIVE_LIMITS,
        remote_max_size: int | None = None,
        stream_incoming: bool = False,
        confirm_streams: bool = False,
        hold_answers: bool = False,
        direction: str = "sendrecv",
        chunk_size: int = EXACT_CHUNK,
        window: int = 512,
    ) -> None:
        if not local_path or not local_path[-1].session_id:
            raise LocalProtocolError("a session needs a path with a session-id")
        self.local_path = local_path
        self.remote_path: Path = ()
        self.active = active
        self.chunk_size = chunk_size
        self.remote_max_size = remote_max_size
        # When content last went either way; binding counts as the start. For idle time-outs.
        self.last_content_at: float | None = None
        # Whether who wanted to be its peer was not who the SDP told of.
        self.distrusted = False
        self._tokens = tokens
        self._events: deque[SessionEvent] = deque()
        self._replies: deque[bytes] = deque()
        self._trust: Callable[[bytes], bool] | None = None
        # The From-Path that was found to be the peer's: it is the same text in every frame.
        self._from_path = ""
        self._bound = False
        self._closed = False
        # From the endpoint a request comes from its own URI; relays would stand left of it.
        own = format_path(local_path[-1:])
        self._sender = Sender(tokens, "", own, chunk_size, window, self._events)
        self._receiver = Receiver(
            tokens,
            accept_types,
            stream_incoming,
            True,
            limits,
            self._events,
            self._replies,
            confirm_streams,
            hold_answers,
        )
        self.direction = direction
        if remote_path:
            self.set_remote_path(remote_path)

    @property
    def session_id(self) -> str:
        """The session-id of our own URI: what requests to this session are known by."""
        return self.local_path[-1].session_id

    @property
    def secure(self) -> bool:
        """Whether its path is an msrps: one, so that it goes over TLS only."""
        return self.local_path[-1].secure

    def trust(self, check: Callable[[bytes], bool]) -> None:
        """Takes the peer's SDP into account: ``check`` tells its certificate (DER) from others."""
        self._trust = check

    def trusts(self, certificate: bytes | None) -> bool | None:
        """Whether a connection may be this session's, by the certificate of its other side.

        ``certificate`` is None for a connection without TLS. None: the peer's SDP has not come.
        """
        if self.secure != (certificate is not None):
            return False
        if certificate is None:
            return True
        return None if self._trust is None else self._trust(certificate)

    @property
    def direction(self) -> str:
        """sendrecv, sendonly, recvonly or inactive, as our SDP says; it may change later."""
        return self._direction

    @direction.setter
    def direction(self, value: str) -> None:
        if value not in ("sendrecv", "sendonly", "recvonly", "inactive"):
            raise LocalProtocolError(f"not a direction: {value!r}")
        self._direction = value
        self._receiver.allowed = value in ("sendrecv", "recvonly")

    @property
    def bound(self) -> bool:
        """Whether a connection belongs to this session, so that messages may be sent."""
        return self._bound

    @property
    def closed(self) -> bool:
        """Whether the connection is gone or the peer does not know the session."""
        return self._closed or self._sender.dead

    @property
    def settled(self) -> bool:
        """Whether all that was sent is answered and nothing waits: the moment for a BYE."""
        return self._sender.settled and not self._replies and self._receiver.answered

    @property
    def answers_waiting(self) -> int:
        """How many answers and reports the connection has not taken yet."""
        return len(self._replies)

    def set_remote_path(self, path: Path) -> None:
        """Take the peer's ``a=path``: from the answer, or a new one from a re-INVITE."""
        if not path:
            raise LocalProtocolError("a path needs at least one URI")
        self.remote_path = path
        self._from_path = ""
        relays = self.local_path[:-1]
        self._sender.to_path = format_path((*relays, *path))

    def connection_made(self, now: float) -> None:
        """We opened the connection: an empty SEND goes out at once (§5.4)."""
        if not self.remote_path:
            raise LocalProtocolError("the active side needs the peer's path")
        self.last_content_at = now
        self._bound = self._sender.bound = True
        self._sender.send_empty()

    def connection_lost(self, reason: str) -> None:
        """The connection is gone: every message without its 200 fails with status 0."""
        self._closed = True
        self._replies.clear()
        self._receiver.forget_unanswered()
        self._sender.fail_all(0, reason)

    def send(
        self,
        content_type: str,
        body: bytes,
        *,
        message_id: str | None = None,
        success_report: bool = False,
        failure_report: str = "yes",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> str:
        """Queue a message and return its Message-ID.

        Raises LocalProtocolError when the session is over, the direction forbids it, the body
        exceeds the peer's ``max-size``, or a value can stand in no header.
        """
        return self._queue(
            content_type,
            len(body),
            _reader(body),
            message_id,
            success_report,
            failure_report,
            stream=False,
            chunk_size=self.chunk_size,
            headers=headers,
        )

    def send_stream(
        self,
        content_type: str,
        total: int,
        read: Read,
        *,
        message_id: str | None = None,
        success_report: bool = True,
        failure_report: str = "yes",
        chunk_size: int = 65536,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> str:
        """Queue ``total`` octets that ``read(n)`` gives when the connection can take them.

        ``read`` returns up to n octets, ``b""`` at an end that comes too early (the message then
        fails), or None when it has none yet: go on with ``resume`` when it has.
        """
        return self._queue(
            content_type,
            total,
            read,
            message_id,
            success_report,
            failure_report,
            stream=True,
            chunk_size=chunk_size,
            headers=headers,
        )

    def _queue(
        self,
        content_type: str,
        total: int,
        read: Read,
        message_id: str | None,
        success_report: bool,
        failure_report: str,
        *,
        stream: bool,
        chunk_size: int,
        headers: tuple[tuple[str, str], ...],
    ) -> str:
        if self.closed:
            raise LocalProtocolError("the session is over")
        if self.direction not in ("sendrecv", "sendonly"):
            raise LocalProtocolError(f"nothing may be sent in a session that is {self.direction}")
        if self.remote_max_size is not None and total > self.remote_max_size:
            raise LocalProtocolError(
                f"{total} octets are more than the peer takes ({self.remote_max_size})"
            )
        if message_id is None:
            message_id = self._tokens.msrp_message_id()
        elif not is_ident(message_id):
            raise LocalProtocolError(f"not a Message-ID: {message_id!r}")
        self._sender.send(
            content_type,
            total,
            read,
            message_id=message_id,
            success_report=success_report,
            failure_report=failure_report,
            stream=stream,
            chunk_size=chunk_size,
            headers=headers,
        )
        return message_id

    def abort(self, message_id: str) -> bool:
        """Give up a message with the flag ``#``; False when all of it has been sent already."""
        return self._sender.abort(message_id)

    def pause(self, message_id: str) -> bool:
        """Hold an outgoing message back between two chunks."""
        return self._sender.pause(message_id)

    def resume(self, message_id: str) -> bool:
        """Go on with an outgoing message that was paused."""
        return self._sender.resume(message_id)

    def stop_receiving(self, message_id: str) -> bool:
        """Refuse the rest of an incoming message: the peer's next chunk is answered 413."""
        return self._receiver.stop(message_id)

    def refuse_rest(self) -> None:
        """The same for every message that is under way."""
        self._receiver.stop_all()

    def answer(self, message_id: str) -> bool:
        """Answer a message that is complete and has been dealt with; False when none of that name
        waits for it, as when the connection is gone."""
        return self._receiver.answer(message_id)

    def confirm(self, message_id: str, status: int = 200, text: str = "OK") -> bool:
        """Report what became of a streamed message that is complete: 200, or why it was not kept
        (RFC 4975 §7.1.2). False when its sender asked for no report."""
        return self._receiver.confirm(message_id, status, text)

    def keep_alive(self) -> None:
        """Queue an empty SEND; a ProtocolFault 408 tells when nobody answers it in 30 s."""
        if self._bound and not self.closed:
            self._sender.send_empty()

    @property
    def octets_waiting(self) -> int:
        """How much of what was given to ``send`` has not gone out yet."""
        return self._sender.queued

    def can_send(self) -> bool:
        """Whether another message may be queued without more than 1 MiB waiting in memory."""
        return not self.closed and self._sender.queued < HIGH_WATER

    def has_data_to_send(self) -> bool:
        """Whether ``next_frame`` has something to give."""
        return bool(self._replies) or self._sender.has_frames()

    def next_frame(self, now: float) -> WireFrame | None:
        """The next frame for the wire: answers first, then short messages, then long ones."""
        if self._replies:
            return WireFrame(self._replies.popleft())
        frame = self._sender.next_frame(now)
        if frame is not None and frame.body:
            self.last_content_at = now
        return frame

    def data_to_send(self, now: float, max_bytes: int = 65536) -> bytes:
        """Whole frames for the wire, until they make ``max_bytes`` octets or more."""
        parts: list[bytes] = []
        size = 0
        while size < max_bytes:
            frame = self.next_frame(now)
            if frame is None:
                break
            parts += frame
            size += sum(map(len, frame))
        return b"".join(parts)

    def next_event(self) -> SessionEvent | None:
        """The next event, or None."""
        return self._events.popleft() if self._events else None

    def handle_timer(self, now: float) -> None:
        """Do what is due: give up chunks without an answer for 30 s."""
        self._sender.handle_timer(now)

    def next_timer(self) -> float | None:
        """When ``handle_timer`` is to be called, on the clock of ``now``; None for never."""
        return self._sender.next_timer()

    def takes_from(self, from_path: str) -> bool:
        """Whether a request's From-Path is the peer's: its URI, or at least its session-id (§6)."""
        if from_path == self._from_path:
            return True
        try:
            sender = parse_path(from_path)[-1]
        except MsrpParseError:
            return False
        if self.remote_path:
            peer = self.remote_path[-1]
            if sender != peer and not sender.same_session(peer):
                return False
            self._from_path = from_path
        return True

    def bind(self, from_path: str, now: float) -> None:
        """The first request came in on a connection that belongs to this session from now on."""
        if self._bound:
            return
        if not self.remote_path:
            self.set_remote_path(parse_path(from_path))
        self.last_content_at = now
        self._bound = self._sender.bound = True
        self._events.append(PeerBound())

    def receive_request(self, request: Request, now: float) -> None:
        """Take a whole request that was addressed to this session."""
        if request.method == "SEND":
            if request.body:
                self.last_content_at = now
            self._receiver.receive(request)
        elif request.method == "REPORT":
            self._sender.receive_report(request)
        else:
            self._replies.append(response_to(request, 501))

    def receive_start(self, request: Request, now: float) -> None:
        """Take the head of a request whose body comes in pieces."""
        if request.method == "SEND":
            self.last_content_at = now
            self._receiver.start(request)
        else:
            self.receive_request(request, now)

    def receive_body(self, data: bytes) -> None:
        """Take the next octets of that body."""
        self._receiver.data(data)

    def receive_end(self, continuation: str, now: float) -> None:
        """Take the end-line of that body."""
        self.last_content_at = now
        self._receiver.end(continuation)

    def receive_response(self, response: Response, now: float) -> None:
        """Take an answer to a request of ours."""
        self._sender.receive_response(response, now)


def _reader(body: bytes) -> Callable[[int], bytes]:
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        start = position
        position = start + size
        return body[start:position]

    return read
