"""``rcsops config``: with no OpenSIPS, and with a program that stands for one."""

import json
import stat
from pathlib import Path

import pexpect
import pytest

from tests.cli.conftest import Shell

VERSION = "version: opensips 3.6.8 (x86_64/linux)"


@pytest.fixture
def project(rcsops: Shell) -> Shell:
    (rcsops.directory / "rcsops.toml").write_text(
        'engine = "opensips"\nrelease = "3.6.8"\n[database]\nurl = "sqlite:///test.db"\n'
    )
    return rcsops


@pytest.fixture
def installed(project: Shell) -> Shell:
    """A prefix with a program that says its version, and likes every configuration but one with
    the word tineout."""
    prefix = project.directory / ".rcsops" / "opensips" / "3.6.8"
    (prefix / "lib64/opensips/modules").mkdir(parents=True)
    (prefix / "share/opensips").mkdir(parents=True)
    for name in ("tm", "dialog", "ratelimit"):
        (prefix / f"lib64/opensips/modules/{name}.so").touch()
    (prefix / "sbin").mkdir()
    program = prefix / "sbin" / "opensips"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = -V ] && {{ echo "{VERSION}"; exit 0; }}\n'
        'line=$(grep -n tineout "$3" | cut -d: -f1)\n'
        '[ -z "$line" ] && exit 0\n'
        'echo "Nov 24 00:00:00 [1] CRITICAL:core:yyerror: parse error in $3:$line:30-31: '
        "Parameter <fr_tineout> not found in module <tm> - can't set\" >&2\nexit 255\n"
    )
    program.chmod(0o755)
    return project


def files(shell: Shell) -> Path:
    return shell.directory / ".rcsops" / "run"


def test_render_before_anything_is_installed(project: Shell) -> None:
    done = project.ok("config", "render")
    assert "opensips.cfg, secrets.cfg, opensips-cli.cfg for OpenSIPS 3.6.8" in done.out
    assert "rcsops install" in done.err
    for name in ("opensips.cfg", "secrets.cfg", "opensips-cli.cfg"):
        assert stat.S_IMODE((files(project) / name).stat().st_mode) == 0o600
    again = project.ok("config", "render")
    assert "nothing was changed" in again.out
    secrets = (files(project) / "secrets.cfg").read_text()
    (files(project) / "secrets.cfg").unlink()
    project.ok("config", "render")
    assert (files(project) / "secrets.cfg").read_text() == secrets


def test_a_render_for_another_release_is_printed(project: Shell) -> None:
    text = project.ok("config", "render", "--stdout", "--release", "3.0.2").out
    assert "listen=udp:127.0.0.1:5060" in text
    assert "socket=udp:127.0.0.1:5060" in project.ok("config", "render", "--stdout").out
    asked = project.ok("config", "render", "--stdout", "--release", "3.0.2", "--json")
    assert json.loads(asked.out) == {"release": "3.0.2", "installed": False, "text": text}
    assert not (files(project) / "opensips.cfg").exists()
    refused = project("config", "render", "--release", "9.9")
    assert refused.code == 2
    assert "3.6.8" in refused.err


def test_show_says_where_it_is(project: Shell) -> None:
    missing = project("config", "show")
    assert missing.code == 1
    assert "rcsops config render" in missing.err
    project.ok("config", "render")
    shown = project.ok("config", "show")
    path = files(project) / "opensips.cfg"
    assert shown.out == path.read_text()
    assert shown.err.strip() == str(path)
    assert project.ok("config", "show", "--path").out.strip() == str(path)
    assert project.ok("config", "show", "--json").json["changed_by_hand"] is False


def test_changes_by_hand_are_shown_and_not_lost(project: Shell) -> None:
    project.ok("config", "render")
    path = files(project) / "opensips.cfg"
    assert "nothing was changed by hand" in project.ok("config", "diff").err
    path.write_text(path.read_text().replace("udp_workers=4", "udp_workers=9"))
    changed = project.ok("config", "diff").out
    assert "-udp_workers=4" in changed
    assert "+udp_workers=9" in changed
    assert project.ok("config", "diff", "--json").json["changed"] is True
    assert "+udp_workers=4" in project.ok("config", "diff", "--pending").out
    refused = project("config", "render")
    assert refused.code == 2
    assert "changed by hand" in refused.err
    assert "udp_workers=9" in path.read_text()
    done = project.ok("config", "render", "--yes")
    assert "opensips.cfg.old" in done.out
    assert "udp_workers=4" in path.read_text()
    assert "udp_workers=9" in (files(project) / "opensips.cfg.old").read_text()


