"""``rcsops db`` and ``rcsops user`` on a MariaDB, as a person types them."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pexpect
import pytest

from rcsops.database.admin import DriverAdministrator
from rcsops.sip import hash_a1
from rcsops.testing.mariadb import MariaDbServer
from tests.cli.conftest import Shell
from tests.cli.test_doctor import FAKETIME, findings, the

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


def test_accounts_of_several_domains_come_back(rcsops: Shell) -> None:
    (rcsops.directory / "rcsops.toml").write_text('domains = ["two.example"]\n')
    rcsops.ok("db", "create")
    for name in ("bob", "bob@two.example"):
        rcsops.ok("user", "add", name, "--generate")
    rcsops.ok("user", "export", "all.csv")
    rcsops.ok("user", "remove", "bob@two.example", "--yes")
    again = rcsops("user", "import", "all.csv")
    assert again.err.splitlines() == ["line 2: 'bob' is there already"]
    assert rcsops.ok("user", "import", "all.csv", "--skip-bad", "--json").json["added"] == 1
    assert rcsops.ok("user", "list", "--json").json["total"] == 2


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


def test_before_the_database_is_made_every_command_says_how_to_make_it(typist: Typist) -> None:
    rcsops = typist.shell
    for words in (["db", "status"], ["user", "list"], ["user", "add", "bob"], ["db", "backup"]):
        done = rcsops(*words)
        assert done.code == 1
        assert done.err.splitlines()[-1].startswith("hint: type: rcsops db create"), words
    # That the server answers is seen: it need not be started.
    done = rcsops("doctor", "--json")
    (mend,) = [each["mend"] for each in done.json["findings"] if each["subject"] == "database"]
    assert mend.startswith("type: rcsops db create")
    assert "there is no database" in rcsops.ok("db", "drop", "--yes").out
    del rcsops.environment["RCSOPS_ADMIN_URL"]
    done = rcsops("db", "create")
    assert done.code == 1
    assert done.err.startswith("error: nobody here may make a database on 127.0.0.1:")
    assert f"--admin-url 'mysql://ADMIN@127.0.0.1:{port(typist)}'" in done.err


@pytest.mark.skipif(bool(MariaDbServer.missing()), reason=MariaDbServer.missing())
def test_doctor_sees_a_clock_that_differs_a_wrong_password_and_a_server_that_died(
    rcsops: Shell,
) -> None:
    with MariaDbServer() as server:
        typist = Typist(rcsops, server)
        rcsops.ok("db", "create")
        the(findings(rcsops), "database", "ok")
        the(findings(rcsops), "clock", "ok")
        if FAKETIME is not None:
            faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "+20s"}
            found = the(findings(rcsops, **faked), "clock", "warning")
            assert "behind this one" in found["text"] and "NTP" in found["mend"]
        wrong = f"mysql://{typist.name}:wrong-one@127.0.0.1:{port(typist)}/{typist.name}"
        found = the(findings(rcsops, RCSOPS_DATABASE_URL=wrong), "database", "problem")
        assert "refuse" in found["text"] and "wrong-one" not in found["text"]
        assert found["mend"]
        server.kill()
        found = the(findings(rcsops), "database", "problem")
        assert re.search(r"(systemctl|service|apt) ", found["mend"]), found


def test_a_configuration_with_the_password_of_before_is_to_be_rendered_anew(
    typist: Typist,
) -> None:
    rcsops = typist.shell
    rcsops.ok("db", "create")
    rcsops.ok("config", "render")
    assert "the database" not in rcsops("config", "check").out
    rcsops.ok("db", "create", "--new-password")
    done = rcsops("config", "check")
    assert done.code == 1
    assert "refuses the user or the password" in done.out
    assert "type: rcsops config render" in done.out
    rcsops.ok("config", "render")
    assert "the database" not in rcsops("config", "check").out


def test_what_keeps_an_administrator_from_it_is_said(typist: Typist) -> None:
    weak, system = f"weak_{typist.name}", f"sys_{typist.name}"
    statements(
        typist.server,
        f"CREATE USER {weak}@'127.0.0.1' IDENTIFIED BY 'x'",
        f"CREATE USER {system}@'127.0.0.1' IDENTIFIED VIA unix_socket",
    )
    refusals = {
        f"{weak}:x": f"GRANT ALL PRIVILEGES ON *.* TO '{weak}'@'127.0.0.1' WITH GRANT OPTION",
        f"{weak}:wrong": "check the administrator's name and password",
        f"{system}:x": f"the server knows {system} by the system account alone (unix_socket)",
    }
    for user, mend in refusals.items():
        typist.shell.environment["RCSOPS_ADMIN_URL"] = f"mysql://{user}@127.0.0.1:{port(typist)}"
        done = typist.shell("db", "create")
        assert done.code == 1
        assert mend in done.err.splitlines()[1], user


def test_the_administrators_password_is_asked_for_on_a_terminal(typist: Typist) -> None:
    boss = f"boss_{typist.name}"
    statements(
        typist.server,
        f"CREATE USER {boss}@'127.0.0.1' IDENTIFIED VIA mysql_native_password "
        "USING PASSWORD('opensesame')",
        f"GRANT ALL ON *.* TO {boss}@'127.0.0.1' WITH GRANT OPTION",
    )
    del typist.shell.environment["RCSOPS_ADMIN_URL"]
    for password, said in (("wrong", "name and password"), ("opensesame", "made the database")):
        terminal = typist.shell.terminal(
            "db", "create", "--admin-url", f"mysql://{boss}@127.0.0.1:{port(typist)}"
        )
        terminal.expect_exact(f"Password of {boss} at 127.0.0.1:{port(typist)}: ")
        terminal.sendline(password)
        terminal.expect_exact(said)
        terminal.expect(pexpect.EOF)
        assert password not in str(terminal.before)
        terminal.close()
        assert terminal.exitstatus == (0 if password == "opensesame" else 1)


def test_a_table_that_lacks_a_column_is_seen_and_made_anew(typist: Typist) -> None:
    rcsops = typist.shell
    rcsops.ok("db", "create")
    statements(typist.server, f"ALTER TABLE {typist.name}.location DROP COLUMN attr")
    done = rcsops("db", "status")
    assert done.code == 1
    assert "problem:  table location: lacks attr" in done.lines
    assert "to mend:  rcsops db migrate" in done.lines
    rcsops.ok("db", "migrate", "--yes")
    assert rcsops.ok("db", "status", "--json").json["mend"] == ""
    statements(typist.server, f"DROP TABLE {typist.name}.silo")
    assert rcsops("db", "status", "--json").json["mend"] == "rcsops db create"


def test_new_passwords_count_for_our_own_agents(typist: Typist) -> None:
    """`rcsops chat bob` asks for nothing: an import or a backup must not leave it an old hash."""
    rcsops = typist.shell
    typist.release("3.6.8")
    rcsops.ok("db", "create")
    for name in ("bob", "amy"):
        rcsops.ok("user", "add", name, "--generate")
    first = credentials(rcsops)
    rcsops.ok("db", "backup", "first.gz")
    rcsops.ok("user", "remove", "amy", "--yes")
    rcsops.ok("user", "add", "eve", "--generate")
    rcsops.ok("user", "import", "-", "--replace", stdin="user,password\nbob,sesame-2\n")
    second = credentials(rcsops)
    assert second["bob@rcs.example"]["SHA-256"] == hash_a1(
        "bob", "rcs.example", "sesame-2", "SHA-256"
    )
    rcsops.ok("db", "restore", "first.gz", "--yes")
    # amy's were forgotten when she was removed; eve is not in the backup.
    assert credentials(rcsops) == {"bob@rcs.example": first["bob@rcs.example"]}


def credentials(rcsops: Shell) -> Any:
    return json.loads((rcsops.directory / ".rcsops" / "credentials.json").read_text())


def port(typist: Typist) -> int:
    return typist.server.port


def statements(server: MariaDbServer, *sql: str) -> None:
    admin = DriverAdministrator(server.admin_url)
    admin.run(sql)
    admin.close()


def test_nobody_is_asked_where_nobody_is(typist: Typist) -> None:
    rcsops = typist.shell
    del rcsops.environment["RCSOPS_ADMIN_URL"]
    port = typist.server.port
    done = rcsops("db", "create", "--admin-url", f"mysql://boss@127.0.0.1:{port}")
    assert done.code == 2
    assert f"Password of boss at 127.0.0.1:{port}: nobody is here to answer" in done.err
    both = rcsops("db", "migrate", "--to", "3.6.8", "--from", "own")
    assert both.code == 2
