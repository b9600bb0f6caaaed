"""What `opensips -C` says is read right, and what it does not see is found."""

import sqlite3
import stat
from pathlib import Path

import pytest

from rcsops.errors import EngineError
from rcsops.opensips.config import ConfigModel, Secrets, render
from rcsops.opensips.config.check import check, parse_complaints
from rcsops.opensips.config.kept import KeptFiles, difference
from rcsops.opensips.config.lint import blanked, lint
from rcsops.opensips.config.problem import Problem
from rcsops.opensips.config.render import Rendered
from rcsops.opensips.installed import Installation

# As 3.0.2 prints it; 3.4 and later put CRITICAL: before the lines of source.
OLD = """\
Nov 24 00:34:19 [4674] ERROR:core:set_mod_param_regex: parameter <fr_tineout> not found in module <tm>
Nov 24 00:34:19 [4674] Traceback (last included file at the bottom):
Nov 24 00:34:19 [4674]  0. /r/bad.cfg
Nov 24 00:34:19 [4674] CRITICAL:core:yyerror: parse error in /r/bad.cfg:71:19-20: Parameter <fr_tineout> not found in module <tm> - can't set
Nov 24 00:34:19 [4674] modparam("tm", "fr_tineout", 5)
Nov 24 00:34:19 [4674] ^~
Nov 24 00:34:19 [4674] CRITICAL:core:yyerror: parse error in /r/bad.cfg:254:8-16: syntax error
Nov 24 00:34:19 [4674] CRITICAL:core:yyerror: parse error in /r/bad.cfg:254:16-17: bad arguments for command <rout>
Nov 24 00:34:19 [4674] ERROR:core:parse_opensips_cfg: bad config file (3 errors)
"""  # noqa: E501
MODULE = """\
Nov 24 00:34:19 [1] ERROR:core:set_mod_param_regex: type mismatch for parameter <nonce_expire> in module <auth>
Nov 24 00:34:19 [1] CRITICAL:core:yyerror: parse error in /r/b.cfg:155:20-21: Parameter <nonce_expire> not found in module <auth> - can't set
Nov 24 00:34:19 [1] ERROR:core:load_module: failed to load module 'pikee.so' - not found
Nov 24 00:34:19 [1] CRITICAL:core:yyerror: parse error in /r/b.cfg:187:13-14: failed to load module pikee.so

Nov 24 00:34:19 [1] ERROR:core:set_mod_param_regex: no module matching pike found
Nov 24 00:34:19 [1] CRITICAL:core:yyerror: parse error in /r/b.cfg:188:19-20: Parameter <sampling_time_unit> not found in module <pike> - can't set
Nov 24 00:34:19 [1] CRITICAL:core:yyerror: parse error in /r/b.cfg:211:40-41: unknown command <pike_check_req>, missing loadmodule?
"""  # noqa: E501
WARNING = "Nov 24 00:34:19 [1] WARNING:core:warn: warning in config file /r/b.cfg, line 9, column 1-7: old\n"  # noqa: E501


def test_a_complaint_has_its_place() -> None:
    first, second = parse_complaints(OLD)
    assert (first.file, first.line, first.column, first.end) == ("/r/bad.cfg", 71, 19, 20)
    assert "fr_tineout" in first.text
    assert (second.line, second.text) == (254, "syntax error: bad arguments for command <rout>")


def test_what_follows_from_a_missing_module_is_left_out() -> None:
    first, second = parse_complaints(MODULE)
    assert first.text == "parameter <nonce_expire> of auth has the wrong type"
    assert (second.line, second.text) == (187, "failed to load module pikee.so")
    assert second.hint == "build it: rcsops install --modules pikee"


def test_a_warning_is_none_to_stop_for() -> None:
    (problem,) = parse_complaints(WARNING)
    assert problem.warning
    assert (problem.line, problem.text) == (9, "old")


FUNCTION = """\
Nov 24 00:34:19 [1] ERROR:core:check_cmd: Param [1] expected to be a string or variable
Nov 24 00:34:19 [1] ERROR:core:check_actions: check failed for function <setflag>, /r/b.cfg:383
Nov 24 00:34:19 [1] ERROR:core:main: bad function call in config file
"""


