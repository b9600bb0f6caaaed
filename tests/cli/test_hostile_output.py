"""What a server puts into its words reaches no terminal as a sequence and forges no line."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rcsops.sip import Request, Response, parse_message
from tests.cli.conftest import Shell

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2028forged"


@contextmanager
def registrar(answer: Callable[[Request], bytes]) -> Iterator[str]:
    """A SIP server on UDP that answers every request so; its host:port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    data, sender = sock.recvfrom(65535)
                except TimeoutError:
                    continue
                request = parse_message(data)
                assert isinstance(request, Request)
                sock.sendto(answer(request), sender)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield "{}:{}".format(*sock.getsockname())
        finally:
            over.set()
            thread.join(10)


def refusing(status: int) -> Callable[[Request], bytes]:
    """Refuses with the hostile words as its reason phrase and in the headers that are shown."""

    def answer(request: Request) -> bytes:
        headers = [("Warning", f'399 x "{HOSTILE}"'), ("Server", HOSTILE)]
        return bytes(Response.to_request(request, status, HOSTILE, "t", headers))

    return answer


@pytest.mark.parametrize(
    ("status", "flags"), [(403, ()), (403, ("-vv",)), (403, ("--json",)), (503, ())]
)
def test_what_a_server_says_is_shown_and_not_obeyed(
    rcsops: Shell, status: int, flags: tuple[str, ...]
) -> None:
    before = [flag for flag in flags if flag != "--json"]
    after = [flag for flag in flags if flag == "--json"]
    with registrar(refusing(status)) as address:
        ended = rcsops(
            *before, "chat", "bob@rcs.example", "--server", address, "--transport", "udp", *after,
            RCSOPS_PASSWORD="x",
        )  # fmt: skip
    assert ended.code != 0
    said = ended.out + ended.err
    assert str(status) in said
    assert "owned" in said
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2028]", said)
    assert not any(line.startswith("forged") for line in said.splitlines())
