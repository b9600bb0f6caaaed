"""Session timers (RFC 4028): a session whose peer has silently gone is found out and ended.

One side refreshes the session, with UPDATE or re-INVITE, when half of the agreed interval is over;
the other ends it when that does not come. It talks in events; the caller sends what they ask for.
"""

import re
from collections import deque
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from rcsops.errors import RemoteProtocolError, SipParseError
from rcsops.sip.message import Request, Response

__all__ = ["MIN_SE", "RefreshDue", "SessionExpired", "SessionExpires", "SessionTimer"]

MIN_SE = 90
"""The shortest interval that there may be, in seconds (RFC 4028 §4)."""

_MOST = 1 << 31
_LONGEST = 40
_DELTA = re.compile(r"[0-9]{1,10}")
_LEAST_PAUSE = 5.0


class Role(StrEnum):
    """Who refreshes: the sender of the request that agreed on it, or its recipient."""

    UAC = "uac"
    UAS = "uas"


class SessionExpires(NamedTuple):
    """A Session-Expires header: an interval in seconds, and who refreshes if that is said."""

    seconds: int
    refresher: Role | None = None

    @classmethod
    def parse(cls, text: str) -> "SessionExpires":
        """Read a value. Raises SipParseError."""
        number, *params = (part.strip(" \t") for part in text.split(";"))
        if not _DELTA.fullmatch(number):
            raise SipParseError(f"not an interval: {text[:60]!r}")
        refresher = None
        for param in params:
            name, _, value = param.partition("=")
            if name.strip(" \t").lower() == "refresher":
                try:
                    refresher = Role(value.strip(" \t").lower())
                except ValueError:
                    raise SipParseError(f"not a refresher: {text[:60]!r}") from None
        return cls(min(int(number), _MOST), refresher)

    def __str__(self) -> str:
        role = f";refresher={self.refresher}" if self.refresher is not None else ""
        return f"{self.seconds}{role}"


class RefreshDue(NamedTuple):
    """Refresh the session now: send UPDATE or re-INVITE with :meth:`SessionTimer.offer`."""


class SessionExpired(NamedTuple):
    """Nobody has refreshed the session: end it with BYE."""


