"""The sending half of a session: messages to chunks, transactions, reports."""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from rcsops.errors import LocalProtocolError, RemoteProtocolError
from rcsops.msrp.events import (
    MessageFailed,
    MessageSent,
    PeerBound,
    Progress,
    ProtocolFault,
    SessionEvent,
    SuccessReported,
)
from rcsops.msrp.frame import (
    PHRASES,
    ByteRange,
    Request,
    Response,
    check_header,
    end_line,
    parse_status,
)
from rcsops.msrp.ranges import RangeSet
from rcsops.tokens import Tokens

TRANSACTION_TIMEOUT = 30.0
"""Seconds from the last octet of a chunk to the answer that is given up (RFC 4975 §7.1.1)."""

EXACT_CHUNK = 2048
"""Chunks with more octets must be interruptible: their range ends with ``*`` (RFC 4975 §7.1)."""

SHORT_RUN = 16
"""After so many chunks of short messages, a long one that waits gets its turn."""

Read = Callable[[int], bytes | None]
"""Gives up to n octets; ``b""`` when there are no more, None when there are none just now."""


class WireFrame(NamedTuple):
    """A frame to be written: head (with the blank line), body, and end-line (with its CRLF)."""

    head: bytes
    body: bytes = b""
    tail: bytes = b""


@dataclass(slots=True, eq=False)
class _Outgoing:
    message_id: str
    mime: str
    total: int
    read: Read | None
    head: str
    failure_report: str
    success_report: bool
    stream: bool
    chunk_size: int
    position: int = 0
    unanswered: int = 0
    acknowledged: int = 0
    emitted: bool = False
    over: bool = False
    reported: RangeSet = field(default_factory=RangeSet)


class _Transaction(NamedTuple):
    message: _Outgoing | None
    deadline: float
    size: int


