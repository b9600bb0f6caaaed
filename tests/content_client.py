"""A client of the content server made of the standard library alone: HTTP, digest and forms are
written out here once more, from RFC 9112, RFC 7616 and RFC 7578."""

import contextlib
import hashlib
import http.client
import json
import os
import re
import secrets
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from rcsops.settings import Project
from rcsops.testing import EmbeddedServer
from rcsops.testing.waiting import free_port, wait_until

BOUNDARY = "=_frontier"
HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def urls(self) -> dict[str, str]:
        """The addresses in a file-info document, by the kind of file."""
        pairs = re.findall(rb'type="(\w+)".*?<data url="([^"]*)"', self.body, re.S)
        return {kind.decode(): url.decode() for kind, url in pairs}

    @property
    def range(self) -> tuple[int, int]:
        """start and end in a file-resume-info document."""
        match = re.search(rb'<file-range start="(\d+)" end="(\d+)"/>', self.body)
        assert match is not None, self.body
        return int(match[1]), int(match[2])

    @property
    def rest_url(self) -> str:
        match = re.search(rb'<data url="([^"]*)"', self.body)
        assert match is not None, self.body
        return match[1].decode()


def form(
    data: bytes,
    tid: str | None = "1a2b",
    *,
    name: str = "beach.jpg",
    kind: str = "image/jpeg",
    thumbnail: bytes | None = None,
) -> bytes:
    """A body of multipart/form-data."""
    parts = []
    if tid is not None:
        parts.append((b'name="tid"\r\nContent-Type: text/plain', tid.encode()))
    if thumbnail is not None:
        parts.append((b'name="Thumbnail"; filename="t.jpg"\r\nContent-Type: image/jpeg', thumbnail))
    head = f'name="File"; filename="{name}"\r\nContent-Type: {kind}'.encode()
    parts.append((head, data))
    body = b"".join(
        b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (BOUNDARY.encode(), *part)
        for part in parts
    )
    return body + b"--%b--\r\n" % BOUNDARY.encode()


class Client:
    """One user's client: ``base`` is where it uploads."""

    def __init__(
        self,
        base: str,
        user: str = "alex",
        password: str = "secret",
        *,
        algorithm: str = "SHA-256",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.base = base
        self.user = user
        self.password = password
        self.algorithm = algorithm
        self.tls = tls

    def connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.base)
        assert parts.hostname is not None
        if parts.scheme == "https":
            return http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=30, context=self.tls
            )
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)

    def plain(
        self,
        method: str,
        target: str = "/ft",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request without credentials; ``target`` may be a whole URL."""
        if "://" in target:
            parts = urlsplit(target)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, target, body or None, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def authorization(self, method: str, target: str, challenge: str, nc: str = "00000001") -> str:
        """The credentials that answer a challenge."""
        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge))
        hashed = HASHES[self.algorithm]
        cnonce = secrets.token_hex(8)

        def h(text: str) -> str:
            return hashed(text.encode()).hexdigest()

        ha1 = h(f"{self.user}:{fields['realm']}:{self.password}")
        ha2 = h(f"{method}:{target}")
        response = h(f"{ha1}:{fields['nonce']}:{nc}:{cnonce}:auth:{ha2}")
        return (
            f'Digest username="{self.user}", realm="{fields["realm"]}", nonce="{fields["nonce"]}", '
            f'uri="{target}", response="{response}", algorithm={self.algorithm}, qop=auth, '
            f'nc={nc}, cnonce="{cnonce}", opaque="{fields["opaque"]}"'
        )

    def credentials(self, method: str, target: str = "/ft") -> str:
        """Fresh ones: a challenge is asked for."""
        refused = self.plain(method, target)
        assert refused.status == 401, refused
        challenges = refused.headers.get_all("WWW-Authenticate") or []
        challenge = next(each for each in challenges if f"algorithm={self.algorithm}," in each)
        return self.authorization(method, target, challenge)

    def ask(
        self,
        method: str,
        target: str = "/ft",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request with credentials."""
        if "://" in target:
            target = urlsplit(target).path
        signed = {"Authorization": self.credentials(method, target), **(headers or {})}
        return self.plain(method, target, body, signed)

    def upload(self, data: bytes, tid: str = "1a2b", **how: Any) -> Answer:
        return self.post(form(data, tid, **how))

    def post(self, body: bytes) -> Answer:
        kind = {"Content-Type": f'multipart/form-data; boundary="{BOUNDARY}"'}
        return self.ask("POST", body=body, headers=kind)

    def begin_upload(self, body: bytes, sent: int) -> http.client.HTTPConnection:
        """Sends only the first ``sent`` octets of a form, and leaves the connection open."""
        credentials = self.credentials("POST")
        connection = self.connect()
        connection.putrequest("POST", "/ft")
        connection.putheader("Authorization", credentials)
        connection.putheader("Content-Type", f'multipart/form-data; boundary="{BOUNDARY}"')
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:sent])
        return connection


class ContentLab:
    """A project with a SIP server and a content server; ``settings`` are lines of [content]."""

    def __init__(
        self, directory: Path, settings: str = "", *, scheme: str = "http", port: int = 0
    ) -> None:
        self.port = port or free_port("127.0.0.1")
        listen = f'[content]\nlisten = "{scheme}:127.0.0.1:{self.port}"\n{settings}'
        users = {"alex": "secret", "bob": "secret of bob"}
        more = ("tls",) if scheme == "https" else ()
        self.server = EmbeddedServer(directory, users, settings=listen, more=more)
        self.base = f"{scheme}://127.0.0.1:{self.port}/ft"
        self.files = directory / ".rcsops" / "content"

    def client(self, **how: Any) -> Client:
        return Client(self.base, **how)

    @property
    def run(self) -> Path:
        # Not below the project when that has a long name.
        return Project.find(self.server.directory).run_dir / "content"

    @property
    def log(self) -> str:
        return (self.run / "server.log").read_text()

    @property
    def worker(self) -> int | None:
        """The process that serves now."""
        try:
            found = json.loads((self.run / "ready.json").read_text())
        except (OSError, ValueError):
            return None
        pid = int(found["pid"])
        return pid if os.path.exists(f"/proc/{pid}") else None

    def begin_upload(
        self, client: Client, data: bytes, tid: str, sent: int = 200_000, least: int = 1 << 16
    ) -> http.client.HTTPConnection:
        """Sends so much of a form, and returns when ``least`` octets of the file are on the disk;
        the connection stays open."""
        before = self._numbers()
        connection = client.begin_upload(form(data, tid), sent)

        def is_there() -> bool:
            new = self._numbers() - before
            return any((self.files / f"{each}.file").stat().st_size >= least for each in new)

        wait_until(is_there, 20, what=f"{least} octets on the disk")
        return connection

    def break_upload(self, client: Client, data: bytes, tid: str) -> None:
        """An upload that breaks off after some 64 KiB are there, and less than all."""
        self.begin_upload(client, data, tid).close()

    def _numbers(self) -> set[int]:
        return {int(path.stem) for path in self.files.glob("*.file")}

    def stored(self) -> list[str]:
        return sorted(path.name for path in self.files.glob("*.file"))


@contextlib.contextmanager
def content_lab(
    directory: Path, settings: str = "", *, scheme: str = "http"
) -> Iterator[ContentLab]:
    lab = ContentLab(directory, settings, scheme=scheme)
    with lab.server:
        yield lab
