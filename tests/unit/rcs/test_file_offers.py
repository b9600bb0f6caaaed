import unicodedata
from dataclasses import replace

import pytest

from rcsops.errors import LocalProtocolError, SdpParseError
from rcsops.msrp import MsrpUri
from rcsops.rcs import (
    FileOffer,
    FileSelector,
    chat_offer,
    chat_stream,
    file_accepted,
    file_answer,
    file_offer,
    file_stream,
    read_file_offer,
    safe_name,
)
from rcsops.sdp import parse_sdp

ALICE = (MsrpUri.parse("msrp://192.0.2.10:28550/kQ3vN8s1Zt0aW5xY7bR2;tcp"),)
BOB = (MsrpUri.parse("msrp://198.51.100.20:28551/mT9eH4u6Pd2cJ8gL1fVo;tcp"),)
SHA1 = "72245fe8653ddaf371362f86d471913ee4a2ce2e"
TEXT = (
    'name:"beach.jpg" type:image/jpeg size:195490 '
    "hash:sha-1:72:24:5F:E8:65:3D:DA:F3:71:36:2F:86:D4:71:91:3E:E4:A2:CE:2E"
)
PICTURE = FileSelector("beach.jpg", "image/jpeg", 195490, SHA1)
PUSH = FileOffer(True, PICTURE, "Vx2hTq8LmPz0")


def test_selector_of_rfc_5547() -> None:
    assert FileSelector.parse(TEXT) == PICTURE
    assert str(PICTURE) == TEXT


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("", FileSelector()),
        ("size:5", FileSelector(size=5)),
        ('size:5  name:"a b.txt"', FileSelector("a b.txt", size=5)),
        ('name:"a%22b%25c%00%0D%0A.txt"', FileSelector('a"b%c\0\r\n.txt')),
        ('name:"strand-äöü-🏖.jpg"', FileSelector("strand-äöü-🏖.jpg")),
        ('name:"%C3%A9.txt"', FileSelector("é.txt")),
        ("hash:SHA1:" + SHA1, FileSelector(sha1=SHA1)),
        ("hash:sha-256:AA:BB size:1", FileSelector(size=1)),
        ("new:thing size:1 other", FileSelector(size=1)),
        ('type:a/b;charset="utf-8" size:1', FileSelector(None, 'a/b;charset="utf-8"', 1)),
    ],
)  # fmt: skip
def test_selectors_as_others_write_them(text: str, selector: FileSelector) -> None:
    assert FileSelector.parse(text) == selector
    assert FileSelector.parse(str(selector)) == selector


@pytest.mark.parametrize("text", ["hash:sha-1:AA:BB", "size:5x", 'name:"a"b'])
def test_what_is_no_selector(text: str) -> None:
    with pytest.raises(SdpParseError):
        FileSelector.parse(text)


def test_push() -> None:
    alice = file_stream(ALICE, send=True, content_type="image/jpeg; x=y")
    text = file_offer(alice, PUSH, session_id=1).decode()
    for line in (
        "a=sendonly", f"a=file-selector:{TEXT}", "a=file-transfer-id:Vx2hTq8LmPz0",
        "a=file-disposition:attachment", "a=accept-types:image/jpeg", "a=setup:actpass",
    ):  # fmt: skip
        assert f"{line}\r\n" in text
    assert "file-range" not in text
    read = read_file_offer(parse_sdp(text))
    assert (read.push, read.selector, read.transfer_id) == (True, PICTURE, "Vx2hTq8LmPz0")
    assert (read.start, read.stop, read.disposition) == (1, None, "attachment")
    bob = file_stream(BOB, send=False, max_size=10**9)
    answer, at_bob = file_answer(parse_sdp(text), read, bob, session_id=2)
    reply = answer.decode()
    for line in ("a=recvonly", f"a=file-selector:{TEXT}", "a=file-transfer-id:Vx2hTq8LmPz0"):
        assert f"{line}\r\n" in reply
    at_alice = file_accepted(alice, parse_sdp(reply))
    assert (at_bob.active, at_alice.active) == (True, False)
    assert (at_bob.direction, at_alice.direction) == ("recvonly", "sendonly")
    assert at_alice.remote.max_size == 10**9


