"""The rules of a proxy that show at its edges: validation, breadth, redirection, lost connections,
several domains (RFC 3261 §16, RFC 5393, RFC 4320)."""

import asyncio
import socket
from pathlib import Path

import pytest

from rcsops.server.options import ServerOptions
from rcsops.server.record_route import add_record_route
from rcsops.server.response_context import group_by_priority
from rcsops.sip import Flow, Request, Response, Target
from tests.unit.server.conftest import DOMAIN, FAST, Lab, Phone, add_account
from tests.unit.server.test_response_context import binding

OTHER = "other.example"


def picks(phone: Phone, status: int, *headers: tuple[str, str]) -> None:
    phone.answer = lambda request: phone.reply(request, status, *headers)


def call(caller: Phone, uri: str, *headers: tuple[str, str]) -> Request:
    return caller.make("INVITE", uri, ("Contact", f"<{caller.contact}>"), *headers)


# --- §16.3, §16.4 ------------------------------------------------------------------------------


@pytest.mark.rfc("3261", "16.3", "11.2")
async def test_options_without_hops_left_is_answered_here_and_other_methods_483(lab: Lab) -> None:
    alex = await lab.phone("alex")
    for method, status in (("OPTIONS", 200), ("MESSAGE", 483)):
        request = alex.make(method, f"sip:bob@{DOMAIN}", ("Max-Forwards", "0"))
        assert (await alex.ask(request)).status == status


@pytest.mark.rfc("3261", "16.3")
async def test_every_unknown_option_is_named_in_the_420(lab: Lab) -> None:
    alex = await lab.phone("alex")
    request = alex.make("MESSAGE", f"sip:bob@{DOMAIN}", ("Proxy-Require", "one, two"))
    response = await alex.ask(request)
    assert (response.status, response.get("Unsupported")) == (420, "one, two")


@pytest.mark.rfc("3261", "16.4")
async def test_a_maddr_that_is_this_server_is_taken_off(lab: Lab) -> None:
    bob = await lab.registered("bob")
    picks(bob, 200)
    alex = await lab.phone("alex")
    uri = f"sip:bob@{DOMAIN}:{lab.port};maddr=127.0.0.1"
    assert (await alex.ask(alex.make("MESSAGE", uri))).status == 200
    assert (await bob.received())[0].uri == bob.contact


@pytest.mark.rfc("3261", "16.5")
async def test_a_maddr_elsewhere_is_the_only_target(lab: Lab) -> None:
    bob = await lab.registered("bob")
    carol = await lab.phone("carol")
    picks(carol, 200)
    alex = await lab.phone("alex")
    uri = f"sip:bob@{DOMAIN}:{carol.local[1]};maddr=127.0.0.1"
    assert (await alex.ask(alex.make("MESSAGE", uri))).status == 200
    assert (await carol.received())[0].uri == uri
    assert bob.requests.empty()


@pytest.mark.rfc("3261", "16.4")
async def test_all_routes_on_top_that_are_this_server_go(lab: Lab) -> None:
    carol = await lab.phone("carol")
    picks(carol, 200)
    alex = await lab.phone("alex")
    own = f"<sip:127.0.0.1:{lab.port};lr>"
    hop = f"<sip:127.0.0.1:{carol.local[1]};lr>"
    request = alex.make("MESSAGE", f"sip:bob@{DOMAIN}", ("Route", f"{own}, {own}, {hop}"))
    assert (await alex.ask(request)).status == 200
    assert (await carol.received())[0].get_all("Route") == [hop]


# --- §16.6 ------------------------------------------------------------------------------------


@pytest.mark.rfc("3261", "16.6")
async def test_what_a_request_uri_must_not_have_is_taken_off_a_contact(lab: Lab) -> None:
    bob = await lab.phone("bob")
    host = f"{bob.local[0]}:{bob.local[1]}"
    await bob.register(contact=f"<sip:bob@{host};method=INVITE;x=1?Subject=hi>")
    picks(bob, 200)
    alex = await lab.phone("alex")
    assert (await alex.ask(alex.make("MESSAGE", bob.aor))).status == 200
    assert (await bob.received())[0].uri == f"sip:bob@{host};x=1"


