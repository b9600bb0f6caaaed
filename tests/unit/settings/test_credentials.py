import json
import stat
import threading
from pathlib import Path

import pytest

from rcsops.errors import SettingsError
from rcsops.settings import CredentialStore

BOB = {"MD5": "aa", "SHA-256": "bb"}


@pytest.fixture
def store(tmp_path: Path) -> CredentialStore:
    return CredentialStore(tmp_path / "state" / "credentials.json")


def test_nothing_is_known_before_anything_is_put(store: CredentialStore) -> None:
    assert store.get("bob@rcs.example") is None
    assert store.accounts() == []
    assert store.remove("bob@rcs.example") == 0
    assert not store.path.parent.exists()


def test_what_is_put_is_found_under_every_spelling_of_the_domain(store: CredentialStore) -> None:
    store.put("bob@RCS.example", BOB)
    assert store.get("sip:bob@rcs.Example") == BOB
    assert store.get("Bob@rcs.example") is None
    assert store.accounts() == ["bob@rcs.example"]


def test_the_file_is_private_and_stays_so(store: CredentialStore) -> None:
    store.put("bob@rcs.example", BOB)
    store.path.chmod(0o644)
    store.put("alex@rcs.example", BOB)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    assert {each.name for each in store.path.parent.iterdir()} == {
        "credentials.json",
        "credentials.json.lock",
    }


def test_accounts_are_replaced_and_removed(store: CredentialStore) -> None:
    store.put("bob@rcs.example", BOB)
    store.put("bob@rcs.example", {"MD5": "cc"})
    store.put("alex@rcs.example", BOB)
    assert store.get("bob@rcs.example") == {"MD5": "cc"}
    assert store.remove("bob@rcs.example", "nobody@rcs.example") == 1
    assert store.accounts() == ["alex@rcs.example"]


@pytest.mark.parametrize("text", ["{", "[]", '{"bob@a": "x"}', '{"bob@a": {"MD5": 5}}', "\xff"])
def test_a_spoilt_file_is_reported_and_kept(store: CredentialStore, text: str) -> None:
    store.path.parent.mkdir()
    store.path.write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError) as caught:
        store.get("bob@rcs.example")
    assert str(store.path) in str(caught.value)
    assert "rcsops user passwd" in caught.value.hint
    with pytest.raises(SettingsError):
        store.put("bob@rcs.example", BOB)
    assert store.path.read_text(encoding="latin-1") == text


def test_writers_at_the_same_time_lose_nothing(store: CredentialStore) -> None:
    def write(number: int) -> None:
        for index in range(10):
            CredentialStore(store.path).put(f"u{number}-{index}@rcs.example", BOB)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.accounts()) == 40
    assert json.loads(store.path.read_text())["u3-9@rcs.example"] == BOB
