"""The shape of OpenSIPS's tables on each release line: columns, keys, and version numbers.

OpenSIPS checks at its start that the table ``version`` names exactly the numbers below. Names and
types are those of the release's own scripts (scripts/mysql and scripts/sqlite of its source), for
the tables that the configurations of rcsops use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import CHAR

from rcsops.errors import DatabaseError

Line = tuple[int, int]
"""Major and minor number of a release, such as (3, 6)."""

LINES: tuple[Line, ...] = ((3, 0), (3, 4), (3, 6), (4, 0))
EMBEDDED_LINE: Line = (3, 6)
"""The embedded engine's tables have the shape of this line."""

ENGINE_TABLES = ("subscriber", "location", "silo", "domain")
"""What both engines use."""

OPENSIPS_TABLES = (*ENGINE_TABLES, "uri", "dialog", "address")
"""What a configuration of rcsops may make an OpenSIPS use."""

CHARSET = "utf8mb4"
COLLATION = "utf8mb4_bin"
# _bin: OpenSIPS asks "WHERE username = …" and leaves it to the collation whether Bob is bob. SIP
# says that he is not (RFC 3261 §19.1.4), and with a server's default (…_ci) bob's password would
# open Bob's account and ß would be ss. Hashes, tags and Call-IDs compare byte for byte as well.
# utf8mb4: a display name or User-Agent in any script must not keep a contact from being stored;
# whatever character set the client's library announces (latin1 in old ones), the server converts.
# The longest key of the tables here, (username, domain, uri_user), takes 768 bytes of InnoDB's
# 3072. An old server with COMPACT rows allows 767 for one column, and the longest takes 256.

_NEVER = text("'1900-01-01 00:00:01'")
# SQLite gives out row numbers by itself only for a key declared INTEGER.
_INTEGER = Integer()
_LONG_ID = mysql.BIGINT(10, unsigned=True).with_variant(_INTEGER, "sqlite")
_ID = mysql.INTEGER(10, unsigned=True).with_variant(_INTEGER, "sqlite")
_UNSIGNED = mysql.INTEGER(10, unsigned=True).with_variant(_INTEGER, "sqlite")
_UNSIGNED_11 = mysql.INTEGER(11, unsigned=True).with_variant(_INTEGER, "sqlite")
_SMALL = mysql.SMALLINT(5, unsigned=True).with_variant(SmallInteger(), "sqlite")
_TWO_DIGITS = mysql.FLOAT(10, 2).with_variant(Float(), "sqlite")