@pytest.mark.rfc("3261", "16.6")
@pytest.mark.rfc("5630", "5.3")
def test_sips_goes_to_sips_contacts_alone_and_sip_to_all_of_them_as_sip() -> None:
    plain, secure = binding(1), binding(2)
    secure.uri_text, secure._uri = "sips:bob@192.0.2.2", None
    assert [each.uri for each in group_by_priority([plain, secure])[0]] == [
        "sip:bob@192.0.2.1",
        "sip:bob@192.0.2.2",
    ]
    ((only,),) = group_by_priority([plain, secure], secure=True)
    assert only.uri == "sips:bob@192.0.2.2"
    assert group_by_priority([plain], secure=True) == []


@pytest.mark.rfc("3261", "16.5")
async def test_sips_without_a_secure_contact_finds_nobody(lab: Lab) -> None:
    bob = await lab.registered("bob")
    alex = await lab.phone("alex")
    response = await alex.ask(alex.make("MESSAGE", f"sips:bob@{DOMAIN}"))
    assert response.status == 480
    assert bob.requests.empty()


@pytest.mark.rfc("3261", "26.2.2", "16.6")
async def test_what_is_for_a_sips_contact_never_goes_over_a_connection_without_tls(
    lab: Lab,
) -> None:
    bob = await lab.phone("bob", "tcp")
    contact = f"<sips:bob@{bob.local[0]}:{bob.local[1]}>"
    assert (await bob.register(contact=contact)).status == 200
    alex = await lab.phone("alex")
    for scheme in ("sip", "sips"):
        # This server has no TLS, so there is no way at all.
        assert (await alex.ask(alex.make("OPTIONS", f"{scheme}:bob@{DOMAIN}"))).status == 480
    assert bob.requests.empty()


@pytest.mark.rfc("3261", "16.6")
@pytest.mark.parametrize(
    ("uri", "transport", "route"),
    [
        ("sip:bob@x", "udp", "<sip:192.0.2.1:5060;lr;dlg=t>"),
        ("sip:bob@x", "tls", "<sip:192.0.2.1:5060;transport=tls;lr;dlg=t>"),
        ("sips:bob@x", "tls", "<sips:192.0.2.1:5060;lr;dlg=t>"),
        ("sips:bob@x", "wss", "<sips:192.0.2.1:5060;transport=ws;lr;dlg=t>"),
    ],
)
def test_the_record_route_of_a_sips_request_is_sips(uri: str, transport: str, route: str) -> None:
    flow = Flow(transport, ("192.0.2.1", 5060), ("192.0.2.9", 5060))
    target = Target(flow, "192.0.2.1:5060")
    request = Request("INVITE", uri)
    add_record_route(request, target, target, "t")
    assert request.get_all("Record-Route") == [route]


@pytest.mark.rfc("5393", "5.3.3")
async def test_max_breadth_goes_on_is_shared_and_ends_with_440(lab: Lab) -> None:
    one = await lab.registered("bob")
    two = await lab.registered("bob")
    for phone in (one, two):
        picks(phone, 486)
    alex = await lab.phone("alex")
    for given, seen in ((None, ["30", "30"]), ("7", ["3", "4"]), ("2", ["1", "1"])):
        headers = [("Max-Breadth", given)] if given else []
        response = await alex.ask(call(alex, one.aor, *headers))
        assert response.status == 486
        got = [(await phone.received())[0].get("Max-Breadth") for phone in (one, two)]
        assert sorted(got) == seen
    assert (await alex.ask(call(alex, one.aor, ("Max-Breadth", "0")))).status == 440


