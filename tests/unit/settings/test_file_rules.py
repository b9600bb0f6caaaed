"""``[files]``: which files of peers are taken."""

import pytest

from rcsops.errors import SettingsError
from rcsops.settings import FileRule, FileRules, FileVerdict, parse_settings

BOB = "sip:bob@rcs.example"
RULES = FileRules.parse(
    [
        "refuse from=*@elsewhere.example",
        "refuse type=application/x-*",
        "accept from=bob size<=1GB",
        "accept type=image/* size<=10kB",
        "ask size>5MB",
        "refuse",
    ],
    domain="rcs.example",
)


@pytest.mark.parametrize(
    ("peer", "content_type", "size", "verdict"),
    [
        (BOB, "text/plain", 10**9, "accept"),
        (BOB, "text/plain", 10**9 + 1, "ask"),
        (BOB, "Application/X-Thing; a=b", 1, "refuse"),
        # A user of that name of another domain is somebody else.
        ("sip:bob@other.example", "text/plain", 1, "refuse"),
        ("sip:bob@elsewhere.example", "image/png", 1, "refuse"),
        ("sip:eve@rcs.example", "image/png", 10_000, "accept"),
        ("sip:eve@rcs.example", "image/png", 10_001, "refuse"),
        ("sip:eve@rcs.example", "text/plain", 5_000_001, "ask"),
        ("sips:bob@rcs.example", "text/plain", 1, "accept"),
    ],
)
def test_the_first_rule_that_fits_decides(
    peer: str, content_type: str, size: int, verdict: str
) -> None:
    assert RULES.decide(peer, content_type, size) == verdict


def test_what_no_rule_fits_is_asked_and_what_is_accepted_may_be_asked_too() -> None:
    assert FileRules().decide(BOB, "image/png", 1) is FileVerdict.ASK
    asking = RULES.asking()
    assert asking.decide(BOB, "text/plain", 1) is FileVerdict.ASK
    assert asking.decide(BOB, "application/x-a", 1) is FileVerdict.REFUSE


@pytest.mark.parametrize("rule", RULES.rules, ids=str)
def test_a_rule_reads_as_it_is_written(rule: FileRule) -> None:
    assert FileRule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('rules = ["take"]', "does not begin with accept, ask, refuse"),
        ('rules = [""]', "does not begin with"),
        ('rules = ["accept size<10MB"]', "is no condition"),
        ('rules = ["accept from="]', "is no condition"),
        ('rules = "accept"\nmax_size = 0', "max_size"),
        ("reserve = true", "reserve"),
    ],
)
def test_what_cannot_be(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_settings(f"[files]\n{text}\n")


def test_from_the_settings_and_the_environment() -> None:
    settings = parse_settings('domain = "rcs.example"\n[files]\nrules = "accept from=bob"\n')
    assert settings.file_rules.decide(BOB, "a/b", 10**9) is FileVerdict.ACCEPT
    assert parse_settings("").file_rules.decide(BOB, "a/b", 10**8) is FileVerdict.ACCEPT
    assert parse_settings("").file_rules.decide(BOB, "a/b", 10**8 + 1) is FileVerdict.ASK
    given = parse_settings("", environment={"RCSOPS_FILES_RULES": "accept type=a/b,refuse"})
    assert given.files_rules == ("accept type=a/b", "refuse")
