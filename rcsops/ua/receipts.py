"""What became of a message: awaitable for scripts, and as a state."""

import asyncio
from collections.abc import Iterable
from copy import copy
from datetime import UTC, datetime
from enum import StrEnum

from rcsops.errors import AgentError, DeliveryError, SessionClosed
from rcsops.rcs import DeliveryReceived, FileInfo

__all__ = ["MessageStatus", "Receipt", "failure_of", "further", "state_of", "states_before"]


class MessageStatus(StrEnum):
    """How far a message has come; each state includes those before it, FAILED none."""

    QUEUED = "queued"
    STORED = "stored"
    SENT = "sent"
    DELIVERED = "delivered"
    DISPLAYED = "displayed"
    FAILED = "failed"


_ORDER = (
    MessageStatus.QUEUED,
    MessageStatus.STORED,
    MessageStatus.SENT,
    MessageStatus.DELIVERED,
    MessageStatus.DISPLAYED,
)


_RANK = {status: rank for rank, status in enumerate(_ORDER)}


def states_before(status: MessageStatus) -> tuple[MessageStatus, ...]:
    """The states that ``status`` can follow on; a message that has arrived fails no more."""
    end = MessageStatus.DELIVERED if status is MessageStatus.FAILED else status
    return _ORDER[: _RANK[end]]


def further(states: Iterable[str]) -> MessageStatus:
    """The one of several states, none of them FAILED, that includes the others."""
    return max(map(MessageStatus, states), key=_RANK.__getitem__)


_REPORTED = {
    ("delivery", "delivered"): MessageStatus.DELIVERED,
    ("delivery", "failed"): MessageStatus.FAILED,
    ("delivery", "forbidden"): MessageStatus.FAILED,
    ("delivery", "error"): MessageStatus.FAILED,
    ("processing", "stored"): MessageStatus.STORED,
    ("processing", "forbidden"): MessageStatus.FAILED,
    ("processing", "error"): MessageStatus.FAILED,
    ("display", "displayed"): MessageStatus.DISPLAYED,
}


def state_of(report: DeliveryReceived) -> MessageStatus | None:
    """The state that a notification tells of; None when it changes nothing (RFC 5438 §7.1.3)."""
    return _REPORTED.get((report.kind, report.status))


def failure_of(report: DeliveryReceived) -> str:
    """Why a message failed, when ``state_of`` says that it did; empty otherwise."""
    if state_of(report) is not MessageStatus.FAILED:
        return ""
    who = "the peer's device" if report.kind == "delivery" else "a server on the way"
    return f"{who} says {report.status}"


class Receipt:
    """The fate of one message that was sent; ``message_id`` is its IMDN Message-ID, ``file`` where
    the file is that it tells of."""

    __slots__ = (
        "_error",
        "_over",
        "_untold",
        "_waiters",
        "file",
        "message_id",
        "status",
        "text",
        "written",
    )

    def __init__(
        self,
        message_id: str,
        text: str,
        written: datetime | None = None,
        file: FileInfo | None = None,
    ) -> None:
        """``written`` is the DateTime of the message, now unless given."""
        self.message_id = message_id
        self.text = text
        self.file = file
        self.written = written or datetime.now(UTC)
        self.status = MessageStatus.QUEUED
        self._error: AgentError | None = None
        self._over = False
        self._untold = False
        # Who waits, and for what.
        self._waiters: list[tuple[MessageStatus, asyncio.Future[None]]] = []

    def __repr__(self) -> str:
        return f"<Receipt {self.message_id} {self.status}>"

    async def stored(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Waits until the server keeps the message for an absent peer (202), or the peer has it.

        Raises as ``sent`` does.
        """
        await self._reach(MessageStatus.STORED, timeout)

    async def sent(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Waits until the peer's device has taken the message (200, by MSRP or SIP).

        Raises DeliveryError when it was refused, when nobody answered, or after ``timeout``
        seconds.
        """
        await self._reach(MessageStatus.SENT, timeout)

    async def delivered(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Waits until the peer's device says that it has the message (IMDN).

        Raises DeliveryError as ``sent`` does, and SessionClosed when the session ended without a
        receipt and no other replaced it: the message has then arrived or not.
        """
        await self._reach(MessageStatus.DELIVERED, timeout)

    async def displayed(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Waits until the peer has seen the message.

        Raises as ``delivered`` does, and DeliveryError when the peer's device says that it will not
        tell.
        """
        await self._reach(MessageStatus.DISPLAYED, timeout)

    def advance(self, status: MessageStatus) -> bool:
        """Notes a new state; False when it is none, or comes after a later one."""
        if self.status is MessageStatus.FAILED or self.has_reached(status):
            return False
        self.status = status
        self._wake()
        return True

    def fail(self, error: AgentError) -> bool:
        """Notes that the message did not get through; False when it has been told already."""
        if self.status is MessageStatus.FAILED or self.has_reached(MessageStatus.DELIVERED):
            return False
        self.status = MessageStatus.FAILED
        self._error = error
        self._wake()
        return True

    def withhold(self) -> None:
        """The peer's device does not tell whether its user has seen the message (RFC 5438
        §7.2.1.3: display, forbidden)."""
        self._untold = True
        self._wake()

    def end(self) -> None:
        """The session is over: nothing more will be known."""
        self._over = True
        self._wake()

    @property
    def is_final(self) -> bool:
        """Whether the peer's device has the message for sure, or never will."""
        return self.status is MessageStatus.FAILED or self.has_reached(MessageStatus.DELIVERED)

    @property
    def may_advance(self) -> bool:
        """Whether anything more can become of it."""
        return self.status not in (MessageStatus.FAILED, MessageStatus.DISPLAYED)

    def has_reached(self, status: MessageStatus) -> bool:
        """Whether the message has come as far as ``status``."""
        if self.status is MessageStatus.FAILED:
            return status is MessageStatus.FAILED
        return _RANK[self.status] >= _RANK[status]

    async def _reach(self, status: MessageStatus, timeout: float | None) -> None:  # noqa: ASYNC109
        try:
            async with asyncio.timeout(timeout):
                while not self.has_reached(status):
                    if self._error is not None:
                        # A copy: what is raised holds the frames it came through, and they this.
                        raise copy(self._error)
                    if self._untold and status is MessageStatus.DISPLAYED:
                        raise DeliveryError("the peer does not tell whether it was displayed")
                    if self._over:
                        raise SessionClosed(
                            f"the session ended before the message was {status.value}"
                        )
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiters.append((status, waiter))
                    await waiter
        except TimeoutError as error:
            raise DeliveryError(
                f"the message was not {status.value} within {timeout:g} s"
            ) from error

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        over = self._over or self._untold or self._error is not None
        for status, waiter in waiters:
            if not (over or self.has_reached(status)):
                self._waiters.append((status, waiter))
            elif not waiter.done():
                waiter.set_result(None)
