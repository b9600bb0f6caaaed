"""Contacts behind flows, and devices with an address of their own (RFC 3327, 5626, 5627)."""

import asyncio
from typing import Any

import pytest

from rcsops.server.flow_token import FlowTokens
from rcsops.server.gruu import Gruus
from rcsops.server.location import Binding
from rcsops.server.options import ServerOptions
from rcsops.sip import Flow, Request, Response, Uri
from rcsops.testing.nameserver import NameServer
from rcsops.testing.waiting import eventually
from rcsops.tokens import Tokens
from rcsops.transport.resolver import Resolver

from .conftest import DOMAIN, Lab, Phone

pytestmark = pytest.mark.timeout(60)

# An address that nobody has: what comes through came over the flow.
NOWHERE = "192.0.2.77:5060"
ONE = "urn:uuid:00000000-0000-1000-8000-00000000000a"
TWO = "urn:uuid:00000000-0000-1000-8000-00000000000b"
OUTBOUND = ("Supported", "path, outbound, gruu")
BOB = f"sip:bob@{DOMAIN}"


def contact(phone: Phone, instance: str = ONE, reg_id: int = 1, host: str = NOWHERE) -> str:
    suffix = "" if phone.transport == "udp" else f";transport={phone.transport}"
    address = f"sip:{phone.name}@{host}{suffix};ob"
    return f'<{address}>;reg-id={reg_id};+sip.instance="<{instance}>";expires=300'


async def behind_flow(lab: Lab, name: str, transport: str, **options: Any) -> Phone:
    phone = await lab.phone(name, transport)
    response = await phone.register(OUTBOUND, contact=contact(phone, **options))
    assert response.status == 200
    assert response.option_tags("Require") == ("outbound",)
    return phone


def accept(phone: Phone) -> None:
    """Answers like a phone that does not know where it is."""
    address = contact(phone).partition(">")[0] + ">"

    def answer(request: Request) -> Response:
        headers = [("Contact", address)]
        headers += [("Record-Route", str(route)) for route in request.record_routes]
        return Response.to_request(request, 200, to_tag=f"t-{phone.name}", headers=headers)

    phone.answer = answer


async def talk(alex: Phone) -> tuple[Request, Response]:
    invite = alex.make("INVITE", BOB, ("Contact", contact(alex).partition(";reg")[0]))
    response = await alex.ask(invite)
    assert response.status == 200
    alex.ack(invite, response)
    return invite, response


def gruus_of(response: Response) -> tuple[str, str]:
    (only,) = response.contacts
    return only.param("pub-gruu") or "", only.param("temp-gruu") or ""


# --- flows (RFC 5626) ----------------------------------------------------------------------------


@pytest.mark.rfc(5626, "6")
async def test_the_answer_says_that_outbound_is_in_force(lab: Lab) -> None:
    phone = await lab.phone("bob", "tcp")
    response = await phone.register(OUTBOUND, contact=contact(phone))
    assert response.option_tags("Require") == ("outbound",)
    assert response.get("Flow-Timer") == "120"
    assert set(response.option_tags("Supported")) == {"path", "outbound", "gruu"}
    # Without reg-id it is an ordinary contact, and nothing of the kind is said.
    response = await phone.register(OUTBOUND)
    assert not response.has("Require")
    assert not response.has("Flow-Timer")


@pytest.mark.rfc(5626, "5.3")
@pytest.mark.parametrize("callee", ["udp", "tcp"])
@pytest.mark.parametrize("caller", ["udp", "tcp"])
async def test_a_dialog_goes_over_the_flows_of_both(lab: Lab, caller: str, callee: str) -> None:
    bob = await behind_flow(lab, "bob", callee)
    accept(bob)
    # The caller has not registered: its flow is that of the INVITE, as the "ob" of Contact asks.
    alex = await lab.phone("alex", caller)
    invite, response = await talk(alex)
    received, _ = await bob.received()
    assert received.uri.startswith(f"sip:bob@{NOWHERE}")
    async with asyncio.timeout(5):
        ack = await bob.acks.get()
    assert ack.cseq.method == "ACK"
    bye = alex.in_dialog("INFO", invite, response)
    assert (await alex.final(alex.send(bye))).status == 200
    # And back: from who was called to who called.
    alex.answer = lambda request: alex.reply(request, 200)
    back = Request(
        "BYE",
        str(received.contacts[0].uri),
        [
            ("Max-Forwards", "70"),
            *(("Route", str(route)) for route in received.record_routes),
            ("From", response.get("To") or ""),
            ("To", response.get("From") or ""),
            ("Call-ID", response.call_id),
            ("CSeq", "1 BYE"),
        ],
    )
    assert back.uri.startswith(f"sip:alex@{NOWHERE}")
    assert (await bob.final(bob.send(back))).status == 200


