import os
from pathlib import Path

import pytest

from rcsops.errors import EngineError
from rcsops.opensips import packages
from rcsops.opensips.needs import Need


def program(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_what_the_compiler_finds_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Need("libc6-dev", headers=("stdio.h",))
    header = Need("libnone-dev", headers=("rcsops_nobody_has_this.h",))
    tool = Need("none", programs=("rcsops-nobody-has-this",))
    assert packages.missing_needs([there, header, tool]) == (header, tool)
    (tmp_path / "rcsops_nobody_has_this.h").touch()
    monkeypatch.setenv("C_INCLUDE_PATH", str(tmp_path))
    assert packages.missing_needs([header]) == ()


def test_options_come_from_the_packages_own_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "rcsops_odd.h").touch()
    need = Need("libodd-dev", headers=("rcsops_odd.h",), config=("odd-config", "--include"))
    assert packages.missing_needs([need]) == (need,)
    program(tmp_path, "odd-config", f"echo -I{tmp_path}/include")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert packages.missing_needs([need]) == ()
    program(tmp_path, "odd-config", f"echo {tmp_path}/include")
    assert packages.missing_needs([need]) == ()


def test_without_a_compiler_dpkg_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need = Need("libodd-dev", headers=("rcsops_odd.h",))
    monkeypatch.setattr(packages.shutil, "which", lambda name, path=None: None)
    assert packages.missing_needs([need]) == (need,)
    program(tmp_path, "dpkg-query", 'test "$4" = libodd-dev && echo install ok installed')
    monkeypatch.setattr(
        packages.shutil,
        "which",
        lambda name, path=None: str(tmp_path / name) if name == "dpkg-query" else None,
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert packages.missing_needs([need]) == ()


def test_the_command_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_LISTS", tmp_path)
    (tmp_path / "deb.debian.org_dists_bookworm_main_binary-amd64_Packages").touch()
    monkeypatch.setattr(packages.os, "geteuid", lambda: 0)
    assert packages.install_command(["a", "b"]) == (
        "apt-get install -y --no-install-recommends a b"
    )
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    assert packages.install_command(["a"]).startswith("sudo apt-get install")
    # A container comes without lists of packages.
    monkeypatch.setattr(packages, "_LISTS", tmp_path / "none")
    assert packages.install_command(["a"]) == (
        "sudo apt-get update && sudo apt-get install -y --no-install-recommends a"
    )


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("", True),
        ("mysql://a@localhost/b", True),
        ("mysql://a:b@127.0.0.1:3306/b", True),
        ("mysql://a@[::1]/b", True),
        ("mysql:///b", True),
        ("mysql://a@db.example/b", False),
        ("mysql://a@10.0.0.1/b", False),
        ("sqlite:////tmp/x.db", False),
    ],
)
def test_a_database_server_of_ones_own(url: str, wanted: bool) -> None:
    assert packages.wants_database_server(url) is wanted


def test_commands_run_and_their_failures_are_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    packages.run_commands([["sh", "-c", "echo done"]], log)
    assert "done" in log.read_text()
    with pytest.raises(EngineError, match="E: Unable to locate") as failed:
        script = "echo Reading; echo 'E: Unable to locate package x'; echo more; exit 100"
        packages.run_commands([["sh", "-c", script]], log)
    assert str(log) in failed.value.hint
    with pytest.raises(EngineError, match="is not installed here"):
        packages.run_commands([["rcsops-no-apt-get", "install"]], log)
