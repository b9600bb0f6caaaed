"""One TCP or TLS connection that carries the frames of one session or several (RFC 4975 §5.4)."""

from collections import deque

from rcsops.errors import LocalProtocolError, MsrpParseError
from rcsops.msrp.events import CloseConnection, FrameSeen
from rcsops.msrp.frame import Frame, Request, Response, end_line, response_to
from rcsops.msrp.outgoing import WireFrame
from rcsops.msrp.parser import (
    DEFAULT_LIMITS,
    ChunkData,
    ChunkStart,
    FrameLimits,
    FrameParser,
    ParserEvent,
)
from rcsops.msrp.session import MsrpSession
from rcsops.msrp.uri import parse_path

MAX_SESSIONS = 256
MAX_REPLIES = 1024
MAX_ANSWERS = 8192
"""Answers of one session that may wait for a peer that sends and does not read."""


class SessionTable:
    """The sessions of one endpoint by session-id; several connections share it.

    One listening port can so serve all sessions. A session-id is 80 bits or more that only the
    peer was told, so it alone finds the session, also where a middlebox rewrote the rest of the
    path (RFC 4975 §6.1, and the practice of the field).
    """

    def __init__(self) -> None:
        self._sessions: dict[str, MsrpSession] = {}
        self._connections: dict[str, MsrpConnection] = {}

    def add(self, session: MsrpSession) -> None:
        """Make a session known, before its path is told to the peer."""
        if session.session_id in self._sessions:
            raise LocalProtocolError(f"session-id {session.session_id} is in use")
        self._sessions[session.session_id] = session

    def remove(self, session: MsrpSession) -> None:
        """Forget a session and take it off its connection; requests to it get 481 from now on."""
        self._sessions.pop(session.session_id, None)
        connection = self._connections.pop(session.session_id, None)
        if connection is not None:
            connection.forget(session)

    def find(self, to_path: str) -> MsrpSession | None:
        """The session a To-Path leads to; None when there is none or it is no path."""
        try:
            session_id = parse_path(to_path)[-1].session_id
        except MsrpParseError:
            return None
        return self._sessions.get(session_id)

    def connection_of(self, session: MsrpSession) -> "MsrpConnection | None":
        """The connection that a session is bound to, or None."""
        return self._connections.get(session.session_id)

    def bind(self, session: MsrpSession, connection: "MsrpConnection") -> None:
        """Note that a session belongs to a connection (called by the connection)."""
        self._connections[session.session_id] = connection

    def unbind(self, session: MsrpSession) -> None:
        """Note that it belongs to none any more (called by the connection)."""
        self._connections.pop(session.session_id, None)

    def __len__(self) -> int:
        return len(self._sessions)


