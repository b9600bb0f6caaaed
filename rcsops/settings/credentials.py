"""The credentials kept for local use: HA1 per algorithm and account, never a password.

``rcsops user add bob`` leaves them here, so that ``rcsops chat bob`` asks for nothing. An HA1 is as
good as the password within its realm, hence the file's mode 0600.
"""

from collections.abc import Mapping
from pathlib import Path

from rcsops.errors import SettingsError
from rcsops.settings.private_file import PrivateFile


def _key(aor: str) -> str:
    """``user@domain`` with the domain in lower case, as hosts compare (RFC 3261 §19.1.4)."""
    user, _, domain = aor.removeprefix("sip:").rpartition("@")
    return f"{user}@{domain.lower()}"


def _hashes(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


class CredentialStore:
    """A JSON file: ``{"bob@rcs.example": {"MD5": "…", "SHA-256": "…", "SHA-512-256": "…"}}``.

    Every method raises `SettingsError` when the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = PrivateFile(path, unusable=self._unusable, valid=_hashes, holds="accounts")

    def get(self, aor: str) -> dict[str, str] | None:
        """The HA1 values of ``user@domain`` by algorithm, or None."""
        return self._file.read().get(_key(aor))

    def accounts(self) -> list[str]:
        """All accounts that have credentials here, as ``user@domain``."""
        return sorted(self._file.read())

    def put(self, aor: str, ha1: Mapping[str, str]) -> None:
        """Keeps the HA1 values of one account, in place of what was there."""
        with self._file.changing() as entries:
            entries[_key(aor)] = dict(ha1)

    def remove(self, *aors: str) -> int:
        """Forgets accounts; returns how many were known."""
        if not self.path.exists():
            return 0
        with self._file.changing() as entries:
            return sum(entries.pop(_key(aor), None) is not None for aor in aors)

    def _unusable(self, reason: object) -> SettingsError:
        if isinstance(reason, PermissionError):
            return SettingsError(
                f"cannot use the credentials in {self.path}: {reason.strerror}",
                hint="type it as the owner of this project",
            )
        return SettingsError(
            f"cannot use the credentials in {self.path}: {reason}",
            hint="mend or remove that file, then run `rcsops user passwd USER` for each user",
        )
