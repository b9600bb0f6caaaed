"""mi and contacts."""

import asyncio
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from rcsops.errors import MiError, MiUnreachable
from rcsops.operations.mi import MiClient, parse_words
from rcsops.server.run_files import RunFiles
from rcsops.sip import Credential, DigestClient, Request, parse_message
from rcsops.transport import system_tokens
from tests.cli.conftest import Shell
from tests.cli.test_server import ServerShell


@pytest.fixture
def project(rcsops: Shell) -> Iterator[ServerShell]:
    made = ServerShell(rcsops)
    made.ok("user", "add", "bob", "--password-stdin", stdin="secret\n")
    made.ok("start")
    yield made
    made("stop")


def test_commands_and_their_answers(project: ServerShell) -> None:
    assert "Up time:" in project.ok("mi", "uptime").out
    assert "ul_dump" in project.ok("mi", "which").lines
    assert project.ok("mi", "version", "--json").json["Server"].startswith("rcsops (")
    found = project.ok("mi", "get_statistics", "usrloc:", "core:", "--json").json
    assert found["usrloc:registered_users"] == 0
    found = project.ok("mi", "get_statistics", 'statistics=["all"]', "--json").json
    assert "tm:inuse_transactions" in found
    assert project.ok("mi", "ul_dump", "brief=1", "--json").json["Domains"][0]["AORs"] == []


def test_refusals_have_a_line_and_exit_code_1(project: ServerShell) -> None:
    refused = project("mi", "nosuch")
    assert refused.code == 1
    assert "Method not found: the server knows no command 'nosuch'" in refused.err
    assert "hint: did you mean 'uptime'?" in project("mi", "uptim").err
    assert project("mi", "uptime", "--timeout", "0").code == 2
    refused = project("mi", "ul_rm", "location", "bob@rcs.example")
    assert "AOR not found" in refused.err
    refused = project("mi", "ul_rm")
    assert "Invalid params" in refused.err


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("typed", "line"),
    [("ul_du", "ul_dump"), ("usrloc:du", "usrloc:dump"), ("core:up", "core:uptime")],
)
def test_bash_completes_both_names_of_a_command(
    project: ServerShell, tmp_path: Path, typed: str, line: str
) -> None:
    """Bash breaks words at the colons of the new names."""
    program = tmp_path / "bin" / "rcsops"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rcsops "$@"\n')
    program.chmod(0o755)
    environment = project.shell.environment
    bash = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile"],
        cwd=str(project.shell.directory),
        env=environment | {"PATH": f"{program.parent}:{environment['PATH']}", "PS1": "ready> "},
        encoding="utf-8",
        timeout=30,
    )
    bash.sendline('eval "$(rcsops completion bash)"; echo set"_up"')
    bash.expect_exact("set_up")
    bash.expect_exact("ready> ")
    bash.send(f"rcsops mi {typed}\t")
    bash.expect_exact(f"rcsops mi {line} ")
    bash.close(force=True)


def test_contacts_of_all_and_of_one(project: ServerShell) -> None:
    assert project.ok("contacts").out == "nobody is registered\n"
    asyncio.run(_register(project.port))
    (contact,) = project.ok("contacts", "--json").json
    assert contact["user"] == "bob@rcs.example"
    assert contact["contact"].startswith("sip:bob@127.0.0.1")
    assert "sip:bob@127.0.0.1" in project.ok("contacts", "bob").out
    assert project.ok("contacts", "alex").out == "alex is not registered\n"
    (same,) = project.ok("contacts", "bob@rcs.example", "--json").json
    assert same["call_id"] == contact["call_id"]


async def _register(port: int) -> None:
    from tests.unit.server.conftest import Phone

    phone = await Phone("bob").open(port)
    from rcsops.sip import Credential, DigestClient

    credential = Credential.from_password("bob", "rcs.example", "secret")
    phone.digest = DigestClient([credential], phone.tokens)
    assert (await phone.register()).status == 200
    await phone.endpoint.close()


def test_an_account_goes_with_its_contacts_in_the_servers_memory(project: ServerShell) -> None:
    asyncio.run(_register(project.port))
    (contact,) = project.ok("user", "show", "bob", "--json").json["contacts"]
    assert contact["contact"].startswith("sip:bob@127.0.0.1")
    removed = project.ok("user", "remove", "bob", "--yes", "--json").json
    assert (removed["contacts"], removed["fault"]) == (1, "")
    assert project.ok("contacts").out == "nobody is registered\n"


def test_the_datagram_socket_serves_too(project: ServerShell) -> None:
    done = project.shell.ok("mi", "uptime", "--json", RCSOPS_MI_TRANSPORT="datagram")
    assert done.json["Up time"].endswith("[sec]")


def test_without_a_server_it_says_so(rcsops: Shell) -> None:
    for words in (("mi", "uptime"), ("contacts",)):
        done = rcsops(*words)
        assert done.code == 1
        assert "the server is not running" in done.err
        assert "rcsops start" in done.err


@pytest.mark.parametrize(
    ("words", "params"),
    [
        ([], []),
        (["a", "7", "-1"], ["a", 7, -1]),
        (["a=b", "n=3"], {"a": "b", "n": 3}),
        (['x=["a","b"]'], {"x": ["a", "b"]}),
        (["sip:bob@h;x=y", "a=b"], ["sip:bob@h;x=y", "a=b"]),
        (["[broken"], ["[broken"]),
    ],
)
def test_words_become_parameters(words: list[str], params: object) -> None:
    assert parse_words(words) == params