def test_the_arguments_of_a_function() -> None:
    (problem,) = parse_complaints(FUNCTION)
    assert (problem.file, problem.line) == ("/r/b.cfg", 383)
    assert problem.text == "<setflag>: Param [1] expected to be a string or variable"


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ('db_default_url="mysql://u:p%40ss@word@h:3306/d"', "p%40ss@word"),
        ('db_default_url="mysql://u:pass@h/d', "pass"),
        ('modparam("auth", "secret", "0123456789")', "0123456789"),
        ('modparam("auth", "secrets", "0123")', "0123"),
        ('\t$var(route_key) = "abc";', "abc"),
    ],
)
def test_no_secret_is_shown(tmp_path: Path, line: str, secret: str) -> None:
    config = tmp_path / "secrets.cfg"
    config.write_text(f"{line}\n")
    asked = program(tmp_path, f'echo "parse error in {config}:1:5-9: syntax error" >&2; exit 255')
    (problem,) = check(asked, config)
    assert problem.source_line == line.replace(secret, "*" * len(secret))


def installation(binary: Path) -> Installation:
    return Installation("3.0.2", binary.parent, binary, binary.parent, None, (), None, True)


def program(tmp_path: Path, script: str) -> Installation:
    path = tmp_path / "opensips"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return installation(path)


def test_the_line_the_caret_and_the_concern(tmp_path: Path) -> None:
    config = tmp_path / "opensips.cfg"
    config.write_text("# ==== transactions ==== x\n\n\tmodparam('tm', 'fr_tineout', 5)\n")
    said = f"parse error in {config}:3:19-20: Parameter <fr_tineout> not found in module <tm>"
    asked = program(tmp_path, f'echo "{said}" >&2; exit 255')
    (problem,) = check(asked, config)
    assert problem.concern == "transactions"
    assert problem.source_line == "\tmodparam('tm', 'fr_tineout', 5)"
    # Its parser's column is behind the mistake; the name that it complains about is there.
    assert problem.caret == "\t" + " " * 16 + "^~~~~~~~~~"
    assert problem.place == f"{config}:3:18"


def test_a_complaint_without_a_place(tmp_path: Path) -> None:
    asked = program(tmp_path, 'echo "Nov 24 00:34:19 [1] ERROR:core:main: no memory" >&2; exit 255')
    (problem,) = check(asked, tmp_path / "x")
    assert (problem.text, problem.line, problem.caret) == ("no memory", 0, "")
    assert check(program(tmp_path, "exit 0"), tmp_path / "x") == []
    with pytest.raises(EngineError, match="cannot be run"):
        check(installation(tmp_path / "nothing"), tmp_path / "x")


# --- lint ------------------------------------------------------------------------------------


def written(tmp_path: Path, **changes: str) -> Path:
    """A rendered configuration, with every file that it names."""
    for name in ("run", "modules"):
        (tmp_path / name).mkdir()
    model = ConfigModel(
        config_dir=str(tmp_path),
        run_dir=str(tmp_path / "run"),
        modules_dir=str(tmp_path / "modules"),
        driver="db_sqlite",
    )
    secrets = Secrets(f"sqlite://{tmp_path}/none.db", "a" * 32, "b", "c")
    for name, text in render(model, secrets).files.items():
        for old, new in changes.items():
            text = text.replace(old, new)
        path = tmp_path / name
        path.touch(0o600)
        path.write_text(text)
    return tmp_path / "opensips.cfg"


def found(problems: list[Problem]) -> list[str]:
    return [each.text for each in problems]


def test_a_rendered_configuration_has_nothing_to_find(tmp_path: Path) -> None:
    assert lint(written(tmp_path), line=(3, 0), database=False) == []


def test_routes_that_are_not_there(tmp_path: Path) -> None:
    changes = {
        "\troute(register);": "\troute(registr);",
        't_on_failure("call")': 't_on_failure("calls")',
        "route[relay] {": "# route[relay] {}\nroute[register] {",
    }
    problems = lint(written(tmp_path, **changes), database=False)
    errors = [each for each in problems if not each.warning]
    assert sorted(set(found(errors))) == [
        "failure_route[calls] is called, but is not defined",
        "route[register] is defined a second time",
        "route[registr] is called, but is not defined",
        "route[relay] is called, but is not defined",
    ]
    (first,) = [each for each in errors if "registr]" in each.text]
    assert first.concern == "requests"
    assert first.hint == "did you mean register?"
    assert first.source_line[first.column - 1 : first.end] == "registr"
    warnings = [each.text for each in problems if each.warning]
    assert "failure_route[call] is never called" in warnings


