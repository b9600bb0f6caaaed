"""The keys of the embedded server's proxy and its names."""

import pytest

from rcsops.errors import SettingsError, UsageError
from rcsops.operations.names import parse_user
from rcsops.settings import parse_settings


def test_domains_and_aliases() -> None:
    found = parse_settings(
        'domain = "a.example"\ndomains = ["B.example"]\naliases = ["sip.a.example", "[::1]"]\n'
    )
    assert found.all_domains == ("a.example", ("b.example",))
    assert found.aliases == ("sip.a.example", "::1")
    assert parse_settings("domains = []\n").domains == ()


def test_a_name_is_a_domain_or_an_alias() -> None:
    with pytest.raises(SettingsError, match=r"b\.example is a domain and cannot be in aliases"):
        parse_settings('domains = ["b.example"]\naliases = ["b.example"]\n')


def test_redirects() -> None:
    assert parse_settings("").proxy_redirects == "relay"
    assert parse_settings('[proxy]\nredirects = "follow"\n').proxy_redirects == "follow"
    with pytest.raises(SettingsError, match="not one of relay, follow"):
        parse_settings('[proxy]\nredirects = "always"\n')


def test_a_user_of_another_domain_is_named_in_full() -> None:
    others = ("b.example",)
    assert str(parse_user("bob", "a.example", others)) == "bob@a.example"
    assert str(parse_user("sip:bob@B.example", "a.example", others)) == "bob@b.example"
    with pytest.raises(UsageError, match=r"domains, which are a\.example, b\.example"):
        parse_user("bob@c.example", "a.example", others)
