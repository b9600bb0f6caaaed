"""``rcsops chat`` in an empty directory: the first steps, and the server that it starts."""

from collections.abc import Iterator

import pexpect
import pytest

from rcsops.testing import free_port
from tests.cli.conftest import Shell

PASSWORD = "a long password"


@pytest.fixture
def steps(rcsops: Shell) -> Iterator[Shell]:
    """A person in an empty directory, on a machine where port 5060 may be taken."""
    port = free_port()
    rcsops.environment["RCSOPS_LISTEN"] = f"udp:127.0.0.1:{port},tcp:127.0.0.1:{port}"
    rcsops.environment["LANG"] = "C.UTF-8"
    yield rcsops
    rcsops("stop")


def add_bob(steps: Shell) -> None:
    steps.ok("db", "create")
    steps.ok("user", "add", "bob", "--password-stdin", stdin=PASSWORD)


def test_what_is_missing_is_named_one_by_one(steps: Shell) -> None:
    for command in ("rcsops db create", "rcsops user add bob", "rcsops start"):
        done = steps("chat", "bob")
        assert done.code == 1
        assert done.out == ""
        error, hint = done.err.splitlines()
        assert error.startswith("error: ")
        assert hint.startswith("hint: ")
        assert command in hint
        if command == "rcsops db create":
            steps.ok("db", "create")
        elif command == "rcsops user add bob":
            steps.ok("user", "add", "bob", "--password-stdin", stdin=PASSWORD)
    steps.ok("start")
    steps.ok("chat", "bob")
    assert list(steps.directory.iterdir()) == []


def test_the_server_is_offered(steps: Shell) -> None:
    add_bob(steps)
    screen = steps.terminal("chat", "bob", "--plain")
    screen.expect_exact("No server runs here. Start it? [Y/n]: ")
    screen.sendline("n")
    screen.expect_exact("error: no server runs here")
    screen.expect_exact("hint: type: rcsops start (or add --start)")
    screen.expect(pexpect.EOF)
    screen.close()
    assert screen.exitstatus == 1
    screen = steps.terminal("chat", "bob", "--plain")
    screen.expect_exact("[Y/n]: ")
    screen.sendline("y")
    screen.expect_exact("server started at udp:127.0.0.1:")
    screen.expect_exact("waiting for an invitation")
    screen.expect_exact("bob>")
    screen.send("\x04")
    screen.expect_exact("unregistered; good bye")
    screen.expect(pexpect.EOF)
    screen.close()
    assert screen.exitstatus == 0
    # It goes on for who chats next.
    assert steps.ok("status", "--json").json["running"] is True


def test_start_unasked(steps: Shell) -> None:
    add_bob(steps)
    done = steps("chat", "bob", "--start")
    assert done.code == 0
    assert "server started at udp:127.0.0.1:" in done.err
    assert "registered as bob" in done.out
    again = steps("chat", "bob", "--start", "--json")
    assert again.code == 0
    assert again.err == ""
