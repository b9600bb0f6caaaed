"""Who may: digest and the identities (RFC 3261 §22, RFC 3325)."""

import asyncio

import pytest
from sqlalchemy import update

from rcsops.database import Subscribers
from rcsops.database.engine import open_engine, writing
from rcsops.database.schema import subscriber
from rcsops.sip import Credential, DigestClient, NameAddr, Request
from tests.unit.server.conftest import DOMAIN, Lab, add_account


@pytest.mark.rfc("3261", "22.2", "22.3")
async def test_without_credentials_register_is_401_and_others_407(lab: Lab) -> None:
    bob = await lab.phone("bob")
    register = bob.make("REGISTER", f"sip:{DOMAIN}", to=bob.aor)
    response = await bob.ask(register, login=False)
    assert response.status == 401
    assert [each.algorithm for each in response.www_challenges] == ["SHA-256", "MD5"]
    response = await bob.ask(bob.make("MESSAGE", f"sip:alex@{DOMAIN}"), login=False)
    assert response.status == 407
    assert len(response.proxy_challenges) == 2


@pytest.mark.rfc("3261", "22.1")
async def test_an_unknown_user_is_challenged_like_a_known_one(lab: Lab) -> None:
    nobody = await lab.phone("nobody")
    response = await nobody.register()
    assert response.status == 401
    assert not any(each.stale for each in response.www_challenges)
    assert len(response.www_challenges) == 2


@pytest.mark.rfc("3261", "22.1")
async def test_a_wrong_password_is_challenged_again(lab: Lab) -> None:
    bob = await lab.phone("bob")
    wrong = Credential.from_password("bob", DOMAIN, "wrong")
    bob.digest = DigestClient([wrong], bob.tokens)
    assert (await bob.register()).status == 401
    assert lab.running.statistics.counts["auth:failures"] >= 1


@pytest.mark.rfc("3261", "22.4")
async def test_a_request_that_is_sent_twice_is_stale(lab: Lab) -> None:
    bob = await lab.registered("bob")
    again = bob.make("REGISTER", f"sip:{DOMAIN}", to=bob.aor)
    bob.digest.preempt(again)
    copy = again.copy()
    assert (await bob.final(bob.send(again))).status == 200
    response = await bob.final(bob.send(copy))
    assert response.status == 401
    assert all(each.stale for each in response.www_challenges)


async def test_an_algorithm_that_one_account_lacks_is_not_offered(lab: Lab) -> None:
    with writing(open_engine(lab.url), lab.url) as connection:
        lacking = update(subscriber).where(subscriber.c.username == "carol")
        connection.execute(lacking.values(ha1_sha256=""))
    bob = await lab.phone("bob")
    response = await bob.ask(bob.make("REGISTER", f"sip:{DOMAIN}", to=bob.aor), login=False)
    assert [each.algorithm for each in response.www_challenges] == ["MD5"]
    assert (await bob.register()).status == 200


async def test_accounts_of_other_processes_count_from_the_next_request_on(lab: Lab) -> None:
    dave = await lab.phone("dave")
    assert (await dave.register()).status == 401
    add_account(lab.url, "dave")
    assert (await dave.register()).status == 200
    with writing(open_engine(lab.url), lab.url) as connection:
        Subscribers(connection).remove("dave", DOMAIN)
    assert (await dave.register()).status == 401


async def test_a_removed_user_is_not_called_any_more(lab: Lab) -> None:
    bob = await lab.registered("bob")
    alex = await lab.phone("alex")
    with writing(open_engine(lab.url), lab.url) as connection:
        Subscribers(connection).remove("bob", DOMAIN)
    assert (await alex.ask(alex.make("MESSAGE", bob.aor))).status == 404
    assert lab.running.location.contacts == 0


@pytest.mark.rfc("3261", "22.3")
async def test_from_must_be_the_authenticated_user(lab: Lab) -> None:
    await lab.registered("bob")
    alex = await lab.phone("alex")
    request = alex.make("MESSAGE", f"sip:bob@{DOMAIN}", ("From", f"<sip:carol@{DOMAIN}>;tag=1"))
    assert (await alex.ask(request)).status == 403


@pytest.mark.parametrize("target", ["sip:bob@rcs.example", "sip:eve@example.net"])
async def test_strangers_are_refused(lab: Lab, target: str) -> None:
    await lab.registered("bob")
    alex = await lab.phone("alex")
    request = alex.make("MESSAGE", target, ("From", "<sip:eve@example.net>;tag=1"))
    assert (await alex.ask(request)).status == 403


