"""The rendered configuration on a real OpenSIPS: registering, messages, calls, people who are away.

Every test has accounts of its own, and talks through sockets by hand.
"""

import time
from collections.abc import Callable

import pytest

from rcsops.sip import Message, Request, Response
from rcsops.testing import wait_until
from rcsops.testing.opensips import OpenSipsServer
from tests.live.phones import DOMAIN, Phone, ack_of

pytestmark = pytest.mark.feature("calls")
REGISTRATION = pytest.mark.feature("registration")
MESSAGES = pytest.mark.feature("messages")
OFFLINE = pytest.mark.feature("offline messages")

MakePhone = Callable[..., Phone]
TRANSPORTS = pytest.mark.parametrize("transport", ["udp", "tcp"])


def stored_for(server: OpenSipsServer, name: str) -> list[tuple[object, ...]]:
    return server.rows(f"SELECT domain, src_addr, dst_addr, body FROM silo WHERE username='{name}'")


def is_response(status: int) -> Callable[[Message], bool]:
    return lambda message: isinstance(message, Response) and message.status == status


def text_of(request: Request) -> str:
    return request.body.decode()


# --- registration ----------------------------------------------------------------------------


@pytest.mark.smoke
@REGISTRATION
def test_the_flow_of_the_prototype_is_challenged(phone: MakePhone) -> None:
    """REGISTER and INVITE without credentials, with line ends as it had them."""
    socket, somebody = phone(), phone()
    for method, uri, to, status in (
        ("REGISTER", f"sip:{DOMAIN}", socket.uri, 401),
        ("INVITE", somebody.uri, somebody.uri, 407),
    ):
        request = (
            f"{method} {uri} SIP/2.0\n"
            f"Via: SIP/2.0/UDP {socket.address};branch={socket.tokens.branch()}\n"
            f"From: <{socket.uri}>;tag=alex\nTo: <{to}>\nCall-ID: {method}-{socket.name}\n"
            f"CSeq: 1 {method}\nContact: {socket.contact}\nMax-Forwards: 70\n"
            "Content-Length: 0\n\n"
        )
        socket.send(request.encode())
        # The answer copies their lines, with a bare LF at the end of each.
        while (answer := socket.receive_raw()).startswith(b"SIP/2.0 1"):
            pass
        assert answer.startswith(b"SIP/2.0 %d " % status)
        assert b"-Authenticate: Digest" in answer
    assert somebody.nothing(lambda _: True, 0.3)


@pytest.mark.smoke
@REGISTRATION
@TRANSPORTS
def test_register_with_the_right_password(
    opensips: OpenSipsServer, phone: MakePhone, transport: str
) -> None:
    bob = phone(transport)
    challenge = bob.request("REGISTER", f"sip:{DOMAIN}", {"Expires": "600"})
    bob.send(challenge)
    offered = [each.algorithm for each in bob.final(challenge).www_challenges]
    assert offered == (["SHA-256", "MD5"] if opensips.installation.line >= (3, 4) else ["MD5"])
    response = bob.register()
    assert response.status == 200
    assert bob.address in str(response.contacts)
    found = opensips.mi("ul_show_contact", table_name="location", aor=f"{bob.name}@{DOMAIN}")
    assert bob.address in found["Contacts"][0]["Contact"]


@REGISTRATION
def test_register_with_a_wrong_password_or_name(phone: MakePhone) -> None:
    bob = phone()
    assert phone(name=bob.name, password="of somebody else").register().status == 401
    assert phone(name="nobody").register().status == 401


# --- messages --------------------------------------------------------------------------------


@pytest.mark.smoke
@MESSAGES
@TRANSPORTS
def test_a_message_arrives_with_the_identity_of_its_sender(
    phone: MakePhone, transport: str
) -> None:
    alice, bob = phone(), phone(transport)
    bob.register()
    claims = {
        "P-Asserted-Identity": "<sip:president@white.house>",
        "P-Asserted-Service": "urn:urn-7:everything",
        "P-Preferred-Service": "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg",
    }
    sent = alice.authorized(alice.request("MESSAGE", bob.uri, claims, body="hello"))
    alice.send(sent)
    came = bob.incoming("MESSAGE")
    assert text_of(came) == "hello"
    assert came.get_all("P-Asserted-Identity") == [f"<{alice.uri}>"]
    assert came.get_all("P-Asserted-Service") == ["urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg"]
    assert not came.has("Proxy-Authorization")
    assert not came.has("P-Preferred-Service")
    bob.answer(came, 200, P_Asserted_Identity="<sip:somebody@else>")
    answer = alice.final(sent)
    assert answer.status == 200
    assert not answer.has("P-Asserted-Identity")


@MESSAGES
def test_who_wants_privacy_is_not_named(phone: MakePhone) -> None:
    alice, bob = phone(), phone()
    bob.register()
    alice.send(alice.authorized(alice.request("MESSAGE", bob.uri, {"Privacy": "id"}, body="x")))
    came = bob.incoming("MESSAGE")
    assert not came.has("P-Asserted-Identity")
    bob.answer(came, 200)


