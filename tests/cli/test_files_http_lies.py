"""Content servers that lie, break and refuse, towards `rcsops send` and `rcsops listen`."""

import contextlib
import json
import os
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from rcsops.rcs import FileInfo, StoredFile
from rcsops.rcs.fthttp import make_file_info
from tests.cli.chatting import Finished, Lab
from tests.cli.test_scripts import listening, rcsops

DATA = os.urandom(200_000)
XML = "Content-Type: application/vnd.gsma.rcs-ft-http+xml"
JPEG = "Content-Type: image/jpeg"


def answer(status: int, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, "Connection: close", *headers, "", ""]).encode() + body


class Server(socketserver.ThreadingTCPServer):
    """Answers what is asked for by ``up`` (POST) or ``down`` (GET of the file), in raw octets."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.up: Callable[[], bytes] = self.document
        self.down: Callable[[str], bytes] = lambda _head: answer(200, DATA, JPEG)
        self.asked: list[str] = []

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/ft"

    def document(self) -> bytes:
        stored = StoredFile(f"{self.base}/d/x", len(DATA), "image/jpeg")
        return answer(200, make_file_info(FileInfo(stored, "beach.jpg")), XML)


class Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        lines = []
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            lines.append(line)
        if not lines:
            return
        head = "\n".join(lines)
        self.server.asked.append(head)
        length = re.search(r"(?im)^content-length: (\d+)", head)
        size = int(length[1]) if length else 0
        with contextlib.suppress(OSError):
            self.rfile.read(size)
            if head.startswith("POST"):
                self.wfile.write(self.server.up() if size else answer(204))
            elif "/d/x" in lines[0]:
                self.wfile.write(self.server.down(head))
            else:
                self.wfile.write(answer(404))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lies")) as lab:
        yield lab


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "beach.jpg"
    path.write_bytes(DATA)
    return path


def upload(
    lab: Lab, server: Server, alex: str, bob: str, photo: Path, *, seconds: int = 0
) -> Finished:
    settings = {
        "RCSOPS_AGENT_CONTENT": server.base,
        "RCSOPS_FILES_RESUME_SECONDS": str(seconds),
    }
    return rcsops(lab, "send", alex, bob, "--file", str(photo), "--via", "http", **settings)


class Came(NamedTuple):
    code: int
    told: str
    files: list[str]
    kept: list[Path]


def fetch(lab: Lab, server: Server, photo: Path, got: Path) -> Came:
    """Bob listens for one message whose file is at the server; what came of it."""
    alex, bob = lab.users("alex", "bob")
    done = upload(lab, server, alex, bob, photo)
    assert done.code == 0, done.err
    settings = {"RCSOPS_AGENT_CONTENT": server.base, "RCSOPS_FILES_RESUME_SECONDS": "0"}
    with listening(lab, bob, "--files", str(got), "--count", "1", **settings) as listener:
        code = listener.ended()
    # What is not begun makes no directory.
    files = sorted(each.name for each in got.iterdir()) if got.exists() else []
    kept = list(lab.project.make_agent_dir(f"{bob}@rcs.example").glob("transfers/*.json"))
    return Came(code, "\n".join(listener.err), files, kept)


class Refusal(NamedTuple):
    octets: Callable[[], bytes]
    words: str


RANGE = "Content-Range: bytes {}-{}/{}"
DOWN = {
    "too short": Refusal(lambda: answer(200, DATA[:-1], JPEG), "199999 octets, and 200000 were"),
    "too long": Refusal(lambda: answer(200, DATA + b"x", JPEG), "200001 octets, and 200000 were"),
    "without an end": Refusal(
        lambda: b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n" + DATA * 20, "more came than was"
    ),
    "chunks without an end": Refusal(
        lambda: (
            b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"8000\r\n" + bytes(0x8000) + b"\r\n" for _ in range(50))
        ),
        "more came than was",
    ),
    "another type": Refusal(
        lambda: answer(200, DATA, "Content-Type: text/html"), "the file is text/html"
    ),
    "a hash that is wrong": Refusal(
        lambda: answer(200, DATA, JPEG, f"Repr-Digest: sha-256=:{'A' * 43}=:"), "the hash is not"
    ),
    "gzip": Refusal(
        lambda: answer(200, DATA, "Content-Encoding: gzip"), "the file in another encoding"
    ),
    "elsewhere": Refusal(
        lambda: answer(302, b"", "Location: http://127.0.0.1:1/x"), "leads elsewhere"
    ),
    "another scheme": Refusal(
        lambda: answer(301, b"", "Location: file:///etc/passwd"), "leads elsewhere"
    ),
    "a part of another file": Refusal(
        lambda: answer(206, DATA, RANGE.format(0, 199_999, 999_999)), "a part of another file"
    ),
    "another part": Refusal(
        lambda: answer(206, DATA[5:], RANGE.format(5, 199_999, 200_000)), "not asked for"
    ),
    "401": Refusal(lambda: answer(401, b"", "WWW-Authenticate: Basic realm=x"), "our password"),
    "403": Refusal(lambda: answer(403), "does not allow it"),
    "404": Refusal(lambda: answer(404, b"\x1b[31mno", "Content-Type: text/plain"), "no such file"),
    "410": Refusal(lambda: answer(410), "has expired"),
}


@pytest.mark.parametrize("lie", DOWN)
def test_what_was_not_promised_is_not_kept(
    lab: Lab, server: Server, photo: Path, tmp_path: Path, lie: str
) -> None:
    server.down = lambda _head: DOWN[lie].octets()
    came = fetch(lab, server, photo, tmp_path / "got")
    assert (came.code, came.files, came.kept) == (1, [], [])
    assert "beach.jpg not received: " in came.told and DOWN[lie].words in came.told
    assert "\x1b" not in came.told


def test_a_part_is_kept_where_it_may_go_on(
    lab: Lab, server: Server, photo: Path, tmp_path: Path
) -> None:
    half = answer(200, DATA[:100_000], JPEG, 'ETag: "e"', length=len(DATA))
    server.down = lambda head: answer(500) if "range:" in head.lower() else half
    came = fetch(lab, server, photo, tmp_path / "got")
    assert came.code == 1 and "beach.jpg is interrupted at 100.0 kB of 200.0 kB" in came.told
    (part,) = came.files
    assert part.startswith(".rcsops-") and len(came.kept) == 1
    assert (tmp_path / "got" / part).read_bytes() == DATA[:100_000]
    facts = json.loads(came.kept[0].read_text())
    assert (facts["octets"], facts["validator"]) == (100_000, '"e"')
    asked = server.asked[-1].lower()
    assert "range: bytes=100000-" in asked and 'if-range: "e"' in asked


def test_a_busy_server_is_asked_again_when_it_says(
    lab: Lab, server: Server, photo: Path, tmp_path: Path
) -> None:
    answers = [answer(503, b"", "Retry-After: 1"), answer(503), answer(200, DATA, JPEG)]
    server.down = lambda _head: answers.pop(0)
    came = fetch(lab, server, photo, tmp_path / "got")
    assert (came.code, came.files) == (0, ["beach.jpg"]), came.told


def test_a_reset_in_the_middle_and_a_server_without_ranges(
    lab: Lab, server: Server, photo: Path, tmp_path: Path
) -> None:
    answers = [answer(200, DATA[:70_000], JPEG, length=len(DATA)), answer(200, DATA, JPEG)]
    server.down = lambda _head: answers.pop(0)
    came = fetch(lab, server, photo, tmp_path / "got")
    assert (came.code, came.files) == (0, ["beach.jpg"]), came.told
    assert (tmp_path / "got" / "beach.jpg").read_bytes() == DATA


BOMB = b'<?xml version="1.0"?><!DOCTYPE f [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><file>&b;</file>'
UP = {
    "HTML": Refusal(
        lambda: answer(200, b"<html><p>Hello", "Content-Type: text/html"), "is no file:"
    ),
    "entities": Refusal(lambda: answer(200, BOMB, XML), "is no file:"),
    "huge XML": Refusal(lambda: answer(200, b"<file>" + b"<a/>" * 50_000, XML), "is too long"),
    "another size": Refusal(
        lambda: answer(
            200,
            make_file_info(FileInfo(StoredFile("https://h.example/x", 5, "a/b"), "n")),
            XML,
        ),
        "has 5 of 200000 octets",
    ),
    "elsewhere": Refusal(
        lambda: answer(307, b"", "Location: http://127.0.0.1:1/ft"), "leads elsewhere"
    ),
    "401": Refusal(lambda: answer(401, b"", "WWW-Authenticate: Basic realm=x"), "our password"),
    "403": Refusal(lambda: answer(403), "does not allow it"),
    "413": Refusal(lambda: answer(413), "the file is too large"),
    "507": Refusal(lambda: answer(507), "no more room"),
}


@pytest.mark.parametrize("lie", UP)
def test_an_upload_that_is_refused_is_not_told_of(
    lab: Lab, server: Server, photo: Path, lie: str
) -> None:
    alex, bob = lab.users("alex", "bob")
    server.up = UP[lie].octets
    done = upload(lab, server, alex, bob, photo)
    assert done.code == 1 and UP[lie].words in done.err and done.out == ""
    assert json.loads(rcsops(lab, "history", alex, "--json").out)["messages"] == []
    assert not list(lab.project.make_agent_dir(f"{alex}@rcs.example").glob("transfers/*.json"))


def test_an_upload_that_may_go_on_later(lab: Lab, server: Server, photo: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    server.up = lambda: answer(503, b"", "Retry-After: 0")
    done = upload(lab, server, alex, bob, photo)
    assert done.code == 1 and "the content server is busy" in done.err
    assert "the same command goes on from there" in done.err
    server.up = server.document
    assert upload(lab, server, alex, bob, photo).code == 0


def test_a_server_that_is_at_a_loss_is_given_up_and_the_user_knows_what_is_waited_for(
    lab: Lab, server: Server, photo: Path
) -> None:
    """However long a connection that breaks would be tried again."""
    alex, bob = lab.users("alex", "bob")
    server.up = lambda: answer(500)
    done = upload(lab, server, alex, bob, photo, seconds=86_400)
    assert done.code == 1 and done.out == ""
    waited = re.findall(
        r"beach.jpg is interrupted at 200.0 kB of 200.0 kB: it was tried again and again: the "
        r"content server answered 500; trying again in \d+ s, for (\d+) s at most",
        done.err,
    )
    assert len(waited) == 5 and all(86_000 < int(each) <= 86_400 for each in waited)
    assert "the same command goes on from there" in done.err
    assert sum(each.startswith("POST") for each in server.asked) >= 6
    server.up = server.document
    assert upload(lab, server, alex, bob, photo).code == 0


def test_a_file_that_has_expired_is_not_asked_for(
    lab: Lab, server: Server, photo: Path, tmp_path: Path
) -> None:
    document = server.document().replace(b"/d/x", b'/d/x" until="2020-01-01T00:00:00Z')
    length = len(document.partition(b"\r\n\r\n")[2])
    server.up = lambda: re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % length, document)
    came = fetch(lab, server, photo, tmp_path / "got")
    assert (came.code, came.files, came.kept) == (1, [], [])
    assert "the file was kept until 2020-01-01 00:00 UTC" in came.told
    assert not any("/d/x" in head for head in server.asked)
