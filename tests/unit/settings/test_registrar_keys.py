import pytest

from rcsops.errors import SettingsError
from rcsops.settings import parse_settings


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("min_expires = 0", "not between 1 and"),
        ("max_expires = 9999999", "not between 1 and"),
        ('min_expires = "soon"', "number of seconds"),
        ("min_expires = true", "number of seconds"),
        ("min_expires = 1.5", "number of seconds"),
        ("min_expires = 900\nmax_expires = 600", "is more than"),
    ],
)
def test_lifetimes_that_cannot_be(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        parse_settings(f"[registrar]\n{text}\n")


def test_lifetimes_from_the_environment() -> None:
    found = parse_settings("", environment={"RCSOPS_REGISTRAR_MIN_EXPIRES": "5"})
    assert found.registrar_min_expires == 5
