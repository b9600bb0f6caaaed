"""What the server is doing just now, on either engine: for `rcsops top`."""

import contextlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from rcsops.errors import MiError
from rcsops.operations import server
from rcsops.operations.mi import MiClient
from rcsops.settings import Project

__all__ = ["ProcessUse", "Sampler", "Snapshot"]

_TIMEOUT = 2.0
_TAIL = 65536
_MOST_ERRORS = 5
# What both engines write before the text: the level, then who says it.
_ERROR = re.compile(r"\b(?:ERROR|CRITICAL|ALERT|EMERG):\s*(.*)")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d|[A-Z][a-z]{2} [ \d]\d) (\d\d:\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """One process of the server. ``load`` is the share of a processor since the last snapshot,
    None for the first; ``memory`` octets."""

    pid: int
    what: str
    load: float | None
    memory: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How the server stands. Rates are since the snapshot before, None for the first; ``dialogs``
    is None where the server keeps no list of calls. ``errors`` are the last ones of its log, each
    with its time."""

    time: float
    engine: str
    version: str
    running: bool
    answers: bool
    uptime: int | None
    registered: int
    contacts: int
    transactions: int
    dialogs: int | None
    stored: int
    messages_per_second: float | None
    requests_per_second: float | None
    replies_per_second: float | None
    registrations_per_second: float | None
    memory: int
    processes: tuple[ProcessUse, ...]
    errors: tuple[str, ...]
    counts: Mapping[str, int]


class Sampler:
    """Takes one snapshot after the other of a project's server."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._client = MiClient.of(project, timeout=_TIMEOUT)
        self._counts: Mapping[str, int] = {}
        self._time = 0.0
        self._processes: dict[int, psutil.Process] = {}

    def take(self) -> Snapshot:
        """A snapshot; a server that does not run or answer is one that says so."""
        status = server.status(self._project)
        now = time.monotonic()
        counts = dict(status.counts)
        dialogs: int | None = None
        if status.answers:
            with contextlib.suppress(MiError, AttributeError, LookupError, TypeError, ValueError):
                found = self._client.call("get_statistics", {"statistics": ["dialog:"]})
                dialogs = int(found["dialog:active_dialogs"])
            counts |= {} if dialogs is None else {"dialog:active_dialogs": dialogs}
        processes = tuple(self._uses(status.pid)) if status.running else ()
        received = _rate(self._counts, counts, "core:rcv_requests", now - self._time)
        replies = _rate(self._counts, counts, "core:rcv_replies", now - self._time)
        snapshot = Snapshot(
            time=time.time(),
            engine=status.engine,
            version=status.version,
            running=status.running,
            answers=status.answers,
            uptime=status.uptime,
            registered=counts.get("usrloc:registered_users", 0),
            contacts=counts.get("usrloc:location-contacts", 0),
            transactions=counts.get("tm:inuse_transactions", 0),
            dialogs=dialogs,
            stored=counts.get("msilo:stored_messages", 0),
            messages_per_second=None if received is None else received + (replies or 0.0),
            requests_per_second=received,
            replies_per_second=replies,
            registrations_per_second=_rate(
                self._counts, counts, "registrar:accepted_regs", now - self._time
            ),
            memory=sum(each.memory for each in processes),
            processes=processes,
            errors=_errors(Path(status.log)),
            counts=counts,
        )
        self._counts, self._time = counts, now
        return snapshot

    def _uses(self, pid: int | None) -> list[ProcessUse]:
        known: dict[int, str] = {}
        with contextlib.suppress(MiError, AttributeError, LookupError, TypeError, ValueError):
            for each in _listed(self._client.call("ps")):
                known[int(each["PID"])] = str(each["Type"])
        if not known and pid is not None:
            known[pid] = "server"
        for number in set(self._processes) - set(known):
            del self._processes[number]
        uses = []
        for number, what in known.items():
            with contextlib.suppress(psutil.Error):
                fresh = number not in self._processes
                process = self._processes.setdefault(number, psutil.Process(number))
                load = process.cpu_percent(None) / 100
                memory = process.memory_info().rss
                uses.append(ProcessUse(number, what, None if fresh else load, memory))
        return uses


def _listed(answer: Any) -> list[Any]:
    found = answer.get("Processes", []) if isinstance(answer, Mapping) else answer
    return found if isinstance(found, list) else []


def _rate(
    before: Mapping[str, int], after: Mapping[str, int], name: str, seconds: float
) -> float | None:
    """How many a second; None without two values, or when the counter began anew."""
    if name not in before or name not in after or seconds <= 0 or after[name] < before[name]:
        return None
    return (after[name] - before[name]) / seconds


def _errors(log: Path) -> tuple[str, ...]:
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - _TAIL, 0))
            text = stream.read(_TAIL).decode("utf-8", "surrogateescape")
    except OSError:
        return ()
    found = [(line, match[0]) for line in text.splitlines() if (match := _ERROR.search(line))]
    return tuple(_when(line) + error for line, error in found[-_MOST_ERRORS:])


def _when(line: str) -> str:
    """The time of a line of the log, with its date unless that is today."""
    stamp = _STAMP.match(line)
    if stamp is None:
        return ""
    today = time.strftime("%Y-%m-%d"), time.strftime("%b %d"), time.strftime("%b %e")
    return f"{stamp[2]} " if stamp[1] in today else f"{stamp[0]} "
