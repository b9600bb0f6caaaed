"""One forwarded request and the responses of its branches (RFC 3261 §16.6 to §16.10).

What is decided here needs no socket: which response goes upstream, when, and which branches are
to be tried or cancelled. `rcsops.server.proxy` carries it out.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from rcsops.server.location import Binding
from rcsops.server.loops import MAX_BREADTH, breadth_of, shares
from rcsops.sip import ClientTransaction, Flow, Request, Response, ServerTransaction, Target, Uri

__all__ = [
    "Branch",
    "Destination",
    "ResponseContext",
    "best_response",
    "group_by_priority",
    "request_uri",
]

# RFC 3261 §16.7 step 6: within a class, those that tell the client what to do about it first.
_TELLING = (401, 407, 415, 420, 484)
_CHALLENGES = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}


class Destination(NamedTuple):
    """Where a branch is to go: the Request-URI, the routes on the way, and, for a registered
    contact, its binding and the other flows to the same device; within a dialog the flow that the
    Route names (RFC 5626 §5.3)."""

    uri: str
    routes: tuple[str, ...] = ()
    binding: Binding | None = None
    others: tuple["Destination", ...] = ()
    flow: Flow | None = None


class Branch:
    """One destination that is being tried."""

    __slots__ = (
        "__weakref__",
        "breadth",
        "cancelled",
        "context",
        "destination",
        "done",
        "limit",
        "provisional",
        "stream",
        "targets",
        "transaction",
    )

    def __init__(
        self, context: "ResponseContext", destination: Destination, breadth: int = MAX_BREADTH
    ) -> None:
        self.context = context
        self.destination = destination
        self.breadth = breadth
        self.transaction: ClientTransaction | None = None
        self.targets: list[Target] = []
        # What took the place of a datagram that the request was too large for.
        self.stream: Target | None = None
        self.limit = 0.0
        self.provisional = False
        self.cancelled = False
        self.done = False

    def finish(self) -> None:
        """It has its final response, or gets none. The context lets go of it; a 2xx may follow."""
        if not self.done:
            self.done = True
            self.context.branches.remove(self)


class ResponseContext:
    """The state of one request on its way (RFC 3261 §16.2)."""

    __slots__ = (
        "__weakref__",
        "base",
        "branches",
        "breadth",
        "cancelled",
        "groups",
        "is_forked",
        "is_invite",
        "keep",
        "mark",
        "responses",
        "server",
        "sixth",
        "token",
        "tried",
        "went",
    )

    def __init__(
        self,
        server: ServerTransaction,
        base: Request,
        groups: Sequence[Sequence[Destination]],
        mark: str = "",
        token: str = "",
    ) -> None:
        self.server = server
        self.base = base
        self.groups = [list(group) for group in groups]
        self.mark = mark
        self.token = token
        self.breadth = max(1, breadth_of(base))
        self.tried = {destination.uri for group in groups for destination in group}
        """Request-URIs that are or will be tried: each is once (§16.5)."""
        self.is_invite = base.method == "INVITE"
        self.keep: Callable[[ServerTransaction], None] | None = None
        """What stores a MESSAGE that no device took."""
        self.branches: list[Branch] = []
        """Those without a final response."""
        self.is_forked = False
        """Whether it went to contacts that are registered here."""
        self.responses: list[Response] = []
        self.cancelled = False
        self.sixth = False
        """A 6xx came: nothing new is tried."""
        self.went = False
        """A final response has gone upstream."""

    def pending(self) -> list[Branch]:
        """The branches without a final response."""
        return list(self.branches)

    def answer(self) -> None:
        """A final response goes upstream; the server transaction has no more use for this."""
        self.went = True
        self.server.context = None

    def next_branches(self) -> list[Branch]:
        """What is to be tried now that nothing is pending; empty when it is time to answer.

        No more at once than Max-Breadth allows, which is shared out among them (RFC 5393 §5.3.3).
        """
        if self.cancelled or self.sixth or self.went or not self.groups:
            return []
        group = self.groups.pop(0)
        if len(group) > self.breadth:
            self.groups.insert(0, group[self.breadth :])
            group = group[: self.breadth]
        if not group:
            return self.next_branches()
        pairs = zip(group, shares(self.breadth, len(group)), strict=True)
        branches = [Branch(self, destination, breadth) for destination, breadth in pairs]
        self.branches += branches
        self.is_forked |= any(destination.binding is not None for destination in group)
        return branches

    def try_also(self, groups: Sequence[Sequence[Destination]], most: int) -> set[str]:
        """Adds destinations, to be tried before those that wait, but at most ``most`` in all and
        none a second time (§16.5, §16.6). Returns the Request-URIs that were added."""
        added: set[str] = set()
        fresh: list[list[Destination]] = []
        for group in groups:
            taken = []
            for destination in group:
                if destination.uri not in self.tried and len(self.tried) < most:
                    self.tried.add(destination.uri)
                    added.add(destination.uri)
                    taken.append(destination)
            if taken:
                fresh.append(taken)
        self.groups[:0] = fresh
        return added

    def best(self) -> Response | None:
        """The response to answer with; None when no branch gave one."""
        return best_response(self.responses)


def best_response(responses: Sequence[Response]) -> Response | None:
    """The best of the final responses of all branches (RFC 3261 §16.7 steps 6 and 7).

    A 401 or 407 that is chosen carries the challenges of the others too.
    """
    if not responses:
        return None
    best = min(responses, key=_rank)
    if best.status in _CHALLENGES:
        for other in responses:
            name = _CHALLENGES.get(other.status)
            if other is not best and name is not None:
                for challenge in other.get_all(name):
                    best.add(name, challenge)
    return best


def _rank(response: Response) -> tuple[int, int]:
    status = response.status
    if status >= 600:
        return (0, 0)
    within = _TELLING.index(status) if status in _TELLING else len(_TELLING)
    # RFC 3261 §16.7: a 503 must not make the client avoid this whole server, so any other counts
    # more; 408 and 430 say nothing about the user.
    if status in (408, 430, 503):
        within += 1
    return (status // 100, within)


def group_by_priority(
    bindings: Iterable[Binding], *, secure: bool = False
) -> list[list[Destination]]:
    """Destinations in the order of q: a list for each value, to be tried in parallel (§16.6).

    With ``secure``, for a sips Request-URI, sips contacts alone; otherwise a sips contact gets a
    sip Request-URI, over TLS all the same (RFC 5630 §5.3).
    Flows of one device (the same instance) are one destination: the newest flow first, the others
    only when it fails (RFC 5626 §5.3).
    """
    devices: dict[str, list[Binding]] = {}
    for binding in bindings:
        if secure and binding.uri.scheme != "sips":
            continue
        own = binding.instance if binding.reg_id else f"#{binding.contact_id}"
        devices.setdefault(own, []).append(binding)
    groups: dict[float, list[Destination]] = {}
    for flows in devices.values():
        flows.sort(key=lambda binding: (binding.priority, binding.modified), reverse=True)
        first, *others = (_destination(binding, secure) for binding in flows)
        groups.setdefault(flows[0].priority, []).append(first._replace(others=tuple(others)))
    return [groups[priority] for priority in sorted(groups, reverse=True)]


def _destination(binding: Binding, secure: bool) -> Destination:
    text = request_uri(binding.uri_text)
    if not secure and text[:5].lower() == "sips:":
        text = f"sip:{text[5:]}"
    return Destination(text, binding.path, binding)


def request_uri(contact: str) -> str:
    """A contact's URI without what a Request-URI must not have (RFC 3261 §16.6 step 2, §19.1.1)."""
    if "?" not in contact and "method=" not in contact.lower():
        return contact
    return str(Uri.parse(contact).without_headers().without_param("method"))
