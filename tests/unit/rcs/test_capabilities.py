"""What feature tags and answers to OPTIONS say of a peer."""

import pytest

from rcsops.rcs import REGISTERED, Capabilities, PeerState, Service, feature_text
from rcsops.rcs.capabilities import judge, read_services
from rcsops.sip import NameAddr


def contact(tags: str) -> NameAddr:
    return NameAddr.parse(f"<sip:bob@192.0.2.1>{tags}")


def test_our_own_tags() -> None:
    services, is_rcs = read_services([contact(feature_text(REGISTERED))])
    assert is_rcs
    assert services >= {
        Service.CHAT,
        Service.PAGER,
        Service.FILE_TRANSFER,
        Service.GEOLOCATION_PUSH,
    }


IARI = "urn%3Aurn-7%3A3gpp-application.ims.iari."
ICSI = "urn%3Aurn-7%3A3gpp-service.ims.icsi."


@pytest.mark.parametrize(
    ("tags", "services", "is_rcs"),
    [
        ("", set(), False),
        (";audio;video;+sip.instance=\"<urn:uuid:1>\"", set(), False),
        (f';+g.3gpp.icsi-ref="{ICSI}mmtel"', set(), False),
        (f';+g.3gpp.iari-ref="{IARI}rcs.chatbot"', set(), True),
        (f';+g.3gpp.iari-ref="{IARI}rcse.im,{IARI}rcse.ft"',
         {Service.CHAT, Service.FILE_TRANSFER}, True),
        (f';+g.3gpp.iari-ref="{IARI}rcs.fthttp"', {Service.FILE_TRANSFER_HTTP}, True),
        (";+g.oma.sip-im", {Service.CHAT}, True),
        (";+G.GSMA.RCS.cpm.pager-large", {Service.PAGER, Service.LARGE_MESSAGE}, True),
        (f';+g.3gpp.icsi-ref="{ICSI}oma.cpm.largemsg"', {Service.LARGE_MESSAGE}, True),
    ],
)  # fmt: skip
def test_tags_of_others(tags: str, services: set[Service], is_rcs: bool) -> None:
    assert read_services([contact(tags)]) == (frozenset(services), is_rcs)


def test_several_contacts_are_taken_together() -> None:
    both = [contact(";+g.oma.sip-im"), contact(f';+g.3gpp.iari-ref="{IARI}rcs.geopush"')]
    assert read_services(both)[0] == {Service.CHAT, Service.GEOLOCATION_PUSH}
    assert read_services([]) == (frozenset(), False)


@pytest.mark.parametrize(
    ("status", "is_rcs", "state"),
    [
        (200, True, PeerState.ONLINE),
        (200, False, PeerState.NO_RCS),
        (404, False, PeerState.NO_USER),
        (604, False, PeerState.NO_USER),
        (403, False, PeerState.REFUSED),
        (480, False, PeerState.OFFLINE),
        (408, False, PeerState.OFFLINE),
        (477, False, PeerState.OFFLINE),
        (405, False, PeerState.UNKNOWN),
        (501, False, PeerState.UNKNOWN),
        (503, False, PeerState.UNKNOWN),
        (302, False, PeerState.UNKNOWN),
    ],
)
def test_what_an_answer_means(status: int, is_rcs: bool, state: PeerState) -> None:
    assert judge(status, is_rcs) is state


def test_what_a_peer_lacks_is_what_it_did_not_say() -> None:
    every = Capabilities("sip:bob@rcs.example", PeerState.ONLINE, frozenset(Service))
    assert every.online
    assert all(
        (
            every.chat,
            every.pager,
            every.large_message,
            every.file_transfer,
            every.file_transfer_http,
            every.geolocation_push,
        )
    )
    assert not any(every.lacks(service) for service in Service)
    one = Capabilities("sip:bob@rcs.example", PeerState.OFFLINE, frozenset({Service.PAGER}))
    assert one.lacks(Service.CHAT)
    assert not one.lacks(Service.PAGER)
    # Who said nothing may be able to do anything.
    assert not Capabilities("sip:bob@rcs.example", PeerState.NO_RCS).lacks(Service.CHAT)
