"""Forwarding and forking, over the wire (RFC 3261 §16)."""

import asyncio

import pytest

from rcsops.sip import Request, Response
from tests.unit.server.conftest import DOMAIN, Lab, Phone


def picks(phone: Phone, status: int) -> None:
    """Makes a phone answer every INVITE with one status."""
    phone.answer = lambda request: phone.reply(request, status)


@pytest.mark.rfc("3261", "16.2", "16.6", "16.7")
async def test_a_call_goes_through_and_its_dialog_stays_on_the_route(lab: Lab) -> None:
    bob = await lab.registered("bob")
    alex = await lab.phone("alex")
    bob.answer = lambda request: bob.reply(request, 180)
    invite = alex.make("INVITE", bob.aor, ("Contact", f"<{alex.contact}>"))
    queue = await alex.ringing(invite)
    request, transaction = await bob.received()
    assert request.uri == bob.contact
    assert request.max_forwards == 69
    assert len(request.vias) == 2
    assert (await queue.get()).status == 100
    ringing: Response = await queue.get()
    while ringing.status == 100:
        # On a slow machine the INVITE was sent again, and so was its answer.
        ringing = await queue.get()
    assert ringing.status == 180
    bob.endpoint.respond(transaction, bob.reply(transaction.request, 200))
    accepted = await alex.final(queue)
    assert accepted.status == 200
    assert len(accepted.vias) == 1
    assert len(accepted.record_routes) == 1
    alex.ack(invite, accepted)
    ack = await asyncio.wait_for(bob.acks.get(), 5)
    assert ack.uri == bob.contact
    assert ack.max_forwards == 69
    picks(bob, 200)
    # Nobody is asked for credentials within the dialog, in either direction.
    bye = alex.in_dialog("BYE", invite, accepted)
    assert (await alex.final(alex.send(bye))).status == 200
    received = (await bob.received())[0]
    assert received.method == "BYE"
    assert not received.has("Route")


@pytest.mark.rfc("3261", "16.6")
async def test_the_callee_ends_the_call(lab: Lab) -> None:
    bob = await lab.registered("bob")
    alex = await lab.phone("alex")
    alex.answer = lambda request: alex.reply(request, 200)
    picks(bob, 200)
    invite = alex.make("INVITE", bob.aor, ("Contact", f"<{alex.contact}>"))
    accepted = await alex.final(await alex.ringing(invite))
    received: Request = (await bob.received())[0]
    alex.ack(invite, accepted)
    bye = Request(
        "BYE",
        str(received.contacts[0].uri),
        [
            ("Max-Forwards", "70"),
            ("Route", str(received.record_routes[0])),
            ("From", accepted.get("To") or ""),
            ("To", received.get("From") or ""),
            ("Call-ID", received.call_id),
            ("CSeq", "1 BYE"),
        ],
    )
    assert (await bob.final(bob.send(bye))).status == 200
    assert (await alex.received())[0].method == "BYE"


@pytest.mark.rfc("3261", "16.6")
@pytest.mark.rfc("5658", "3")
async def test_udp_and_tcp_get_a_record_route_each(lab: Lab) -> None:
    bob = await lab.registered("bob", "tcp")
    alex = await lab.phone("alex", "udp")
    picks(bob, 200)
    invite = alex.make("INVITE", bob.aor, ("Contact", f"<{alex.contact}>"))
    accepted = await alex.final(await alex.ringing(invite))
    transports = [route.uri.param("transport") for route in accepted.record_routes]
    assert transports == ["tcp", None]
    alex.ack(invite, accepted)
    assert (await asyncio.wait_for(bob.acks.get(), 5)).uri == bob.contact
    bye = alex.in_dialog("BYE", invite, accepted)
    picks(bob, 200)
    assert (await alex.final(alex.send(bye))).status == 200