@pytest.mark.smoke
@OFFLINE
@TRANSPORTS
def test_a_message_to_somebody_away_is_kept_and_delivered_once(
    opensips: OpenSipsServer, phone: MakePhone, transport: str
) -> None:
    alice, bob = phone(), phone(transport)
    said = "I was here. Grüße 👋 'quoted'; -- and\nsecond line"
    assert alice.ask(alice.request("MESSAGE", bob.uri, body=said)).status == 202
    ((domain, source, target, body),) = stored_for(opensips, bob.name)
    assert (domain, source, target) == (DOMAIN, alice.uri, bob.uri)
    assert (body.decode() if isinstance(body, bytes) else body) == said
    assert bob.register().status == 200
    came = bob.incoming("MESSAGE")
    assert text_of(came) == said
    assert str(came.from_.uri) == alice.uri
    assert came.get_all("P-Asserted-Identity") == [f"<{alice.uri}>"]
    assert not came.has("X-Rcsops-Stored")
    bob.answer(came, 200)
    assert bob.register().status == 200
    assert bob.nothing(lambda each: isinstance(each, Request))
    # The timer of msilo will take it out of the table; nobody put it in again.
    assert len(stored_for(opensips, bob.name)) <= 1
    if transport == "udp":
        wait_until(lambda: not stored_for(opensips, bob.name), 60)


@OFFLINE
def test_a_message_that_is_sent_again_is_stored_once(
    opensips: OpenSipsServer, phone: MakePhone
) -> None:
    alice, bob = phone(), phone()
    sent = alice.authorized(alice.request("MESSAGE", bob.uri, body="once"))
    # As it would be when the answer was lost.
    for _ in range(3):
        alice.send(sent)
        assert alice.final(sent).status == 202
    assert len(stored_for(opensips, bob.name)) == 1


@OFFLINE
def test_an_expiry_in_the_contact_alone_delivers_too(
    opensips: OpenSipsServer, phone: MakePhone
) -> None:
    alice, bob = phone(), phone()
    assert alice.ask(alice.request("MESSAGE", bob.uri, body="one")).status == 202
    assert bob.register(None, Contact=f"{bob.contact};expires=0").status == 200
    assert bob.nothing(lambda each: isinstance(each, Request), 0.5)
    assert bob.register(None, Contact=f"{bob.contact};expires=300").status == 200
    came = bob.incoming("MESSAGE")
    assert text_of(came) == "one"
    bob.answer(came, 200)


@OFFLINE
def test_a_stored_message_that_is_refused_stays(opensips: OpenSipsServer, phone: MakePhone) -> None:
    alice, bob = phone(), phone()
    assert alice.ask(alice.request("MESSAGE", bob.uri, body="again")).status == 202
    bob.register()
    bob.answer(bob.incoming("MESSAGE"), 480)
    time.sleep(0.3)
    assert len(stored_for(opensips, bob.name)) == 1


@OFFLINE
def test_a_contact_that_does_not_answer_counts_as_away(
    opensips: OpenSipsServer, phone: MakePhone
) -> None:
    alice, bob = phone(), phone()
    bob.register()
    bob.close()
    assert alice.ask(alice.request("MESSAGE", bob.uri, body="hello?")).status == 202
    # Under the address of record: not under the contact.
    ((domain, _, target, _),) = stored_for(opensips, bob.name)
    assert (domain, target) == (DOMAIN, bob.uri)


@OFFLINE
def test_a_connection_that_is_gone_counts_as_away(
    opensips: OpenSipsServer, phone: MakePhone
) -> None:
    alice, bob = phone(), phone("tcp")
    bob.register()
    bob.close()
    assert alice.ask(alice.request("MESSAGE", bob.uri, body="hello?")).status == 202
    assert len(stored_for(opensips, bob.name)) == 1


@OFFLINE
def test_one_of_two_devices_is_enough(opensips: OpenSipsServer, phone: MakePhone) -> None:
    alice, bob = phone(), phone()
    bob.register()
    other = phone("tcp", name=bob.name)
    other.register()
    bob.close()
    sent = alice.authorized(alice.request("MESSAGE", other.uri, body="any of you"))
    alice.send(sent)
    other.answer(other.incoming("MESSAGE"), 200)
    assert alice.final(sent).status == 200
    assert stored_for(opensips, bob.name) == []


@OFFLINE
def test_what_is_not_kept(opensips: OpenSipsServer, phone: MakePhone) -> None:
    alice, bob, carol = phone(), phone(), phone()
    typing = {"Content-Type": "application/im-iscomposing+xml"}
    assert alice.ask(alice.request("MESSAGE", bob.uri, typing, body="<x/>")).status == 480
    # It would be handed to whom To names, whenever bob registers.
    elsewhere = {"To": f"<{carol.uri}>"}
    assert alice.ask(alice.request("MESSAGE", bob.uri, elsewhere, body="x")).status == 480
    assert stored_for(opensips, bob.name) == stored_for(opensips, carol.name) == []
    assert alice.ask(alice.request("MESSAGE", f"sip:nobody@{DOMAIN}", body="x")).status == 404


