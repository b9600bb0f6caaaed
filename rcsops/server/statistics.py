"""Counters and gauges under the names that OpenSIPS gives them (``group:name``)."""

from collections.abc import Callable, Iterable

__all__ = ["COUNTERS", "Statistics"]

COUNTERS = (
    "core:rcv_requests",
    "core:rcv_replies",
    "core:fwd_requests",
    "core:fwd_replies",
    "core:drop_requests",
    "core:drop_replies",
    "core:err_requests",
    "core:err_replies",
    "core:bad_URIs_rcvd",
    "core:bad_msg_hdr",
    "tm:received_replies",
    "tm:relayed_replies",
    "tm:local_replies",
    "tm:UAS_transactions",
    "tm:UAC_transactions",
    "tm:2xx_transactions",
    "tm:3xx_transactions",
    "tm:4xx_transactions",
    "tm:5xx_transactions",
    "tm:6xx_transactions",
    "sl:sent_replies",
    "sl:sent_err_replies",
    "registrar:accepted_regs",
    "registrar:rejected_regs",
    "auth:challenges",
    "auth:failures",
    "auth:stale",
    "limits:bans",
    "limits:dropped",
    "limits:refused",
    "msilo:stored_messages",
    "msilo:dumped_messages",
    "msilo:failed_messages",
    "usrloc:location-expires",
)


class Statistics:
    """What the server counts.

    ``counts`` is a plain dictionary, so that the hot paths add to it directly. Gauges are asked
    when somebody wants to know them.
    """

    __slots__ = ("_gauges", "counts")

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self._gauges: dict[str, Callable[[], int]] = {}

    def gauge(self, name: str, read: Callable[[], int]) -> None:
        """Makes ``name`` a value that ``read()`` gives."""
        self._gauges[name] = read

    def names(self) -> list[str]:
        """Every name there is, sorted."""
        return sorted({*self.counts, *self._gauges})

    def is_gauge(self, name: str) -> bool:
        """Whether ``name`` cannot be set back to nothing."""
        return name in self._gauges

    def select(self, wanted: Iterable[str]) -> dict[str, int]:
        """Values by full name, by group (``core:``) or ``all``; unknown names are left out."""
        chosen: dict[str, int] = {}
        names = self.names()
        for each in wanted:
            if each == "all":
                found = names
            elif each.endswith(":"):
                found = [name for name in names if name.startswith(each)]
            else:
                # OpenSIPS also takes a name without its group.
                found = [n for n in names if n == each or n.partition(":")[2] == each]
            for name in found:
                chosen[name] = self._read(name)
        return chosen

    def reset(self, wanted: Iterable[str]) -> None:
        """Sets counters back to nothing; gauges and unknown names are left alone."""
        for name in self.select(wanted):
            if name in self.counts:
                self.counts[name] = 0

    def _read(self, name: str) -> int:
        gauge = self._gauges.get(name)
        return self.counts[name] if gauge is None else gauge()
