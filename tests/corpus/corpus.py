"""The corpus: messages as files, and beside them an index of what is to come of each."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """A file of the corpus and its entry of the index."""

    path: Path
    entry: dict[str, Any]

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()

    @property
    def name(self) -> str:
        return str(self.entry["name"])

    def __str__(self) -> str:
        return self.name


def cases(directory: str) -> list[Case]:
    """What the index of a directory lists, in its order."""
    index = tomllib.loads((HERE / directory / "index.toml").read_text("utf-8"))
    suffix = index.get("suffix", ".sip")
    return [
        Case(HERE / directory / f"{entry['name']}{suffix}", entry) for entry in index["message"]
    ]


SIP = [*cases("rfc4475"), *cases("rfc5118")]
