"""``rcsops install`` from end to end, on a source tree of our own that builds in a second."""

import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rcsops.opensips.installed import RECORD_NAME
from rcsops.opensips.releases import MINIMAL_MODULES
from rcsops.settings import parse_settings
from rcsops.testing import wait_until
from rcsops.testing.tiny import BROKEN, HEADER, NEEDY, PACKAGE, SLOW, VERSION, TinySource
from tests.cli.conftest import Finished

TEMPLATE = Path(__file__).resolve().parent.parent / "data" / "opensips-tiny"

pytestmark = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("gcc", "make", "git")),
    reason="gcc, make or git is not installed",
)


class Installer:
    """A project in ``directory`` and the command, which knows the release of the source."""

    def __init__(self, root: Path) -> None:
        self.source = TinySource(TEMPLATE, root / "upstream" / "tiny")
        self.directory = root / "work"
        self.home = root / "home"
        for each in (self.directory, self.home):
            each.mkdir()
        (self.directory / "rcsops.toml").write_text("# mine\ndomain = 'rcs.example'\n")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RCSOPS_", "XDG_"))}
        self.environment = {**kept, **self.source.environment, "HOME": str(self.home)}
        self.environment |= {"NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "100"}

    @property
    def prefix(self) -> Path:
        return self.directory / ".rcsops" / "opensips" / VERSION

    @property
    def work(self) -> Path:
        return self.directory / f"opensips-{VERSION}"

    @property
    def log(self) -> str:
        return (self.work / "install.log").read_text()

    @property
    def compiled(self) -> set[str]:
        """What the last command compiled."""
        return set(re.findall(r" -c (\S+)\.c ", self.log))

    def words(self, *words: str) -> list[str]:
        source = () if "--from" in words else ("--from", str(self.source.directory))
        return [sys.executable, "-m", "rcsops.testing.tiny", "install", *source, *words]

    def start(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.words(*words),
            cwd=self.directory,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, **environment: str) -> Finished:
        with self.start(*words, **environment) as process:
            out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return Finished(process.returncode, out, err)

    def ok(self, *words: str, **environment: str) -> Finished:
        done = self(*words, **environment)
        assert done.code == 0, (done.err, self.log)
        return done

    def installed(self, *words: str) -> bool:
        """Whether the program that is in the prefix runs."""
        binary = self.prefix / "sbin" / "opensips"
        return binary.exists() and VERSION in subprocess.check_output([binary, "-V"], text=True)

    def leftovers(self) -> list[str]:
        """What only an unfinished installation has beside the prefix."""
        return sorted(each.name for each in self.prefix.parent.glob(".*"))


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Installer]:
    installer = Installer(tmp_path)
    yield installer
    inside = [
        process.pid
        for process in psutil.process_iter(["cwd"])
        if str(process.info["cwd"] or "").startswith(str(tmp_path))
    ]
    assert not inside, "processes are still at work in the project"


def test_it_builds_checks_and_becomes_the_engine(install: Installer) -> None:
    done = install.ok("--json").json
    assert done["version"] == VERSION
    assert done["verified"] is True
    assert set(done["built"]) == {*MINIMAL_MODULES, "db_mysql", "db_sqlite"}
    assert install.installed()
    scripts = install.prefix / "share" / "opensips"
    assert {each.name for each in scripts.iterdir()} == {"mysql", "sqlite"}
    # The final prefix is compiled in, not the place where it was put together.
    assert (install.prefix / "etc/opensips/opensips.cfg").read_text() == f"# {install.prefix}/\n"
    record = json.loads((install.prefix / RECORD_NAME).read_text())
    assert record["tree"] == done["tree"]
    assert install.leftovers() == []
    assert not (install.work / "src").exists()
    text = (install.directory / "rcsops.toml").read_text()
    assert text.startswith("# mine\n")
    settings = parse_settings(text)
    assert (settings.engine, settings.release, settings.prefix) == ("opensips", VERSION, "")


def test_doing_it_again_does_nothing_and_is_quick(install: Installer) -> None:
    install.ok()
    before = {path: path.stat().st_mtime_ns for path in install.prefix.rglob("*")}
    settings = (install.directory / "rcsops.toml").stat().st_mtime_ns
    # The processor's time: what else the machine does must not count.
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = install.ok()
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "nothing was to be done" in done.out
    assert {path: path.stat().st_mtime_ns for path in install.prefix.rglob("*")} == before
    assert (install.directory / "rcsops.toml").stat().st_mtime_ns == settings
    assert end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime < 1.0


