"""A JSON object in a file that only its owner may read, changed in one step."""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rcsops.errors import SettingsError
from rcsops.settings.directories import private_directory


class PrivateFile:
    """``{name: value, …}`` with mode 0600.

    Reads see a whole file at any time; writers take turns by a lock file beside it. ``unusable``
    makes the error for a reason; ``valid`` says whether a value may stand in the file.
    """

    def __init__(
        self,
        path: Path,
        *,
        unusable: Callable[[object], SettingsError],
        valid: Callable[[object], bool],
        holds: str,
    ) -> None:
        self.path = path
        self._unusable = unusable
        self._valid = valid
        self._holds = holds

    def read(self) -> dict[str, Any]:
        """What is in the file; empty when there is none. Raises `SettingsError`."""
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._unusable(error) from error
        if not isinstance(data, dict) or not all(map(self._valid, data.values())):
            raise self._unusable(f"it does not hold {self._holds}")
        return data

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """The object, for the block to change; written when the block ends well."""
        private_directory(self.path.parent)
        try:
            lock = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = self.read()
            yield entries
            self._replace(entries)
        finally:
            os.close(lock)

    def _replace(self, entries: dict[str, Any]) -> None:
        temporary = ""
        try:
            # mkstemp makes the file with mode 0600.
            handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.stem}-")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(entries, file, indent=1, sort_keys=True)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            self._keep_owner(temporary)
            os.replace(temporary, self.path)
        except OSError as error:
            if temporary:
                Path(temporary).unlink(missing_ok=True)
            raise self._unusable(error) from error

    def _keep_owner(self, temporary: str) -> None:
        # Root that works in somebody's project (sudo) must not lock that somebody out.
        owner = self.path.parent.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:
            os.chown(temporary, owner.st_uid, owner.st_gid)
            os.chown(f"{self.path}.lock", owner.st_uid, owner.st_gid)
