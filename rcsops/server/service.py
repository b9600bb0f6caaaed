"""The whole server: sockets, database, core and MI put together, and taken apart again."""

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import Callable
from pathlib import Path

from rcsops.database import SubscriberCache, check_tables
from rcsops.database.store import Store
from rcsops.errors import EngineError, LocalProtocolError, SettingsError
from rcsops.server.accounts import Accounts
from rcsops.server.addresses import LocalNames
from rcsops.server.auth import Authenticator, offered_algorithms
from rcsops.server.core import ServerCore
from rcsops.server.dialog_token import DialogTokens
from rcsops.server.flow_token import FlowTokens
from rcsops.server.gruu import Gruus
from rcsops.server.guard import Guard, GuardLimits
from rcsops.server.live_tap import LiveTap
from rcsops.server.location import LocationService
from rcsops.server.location_writer import LocationWriter
from rcsops.server.loops import LoopMarks
from rcsops.server.mi import MiDispatcher
from rcsops.server.mi_commands import MiCommands
from rcsops.server.mi_datagram import MiDatagram
from rcsops.server.mi_fifo import MiFifo
from rcsops.server.options import ServerOptions
from rcsops.server.overload import INTERVAL, OverloadControl
from rcsops.server.run_files import RunFiles
from rcsops.server.screening import Screen
from rcsops.server.statistics import Statistics
from rcsops.settings import Limits, Listen, Settings
from rcsops.sip import DigestServer, Event, Flow, SipParseError, Timers
from rcsops.transport import EndpointLimits, SipEndpoint, Tap, Tls, TlsOptions, system_tokens
from rcsops.transport.ports import cannot_listen

__all__ = ["Server"]

logger = logging.getLogger(__name__)

_MI_DRAIN_SECONDS = 1.0
_CLOSE_SECONDS = 10.0


