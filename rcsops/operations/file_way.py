"""By which of RCS's two ways a file goes: over MSRP, or by a content server (RCC.07)."""

from rcsops.ua import Agent, Service

__all__ = ["goes_by_http"]


def goes_by_http(agent: Agent, peer: str) -> bool:
    """Whether a file for ``peer`` goes by the content server: where one is known, unless a device
    of the peer was there when we asked and does not fetch files from one."""
    if not agent.options.content:
        return False
    known = agent.known_capabilities(peer)
    return known is None or not known.online or not known.lacks(Service.FILE_TRANSFER_HTTP)
