import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

import rcsops as package
from rcsops.cli.table import COMMANDS, GROUPS
from tests.cli.conftest import Shell

HEAVY = {"sqlalchemy", "rich", "asyncio", "platformdirs", "tomlkit", "tomllib", "json", "logging"}


def test_help_shows_every_command_in_its_group(rcsops: Shell) -> None:
    lines = rcsops.ok("--help").lines
    for group, entries in GROUPS.items():
        start = lines.index(f"{group}:")
        below = [
            line.split()[0] for line in lines[start + 1 : start + 1 + 2 * len(entries)] if line
        ]
        for name in entries:
            assert name in below
    assert max(map(len, lines)) <= 80


def test_help_imports_nothing_but_click(rcsops: Shell) -> None:
    program = (
        "import sys\n"
        "from rcsops.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\n"
        "print(*(name for name in sys.modules if name.startswith('rcsops')), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={name: value for name, value in rcsops.environment.items() if "COV" not in name},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded, ours = done.stderr.splitlines()
    if "coverage" not in loaded.split():
        assert not HEAVY & set(loaded.split())
    assert set(ours.split()) == {
        "rcsops",
        "rcsops.cli",
        "rcsops.cli.context",
        "rcsops.cli.main",
        "rcsops.cli.table",
        "rcsops.errors",
    }


def test_the_lines_of_help_say_what_the_commands_say(rcsops: Shell) -> None:
    for name in ("init", "db", "user", "completion"):
        text = " ".join(rcsops.ok(name, "--help").out.split())
        assert text.startswith(f"Usage: rcsops {name}")


@pytest.mark.parametrize("command", ["db create", "db status", "user add", "user list", "init"])
def test_every_command_has_help_of_its_own(rcsops: Shell, command: str) -> None:
    out = rcsops.ok(*command.split(), "--help").out
    assert "--json" in out
    assert len(out.splitlines()) > 6


def test_the_version(rcsops: Shell) -> None:
    assert rcsops.ok("--version").out == f"rcsops {package.__version__}\n"


def test_nothing_at_all_shows_help_and_fails(rcsops: Shell) -> None:
    done = rcsops()
    assert done.code == 2
    assert "Usage: rcsops" in done.err


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ("usr add bob", "there is no command 'usr'", "did you mean 'user'?"),
        ("user lst", "No such command 'lst'", "did you mean 'list'?"),
        ("user list --jso", "No such option '--jso'", "did you mean '--json'?"),
        ("user add bob --stdin", "No such option '--stdin'", "did you mean '--password-stdin'?"),
        ("user list --lacking x", "Invalid value", "type: rcsops user list --help"),
        ("user add", "Missing argument 'USER'", "type: rcsops user add --help"),
        ("--engine x init", "Invalid value for '--engine'", "type: rcsops --help"),
        ("frobnicate", "there is no command 'frobnicate'", "one of: init, db, user"),
    ],
)
def test_a_wrong_command_ends_with_2_and_the_nearest(
    rcsops: Shell, words: str, error: str, hint: str
) -> None:
    done = rcsops(*words.split())
    assert done.code == 2
    assert done.out == ""
    first, second = done.err.splitlines()
    assert first.startswith(f"error: {error}")
    assert second.startswith(f"hint: {hint}")
    assert "Did you" not in first


def test_with_json_an_error_is_json_too(rcsops: Shell) -> None:
    done = rcsops("user", "list", "--json")
    assert (done.code, done.out) == (1, "")
    assert json.loads(done.err) == {
        "error": f"there is no database yet ({rcsops.state}/rcsops.db)",
        "hint": "type: rcsops db create",
    }
    done = rcsops("user", "lst", "--json")
    assert done.code == 2
    assert json.loads(done.err)["hint"] == "did you mean 'list'?"


def test_the_project_of_another_directory(rcsops: Shell, tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    rcsops.ok("init", "--yes", "--domain", "lab.example", "--directory", str(lab))
    rcsops.ok("--project", str(lab), "db", "create")
    rcsops.ok("-C", str(lab), "user", "add", "bob", "--generate")
    assert rcsops.ok("user", "list", "--json", RCSOPS_PROJECT=str(lab)).json["users"][0] == {
        "user": "bob@lab.example",
        "algorithms": ["MD5", "SHA-256", "SHA-512-256"],
    }
    assert (lab / ".rcsops" / "rcsops.db").exists()
    for wrong in (str(tmp_path / "nowhere"), "/dev/null"):
        done = rcsops("-C", wrong, "user", "list")
        assert done.code == 1
        assert f"there is no directory '{wrong}'" in done.err
    for words in (["init", "--yes"], ["user", "list"]):
        done = rcsops("-C", "", *words)
        assert done.code == 2
        assert "error: --project has no value" in done.err
    assert not (rcsops.directory / "rcsops.toml").exists()


def test_a_spoilt_file_of_settings_is_named_with_its_line(rcsops: Shell) -> None:
    (rcsops.directory / "rcsops.toml").write_text('# mine\nengin = "opensips"\n')
    done = rcsops("user", "list")
    assert done.code == 1
    path = rcsops.directory / "rcsops.toml"
    assert done.err.splitlines() == [
        f"error: {path}, line 2: there is no setting 'engin'",
        "hint: did you mean 'engine'?",
    ]


def test_a_fault_of_ours_is_no_traceback(rcsops: Shell) -> None:
    program = (
        "import rcsops.settings as s, rcsops.cli.main as m\n"
        "s.Project.find = lambda *a, **k: 1 / 0\n"
        "m.main(['user', 'list'])\n"
    )
    for debug, expected in ((False, "internal error: ZeroDivisionError"), (True, "Traceback")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=rcsops.environment | ({"RCSOPS_DEBUG": "1"} if debug else {}),
            cwd=rcsops.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert expected in done.stderr
        assert ("Traceback" in done.stderr) == debug


def test_a_reader_that_goes_away_is_no_error(rcsops: Shell) -> None:
    rcsops.ok("db", "create")
    read, write = os.pipe()
    os.close(read)
    for words in (["user", "list", "--json"], ["--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "rcsops", *words],
            env=rcsops.environment,
            cwd=rcsops.directory,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr == ""
    os.close(write)


def test_control_c_at_a_question_ends_with_130(rcsops: Shell) -> None:
    rcsops.ok("db", "create")
    terminal = rcsops.terminal("user", "add", "bob")
    terminal.expect("Password for bob@rcs.example")
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    assert rcsops.ok("user", "list", "--json").json["total"] == 0


def test_every_command_of_the_table_names_a_module_of_ours() -> None:
    for name, entry in COMMANDS.items():
        assert entry.help.endswith("."), name
        assert entry.module.isidentifier()
        assert entry.attribute.isidentifier()
