"""Two agents meet through Kamailio over TLS, WebSocket and secure WebSocket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import RegistrationError
from rcsops.operations.certs import make_certs
from rcsops.settings import Project
from rcsops.testing import KamailioServer
from rcsops.transport import TlsOptions
from rcsops.transport.tap import TapRecord
from tests.live.talking import talk

pytestmark = pytest.mark.skipif(
    bool(KamailioServer.missing(secure=True)), reason=KamailioServer.missing(secure=True)
)

DOMAIN = "rcs.example"


class Lab:
    """The certificates of a project of ours, for a server that is not."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        (directory / "rcsops.toml").write_text(f'domain = "{DOMAIN}"\n')
        self.project = Project.find(directory, environment={})
        self.views = {
            view.certificate.stem: (view.certificate, view.private_key)
            for view in make_certs(self.project, clients=["alex", "bob"]).certificates
        }

    def tls(self, name: str = "") -> TlsOptions:
        """What an agent believes, and shows of itself."""
        pair = self.views[f"client-{name}"] if name else (None, None)
        return TlsOptions(*pair, self.project.authorities, system_ca=False)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


@pytest.fixture
def kamailio(tmp_path: Path, lab: Lab) -> Iterator[KamailioServer]:
    with KamailioServer(
        tmp_path / "kamailio", domain=DOMAIN, certificate=lab.views["server"]
    ) as server:
        server.add_user("alex", "of alex")
        server.add_user("bob", "of bob")
        yield server


def agent(
    server: KamailioServer, name: str, transport: str, tls: TlsOptions, seen: list[TapRecord]
) -> Agent:
    return Agent(
        f"sip:{name}@{DOMAIN}",
        server=server.where(transport),
        transport=transport,
        password=f"of {name}",
        tap=seen.append,
        tls=tls,
    )


@pytest.mark.parametrize(
    ("caller", "callee"),
    [("tls", "tls"), ("ws", "ws"), ("wss", "wss"), ("tls", "udp"), ("udp", "wss"), ("ws", "tls")],
)
async def test_register_invite_and_chat(
    kamailio: KamailioServer, lab: Lab, caller: str, callee: str
) -> None:
    seen: list[TapRecord] = []
    async with (
        agent(kamailio, "alex", caller, lab.tls(), seen) as alex,
        agent(kamailio, "bob", callee, lab.tls(), []) as bob,
    ):
        # Who was called ends it: a request to a contact that has no address.
        await talk(alex, bob)
    sip = [record for record in seen if record.protocol == "sip"]
    # All by one connection to the server, both ways.
    if caller != "udp":
        assert {record.transport for record in sip} == {caller}
        assert len({record.local for record in sip}) == 1
    sent = {record.data.partition(b" ")[0] for record in sip if record.direction == "out"}
    got = {record.data.partition(b" ")[0] for record in sip if record.direction == "in"}
    assert {b"REGISTER", b"INVITE", b"ACK", b"SIP/2.0"} <= sent
    assert {b"BYE", b"SIP/2.0"} <= got


async def test_an_authority_that_is_not_trusted(
    kamailio: KamailioServer, lab: Lab, tmp_path: Path
) -> None:
    other = Lab(tmp_path / "other")
    for transport in ("tls", "wss"):
        async with agent(kamailio, "bob", transport, other.tls(), []) as bob:
            with pytest.raises(RegistrationError, match="not trusted here") as refused:
                await bob.register()
        assert "`ca` in [tls]" in refused.value.hint


async def test_kamailio_asks_agents_for_a_certificate(lab: Lab, tmp_path: Path) -> None:
    ca = lab.project.authorities
    assert ca is not None
    with KamailioServer(
        tmp_path / "kamailio", domain=DOMAIN, certificate=lab.views["server"], client_ca=ca
    ) as server:
        server.add_user("bob", "of bob")
        async with agent(server, "bob", "tls", lab.tls("bob"), []) as bob:
            await bob.register()
            assert any(address.startswith("tls:") for address in bob.addresses)
        async with agent(server, "bob", "tls", lab.tls(), []) as bob:
            with pytest.raises(RegistrationError) as refused:
                await bob.register()
        assert "[agent]" in refused.value.hint or "handshake" in str(refused.value)
