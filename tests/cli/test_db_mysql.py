"""``rcsops db`` and ``rcsops user`` on a MariaDB, as a person types them."""

import itertools
import json
from pathlib import Path

import pytest

from rcsops.testing.mariadb import MariaDbServer
from tests.cli.conftest import Shell

_numbers = itertools.count(1)


class Typist:
    """Types ``rcsops …`` in a project whose settings say OpenSIPS on MariaDB."""

    def __init__(self, shell: Shell, server: MariaDbServer) -> None:
        self.shell = shell
        self.server = server
        self.name = f"cli_{next(_numbers)}"
        self.release("3.0.2")
        # What --admin-url would say; a person gives it once.
        shell.environment["RCSOPS_ADMIN_URL"] = server.admin_url

    def release(self, release: str) -> None:
        url = self.server.url(self.name, self.name)
        (self.shell.directory / "rcsops.toml").write_text(
            f'engine = "opensips"\nrelease = "{release}"\n[database]\nurl = "{url}"\n'
        )


@pytest.fixture
def typist(rcsops: Shell, mariadb: MariaDbServer) -> Typist:
    return Typist(rcsops, mariadb)


def test_from_nothing_to_another_release(typist: Typist) -> None:
    rcsops = typist.shell
    done = rcsops("user", "add", "bob", "--generate")
    assert done.code == 1
    assert "hint:" in done.err
    made = rcsops.ok("db", "create")
    assert made.lines[0].startswith("made the database and its user in mysql://")
    assert ":***@" in made.lines[0]
    assert made.lines[1].startswith("made version, subscriber, location")
    assert rcsops.ok("db", "create").lines[0].startswith("everything is there already")
    rcsops.ok("user", "add", "bob", "--password-stdin", stdin="sesame-1\n")
    status = [" ".join(line.split()) for line in rcsops.ok("db", "status").lines]
    assert "accounts: 1 (1 without SHA-256, 1 without SHA-512-256)" in status
    assert "tables: those of OpenSIPS 3.0" in status
    typist.release("3.6.8")
    done = rcsops("user", "list")
    assert done.code == 1
    assert done.err.splitlines()[1] == "hint: type: rcsops db migrate"
    shown = rcsops.ok("db", "migrate", "--dry-run")
    assert "RENAME TABLE" in shown.out
    refused = rcsops("db", "migrate")
    assert refused.code == 2
    assert "Migrate 1 accounts from OpenSIPS 3.0 to 3.6?" in refused.err
    moved = rcsops.ok("db", "migrate", "--yes")
    assert "from OpenSIPS 3.0 to 3.6: 1 of subscriber" in moved.out
    assert "1 of 1 accounts need a new password" in moved.err
    assert rcsops.ok("db", "migrate", "--yes").out.startswith("nothing to change")
    rcsops.ok("user", "passwd", "bob", "--generate")
    assert rcsops.ok("db", "status", "--json").json["lacking"]["SHA-256"] == 0
    dropped = rcsops.ok("db", "drop", "--yes", "--json").json
    assert dropped["accounts"] == 1


def test_backup_and_restore(typist: Typist) -> None:
    rcsops = typist.shell
    rcsops.ok("db", "create")
    rcsops.ok("user", "add", "bob", "--generate")
    assert "1 of subscriber" in rcsops.ok("db", "backup", "kept.gz").out
    assert rcsops("db", "backup", "kept.gz").code == 1
    rcsops.ok("user", "remove", "bob", "--yes")
    assert "kept.gz is whole" in rcsops.ok("db", "restore", "kept.gz", "--check").lines[0]
    assert rcsops("db", "restore", "kept.gz").code == 2
    restored = rcsops.ok("db", "restore", "kept.gz", "--yes")
    assert restored.lines[-1].startswith("what was there before: ")
    assert rcsops.ok("user", "list", "--json").json["total"] == 1


