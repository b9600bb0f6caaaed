"""The tables that rcsops uses, in OpenSIPS's own shape and with its own names.

The shape is that of the 3.6 release line; `TABLE_VERSIONS` says which version number each table
carries in the table ``version``, which is what an OpenSIPS checks when it starts.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import CHAR

OPENSIPS = MetaData()
"""The tables that a SIP server shares with its tools."""

_NEVER = text("'1900-01-01 00:00:01'")
# SQLite gives out row numbers by itself only for a key declared INTEGER.
_LONG_KEY = BigInteger().with_variant(Integer(), "sqlite")


def _char(name: str, length: int) -> "Column[str]":
    return Column(name, CHAR(length), nullable=False, server_default=text("''"))


def _optional_char(name: str, length: int) -> "Column[str]":
    return Column(name, CHAR(length), nullable=True)


def _number(name: str, default: int = 0) -> "Column[int]":
    return Column(name, Integer, nullable=False, server_default=text(str(default)))


version = Table(
    "version",
    OPENSIPS,
    Column("table_name", CHAR(32), nullable=False),
    _number("table_version"),
    UniqueConstraint("table_name", name="version_t_name_idx"),
)

subscriber = Table(
    "subscriber",
    OPENSIPS,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _char("username", 64),
    _char("domain", 64),
    _char("password", 25),
    _char("ha1", 64),
    _char("ha1_sha256", 64),
    _char("ha1_sha512t256", 64),
    UniqueConstraint("username", "domain", name="subscriber_account_idx"),
    Index("subscriber_username_idx", "username"),
    sqlite_autoincrement=True,
)

location = Table(
    "location",
    OPENSIPS,
    Column("contact_id", _LONG_KEY, primary_key=True, autoincrement=True),
    _char("username", 64),
    _optional_char("domain", 64),
    Column("contact", Text, nullable=False),
    _optional_char("received", 255),
    _optional_char("path", 255),
    Column("expires", Integer, nullable=False),
    Column("q", Float, nullable=False, server_default=text("1.0")),
    Column("callid", CHAR(255), nullable=False, server_default=text("'Default-Call-ID'")),
    _number("cseq", 13),
    Column("last_modified", DateTime, nullable=False, server_default=_NEVER),
    _number("flags"),
    _optional_char("cflags", 255),
    _char("user_agent", 255),
    _optional_char("socket", 64),
    Column("methods", Integer, nullable=True),
    _optional_char("sip_instance", 255),
    Column("kv_store", Text(512), nullable=True),
    _optional_char("attr", 255),
    sqlite_autoincrement=True,
)

silo = Table(
    "silo",
    OPENSIPS,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _char("src_addr", 255),
    _char("dst_addr", 255),
    _char("username", 64),
    _char("domain", 64),
    _number("inc_time"),
    _number("exp_time"),
    _number("snd_time"),
    _optional_char("ctype", 255),
    Column("body", LargeBinary, nullable=True),
    Index("silo_account_idx", "username", "domain"),
    sqlite_autoincrement=True,
)

domain = Table(
    "domain",
    OPENSIPS,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _char("domain", 64),
    _optional_char("attrs", 255),
    _number("accept_subdomain"),
    Column("last_modified", DateTime, nullable=False, server_default=_NEVER),
    UniqueConstraint("domain", name="domain_domain_idx"),
    sqlite_autoincrement=True,
)

TABLE_VERSIONS = {"subscriber": 8, "location": 1013, "silo": 6, "domain": 4}
"""What ``version`` must say for the tables above (OpenSIPS 3.6)."""

HISTORY = MetaData()
"""The tables of one agent's own message history, a database of its own."""

history_version = Table(
    "rcsops_history",
    HISTORY,
    Column("version", Integer, nullable=False),
)
HISTORY_VERSION = 1

message = Table(
    "message",
    HISTORY,
    # Numbers grow in the order in which the agent stored the messages.
    Column("id", _LONG_KEY, primary_key=True, autoincrement=True),
    Column("peer", Text, nullable=False),
    Column("direction", CHAR(3), nullable=False),
    # The IMDN Message-ID (RFC 5438 §6.3): what a receipt names.
    Column("message_id", Text, nullable=False),
    Column("conversation_id", Text, nullable=False, server_default=text("''")),
    Column("content_type", Text, nullable=False, server_default=text("'text/plain'")),
    Column("text", Text, nullable=False, server_default=text("''")),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=text("''")),
    # Seconds since 1970, UTC: when its sender wrote it, and when this agent stored it.
    Column("sent_at", Float, nullable=False),
    Column("stored_at", Float, nullable=False),
    # One message stands for one text however often it comes: a resend is recognised by this.
    UniqueConstraint("peer", "direction", "message_id", name="message_identity"),
    Index("message_peer_idx", "peer", "id"),
    sqlite_autoincrement=True,
)

attachment = Table(
    "attachment",
    HISTORY,
    Column("message", _LONG_KEY, ForeignKey(message.c.id, ondelete="CASCADE"), primary_key=True),
    Column("name", Text, nullable=False),
    Column("path", Text, nullable=False, server_default=text("''")),
    Column("size", BigInteger, nullable=False, server_default=text("0")),
    Column("sha1", CHAR(40), nullable=False, server_default=text("''")),
)
