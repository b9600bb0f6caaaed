"""The location service: who is where (RFC 3261 §10.2, §16.5).

Bindings live in memory; what changed is noted, for `rcsops.server.location_writer` to write to the
database behind the answers.
"""

import heapq
from collections.abc import Iterable, Iterator

from rcsops.sip import Flow, NameAddr, Uri

__all__ = ["Binding", "LocationService", "contact_address", "contact_index"]


_REGISTRARS_OWN = frozenset({"expires", "pub-gruu", "temp-gruu"})


class Binding:
    """One contact of one address of record.

    ``expires`` is on the server's monotonic clock. ``flow`` is what its REGISTER came by, None when
    that was a connection of an earlier process. ``echo`` is what the registrar repeats of the
    Contact: address and parameters without ``expires``. ``outbound``: RFC 5626 applies, the
    contact is reached over ``flow`` and nothing else.
    """

    __slots__ = (
        "_uri",
        "address",
        "behind_nat",
        "call_id",
        "contact_id",
        "cseq",
        "echo",
        "expires",
        "flow",
        "instance",
        "modified",
        "outbound",
        "path",
        "q",
        "reg_id",
        "stored",
        "uri_text",
        "user_agent",
    )

    def __init__(
        self,
        address: str,
        uri_text: str,
        echo: str,
        *,
        expires: float,
        call_id: str,
        cseq: int,
        q: float = -1.0,
        path: tuple[str, ...] = (),
        flow: Flow | None = None,
        instance: str = "",
        reg_id: int = 0,
        outbound: bool = False,
        behind_nat: bool = False,
        user_agent: str = "",
        modified: float = 0.0,
        uri: Uri | None = None,
    ) -> None:
        self.contact_id = 0
        self.address = address
        self.uri_text = uri_text
        self.echo = echo
        self.expires = expires
        self.call_id = call_id
        self.cseq = cseq
        self.q = q
        self.path = path
        self.flow = flow
        self.instance = instance
        self.reg_id = reg_id
        self.outbound = outbound
        self.behind_nat = behind_nat
        self.user_agent = user_agent
        self.modified = modified
        self.stored = False
        self._uri = uri

    @property
    def uri(self) -> Uri:
        """The contact's URI."""
        if self._uri is None:
            self._uri = Uri.parse(self.uri_text)
        return self._uri

    @property
    def by_flow(self) -> bool:
        """Whether RFC 5626 applies: the contact is one flow of its device."""
        return self.outbound or bool(self.reg_id and self.path)

    @property
    def priority(self) -> float:
        """q, and 1 where none was given (RFC 3261 §20.10)."""
        return 1.0 if self.q < 0 else self.q

    def same_contact(self, other: "Binding") -> bool:
        """Whether ``other`` takes the place of this one.

        Two flows of one instance are one binding for each reg-id whatever their URIs say (RFC 5626
        §6); everything else goes by the comparison of URIs (RFC 3261 §10.3).
        """
        if self.by_flow and other.by_flow:
            return self.instance == other.instance and self.reg_id == other.reg_id
        if self.by_flow != other.by_flow and self.instance and self.instance != other.instance:
            return False
        return self.uri_text == other.uri_text or self.uri == other.uri


