"""A backup: one file (gzip, JSON lines, 0600) with all rows of OpenSIPS's tables.

The first line says what it is and lists the tables with their columns; each further line is a row,
``["subscriber", 1, "bob", …]`` with bytes as ``{"b64": …}``; the last line has each table's number
of rows and digest, so that a file that was cut short or changed is known.
"""

import base64
import binascii
import contextlib
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect

from rcsops.database.rows import Digest, Row, Value, columns_of, key_of, read_rows
from rcsops.database.shapes import Line
from rcsops.database.tables import table_versions
from rcsops.errors import DatabaseError

FORMAT = "rcsops backup"
FORMAT_VERSION = 1
_KINDS = {"char", "text", "blob", "int", "float", "time"}
_MAX_LINE = 64 * 1024 * 1024
_STEP = 5000
OnRows = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class BackupTable:
    """A table in a backup; ``version`` is None where the table ``version`` did not name it."""

    columns: Mapping[str, str]
    version: int | None


@dataclass(frozen=True, slots=True)
class Backup:
    """What a file says of itself; ``rows`` counts each table's."""

    path: Path
    line: Line
    made: str
    server: str
    tables: Mapping[str, BackupTable]
    rows: Mapping[str, int]
    digests: Mapping[str, str]


def write_backup(
    connection: Connection,
    path: Path,
    *,
    line: Line,
    made: str,
    server: str,
    on_rows: OnRows | None = None,
) -> Backup:
    """Writes all of OpenSIPS's tables that ``connection`` sees, in one snapshot of the database.

    The file appears whole or not at all. Raises `DatabaseError` when it cannot be written or is
    there already.
    """
    present = set(inspect(connection).get_table_names())
    versions = table_versions(connection)
    tables = {
        name: BackupTable(columns_of(connection, name), versions.get(name))
        for name in sorted(present & set(versions))
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists():
            raise DatabaseError(f"{path} is there already", hint="name another file")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as raw:
            with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=3, filename="") as file:
                head = {
                    "format": FORMAT,
                    "format_version": FORMAT_VERSION,
                    "line": list(line),
                    "made": made,
                    "server": server,
                    "tables": {
                        name: {"columns": dict(each.columns), "version": each.version}
                        for name, each in tables.items()
                    },
                }
                file.write(_encoded(head))
                digests = {name: Digest() for name in tables}
                for name, each in tables.items():
                    rows = read_rows(connection, name, each.columns, key_of(connection, name))
                    for row in digests[name].through(rows):
                        file.write(_encoded([name, *map(_to_json, row)]))
                        if on_rows is not None and digests[name].rows % _STEP == 0:
                            on_rows(name, digests[name].rows)
                counts = {name: digest.rows for name, digest in digests.items()}
                values = {name: digest.value for name, digest in digests.items()}
                file.write(_encoded({"rows": counts, "digests": values}))
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise DatabaseError(
            f"cannot write the backup {path}: {error.strerror}",
            hint="check who owns its directory and that the disk has room",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return Backup(path, line, made, server, tables, counts, values)


def verify_backup(path: Path) -> Backup:
    """Reads the whole file; raises `DatabaseError` unless it is a backup, whole and unchanged."""
    head: dict[str, Any] = {}
    tail: dict[str, Any] = {}
    digests: dict[str, Digest] = {}
    try:
        for document in _documents(path):
            if not head:
                head = _checked_head(path, document)
                digests = {name: Digest() for name in head["tables"]}
            elif isinstance(document, dict):
                tail = document
            elif tail or document[0] not in digests:
                raise _damaged(path, "a row stands where none should")
            else:
                digests[document[0]].add(tuple(map(_from_json, document[1:])))
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise _damaged(path, "a line is not as it was written") from error
    if not tail:
        raise _damaged(path, "its end is missing")
    found = {name: digest.value for name, digest in digests.items()}
    if tail.get("digests") != found:
        raise _damaged(path, "its rows are not those that were written")
    return Backup(
        path=path,
        line=(int(head["line"][0]), int(head["line"][1])),
        made=str(head["made"]),
        server=str(head["server"]),
        tables={
            name: BackupTable(dict(each["columns"]), each["version"])
            for name, each in head["tables"].items()
        },
        rows={name: digest.rows for name, digest in digests.items()},
        digests=found,
    )


def rows_of(path: Path, table: str) -> Iterator[Row]:
    """The rows of one table in a backup that was verified."""
    start = f'["{table}"'.encode()
    for number, line in enumerate(_lines(path)):
        if number and line.startswith(start):
            yield tuple(map(_from_json, json.loads(line)[1:]))


def _checked_head(path: Path, document: Any) -> dict[str, Any]:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DatabaseError(
            f"{path} is no backup of rcsops", hint="name a file that rcsops db backup wrote"
        )
    if document.get("format_version") != FORMAT_VERSION:
        raise DatabaseError(
            f"{path} has version {document.get('format_version')} of the format",
            hint="restore it with the rcsops that wrote it",
        )
    for name, each in document["tables"].items():
        # Names go into statements.
        if not all(str(word).isidentifier() for word in (name, *each["columns"])):
            raise _damaged(path, "it has tables with impossible names")
        if not set(each["columns"].values()) <= _KINDS:
            raise _damaged(path, "it has columns of no known kind")
    return document


def _documents(path: Path) -> Iterator[Any]:
    for line in _lines(path):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, "a line is not JSON") from error


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(_MAX_LINE):
                yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, str(error)) from error
    except OSError as error:
        raise DatabaseError(f"cannot read {path}: {error.strerror or error}") from error


def _damaged(path: Path, reason: str) -> DatabaseError:
    return DatabaseError(
        f"the backup {path} is damaged: {reason}",
        hint="nothing was changed; take another backup",
    )


def _encoded(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _to_json(value: Value) -> Any:
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _from_json(value: Any) -> Value:
    if isinstance(value, dict):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except binascii.Error as error:
            raise ValueError("not base64") from error
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise ValueError("no value of a row")
