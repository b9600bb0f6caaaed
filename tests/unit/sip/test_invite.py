"""What a user agent does about an INVITE: forks, ACK, 2xx retransmission (RFC 3261 §13)."""

import pytest

from rcsops.errors import LocalProtocolError, RemoteProtocolError
from rcsops.sip import (
    Accepted,
    AckAgain,
    Acknowledged,
    AckTimeout,
    CancelDue,
    Dialog,
    DialogState,
    ExtraFork,
    Failed,
    InviteCancelled,
    InviteClient,
    InviteServer,
    InviteServerState,
    Progress,
    Request,
    Respond,
    Response,
)
from rcsops.sip.invite_client import MAX_FORKS, ClientEvent
from rcsops.sip.invite_server import ServerEvent
from rcsops.tokens import Tokens
from tests.unit.sip.sim import World, from_peer, make_request


def answer(request: Request, status: int, tag: str = "b1") -> Response:
    response = Response.to_request(request, status, to_tag=tag)
    response.set("Contact", f"<sip:bob@{tag}.example>")
    return response


def client_events(client: InviteClient) -> list[ClientEvent]:
    events = []
    while (event := client.next_event()) is not None:
        events.append(event)
    return events


def server_events(server: InviteServer) -> list[ServerEvent]:
    events = []
    while (event := server.next_event()) is not None:
        events.append(event)
    return events


class Caller:
    """An InviteClient and its events."""

    def __init__(self, **options: object) -> None:
        self.request = make_request()
        self.client = InviteClient(self.request, **options)  # type: ignore[arg-type]

    def receive(self, status: int, tag: str = "b1") -> list[ClientEvent]:
        self.client.receive_response(answer(self.request, status, tag), 0.0)
        return client_events(self.client)


# --- UAC -----------------------------------------------------------------------------------------


@pytest.mark.rfc("3261", "13.2.1", "13.2.2.1", "13.2.2.4")
def test_ringing_and_accepted() -> None:
    caller = Caller()
    (trying,) = caller.receive(100)
    assert isinstance(trying, Progress)
    assert (trying.status, trying.dialog) == (100, None)
    (ringing,) = caller.receive(180)
    assert isinstance(ringing, Progress)
    assert ringing.dialog is not None
    assert ringing.dialog.state is DialogState.EARLY
    (accepted,) = caller.receive(200)
    assert isinstance(accepted, Accepted)
    assert accepted.dialog is ringing.dialog
    assert accepted.dialog.state is DialogState.CONFIRMED
    assert accepted.ack.method == "ACK"
    assert accepted.ack.cseq == (1, "ACK")
    assert caller.client.done


@pytest.mark.rfc("3261", "13.2.2.4")
def test_a_retransmitted_2xx_gets_the_same_ack() -> None:
    caller = Caller()
    (accepted,) = caller.receive(200)
    assert isinstance(accepted, Accepted)
    world = World()
    accepted.ack.set_body(b"v=0\r\n", "application/sdp")
    world.layer.send_ack(accepted.ack, world.target)
    (again,) = caller.receive(200)
    assert isinstance(again, AckAgain)
    world.layer.send_ack(again.ack, world.target)
    (first, second) = world.layer.data_to_send()
    assert first == second
    assert first[0].endswith(b"v=0\r\n")


@pytest.mark.rfc("3261", "13.2.2.1", "12.1.2")
def test_forks_are_early_dialogs_of_their_own() -> None:
    caller = Caller()
    one, two = caller.receive(180, "b1"), caller.receive(183, "b2")
    assert isinstance(one[0], Progress)
    assert isinstance(two[0], Progress)
    assert one[0].dialog is not two[0].dialog
    assert len(caller.client.dialogs) == 2


@pytest.mark.rfc("3261", "13.2.2.4")
def test_the_2xx_of_a_further_fork_is_acknowledged_and_ended() -> None:
    caller = Caller()
    caller.receive(180, "b2")
    caller.receive(200, "b1")
    for tag in ("b2", "b3"):
        (extra,) = caller.receive(200, tag)
        assert isinstance(extra, ExtraFork)
        assert (extra.ack.method, extra.ack.to_tag, extra.ack.cseq.number) == ("ACK", tag, 1)
        assert (extra.bye.method, extra.bye.to_tag, extra.bye.cseq.number) == ("BYE", tag, 2)
        assert extra.bye.uri == f"sip:bob@{tag}.example"
        assert extra.dialog.state is DialogState.TERMINATED
        (again,) = caller.receive(200, tag)
        assert isinstance(again, AckAgain)
        assert again.ack is extra.ack


