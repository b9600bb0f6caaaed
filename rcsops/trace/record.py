"""One line of a trace: one SIP message or MSRP frame, as one process saw it."""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rcsops.errors import UsageError

Address = tuple[str, int]

# The last second of the year 9999: what knows a calendar knows no later one.
LATEST = 253_402_300_799.0

# A SIP message of the largest head and body, in base64 or escaped, with room.
_LONGEST_LINE = 8 << 20


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """One message at one process.

    ``time`` is seconds since 1970; ``local`` and ``remote`` are (host, port); ``node`` is the name
    of the process that wrote the line; ``data`` is the message as it was on the wire, secrets
    masked. ``direction`` "seen" is what somebody between the two saw, from ``local`` to ``remote``;
    ``node`` then names the observer.
    """

    time: float
    protocol: Literal["sip", "msrp"]
    direction: Literal["in", "out", "seen"]
    transport: str
    local: Address
    remote: Address
    node: str
    data: bytes

    @property
    def source(self) -> Address:
        """Where the message came from."""
        return self.remote if self.direction == "in" else self.local

    @property
    def target(self) -> Address:
        """Where the message went to."""
        return self.local if self.direction == "in" else self.remote

    def to_json(self) -> str:
        """The entry as one line of JSON, without the newline."""
        document: dict[str, Any] = {
            "time": round(self.time, 6),
            "protocol": self.protocol,
            "direction": self.direction,
            "transport": self.transport,
            "local": list(self.local),
            "remote": list(self.remote),
            "node": self.node,
        }
        try:
            document["data"] = self.data.decode("utf-8")
        except UnicodeDecodeError:
            document["data_b64"] = base64.b64encode(self.data).decode("ascii")
        return json.dumps(document, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "TraceEntry":
        """The entry that :meth:`to_json` wrote; raises ValueError for anything else."""
        document = json.loads(line)
        if not isinstance(document, dict):
            raise ValueError("not an object")
        try:
            if document["protocol"] not in ("sip", "msrp"):
                raise ValueError("unknown protocol")
            if document["direction"] not in ("in", "out", "seen"):
                raise ValueError("unknown direction")
            time = float(document["time"])
            if not 0.0 <= time <= LATEST:
                raise ValueError("a time that cannot be")
            return cls(
                time=time,
                protocol=document["protocol"],
                direction=document["direction"],
                transport=str(document["transport"]),
                local=_address(document["local"]),
                remote=_address(document["remote"]),
                node=str(document["node"]),
                data=_data(document),
            )
        except (KeyError, TypeError, IndexError, OverflowError, binascii.Error) as error:
            raise ValueError(f"incomplete: {error}") from error


def _address(value: Any) -> Address:
    host, port = value
    return str(host), int(port)


def _data(document: dict[str, Any]) -> bytes:
    if "data_b64" in document:
        return base64.b64decode(document["data_b64"], validate=True)
    return str(document["data"]).encode("utf-8")


def read_trace(source: Path | str | Iterable[str]) -> list[TraceEntry]:
    """The entries of a trace: a file, or its lines; raises as :func:`iter_trace` does."""
    return list(iter_trace(source))


def iter_trace(source: Path | str | Iterable[str]) -> Iterator[TraceEntry]:
    """The entries of a trace one after the other, so that a long one needs no memory.

    A last line that breaks off is left out: it is what a process leaves that was ended in the
    middle. Raises :class:`~rcsops.errors.UsageError` naming the line for anything else that is no
    trace.
    """
    if not isinstance(source, str | Path):
        yield from _entries(source, "the trace")
        return
    try:
        with open(source, encoding="utf-8", newline="\n") as lines:
            yield from _entries(iter(lambda: lines.readline(_LONGEST_LINE), ""), str(source))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source} cannot be read: {error}") from error


def _entries(lines: Iterable[str], name: str) -> Iterator[TraceEntry]:
    failed: tuple[int, ValueError] | None = None
    torn = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if failed:
            break
        try:
            yield TraceEntry.from_json(line)
        except (ValueError, RecursionError) as error:
            torn = line.startswith("{")
            failed = number, error if isinstance(error, ValueError) else ValueError("nested")
    else:
        # Nothing came after the broken line, or no line is broken.
        if failed is None or (isinstance(failed[1], json.JSONDecodeError) and torn):
            return
    assert failed is not None
    raise UsageError(f"{name} is not a trace: line {failed[0]}: {failed[1]}")
