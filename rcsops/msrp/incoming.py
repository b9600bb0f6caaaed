"""The receiving half of a session: chunks to messages, answers, success reports."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from rcsops.errors import MsrpParseError, RemoteProtocolError
from rcsops.msrp.events import (
    BodyComplete,
    BodyReceived,
    MessageAborted,
    MessageReceived,
    SessionEvent,
)
from rcsops.msrp.frame import ByteRange, Request, response_to
from rcsops.msrp.ranges import Assembler, RangeSet
from rcsops.tokens import Tokens

MAX_MESSAGE_ID = 128
# Who repeats a message that waits for its answer does so once or twice.
_MAX_HELD_AGAIN = 8


@dataclass(frozen=True, slots=True)
class ReceiveLimits:
    """What a peer may make us hold.

    ``max_size`` is the ``a=max-size`` of our SDP in octets (None: no limit for streamed messages,
    ``assembled`` for those put together in memory); ``unfinished`` messages may be under way at a
    time and hold ``buffered`` octets together; the last ``remembered`` Message-IDs are known.
    """

    max_size: int | None = None
    assembled: int = 16 << 20
    buffered: int = 32 << 20
    unfinished: int = 32
    remembered: int = 2048


@dataclass(slots=True)
class _Incoming:
    message_id: str
    content_type: str
    headers: tuple[tuple[str, str], ...]
    store: Assembler | RangeSet
    total: int | None = None
    final: int | None = None
    success_report: bool = False


@dataclass(slots=True)
class _Chunk:
    request: Request
    message: _Incoming | None
    offset: int = 0
    answered: bool = False
    empty: bool = False


@dataclass(slots=True)
class Receiver:
    """Takes the SENDs of one session, whole or in pieces.

    Events go to ``events``; responses and REPORTs go to ``replies``, in order.
    """

    tokens: Tokens
    accept_types: tuple[str, ...]
    stream: bool
    allowed: bool
    limits: ReceiveLimits
    events: deque[SessionEvent]
    replies: deque[bytes]
    # Whether success of a streamed message is reported only by ``confirm``.
    confirmed: bool = False
    # Whether a message that is complete is answered only by ``answer``.
    holding: bool = False
    _unfinished: dict[str, _Incoming] = field(default_factory=dict)
    # Message-ID -> 200 for a message that is complete, else the status it was refused with.
    _finished: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _chunk: _Chunk | None = None
    # The type that was found to be one of ours last.
    _accepted: str | None = None
    _buffered: int = 0
    _unconfirmed: dict[str, _Incoming] = field(default_factory=dict)
    # What is to be sent by ``answer``, by Message-ID.
    _unanswered: dict[str, list[bytes]] = field(default_factory=dict)

    def receive(self, request: Request) -> None:
        """Take a whole SEND."""
        self.start(request, empty=request.body is None)
        if request.body:
            self.data(request.body)
        self.end(request.continuation)

    def start(self, request: Request, *, empty: bool = False) -> None:
        """Take the head of a SEND; a refusal is answered at once, not at the chunk's end."""
        self._chunk = chunk = _Chunk(request, None, empty=empty)
        try:
            self._open(chunk)
        except RemoteProtocolError as error:
            self._refuse(error.status)

    def data(self, data: bytes) -> None:
        """Take the next octets of its body."""
        chunk = self._chunk
        if chunk is None or chunk.message is None:
            return
        message, offset = chunk.message, chunk.offset
        chunk.offset = end = offset + len(data)
        try:
            self._check_size(message, end, len(data))
            if isinstance(message.store, Assembler):
                held = message.store.held
                message.store.put(offset, data)
                self._buffered += message.store.held - held
            else:
                message.store.add(offset, end)
        except RemoteProtocolError as error:
            self._refuse(error.status)
            return
        if self.stream:
            event = BodyReceived(
                message.message_id, message.content_type, offset, data, message.total
            )
            self.events.append(event)

    def end(self, continuation: str) -> None:
        """Take its end-line: answer the chunk, and finish or give up the message."""
        chunk, self._chunk = self._chunk, None
        if chunk is None:
            return
        message = chunk.message
        if message is not None and continuation != "#":
            if continuation == "$":
                message.final = chunk.offset
            if message.final is not None and message.store.held >= message.final:
                self._complete(message, chunk.request)
                return
        if not chunk.answered:
            # One that comes again is answered with the first.
            held = None if chunk.empty else self._unanswered.get(chunk.request.message_id)
            self._answer(chunk.request, 200, held)
        if message is not None and continuation == "#":
            self._drop(message)
            self.events.append(MessageAborted(message.message_id))

    def stop(self, message_id: str) -> bool:
        """Refuse the rest of a message that is under way: the peer is answered 413."""
        message = self._unfinished.get(message_id)
        if message is None:
            return False
        self._drop(message)
        self._remember(message_id, 413)
        chunk = self._chunk
        if chunk is not None and chunk.message is message:
            self._answer(chunk.request, 413)
            chunk.answered, chunk.message = True, None
        return True

    def stop_all(self) -> None:
        """Refuse the rest of every message that is under way."""
        for message_id in tuple(self._unfinished):
            self.stop(message_id)

    def _open(self, chunk: _Chunk) -> None:
        request = chunk.request
        message_id = request.message_id
        if not message_id or len(message_id) > MAX_MESSAGE_ID or " " in message_id:
            raise MsrpParseError("a SEND without a Message-ID")
        message = self._unfinished.get(message_id)
        if message is None and chunk.empty:
            # An empty SEND binds the connection or keeps it open; it is no message.
            return
        if not self.allowed:
            raise RemoteProtocolError("we receive nothing here", status=403)
        known = self._finished.get(message_id)
        if known is not None:
            if known != 200:
                raise RemoteProtocolError("a message that was refused before", status=known)
            if len(self._unanswered.get(message_id, ())) > _MAX_HELD_AGAIN:
                raise RemoteProtocolError("a message that comes again and again", status=413)
            return
        text = request.get("byte-range")
        span = ByteRange(1, None, None) if text is None else ByteRange.parse(text)
        if message is None:
            message = self._new(request, span)
        if span.total is not None:
            message.total = span.total
        chunk.message = message
        chunk.offset = span.start - 1
        self._check_size(message, max(span.total or 0, chunk.offset), 0)

    def _new(self, request: Request, span: ByteRange) -> _Incoming:
        content_type = request.get("content-type") or ""
        if content_type != self._accepted and not accepts(self.accept_types, content_type):
            raise RemoteProtocolError(f"not a type we take: {content_type[:80]}", status=415)
        self._accepted = content_type
        if len(self._unfinished) >= self.limits.unfinished:
            raise RemoteProtocolError("too many messages at a time", status=413)
        message = _Incoming(
            request.message_id,
            content_type,
            tuple(request.headers),
            RangeSet() if self.stream else Assembler(),
            span.total,
            success_report=(request.get("success-report") or "").lower() == "yes",
        )
        self._unfinished[message.message_id] = message
        return message

    def _check_size(self, message: _Incoming, end: int, more: int) -> None:
        limit = self.limits.max_size
        if not self.stream:
            limit = min(self.limits.assembled, limit or self.limits.assembled)
            if self._buffered + more > self.limits.buffered:
                raise RemoteProtocolError("too much is under way", status=413)
        if limit is not None and end > limit:
            raise RemoteProtocolError("a message that is too long", status=413)
        if message.final is not None and end > message.final and more:
            raise RemoteProtocolError("octets after the end of the message", status=400)

    def _complete(self, message: _Incoming, request: Request) -> None:
        size = message.store.held
        replies: deque[bytes] | list[bytes] = self.replies
        if self.holding and message.store.end == message.final:
            replies = self._unanswered[message.message_id] = []
        self._answer(request, 200, replies)
        if message.final is not None and message.store.end > message.final:
            self._drop(message)
            self._remember(message.message_id, 400)
            self.events.append(MessageAborted(message.message_id))
            return
        self._drop(message)
        self._remember(message.message_id, 200)
        if isinstance(message.store, Assembler):
            body = message.store.body()
            self.events.append(
                MessageReceived(message.message_id, message.content_type, body, message.headers)
            )
        else:
            self.events.append(BodyComplete(message.message_id, message.content_type, size))
        if not message.success_report:
            return
        if self.stream and self.confirmed:
            self._unconfirmed[message.message_id] = message
        else:
            self._report(message, size, replies=replies)

    @property
    def answered(self) -> bool:
        """Whether no message waits for ``answer``."""
        return not self._unanswered

    def answer(self, message_id: str) -> bool:
        """Answer a message that is complete; False when none of that name waits for it."""
        replies = self._unanswered.pop(message_id, None)
        if replies is None:
            return False
        self.replies += replies
        return True

    def forget_unanswered(self) -> None:
        """Nobody is there any more who could be answered."""
        self._unanswered.clear()

    def confirm(self, message_id: str, status: int, text: str) -> bool:
        """Report what became of a message that is complete; False when no report is wanted."""
        message = self._unconfirmed.pop(message_id, None)
        if message is None:
            return False
        self._report(message, message.store.held, status, text)
        return True

    def _report(
        self,
        message: _Incoming,
        size: int,
        status: int = 200,
        text: str = "OK",
        replies: deque[bytes] | list[bytes] | None = None,
    ) -> None:
        paths = {name.lower(): value for name, value in message.headers}
        headers = [
            ("To-Path", paths["from-path"]),
            ("From-Path", paths["to-path"].partition(" ")[0]),
            ("Message-ID", message.message_id),
            ("Byte-Range", f"1-{size}/{size}"),
            ("Status", f"000 {status} {text}"),
        ]
        report = Request(self.tokens.transact_id(), "REPORT", headers)
        (self.replies if replies is None else replies).append(bytes(report))

    def _drop(self, message: _Incoming) -> None:
        if self._unfinished.pop(message.message_id, None) is not None and not self.stream:
            self._buffered -= message.store.held

    def _remember(self, message_id: str, status: int) -> None:
        self._finished[message_id] = status
        if len(self._finished) > self.limits.remembered:
            self._finished.popitem(last=False)

    def _refuse(self, status: int) -> None:
        chunk = self._chunk
        assert chunk is not None
        self._answer(chunk.request, status)
        chunk.answered = True
        message_id = chunk.request.message_id
        message = chunk.message or self._unfinished.get(message_id)
        if message is not None:
            self._drop(message)
            self.events.append(MessageAborted(message.message_id))
        if message_id and message_id not in self._finished:
            self._remember(message_id[:MAX_MESSAGE_ID], status)
        chunk.message = None

    def _answer(
        self, request: Request, status: int, replies: deque[bytes] | list[bytes] | None = None
    ) -> None:
        wanted = (request.get("failure-report") or "yes").lower()
        if wanted == "no" or (wanted == "partial" and status == 200):
            return
        (self.replies if replies is None else replies).append(response_to(request, status))


def accepts(patterns: tuple[str, ...], content_type: str) -> bool:
    """Whether a Content-Type is among ``accept-types``: ``*``, ``type/*`` or the type itself."""
    wanted = content_type.partition(";")[0].strip().lower()
    main = wanted.partition("/")[0] + "/*"
    return any(pattern.lower() in ("*", "*/*", main, wanted) for pattern in patterns)
