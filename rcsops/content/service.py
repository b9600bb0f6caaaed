"""The content server: what it listens at, and which request goes where.

    POST /ft                                upload; without a body: may I? (204)
    GET  /ft?tid=T&get_upload_info          how much of an upload has come
    GET  /ft?tid=T&get_download_info        where the file is, once it is whole
    PUT  /ft/u/TOKEN                        the rest of an upload
    GET  /ft/d/TOKEN, /ft/t/TOKEN           a file, and its thumbnail (and HEAD)

The users of a further domain of the SIP server upload at /ft/DOMAIN.
"""

import asyncio
import logging
import re
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestHandler

from rcsops.content.auth import ContentAuth
from rcsops.content.downloads import SAFE_HEADERS, send_file
from rcsops.content.store import ContentStore, Entry, Refused
from rcsops.content.uploads import Uploads
from rcsops.errors import DatabaseError
from rcsops.rcs.fthttp import (
    CONTENT_TYPE,
    FileInfo,
    ResumeInfo,
    StoredFile,
    make_file_info,
    make_resume_info,
)
from rcsops.settings import CONTENT_PATH, Content
from rcsops.transport.ports import cannot_listen

__all__ = ["ContentServer"]

logger = logging.getLogger(__name__)

_PLACE = re.compile(rf"{CONTENT_PATH}/([udt])/([A-Za-z0-9_\-]{{43}})")
_SWEEP_SECONDS = 30.0
_LINGER_SECONDS = 2.0
_HANDSHAKE_SECONDS = 10.0
_DRAIN_SECONDS = 3.0
_RETRY_SECONDS = 5
_PER_SOURCE = 64
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)


