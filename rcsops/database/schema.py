"""The tables as the embedded engine has them, and those of an agent's message history.

The embedded engine's tables have the shape of OpenSIPS's 3.6 line (`rcsops.database.shapes`). A
statement that names no column that came or went reads and writes those of every line.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import CHAR

from rcsops.database.shapes import EMBEDDED

OPENSIPS = EMBEDDED.metadata
"""The tables that a SIP server shares with its tools."""

TABLE_VERSIONS = EMBEDDED.versions
"""What ``version`` must say for the tables above (OpenSIPS 3.6)."""

version = EMBEDDED["version"]
subscriber = EMBEDDED["subscriber"]
location = EMBEDDED["location"]
silo = EMBEDDED["silo"]
domain = EMBEDDED["domain"]

# SQLite gives out row numbers by itself only for a key declared INTEGER.
_LONG_KEY = BigInteger().with_variant(Integer(), "sqlite")

HISTORY = MetaData()
"""The tables of one agent's own message history, a database of its own."""

history_version = Table(
    "rcsops_history",
    HISTORY,
    Column("version", Integer, nullable=False),
)
HISTORY_VERSION = 4

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
    # From here on: version 2. When it came to each state, as far as that is known. Of what came in:
    # when its sender had our delivery notification, and when our user saw it.
    Column("kept_at", Float),
    Column("taken_at", Float),
    Column("delivered_at", Float),
    Column("displayed_at", Float),
    Column("failed_at", Float),
    # "session" or "message" (pager mode): how it went out last.
    Column("way", Text, nullable=False, server_default=text("''")),
    Column("contribution_id", Text, nullable=False, server_default=text("''")),
    # Where it goes to, or where notifications about it go.
    Column("address", Text, nullable=False, server_default=text("''")),
    # What notifications about it have to repeat (RFC 5438 §7.2.1.1, §9): its DateTime as it was
    # written, and the routes, one a line.
    Column("date_time", Text, nullable=False, server_default=text("''")),
    Column("routes", Text, nullable=False, server_default=text("''")),
    # Notifications that were asked for, and those that are to be sent: 1 delivery, 2 display.
    Column("wanted", Integer, nullable=False, server_default=text("0")),
    Column("owed", Integer, nullable=False, server_default=text("0")),
    # Which process has it in hand (`rcsops.ua.history`).
    Column("owner", BigInteger, nullable=False, server_default=text("0")),
    # One message stands for one text however often it comes: a resend is recognised by this.
    UniqueConstraint("peer", "direction", "message_id", name="message_identity"),
    Index("message_peer_idx", "peer", "id"),
    sqlite_autoincrement=True,
)
FIRST_COLUMNS = 11
"""So many columns had ``message`` in version 1."""

Index("message_owed_idx", message.c.id, sqlite_where=text("owed != 0"))
Index(
    "message_unsure_idx",
    message.c.id,
    sqlite_where=text("direction = 'out' AND status IN ('queued', 'sent')"),
)

attachment = Table(
    "attachment",
    HISTORY,
    Column("message", _LONG_KEY, ForeignKey(message.c.id, ondelete="CASCADE"), primary_key=True),
    Column("name", Text, nullable=False),
    Column("path", Text, nullable=False, server_default=text("''")),
    Column("size", BigInteger, nullable=False, server_default=text("0")),
    Column("sha1", CHAR(40), nullable=False, server_default=text("''")),
    # From here on: version 3. Of a file on a content server that a peer told of: "" while the user
    # has not answered the offer, then "accepted", "declined", "expired"; "unknown" before that.
    Column("answer", Text, nullable=False, server_default=text("''")),
)

Index(
    "attachment_waiting_idx", attachment.c.message, sqlite_where=text("answer = '' AND path = ''")
)

session = Table(
    "session",
    HISTORY,
    # Version 4. Sessions in the order in which they began, or were not to begin.
    Column("id", _LONG_KEY, primary_key=True, autoincrement=True),
    Column("peer", Text, nullable=False),
    # "out": our invitation; "in": the peer's.
    Column("direction", CHAR(3), nullable=False),
    # The Call-ID.
    Column("chat_id", Text, nullable=False),
    Column("conversation_id", Text, nullable=False, server_default=text("''")),
    # Seconds since 1970, UTC. Without an end it is open, or its process was killed.
    Column("began_at", Float, nullable=False),
    Column("ended_at", Float),
    # "us", "peer" (who said BYE), "idle", "replaced", "broken"; "" before the end. Of invitations
    # that no session came of: "declined", "busy", "not reached"; ours: "no answer", "cancelled";
    # the peer's: "missed", "elsewhere" (another device of the user's has answered); and "ringing"
    # without an end: it has no answer, or its process was killed before there was one.
    Column("ended", Text, nullable=False, server_default=text("''")),
    Column("reason", Text, nullable=False, server_default=text("''")),
    Index("session_time_idx", "began_at"),
    sqlite_autoincrement=True,
)

Index("session_open_idx", session.c.chat_id, sqlite_where=session.c.ended_at.is_(None))
