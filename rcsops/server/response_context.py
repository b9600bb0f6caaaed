"""One forwarded request and the responses of its branches (RFC 3261 §16.6 to §16.10).

What is decided here needs no socket: which response goes upstream, when, and which branches are
to be tried or cancelled. `rcsops.server.proxy` carries it out.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rcsops.server.location import Binding
from rcsops.sip import ClientTransaction, Request, Response, ServerTransaction, Target

__all__ = ["Branch", "Destination", "ResponseContext", "best_response", "group_by_priority"]

# RFC 3261 §16.7 step 6: within a class, those that tell the client what to do about it first.
_TELLING = (401, 407, 415, 420, 484)
_CHALLENGES = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}


class Destination(NamedTuple):
    """Where a branch is to go: the Request-URI, the routes on the way, and, for a registered
    contact, its binding and the other flows to the same device (RFC 5626 §5.3)."""

    uri: str
    routes: tuple[str, ...] = ()
    binding: Binding | None = None
    others: tuple["Destination", ...] = ()


class Branch:
    """One destination that is being tried."""

    __slots__ = (
        "cancelled",
        "context",
        "destination",
        "done",
        "limit",
        "provisional",
        "targets",
        "transaction",
    )

    def __init__(self, context: "ResponseContext", destination: Destination) -> None:
        self.context = context
        self.destination = destination
        self.transaction: ClientTransaction | None = None
        self.targets: list[Target] = []
        self.limit = 0.0
        self.provisional = False
        self.cancelled = False
        self.done = False


class ResponseContext:
    """The state of one request on its way (RFC 3261 §16.2)."""

    __slots__ = (
        "base",
        "branches",
        "cancelled",
        "fingerprint",
        "groups",
        "is_invite",
        "responses",
        "server",
        "sixth",
        "token",
        "went",
    )

    def __init__(
        self,
        server: ServerTransaction,
        base: Request,
        groups: Sequence[Sequence[Destination]],
        fingerprint: tuple[str | None, ...],
        token: str = "",
    ) -> None:
        self.server = server
        self.base = base
        self.groups = [list(group) for group in groups]
        self.fingerprint = fingerprint
        self.token = token
        self.is_invite = base.method == "INVITE"
        self.branches: list[Branch] = []
        self.responses: list[Response] = []
        self.cancelled = False
        self.sixth = False
        """A 6xx came: nothing new is tried."""
        self.went = False
        """A final response has gone upstream."""

    def pending(self) -> list[Branch]:
        """The branches without a final response."""
        return [branch for branch in self.branches if not branch.done]

    def next_group(self) -> list[Destination]:
        """What is to be tried now that nothing is pending; empty when it is time to answer."""
        if self.cancelled or self.sixth or self.went or not self.groups:
            return []
        return self.groups.pop(0)

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


def group_by_priority(bindings: Iterable[Binding]) -> list[list[Destination]]:
    """Destinations in the order of q: a list for each value, to be tried in parallel (§16.6).

    Flows of one device (the same instance) are one destination: the newest flow first, the others
    only when it fails (RFC 5626 §5.3).
    """
    devices: dict[str, list[Binding]] = {}
    for binding in bindings:
        own = binding.instance if binding.reg_id else f"#{binding.contact_id}"
        devices.setdefault(own, []).append(binding)
    groups: dict[float, list[Destination]] = {}
    for flows in devices.values():
        flows.sort(key=lambda binding: (binding.priority, binding.modified), reverse=True)
        first, *others = (_destination(binding) for binding in flows)
        groups.setdefault(flows[0].priority, []).append(first._replace(others=tuple(others)))
    return [groups[priority] for priority in sorted(groups, reverse=True)]


def _destination(binding: Binding) -> Destination:
    return Destination(binding.uri_text, binding.path, binding)