def test_the_embedded_engines_accounts_come_along(typist: Typist) -> None:
    rcsops = typist.shell
    typist.release("3.6.8")
    (rcsops.directory / "rcsops.toml").rename(rcsops.directory / "later.toml")
    (rcsops.directory / "rcsops.toml").write_text("")
    rcsops.ok("db", "create")
    rcsops.ok("user", "add", "bob", "--generate")
    (rcsops.directory / "later.toml").rename(rcsops.directory / "rcsops.toml")
    made = rcsops.ok("db", "create")
    assert "rcsops db migrate --from own" in made.err
    assert (
        "-- the 1 rows of subscriber"
        in rcsops.ok("db", "migrate", "--from", "own", "--dry-run").out
    )
    moved = rcsops.ok("db", "migrate", "--from", "own", "--yes", "--json").json
    assert moved["rows"]["subscriber"] == 1
    assert rcsops.ok("user", "list", "--json").json["users"][0]["user"] == "bob@rcs.example"
    # The hashes that came along are those that the agents of this project have.
    assert rcsops.ok("user", "show", "bob", "--json").json["local"] is True


def test_import_and_export(rcsops: Shell) -> None:
    rcsops.ok("db", "create")
    file = rcsops.directory / "users.csv"
    file.write_text("user,password\nbob,sesame-1\nbad name,sesame-2\n")
    done = rcsops("user", "import", "users.csv")
    assert done.code == 1
    assert done.err.startswith("line 3: 'bad name' cannot be a SIP user")
    assert done.out == "nothing was added: 1 line is wrong; --skip-bad adds the others\n"
    assert rcsops.ok("user", "import", "users.csv", "--skip-bad").out == (
        "added 1 account, left out 1 line\n"
    )
    again = rcsops("user", "import", "-", stdin="user,password\nbob,sesame-3\n")
    assert "'bob' is there already" in again.err
    replaced = rcsops.ok("user", "import", "-", "--replace", stdin="user,password\nbob,sesame-3\n")
    assert replaced.out == "added 0 accounts, changed 1 account\n"
    shown = rcsops.ok("user", "export", "--format", "jsonl").out
    entry = json.loads(shown)
    assert entry["user"] == "bob@rcs.example"
    assert set(entry) == {"user", "ha1", "ha1_sha256", "ha1_sha512t256"}
    assert rcsops.ok("user", "export", "all.csv").out == "wrote 1 account to all.csv\n"
    assert (rcsops.directory / "all.csv").stat().st_mode & 0o777 == 0o600
    rcsops.ok("user", "remove", "bob", "--yes")
    assert rcsops.ok("user", "import", "all.csv", "--json").json["added"] == 1
    done = rcsops("user", "import", "none.csv")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "error: cannot read none.csv: No such file or directory",
    )


def test_bytes_that_are_no_text_are_told_by_their_line(rcsops: Shell) -> None:
    rcsops.ok("db", "create")
    Path(rcsops.directory / "u.csv").write_bytes(
        b"\xef\xbb\xbfuser,password\ngood,sesame-1\nb\xff,sesame-1\nbob,sesame-\xff\n"
    )
    done = rcsops("user", "import", "u.csv", "--json")
    assert done.code == 1
    assert [each["line"] for each in done.json["bad"]] == [3, 4]


def test_the_password_is_stored_only_where_it_is_asked_for(rcsops: Shell) -> None:
    rcsops.ok("db", "create")
    rcsops.ok("user", "add", "bob", "--password-stdin", stdin="sesame-1\n")
    assert "sesame-1" not in rcsops.ok("user", "export", "--passwords").out
    rcsops.ok("user", "passwd", "bob", "--password-stdin", "--store-password", stdin="sesame-2\n")
    assert "sesame-2" in rcsops.ok("user", "export", "--passwords").out
    assert "sesame-2" not in rcsops.ok("user", "export").out


def test_nobody_is_asked_where_nobody_is(typist: Typist) -> None:
    rcsops = typist.shell
    del rcsops.environment["RCSOPS_ADMIN_URL"]
    port = typist.server.port
    done = rcsops("db", "create", "--admin-url", f"mysql://boss@127.0.0.1:{port}")
    assert done.code == 2
    assert f"Password of boss at 127.0.0.1:{port}: nobody is here to answer" in done.err
    both = rcsops("db", "migrate", "--to", "3.6.8", "--from", "own")
    assert both.code == 2
