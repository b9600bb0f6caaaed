"""Against a server of our own that breaks in the middle, changes its mind, or says no."""

import contextlib
import http.server
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rcsops.errors import EngineError
from rcsops.opensips.download import download

CONTENT = os.urandom(300_000)
Handle = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    handle_get: Handle
    ranges: list[str]

    def do_GET(self) -> None:
        self.ranges.append(self.headers.get("Range", ""))
        type(self).handle_get(self)

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def give(self, content: bytes, *, upto: int | None = None, tag: str = '"1"') -> None:
        """Answers the range that was asked for, and breaks after ``upto`` octets of it."""
        start, asked = 0, self.headers.get("Range", "")
        if asked and self.headers.get("If-Range") == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        rest = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(rest)))
        if start:
            whole = len(content)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.end_headers()
        self.wfile.write(rest[:upto])
        if upto is not None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Server:
    def __init__(self) -> None:
        self.ranges: list[str] = []
        self.handler = type("Bound", (Handler,), {"ranges": self.ranges})
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/opensips-3.0.2.tar.gz"

    def answers(self, *handles: Handle) -> None:
        """One after another, the last one for ever."""
        left = list(handles)
        self.handler.handle_get = lambda request: (left.pop(0) if len(left) > 1 else left[0])(  # type: ignore[attr-defined]
            request
        )


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def fetch(server: Server, target: Path, attempts: int = 5) -> Path:
    return download(server.url, target, attempts=attempts, first_pause=0.001, timeout=5)


def test_whole(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    server.answers(lambda request: request.give(CONTENT))
    target = tmp_path / "new" / "a.tar.gz"
    download(server.url, target, on_progress=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [each.name for each in target.parent.iterdir()] == ["a.tar.gz"]


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000, "many"])
def test_a_length_that_is_none(server: Server, tmp_path: Path, length: str) -> None:
    def give(request: Handler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", length)
        request.end_headers()
        request.wfile.write(CONTENT)
        request.close_connection = True

    server.answers(give)
    assert fetch(server, tmp_path / "a").read_bytes() == CONTENT


def test_it_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.answers(
        lambda request: request.give(CONTENT, upto=100_000),
        lambda request: request.give(CONTENT, upto=50_000),
        lambda request: request.give(CONTENT),
    )
    assert fetch(server, tmp_path / "a").read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=100000-", "bytes=150000-"]


def test_so_does_a_later_command(server: Server, tmp_path: Path) -> None:
    server.answers(lambda request: request.give(CONTENT, upto=100_000))
    with pytest.raises(EngineError, match="after 100000 of 300000 octets") as failed:
        fetch(server, tmp_path / "a", attempts=1)
    assert "--from" in failed.value.hint
    assert not (tmp_path / "a").exists()
    server.answers(lambda request: request.give(CONTENT))
    assert fetch(server, tmp_path / "a").read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=100000-"


def test_a_file_that_has_changed_begins_again(server: Server, tmp_path: Path) -> None:
    other = os.urandom(200_000)
    server.answers(
        lambda request: request.give(CONTENT, upto=100_000),
        lambda request: request.give(other, tag='"2"'),
    )
    assert fetch(server, tmp_path / "a").read_bytes() == other


def test_a_server_without_ranges(server: Server, tmp_path: Path) -> None:
    def whole(request: Handler) -> None:
        request.headers.replace_header("Range", "") if "Range" in request.headers else None
        request.give(CONTENT)

    server.answers(lambda request: request.give(CONTENT, upto=100_000), whole)
    assert fetch(server, tmp_path / "a").read_bytes() == CONTENT


def test_a_part_longer_than_the_file(server: Server, tmp_path: Path) -> None:
    server.answers(
        lambda request: request.give(CONTENT, upto=100_000),
        lambda request: request.refuse(416),
        lambda request: request.give(CONTENT),
    )
    assert fetch(server, tmp_path / "a").read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=100000-", ""]


def test_an_overloaded_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.answers(
        lambda request: request.refuse(503),
        lambda request: request.refuse(429),
        lambda request: request.give(CONTENT),
    )
    assert fetch(server, tmp_path / "a").read_bytes() == CONTENT
    server.answers(lambda request: request.refuse(500))
    with pytest.raises(EngineError, match="HTTP 500"):
        fetch(server, tmp_path / "b", attempts=2)


def test_one_that_has_no_such_file_is_not(server: Server, tmp_path: Path) -> None:
    server.answers(lambda request: request.refuse(404))
    with pytest.raises(EngineError, match="HTTP 404"):
        fetch(server, tmp_path / "a")
    assert len(server.ranges) == 1


def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.tar.gz"
        with pytest.raises(EngineError, match="Connection refused"):
            download(url, tmp_path / "a", attempts=2, first_pause=0.001)
    assert not (tmp_path / "a").exists()


def test_a_file_without_an_end(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rcsops.opensips.download.MAX_OCTETS", 100_000)
    server.answers(lambda request: request.give(CONTENT))
    with pytest.raises(EngineError, match="too large"):
        fetch(server, tmp_path / "a")
