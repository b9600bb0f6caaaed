"""What must not stand in rcsops.toml: the database's password and the like, in a file (0600)."""

from pathlib import Path

from rcsops.errors import SettingsError
from rcsops.settings.private_file import PrivateFile


class SecretStore:
    """A JSON file: ``{"mysql://opensips@localhost": "password", …}``.

    A database user's password is kept under user and server (`secret_name`), so that it is never
    sent to another server than the one it was made for. Every method raises `SettingsError` when
    the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = PrivateFile(
            path, unusable=self._unusable, valid=lambda each: isinstance(each, str), holds="texts"
        )

    def get(self, name: str) -> str | None:
        """The secret of that name, or None."""
        return self._file.read().get(name)

    def put(self, name: str, secret: str) -> None:
        """Keeps a secret, in place of what was there."""
        with self._file.changing() as entries:
            entries[name] = secret

    def remove(self, name: str) -> bool:
        """Forgets a secret; False when there was none."""
        if not self.path.exists():
            return False
        with self._file.changing() as entries:
            return entries.pop(name, None) is not None

    def _unusable(self, reason: object) -> SettingsError:
        return SettingsError(
            f"cannot use the secrets in {self.path}: {reason}",
            hint="check who owns that file; for a new database password: "
            "rcsops db create --new-password",
        )
