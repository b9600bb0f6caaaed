"""Downloads: a file or its thumbnail, whole or in part (RFC 9110 §14)."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from aiohttp import hdrs, web

from rcsops.content.ranges import Span, Unsatisfiable, wanted_span
from rcsops.content.sink import finished
from rcsops.content.store import Entry, Refused

__all__ = ["SAFE_HEADERS", "send_file"]

_PIECE = 1 << 17

SAFE_HEADERS = {
    "Server": "rcsops",
    "X-Content-Type-Options": "nosniff",
    # A page that somebody uploaded must not run as one of this host.
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
}


async def send_file(
    request: web.BaseRequest, entry: Entry, path: Path, *, thumbnail: bool, idle_seconds: float
) -> web.StreamResponse:
    """Answers a GET or HEAD with the file at ``path``; 206 for a range, 416 for one outside.

    A client that takes nothing for ``idle_seconds`` is cut off: TimeoutError. Raises `Refused` when
    the file is gone.
    """
    try:
        handle = await finished(
            asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        )
    except OSError as error:
        raise Refused(404, "there is no such file") from error
    try:
        return await _send(request, entry, handle, thumbnail, idle_seconds)
    finally:
        os.close(handle)


async def _send(
    request: web.BaseRequest, entry: Entry, handle: int, thumbnail: bool, idle_seconds: float
) -> web.StreamResponse:
    size = os.fstat(handle).st_size
    tag = f'"{entry.id}-{"t" if thumbnail else "f"}-{size}"'
    response = web.StreamResponse(headers=_headers(entry, thumbnail, tag))
    span = Span(0, size)
    if request.method == "GET" and request.headers.get(hdrs.IF_RANGE, tag).strip() == tag:
        try:
            wanted = wanted_span(request.headers.get(hdrs.RANGE, ""), size)
        except Unsatisfiable:
            headers = {**SAFE_HEADERS, hdrs.CONTENT_RANGE: f"bytes */{size}"}
            return web.Response(status=416, headers=headers)
        if wanted is not None:
            span = wanted
            response.set_status(206)
            response.headers[hdrs.CONTENT_RANGE] = f"bytes {span.start}-{span.stop - 1}/{size}"
    response.content_length = span.stop - span.start
    await response.prepare(request)
    position = span.start if request.method == "GET" else span.stop
    while position < span.stop:
        length = min(_PIECE, span.stop - position)
        piece = await finished(asyncio.to_thread(os.pread, handle, length, position))
        if not piece:
            # Cut short behind our back: the client sees that octets are missing.
            raise ConnectionResetError
        async with asyncio.timeout(idle_seconds):
            await response.write(piece)
        position += len(piece)
    await response.write_eof()
    return response


def _headers(entry: Entry, thumbnail: bool, tag: str) -> dict[str, str]:
    expires = datetime.fromtimestamp(entry.expires, UTC)
    return {
        **SAFE_HEADERS,
        hdrs.CONTENT_TYPE: entry.thumbnail_type if thumbnail else entry.content_type,
        # Shown by nobody, saved by everybody: whatever type it claims to have.
        hdrs.CONTENT_DISPOSITION: "attachment; filename*=UTF-8''" + quote(entry.name, safe=""),
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.ETAG: tag,
        hdrs.CACHE_CONTROL: "private",
        hdrs.EXPIRES: f"{expires:%a, %d %b %Y %H:%M:%S} GMT",
    }
