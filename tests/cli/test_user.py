import hashlib
import json
import re
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pexpect
import pytest

from tests.cli.conftest import Shell

PASSWORD = "correct horse ß"


@pytest.fixture(scope="session")
def created(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A project after ``rcsops db create``: made once, copied for each test."""
    shell = Shell(tmp_path_factory.mktemp("created"))
    shell.ok("db", "create")
    return shell


@pytest.fixture
def project(created: Shell, rcsops: Shell) -> Shell:
    shutil.copytree(created.home, rcsops.home, dirs_exist_ok=True)
    return rcsops


def rows(shell: Shell, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(shell.state / "rcsops.db")) as connection:
        found = connection.execute(statement).fetchall()
        connection.commit()
        return found


def credentials(shell: Shell) -> dict[str, dict[str, str]]:
    loaded: dict[str, dict[str, str]] = json.loads((shell.state / "credentials.json").read_text())
    return loaded


def everything(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_only_hashes_of_the_password_are_stored(project: Shell) -> None:
    project.ok("user", "add", "bob", "--password-stdin", stdin=f"{PASSWORD}\nsecond line\n")
    text = f"bob:rcs.example:{PASSWORD}".encode()
    expected = {
        "MD5": hashlib.md5(text).hexdigest(),
        "SHA-256": hashlib.sha256(text).hexdigest(),
        "SHA-512-256": hashlib.new("sha512_256", text).hexdigest(),
    }
    found = rows(
        project,
        "SELECT username, domain, password, ha1, ha1_sha256, ha1_sha512t256 FROM subscriber",
    )
    assert found == [("bob", "rcs.example", "", *expected.values())]
    assert credentials(project) == {"bob@rcs.example": expected}
    assert PASSWORD.encode() not in everything(project.home)


def test_on_a_pipe_a_password_is_made_and_said(project: Shell) -> None:
    done = project.ok("user", "add", "bob")
    first, second = done.lines
    assert first == "added bob@rcs.example"
    password = second.removeprefix("password: ")
    assert len(password) == 23
    assert "generated" in done.err
    text = f"bob:rcs.example:{password}".encode()
    assert credentials(project)["bob@rcs.example"]["MD5"] == hashlib.md5(text).hexdigest()
    assert password.encode() not in everything(project.home)


def test_a_generated_password_is_in_the_json_and_a_given_one_is_not(project: Shell) -> None:
    made = project.ok("user", "add", "bob", "--generate", "--json").json
    assert made["user"] == "bob@rcs.example"
    assert made["algorithms"] == ["MD5", "SHA-256", "SHA-512-256"]
    assert made["generated"] is True
    given = project.ok("user", "add", "alex", "--password-stdin", "--json", stdin=PASSWORD).json
    assert "password" not in given
    again = project.ok("user", "passwd", "bob", "--json").json
    assert again["password"] != made["password"]


def test_on_a_terminal_it_asks_twice_and_shows_nothing(project: Shell) -> None:
    terminal = project.terminal("user", "add", "bob")
    for answer in (PASSWORD, "something else", PASSWORD, PASSWORD):
        terminal.expect(": $")
        terminal.sendline(answer)
    terminal.expect("added bob@rcs.example")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    text = f"bob:rcs.example:{PASSWORD}".encode()
    assert credentials(project)["bob@rcs.example"]["MD5"] == hashlib.md5(text).hexdigest()


def test_a_terminal_is_not_asked_in_vain(project: Shell) -> None:
    project.ok("user", "add", "bob", "--generate")
    for words in (["add", "bob"], ["passwd", "nobody"], ["remove", "nobody"]):
        terminal = project.terminal("user", *words)
        terminal.expect("error: ")
        assert "Password" not in (terminal.before or "")
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 1


def test_before_there_is_a_database_it_says_what_to_type(rcsops: Shell) -> None:
    done = rcsops("user", "add", "bob")
    assert done.code == 1
    assert done.err.splitlines()[1] == "hint: type: rcsops db create"
    assert not rcsops.state.exists()


def test_a_name_with_odd_characters_is_stored_as_text(project: Shell) -> None:
    typed = "sip:bob');%20DROP%20TABLE%20subscriber;--@RCS.EXAMPLE"
    stored = "bob');%20DROP%20TABLE%20subscriber;--"
    project.ok("user", "add", typed, "--generate")
    assert rows(project, "SELECT username FROM subscriber") == [(stored,)]
    assert project.ok("user", "show", "--json", stored).json["local"] is True
    project.ok("user", "remove", "--yes", stored)
    assert rows(project, "SELECT username FROM subscriber") == []


def test_a_name_that_is_none_is_refused_and_obeys_no_escape_sequence(project: Shell) -> None:
    done = project("user", "add", "--generate", "bob\x1b[2J")
    assert done.code == 2
    assert "cannot be a SIP user" in done.err
    assert "\x1b" not in done.err
    assert rows(project, "SELECT username FROM subscriber") == []


def test_a_password_that_protects_nothing_is_refused(project: Shell) -> None:
    done = project("user", "add", "bob", "--password-stdin", stdin="short\n")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: the password has fewer than 6 characters",
        "hint: --generate makes a good one",
    ]
    assert rows(project, "SELECT username FROM subscriber") == []


def test_the_two_ways_to_a_password_exclude_each_other(project: Shell) -> None:
    done = project("user", "add", "bob", "--generate", "--password-stdin", stdin="abcdefgh")
    assert done.code == 2
    assert "exclude each other" in done.err


def test_adding_twice_is_an_error_and_changes_nothing(project: Shell) -> None:
    project.ok("user", "add", "bob", "--generate")
    before = credentials(project)
    done = project("user", "add", "bob", "--generate")
    assert done.code == 1
    assert done.err.splitlines() == [
        "error: bob@rcs.example is there already",
        "hint: for a new password: rcsops user passwd bob",
    ]
    assert credentials(project) == before


def test_a_new_password_replaces_the_old_everywhere(project: Shell) -> None:
    project.ok("user", "add", "bob", "--generate")
    project.ok("user", "passwd", "bob", "--password-stdin", stdin=PASSWORD)
    md5 = hashlib.md5(f"bob:rcs.example:{PASSWORD}".encode()).hexdigest()
    assert rows(project, "SELECT ha1 FROM subscriber") == [(md5,)]
    assert credentials(project)["bob@rcs.example"]["MD5"] == md5
    done = project("user", "passwd", "bop", "--generate")
    assert done.code == 1
    assert "hint: did you mean 'bob'?" in done.err


def test_lists_are_filtered_sorted_and_paged(project: Shell) -> None:
    assert project.ok("user", "list").err == "no users yet; type: rcsops user add bob\n"
    for name in ("carol", "alex", "bob"):
        project.ok("user", "add", name, "--generate")
    shown = project.ok("user", "list").lines
    assert [line.split()[0] for line in shown] == [
        "USER",
        "alex@rcs.example",
        "bob@rcs.example",
        "carol@rcs.example",
    ]
    assert shown[1].endswith("MD5, SHA-256, SHA-512-256")
    page = project.ok("user", "list", "--sort", "id", "--reverse", "--limit", "1", "--json").json
    assert [each["user"] for each in page["users"]] == ["bob@rcs.example"]
    assert page["total"] == 3
    paged = project.ok("user", "list", "--offset", "1", "--limit", "1")
    assert paged.lines[1].startswith("bob@")
    assert paged.err == "1 of 3\n"
    assert project.ok("user", "list", "a*", "--json").json["total"] == 1
    assert project.ok("user", "list", "--lacking", "md5", "--json").json["total"] == 0
    assert project.ok("user", "list", "nobody").err == "no such user\n"


def test_show_has_the_contacts_and_obeys_no_escape_sequence(project: Shell) -> None:
    project.ok("user", "add", "bob", "--generate")
    later = int(time.time()) + 600
    rows(
        project,
        "INSERT INTO location (username, domain, contact, expires, user_agent) VALUES "
        f"('bob', 'rcs.example', 'sip:bob@192.0.2.1:5070', {later}, 'evil' || char(27) || '[2J'),"
        f"('bob', 'rcs.example', 'sip:bob@192.0.2.2', {later - 10000}, 'gone'),"
        f"('alex', 'rcs.example', 'sip:alex@192.0.2.3', {later}, 'other')",
    )
    rows(
        project,
        "INSERT INTO silo (username, domain, body) VALUES ('bob', 'rcs.example', 'hello')",
    )
    shown = project.ok("user", "show", "bob").out
    assert "sip:bob@192.0.2.1:5070" in shown
    assert "192.0.2.2" not in shown
    assert "\x1b" not in shown
    assert "evil\\x1b[2J" in shown
    found = project.ok("user", "show", "bob", "--json").json
    assert found["messages"] == 1
    assert found["local"] is True
    assert [each["contact"] for each in found["contacts"]] == ["sip:bob@192.0.2.1:5070"]
    removed = project.ok("user", "remove", "bob", "--yes", "--json").json
    assert removed == {"user": "bob@rcs.example", "contacts": 2, "messages": 1, "fault": ""}
    assert rows(project, "SELECT username FROM location") == [("alex",)]
    assert rows(project, "SELECT count(*) FROM silo") == [(0,)]
    assert credentials(project) == {}


def test_remove_asks(project: Shell) -> None:
    project.ok("user", "add", "bob", "--generate")
    assert project("user", "remove", "bob").code == 2
    terminal = project.terminal("user", "remove", "bob")
    terminal.expect("Remove bob@rcs.example with contacts and waiting messages")
    terminal.sendline("")
    terminal.expect("Nothing was changed")
    terminal.expect(pexpect.EOF)
    assert project.ok("user", "list", "--json").json["total"] == 1


def test_a_spoilt_file_of_credentials_stops_it_before_the_database(project: Shell) -> None:
    (project.state / "credentials.json").write_text("{")
    done = project("user", "add", "bob", "--generate")
    assert done.code == 1
    assert "credentials.json" in done.err
    assert rows(project, "SELECT username FROM subscriber") == []


def test_a_table_fits_the_terminal(project: Shell) -> None:
    project.ok("user", "add", "x" * 64, "--generate")
    terminal = project.terminal("user", "list")
    terminal.setwinsize(24, 80)
    terminal.expect(pexpect.EOF)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.before or "").splitlines()
    assert len(lines) == 2
    assert all(len(line) <= 80 for line in lines)
