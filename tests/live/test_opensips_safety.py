"""What strangers try on the rendered configuration, and what it lets nobody do."""

import os
import stat
import time
from collections.abc import Iterator

import pytest

from rcsops.sip import Credential, DigestClient, Message, Response
from rcsops.testing.opensips import OpenSipsServer
from tests.live.phones import DOMAIN, Phone
from tests.live.test_opensips_config import MakePhone, call, in_dialog

pytestmark = pytest.mark.feature("safety")

ELSEWHERE = "elsewhere.example"


def anything(_: Message) -> bool:
    return True


@pytest.fixture
def victim(opensips: OpenSipsServer) -> Iterator[Phone]:
    """Somebody on the network whom nobody registered."""
    with Phone(opensips.address, "victim", source="127.0.0.9") as made:
        yield made


# --- who may send ----------------------------------------------------------------------------


def test_the_name_in_from_must_be_the_one_that_was_proved(phone: MakePhone) -> None:
    alice, bob = phone(), phone()
    bob.register()
    # OpenSIPS's == takes capitals for small letters, and its != says no where there is no user.
    for name in (bob.uri, f"sip:{alice.name.upper()}@{DOMAIN}", f"sip:{DOMAIN}"):
        forged = {"From": f"<{name}>;tag=x"}
        request = alice.request("MESSAGE", bob.uri, forged, body="it is me")
        assert alice.ask(request).status == 403, name
    assert bob.nothing(anything, 0.3)


def test_registering_as_somebody_else(phone: MakePhone) -> None:
    alice, bob = phone(), phone()
    for to in (bob.uri, f"sip:{alice.name.upper()}@{DOMAIN}", f"sip:{DOMAIN}"):
        assert alice.register(To=f"<{to}>").status == 403, to
    assert alice.register(To=f"<sip:{alice.name}@{ELSEWHERE}>").status == 403


def with_decoy(request: Message, name: str, decoy: str, realm: str) -> bytes:
    """The request with credentials of ``decoy`` in front of those in the header ``name``."""
    field = (
        f'{name}: Digest username="{decoy}", realm="{realm}", nonce="x", uri="sip:{DOMAIN}", '
        f'response="{"0" * 32}", algorithm=MD5\r\n'
    )
    real = b"Authorization: " if request.get("Authorization") else b"Proxy-Authorization: "
    return bytes(request).replace(b"\r\n" + real, b"\r\n" + field.encode() + real, 1)


@pytest.mark.parametrize("header", ["Authorization", "Proxy-Authorization"])
def test_credentials_of_somebody_else_before_ones_own(phone: MakePhone, header: str) -> None:
    mallory, bob, carol = phone(), phone(), phone()
    carol.register()
    for realm in (DOMAIN, ELSEWHERE):
        request = mallory.request("REGISTER", f"sip:{DOMAIN}", {"To": f"<{bob.uri}>"})
        mallory.send(with_decoy(mallory.authorized(request), header, bob.name, realm))
        assert mallory.final(request).status in (401, 403), realm
    assert bob.ask(bob.request("REGISTER", f"sip:{DOMAIN}", {"Contact": ""})).get("Contact") is None
    forged = {"From": f"<{bob.uri}>;tag=x"}
    for realm in (DOMAIN, ELSEWHERE):
        request = mallory.request("MESSAGE", carol.uri, forged, body="it is bob")
        mallory.send(with_decoy(mallory.authorized(request), header, bob.name, realm))
        assert mallory.final(request).status in (403, 407), realm
    assert carol.nothing(anything, 0.3)


def test_the_callee_sees_no_credentials(phone: MakePhone) -> None:
    alice, bob = phone(), phone()
    bob.register()
    request = alice.authorized(alice.request("MESSAGE", bob.uri, body="hello"))
    alice.send(with_decoy(request, "Proxy-Authorization", "alice", ELSEWHERE))
    arrived = bob.incoming("MESSAGE")
    bob.answer(arrived, 200)
    assert alice.final(request).status == 200
    assert arrived.get("Proxy-Authorization") is None


def test_the_same_name_in_another_domain_of_the_table(
    opensips: OpenSipsServer, phone: MakePhone
) -> None:
    bob = phone()
    opensips.add_user(bob.name, "of another", domain=ELSEWHERE)
    credential = Credential.from_password(bob.name, ELSEWHERE, "of another")
    # The realm is ours, the name and the hash are those of the other account.
    name = f"{bob.name}@{ELSEWHERE}"
    twin = Credential(name, DOMAIN, credential.ha1)
    other = phone(name=bob.name)
    other.digest = DigestClient([twin], other.tokens)
    assert other.register().status in (401, 403)