@pytest.mark.rfc("3261", "13.2.2.3")
def test_a_refusal_ends_the_early_dialogs() -> None:
    caller = Caller()
    (ringing,) = caller.receive(180)
    assert isinstance(ringing, Progress)
    (failed,) = caller.receive(486)
    assert isinstance(failed, Failed)
    assert failed.response.status == 486
    assert ringing.dialog is not None
    assert ringing.dialog.state is DialogState.TERMINATED
    assert caller.receive(486) == []
    assert caller.receive(180) == []


@pytest.mark.rfc("3261", "8.1.3.1")
@pytest.mark.parametrize("status", [408, 503])
def test_no_response_is_a_failure_of_our_own_making(status: int) -> None:
    caller = Caller()
    caller.client.no_response(status)
    caller.client.no_response(status)
    (failed,) = client_events(caller.client)
    assert isinstance(failed, Failed)
    assert failed.response.status == status


@pytest.mark.rfc("3261", "9.1", "13.2.2.4")
def test_a_200_that_crosses_the_cancel_is_acknowledged_and_ended() -> None:
    caller = Caller()
    caller.receive(180)
    caller.client.cancel()
    extra, failed = caller.receive(200)
    assert isinstance(extra, ExtraFork)
    assert (extra.ack.method, extra.bye.method) == ("ACK", "BYE")
    assert isinstance(failed, Failed)
    assert failed.response.status == 487
    (again,) = caller.receive(200)
    assert isinstance(again, AckAgain)


@pytest.mark.rfc("3261", "9.1")
def test_a_cancelled_invite_ends_with_its_487() -> None:
    caller = Caller()
    caller.client.cancel()
    (failed,) = caller.receive(487)
    assert isinstance(failed, Failed)
    assert failed.response.status == 487


@pytest.mark.rfc("3261", "9.1")
def test_the_time_limit_asks_for_a_cancel_once() -> None:
    caller = Caller(deadline=130.0)
    assert caller.client.next_timer() == 130.0
    caller.client.handle_timer(129.9)
    assert client_events(caller.client) == []
    caller.client.handle_timer(130.0)
    assert client_events(caller.client) == [CancelDue()]
    assert caller.client.next_timer() is None
    caller.client.handle_timer(131.0)
    assert client_events(caller.client) == []


@pytest.mark.parametrize("status", [200, 486])
def test_a_final_response_stops_the_time_limit(status: int) -> None:
    caller = Caller(deadline=30.0)
    caller.receive(status)
    assert caller.client.next_timer() is None


def test_a_broken_2xx_is_a_failure_and_a_broken_180_is_nothing() -> None:
    caller = Caller()
    for status in (180, 200):
        response = answer(caller.request, status)
        response.set("Contact", "<<>")
        caller.client.receive_response(response, 0.0)
    (failed,) = client_events(caller.client)
    assert isinstance(failed, Failed)
    assert failed.response.status == 500


def test_dialogs_out_of_one_invite_are_bounded() -> None:
    caller = Caller()
    for number in range(MAX_FORKS * 3):
        caller.receive(180, f"e{number}")
        caller.receive(200, f"f{number}")
    assert len(caller.client.dialogs) == MAX_FORKS


@pytest.mark.rfc("3261", "14.1")
def test_a_reinvite_refreshes_its_dialog_and_never_ends_it() -> None:
    first = Caller()
    (accepted,) = first.receive(200)
    assert isinstance(accepted, Accepted)
    dialog = accepted.dialog
    contact = [("Contact", "<sip:alice@192.0.2.1>")]

    refused = dialog.create_request("INVITE", contact)
    client = InviteClient(refused, dialog=dialog)
    client.receive_response(answer(refused, 488), 0.0)
    assert isinstance(client_events(client)[0], Failed)
    assert dialog.state is DialogState.CONFIRMED

    reinvite = dialog.create_request("INVITE", contact)
    client = InviteClient(reinvite, dialog=dialog)
    response = answer(reinvite, 200)
    response.set("Contact", "<sip:bob@moved.example>")
    client.receive_response(response, 0.0)
    (again,) = client_events(client)
    assert isinstance(again, Accepted)
    assert again.dialog is dialog
    assert str(dialog.remote_target) == "sip:bob@moved.example"
    assert again.ack.cseq == (3, "ACK")
    assert again.ack.uri == "sip:bob@moved.example"