@pytest.mark.rfc("3261", "16.5")
async def test_unknown_users_are_404_and_absent_ones_480(lab: Lab) -> None:
    alex = await lab.phone("alex")
    assert (await alex.ask(alex.make("MESSAGE", f"sip:nobody@{DOMAIN}"))).status == 404
    assert (await alex.ask(alex.make("INFO", f"sip:bob@{DOMAIN}"))).status == 480


@pytest.mark.rfc("3261", "11.2")
async def test_options_is_answered_by_the_server(lab: Lab) -> None:
    alex = await lab.phone("alex")
    for uri in (f"sip:{DOMAIN}", f"sip:127.0.0.1:{lab.port}"):
        response = await alex.ask(alex.make("OPTIONS", uri), login=False)
        assert response.status == 200
        assert "INVITE" in response.option_tags("Allow")


@pytest.mark.rfc("3261", "8.2.1")
async def test_what_the_server_itself_does_not_do_is_405(lab: Lab) -> None:
    alex = await lab.phone("alex")
    response = await alex.ask(alex.make("INVITE", f"sip:{DOMAIN}"))
    assert response.status == 405
    assert response.get("Allow") == "OPTIONS, REGISTER"


@pytest.mark.rfc("3261", "16.3")
async def test_a_method_nobody_knows_is_forwarded(lab: Lab) -> None:
    bob = await lab.registered("bob")
    picks(bob, 200)
    alex = await lab.phone("alex")
    assert (await alex.ask(alex.make("DANCE", bob.aor))).status == 200


@pytest.mark.rfc("3261", "16.3")
@pytest.mark.parametrize(
    ("header", "status"),
    [
        (("Max-Forwards", "0"), 483),
        (("Proxy-Require", "nosuch"), 420),
        (("Max-Forwards", "300"), 400),
        (("CSeq", "1 INFO"), 400),
    ],
)
async def test_what_a_proxy_refuses(lab: Lab, header: tuple[str, str], status: int) -> None:
    alex = await lab.phone("alex")
    request = alex.make("MESSAGE", f"sip:bob@{DOMAIN}", header)
    request.prepend("Via", f"SIP/2.0/UDP 127.0.0.1:9;branch={alex.tokens.branch()};rport")
    assert await _raw(alex, bytes(request)) == status


