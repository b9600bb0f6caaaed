"""The agent's way to a content server: uploads and downloads that go on after a break (RCC.07)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlencode, urlsplit

from rcsops.errors import CpimParseError, RemoteProtocolError, TransferError
from rcsops.rcs import safe_name
from rcsops.rcs.fthttp import (
    FileInfo,
    StoredFile,
    parse_file_info,
    parse_resume_info,
)
from rcsops.sip import DigestClient, Request, Response
from rcsops.transport import TlsOptions
from rcsops.transport.tls import Tls
from rcsops.ua.http_answers import (
    ANSWER_SECONDS,
    FAULT,
    PACE_OCTETS,
    PIECE,
    Broken,
    Busy,
    Interrupted,
    check_type,
    expect,
    paced,
    part_of,
    promised_sha256,
    read_document,
    retry_after,
    validator_of,
)
from rcsops.ua.http_guard import Places, public_resolver

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

__all__ = ["ContentClient", "Target", "Upload"]

_CONNECT_SECONDS = 15.0
_SILENCE_SECONDS = 60.0
_AT_A_TIME = 8
_BREAKS = 6
_FAULTS = 3
_LONGEST_WAIT = 10.0
_BUSY_TRIES = 3
_BOUNDARY_START = "rcsops-"

Progress = Callable[[int], None]
_T = TypeVar("_T")


class Upload(Protocol):
    """What is to be uploaded; what reads it raises OSError."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def content_type(self) -> str: ...
    @property
    def unchanged(self) -> bool: ...
    def reader(self, offset: int = 0) -> Callable[[int], bytes | None]: ...


class Target(Protocol):
    """Where a download goes; the methods raise TransferError. When it ``is_full``, `flush` is
    awaited.

    `begin` is told that octets come from ``offset`` on, in front of which all is there, and what
    the server calls this state of the file (``validator``, or ""; RFC 9110 §8.8) and gives as its
    SHA-256 (hex, or ""; RFC 9530). ``validator`` is the one that it was told last.
    """

    @property
    def validator(self) -> str: ...
    @property
    def is_full(self) -> bool: ...
    async def begin(self, offset: int, validator: str, sha256: str) -> None: ...
    def write(self, offset: int, data: bytes) -> None: ...
    async def flush(self) -> None: ...