class Server:
    """One embedded server.

    ``await start()`` and it serves until ``await stop()``; ``wait()`` returns when it is asked to
    end, over MI or by `ask_to_stop`. ``files`` may be None: then there is no MI. Make it inside a
    running loop. ``read_settings`` reads the project's file anew, for ``domain_reload``.
    """

    def __init__(
        self,
        settings: Settings,
        files: RunFiles | None,
        *,
        secret: bytes,
        options: ServerOptions | None = None,
        tap: Tap | None = None,
        timers: Timers | None = None,
        read_settings: Callable[[], Settings] | None = None,
        tls: TlsOptions | None = None,
    ) -> None:
        self._settings = settings
        self._files = files
        self._secret = secret
        self._read_settings = read_settings
        self._options = options or ServerOptions()
        self._ended = asyncio.Event()
        self.statistics = Statistics()
        self.location = LocationService()
        self.names = LocalNames(settings.domain, ())
        limits = settings.limits
        self._fraction = system_tokens().fraction
        self.overload = OverloadControl(limits.queue_milliseconds / 1000, self._fraction)
        self._messages = 0
        self._ticker: asyncio.TimerHandle | None = None
        self.guard = Guard(GuardLimits.of(limits))
        self.endpoint = SipEndpoint(
            limits=endpoint_limits(limits),
            on_wait=self._waited,
            on_event=self._event,
            on_bad_message=self._bad_message,
            on_flow_closed=self._flow_closed,
            tap=tap,
            timers=timers,
            nameservers=settings.dns,
            tls=Tls(tls),
            origins=settings.ws_origins,
        )
        self.endpoint.layer.max_transactions = limits.transactions
        self._core: ServerCore | None = None
        self._store: Store | None = None
        self._writer: LocationWriter | None = None
        self._fifo: MiFifo | None = None
        self._datagram: MiDatagram | None = None
        self._live: LiveTap | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._started = time.time()

    @property
    def listeners(self) -> list[str]:
        """Where it listens: ``udp:127.0.0.1:5060``."""
        return [str(address) for address in self.endpoint.addresses]

    async def start(self) -> None:
        """Opens the database, then the sockets, then MI; raises `EngineError` or `DatabaseError`
        that says what is in the way."""
        loop = asyncio.get_running_loop()
        settings = self._settings
        url = settings.database_url
        self._store = await asyncio.to_thread(Store.open, url, prepare=check_tables)
        self._writer = LocationWriter(
            self.location,
            self._store,
            now=loop.time,
            call_soon=loop.call_soon_threadsafe,
        )
        restored = await self._writer.load()
        await self._listen(settings.listen_addresses)
        self._core = self._make_core(self._store)
        await self._core.silo.load()
        self._gauges()
        if self._files is not None:
            self._open_mi(self._files)
        self._sweep()
        self._screen = Screen(
            self._secret,
            lambda credentials: self.overload.refuses(credentials=credentials),
            self.endpoint.layer.has_server,
            self._retry_after,
        )
        self._tick(loop.time())
        # What is here now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        logger.info("listening at %s, %d contacts restored", ", ".join(self.listeners), restored)

    def ask_to_stop(self) -> None:
        """Lets `wait` return."""
        self._ended.set()

    async def wait(self) -> None:
        """Returns when somebody asked the server to stop."""
        await self._ended.wait()

    async def stop(self) -> None:
        """Stops taking requests, writes what is unwritten, closes everything."""
        for timer in (self._sweeper, self._ticker):
            if timer is not None:
                timer.cancel()
        if self._fifo is not None:
            await self._fifo.drain(_MI_DRAIN_SECONDS)
        if self._core is not None:
            self._core.close()
        await self.endpoint.close()
        if self._live is not None:
            self._live.close()
        if self._writer is not None:
            last = self._writer.flush()
            if last is not None:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await asyncio.wrap_future(last)
        if self._store is not None:
            await asyncio.to_thread(self._store.close)
        for served in (self._fifo, self._datagram):
            if served is not None:
                served.close()
        logger.info("ended")

    # --- parts ---------------------------------------------------------------------------------

    async def _listen(self, addresses: tuple[Listen, ...]) -> None:
        wanted = list(addresses)
        while wanted:
            address = wanted.pop(0)
            other = "tcp" if address.transport == "udp" else "udp"
            twin = address._replace(transport=other)
            try:
                if address.port == 0 and twin in wanted:
                    # Any free port means one port for both.
                    wanted.remove(twin)
                    await self.endpoint.listen_pair(address.host, 0)
                else:
                    await self.endpoint.listen(address.transport, address.host, address.port)
            except OSError as error:
                raise cannot_listen(address, error) from error
            except LocalProtocolError as error:
                raise EngineError(
                    f"cannot listen at {address}: {error}",
                    hint="mend `listen` in rcsops.toml",
                ) from error
            except SettingsError as error:
                raise EngineError(
                    f"cannot listen at {address}: {error}", hint=error.hint
                ) from error

    def _make_core(self, store: Store) -> ServerCore:
        settings, options = self._settings, self._options
        cache = SubscriberCache(store)
        allowed = offered_algorithms(settings)
        accounts = Accounts(cache, allowed)

        def make_digest(realm: str) -> DigestServer:
            return DigestServer(
                realm,
                self._secret,
                self.endpoint.tokens,
                algorithms=allowed,
                nonce_lifetime=options.nonce_lifetime,
            )

        self.names = LocalNames(
            settings.domain,
            self.endpoint.addresses,
            domains=settings.domains,
            aliases=settings.aliases,
        )
        return ServerCore(
            self.endpoint,
            names=self.names,
            accounts=accounts,
            authenticator=Authenticator(make_digest, accounts, self.statistics, self.guard),
            guard=self.guard,
            location=self.location,
            dialog_tokens=DialogTokens(self._secret),
            flow_tokens=FlowTokens(self._secret, self.endpoint.tokens.nonce().encode()),
            gruus=Gruus(self._secret, self.endpoint.tokens),
            loop_marks=LoopMarks(self._secret),
            options=options,
            statistics=self.statistics,
            overload=self.overload,
            store=store,
        )

    def _reload_domains(self) -> None:
        assert self._read_settings is not None
        settings = self._read_settings()
        self.names.set_names(settings.domains, settings.aliases)
        logger.info("domains: %s", ", ".join((*self.names.domains, *self.names.aliases)))

    def _open_mi(self, files: RunFiles) -> None:
        dispatcher = MiDispatcher()
        self._live = LiveTap(self.endpoint, files.directory)
        MiCommands(
            dispatcher,
            endpoint=self.endpoint,
            location=self.location,
            statistics=self.statistics,
            names=self.names,
            guard=self.guard,
            stop=self.ask_to_stop,
            reload_domains=self._reload_domains if self._read_settings else None,
            live=self._live,
        )
        try:
            # /tmp is where clients put their reply FIFO unless they are told otherwise.
            self._fifo = MiFifo(
                dispatcher,
                files.fifo,
                reply_dirs=(files.directory, Path("/tmp")),  # noqa: S108
            )
            self._datagram = MiDatagram(dispatcher, files.socket, fifo=files.fifo)
        except OSError as error:
            raise EngineError(
                f"cannot open MI in {files.directory}: {error.strerror or error}"
            ) from error

    def _gauges(self) -> None:
        gauge = self.statistics.gauge
        location, endpoint = self.location, self.endpoint
        gauge("usrloc:registered_users", lambda: location.users)
        gauge("usrloc:location-users", lambda: location.users)
        gauge("usrloc:location-contacts", lambda: location.contacts)
        gauge("tm:inuse_transactions", lambda: len(endpoint.layer))
        gauge("core:timestamp", lambda: int(time.time() - self._started))
        gauge("net:tcp_connections", lambda: len(endpoint.connections))
        gauge("net:failed_handshakes", lambda: endpoint.statistics.failed_handshakes)
        gauge("net:bad_datagrams", lambda: endpoint.statistics.bad_datagrams)
        gauge("net:dropped_datagrams", lambda: endpoint.statistics.dropped_datagrams)
        gauge("overload:refused", lambda: self.overload.refused)
        gauge("overload:pressure", lambda: round(100 * self.overload.pressure))
        gauge("limits:banned", lambda: len(self.guard.bans(endpoint.now)))
        gauge("registrar:max_expires", lambda: self._options.max_expires)
        gauge("registrar:default_expire", lambda: self._options.default_expires)
        gauge("registrar:max_contacts", lambda: self._options.max_contacts)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        expired = self.location.expire(loop.time())
        self.statistics.counts["usrloc:location-expires"] += expired
        if self._writer is not None:
            self._writer.flush()
        if self._core is not None:
            self._core.silo.sweep(loop.time())
        self._sweeper = loop.call_later(self._options.flush_seconds, self._sweep)

    def _waited(self, seconds: float, lost: int) -> None:
        self.overload.waited(seconds)
        if lost:
            self.overload.lost(lost)

    def _tick(self, due: float) -> None:
        """Every tenth of a second: is there more than can be done?"""
        loop = asyncio.get_running_loop()
        overload, now = self.overload, loop.time()
        total = self.endpoint.statistics.received
        was = overload.active
        overload.tick(now - due, total - self._messages)
        self._messages = total
        if overload.active is not was:
            self.endpoint.screen = self._screen if overload.active else None
            if overload.active:
                logger.warning("overload: new requests are answered 503 now and then")
            else:
                logger.info("overload is over; %d requests were refused so far", overload.refused)
        self._ticker = loop.call_at(now + INTERVAL, self._tick, now + INTERVAL)

    def _retry_after(self) -> int:
        # Not all of them at the same moment.
        least = self._options.retry_after
        return least + int(self._fraction() * (least + 1))

    # --- events --------------------------------------------------------------------------------

    def _event(self, event: Event) -> None:
        if self._core is not None:
            self._core.event(event)

    def _bad_message(self, error: SipParseError, flow: Flow) -> None:
        if self._core is not None:
            self._core.bad_message(error, flow)

    def _flow_closed(self, flow: Flow, error: str) -> None:
        if self._core is not None:
            self._core.flow_closed(flow)


def endpoint_limits(limits: Limits) -> EndpointLimits:
    """What the sockets of a server with these limits allow."""
    return EndpointLimits(
        max_connections=limits.connections,
        max_connections_per_source=limits.connections_per_source,
        idle_seconds=limits.idle_seconds,
        message_seconds=limits.message_seconds,
        max_head=limits.head,
        # What is a little too large is answered, not cut off.
        max_body=2 * limits.body,
    )