class ContentServer:
    """One content server; made inside a running loop. ``domains``: the main one first."""

    def __init__(
        self,
        settings: Content,
        domains: tuple[str, ...],
        store: ContentStore,
        auth: ContentAuth,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._auth = auth
        self._tls = tls
        paths = {f"{CONTENT_PATH}/{domain}": domain for domain in domains}
        self._domains = {CONTENT_PATH: domains[0]} | paths
        loop = asyncio.get_running_loop()
        self._uploads = Uploads(store, settings, loop.time)
        self._http = web.Server(
            self._handle,
            access_log=None,
            keepalive_timeout=settings.idle_seconds,
            lingering_time=_LINGER_SECONDS,
            auto_decompress=False,
        )
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def listens(self) -> str:
        """Where it listens: ``http:127.0.0.1:8080``."""
        address = self._settings.address
        port = address.port
        if self._server is not None:
            port = self._server.sockets[0].getsockname()[1]
        return str(address._replace(port=port))

    async def start(self) -> None:
        """Listens; raises `EngineError` when that address cannot be had."""
        address = self._settings.address
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._admit,
                address.host,
                address.port,
                ssl=self._tls,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS if self._tls is not None else None,
            )
        except OSError as error:
            raise cannot_listen(address, error, key="content.listen") from error
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Takes no more requests, and gives those under way a moment."""
        if self._server is not None:
            self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._http.pre_shutdown()
        await self._http.shutdown(_DRAIN_SECONDS)

    # --- connections ---------------------------------------------------------------------------

    def _admit(self) -> asyncio.Protocol:
        return _Gate(self._http, self._has_room)

    def _has_room(self, source: str) -> bool:
        connections = self._http.connections
        if len(connections) >= self._settings.connections:
            return False
        return sum(_host(each.peername) == source for each in connections) < _PER_SOURCE

    async def _sweep(self) -> None:
        while True:
            try:
                gone = await self._store.sweep(time.time())
                if gone:
                    logger.info("%d files have expired", gone)
            except DatabaseError as error:
                logger.error("%s", error)
            await asyncio.sleep(min(_SWEEP_SECONDS, self._settings.expires))

    # --- requests ------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        source = _host(request.transport.get_extra_info("peername") if request.transport else None)
        try:
            if not self._auth.admits(source):
                raise Refused(429, "too many requests, or wrong passwords", _RETRY_SECONDS)
            response = await self._route(request, source)
        except Refused as refused:
            response = _refusal(refused)
        except (TimeoutError, ConnectionError):
            if request.transport is not None and request.method in ("GET", "HEAD"):
                # The headers are gone: all that can be said is that it ends here.
                request.transport.abort()
            response = _refusal(Refused(408, "too slow, or gone"))
            response.force_close()
        except DatabaseError as error:
            logger.error("%s", error)
            response = _refusal(Refused(503, "try again", _RETRY_SECONDS))
        if request.can_read_body and not request.content.at_eof():
            response.force_close()
        logger.info(
            "%s %s from %s: %d", request.method, _without_secrets(request), source, response.status
        )
        return response

    async def _route(self, request: web.BaseRequest, source: str) -> web.StreamResponse:
        path = request.rel_url.raw_path
        match = _PLACE.fullmatch(path)
        if match is not None:
            kind, token = match.groups()
            _allow(request, *(("PUT",) if kind == "u" else ("GET", "HEAD")))
            return await self._transfer(request, source, kind, token)
        domain = self._domains.get(path)
        if domain is None:
            raise Refused(404, "there is nothing here")
        _allow(request, "POST", "GET")
        user = await self._user(request, source, domain)
        if isinstance(user, web.Response):
            return user
        if request.method == "GET":
            return await self._info(request, user)
        if not request.body_exists or request.content_length == 0:
            return web.Response(status=204, headers=SAFE_HEADERS)
        entry = await self._uploads.form(request, user)
        logger.info("%s uploaded %d, %d octets", user, entry.id, entry.size)
        return self._file_info(entry)

    async def _transfer(
        self, request: web.BaseRequest, source: str, kind: str, token: str
    ) -> web.StreamResponse:
        entry = await self._store.by_token(token)
        if entry is None or (kind == "t" and not entry.thumbnail_type):
            raise Refused(404, "there is no such file")
        if entry.expires <= time.time():
            raise Refused(410, "the file has expired")
        if kind == "u" or self._settings.downloads == "digest":
            user = await self._user(request, source, entry.owner.rpartition("@")[2])
            if isinstance(user, web.Response):
                return user
            if kind == "u":
                if user != entry.owner:
                    raise Refused(403, "that upload is another user's")
                entry = await self._uploads.rest(request, entry)
                logger.info("%s uploaded the rest of %d", user, entry.id)
                return self._file_info(entry)
        if not entry.whole:
            raise Refused(404, "there is no such file")
        is_thumbnail = kind == "t"
        store = self._store
        path = store.thumbnail_path(entry.id) if is_thumbnail else store.path(entry.id)
        return await send_file(
            request,
            entry,
            path,
            thumbnail=is_thumbnail,
            idle_seconds=self._settings.idle_seconds,
        )

    async def _info(self, request: web.BaseRequest, user: str) -> web.Response:
        query = request.rel_url.query
        tid = query.get("tid", "")
        if not tid or ("get_upload_info" in query) == ("get_download_info" in query):
            raise Refused(400, "ask with tid, and get_upload_info or get_download_info")
        if "get_upload_info" in query:
            await self._uploads.interrupt(user, tid)
        entry = await self._store.by_tid(user, tid)
        if entry is None or entry.expires <= time.time():
            raise Refused(404, "there is no such transfer")
        if "get_download_info" in query:
            if not entry.whole:
                raise Refused(404, "that transfer is not whole")
            return self._file_info(entry)
        received = self._store.received(entry)
        if not received:
            raise Refused(404, "nothing of that transfer is here")
        document = make_resume_info(ResumeInfo(0, received - 1, self._url("u", entry)))
        return web.Response(body=document, headers=SAFE_HEADERS, content_type="application/xml")

    async def _user(
        self, request: web.BaseRequest, source: str, domain: str
    ) -> "str | web.Response":
        """Who asks; or the challenge to prove it."""
        judgement = await self._auth.judge(
            request.method,
            request.raw_path,
            request.headers.get(hdrs.AUTHORIZATION, ""),
            domain,
            source,
        )
        if judgement.user:
            return judgement.user
        if judgement.status != 401:
            raise Refused(judgement.status, "the credentials cannot be read")
        response = web.Response(status=401, headers=SAFE_HEADERS)
        for challenge in judgement.challenges:
            response.headers.add(hdrs.WWW_AUTHENTICATE, challenge)
        return response

    def _file_info(self, entry: Entry) -> web.Response:
        until = datetime.fromtimestamp(entry.expires, UTC).replace(microsecond=0)
        thumbnail = None
        if entry.thumbnail_type:
            thumbnail = StoredFile(
                self._url("t", entry), entry.thumbnail_size, entry.thumbnail_type, until
            )
        file = StoredFile(self._url("d", entry), entry.size, entry.content_type, until)
        document = make_file_info(FileInfo(file, entry.name, thumbnail))
        return web.Response(body=document, headers=SAFE_HEADERS, content_type=CONTENT_TYPE)

    def _url(self, kind: str, entry: Entry) -> str:
        return f"{self._settings.base_url}{CONTENT_PATH}/{kind}/{entry.token}"


class _Gate(asyncio.Protocol):
    """Hands a new connection to the HTTP protocol while there is room, and else turns it away."""

    def __init__(self, http: "web.Server", has_room: Callable[[str], bool]) -> None:
        self._http = http
        self._has_room = has_room

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if not self._has_room(_host(transport.get_extra_info("peername"))):
            transport.write(_BUSY)
            transport.close()
            return
        protocol: RequestHandler = self._http()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


def _host(peername: object) -> str:
    return str(peername[0]) if isinstance(peername, tuple) else "?"


def _allow(request: web.BaseRequest, *methods: str) -> None:
    if request.method not in methods:
        raise Refused(405, f"{', '.join(methods)} would do")


def _refusal(refused: Refused) -> web.Response:
    response = web.Response(status=refused.status, text=f"{refused}\n", headers=SAFE_HEADERS)
    if refused.retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(refused.retry_after)
    if refused.status == 405:
        response.headers[hdrs.ALLOW] = str(refused).removesuffix(" would do")
    return response


def _without_secrets(request: web.BaseRequest) -> str:
    """The path without the token, which is all that it takes to fetch a file, and no query."""
    path = request.rel_url.raw_path
    return f"{path[: len(CONTENT_PATH) + 3]}…" if _PLACE.fullmatch(path) else path[:80]
