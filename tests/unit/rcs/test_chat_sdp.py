from dataclasses import replace

import pytest

from rcsops.errors import LocalProtocolError, SdpParseError
from rcsops.msrp import MsrpUri
from rcsops.rcs import chat_accepted, chat_answer, chat_offer, chat_stream, find_chat
from rcsops.sdp import parse_sdp

ALICE = (MsrpUri.parse("msrp://192.0.2.10:28550/kQ3vN8s1Zt0aW5xY7bR2;tcp"),)
BOB = (MsrpUri.parse("msrp://[2001:db8::20]:28551/mT9eH4u6Pd2cJ8gL1fVo;tcp"),)


def test_offer_and_answer_agree() -> None:
    alice, bob = chat_stream(ALICE, max_size=1000), chat_stream(BOB, max_size=2000)
    offer = chat_offer(alice, session_id=39)
    answer, at_bob = chat_answer(parse_sdp(offer), bob, session_id=40)
    at_alice = chat_accepted(alice, parse_sdp(answer))
    assert (at_alice.active, at_bob.active) == (False, True)
    assert at_bob.target == ("192.0.2.10", 28550)
    assert at_alice.target == ("2001:db8::20", 28551)
    assert (at_alice.local_path, at_alice.remote_path) == (ALICE, BOB)
    assert (at_bob.local_path, at_bob.remote_path) == (BOB, ALICE)
    assert (at_alice.remote.max_size, at_bob.remote.max_size) == (2000, 1000)
    assert at_alice.direction == at_bob.direction == "sendrecv"


def test_port_path_and_address_agree_in_what_we_send() -> None:
    for path in (ALICE, BOB):
        text = chat_offer(chat_stream(path), session_id=1, version=3).decode()
        uri = path[0]
        family = "IP6" if ":" in uri.host else "IP4"
        assert f"m=message {uri.port} TCP/MSRP *\r\n" in text
        assert f"c=IN {family} {uri.host}\r\n" in text
        assert f"a=path:{uri}\r\n" in text
        assert "o=- 1 3 " in text
        assert "a=setup:actpass\r\n" in text
        assert text.count("c=") == 1
    with pytest.raises(LocalProtocolError):
        chat_offer(chat_stream((MsrpUri.parse("msrp://h/s;tcp"),)), session_id=1)


@pytest.mark.parametrize(
    ("alice_listens", "bob_listens", "prefer", "alice_connects"),
    [
        (True, True, "active", False),
        (True, True, "passive", True),
        (False, True, "active", True),
        (True, False, "passive", False),
    ],
)
def test_who_connects(
    alice_listens: bool, bob_listens: bool, prefer: str, alice_connects: bool
) -> None:
    alice = chat_stream(ALICE, can_listen=alice_listens)
    bob = chat_stream(BOB, can_listen=bob_listens, prefer=prefer)
    answer, at_bob = chat_answer(parse_sdp(chat_offer(alice, session_id=1)), bob, session_id=2)
    at_alice = chat_accepted(alice, parse_sdp(answer))
    assert at_alice.active is alice_connects
    assert at_bob.active is not alice_connects


def test_two_that_cannot_listen() -> None:
    offer = parse_sdp(chat_offer(chat_stream(ALICE, can_listen=False), session_id=1))
    with pytest.raises(SdpParseError) as caught:
        chat_answer(offer, chat_stream(BOB, can_listen=False), session_id=2)
    assert caught.value.status == 488
    alice = chat_stream(ALICE, can_listen=False)
    answer, _ = chat_answer(offer, chat_stream(BOB), session_id=2)
    broken = parse_sdp(answer.decode().replace("a=setup:passive", "a=setup:active"))
    with pytest.raises(SdpParseError):
        chat_accepted(alice, broken)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("message/cpim", "text/html"),
        ("a=path:msrp", "a=path:http"),
        ("a=path:msrp", "a=path:msrps"),
        ("TCP/MSRP", "TCP/TLS/MSRP"),
        ("m=message 28550", "m=message 0"),
        ("a=sendrecv", 'a=sendonly\r\na=file-selector:name:"x"'),
    ],
)
def test_offers_that_are_refused_by_488(old: str, new: str) -> None:
    offer = parse_sdp(chat_offer(chat_stream(ALICE), session_id=1).decode().replace(old, new))
    with pytest.raises(SdpParseError) as caught:
        chat_answer(offer, chat_stream(BOB), session_id=2)
    assert caught.value.status == 488
    offer = parse_sdp(chat_offer(chat_stream(ALICE), session_id=1))
    good, _ = chat_answer(offer, chat_stream(BOB), session_id=2)
    answer = parse_sdp(good.decode().replace("28551 ", "28550 ").replace(old, new))
    if "file-selector" not in new:
        with pytest.raises(SdpParseError):
            chat_accepted(chat_stream(ALICE), answer)


def test_second_stream_of_two() -> None:
    text = chat_offer(chat_stream(ALICE), session_id=1).decode()
    head, m, tail = text.partition("m=")
    offer = parse_sdp(head + "m=audio 5004 RTP/AVP 0\r\n" + m + tail)
    assert find_chat(offer)[0] == 1
    answer, _ = chat_answer(offer, chat_stream(BOB), session_id=2)
    assert [media.port for media in parse_sdp(answer).media] == [0, 28551]


def test_held_and_one_way_offers() -> None:
    text = chat_offer(chat_stream(ALICE), session_id=1).decode()
    for offered, answered in (("inactive", "inactive"), ("sendonly", "recvonly")):
        offer = parse_sdp(text.replace("a=sendrecv", f"a={offered}"))
        answer, agreement = chat_answer(offer, chat_stream(BOB), session_id=2)
        assert parse_sdp(answer).media[0].attribute(answered) == ""
        assert agreement.direction == answered


def test_cema_connects_to_where_the_middlebox_is() -> None:
    text = chat_offer(replace(chat_stream(ALICE), cema=True), session_id=1).decode()
    moved = text.replace("c=IN IP4 192.0.2.10", "c=IN IP4 203.0.113.1").replace(
        "m=message 28550", "m=message 4444"
    )
    _, agreement = chat_answer(parse_sdp(moved), replace(chat_stream(BOB), cema=True), session_id=2)
    assert agreement.target == ("203.0.113.1", 4444)
    _, agreement = chat_answer(
        parse_sdp(moved), replace(chat_stream(BOB), cema=False), session_id=2
    )
    assert agreement.target == ("192.0.2.10", 28550)
