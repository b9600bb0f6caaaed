"""What a peer asks within a session: to renew it, to change it, or what we can do."""

from typing import TYPE_CHECKING

from rcsops.errors import RemoteProtocolError
from rcsops.sip import Flow, Request, Response
from rcsops.ua.host import ACCEPT, ALLOW, SUPPORTED, AgentHost

if TYPE_CHECKING:
    from rcsops.ua.call import Call

__all__ = ["receive_in_dialog"]


def receive_in_dialog(call: "Call", host: AgentHost, request: Request, flow: Flow) -> None:
    """Answers a request of the dialog other than ACK, BYE and CANCEL."""
    if request.method == "INVITE":
        _receive_reinvite(call, host, request, flow)
    elif request.method == "UPDATE":
        _receive_update(call, host, request, flow)
    elif request.method == "OPTIONS":
        headers = [("Allow", ALLOW), ("Accept", ACCEPT), ("Supported", SUPPORTED)]
        host.refuse(request, flow, 200, headers=[("Contact", call.contact), *headers])
    else:
        host.refuse(request, flow, 405, headers=[("Allow", ALLOW)])


def _refused(call: "Call", host: AgentHost, request: Request, flow: Flow) -> bool:
    """Whether a re-INVITE or UPDATE cannot be taken now, and has been answered so."""
    if call.refresh.inviting and (request.method == "INVITE" or request.body):
        # RFC 3261 §14.2, RFC 3311 §5.2: two offers at once.
        host.refuse(request, flow, 491)
        return True
    try:
        call.refresh.timer.check(request)
    except RemoteProtocolError as error:
        headers = call.refresh.refusal_headers(error.status)
        host.refuse(request, flow, error.status, error.reason, headers)
        return True
    return False


def _receive_reinvite(call: "Call", host: AgentHost, request: Request, flow: Flow) -> None:
    if _refused(call, host, request, flow):
        return
    server = call.serve(request, flow)
    if server is None:
        return
    status, body = call.user.call_offer(request)
    if status < 300:
        headers = [*call.headers, *call.refresh.timer.answer(request, call.now)]
        server.accept(call.now, [*headers, ("Content-Type", "application/sdp")], body)
        call.refresh.schedule()
    else:
        server.reject(status, call.now)
    call.answered()


def _receive_update(call: "Call", host: AgentHost, request: Request, flow: Flow) -> None:
    if _refused(call, host, request, flow):
        return
    status, body = call.user.call_offer(request) if request.body else (200, b"")
    headers = [("Contact", call.contact), *call.headers]
    if status < 300 and call.dialog is not None:
        call.dialog.update_target(request)
        headers += call.refresh.timer.answer(request, call.now)
        call.refresh.schedule()
    response = Response.to_request(request, status, headers=headers)
    if body:
        response.set_body(body, "application/sdp")
    host.endpoint.respond(host.endpoint.accept(request, flow), response)
