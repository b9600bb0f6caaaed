"""Which messages of a ladder are wanted: by user, by Call-ID, by method."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rcsops.trace.dissect import dissect
from rcsops.trace.ladder import Arrow
from rcsops.trace.names import forget_oldest

_ADDRESS = re.compile(r"\b(?:sips?|tel):([^@<>;\s\"]{1,256})(?:@([^<>;:\s\"]{1,256}))?", re.I)
_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """All of what is given must hold; nothing given wants everything.

    ``users`` are "bob" or "bob@domain": who is in From or To of a call, whose MSRP belongs to it.
    ``methods`` have their responses with them.
    """

    users: tuple[str, ...] = ()
    call_ids: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


class Selection:
    """Chooses among arrows as they come, in order of time; what it remembers is bounded."""

    def __init__(self, wanted: Wanted) -> None:
        self._users = {user.lower().removeprefix("sip:") for user in wanted.users}
        self._call_ids = set(wanted.call_ids)
        self._methods = {method.upper() for method in wanted.methods}
        self._calls: dict[str, None] = {}
        self._transactions: dict[str, None] = {}

    def choose(self, arrows: Iterable[Arrow]) -> Iterator[Arrow]:
        """Those that are wanted."""
        return (arrow for arrow in arrows if self._wants(arrow))

    def _wants(self, arrow: Arrow) -> bool:
        if self._call_ids and arrow.call_id not in self._call_ids:
            return False
        if self._users and not self._of_users(arrow):
            return False
        return not self._methods or self._of_methods(arrow)

    def _of_users(self, arrow: Arrow) -> bool:
        if arrow.call_id in self._calls:
            return True
        if arrow.protocol == "msrp":
            ends = {arrow.source.lower(), arrow.target.lower()}
            return not arrow.call_id and bool(ends & self._users)
        message = dissect("sip", arrow.data)
        for header in ("from", "to"):
            found = _ADDRESS.search(message.first(header))
            if found and self._names(found[1].lower(), (found[2] or "").lower()):
                self._calls[arrow.call_id] = None
                forget_oldest(self._calls, _REMEMBERED)
                return True
        return False

    def _names(self, user: str, domain: str) -> bool:
        return user in self._users or f"{user}@{domain}" in self._users

    def _of_methods(self, arrow: Arrow) -> bool:
        summary = arrow.summary
        if arrow.protocol == "sip":
            return (summary.method or summary.cseq_method).upper() in self._methods
        if summary.status is not None:
            return summary.transaction_id in self._transactions
        if (summary.method or "").upper() not in self._methods:
            return False
        self._transactions[summary.transaction_id] = None
        forget_oldest(self._transactions, _REMEMBERED)
        return True