class SessionTimer:
    """One side of one dialog. ``interval`` is what we ask for, 0 to want no timer of our own;
    ``min_se`` the least that we take (90 at least), both in seconds."""

    __slots__ = ("_due", "_ends", "_events", "_interval", "_min_se", "_refreshing", "agreed")

    def __init__(self, interval: int = 1800, min_se: int = 0) -> None:
        self.agreed: SessionExpires | None = None
        self._min_se = max(min_se, MIN_SE)
        self._interval = max(interval, self._min_se) if interval else 0
        self._refreshing = False
        self._due: float | None = None
        self._ends: float | None = None
        self._events: deque[RefreshDue | SessionExpired] = deque()

    @property
    def refreshing(self) -> bool:
        """Whether it is for us to refresh."""
        return self._refreshing

    @property
    def refreshes_at(self) -> float | None:
        """When we refresh; None while that is for the peer, or while no timer runs."""
        return self._due

    @property
    def ends_at(self) -> float | None:
        """When the session ends unless it is refreshed; None while no timer runs."""
        return self._ends

    def next_event(self) -> RefreshDue | SessionExpired | None:
        """Take the next event; None when there is none."""
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        """When :meth:`handle_timer` is to be called next."""
        due, ends = self._due, self._ends
        if due is None or ends is None:
            return ends if due is None else due
        return min(due, ends)

    def handle_timer(self, now: float) -> None:
        """Let time pass."""
        if self._ends is not None and now >= self._ends:
            self.stop()
            self._events.append(SessionExpired())
        elif self._due is not None and now >= self._due:
            self._due = None
            self._events.append(RefreshDue())

    def stop(self) -> None:
        """The dialog is over."""
        self._due = self._ends = None

    # --- UAC (RFC 4028 §7) --------------------------------------------------------------------

    def offer(self) -> list[tuple[str, str]]:
        """The headers of an INVITE or UPDATE of ours.

        A refresh asks that the roles stay, also when the sides have changed (§7.4).
        """
        headers = [("Supported", "timer")]
        if self.agreed is not None:
            role = Role.UAC if self._refreshing else Role.UAS
            headers.append(("Session-Expires", str(SessionExpires(self.agreed.seconds, role))))
        elif self._interval:
            headers.append(("Session-Expires", str(SessionExpires(self._interval))))
        if self._min_se > MIN_SE:
            headers.append(("Min-SE", str(self._min_se)))
        return headers

    def receive_2xx(self, response: Response, now: float) -> None:
        """Take the answer to a request with :meth:`offer`: without Session-Expires there is no
        timer (§7.2)."""
        try:
            agreed = _session_expires(response)
        except SipParseError:
            agreed = None
        if agreed is None:
            self.agreed = None
            self.stop()
            return
        self._agree(agreed, mine=agreed.refresher is not Role.UAS, now=now)

    def receive_422(self, response: Response) -> bool:
        """Take a 422: whether it is worth trying again, with the interval that it asks for."""
        try:
            wanted = _min_se(response)
        except SipParseError:
            return False
        asked = self.agreed.seconds if self.agreed is not None else self._interval
        if wanted is None or wanted <= asked or wanted >= _MOST:
            return False
        # §7.4: from now on a request of ours carries this minimum.
        self._min_se = max(self._min_se, wanted)
        self._interval = max(self._interval, wanted)
        if self.agreed is not None:
            self.agreed = self.agreed._replace(seconds=wanted)
        return True

    def refresh_failed(self, now: float) -> None:
        """A refresh of ours came to nothing: it is tried again in half of the time that is left."""
        if self._ends is not None and self._refreshing:
            self._due = now + max((self._ends - now) / 2, _LEAST_PAUSE)

    # --- UAS (RFC 4028 §9) --------------------------------------------------------------------

    def check(self, request: Request) -> None:
        """Look at an INVITE or UPDATE before it is answered.

        Raises RemoteProtocolError: status 422 for an interval that is too short, to be answered
        with the header Min-SE, 400 for one that cannot be read.
        """
        asked = _session_expires(request)
        if asked is None:
            return
        if asked.seconds < self._min_se and _supports_timer(request):
            raise RemoteProtocolError(
                f"{asked.seconds} s between refreshes is too short",
                status=422,
                reason="Session Interval Too Small",
            )

    def answer(self, request: Request, now: float) -> list[tuple[str, str]]:
        """The headers of our 2xx to a request that :meth:`check` has let through.

        The timer runs from then on.
        """
        asked = _session_expires(request)
        supports = _supports_timer(request)
        if asked is None and (not self._interval or not supports):
            # §9: nobody has asked for one. Without support at the other side it would be for us
            # alone to refresh, and for nothing.
            if self.agreed is not None:
                self.agreed = None
                self.stop()
            return []
        least = max(_min_se(request) or 0, self._min_se)
        wanted = self._interval if asked is None else asked.seconds
        seconds = max(min(wanted, self._interval or wanted), least)
        if not supports:
            role = Role.UAS
        else:
            role = Role.UAC if asked is None or asked.refresher is None else asked.refresher
        agreed = SessionExpires(seconds, role)
        self._agree(agreed, mine=role is Role.UAS, now=now)
        headers = [("Session-Expires", str(agreed))]
        if role is Role.UAC:
            headers.append(("Require", "timer"))
        return headers

    @property
    def min_se(self) -> int:
        """The least interval that we take, for the Min-SE of a 422."""
        return self._min_se

    def _agree(self, agreed: SessionExpires, *, mine: bool, now: float) -> None:
        # A response must not make us send refreshes one after the other.
        seconds = max(agreed.seconds, MIN_SE)
        if seconds != agreed.seconds:
            agreed = agreed._replace(seconds=seconds)
        self.agreed = agreed
        self._refreshing = mine
        if mine:
            self._due = now + seconds / 2
            self._ends = now + seconds
        else:
            self._due = None
            # §10: the BYE goes out a little before the proxies forget the session.
            self._ends = now + seconds - min(32.0, seconds / 3)


def _session_expires(message: Request | Response) -> SessionExpires | None:
    value = message.get("Session-Expires")
    return None if value is None else _parse(value)


def _min_se(message: Request | Response) -> int | None:
    value = message.get("Min-SE")
    return None if value is None else _parse(value).seconds


def _parse(value: str) -> SessionExpires:
    # Nearly all ask for the same, and a message is looked at more than once.
    return SessionExpires.parse(value) if len(value) > _LONGEST else _known(value)


_known = lru_cache(maxsize=64)(SessionExpires.parse)


def _supports_timer(request: Request) -> bool:
    for name in ("Supported", "Require"):
        tags = request.option_tags(name)
        if "timer" in tags or any(tag.lower() == "timer" for tag in tags):
            return True
    return False
