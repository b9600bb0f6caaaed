import os
import stat
from pathlib import Path

import pytest

from rcsops.errors import SettingsError
from rcsops.settings import (
    Project,
    SecretStore,
    private_directory,
    secret_name,
    url_password,
    url_with_password,
)

URL = "mysql://opensips@db.example:3307/opensips"


def test_a_secret_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    store = SecretStore(tmp_path / "state" / "secrets.json")
    assert store.get(URL) is None
    assert store.remove(URL) is False
    store.put(URL, "s3cret")
    store.put("other", "x")
    assert store.get(URL) == "s3cret"
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert store.remove(URL) is True
    assert store.get(URL) is None
    assert store.get("other") == "x"


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    for text in ("{", '{"a": 1}', "[]"):
        path.write_text(text)
        with pytest.raises(SettingsError, match="cannot use the secrets") as caught:
            SecretStore(path).get("a")
        assert "--new-password" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_leaves_the_file_to_the_projects_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 4242, 4242)
    store = SecretStore(tmp_path / "secrets.json")
    store.put("a", "b")
    assert store.path.stat().st_uid == 4242
    assert Path(f"{store.path}.lock").stat().st_uid == 4242
    assert private_directory(tmp_path / ".rcsops").stat().st_uid == 4242


@pytest.mark.parametrize("password", ["simple", "p@ss:w/rd?#%", "ü", ""])
def test_a_password_in_a_url(password: str) -> None:
    whole = url_with_password(URL, password)
    assert secret_name(whole) == secret_name(URL) == "mysql://opensips@db.example:3307"
    assert url_password(URL) is None
    assert url_password(whole) is not None
    assert url_with_password(whole, "other") == url_with_password(URL, "other")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("mysql://a@localhost/b", "mysql://a@localhost"),
        ("mariadb+mysqldb://a:p@localhost/other", "mysql://a@localhost"),
        (
            "mysql://a@localhost/b?unix_socket=/x/y&charset=z",
            "mysql://a@localhost/?unix_socket=/x/y",
        ),
        ("mysql://b@localhost/b", "mysql://b@localhost"),
    ],
)
def test_user_and_server_name_a_secret(url: str, name: str) -> None:
    assert secret_name(url) == name


def test_a_url_without_a_user_takes_no_password() -> None:
    assert url_with_password("mysql://host/name", "x") == "mysql://host/name"
    assert url_password("sqlite:////a@b/c:d@e.db") is None


def find(root: Path, **environment: str) -> Project:
    (root / "rcsops.toml").write_text(f'[database]\nurl = "{URL}"\n')
    return Project.find(root, environment=environment)


def test_the_project_puts_url_and_password_together(tmp_path: Path) -> None:
    assert find(tmp_path).settings.database_url == URL
    project = find(tmp_path)
    project.make_state_dir()
    project.secrets.put(secret_name(URL), "p@ss")
    assert find(tmp_path).settings.database_url == url_with_password(URL, "p@ss")
    given = "mysql://opensips:mine@db.example:3307/opensips"
    assert find(tmp_path, RCSOPS_DATABASE_URL=given).settings.database_url == given


def test_a_password_goes_to_no_other_server(tmp_path: Path) -> None:
    project = find(tmp_path)
    project.secrets.put(secret_name(URL), "p@ss")
    other = "mysql://opensips@evil.example/opensips"
    assert find(tmp_path, RCSOPS_DATABASE_URL=other).settings.database_url == other


def test_each_engine_has_a_database_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "rcsops.toml").write_text("")
    embedded = Project.find(tmp_path, environment={})
    assert embedded.settings.database_url == f"sqlite:///{embedded.own_database}"
    opensips = Project.find(tmp_path, environment={}, engine="opensips")
    assert opensips.settings.database_url == "mysql://opensips@localhost/opensips"
