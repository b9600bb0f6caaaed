"""The files of a configuration on disk, and whether a person changed them since the last render.

Beside them stands ``.rendered.json``: for each file the hash of what was written last, and of
opensips.cfg, which holds no secret, the text, so that a person's changes can be shown.
"""

import contextlib
import difflib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rcsops.errors import SettingsError
from rcsops.opensips.config.cli_config import CLI
from rcsops.opensips.config.render import MAIN, SECRETS, Rendered

_RECORD = ".rendered.json"


@dataclass(frozen=True, slots=True)
class KeptFiles:
    """The configuration in ``directory``, which is private to the server's user."""

    directory: Path

    @property
    def main(self) -> Path:
        """opensips.cfg."""
        return self.directory / MAIN

    @property
    def secrets(self) -> Path:
        """secrets.cfg."""
        return self.directory / SECRETS

    def changed_by_hand(self) -> tuple[str, ...]:
        """The files that are there and are not what was written last."""
        record = self._record()
        found = []
        for name in (MAIN, SECRETS, CLI):
            text = self.text(name)
            if text is not None and _hash(text) != record.get(name, {}).get("sha256"):
                found.append(name)
        return tuple(found)

    def text(self, name: str) -> str | None:
        """A file as it is, None when there is none; raises `SettingsError` if unreadable."""
        path = self.directory / name
        try:
            return path.read_bytes().decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(f"cannot read {path}: {error.strerror}") from error

    def rendered_text(self) -> str | None:
        """opensips.cfg as it was written last, None when that is not known."""
        text = self._record().get(MAIN, {}).get("text")
        return text if isinstance(text, str) else None

    def write(self, rendered: Rendered) -> tuple[str, ...]:
        """Puts the files in place, each in one step and with mode 0600; the names of those that are
        new. What a person had changed is kept beside it as ``NAME.old``.

        Raises `SettingsError`.
        """
        kept = self.changed_by_hand()
        written = []
        record = self._record()
        try:
            for name, text in rendered.files.items():
                if self.text(name) != text:
                    if name in kept:
                        os.replace(self.directory / name, self.directory / f"{name}.old")
                    self._replace(name, text)
                    written.append(name)
                record[name] = {"sha256": _hash(text)}
                if name == MAIN:
                    record[name]["text"] = text
            self._replace(_RECORD, json.dumps(record, indent=1) + "\n")
        except OSError as error:
            raise SettingsError(
                f"cannot write {error.filename}: {error.strerror}",
                hint="check who owns that directory and that the disk has room",
            ) from error
        return tuple(written)

    def _record(self) -> dict[str, dict[str, str]]:
        # Without a record every file counts as a person's.
        with contextlib.suppress(OSError, ValueError):
            data = json.loads((self.directory / _RECORD).read_text(encoding="utf-8"))
            if isinstance(data, dict):
                return {name: each for name, each in data.items() if isinstance(each, dict)}
        return {}

    def _replace(self, name: str, text: str) -> None:
        handle, temporary = tempfile.mkstemp(dir=self.directory, prefix=f".{name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))
                file.flush()
                os.fsync(file.fileno())
            owner = self.directory.stat()
            # Root that works in somebody's project (sudo) must not lock that somebody out.
            if os.geteuid() == 0 and owner.st_uid != 0:
                os.chown(temporary, owner.st_uid, owner.st_gid)
            os.replace(temporary, self.directory / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def difference(old: str, new: str, old_name: str, new_name: str) -> list[str]:
    """The lines of a unified diff, empty when there is no difference."""
    return list(
        difflib.unified_diff(
            old.splitlines(), new.splitlines(), old_name, new_name, lineterm="", n=3
        )
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
