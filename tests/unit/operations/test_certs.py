"""The certificates of a lab: made once, kept, renewed for a reason."""

import datetime
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rcsops.errors import SettingsError, UsageError
from rcsops.operations.certs import CertView, make_certs
from rcsops.settings import Project

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "rcsops.toml").write_text(
        'domain = "lab.example"\nlisten = ["tls:192.0.2.7:5061", "tls:[2001:db8::7]:5061"]\n'
    )
    return Project.find(tmp_path, environment={})


def made(project: Project, **more: object) -> dict[str, CertView]:
    result = make_certs(project, **more)  # type: ignore[arg-type]
    return {each.certificate.stem: each for each in result.certificates}


def test_they_are_made_once_and_kept(project: Project) -> None:
    first = made(project, clients=["alice"])
    assert {view.done for view in first.values()} == {"made"}
    assert set(first) == {"ca", "server", "client-alice"}
    second = made(project)
    assert {view.done for view in second.values()} == {"kept"}
    assert {name: view.fingerprint for name, view in first.items()} == {
        name: view.fingerprint for name, view in second.items()
    }


def test_the_server_is_certified_for_its_domain_and_where_it_listens(project: Project) -> None:
    server = made(project, names=["sip.lab.example", "198.51.100.1"])["server"]
    assert {"sip:lab.example", "lab.example", "sip:sip.lab.example"} <= set(server.names)
    assert {"192.0.2.7", "2001:db8::7", "198.51.100.1", "127.0.0.1"} <= set(server.names)
    # A name that was given once is not forgotten.
    again = made(project)["server"]
    assert again.done == "kept"
    assert again.names == server.names


def test_keys_are_for_their_owner_alone(project: Project) -> None:
    for view in made(project, clients=["alice"]).values():
        assert stat.S_IMODE(view.private_key.stat().st_mode) == 0o600
        assert b"PRIVATE KEY" in view.private_key.read_bytes()
        assert b"PRIVATE KEY" not in view.certificate.read_bytes()
    assert stat.S_IMODE(project.tls_dir.stat().st_mode) == 0o700


def test_they_are_renewed_for_a_reason(project: Project) -> None:
    made(project, clients=["alice"])
    server = made(project, names=["new.example"])["server"]
    assert (server.done, server.why) == ("renewed", "it lacks a name")
    views = made(project, now=NOW + 380 * DAY)
    assert (views["ca"].done, views["ca"].why) == ("kept", "")
    assert (views["server"].done, views["server"].why) == ("renewed", "17 days left")
    assert views["client-alice"].done == "renewed"
    views = made(project, now=NOW + 2000 * DAY)
    assert (views["server"].done, views["server"].why) == ("renewed", "it has expired")
    views = made(project, now=NOW + 2000 * DAY, renew=True)
    assert (views["ca"].done, views["server"].why) == ("kept", "asked for")
    short = make_certs(project, days=5, renew=True).certificates[1]
    assert short.days_left in (4, 5)
    assert make_certs(project, days=5).certificates[1].done == "kept"
    assert make_certs(project).certificates[1].why == f"{short.days_left} days left"
    # An authority that would die before what it signs is followed by a new one.
    views = made(project, now=NOW + 3400 * DAY)
    assert views["ca"].done == "renewed"
    assert views["server"].done == "renewed"


def test_a_new_authority_signs_everything_anew(project: Project) -> None:
    old = made(project, clients=["alice"])
    new = made(project, renew_authority=True)
    for name, view in new.items():
        assert view.done == "renewed"
        assert view.fingerprint != old[name].fingerprint
    assert made(project)["server"].done == "kept"


def test_what_another_authority_has_signed_is_made_anew(project: Project) -> None:
    made(project)
    (project.tls_dir / "ca.pem").unlink()
    (project.tls_dir / "ca-key.pem").unlink()
    views = made(project)
    assert views["ca"].done == "made"
    assert views["server"].why == "it was signed by another authority"


@pytest.mark.parametrize("name", ["ca-key.pem", "server.pem", "server-key.pem"])
def test_what_cannot_be_read_is_made_anew(project: Project, name: str) -> None:
    made(project)
    (project.tls_dir / name).write_text("rubbish")
    assert any(view.why.startswith("the old one cannot be used") for view in made(project).values())
    assert {view.done for view in made(project).values()} == {"kept"}


def test_two_at_the_same_time_make_one_authority(project: Project) -> None:
    command = [sys.executable, "-m", "rcsops", "-C", str(project.directory), "certs", "--json"]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [each.communicate(timeout=60) for each in running]
    assert [each.returncode for each in running] == [0, 0], outputs
    assert {view.done for view in made(project).values()} == {"kept"}


def test_names_that_are_none(project: Project) -> None:
    with pytest.raises(UsageError, match="not a domain name"):
        make_certs(project, names=["not a name"])
    with pytest.raises(UsageError, match="client"):
        make_certs(project, clients=["../alice"])
    assert not project.tls_dir.exists()


def test_the_project_finds_them_unless_its_settings_name_others(tmp_path: Path) -> None:
    settings = tmp_path / "rcsops.toml"
    settings.write_text('domain = "lab.example"\n')
    project = Project.find(tmp_path, environment={})
    assert project.certificate is None
    assert project.authorities is None
    make_certs(project)
    directory = tmp_path / ".rcsops" / "tls"
    assert project.certificate == (directory / "server.pem", directory / "server-key.pem")
    assert project.authorities == directory / "ca.pem"
    settings.write_text('[tls]\ncertificate = "own.pem"\nprivate_key = "own.key"\nca = "/etc/ca"\n')
    project = Project.find(tmp_path, environment={})
    assert project.certificate == (tmp_path / "own.pem", tmp_path / "own.key")
    assert project.authorities == Path("/etc/ca")
    assert make_certs(project).unused == "own.pem"
    settings.write_text('[tls]\ncertificate = "own.pem"\n')
    with pytest.raises(SettingsError, match="both certificate and private_key"):
        _ = Project.find(tmp_path, environment={}).certificate


def test_the_content_server_is_certified_where_others_find_it(tmp_path: Path) -> None:
    (tmp_path / "rcsops.toml").write_text(
        '[content]\nlisten = "https:0.0.0.0:8443"\nurl = "https://files.lab.example:8443"\n'
    )
    server = made(Project.find(tmp_path, environment={}))["server"]
    assert "files.lab.example" in server.names
