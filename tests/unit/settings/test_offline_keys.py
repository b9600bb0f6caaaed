"""``[offline]``: how much may wait for a user, and for how long."""

import pytest

from rcsops.errors import SettingsError
from rcsops.settings import parse_settings


def test_the_defaults() -> None:
    settings = parse_settings("")
    assert (settings.offline_messages, settings.offline_expires) == (200, 3 * 86400)


@pytest.mark.parametrize(
    "text", ["messages = 0", "messages = 100001", "messages = true", 'expires = "soon"',
             "expires = 31536001"],
)  # fmt: skip
def test_what_cannot_be(text: str) -> None:
    with pytest.raises(SettingsError, match=r"offline\."):
        parse_settings(f"[offline]\n{text}\n")


def test_from_the_environment() -> None:
    settings = parse_settings("", environment={"RCSOPS_OFFLINE_MESSAGES": "7"})
    assert settings.offline_messages == 7