@pytest.mark.rfc(5626, "5.3.1")
async def test_a_contact_goes_with_its_connection(lab: Lab) -> None:
    bob = await behind_flow(lab, "bob", "tcp")
    other = await lab.registered("carol", "tcp")
    location = lab.running.location
    assert location.contacts == 2
    await bob.endpoint.close()
    await other.endpoint.close()
    await eventually(lambda: location.contacts == 1, what="the contact being gone")
    # That of carol is an address, and stays.
    assert location.lookup(f"carol@{DOMAIN}")
    alex = await lab.phone("alex")
    assert (await alex.ask(alex.make("OPTIONS", BOB))).status == 480


@pytest.mark.rfc(5626, "5.3.1")
async def test_a_dialog_whose_flow_is_gone_is_told_so(lab: Lab) -> None:
    bob = await behind_flow(lab, "bob", "tcp")
    accept(bob)
    alex = await lab.phone("alex")
    invite, response = await talk(alex)
    await bob.endpoint.close()
    await eventually(lambda: lab.running.location.contacts == 0, what="the contact being gone")
    info = alex.in_dialog("INFO", invite, response)
    assert (await alex.final(alex.send(info))).status == 430
    # Once the same contact is registered over another flow, the dialog goes on there.
    again = await behind_flow(lab, "bob", "tcp")
    again.answer = lambda request: again.reply(request, 200)
    info = alex.in_dialog("INFO", invite, response)
    info.set("CSeq", f"{info.cseq.number + 5} INFO")
    assert (await alex.final(alex.send(info))).status == 200


@pytest.mark.rfc("5626", "7")
@pytest.mark.rfc(5626, "5.3")
async def test_the_newest_flow_of_a_device_is_taken_the_next_when_it_fails(lab: Lab) -> None:
    first = await behind_flow(lab, "bob", "tcp", reg_id=1)
    second = await behind_flow(lab, "bob", "tcp", reg_id=2)
    alex = await lab.phone("alex")
    for phone in (first, second):
        phone.answer = lambda request, phone=phone: phone.reply(request, 200)
    assert (await alex.ask(alex.make("OPTIONS", BOB))).status == 200
    assert (first.requests.qsize(), second.requests.qsize()) == (0, 1)
    await second.endpoint.close()
    await eventually(lambda: lab.running.location.contacts == 1, what="one flow being gone")
    assert (await alex.ask(alex.make("OPTIONS", BOB))).status == 200
    assert first.requests.qsize() == 1


@pytest.mark.rfc(5626, "5.4")
async def test_a_connection_that_is_silent_is_closed(idle_lab: Lab) -> None:
    await idle_lab.start(ServerOptions(flush_seconds=0.05, flow_timer=1))
    quiet = await behind_flow(idle_lab, "bob", "tcp")
    lively = await behind_flow(idle_lab, "carol", "tcp")
    (flow,) = lively.endpoint.connections
    location = idle_lab.running.location

    def only_the_lively_one_is_left() -> bool:
        lively.endpoint.keep_alive(flow)
        return location.contacts == 1

    await eventually(
        only_the_lively_one_is_left, 20, what="the silent one being gone", interval=0.5
    )
    assert location.lookup(f"carol@{DOMAIN}")
    assert not quiet.endpoint.connections


@pytest.mark.rfc("5626", "5.2")
async def test_a_flow_token_of_somebody_else_opens_nothing(lab: Lab) -> None:
    bob = await behind_flow(lab, "bob", "tcp")
    accept(bob)
    alex = await lab.phone("alex")
    _, response = await talk(alex)
    text = str(response.record_routes)
    assert "flow=" in text
    token = text.rpartition("flow=")[2].partition(";")[0].partition(">")[0]
    # A dialog that was never made here, with a flow that was.
    stranger = await lab.phone("carol")
    request = stranger.make(
        "INFO",
        f"sip:bob@{NOWHERE}",
        ("Route", f"<sip:127.0.0.1:{lab.port};lr;dlg=000000000000000000;flow={token}>"),
    )
    request.set("To", f"<{BOB}>;tag=t-bob")
    assert (await stranger.ask(request, login=False)).status == 407
    assert bob.requests.qsize() == 1


