"""Uploads: the form that carries a file, and the rest of one that broke off (RCC.07)."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Protocol

from aiohttp import BodyPartReader, hdrs, web

from rcsops.content.ranges import content_range
from rcsops.content.sink import FileSink, Pace
from rcsops.content.store import ContentStore, Entry, Refused
from rcsops.rcs import safe_name
from rcsops.rcs.fthttp import is_media_type
from rcsops.settings import Content

__all__ = ["Uploads"]

_PIECE = 1 << 16
_MAX_TID = 128
_MAX_THUMBNAIL = 1 << 16
# The boundaries and headers of a form, beside file and thumbnail.
_MAX_FRAME = 1 << 14
_MAX_PER_USER = 8
_RETRY_SECONDS = 5
_PLAIN_ENCODINGS = ("", "7bit", "8bit", "binary", "identity")
_OCTETS = "application/octet-stream"

Key = tuple[str, str]


class NextPart(Protocol):
    """The next part of a form, which has to have one of the names; None at its end."""

    def __call__(self, *names: str) -> Awaitable[BodyPartReader | None]: ...


class Uploads:
    """Takes files for a store. ``now`` is the loop's clock.

    The methods raise `Refused`, TimeoutError for a client that is too slow, ConnectionError for one
    that has gone; in the last two cases what came stays, so that the upload can go on.
    """

    def __init__(self, store: ContentStore, limits: Content, now: Callable[[], float]) -> None:
        self._store = store
        self._limits = limits
        self._now = now
        self._active: dict[Key, asyncio.Task[object]] = {}

    async def form(self, request: web.BaseRequest, owner: str) -> Entry:
        """A POST: multipart/form-data with tid, Thumbnail (optional) and File, in this order."""
        length = self._length(request)
        if length > self._limits.max_file + _MAX_THUMBNAIL + _MAX_FRAME:
            raise self._too_large()
        if request.content_type != "multipart/form-data":
            raise Refused(415, "multipart/form-data is wanted")
        pace = Pace(self._limits.idle_seconds, self._now)
        await _continue(request)
        try:
            return await self._form(request, owner, length, pace)
        except (ValueError, AssertionError) as error:
            # How aiohttp tells of a form that it cannot read.
            raise Refused(400, "the form cannot be read") from error

    async def rest(self, request: web.BaseRequest, entry: Entry) -> Entry:
        """A PUT with Content-Range: what was missing, up to the end."""
        length = self._length(request)
        found = content_range(request.headers.get(hdrs.CONTENT_RANGE, ""))
        if found is None or found[0].stop != found[1] or found[0].stop - found[0].start != length:
            raise Refused(400, "Content-Range has to name all that is missing, up to the end")
        span, size = found
        if size > self._limits.max_file:
            raise self._too_large()
        async with self._alone((entry.owner, entry.tid)):
            received = self._store.received(entry)
            if entry.whole or not entry.content_type or span.start != received:
                raise Refused(409, f"{received} octets are here; ask for get_upload_info")
            await self._store.reserve(entry, size, time.time())
            await _continue(request)
            pace = Pace(self._limits.idle_seconds, self._now)
            sink = await FileSink.open(self._store.path(entry.id), go_on=True)
            with _full_disk():
                try:
                    while sink.size < size:
                        piece = await pace.read(request.content.read(_PIECE))
                        if not piece:
                            raise ConnectionResetError
                        await sink.write(piece)
                    await sink.close(whole=True)
                finally:
                    await sink.close()
            return await self._store.finish(entry, size, time.time())

    async def interrupt(self, owner: str, tid: str) -> None:
        """Ends an upload that its own client takes for broken, and asks about."""
        while (task := self._active.get((owner, tid))) is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def _form(self, request: web.BaseRequest, owner: str, length: int, pace: Pace) -> Entry:
        form = await request.multipart()

        async def next_part(*names: str) -> BodyPartReader | None:
            part = await pace.read(form.next())
            if part is None:
                return None
            if not isinstance(part, BodyPartReader) or (part.name or "").lower() not in names:
                raise Refused(400, "the form has to have tid, Thumbnail and File, in this order")
            encoding = part.headers.get(hdrs.CONTENT_TRANSFER_ENCODING, "").strip().lower()
            if encoding not in _PLAIN_ENCODINGS or hdrs.CONTENT_ENCODING in part.headers:
                raise Refused(415, "send the file as it is")
            return part

        part = await next_part("tid")
        tid = "" if part is None else (await _small(part, pace, _MAX_TID)).decode("ascii").strip()
        if not tid or not tid.isprintable():
            raise Refused(400, "the form has no tid")
        async with self._alone((owner, tid)):
            entry = await self._store.begin(owner, tid, length, time.time())
            try:
                return await self._parts(entry, next_part, pace)
            except (ConnectionError, TimeoutError, asyncio.CancelledError):
                raise
            except BaseException:
                await self._store.remove(entry)
                raise

    async def _parts(self, entry: Entry, next_part: NextPart, pace: Pace) -> Entry:
        part = await next_part("thumbnail", "file")
        if part is not None and (part.name or "").lower() == "thumbnail":
            await self._thumbnail(entry, part, pace)
            part = await next_part("file")
        if part is None:
            raise Refused(400, "the form has no File")
        await self._store.describe(
            entry.id, name=safe_name(part.filename or ""), content_type=_media_type(part)
        )
        sink = await FileSink.open(self._store.path(entry.id))
        with _full_disk():
            try:
                while piece := await pace.read(part.read_chunk(_PIECE)):
                    await sink.write(piece)
                    if sink.size > self._limits.max_file:
                        raise self._too_large()
                if await next_part() is not None:
                    raise Refused(400, "there is more in the form than the file")
                await sink.close(whole=True)
            finally:
                await sink.close()
        return await self._store.finish(entry, sink.size, time.time())

    async def _thumbnail(self, entry: Entry, part: BodyPartReader, pace: Pace) -> None:
        data = await _small(part, pace, _MAX_THUMBNAIL)
        sink = await FileSink.open(self._store.thumbnail_path(entry.id))
        with _full_disk():
            try:
                await sink.write(data)
                await sink.close(whole=True)
            finally:
                await sink.close()
        await self._store.describe(
            entry.id, thumbnail_type=_media_type(part), thumbnail_size=len(data)
        )

    @contextlib.asynccontextmanager
    async def _alone(self, key: Key) -> AsyncIterator[None]:
        """The newest upload of a transfer is the one that counts."""
        await self.interrupt(*key)
        if sum(owner == key[0] for owner, _ in self._active) >= _MAX_PER_USER:
            raise Refused(503, "too many uploads at a time", _RETRY_SECONDS)
        task = asyncio.current_task()
        assert task is not None
        self._active[key] = task
        try:
            yield
        finally:
            del self._active[key]

    def _length(self, request: web.BaseRequest) -> int:
        if request.content_length is None:
            raise Refused(411, "say how long it is: Content-Length")
        if hdrs.CONTENT_ENCODING in request.headers:
            raise Refused(415, "send the file as it is")
        return request.content_length

    def _too_large(self) -> Refused:
        return Refused(413, f"a file may have {self._limits.max_file} octets")


async def _continue(request: web.BaseRequest) -> None:
    """Tells a client that waits for it to go on (RFC 9110 §10.1.1): only who was let in is."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def _small(part: BodyPartReader, pace: Pace, most: int) -> bytes:
    data = bytearray()
    while piece := await pace.read(part.read_chunk(_PIECE)):
        data += piece
        if len(data) > most:
            raise Refused(413, f"{part.name} may have {most} octets")
    return bytes(data)


def _media_type(part: BodyPartReader) -> str:
    kind = part.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    return kind if is_media_type(kind) else _OCTETS


@contextlib.contextmanager
def _full_disk() -> Iterator[None]:
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        raise Refused(507, f"the file cannot be kept: {error.strerror}") from error
