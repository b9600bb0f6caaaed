"""Waiting for something to be true, and ports that nobody uses."""

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# Above the ports that services are used to have, below those that the system deals out.
_FIRST = 15_000
_FIRST_OF_THE_SYSTEM = 32_768


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free for UDP and TCP both.

    It is free when the function returns; nothing keeps another process from taking it before you
    do. Who can listen on port 0 should. The system gives none of these to whoever asks for any: a
    connection of somebody else is not what takes it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(1000):
        port = secrets.randbelow(_FIRST_OF_THE_SYSTEM - _FIRST) + _FIRST
        with (
            contextlib.suppress(OSError),
            socket.socket(family, socket.SOCK_STREAM) as stream,
            socket.socket(family, socket.SOCK_DGRAM) as datagram,
        ):
            stream.bind((host, port))
            datagram.bind((host, port))
            return port
    raise OSError("no port is free for UDP and TCP both")


def wait_until(
    condition: Callable[[], Result],
    timeout: float = 30.0,
    *,
    what: str = "",
    interval: float = 0.02,
) -> Result:
    """Asks ``condition`` until its answer is true, and returns that.

    Raises TimeoutError with ``what`` after ``timeout`` seconds. What ``condition`` raises is passed
    on.
    """
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what or 'it'} did not happen within {timeout:g} s")
        time.sleep(interval)


async def eventually(
    condition: Callable[[], Result],
    timeout: float = 30.0,  # noqa: ASYNC109 - the same interface as wait_until
    *,
    what: str = "",
    interval: float = 0.01,
) -> Result:
    """:func:`wait_until` for a test that runs on the event loop."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what or 'it'} did not happen within {timeout:g} s")
        await asyncio.sleep(interval)
