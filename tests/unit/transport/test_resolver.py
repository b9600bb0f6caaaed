"""From a URI to addresses (RFC 3263), against a DNS server that runs here."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from rcsops.errors import AgentError, UsageError
from rcsops.sip import Uri
from rcsops.testing.nameserver import NameServer
from rcsops.tokens import Tokens
from rcsops.transport import names
from rcsops.transport.names import Srv, parse_nameserver
from rcsops.transport.resolver import Candidate, Resolver, order_srv, resolve_numeric

pytestmark = pytest.mark.timeout(40)

ZONE = """
@        60 IN A     192.0.2.99
@        60 IN NAPTR 50  50 "s" "SIPS+D2T" "" _sips._tcp
@        60 IN NAPTR 90  60 "s" "SIP+D2U"  "" _sip._udp
@        60 IN NAPTR 90  50 "s" "SIP+D2T"  "" _sip._tcp
@        60 IN NAPTR 100 50 "s" "SIP+D2W"  "" _sip._ws
@        60 IN NAPTR 10  10 "u" "SIP+D2U"  "!.*!sip:x@other.example!" .
@        60 IN NAPTR 20  10 "s" "SIP+D2S"  "" _sip._sctp
_sips._tcp 60 IN SRV 1 1 5061 secure
_sip._tcp  60 IN SRV 1 1 5070 one
_sip._tcp  60 IN SRV 2 1 5080 two
_sip._udp  60 IN SRV 1 1 5090 one
secure   60 IN A     192.0.2.5
one      60 IN A     192.0.2.1
two      60 IN A     192.0.2.2
two      60 IN AAAA  2001:db8::2

