"""Keeping one address-of-record registered (RFC 3261 §10.2, 3327, 3608, 5626 §4, 5627 §4.2).

The machine makes the REGISTER requests; the caller sends each through the transaction layer and
gives its outcome back. At most one is outstanding at a time, as §10.2 demands.
"""

from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from rcsops.errors import LocalProtocolError, RemoteProtocolError, SipParseError
from rcsops.sip.digest_client import DigestClient
from rcsops.sip.headers import NameAddr
from rcsops.sip.message import Request, Response
from rcsops.sip.registrar_answer import (
    find_binding,
    flow_timer,
    granted_expiry,
    is_stale,
    refresh_after,
    retry_after,
)
from rcsops.sip.uri import Uri
from rcsops.tokens import Tokens

MAX_ROUNDS = 2
"""How often one REGISTER is sent again for a challenge."""

STABLE_SECONDS = 120.0
"""How long a flow must live before a failure after it counts as the first (RFC 5626 §4.5)."""

PERMANENT = frozenset((400, 401, 402, 403, 404, 405, 407, 410, 414, 416, 420, 423, 484, 485))
"""Answers that asking again would not change (and every 3xx and 6xx)."""


class RegistrationState(StrEnum):
    """Where the registration stands."""

    IDLE = "idle"
    REGISTERING = "registering"
    REGISTERED = "registered"
    REFRESHING = "refreshing"
    WAITING = "waiting"
    REFUSED = "refused"
    UNREGISTERING = "unregistering"


class Registered(NamedTuple):
    """The registrar holds our binding for ``expires`` seconds; after each refresh, too.

    ``bindings`` are all contacts of the address-of-record, ``service_route`` the Route for initial
    requests, ``paths`` the proxies on the way to us, ``flow_timer`` how many seconds the server
    lets a silent connection live (RFC 5626 §5.4). ``outbound``: the server reaches us over the flow
    of the REGISTER and no other way.
    """

    expires: int
    bindings: tuple[NameAddr, ...]
    service_route: tuple[NameAddr, ...]
    paths: tuple[NameAddr, ...] = ()
    flow_timer: int | None = None
    outbound: bool = False


class RegistrationFailed(NamedTuple):
    """A REGISTER failed; ``status`` is 0 when no answer came.

    ``retry_in`` is the number of seconds until the next attempt, None when there will be none.
    """

    status: int
    reason: str
    retry_in: float | None


class Unregistered(NamedTuple):
    """The binding is removed."""


RegistrationEvent = Registered | RegistrationFailed | Unregistered