def test_pull() -> None:
    wanted = FileOffer(False, FileSelector(name="beach.jpg"), "abcd1234")
    alice = file_stream(ALICE, send=False)
    offer = parse_sdp(file_offer(alice, wanted, session_id=1))
    read = read_file_offer(offer)
    assert not read.push
    found = replace(read, selector=PICTURE)
    answer, _ = file_answer(
        offer, found, file_stream(BOB, send=True, content_type="image/jpeg"), session_id=2
    )
    described = parse_sdp(answer)
    assert described.media[0].attribute("file-selector") == TEXT
    assert file_accepted(alice, described).direction == "recvonly"


def test_resume_asks_for_the_rest() -> None:
    rest = replace(PUSH, start=65537)
    offer = parse_sdp(file_offer(file_stream(ALICE, send=True), rest, session_id=1))
    assert offer.media[0].attribute("file-range") == "65537-*"
    read = read_file_offer(offer)
    assert (read.start, read.stop) == (65537, None)
    answer, _ = file_answer(offer, read, file_stream(BOB, send=False), session_id=2)
    assert parse_sdp(answer).media[0].attribute("file-range") == "65537-*"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a=file-selector", "a=no-selector"),
        ("a=sendonly", "a=sendrecv"),
        ("a=sendonly", "a=sendonly\r\na=file-range:0-5"),
        ("a=sendonly", "a=sendonly\r\na=file-range:9-5"),
        ("a=sendonly", "a=sendonly\r\na=file-range:x"),
        ("size:195490", "size:x"),
    ],
)
def test_no_file(old: str, new: str) -> None:
    text = file_offer(file_stream(ALICE, send=True), PUSH, session_id=1).decode()
    try:
        read = read_file_offer(parse_sdp(text.replace(old, new)))
    except SdpParseError:
        return
    assert read.selector.size is None
    assert "size" in old


def test_misuse_and_contradictions() -> None:
    sends, takes = file_stream(ALICE, send=True), file_stream(BOB, send=False)
    with pytest.raises(LocalProtocolError):
        file_offer(takes, PUSH, session_id=1)
    offer = parse_sdp(file_offer(sends, PUSH, session_id=1))
    with pytest.raises(LocalProtocolError):
        file_answer(offer, PUSH, takes, session_id=1)
    read = read_file_offer(offer)
    with pytest.raises(LocalProtocolError):
        file_answer(offer, read, sends, session_id=1)
    with pytest.raises(SdpParseError):
        file_accepted(sends, parse_sdp(str(offer).replace("actpass", "active")))
    with pytest.raises(SdpParseError):
        read_file_offer(parse_sdp(chat_offer(chat_stream(ALICE), session_id=1)))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("beach.jpg", "beach.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\system32\\cmd.exe", "cmd.exe"),
        ("/absolute", "absolute"),
        (".bashrc", "bashrc"),
        ("...", "file"),
        ("", "file"),
        ("a/", "file"),
        ("..", "file"),
        ("a\x00b\r\nc\x1b[31m.txt", "abc[31m.txt"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("zero\u200bwidth", "zerowidth"),
        ("broken\udcff", "broken"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("console.txt", "console.txt"),
        ('a<b>c:d"e|f?g*h', "a_b_c_d_e_f_g_h"),
        (" trailing. ", "trailing"),
        ("line\u2028break", "line break"),
        ("文件.txt", "文件.txt"),
        ("e\u0301.txt", "\xe9.txt"),
        ("🏖️.jpg", "🏖️.jpg"),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe
    assert safe_name(safe) == safe


def test_safe_names_are_short_and_keep_their_extension() -> None:
    for name in ("x" * 10_000 + ".jpg", "文" * 300 + ".jpg", "x" * 300, "a." + "b" * 300):
        safe = safe_name(name)
        assert 0 < len(safe.encode()) <= 200
        assert safe == unicodedata.normalize("NFC", safe)
        assert name.endswith(".jpg") is safe.endswith(".jpg")