srv.     60 IN A     192.0.2.98
"""

PLAIN = """
plain            60 IN A   192.0.2.99
only             60 IN A   192.0.2.97
_sip._udp.plain  60 IN SRV 1 1 5090 one
_sip._tcp.plain  60 IN SRV 1 1 5070 one
_sip._udp.none   60 IN SRV 0 0 0 .
_sip._tcp.none   60 IN SRV 0 0 0 .
none             60 IN A   192.0.2.96
_sip._tcp.half   60 IN SRV 1 1 5070 gone
half             60 IN A   192.0.2.95
alias            60 IN CNAME deeper
deeper           60 IN CNAME one
loop             60 IN CNAME pool
pool             60 IN CNAME loop
one              60 IN A   192.0.2.1
"""


@pytest.fixture
def dns() -> Iterator[NameServer]:
    with NameServer(ZONE.replace("srv.", "hosts")) as server:
        yield server


@pytest.fixture
def plain() -> Iterator[NameServer]:
    with NameServer(PLAIN) as server:
        yield server


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def resolver(*servers: NameServer, now: Clock | None = None) -> Resolver:
    return Resolver(
        [server.address for server in servers],
        now=now or Clock(),
        fraction=Tokens.deterministic(1).fraction,
    )


async def find(
    resolver: Resolver,
    uri: str,
    *,
    transport: str | None = None,
    supported: tuple[str, ...] = ("udp", "tcp", "tls"),
) -> list[str]:
    found = await resolver.resolve(Uri.parse(uri), transport=transport, supported=supported)
    assert {each.name for each in found} == {Uri.parse(uri).host}
    return [f"{each.transport} {each.host} {each.port}" for each in found]


@pytest.mark.rfc("3263", "4.1", "4.2")
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
        ("sips:b@192.0.2.1;transport=ws", None, ("wss", "192.0.2.1", 443)),
        ("sip:b@[2001:db8::1]:5080", None, ("udp", "2001:db8::1", 5080)),
    ],
)
async def test_a_numeric_host_needs_no_look_up(
    dns: NameServer, uri: str, transport: str | None, expected: tuple[str, str, int]
) -> None:
    parsed = Uri.parse(uri)
    wanted = Candidate(*expected, parsed.host)
    assert resolve_numeric(parsed, transport=transport) == wanted
    assert await resolver(dns).resolve(parsed, transport=transport) == (wanted,)
    assert dns.questions == []


@pytest.mark.rfc("3263", "4.1", "4.2")
async def test_maddr_is_where_to_go_and_the_host_what_to_prove() -> None:
    uri = Uri.parse("sip:b@rcs.example;maddr=192.0.2.9")
    assert resolve_numeric(uri) == Candidate("udp", "192.0.2.9", 5060, "rcs.example")


def test_a_name_is_not_numeric() -> None:
    assert resolve_numeric(Uri.parse("sip:b@rcs.example")) is None


@pytest.mark.rfc("3263", "4")
@pytest.mark.rfc("3261", "8.1.2")
async def test_an_outbound_proxy_takes_everything(dns: NameServer) -> None:
    proxy = Uri.parse("sip:one.rcs.example:5090;transport=tcp")
    found = await resolver(dns).resolve(Uri.parse("sip:b@elsewhere.example"), outbound=proxy)
    assert found == (Candidate("tcp", "192.0.2.1", 5090, "one.rcs.example"),)


async def test_localhost_is_found_without_the_dns(dns: NameServer) -> None:
    assert "udp 127.0.0.1 5070" in await find(resolver(dns), "sip:b@localhost:5070")
    assert "udp 127.0.0.1 5070" in await find(resolver(), "sip:b@localhost:5070")
    assert dns.questions == []


# --- the choice of the transport (RFC 3263 §4.1) -------------------------------------------------


@pytest.mark.rfc("3263", "4.1")
@pytest.mark.parametrize(
    ("supported", "expected"),
    [
        # The lowest order of what we have, and nothing of a higher one (RFC 3403 §4.1).
        (("udp", "tcp", "tls"), ["tls 192.0.2.5 5061"]),
        # Within one order, the preference.
        (
            ("udp", "tcp"),
            [
                "tcp 192.0.2.1 5070",
                "tcp 2001:db8::2 5080",
                "tcp 192.0.2.2 5080",
                "udp 192.0.2.1 5090",
            ],
        ),
        (("udp",), ["udp 192.0.2.1 5090"]),
        # No SRV record behind it: the name itself, at the transport's own port.
        (("ws",), ["ws 192.0.2.99 80"]),
    ],
)
async def test_naptr_chooses_the_transport(
    dns: NameServer, supported: tuple[str, ...], expected: list[str]
) -> None:
    assert await find(resolver(dns), "sip:b@rcs.example", supported=supported) == expected
    assert dns.asked("rcs.example", "NAPTR") == 1
    assert dns.asked("_sip._sctp.rcs.example", "SRV") == 0


@pytest.mark.rfc("3263", "4.1")
async def test_a_sips_uri_takes_secure_services_alone(dns: NameServer) -> None:
    assert await find(resolver(dns), "sips:b@rcs.example") == ["tls 192.0.2.5 5061"]
    # With no TLS of ours there is nothing of its NAPTR left, and nothing unsafe in its place.
    found = await find(resolver(dns), "sips:b@rcs.example", supported=("udp", "tcp"))
    assert found == ["tls 192.0.2.99 5061"]


@pytest.mark.rfc("3263", "4.1")
@pytest.mark.parametrize(
    ("uri", "transport", "expected", "asked"),
    [
        ("sip:b@rcs.example;transport=udp", None, "udp 192.0.2.1 5090", "_sip._udp.rcs.example"),
        ("sip:b@rcs.example", "udp", "udp 192.0.2.1 5090", "_sip._udp.rcs.example"),
        ("sip:b@rcs.example;transport=tls", None, "tls 192.0.2.5 5061", "_sips._tcp.rcs.example"),
        ("sips:b@rcs.example;transport=tcp", None, "tls 192.0.2.5 5061", "_sips._tcp.rcs.example"),
    ],
)
async def test_a_transport_that_is_named_skips_naptr(
    dns: NameServer, uri: str, transport: str | None, expected: str, asked: str
) -> None:
    assert (await find(resolver(dns), uri, transport=transport))[0] == expected
    assert dns.asked("rcs.example", "NAPTR") == 0
    assert dns.asked(asked, "SRV") == 1


@pytest.mark.rfc("3263", "4.1", "4.2")
async def test_a_port_leads_straight_to_the_addresses(dns: NameServer) -> None:
    assert await find(resolver(dns), "sip:b@rcs.example:5066") == ["udp 192.0.2.99 5066"]
    assert await find(resolver(dns), "sips:b@rcs.example:5066") == ["tls 192.0.2.99 5066"]
    assert {question.kind for question in dns.questions} == {"A", "AAAA"}


@pytest.mark.rfc("3263", "4.1")
async def test_without_naptr_each_transport_is_asked_for(plain: NameServer) -> None:
    found = await find(resolver(plain), "sip:b@plain.rcs.example")
    assert found == ["tcp 192.0.2.1 5070", "udp 192.0.2.1 5090"]
    assert plain.asked("plain.rcs.example", "NAPTR") == 1
    assert plain.asked("plain.rcs.example", "A") == 0


@pytest.mark.rfc("3263", "4.1", "4.2")
async def test_without_srv_the_name_is_the_host(plain: NameServer) -> None:
    assert await find(resolver(plain), "sip:b@only.rcs.example") == ["udp 192.0.2.97 5060"]
    assert await find(resolver(plain), "sips:b@only.rcs.example") == ["tls 192.0.2.97 5061"]
    assert await find(resolver(plain), "sip:b@only.rcs.example", transport="tcp") == [
        "tcp 192.0.2.97 5060"
    ]


@pytest.mark.rfc("3263", "4.2")
async def test_a_service_that_is_decidedly_not_there(plain: NameServer) -> None:
    with pytest.raises(AgentError, match="no SIP service"):
        await find(resolver(plain), "sip:b@none.rcs.example")


@pytest.mark.rfc("3263", "4.2")
async def test_srv_that_leads_nowhere_is_an_error_that_names_the_host(plain: NameServer) -> None:
    with pytest.raises(AgentError, match=r"gone\.rcs\.example.*no address"):
        await find(resolver(plain), "sip:b@half.rcs.example")


async def test_no_address_is_an_error_with_a_hint(plain: NameServer) -> None:
    with pytest.raises(AgentError, match="no address") as caught:
        await find(resolver(plain), "sip:b@nowhere.rcs.example")
    assert "HOST:PORT" in caught.value.hint


# --- weights (RFC 2782) --------------------------------------------------------------------------


@pytest.mark.rfc("3263", "4.3")
def test_priorities_come_first_and_weights_share_the_rest() -> None:
    records = [Srv(10, 60, 1, "big"), Srv(10, 20, 1, "a"), Srv(10, 20, 1, "b"), Srv(5, 0, 1, "x")]
    fraction = Tokens.deterministic(7).fraction
    orders = [order_srv(records, fraction) for _ in range(4000)]
    assert all(order[0].target == "x" and len(set(order)) == 4 for order in orders)
    first = Counter(order[1].target for order in orders)
    assert 2200 < first["big"] < 2600
    assert 650 < first["a"] < 950
    assert 650 < first["b"] < 950
    # All the orders that there can be do happen.
    seen = {tuple(record.target for record in order[1:]) for order in orders}
    assert seen == set(itertools.permutations(["big", "a", "b"]))


@pytest.mark.rfc("3263", "4.3")
def test_a_weight_of_nothing_has_a_small_chance() -> None:
    records = [Srv(1, 9, 1, "nine"), Srv(1, 0, 1, "zero")]
    fraction = Tokens.deterministic(3).fraction
    first = Counter(order_srv(records, fraction)[0].target for _ in range(2000))
    assert 120 < first["zero"] < 300


def test_the_same_draws_give_the_same_order() -> None:
    records = [Srv(1, weight, 1, str(weight)) for weight in range(8)]
    one, two = (Tokens.deterministic(5).fraction for _ in range(2))
    assert order_srv(records, one) == order_srv(records, two)


# --- what is remembered --------------------------------------------------------------------------


async def test_an_answer_is_remembered_for_its_lifetime(dns: NameServer) -> None:
    clock = Clock()
    made = resolver(dns, now=clock)
    before = await find(made, "sip:b@one.rcs.example:5060")
    clock.now += 59
    assert await find(made, "sip:b@one.rcs.example:5060") == before
    assert dns.asked("one.rcs.example", "A") == 1
    dns.load("one 60 IN A 192.0.2.77")
    assert await find(made, "sip:b@one.rcs.example:5060") == before
    clock.now += 2
    assert await find(made, "sip:b@ONE.rcs.example:5060") == ["udp 192.0.2.77 5060"]
    assert dns.asked("one.rcs.example", "A") == 2


async def test_that_there_is_nothing_is_remembered_too(dns: NameServer) -> None:
    # RFC 2308: for as long as the SOA record says.
    clock = Clock()
    made = resolver(dns, now=clock)
    for _ in range(3):
        with pytest.raises(AgentError):
            await find(made, "sip:b@nowhere.rcs.example:5060")
    assert dns.asked("nowhere.rcs.example", "A") == 1
    clock.now += 61
    dns.load("nowhere 60 IN A 192.0.2.1")
    assert await find(made, "sip:b@nowhere.rcs.example:5060") == ["udp 192.0.2.1 5060"]


async def test_a_lifetime_of_nothing_is_not_remembered(dns: NameServer) -> None:
    dns.load("one 0 IN A 192.0.2.1")
    made = resolver(dns)
    # Those who ask at the same time share one answer all the same.
    await asyncio.gather(*(find(made, "sip:b@one.rcs.example:5060") for _ in range(20)))
    assert dns.asked("one.rcs.example", "A") == 1
    await find(made, "sip:b@one.rcs.example:5060")
    assert dns.asked("one.rcs.example", "A") == 2


async def test_who_asked_first_may_be_cancelled(dns: NameServer) -> None:
    made = resolver(dns)
    first = asyncio.create_task(find(made, "sip:b@one.rcs.example:5060"))
    second = asyncio.create_task(find(made, "sip:b@one.rcs.example:5060"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == ["udp 192.0.2.1 5060"]


async def test_the_memory_is_bounded(dns: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_MAX_ENTRIES", 16)
    made = resolver(dns)
    for number in range(20):
        with pytest.raises(AgentError):
            await find(made, f"sip:b@n{number}.rcs.example:5060")
    assert len(made.names) == 16


@pytest.mark.rfc("3263", "4.3")
async def test_what_has_failed_is_tried_last_for_a_while(dns: NameServer) -> None:
    clock = Clock()
    made = resolver(dns, now=clock)
    uri = "sip:b@rcs.example;transport=tcp"
    assert (await find(made, uri))[0] == "tcp 192.0.2.1 5070"
    made.avoidance.avoid("tcp", ("192.0.2.1", 5070), 30)
    assert (await find(made, uri))[-1] == "tcp 192.0.2.1 5070"
    clock.now += 31
    assert (await find(made, uri))[0] == "tcp 192.0.2.1 5070"
    made.avoidance.avoid("tcp", ("192.0.2.1", 5070), 30)
    made.avoidance.answered("tcp", ("192.0.2.1", 5070))
    assert (await find(made, uri))[0] == "tcp 192.0.2.1 5070"


# --- servers that fail, and servers that lie -----------------------------------------------------


async def test_an_answer_too_large_for_udp_comes_by_tcp(dns: NameServer) -> None:
    dns.truncate = True
    assert await find(resolver(dns), "sip:b@rcs.example") == ["tls 192.0.2.5 5061"]
    assert {each.transport for each in dns.questions} == {"udp", "tcp"}


async def test_the_second_server_is_asked_when_the_first_fails(
    dns: NameServer, plain: NameServer
) -> None:
    import dns.rcode as rcode

    plain.rcode = rcode.SERVFAIL
    assert await find(resolver(plain, dns), "sip:b@two.rcs.example:5060") == [
        "udp 2001:db8::2 5060",
        "udp 192.0.2.2 5060",
    ]


async def test_a_server_that_is_silent_is_said_to_be(dns: NameServer) -> None:
    dns.silent = True
    with pytest.raises(AgentError, match="no DNS server answers"):
        await find(resolver(dns), "sip:b@one.rcs.example:5060")


async def test_silence_about_naptr_is_not_the_end(dns: NameServer) -> None:
    # A network that lets NAPTR not pass: the answer is refused, SRV goes on.
    dns.lie("rcs.example", "NAPTR", [])
    found = await find(resolver(dns), "sip:b@rcs.example")
    assert found[0] == "tcp 192.0.2.1 5070"


async def test_aliases_are_followed_and_loops_end(plain: NameServer) -> None:
    assert await find(resolver(plain), "sip:b@alias.rcs.example:5060") == ["udp 192.0.2.1 5060"]
    with pytest.raises(AgentError, match="no address"):
        await find(resolver(plain), "sip:b@loop.rcs.example:5060")
    # One alias at a time, each in an answer of its own.
    for number in range(40):
        plain.lie(
            f"a{number}.rcs.example",
            "A",
            [f"a{number}.rcs.example 60 IN CNAME a{number + 1}.rcs.example."],
        )
    with pytest.raises(AgentError, match="aliases without end"):
        await find(resolver(plain), "sip:b@a0.rcs.example:5060")
    assert plain.asked("a1.rcs.example", "A") == 1
    assert plain.asked("a20.rcs.example", "A") == 0


async def test_records_of_another_name_are_not_believed(dns: NameServer) -> None:
    dns.lie("one.rcs.example", "A", ["bank.example. 60 IN A 192.0.2.66"])
    made = resolver(dns)
    with pytest.raises(AgentError, match="no address"):
        await find(made, "sip:b@one.rcs.example:5060")
    with pytest.raises(AgentError, match="no address"):
        await find(made, "sip:b@bank.example:5060")


async def test_huge_sets_are_cut(dns: NameServer) -> None:
    name = "_sip._udp.big.rcs.example"
    dns.lie(
        name,
        "SRV",
        [f"{name}. 60 IN SRV {each} 1 5060 h{each}.rcs.example.\n".strip() for each in range(1500)],
    )
    for each in range(1500):
        owner = f"h{each}.rcs.example"
        dns.lie(owner, "A", [f"{owner}. 60 IN A 10.0.{each // 250}.{each % 250 + 1}"])
    dns.lie(
        "many.rcs.example",
        "A",
        [f"many.rcs.example. 60 IN A 10.1.{each // 250}.{each % 250 + 1}" for each in range(2000)],
    )
    made = resolver(dns)
    found = await find(made, "sip:b@big.rcs.example", transport="udp")
    assert len(found) == 16
    assert sum(question.kind == "A" for question in dns.questions) == 16
    assert len(await find(made, "sip:b@many.rcs.example:5060")) <= 32


@pytest.mark.parametrize(
    "host",
    ["a" * 64 + ".example", ".".join(["a" * 60] * 5), "a.b" * 80],
)
async def test_a_name_that_no_dns_can_hold_is_refused(dns: NameServer, host: str) -> None:
    with pytest.raises(AgentError, match="no address"):
        await find(resolver(dns), f"sip:b@{host}:5060")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("[2001:db8::53]", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)
def test_the_address_of_a_dns_server(text: str, expected: tuple[str, int]) -> None:
    assert parse_nameserver(text) == expected


@pytest.mark.parametrize("text", ["", "dns.example", "192.0.2.53:99999", "a b"])
def test_what_is_no_dns_server_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not the address of a DNS server"):
        parse_nameserver(text)