@pytest.mark.rfc("5393", "5.3.3")
async def test_a_breadth_of_one_tries_the_contacts_one_after_the_other(lab: Lab) -> None:
    one = await lab.registered("bob")
    two = await lab.registered("bob")
    one.answer = two.answer = None
    alex = await lab.phone("alex")
    queue = await alex.ringing(call(alex, one.aor, ("Max-Breadth", "1")))
    request, transaction = await one.received()
    assert request.get("Max-Breadth") == "1"
    assert two.requests.empty()
    one.endpoint.respond(transaction, one.reply(request, 486))
    request, transaction = await two.received()
    two.endpoint.respond(transaction, two.reply(request, 200))
    assert (await alex.final(queue)).status == 200


# --- §16.7: redirection ------------------------------------------------------------------------


@pytest.mark.rfc("3261", "16.7")
async def test_a_redirection_is_told_to_the_caller(lab: Lab) -> None:
    bob = await lab.registered("bob")
    alex = await lab.phone("alex")
    moved = Response(302)
    bob.answer = lambda request: Response.to_request(
        request, 302, to_tag="t", headers=[("Contact", "<sip:x@192.0.2.1>")]
    )
    response = await alex.ask(call(alex, bob.aor))
    assert response.status == moved.status
    assert response.get("Contact") == "<sip:x@192.0.2.1>"


@pytest.mark.rfc("3261", "16.7")
async def test_a_redirection_is_followed_where_the_settings_say_so(idle_lab: Lab) -> None:
    lab = idle_lab
    await lab.start(ServerOptions(flush_seconds=0.05, follow_redirects=True))
    bob = await lab.registered("bob")
    carol = await lab.registered("carol")
    picks(carol, 200)
    targets = f"<mailto:bob@x>, <{bob.aor}>;q=0.1, <sip:carol@{DOMAIN}>;q=0.9"
    bob.answer = lambda request: Response.to_request(
        request, 302, to_tag="t", headers=[("Contact", targets)]
    )
    alex = await lab.phone("alex")
    response = await alex.ask(call(alex, bob.aor))
    assert response.status == 200
    assert (await carol.received())[0].uri == carol.contact
    # Nobody there takes the call: what is left of the redirection goes to the caller.
    picks(carol, 486)
    response = await alex.ask(call(alex, bob.aor))
    assert response.status == 302
    assert response.get_all("Contact") == ["<mailto:bob@x>", f"<{bob.aor}>;q=0.1"]


@pytest.mark.rfc("3261", "16.7")
async def test_a_redirection_followed_whole_leaves_the_answer_of_its_target(idle_lab: Lab) -> None:
    lab = idle_lab
    await lab.start(ServerOptions(flush_seconds=0.05, follow_redirects=True))
    bob = await lab.registered("bob")
    carol = await lab.registered("carol")
    picks(carol, 486)
    bob.answer = lambda request: Response.to_request(
        request, 302, to_tag="t", headers=[("Contact", f"<sip:carol@{DOMAIN}>")]
    )
    alex = await lab.phone("alex")
    assert (await alex.ask(call(alex, bob.aor))).status == 486


@pytest.mark.rfc("3261", "16.7")
async def test_the_challenges_of_two_callees_reach_the_caller_in_one_answer(lab: Lab) -> None:
    one = await lab.registered("bob")
    two = await lab.registered("bob")
    picks(one, 401, ("WWW-Authenticate", 'Digest realm="one", nonce="1"'))
    picks(two, 407, ("Proxy-Authenticate", 'Digest realm="two", nonce="2"'))
    alex = await lab.phone("alex")
    queue = await alex.ringing(call(alex, one.aor))
    response = await alex.final(queue)
    assert response.status == 401
    assert [each.realm for each in response.www_challenges] == ["one"]
    assert [each.realm for each in response.proxy_challenges] == ["two"]


