"""The log of the server process."""

import logging
import os
import sys
from pathlib import Path

from rcsops.logs import SafeFormatter

__all__ = ["MI_LEVELS", "set_mi_level", "start_logging"]

_FORMAT = "%(asctime)s [%(process)d] %(levelname)s:%(name)s: %(message)s"

# OpenSIPS's levels: -3 ALERT, -2 CRIT, -1 ERR, 1 WARN, 2 NOTICE, 3 INFO, 4 DBG.
MI_LEVELS = {
    -3: logging.CRITICAL,
    -2: logging.CRITICAL,
    -1: logging.ERROR,
    0: logging.ERROR,
    1: logging.WARNING,
    2: logging.INFO,
    3: logging.INFO,
    4: logging.DEBUG,
}


def start_logging(path: Path | None, *, level: int = logging.INFO) -> None:
    """Sends the log to ``path`` (0600, added to), and to stderr when it is None."""
    if path is None:
        handler: logging.Handler = logging.StreamHandler(sys.stderr)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        os.close(os.open(path, flags, 0o600))
        # Follows the file's name, so that logrotate may move it away.
        from logging.handlers import WatchedFileHandler

        handler = WatchedFileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(SafeFormatter(_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def set_mi_level(level: int) -> None:
    """Sets the level by OpenSIPS's number; raises KeyError for one that is not."""
    logging.getLogger().setLevel(MI_LEVELS[level])
