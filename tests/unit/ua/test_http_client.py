"""The agent's HTTP client towards servers that break, lie and wait: each a script of raw octets."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rcsops.errors import TransferError
from rcsops.rcs import FileInfo, FileSelector, StoredFile
from rcsops.rcs.fthttp import ResumeInfo, make_file_info, make_resume_info
from rcsops.sip import Credential, DigestClient
from rcsops.transport import system_tokens
from rcsops.ua.files import OutgoingFile
from rcsops.ua.http_answers import Interrupted
from rcsops.ua.http_client import ContentClient
from rcsops.ua.http_guard import Places
from rcsops.ua.incoming_file import IncomingFile

DATA = bytes(range(256)) * 400
CREDENTIAL = Credential.from_password("alex", "rcs.example", "secret")
CHALLENGE = 'Digest realm="{}", nonce="n", qop="auth", algorithm=SHA-256'


class Scripted:
    """Answers each request with the next of its answers, and notes what was asked."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.base = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            length = next(
                (
                    int(x[16:])
                    for x in head.split("\r\n")
                    if x.lower().startswith("content-length: ")
                ),
                0,
            )
            self.bodies.append(await reader.readexactly(length))
            writer.write(self.answers.pop(0))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @property
    def asked(self) -> list[str]:
        return [head.partition(" HTTP")[0] for head in self.heads]


@asynccontextmanager
async def scripted(*answers: bytes) -> AsyncIterator[tuple[Scripted, ContentClient]]:
    script = Scripted(*answers)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ft"
    places = Places(script.base, "rcs.example", [])
    client = ContentClient(script.base, places, DigestClient([CREDENTIAL], system_tokens()), None)
    try:
        yield script, client
    finally:
        await client.close()
        server.close()
        await server.wait_closed()
        # The server's own tasks end with their connections.
        for _ in range(5):
            await asyncio.sleep(0)


def answer(status: int, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, "Connection: close", *headers, "", ""]).encode() + body


def stored(script: Scripted, size: int = len(DATA), **more: object) -> StoredFile:
    return StoredFile(f"{script.base}/d/x", size, "image/jpeg", **more)  # type: ignore[arg-type]


class Basket:
    """Takes what is fetched, as a transfer does."""

    def __init__(self, file: IncomingFile) -> None:
        self.file = file
        self.validator = ""
        self.sha256 = ""

    @property
    def is_full(self) -> bool:
        return self.file.is_full

    async def begin(self, offset: int, validator: str, sha256: str) -> None:
        if offset == 0:
            await self.file.restart()
        self.validator, self.sha256 = validator or self.validator, sha256
        self.file.promise(sha256)

    def write(self, offset: int, data: bytes) -> None:
        self.file.write(offset, data)

    async def flush(self) -> None:
        await self.file.flush()


async def fetch(client: ContentClient, file: StoredFile, directory: Path) -> bytes:
    target = IncomingFile(directory, "photo.jpg", FileSelector(size=file.size))
    try:
        await client.download(file, Basket(target), lambda _: None)
        path, _ = await target.commit()
        return path.read_bytes()
    finally:
        target.abort()


JPEG = "Content-Type: image/jpeg"


async def test_a_download_goes_on_after_a_break(tmp_path: Path) -> None:
    first = answer(200, DATA[:50_000], JPEG, 'ETag: "e"', length=len(DATA))
    second = answer(206, DATA[50_000:], f"Content-Range: bytes 50000-{len(DATA) - 1}/{len(DATA)}")
    async with scripted(first, second) as (script, client):
        assert await fetch(client, stored(script), tmp_path) == DATA

    assert "Range: bytes=50000-" in script.heads[1] and 'If-Range: "e"' in script.heads[1]


REST = f"Content-Range: bytes 50000-{len(DATA) - 1}/{len(DATA)}"