# --- Path and Service-Route (RFC 3327, RFC 3608) -------------------------------------------------


async def through_edge(lab: Lab, edge: Phone, name: str, reg_id: int) -> Response:
    """Registers ``name`` as if ``edge`` were a proxy that stands before it."""
    edge.name = name
    edge.digest = (await lab.phone(name)).digest
    request = edge.make(
        "REGISTER",
        f"sip:{DOMAIN}",
        ("Contact", contact(edge, reg_id=reg_id)),
        OUTBOUND,
        ("Path", f"<sip:{edge.local[0]}:{edge.local[1]};lr;ob>"),
        ("Via", "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKbehind"),
        to=BOB,
    )
    return await edge.ask(request)


@pytest.mark.rfc(3327, "5.3")
@pytest.mark.rfc(3608, "6")
async def test_what_registered_through_a_proxy_is_reached_through_it(lab: Lab) -> None:
    edge = await lab.phone("bob")
    response = await through_edge(lab, edge, "bob", 1)
    assert response.status == 200
    assert [each.uri_text for each in response.paths] == [
        f"sip:{edge.local[0]}:{edge.local[1]};lr;ob"
    ]
    assert [each.uri_text for each in response.service_routes] == [f"sip:127.0.0.1:{lab.port};lr"]
    assert response.option_tags("Require") == ("outbound",)
    edge.answer = lambda request: edge.reply(request, 200)
    alex = await lab.phone("alex")
    assert (await alex.ask(alex.make("OPTIONS", BOB))).status == 200
    received, _ = await edge.received()
    assert received.uri.startswith(f"sip:bob@{NOWHERE}")
    assert [each.uri_text for each in received.routes] == [
        f"sip:{edge.local[0]}:{edge.local[1]};lr;ob"
    ]


@pytest.mark.rfc("5626", "7")
@pytest.mark.rfc(5626, "5.3.1")
async def test_a_430_of_the_edge_removes_that_flow_and_tries_the_next(lab: Lab) -> None:
    good, dead = await lab.phone("bob"), await lab.phone("bob")
    assert (await through_edge(lab, good, "bob", 1)).status == 200
    assert (await through_edge(lab, dead, "bob", 2)).status == 200
    dead.answer = lambda request: dead.reply(request, 430)
    good.answer = lambda request: good.reply(request, 200)
    alex = await lab.phone("alex")
    assert lab.running.location.contacts == 2
    assert (await alex.ask(alex.make("OPTIONS", BOB))).status == 200
    assert lab.running.location.contacts == 1
    assert dead.requests.qsize() == good.requests.qsize() == 1
    # When no flow is left, nobody upstream has another: that is a 480.
    good.answer = lambda request: good.reply(request, 430)
    assert (await alex.ask(alex.make("OPTIONS", BOB))).status == 480
    assert lab.running.location.contacts == 0


async def test_a_503_of_the_device_does_not_take_its_contact_away(lab: Lab) -> None:
    bob = await behind_flow(lab, "bob", "tcp")
    bob.answer = lambda request: bob.reply(request, 503)
    alex = await lab.phone("alex")
    assert (await alex.ask(alex.make("OPTIONS", BOB))).status == 500
    assert lab.running.location.contacts == 1


async def test_paths_survive_a_restart(lab: Lab) -> None:
    edge = await lab.phone("bob")
    assert (await through_edge(lab, edge, "bob", 1)).status == 200
    await lab.stop()
    await lab.start()
    edge.answer = lambda request: edge.reply(request, 200)
    alex = await lab.phone("alex")
    assert (await alex.ask(alex.make("OPTIONS", BOB))).status == 200
    received, _ = await edge.received()
    assert len(received.routes) == 1


# --- GRUU (RFC 5627) -----------------------------------------------------------------------------


@pytest.mark.rfc(5627, "5.3")
async def test_gruus_are_for_who_asks(lab: Lab) -> None:
    phone = await lab.phone("bob", "tcp")
    response = await phone.register(OUTBOUND, contact=contact(phone))
    public, temporary = gruus_of(response)
    assert public == f"sip:bob@{DOMAIN};gr={ONE}"
    parsed = Uri.parse(temporary)
    assert (parsed.host, parsed.params["gr"]) == (DOMAIN, None)
    # Nobody can see whose it is.
    assert "bob" not in temporary
    again = await phone.register(OUTBOUND, contact=contact(phone))
    assert gruus_of(again)[0] == public
    assert gruus_of(again)[1] != temporary
    silent = await phone.register(("Supported", "outbound"), contact=contact(phone))
    assert gruus_of(silent) == ("", "")
    plain = await lab.phone("carol")
    assert gruus_of(await plain.register(OUTBOUND)) == ("", "")


