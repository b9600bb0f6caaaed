"""The rendered configuration on servers of their own: restarts, TLS, WebSocket, MI, agents."""

import grp
import json
import os
import shutil
import socket
import ssl
import stat
import subprocess
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rcsops.opensips.config import Tls
from rcsops.sip import Message
from rcsops.testing import free_port, wait_until
from rcsops.testing.opensips import OpenSipsServer
from tests.live.phones import DOMAIN, PATIENCE, Phone
from tests.live.stream_phones import TlsPhone, WebSocketPhone
from tests.live.subjects import Case
from tests.live.test_opensips_config import call, in_dialog

NewServer = Callable[..., OpenSipsServer]


@pytest.mark.feature("restart")
def test_contacts_calls_and_messages_survive_a_restart(new_server: NewServer) -> None:
    server = new_server()
    for name in ("alice", "bob", "carol"):
        server.add_user(name, f"of {name}")
    with (
        server,
        Phone(server.address, "alice") as alice,
        Phone(server.address, "bob") as bob,
        Phone(server.address, "carol") as carol,
    ):
        assert alice.register().status == bob.register().status == 200
        assert alice.ask(alice.request("MESSAGE", carol.uri, body="for later")).status == 202
        invite = alice.authorized(alice.request("INVITE", bob.uri, body="v=0"))
        alice.send(invite)
        bob.answer(bob.incoming("INVITE"), 200, Contact=bob.contact)
        answer = alice.final(invite)
        server.stop()
        server.start()
        sent = alice.authorized(alice.request("MESSAGE", bob.uri, body="still there?"))
        alice.send(sent)
        bob.answer(bob.incoming("MESSAGE"), 200)
        assert alice.final(sent).status == 200
        # The mark in the Record-Route is as good as before.
        bye = alice.request("BYE", str(answer.contacts[0].uri))
        for field in ("From", "To", "Call-ID"):
            bye.set(field, (answer if field == "To" else invite).get(field) or "")
        for route in reversed(answer.values("Record-Route")):
            bye.add("Route", route)
        alice.send(bye)
        bob.answer(bob.incoming("BYE"), 200)
        assert alice.final(bye).status == 200
        carol.register()
        came = carol.incoming("MESSAGE")
        assert came.body == b"for later"
        carol.answer(came, 200)


@pytest.mark.feature("transports")
def test_without_udp(new_server: NewServer) -> None:
    """Stored messages then come to the server itself over TCP, from a port that it does not listen
    at."""
    port = free_port()
    server = new_server(listen=(f"tcp:127.0.0.1:{port}",))
    server.port = port
    for name in ("alice", "bob"):
        server.add_user(name, f"of {name}")
    with server, Phone(server.address, "alice", transport="tcp") as alice:
        assert alice.register().status == 200
        assert alice.ask(alice.request("MESSAGE", f"sip:bob@{DOMAIN}", body="x")).status == 202
        with Phone(server.address, "bob", transport="tcp") as bob:
            bob.register()
            came = bob.incoming("MESSAGE")
            assert came.body == b"x"
            bob.answer(came, 200)


@pytest.mark.feature("nat")
def test_clients_behind_nat(new_server: NewServer) -> None:
    """What they say of themselves is an address that leads nowhere."""
    server = new_server(ping_seconds=2)
    for name in ("alice", "bob"):
        server.add_user(name, f"of {name}")
    with (
        server,
        BehindNat(server.address, "alice") as alice,
        BehindNat(server.address, "bob") as bob,
    ):
        assert alice.register().status == bob.register().status == 200
        found = server.mi("ul_show_contact", table_name="location", aor=f"bob@{DOMAIN}")
        (contact,) = found["Contacts"]
        assert "10.9.9.9" in contact["Contact"]
        assert bob.address in contact["Received"]
        # Along the way that it came: requests, the contacts inside of them, and their answers.
        invite = alice.authorized(alice.request("INVITE", f"sip:bob@{DOMAIN}", body="v=0"))
        alice.send(invite)
        came = bob.incoming("INVITE")
        assert came.contacts[0].uri.host_port == alice.address
        bob.answer(came, 200, Contact=bob.contact)
        answer = alice.final(invite)
        assert answer.contacts[0].uri.host_port == bob.address
        # The way is kept open.
        wait_until(lambda: bob.pinged(), 60, what="a ping")


