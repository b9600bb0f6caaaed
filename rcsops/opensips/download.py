"""Fetching a file over HTTP: goes on where it broke off, tries again, checks the length."""

import contextlib
import http.client
import json
import os
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rcsops.errors import EngineError

ATTEMPTS = 5
MAX_OCTETS = 500_000_000
_FIRST_PAUSE = 1.0
_TIMEOUT = 30.0
_BLOCK = 1 << 16

# octets so far, octets in all (None: the server does not say)
Progress = Callable[[int, int | None], None]

_INTERRUPTIONS = (
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    socket.gaierror,
    ssl.SSLError,
)


class _Broken(Exception):
    """The transfer ended early; another attempt may get the rest."""


def download(
    url: str,
    target: Path,
    *,
    on_progress: Progress = lambda done, total: None,
    attempts: int = ATTEMPTS,
    first_pause: float = _FIRST_PAUSE,
    timeout: float = _TIMEOUT,
) -> Path:
    """Fetches ``url`` to the file ``target`` and returns it.

    What arrives is kept in ``target.part``, so that the next attempt, also of a later command,
    asks for the rest alone. Pauses double from ``first_pause`` seconds. Raises `EngineError`.
    """
    reason = ""
    pause = first_pause
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause)
            pause *= 2
        try:
            _fetch(url, target, on_progress, timeout)
        except _Broken as error:
            reason = str(error)
            continue
        return target
    raise EngineError(
        f"cannot fetch {url}: {reason}",
        hint="type the command again when the network works (it goes on from here), "
        "or fetch the archive elsewhere and use --from FILE",
    )


def _fetch(url: str, target: Path, on_progress: Progress, timeout: float) -> None:
    part, facts = Path(f"{target}.part"), Path(f"{target}.part.json")
    have, validator = _resumable(url, part, facts)
    headers = {"User-Agent": "rcsops", "Accept-Encoding": "identity"}
    if have:
        # If-Range: the rest only if it is still the same file, otherwise all of it.
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            start, total = _extent(answer, have)
            _keep_facts(url, answer, facts)
            _receive(answer, part, start, total, on_progress)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            # The part is as long as the file or longer: begin again.
            part.unlink(missing_ok=True)
            raise _Broken("the server has no more of it") from error
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _Broken(f"HTTP {error.code} {error.reason}") from error
        raise EngineError(
            f"cannot fetch {url}: HTTP {error.code} {error.reason}",
            hint="check the address, or use --from with a file, a directory or a git repository",
        ) from error
    except urllib.error.URLError as error:
        raise _Broken(str(error.reason)) from error
    except _INTERRUPTIONS as error:
        raise _Broken(str(error) or type(error).__name__) from error
    except OSError as error:
        raise EngineError(f"cannot write {part}: {error.strerror or error}") from error
    os.replace(part, target)
    facts.unlink(missing_ok=True)


def _resumable(url: str, part: Path, facts: Path) -> tuple[int, str]:
    """How much of this very file is here already, and what the server calls this version."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(facts.read_text(encoding="utf-8"))
        size = part.stat().st_size
        if known["url"] == url and known["validator"] and size > 0:
            return size, str(known["validator"])
    return 0, ""


def _keep_facts(url: str, answer: Any, facts: Path) -> None:
    # A weak ETag does not promise the same octets (RFC 9110 §8.8.1).
    tag = answer.headers.get("ETag") or ""
    validator = (tag if not tag.startswith("W/") else "") or answer.headers.get("Last-Modified")
    facts.parent.mkdir(parents=True, exist_ok=True)
    facts.write_text(json.dumps({"url": url, "validator": validator or ""}), encoding="utf-8")


def _extent(answer: Any, have: int) -> tuple[int, int | None]:
    """Where the answer's octets begin in the file, and how long the file is."""
    if answer.status == 206:
        given, _, whole = (answer.headers.get("Content-Range") or "").partition("/")
        if not given.startswith(f"bytes {have}-"):
            raise _Broken("the server sent another part than asked for")
        return have, _octets(whole)
    return 0, _octets(answer.headers.get("Content-Length") or "")


def _octets(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _receive(answer: Any, part: Path, start: int, total: int | None, on_progress: Progress) -> None:
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        done = start
        while block := answer.read(_BLOCK):
            file.write(block)
            done += len(block)
            if done > MAX_OCTETS:
                raise EngineError("the file is too large to be the source of an OpenSIPS")
            on_progress(done, total)
        file.truncate()
    if total is not None and done < total:
        raise _Broken(f"the connection ended after {done} of {total} octets")