class MsrpConnection:
    """A machine: ``receive_data`` feeds it, ``data_to_send`` and ``next_event`` drain it.

    Events of the connection itself are CloseConnection only; those of its sessions come from
    ``session.next_event()`` of every session in ``sessions``. With ``tap`` each complete frame is
    kept once, in order, for ``frames_seen()``.

    ``certificate`` is what the other side showed in TLS (DER), None for a connection without TLS;
    sessions are bound to connections that they trust only. The first request for a session whose
    peer's SDP has not come makes the connection ``waiting``, until ``go_on``.
    """

    def __init__(
        self, table: SessionTable, *, limits: FrameLimits = DEFAULT_LIMITS, tap: bool = False
    ) -> None:
        self.certificate: bytes | None = None
        self._table = table
        self._parser = FrameParser(limits)
        self._whole_body = limits.whole_body
        self._sessions: dict[str, MsrpSession] = {}
        self._turns: deque[MsrpSession] = deque()
        self._replies: deque[bytes] = deque()
        self._events: deque[CloseConnection] = deque()
        self._tap: deque[FrameSeen] | None = deque() if tap else None
        self._current: MsrpSession | None = None
        self._streamed: tuple[Request, int] | None = None
        self._held: ParserEvent | None = None
        self._behind = False
        self._closing = False

    @property
    def sessions(self) -> tuple[MsrpSession, ...]:
        """The sessions that are bound to this connection."""
        return tuple(self._sessions.values())

    def attach(self, session: MsrpSession, now: float) -> bool:
        """Bind a session over a connection that we opened; its empty SEND goes out first (§5.4).

        False when the session has a connection already (both sides may think that they are the
        active one), or does not trust this one: it is then not used for it. The session has to be
        in the table. Several sessions may share the connection.
        """
        if self._table.connection_of(session) is not None or not self._trusted_by(session):
            return False
        session.connection_made(now)
        self._adopt(session)
        return True

    def forget(self, session: MsrpSession) -> None:
        """Take a session off; the connection may be closed when ``sessions`` is empty then."""
        self._table.unbind(session)
        if self._sessions.pop(session.session_id, None) is not None:
            self._turns.remove(session)
        if self._current is session:
            self._current = None

    def connection_lost(self, reason: str) -> None:
        """The transport is gone: all sessions learn it and are bound to nothing."""
        self._closing = True
        self._replies.clear()
        for session in self.sessions:
            session.connection_lost(reason)
            self.forget(session)

    def receive_data(self, data: bytes, now: float) -> None:
        """Take octets from the transport, however they are split."""
        self.keep_data(data)
        self.receive_more(now)

    def keep_data(self, data: bytes) -> None:
        """Take octets as ``receive_data`` does, and leave them for ``receive_more``."""
        if not self._closing:
            self._parser.receive_data(data)
            self._behind = True

    @property
    def behind(self) -> bool:
        """Whether octets have come that may make a frame which was not dealt with."""
        return self._behind

    def receive_more(self, now: float, at_most: int | None = None) -> None:
        """Deal with what was kept: all of it, or so many frames (or pieces of large ones)."""
        self._behind = False
        if not self._closing:
            self._drain(now, at_most=at_most)

    @property
    def waiting(self) -> bool:
        """Whether nothing more should be read, since it is not known yet whom it comes from."""
        return self._held is not None

    def go_on(self, now: float) -> None:
        """The SDP that it waited for may be here: tries again with what was held."""
        held, self._held = self._held, None
        if held is not None and not self._closing:
            self._drain(now, held)

    def _drain(
        self, now: float, event: ParserEvent | None = None, at_most: int | None = None
    ) -> None:
        if self._held is not None:
            return
        done = 0
        try:
            while event is not None or (event := self._parser.next_event()) is not None:
                if self.certificate is not None and self._must_wait(event):
                    self._held = event
                    return
                self._receive(event, now)
                if self._closing:
                    return
                event = None
                done += 1
                if done == at_most:
                    self._behind = self._parser.in_frame
                    break
            if any(session.answers_waiting > MAX_ANSWERS for session in self._turns):
                self._close("the peer does not read our answers")
        except MsrpParseError as error:
            offender = self._parser.offender
            if offender is not None and offender.to_path and offender.from_path:
                self._reply(offender, 400)
            self._close(str(error))

    def data_to_send(self, now: float, max_bytes: int = 65536) -> bytes:
        """Whole frames for the transport, until they make ``max_bytes`` octets or more.

        Sessions take turns, a frame each. Ask only when the transport can take octets: that is
        all the back-pressure a stream needs.
        """
        parts: list[bytes] = []
        size = 0
        while size < max_bytes:
            frame = self._next_frame(now)
            if frame is None:
                break
            if self._tap is not None:
                self._see_sent(frame)
            parts += frame
            size += sum(map(len, frame))
        return b"".join(parts)

    def has_data_to_send(self) -> bool:
        """Whether ``data_to_send`` has something to give."""
        if self._replies:
            return True
        return not self._closing and any(s.has_data_to_send() for s in self._turns)

    def can_send(self) -> bool:
        """Whether the connection is open and every session on it may queue more."""
        return not self._closing and all(session.can_send() for session in self._turns)

    def next_event(self) -> CloseConnection | None:
        """The next event of the connection itself, or None."""
        return self._events.popleft() if self._events else None

    def handle_timer(self, now: float) -> None:
        """Do what is due in any session."""
        for session in self.sessions:
            session.handle_timer(now)

    def next_timer(self) -> float | None:
        """When ``handle_timer`` is to be called, or None."""
        times = [t for s in self._turns if (t := s.next_timer()) is not None]
        return min(times, default=None)

    def frames_seen(self) -> list[FrameSeen]:
        """The complete frames in and out since the last call; none without ``tap``."""
        if not self._tap:
            return []
        seen = list(self._tap)
        self._tap.clear()
        return seen

    def _adopt(self, session: MsrpSession) -> None:
        self._sessions[session.session_id] = session
        self._turns.append(session)
        self._table.bind(session, self)

    def _next_frame(self, now: float) -> WireFrame | None:
        if self._replies:
            return WireFrame(self._replies.popleft())
        if self._closing:
            return None
        for _ in range(len(self._turns)):
            session = self._turns[0]
            self._turns.rotate(-1)
            frame = session.next_frame(now)
            if frame is not None:
                return frame
        return None

    def _receive(self, event: ParserEvent, now: float) -> None:
        if isinstance(event, Request):
            if self._tap is not None:
                body = b"" if event.body is None else b"\r\n" + event.body + b"\r\n"
                self._see(event, body, event.continuation)
            session = self._session_for(event, now)
            if session is not None:
                session.receive_request(event, now)
        elif isinstance(event, Response):
            self._see(event, b"", "$")
            session = self._table.find(event.to_path)
            if session is not None and self._sessions.get(session.session_id) is session:
                session.receive_response(event, now)
        elif isinstance(event, ChunkStart):
            self._streamed = (event.request, 0)
            self._current = self._session_for(event.request, now)
            if self._current is not None:
                self._current.receive_start(event.request, now)
        elif isinstance(event, ChunkData):
            if self._streamed is not None:
                self._streamed = (self._streamed[0], self._streamed[1] + len(event.data))
            if self._current is not None:
                self._current.receive_body(event.data)
        else:
            if self._current is not None:
                self._current.receive_end(event.continuation, now)
            if self._streamed is not None:
                request, size = self._streamed
                self._see(request, b"\r\n\r\n", event.continuation, size)
            self._current = self._streamed = None

    def _must_wait(self, event: ParserEvent) -> bool:
        if not isinstance(event, Request | ChunkStart):
            return False
        request = event.request if isinstance(event, ChunkStart) else event
        session = self._table.find(request.to_path)
        return session is not None and session.trusts(self.certificate) is None

    def _session_for(self, request: Request, now: float) -> MsrpSession | None:
        """The session a request is for, bound to this connection; else it has been answered."""
        session = self._table.find(request.to_path)
        if session is None or not session.takes_from(request.from_path):
            self._reply(request, 481)
            if not self._sessions:
                # Nobody who was told a path of ours: a stranger, or too late.
                self._close("a request for a session that is not here")
            return None
        bound = self._table.connection_of(session)
        if bound is None and not self._trusted_by(session):
            self._reply(request, 481)
            self._close("the certificate is not the one in the peer's SDP")
            return None
        if bound is None and not session.closed:
            if request.method != "SEND" or len(self._sessions) >= MAX_SESSIONS:
                self._reply(request, 481)
                return None
            self._adopt(session)
            session.bind(request.from_path, now)
            return session
        if bound is not self:
            self._reply(request, 506)
            return None
        return session

    def _trusted_by(self, session: MsrpSession) -> bool:
        session.distrusted = not session.trusts(self.certificate)
        return not session.distrusted

    def _reply(self, request: Request, status: int) -> None:
        wanted = (request.get("failure-report") or "yes").lower()
        if request.method == "REPORT" or wanted == "no":
            return
        if len(self._replies) >= MAX_REPLIES:
            self._close("too many requests that cannot be served")
            return
        self._replies.append(response_to(request, status))

    def _close(self, reason: str) -> None:
        if not self._closing:
            self._closing = True
            self._events.append(CloseConnection(reason))

    def _see(self, frame: Frame, body: bytes, continuation: str, omitted: int = 0) -> None:
        if self._tap is not None:
            data = frame.wire_head + b"\r\n" + body + end_line(frame.transaction_id, continuation)
            self._tap.append(FrameSeen("in", data, omitted))

    def _see_sent(self, frame: WireFrame) -> None:
        assert self._tap is not None
        if len(frame.body) > self._whole_body:
            self._tap.append(FrameSeen("out", frame.head + frame.tail, len(frame.body)))
        else:
            self._tap.append(FrameSeen("out", b"".join(frame)))
