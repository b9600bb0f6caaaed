"""Where SDP and MSRP meet: offers and answers with paths, and what was agreed."""

from dataclasses import dataclass
from typing import NamedTuple

from rcsops.errors import LocalProtocolError, MsrpParseError, SdpParseError
from rcsops.msrp import Path, format_path, parse_path
from rcsops.sdp import (
    MsrpMedia,
    SessionDescription,
    answer_setup,
    check_fingerprints,
    find_msrp,
    make_answer,
    make_offer,
    offerer_is_active,
)


class Agreement(NamedTuple):
    """What both sides said: enough to make the MsrpSession and its connection.

    ``active`` says that we connect, to ``target`` (host, port). ``remote`` is the peer's stream;
    its ``accept_types`` and ``max_size`` bind what we send. ``direction`` is ours.
    """

    local_path: Path
    remote_path: Path
    active: bool
    target: tuple[str, int]
    direction: str
    remote: MsrpMedia


@dataclass(frozen=True, slots=True)
class LocalStream:
    """Our side of a stream: the URI that leads to us, and what we take.

    Port and host of the m= and c= lines are those of the first URI of ``path`` (without relays
    the only one, that of our own listener): peers connect to the one or to the other.
    ``can_listen`` False means that we can only be active.
    """

    path: Path
    accept_types: tuple[str, ...]
    accept_wrapped_types: tuple[str, ...] = ()
    max_size: int | None = None
    direction: str = "sendrecv"
    can_listen: bool = True
    prefer: str = "active"
    fingerprints: tuple[str, ...] = ()
    cema: bool = False

    def media(self, setup: str) -> MsrpMedia:
        """The stream as it stands in our SDP; raise LocalProtocolError without an explicit port."""
        first = self.path[0]
        if first.port is None or not first.port:
            raise LocalProtocolError("a path of ours needs explicit ports")
        return MsrpMedia(
            format_path(self.path),
            first.host,
            first.port,
            setup,
            self.accept_types,
            self.accept_wrapped_types,
            self.max_size,
            self.direction,
            secure=self.path[-1].secure,
            cema=self.cema,
            fingerprints=self.fingerprints,
        )


def offer_stream(media: MsrpMedia, session_id: int, version: int | None) -> bytes:
    """An offer with that one stream; a first one has the version of its session_id."""
    return make_offer(
        [media],
        username="-",
        host=media.host,
        session_id=session_id,
        version=session_id if version is None else version,
    )


def offered_setup(stream: LocalStream) -> str:
    """The role that we offer."""
    return "actpass" if stream.can_listen else "active"


def answer_stream(
    offer: SessionDescription,
    index: int,
    offered: MsrpMedia,
    media: MsrpMedia,
    stream: LocalStream,
    session_id: int,
    version: int | None,
) -> tuple[bytes, Agreement]:
    """The answer that takes stream ``index`` and refuses the others, and what is agreed by it."""
    remote_path = _path(offered)
    _check_security(stream, offered, remote_path)
    # RFC 6714 §4.2: said in an answer only to who said it in the offer.
    if media.cema and not offered.cema:
        media = media._replace(cema=False)
    answer = make_answer(
        offer,
        [*[None] * index, media],
        username="-",
        host=media.host,
        session_id=session_id,
        version=session_id if version is None else version,
    )
    active = media.setup == "active"
    agreement = Agreement(
        stream.path,
        remote_path,
        active,
        _target(offered, remote_path, stream.cema),
        media.direction,
        offered,
    )
    return answer, agreement


def choose_setup(offered: MsrpMedia, stream: LocalStream) -> str:
    """Our role in the answer; raise SdpParseError (488) when neither side can listen."""
    return answer_setup(offered.setup, can_listen=stream.can_listen, prefer=stream.prefer)


def accept_answer(stream: LocalStream, answer: SessionDescription) -> Agreement:
    """What an answer to our offer agrees on; raise SdpParseError (488) when it refuses it."""
    _, remote = find_msrp(answer)
    remote_path = _path(remote)
    _check_security(stream, remote, remote_path)
    active = offerer_is_active(offered_setup(stream), remote.setup)
    if not active and not stream.can_listen:
        raise SdpParseError("the peer wants to connect and we cannot listen", status=488)
    target = _target(remote, remote_path, stream.cema)
    return Agreement(stream.path, remote_path, active, target, stream.direction, remote)


def _check_security(stream: LocalStream, remote: MsrpMedia, path: Path) -> None:
    if not stream.path[-1].secure == remote.secure == path[-1].secure:
        raise SdpParseError("msrp and msrps do not go together", status=488)
    if remote.secure:
        check_fingerprints(remote.fingerprints)


def _path(media: MsrpMedia) -> Path:
    try:
        return parse_path(media.path)
    except MsrpParseError as error:
        raise SdpParseError(f"not a path: {error}", status=488) from error


def _target(remote: MsrpMedia, path: Path, cema: bool) -> tuple[str, int]:
    # RFC 6714 §4.2: with CEMA on both sides, and no relay, c= and m= say where to connect to.
    if cema and remote.cema and len(path) == 1 and remote.host:
        return remote.host, remote.port
    return path[0].address
