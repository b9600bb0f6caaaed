"""REGISTER, over the wire (RFC 3261 §10.3, RFC 3327, RFC 5626)."""

import pytest

from rcsops.server.options import ServerOptions
from tests.unit.server.conftest import DOMAIN, Lab

INSTANCE = '+sip.instance="<urn:uuid:3f1b6c52-8d0e-4c0b-9a57-1c2d3e4f5a6b>"'


@pytest.mark.rfc("3261", "10.3")
async def test_a_contact_is_kept_and_told_with_its_parameters(lab: Lab) -> None:
    bob = await lab.phone("bob")
    contact = f'<{bob.contact}>;+g.3gpp.icsi-ref="urn%3Ax";q=0.7;expires=120'
    response = await bob.register(contact=contact)
    assert response.status == 200
    (told,) = response.contacts
    assert told.params["expires"] == "120"
    assert told.param("+g.3gpp.icsi-ref") == "urn%3Ax"
    assert told.params["q"] == "0.7"
    (binding,) = lab.running.location.lookup(f"bob@{DOMAIN}")
    assert binding.uri_text == bob.contact
    assert binding.q == 0.7


@pytest.mark.rfc("3261", "10.2.3", "10.3")
async def test_a_register_without_contact_asks(lab: Lab) -> None:
    bob = await lab.registered("bob")
    request = bob.make("REGISTER", f"sip:{DOMAIN}", to=bob.aor)
    response = await bob.ask(request)
    assert [contact.uri_text for contact in response.contacts] == [bob.contact]


@pytest.mark.rfc("3261", "10.3")
async def test_expires_comes_from_the_header_where_the_contact_has_none(lab: Lab) -> None:
    bob = await lab.phone("bob")
    response = await bob.register(("Expires", "90"), contact=f"<{bob.contact}>")
    assert response.contacts[0].params["expires"] == "90"


@pytest.mark.rfc("3261", "10.3")
async def test_too_long_an_expiry_is_shortened_and_none_gets_the_default(lab: Lab) -> None:
    bob = await lab.phone("bob")
    response = await bob.register(contact=f"<{bob.contact}>;expires=99999999")
    assert response.contacts[0].params["expires"] == "7200"
    response = await bob.register(contact=f"<{bob.contact}>")
    assert response.contacts[0].params["expires"] == "3600"


@pytest.mark.rfc("3261", "10.3")
async def test_too_short_an_expiry_is_423(lab: Lab) -> None:
    bob = await lab.phone("bob")
    response = await bob.register(contact=f"<{bob.contact}>;expires=10")
    assert response.status == 423
    assert response.min_expires == 60


@pytest.mark.rfc("3261", "10.2.2", "10.3")
async def test_expires_0_removes_one_and_star_removes_all(lab: Lab) -> None:
    bob = await lab.registered("bob")
    other = "sip:bob@192.0.2.7:5062"
    await bob.register(contact=f"<{other}>;expires=300")
    response = await bob.register(contact=f"<{bob.contact}>;expires=0")
    assert [contact.uri_text for contact in response.contacts] == [other]
    response = await bob.register(("Expires", "0"), contact="*")
    assert response.status == 200
    assert response.contacts == ()
    assert lab.running.location.contacts == 0


@pytest.mark.rfc("3261", "10.3")
async def test_star_needs_expires_0(lab: Lab) -> None:
    bob = await lab.registered("bob")
    response = await bob.register(("Expires", "60"), contact="*")
    assert response.status == 400
    assert lab.running.location.contacts == 1


@pytest.mark.rfc("3261", "10.3")
async def test_equal_contacts_are_one_binding(lab: Lab) -> None:
    bob = await lab.phone("bob")
    await bob.register(contact="<sip:bob@192.0.2.7;x=1>;expires=300")
    response = await bob.register(contact="<sip:bob@192.0.2.7;y=2>;expires=300")
    assert len(response.contacts) == 1


@pytest.mark.rfc("3261", "10.3")
async def test_an_older_cseq_of_the_same_call_is_refused(lab: Lab) -> None:
    bob = await lab.registered("bob")
    late = bob.make("REGISTER", f"sip:{DOMAIN}", ("Contact", f"<{bob.contact}>"), to=bob.aor)
    bob.cseq = 0
    late.set("CSeq", "1 REGISTER")
    bob.digest.preempt(late)
    assert (await bob.final(bob.send(late))).status == 500


@pytest.mark.rfc("3261", "10.3")
async def test_a_request_is_carried_out_whole_or_not_at_all(lab: Lab) -> None:
    bob = await lab.phone("bob")
    contact = f"<{bob.contact}>;expires=300, <sip:bob@192.0.2.9>;expires=5"
    assert (await bob.register(contact=contact)).status == 423
    assert lab.running.location.contacts == 0