@pytest.mark.rfc(9110, "13.1.5")
async def test_a_weak_validator_is_no_condition_of_a_range(tmp_path: Path) -> None:
    first = answer(200, DATA[:50_000], JPEG, 'ETag: W/"e"', length=len(DATA))
    async with scripted(first, answer(206, DATA[50_000:], REST)) as (script, client):
        assert await fetch(client, stored(script), tmp_path) == DATA

    assert "Range: bytes=50000-" in script.heads[1] and "If-Range" not in script.heads[1]


async def test_a_file_that_has_changed_comes_anew(tmp_path: Path) -> None:
    first = answer(200, bytes(50_000), JPEG, 'ETag: "e"', length=len(DATA))
    # It should have sent all of it.
    wrong = answer(206, DATA[50_000:], REST, 'ETag: "f"')
    whole = answer(200, DATA, JPEG, 'ETag: "f"')
    async with scripted(first, wrong, whole) as (script, client):
        assert await fetch(client, stored(script), tmp_path) == DATA

    assert "Range" not in script.heads[2]


@pytest.mark.rfc(9530, "3")
async def test_a_hash_of_the_server_is_checked_over_both_parts(tmp_path: Path) -> None:
    digest = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    header = f"Repr-Digest: md5=:x:, sha-256=:{digest}:"
    first = answer(200, DATA[:50_000], JPEG, length=len(DATA))
    async with scripted(first, answer(206, DATA[50_000:], REST, header)) as (script, client):
        assert await fetch(client, stored(script), tmp_path) == DATA

    first = answer(200, bytes(50_000), JPEG, length=len(DATA))
    async with scripted(first, answer(206, DATA[50_000:], REST, header)) as (script, client):
        with pytest.raises(TransferError, match="hash"):
            await fetch(client, stored(script), tmp_path)


async def test_a_server_that_drips_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rcsops.ua.http_client._LONGEST_WAIT", 0.0)
    monkeypatch.setattr("rcsops.ua.http_answers._PACE_SECONDS", 0.0)
    drip = answer(200, DATA[:10], JPEG, length=len(DATA))
    more = [answer(206, DATA[10 * n : 10 * n + 10], part(10 * n)) for n in range(1, 6)]
    async with scripted(drip, *more) as (script, client):
        with pytest.raises(Interrupted, match="sent 10 octets in 0 s"):
            await fetch(client, stored(script), tmp_path)

    assert len(script.heads) == 6


def part(start: int) -> str:
    return f"Content-Range: bytes {start}-{len(DATA) - 1}/{len(DATA)}"


