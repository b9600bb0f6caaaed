"""Dialogs: the lasting relation of two user agents (RFC 3261 §12)."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from rcsops.errors import LocalProtocolError, RemoteProtocolError
from rcsops.sip.headers import NameAddr
from rcsops.sip.message import Message, Request, Response
from rcsops.sip.uri import Uri


class DialogState(StrEnum):
    """Early from a provisional response on, confirmed from a 2xx on (RFC 3261 §12)."""

    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class DialogId(NamedTuple):
    """What tells dialogs apart; a tag that a peer of RFC 2543 leaves out is ""."""

    call_id: str
    local_tag: str
    remote_tag: str

    @classmethod
    def of_received(cls, message: Message) -> "DialogId":
        """The dialog that a message from the peer belongs to. Raises SipParseError."""
        from_tag, to_tag = message.from_tag or "", message.to_tag or ""
        if isinstance(message, Request):
            return cls(message.call_id, to_tag, from_tag)
        return cls(message.call_id, from_tag, to_tag)


class Dialog:
    """One dialog, seen from our side.

    ``route_set`` is fixed when the dialog is made, ``remote_target`` moves with target refreshes;
    ``local_cseq`` and ``remote_cseq`` are the last numbers used, None before any. Making it raises
    SipParseError for a route or a target that cannot be read.
    """

    __slots__ = (
        "call_id",
        "local_cseq",
        "local_tag",
        "local_uri",
        "remote_cseq",
        "remote_tag",
        "remote_target",
        "remote_uri",
        "route_set",
        "secure",
        "state",
    )

    def __init__(
        self,
        *,
        call_id: str,
        local_tag: str,
        remote_tag: str,
        local_uri: Uri,
        remote_uri: Uri,
        remote_target: Uri,
        route_set: Iterable[NameAddr] = (),
        local_cseq: int | None = None,
        remote_cseq: int | None = None,
        secure: bool = False,
        state: DialogState = DialogState.CONFIRMED,
    ) -> None:
        self.call_id = call_id
        self.local_tag = local_tag
        self.remote_tag = remote_tag
        self.local_uri = local_uri
        self.remote_uri = remote_uri
        _ = remote_target.params
        self.remote_target = remote_target
        self.route_set = _readable(route_set)
        self.local_cseq = local_cseq
        self.remote_cseq = remote_cseq
        self.secure = secure
        self.state = state

    @classmethod
    def from_uac(cls, request: Request, response: Response) -> "Dialog":
        """The dialog that a response of 101 to 299 to our request makes (RFC 3261 §12.1.2).

        Raises :class:`LocalProtocolError` for another response, SipParseError for a broken one. A
        provisional response may lack the Contact; then the Request-URI serves until the 2xx.
        """
        contacts = response.contacts
        return cls(
            call_id=request.call_id,
            local_tag=request.from_tag or "",
            remote_tag=response.to_tag or "",
            local_uri=request.from_.uri,
            remote_uri=request.to.uri,
            remote_target=contacts[0].uri if contacts else request.request_uri,
            route_set=reversed(response.record_routes),
            local_cseq=request.cseq.number,
            secure=request.request_uri.scheme == "sips",
            state=_state_after(response),
        )

    @classmethod
    def from_uas(
        cls, request: Request, response: Response, *, local_tag: str | None = None
    ) -> "Dialog":
        """The dialog that our response of 101 to 299 to a request makes (RFC 3261 §12.1.1).

        ``local_tag`` is the tag that we have put into the response, if that is known. Raises
        :class:`RemoteProtocolError` with status 400 if the request has no usable Contact.
        """
        contacts = request.contacts
        if not contacts:
            raise RemoteProtocolError("a request that makes a dialog needs a Contact", status=400)
        return cls(
            call_id=request.call_id,
            local_tag=(response.to_tag or "") if local_tag is None else local_tag,
            remote_tag=request.from_tag or "",
            local_uri=request.to.uri,
            remote_uri=request.from_.uri,
            remote_target=contacts[0].uri,
            route_set=request.record_routes,
            remote_cseq=request.cseq.number,
            secure=request.request_uri.scheme == "sips",
            state=_state_after(response),
        )

    @property
    def id(self) -> DialogId:
        """Call-ID, local tag, remote tag."""
        return DialogId(self.call_id, self.local_tag, self.remote_tag)

    @property
    def next_hop(self) -> Uri:
        """Where requests go: the first route, or the remote target (RFC 3261 §12.2.1.1, §8.1.2)."""
        return self.route_set[0].uri if self.route_set else self.remote_target

    def __repr__(self) -> str:
        return f"<Dialog {self.call_id} {self.local_tag}/{self.remote_tag} {self.state}>"

    def confirm(self, response: Response) -> None:
        """A 2xx has come, or was sent: the dialog is confirmed, even one that was given up early.

        On the side of the UAC its route set and target are taken from the 2xx anew (RFC 3261
        §13.2.2.4).
        """
        if self.state is DialogState.CONFIRMED:
            return
        self.state = DialogState.CONFIRMED
        if self.remote_cseq is None:
            self.route_set = _readable(reversed(response.record_routes))
            self.update_target(response)

    def terminate(self) -> None:
        """The dialog is over; nothing can be sent in it any more."""
        self.state = DialogState.TERMINATED

    def create_request(
        self, method: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Request:
        """The next request in the dialog, without a Via (RFC 3261 §12.2.1.1).

        ``headers`` are added to what the dialog gives; a request that refreshes the target (INVITE,
        UPDATE) needs a Contact among them. Raises :class:`LocalProtocolError` for ACK and CANCEL,
        which repeat the number of their INVITE, and in a dialog that is over.
        """
        if method in ("ACK", "CANCEL"):
            raise LocalProtocolError(f"{method} is not a new request in a dialog")
        if self.state is DialogState.TERMINATED:
            raise LocalProtocolError(f"{method} in a dialog that is over")
        self.local_cseq = (self.local_cseq or 0) + 1
        return self._make(method, self.local_cseq, headers, body)

    def create_ack(self, invite: Request) -> Request:
        """The ACK for a 2xx to our INVITE: its number and its credentials (RFC 3261 §13.2.2.4)."""
        credentials = []
        for name in ("Authorization", "Proxy-Authorization"):
            if name.lower() in invite._names:
                credentials += [(name, value) for value in invite.get_all(name)]
        return self._make("ACK", invite.cseq.number, credentials, b"")

    def receive_request(self, request: Request) -> None:
        """Note the CSeq of a request from the peer (RFC 3261 §12.2.2); gaps are allowed.

        Raises :class:`RemoteProtocolError`: status 500 when the number is lower than the last, 481
        when the dialog is over. ACK and CANCEL repeat the number of their INVITE.
        """
        if request.method in ("ACK", "CANCEL"):
            return
        if self.state is DialogState.TERMINATED:
            raise RemoteProtocolError("the dialog is over", status=481)
        number = request.cseq.number
        if self.remote_cseq is not None and number < self.remote_cseq:
            raise RemoteProtocolError(
                f"CSeq {number} after {self.remote_cseq}", status=500, reason="CSeq Out Of Order"
            )
        self.remote_cseq = number

    def update_target(self, message: Message) -> None:
        """Take the Contact of a target refresh: an INVITE or UPDATE, or the 2xx to ours (§12.2)."""
        contacts = message.contacts
        if contacts:
            target = contacts[0].uri
            _ = target.params
            self.remote_target = target

    def _make(
        self, method: str, number: int, headers: Iterable[tuple[str, str]], body: bytes
    ) -> Request:
        uri, routes = self._request_line()
        fixed = [("Max-Forwards", "70")]
        for route in routes:
            fixed.append(("Route", route))
        fixed += [
            ("From", _address(self.local_uri, self.local_tag)),
            ("To", _address(self.remote_uri, self.remote_tag)),
            ("Call-ID", self.call_id),
            ("CSeq", f"{number} {method}"),
        ]
        return Request(method, uri, [*fixed, *headers], body)

    def _request_line(self) -> tuple[Uri, list[str]]:
        """Request-URI and Route, with the fix-up for a strict router (RFC 3261 §12.2.1.1)."""
        routes = list(map(str, self.route_set))
        if not routes or "lr" in self.route_set[0].uri.params:
            return self.remote_target, routes
        # A strict router finds its own URI in the Request-URI, and the target last in Route.
        first = self.route_set[0].uri.without_headers().without_param("method")
        return first, [*routes[1:], f"<{self.remote_target}>"]


def _readable(routes: Iterable[NameAddr]) -> tuple[NameAddr, ...]:
    """The routes, each read now: later, in the middle of a BYE, nobody could refuse them."""
    route_set = tuple(routes)
    for route in route_set:
        _ = route.uri.params
    return route_set


def _address(uri: Uri, tag: str) -> str:
    return f"<{uri}>;tag={tag}" if tag else f"<{uri}>"


def _state_after(response: Response) -> DialogState:
    if not 100 < response.status < 300:
        raise LocalProtocolError(f"a {response.status} makes no dialog")
    return DialogState.EARLY if response.status < 200 else DialogState.CONFIRMED
