"""The unit of systemd, and what is told to systemd."""

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from rcsops.errors import UsageError
from rcsops.operations.engine import tell_systemd
from rcsops.operations.service import logrotate_text, plan_service
from rcsops.settings import Project

ME = pwd.getpwuid(os.geteuid()).pw_name


def project(directory: Path, text: str = "") -> Project:
    (directory / "rcsops.toml").write_text(text)
    return Project.find(directory, environment={})


def values(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")


def test_a_unit_for_the_owner(tmp_path: Path) -> None:
    made = project(tmp_path, 'domain = "lab.example"\n')
    unit = plan_service(made)
    found = values(unit.text)
    assert found["Type"] == "notify"
    assert found["ExecStart"].endswith(f"--project {tmp_path} start --foreground")
    assert found["ExecStart"].startswith("/")
    assert found["CapabilityBoundingSet"] == ""
    assert found["NoNewPrivileges"] == "yes"
    assert found["ProtectSystem"] == "strict"
    assert str(made.state_dir) in found["ReadWritePaths"].split()
    assert "lab.example" in found["Description"]
    if ME == "root":
        assert "root" in unit.notes[0]
    else:
        assert found["User"] == ME


def test_ports_below_1024_need_that_right(tmp_path: Path) -> None:
    unit = plan_service(project(tmp_path, 'listen = ["udp:127.0.0.1:560"]\n'))
    assert values(unit.text)["CapabilityBoundingSet"] == "CAP_NET_BIND_SERVICE"


def test_a_low_port_of_the_content_server_needs_it_too(tmp_path: Path) -> None:
    unit = plan_service(project(tmp_path, '[content]\nlisten = "https:127.0.0.1:443"\n'))
    assert values(unit.text)["CapabilityBoundingSet"] == "CAP_NET_BIND_SERVICE"


def test_a_directory_with_spaces_and_signs(tmp_path: Path) -> None:
    odd = tmp_path / "a b%$"
    odd.mkdir()
    start = values(plan_service(project(odd)).text)["ExecStart"]
    assert f'"{tmp_path}/a b%%$$"' in start


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's projects are for another user to run")
def test_a_project_of_roots_gives_its_rights_up_itself(tmp_path: Path) -> None:
    made = project(tmp_path, 'engine = "opensips"\n')
    unit = plan_service(made, user="nobody")
    found = values(unit.text)
    assert "User" not in found
    assert found["ExecStart"].endswith("start --foreground --user nobody")
    assert "CAP_SETUID" in found["CapabilityBoundingSet"]
    assert unit.notes == ()
    embedded = project(tmp_path, 'engine = "embedded"\n')
    with pytest.raises(UsageError, match="belongs to root"):
        plan_service(embedded, user="nobody")


def test_users_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no user"):
        plan_service(project(tmp_path), user="no-such-user")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_systemd_takes_it(tmp_path: Path) -> None:
    unit = tmp_path / "rcsops-test.service"
    unit.write_text(plan_service(project(tmp_path)).text)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "rcsops-test" in line]
    assert complaints == []


def test_logrotate_cuts_the_log_in_place(tmp_path: Path) -> None:
    text = logrotate_text(project(tmp_path))
    assert "copytruncate" in text
    assert str(project(tmp_path).run_dir / "server.log") in text


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    tell_systemd("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("notify")
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "notify")
        tell_systemd("READY=1")
        assert systemd.recv(100) == b"READY=1"
    # Nobody listens any more: no reason to fail.
    tell_systemd("STOPPING=1")
