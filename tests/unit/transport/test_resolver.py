"""From a URI to addresses (RFC 3263); look-ups that would leave the host are replaced."""

import pytest

from rcsops.errors import AgentError
from rcsops.sip import Uri
from rcsops.transport import resolver
from rcsops.transport.resolver import Candidate, resolve, resolve_numeric


@pytest.mark.parametrize(
    ("uri", "transport", "expected"),
    [
        ("sip:b@192.0.2.1", None, ("udp", "192.0.2.1", 5060)),
        ("sip:b@192.0.2.1:5070", None, ("udp", "192.0.2.1", 5070)),
        ("sip:b@192.0.2.1;transport=tcp", None, ("tcp", "192.0.2.1", 5060)),
        ("sip:b@192.0.2.1;transport=TCP", None, ("tcp", "192.0.2.1", 5060)),
        ("sip:b@192.0.2.1", "tcp", ("tcp", "192.0.2.1", 5060)),
        ("sips:b@192.0.2.1", None, ("tls", "192.0.2.1", 5061)),
        ("sips:b@192.0.2.1;transport=tcp", None, ("tls", "192.0.2.1", 5061)),
        ("sip:b@[2001:db8::1]:5080", None, ("udp", "2001:db8::1", 5080)),
        ("sip:b@rcs.example;maddr=192.0.2.9", None, ("udp", "192.0.2.9", 5060)),
    ],
)
async def test_a_numeric_host_needs_no_look_up(
    uri: str, transport: str | None, expected: tuple[str, str, int]
) -> None:
    parsed = Uri.parse(uri)
    assert resolve_numeric(parsed, transport=transport) == Candidate(*expected)
    assert await resolve(parsed, transport=transport) == (Candidate(*expected),)


def test_a_name_is_not_numeric() -> None:
    assert resolve_numeric(Uri.parse("sip:b@rcs.example")) is None


async def test_an_outbound_proxy_takes_everything() -> None:
    proxy = Uri.parse("sip:192.0.2.5:5090;transport=tcp")
    found = await resolve(Uri.parse("sip:b@elsewhere.example"), outbound=proxy)
    assert found == (Candidate("tcp", "192.0.2.5", 5090),)


async def test_localhost_is_found() -> None:
    found = await resolve(Uri.parse("sip:b@localhost:5070"))
    assert Candidate("udp", "127.0.0.1", 5070) in found


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    async def srv(name: str) -> list[tuple[str, int]]:
        asked.append(name)
        known = {"_sip._tcp.rcs.example": [("one.rcs.example", 5070), ("two.rcs.example", 5080)]}
        return known.get(name, [])

    async def addresses(host: str) -> list[str]:
        known = {"one.rcs.example": ["192.0.2.1"], "two.rcs.example": ["192.0.2.2", "2001:db8::2"]}
        return known.get(host, ["192.0.2.99"] if host == "rcs.example" else [])

    monkeypatch.setattr(resolver, "_srv", srv)
    monkeypatch.setattr(resolver, "_addresses", addresses)
    return asked


async def test_a_name_without_a_port_is_asked_for_srv(names: list[str]) -> None:
    assert await resolve(Uri.parse("sip:b@rcs.example")) == (
        Candidate("tcp", "192.0.2.1", 5070),
        Candidate("tcp", "192.0.2.2", 5080),
        Candidate("tcp", "2001:db8::2", 5080),
    )
    assert names == ["_sip._udp.rcs.example", "_sip._tcp.rcs.example"]


async def test_a_port_or_no_srv_leads_to_the_addresses(names: list[str]) -> None:
    assert await resolve(Uri.parse("sip:b@rcs.example:5066")) == (
        Candidate("udp", "192.0.2.99", 5066),
    )
    assert names == []
    assert await resolve(Uri.parse("sip:b@rcs.example"), transport="udp") == (
        Candidate("udp", "192.0.2.99", 5060),
    )
    assert names == ["_sip._udp.rcs.example"]


async def test_no_address_is_an_error_with_a_hint(names: list[str]) -> None:
    with pytest.raises(AgentError, match="no address") as caught:
        await resolve(Uri.parse("sip:b@nowhere.example"))
    assert "HOST:PORT" in caught.value.hint