async def test_a_busy_server_says_when_by_a_date(tmp_path: Path) -> None:
    busy = answer(503, b"", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT")
    odd = answer(503, b"", "Retry-After: Wed, 99 Oct 9999 07:28:00")
    async with scripted(busy, odd, answer(200, DATA, JPEG)) as (script, client):
        assert await fetch(client, stored(script), tmp_path) == DATA


async def test_a_server_without_ranges_begins_anew(tmp_path: Path) -> None:
    first = answer(200, DATA[:50_000], JPEG, length=len(DATA))
    async with scripted(first, answer(200, DATA, JPEG)) as (script, client):
        assert await fetch(client, stored(script), tmp_path) == DATA


ZEROS = base64.b64encode(bytes(32)).decode()
LIES: dict[str, Callable[[], bytes]] = {
    "shorter": lambda: answer(200, DATA[:-1], JPEG),
    "longer": lambda: answer(200, DATA + b"x", JPEG),
    "longer without its length": lambda: (
        b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n" + DATA + b"more"
    ),
    "another type": lambda: answer(200, DATA, "Content-Type: text/html"),
    "another encoding": lambda: answer(200, DATA, "Content-Encoding: gzip"),
    "a part that was not asked for": lambda: answer(
        206, DATA[5:], f"Content-Range: bytes 5-{len(DATA) - 1}/{len(DATA)}"
    ),
    "less than a part that was asked for": lambda: answer(206, DATA, "Content-Range: bytes 0-9/*"),
    "a part without a place": lambda: answer(206, DATA),
    "a part behind the end": lambda: answer(206, DATA, f"Content-Range: bytes 0-{len(DATA)}/*"),
    "several parts": lambda: answer(206, DATA, "Content-Type: multipart/byteranges; boundary=x"),
    "another hash": lambda: answer(200, DATA, JPEG, f"Repr-Digest: sha-256=:{ZEROS}:"),
    "another size": lambda: answer(206, DATA, f"Content-Range: bytes 0-{len(DATA) - 1}/999999"),
    "leads elsewhere": lambda: answer(302, b"", "Location: http://127.0.0.1:1/"),
    "expired": lambda: answer(410),
    "gone": lambda: answer(404, b"\x1b[31mno", "Content-Type: text/plain"),
    "another realm": lambda: answer(401, b"", f"WWW-Authenticate: {CHALLENGE.format('evil')}"),
    "no challenge": lambda: answer(401, b"", "WWW-Authenticate: Basic realm=x"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_was_not_promised_is_not_kept(lie: str, tmp_path: Path) -> None:
    async with scripted(LIES[lie]()) as (script, client):
        with pytest.raises(TransferError) as caught:
            await fetch(client, stored(script), tmp_path)

    assert "\x1b" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    # Nothing was tried a second time, and no password shown.
    assert len(script.heads) == 1 and "Authorization" not in script.heads[0]


async def test_a_server_that_breaks_for_ever_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rcsops.ua.http_client._LONGEST_WAIT", 0.0)
    async with scripted(*[answer(502)] * 10) as (script, client):
        with pytest.raises(TransferError, match="again and again"):
            await fetch(client, stored(script), tmp_path)

    assert len(script.heads) == 6


async def test_an_expired_file_is_not_asked_for(tmp_path: Path) -> None:
    async with scripted() as (script, client):
        past = datetime.now(UTC) - timedelta(seconds=1)
        with pytest.raises(TransferError, match="was kept until"):
            await fetch(client, stored(script, until=past), tmp_path)

    assert script.heads == []


async def test_a_stranger_is_not_asked_at_all(tmp_path: Path) -> None:
    async with scripted() as (other, _), scripted() as (_, client):
        with pytest.raises(TransferError, match="not fetched from"):
            await fetch(client, stored(other), tmp_path)

    assert other.heads == []


def document(script: Scripted) -> bytes:
    return make_file_info(FileInfo(stored(script), "photo.jpg"))


XML = "Content-Type: application/vnd.gsma.rcs-ft-http+xml"


async def open_file(tmp_path: Path) -> OutgoingFile:
    path = tmp_path / "photo.jpg"
    path.write_bytes(DATA)
    return await OutgoingFile.open(path)


@pytest.mark.rfc(7616, "3.4")
async def test_the_flow_of_an_upload(tmp_path: Path) -> None:
    file = await open_file(tmp_path)
    challenge = answer(401, b"", f"WWW-Authenticate: {CHALLENGE.format('rcs.example')}")
    async with scripted(challenge) as (script, client):
        script.answers.append(answer(200, document(script), XML))
        info = await client.upload("t-1", file, lambda _: None, thumbnail=("image/png", b"small"))
    file.close()

    assert info.document == document(script)
    assert script.asked == ["POST /ft", "POST /ft"]
    # The first asks, without a body and a password; the second has both.
    assert (script.bodies[0], "Authorization" in script.heads[0]) == (b"", False)
    assert 'uri="/ft"' in script.heads[1] and "secret" not in script.heads[1]
    body = script.bodies[1]
    names = ("tid", "Thumbnail", "File")
    places = [body.index(f'name="{name}"'.encode()) for name in names]
    assert places == sorted(places)
    assert b"\r\n\r\nt-1\r\n" in body and b"\r\n\r\nsmall\r\n" in body
    assert b'filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n' + DATA + b"\r\n--" in body


async def test_a_server_without_passwords_and_one_that_is_busy(tmp_path: Path) -> None:
    file = await open_file(tmp_path)
    busy = answer(503, b"", "Retry-After: 0")
    async with scripted(answer(204), busy, answer(204)) as (script, client):
        script.answers.append(answer(200, document(script), XML))
        await client.upload("t-1", file, lambda _: None)
    file.close()

    assert [len(body) > 1000 for body in script.bodies] == [False, True, False, True]


async def test_an_upload_goes_on_after_a_break(tmp_path: Path) -> None:
    file = await open_file(tmp_path)
    seen: list[int] = []
    async with scripted(answer(204), answer(500)) as (script, client):
        resume = make_resume_info(ResumeInfo(0, 49_999, f"{script.base}/u/x"))
        script.answers += [answer(404), answer(200, resume), answer(400), answer(200)]
        script.answers += [answer(200, document(script), XML)]
        info = await client.upload("t-1", file, seen.append)
    file.close()

    assert info.file.size == len(DATA)
    assert script.asked[2:] == [
        "GET /ft?tid=t-1&get_download_info",
        "GET /ft?tid=t-1&get_upload_info",
        "PUT /ft/u/x",
        "PUT /ft/u/x",
        "GET /ft?tid=t-1&get_download_info",
    ]
    assert f"Content-Range: bytes 50000-{len(DATA) - 1}/{len(DATA)}" in script.heads[5]
    assert script.bodies[5] == DATA[50_000:]
    assert seen[-1] == len(DATA)


async def test_an_upload_whose_answer_was_lost_is_not_sent_again(tmp_path: Path) -> None:
    file = await open_file(tmp_path)
    async with scripted(answer(204), b"") as (script, client):
        script.answers.append(answer(200, document(script), XML))
        await client.upload("t-1", file, lambda _: None)
    file.close()

    assert script.asked[2:] == ["GET /ft?tid=t-1&get_download_info"]


async def test_the_rest_is_not_sent_to_a_stranger(tmp_path: Path) -> None:
    file = await open_file(tmp_path)
    async with scripted() as (stranger, _), scripted(answer(204), answer(500)) as (script, client):
        resume = make_resume_info(ResumeInfo(0, 49_999, f"{stranger.base}/u/x"))
        script.answers += [answer(404), answer(200, resume), answer(204)]
        script.answers += [answer(200, document(script), XML)]
        await client.upload("t-1", file, lambda _: None)
    file.close()

    assert stranger.heads == []
    assert script.asked[-1] == "POST /ft"


@pytest.mark.parametrize(
    "last",
    [
        answer(200, b"<html>", "Content-Type: text/html"),
        answer(200, make_file_info(FileInfo(StoredFile("https://h.example/x", 5, "a/b"), "n"))),
        answer(200, b"x" * 100_000),
        answer(413),
        answer(507, b"you have 5 octets here", "Content-Type: text/plain"),
        answer(403),
    ],
)
async def test_an_upload_that_is_refused(last: bytes, tmp_path: Path) -> None:
    file = await open_file(tmp_path)
    async with scripted(answer(204), last) as (_, client):
        with pytest.raises(TransferError):
            await client.upload("t-1", file, lambda _: None)
    file.close()


async def test_a_wrong_password(tmp_path: Path) -> None:
    file = await open_file(tmp_path)
    challenge = answer(401, b"", f"WWW-Authenticate: {CHALLENGE.format('rcs.example')}")
    async with scripted(challenge, challenge, challenge) as (script, client):
        with pytest.raises(TransferError, match="does not take our password"):
            await client.upload("t-1", file, lambda _: None)
    file.close()

    assert len(script.heads) == 2


async def test_without_a_content_server(tmp_path: Path) -> None:
    file = await open_file(tmp_path)
    digest = DigestClient([CREDENTIAL], system_tokens())
    client = ContentClient("", Places("", "rcs.example", []), digest, None)
    with pytest.raises(TransferError, match="no content server is known"):
        await client.upload("t-1", file, lambda _: None)
    file.close()
