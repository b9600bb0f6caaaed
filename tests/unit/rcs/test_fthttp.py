"""The documents of file transfer over HTTP (RCC.07), written and read."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcsops.errors import CpimParseError, LocalProtocolError
from rcsops.rcs.fthttp import (
    FileInfo,
    ResumeInfo,
    StoredFile,
    checked_url,
    make_file_info,
    make_resume_info,
    parse_file_info,
    parse_resume_info,
)

UNTIL = datetime(2026, 12, 1, tzinfo=UTC)
PHOTO = StoredFile("https://ftcs.example.org/f/8f2a", 195490, "image/jpeg", UNTIL)
SMALL = StoredFile("https://ftcs.example.org/t/8f2a", 4120, "image/jpeg", UNTIL)

# As operators' servers write it; the second has no namespace, as older ones do.
WRITTEN = b"""<?xml version="1.0" encoding="UTF-8"?>
<file xmlns="urn:gsma:params:xml:ns:rcs:rcs:fthttp"
  xmlns:e="urn:gsma:params:xml:ns:rcs:rcs:up:fthttpext">
<file-info type="thumbnail">
<file-size>4120</file-size><content-type>image/jpeg</content-type>
<data url="https://ftcs.example.org/t/8f2a" until="2026-12-01T00:00:00Z"/>
</file-info>
<file-info type="file" file-disposition="attachment">
<file-size>195490</file-size>
<file-name>beach.jpg</file-name>
<content-type>image/jpeg; q=1</content-type>
<data url="https://ftcs.example.org/f/8f2a" until="2026-12-01T00:00:00Z"/>
<e:branded-url>https://op.example/x</e:branded-url>
</file-info>
</file>"""
BARE = (
    b'<file><file-info type="file"><file-size>7</file-size>'
    b'<content-type>nonsense</content-type><data url="http://h.example/f"/></file-info></file>'
)


def test_a_document_as_servers_write_it_is_read() -> None:
    found = parse_file_info(WRITTEN)

    assert found == FileInfo(
        PHOTO, "beach.jpg", SMALL, "attachment", branded_url="https://op.example/x"
    )


def test_a_document_without_namespace_name_and_end_is_read() -> None:
    found = parse_file_info(BARE)

    assert found == FileInfo(
        StoredFile("http://h.example/f", 7, "application/octet-stream"), "file"
    )


@given(
    name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
    size=st.integers(0, 1 << 53),
    seconds=st.none() | st.integers(0, 1 << 31),
    disposition=st.sampled_from(["", "render", "attachment"]),
    with_thumbnail=st.booleans(),
)
def test_what_is_written_is_read_back(
    name: str, size: int, seconds: int | None, disposition: str, with_thumbnail: bool
) -> None:
    file = StoredFile("https://h.example/f?a=1&b=%22<".replace("<", "%3C"), size, "a/b", UNTIL)
    info = FileInfo(file, name, SMALL if with_thumbnail else None, disposition, seconds)

    once = parse_file_info(make_file_info(info))

    assert (once.file, once.thumbnail) == (file, info.thumbnail)
    assert (once.disposition, once.playing_length) == (disposition, seconds)
    # The name is made safe on the way, and is so from then on.
    assert "/" not in once.name and "\n" not in once.name
    assert parse_file_info(make_file_info(once)) == once


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "ftp://h.example/f",
        "//h.example/f",
        "https://",
        "https://user:secret@h.example/f",
        "https://ours.example@evil.example/f",
        "https://h.example/a b",
        "https://h.example/\r\nHost: x",
        "https://h.example:0/",
        "https://h.example:99999/",
        "https://[::1/",
        "https://h.example/\u202e",
        "https://h.example/" + "a" * 2048,
        "javascript:alert(1)",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(CpimParseError):
        checked_url(url)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<file/>",
        b"<other/>",
        b'<file><file-info type="thumbnail"/></file>',
        BARE.replace(b"<file-size>7</file-size>", b""),
        BARE.replace(b">7<", b">-7<"),
        BARE.replace(b">7<", b">7e3<"),
        BARE.replace(b">7<", b">99999999999999999999<"),
        BARE.replace(b"http://h.example/f", b"gopher://h.example/f"),
        BARE.replace(b"<file>", b'<!DOCTYPE file [<!ENTITY x "y">]><file>'),
        b"<file>" + b"<a>" * 50 + b"</a>" * 50 + b"</file>",
        b"<file>" + b"<a/>" * 3000 + b"</file>",
        b"<file>" + b" " * 70000 + b"</file>",
        WRITTEN[:-4],
    ],
)
def test_a_hostile_document_is_refused(document: bytes) -> None:
    with pytest.raises(CpimParseError):
        parse_file_info(document)


def test_a_bad_thumbnail_does_not_spoil_the_file() -> None:
    found = parse_file_info(WRITTEN.replace(b"<file-size>4120</file-size>", b""))

    assert found.thumbnail is None and found.file == PHOTO


def test_a_name_that_leads_elsewhere_is_made_safe() -> None:
    found = parse_file_info(WRITTEN.replace(b"beach.jpg", b"../../.ssh/authorized_keys"))

    assert found.name == "authorized_keys"


def test_resume_info() -> None:
    info = ResumeInfo(0, 65535, "https://ftcs.example.org/u/8f2a")

    assert parse_resume_info(make_resume_info(info)) == info
    bare = make_resume_info(info).replace(b' xmlns="urn:gsma:params:xml:ns:rcs:rcs:fthttp"', b"")
    assert parse_resume_info(bare) == info


@pytest.mark.parametrize(
    "change",
    [
        (b'start="0"', b'start="5"'),
        (b'end="65535"', b'end="-1"'),
        (b"file-range", b"file-rage"),
        (b"https://ftcs", b"file://ftcs"),
        (b"file-resume-info", b"file"),
    ],
)
def test_resume_info_that_makes_no_sense(change: tuple[bytes, bytes]) -> None:
    document = make_resume_info(ResumeInfo(0, 65535, "https://ftcs.example.org/u/8f2a"))

    with pytest.raises(CpimParseError):
        parse_resume_info(document.replace(*change))


def test_our_own_mistakes_are_told() -> None:
    with pytest.raises(LocalProtocolError):
        make_file_info(FileInfo(StoredFile("https://h.example/", 1, "x"), "n"))
    with pytest.raises(LocalProtocolError):
        make_file_info(FileInfo(PHOTO, "n", disposition="inline"))


@given(st.binary(max_size=400) | st.text(max_size=300).map(lambda text: f"<file>{text}".encode()))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    for parse in (parse_file_info, parse_resume_info):
        try:
            parse(data)
        except CpimParseError:
            continue


@pytest.mark.parametrize(
    "until", ["soon", "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00"]
)
def test_an_end_that_is_no_time_is_none(until: str) -> None:
    found = parse_file_info(WRITTEN.replace(b"2026-12-01T00:00:00Z", until.encode()))

    assert found.file.until is None


def test_an_early_year_is_written_with_four_digits() -> None:
    file = StoredFile("https://h.example/", 1, "a/b", datetime(5, 1, 1, tzinfo=UTC))

    assert parse_file_info(make_file_info(FileInfo(file, "n"))).file == file