async def _raw(phone: Phone, data: bytes) -> int:
    """The status that a datagram of any content is answered with."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        raw.setblocking(False)
        raw.connect(phone.server)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(raw, data)
        # The answer goes to where the request came from, by rport.
        answer = await asyncio.wait_for(loop.sock_recv(raw, 65535), 5)
        return int(answer.split()[1])


@pytest.mark.rfc("3261", "16.3")
async def test_broken_requests_get_400_or_505(lab: Lab) -> None:
    alex = await lab.phone("alex")
    head = (
        "MESSAGE sip:bob@rcs.example SIP/{version}\r\n"
        "Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{branch};rport\r\n"
        "From: <sip:alex@rcs.example>;tag=1\r\nTo: <sip:bob@rcs.example>\r\n"
        "Call-ID: x\r\nCSeq: 1 MESSAGE\r\n{more}\r\n"
    )
    for more, version, status in (
        ("Content-Length: 500\r\n", "2.0", 400),
        ("From: <sip:eve@rcs.example>;tag=2\r\n", "2.0", 400),
        ("", "7.0", 505),
    ):
        text = head.format(version=version, branch=alex.tokens.tag(), more=more)
        assert await _raw(alex, text.encode()) == status


@pytest.mark.rfc("3261", "16.3")
async def test_schemes_that_are_not_sip_are_416(lab: Lab) -> None:
    alex = await lab.phone("alex")
    for uri in ("tel:+123", "soap.beep://x"):
        assert (await alex.ask(alex.make("MESSAGE", uri))).status == 416


async def test_too_large_a_body_is_513(lab: Lab) -> None:
    alex = await lab.phone("alex", "tcp")
    request = alex.make("MESSAGE", f"sip:bob@{DOMAIN}")
    request.set_body(b"x" * 300_000, "text/plain")
    assert (await alex.ask(request)).status == 513


@pytest.mark.rfc("3261", "16.3")
@pytest.mark.rfc("5393", "4.2")
async def test_a_contact_that_leads_back_is_a_loop(lab: Lab) -> None:
    bob = await lab.phone("bob")
    await bob.register(contact=f"<sip:bob@127.0.0.1:{lab.port}>")
    alex = await lab.phone("alex")
    response = await alex.ask(alex.make("MESSAGE", f"sip:bob@127.0.0.1:{lab.port}"))
    assert response.status == 482


@pytest.mark.rfc("3261", "16.6", "16.7")
async def test_all_contacts_ring_and_the_first_answer_cancels_the_others(lab: Lab) -> None:
    one = await lab.registered("bob")
    two = await lab.registered("bob", "tcp")
    for phone in (one, two):
        phone.answer = lambda request, phone=phone: phone.reply(request, 180)
    alex = await lab.phone("alex")
    queue = await alex.ringing(alex.make("INVITE", one.aor, ("Contact", f"<{alex.contact}>")))
    _, first = await one.received()
    await two.received()
    for _ in range(3):
        assert (await asyncio.wait_for(queue.get(), 5)).status in (100, 180)
    one.endpoint.respond(first, one.reply(first.request, 200))
    assert (await alex.final(queue)).status == 200
    cancel = (await two.received()).request
    assert cancel.method == "CANCEL"
    assert cancel.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'


@pytest.mark.rfc("3261", "16.6")
@pytest.mark.rfc("4975", "11.7")
async def test_contacts_of_lower_q_are_tried_when_the_higher_ones_failed(lab: Lab) -> None:
    first = await lab.phone("bob")
    second = await lab.phone("bob")
    await first.register(contact=f"<{first.contact}>;q=0.9")
    await second.register(contact=f"<{second.contact}>;q=0.4")
    picks(first, 486)
    picks(second, 200)
    alex = await lab.phone("alex")
    queue = await alex.ringing(alex.make("INVITE", first.aor, ("Contact", f"<{alex.contact}>")))
    assert (await alex.final(queue)).status == 200
    assert first.requests.qsize() == 1
    assert second.requests.qsize() == 1


@pytest.mark.rfc("3261", "16.7")
async def test_603_ends_the_search(lab: Lab) -> None:
    first = await lab.phone("bob")
    second = await lab.phone("bob")
    await first.register(contact=f"<{first.contact}>;q=0.9")
    await second.register(contact=f"<{second.contact}>;q=0.4")
    picks(first, 603)
    alex = await lab.phone("alex")
    queue = await alex.ringing(alex.make("INVITE", first.aor, ("Contact", f"<{alex.contact}>")))
    assert (await alex.final(queue)).status == 603
    assert second.requests.empty()


@pytest.mark.rfc("3261", "9.2", "16.10")
async def test_cancel_ends_all_branches_with_487(lab: Lab) -> None:
    bob = await lab.registered("bob")
    bob.answer = lambda request: bob.reply(request, 180)
    alex = await lab.phone("alex")
    queue = await alex.ringing(alex.make("INVITE", bob.aor, ("Contact", f"<{alex.contact}>")))
    while (await asyncio.wait_for(queue.get(), 5)).status != 180:
        pass
    alex.endpoint.cancel(alex.last, 'SIP;cause=487;text="Enough"')
    assert (await alex.final(queue)).status == 487
    await bob.received()
    cancel = (await bob.received()).request
    assert cancel.method == "CANCEL"
    assert cancel.get("Reason") == 'SIP;cause=487;text="Enough"'


@pytest.mark.rfc("3261", "9.2")
async def test_cancel_without_its_invite_is_481(lab: Lab) -> None:
    alex = await lab.phone("alex")
    request = alex.make("CANCEL", f"sip:bob@{DOMAIN}")
    assert (await alex.ask(request, login=False)).status == 481


@pytest.mark.rfc("3261", "16.7")
async def test_503_of_the_callee_goes_back_as_500(lab: Lab) -> None:
    bob = await lab.registered("bob")
    picks(bob, 503)
    alex = await lab.phone("alex")
    assert (await alex.ask(alex.make("INFO", bob.aor))).status == 500


@pytest.mark.rfc("3261", "16.9")
async def test_a_contact_where_nobody_listens_is_480(lab: Lab) -> None:
    for transport in ("udp", "tcp"):
        bob = await lab.registered("bob", transport)
        await bob.endpoint.close()
        alex = await lab.phone("alex")
        queue = await alex.ringing(alex.make("INVITE", bob.aor, ("Contact", f"<{alex.contact}>")))
        assert (await alex.final(queue)).status == 480
        lab.running.location.remove_address(f"bob@{DOMAIN}")


@pytest.mark.rfc("5626", "5.3.1")
async def test_a_dead_flow_of_outbound_is_forgotten_and_the_next_one_tried(lab: Lab) -> None:
    instance = '+sip.instance="<urn:uuid:3f1b6c52-8d0e-4c0b-9a57-1c2d3e4f5a6b>"'
    supported = ("Supported", "outbound, path")
    old = await lab.phone("bob", "tcp")
    await old.register(supported, contact=f"<{old.contact};ob>;reg-id=1;{instance}")
    new = await lab.phone("bob", "tcp")
    await new.register(supported, contact=f"<{new.contact};ob>;reg-id=2;{instance}")
    picks(old, 200)
    await new.endpoint.close()
    await asyncio.sleep(0.05)
    alex = await lab.phone("alex")
    queue = await alex.ringing(alex.make("INVITE", old.aor, ("Contact", f"<{alex.contact}>")))
    assert (await alex.final(queue)).status == 200
    assert lab.running.location.contacts == 1


@pytest.mark.rfc("3327", "5.3")
@pytest.mark.rfc("3261", "16.5")
async def test_path_becomes_the_route(lab: Lab) -> None:
    edge = await lab.phone("carol")
    bob = await lab.phone("bob")
    path = f"sip:{edge.local[0]}:{edge.local[1]};lr"
    await bob.register(("Path", f"<{path}>"), ("Supported", "path"))
    picks(edge, 200)
    alex = await lab.phone("alex")
    assert (await alex.ask(alex.make("MESSAGE", bob.aor))).status == 200
    received: Request = (await edge.received())[0]
    assert received.uri == bob.contact
    assert received.get("Route") == f"<{path}>"


@pytest.mark.rfc("3261", "16.6")
async def test_a_strict_router_on_the_path_gets_what_it_expects(lab: Lab) -> None:
    edge = await lab.phone("carol")
    bob = await lab.phone("bob")
    path = f"sip:{edge.local[0]}:{edge.local[1]}"
    await bob.register(("Path", f"<{path}>"), ("Supported", "path"))
    picks(edge, 200)
    alex = await lab.phone("alex")
    assert (await alex.ask(alex.make("MESSAGE", bob.aor))).status == 200
    received: Request = (await edge.received())[0]
    assert received.uri == path
    assert received.get("Route") == f"<{bob.contact}>"


@pytest.mark.rfc("3261", "16.4")
async def test_what_a_strict_router_did_to_the_request_is_undone(lab: Lab) -> None:
    bob = await lab.registered("bob")
    alex = await lab.phone("alex")
    picks(bob, 200)
    invite = alex.make("INVITE", bob.aor, ("Contact", f"<{alex.contact}>"))
    accepted = await alex.final(await alex.ringing(invite))
    alex.ack(invite, accepted)
    bye = alex.in_dialog("BYE", invite, accepted)
    bye.set("Route", f"<{bye.uri}>")
    bye.uri = accepted.record_routes[0].uri_text
    assert (await alex.final(alex.send(bye))).status == 200
    await bob.received()
    received: Request = (await bob.received())[0]
    assert received.uri == bob.contact


@pytest.mark.rfc("3261", "16.8")
async def test_what_rings_without_end_is_cancelled(lab: Lab) -> None:
    bob = await lab.registered("bob")
    alex = await lab.phone("alex")
    # Timer C: one second here, and one more.
    bob.answer = lambda request: bob.reply(request, 180)
    queue = await alex.ringing(alex.make("INVITE", bob.aor, ("Contact", f"<{alex.contact}>")))
    assert (await alex.final(queue, 10)).status == 487
    await bob.received()
    assert (await bob.received()).request.method == "CANCEL"


@pytest.mark.rfc("3261", "16.5", "16.6")
async def test_foreign_targets_are_resolved_and_reached(lab: Lab) -> None:
    carol = await lab.phone("carol")
    picks(carol, 200)
    alex = await lab.phone("alex")
    uri = f"sip:someone@localhost:{carol.local[1]}"
    assert (await alex.ask(alex.make("MESSAGE", uri))).status == 200
    received: Request = (await carol.received())[0]
    assert received.uri == uri


async def test_no_state_is_left_of_what_is_over(lab: Lab) -> None:
    bob = await lab.registered("bob", "tcp")
    picks(bob, 200)
    alex = await lab.phone("alex", "tcp")
    for _ in range(5):
        assert (await alex.ask(alex.make("MESSAGE", bob.aor))).status == 200
    async with asyncio.timeout(5):
        while lab.running.statistics.select(["tm:inuse_transactions"]) != {
            "tm:inuse_transactions": 0
        }:
            await asyncio.sleep(0.02)
    core = lab.running._core
    assert core is not None
    assert core.proxy.in_progress == 0


def _large(phone: Phone, to: Phone) -> Request:
    request = phone.make("MESSAGE", to.aor)
    request.set_body(b"x" * 1300, "text/plain")
    return request


@pytest.mark.rfc("3261", "18.1.1")
async def test_what_is_too_large_for_a_datagram_goes_by_tcp(lab: Lab) -> None:
    bob = Phone("bob")
    lab.phones.append(bob)
    # As phones do that listen on both.
    both, _ = await bob.endpoint.listen_pair("127.0.0.1", 0)
    bob.server, bob.local = ("127.0.0.1", lab.port), (both.host, both.port)
    assert (await bob.register()).status == 200
    alex = await lab.phone("alex", "tcp")
    picks(bob, 200)
    assert (await alex.ask(alex.make("MESSAGE", bob.aor))).status == 200
    assert (await bob.received())[0].top_via.transport == "UDP"
    assert (await alex.ask(_large(alex, bob))).status == 200
    request, _ = await bob.received()
    assert request.top_via.transport == "TCP"
    assert len(request.body) == 1300


@pytest.mark.rfc("3261", "18.1.1")
async def test_it_goes_by_udp_after_all_where_tcp_is_refused(lab: Lab) -> None:
    bob = await lab.registered("bob", "udp")
    alex = await lab.phone("alex", "tcp")
    picks(bob, 200)
    for _ in range(2):
        assert (await alex.ask(_large(alex, bob))).status == 200
        assert (await bob.received())[0].top_via.transport == "UDP"
    # That was learnt: the second one did not knock again.
    assert lab.running.endpoint.statistics.connections_opened == 1


async def test_what_must_take_the_flow_of_its_registration_does(lab: Lab) -> None:
    bob = await lab.phone("bob", "udp")
    contact = f'<{bob.contact}>;expires=300;reg-id=1;+sip.instance="<urn:uuid:1>"'
    assert (await bob.register(("Supported", "outbound"), contact=contact)).status == 200
    alex = await lab.phone("alex", "tcp")
    picks(bob, 200)
    assert (await alex.ask(_large(alex, bob))).status == 200
    assert (await bob.received())[0].top_via.transport == "UDP"
    assert lab.running.endpoint.statistics.connections_opened == 0
