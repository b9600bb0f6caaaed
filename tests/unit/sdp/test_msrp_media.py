import pytest

from rcsops.errors import LocalProtocolError, SdpParseError
from rcsops.sdp import (
    MediaDescription,
    MsrpMedia,
    answer_setup,
    find_msrp,
    make_answer,
    make_offer,
    offerer_is_active,
    parse_sdp,
    reverse_direction,
)

PATH = "msrp://192.0.2.10:28550/kQ3vN8s1Zt0aW5xY7bR2;tcp"
CHAT = MsrpMedia(PATH, "192.0.2.10", 28550, accept_types=("message/cpim",))
FILE = MsrpMedia(
    PATH,
    "192.0.2.11",
    28550,
    "active",
    ("image/jpeg",),
    ("text/plain",),
    5000,
    "sendonly",
    secure=True,
    cema=True,
    fingerprints=("SHA-256 AA:BB", "SHA-1 CC"),
    file_selector='name:"a.jpg"',
    file_transfer_id="abcd",
    file_disposition="attachment",
    file_date='creation:"x"',
    file_icon="cid:x@y",
    file_range="1-*",
    attributes=("label:7", "X-Flag"),
)


def offer(*media: MsrpMedia) -> str:
    return make_offer(media, username="-", host="192.0.2.10", session_id=7, version=8).decode()


def test_a_stream_survives() -> None:
    session = parse_sdp(offer(CHAT, FILE))
    read = [MsrpMedia.from_media(session, media) for media in session.media]
    assert read == [CHAT, FILE]
    assert "o=- 7 8 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n" in str(session)
    # Its own c= line only where it differs from the session's.
    assert str(session).count("c=IN") == 2
    assert find_msrp(session) == (0, CHAT)


def test_an_answer_has_a_line_for_every_line_of_the_offer() -> None:
    session = parse_sdp(offer(CHAT, CHAT, CHAT) + "m=audio 5004 RTP/AVP 0 8\r\n")
    answer = parse_sdp(
        make_answer(
            session, [None, CHAT], username="bob", host="h.example", session_id=1, version=1
        )
    )
    assert [media.port for media in answer.media] == [0, 28550, 0, 0]
    assert (answer.media[3].media, answer.media[3].formats) == ("audio", ("0", "8"))
    assert find_msrp(answer)[0] == 1
    with pytest.raises(LocalProtocolError):
        make_answer(answer, [None] * 5, username="b", host="h", session_id=1, version=1)
    with pytest.raises(LocalProtocolError):
        make_offer([], username="a b", host="h", session_id=1, version=1)
    with pytest.raises(LocalProtocolError):
        make_offer(
            [MsrpMedia(PATH, "h", 1, direction="up")],
            username="-", host="h", session_id=1, version=1,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a=path:" + PATH, "a=nothing"),
        ("a=setup:actpass", "a=setup:holdconn"),
        ("TCP/MSRP", "RTP/AVP"),
        ("m=message", "m=audio"),
        ("m=message 28550", "m=message 0"),
        ("a=sendrecv", "a=max-size:-1"),
        ("a=sendrecv", "a=max-size:" + "9" * 5000),
    ],
)
def test_no_msrp_that_we_can_use(old: str, new: str) -> None:
    session = parse_sdp(offer(CHAT).replace(old, new))
    with pytest.raises(SdpParseError):
        find_msrp(session)


def test_the_first_usable_stream_is_found() -> None:
    bad = offer(CHAT).replace("a=path:", "a=nopath:")
    good = offer(CHAT).partition("m=")
    assert find_msrp(parse_sdp(bad + good[1] + good[2]))[0] == 1


def test_defaults_from_the_session_level() -> None:
    text = offer(CHAT).replace("a=setup:actpass\r\n", "").replace("a=sendrecv\r\n", "")
    session = parse_sdp(text.replace("t=0 0\r\n", "t=0 0\r\na=recvonly\r\na=setup:PASSIVE\r\n"))
    _, media = find_msrp(session)
    assert (media.setup, media.direction) == ("passive", "recvonly")
    _, media = find_msrp(parse_sdp(text))
    assert (media.setup, media.direction) == (None, "sendrecv")
    refused = MsrpMedia.from_media(session, MediaDescription("message", 0, "TCP/MSRP"))
    assert refused.port == 0


@pytest.mark.parametrize(
    ("offered", "listen", "prefer", "answer"),
    [
        ("actpass", True, "active", "active"),
        ("actpass", True, "passive", "passive"),
        ("actpass", False, "passive", "active"),
        ("active", True, "active", "passive"),
        ("active", False, "active", None),
        ("passive", False, "passive", "active"),
        (None, True, "active", "passive"),
        (None, False, "active", None),
    ],
)
def test_setup_in_the_answer(
    offered: str | None, listen: bool, prefer: str, answer: str | None
) -> None:
    if answer is None:
        with pytest.raises(SdpParseError) as caught:
            answer_setup(offered, can_listen=listen, prefer=prefer)
        assert caught.value.status == 488
    else:
        assert answer_setup(offered, can_listen=listen, prefer=prefer) == answer


@pytest.mark.parametrize(
    ("offered", "answered", "active"),
    [
        ("actpass", "active", False),
        ("actpass", "passive", True),
        ("actpass", None, True),
        ("active", "passive", True),
        ("active", None, True),
        ("passive", "active", False),
        ("passive", None, False),
        (None, None, True),
        (None, "passive", True),
        ("actpass", "actpass", None),
        ("active", "active", None),
        ("passive", "passive", None),
    ],
)
def test_who_connects(offered: str | None, answered: str | None, active: bool | None) -> None:
    if active is None:
        with pytest.raises(SdpParseError):
            offerer_is_active(offered, answered)
    else:
        assert offerer_is_active(offered, answered) is active


def test_direction_of_an_answer() -> None:
    pairs = {"sendonly": "recvonly", "recvonly": "sendonly"}
    for direction in ("sendrecv", "inactive", "sendonly", "recvonly"):
        assert reverse_direction(direction) == pairs.get(direction, direction)
