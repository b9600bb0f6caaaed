"""What a peer's devices can do: RCS services in feature tags, and answers to OPTIONS (RCC.07)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from rcsops.rcs.features import (
    CPM_FILE_TRANSFER,
    CPM_LARGE_MESSAGE,
    CPM_MESSAGE,
    CPM_SESSION,
    IARI_PREFIX,
    ICSI_PREFIX,
    RCS_FILE_TRANSFER,
    RCS_FILE_TRANSFER_HTTP,
    RCS_GEOLOCATION_PUSH,
    read_features,
)
from rcsops.sip import NameAddr


class Service(StrEnum):
    """An RCS service between two users."""

    CHAT = "chat"
    PAGER = "pager"
    LARGE_MESSAGE = "large-message"
    FILE_TRANSFER = "file-transfer"
    FILE_TRANSFER_HTTP = "file-transfer-http"
    GEOLOCATION_PUSH = "geolocation-push"


class PeerState(StrEnum):
    """What is known of a peer's devices."""

    ONLINE = "online"
    """A device is there, and does RCS."""
    NO_RCS = "no RCS"
    """A device is there, and says nothing of RCS."""
    OFFLINE = "offline"
    """No device is there now; what is known of them stays."""
    NO_USER = "no such user"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """The answer says nothing; what is known stays."""


# A Contact that is longer is not remembered.
_LONGEST = 512
_RCSE_CHAT = IARI_PREFIX + "rcse.im"
_SERVICES = {
    CPM_SESSION: (Service.CHAT,),
    _RCSE_CHAT: (Service.CHAT,),
    CPM_MESSAGE: (Service.PAGER,),
    CPM_LARGE_MESSAGE: (Service.LARGE_MESSAGE,),
    CPM_FILE_TRANSFER: (Service.FILE_TRANSFER,),
    RCS_FILE_TRANSFER: (Service.FILE_TRANSFER,),
    RCS_FILE_TRANSFER_HTTP: (Service.FILE_TRANSFER_HTTP,),
    RCS_GEOLOCATION_PUSH: (Service.GEOLOCATION_PUSH,),
}
# Feature tags that have no value.
_BARE = {
    "+g.oma.sip-im": (Service.CHAT,),
    "+g.gsma.rcs.cpm.pager-large": (Service.PAGER, Service.LARGE_MESSAGE),
}
_RCS = (ICSI_PREFIX + "oma.cpm.", IARI_PREFIX + "rcs.", IARI_PREFIX + "rcse.")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What is known of ``peer``, an address of record.

    ``status`` is the SIP status that an OPTIONS was answered with, 0 when all comes from messages
    of the peer's own. ``asked_at`` is when the state was learned, ``learned_at`` when the services
    were last heard of, None for never.
    """

    peer: str
    state: PeerState
    services: frozenset[Service] = frozenset()
    status: int = 0
    asked_at: datetime | None = None
    learned_at: datetime | None = None

    @property
    def online(self) -> bool:
        """Whether a device that does RCS was there when we asked."""
        return self.state is PeerState.ONLINE

    @property
    def chat(self) -> bool:
        """Chat sessions over MSRP."""
        return Service.CHAT in self.services

    @property
    def pager(self) -> bool:
        """Messages without a session."""
        return Service.PAGER in self.services

    @property
    def large_message(self) -> bool:
        """Long messages that a session of their own carries."""
        return Service.LARGE_MESSAGE in self.services

    @property
    def file_transfer(self) -> bool:
        """Files over MSRP."""
        return Service.FILE_TRANSFER in self.services

    @property
    def file_transfer_http(self) -> bool:
        """Files by way of a content server."""
        return Service.FILE_TRANSFER_HTTP in self.services

    @property
    def geolocation_push(self) -> bool:
        """Places."""
        return Service.GEOLOCATION_PUSH in self.services

    def lacks(self, service: Service) -> bool:
        """Whether we know that the peer's devices cannot do this: they said what they can."""
        return bool(self.services) and service not in self.services


def read_services(contacts: Iterable[NameAddr]) -> tuple[frozenset[Service], bool]:
    """The services in the feature tags of Contact headers, and whether there is any tag of RCS."""
    found: frozenset[Service] = frozenset()
    is_rcs = False
    for contact in contacts:
        text = str(contact)
        services, has_tag = _services_of(text) if len(text) > _LONGEST else _known_services(text)
        found |= services
        is_rcs = is_rcs or has_tag
    return found, is_rcs


def _services_of(text: str) -> tuple[frozenset[Service], bool]:
    contact = NameAddr.parse(text)
    found: set[Service] = set()
    is_rcs = False
    for urn in read_features(contact.params):
        found.update(_SERVICES.get(urn, ()))
        is_rcs = is_rcs or urn.startswith(_RCS)
    for name in contact.params:
        bare = _BARE.get(name.lower(), ())
        found.update(bare)
        is_rcs = is_rcs or bool(bare)
    return frozenset(found), is_rcs


# A peer's Contact is the same in all of its requests.
_known_services = lru_cache(maxsize=128)(_services_of)


def judge(status: int, is_rcs: bool) -> PeerState:
    """What the final answer to an OPTIONS means; ``is_rcs`` as `read_services` says."""
    if status < 300:
        return PeerState.ONLINE if is_rcs else PeerState.NO_RCS
    if status in (404, 410, 604):
        return PeerState.NO_USER
    if status == 403:
        return PeerState.REFUSED
    # 477: what OpenSIPS and Kamailio say of a connection that cannot be made.
    if status in (408, 430, 477, 480):
        return PeerState.OFFLINE
    return PeerState.UNKNOWN
