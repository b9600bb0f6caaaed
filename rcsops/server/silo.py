"""Store and forward: a MESSAGE for a user who is away waits in the database (RFC 3428 §6).

It is committed before the 202 goes out, handed on when the user registers, one after the other in
the order in which they came, and leaves the table after the 200 of the recipient's device. Whatever
moment the server dies at, a message is in the table or with its recipient, or in both places; the
recipient knows a copy by its Message-ID.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from email.utils import formatdate
from weakref import ReferenceType, ref

from rcsops.database import silo as table
from rcsops.database.silo import StoredMessage
from rcsops.database.store import Store
from rcsops.errors import DatabaseError, RcsopsError
from rcsops.server.addresses import LocalNames
from rcsops.server.options import ServerOptions
from rcsops.server.response_context import Destination, ResponseContext
from rcsops.server.routing import Router, set_routes
from rcsops.server.silo_headers import kept_type, restore_type
from rcsops.server.statistics import Statistics
from rcsops.sip import NameAddr, Request, Response, ServerTransaction, Uri
from rcsops.transport import Alarm, SipEndpoint
from rcsops.transport.requester import send

__all__ = ["Silo"]

logger = logging.getLogger(__name__)

# The body is a BLOB, which MySQL bounds.
_MAX_BODY = 65535
# Not worth telling tomorrow.
_PASSING = "application/im-iscomposing+xml"
# A device that is registered and did not take its messages is tried again, ever more rarely.
_RETRY_SECONDS = 30.0
_RETRY_LONGEST = 1800.0
_SWEEP_SECONDS = 60.0
# At once, for how many users.
_MAX_DELIVERIES = 100
# After these answers the device will not take the next message either.
_NOT_NOW = frozenset({408, 430, 480, 486})

Account = tuple[str, str]
Keep = Callable[[ServerTransaction], None]
Reach = Callable[[Uri], list[list[Destination]]]


class Silo:
    """The messages that wait, and their way to who registers.

    ``reach(uri)`` gives the contacts of a user.
    """

    def __init__(
        self,
        endpoint: SipEndpoint,
        store: Store,
        router: Router,
        names: LocalNames,
        options: ServerOptions,
        statistics: Statistics,
        reach: Reach,
    ) -> None:
        self._endpoint = endpoint
        self._store = store
        self._router = router
        self._names = names
        self._options = options
        self._counts = statistics.counts
        self._reach_uri = reach
        self._loop = asyncio.get_running_loop()
        self._accounts: set[Account] = set()
        self._running: dict[Account, asyncio.Task[None]] = {}
        self._again: set[Account] = set()
        self._retries: dict[Account, tuple[asyncio.TimerHandle, float]] = {}
        self._turns = asyncio.Semaphore(_MAX_DELIVERIES)
        # Weakly: what has been answered need not be kept for it.
        self._watched: deque[tuple[float, ReferenceType[ResponseContext]]] = deque()
        self._alarm = Alarm()
        self._swept = 0.0
        self._closed = False

    async def load(self) -> int:
        """Learns who is waited for, and tries those who are registered. Raises DatabaseError."""
        for account in await self._store.read(table.addresses):
            self._accounts.add(account)
            self._deliver(account)
        return len(self._accounts)

    def close(self) -> None:
        """Delivers nothing more; what was under way stays in the table."""
        self._closed = True
        self._alarm.cancel()
        for handle, _ in self._retries.values():
            handle.cancel()
        for task in self._running.values():
            task.cancel()

    def sweep(self, now: float) -> None:
        """Removes what has expired, now and then."""
        if now - self._swept < _SWEEP_SECONDS:
            return
        self._swept = now
        wall = int(time.time())
        self._store.post(lambda connection: table.remove_expired(connection, wall))

    def waiting(self) -> int:
        """For how many users there are messages, as far as is known in memory."""
        return len(self._accounts)

    # --- storing -----------------------------------------------------------------------------

    def keeper(self, request: Request, user: str, domain: str) -> Keep | None:
        """What stores a request of ``user`` that came now, should whom it is for prove to be away.

        None for what is not stored: only a MESSAGE to a user of ours is, outside of a dialog.
        """
        uri = request.request_uri
        if request.method != "MESSAGE" or request.to_tag is not None:
            return None
        if uri.scheme != "sip" or "gr" in uri.params:
            # Meant for a way, or for a device, that another time need not have.
            return None
        account = self._account(uri)
        kind = (request.get("Content-Type") or "").partition(";")[0].strip().lower()
        if account is None or kind == _PASSING:
            return None
        since = self._endpoint.now
        sender = Uri("sip", user, domain)

        def keep(transaction: ServerTransaction) -> None:
            self._keep(transaction, request, sender, account, since)

        return keep

    def watch(self, transaction: ServerTransaction) -> None:
        """A MESSAGE is on its way: if no device has answered in time, it is stored.

        The sender's transaction ends with that of the device, or a little before; an answer that
        is given then comes too late. A device that answers after all has a copy.
        """
        context = transaction.context
        if not isinstance(context, ResponseContext):
            return
        self._watched.append((self._endpoint.now + self._options.offline_after, ref(context)))
        if len(self._watched) == 1:
            self._alarm.set(self._watched[0][0], self._overdue)

    def _overdue(self) -> None:
        watched = self._watched
        while watched and watched[0][0] <= self._endpoint.now:
            context = watched.popleft()[1]()
            if context is None or context.went or context.keep is None:
                continue
            context.answer()
            context.keep(context.server)
        self._alarm.set(watched[0][0] if watched else None, self._overdue)

    def is_delivering(self, uri: Uri) -> bool:
        """Whether older messages are on their way to a user, which a new one must not overtake."""
        return self._account(uri) in self._running

    def _account(self, uri: Uri) -> Account | None:
        domain = self._names.domain_of(uri)
        return (uri.username, domain) if domain and uri.user else None

    def _keep(
        self,
        transaction: ServerTransaction,
        request: Request,
        sender: Uri,
        account: Account,
        since: float,
    ) -> None:
        if len(request.body) > _MAX_BODY:
            self._answer(transaction, 513)
            return
        user, domain = account
        now = int(time.time())
        lifetime = self._options.offline_expires
        asked = (request.get("Expires") or "").strip()
        if asked.isascii() and asked.isdigit() and len(asked) < 10:
            lifetime = min(lifetime, int(asked))
        message = StoredMessage(
            src_addr=sender.aor,
            dst_addr=Uri("sip", user, domain).aor,
            username=user,
            domain=domain,
            inc_time=now,
            exp_time=now + lifetime,
            ctype=kept_type(request),
            body=request.body,
        )
        most = self._options.offline_messages
        future = self._store.submit(lambda connection: table.add(connection, message, most=most))

        def kept(done: "Future[bool]") -> None:
            # In the store's thread.
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._kept, done, transaction, account, since)

        future.add_done_callback(kept)

    def _kept(
        self, done: "Future[bool]", transaction: ServerTransaction, account: Account, since: float
    ) -> None:
        if self._closed:
            return
        error = done.exception()
        if error is not None:
            logger.error("a message for %s@%s was not stored: %s", *account, error)
            self._answer(transaction, 500, "Database Failure")
        elif not done.result():
            self._answer(transaction, 486, "Too Many Messages Wait")
        else:
            self._counts["msilo:stored_messages"] += 1
            self._accounts.add(account)
            self._answer(transaction, 202)
            # Who registered meanwhile must not wait for the next time.
            came = any(_modified(each) >= since for each in self._reach(account))
            if came or account in self._running:
                self._deliver(account)

    def _answer(self, transaction: ServerTransaction, status: int, reason: str = "") -> None:
        tag = self._endpoint.tokens.tag()
        response = Response.to_request(transaction.request, status, reason, tag)
        self._endpoint.respond(transaction, response)

    # --- delivering --------------------------------------------------------------------------

    def registered(self, user: str, domain: str) -> None:
        """A user has a contact, anew or again."""
        account = (user, domain)
        if account in self._accounts:
            self._forget_retry(account)
            self._deliver(account)

    def _deliver(self, account: Account) -> None:
        if self._closed or account not in self._accounts:
            return
        if account in self._running:
            self._again.add(account)
            return
        task = self._loop.create_task(self._run(account))
        self._running[account] = task
        task.add_done_callback(lambda done: self._ended(account, done))

    def _ended(self, account: Account, task: "asyncio.Task[None]") -> None:
        self._running.pop(account, None)
        if task.cancelled() or self._closed:
            return
        error = task.exception()
        if error is not None:
            logger.error("messages for %s@%s were not delivered", *account, exc_info=error)
        if account in self._again:
            self._again.discard(account)
            self._deliver(account)

    async def _run(self, account: Account) -> None:
        async with self._turns:
            while True:
                self._again.discard(account)
                try:
                    done = await self._hand_over(account)
                except DatabaseError as error:
                    logger.error("messages for %s@%s wait: %s", *account, error)
                    done = False
                if not done:
                    self._retry_later(account)
                    return
                if account not in self._again:
                    return

    async def _hand_over(self, account: Account) -> bool:
        """Sends what waits; False when the rest had better wait for another time."""
        after, left = 0, False
        while self._reach(account):
            now = int(time.time())
            start = after
            rows = await self._store.read(
                lambda connection, now=now, start=start: table.waiting(  # type: ignore[misc]
                    connection, *account, now=now, after=start
                )
            )
            if not rows:
                if not left and account not in self._again:
                    self._accounts.discard(account)
                return True
            for message in rows:
                status = await self._send(account, message)
                after = message.id
                if 200 <= status < 300:
                    number = message.id
                    await self._store.run(lambda connection, n=number: table.remove(connection, n))  # type: ignore[misc]
                    self._counts["msilo:dumped_messages"] += 1
                    continue
                self._counts["msilo:failed_messages"] += 1
                if status in _NOT_NOW or status >= 500:
                    return False
                # Refused for what it is; those behind it are not held up by it.
                left = True
                logger.info("a stored message for %s@%s was refused: %d", *account, status)
        # Gone again before everything was handed over.
        return True

    async def _send(self, account: Account, message: StoredMessage) -> int:
        """One message, to the first contact that takes it; the status of the last answer."""
        status = 480
        for destination in self._reach(account):
            request = self._request(message, destination)
            try:
                set_routes(request, destination.routes)
                target = self._router.target(destination)
                targets = await self._router.resolve(destination) if target is None else [target]
                response = await send(self._endpoint, request, targets)
            except RcsopsError as error:
                logger.info("a stored message did not reach %s@%s: %s", *account, error)
                continue
            status = response.status
            if status < 300:
                break
        return status

    def _request(self, message: StoredMessage, destination: Destination) -> Request:
        tokens = self._endpoint.tokens
        sender = NameAddr.parse(f"<{message.src_addr}>")
        content_type, headers = restore_type(message.ctype)
        request = Request(
            "MESSAGE",
            destination.uri,
            [
                ("Max-Forwards", "70"),
                ("From", str(sender.with_param("tag", tokens.tag()))),
                ("To", f"<{message.dst_addr}>"),
                ("Call-ID", tokens.call_id()),
                ("CSeq", "1 MESSAGE"),
                ("Date", formatdate(message.inc_time, usegmt=True)),
                ("P-Asserted-Identity", str(sender)),
                *headers,
            ],
        )
        request.set_body(message.body, content_type)
        return request

    def _reach(self, account: Account) -> list[Destination]:
        """The devices of a user, the one that registered last before the others."""
        found = [each for group in self._reach_uri(Uri("sip", *account)) for each in group]
        return sorted(found, key=_modified, reverse=True)

    def _retry_later(self, account: Account) -> None:
        """The device is registered and did not take its messages."""
        if self._closed or not self._reach(account):
            return
        _, last = self._retries.get(account, (None, 0.0))
        delay = min(max(_RETRY_SECONDS, last * 2), _RETRY_LONGEST)

        def again() -> None:
            self._deliver(account)

        self._retries[account] = (self._loop.call_later(delay, again), delay)

    def _forget_retry(self, account: Account) -> None:
        handle, _ = self._retries.pop(account, (None, 0.0))
        if handle is not None:
            handle.cancel()


def _modified(destination: Destination) -> float:
    return 0.0 if destination.binding is None else destination.binding.modified
