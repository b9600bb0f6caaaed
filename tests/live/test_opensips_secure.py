"""Our agents through a real OpenSIPS over TLS, WebSocket and secure WebSocket."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.errors import RegistrationError
from rcsops.opensips.config import Tls
from rcsops.operations.certs import make_certs
from rcsops.settings import Project
from rcsops.testing import free_port
from rcsops.testing.opensips import OpenSipsServer
from rcsops.transport import TlsOptions
from rcsops.transport.tap import TapRecord
from tests.live.phones import DOMAIN
from tests.live.talking import talk

pytestmark = pytest.mark.feature("TLS and WebSocket")

NewServer = Callable[..., OpenSipsServer]
_MODULES = {"tls": "proto_tls", "ws": "proto_ws", "wss": "proto_wss"}


class Lab:
    """An OpenSIPS on every transport, with the certificates that `rcsops certs` makes."""

    def __init__(self, new_server: NewServer, directory: Path) -> None:
        directory.mkdir()
        (directory / "rcsops.toml").write_text(f'domain = "{DOMAIN}"\n')
        self.project = Project.find(directory, environment={})
        make_certs(self.project)
        assert self.project.certificate is not None
        certificate, private_key = self.project.certificate
        self._ports = {name: free_port() for name in _MODULES}
        self.server = new_server(
            also=tuple(f"{name}:127.0.0.1:{port}" for name, port in self._ports.items()),
            tls=Tls(str(certificate), str(private_key)),
        )
        lacking = sorted({*_MODULES.values(), "tls_mgm"} - set(self.server.installation.modules))
        if lacking:
            pytest.skip(f"this OpenSIPS was built without {', '.join(lacking)}")
        for name in ("alex", "bob"):
            self.server.add_user(name, f"of {name}")

    def where(self, transport: str) -> str:
        return f"127.0.0.1:{self._ports.get(transport, self.server.port)}"

    def agent(self, name: str, transport: str, seen: list[TapRecord], *, ca: bool = True) -> Agent:
        authorities = self.project.authorities if ca else None
        return Agent(
            f"sip:{name}@{DOMAIN}",
            server=self.where(transport),
            transport=transport,
            password=f"of {name}",
            tap=seen.append,
            tls=TlsOptions(ca=authorities),
        )


@pytest.fixture
def lab(new_server: NewServer, tmp_path: Path) -> Lab:
    return Lab(new_server, tmp_path / "lab")


@pytest.mark.parametrize("pair", ["tls-tls", "ws-ws", "wss-wss", "tls-udp", "udp-wss", "tcp-ws"])
async def test_register_invite_and_chat(lab: Lab, pair: str) -> None:
    caller, callee = pair.split("-")
    seen: list[TapRecord] = []
    with lab.server:
        async with (
            lab.agent("alex", caller, seen) as alex,
            lab.agent("bob", callee, []) as bob,
        ):
            await talk(alex, bob)
    sip = [record for record in seen if record.protocol == "sip"]
    if caller not in ("udp", "tcp"):
        assert {record.transport for record in sip} == {caller}
        assert len({record.local for record in sip}) == 1
    got = {record.data.partition(b" ")[0] for record in sip if record.direction == "in"}
    assert {b"BYE", b"SIP/2.0"} <= got


async def test_its_certificate_counts(lab: Lab) -> None:
    with lab.server:
        for transport in ("tls", "wss"):
            async with lab.agent("bob", transport, [], ca=False) as bob:
                with pytest.raises(RegistrationError, match="not trusted here"):
                    await bob.register()
