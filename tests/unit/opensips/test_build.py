from pathlib import Path

import pytest

from rcsops.errors import UsageError
from rcsops.opensips.build import (
    Build,
    available_modules,
    check_modules,
    check_path,
    default_modules,
    make_environment,
)
from rcsops.opensips.releases import resolve_release


def source(directory: Path, makefile: str = "app:\n") -> Path:
    (directory / "Makefile").write_text(makefile)
    (directory / "Makefile.conf.template").write_text(
        "#db_mysql= MySQL | x\nexclude_modules?= db_mysql tls_mgm\n\ninclude_modules?=\n"
    )
    for name in ("db_mysql", "tls_mgm", "tm", "sl"):
        (directory / "modules" / name).mkdir(parents=True)
        (directory / "modules" / name / "Makefile").touch()
    (directory / "modules" / "no_makefile").mkdir()
    return directory


def build(directory: Path, release: str, *, core: bool = True) -> list[str]:
    (command,) = commands(directory, release, ("sl", "tm"), core=core)
    return command


def commands(
    directory: Path, release: str, modules: tuple[str, ...], *, core: bool = True
) -> list[list[str]]:
    return Build(
        release=resolve_release(release),
        source=directory,
        prefix=Path("/opt/x"),
        stage=Path("/opt/.stage"),
        modules=modules,
        jobs=3,
        core=core,
    ).commands()


def test_the_command_of_an_old_release(tmp_path: Path) -> None:
    command = build(source(tmp_path), "3.0.2")
    assert command[0] == "make"
    assert {"--jobs=3", "PREFIX=/opt/x/", "CC_EXTRA_OPTS=-fcommon -g1"} <= {*command}
    assert {"app", "install-modules", "modules=modules/sl modules/tm"} <= {*command}
    assert {"BASEDIR=/opt/.stage", "CC_OPTIMIZE_FLAG=-O2"} <= {*command}
    assert "install-modules-dbschema" not in command


def test_the_tls_modules_of_3_0_are_compiled_apart(tmp_path: Path) -> None:
    made = source(tmp_path)
    first, second = commands(made, "3.0.2", ("proto_tls", "proto_wss", "sl", "tls_mgm"))
    assert "modules=modules/sl modules/tls_mgm" in first
    assert "modules=modules/proto_tls modules/proto_wss" in second
    assert "app" not in second
    assert f"CC_EXTRA_OPTS=-fcommon -g1 -include {made.parent}/openssl_errors.h" in second
    assert len(commands(made, "3.6", ("proto_tls", "sl"))) == 1


def test_the_command_of_a_new_one(tmp_path: Path) -> None:
    command = build(source(tmp_path, "install-modules-dbschema:\n\ttrue\n"), "3.6.8")
    assert "CC_EXTRA_OPTS=-g1" in command
    assert "install-modules-dbschema" in command


def test_modules_alone(tmp_path: Path) -> None:
    only = build(source(tmp_path), "3.6.8", core=False)
    assert "app" not in only
    assert "install-cfg" not in only
    assert "--old-file=gen_misclibs" in only
    (tmp_path / "modules" / "tm" / "Makefile").write_text("misclibs=../../lib/reg/libreg.a\n")
    only = build(tmp_path, "3.6.8", core=False)
    assert "--old-file=gen_misclibs" not in only


def test_which_modules_there_are(tmp_path: Path) -> None:
    made = source(tmp_path)
    assert available_modules(made) == ("db_mysql", "sl", "tls_mgm", "tm")
    assert default_modules(made) == ("sl", "tm")
    check_modules(("sl", "tm"), available_modules(made), "3.0.2")
    for name, hint in (("tls_mgn", "'tls_mgm'"), ("proto_udp", "part of the core"), ("q", "")):
        with pytest.raises(UsageError) as refused:
            check_modules((name,), available_modules(made), "3.0.2")
        assert hint in refused.value.hint


@pytest.mark.parametrize("path", ["/a b", "/a$b", "/a:b", "/a#b", "/a'b", "/ä", "/a\nb", "/a%b"])
def test_paths_that_make_breaks_at(path: str) -> None:
    with pytest.raises(UsageError):
        check_path(Path(path))
    check_path(Path("/home/a.b/c-d_e+f@g~/3.0.2"))


def test_the_environment_of_a_person_does_not_change_the_build(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("CFLAGS", "PREFIX", "MAKEFLAGS", "modules", "exclude_modules", "LC_MESSAGES"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("CCACHE_DIR", "y")
    made = make_environment()
    assert not {"CFLAGS", "PREFIX", "MAKEFLAGS", "modules", "exclude_modules"} & {*made}
    assert (made["CCACHE_DIR"], made["LC_ALL"]) == ("y", "C")
    assert "LC_MESSAGES" not in made
