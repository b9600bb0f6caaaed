"""The guarded MI client against real FIFOs and sockets: dead, slow, stopped, wrong, large."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rcsops.errors import MiError, MiUnreachable, UsageError
from rcsops.operations.mi import MiClient, ask, commands
from rcsops.operations.mi_names import other_name
from rcsops.server.run_files import RunFiles

LARGE = "x" * 100_000


class Served:
    """A process that serves MI on a FIFO and on a datagram socket, as OpenSIPS does: one after the
    other, the reply into the client's own FIFO or socket."""

    PROGRAM = """
import json, os, socket, sys, threading
directory, large = sys.argv[1], "x" * 100_000
def answer(text, datagram=False):
    request = json.loads(text)
    assert isinstance(request, dict), "a batch"
    results = {"echo": request["params"], "large": large, "uptime": {"Up time": "1 [sec]"},
               "which": ["core:uptime", "usrloc:dump", "evi:list"], "core:uptime": "new"}
    reply = {"jsonrpc": "2.0", "id": request["id"]}
    if request["method"] == "kill":
        os.unlink(directory + "/fifo")
        os.unlink(directory + "/mi.sock")
        os._exit(0)
    if request["method"] == "broken":
        return "{"
    if request["method"] in ("ul_dump", "ul_sync"):
        # What does not fit, OpenSIPS's mi_datagram answers so.
        return "500 Internal error\\n" if datagram else json.dumps(reply | {"result": large})
    if request["method"] not in results:
        reply["error"] = {"code": -32601, "message": "Method not found"}
    else:
        reply["result"] = results[request["method"]]
    return json.dumps(reply)
def fifo():
    for line in stream:
        _, name, text = line.split(":", 2)
        try:
            handle = os.open(directory + "/" + name, os.O_WRONLY)
        except OSError:
            continue
        with os.fdopen(handle, "w") as reply:
            reply.write(answer(text))
def datagram():
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(directory + "/mi.sock")
    print("ready", flush=True)
    while True:
        data, client = server.recvfrom(65536)
        try:
            server.sendto(answer(data, datagram=True).encode(), client)
        except OSError:
            pass
os.mkfifo(directory + "/fifo")
# Before anybody is told that all is ready.
stream = os.fdopen(os.open(directory + "/fifo", os.O_RDWR), "r")
threading.Thread(target=fifo, daemon=True).start()
datagram()
"""

    def __init__(self, directory: Path) -> None:
        self.files = RunFiles(directory)
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, str(directory)], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stand_still(self) -> None:
        """SIGSTOP, and until it has come."""
        self.process.send_signal(signal.SIGSTOP)
        while psutil.Process(self.process.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)

    def left(self) -> list[str]:
        return sorted(each.name for each in self.files.directory.iterdir())


