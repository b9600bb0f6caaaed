"""The schema scripts that come with an OpenSIPS (share/opensips/mysql and …/sqlite)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rcsops.errors import DatabaseError

_CREATE = re.compile(r"CREATE TABLE\s+`?(\w+)`?", re.IGNORECASE)
_VERSION = re.compile(
    r"INSERT INTO\s+`?version`?\s*\(\s*table_name\s*,\s*table_version\s*\)\s*"
    r"VALUES\s*\(\s*'(\w+)'\s*,\s*'?([0-9]+)'?\s*\)",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"(?:CREATE (?:UNIQUE )?INDEX\s+\S+\s+ON|INSERT INTO|ALTER TABLE)\s+`?(\w+)`?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ScriptTable:
    """A table of a release: ``statements`` make it, ``version`` is what the release expects (None:
    it does not ask)."""

    name: str
    script: str
    statements: tuple[str, ...]
    version: int | None


def read_scripts(scripts_dir: Path, flavour: str) -> dict[str, ScriptTable]:
    """The tables of an OpenSIPS whose scripts are in ``scripts_dir``; ``flavour`` is "mysql" or
    "sqlite". Raises `DatabaseError` when they cannot be read."""
    directory = scripts_dir / flavour
    try:
        files = sorted(directory.glob("*-create.sql"))
        texts = {file.stem.removesuffix("-create"): file.read_text("utf-8") for file in files}
    except OSError as error:
        raise DatabaseError(f"cannot read the scripts in {directory}: {error.strerror}") from error
    if "standard" not in texts:
        raise DatabaseError(
            f"there are no scripts of OpenSIPS in {directory}",
            hint="they come with the module of that database: rcsops install --modules …",
        )
    tables: dict[str, ScriptTable] = {}
    for script, text in texts.items():
        statements: dict[str, list[str]] = {}
        versions: dict[str, int] = {}
        for statement in split_statements(text):
            if version := _VERSION.match(statement):
                versions[version[1]] = int(version[2])
            elif named := _CREATE.match(statement) or _ABOUT.match(statement):
                statements.setdefault(named[1], []).append(statement)
        for name, each in statements.items():
            tables[name] = ScriptTable(name, script, tuple(each), versions.get(name))
    return tables


def split_statements(text: str) -> Iterator[str]:
    """The statements of a script, without its comments; no ``;`` stands within one of them."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("--", "#"))]
    for statement in "\n".join(lines).split(";"):
        if statement.strip():
            yield statement.strip()
