"""Dialogs (RFC 3261 §12)."""

import pytest

from rcsops.errors import LocalProtocolError, RemoteProtocolError, SipParseError
from rcsops.sip import Dialog, DialogId, DialogState, Message, Request, Response, parse_message

RECORD_ROUTE = ["<sip:p1.example.com;lr>", "<sip:p2.example.net;lr>, <sip:p3.example.org;lr>"]


def invite(
    uri: str = "sip:bob@example.org", contact: str | None = "<sip:alice@a.example>"
) -> Request:
    headers = [
        ("Via", "SIP/2.0/UDP a.example;branch=z9hG4bKx"),
        ("From", '"Alice" <sip:alice@example.org>;tag=a1'),
        ("To", "<sip:bob@example.org>"),
        ("Call-ID", "call-1"),
        ("CSeq", "17 INVITE"),
        ("Authorization", 'Digest username="alice"'),
        ("Proxy-Authorization", 'Digest username="p1"'),
        ("Proxy-Authorization", 'Digest username="p2"'),
    ]
    if contact is not None:
        headers.append(("Contact", contact))
    return Request("INVITE", uri, headers)


def answer(request: Request, status: int = 200, tag: str = "b1", contact: str | None = None,
           routes: list[str] | None = None) -> Response:  # fmt: skip
    response = Response.to_request(request, status, to_tag=tag)
    response.remove("Record-Route")
    for route in RECORD_ROUTE if routes is None else routes:
        response.add("Record-Route", route)
    response.set("Contact", contact or f"<sip:bob@{tag}.example>")
    return response


def received(message: Message) -> Message:
    return parse_message(bytes(message))


def routed_invite() -> Request:
    request = invite()
    for route in RECORD_ROUTE:
        request.add("Record-Route", route)
    return request


@pytest.mark.rfc("3261", "12.1.2")
def test_the_uac_takes_the_route_set_reversed() -> None:
    dialog = Dialog.from_uac(invite(), answer(invite()))
    assert dialog.id == DialogId("call-1", "a1", "b1")
    assert dialog.state is DialogState.CONFIRMED
    assert [str(route) for route in dialog.route_set] == [
        "<sip:p3.example.org;lr>",
        "<sip:p2.example.net;lr>",
        "<sip:p1.example.com;lr>",
    ]
    assert str(dialog.local_uri) == "sip:alice@example.org"
    assert str(dialog.remote_uri) == "sip:bob@example.org"
    assert str(dialog.remote_target) == "sip:bob@b1.example"
    assert (dialog.local_cseq, dialog.remote_cseq) == (17, None)
    assert str(dialog.next_hop) == "sip:p3.example.org;lr"


@pytest.mark.rfc("3261", "12.1.1")
def test_the_uas_takes_the_route_set_in_order() -> None:
    request = routed_invite()
    dialog = Dialog.from_uas(request, answer(request))
    assert dialog.id == DialogId("call-1", "b1", "a1")
    assert [str(route) for route in dialog.route_set] == [
        "<sip:p1.example.com;lr>",
        "<sip:p2.example.net;lr>",
        "<sip:p3.example.org;lr>",
    ]
    assert str(dialog.local_uri) == "sip:bob@example.org"
    assert str(dialog.remote_uri) == "sip:alice@example.org"
    assert str(dialog.remote_target) == "sip:alice@a.example"
    assert (dialog.local_cseq, dialog.remote_cseq) == (None, 17)


@pytest.mark.rfc("3261", "12.1.1", "12.1.2")
def test_both_sides_find_each_other() -> None:
    request = routed_invite()
    response = answer(request)
    uas, uac = Dialog.from_uas(request, response), Dialog.from_uac(request, response)
    for sender, receiver in ((uac, uas), (uas, uac)):
        bye = received(sender.create_request("BYE"))
        assert DialogId.of_received(bye) == receiver.id
        ok = received(Response.to_request(bye, 200))  # type: ignore[arg-type]
        assert DialogId.of_received(ok) == sender.id


@pytest.mark.rfc("3261", "12.1.2")
@pytest.mark.parametrize("status", [100, 300, 486])
def test_other_responses_make_no_dialog(status: int) -> None:
    with pytest.raises(LocalProtocolError):
        Dialog.from_uac(invite(), answer(invite(), status))


