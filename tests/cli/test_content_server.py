"""The content server of `rcsops start`, by a client that shares no code with it."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rcsops.testing.waiting import free_port, wait_until
from tests.cli.conftest import Shell
from tests.cli.test_server import lives
from tests.content_client import Client, ContentLab, content_lab, form

PHOTO = bytes(range(256)) * 1200


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentLab]:
    settings = "max_file = 1_000_000\nidle_seconds = 2"
    with content_lab(tmp_path_factory.mktemp("content"), settings) as lab:
        yield lab


@pytest.fixture
def alex(lab: ContentLab) -> Client:
    return lab.client()


@pytest.fixture
def tid() -> str:
    """A name that no other test has."""
    return str(uuid.uuid4())


# --- a file goes and comes --------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
@pytest.mark.rfc(7616, "3.4")
def test_a_file_is_uploaded_and_fetched(lab: ContentLab, tid: str, algorithm: str) -> None:
    alex = lab.client(algorithm=algorithm)
    assert alex.ask("POST").status == 204

    answer = alex.upload(PHOTO, tid, thumbnail=b"small")

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/vnd.gsma.rcs-ft-http+xml"
    assert f"<file-size>{len(PHOTO)}</file-size>".encode() in answer.body
    got = alex.plain("GET", answer.urls["file"])
    assert (got.status, got.body) == (200, PHOTO)
    assert got.headers["Content-Type"] == "image/jpeg"
    assert got.headers["Content-Disposition"] == "attachment; filename*=UTF-8''beach.jpg"
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert alex.plain("GET", answer.urls["thumbnail"]).body == b"small"
    again = alex.ask("GET", f"/ft?tid={tid}&get_download_info")
    assert again.body == answer.body


@pytest.mark.rfc(9110, "14.1.2", "14.2", "15.5.17", "13.1.5")
def test_a_part_of_a_file_is_fetched(alex: Client, tid: str) -> None:
    url = alex.upload(PHOTO, tid).urls["file"]

    head = alex.plain("HEAD", url)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(PHOTO))
    assert head.headers["Accept-Ranges"] == "bytes"
    part = alex.plain("GET", url, headers={"Range": "bytes=1000-1999"})
    assert (part.status, part.body) == (206, PHOTO[1000:2000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(PHOTO)}"
    last = alex.plain("GET", url, headers={"Range": "bytes=-10"})
    assert (last.status, last.body) == (206, PHOTO[-10:])
    outside = alex.plain("GET", url, headers={"Range": f"bytes={len(PHOTO)}-"})
    assert outside.status == 416
    assert outside.headers["Content-Range"] == f"bytes */{len(PHOTO)}"
    same = {"Range": "bytes=5-", "If-Range": head.headers["ETag"]}
    assert alex.plain("GET", url, headers=same).body == PHOTO[5:]
    other = {"Range": "bytes=5-", "If-Range": '"another"'}
    assert alex.plain("GET", url, headers=other).body == PHOTO


def test_what_it_says_of_itself(lab: ContentLab, alex: Client, tid: str) -> None:
    alex.upload(PHOTO, tid)

    found = lab.server.json("status")["content"]

    assert (found["running"], found["url"]) == (True, lab.base)
    assert found["files"] >= 1 and found["octets"] >= len(PHOTO)
    assert f"content:  {lab.base}, pid " in lab.server.command("status").stdout


def test_secrets_are_not_in_its_log(lab: ContentLab, alex: Client, tid: str) -> None:
    url = alex.upload(PHOTO, tid).urls["file"]
    alex.plain("GET", url)

    wait_until(lambda: "GET /ft/d/…" in lab.log, what="the log")
    assert url.rpartition("/")[2] not in lab.log
    assert "Digest" not in lab.log and "response=" not in lab.log


def test_files_are_for_their_owner_alone(lab: ContentLab, alex: Client, tid: str) -> None:
    alex.upload(PHOTO, tid)

    for path in (lab.files, lab.run, *lab.files.glob("*"), lab.run / "server.log"):
        assert path.stat().st_mode & 0o077 == 0, path


# --- who may ----------------------------------------------------------------------------------


@pytest.mark.rfc(7616, "3.3", "3.4")
def test_strangers_are_refused(lab: ContentLab, alex: Client) -> None:
    refused = alex.plain("POST")
    assert refused.status == 401
    challenges = refused.headers.get_all("WWW-Authenticate")
    assert challenges is not None
    assert [each.partition("algorithm=")[2].partition(",")[0] for each in challenges] == [
        "SHA-256",
        "MD5",
    ]
    assert all('realm="rcs.example"' in each for each in challenges)
    assert lab.client(password="wrong").ask("POST").status == 401
    assert lab.client(user="nobody").ask("POST").status == 401
    assert lab.client(user="alex", password="").ask("POST").status == 401


def test_an_upload_without_credentials_is_not_read(lab: ContentLab, alex: Client) -> None:
    before = lab.stored()

    answer = alex.plain(
        "POST", body=form(PHOTO), headers={"Content-Type": "multipart/form-data; boundary=x"}
    )

    assert answer.status == 401 and answer.headers["Connection"] == "close"
    assert lab.stored() == before


@pytest.mark.rfc(7616, "5.4")
def test_credentials_count_once_and_for_one_target(alex: Client) -> None:
    credentials = alex.credentials("POST")

    assert alex.plain("GET", headers={"Authorization": credentials}).status == 401
    assert alex.plain("POST", headers={"Authorization": credentials}).status == 204
    replayed = alex.plain("POST", headers={"Authorization": credentials})
    assert replayed.status == 401
    assert "stale=true" in replayed.headers["WWW-Authenticate"]
    other = alex.plain("POST", "/ft/rcs.example", headers={"Authorization": credentials})
    assert other.status == 401


@pytest.mark.parametrize(
    "value", ["Digest", "Digest x", 'Digest username="alex"', "Basic YTpi", "\xff"]
)
def test_credentials_that_are_none(alex: Client, value: str) -> None:
    assert alex.plain("POST", headers={"Authorization": value}).status in (400, 401)


def test_a_new_password_counts_at_once(lab: ContentLab) -> None:
    lab.server.add_user("carol", "the first")
    carol = lab.client(user="carol", password="the first")
    assert carol.ask("POST").status == 204

    lab.server.command("user", "passwd", "carol", "--password-stdin", stdin="the second\n")

    assert carol.ask("POST").status == 401
    assert lab.client(user="carol", password="the second").ask("POST").status == 204


def test_another_user_cannot_go_on_with_an_upload(lab: ContentLab, alex: Client, tid: str) -> None:
    lab.break_upload(alex, PHOTO, tid)
    info = f"/ft?tid={tid}&get_upload_info"
    found = alex.ask("GET", info)
    bob = lab.client(user="bob", password="secret of bob")

    assert bob.ask("GET", info).status == 404
    _, end = found.range
    rest = PHOTO[end + 1 :]
    header = {"Content-Range": f"bytes {end + 1}-{len(PHOTO) - 1}/{len(PHOTO)}"}
    assert bob.ask("PUT", found.rest_url, rest, header).status == 403


# --- what is not there ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/ft/",
        "/ft/d/",
        "/ft/d/../../rcsops.db",
        "/ft/../.rcsops/credentials.json",
        "/ft/d/%2e%2e%2f%2e%2e%2fcontent.db",
        "/ft/d/..%2f..%2fcontent.db",
        "//etc/passwd",
        "/ft/d/1.file",
        "/ft/d/" + "A" * 43,
        "/ft/t/" + "A" * 43,
        "/ft/d/" + "A" * 43 + "/../../content.db",
        "/ft/other.example",
        "/ft/d/%00",
        "/" + "a" * 5000,
    ],
)
def test_nothing_else_is_served(alex: Client, target: str) -> None:
    answer = alex.plain("GET", target)

    assert answer.status == 404
    assert b"SQLite" not in answer.body


@pytest.mark.parametrize(
    ("method", "target"), [("DELETE", "/ft"), ("PUT", "/ft"), ("TRACE", "/ft")]
)
@pytest.mark.rfc(9110, "15.5.6")
def test_methods_that_are_not_done(alex: Client, method: str, target: str) -> None:
    answer = alex.plain(method, target)

    assert answer.status == 405
    assert answer.headers["Allow"] == "POST, GET"


@pytest.mark.parametrize(
    "query", ["", "?tid=x", "?get_upload_info", "?tid=x&get_upload_info&get_download_info"]
)
def test_a_question_that_is_none(alex: Client, query: str) -> None:
    assert alex.ask("GET", f"/ft{query}").status == 400


def test_an_unknown_transfer(alex: Client) -> None:
    for question in ("get_upload_info", "get_download_info"):
        assert alex.ask("GET", f"/ft?tid=unknown&{question}").status == 404


# --- forms that make no sense -----------------------------------------------------------------

WHOLE = form(b"0123456789", "bad")
MALFORMED = {
    "no tid": (form(b"x", None), 400),
    "an empty tid": (form(b"x", ""), 400),
    "a long tid": (form(b"x", "t" * 200), 413),
    "a tid with a control character": (form(b"x", "a\x1bb"), 400),
    "not the boundary": (b"--other\r\n\r\nx\r\n--other--\r\n", 400),
    "no end": (WHOLE[: -len("--=_frontier--\r\n") - 2], 400),
    "no file": (form(b"x", "bad")[:88].rpartition(b"--=")[0] + b"--=_frontier--\r\n", 400),
    "two files": (WHOLE.replace(b"--=_frontier--", WHOLE[68:]), 400),
    "base64": (WHOLE.replace(b"\r\n\r\n0", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n0"), 415),
    "a large thumbnail": (form(b"x", "bad", thumbnail=bytes(70_000)), 413),
    "another order": (form(b"x", "bad").replace(b'"File"', b'"Thing"'), 400),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_form_that_makes_no_sense(lab: ContentLab, alex: Client, kind: str) -> None:
    body, status = MALFORMED[kind]
    before = lab.stored()

    answer = alex.post(body)

    assert answer.status == status, answer.body
    assert lab.stored() == before
    assert alex.ask("GET", "/ft?tid=bad&get_upload_info").status == 404


def test_another_type_of_body(alex: Client) -> None:
    answer = alex.ask("POST", body=b"tid=1", headers={"Content-Type": "text/plain"})

    assert answer.status == 415


@pytest.mark.parametrize(
    ("name", "kind", "saved", "served"),
    [
        ("../../.ssh/keys", "text/html", "keys", "text/html"),
        ("a.html", "text/html\\; x", "a.html", "application/octet-stream"),
        ("ä b.txt", "nonsense", "%C3%A4%20b.txt", "application/octet-stream"),
    ],
)
def test_what_a_client_says_of_a_file_is_harmless(
    alex: Client, tid: str, name: str, kind: str, saved: str, served: str
) -> None:
    url = alex.upload(b"<script>", tid, name=name, kind=kind).urls["file"]

    got = alex.plain("GET", url)

    assert got.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{saved}"
    assert got.headers["Content-Type"] == served
    assert got.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


# --- bounds -----------------------------------------------------------------------------------


def test_a_file_that_is_too_large_is_not_even_read(lab: ContentLab, alex: Client, tid: str) -> None:
    connection = alex.begin_upload(bytes(2_000_000), 0)

    response = connection.getresponse()

    assert response.status == 413 and b"1000000 octets" in response.read()
    connection.close()


def test_a_file_that_is_a_little_too_large(lab: ContentLab, alex: Client, tid: str) -> None:
    before = lab.stored()

    assert alex.upload(bytes(1_000_001), tid).status == 413
    assert lab.stored() == before
    assert alex.upload(bytes(1_000_000), tid).status == 200


def test_a_user_has_no_more_room_than_that(tmp_path: Path) -> None:
    with content_lab(tmp_path / "lab", "per_user = 1_000_000") as lab:
        alex, bob = lab.client(), lab.client(user="bob", password="secret of bob")
        statuses = [alex.upload(PHOTO, f"room{number}").status for number in range(4)]

        assert statuses == [200, 200, 200, 507]
        assert bob.upload(PHOTO).status == 200


@pytest.mark.rfc(9110, "10.1.1")
def test_a_client_that_asks_before_it_sends(lab: ContentLab, alex: Client, tid: str) -> None:
    body = form(PHOTO, tid)
    head = (
        f"POST /ft HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary==_frontier\r\n"
    )
    with socket.create_connection(("127.0.0.1", lab.port), 10) as stranger:
        stranger.sendall(f"{head}\r\n".encode())
        assert stranger.recv(100).startswith(b"HTTP/1.1 401 ")
    signed = head.replace("boundary==_frontier", 'boundary="=_frontier"')
    with socket.create_connection(("127.0.0.1", lab.port), 10) as client:
        client.sendall(f"{signed}Authorization: {alex.credentials('POST')}\r\n\r\n".encode())
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_a_slow_sender_is_cut_off_and_can_go_on(lab: ContentLab, alex: Client, tid: str) -> None:
    body = form(PHOTO, tid)
    connection = alex.begin_upload(body, 150_000)

    # It says nothing more for two seconds.
    response = connection.getresponse()

    assert response.status == 408
    connection.close()
    found = alex.ask("GET", f"/ft?tid={tid}&get_upload_info")
    assert found.status == 200
    assert_goes_on(alex, found.range[1], found.rest_url)


def assert_goes_on(client: Client, end: int, url: str, data: bytes = PHOTO) -> None:
    """The rest is taken, and the file is whole."""
    header = {"Content-Range": f"bytes {end + 1}-{len(data) - 1}/{len(data)}"}
    answer = client.ask("PUT", url, data[end + 1 :], header)
    assert answer.status == 200, answer.body
    assert client.plain("GET", answer.urls["file"]).body == data


def test_a_slow_head_is_cut_off(lab: ContentLab) -> None:
    with socket.create_connection(("127.0.0.1", lab.port), 20) as slow:
        slow.sendall(b"POST /ft HTTP/1.1\r\nHost: x\r\n")
        assert slow.recv(100) == b""


def test_a_head_that_never_ends(lab: ContentLab) -> None:
    with socket.create_connection(("127.0.0.1", lab.port), 20) as client:
        client.sendall(b"GET /ft HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000)
        assert client.recv(100).startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert Client(lab.base).ask("POST").status == 204


@pytest.mark.parametrize(
    "data",
    [b"\0\xff\x16\x03", b"GET\r\n\r\n", b"\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n", b"x" * 70_000],
)
def test_what_is_no_http(lab: ContentLab, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", lab.port), 20) as client:
        client.sendall(data + b"\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        client.recv(1000)
    assert Client(lab.base).ask("POST").status == 204


# --- uploads that break -----------------------------------------------------------------------


@pytest.mark.parametrize("sent", [0, 50, 300])
def test_nothing_of_the_file_came(alex: Client, tid: str, sent: int) -> None:
    alex.begin_upload(form(PHOTO, tid), sent).close()

    assert alex.ask("GET", f"/ft?tid={tid}&get_upload_info").status == 404
    assert alex.upload(PHOTO, tid).status == 200


def test_an_upload_begins_anew(lab: ContentLab, alex: Client, tid: str) -> None:
    lab.break_upload(alex, PHOTO, tid)

    answer = alex.upload(PHOTO[::-1], tid)

    assert answer.status == 200
    assert alex.plain("GET", answer.urls["file"]).body == PHOTO[::-1]
    assert alex.upload(PHOTO, tid).status == 409


def test_a_client_that_takes_its_upload_for_broken(lab: ContentLab, alex: Client, tid: str) -> None:
    old = lab.begin_upload(alex, PHOTO, tid)

    found = alex.ask("GET", f"/ft?tid={tid}&get_upload_info")

    assert_goes_on(alex, found.range[1], found.rest_url)
    old.close()


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("bytes 0-99/300000", 400),
        ("bytes 5-307199/307200", 409),
        ("nonsense", 400),
        ("bytes 5-9999999/10000000", 400),
        ("", 400),
    ],
)
def test_a_rest_that_does_not_fit(
    lab: ContentLab, alex: Client, tid: str, header: str, status: int
) -> None:
    lab.break_upload(alex, PHOTO, tid)
    found = alex.ask("GET", f"/ft?tid={tid}&get_upload_info")

    answer = alex.ask("PUT", found.rest_url, PHOTO[5:], {"Content-Range": header})

    assert answer.status == status, answer.body
    assert_goes_on(alex, found.range[1], found.rest_url)


def test_the_server_is_killed_in_the_middle(lab: ContentLab, alex: Client, tid: str) -> None:
    data = os.urandom(900_000)
    broken = lab.begin_upload(alex, data, tid, 700_000, 300_000)
    victim = lab.worker
    assert victim is not None

    os.kill(victim, signal.SIGKILL)

    wait_until(lambda: lab.worker not in (None, victim), timeout=30, what="another server")
    found = alex.ask("GET", f"/ft?tid={tid}&get_upload_info")
    assert found.status == 200 and 300_000 <= found.range[1] < 700_000
    assert_goes_on(alex, found.range[1], found.rest_url, data)
    assert "ended by itself (-9)" in lab.log
    broken.close()


# --- servers of their own ---------------------------------------------------------------------


def test_files_outlive_a_restart_and_halves_do_not_count(tmp_path: Path) -> None:
    with content_lab(tmp_path / "lab") as lab:
        alex = lab.client()
        url = alex.upload(PHOTO, "kept").urls["file"]
        lab.break_upload(alex, PHOTO, "half")
        old = lab.worker

        lab.server.command("restart")

        wait_until(lambda: lab.worker not in (None, old), timeout=30, what="another server")
        assert alex.plain("GET", url).body == PHOTO
        found = alex.ask("GET", "/ft?tid=half&get_upload_info")
        assert found.status == 200
        assert lab.server.json("status")["content"]["files"] == 1
        assert alex.ask("GET", "/ft?tid=half&get_download_info").status == 404


def test_what_has_expired_is_removed(tmp_path: Path) -> None:
    with content_lab(tmp_path / "lab", "expires = 1\nunfinished = 1") as lab:
        alex = lab.client()
        url = alex.upload(PHOTO, "short").urls["file"]
        alex.begin_upload(form(PHOTO, "half"), 200_000).close()

        wait_until(lambda: alex.plain("GET", url).status in (404, 410), what="the end")
        wait_until(lambda: not lab.stored(), timeout=20, what="the removal")
        assert alex.ask("GET", "/ft?tid=half&get_upload_info").status == 404


def test_a_full_server_says_when_to_come_again(tmp_path: Path) -> None:
    with content_lab(tmp_path / "lab", "total = 500_000") as lab:
        alex = lab.client()
        assert alex.upload(PHOTO, "one").status == 200

        refused = alex.upload(PHOTO, "two")

        assert refused.status == 503 and int(refused.headers["Retry-After"]) > 0


def test_only_so_many_connections(tmp_path: Path) -> None:
    with content_lab(tmp_path / "lab", "connections = 4") as lab:
        held = [socket.create_connection(("127.0.0.1", lab.port), 10) for _ in range(4)]
        try:
            for each in held:
                each.sendall(b"GET /ft HTTP/1.1\r\nHost: x\r\n\r\n")
                assert each.recv(100).startswith(b"HTTP/1.1 401 ")
            with socket.create_connection(("127.0.0.1", lab.port), 10) as one_more:
                assert one_more.recv(100).startswith(b"HTTP/1.1 503 ")
        finally:
            for each in held:
                each.close()
        wait_until(lambda: lab.client().plain("POST").status == 401, what="room")


def test_over_https(tmp_path: Path) -> None:
    with content_lab(tmp_path / "lab", scheme="https") as lab:
        context = ssl.create_default_context(cafile=tmp_path / "lab" / ".rcsops" / "tls" / "ca.pem")
        alex = lab.client(tls=context)

        answer = alex.upload(PHOTO)

        assert answer.urls["file"].startswith("https://127.0.0.1:")
        assert alex.plain("GET", answer.urls["file"]).body == PHOTO


def test_downloads_for_users_alone(tmp_path: Path) -> None:
    with content_lab(tmp_path / "lab", 'downloads = "digest"') as lab:
        alex = lab.client()
        url = alex.upload(PHOTO).urls["file"]

        assert alex.plain("GET", url).status == 401
        bob = lab.client(user="bob", password="secret of bob")
        assert bob.ask("GET", url).body == PHOTO


def test_it_ends_with_the_sip_server(tmp_path: Path) -> None:
    with content_lab(tmp_path / "lab") as lab:
        os.kill(lab.server.json("status")["pid"], signal.SIGKILL)

        wait_until(lambda: lab.worker is None, timeout=20, what="its end")

        lab.server.command("start")
        assert lab.client().ask("POST").status == 204
        lab.server.command("stop")
        assert lab.worker is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_start_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    lab = ContentLab(tmp_path / "lab")
    lab.server.directory.mkdir()
    (lab.server.directory / "rcsops.toml").write_text(lab.server.settings_text)
    lab.server.command("db", "create")
    starting = subprocess.Popen(
        [sys.executable, "-m", "rcsops", "start"],
        cwd=lab.server.directory,
        env=lab.server.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def children() -> dict[str, psutil.Process]:
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(starting.pid).children()
            named = {module: each for each in found for module in each.cmdline()}
            return named if {"rcsops.server", "rcsops.content"} <= named.keys() else {}
        return {}

    found = wait_until(children, what="both servers")
    content = found["rcsops.content"]
    try:
        # So that the start has to wait for it.
        content.suspend()
        starting.send_signal(number)

        assert starting.wait(30) != 0
        for module in ("rcsops.server", "rcsops.content"):
            assert not lives(found[module].pid), module
        assert "not running" in lab.server.command("status", check=False).stdout
    finally:
        starting.kill()
        for module in ("rcsops.server", "rcsops.content"):
            with contextlib.suppress(psutil.NoSuchProcess):
                found[module].kill()


def test_one_that_cannot_start_says_why(tmp_path: Path) -> None:
    lab = ContentLab(tmp_path / "lab")
    with socket.create_server(("127.0.0.1", lab.port)):
        lab.server.directory.mkdir()
        (tmp_path / "lab" / "rcsops.toml").write_text(lab.server.settings_text)
        lab.server.command("db", "create")
        try:
            started = lab.server.command("start", check=False)

            assert started.returncode == 1
            assert "the SIP server runs" in started.stderr
            assert f"cannot listen at http:127.0.0.1:{lab.port}" in started.stderr
            assert "or choose another port: `content.listen`" in started.stderr
            status = lab.server.command("status")
            assert "content:  NOT RUNNING" in status.stdout
        finally:
            lab.server.stop()


def test_https_without_a_certificate(rcsops: Shell) -> None:
    port = free_port()
    (rcsops.directory / "rcsops.toml").write_text(
        f'listen = "udp:127.0.0.1:{free_port()}"\n[content]\nlisten = "https:127.0.0.1:{port}"\n'
    )
    rcsops.ok("db", "create")
    try:
        started = rcsops("start")
        assert started.code == 1
        assert "there is no certificate" in started.err and "rcsops certs" in started.err
    finally:
        rcsops("stop")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('listen = "ftp:127.0.0.1:21"', "is not an address to listen at"),
        ('listen = "http:0.0.0.0:8080"', "content.url"),
        ('url = "https://files.example/path"', "has a path"),
        ('downloads = "everybody"', "is not one of url, digest"),
        ("max_file = 0", "is not between"),
    ],
)
def test_settings_that_make_no_sense(rcsops: Shell, line: str, reason: str) -> None:
    (rcsops.directory / "rcsops.toml").write_text(f"[content]\n{line}\n")

    done = rcsops("status")

    assert done.code == 1 and reason in done.err