@pytest.mark.feature("nat")
@pytest.mark.parametrize("parameter", ["", ";transport=tcp"], ids=["udp contact", "tcp contact"])
def test_clients_behind_nat_over_tcp(new_server: NewServer, parameter: str) -> None:
    """The connection that they made is the way back, whatever transport their Contact names."""
    server = new_server()
    for name in ("alice", "bob"):
        server.add_user(name, f"of {name}")
    with (
        server,
        BehindNat(server.address, "alice", transport="tcp") as alice,
        BehindNat(server.address, "bob", transport="tcp") as bob,
    ):
        alice.parameter = bob.parameter = parameter
        assert alice.register().status == bob.register().status == 200
        for caller, callee in ((alice, bob), (bob, alice)):
            invite, came = call(caller, callee)
            assert over_tcp(came) == caller.address
            callee.answer(came, 200, Contact=callee.contact)
            answer = caller.final(invite)
            assert over_tcp(answer) == callee.address
            number = invite.cseq.number
            caller.send(in_dialog("ACK", caller, invite, answer, number))
            callee.incoming("ACK")
            bye = in_dialog("BYE", caller, invite, answer, number + 1)
            caller.send(bye)
            callee.answer(callee.incoming("BYE"), 200)
            assert caller.final(bye).status == 200


@pytest.mark.feature("nat")
@pytest.mark.rfc("3261", "18.1.1", "18.2.1")
def test_what_comes_by_tcp_for_its_size_keeps_its_udp_contact(new_server: NewServer) -> None:
    """The port of such a connection is not where its sender is called back. OpenSIPS does that
    over TCP as well: whoever listens for UDP does so for TCP at the same port."""
    server = new_server()
    for name in ("alice", "bob"):
        server.add_user(name, f"of {name}")
    host, _, port = server.address.rpartition(":")
    with (
        server,
        OnUdp(server.address, "alice", port=(ours := free_port())) as alice,
        Phone(server.address, "bob") as bob,
        socket.create_server(("127.0.0.1", ours)) as listener,
    ):
        listener.settimeout(PATIENCE)
        assert alice.register().status == bob.register().status == 200
        with alice.over(socket.create_connection((host, int(port)))):
            invite, came = call(alice, bob)
            assert came.get("Contact") == alice.contact
            bob.answer(came, 200, Contact=bob.contact)
            answer = alice.final(invite)
            alice.send(in_dialog("ACK", alice, invite, answer, invite.cseq.number))
            bob.incoming("ACK")
        bye = bob.request("BYE", str(came.contacts[0].uri))
        for field, other in (("From", "To"), ("To", "From"), ("Call-ID", "Call-ID")):
            bye.set(field, answer.get(other) or "")
        for route in came.values("Record-Route"):
            bye.add("Route", route)
        bob.send(bye)
        with alice.over(listener.accept()[0]):
            alice.answer(alice.incoming("BYE"), 200)
            assert bob.final(bye).status == 200


def over_tcp(message: Message) -> str:
    """The address of the Contact, which is one over TCP."""
    uri = message.contacts[0].uri
    assert uri.param("transport") == "tcp", uri
    return uri.host_port


class BehindNat(Phone):
    parameter = ""

    @property
    def contact(self) -> str:
        return f"<sip:{self.name}@10.9.9.9:5060{self.parameter}>"

    def via(self) -> str:
        name = self.transport.upper()
        return f"SIP/2.0/{name} 10.9.9.9:5060;rport;branch={self.tokens.branch()}"

    def pinged(self) -> bool:
        self.nothing(lambda _: False, 0.1)
        return self.pings > 0


class OnUdp(Phone):
    """One that names its UDP port in Via and Contact, whatever a request goes over."""

    def __init__(self, server: str, name: str, *, port: int) -> None:
        super().__init__(server, name, port=port)
        self._at = super().address

    @property
    def address(self) -> str:
        return self._at

    @property
    def contact(self) -> str:
        return f"<sip:{self.name}@{self._at}>"


# --- the management interface ----------------------------------------------------------------


@pytest.mark.feature("mi")
def test_mi_for_a_group_and_over_http(case: Case, new_server: NewServer, short_path: Path) -> None:
    if not {"httpd", "mi_http"} <= set(case.installation.modules):
        pytest.skip("this OpenSIPS has no httpd or mi_http")
    port = free_port()
    group = grp.getgrgid(os.getegid()).gr_name
    with new_server(mi_group=group, mi_http=f"127.0.0.1:{port}") as server:
        for name in ("fifo", "mi.sock"):
            # Made first, then opened to the group.
            wait_until(partial(is_for, os.getegid(), short_path / name), what=f"the group's {name}")
        call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "version"}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/mi", call, {"Content-Type": "application/json"}
        )
        # A process of its own binds it, some time after the rest is there.
        wait_until(lambda: accepts(port), what="MI over HTTP")
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = json.load(answer)
        assert server.installation.version in said["result"]["Server"]