@pytest.fixture
def served(short_directory: Path) -> Iterator[Served]:
    made = Served(short_directory)
    yield made
    made.end()


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """With a name short enough for a socket in it."""
    import shutil
    import tempfile

    made = Path(tempfile.mkdtemp(prefix="rcsops-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


both = pytest.mark.parametrize("transport", ["fifo", "datagram"])


@both
def test_parameters_by_name_and_by_position(served: Served, transport: str) -> None:
    client = MiClient(served.files, transport=transport)
    assert client.call("echo", {"name": "ü\n", "n": 7}) == {"name": "ü\n", "n": 7}
    assert client.call("echo", ["a", 1]) == ["a", 1]
    assert served.left() == ["fifo", "mi.sock"]


@both
def test_more_than_32_kilobytes(served: Served, transport: str) -> None:
    assert MiClient(served.files, transport=transport).call("large") == LARGE


def test_what_does_not_fit_a_datagram_comes_through_the_fifo(served: Served) -> None:
    client = MiClient(served.files, transport="datagram")
    assert client.call("ul_dump") == LARGE
    # Only what changes nothing is asked twice.
    with pytest.raises(MiUnreachable, match="does not fit a datagram") as caught:
        MiClient(served.files, transport="datagram").call("ul_sync")
    assert "fifo" in caught.value.hint
    assert caught.value.running


def test_who_may_not_use_it_is_told_whose_it_is(served: Served) -> None:
    me, root = os.geteuid(), os.geteuid() == 0
    served.files.fifo.chmod(0o000 if not root else 0o600)
    names = f"{served.files.fifo.owner()}:{served.files.fifo.group()}"
    if root:
        served.files.directory.chmod(0o700)
        os.seteuid(65534)
    try:
        with pytest.raises(MiUnreachable, match="you may not use the management") as caught:
            MiClient(served.files).call("uptime")
    finally:
        os.seteuid(me)
    place = served.files.directory if root else served.files.fifo
    assert f"{place} is {names}'s, mode 0" in str(caught.value)
    assert "--group" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@both
def test_a_link_in_the_place_of_a_reply_gives_nothing_away(
    served: Served, tmp_path: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's user may put one there, in a directory that is theirs, when root asks."""
    ours = tmp_path / "ours"
    ours.touch()
    os.chown(served.files.directory, 65534, -1)
    chown = os.chown

    def after_a_swap(path: Path, *values: int, **options: bool) -> None:
        path.unlink()
        path.symlink_to(ours)
        chown(path, *values, **options)

    monkeypatch.setattr(os, "chown", after_a_swap)
    with pytest.raises(MiUnreachable):
        MiClient(served.files, transport=transport, timeout=0.5).call("uptime")
    assert ours.stat().st_uid == 0


def test_no_link_is_followed_to_a_fifo(served: Served) -> None:
    elsewhere = served.files.directory / "elsewhere"
    served.files.fifo.rename(elsewhere)
    served.files.fifo.symlink_to(elsewhere)
    with pytest.raises(MiUnreachable, match="symbolic link"):
        MiClient(served.files, timeout=0.5).call("uptime")


@both
def test_a_stopped_server_is_given_up_and_can_go_on(served: Served, transport: str) -> None:
    client = MiClient(served.files, transport=transport, timeout=0.3)
    served.stand_still()
    started = time.monotonic()
    with pytest.raises(MiUnreachable, match="does not answer") as caught:
        client.call("uptime")
    assert caught.value.running
    assert "rcsops restart" in caught.value.hint
    assert time.monotonic() - started < 3
    served.process.send_signal(signal.SIGCONT)
    assert MiClient(served.files, transport=transport).call("uptime")
    assert served.left() == ["fifo", "mi.sock"]


@both
def test_a_kill_is_done_when_the_server_has_gone(served: Served, transport: str) -> None:
    """It has no time to answer."""
    client = MiClient(served.files, transport=transport, timeout=2.0)
    assert ask(client, "kill", ()) == "OK"
    assert served.process.wait(10) == 0
    with pytest.raises(MiUnreachable, match="not running"):
        ask(client, "kill", ())


@both
def test_a_kill_is_not_done_while_the_server_is_stuck(served: Served, transport: str) -> None:
    served.stand_still()
    try:
        with pytest.raises(MiUnreachable, match="does not answer"):
            ask(MiClient(served.files, transport=transport, timeout=0.5), "kill", ())
    finally:
        served.process.send_signal(signal.SIGCONT)


@both
def test_a_dead_server_left_its_files(served: Served, transport: str) -> None:
    served.end()
    started = time.monotonic()
    with pytest.raises(MiUnreachable, match="not running") as caught:
        MiClient(served.files, transport=transport, timeout=30).call("uptime")
    assert not caught.value.running
    assert time.monotonic() - started < 3
    assert served.left() == ["fifo", "mi.sock"]


@both
def test_half_an_answer(served: Served, transport: str) -> None:
    with pytest.raises(MiUnreachable, match="is not JSON"):
        MiClient(served.files, transport=transport).call("broken")


@both
def test_both_names_of_a_command(served: Served, transport: str) -> None:
    client = MiClient(served.files, transport=transport)
    assert client.call("statistics:uptime") == {"Up time": "1 [sec]"}
    with pytest.raises(MiError) as caught:
        client.call("usrloc:nothing")
    assert caught.value.code == -32601
    assert "events_list" in commands(client)
    assert "core:uptime" in commands(client)
    assert "ul_dump" in commands(client)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("uptime", "core:uptime"),
        ("ul_show_contact", "usrloc:show_contact"),
        ("get_statistics", "statistics:get"),
        ("pike_list", "pike:list"),
        ("nh_enable_ping", "nathelper:enable_ping"),
        ("dlg_list", "dialog:list"),
        ("dlg_end_dlg", "dialog:end_dlg"),
        ("sr_list_status", "status_report:status"),
        ("events_list", "evi:list"),
        ("list_tcp_conns", "tcp:list"),
    ],
)
def test_names_go_both_ways(one: str, other: str) -> None:
    assert other_name(one) == other
    assert other_name(other) == one


def test_a_full_fifo_of_a_stuck_server(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    os.mkfifo(files.fifo)
    held = os.open(files.fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        with pytest.raises(BlockingIOError):
            while True:
                os.write(held, b"x" * 4096)
        with pytest.raises(MiUnreachable, match="does not answer"):
            MiClient(files, timeout=0.2).call("uptime")
    finally:
        os.close(held)


def _http(answer: Callable[[socket.socket], None], wrap: ssl.SSLContext | None = None) -> int:
    """A server for one connection; its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server:
            connection, _ = server.accept()
            try:
                if wrap is not None:
                    connection = wrap.wrap_socket(connection, server_side=True)
                answer(connection)
            except OSError:
                pass
            finally:
                connection.close()

    threading.Thread(target=serve, daemon=True).start()
    return int(server.getsockname()[1])


def _reply(result: object) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request or not request.rstrip().endswith(b"}"):
            request += connection.recv(65536)
        assert request.startswith(b"POST /mi ")
        assert b"application/json" in request
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    return answer


def _dripping(data: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        for number in range(100):
            connection.sendall(data[number : number + 1] or b"x")
            time.sleep(0.1)

    return answer


def _raw(data: bytes, *, then: float = 0.0) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(data)
        time.sleep(then)

    return answer


def test_http_and_a_large_answer() -> None:
    port = _http(_reply(LARGE))
    assert MiClient.at(f"http://127.0.0.1:{port}/mi").call("large") == LARGE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_raw(b"", then=2.0), "does not answer"),
        (_dripping(b"HTTP/1.1 200 OK\r\n"), "does not answer"),
        (_dripping(b"H"), "does not answer"),
        (_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{", then=2.0), "does not answer"),
        (_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{"), "is not JSON"),
        (_raw(b"not http at all\r\n\r\n"), "instead of an answer"),
        (_raw(b""), "instead of an answer|reset|closed"),
        (_raw(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), "HTTP 404"),
        (_raw(b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:1/\r\n\r\n"), "HTTP 302"),
    ],
)
def test_http_that_goes_wrong(answer: Callable[[socket.socket], None], reason: str) -> None:
    client = MiClient.at(f"http://127.0.0.1:{_http(answer)}/mi", timeout=0.5)
    started = time.monotonic()
    with pytest.raises(MiUnreachable, match=reason):
        client.call("uptime")
    assert time.monotonic() - started < 3


def test_http_with_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(MiUnreachable, match="not running"):
        MiClient.at(f"http://127.0.0.1:{port}/mi").call("uptime")


def test_https_is_believed_only_with_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    words = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    )
    files = ["-keyout", str(key), "-out", str(certificate)]
    made = subprocess.run(
        ["openssl", *words.split(), *files, "-addext", "subjectAltName=IP:127.0.0.1"],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("openssl makes no certificate here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    port = _http(_reply("yes"), context)
    assert MiClient.at(f"https://127.0.0.1:{port}/mi", ca=certificate).call("x") == "yes"
    client = MiClient.at(f"https://127.0.0.1:{_http(_dripping(b''))}/mi", timeout=0.5)
    started = time.monotonic()
    with pytest.raises(MiUnreachable):
        client.call("x")
    assert time.monotonic() - started < 3
    port = _http(_reply("no"), context)
    with pytest.raises(MiUnreachable, match="certificate is not to be trusted"):
        MiClient.at(f"https://127.0.0.1:{port}/mi").call("x")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://", "https://host:99999/mi", "http://[::1/mi", "host:1"]
)
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="not a URL"):
        MiClient.at(url)