@dataclass(slots=True)
class Sender:
    """Makes the SENDs of one session and follows what becomes of them.

    ``to_path`` and ``from_path`` are the texts of the headers. Nothing is made before it is asked
    for by ``next_frame``, so a stream is read as fast as the connection takes it and no faster.
    """

    tokens: Tokens
    to_path: str
    from_path: str
    chunk_size: int
    window: int
    events: deque[SessionEvent]
    queued: int = 0
    bound: bool = False
    dead: bool = False
    _messages: dict[str, _Outgoing] = field(default_factory=dict)
    _done: OrderedDict[str, _Outgoing] = field(default_factory=OrderedDict)
    _short: deque[_Outgoing] = field(default_factory=deque)
    _long: deque[_Outgoing] = field(default_factory=deque)
    _paused: dict[str, _Outgoing] = field(default_factory=dict)
    _aborts: deque[_Outgoing] = field(default_factory=deque)
    _empty: int = 0
    _run: int = 0
    _transactions: dict[str, _Transaction] = field(default_factory=dict)
    # Chunks with Failure-Report `partial`: only a failure is answered, and silence means nothing.
    _silent: OrderedDict[str, _Transaction] = field(default_factory=OrderedDict)

    def send(
        self,
        content_type: str,
        total: int,
        read: Read,
        *,
        message_id: str,
        success_report: bool,
        failure_report: str,
        stream: bool,
        chunk_size: int,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Queue a message; raise LocalProtocolError for what can be no header."""
        if failure_report not in ("yes", "no", "partial"):
            raise LocalProtocolError(f"not a Failure-Report: {failure_report!r}")
        if message_id in self._messages:
            raise LocalProtocolError(f"Message-ID {message_id} is in use")
        reports = [
            ("Message-ID", message_id),
            ("Success-Report", "yes" if success_report else "no"),
            ("Failure-Report", failure_report),
        ]
        last = [*headers, ("Content-Type", content_type)]
        for name, value in last:
            check_header(name, value)
        message = _Outgoing(
            message_id,
            "".join(f"{name}: {value}\r\n" for name, value in last),
            total,
            read,
            "".join(f"{name}: {value}\r\n" for name, value in reports),
            failure_report,
            success_report,
            stream,
            chunk_size,
        )
        self._messages[message_id] = message
        self._enqueue(message)
        if not stream:
            self.queued += total

    def send_empty(self) -> None:
        """Queue a SEND without a body, ahead of everything (RFC 4975 §5.4: binds, keeps alive)."""
        self._empty += 1

    def abort(self, message_id: str) -> bool:
        """Give up a message; False when it is unknown or all its octets have been sent."""
        message = self._messages.get(message_id)
        if message is None or message.emitted:
            return False
        self._finish(message)
        del self._done[message_id]
        if message.position:
            self._aborts.append(message)
        return True

    def pause(self, message_id: str) -> bool:
        """Hold a message back after the chunk that was made last."""
        message = self._messages.get(message_id)
        if message is None or message.emitted:
            return False
        self._unqueue(message)
        self._paused[message_id] = message
        return True

    def resume(self, message_id: str) -> bool:
        """Go on with a message that was paused, or whose ``read`` had nothing to give."""
        message = self._paused.pop(message_id, None)
        if message is None:
            return False
        self._enqueue(message)
        return True

    def has_frames(self) -> bool:
        """Whether ``next_frame`` has something to give, or would ask a stream for it."""
        if self.dead:
            return False
        if self._empty:
            return True
        if len(self._transactions) >= self.window:
            return False
        return self.bound and bool(self._aborts or self._short or self._long)

    @property
    def settled(self) -> bool:
        """Whether nothing is to be sent and no answer is awaited."""
        return not (self._messages or self._transactions or self._empty or self._aborts)

    def next_frame(self, now: float) -> WireFrame | None:
        """The next chunk; its transaction starts at ``now``, when its last octet goes out."""
        while self.has_frames():
            if self._empty:
                self._empty -= 1
                return self._empty_frame(now)
            if self._aborts:
                return self._abort_frame(self._aborts.popleft(), now)
            message = self._choose()
            frame = self._chunk_frame(message, now)
            if frame is not None:
                return frame
        return None

    def receive_response(self, response: Response, now: float) -> None:
        """Take the answer to a chunk; one that nobody awaits is ignored (RFC 4975 §7.2)."""
        key = response.transaction_id
        transaction = self._transactions.pop(key, None) or self._silent.pop(key, None)
        if transaction is None:
            return
        message, status = transaction.message, response.status
        if status in (481, 506):
            self.events.append(ProtocolFault(status, response.comment))
            self.fail_all(status, response.comment or PHRASES[status])
            return
        if message is None:
            # Some refuse an empty SEND as a message, but only a session that is there does so.
            if status == 408:
                self.events.append(ProtocolFault(status, response.comment))
            else:
                self.events.append(PeerBound())
            return
        if status != 200:
            self._fail(message, status, response.comment)
            return
        if message.failure_report != "yes":
            return
        message.unanswered -= 1
        message.acknowledged += transaction.size
        if message.stream and not message.over:
            self.events.append(Progress(message.message_id, message.acknowledged, message.total))
        self._maybe_sent(message)

    def receive_report(self, report: Request) -> None:
        """Take a REPORT; one about a message that we do not know is ignored (RFC 4975 §7.1.2)."""
        message = self._messages.get(report.message_id) or self._done.get(report.message_id)
        if message is None:
            return
        try:
            status, text = parse_status(report.get("status") or "")
            span = ByteRange.parse(report.get("byte-range") or "1-*/*")
            if status != 200:
                self._fail(message, status, text)
                return
            end = message.total if span.end is None else min(span.end, message.total)
            message.reported.add(span.start - 1, end)
        except RemoteProtocolError:
            # Not a report, or one of too many pieces: there is no answer to a REPORT.
            return
        if message.success_report and message.reported.held >= message.total:
            message.success_report = False
            self.events.append(SuccessReported(message.message_id))

    def handle_timer(self, now: float) -> None:
        """Give up the chunks whose answer is 30 s overdue."""
        # All wait equally long, so the dictionary's own order is the order of the deadlines.
        while self._transactions:
            key = next(iter(self._transactions))
            transaction = self._transactions[key]
            if transaction.deadline > now:
                return
            del self._transactions[key]
            message = transaction.message
            if message is None:
                self.events.append(ProtocolFault(408, "the peer does not answer"))
            else:
                self._fail(message, 408, "the peer does not answer")

    def next_timer(self) -> float | None:
        """When ``handle_timer`` has something to do, or None."""
        for transaction in self._transactions.values():
            return transaction.deadline
        return None

    def fail_all(self, status: int, reason: str) -> None:
        """Fail every message that is not through: the session or its connection is gone."""
        self.dead = True
        self._transactions.clear()
        self._aborts.clear()
        self._empty = 0
        for message in list(self._messages.values()):
            self._finish(message)
            self.events.append(MessageFailed(message.message_id, status, reason))

    def _enqueue(self, message: _Outgoing) -> None:
        long = message.stream or message.total > message.chunk_size * 4
        (self._long if long else self._short).append(message)

    def _unqueue(self, message: _Outgoing) -> None:
        for queue in (self._short, self._long):
            if queue and queue[0] is message:
                queue.popleft()
            elif message in queue:
                queue.remove(message)
        self._paused.pop(message.message_id, None)

    def _choose(self) -> _Outgoing:
        if self._short and (not self._long or self._run < SHORT_RUN):
            self._run += 1
            return self._short[0]
        self._run = 0
        # Long messages take turns, a chunk each.
        self._long.rotate(-1)
        return self._long[-1]

    def _chunk_frame(self, message: _Outgoing, now: float) -> WireFrame | None:
        size = min(message.chunk_size, message.total - message.position)
        body = b""
        if size and message.read is not None:
            try:
                data = message.read(size)
            except OSError as error:
                self._fail(message, 0, f"cannot read what is to be sent: {error}")
                return None
            if data is None:
                self.pause(message.message_id)
                return None
            body = data
            if not body or len(body) > size:
                self._fail(message, 0, "what is to be sent is not as long as was said")
                return None
        start, end = message.position + 1, message.position + len(body)
        message.position = end
        last = end >= message.total
        stop = "*" if len(body) > EXACT_CHUNK else str(end)
        transaction_id = self._unused_id(body)
        head = (
            f"MSRP {transaction_id} SEND\r\nTo-Path: {self.to_path}\r\n"
            f"From-Path: {self.from_path}\r\n{message.head}"
            f"Byte-Range: {start}-{stop}/{message.total}\r\n{message.mime}\r\n"
        )
        self._open_transaction(transaction_id, message, now, len(body))
        if last:
            self._emitted(message)
        tail = b"\r\n" + end_line(transaction_id, "$" if last else "+")
        return WireFrame(head.encode(), body, tail)

    def _unused_id(self, body: bytes) -> str:
        transaction_id = self.tokens.transact_id()
        while b"-------" + transaction_id.encode() in body or transaction_id in self._transactions:
            transaction_id = self.tokens.transact_id()
        return transaction_id

    def _open_transaction(
        self, transaction_id: str, message: _Outgoing | None, now: float, size: int
    ) -> None:
        transaction = _Transaction(message, now + TRANSACTION_TIMEOUT, size)
        if message is None or message.failure_report == "yes":
            self._transactions[transaction_id] = transaction
        elif message.failure_report == "partial":
            self._silent[transaction_id] = transaction
            if len(self._silent) > self.window:
                self._silent.popitem(last=False)
        if message is None:
            return
        if message.failure_report == "yes":
            message.unanswered += 1
        elif message.stream:
            self.events.append(Progress(message.message_id, message.position, message.total))

    def _emitted(self, message: _Outgoing) -> None:
        message.emitted = True
        if self._short and self._short[0] is message:
            self._short.popleft()
        else:
            self._unqueue(message)
        message.read = None
        if not message.stream:
            self.queued -= message.total
        self._maybe_sent(message)

    def _maybe_sent(self, message: _Outgoing) -> None:
        if message.over or not message.emitted or message.unanswered:
            return
        self._finish(message)
        self.events.append(MessageSent(message.message_id))

    def _fail(self, message: _Outgoing, status: int, reason: str) -> None:
        # A failure may still come in a REPORT, or late under `partial`, after it was called sent.
        known = self._messages.get(message.message_id) or self._done.get(message.message_id)
        if known is not message:
            return
        started = message.position > 0 and not message.emitted
        self._finish(message)
        self._done.pop(message.message_id, None)
        reason = reason or PHRASES.get(status, "")
        self.events.append(MessageFailed(message.message_id, status, reason))
        if started:
            self._aborts.append(message)

    def _finish(self, message: _Outgoing) -> None:
        if not message.emitted and not message.stream and not message.over:
            self.queued -= message.total
        message.over = True
        message.read = None
        if not message.emitted:
            self._unqueue(message)
        self._messages.pop(message.message_id, None)
        self._done[message.message_id] = message
        if len(self._done) > self.window * 4:
            self._done.popitem(last=False)

    def _empty_frame(self, now: float) -> WireFrame:
        transaction_id = self._unused_id(b"")
        self._open_transaction(transaction_id, None, now, 0)
        head = (
            f"MSRP {transaction_id} SEND\r\nTo-Path: {self.to_path}\r\n"
            f"From-Path: {self.from_path}\r\nMessage-ID: {self.tokens.msrp_message_id()}\r\n"
            f"Success-Report: no\r\nFailure-Report: yes\r\n"
        )
        return WireFrame(head.encode(), b"", end_line(transaction_id))

    def _abort_frame(self, message: _Outgoing, now: float) -> WireFrame:
        transaction_id = self._unused_id(b"")
        head = (
            f"MSRP {transaction_id} SEND\r\nTo-Path: {self.to_path}\r\n"
            f"From-Path: {self.from_path}\r\n{message.head}"
            f"Byte-Range: {message.position + 1}-{message.position}/{message.total}\r\n"
        )
        return WireFrame(head.encode(), b"", end_line(transaction_id, "#"))
