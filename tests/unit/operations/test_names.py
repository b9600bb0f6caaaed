import pytest

from rcsops.errors import UsageError
from rcsops.operations.names import UserName, check_password, generate_password, parse_user

DOMAIN = "rcs.example"


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("bob", "bob"),
        (" bob ", "bob"),
        ("bob@rcs.example", "bob"),
        ("sip:bob@RCS.EXAMPLE.", "bob"),
        ("Bob", "Bob"),
        ("-_.!~*'()&=+$,;?/", "-_.!~*'()&=+$,;?/"),
        ("bob');--", "bob');--"),
        ("%62o%62%c3%a9", "bob%C3%A9"),
        ("a%40b@rcs.example", "a%40b"),
        ("+48123456789", "+48123456789"),
        ("x" * 64, "x" * 64),
    ],
)
def test_every_legal_name_has_one_form(typed: str, stored: str) -> None:
    user = parse_user(typed, DOMAIN)
    assert user == (stored, DOMAIN)
    assert parse_user(str(user), DOMAIN) == user


@pytest.mark.parametrize(
    ("typed", "said", "hint"),
    [
        ("", "the user's name is empty", "bob"),
        ("@rcs.example", "the user's name is empty", "bob"),
        ("bob@other.example", "not of this project's domain, which is rcs.example", "'bob' alone"),
        ("a@b@rcs.example", "cannot be a SIP user", "a%40b"),
        ("bob smith", "cannot be a SIP user", "bob%20smith"),
        ("zażółć", "cannot be a SIP user", "za%C5%BC%C3%B3%C5%82%C4%87"),
        ("bob:x", "cannot be a SIP user", "bob%3Ax"),
        ("a%zz", "cannot be a SIP user", ""),
        ("bob\nx", "cannot be a SIP user", "bob%0Ax"),
        ("x" * 65, "longer than the 64 characters", ""),
    ],
)
def test_other_names_are_refused_with_their_escaped_form(typed: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_user(typed, DOMAIN)
    assert said in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("typed", "what"),
    [
        ("j%C3%BCrgen", "%C3"),
        ("jürgen", "'ü'"),
        ("j%00", "%00"),
        ("h\udcff", r"'\udcff'"),
        ("sip:zażółć@rcs.example", "'ż'"),
    ],
)
def test_what_opensips_cannot_take_is_not_to_be_escaped(typed: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_user(typed, DOMAIN, opensips=True)
    assert str(caught.value) == f"OpenSIPS lets nobody register whose name has {what} in it"
    assert "ASCII" in caught.value.hint


def test_what_opensips_takes() -> None:
    for name in ("bob%20smith", "x'%20OR%201=1", "-_.!~*'()"):
        assert parse_user(name, DOMAIN, opensips=True) == (name, DOMAIN)
    with pytest.raises(UsageError) as caught:
        parse_user("bob smith", DOMAIN, opensips=True)
    assert "bob%20smith" in caught.value.hint


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("", "has fewer than 6 characters"),
        ("short", "has fewer than 6 characters"),
        ("Barbara", "is the user's name"),
        ("barbara@rcs.example", "is the user's name"),
        ("tab\there", "holds control characters"),
        ("latin-\udce9", "is not UTF-8 text"),
        ("x" * 257, "has more than 256 characters"),
    ],
)
def test_passwords_that_protect_nothing_are_refused(password: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_password(password, UserName("barbara", DOMAIN))
    assert str(caught.value) == f"the password {said}"


def test_generated_passwords_differ_and_are_good_enough() -> None:
    made = {generate_password() for _ in range(100)}
    assert len(made) == 100
    for password in made:
        check_password(password, UserName("bob", DOMAIN))
        assert not set(password) & set("il1o0 ")