def is_for(group: int, path: Path) -> bool:
    """Whether the group may use it as its owner does, and nobody else."""
    found = path.stat()
    return (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, group)


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(10)
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- TLS and WebSocket -----------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Tls:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={DOMAIN}", "-addext", f"subjectAltName=DNS:{DOMAIN}"]
    subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True)
    return Tls(str(made), str(key))


TLS = {"tls_mgm", "proto_tls", "proto_ws", "proto_wss"}


@pytest.mark.feature("transports")
@pytest.mark.parametrize("other", ["udp", "tls", "ws", "wss"])
def test_tls_and_websocket(case: Case, new_server: NewServer, certificate: Tls, other: str) -> None:
    if missing := TLS - set(case.installation.modules):
        pytest.skip(f"this OpenSIPS has no {', '.join(sorted(missing))}")
    ports = {name: free_port() for name in ("tls", "ws", "wss")}
    also = tuple(f"{name}:127.0.0.1:{port}" for name, port in ports.items())
    context = ssl.create_default_context(cafile=certificate.certificate)
    # 3.0 takes nobody without an Origin for a WebSocket client.
    origin = f"https://{DOMAIN}" if case.installation.line < (3, 4) else ""
    server = new_server(tls=certificate, also=also)

    def phone(transport: str, name: str) -> Phone:
        address = f"127.0.0.1:{ports.get(transport, server.port)}"
        if transport == "udp":
            return Phone(address, name)
        if transport == "tls":
            return TlsPhone(address, name, context)
        secure = context if transport == "wss" else None
        return WebSocketPhone(address, name, secure, origin=origin)

    for name in ("alice", "bob"):
        server.add_user(name, f"of {name}")
    with server:
        for transport in ("udp", *ports):
            with phone(other, "alice") as alice, phone(transport, "bob") as bob:
                assert alice.register().status == 200
                assert bob.register().status == 200
                for caller, callee in ((alice, bob), (bob, alice)):
                    whole_call(caller, callee)
                for each in (alice, bob):
                    assert each.register(0).status == 200


def whole_call(alice: Phone, bob: Phone) -> None:
    """A MESSAGE; and INVITE, ACK and BYE, which find their way by the callee's Contact."""
    message = alice.authorized(alice.request("MESSAGE", bob.uri, body="hello"))
    alice.send(message)
    bob.answer(bob.incoming("MESSAGE"), 200)
    assert alice.final(message).status == 200
    invite, came = call(alice, bob)
    bob.answer(came, 200, Contact=bob.contact)
    answer = alice.final(invite)
    number = invite.cseq.number
    alice.send(in_dialog("ACK", alice, invite, answer, number))
    bob.incoming("ACK")
    bye = in_dialog("BYE", alice, invite, answer, number + 1)
    alice.send(bye)
    bob.answer(bob.incoming("BYE"), 200)
    assert alice.final(bye).status == 200


@pytest.mark.feature("transports")
def test_nothing_older_than_tls_1_2(case: Case, new_server: NewServer, certificate: Tls) -> None:
    if not {"tls_mgm", "proto_tls"} <= set(case.installation.modules):
        pytest.skip("this OpenSIPS has no TLS")
    port = free_port()
    server = new_server(tls=certificate, also=(f"tls:127.0.0.1:{port}",))
    context = ssl.create_default_context(cafile=certificate.certificate)
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        server,
        socket.create_connection(("127.0.0.1", port), timeout=30) as stream,
        pytest.raises((ssl.SSLError, OSError)),
    ):
        context.wrap_socket(stream, server_hostname=DOMAIN)


@pytest.mark.feature("transports")
def test_who_breaks_off_takes_nobody_along(
    case: Case, new_server: NewServer, certificate: Tls
) -> None:
    if not {"tls_mgm", "proto_tls"} <= set(case.installation.modules):
        pytest.skip("this OpenSIPS has no TLS")
    if case.installation.line < (3, 4) and case.installation.adopted:
        pytest.skip("3.0 as it is mixes up the errors of its connections")
    port = free_port()
    server = new_server(tls=certificate, also=(f"tls:127.0.0.1:{port}",))
    server.add_user("alice", "of alice")
    context = ssl.create_default_context(cafile=certificate.certificate)
    with server:
        for _ in range(25):
            # Closed without a word of TLS; and one who speaks none at all.
            with TlsPhone(f"127.0.0.1:{port}", "alice", context) as alice:
                assert alice.register().status == 200
            with socket.create_connection(("127.0.0.1", port), timeout=30) as stream:
                stream.sendall(b"OPTIONS sip:x SIP/2.0\r\n\r\n")
