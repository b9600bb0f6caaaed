import os
import socket
import stat
from pathlib import Path

import pytest

from rcsops.errors import SettingsError
from rcsops.settings import Project
from rcsops.settings import project as project_module


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(("XDG_", "RCSOPS_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_file_is_found_upward(tmp_path: Path) -> None:
    root = tmp_path / "lab"
    below = root / "a" / "b"
    below.mkdir(parents=True)
    (root / "rcsops.toml").write_text('domain = "lab.example"\n')
    project = Project.find(below)
    assert project.root == root
    assert project.directory == root
    assert project.settings.domain == "lab.example"
    assert project.state_dir == root / ".rcsops"
    assert project.settings.database_url == f"sqlite:///{root}/.rcsops/rcsops.db"
    assert not project.state_dir.exists()


def test_without_a_file_the_users_directories_serve(tmp_path: Path, home: Path) -> None:
    project = Project.find(tmp_path)
    assert project.root is None
    assert project.config_path == home / ".config" / "rcsops" / "rcsops.toml"
    assert project.state_dir == home / ".local" / "state" / "rcsops"
    project.make_state_dir()
    assert mode(project.state_dir) == 0o700
    assert Project.find(project.directory) == project


def test_the_xdg_variables_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "c"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
    (config / "rcsops").mkdir(parents=True)
    (config / "rcsops" / "rcsops.toml").write_text('domain = "mine.example"\n')
    project = Project.find(tmp_path)
    assert project.root is None
    assert project.settings.domain == "mine.example"
    assert project.state_dir == tmp_path / "s" / "rcsops"
    # The directory that is handed to another process leads to the same project.
    assert Project.find(project.directory) == project


def test_an_engine_given_by_hand_wins(tmp_path: Path) -> None:
    project = Project.find(tmp_path, environment={"RCSOPS_ENGINE": "embedded"}, engine="opensips")
    assert project.settings.engine == "opensips"


def test_a_database_file_is_relative_to_the_project(tmp_path: Path) -> None:
    (tmp_path / "rcsops.toml").write_text('[database]\nurl = "sqlite:///lab.db"\n')
    (tmp_path / "sub").mkdir()
    assert Project.find(tmp_path / "sub").settings.database_url == f"sqlite:///{tmp_path}/lab.db"


def test_a_directory_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SettingsError, match="there is no directory '/no/such'"):
        Project.find("/no/such")


def test_a_file_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rcsops.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot read"):
        Project.find(tmp_path)


def test_a_strangers_file_above_counts_only_when_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rcsops.toml").write_text("")
    below = tmp_path / "below"
    below.mkdir()
    # As if the file belonged to another user: we are somebody else.
    monkeypatch.setattr(project_module.os, "geteuid", lambda: os.getuid() + 4242)
    monkeypatch.delenv("SUDO_UID", raising=False)
    if os.getuid() == 0:
        os.chown(tmp_path / "rcsops.toml", 4243, -1)
    with pytest.raises(SettingsError, match="belongs to another user") as caught:
        Project.find(below)
    assert f"--project {tmp_path}" in caught.value.hint
    assert Project.find(tmp_path).root == tmp_path


def test_directories_are_private(tmp_path: Path) -> None:
    (tmp_path / "rcsops.toml").write_text("")
    project = Project.find(tmp_path)
    project.state_dir.mkdir(mode=0o755)
    run = project.make_run_dir()
    agent = project.make_agent_dir("bob")
    assert mode(project.state_dir) == mode(run) == mode(agent) == 0o700
    assert (project.state_dir / ".gitignore").read_text() == "*\n"
    assert project.make_run_dir() == run


def test_a_socket_fits_into_the_run_directory_of_any_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "r"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"/proc/self/fd/{os.open(runtime, os.O_RDONLY)}")
    root = tmp_path / ("d" * 120)
    root.mkdir()
    (root / "rcsops.toml").write_text("")
    project = Project.find(root)
    run = project.make_run_dir()
    assert run == Project.find(root).run_dir
    assert mode(run) == 0o700
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(run / "a-name-of-24-characters."))


def test_a_run_directory_that_a_stranger_put_into_tmp_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "r"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"/proc/self/fd/{os.open(runtime, os.O_RDONLY)}")
    root = tmp_path / ("d" * 120)
    root.mkdir()
    (root / "rcsops.toml").write_text("")
    project = Project.find(root)
    (tmp_path / "elsewhere").mkdir()
    project.run_dir.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="belongs to another user"):
        project.make_run_dir()


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rcsops.toml").write_text("")
    (tmp_path / ".rcsops").write_text("a file")
    with pytest.raises(SettingsError, match="cannot make the directory"):
        Project.find(tmp_path).make_state_dir()


@pytest.mark.parametrize("user", ["bob", "../../etc", "..", ".", "a/b", "A;b=c", "%2F", "x" * 64])
def test_every_user_has_a_safe_directory_of_its_own(tmp_path: Path, user: str) -> None:
    (tmp_path / "rcsops.toml").write_text("")
    project = Project.find(tmp_path)
    directory = project.agent_dir(user)
    assert directory.parent == project.state_dir / "agents"
    assert directory.name not in (".", "..")
    assert not directory.name.startswith(".")
    assert directory == project.agent_dir(f"{user}@RCS.example")
    others = {project.agent_dir(other) for other in ("a%2Fb", "%2E.", "bob2")}
    assert directory not in others
