"""The databases: OpenSIPS's own tables for the server, and each agent's message history."""

from rcsops.database.cache import NEEDS_REFRESH, NeedsRefresh, SubscriberCache
from rcsops.database.engine import open_engine, reading, writing
from rcsops.database.locations import ContactRow
from rcsops.database.store import Store
from rcsops.database.subscribers import COLUMNS, Subscriber, Subscribers, usable_algorithms
from rcsops.database.tables import (
    check_history,
    check_tables,
    create_tables,
    prepare_history,
    table_states,
)

__all__ = [
    "COLUMNS",
    "NEEDS_REFRESH",
    "ContactRow",
    "NeedsRefresh",
    "Store",
    "Subscriber",
    "SubscriberCache",
    "Subscribers",
    "check_history",
    "check_tables",
    "create_tables",
    "open_engine",
    "prepare_history",
    "reading",
    "table_states",
    "usable_algorithms",
    "writing",
]
