"""What the four transaction machines of RFC 3261 §17 have in common.

Each machine is a table of arrows: the arrows of the RFC's figure, in the RFC's words, as data. The
code beside a table only says what each action does. A timer that fires, or a message that comes, in
a state whose circle has no arrow for it is ignored.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from rcsops.sip.alarms import Alarm, AlarmQueues
from rcsops.sip.events import Event, Terminated, TimedOut
from rcsops.sip.target import Flow
from rcsops.sip.timers import Timers

if TYPE_CHECKING:
    from rcsops.sip.message import Request, Response


class State(StrEnum):
    """The circles of figures 5 to 8 of RFC 3261, and Accepted of RFC 6026."""

    CALLING = "Calling"
    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    COMPLETED = "Completed"
    CONFIRMED = "Confirmed"
    ACCEPTED = "Accepted"
    TERMINATED = "Terminated"


class On(StrEnum):
    """What moves a transaction."""

    REQUEST = "Request"
    ACK = "ACK"
    RESPONSE_1XX = "1xx"
    RESPONSE_2XX = "2xx"
    RESPONSE_300_699 = "300-699"
    RESPONSE_200_699 = "200-699"
    RESPONSE_408 = "408 from TU"
    TRANSPORT_ERROR = "Transport Err."
    CANCELLED = "CANCEL sent"
    GIVEN_UP = "given up by TU"
    TIMER_100 = "Timer 100 fires"
    TIMER_A = "Timer A fires"
    TIMER_B = "Timer B fires"
    TIMER_D = "Timer D fires"
    TIMER_E = "Timer E fires"
    TIMER_F = "Timer F fires"
    TIMER_G = "Timer G fires"
    TIMER_H = "Timer H fires"
    TIMER_I = "Timer I fires"
    TIMER_J = "Timer J fires"
    TIMER_K = "Timer K fires"
    TIMER_L = "Timer L fires"
    TIMER_M = "Timer M fires"
    TIMER_CANCEL = "64*T1 after CANCEL"


class Arrow(NamedTuple):
    """One arrow of a figure: in ``state``, ``on`` this, do ``actions`` and go to ``to``.

    An action is the name of a method of the machine.
    """

    state: State
    on: On
    actions: tuple[str, ...]
    to: State


class Host(Protocol):
    """What a transaction needs from the layer that holds it."""

    timers: Timers
    alarms: AlarmQueues

    def send(self, data: bytes, flow: Flow) -> None:
        """Queue bytes for a flow."""

    def emit(self, event: Event) -> None:
        """Queue an event for the TU."""

    def forget(self, transaction: "Transaction") -> None:
        """Drop a transaction that has terminated."""


Action = Callable[[Any, float, Any], None]


class Transaction:
    """Base of the four machines; made by the layer only.

    ``state`` is the circle that it is in, ``context`` belongs to the TU.
    """

    __slots__ = (
        "_again",
        "_again_delay",
        "_host",
        "_limit",
        "_wire",
        "context",
        "flow",
        "key",
        "method",
        "quiet",
        "state",
    )

    FIGURE: ClassVar[str]
    INITIAL: ClassVar[State]
    ARROWS: ClassVar[tuple[Arrow, ...]] = ()
    _STEPS: ClassVar[dict[State, dict[On, tuple[State, tuple[Action, ...]]]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        steps: dict[State, dict[On, tuple[State, tuple[Action, ...]]]] = {s: {} for s in State}
        for state, on, names, to in cls.ARROWS:
            steps[state][on] = (to, tuple(getattr(cls, name) for name in names))
        cls._STEPS = steps

    def __init__(self, host: Host, key: tuple[Any, ...], method: str, flow: Flow) -> None:
        self._host = host
        self.key = key
        self.method = method
        self.flow = flow
        self.state = self.INITIAL
        self.context: object = None
        self.quiet = False
        self._wire = b""
        self._limit: Alarm | None = None
        self._again: Alarm | None = None
        self._again_delay = 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.state} {self.key[0]}>"

    @property
    def reliable(self) -> bool:
        """Whether the transport resends by itself."""
        return self.flow.transport != "udp"

    @property
    def terminated(self) -> bool:
        """Whether the transaction is over."""
        return self.state is State.TERMINATED

    @property
    def timers(self) -> tuple[tuple[On, float], ...]:
        """The timers that run, and when each fires."""
        alarms = (self._again, self._limit)
        return tuple((a.on, a.due) for a in alarms if a is not None and a.owner is not None)

    def step(self, on: On, now: float, subject: "Request | Response | str | None" = None) -> bool:
        """Follow the arrow for ``on`` out of the present state; False if there is none."""
        arrow = self._STEPS[self.state].get(on)
        if arrow is None:
            return False
        to, actions = arrow
        self.state = to
        for action in actions:
            action(self, now, subject)
        if to is State.TERMINATED:
            self._finish()
        return True

    def _finish(self) -> None:
        self._stop(self._limit)
        self._stop(self._again)
        self._limit = self._again = None
        self._wire = b""
        self._host.forget(self)
        if not self.quiet:
            self._host.emit(Terminated(self))

    def inform_timeout(self, now: float, subject: object) -> None:
        """Inform the TU: no answer came in time."""
        if not self.quiet:
            self._host.emit(TimedOut(self))

    def _start_limit(self, on: On, delay: float, now: float) -> None:
        """Start the timer that ends the present state, in place of the one that ran."""
        self._stop(self._limit)
        if delay > 0.0:
            self._limit = self._host.alarms.start(delay, now, self, on)
        else:
            self._limit = None
            self.step(on, now)

    def _start_again(self, on: On, delay: float, now: float) -> None:
        """Start the timer that sends something again."""
        self._stop(self._again)
        self._again_delay = delay
        self._again = self._host.alarms.start(delay, now, self, on)

    @staticmethod
    def _stop(alarm: Alarm | None) -> None:
        if alarm is not None:
            alarm.stop()