class FakeFifo:
    """A FIFO whose other end does what a test says."""

    def __init__(self, directory: Path) -> None:
        self.files = RunFiles(directory)
        os.mkfifo(self.files.fifo)
        self.fd = os.open(self.files.fifo, os.O_RDWR | os.O_NONBLOCK)

    def answer_with(self, data: bytes) -> threading.Thread:
        def serve() -> None:
            request = b""
            while b"\n" not in request:
                try:
                    request += os.read(self.fd, 65536)
                except BlockingIOError:
                    time.sleep(0.002)
            name = request.split(b":")[1].decode()
            with (self.files.directory / name).open("wb") as reply:
                reply.write(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeFifo]:
    made = FakeFifo(tmp_path)
    yield made
    os.close(made.fd)


def test_a_server_that_never_answers_is_given_up(fake: FakeFifo) -> None:
    started = time.monotonic()
    with pytest.raises(MiUnreachable, match="does not answer"):
        MiClient(fake.files, timeout=0.3).call("uptime")
    assert time.monotonic() - started < 3
    assert [path.name for path in fake.files.directory.iterdir()] == ["fifo"]


def test_a_fifo_without_a_server_is_seen_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(MiUnreachable, match="not running"):
        MiClient(RunFiles(tmp_path), timeout=30).call("uptime")
    with pytest.raises(MiUnreachable, match="not running"):
        MiClient(RunFiles(tmp_path), transport="datagram", timeout=30).call("uptime")


def test_a_file_in_the_place_of_the_fifo_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "fifo").write_text("mine")
    with pytest.raises(MiUnreachable, match="not a FIFO"):
        MiClient(RunFiles(tmp_path)).call("uptime")
    assert (tmp_path / "fifo").read_text() == "mine"


@pytest.mark.parametrize("data", [b"not json", b"[]", b"7", b"{}", b'"x"'])
def test_an_answer_that_is_none(fake: FakeFifo, data: bytes) -> None:
    fake.answer_with(data)
    with pytest.raises(MiError):
        MiClient(fake.files, timeout=5).call("uptime")


def test_a_large_answer_comes_whole(fake: FakeFifo) -> None:
    fake.answer_with(b'{"jsonrpc":"2.0","id":1,"result":"' + b"x" * 500_000 + b'"}')
    assert len(MiClient(fake.files).call("ul_dump")) == 500_000


def test_an_error_answer_keeps_its_code(fake: FakeFifo) -> None:
    fake.answer_with(b'{"jsonrpc":"2.0","id":1,"error":{"code":404,"message":"no","data":"why"}}')
    with pytest.raises(MiError, match=r"no \(why\)") as caught:
        MiClient(fake.files).call("ul_rm")
    assert caught.value.code == 404


def test_domains_are_shown_and_read_anew(project: ServerShell) -> None:
    assert project.ok("mi", "domain_dump", "--json").json == {"Domains": [{"name": "rcs.example"}]}
    file = project.shell.directory / "rcsops.toml"
    text = file.read_text()
    file.write_text(f'domains = ["other.example"]\naliases = ["sip.rcs.example"]\n{text}')
    assert project.ok("mi", "domain:reload").out == "OK\n"
    names = [each["name"] for each in project.ok("mi", "domain_dump", "--json").json["Domains"]]
    assert names == ["rcs.example", "other.example", "sip.rcs.example"]
    project.ok("user", "add", "ann@other.example", "--generate")
    users = project.ok("user", "list", "--json").json
    assert "other.example" in str(users)
    file.write_text(f"domains = 7\n{text}")
    refused = project("mi", "domain_reload")
    assert refused.code == 1
    assert "domains: must be a list of strings" in refused.err
    # What stops the server reads it too.
    file.write_text(text)


def _guess(port: int, count: int) -> list[int]:
    """Wrong passwords for bob, from a socket; the statuses of what came back."""
    tokens = system_tokens()
    found = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
        answers = stream.makefile("rb")
        challenge = None
        for number in range(1, count + 2):
            request = Request(
                "REGISTER",
                "sip:rcs.example",
                [
                    ("Via", f"SIP/2.0/TCP 127.0.0.1;branch={tokens.branch()}"),
                    ("Max-Forwards", "70"),
                    ("From", "<sip:bob@rcs.example>;tag=1"),
                    ("To", "<sip:bob@rcs.example>"),
                    ("Call-ID", f"guess-{number}"),
                    ("CSeq", f"{number} REGISTER"),
                ],
            )
            if challenge is not None:
                DigestClient(
                    [Credential.from_password("bob", "rcs.example", f"guess-{number}")], tokens
                ).authorize(request, challenge)
            stream.sendall(bytes(request))
            head = b"".join(iter(answers.readline, b"\r\n"))
            answer = parse_message(head + b"\r\n")
            assert not isinstance(answer, Request)
            challenge = answer if answer.status == 401 else None
            found.append(answer.status)
    return found


def test_a_ban_for_guessing_is_seen_and_lifted(rcsops: Shell) -> None:
    project = ServerShell(rcsops)
    with (project.shell.directory / "rcsops.toml").open("a") as file:
        file.write("[limits]\ntrusted = []\nlogin_failures = 3\n")
    project.ok("user", "add", "bob", "--password-stdin", stdin="secret\n")
    project.ok("start")
    try:
        assert _guess(project.port, 3) == [401] * 4
        assert project.ok("mi", "pike:list", "--json").json == {"IPs": ["127.0.0.1"]}
        (ban,) = project.ok("mi", "ban_list", "--json").json["Bans"]
        assert ban["Reason"] == "wrong passwords"
        assert _guess(project.port, 0) == [403]
        assert project.ok("mi", "pike_rm", "127.0.0.1").out == "OK\n"
        assert _guess(project.port, 0) == [401]
        refused = project("mi", "pike_rm", "192.0.2.1")
        assert (refused.code, refused.err) == (1, "error: Match not found\n")
    finally:
        project("stop")