# --- calls -----------------------------------------------------------------------------------


def call(alice: Phone, bob: Phone) -> tuple[Request, Request]:
    """Alice's INVITE as it was sent and as it came."""
    invite = alice.authorized(alice.request("INVITE", bob.uri, body="v=0"))
    alice.send(invite)
    return invite, bob.incoming("INVITE")


def in_dialog(
    method: str, caller: Phone, invite: Request, answer: Response, number: int
) -> Request:
    """A request of the caller in the dialog, along the Route that Record-Route made."""
    request = caller.request(
        method,
        str(answer.contacts[0].uri),
        {
            "From": invite.get("From") or "",
            "To": answer.get("To") or "",
            "Call-ID": invite.call_id,
            "CSeq": f"{number} {method}",
            "Proxy-Authorization": invite.get("Proxy-Authorization") or "",
        },
    )
    for route in reversed(answer.values("Record-Route")):
        request.add("Route", route)
    return request


@pytest.mark.smoke
@pytest.mark.parametrize(("one", "other"), [("udp", "udp"), ("udp", "tcp"), ("tcp", "udp")])
def test_a_call_from_invite_to_bye(
    opensips: OpenSipsServer, phone: MakePhone, one: str, other: str
) -> None:
    alice, bob = phone(one), phone(other)
    alice.register()
    bob.register()
    invite, came = call(alice, bob)
    assert came.record_routes
    assert not came.has("Proxy-Authorization")
    alice.receive(is_response(100))
    bob.answer(came, 180, Contact=bob.contact)
    alice.receive(is_response(180))
    bob.answer(came, 200, Contact=bob.contact)
    answer = alice.final(invite)
    assert answer.status == 200
    number = invite.cseq.number
    alice.send(in_dialog("ACK", alice, invite, answer, number))
    ack = bob.incoming("ACK")
    assert not ack.has("Proxy-Authorization")
    if "dialog" in opensips.installation.modules:
        dialogs = opensips.mi("dlg_list")["Dialogs"]
        assert invite.call_id in [each["callid"] for each in dialogs]
    # Both sides send along the recorded route.
    info = bob.request(
        "MESSAGE",
        str(came.contacts[0].uri),
        {
            "From": answer.get("To") or "",
            "To": answer.get("From") or "",
            "Call-ID": invite.call_id,
        },
        body="in the dialog",
    )
    for route in came.values("Record-Route"):
        info.add("Route", route)
    bob.send(info)
    alice.answer(alice.incoming("MESSAGE"), 200)
    assert bob.final(info).status == 200
    bye = in_dialog("BYE", alice, invite, answer, number + 1)
    alice.send(bye)
    bob.answer(bob.incoming("BYE"), 200)
    assert alice.final(bye).status == 200


def test_a_refusal_comes_back_and_its_ack_ends_here(phone: MakePhone) -> None:
    alice, bob = phone(), phone()
    bob.register()
    sent = alice.authorized(alice.request("INVITE", bob.uri, body="v=0"))
    alice.send(sent)
    came = bob.incoming("INVITE")
    bob.answer(came, 486)
    refusal = alice.final(sent)
    assert refusal.status == 486
    assert bob.incoming("ACK").cseq.number == sent.cseq.number
    alice.send(ack_of(sent, refusal))
    assert bob.nothing(lambda each: isinstance(each, Request))
    assert alice.nothing(lambda each: isinstance(each, Response) and each.status >= 200)


def test_a_cancelled_call(phone: MakePhone) -> None:
    alice, bob = phone(), phone()
    bob.register()
    invite, came = call(alice, bob)
    bob.answer(came, 180, Contact=bob.contact)
    alice.receive(is_response(180))
    cancel = Request(
        "CANCEL",
        invite.uri,
        [(name, invite.get(name) or "") for name in ("Via", "From", "To", "Call-ID")]
        + [("CSeq", f"{invite.cseq.number} CANCEL"), ("Max-Forwards", "70")],
    )
    alice.send(cancel)
    bob.answer(bob.incoming("CANCEL"), 200)
    bob.answer(came, 487)
    assert alice.final(cancel).status == 200
    assert alice.final(invite).status == 487


def test_a_call_to_somebody_away_or_silent(phone: MakePhone) -> None:
    alice, bob = phone(), phone()
    assert alice.ask(alice.request("INVITE", bob.uri, body="v=0")).status == 480
    bob.register()
    bob.close()
    assert alice.ask(alice.request("INVITE", bob.uri, body="v=0")).status == 480


def test_options_of_a_user_and_of_the_server(phone: MakePhone) -> None:
    alice, bob = phone(), phone()
    bob.register()
    asked = alice.authorized(alice.request("OPTIONS", bob.uri))
    alice.send(asked)
    bob.answer(bob.incoming("OPTIONS"), 200, Accept="application/sdp")
    assert alice.final(asked).get("Accept") == "application/sdp"
    answer = alice.ask(alice.request("OPTIONS", f"sip:{DOMAIN}"))
    assert answer.status == 200
    assert "MESSAGE" in (answer.get("Allow") or "")
    assert not answer.has("Server")
