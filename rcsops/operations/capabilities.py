"""``rcsops capabilities``: what a peer's devices can do, asked or remembered, in words."""

from rcsops.errors import AgentError, UsageError
from rcsops.operations.history import local_time
from rcsops.ua import Agent, Capabilities, PeerState, Service

__all__ = ["SERVICES", "ask", "remembered", "verdict"]

SERVICES = {
    Service.CHAT: "chat session",
    Service.PAGER: "message without a session",
    Service.LARGE_MESSAGE: "large message",
    Service.FILE_TRANSFER: "file over MSRP",
    Service.FILE_TRANSFER_HTTP: "file over HTTP",
    Service.GEOLOCATION_PUSH: "geolocation push",
}
"""The services in the order in which they are shown, in words."""


async def ask(agent: Agent, peer: str, *, seconds: float) -> Capabilities:
    """Asks ``peer`` as ``agent``, which it starts and closes but does not register.

    Raises AgentError when the server cannot be reached, or does not take the user's password.
    """
    _check(agent, peer)
    async with agent:
        found = await agent.capabilities(peer, fresh=True, timeout=seconds)
    if found.status in (401, 407):
        raise AgentError(
            f"the server does not take the password of {agent.aor} ({found.status})",
            status=found.status,
            hint="check RCSOPS_PASSWORD, or type: rcsops user passwd",
        )
    return found


def remembered(agent: Agent, peer: str) -> Capabilities:
    """What is known of ``peer`` from the last day, without asking anybody."""
    _check(agent, peer)
    known = agent.known_capabilities(peer)
    return known or Capabilities(agent.peer_uri(peer).aor, PeerState.UNKNOWN)


def _check(agent: Agent, peer: str) -> None:
    if agent.peer_uri(peer).aor == agent.aor:
        raise UsageError("that is you", hint="ask somebody else")


def verdict(found: Capabilities, name: str) -> str:
    """One line about a peer, whom people call ``name``."""
    status = f" ({found.status})" if found.status else ""
    words = {
        PeerState.ONLINE: f"{name} is online, with RCS",
        PeerState.NO_RCS: f"{name} is online, without RCS",
        PeerState.OFFLINE: f"{name} is offline{status}",
        PeerState.NO_USER: f"there is no user {name}{status}",
        PeerState.REFUSED: f"{name} is not told to you{status}",
        PeerState.UNKNOWN: f"nothing is known of {name}",
    }[found.state]
    if found.state is PeerState.UNKNOWN and found.status:
        words = f"the answer says nothing of {name}{status}"
    elif found.state is PeerState.UNKNOWN and found.services:
        words = f"whether {name} is online was not asked"
    if found.learned_at is not None and found.learned_at != found.asked_at:
        heard = local_time(found.learned_at.timestamp())
        words += f"; what it can do was heard at {heard:%Y-%m-%d %H:%M:%S}"
    return words
