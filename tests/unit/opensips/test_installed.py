from pathlib import Path

import pytest

from rcsops.errors import EngineError
from rcsops.opensips import RECORD_NAME, find, inspect, private_prefix
from rcsops.settings import Project

SAYS = "version: opensips 3.6.8 (x86_64/linux)"


def make(prefix: Path, *, says: str = SAYS, library: str = "lib64", code: int = 0) -> Path:
    modules = prefix / library / "opensips" / "modules"
    modules.mkdir(parents=True)
    for name in ("tm", "sl"):
        (modules / f"{name}.so").touch()
    binary = prefix / "sbin" / "opensips"
    binary.parent.mkdir()
    binary.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    binary.chmod(0o755)
    return binary


@pytest.mark.parametrize("library", ["lib64", "lib", "lib/x86_64-linux-gnu"])
def test_by_prefix_and_by_binary(tmp_path: Path, library: str) -> None:
    binary = make(tmp_path, library=library)
    for place in (tmp_path, binary):
        found = inspect(place)
        assert (found.version, found.line) == ("3.6.8", (3, 6))
        assert (found.prefix, found.binary) == (tmp_path, binary)
        assert found.modules == ("sl", "tm")
        assert found.modules_dir == tmp_path / library / "opensips" / "modules"
        assert found.scripts_dir is None
        assert found.release is not None
        assert found.adopted
    (tmp_path / RECORD_NAME).touch()
    scripts = tmp_path / "share" / "opensips"
    (scripts / "mysql").mkdir(parents=True)
    (scripts / "mysql" / "standard-create.sql").touch()
    assert inspect(tmp_path).scripts_dir == scripts
    assert not inspect(tmp_path).adopted


def test_through_a_link(tmp_path: Path) -> None:
    binary = make(tmp_path / "real")
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "opensips"
    link.symlink_to(binary)
    assert inspect(link).prefix == tmp_path / "real"


def test_a_version_that_is_not_known(tmp_path: Path) -> None:
    make(tmp_path, says="version: opensips 3.5.7-dev (x86_64/linux)")
    found = inspect(tmp_path)
    assert found.release is None
    assert found.line == (3, 5)


def test_what_is_no_opensips(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="there is no OpenSIPS"):
        inspect(tmp_path)
    binary = make(tmp_path, says="version: kamailio 5.6")
    with pytest.raises(EngineError, match="does not say that it is OpenSIPS: version: kamailio"):
        inspect(tmp_path)
    binary.chmod(0o644)
    with pytest.raises(EngineError, match="cannot be run"):
        inspect(tmp_path)


def test_without_modules(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "lib64").rename(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="has no modules"):
        inspect(tmp_path)


def test_that_of_a_project(tmp_path: Path) -> None:
    settings = tmp_path / "rcsops.toml"
    settings.write_text("release = '3.6'\n")
    project = Project.find(tmp_path)
    assert find(project) is None
    make(private_prefix(project, "3.6.8"))
    found = find(project)
    assert found is not None
    assert found.prefix == tmp_path / ".rcsops" / "opensips" / "3.6.8"
    make(tmp_path / "mine")
    settings.write_text("prefix = 'mine'\n")
    found = find(Project.find(tmp_path))
    assert found is not None
    assert found.prefix == tmp_path / "mine"