@pytest.mark.rfc("3261", "16.7")
@pytest.mark.rfc("6026", "7.3")
async def test_the_2xx_of_every_fork_and_each_retransmission_reach_the_caller(lab: Lab) -> None:
    one = await lab.registered("bob")
    two = await lab.registered("bob")
    alex = await lab.phone("alex")
    queue = await alex.ringing(call(alex, one.aor))
    transactions = [(phone, *(await phone.received())) for phone in (one, two)]
    for phone, request, transaction in transactions:
        answer = Response.to_request(
            request, 200, to_tag=f"t-{phone.local[1]}", headers=[("Contact", "<sip:x@127.0.0.1>")]
        )
        for _ in range(2):
            phone.endpoint.respond(transaction, answer)
    tags = []
    async with asyncio.timeout(5):
        while len(tags) < 4:
            response = await queue.get()
            if response.status == 200:
                tags.append(response.to_tag)
    assert {tag: tags.count(tag) for tag in tags} == {
        f"t-{one.local[1]}": 2,
        f"t-{two.local[1]}": 2,
    }


@pytest.mark.rfc("6026", "7.3")
@pytest.mark.rfc("4320", "4.2")
async def test_a_response_to_nothing_goes_nowhere(lab: Lab) -> None:
    bob = await lab.registered("bob")
    picks(bob, 200)
    alex = await lab.phone("alex")
    assert (await alex.ask(alex.make("MESSAGE", bob.aor))).status == 200
    request, _ = await bob.received()
    before = lab.running.statistics.counts["core:fwd_replies"]
    for method in ("MESSAGE", "INVITE"):
        stray = bob.reply(request, 200)
        stray.set("CSeq", f"7 {method}")
        vias = stray.get_all("Via")
        stray.remove("Via")
        stray.add("Via", vias[0].replace("branch=z9hG4bK", "branch=z9hG4bKnot"))
        stray.add("Via", vias[1])
        bob.endpoint.send_message(stray, bob.endpoint.target("udp", bob.server).flow)
    async with asyncio.timeout(5):
        while lab.running.statistics.counts["core:drop_replies"] < 2:
            await asyncio.sleep(0.01)
    assert lab.running.statistics.counts["core:fwd_replies"] == before


@pytest.mark.rfc("3261", "16.8", "16.6")
async def test_each_18x_starts_timer_c_anew(lab: Lab) -> None:
    bob = await lab.registered("bob")
    alex = await lab.phone("alex")
    queue = await _rings(alex, bob)
    request, transaction = await bob.received()
    # Timer C is two seconds here: one, and the one that the RFC asks for on top.
    for _ in range(4):
        await asyncio.sleep(0.7)
        bob.endpoint.respond(transaction, bob.reply(request, 183))
    assert bob.requests.empty()
    bob.endpoint.respond(transaction, bob.reply(request, 200))
    assert (await alex.final(queue)).status == 200


@pytest.mark.rfc("3261", "16.7", "16.8")
async def test_a_100_does_not_start_timer_c_anew(lab: Lab) -> None:
    bob = await lab.registered("bob")
    alex = await lab.phone("alex")
    # Its transaction says 100 for a phone that says nothing.
    queue = await alex.ringing(call(alex, bob.aor))
    assert (await alex.final(queue, 10)).status == 487
    await bob.received()
    assert (await bob.received()).request.method == "CANCEL"


@pytest.mark.rfc("3261", "16.8")
async def test_a_callee_of_whom_nothing_is_heard_is_408(lab: Lab) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        bob = await lab.phone("bob")
        await bob.register(contact=f"<sip:bob@127.0.0.1:{silent.getsockname()[1]}>")
        alex = await lab.phone("alex")
        queue = await alex.ringing(call(alex, bob.aor))
        assert (await alex.final(queue, 10)).status == 408


# --- RFC 4320 -----------------------------------------------------------------------------------


