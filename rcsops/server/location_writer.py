"""Keeps the table ``location`` in step with the location service, behind the answers.

REGISTER is answered from memory; once a second what has changed goes to the database in one
transaction. A crash loses that second at most, and the clients' next refresh mends it.
"""

import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime

from sqlalchemy import Connection

from rcsops.database import locations
from rcsops.database.locations import ContactRow
from rcsops.database.store import Store
from rcsops.errors import SipParseError
from rcsops.server.location import Binding, LocationService
from rcsops.sip import Flow, Uri

__all__ = ["LocationWriter", "binding_of", "row_of"]

logger = logging.getLogger(__name__)

_NO_EXTRAS = ("", 0, False, False)


class LocationWriter:
    """Moves changes of ``service`` into ``store``.

    ``now`` is the clock of the bindings, ``wall`` Unix time. ``call_soon`` runs a function in the
    server's thread.
    """

    def __init__(
        self,
        service: LocationService,
        store: Store,
        *,
        now: Callable[[], float],
        call_soon: Callable[[Callable[[], None]], object],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._service = service
        self._store = store
        self._now = now
        self._wall = wall
        self._call_soon = call_soon

    async def load(self) -> int:
        """Restores what has not expired; how many there were. Raises `DatabaseError`."""
        wall, now = self._wall(), self._now()

        def read(connection: Connection) -> list[ContactRow]:
            return locations.load_all(connection, now=int(wall))

        bindings = []
        for row in await self._store.read(read):
            try:
                bindings.append(binding_of(row, now - wall))
            except SipParseError as error:
                logger.warning("a stored contact of %s was left out: %s", row.username, error)
        self._service.restore(bindings)
        clean = int(wall)
        self._store.post(lambda connection: locations.remove_expired(connection, clean))
        return len(bindings)

    def flush(self) -> "Future[None] | None":
        """Hands the changes to the store; None when there were none."""
        changed = self._service.changed
        if not changed:
            return None
        self._service.changed = {}
        offset = self._wall() - self._now()
        rows = []
        removed = []
        for contact_id, binding in changed.items():
            if binding is None:
                removed.append(contact_id)
            else:
                binding.stored = True
                rows.append(row_of(binding, offset))

        def write(connection: Connection) -> None:
            locations.remove(connection, removed)
            locations.save(connection, rows)

        future = self._store.submit(write)
        future.add_done_callback(lambda done: self._written(done, changed))
        return future

    def _written(self, future: "Future[None]", changed: dict[int, Binding | None]) -> None:
        if future.cancelled() or future.exception() is None:
            return
        logger.error("contacts could not be stored: %s", future.exception())
        try:
            self._call_soon(lambda: self._again(changed))
        except RuntimeError:
            logger.error("%d changes of contacts are lost at the stop", len(changed))

    def _again(self, changed: dict[int, Binding | None]) -> None:
        # What changed since then is newer.
        self._service.changed = {**changed, **self._service.changed}


def row_of(binding: Binding, offset: float) -> ContactRow:
    """A binding as a row; ``offset`` is Unix time minus the bindings' clock."""
    username, _, domain = binding.address.rpartition("@")
    flow = binding.flow
    extras = (binding.echo.partition(">")[2], binding.reg_id, binding.outbound, binding.behind_nat)
    return ContactRow(
        contact_id=binding.contact_id,
        username=username,
        domain=domain,
        contact=binding.uri_text,
        expires=round(binding.expires + offset),
        received=None if flow is None else _flow_uri(flow),
        path=",".join(f"<{uri}>" for uri in binding.path) or None,
        q=binding.q,
        callid=binding.call_id,
        cseq=binding.cseq,
        last_modified=_time(binding.modified + offset),
        user_agent=binding.user_agent[:255],
        socket=None if flow is None else f"{flow.transport}:{_host_port(flow.local)}",
        sip_instance=binding.instance or None,
        kv_store=None if extras == _NO_EXTRAS else json.dumps(extras),
    )


def binding_of(row: ContactRow, offset: float) -> Binding:
    """A row as a binding; ``offset`` is the bindings' clock minus Unix time.

    Raises SipParseError.
    """
    params, reg_id, outbound, behind_nat = _extras(row.kv_store)
    binding = Binding(
        f"{row.username}@{row.domain or ''}",
        row.contact,
        f"<{row.contact}>{params}",
        expires=row.expires + offset,
        call_id=row.callid,
        cseq=row.cseq,
        q=row.q,
        path=tuple(uri.strip(" <>") for uri in row.path.split(",")) if row.path else (),
        flow=_flow(row),
        instance=row.sip_instance or "",
        reg_id=reg_id,
        outbound=outbound,
        behind_nat=behind_nat,
        user_agent=row.user_agent,
        modified=row.last_modified.replace(tzinfo=UTC).timestamp() + offset,
        uri=Uri.parse(row.contact),
    )
    binding.contact_id = row.contact_id
    return binding


def _extras(text: str | None) -> tuple[str, int, bool, bool]:
    try:
        params, reg_id, outbound, behind_nat = json.loads(text or "[]")
        return str(params), int(reg_id), bool(outbound), bool(behind_nat)
    except (ValueError, TypeError):
        return _NO_EXTRAS


def _flow(row: ContactRow) -> Flow | None:
    """The flow of a UDP contact; a connection did not outlive the process that had it."""
    if not row.received or not row.socket or not row.socket.startswith("udp:"):
        return None
    remote = Uri.parse(row.received)
    local = Uri.parse(f"sip:{row.socket[4:]}")
    return Flow("udp", (local.host, local.port or 5060), (remote.host, remote.port or 5060))


def _flow_uri(flow: Flow) -> str:
    suffix = "" if flow.transport == "udp" else f";transport={flow.transport}"
    return f"sip:{_host_port(flow.remote)}{suffix}"


def _host_port(address: tuple[str, int]) -> str:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"


def _time(unix: float) -> datetime:
    return datetime.fromtimestamp(int(unix), UTC).replace(tzinfo=None)