@dataclass(frozen=True, slots=True)
class Shape:
    """The tables of one line, with the number that ``version`` must name for each."""

    line: Line
    metadata: MetaData
    versions: Mapping[str, int]

    def __getitem__(self, name: str) -> Table:
        """The table of that name."""
        return self.metadata.tables[name]

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of all tables, ``version`` first."""
        return ("version", *self.versions)

    @property
    def text(self) -> str:
        """The line as people write it: ``3.6``."""
        return ".".join(map(str, self.line))


def char(name: str, length: int, *, default: str | None = "") -> "Column[str]":
    """A column that must have a value; without a ``default`` each row must give one."""
    server_default = None if default is None else text(f"'{default}'")
    return Column(name, CHAR(length), nullable=False, server_default=server_default)


def optional_char(name: str, length: int) -> "Column[str]":
    """A column that may be NULL."""
    return Column(name, CHAR(length), nullable=True)


def _number(name: str, default: int | None = 0, kind: Any = _INTEGER) -> "Column[int]":
    server_default = None if default is None else text(str(default))
    return Column(name, kind, nullable=False, server_default=server_default)


def _row_number(kind: Any = _ID, name: str = "id") -> "Column[int]":
    return Column(name, kind, primary_key=True, autoincrement=True)


def _last_modified() -> "Column[Any]":
    return Column("last_modified", DateTime, nullable=False, server_default=_NEVER)


def _version(_line: Line) -> list[Any]:
    return [
        char("table_name", 32, default=None),
        _number(
            "table_version", kind=mysql.INTEGER(unsigned=True).with_variant(_INTEGER, "sqlite")
        ),
        UniqueConstraint("table_name", name="version_t_name_idx"),
    ]


def _subscriber(line: Line) -> list[Any]:
    old = line < (3, 6)
    hashes = ["ha1b"] if line < (3, 4) else ["ha1_sha256", "ha1_sha512t256"]
    return [
        _row_number(),
        char("username", 64),
        char("domain", 64),
        char("password", 25),
        *([char("email_address", 64)] if old else []),
        char("ha1", 64),
        *(char(name, 64) for name in hashes),
        *([optional_char("rpid", 64)] if old else []),
        UniqueConstraint("username", "domain", name="subscriber_account_idx"),
        Index("subscriber_username_idx", "username"),
    ]


def _uri(_line: Line) -> list[Any]:
    return [
        _row_number(),
        char("username", 64),
        char("domain", 64),
        char("uri_user", 64),
        _last_modified(),
        UniqueConstraint("username", "domain", "uri_user", name="uri_account_idx"),
    ]


def _location(line: Line) -> list[Any]:
    contact: Column[str] = Column("contact", Text, nullable=False)
    return [
        _row_number(_LONG_ID, "contact_id"),
        char("username", 64),
        optional_char("domain", 64),
        char("contact", 255) if line < (3, 4) else contact,
        optional_char("received", 255),
        optional_char("path", 255),
        _number("expires", None, _UNSIGNED),
        Column("q", _TWO_DIGITS, nullable=False, server_default=text("'1.0'")),
        char("callid", 255, default="Default-Call-ID"),
        _number("cseq", 13),
        _last_modified(),
        _number("flags"),
        optional_char("cflags", 255),
        char("user_agent", 255),
        optional_char("socket", 64),
        Column("methods", Integer, nullable=True),
        optional_char("sip_instance", 255),
        Column("kv_store", Text(512), nullable=True),
        optional_char("attr", 255),
    ]


def _silo(_line: Line) -> list[Any]:
    return [
        _row_number(),
        char("src_addr", 255),
        char("dst_addr", 255),
        char("username", 64),
        char("domain", 64),
        _number("inc_time"),
        _number("exp_time"),
        _number("snd_time"),
        optional_char("ctype", 255),
        Column("body", LargeBinary, nullable=True),
        Index("silo_account_idx", "username", "domain"),
    ]


def _domain(line: Line) -> list[Any]:
    return [
        _row_number(),
        char("domain", 64),
        optional_char("attrs", 255),
        *([_number("accept_subdomain", 0, _UNSIGNED_11)] if line >= (3, 6) else []),
        _last_modified(),
        UniqueConstraint("domain", name="domain_domain_idx"),
    ]


def _dialog(line: Line) -> list[Any]:
    new = line >= (3, 4)
    uri_length = 255 if new else 64
    return [
        Column(
            "dlg_id",
            mysql.BIGINT(10, unsigned=True).with_variant(BigInteger(), "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        char("callid", 255, default=None),
        char("from_uri", 255, default=None),
        char("from_tag", 64, default=None),
        char("to_uri", 255, default=None),
        char("to_tag", 64, default=None),
        optional_char("mangled_from_uri", uri_length),
        optional_char("mangled_to_uri", uri_length),
        char("caller_cseq", 11, default=None),
        char("callee_cseq", 11, default=None),
        _number("caller_ping_cseq", None, _UNSIGNED_11),
        _number("callee_ping_cseq", None, _UNSIGNED_11),
        Column("caller_route_set", Text(512), nullable=True),
        Column("callee_route_set", Text(512), nullable=True),
        optional_char("caller_contact", 255),
        optional_char("callee_contact", 255),
        char("caller_sock", 64, default=None),
        char("callee_sock", 64, default=None),
        _number("state", None, _UNSIGNED),
        _number("start_time", None, _UNSIGNED),
        _number("timeout", None, _UNSIGNED),
        Column("vars", LargeBinary(4096), nullable=True),
        Column("profiles", Text(512), nullable=True),
        optional_char("script_flags", 255) if new else _number("script_flags", 0, _UNSIGNED),
        _number("module_flags", 0, _UNSIGNED),
        _number("flags", 0, _UNSIGNED),
        *(
            [optional_char(f"rt_on_{name}", 64) for name in ("answer", "timeout", "hangup")]
            if new
            else []
        ),
    ]


def _address(line: Line) -> list[Any]:
    mask: Any = mysql.SMALLINT(unsigned=True) if line >= (3, 6) else mysql.TINYINT()
    return [
        _row_number(),
        _number("grp", 0, _SMALL),
        char("ip", 50, default=None),
        _number("mask", 32, mask.with_variant(SmallInteger(), "sqlite")),
        _number("port", 0, _SMALL),
        char("proto", 4, default="any"),
        optional_char("pattern", 64),
        optional_char("context_info", 32),
    ]


_TABLES = {
    "version": _version,
    "subscriber": _subscriber,
    "location": _location,
    "silo": _silo,
    "domain": _domain,
    "uri": _uri,
    "dialog": _dialog,
    "address": _address,
}

_VERSIONS: dict[Line, dict[str, int]] = {
    (3, 0): {"subscriber": 7, "domain": 3, "dialog": 10},
    (3, 4): {"subscriber": 8, "domain": 3, "dialog": 12},
    (3, 6): {"subscriber": 8, "domain": 4, "dialog": 12},
    (4, 0): {"subscriber": 8, "domain": 4, "dialog": 12},
}
_SAME_VERSIONS = {"location": 1013, "silo": 6, "uri": 2, "address": 5}


def table(name: str, metadata: MetaData, line: Line, *, called: str | None = None) -> Table:
    """One of OpenSIPS's tables as ``line`` has it, under its own name or another."""
    return Table(
        called or name,
        metadata,
        *_TABLES[name](line),
        sqlite_autoincrement=name not in ("version", "dialog"),
        mysql_engine="InnoDB",
        mysql_charset=CHARSET,
        mysql_collate=COLLATION,
    )


def _shape(line: Line, names: tuple[str, ...]) -> Shape:
    metadata = MetaData()
    for name in ("version", *names):
        table(name, metadata, line)
    numbers = _SAME_VERSIONS | _VERSIONS[line]
    return Shape(line, metadata, {name: numbers[name] for name in names})


EMBEDDED = _shape(EMBEDDED_LINE, ENGINE_TABLES)
"""The tables of the embedded engine."""

_SHAPES = {line: _shape(line, OPENSIPS_TABLES) for line in LINES}


def shape_of(line: Line) -> Shape:
    """The tables that an OpenSIPS of ``line`` works with.

    A line newer than all that are known is taken to have the newest one's. Raises `DatabaseError`
    for any other that is not known.
    """
    known = _SHAPES.get(LINES[-1] if line > LINES[-1] else line)
    if known is None:
        raise DatabaseError(
            f"the tables of OpenSIPS {line[0]}.{line[1]} are not known",
            hint=f"known are {', '.join(each.text for each in _SHAPES.values())}",
        )
    return known