def test_a_second_module_is_built_alone(install: Installer) -> None:
    install.ok()
    mine = install.prefix / "etc" / "opensips" / "mine.cfg"
    mine.write_text("# kept\n")
    done = install.ok("--modules", "dispatcher", "--json").json
    assert done["built"] == ["dispatcher"]
    assert install.compiled == {"dispatcher"}
    assert {"dispatcher", *MINIMAL_MODULES} <= set(done["modules"])
    assert (install.prefix / "lib64/opensips/modules/dispatcher.so").exists()
    assert mine.read_text() == "# kept\n"
    # It stays when all is built anew.
    again = install.ok("--force", "--json").json
    assert "dispatcher" in again["modules"]
    assert {"main", "dispatcher"} <= install.compiled
    assert mine.read_text() == "# kept\n"


def test_all_are_those_that_need_no_further_library(install: Installer) -> None:
    done = install.ok("--modules", "all", "--json").json
    assert {"dispatcher", SLOW, "db_mysql"} <= set(done["modules"])
    assert not {BROKEN, NEEDY} & set(done["modules"])
    assert "nothing was to be done" in install.ok("--modules", "all").out


def test_a_module_brings_those_that_it_cannot_do_without(install: Installer) -> None:
    code = install.source.directory / "modules" / "dispatcher" / "dispatcher.c"
    wants = (
        '{ MOD_TYPE_DEFAULT, "needs_other", DEP_SILENT }, { MOD_TYPE_DEFAULT, "slow", DEP_ABORT }'
    )
    code.write_text(f"int dispatcher_load(void) {{ return 0; }}\n/* {wants} */\n")
    done = install.ok("--modules", "dispatcher", "--allow-modified", "--json").json
    assert {"dispatcher", SLOW} <= set(done["built"])


def test_a_build_error_ends_with_the_error_the_mend_and_the_log(install: Installer) -> None:
    failed = install("--modules", BROKEN)
    assert failed.code == 1
    error, hint = failed.err.strip().splitlines()
    assert "broken.c:1:" in error
    assert "no_such_name" in error
    assert f"the full log: {install.work}/install.log" in hint
    assert "no_such_name" in install.log
    assert not install.prefix.exists()
    assert install.leftovers() == []
    # What compiled is kept, and the rest of it can be had.
    install.ok()
    assert install.installed()
    assert "main" not in install.compiled


def test_what_is_there_stays_when_a_new_build_fails(install: Installer) -> None:
    install.ok()
    before = (install.prefix / "sbin/opensips").stat().st_ino
    assert install("--modules", BROKEN, "--force").code == 1
    assert install.installed()
    assert (install.prefix / "sbin/opensips").stat().st_ino == before
    assert install.leftovers() == []


def test_what_does_not_take_its_configuration_is_not_put_into_place(install: Installer) -> None:
    install.ok()
    before = (install.prefix / "sbin/opensips").stat().st_ino
    settings = install.directory / "rcsops.toml"
    # The stand-in refuses a configuration with these words in it.
    settings.write_text(settings.read_text() + "[mi]\ngroup = 'no_such_statement'\n")
    failed = install("--force")
    assert failed.code == 1
    assert "does not take its configuration: syntax error, line " in failed.err
    assert "'management'" in failed.err
    assert (install.prefix / "sbin/opensips").stat().st_ino == before
    assert install.leftovers() == []


def test_a_missing_package_is_told_before_anything_is_compiled(install: Installer) -> None:
    failed = install("--modules", NEEDY)
    assert failed.code == 1
    error, hint = failed.err.strip().splitlines()
    assert PACKAGE in error
    sudo = "" if os.geteuid() == 0 else "sudo "
    assert f"{sudo}apt-get install -y --no-install-recommends {PACKAGE}" in hint
    assert install.compiled == set()
    assert not (install.work / "src").exists()


def test_packages_are_installed_when_asked(install: Installer, tmp_path: Path) -> None:
    programs, headers = tmp_path / "bin", tmp_path / "include"
    for directory in (programs, headers):
        directory.mkdir()
    calls = tmp_path / "calls"
    for name, does in {
        "apt-get": f'case "$*" in *{PACKAGE}*) echo "#define NEEDY 1" > {headers}/{HEADER};; esac',
        "sudo": 'shift 0; "$@"',
        "service": "",
        "systemctl": "",
        "mariadbd": "",
    }.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n{does}\n')
        program.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    settings = install.directory / "rcsops.toml"
    settings.write_text("[database]\nurl = 'mysql://a@db.example/b'\n")
    words = ("--modules", NEEDY, "--packages")
    install.ok(*words, PATH=path, C_INCLUDE_PATH=str(headers))
    assert f"install -y --no-install-recommends {PACKAGE}" in calls.read_text()
    # The database is on another machine: none is installed or started here.
    assert "mariadb" not in calls.read_text()
    assert (install.prefix / f"lib64/opensips/modules/{NEEDY}.so").exists()