@pytest.mark.rfc(5627, "5.4")
async def test_a_gruu_leads_to_one_device(lab: Lab) -> None:
    phones = {}
    gruus = {}
    for instance in (ONE, TWO):
        phone = await lab.phone("bob", "tcp")
        phone.answer = lambda request, phone=phone: phone.reply(request, 200)
        response = await phone.register(OUTBOUND, contact=contact(phone, instance))
        mine = next(c for c in response.contacts if c.param("+sip.instance") == f"<{instance}>")
        phones[instance] = phone
        gruus[instance] = (mine.param("pub-gruu") or "", mine.param("temp-gruu") or "")
    alex = await lab.phone("alex")
    for instance, addresses in gruus.items():
        for address in addresses:
            assert (await alex.ask(alex.make("OPTIONS", address))).status == 200
        counts = {each: phone.requests.qsize() for each, phone in phones.items()}
        assert counts == {each: 2 if each == instance else 0 for each in phones}
        phones[instance].requests = asyncio.Queue()
        received_by = phones[instance]
        assert received_by.requests.qsize() == 0
    # The address of record still means both.
    assert (await alex.ask(alex.make("OPTIONS", BOB))).status == 200
    assert sum(phone.requests.qsize() for phone in phones.values()) >= 1


@pytest.mark.rfc(5627, "5.4")
async def test_gruus_that_lead_nowhere(lab: Lab) -> None:
    phone = await lab.phone("bob", "tcp")
    phone.answer = lambda request: phone.reply(request, 200)
    _, temporary = gruus_of(await phone.register(OUTBOUND, contact=contact(phone)))
    alex = await lab.phone("alex")

    async def status(uri: str) -> int:
        return (await alex.ask(alex.make("OPTIONS", uri))).status

    assert await status(temporary) == 200
    assert await status(f"{BOB};gr={TWO}") == 480
    assert await status(f"sip:nobody@{DOMAIN};gr={ONE}") == 404
    assert await status(f"sip:tgruu.AAAA@{DOMAIN};gr") == 404
    assert await status(f"{BOB};gr") == 404
    # §3.3: when the Call-ID of the registration changes, the temporary ones are void.
    phone.call_id = phone.tokens.call_id()
    _, newer = gruus_of(await phone.register(OUTBOUND, contact=contact(phone)))
    assert await status(temporary) == 404
    assert await status(newer) == 200
    assert await status(f"{BOB};gr={ONE}") == 200
    gone = contact(phone).replace("expires=300", "expires=0")
    await phone.register(OUTBOUND, contact=gone)
    assert await status(newer) == 404
    assert await status(f"{BOB};gr={ONE}") == 480


@pytest.mark.rfc(5627, "5.1")
async def test_a_gruu_is_no_contact(lab: Lab) -> None:
    phone = await lab.phone("bob")
    response = await phone.register(contact=f"<{BOB};gr={ONE}>")
    assert response.status == 403


async def test_temporary_gruus_survive_a_restart(lab: Lab) -> None:
    phone = await lab.phone("bob")
    phone.answer = lambda request: phone.reply(request, 200)
    _, temporary = gruus_of(await phone.register(OUTBOUND, contact=contact(phone)))
    await lab.stop()
    await lab.start()
    alex = await lab.phone("alex")
    assert (await alex.ask(alex.make("OPTIONS", temporary))).status == 200


@pytest.mark.rfc(5627, "6.1")
async def test_a_dialog_with_gruus_at_both_ends(lab: Lab) -> None:
    phones = {}
    for name, instance in (("alex", ONE), ("bob", TWO)):
        phone = await lab.phone(name, "tcp")
        response = await phone.register(OUTBOUND, contact=contact(phone, instance))
        phones[name] = (phone, gruus_of(response)[0])
    (alex, of_alex), (bob, of_bob) = phones["alex"], phones["bob"]

    def answer(request: Request) -> Response:
        headers = [("Contact", f"<{of_bob}>")]
        headers += [("Record-Route", str(route)) for route in request.record_routes]
        return Response.to_request(request, 200, to_tag="t-bob", headers=headers)

    bob.answer = answer
    invite = alex.make("INVITE", BOB, ("Contact", f"<{of_alex}>"))
    response = await alex.ask(invite)
    assert response.status == 200
    alex.ack(invite, response, of_bob)
    async with asyncio.timeout(5):
        ack = await bob.acks.get()
    # The device gets the contact that it registered (RFC 5627 §5.4).
    assert ack.uri.startswith(f"sip:bob@{NOWHERE}")
    bye = alex.in_dialog("BYE", invite, response)
    assert bye.uri == of_bob
    assert (await alex.final(alex.send(bye))).status == 200


