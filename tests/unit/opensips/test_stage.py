import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rcsops.errors import EngineError, UsageError
from rcsops.opensips import stage
from rcsops.opensips.installed import RECORD_NAME


def installation(prefix: Path, content: str) -> Path:
    (prefix / "sbin").mkdir(parents=True)
    (prefix / "sbin" / "opensips").write_text(content)
    (prefix / RECORD_NAME).write_text(json.dumps({"format": 1, "version": content}))
    return prefix


def staged(prefix: Path, content: str) -> Path:
    """A complete staging directory for ``prefix``."""
    directory = stage.make_staging(prefix)
    into = stage.staged_prefix(directory, prefix)
    (into / "sbin").mkdir()
    (into / "sbin" / "opensips").write_text(content)
    return directory


def content(prefix: Path) -> str:
    return (prefix / "sbin" / "opensips").read_text()


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "opensips" / "3.0.2"


def test_the_first_one(prefix: Path) -> None:
    stage.swap(staged(prefix, "new"), prefix)
    assert content(prefix) == "new"
    assert [each.name for each in prefix.parent.iterdir()] == ["3.0.2"]


def test_an_empty_directory_is_taken(prefix: Path) -> None:
    prefix.mkdir(parents=True)
    stage.swap(staged(prefix, "new"), prefix)
    assert content(prefix) == "new"


def test_it_takes_the_place_of_another(prefix: Path) -> None:
    installation(prefix, "old")
    stage.swap(staged(prefix, "new"), prefix)
    assert content(prefix) == "new"
    assert [each.name for each in prefix.parent.iterdir()] == ["3.0.2"]


def test_in_one_step(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation(prefix, "old")
    directory = staged(prefix, "new")

    def no_rename(*_: object) -> None:
        raise AssertionError("two steps")

    monkeypatch.setattr(os, "rename", no_rename)
    stage.swap(directory, prefix)
    assert content(prefix) == "new"


def test_where_two_directories_cannot_be_exchanged(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation(prefix, "old")
    monkeypatch.setattr(stage.ctypes, "CDLL", lambda *_, **__: object())
    stage.swap(staged(prefix, "new"), prefix)
    assert content(prefix) == "new"
    assert [each.name for each in prefix.parent.iterdir()] == ["3.0.2"]
    # The second step fails: the old one comes back.
    directory = staged(prefix, "newer")
    rename, calls = os.rename, []

    def fails_once(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails_once)
    with pytest.raises(EngineError, match="Input/output error"):
        stage.swap(directory, prefix)
    assert content(prefix) == "new"


def test_a_kill_between_two_steps_is_mended(prefix: Path) -> None:
    installation(prefix, "old")
    prefix.rename(prefix.with_name(".3.0.2.rcsops-old"))
    stage.remove_staging(prefix)
    assert content(prefix) == "old"


def test_modules_are_added_to_a_copy(prefix: Path) -> None:
    installation(prefix, "old")
    directory = stage.make_staging(prefix, copy_from=prefix)
    into = stage.staged_prefix(directory, prefix)
    (into / "sbin" / "opensips").write_text("changed")
    assert content(prefix) == "old"
    stage.remove_staging(prefix)
    assert not directory.exists()


@pytest.mark.parametrize("place", ["/", "/usr", "/usr/local", "/opt", "/home"])
def test_shared_directories_are_refused(place: str) -> None:
    with pytest.raises(UsageError, match="would be replaced"):
        stage.check_prefix(Path(place))


def test_what_may_be_replaced(prefix: Path) -> None:
    stage.check_prefix(prefix)
    prefix.mkdir(parents=True)
    stage.check_prefix(prefix)
    (prefix / "mine").touch()
    with pytest.raises(UsageError):
        stage.check_prefix(prefix)
    (prefix / RECORD_NAME).touch()
    stage.check_prefix(prefix)
    file = prefix / "file"
    file.touch()
    with pytest.raises(UsageError):
        stage.check_prefix(file)


def test_records(prefix: Path) -> None:
    prefix.mkdir(parents=True)
    assert stage.read_record(prefix) == {}
    stage.write_record(prefix, {"version": "3.0.2", "modules": ("tm",)})
    assert stage.read_record(prefix)["modules"] == ["tm"]
    for text in ("", "[]", "{}", '{"format": 99}'):
        (prefix / RECORD_NAME).write_text(text)
        assert stage.read_record(prefix) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_prefix_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(EngineError, match="cannot write"):
        stage.make_staging(tmp_path / "prefix")
    tmp_path.chmod(0o700)


def test_a_transport_that_nobody_listens_by_is_no_fault(tmp_path: Path) -> None:
    """What OpenSIPS 4.0.1 says of proto_wss in a configuration without a listener for it."""
    binary = tmp_path / "opensips"
    binary.write_text(
        "#!/bin/sh\n"
        'for last; do :; done; config="$last/opensips.cfg"\n'
        'if grep -q proto_wss "$config"; then\n'
        '  echo "Nov 26 02:01:42 [1] ERROR:core:trans_load: No binding found for protocol '
        'proto_wss" >&2; exit 1\n'
        "fi\n"
        'if grep -q broken "$config"; then\n'
        '  echo "1 ERROR:core:load_module: broken" >&2; exit 1\n'
        "fi\n"
    )
    binary.chmod(0o755)
    modules = {"tm": Path("tm.so"), "proto_wss": Path("proto_wss.so")}
    built = SimpleNamespace(binary=binary, line=(4, 0), modules_dir=tmp_path, modules=modules)
    assert stage.check_modules_load(built) == ()  # type: ignore[arg-type]
    built.modules = {**modules, "broken": Path("broken.so")}
    with pytest.raises(EngineError, match="load_module: broken"):
        stage.check_modules_load(built)  # type: ignore[arg-type]