def test_it_asks_on_a_terminal(project: Shell) -> None:
    project.ok("config", "render")
    path = files(project) / "opensips.cfg"
    path.write_text(path.read_text() + "# mine\n")
    asked = project.terminal("config", "render")
    asked.expect("Write over it")
    asked.sendline("n")
    asked.expect(pexpect.EOF)
    asked.close()
    assert asked.exitstatus == 1
    assert path.read_text().endswith("# mine\n")


def test_settings_change_what_is_rendered(project: Shell) -> None:
    project.ok("config", "render")
    toml = project.directory / "rcsops.toml"
    toml.write_text('domain = "lab.example"\nlisten = ["udp:0.0.0.0:5070"]\n' + toml.read_text())
    assert "changed by hand" not in project.ok("config", "diff").out
    project.ok("config", "render")
    text = (files(project) / "opensips.cfg").read_text()
    assert "alias=udp:lab.example:5070" in text
    assert "socket=udp:127.0.0.1:5070" in text
    assert "0.0.0.0" not in text


def test_settings_that_cannot_be_rendered(project: Shell) -> None:
    toml = project.directory / "rcsops.toml"
    text = toml.read_text()
    for line, said in (
        ('listen = ["tls:127.0.0.1:5061"]', "no certificate"),
        ('listen = ["udp:127.0.0.1:0"]', "needs a port"),
        ('digest.algorithms = ["SHA-256"]\nrelease = "3.0.2"', "MD5 alone"),
    ):
        rest = text.replace('release = "3.6.8"\n', "") if "release" in line else text
        toml.write_text(f"{line}\n{rest}")
        done = project("config", "render")
        assert done.code == 1, line
        assert said in done.err
        assert "hint:" in done.err


def test_check_without_opensips_looks_at_the_text(project: Shell) -> None:
    project.ok("config", "render")
    done = project("config", "check")
    assert done.code == 1
    assert "OpenSIPS is not installed" in done.err
    assert "there is no such directory of modules" in done.out
    assert "there is no database yet" in done.out


def test_check_points_at_the_mistake(installed: Shell) -> None:
    installed.ok("config", "render")
    installed.ok("db", "create")
    fine = installed.ok("config", "check")
    assert "is fine by OpenSIPS 3.6.8" in fine.out
    path = files(installed) / "opensips.cfg"
    text = path.read_text().replace('"fr_timeout"', '"fr_tineout"')
    path.write_text(text.replace("\troute(to_user);", "\troute(to_usr);"))
    done = installed("config", "check")
    assert done.code == 1
    number = text[: text.index("fr_tineout")].count("\n") + 1
    assert (
        f"{path}:{number}:17: error: Parameter <fr_tineout> not found in module <tm> - can't set "
        "[transactions]\n"
        f'{number:>5} | modparam("tm", "fr_tineout", 5)\n'
        "      |                 ^~~~~~~~~~\n"
    ) in done.out
    assert "route[to_usr] is called, but is not defined [requests]" in done.out
    assert "did you mean to_user?" in done.out
    assert "2 errors in" in done.out
    found = json.loads(installed("config", "check", "--json").out)
    assert found["ok"] is False
    assert [each["concern"] for each in found["problems"] if not each["warning"]] == [
        "transactions",
        "requests",
    ]


def test_check_of_another_file(installed: Shell) -> None:
    other = installed.directory / "other.cfg"
    other.write_text('mpath="modules/"\nroute { route(nowhere); }\n')
    done = installed("config", "check", "other.cfg", "--no-database")
    assert done.code == 1
    assert "'modules/' is a relative path" in done.out
    assert "route[nowhere] is called" in done.out
    missing = installed("config", "check", "nothing.cfg")
    assert missing.code == 1
    assert "there is no file" in missing.err


def test_a_scary_line_does_not_reach_the_terminal(installed: Shell) -> None:
    other = installed.directory / "other.cfg"
    other.write_text("route { route(x\x1b[31m); }\n")
    done = installed("config", "check", "other.cfg", "--no-database")
    assert "\x1b" not in done.out
