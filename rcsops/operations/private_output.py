"""A file that a command writes for its user: whole or not at all, and for nobody else's eyes."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from rcsops.errors import UsageError


@contextlib.contextmanager
def new_private_file(path: Path) -> Iterator[TextIO]:
    """A file of UTF-8 text that is to be written, mode 0600; it has its name when the block ends.

    Raises `UsageError` when there is one of that name, or it cannot be written.
    """
    with (
        new_private_stream(path) as stream,
        io.TextIOWrapper(stream, encoding="utf-8", newline="") as text,
    ):
        yield text


@contextlib.contextmanager
def new_private_stream(path: Path) -> Iterator[BinaryIO]:
    """As :func:`new_private_file`, for octets."""
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    try:
        if path.exists():
            raise UsageError(f"{path} is there already", hint="name another file")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as stream:
            yield stream
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
