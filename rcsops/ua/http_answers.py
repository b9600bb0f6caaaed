"""What a content server answers: read, and held against what was asked for and promised."""

import asyncio
import base64
import binascii
import contextlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

from rcsops.errors import TransferError
from rcsops.text import visible

if TYPE_CHECKING:
    from aiohttp import ClientResponse

__all__ = [
    "ANSWER_SECONDS",
    "FAULT",
    "PACE_OCTETS",
    "PIECE",
    "Broken",
    "Busy",
    "Interrupted",
    "check_type",
    "expect",
    "paced",
    "part_of",
    "promised_sha256",
    "read_document",
    "retry_after",
    "validator_of",
]

PIECE = 1 << 16
PACE_OCTETS = 4096
"""What a server that is not too slow sends within a minute, at least."""
ANSWER_SECONDS = 60.0
"""So long may the answer to a request without a body take until its body begins, and a document."""

FAULT = 500
"""The status of a server that is there, and is at a loss itself: who waits for it waits in vain, as
opposed to 502 and 504 of one in front of it."""

_MAX_DOCUMENT = 1 << 16
_MAX_ERROR = 300
_PACE_SECONDS = 60.0
_MAX_RETRY_AFTER = 60.0
_MAX_VALIDATOR = 200
_CONTENT_RANGE = re.compile(
    r"bytes (?P<first>[0-9]{1,18})-(?P<last>[0-9]{1,18})/(?P<size>\*|[0-9]{1,18})", re.I | re.A
)
_MAY_FAIL = frozenset({408, 425, 429, 500, 502, 504})


class Interrupted(TransferError):
    """The server cannot be reached, or fails, time and again: it may do better later."""


class Broken(Exception):
    """The connection broke, or the server did: it may do better the next time. ``status`` is what
    the server answered, 0 when it did not."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class Busy(Exception):
    """503: the server says when to come again."""

    def __init__(self, seconds: float) -> None:
        super().__init__("the content server is busy")
        self.seconds = seconds


async def expect(response: "ClientResponse", *statuses: int) -> None:
    """Raises TransferError in words for another status, `Broken` for one that may pass."""
    if response.status in statuses:
        return
    if response.status in _MAY_FAIL:
        raise Broken(f"the content server answered {response.status}", response.status)
    said = (await response.content.read(_MAX_ERROR)).decode("utf-8", "replace")
    plain = response.headers.get("Content-Type", "").startswith("text/plain")
    known = _MEANINGS.get(response.status, "")
    if plain and said.strip():
        known = f"{known}: {visible(said.strip())}" if known else visible(said.strip())
    if 300 <= response.status < 400:
        known = "it leads elsewhere, which is not followed"
    raise TransferError(
        f"the content server refuses ({response.status}){f': {known}' if known else ''}",
        status=response.status,
    )


_MEANINGS = {
    401: "it does not take our password",
    403: "it does not allow it",
    404: "it has no such file, or has it no longer",
    410: "the file has expired",
    413: "the file is too large",
    507: "it has no more room for us",
}


async def read_document(response: "ClientResponse") -> bytes:
    data = bytearray()
    async with asyncio.timeout(ANSWER_SECONDS):
        while piece := await response.content.read(PIECE):
            data += piece
            if len(data) > _MAX_DOCUMENT:
                raise TransferError("the content server answers with a document that is too long")
    return bytes(data)


async def paced(response: "ClientResponse") -> AsyncIterator[bytes]:
    """What comes, as long as it comes at a pace by which it will come to an end."""
    loop = asyncio.get_running_loop()
    since, octets = loop.time(), 0
    while data := await response.content.read(PIECE):
        yield data
        octets += len(data)
        now = loop.time()
        if now - since >= _PACE_SECONDS:
            if octets < PACE_OCTETS:
                raise Broken(f"the content server sent {octets} octets in {now - since:.0f} s")
            since, octets = now, 0


def check_type(response: "ClientResponse", promised: str) -> None:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    vague = ("", "application/octet-stream")
    if kind not in vague and promised not in vague and kind != promised:
        raise TransferError(f"the file is {visible(kind[:60])}, and {promised} was promised")


class _Part(NamedTuple):
    """The octets from ``start`` to before ``stop``."""

    start: int
    stop: int


def part_of(response: "ClientResponse", reached: int, size: int) -> _Part:
    """What comes: all of a file of ``size`` octets, or what was asked for, from ``reached`` on.

    Raises TransferError for anything else.
    """
    length = response.headers.get("Content-Length", "")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise TransferError("the content server sends the file in another encoding")
    if response.status == 200:
        if length.isascii() and length.isdigit() and int(length) != size:
            raise TransferError(f"the file has {length} octets, and {size} were promised")
        return _Part(0, size)
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or found["size"] not in ("*", str(size)):
        raise TransferError("the content server sends a part of another file")
    part = _Part(int(found["first"]), int(found["last"]) + 1)
    if part.start != reached or not part.start < part.stop <= size:
        raise TransferError("the content server sends a part that was not asked for")
    return part


def validator_of(response: "ClientResponse") -> str:
    tag = response.headers.get("ETag", "")
    return tag if len(tag) <= _MAX_VALIDATOR else ""


def promised_sha256(response: "ClientResponse") -> str:
    """The SHA-256 of the whole file, where the server gives it (RFC 9530 §3); else ""."""
    for item in response.headers.get("Repr-Digest", "").split(","):
        name, _, value = item.strip().partition("=")
        if name.lower() == "sha-256" and value[:1] == value[-1:] == ":":
            with contextlib.suppress(binascii.Error, ValueError):
                digest = base64.b64decode(value[1:-1], validate=True)
                return digest.hex() if len(digest) == 32 else ""
    return ""


def retry_after(response: "ClientResponse") -> float:
    """In how many seconds to come again (RFC 9110 §10.2.3): a number, or a date."""
    text = response.headers.get("Retry-After", "")
    seconds = 1.0
    if text.isascii() and text.isdigit() and len(text) < 9:
        seconds = float(text)
    elif text:
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER)
