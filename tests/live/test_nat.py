"""An agent behind a NAT, the embedded server and a peer on the other side: namespaces of Linux."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rcsops.testing import EmbeddedServer, NatNetwork
from rcsops.trace import read_trace
from tests.cli.chatting import ChatProcess

pytestmark = [
    pytest.mark.server("rcsops"),
    pytest.mark.feature("agents behind a NAT"),
]


@pytest.fixture(scope="module")
def network() -> Iterator[NatNetwork]:
    if reason := NatNetwork.missing():
        pytest.skip(reason)
    with NatNetwork() as made:
        yield made


@pytest.fixture(scope="module")
def server(
    network: NatNetwork, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(
        tmp_path_factory.mktemp("nat") / "project",
        {"alex": "of alex", "bob": "of bob"},
        host=network.host_outside,
        port=5060,
        prefix=network.outside,
    ) as made:
        yield made


def talk(caller: ChatProcess, callee: ChatProcess) -> None:
    """A session with a text each way, which the caller ends."""
    caller.type(f"/invite {callee.user}")
    for one, other in ((caller, callee), (callee, caller)):
        one.wait("session", peer=other.address)
    for one, other in ((caller, callee), (callee, caller)):
        one.say(f"{one.user} is here")
        one.wait("status", status="delivered")
        other.wait("message", text=f"{one.user} is here")
    caller.type("/bye")
    for one in (caller, callee):
        one.wait("session-ended")


@pytest.mark.rfc("3261", "18.2.1")
@pytest.mark.rfc("3581", "4")
@pytest.mark.rfc("5626", "4.3", "5.3")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_register_invite_and_chat(
    network: NatNetwork, server: EmbeddedServer, transport: str, tmp_path: Path
) -> None:
    trace = tmp_path / "bob.jsonl"
    way = ("--transport", transport)
    with ExitStack() as stack:
        alex = stack.enter_context(ChatProcess(server, "alex", *way, prefix=network.inside))
        alex.wait("registered")
        bob = stack.enter_context(
            ChatProcess(server, "bob", *way, "--trace", str(trace), prefix=network.outside)
        )
        bob.wait("registered")
        (contact,) = server.json("contacts", "alex")
        assert network.host_inside in contact["contact"]
        talk(alex, bob)
        talk(bob, alex)
        assert alex.finish() == 0
        assert bob.finish() == 0
    # Whoever called, the connection of the chat was made from behind the NAT.
    msrp = [entry for entry in read_trace(trace) if entry.protocol == "msrp"]
    assert len({entry.remote for entry in msrp}) == 2
    assert {entry.remote[0] for entry in msrp} == {network.router}