# --- the secrets themselves ----------------------------------------------------------------------

FLOWS = [
    Flow("udp", ("127.0.0.1", 5060), ("192.0.2.1", 40000)),
    Flow("tcp", ("0.0.0.0", 5060), ("192.0.2.1", 40000), 7),
    Flow("wss", ("::1", 443), ("2001:db8::1", 65535), 2**40),
]


@pytest.mark.rfc("5626", "5.2")
@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_token_gives_its_flow_back(flow: Flow) -> None:
    tokens = FlowTokens(b"secret", b"boot")
    text = tokens.make(flow)
    assert tokens.read(text) == flow
    assert Uri.parse(f"sip:h;flow={text}").param("flow") == text
    assert FlowTokens(b"other", b"boot").read(text) is None
    # The numbers of connections are those of one process; a UDP flow outlives it.
    assert FlowTokens(b"secret", b"later").read(text) == (flow if flow.transport == "udp" else None)


@pytest.mark.rfc("5626", "5.2")
@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_token_cannot_be_changed(flow: Flow) -> None:
    tokens = FlowTokens(b"secret", b"boot")
    text = tokens.make(flow)
    for place in range(len(text)):
        for letter in "Aa0_":
            changed = text[:place] + letter + text[place + 1 :]
            assert tokens.read(changed) in (None, flow)
            if tokens.read(changed) == flow:
                # Only spare bits of the last letter may differ.
                assert changed == text or place == len(text) - 1
    for other in ("", "A", "é" * 20, "A" * 5000, text + "A", text[:-4]):
        assert tokens.read(other) is None


def test_temporary_gruus_tell_nothing_and_cannot_be_made() -> None:
    gruus = Gruus(b"secret", Tokens.deterministic(1))
    binding = Binding(
        f"bob@{DOMAIN}", "sip:b@h", "", expires=1.0, call_id="c", cseq=1, instance=f"<{ONE}>"
    )
    made = {gruus.temporary(binding) for _ in range(100)}
    assert len(made) == 100
    for text in made:
        target = gruus.read(Uri.parse(text))
        assert target is not None
        assert target.user == "bob"
        assert target.chooses(binding)
        assert Gruus(b"other", Tokens.deterministic(1)).read(Uri.parse(text)) is None
        # That of one domain means nothing in another.
        elsewhere = text.replace(DOMAIN, "other.example")
        assert gruus.read(Uri.parse(elsewhere)) is None


# --- other domains (RFC 3263) --------------------------------------------------------------------


@pytest.mark.rfc(3263, "4.3")
async def test_a_server_of_another_domain_that_fails_is_tried_last(lab: Lab) -> None:
    async def answering(status: int, *headers: tuple[str, str]) -> Phone:
        phone = await lab.phone("carol")
        phone.answer = lambda request: phone.reply(request, status, *headers)
        return phone

    busy = await answering(503, ("Retry-After", "60"))
    good = await answering(200)
    zone = f"""
    other 60 IN NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.other
    _sip._udp.other 60 IN SRV 1 1 {busy.local[1]} lab
    _sip._udp.other 60 IN SRV 2 1 {good.local[1]} lab
    lab 60 IN A 127.0.0.1
    """
    alex = await lab.phone("alex")
    with NameServer(zone, origin="example") as names:
        endpoint = lab.running.endpoint
        endpoint.resolver = Resolver(
            [names.address], now=lambda: endpoint.now, fraction=endpoint.tokens.fraction
        )
        for count in (1, 2):
            uri = "sip:zoe@other.example"
            assert (await alex.ask(alex.make("OPTIONS", uri))).status == 200
            assert good.requests.qsize() == count
        # The second request has not knocked at the first server at all.
        assert busy.requests.qsize() == 1
        assert names.asked("_sip._udp.other.example", "SRV") == 1
