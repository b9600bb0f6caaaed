"""From where an agent fetches files, whatever a peer says."""

import socket

import pytest
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from rcsops.errors import TransferError
from rcsops.ua.http_guard import Places, public_resolver

OWN = Places("http://127.0.0.1:8080/ft", "rcs.example", ["cdn.example"])


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/ft/d/x",
        "HTTP://127.0.0.1:8080/elsewhere",
        "https://rcs.example/f",
        "https://files.rcs.example:8443/f",
        "https://cdn.example/f",
        "https://CDN.example./f",
    ],
)
def test_it_is_fetched(url: str) -> None:
    OWN.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8081/ft/d/x",
        "https://127.0.0.1:8080/ft/d/x",
        "http://127.0.0.1/",
        "http://localhost:8080/ft",
        "http://rcs.example/f",
        "https://rcs.example.evil.example/f",
        "https://evilrcs.example/f",
        "https://files.cdn.example/f",
        "https://evil.example/rcs.example",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
    ],
)
def test_it_is_not_fetched(url: str) -> None:
    with pytest.raises(TransferError):
        OWN.check(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "2130706433",
        "127.1",
        "0x7f000001",
        "0177.0.0.1",
        "[::1]",
        "[fe80::1]",
        "[fc00::1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
    ],
)
def test_even_if_any_host_will_do_private_ones_do_not(host: str) -> None:
    anywhere = Places("", "rcs.example", ["*"])

    with pytest.raises(TransferError, match="private network"):
        anywhere.check(f"https://{host}/f")


def test_any_public_host() -> None:
    Places("", "rcs.example", ["*"]).check("https://files.example/f")
    Places("", "rcs.example", ["*"]).check("https://93.184.216.34/f")


async def test_a_name_that_leads_inside_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    led = ["10.0.0.1", "93.184.216.34", "::1"]

    async def resolve(_: object, host: str, port: int, family: int) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=each, port=port, family=socket.AF_INET, proto=0, flags=0
            )
            for each in led
        ]

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    resolver = public_resolver()

    assert [each["host"] for each in await resolver.resolve("x.example", 443)] == ["93.184.216.34"]
    led.remove("93.184.216.34")
    with pytest.raises(OSError, match="private network"):
        await resolver.resolve("x.example", 443)
    await resolver.close()
