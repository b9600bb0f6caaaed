"""Other people's proxies between agents and the embedded server, on each transport."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.opensips.installed import Installation
from rcsops.sip import Request, Response, parse_message
from rcsops.testing import EmbeddedServer, KamailioServer
from rcsops.transport import TapRecord, TlsOptions
from tests.live.edges import Edge, KamailioEdge, OpenSipsEdge
from tests.live.talking import talk

pytestmark = pytest.mark.feature("agents behind a proxy of the embedded server")

NO_KAMAILIO = KamailioServer.missing(secure=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    users = {"alex": "of alex", "bob": "of bob"}
    with EmbeddedServer(tmp_path_factory.mktemp("edges") / "project", users, more=["tls"]) as made:
        yield made


def certificates(server: EmbeddedServer) -> tuple[tuple[Path, Path], TlsOptions]:
    """The certificate of `rcsops certs` for a proxy of the domain, and what agents believe."""
    from rcsops.settings import Project

    project = Project.find(server.directory, environment={})
    assert project.certificate is not None
    return project.certificate, TlsOptions(ca=project.authorities)


def agent(name: str, edge: Edge, transport: str, seen: list[TapRecord], **more: object) -> Agent:
    return Agent(
        f"sip:{name}@rcs.example",
        server=edge.where(transport),
        transport=transport,
        password=f"of {name}",
        tap=seen.append,
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.server("Kamailio")
@pytest.mark.skipif(bool(NO_KAMAILIO), reason=NO_KAMAILIO)
@pytest.mark.rfc("3327", "5.3")
@pytest.mark.rfc("5626", "6")
@pytest.mark.parametrize("pair", ["udp-tcp", "tcp-udp", "tls-ws", "ws-wss", "wss-tls"])
async def test_kamailio_in_front_of_the_server(
    server: EmbeddedServer, tmp_path: Path, pair: str
) -> None:
    certificate, tls = certificates(server)
    transports = dict(zip(("alex", "bob"), pair.split("-"), strict=True))
    with KamailioEdge(tmp_path / "edge", server.address, certificate) as edge:
        seen: list[TapRecord] = []
        async with (
            agent("alex", edge, transports["alex"], seen, tls=tls) as alex,
            agent("bob", edge, transports["bob"], seen, tls=tls) as bob,
        ):
            await talk(alex, bob)
    check(edge, seen)


@pytest.mark.smoke
@pytest.mark.rfc("3327", "5.3")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_opensips_in_front_of_the_server(
    server: EmbeddedServer, installation: Installation, tmp_path: Path, transport: str
) -> None:
    with OpenSipsEdge(tmp_path / "edge", server.address, installation) as edge:
        seen: list[TapRecord] = []
        # This proxy knows nothing of GRUUs, which lead to the server alone.
        async with (
            agent("alex", edge, transport, seen, gruu=False) as alex,
            agent("bob", edge, transport, seen, gruu=False) as bob,
        ):
            await talk(alex, bob)
    check(edge, seen)


@pytest.mark.rfc("3327", "5.3")
@pytest.mark.parametrize("pair", ["tls-ws", "ws-wss", "wss-tls", "tcp-tls"])
async def test_opensips_with_tls_and_websocket_in_front_of_the_server(
    server: EmbeddedServer, installation: Installation, tmp_path: Path, pair: str
) -> None:
    if missing := {"proto_tls", "proto_ws", "proto_wss", "tls_mgm"} - set(installation.modules):
        pytest.skip(f"this OpenSIPS has no {', '.join(sorted(missing))}")
    certificate, tls = certificates(server)
    alex_by, bob_by = pair.split("-")
    with OpenSipsEdge(tmp_path / "edge", server.address, installation, certificate) as edge:
        seen: list[TapRecord] = []
        async with (
            agent("alex", edge, alex_by, seen, gruu=False, tls=tls) as alex,
            agent("bob", edge, bob_by, seen, gruu=False, tls=tls) as bob,
        ):
            await talk(alex, bob)
    check(edge, seen)


def check(edge: Edge, seen: list[TapRecord]) -> None:
    """The server knew the proxy as the way to both, and whatever they said went there, also in the
    session: from agent to proxy to server to proxy to agent."""
    sip = [record for record in seen if record.protocol == "sip"]
    messages = [(record, parse_message(record.data)) for record in sip]
    came = [message for record, message in messages if record.direction == "in"]
    paths = [each.paths[0].uri for each in came if isinstance(each, Response) and each.has("Path")]
    assert len(paths) >= 2
    assert {path.port for path in paths} == {edge.port}
    left = [record for record, message in messages if isinstance(message, Request)]
    assert {record.remote[1] for record in left if record.direction == "out"} <= edge.ports
    (bye,) = [each for each in came if isinstance(each, Request) and each.method == "BYE"]
    assert len(bye.vias) == 4
