"""The rules of RFC 5922 §7 on which name a certificate proves."""

import pytest

from rcsops.transport.identity import identities_of


def certificate(*alternatives: tuple[str, str], name: str = "cn.example") -> dict[str, object]:
    found: dict[str, object] = {"subject": ((("commonName", name),),)}
    if alternatives:
        found["subjectAltName"] = alternatives
    return found


@pytest.mark.parametrize(
    ("alternatives", "proves", "does_not"),
    [
        # A sip: URI without a user names a domain.
        ([("URI", "sip:rcs.example")], ["rcs.example", "RCS.Example", "rcs.example."], ["example"]),
        # Where there is one, DNS names do not count.
        (
            [("URI", "sip:rcs.example"), ("DNS", "host.rcs.example")],
            ["rcs.example"],
            ["host.rcs.example", "cn.example"],
        ),
        ([("DNS", "host.example"), ("DNS", "b.example")], ["host.example", "b.example"], []),
        # Other schemes and users are no domains; then DNS names count.
        (
            [("URI", "sips:rcs.example"), ("URI", "sip:bob@bob.example"), ("DNS", "d.example")],
            ["d.example"],
            ["rcs.example", "bob.example"],
        ),
        # Names are compared as a whole: no wildcard, no suffix, no parent.
        ([("DNS", "*.example")], ["*.example"], ["a.example", "example"]),
        ([("URI", "sip:.example")], [], ["a.example", "example"]),
        ([("DNS", "rcs.example")], [], ["a.rcs.example", "rcs.example.evil.example"]),
        # The common name counts only where nothing else is said.
        ([], ["cn.example"], []),
        ([("email", "bob@rcs.example")], [], ["cn.example", "rcs.example"]),
        # Servers that are named by a number.
        (
            [("DNS", "127.0.0.1"), ("IP Address", "10.0.0.1")],
            ["10.0.0.1"],
            ["127.0.0.1", "10.0.0.2"],
        ),
        ([("IP Address", "0:0:0:0:0:0:0:1")], ["::1", "[::1]"], ["::2"]),
    ],
)
@pytest.mark.rfc("5922", "7.1", "7.2")
def test_the_names_that_a_certificate_proves(
    alternatives: list[tuple[str, str]], proves: list[str], does_not: list[str]
) -> None:
    found = identities_of(certificate(*alternatives))
    for name in proves:
        assert found.prove(name), name
    for name in does_not:
        assert not found.prove(name), name


def test_no_certificate_proves_nothing() -> None:
    assert not identities_of({}).prove("rcs.example")
    assert not identities_of({}).prove("127.0.0.1")
    assert not identities_of({}).prove("")


def test_what_is_shown_of_a_strange_certificate_is_printable_and_short() -> None:
    many = [("DNS", f"h{number}.example\x1b[2J\n") for number in range(100)]
    shown = str(identities_of(certificate(*many)))
    assert shown.isprintable()
    assert shown.endswith("96 more")