class Registration:
    """The registration of one contact for one address-of-record.

    ``expires`` is what is asked for, in seconds; ``instance_id`` a URN such as
    "urn:uuid:..." and ``reg_id`` the number of the flow (RFC 5626), both optional; ``digest``
    answers challenges; ``headers`` are added to each REGISTER; ``base_time`` and ``max_time`` are
    those of RFC 5626 §4.5, in seconds.
    """

    __slots__ = (
        "_aor",
        "_attempt",
        "_base_time",
        "_breaks",
        "_call_id",
        "_cseq",
        "_digest",
        "_events",
        "_expires",
        "_expires_at",
        "_failures",
        "_from_tag",
        "_headers",
        "_instance_id",
        "_max_time",
        "_pending",
        "_reg_id",
        "_registered_at",
        "_registrar",
        "_request",
        "_supported",
        "_tokens",
        "_unregister",
        "_wake_at",
        "contact",
        "outbound",
        "paths",
        "public_gruu",
        "service_route",
        "state",
        "temporary_gruu",
    )

    def __init__(
        self,
        aor: Uri,
        registrar: Uri,
        contact: NameAddr,
        *,
        tokens: Tokens,
        expires: int = 3600,
        digest: DigestClient | None = None,
        instance_id: str | None = None,
        reg_id: int | None = None,
        supported: Iterable[str] = ("path", "gruu", "outbound"),
        headers: Iterable[tuple[str, str]] = (),
        base_time: float = 30.0,
        max_time: float = 1800.0,
    ) -> None:
        if expires <= 0:
            raise LocalProtocolError("a registration that expires at once is none")
        self._aor = aor
        self._registrar = registrar
        self.contact = contact
        self._tokens = tokens
        self._expires = expires
        self._digest = digest
        self._instance_id = instance_id
        # RFC 5626 §4.2: reg-id means nothing without +sip.instance.
        self._reg_id = reg_id if instance_id else None
        self._supported = tuple(supported)
        self._headers = tuple(headers)
        self._base_time = base_time
        self._max_time = max_time
        self.state = RegistrationState.IDLE
        self.service_route: tuple[NameAddr, ...] = ()
        self.paths: tuple[NameAddr, ...] = ()
        self.outbound = False
        self.public_gruu: str | None = None
        self.temporary_gruu: str | None = None
        self._call_id = tokens.call_id()
        self._from_tag = tokens.tag()
        self._cseq = 0
        self._failures = 0
        self._breaks = 0
        self._expires_at = 0.0
        self._registered_at = 0.0
        self._wake_at: float | None = None
        self._unregister = False
        self._pending = False
        self._request: Request | None = None
        self._attempt: _Attempt | None = None
        self._events: deque[RegistrationEvent] | None = None

    # --- the machine's shape ------------------------------------------------------------------

    def next_event(self) -> RegistrationEvent | None:
        """Take the next event; None when there is none."""
        return self._events.popleft() if self._events else None

    def next_request(self) -> Request | None:
        """Take the REGISTER to send now, without a Via; None when there is none.

        Its final response goes to :meth:`receive_response`; if none comes, say so with
        :meth:`request_failed`.
        """
        if not self._pending or self._request is None:
            return None
        self._pending = False
        return self._request.copy()

    def next_timer(self) -> float | None:
        """When :meth:`handle_timer` is to be called next."""
        return self._wake_at

    @property
    def expires_at(self) -> float:
        """Until when the registrar holds our binding; 0 while it holds none."""
        return self._expires_at

    def handle_timer(self, now: float) -> None:
        """Refresh, or try again, if it is time."""
        if self._wake_at is not None and now >= self._wake_at:
            self._begin()

    # --- what the caller wants ----------------------------------------------------------------

    def start(self, now: float) -> None:
        """Register now: the first time, again after a refusal, or ahead of a timer.

        Call it as well when the connection is lost and when the network is back: it cuts a wait
        short. While a REGISTER is outstanding it only takes back an :meth:`unregister` that waits.
        """
        self._unregister = False
        if self._request is None:
            self._begin()

    def flow_lost(self, reason: str, now: float) -> None:
        """The way to the server is gone: register over a new one, after the wait of RFC 5626 §4.5.

        While a REGISTER is outstanding or waited for, that finds out by itself.
        """
        if self.state is RegistrationState.REGISTERED:
            lived = now - self._registered_at
            self._breaks = 0 if lived >= STABLE_SECONDS else self._breaks + 1
            self._wait(0, reason, now, self._back_off(self._breaks))

    def unregister(self, now: float) -> None:
        """Remove the binding; after the outstanding REGISTER, if there is one."""
        self._wake_at = None
        if self._request is not None:
            self._unregister = self.state is not RegistrationState.UNREGISTERING
        elif self._expires_at > now:
            self._begin(removing=True)
        else:
            self.state = RegistrationState.IDLE
            self._emit(Unregistered())

    def is_registered(self, now: float) -> bool:
        """Whether the registrar holds our binding, as far as we know."""
        return self._expires_at > now

    # --- outcomes -----------------------------------------------------------------------------

    def receive_response(self, response: Response, now: float) -> None:
        """Take a response to the outstanding REGISTER."""
        if self._request is None or response.status < 200:
            return
        try:
            if response.status < 300:
                self._succeeded(response, now)
            elif not self._try_again(response):
                self._failed(response.status, response.reason, now, retry_after(response))
        except RemoteProtocolError as error:
            self._failed(response.status, str(error), now)

    def request_failed(self, error: str, now: float) -> None:
        """No answer came to the outstanding REGISTER: time-out or transport error."""
        if self._request is not None:
            self._failed(0, error, now)

    def _succeeded(self, response: Response, now: float) -> None:
        if self._digest is not None:
            self._digest.receive_info(response)
        if self.state is RegistrationState.UNREGISTERING:
            self._done()
            self._expires_at = 0.0
            self.service_route = self.paths = ()
            self.public_gruu = self.temporary_gruu = None
            self.outbound = False
            self.state = RegistrationState.IDLE
            self._emit(Unregistered())
            return
        bindings = response.contacts
        ours = find_binding(bindings, self.contact.uri, self._instance_id, self._reg_id)
        granted = 0 if ours is None else granted_expiry(ours, response, self._expires)
        if granted <= 0:
            self._failed(response.status, "the registrar did not keep our contact", now)
            return
        self.service_route = response.service_routes
        self.paths = response.paths
        assert ours is not None
        self.public_gruu = _sip_uri(ours.param("pub-gruu"))
        self.temporary_gruu = _sip_uri(ours.param("temp-gruu"))
        required = {tag.lower() for tag in response.option_tags("Require")}
        self.outbound = self._reg_id is not None and "outbound" in required
        self._done()
        self._failures = 0
        if self.state is not RegistrationState.REFRESHING:
            self._registered_at = now
        self._expires_at = now + granted
        self._wake_at = now + refresh_after(granted)
        self.state = RegistrationState.REGISTERED
        self._emit(
            Registered(
                granted,
                bindings,
                self.service_route,
                self.paths,
                flow_timer(response),
                self.outbound,
            )
        )
        self._unregister_if_wanted()

    def _try_again(self, response: Response) -> bool:
        """Answer a challenge, or meet what the registrar asks for: each of them once or twice."""
        attempt, request = self._attempt, self._request
        assert attempt is not None and request is not None
        status = response.status
        if status in (401, 407):
            attempt.stale = is_stale(response)
            if self._digest is None or attempt.rounds >= MAX_ROUNDS:
                return False
            attempt.rounds += 1
            if not self._digest.authorize(request, response):
                return False
            self._cseq += 1
            request.set("CSeq", f"{self._cseq} REGISTER")
            self._pending = True
            return True
        if status in attempt.met or not self._meet(response):
            return False
        attempt.met.add(status)
        self._make_request()
        return True

    def _meet(self, response: Response) -> bool:
        status = response.status
        if status == 423:
            minimum = response.min_expires
            if minimum is None or minimum <= self._expires:
                return False
            self._expires = minimum
            return True
        if status in (301, 302, 305):
            contacts = response.contacts
            if not contacts or not contacts[0].uri.is_sip:
                return False
            self._registrar = contacts[0].uri.without_headers()
            # One redirection in all, whatever its status.
            assert self._attempt is not None
            self._attempt.met.update((301, 302, 305))
            return True
        if status == 420:
            unsupported = {tag.lower() for tag in response.option_tags("Unsupported")}
            kept = tuple(tag for tag in self._supported if tag.lower() not in unsupported)
            changed = kept != self._supported
            self._supported = kept
            return changed
        if status == 439 and self._reg_id is not None:
            self._reg_id = None
            return True
        return False

    def _failed(self, status: int, reason: str, now: float, retry_in: float | None = None) -> None:
        attempt = self._attempt
        removing = self.state is RegistrationState.UNREGISTERING
        permanent = status in PERMANENT or 300 <= status < 400 or status >= 600
        if status in (401, 407) and attempt is not None and attempt.stale:
            # The password is right; only the server's nonces do not live long enough.
            permanent = False
        self._done()
        if removing or self._unregister:
            # The binding runs out by itself.
            self._unregister = False
            self.state = RegistrationState.IDLE
            self._emit(RegistrationFailed(status, reason, None))
            return
        if permanent:
            self._expires_at = 0.0
            self.state = RegistrationState.REFUSED
            self._emit(RegistrationFailed(status, reason, None))
            return
        self._failures += 1
        wait = self._back_off(self._failures) if retry_in is None else retry_in
        self._wait(status, reason, now, wait)

    def _wait(self, status: int, reason: str, now: float, wait: float) -> None:
        self._wake_at = now + wait
        self.state = RegistrationState.WAITING
        self._emit(RegistrationFailed(status, reason, wait))

    def _back_off(self, failures: int) -> float:
        """RFC 5626 §4.5: doubling from the base time, of which 50 to 100 % are waited."""
        longest = min(self._max_time, self._base_time * 2.0 ** min(failures, 16))
        return longest * (0.5 + 0.5 * self._tokens.fraction())

    # --- requests -----------------------------------------------------------------------------

    def _begin(self, *, removing: bool = False) -> None:
        self._wake_at = None
        self._attempt = _Attempt()
        if removing:
            self.state = RegistrationState.UNREGISTERING
        elif self.state is RegistrationState.REGISTERED:
            self.state = RegistrationState.REFRESHING
        else:
            self.state = RegistrationState.REGISTERING
        self._make_request()

    def _make_request(self) -> None:
        self._cseq += 1
        headers = [
            ("Max-Forwards", "70"),
            ("From", f"<{self._aor}>;tag={self._from_tag}"),
            ("To", f"<{self._aor}>"),
            ("Call-ID", self._call_id),
            ("CSeq", f"{self._cseq} REGISTER"),
            ("Contact", self.contact_value()),
        ]
        if self._supported:
            headers.append(("Supported", ", ".join(self._supported)))
        request = Request("REGISTER", self._registrar, [*headers, *self._headers])
        if self._digest is not None:
            self._digest.preempt(request)
        self._request = request
        self._pending = True

    def contact_value(self) -> str:
        """The Contact of the outstanding REGISTER, with the parameters of a registration.

        When ``contact`` is set anew because another way is taken, the request needs it anew.
        """
        removing = self.state is RegistrationState.UNREGISTERING
        contact = self.contact
        if self._instance_id:
            contact = contact.with_param("+sip.instance", f'"<{self._instance_id}>"')
            if self._reg_id is not None:
                contact = contact.with_param("reg-id", str(self._reg_id))
        return str(contact.with_param("expires", "0" if removing else str(self._expires)))

    def _done(self) -> None:
        self._request = None
        self._attempt = None
        self._pending = False

    def _unregister_if_wanted(self) -> None:
        if self._unregister:
            self._unregister = False
            self._begin(removing=True)

    def _emit(self, event: RegistrationEvent) -> None:
        if self._events is None:
            self._events = deque()
        self._events.append(event)


class _Attempt:
    """What was tried already since the timer fired."""

    __slots__ = ("met", "rounds", "stale")

    def __init__(self) -> None:
        self.met: set[int] = set()
        self.rounds = 0
        self.stale = False


def _sip_uri(text: str | None) -> str | None:
    """A GRUU that the registrar gave; None for what is no SIP URI."""
    try:
        return text if text and Uri.parse(text).is_sip else None
    except SipParseError:
        return None
