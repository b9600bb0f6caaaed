"""Accounts in a file: CSV with a line of column names, or JSON lines, one object each.

The columns are ``user`` (or ``username`` and ``domain``) and either ``password`` or hashes under
the names that they have in OpenSIPS's table: ``ha1`` (MD5), ``ha1_sha256``, ``ha1_sha512t256``.
What `export` writes, `import` reads.
"""

import csv
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

from rcsops.database import COLUMNS
from rcsops.database.shapes import Line
from rcsops.database.subscribers import columns_of, row_values
from rcsops.errors import UsageError
from rcsops.operations.names import UserName, check_password, check_plain, parse_user
from rcsops.operations.users import domain_hash, hashes

FORMATS = ("csv", "jsonl")
_KNOWN = ("user", "username", "domain", "password", *COLUMNS.values())
_DIGITS = {"ha1": 32, "ha1_sha256": 64, "ha1_sha512t256": 64}
_HEX = re.compile(r"[0-9a-f]+")
_JSON_HINT = "JSON lines are read with --format jsonl"
_COLUMNS_HINT = f"the first line names the columns: user,password; {_JSON_HINT}"
# One line of a file must not take all memory.
_MAX_FIELD = 4096


class Record(NamedTuple):
    """One line as it stands in the file: its number, and its values or what is wrong with it."""

    line: int
    values: Mapping[str, str]
    fault: str = ""


class BadLine(NamedTuple):
    """A line that is no account, and why."""

    line: int
    reason: str


class NewAccount(NamedTuple):
    """An account to write: its user and the values of the columns that `value_columns` names."""

    line: int
    username: str
    domain: str
    values: tuple[str, ...]


def value_columns(line: Line) -> tuple[str, ...]:
    """The columns of ``subscriber`` that an account of the file fills beside its name."""
    return tuple(row_values(line, {}))


def read_records(stream: TextIO, form: str) -> Iterator[Record]:
    """The lines of a file; raises `UsageError` when the file as a whole cannot be read."""
    return _read_csv(stream) if form == "csv" else _read_json(stream)


def _read_csv(stream: TextIO) -> Iterator[Record]:
    csv.field_size_limit(_MAX_FIELD)
    reader = csv.reader(stream, strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
    except csv.Error as error:
        raise UsageError(f"line 1: {error}", hint=_COLUMNS_HINT) from error
    _check_columns(names)
    while True:
        start = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield Record(start, {}, str(error))
            continue
        if values is None:
            return
        if not values:
            continue
        if len(values) != len(names):
            fault = f"{len(values)} values, but the first line names {len(names)} columns"
            yield Record(start, {}, fault)
            continue
        yield Record(start, dict(zip(names, values, strict=True)))


def _check_columns(names: Sequence[str]) -> None:
    for name in names:
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, n=1)
            raise UsageError(
                f"line 1: there is no column {name!r}",
                hint=f"did you mean {near[0]!r}?"
                if near
                else f"the first line names the columns, of {', '.join(_KNOWN)}; {_JSON_HINT}",
            )
    if len(set(names)) != len(names):
        raise UsageError("line 1: a column is named twice")
    if "user" not in names and "username" not in names:
        raise UsageError("line 1: no column 'user'", hint=_COLUMNS_HINT)


def _read_json(stream: TextIO) -> Iterator[Record]:
    for number, text in enumerate(stream, 1):
        if not text.strip():
            continue
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            yield Record(number, {}, "not JSON")
            continue
        if not isinstance(document, dict):
            yield Record(number, {}, "not an object")
            continue
        yield _from_object(number, document)


def _from_object(number: int, document: Mapping[str, Any]) -> Record:
    values: dict[str, str] = {}
    for name, value in document.items():
        if name not in _KNOWN:
            return Record(number, {}, f"there is no key {name!r}")
        if not isinstance(value, str):
            return Record(number, {}, f"{name!r} is no string")
        if len(value) > _MAX_FIELD:
            return Record(number, {}, f"{name!r} is longer than {_MAX_FIELD} characters")
        values[name] = value
    return Record(number, values)


def accounts_of(
    records: Iterable[Record],
    domains: tuple[str, Sequence[str]],
    line: Line,
    *,
    plain: bool = False,
    opensips: bool = False,
) -> tuple[list[NewAccount], list[BadLine]]:
    """The accounts that lines stand for, with their hashes, and the lines that stand for none.

    ``domains`` are that of a name without one, and the others that there may be. ``plain`` stores
    passwords as they are, too; ``opensips`` refuses names that only the embedded
    engine takes.
    """
    good: list[NewAccount] = []
    bad: list[BadLine] = []
    for record in records:
        try:
            good.append(_account(record, domains, line, plain, opensips))
        except UsageError as error:
            bad.append(BadLine(record.line, error.one_line))
    return good, bad


def _account(
    record: Record,
    domains: tuple[str, Sequence[str]],
    line: Line,
    plain: bool,
    opensips: bool,
) -> NewAccount:
    if record.fault:
        raise UsageError(record.fault)
    values = record.values
    written = values.get("user") or values.get("username", "")
    if values.get("domain"):
        written = f"{written}@{values['domain']}"
    user = parse_user(written, *domains, opensips=opensips)
    password = values.get("password", "")
    ha1b = ""
    if password:
        check_password(password, user)
        if plain:
            check_plain(password)
        ha1 = hashes(user, password)
        ha1b = domain_hash(user, password) if line < (3, 4) else ""
    else:
        ha1 = _given_hashes(values, user, written, line)
    columns = row_values(line, ha1, ha1b=ha1b, password=password if plain else "")
    return NewAccount(record.line, *user, tuple(columns.values()))


def _given_hashes(
    values: Mapping[str, str], user: UserName, written: str, line: Line
) -> dict[str, str]:
    given = {
        name: values[column].strip().lower()
        for name, column in COLUMNS.items()
        if values.get(column, "").strip()
    }
    if not given:
        raise UsageError(f"{user.username!r} has neither a password nor a hash")
    for name, value in given.items():
        digits = _DIGITS[COLUMNS[name]]
        if len(value) != digits or not _HEX.fullmatch(value):
            raise UsageError(f"{COLUMNS[name]} is not {digits} hexadecimal digits")
    name_in_file = written.strip().removeprefix("sip:").rpartition("@")[0] or written.strip()
    if name_in_file != user.username:
        raise UsageError(f"the name is written {user.username!r}, for which the hash does not hold")
    usable = {name: value for name, value in given.items() if name in columns_of(line)}
    if not usable:
        raise UsageError(f"OpenSIPS {line[0]}.{line[1]} has no column for such a hash")
    return usable


def write_accounts(
    stream: TextIO, form: str, names: Sequence[str], rows: Iterable[Sequence[str]]
) -> int:
    """Writes accounts whose columns are ``names``; returns how many."""
    number = 0
    writer = csv.writer(stream, lineterminator="\n")
    if form == "csv":
        writer.writerow(names)
    for row in rows:
        number += 1
        if form == "csv":
            writer.writerow(row)
        else:
            document = {name: value for name, value in zip(names, row, strict=True) if value}
            stream.write(json.dumps(document) + "\n")
    return number