# --- UAS -----------------------------------------------------------------------------------------


def make_server(request: Request | None = None, **options: object) -> InviteServer:
    return InviteServer(
        request or from_peer(),
        tokens=Tokens.deterministic(3),
        contact="<sip:bob@192.0.2.1>",
        now=0.0,
        **options,  # type: ignore[arg-type]
    )


def statuses(events: list[ServerEvent]) -> list[int]:
    return [event.response.status for event in events if isinstance(event, Respond)]


def ack_for(server: InviteServer, number: int = 1) -> Request:
    assert server.dialog is not None
    return make_request("ACK", to_tag=server.dialog.local_tag, number=number)


@pytest.mark.rfc("3261", "13.3.1.1", "13.3.1.4")
def test_ringing_then_accepting() -> None:
    server = make_server()
    server.progress(180, 0.0)
    early = server.dialog
    assert early is not None
    assert early.state is DialogState.EARLY
    dialog = server.accept(1.0, [("Content-Type", "application/sdp")], b"v=0\r\n")
    assert dialog is early
    assert dialog.state is DialogState.CONFIRMED
    ringing, accepted = server_events(server)
    assert isinstance(ringing, Respond)
    assert isinstance(accepted, Respond)
    assert ringing.response.to_tag == accepted.response.to_tag == dialog.local_tag
    assert ringing.response.get("Contact") == "<sip:bob@192.0.2.1>"
    assert accepted.response.body == b"v=0\r\n"
    assert accepted.response.content_length == 5


@pytest.mark.rfc("3261", "13.3.1.4")
def test_the_2xx_is_repeated_from_t1_to_t2_until_64_t1() -> None:
    server = make_server()
    server.accept(0.0)
    times = [(0.0, statuses(server_events(server)))]
    events: list[ServerEvent] = []
    while (due := server.next_timer()) is not None:
        server.handle_timer(due)
        events = server_events(server)
        if statuses(events):
            times.append((due, statuses(events)))
        last = due
    assert [at for at, _ in times] == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert {status for _, each in times for status in each} == {200}
    assert last == 32.0
    assert events == [AckTimeout(server.dialog)]  # type: ignore[arg-type]
    assert server.state is InviteServerState.TIMED_OUT


@pytest.mark.rfc("3261", "13.3.1.4")
def test_the_ack_ends_the_repetition() -> None:
    server = make_server()
    server.accept(0.0)
    server_events(server)
    ack = ack_for(server)
    server.receive_ack(ack, 0.3)
    server.receive_ack(ack, 0.4)
    assert server_events(server) == [Acknowledged(ack, server.dialog)]  # type: ignore[arg-type]
    assert server.next_timer() is None
    assert server.state is InviteServerState.CONFIRMED


@pytest.mark.rfc("3261", "13.3.1.4")
def test_the_ack_of_another_invite_does_not() -> None:
    server = make_server()
    server.accept(0.0)
    server_events(server)
    server.receive_ack(ack_for(server, number=2), 0.3)
    assert server_events(server) == []
    assert server.next_timer() == 0.5


def test_an_ack_without_a_readable_number_is_ignored() -> None:
    server = make_server()
    server.accept(0.0)
    server_events(server)
    ack = ack_for(server)
    ack.set("CSeq", "first ACK")
    server.receive_ack(ack, 0.3)
    assert server_events(server) == []


def test_an_expiry_that_is_no_number_is_ignored() -> None:
    request = from_peer()
    request.set("Expires", "soon")
    assert make_server(request).next_timer() is None


@pytest.mark.rfc("3261", "13.3.1.3")
def test_refusing() -> None:
    server = make_server()
    server.progress(180, 0.0)
    server.reject(486, 1.0, headers=[("Retry-After", "60")])
    assert statuses(server_events(server)) == [180, 486]
    assert server.dialog is not None
    assert server.dialog.state is DialogState.TERMINATED
    assert server.next_timer() is None


