"""Files of accounts that people name: ``rcsops user import`` and ``rcsops load`` read the same."""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from rcsops.errors import UsageError

__all__ = ["accounts_format", "reading_accounts"]


def accounts_format(file: str) -> str:
    """What a file of accounts is by its name: "jsonl" or "csv"."""
    return "jsonl" if file.lower().endswith((".jsonl", ".ndjson", ".json")) else "csv"


@contextlib.contextmanager
def reading_accounts(file: str) -> Iterator[TextIO]:
    """The file as text; what is no UTF-8 comes as surrogates, which no name or password may hold,
    so that its line is told."""
    if file == "-":
        raw = io.TextIOWrapper(
            sys.stdin.buffer, encoding="utf-8-sig", errors="surrogateescape", newline=""
        )
        yield raw
        raw.detach()
        return
    try:
        stream = Path(file).open(encoding="utf-8-sig", errors="surrogateescape", newline="")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    with stream:
        yield stream
