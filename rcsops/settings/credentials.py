"""The credentials kept for local use: HA1 per algorithm and account, never a password.

``rcsops user add bob`` leaves them here, so that ``rcsops chat bob`` asks for nothing. An HA1 is as
good as the password within its realm, hence the file's mode 0600.
"""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from rcsops.errors import SettingsError
from rcsops.settings.directories import private_directory


def _key(aor: str) -> str:
    """``user@domain`` with the domain in lower case, as hosts compare (RFC 3261 §19.1.4)."""
    user, _, domain = aor.removeprefix("sip:").rpartition("@")
    return f"{user}@{domain.lower()}"


class CredentialStore:
    """A JSON file: ``{"bob@rcs.example": {"MD5": "…", "SHA-256": "…", "SHA-512-256": "…"}}``.

    Reads see a whole file at any time; writers take turns by a lock file beside it. Every method
    raises `SettingsError` when the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, aor: str) -> dict[str, str] | None:
        """The HA1 values of ``user@domain`` by algorithm, or None."""
        return self._read().get(_key(aor))

    def accounts(self) -> list[str]:
        """All accounts that have credentials here, as ``user@domain``."""
        return sorted(self._read())

    def put(self, aor: str, ha1: Mapping[str, str]) -> None:
        """Keeps the HA1 values of one account, in place of what was there."""
        with self._changing() as entries:
            entries[_key(aor)] = dict(ha1)

    def remove(self, *aors: str) -> int:
        """Forgets accounts; returns how many were known."""
        if not self.path.exists():
            return 0
        with self._changing() as entries:
            return sum(entries.pop(_key(aor), None) is not None for aor in aors)

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._unusable(error) from error
        if not isinstance(data, dict) or not all(
            isinstance(hashes, dict) and all(isinstance(value, str) for value in hashes.values())
            for hashes in data.values()
        ):
            raise self._unusable("it does not hold accounts")
        return data

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, dict[str, str]]]:
        private_directory(self.path.parent)
        try:
            lock = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = self._read()
            yield entries
            self._replace(entries)
        finally:
            os.close(lock)

    def _replace(self, entries: Mapping[str, Mapping[str, str]]) -> None:
        temporary = ""
        try:
            # mkstemp makes the file with mode 0600.
            handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".credentials-")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(entries, file, indent=1, sort_keys=True)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except OSError as error:
            if temporary:
                Path(temporary).unlink(missing_ok=True)
            raise self._unusable(error) from error

    def _unusable(self, reason: object) -> SettingsError:
        return SettingsError(
            f"cannot use the credentials in {self.path}: {reason}",
            hint="mend or remove that file, then run `rcsops user passwd USER` for each user",
        )