def test_an_account_without_a_hash(opensips: OpenSipsServer, phone: MakePhone) -> None:
    bob = phone()
    whole = bob.hash_of(bob.name, f"of {bob.name}")
    table = "UPDATE subscriber SET ha1 = '{}' WHERE username = '" + bob.name + "'"
    # 3.0 copies what there is and a NUL over its buffer and compares all 32 octets of that.
    opensips.change(table.format(whole[:31]))
    cut = Credential(bob.name, DOMAIN, {"MD5": whole[:31] + "\0"})
    bob.digest = DigestClient([cut], bob.tokens, min_algorithm="MD5")
    assert bob.register().status != 200
    opensips.change(table.format(""))
    bob.digest = DigestClient([Credential(bob.name, DOMAIN, {"MD5": "\0" * 32})], bob.tokens)
    assert bob.register().status != 200


@pytest.mark.parametrize("method", ["MESSAGE", "INVITE", "OPTIONS"])
def test_no_open_relay(phone: MakePhone, victim: Phone, method: str) -> None:
    alice, bob = phone(), phone()
    bob.register()
    # A stranger, to somewhere else and to a user of ours.
    for uri in (f"sip:victim@{victim.address}", bob.uri):
        stranger = {"From": f"<sip:stranger@{ELSEWHERE}>;tag=x"}
        assert alice.ask(alice.request(method, uri, stranger, body="x")).status == 403
    # A user of ours, to somewhere else.
    assert alice.ask(alice.request(method, f"sip:victim@{victim.address}", body="x")).status == 403
    assert alice.ask(alice.request(method, f"sip:x@{ELSEWHERE}", body="x")).status == 403
    assert victim.nothing(anything, 0.3)
    assert bob.nothing(anything, 0.1)


def test_methods_that_have_no_business_here(phone: MakePhone) -> None:
    alice, bob = phone(), phone()
    for method in ("SUBSCRIBE", "PUBLISH", "REFER", "NOTIFY", "INFO", "UPDATE", "BYE"):
        answer = alice.ask(alice.request(method, bob.uri))
        assert answer.status == 405, method
        assert "INVITE" in (answer.get("Allow") or "")


# --- routes ----------------------------------------------------------------------------------


def test_a_preloaded_route(opensips: OpenSipsServer, phone: MakePhone, victim: Phone) -> None:
    alice, bob = phone(), phone()
    bob.register()
    own, other = f"<sip:{opensips.address};lr>", f"<sip:{victim.address};lr>"
    for route in (other, f"{own}, {other}", f"<sip:{DOMAIN};lr>, {other}"):
        request = alice.request("MESSAGE", bob.uri, {"Route": route}, body="x")
        alice.send(request)
        assert alice.final(request).status == 403, route
    assert victim.nothing(anything, 0.3)
    # One that names the server alone is what an "outbound proxy" setting makes.
    for route in (own, f"<sip:{DOMAIN};lr>"):
        sent = alice.authorized(alice.request("MESSAGE", bob.uri, {"Route": route}, body="x"))
        alice.send(sent)
        bob.answer(bob.incoming("MESSAGE"), 200)
        assert alice.final(sent).status == 200


def test_a_forged_request_inside_a_dialog(
    opensips: OpenSipsServer, phone: MakePhone, victim: Phone
) -> None:
    stranger, bob = phone(), phone()
    bob.register()
    own = f"sip:{opensips.address};lr"
    target = f"sip:victim@{victim.address}"
    routes = [
        "",
        f"<sip:{victim.address};lr>",
        f"<{own}>",
        f"<{own};ftag=x;mark=d41d8cd98f00b204e9800998ecf8427e>",
        f"<{own};ftag=x;mark=>, <sip:{victim.address};lr>",
        f"<{own}>, <sip:{victim.address}>",
    ]
    for method in ("BYE", "INFO", "MESSAGE", "INVITE", "ACK"):
        for uri in (target, bob.uri, bob.contact.strip("<>")):
            for route in routes:
                fields = {"To": f"<{uri}>;tag=y", "Route": route}
                request = stranger.request(method, uri, fields)
                stranger.send(request)
                if method != "ACK":
                    assert stranger.final(request).status in (403, 481)
    assert victim.nothing(anything, 0.3)
    assert bob.nothing(anything, 0.1)


def test_the_route_of_one_dialog_is_good_for_no_other(
    opensips: OpenSipsServer, phone: MakePhone, victim: Phone
) -> None:
    alice, bob = phone(), phone()
    alice.register()
    bob.register()
    invite, came = call(alice, bob)
    bob.answer(came, 200, Contact=bob.contact)
    answer = alice.final(invite)
    alice.send(in_dialog("ACK", alice, invite, answer, invite.cseq.number))
    bob.incoming("ACK")
    # The same Route with another Call-ID.
    stolen = in_dialog("MESSAGE", alice, invite, answer, 90)
    stolen.set("Call-ID", "another")
    alice.send(stolen)
    assert alice.final(stolen).status == 403
    # In its own dialog, but to somebody who is not in it.
    aside = in_dialog("INFO", alice, invite, answer, 91)
    aside.uri = f"sip:victim@{victim.address}"
    alice.send(aside)
    if "dialog" in opensips.installation.modules:
        bob.answer(bob.incoming("INFO"), 200)
        assert alice.final(aside).status == 200
        assert victim.nothing(anything, 0.3)