async def test_a_route_alone_does_not_open_the_relay(lab: Lab) -> None:
    alex = await lab.phone("alex")
    eve = await lab.phone("carol")
    for route in (f"<sip:127.0.0.1:{lab.port};lr>", f"<sip:127.0.0.1:{lab.port};lr;dlg=00>"):
        request = eve.make(
            "BYE",
            alex.contact,
            ("Route", route),
            ("From", "<sip:eve@example.net>;tag=1"),
            ("To", "<sip:x@example.net>;tag=2"),
        )
        assert (await eve.ask(request)).status == 403
    assert alex.requests.empty()


async def test_identities_are_asserted_by_the_server_alone(lab: Lab) -> None:
    bob = await lab.registered("bob")
    bob.answer = lambda request: bob.reply(request, 200)
    alex = await lab.phone("alex")
    request = alex.make(
        "MESSAGE",
        bob.aor,
        ("P-Asserted-Identity", "<sip:president@example.org>"),
        ("P-Asserted-Service", "urn:urn-7:false"),
        ("P-Preferred-Identity", f'"Alex A." <sip:alex@{DOMAIN}>'),
        ("P-Preferred-Service", "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg"),
    )
    assert (await alex.ask(request)).status == 200
    received: Request = (await bob.received())[0]
    (identity,) = received.get_all("P-Asserted-Identity")
    assert NameAddr.parse(identity).display == "Alex A."
    assert NameAddr.parse(identity).uri_text == f"sip:alex@{DOMAIN}"
    assert received.get_all("P-Asserted-Service") == ["urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg"]
    assert not received.has("P-Preferred-Identity")
    assert not received.has("P-Preferred-Service")
    assert not received.has("Proxy-Authorization")


async def test_somebody_elses_preferred_identity_is_not_taken(lab: Lab) -> None:
    bob = await lab.registered("bob")
    bob.answer = lambda request: bob.reply(request, 200)
    alex = await lab.phone("alex")
    preferred = ("P-Preferred-Identity", f'"Carol" <sip:carol@{DOMAIN}>')
    await alex.ask(alex.make("MESSAGE", bob.aor, preferred))
    received: Request = (await bob.received())[0]
    assert received.get("P-Asserted-Identity") == f"<sip:alex@{DOMAIN}>"


async def test_privacy_keeps_the_identity_back(lab: Lab) -> None:
    bob = await lab.registered("bob")
    bob.answer = lambda request: bob.reply(request, 200)
    alex = await lab.phone("alex")
    await alex.ask(alex.make("MESSAGE", bob.aor, ("Privacy", "header;id")))
    received: Request = (await bob.received())[0]
    assert not received.has("P-Asserted-Identity")


async def test_asserted_headers_of_responses_are_stripped(lab: Lab) -> None:
    bob = await lab.registered("bob")
    bob.answer = lambda request: bob.reply(request, 200, ("P-Asserted-Identity", "<sip:x@y>"))
    alex = await lab.phone("alex")
    response = await alex.ask(alex.make("MESSAGE", bob.aor))
    assert response.status == 200
    assert not response.has("P-Asserted-Identity")


@pytest.mark.rfc("3261", "22.4")
@pytest.mark.parametrize(
    "credentials",
    ['Digest realm="rcs.example", username="bob"', 'Digest username="bob", username="bob"'],
)
async def test_broken_credentials_are_400(lab: Lab, credentials: str) -> None:
    bob = await lab.phone("bob")
    request = bob.make("REGISTER", f"sip:{DOMAIN}", ("Authorization", credentials), to=bob.aor)
    assert (await bob.ask(request, login=False)).status == 400


@pytest.mark.rfc("3261", "22.1", "22.3")
async def test_credentials_of_another_scheme_or_realm_are_passed_over(lab: Lab) -> None:
    bob = await lab.phone("bob")
    for value in ("NoOneKnows opaque", 'Digest realm="other", username="bob", nonce="1"'):
        request = bob.make("REGISTER", f"sip:{DOMAIN}", ("Authorization", value), to=bob.aor)
        assert (await bob.ask(request, login=False)).status == 401


async def test_many_at_once_wait_for_the_database_and_all_are_answered(lab: Lab) -> None:
    phones = [await lab.phone(name) for name in ("alex", "bob", "carol") for _ in range(3)]
    answers = await asyncio.gather(*(phone.register() for phone in phones))
    assert {answer.status for answer in answers} == {200}
    assert lab.running.location.users == 3