def test_answers_that_come_too_late_or_are_none() -> None:
    server = make_server()
    for misuse in (
        lambda: server.progress(100, 0.0),
        lambda: server.progress(200, 0.0),
        lambda: server.reject(200, 0.0),
    ):
        with pytest.raises(LocalProtocolError):
            misuse()
    server.accept(0.0)
    for late in (
        lambda: server.progress(180, 0.0),
        lambda: server.accept(0.0),
        lambda: server.reject(486, 0.0),
    ):
        with pytest.raises(LocalProtocolError):
            late()


@pytest.mark.rfc("3261", "9.2")
def test_a_cancel_is_answered_487() -> None:
    server = make_server()
    server.progress(180, 0.0)
    assert server.receive_cancel(1.0)
    events = server_events(server)
    assert statuses(events) == [180, 487]
    assert events[-1] == InviteCancelled()
    assert not server.receive_cancel(1.0)


@pytest.mark.rfc("3261", "9.2")
def test_a_cancel_after_the_200_changes_nothing() -> None:
    server = make_server()
    server.accept(0.0)
    server_events(server)
    assert not server.receive_cancel(0.1)
    assert server_events(server) == []
    assert server.next_timer() == 0.5


@pytest.mark.rfc("3261", "13.3.1.1")
def test_ringing_is_repeated_each_minute() -> None:
    server = make_server()
    server.progress(180, 0.0)
    server_events(server)
    assert server.next_timer() == 60.0
    server.handle_timer(60.0)
    assert statuses(server_events(server)) == [180]
    assert server.next_timer() == 120.0


@pytest.mark.rfc("3261", "13.3.1")
def test_an_invite_expires() -> None:
    request = from_peer()
    request.set("Expires", "20")
    server = make_server(request)
    server.progress(180, 0.0)
    server_events(server)
    assert server.next_timer() == 20.0
    server.handle_timer(20.0)
    events = server_events(server)
    assert statuses(events) == [487]
    assert InviteCancelled() in events


def test_an_invite_without_a_contact_is_rejected_with_the_status_of_the_error() -> None:
    request = from_peer()
    request.remove("Contact")
    server = make_server(request)
    with pytest.raises(RemoteProtocolError) as caught:
        server.accept(0.0)
    assert server_events(server) == []
    server.reject(caught.value.status, 0.0)
    assert statuses(server_events(server)) == [400]


@pytest.mark.rfc("3261", "14.2")
def test_a_reinvite_keeps_its_dialog() -> None:
    server = make_server()
    dialog = server.accept(0.0)
    request = from_peer(to_tag=dialog.local_tag, number=2)
    request.set("Contact", "<sip:alice@moved.example>")
    second = make_server(request, dialog=dialog)
    second.reject(488, 0.0)
    assert dialog.state is DialogState.CONFIRMED
    third = make_server(request, dialog=dialog)
    assert third.accept(0.0) is dialog
    assert str(dialog.remote_target) == "sip:alice@moved.example"


# --- both sides ----------------------------------------------------------------------------------


@pytest.mark.rfc("6026", "7.1")
@pytest.mark.rfc("3261", "13.3.1.4")
def test_a_200_that_is_lost_twice_reaches_the_caller_through_the_transactions() -> None:
    world = World()
    request = from_peer()
    transaction = world.accept(request)
    server = make_server(world.events[0][1].request)  # type: ignore[union-attr]
    caller = InviteClient(request)
    server.accept(0.0)
    while world.now < 3.0:
        for event in server_events(server):
            assert isinstance(event, Respond)
            assert world.layer.respond(transaction, event.response, world.now)
        world.drain()
        due = server.next_timer()
        assert due is not None
        world.run_until(due)
        server.handle_timer(due)
    sent = [message for _, message, _ in world.sent]
    assert world.times("200") == [0, 0.5, 1.5]
    assert isinstance(sent[-1], Response)
    caller.receive_response(sent[-1], world.now)
    (accepted,) = client_events(caller)
    assert isinstance(accepted, Accepted)
    assert accepted.dialog.id[1:] == tuple(reversed(server.dialog.id[1:]))  # type: ignore[union-attr]
    assert isinstance(accepted.dialog, Dialog)
    server_events(server)
    server.receive_ack(accepted.ack, world.now)
    assert isinstance(server_events(server)[0], Acknowledged)