def test_paths(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    changes = {
        f'"{run}/fifo"': '"fifo"',
        f'"{run}/mi.sock"': f'"{run}/nowhere/mi.sock"',
        f'"{run}/"': f'"{run}"',
        f'mpath="{tmp_path}/modules/"': 'mpath="modules/"',
    }
    path = written(tmp_path, **changes)
    (tmp_path / "secrets.cfg").chmod(0o644)
    problems = lint(path, database=False)
    assert sorted(found(problems)) == sorted(
        [
            "'fifo' is a relative path",
            f"there is no directory {run}/nowhere",
            "the directory of the replies must end with /",
            "'modules/' is a relative path",
            "others may read the secrets in it (mode 0644)",
        ]
    )
    assert all(each.caret for each in problems)
    (tmp_path / "secrets.cfg").unlink()
    assert "there is no such file" in found(lint(path, database=False))


def test_a_dead_database(tmp_path: Path) -> None:
    path = written(tmp_path)
    (problem,) = lint(path, line=(3, 0))
    assert problem.file == str(tmp_path / "secrets.cfg")
    assert problem.text.startswith("the database: there is no database yet")
    sqlite3.connect(tmp_path / "none.db").close()
    (problem,) = lint(path, line=(3, 0))
    assert problem.text == "the database has no tables yet"


def test_a_database_server_that_is_not_there(tmp_path: Path) -> None:
    path = written(tmp_path)
    secrets = tmp_path / "secrets.cfg"
    secrets.write_text('db_default_url="mysql://a:b@127.0.0.1:1/x"\nroute[know_secrets] {}\n')
    (problem,) = lint(path, line=(3, 0))
    assert problem.line == 1
    assert "127.0.0.1" in problem.text


def test_comments_and_strings() -> None:
    text = "a # route(x)\nb \"# not\" /* route(y)\n */ c 'route(z) \\' \"' d"
    code, bare = blanked(text)
    assert len(code) == len(bare) == len(text)
    assert "route(x)" not in code
    assert "route(y)" not in code
    assert '"# not"' in code
    assert "route(z)" in code
    assert "route" not in bare
    assert bare.endswith("' d")
    assert code.count("\n") == text.count("\n")


@pytest.mark.parametrize("rest", ['"', "'", "/*", '"\\', "#", "/"])
def test_what_is_not_closed(rest: str) -> None:
    code, bare = blanked(f"route(a) {rest}")
    assert len(code) == len(bare) == len(f"route(a) {rest}")


# --- the files on disk -----------------------------------------------------------------------


def test_what_a_person_changed_is_known_and_kept(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path)
    assert files.changed_by_hand() == ()
    assert files.write(Rendered({"opensips.cfg": "one\n", "secrets.cfg": "s\n"})) == (
        "opensips.cfg",
        "secrets.cfg",
    )
    assert files.changed_by_hand() == ()
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in tmp_path.iterdir())
    assert files.write(Rendered({"opensips.cfg": "one\n", "secrets.cfg": "s\n"})) == ()
    # A new render over an old one is nobody's loss.
    assert files.write(Rendered({"opensips.cfg": "two\n"})) == ("opensips.cfg",)
    assert not (tmp_path / "opensips.cfg.old").exists()
    files.main.write_text("mine\n")
    assert files.changed_by_hand() == ("opensips.cfg",)
    assert files.rendered_text() == "two\n"
    files.write(Rendered({"opensips.cfg": "three\n"}))
    assert (tmp_path / "opensips.cfg.old").read_text() == "mine\n"
    assert files.main.read_text() == "three\n"
    assert files.changed_by_hand() == ()


def test_a_file_that_was_never_rendered_is_a_persons(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path)
    files.main.write_bytes(b"# \xff of mine\n")
    assert files.changed_by_hand() == ("opensips.cfg",)
    assert files.rendered_text() is None
    (tmp_path / ".rendered.json").write_text("[]")
    assert files.changed_by_hand() == ("opensips.cfg",)


def test_the_difference() -> None:
    assert difference("a\nb\n", "a\nb\n", "x", "y") == []
    assert difference("a\nb\n", "a\nc\n", "x", "y")[3:] == [" a", "-b", "+c"]
