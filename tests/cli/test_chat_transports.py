"""``rcsops chat`` over TLS and WebSocket: the same chat, and clear words where it cannot be."""

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops.operations.certs_make import make_authority
from rcsops.testing import EmbeddedServer, free_port
from rcsops.trace import read_trace
from tests.cli.chatting import ChatProcess, Lab

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server on every transport, with the certificates of `rcsops certs`."""
    with Lab(tmp_path_factory.mktemp("lab"), more=("tls", "ws", "wss")) as lab:
        yield lab


@pytest.mark.parametrize(
    ("caller", "callee"), [("tls", "tls"), ("ws", "ws"), ("wss", "wss"), ("wss", "udp")]
)
def test_a_line_goes_through(lab: Lab, tmp_path: Path, caller: str, callee: str) -> None:
    alex, bob = lab.users("alex", "bob")
    trace = tmp_path / "trace.jsonl"
    with lab.waiting(bob, "--transport", callee) as chat:
        done = lab.run(alex, bob, "--transport", caller, "--trace", str(trace), stdin="hi\n")
        assert done.code == 0, done.out + done.err
        chat.wait("message", text="hi", peer=f"sip:{alex}@rcs.example")
        chat.wait("session-ended", by_peer=True)
    assert f"* registered as {alex} at {lab.server.where(caller)}" in done.texts
    # Where the way to the server is encrypted the direct connection is so too.
    direct = {entry.transport for entry in read_trace(trace) if entry.protocol == "msrp"}
    assert direct == {"tls" if caller in ("tls", "wss") else "tcp"}
    assert any("encrypted (TLSv1.3)" in text for text in done.texts) is (direct == {"tls"})
    assert "* ✓✓ delivered “hi”" in done.texts
    assert not lab.is_registered(alex)
    sip = [entry for entry in read_trace(trace) if entry.protocol == "sip"]
    # Everything by the one connection, ACK and BYE too, and the trace shows it in the clear.
    assert {entry.transport for entry in sip} == {caller}
    assert len({(entry.local, entry.remote) for entry in sip}) == 1
    sent = [entry.data.split(b" ")[0] for entry in sip if entry.direction == "out"]
    assert {b"REGISTER", b"INVITE", b"ACK", b"BYE"} <= set(sent)
    routed = b"\r\n".join(entry.data for entry in sip)
    # Where the transport changes on the way the server stands in the route set twice.
    assert (b"Record-Route: <sip:127.0.0.1:%d;lr" % lab.server.port in routed) is (callee == "udp")


def test_a_peer_that_takes_no_msrp_over_tls_is_talked_to_without(lab: Lab, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    trace = tmp_path / "trace.jsonl"
    plain = ("env", "RCSOPS_AGENT_MSRP_SECURITY=tcp")
    with ChatProcess(lab, bob, prefix=plain) as chat:
        chat.wait("registered")
        done = lab.run(alex, bob, "--transport", "tls", "--trace", str(trace), stdin="hi\n")
        assert done.code == 0, done.out + done.err
        chat.wait("message", text="hi")
    entries = read_trace(trace)
    assert {entry.transport for entry in entries if entry.protocol == "msrp"} == {"tcp"}
    invites = [e.data for e in entries if e.direction == "out" and e.data.startswith(b"INVITE ")]
    secure = [b"TCP/TLS/MSRP" in invite for invite in invites]
    # What it offers first may have been challenged.
    assert secure[0] and not secure[-1] and secure == sorted(secure, reverse=True)


def test_a_server_can_be_named_by_a_uri(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    port = lab.server.where("tls").rpartition(":")[2]
    for server, transport in (
        (f"sips:localhost:{port}", "tcp"),
        (f"sip:localhost:{port};transport=tls", "udp"),
        (f"localhost:{port}", "tls"),
        (f"sip:127.0.0.1:{lab.server.where('ws').rpartition(':')[2]};transport=ws", "tcp"),
        (f"sips:localhost:{lab.server.where('wss').rpartition(':')[2]};transport=ws", "tcp"),
    ):
        done = lab.run(alex, "--server", server, "--transport", transport)
        assert done.code == 0, f"{server}: {done.out}{done.err}"
        assert any(line.startswith(f"* registered as {alex}") for line in done.texts)


def test_an_authority_that_nobody_knows_is_told_with_what_to_do(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    other = lab.directory / "other.pem"
    other.write_bytes(_another_authority())
    done = lab.run(alex, "--transport", "tls", environment={"RCSOPS_TLS_CA": str(other)})
    assert done.code == 1
    assert "its certificate comes from an authority that is not trusted here" in done.out
    assert "name the file of its authority as `ca` in [tls]" in done.out
    assert "Traceback" not in done.err


def test_a_wrong_name_is_told_with_what_to_do(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    secret = {"RCSOPS_PASSWORD": "none"}
    server = lab.server.where("wss")
    words = ("--server", server, "--transport", "wss", "--domain", "elsewhere.example")
    done = lab.run(alex, *words, environment=secret)
    assert done.code == 1
    assert "not elsewhere.example" in done.out
    assert "rcsops certs --name NAME" in done.out


def test_a_port_without_tls_is_told_with_what_to_do(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    for transport, said in (("tls", "during the handshake"), ("ws", "during the handshake")):
        done = lab.run(alex, "--server", lab.server.address, "--transport", transport)
        assert done.code == 1
        assert said in done.out
        assert "does it listen for that transport on this port?" in done.out


def test_a_transport_that_the_server_has_not_is_told(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    with lab:
        (alex,) = lab.users("alex")
        done = lab.run(alex, "--transport", "wss")
    assert done.code == 2
    assert "the project's server does not listen on wss" in done.err


def test_everything_over_ipv6(tmp_path: Path) -> None:
    server = EmbeddedServer(
        tmp_path,
        {"alex": "secret of alex", "bob": "secret of bob"},
        host="::1",
        more=("tls", "ws", "wss"),
    )
    try:
        free_port("::1")
    except OSError:
        pytest.skip("this machine has no IPv6 on its loopback")
    lab = Lab(tmp_path / "unused")
    lab.directory, lab.server = tmp_path, server
    with server:
        for caller, callee in (("tls", "udp"), ("udp", "wss"), ("ws", "tcp")):
            trace = tmp_path / f"{caller}.jsonl"
            with lab.waiting("bob", "--transport", callee) as chat:
                done = lab.run(
                    "alex", "bob", "--transport", caller, "--trace", str(trace), stdin="hi\n"
                )
                assert done.code == 0, done.out + done.err
                chat.wait("message", text="hi")
                chat.wait("session-ended", by_peer=True)
            sip = b"\r\n".join(e.data for e in read_trace(trace) if e.protocol == "sip")
            assert b"received=::1" in sip
            assert b"Record-Route: <sip:[::1]:" in sip
            if caller != "ws":
                assert b"Contact: <sip:alex@[::1]:" in sip
                assert b"Via: SIP/2.0/%s [::1]:" % caller.upper().encode() in sip
            else:
                assert b".invalid;transport=ws>" in sip


def _another_authority() -> bytes:

    return make_authority(
        "another", now=datetime.datetime.now(datetime.UTC), days=3
    ).certificate_pem
