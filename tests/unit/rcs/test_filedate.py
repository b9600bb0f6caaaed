import re
from dataclasses import replace

import pytest

from rcsops.rcs import file_answer, file_offer, file_stream, read_file_offer, said_modified
from rcsops.rcs.filedate import file_date, modification_date
from rcsops.sdp import find_msrp, parse_sdp
from tests.unit.rcs.test_file_offers import ALICE, BOB, PUSH

pytestmark = pytest.mark.rfc("5547", "6")

# file-date of RFC 5547 §6 with one date-time of RFC 5322 §3.3, as strictly as it may be written.
GRAMMAR = re.compile(
    r'(?:creation|modification|read):"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?[0-9]{1,2} '
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} "
    r'[0-2][0-9]:[0-5][0-9]:[0-5][0-9] [+-][0-9]{4}"'
)
EPOCH = 'modification:"Thu, 01 Jan 1970 00:00:00 +0000"'


@pytest.mark.parametrize("seconds", [0, 1, 951_782_400, 1_147_694_491, 4_102_444_799])
def test_what_is_written_is_read(seconds: int) -> None:
    text = file_date(seconds + 0.75)
    assert text is not None and GRAMMAR.fullmatch(text)
    assert modification_date(text) == seconds


def test_what_no_date_can_say() -> None:
    assert file_date(0) == EPOCH
    assert file_date(1e20) is None and file_date(float("inf")) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ('creation:"Mon, 15 May 2006 15:01:31 +0300" '
         'modification:"Mon, 15 May 2006 15:01:31 +0300"', 1_147_694_491),
        ('modification:"15 May 2006 12:01 GMT"', 1_147_694_460),
        ('Modification: "Mon, 15 may 2006 12:01:60 -0000"', 1_147_694_519),
        ('modification:"Mon, 15 May 2006 07:01:31 -0500" read:"x"', 1_147_694_491),
    ],
    ids=["two", "short", "leap", "west"],
)  # fmt: skip
def test_dates_as_others_write_them(text: str, seconds: int) -> None:
    assert modification_date(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "", "modification:", 'modification:""', 'creation:"Mon, 15 May 2006 15:01:31 +0300"',
        'modification:"yesterday"', 'modification:"Mon, 31 Feb 2006 15:01:31 +0300"',
        'modification:"Mon, 15 Mai 2006 15:01:31 +0300"', 'modification:"15 May 2006 25:00 GMT"',
        'modification:"15 May 2006 12:00:00 +9999"', 'modification:"15 May 0000 12:00:00 +0000"',
        'modification:"1 Jan 0001 00:00:00 +2359"', 'modification:"31 Dec 1969 23:59:59 +0000"',
        'modification:"31 Dec 9999 23:59:59 -2359x"', 'modification:"' + "1" * 100_000,
        'modification:"１５ May 2006 12:00:00 +0000"',
    ],
    ids=[str(number) for number in range(15)],
)  # fmt: skip
def test_what_counts_as_no_date(text: str) -> None:
    assert modification_date(text) is None


def test_the_side_that_has_the_file_says_its_date() -> None:
    push = file_offer(file_stream(ALICE, send=True), replace(PUSH, modified=0.0), session_id=1)
    offer = parse_sdp(push)
    assert offer.media[0].attribute("file-date") == EPOCH
    read = read_file_offer(offer)
    assert read.modified == 0
    answer, _ = file_answer(offer, read, file_stream(BOB, send=False), session_id=2)
    assert parse_sdp(answer).media[0].attribute("file-date") is None

    wanted = replace(PUSH, push=False, modified=5.0)
    offer = parse_sdp(file_offer(file_stream(ALICE, send=False), wanted, session_id=1))
    assert offer.media[0].attribute("file-date") is None
    found = replace(read_file_offer(offer), modified=0.0)
    answer, _ = file_answer(offer, found, file_stream(BOB, send=True), session_id=2)
    assert said_modified(find_msrp(parse_sdp(answer))[1]) == 0


def test_a_bad_date_refuses_no_file() -> None:
    text = file_offer(file_stream(ALICE, send=True), replace(PUSH, modified=0.0), session_id=1)
    for bad in (b"", b"x", b'modification:"' + b"9" * 5000 + b'"'):
        assert read_file_offer(parse_sdp(text.replace(EPOCH.encode(), bad))).modified is None
