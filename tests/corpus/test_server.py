"""The messages of RFC 4475 and RFC 5118 sent to a server that runs, over UDP and TCP."""

import ipaddress
import itertools
import os
import re
import socket
from collections.abc import Iterator

import pytest

from rcsops.testing.embedded import EmbeddedServer
from tests.corpus.corpus import SIP, Case

BOUND = 20.0
_STATUS = re.compile(rb"^SIP/2\.0 ([0-9]{3})", re.M)
_SENT_BY = re.compile(
    rb"^(?:via|v)[ \t]*:\s*sip\s*/\s*[0-9.]+\s*/\s*\w+\s+(?:\[[^]]*\]|[^\s;:,]+)(?::([0-9]+))?",
    re.I | re.M,
)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    directory = tmp_path_factory.mktemp("torture") / "project"
    users = {"user": "a-long-secret-1", "watson": "a-long-secret-2"}
    with EmbeddedServer(directory, users, domain="example.com") as running:
        yield running


def own_address() -> str:
    """A loopback address that nobody else uses: the server may count what comes from each."""
    number = (os.getpid() % 16000) * 1024 + 256 + next(_numbers)
    return str(ipaddress.IPv4Address(0x7F000000 + number % 0xFFFFFF))


def probe(server: EmbeddedServer, transport: str, host: str, port: int) -> bytes:
    number = next(_numbers)
    return (
        f"OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/{transport} {host}:{port};rport;"
        f"branch=z9hG4bKprobe{number}\r\nFrom: <sip:probe@example.net>;tag=p\r\n"
        f"To: <sip:example.com>\r\nCall-ID: probe{number}\r\nCSeq: 1 OPTIONS\r\n"
        "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def is_probe(data: bytes) -> bool:
    return b"Call-ID: probe" in data


def over_udp(server: EmbeddedServer, data: bytes, *, silent: bool) -> list[int]:
    """The statuses that come for a datagram; the answer to a probe sent behind it ends the wait."""
    # RFC 3261 §18.2.2: without rport the answer goes to the port of sent-by.
    found = _SENT_BY.search(data)
    port = int(found[1] or 5060) if found else 5060
    statuses = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        host = own_address()
        sender.bind((host, port))
        sender.settimeout(BOUND)
        where = (server.host, server.port)
        sender.sendto(data, where)
        sender.sendto(probe(server, "UDP", host, port), where)
        probed = False
        while not (probed and (silent or statuses)):
            answer = sender.recv(65535)
            if is_probe(answer):
                probed = True
            else:
                statuses += [int(status) for status in _STATUS.findall(answer)]
    return statuses


def over_tcp(server: EmbeddedServer, data: bytes, *, silent: bool) -> list[int]:
    """The statuses that come back on a connection until it is closed or enough has come."""
    where = (server.host, server.port)
    received = b""
    with socket.create_connection(where, BOUND, (own_address(), 0)) as connection:
        connection.sendall(data)
        if silent:
            # Its answer says that the server has been round its loop since.
            with socket.create_connection(where, BOUND, (own_address(), 0)) as other:
                other.sendall(probe(server, "TCP", *other.getsockname()))
                assert is_probe(other.recv(65535))
            connection.settimeout(0.2)
        try:
            while silent or b"\r\n\r\n" not in received:
                more = connection.recv(65535)
                if not more:
                    break
                received += more
        except TimeoutError:
            assert silent
        except ConnectionResetError:
            # It was closed while octets were still on their way.
            pass
    return [int(status) for status in _STATUS.findall(received)]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("case", SIP, ids=str)
def test_the_server_answers_as_it_should(
    server: EmbeddedServer, case: Case, transport: str
) -> None:
    allowed = case.entry[transport]
    silent = allowed == ["silence"]
    send = over_udp if transport == "udp" else over_tcp
    statuses = send(server, case.data, silent=silent)
    if silent:
        assert not statuses
    else:
        assert statuses
        assert set(statuses) <= set(allowed)


def test_afterwards_it_serves_and_its_log_is_clean(server: EmbeddedServer) -> None:
    for case in SIP:
        silent = case.entry["udp"] == ["silence"]
        over_udp(server, case.data, silent=silent)
    assert over_udp(server, probe(server, "UDP", "192.0.2.1", 5060), silent=True) == []
    logs = [path for path in server.directory.rglob("*.log") if path.is_file()]
    assert logs
    for path in logs:
        text = path.read_text("utf-8")
        assert "Traceback" not in text
        assert all(line.isprintable() for line in text.split("\n"))