async def test_the_number_of_contacts_is_limited(idle_lab: Lab) -> None:
    await idle_lab.start(ServerOptions(max_contacts=2))
    bob = await idle_lab.phone("bob")
    for number in (1, 2):
        assert (await bob.register(contact=f"<sip:bob@192.0.2.{number}>")).status == 200
    assert (await bob.register(contact="<sip:bob@192.0.2.3>")).status == 403
    assert (await bob.register(contact="<sip:bob@192.0.2.2>")).status == 200


@pytest.mark.rfc("5626", "6")
async def test_a_flow_of_the_same_instance_replaces_the_old_one(lab: Lab) -> None:
    bob = await lab.phone("bob", "tcp")
    supported = ("Supported", "path, outbound")
    await bob.register(supported, contact=f"<sip:bob@192.0.2.1;ob>;reg-id=1;{INSTANCE}")
    response = await bob.register(supported, contact=f"<sip:bob@192.0.2.2;ob>;reg-id=1;{INSTANCE}")
    assert response.get("Require") == "outbound"
    assert [contact.uri.host for contact in response.contacts] == ["192.0.2.2"]
    response = await bob.register(supported, contact=f"<sip:bob@192.0.2.3;ob>;reg-id=2;{INSTANCE}")
    assert len(response.contacts) == 2


@pytest.mark.rfc("5626", "6")
async def test_outbound_through_a_hop_that_lacks_it_is_439(lab: Lab) -> None:
    bob = await lab.phone("bob")
    response = await bob.register(
        ("Supported", "path, outbound"),
        ("Path", "<sip:192.0.2.5;lr>"),
        contact=f"<sip:bob@192.0.2.1>;reg-id=1;{INSTANCE}",
    )
    assert response.status == 439


@pytest.mark.rfc("3261", "8.2.4")
@pytest.mark.rfc("3327", "5.3")
async def test_path_needs_support_and_is_told_back(lab: Lab) -> None:
    bob = await lab.phone("bob")
    path = ("Path", "<sip:192.0.2.5;lr>")
    response = await bob.register(path)
    assert response.status == 420
    assert response.get("Unsupported") == "path"
    response = await bob.register(path, ("Supported", "path"))
    assert response.status == 200
    assert response.get("Path") == "<sip:192.0.2.5;lr>"


@pytest.mark.rfc("3261", "8.2.2", "10.3")
async def test_an_unknown_require_is_420(lab: Lab) -> None:
    bob = await lab.phone("bob")
    response = await bob.register(("Require", "outbound, nosuch"))
    assert response.status == 420
    assert response.get("Unsupported") == "nosuch"


@pytest.mark.rfc("3261", "10.3")
async def test_nobody_registers_for_somebody_else(lab: Lab) -> None:
    bob = await lab.phone("bob")
    request = bob.make(
        "REGISTER", f"sip:{DOMAIN}", ("Contact", "<sip:b@192.0.2.1>"), to=f"sip:alex@{DOMAIN}"
    )
    assert (await bob.ask(request)).status == 403


@pytest.mark.rfc("3261", "10.3")
@pytest.mark.parametrize("contact", ["<mailto:bob@example.org>", "<sip:bob@192.0.2.1>;q=7"])
async def test_contacts_that_cannot_be_used_are_400(lab: Lab, contact: str) -> None:
    bob = await lab.phone("bob")
    assert (await bob.register(contact=contact)).status == 400


async def test_contacts_survive_a_restart_until_they_expire(lab: Lab) -> None:
    bob = await lab.registered("bob", "udp", ("User-Agent", "phone"))
    await bob.register(
        ("Supported", "path"),
        ("Path", "<sip:192.0.2.5;lr>"),
        contact=f"<sip:bob@192.0.2.8>;expires=300;q=0.3;{INSTANCE}",
    )
    await lab.stop()
    await lab.start()
    first, second = lab.running.location.lookup(f"bob@{DOMAIN}")
    assert first.uri_text == bob.contact
    assert first.user_agent == "phone"
    assert first.flow is not None
    assert first.flow.remote == bob.local
    assert second.path == ("sip:192.0.2.5;lr",)
    assert second.q == 0.3
    assert INSTANCE.partition("=")[0] in second.echo
    response = await bob.register()
    assert len(response.contacts) == 2
    assert 290 < int(response.contacts[1].params["expires"] or 0) <= 300


async def test_a_removed_contact_stays_removed_after_a_restart(lab: Lab) -> None:
    bob = await lab.registered("bob")
    await lab.stop()
    await lab.start()
    await bob.register(contact=f"<{bob.contact}>;expires=0")
    await lab.stop()
    await lab.start()
    assert lab.running.location.contacts == 0