@pytest.mark.rfc("4320", "4.2")
async def test_a_callee_that_is_silent_gives_no_408_to_other_than_invite(lab: Lab) -> None:
    bob = await lab.registered("bob")
    alex = await lab.phone("alex")
    request = alex.make("MESSAGE", bob.aor)
    plain = request.copy()
    challenge = await alex.final(alex.send(request))
    plain.set("CSeq", "99 MESSAGE")
    assert alex.digest.authorize(plain, challenge)
    alex.cseq = 99
    queue = alex.send(plain)
    await bob.received()
    core = lab.running._core
    assert core is not None
    async with asyncio.timeout(10):
        while core.proxy.in_progress:
            await asyncio.sleep(0.02)
    statuses = [queue.get_nowait().status for _ in range(queue.qsize())]
    # Over UDP a 100 alone, when the sender repeats itself every T2 only (§4.1).
    assert set(statuses) <= {100}


@pytest.mark.rfc("4320", "4.1")
async def test_a_100_for_other_than_invite_comes_when_timer_e_has_reached_t2(lab: Lab) -> None:
    bob = await lab.registered("bob")
    alex = await lab.phone("alex")
    request = alex.make("MESSAGE", bob.aor)
    plain = request.copy()
    challenge = await alex.final(alex.send(request))
    plain.set("CSeq", "99 MESSAGE")
    assert alex.digest.authorize(plain, challenge)
    started = asyncio.get_running_loop().time()
    queue = alex.send(plain)
    first = await asyncio.wait_for(queue.get(), 5)
    assert first.status == 100
    assert asyncio.get_running_loop().time() - started >= FAST.non_invite_trying
    request, transaction = await bob.received()
    bob.endpoint.respond(transaction, bob.reply(request, 200))
    assert (await alex.final(queue)).status == 200


# --- lost connections -----------------------------------------------------------------------------


async def _rings(caller: Phone, callee: Phone) -> "asyncio.Queue[Response]":
    picks(callee, 180)
    queue = await caller.ringing(call(caller, callee.aor))
    async with asyncio.timeout(5):
        while (await queue.get()).status != 180:
            pass
    return queue


@pytest.mark.rfc("3261", "16.9")
async def test_a_connection_that_dies_while_it_rings_ends_its_branch_at_once(lab: Lab) -> None:
    bob = await lab.registered("bob", "tcp")
    alex = await lab.phone("alex")
    queue = await _rings(alex, bob)
    await bob.endpoint.close()
    # Not the 487 of timer C.
    assert (await alex.final(queue)).status == 480
    core = lab.running._core
    assert core is not None
    assert core.proxy.in_progress == 0


@pytest.mark.rfc("3261", "16.9")
async def test_the_other_phone_rings_on_when_one_connection_dies(lab: Lab) -> None:
    gone = await lab.registered("bob", "tcp")
    stays = await lab.registered("bob")
    picks(stays, 180)
    alex = await lab.phone("alex")
    queue = await _rings(alex, gone)
    request, transaction = await stays.received()
    await gone.endpoint.close()
    await asyncio.sleep(0.05)
    stays.endpoint.respond(transaction, stays.reply(request, 200))
    assert (await alex.final(queue)).status == 200


async def test_a_cancelled_call_ends_with_487_when_the_connection_dies(lab: Lab) -> None:
    bob = await lab.registered("bob", "tcp")
    alex = await lab.phone("alex")
    queue = await _rings(alex, bob)
    await bob.endpoint.close()
    alex.endpoint.cancel(alex.last)
    assert (await alex.final(queue)).status in (480, 487)


async def test_what_rings_for_a_caller_whose_connection_is_lost_is_cancelled(lab: Lab) -> None:
    bob = await lab.registered("bob")
    alex = await lab.phone("alex", "tcp")
    await _rings(alex, bob)
    await bob.received()
    await alex.endpoint.close()
    cancel = (await bob.received()).request
    assert cancel.method == "CANCEL"
    assert "Connection of the caller lost" in (cancel.get("Reason") or "")