class ContentClient:
    """One agent's client; ``base`` is where it uploads ("" for none).

    Credentials are shown to that server alone. Nothing is opened before it is needed.
    """

    def __init__(
        self, base: str, places: Places, digest: DigestClient, tls: TlsOptions | None
    ) -> None:
        self._base = base
        self._places = places
        self._digest = digest
        self._tls = tls
        # By whether it is for our own server.
        self._sessions: dict[bool, ClientSession] = {}
        self._turns = {own: asyncio.Semaphore(_AT_A_TIME) for own in (False, True)}

    async def close(self) -> None:
        """Closes every connection."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    # --- up ----------------------------------------------------------------------------------

    async def upload(
        self,
        tid: str,
        file: Upload,
        progress: Progress,
        *,
        thumbnail: tuple[str, bytes] | None = None,
        begun: bool = False,
    ) -> FileInfo:
        """Uploads a file and returns what the server says of it; after a break it goes on, and so
        does what was ``begun`` under this ``tid`` at an earlier time.

        ``thumbnail`` is its media type and octets. Raises TransferError: Interrupted when it may
        go on later.
        """
        if not self._base:
            raise TransferError(
                "no content server is known",
                hint="name one: content in [agent] of rcsops.toml, or [content] for one of its own",
            )
        reached = 0

        def note(octets: int) -> None:
            nonlocal reached
            reached = max(reached, octets)
            progress(octets)

        async def attempt(first: bool) -> FileInfo:
            anew = first and not begun
            document = b"" if anew else await self._go_on(tid, file, note)
            document = document or await self._begin(tid, file, note, thumbnail)
            try:
                info = parse_file_info(document)
            except CpimParseError as error:
                raise TransferError(f"what the content server answered is no file: {error}") from (
                    error
                )
            if info.file.size != file.size:
                raise TransferError(
                    f"the content server has {info.file.size} of {file.size} octets"
                )
            return info

        return await self._persist(attempt, lambda: reached)

    async def _begin(
        self, tid: str, file: Upload, note: Progress, thumbnail: tuple[str, bytes] | None
    ) -> bytes:
        boundary = f"{_BOUNDARY_START}{tid}"
        head, tail = _form(boundary, tid, file, thumbnail)

        async def body() -> AsyncIterator[bytes]:
            yield head
            async for piece in _pieces(file, 0, note):
                yield piece
            yield tail

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + file.size + len(tail)),
        }
        async with self._ask("POST", self._base, headers, body) as response:
            await expect(response, 200)
            return await read_document(response)

    async def _go_on(self, tid: str, file: Upload, note: Progress) -> bytes:
        """The document of an upload that has come to its end, now or before; empty when it has to
        begin again."""
        document = await self._info(tid, "get_download_info")
        if document:
            return document
        found = await self._info(tid, "get_upload_info")
        if not found:
            return b""
        try:
            resume = parse_resume_info(found)
        except CpimParseError:
            return b""
        start = resume.end + 1
        if start > file.size or not self._places.is_own(resume.url):
            return b""
        if start < file.size:
            headers = {
                "Content-Range": f"bytes {start}-{file.size - 1}/{file.size}",
                "Content-Length": str(file.size - start),
            }
            rest = lambda: _pieces(file, start, note)  # noqa: E731
            async with self._ask("PUT", resume.url, headers, rest) as response:
                if response.status in (404, 409, 410, 416):
                    # It thinks otherwise of what it has.
                    return b""
                await expect(response, 200, 201, 204)
        return await self._info(tid, "get_download_info")

    async def _info(self, tid: str, what: str) -> bytes:
        url = f"{self._base}?{urlencode({'tid': tid})}&{what}"
        async with self._ask("GET", url) as response:
            if response.status in (404, 410):
                return b""
            await expect(response, 200)
            return await read_document(response)

    # --- down --------------------------------------------------------------------------------

    async def download(
        self, file: StoredFile, target: Target, progress: Progress, *, reached: int = 0
    ) -> None:
        """Fetches a file, of which ``reached`` octets are there; after a break it goes on.

        Raises TransferError when it cannot be had, is not what was promised, or must not be
        fetched from there: Interrupted when it may go on later.
        """
        self._places.check(file.url)
        if file.until is not None and file.until <= datetime.now(UTC):
            raise TransferError(f"the file was kept until {file.until:%Y-%m-%d %H:%M} UTC")

        async def attempt(_first: bool) -> None:
            nonlocal reached
            headers = {}
            if reached and reached == file.size:
                # It broke behind the last octet.
                return
            if reached:
                headers["Range"] = f"bytes={reached}-"
                # A weak one does not say that each octet is the same (RFC 9110 §13.1.5).
                if target.validator and not target.validator.startswith("W/"):
                    headers["If-Range"] = target.validator
            async with self._ask("GET", file.url, headers) as response:
                await expect(response, 200, 206)
                check_type(response, file.content_type)
                part = part_of(response, reached, file.size)
                validator = validator_of(response)
                if part.start and target.validator and validator not in ("", target.validator):
                    # It should have sent all of it: If-Range says so.
                    reached = 0
                    await target.begin(0, "", "")
                    raise Broken("the file has changed at the content server")
                await target.begin(part.start, validator, promised_sha256(response))
                reached = part.start
                async for data in paced(response):
                    if reached + len(data) > part.stop:
                        raise TransferError("more came than was promised")
                    target.write(reached, data)
                    if target.is_full:
                        await target.flush()
                    reached += len(data)
                    progress(reached)
            if reached < file.size:
                raise Broken(f"{reached} of {file.size} octets came")

        await self._persist(attempt, lambda: reached)

    # --- requests ----------------------------------------------------------------------------

    async def _persist(
        self, attempt: Callable[[bool], Awaitable[_T]], reached: Callable[[], int]
    ) -> _T:
        """Tries again after a break, as long as it comes further, and a few times when not."""
        breaks = busy = 0
        furthest = 0
        first = True
        while True:
            try:
                return await attempt(first)
            except Busy as error:
                busy += 1
                if busy >= _BUSY_TRIES:
                    raise Interrupted(str(error)) from error
                await asyncio.sleep(error.seconds)
            except Broken as error:
                breaks = 1 if reached() >= furthest + PACE_OCTETS else breaks + 1
                furthest = max(furthest, reached())
                if breaks >= (_FAULTS if error.status == FAULT else _BREAKS):
                    reason = f"it was tried again and again: {error}"
                    raise Interrupted(reason, status=error.status) from error
                await asyncio.sleep(min(0.25 * 2**breaks, _LONGEST_WAIT))
                first = False

    @contextlib.asynccontextmanager
    async def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], AsyncIterator[bytes]] | None = None,
    ) -> AsyncIterator["ClientResponse"]:
        """One request, with credentials where our own server asks for them.

        Before a body is sent, it is asked whether it may be (RCC.07: a request without one).
        """
        from aiohttp import ClientError

        own = self._places.is_own(url)
        parts = urlsplit(url)
        carrier = Request(method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        if own:
            self._digest.preempt(carrier)
        is_asked = body is None or carrier.get("Authorization") is not None
        faults: list[TransferError] = []
        try:
            for _ in range(4):
                sent = body if is_asked else None
                given = dict(headers or {}) if is_asked else {"Content-Length": "0"}
                authorization = carrier.get("Authorization")
                if own and authorization is not None:
                    given["Authorization"] = authorization
                async with self._turns[own]:
                    async with asyncio.timeout(ANSWER_SECONDS if sent is None else None):
                        response = await self._session(own).request(
                            method,
                            _as_written(url),
                            headers=given,
                            data=None if sent is None else _noted(sent(), faults),
                            allow_redirects=False,
                        )
                    async with response:
                        if response.status == 401 and own and self._authorize(carrier, response):
                            is_asked = True
                            continue
                        if response.status == 503:
                            raise Busy(retry_after(response))
                        if not is_asked and response.status < 500 and response.status != 401:
                            is_asked = True
                            continue
                        yield response
                        return
        except (ClientError, TimeoutError, OSError) as error:
            if faults:
                raise faults[0] from error
            text = str(error) or "the content server does not answer in time"
            raise Broken(text) from error
        raise TransferError("the content server asks for the password again and again")

    def _authorize(self, carrier: Request, response: "ClientResponse") -> bool:
        challenges = response.headers.getall("WWW-Authenticate", [])
        try:
            refusal = Response(401, headers=[("WWW-Authenticate", each) for each in challenges])
            return self._digest.authorize(carrier, refusal)
        except RemoteProtocolError:
            return False

    def _session(self, own: bool) -> "ClientSession":
        session = self._sessions.get(own)
        if session is None:
            import aiohttp

            connector = aiohttp.TCPConnector(
                limit=_AT_A_TIME,
                ssl=Tls(self._tls).https(),
                resolver=None if own else public_resolver(),
                # What a name leads to is looked at for each connection.
                use_dns_cache=own,
            )
            session = self._sessions[own] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": "rcsops", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS
                ),
            )
        return session


def _as_written(url: str) -> Any:
    # Not normalised: digest covers the target octet by octet.
    from yarl import URL

    return URL(url, encoded=True)


async def _noted(body: AsyncIterator[bytes], faults: list[TransferError]) -> AsyncIterator[bytes]:
    """What is to be sent; aiohttp makes a broken connection of whatever is wrong with it."""
    try:
        async for piece in body:
            yield piece
    except TransferError as error:
        faults.append(error)
        raise


async def _pieces(file: Upload, start: int, note: Progress) -> AsyncIterator[bytes]:
    offset = start
    read = file.reader(start)
    while offset < file.size:
        try:
            piece = await asyncio.to_thread(read, min(PIECE, file.size - offset))
        except OSError as error:
            raise TransferError(f"{file.name} cannot be read: {error.strerror}") from error
        if not piece or not file.unchanged:
            raise TransferError(f"{file.name} was changed while it was sent")
        yield piece
        # The piece before has been taken.
        offset += len(piece)
        note(offset)


def _form(
    boundary: str, tid: str, file: Upload, thumbnail: tuple[str, bytes] | None
) -> tuple[bytes, bytes]:
    """What stands before and behind the octets of the file (RFC 7578)."""

    def part(name: str, kind: str, filename: str = "") -> str:
        named = f'; filename="{filename}"' if filename else ""
        return (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n'
            f"Content-Type: {kind}\r\n\r\n"
        )

    head = f"{part('tid', 'text/plain')}{tid}\r\n".encode()
    if thumbnail is not None:
        kind, data = thumbnail
        head += part("Thumbnail", kind, "thumbnail").encode() + data + b"\r\n"
    # Servers differ in what they make of escapes (RFC 7578 §4.2): a safe name, which the receiver
    # makes of it in any case, needs none.
    head += part("File", file.content_type, safe_name(file.name)).encode()
    return head, f"\r\n--{boundary}--\r\n".encode()