def test_packages_that_cannot_be_installed(install: Installer, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("apt-get", "sudo"):
        program = programs / name
        program.write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
        program.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    failed = install("--modules", NEEDY, "--packages", PATH=path)
    assert failed.code == 1
    assert "E: Unable to locate package" in failed.err
    assert install.compiled == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_leaves_nothing_and_the_next_run_goes_on(
    install: Installer, number: signal.Signals
) -> None:
    words = ("--modules", SLOW, "--jobs", "2")
    with install.start(*words, TINY_SLOW="60") as process:
        wait_until(lambda: _waits(install), 30, what="the slow module being built")
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "stopped" in err
    assert not install.prefix.exists()
    assert install.leftovers() == []
    assert parse_settings((install.directory / "rcsops.toml").read_text()).engine == "embedded"
    install.ok(*words)
    assert install.installed()
    assert SLOW in install.compiled
    assert not {"main", "mi"} & install.compiled


def _waits(install: Installer) -> bool:
    """Whether the core is compiled and make waits for the slow module."""
    objects = install.work / "src"
    return (objects / "opensips").exists() and any(
        process.info["cmdline"][:2] == ["sleep", "60"]
        and str(process.info["cwd"]).startswith(str(install.work))
        for process in psutil.process_iter(["cmdline", "cwd"])
        if process.info["cmdline"]
    )


def test_after_a_kill_the_next_run_mends_it(install: Installer) -> None:
    with install.start("--modules", SLOW, TINY_SLOW="2") as process:
        wait_until(lambda: (install.work / "src" / "opensips").exists(), 30)
        process.kill()
        process.communicate()
    # As make leaves an object when it is killed while writing it.
    cut = install.work / "src" / "main.o"
    cut.write_bytes(cut.read_bytes()[:100])

    def done() -> bool:
        finished = install("--modules", SLOW)
        assert finished.code == 0 or "another rcsops install" in finished.err, finished.err
        return finished.code == 0

    wait_until(done, 30, interval=0.2)
    assert install.installed()
    assert install.leftovers() == []


def test_two_at_a_time_do_not_meet(install: Installer) -> None:
    with install.start("--modules", SLOW, TINY_SLOW="60") as process:
        wait_until(lambda: _waits(install), 30)
        second = install("--modules", SLOW)
        assert second.code == 2
        assert "another rcsops install" in second.err
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def test_a_changed_source_is_refused_unless_allowed(install: Installer) -> None:
    source = install.source.directory
    with (source / "mi.c").open("a") as file:
        file.write("int mine;\n")
    (source / "README.md").unlink()
    failed = install()
    assert failed.code == 1
    assert "changed: mi.c; missing: README.md" in failed.err
    assert "--allow-modified" in failed.err
    assert not install.prefix.exists()
    assert not (install.work / "src").exists()
    done = install.ok("--allow-modified", "--json").json
    assert done["verified"] is False
    assert any("mi.c" in warning for warning in done["warnings"])
    # What was built from it does not stand for the release.
    (source / "mi.c").write_text((TEMPLATE / "mi.c").read_text())
    shutil.copy2(TEMPLATE / "README.md", source)
    again = install.ok("--json").json
    assert again["verified"] is True
    assert "mi" in install.compiled


def test_extra_files_are_left_behind(install: Installer) -> None:
    source = install.source.directory
    (source / "modules" / "sl" / "extra.c").write_text("this does not compile\n")
    (source / "main.o").write_text("nor is this an object\n")
    install.ok("--keep-source")
    assert install.installed()
    assert not (install.work / "src/modules/sl/extra.c").exists()


def test_a_release_that_the_source_is_not(install: Installer) -> None:
    failed = install("--release", "3.6.8")
    assert failed.code == 2
    assert f"is OpenSIPS {VERSION}, not 3.6.8" in failed.err
    unknown = install("--release", "9.9", "--from", "nowhere")
    assert unknown.code == 2
    assert "nowhere" in unknown.err
    for words in (["--release", "3.7"], []):
        nothing = install(*words, "--from", str(install.home))
        assert nothing.code == 1
        assert f"{install.home} is not the source of an OpenSIPS" in nothing.err


def test_a_module_that_there_is_not(install: Installer) -> None:
    failed = install("--modules", "dispatchr")
    assert failed.code == 2
    assert "did you mean 'dispatcher'?" in failed.err


def test_a_database_that_no_opensips_could_use(install: Installer) -> None:
    url = "mysql://a@localhost/x?unix_socket=/run/x.sock"
    with (install.directory / "rcsops.toml").open("a") as settings:
        settings.write(f'[database]\nurl = "{url}"\n')
    failed = install()
    assert failed.code == 1
    assert "database.url names a unix_socket" in failed.err
    assert not install.work.exists()


def test_the_plan_is_shown_and_nothing_done(install: Installer) -> None:
    shown = install.ok("--dry-run").out
    for expected in (str(install.source.directory), "tree id", "usrloc", str(install.prefix)):
        assert expected in shown
    assert [line.partition(".")[0] for line in shown.splitlines()] == [
        str(number) for number in range(1, len(shown.splitlines()) + 1)
    ]
    assert not install.work.exists()
    assert not (install.directory / ".rcsops").exists()
    steps = install.ok("--dry-run", "--json").json["steps"]
    assert len(steps) == len(shown.splitlines())
    install.ok()
    assert "1. nothing" in install.ok("--dry-run").out


def test_another_prefix(install: Installer, tmp_path: Path) -> None:
    prefix = tmp_path / "elsewhere" / "opensips"
    install.ok("--prefix", str(prefix))
    assert (prefix / "sbin/opensips").exists()
    settings = parse_settings((install.directory / "rcsops.toml").read_text())
    assert settings.prefix == str(prefix)
    assert "nothing was to be done" in install.ok().out
    # Its own prefix it replaces as a whole, another's never.
    taken = tmp_path / "taken"
    (taken / "bin").mkdir(parents=True)
    refused = install("--prefix", str(taken))
    assert refused.code == 2
    assert "--adopt" in refused.err
    assert (taken / "bin").is_dir()
    for wrong in ("/usr/local", "with space"):
        assert install("--prefix", wrong).code == 2


def test_adopting_one_that_is_there(install: Installer, tmp_path: Path) -> None:
    prefix = tmp_path / "system"
    install.ok("--prefix", str(prefix))
    (prefix / RECORD_NAME).unlink()
    (prefix / "lib64/opensips/modules/msilo.so").unlink()
    (install.directory / "rcsops.toml").write_text("domain = 'rcs.example'\n")
    done = subprocess.run(
        [sys.executable, "-m", "rcsops", "install", "--adopt", str(prefix), "--json"],
        cwd=install.directory,
        env=install.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    assert result["adopted"] is True
    assert result["version"] == VERSION
    assert any("msilo" in warning for warning in result["warnings"])
    settings = parse_settings((install.directory / "rcsops.toml").read_text())
    assert (settings.engine, settings.prefix) == ("opensips", str(prefix))
    # Of it nothing is ever changed: it serves, or another is built beside it.
    before = {path: path.stat().st_mtime_ns for path in prefix.rglob("*")}
    assert install("--prefix", str(prefix), "--force").code == 2
    install.ok()
    assert install.installed()
    assert {path: path.stat().st_mtime_ns for path in prefix.rglob("*")} == before


def test_adopting_what_is_none(install: Installer, tmp_path: Path) -> None:
    def adopt(*words: str) -> Finished:
        command = [sys.executable, "-m", "rcsops", "install", "--adopt", *words]
        done = subprocess.run(
            command,
            cwd=install.directory,
            env=install.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    for name in (str(tmp_path), "~nobody-of-this-name/opensips"):
        assert "there is no OpenSIPS" in adopt(name).err
    false = tmp_path / "false" / "sbin" / "opensips"
    false.parent.mkdir(parents=True)
    false.write_text("#!/bin/sh\necho version: kamailio 5.6\n")
    false.chmod(0o755)
    failed = adopt(str(false))
    assert failed.code == 1
    assert "does not say that it is OpenSIPS" in failed.err
    assert adopt(str(false), "--modules", "tm").code == 2
    settings = parse_settings((install.directory / "rcsops.toml").read_text())
    assert settings.engine == "embedded"


def test_progress_on_a_terminal(install: Installer) -> None:
    shown = on_terminal(install, "--modules", SLOW, TINY_SLOW="1")
    assert re.search(r"\d+ of \d+ files, \w+", shown)
    assert "checking what was built" in shown
    assert install.installed()


def on_terminal(install: Installer, *words: str, **environment: str) -> str:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        install.words(*words),
        cwd=install.directory,
        env=install.environment | environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    deadline = time.monotonic() + 60
    with process:
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 0.5)[0]:
                continue
            try:
                block = os.read(master, 65536)
            except OSError:
                break
            if not block:
                break
            shown += block
        assert process.wait(timeout=10) == 0, shown
    os.close(master)
    return shown.decode("utf-8", "replace")