def test_a_stray_reply_goes_nowhere(
    opensips: OpenSipsServer, phone: MakePhone, victim: Phone
) -> None:
    stranger = phone()
    request = stranger.request("OPTIONS", f"sip:{DOMAIN}")
    reply = Response.to_request(request, 200, to_tag="x")
    reply.set("Via", f"SIP/2.0/UDP {opensips.address};branch=z9hG4bKabc.0")
    reply.add("Via", f"SIP/2.0/UDP {victim.address};branch=z9hG4bKdef")
    stranger.send(reply)
    assert victim.nothing(anything, 0.5)


def test_the_mark_of_stored_messages_cannot_be_guessed(phone: MakePhone) -> None:
    alice, bob = phone(), phone()
    bob.register()
    forged = {"X-Rcsops-Stored": "of the Silo.", "From": f"<{bob.uri}>;tag=x"}
    request = alice.request("MESSAGE", bob.uri, forged, body="x")
    alice.send(request)
    assert alice.final(request).status == 403
    assert bob.nothing(anything, 0.3)


# --- what makes no sense, and what is too much -----------------------------------------------


@pytest.mark.feature("limits")
def test_requests_that_make_no_sense(phone: MakePhone) -> None:
    alice = phone()

    def ask(**fields: str) -> int:
        given = {name.replace("_", "-"): value for name, value in fields.items()}
        request = alice.request("MESSAGE", f"sip:x@{DOMAIN}", given, body="x")
        alice.send(request)
        found = alice.receive(lambda each: isinstance(each, Response))
        assert isinstance(found, Response)
        return found.status

    assert ask(Max_Forwards="0") == 483
    assert ask(From=f"<sip:{alice.name}@{DOMAIN}>") == 400
    assert ask(Proxy_Require="sec-agree") == 420
    assert ask(X_Filler="x" * 33_000) == 513
    without = alice.request("MESSAGE", f"sip:x@{DOMAIN}", {"Call-ID": ""}, body="x")
    alice.send(without)
    answer = alice.receive_raw()
    assert answer.startswith(b"SIP/2.0 400 ")


@pytest.mark.feature("limits")
def test_the_server_outlives_rubbish(opensips: OpenSipsServer, phone: MakePhone) -> None:
    alice = phone()
    for data in (b"", b"\0" * 200, b"\r\n\r\n", os.urandom(500), b"INVITE sip:x SIP/2.0\r\n\r\n"):
        alice.send(data)
    for size in (1, 100, 5000):
        alice.send(b"REGISTER sip:%s SIP/2.0\r\n" % (b"a" * size) + b"Via: " * size + b"\r\n\r\n")
    assert alice.ask(alice.request("OPTIONS", f"sip:{DOMAIN}")).status == 200
    assert opensips.running


@pytest.mark.feature("limits")
def test_a_scanner_gets_no_answer(phone: MakePhone) -> None:
    alice = phone()
    alice.send(alice.request("OPTIONS", f"sip:{DOMAIN}", {"User-Agent": "friendly-scanner"}))
    assert alice.nothing(anything, 0.5)


@pytest.mark.feature("limits")
def test_a_flood_is_shut_out(opensips: OpenSipsServer, phone: MakePhone) -> None:
    with Phone(opensips.address, "flood", source="127.0.0.77") as flood:
        for _ in range(20):
            for _ in range(100):
                flood.send(flood.request("OPTIONS", f"sip:{DOMAIN}"))
            time.sleep(0.02)
        time.sleep(1)
        request = flood.request("OPTIONS", f"sip:{DOMAIN}")
        flood.send(request)
        assert flood.nothing(lambda each: each.call_id == request.call_id, 0.5)
    alice = phone()
    assert alice.ask(alice.request("OPTIONS", f"sip:{DOMAIN}")).status == 200


@pytest.mark.feature("limits")
def test_guessing_passwords_is_slow(opensips: OpenSipsServer, phone: MakePhone) -> None:
    if "ratelimit" not in opensips.installation.modules:
        pytest.skip(f"{opensips.installation.prefix} has no ratelimit")
    bob = phone()
    source = "127.0.0.78"
    seen: list[int] = []
    deadline = time.monotonic() + 12
    while 503 not in seen and time.monotonic() < deadline:
        with Phone(opensips.address, bob.name, password=str(len(seen)), source=source) as guesser:
            seen.append(guesser.register().status)
    assert seen[0] == 401
    assert seen[-1] == 503
    # Even with the right one; and nobody else has to wait.
    with Phone(opensips.address, bob.name, source=source) as guesser:
        assert guesser.register().status == 503
    assert bob.register().status == 200


# --- the management interface ----------------------------------------------------------------


@pytest.mark.feature("mi")
def test_nobody_else_may_open_the_management_interface(opensips: OpenSipsServer) -> None:
    modes = {
        name: stat.S_IMODE((opensips.directory / name).stat().st_mode)
        for name in ("fifo", "mi.sock")
    }
    assert modes == {"fifo": 0o600, "mi.sock": 0o600}