@pytest.mark.rfc("3261", "18.2.2", "16.7")
async def test_responses_find_the_caller_by_a_new_connection(lab: Lab) -> None:
    bob = await lab.registered("bob")
    alex = await lab.phone("alex", "tcp")
    queue = await _rings(alex, bob)
    request, transaction = await bob.received()
    (flow,) = alex.endpoint.connections
    alex.endpoint.close_flow(flow)
    async with asyncio.timeout(5):
        while flow in alex.endpoint.connections:
            await asyncio.sleep(0.01)
    bob.endpoint.respond(transaction, bob.reply(request, 200))
    assert (await alex.final(queue)).status == 200


# --- several domains ------------------------------------------------------------------------------


@pytest.fixture
async def wide_lab(idle_lab: Lab) -> Lab:
    add_account(idle_lab.url, "bob", "pw-bob", OTHER)
    await idle_lab.start(domains=(OTHER,), aliases=("rcs.test", "localhost"))
    return idle_lab


@pytest.mark.rfc("3261", "16.5", "22.1")
async def test_each_domain_has_users_and_a_realm_of_its_own(wide_lab: Lab) -> None:
    here = await wide_lab.registered("bob")
    there = await wide_lab.phone("bob", domain=OTHER)
    challenge = await there.ask(there.make("REGISTER", f"sip:{OTHER}", to=there.aor), login=False)
    assert {each.realm for each in challenge.www_challenges} == {OTHER}
    assert (await there.register()).status == 200
    for phone in (here, there):
        picks(phone, 200)
    alex = await wide_lab.phone("alex")
    for phone in (here, there):
        assert (await alex.ask(alex.make("MESSAGE", phone.aor))).status == 200
        received = (await phone.received())[0]
        assert received.get("P-Asserted-Identity") == f"<sip:alex@{DOMAIN}>"
    # And the other way round, with the other realm.
    assert (await there.ask(there.make("MESSAGE", here.aor))).status == 200
    assert (await here.received())[0].get("P-Asserted-Identity") == f"<sip:bob@{OTHER}>"


@pytest.mark.rfc("3261", "16.4", "16.5")
async def test_an_alias_is_another_name_of_the_first_domain(wide_lab: Lab) -> None:
    bob = await wide_lab.registered("bob")
    picks(bob, 200)
    alex = await wide_lab.phone("alex")
    assert (await alex.ask(alex.make("MESSAGE", "sip:bob@rcs.test"))).status == 200
    assert (await bob.received())[0].uri == bob.contact
    stranger = alex.make("MESSAGE", "sip:carol@elsewhere.test:9")
    assert (await alex.ask(stranger)).status != 404


@pytest.mark.rfc("3261", "10.3")
async def test_nobody_registers_at_one_domain_for_another(wide_lab: Lab) -> None:
    bob = await wide_lab.phone("bob")
    request = bob.make("REGISTER", f"sip:{OTHER}", ("Contact", f"<{bob.contact}>"), to=bob.aor)
    assert (await bob.ask(request)).status == 404
    alias = bob.make("REGISTER", "sip:rcs.test", ("Contact", f"<{bob.contact}>"), to=bob.aor)
    assert (await bob.ask(alias)).status == 200


async def test_the_same_name_of_another_domain_cannot_send_as_this_one(wide_lab: Lab) -> None:
    there = await wide_lab.phone("bob", domain=OTHER)
    request = there.make("MESSAGE", f"sip:alex@{DOMAIN}", ("From", f"<sip:bob@{DOMAIN}>;tag=1"))
    assert (await there.ask(request)).status == 407


async def test_domains_are_shown_and_read_anew(tmp_path: Path, wide_lab: Lab) -> None:
    names = wide_lab.running.names
    assert names.domains == (DOMAIN, OTHER)
    names.set_names((), ("other.test",))
    there = await wide_lab.phone("bob", domain=OTHER)
    picks(there, 200)
    alex = await wide_lab.phone("alex")
    response = await alex.ask(alex.make("REGISTER", f"sip:{OTHER}", to=alex.aor))
    assert response.status != 200