@pytest.mark.rfc("3261", "12.1.2")
def test_a_provisional_response_makes_an_early_dialog_that_the_2xx_confirms() -> None:
    request = invite()
    early = answer(request, 180, contact="<sip:old@b1.example>", routes=["<sip:old.example;lr>"])
    dialog = Dialog.from_uac(request, early)
    assert dialog.state is DialogState.EARLY
    dialog.confirm(answer(request))
    assert dialog.state is DialogState.CONFIRMED
    # §13.2.2.4: the route set is worked out anew from the 2xx.
    assert str(dialog.next_hop) == "sip:p3.example.org;lr"
    assert str(dialog.remote_target) == "sip:bob@b1.example"
    dialog.confirm(early)
    assert str(dialog.next_hop) == "sip:p3.example.org;lr"


@pytest.mark.rfc("3261", "12.1.1")
def test_the_uas_keeps_its_route_set_when_confirmed() -> None:
    request = routed_invite()
    dialog = Dialog.from_uas(request, answer(request, 180))
    dialog.confirm(answer(request, routes=[]))
    assert dialog.state is DialogState.CONFIRMED
    assert len(dialog.route_set) == 3
    assert str(dialog.remote_target) == "sip:alice@a.example"


def test_without_a_contact_the_request_uri_serves_for_an_early_dialog() -> None:
    response = answer(invite(), 180)
    response.remove("Contact")
    assert str(Dialog.from_uac(invite(), response).remote_target) == "sip:bob@example.org"


def test_a_request_without_a_contact_is_refused() -> None:
    request = invite(contact=None)
    with pytest.raises(RemoteProtocolError) as caught:
        Dialog.from_uas(request, answer(request))
    assert caught.value.status == 400
    request = invite(contact="nonsense")
    with pytest.raises(SipParseError):
        Dialog.from_uas(request, answer(request))


@pytest.mark.rfc("3261", "12.2.1.1")
def test_requests_in_the_dialog() -> None:
    dialog = Dialog.from_uac(invite(), answer(invite()))
    request = dialog.create_request("INFO", [("X", "y"), ("Content-Type", "text/plain")], b"hi")
    assert (request.method, request.uri) == ("INFO", "sip:bob@b1.example")
    assert request.get_all("Route") == [str(route) for route in dialog.route_set]
    assert request.get("From") == "<sip:alice@example.org>;tag=a1"
    assert request.get("To") == "<sip:bob@example.org>;tag=b1"
    assert request.cseq == (18, "INFO")
    assert request.max_forwards == 70
    assert (request.get("X"), request.body, request.content_length) == ("y", b"hi", 2)
    assert not request.has("Via")
    assert dialog.create_request("BYE").cseq == (19, "BYE")


@pytest.mark.rfc("3261", "12.2.1.1")
def test_the_first_number_of_the_uas_is_its_own() -> None:
    request = routed_invite()
    dialog = Dialog.from_uas(request, answer(request))
    assert dialog.create_request("BYE").cseq == (1, "BYE")


@pytest.mark.rfc("3261", "13.2.2.4")
def test_the_ack_has_number_and_credentials_of_its_invite() -> None:
    request = invite()
    dialog = Dialog.from_uac(request, answer(request))
    dialog.create_request("INFO")
    ack = dialog.create_ack(request)
    assert ack.cseq == (17, "ACK")
    assert ack.get_all("Authorization") == request.get_all("Authorization")
    assert ack.get_all("Proxy-Authorization") == request.get_all("Proxy-Authorization")
    assert (ack.uri, ack.to_tag) == ("sip:bob@b1.example", "b1")
    assert dialog.local_cseq == 18


@pytest.mark.rfc("3261", "12.2.1.1")
@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_ack_and_cancel_are_no_new_requests(method: str) -> None:
    with pytest.raises(LocalProtocolError):
        Dialog.from_uac(invite(), answer(invite())).create_request(method)


@pytest.mark.rfc("3261", "12.2.1.1")
def test_a_strict_router_is_fixed_up() -> None:
    routes = ["<sip:loose.example;lr>", "<sip:strict.example;method=INVITE?Subject=x>"]
    dialog = Dialog.from_uac(invite(), answer(invite(), routes=routes))
    request = dialog.create_request("BYE")
    assert request.uri == "sip:strict.example"
    assert request.get_all("Route") == ["<sip:loose.example;lr>", "<sip:bob@b1.example>"]
    assert dialog.next_hop.host == "strict.example"


