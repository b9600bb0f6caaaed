import pytest

from rcsops.errors import SettingsError
from rcsops.settings import Listen, parse_listen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("udp:127.0.0.1:5060", Listen("udp", "127.0.0.1", 5060)),
        ("TCP:[::1]:0", Listen("tcp", "::1", 0)),
        ("wss:chat.rcs.example:443", Listen("wss", "chat.rcs.example", 443)),
    ],
)
def test_an_address_is_read_and_written_again(text: str, expected: Listen) -> None:
    assert parse_listen(text) == expected
    assert parse_listen(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "udp",
        "udp:127.0.0.1",
        "udp:127.0.0.1:65536",
        "udp:127.0.0.1:-1",
        "sctp:127.0.0.1:5060",
        "udp:127.0.0:5060",
        "udp:1.2.3.400:5060",
        "udp:::1:5060",
        "udp:[::g]:5060",
        "udp:[127.0.0.1]:5060",
        "udp:host_name:5060",
        "udp:a b:5060",
        "udp:\n127.0.0.1:5060x",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_listen(text)


def test_a_wildcard_is_reached_by_loopback() -> None:
    assert parse_listen("udp:0.0.0.0:5060").reachable.host_port == "127.0.0.1:5060"
    assert parse_listen("tcp:[::]:5060").reachable.host_port == "[::1]:5060"
    assert parse_listen("tcp:192.0.2.1:5060").reachable.host_port == "192.0.2.1:5060"
