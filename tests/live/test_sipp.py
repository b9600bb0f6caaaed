"""Debian's sipp registers with digest at the embedded server, and calls through it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops.testing import EmbeddedServer, ManagedProcess, SippRunner
from rcsops.testing.waiting import free_port, wait_until

pytestmark = [
    pytest.mark.skipif(bool(SippRunner.missing()), reason=SippRunner.missing()),
    pytest.mark.server("sipp"),
    pytest.mark.feature("registration and calls through the embedded server"),
]

SCENARIOS = Path(__file__).parent / "sipp"


def login(name: str, password: str | None = None) -> str:
    """The field that sipp makes an Authorization of."""
    return f"[authentication username={name} password={password or f'of-{name}'}]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    users = {"alex": "of-alex", "bob": "of-bob"}
    made = EmbeddedServer(tmp_path_factory.mktemp("sipp") / "project", users)
    with made:
        # sipp takes the first challenge, and knows MD5 only.
        with (made.directory / "rcsops.toml").open("a") as settings:
            settings.write('[digest]\nalgorithms = ["MD5"]\n')
        made.command("restart")
        yield made


@pytest.fixture
def sipp(tmp_path: Path) -> SippRunner:
    return SippRunner(tmp_path)


@pytest.mark.rfc("3261", "10.3", "22.4")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_registers_with_digest(server: EmbeddedServer, sipp: SippRunner, transport: str) -> None:
    row = ("bob", login("bob"), "5099", "300")
    result = sipp.run(
        SCENARIOS / "register.xml",
        server.address,
        calls=50,
        rate=200,
        users=[row],
        transport=transport,
    )
    assert (result.exit_code, result.successful, result.failed) == (0, 50, 0), result.errors
    (contact,) = [each for each in server.json("contacts", "bob") if ":5099" in each["contact"]]
    assert contact["user_agent"] == "sipp"
    row = ("bob", login("bob"), "5099", "0")
    sipp.run(SCENARIOS / "register.xml", server.address, users=[row], transport=transport)
    assert server.json("contacts", "bob") == []


def test_a_wrong_password_does_not_register(server: EmbeddedServer, sipp: SippRunner) -> None:
    row = ("alex", login("alex", "wrong"), "5098", "300")
    result = sipp.run(SCENARIOS / "register.xml", server.address, users=[row])
    assert result.failed == 1
    assert "401 Unauthorized" in result.errors
    assert server.json("contacts", "alex") == []


@pytest.mark.rfc("3261", "16.6", "16.7", "22.3")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_calls_through_the_proxy(
    server: EmbeddedServer, sipp: SippRunner, transport: str, tmp_path: Path
) -> None:
    port = free_port()
    row = ("bob", login("bob"), str(port), "300")
    registered = sipp.run(
        SCENARIOS / "register.xml", server.address, users=[row], transport=transport
    )
    assert registered.successful == 1, registered.errors
    socket = {"udp": "u1", "tcp": "t1"}[transport]
    callee = ["sipp", "-sf", SCENARIOS / "uas.xml", "-i", "127.0.0.1", "-p", str(port)]
    before = server.json("mi", "get_statistics", "tm:2xx_transactions")["tm:2xx_transactions"]
    with ManagedProcess(
        [*callee, "-t", socket, "-nostdin"], log=tmp_path / "uas.log", cwd=tmp_path
    ) as uas:
        wait_until(lambda: _listens(uas.pid, port), what="sipp listening")
        result = sipp.run(
            SCENARIOS / "uac.xml",
            server.address,
            calls=30,
            rate=20,
            users=[("alex", login("alex"), "bob")],
            transport=transport,
        )
    assert (result.exit_code, result.successful, result.failed) == (0, 30, 0), result.errors
    assert result.retransmissions == 0
    after = server.json("mi", "get_statistics", "tm:2xx_transactions")["tm:2xx_transactions"]
    # An INVITE and a BYE for each call.
    assert after - before == 60
    row = ("bob", login("bob"), str(port), "0")
    sipp.run(SCENARIOS / "register.xml", server.address, users=[row], transport=transport)


def _listens(pid: int, port: int) -> bool:
    import psutil

    connections = psutil.Process(pid).net_connections("inet")
    return any(each.laddr and each.laddr.port == port for each in connections)