@pytest.mark.rfc("3261", "12.2.1.1")
def test_without_routes_requests_go_to_the_target() -> None:
    dialog = Dialog.from_uac(invite(), answer(invite(), routes=[]))
    assert dialog.create_request("BYE").get_all("Route") == []
    assert str(dialog.next_hop) == "sip:bob@b1.example"


def in_dialog(method: str, number: int) -> Request:
    request = invite()
    request.method = method
    request.set("CSeq", f"{number} {method}")
    return request


@pytest.mark.rfc("3261", "12.2.2")
def test_cseq_must_not_go_back() -> None:
    request = routed_invite()
    dialog = Dialog.from_uas(request, answer(request))
    dialog.receive_request(in_dialog("INFO", 18))
    dialog.receive_request(in_dialog("INFO", 400))
    with pytest.raises(RemoteProtocolError) as caught:
        dialog.receive_request(in_dialog("INFO", 399))
    assert caught.value.status == 500
    assert dialog.remote_cseq == 400
    dialog.receive_request(in_dialog("ACK", 17))
    dialog.receive_request(in_dialog("CANCEL", 17))
    assert dialog.remote_cseq == 400


@pytest.mark.rfc("3261", "12.2.2")
def test_the_first_request_to_a_uac_may_have_any_number() -> None:
    dialog = Dialog.from_uac(invite(), answer(invite()))
    dialog.receive_request(in_dialog("BYE", 0))
    assert dialog.remote_cseq == 0


@pytest.mark.rfc("3261", "12.2.1.2", "12.2.2")
def test_target_refresh() -> None:
    dialog = Dialog.from_uac(invite(), answer(invite()))
    reinvite = invite(contact="<sip:bob@moved.example>")
    dialog.update_target(reinvite)
    assert str(dialog.remote_target) == "sip:bob@moved.example"
    dialog.update_target(invite(contact=None))
    assert str(dialog.remote_target) == "sip:bob@moved.example"
    assert len(dialog.route_set) == 3


@pytest.mark.rfc("3261", "12.3")
def test_a_dialog_that_is_over() -> None:
    dialog = Dialog.from_uac(invite(), answer(invite()))
    dialog.terminate()
    assert dialog.state is DialogState.TERMINATED
    with pytest.raises(LocalProtocolError):
        dialog.create_request("BYE")
    with pytest.raises(RemoteProtocolError) as caught:
        dialog.receive_request(in_dialog("INFO", 99))
    assert caught.value.status == 481


@pytest.mark.rfc("3261", "12.1.1", "12.1.2")
def test_secure_comes_from_the_request_uri() -> None:
    for uri, secure in (("sips:bob@example.org", True), ("sip:bob@example.org", False)):
        request = invite(uri)
        assert Dialog.from_uac(request, answer(request)).secure is secure
        assert Dialog.from_uas(request, answer(request)).secure is secure


@pytest.mark.rfc("3261", "12.1.2")
def test_a_peer_of_rfc_2543_has_no_tag() -> None:
    response = answer(invite())
    response.set("To", "<sip:bob@example.org>")
    dialog = Dialog.from_uac(invite(), response)
    assert dialog.id == DialogId("call-1", "a1", "")
    assert dialog.create_request("BYE").get("To") == "<sip:bob@example.org>"


@pytest.mark.parametrize("status", [180, 200])
def test_a_route_that_cannot_be_read_makes_no_dialog(status: int) -> None:
    broken = ["<sip:p1.example.com;lr>", "<sip:not a host;lr>"]
    request = invite()
    with pytest.raises(SipParseError):
        Dialog.from_uac(request, answer(request, status, routes=broken))
    for route in broken:
        request.add("Record-Route", route)
    with pytest.raises(SipParseError):
        Dialog.from_uas(request, answer(request, status, routes=[]))


def test_a_2xx_with_a_route_that_cannot_be_read_confirms_nothing() -> None:
    request = invite()
    dialog = Dialog.from_uac(request, answer(request, 180))
    with pytest.raises(SipParseError):
        dialog.confirm(answer(request, routes=["<sip:not a host;lr>"]))
