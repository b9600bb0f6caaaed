"""Traces and captures that are there: read, put together, chosen from, written as another."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rcsops.errors import UsageError
from rcsops.operations.private_output import new_private_stream
from rcsops.trace import Arrow, TraceEntry, hide_credentials, iter_trace, merge
from rcsops.trace.capture import CaptureReader
from rcsops.trace.capture_file import is_capture
from rcsops.trace.export_text import export
from rcsops.trace.select import Selection, Wanted

__all__ = ["Ladder", "Wanted", "read_ladder", "without_credentials", "write_export"]

_MOST_OCTETS = 256 << 20


@dataclass(slots=True)
class Ladder:
    """``arrows`` in order of time; ``notes`` are sentences on what could not be shown."""

    arrows: list[Arrow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_ladder(
    files: Sequence[Path], wanted: Wanted, *, limit: int, show_credentials: bool = False
) -> Ladder:
    """The ladder of what several files hold: traces of taps, and captures (pcap, pcapng).

    At most ``limit`` messages are read. Raises `UsageError` for a file that is neither.
    """
    ladder = Ladder()
    entries: list[TraceEntry] = []
    octets = 0
    for entry in _entries(files, ladder.notes):
        if len(entries) == limit or octets > _MOST_OCTETS:
            ladder.notes.append(f"only the first {len(entries)} messages are read; see --limit")
            break
        octets += len(entry.data)
        entries.append(entry if show_credentials else without_credentials(entry))
    ladder.arrows = list(Selection(wanted).choose(merge(entries, guess=True)))
    return ladder


def without_credentials(entry: TraceEntry) -> TraceEntry:
    """The entry with nonces, digests, passwords and keys replaced by ``x``."""
    return dataclasses.replace(entry, data=hide_credentials(entry.data))


def without_credentials_of(arrow: Arrow) -> Arrow:
    """As :func:`without_credentials`, of an arrow."""
    return dataclasses.replace(arrow, data=hide_credentials(arrow.data))


def _entries(files: Sequence[Path], notes: list[str]) -> Iterator[TraceEntry]:
    for path in files:
        try:
            with path.open("rb") as stream:
                start = stream.read(4)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        if not is_capture(start):
            yield from iter_trace(path)
            continue
        capture = CaptureReader(path)
        yield from capture.read()
        if capture.encrypted:
            notes.append(
                f"{path}: what went over TLS in {capture.encrypted} direction(s) of connections is "
                "not readable; the taps of rcsops (--trace) see it decrypted"
            )


def write_export(
    arrows: Sequence[Arrow], form: str, path: Path, *, title: str, explained: bool = False
) -> None:
    """Writes the ladder to a new file, for its owner only; raises `UsageError`."""
    with new_private_stream(path) as stream:
        for piece in export(arrows, form, title=title, explained=explained):
            stream.write(piece)
