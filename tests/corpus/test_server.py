"""The messages of RFC 4475 and RFC 5118 sent to a server that runs, over UDP and TCP."""

import socket
from collections.abc import Iterator

import pytest

from rcsops.testing.embedded import EmbeddedServer
from tests.corpus.corpus import SIP, Case
from tests.corpus.sending import BOUND, STATUS, is_probe, over_udp, own_address, probe

pytestmark = [pytest.mark.rfc("4475", "3"), pytest.mark.rfc("5118", "4")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    directory = tmp_path_factory.mktemp("torture") / "project"
    users = {"user": "a-long-secret-1", "watson": "a-long-secret-2"}
    with EmbeddedServer(directory, users, domain="example.com") as running:
        yield running


def over_tcp(where: tuple[str, int], data: bytes, *, silent: bool) -> list[int]:
    """The statuses that come back on a connection until it is closed or enough has come."""
    received = b""
    with socket.create_connection(where, BOUND, (own_address(), 0)) as connection:
        connection.sendall(data)
        if silent:
            # Its answer says that the server has been round its loop since.
            with socket.create_connection(where, BOUND, (own_address(), 0)) as other:
                other.sendall(probe("TCP", *other.getsockname()))
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
    return [int(status) for status in STATUS.findall(received)]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("case", SIP, ids=str)
def test_the_server_answers_as_it_should(
    server: EmbeddedServer, case: Case, transport: str
) -> None:
    allowed = case.entry[transport]
    silent = allowed == ["silence"]
    send = over_udp if transport == "udp" else over_tcp
    statuses = send((server.host, server.port), case.data, silent=silent)
    if silent:
        assert not statuses
    else:
        assert statuses
        assert set(statuses) <= set(allowed)


def test_afterwards_it_serves_and_its_log_is_clean(server: EmbeddedServer) -> None:
    where = (server.host, server.port)
    for case in SIP:
        silent = case.entry["udp"] == ["silence"]
        over_udp(where, case.data, silent=silent)
    assert over_udp(where, probe("UDP", "192.0.2.1", 5060), silent=True) == []
    logs = [path for path in server.directory.rglob("*.log") if path.is_file()]
    assert logs
    for path in logs:
        text = path.read_text("utf-8")
        assert "Traceback" not in text
        assert all(line.isprintable() for line in text.split("\n"))
