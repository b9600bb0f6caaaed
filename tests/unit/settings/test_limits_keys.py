"""[limits] of rcsops.toml."""

import pytest

from rcsops.errors import SettingsError
from rcsops.settings import Limits, parse_settings


def test_what_is_not_given_has_its_default() -> None:
    found = parse_settings("[limits]\nrate = 0\nconnections = 7\ntrusted = []\n").limits
    assert (found.rate, found.connections, found.trusted) == (0, 7, ())
    assert found.burst == Limits().burst
    assert parse_settings("").limits == Limits()


def test_from_the_environment() -> None:
    environment = {"RCSOPS_LIMITS_RATE": "5", "RCSOPS_LIMITS_TRUSTED": "192.0.2.1,2001:db8::/32"}
    found = parse_settings("", environment=environment).limits
    assert found.rate == 5
    assert found.trusted == ("192.0.2.1/32", "2001:db8::/32")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("burst = 0", "limits.burst: 0 is not between 1 and"),
        ("rate = -1", "limits.rate: -1 is not between 0 and"),
        ("body = 1.5", "must be a whole number"),
        ("head = true", "must be a whole number"),
        ('trusted = ["everybody"]', "'everybody' is not a network"),
        ("trusted = 7", "must be a list of networks"),
        ("rates = 7", "there is no setting 'limits.rates'"),
    ],
)
def test_what_cannot_be(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        parse_settings(f"[limits]\n{text}\n")
