"""Our side of a chat, which does not depend on who the other is: so the next one is made ahead."""

from typing import TYPE_CHECKING, NamedTuple

from rcsops.rcs import LocalStream, chat_offer, chat_stream
from rcsops.sip import Flow
from rcsops.transport.msrp import MsrpEndpoint

if TYPE_CHECKING:
    from rcsops.ua.core import AgentCore

__all__ = ["OwnSide", "make_next", "take_own_side"]


class _Kind(NamedTuple):
    """What our side depends on: two of the same kind differ in nothing but their names."""

    msrp: MsrpEndpoint
    host: str
    """How the peer, or what stands before it, sees this machine."""
    secure: bool
    can_listen: bool
    prefer: str
    offering: bool


class OwnSide(NamedTuple):
    """Our stream, under a path of its own, and the SDP that offers it, b"" where the peer does."""

    kind: _Kind
    stream: LocalStream
    offer: bytes


def take_own_side(
    agent: "AgentCore",
    msrp: MsrpEndpoint,
    flow: Flow | None,
    *,
    secure: bool,
    can_listen: bool,
    offering: bool,
) -> OwnSide:
    """Our side of a chat with somebody beyond ``flow``, as an offer of ours or for an answer."""
    host, prefer = agent.visible_host(flow), agent.answer_setup
    kind = _Kind(msrp, host, secure, can_listen, prefer, offering)
    ahead, agent.side_ahead = agent.side_ahead, None
    return ahead if ahead is not None and ahead.kind == kind else _make(agent, kind)


def make_next(agent: "AgentCore", side: OwnSide) -> None:
    """Makes the next one of the kind of ``side``, which has been told to its peer."""
    agent.side_ahead = _make(agent, side.kind)


def _make(agent: "AgentCore", kind: _Kind) -> OwnSide:
    stream = chat_stream(
        kind.msrp.new_path(kind.host, secure=kind.secure),
        max_size=agent.options.max_message_size,
        can_listen=kind.can_listen,
        prefer=kind.prefer,
        fingerprints=kind.msrp.fingerprints(secure=kind.secure),
    )
    offer = chat_offer(stream, session_id=agent.sdp_session_id()) if kind.offering else b""
    return OwnSide(kind, stream, offer)