class LocationService:
    """The bindings of every local address of record (``user@domain``).

    Each change is noted in ``changed`` (by contact_id; None: removed) for who keeps the database.
    """

    def __init__(self, *, next_contact_id: int = 1) -> None:
        self._records: dict[str, list[Binding]] = {}
        self._by_contact: dict[str, Binding] = {}
        self._by_connection: dict[int, set[Binding]] = {}
        self._alarms: list[tuple[float, int, Binding]] = []
        self._ticks = 0
        self._next_id = next_contact_id
        self._count = 0
        self.expired = 0
        self.changed: dict[int, Binding | None] = {}

    @property
    def users(self) -> int:
        """How many addresses have a binding."""
        return len(self._records)

    @property
    def contacts(self) -> int:
        """How many bindings there are."""
        return self._count

    def records(self) -> Iterator[tuple[str, list[Binding]]]:
        """Every address of record with its bindings, sorted by address."""
        for address in sorted(self._records):
            yield address, self._records[address]

    def lookup(self, address: str) -> list[Binding]:
        """The bindings of an address, oldest first; not to be changed by the caller."""
        return self._records.get(address, [])

    def by_contact(self, uri: Uri) -> Binding | None:
        """The binding whose contact a URI names, whatever its parameters: for requests within a
        dialog, whose Request-URI is the contact that the peer gave."""
        return self._by_contact.get(contact_index(uri))

    def add(self, binding: Binding) -> None:
        """Adds a binding that takes no other's place."""
        if not binding.contact_id:
            binding.contact_id = self._next_id
            self._next_id += 1
        self._records.setdefault(binding.address, []).append(binding)
        self._count += 1
        self._note(binding)

    def replace(self, old: Binding, new: Binding) -> None:
        """Puts a binding in another's place."""
        new.contact_id = old.contact_id
        new.stored = old.stored
        bindings = self._records[old.address]
        bindings[bindings.index(old)] = new
        self._unindex(old)
        self._note(new)

    def remove(self, binding: Binding) -> bool:
        """Removes a binding; False when it is gone already."""
        bindings = self._records.get(binding.address)
        if bindings is None or binding not in bindings:
            return False
        bindings.remove(binding)
        if not bindings:
            del self._records[binding.address]
        self._count -= 1
        self._unindex(binding)
        if binding.stored:
            self.changed[binding.contact_id] = None
        else:
            self.changed.pop(binding.contact_id, None)
        return True

    def remove_flow(self, flow: Flow) -> int:
        """A connection is closed: removes the contacts that were reached over it and over nothing
        else (RFC 5626 §5.3.1); how many there were."""
        bindings = tuple(self._by_connection.get(flow.connection, ()))
        for binding in bindings:
            self.remove(binding)
        return len(bindings)

    def remove_address(self, address: str) -> int:
        """Removes every binding of an address; how many there were."""
        bindings = list(self.lookup(address))
        for binding in bindings:
            self.remove(binding)
        return len(bindings)

    def restore(self, bindings: Iterable[Binding]) -> None:
        """Takes what an earlier process left in the database; they come with their numbers."""
        for binding in bindings:
            binding.stored = True
            self._next_id = max(self._next_id, binding.contact_id + 1)
            self.add(binding)
            del self.changed[binding.contact_id]

    def expire(self, now: float) -> int:
        """Removes what has expired by ``now``; how many there were."""
        alarms = self._alarms
        removed = 0
        while alarms and alarms[0][0] <= now:
            _, _, binding = heapq.heappop(alarms)
            # A binding that was refreshed has an alarm of its own for its later end.
            if binding.expires <= now and self.remove(binding):
                removed += 1
        self.expired += removed
        return removed

    def _note(self, binding: Binding) -> None:
        self._ticks += 1
        heapq.heappush(self._alarms, (binding.expires, self._ticks, binding))
        if len(self._alarms) > 64 + 4 * self._count:
            # Numbered like the others: two alarms never come to compare their bindings.
            held = (each for bindings in self._records.values() for each in bindings)
            self._alarms = [
                (each.expires, number, each) for number, each in enumerate(held, self._ticks + 1)
            ]
            self._ticks += len(self._alarms)
            heapq.heapify(self._alarms)
        self._by_contact[contact_index(binding.uri)] = binding
        connection = _connection(binding)
        if connection:
            self._by_connection.setdefault(connection, set()).add(binding)
        self.changed[binding.contact_id] = binding

    def _unindex(self, binding: Binding) -> None:
        key = contact_index(binding.uri)
        if self._by_contact.get(key) is binding:
            del self._by_contact[key]
        connection = _connection(binding)
        if connection:
            held = self._by_connection.get(connection, set())
            held.discard(binding)
            if not held:
                self._by_connection.pop(connection, None)


def _connection(binding: Binding) -> int:
    """The connection that a contact lives and dies with, 0 for none."""
    return binding.flow.connection if binding.outbound and binding.flow is not None else 0


def contact_index(uri: Uri) -> str:
    """What is left of a contact when its parameters are taken away."""
    return f"{uri.user}@{uri.host}:{uri.port or 5060}"


def contact_address(address: NameAddr) -> str:
    """The Contact as the registrar repeats it: without what only the registrar says."""
    params = "".join(
        f";{name}" if value is None else f";{name}={value}"
        for name, value in address.params.items()
        if name not in _REGISTRARS_OWN
    )
    return f"<{address.uri_text}>{params}"
