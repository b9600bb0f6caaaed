"""Waiting ends when the thing happens, and says what did not."""

import socket

import pytest

from rcsops.testing import eventually, free_port, wait_until


def test_it_ends_with_the_answer() -> None:
    answers = iter([0, "", None, "there"])
    assert wait_until(lambda: next(answers), interval=0.001) == "there"


def test_it_says_what_did_not_happen() -> None:
    with pytest.raises(TimeoutError, match="the moon did not happen within"):
        wait_until(lambda: False, 0.01, what="the moon")


async def test_the_same_on_the_event_loop() -> None:
    answers = iter([False, True])
    assert await eventually(lambda: next(answers), interval=0.001)
    with pytest.raises(TimeoutError):
        await eventually(lambda: False, 0.01)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_free_port_is_free_for_both(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        port = free_port(host)
    except OSError as error:
        pytest.skip(f"no {host} here: {error}")
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(family, kind) as found:
            found.bind((host, port))
