"""Floods, guesses and forged addresses, over real sockets."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from rcsops.server.options import ServerOptions
from rcsops.settings import Limits
from rcsops.sip import Credential, DigestClient, Response
from tests.unit.server.conftest import DOMAIN, Lab, Phone
from tests.unit.server.test_mi_commands import Mi


class Raw:
    """A datagram socket that says what it likes."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.sock.connect(("127.0.0.1", port))
        self.sock.setblocking(False)

    def send(self, data: bytes) -> None:
        self.sock.send(data)

    async def answers(self, count: int = 1, limit: float = 5.0) -> list[bytes]:
        loop = asyncio.get_running_loop()
        found = []
        async with asyncio.timeout(limit):
            while len(found) < count:
                found.append(await loop.sock_recv(self.sock, 65535))
        return found

    def silent(self) -> bool:
        try:
            self.sock.recv(65535)
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def raws() -> Iterator[list[Raw]]:
    made: list[Raw] = []
    yield made
    for raw in made:
        raw.sock.close()


def options_of(phone: Phone) -> bytes:
    request = phone.make("OPTIONS", f"sip:{DOMAIN}")
    request.prepend("Via", f"SIP/2.0/UDP 192.0.2.1;branch={phone.tokens.branch()};rport")
    return bytes(request)


async def settled(lab: Lab) -> None:
    """Everything that was sent before has been read: a source that is not limited gets its answer
    behind it."""
    probe = Raw(lab.port, "127.0.0.99")
    try:
        probe.send(options_of(await lab.phone("probe")))
        await probe.answers()
    finally:
        probe.sock.close()


async def test_datagrams_over_the_rate_get_no_answer_and_others_are_served(
    idle_lab: Lab, raws: list[Raw]
) -> None:
    await idle_lab.start(limits=Limits(rate=1, burst=5, trusted=()))
    alex = await idle_lab.phone("alex")
    raws.append(raw := Raw(idle_lab.port, "127.0.0.2"))
    for _ in range(50):
        raw.send(options_of(alex))
    await raw.answers(5)
    await settled(idle_lab)
    answered = 0
    while not raw.silent():
        answered += 1
    counts = idle_lab.running.statistics.counts
    # A second or two may pass on a slow machine.
    assert answered + counts["limits:dropped"] == 45
    assert counts["limits:dropped"] >= 30


async def test_a_user_gets_in_while_a_flood_comes_in_the_name_of_the_address(
    idle_lab: Lab, raws: list[Raw]
) -> None:
    await idle_lab.start(limits=Limits(rate=1, burst=3, trusted=()))
    bob = await idle_lab.phone("bob")
    assert (await bob.register()).status == 200
    raws.append(raw := Raw(idle_lab.port))
    for _ in range(200):
        raw.send(options_of(bob))
    await settled(idle_lab)
    again = bob.make("REGISTER", f"sip:{DOMAIN}", ("Contact", f"<{bob.contact}>"), to=bob.aor)
    bob.digest.preempt(again)
    assert (await bob.final(bob.send(again))).status == 200
    # The same with a wrong password is not even refused.
    forged = bob.make("REGISTER", f"sip:{DOMAIN}", to=bob.aor)
    bob.digest.preempt(forged)
    credentials = forged.get("Authorization") or ""
    start, response, rest = credentials.partition('response="')
    forged.set("Authorization", f"{start}{response}{'0' * 8}{rest[8:]}")
    forged.prepend("Via", f"SIP/2.0/UDP 192.0.2.1;branch={bob.tokens.branch()};rport")
    raw.send(bytes(forged))
    counts = idle_lab.running.statistics.counts
    async with asyncio.timeout(5):
        while not counts["auth:failures"]:
            await asyncio.sleep(0.01)
    answers = 0
    while not raw.silent():
        answers += 1
    assert answers < 20


async def test_a_connection_over_the_rate_is_told_and_then_closed(idle_lab: Lab) -> None:
    await idle_lab.start(limits=Limits(rate=1, burst=10, trusted=()))
    alex = await idle_lab.phone("alex")
    reader, writer = await asyncio.open_connection("127.0.0.1", idle_lab.port)
    requests = b""
    for _ in range(60):
        request = alex.make("OPTIONS", f"sip:{DOMAIN}")
        request.prepend("Via", f"SIP/2.0/TCP 192.0.2.1;branch={alex.tokens.branch()}")
        requests += bytes(request)
    # In one piece: what a server has not read when it closes would take its answers away.
    writer.write(requests)
    data = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    statuses = [line.split()[1] for line in data.split(b"\r\n") if line.startswith(b"SIP/2.0 ")]
    assert statuses[:10] == [b"200"] * 10
    assert set(statuses[12:]) == {b"503"}
    assert b"Retry-After: 5\r\n" in data
    assert statuses[-1] == b"503"


async def wrong(phone: Phone) -> Response:
    """One guess at the password of a user."""
    phone.digest = DigestClient(
        [Credential.from_password(phone.name, DOMAIN, "guess")], phone.tokens
    )
    return await phone.register()


async def test_guessing_passwords_bans_the_source_and_mi_lifts_it(idle_lab: Lab) -> None:
    limits = Limits(rate=0, login_failures=3, trusted=())
    await idle_lab.start(limits=limits)
    mi = Mi(idle_lab)
    bob = await idle_lab.phone("bob", "tcp")
    for _ in range(3):
        assert (await wrong(bob)).status == 401
    assert mi("pike_list") == {"IPs": ["127.0.0.1"]}
    (ban,) = mi("ban_list")["Bans"]
    assert ban["Reason"] == "wrong passwords"
    assert 290 < ban["Seconds"] <= 300
    response = await bob.ask(bob.make("OPTIONS", f"sip:{DOMAIN}"), login=False)
    assert (response.status, response.reason) == (403, "Too Many Wrong Passwords")
    async with asyncio.timeout(5):
        while bob.endpoint.connections:
            await asyncio.sleep(0.01)
    # The right password comes too late now, by any transport.
    late = await idle_lab.phone("bob")
    late.send(late.make("REGISTER", f"sip:{DOMAIN}", to=late.aor))
    async with asyncio.timeout(5):
        while not idle_lab.running.statistics.counts["limits:dropped"]:
            await asyncio.sleep(0.01)
    assert mi("pike_rm", ["127.0.0.1"]) == "OK"
    assert (await late.register()).status == 200
    assert mi("pike_list") == {"IPs": []}
    assert mi("get_statistics", [["limits:"]])["limits:bans"] == 1


async def test_a_banned_source_finishes_the_calls_it_has(idle_lab: Lab) -> None:
    await idle_lab.start(limits=Limits(rate=0, login_failures=3, trusted=()))
    bob = await idle_lab.registered("bob")
    bob.answer = lambda request: bob.reply(request, 200)
    alex = await idle_lab.phone("alex")
    invite = alex.make("INVITE", bob.aor, ("Contact", f"<{alex.contact}>"))
    accepted = await alex.final(await alex.ringing(invite))
    alex.ack(invite, accepted)
    carol = await idle_lab.phone("carol", "tcp")
    for _ in range(3):
        await wrong(carol)
    bye = alex.in_dialog("BYE", invite, accepted)
    assert (await alex.final(alex.send(bye))).status == 200


async def test_a_guess_with_a_nonce_of_another_address_bans_nobody(
    idle_lab: Lab, raws: list[Raw]
) -> None:
    await idle_lab.start(limits=Limits(rate=0, login_failures=2, trusted=()))
    bob = await idle_lab.phone("bob")
    register = bob.make("REGISTER", f"sip:{DOMAIN}", to=bob.aor)
    challenge = await bob.ask(register, login=False)
    digest = DigestClient([Credential.from_password("bob", DOMAIN, "guess")], bob.tokens)
    raws.append(raw := Raw(idle_lab.port, "127.0.0.77"))
    for _ in range(5):
        forged = bob.make("REGISTER", f"sip:{DOMAIN}", to=bob.aor)
        assert digest.authorize(forged, challenge)
        forged.prepend("Via", f"SIP/2.0/UDP 192.0.2.1;branch={bob.tokens.branch()};rport")
        raw.send(bytes(forged))
        (answer,) = await raw.answers()
        # Not told whether it was right.
        assert b"stale=true" in answer
    counts = idle_lab.running.statistics.counts
    assert (counts["auth:failures"], counts["limits:bans"]) == (0, 0)


@pytest.mark.rfc("3261", "22.4")
@pytest.mark.rfc("7616", "3.4")
async def test_a_request_seen_on_the_wire_is_of_no_use_to_another(
    lab: Lab, raws: list[Raw]
) -> None:
    bob = await lab.phone("bob")
    register = bob.make(
        "REGISTER", f"sip:{DOMAIN}", ("Contact", "<sip:eve@192.0.2.66>"), to=bob.aor
    )
    plain = register.copy()
    challenge = await bob.ask(register, login=False)
    assert bob.digest.authorize(plain, challenge)
    copy = plain.copy()
    assert (await bob.final(bob.send(plain))).status == 200
    lab.running.location.remove_address(f"bob@{DOMAIN}")
    for host in ("127.0.0.1", "127.0.0.66"):
        raws.append(raw := Raw(lab.port, host))
        replay = copy.copy()
        replay.prepend("Via", f"SIP/2.0/UDP 192.0.2.1;branch={bob.tokens.branch()};rport")
        raw.send(bytes(replay))
        (answer,) = await raw.answers()
        assert answer.startswith(b"SIP/2.0 401")
        assert b"stale=true" in answer
    assert lab.running.location.contacts == 0


async def test_a_forged_address_gets_one_answer_not_much_larger_than_the_request(
    lab: Lab, raws: list[Raw]
) -> None:
    """Who writes another's address into a datagram makes the server send there: once, and little.

    An INVITE without credentials leaves no transaction, so its 407 is not repeated (RFC 3261
    §8.2.7), and nothing goes to the callee.
    """
    bob = await lab.registered("bob")
    alex = await lab.phone("alex")
    for method, uri in (("REGISTER", f"sip:{DOMAIN}"), ("INVITE", bob.aor), ("MESSAGE", bob.aor)):
        raws.append(raw := Raw(lab.port))
        request = alex.make(method, uri, ("Contact", f"<{alex.contact}>"))
        request.prepend("Via", f"SIP/2.0/UDP 192.0.2.1;branch={alex.tokens.branch()};rport")
        data = bytes(request)
        raw.send(data)
        (answer,) = await raw.answers()
        assert answer.split()[1] in (b"401", b"407")
        assert len(answer) <= 1200
        assert len(answer) - len(data) < 700
        # Longer than timers G and E of the server's transactions.
        await asyncio.sleep(0.5)
        assert raw.silent()
    assert len(lab.running.endpoint.layer) <= 2
    assert bob.requests.empty()


async def test_garbage_over_the_rate_gets_no_400(idle_lab: Lab, raws: list[Raw]) -> None:
    await idle_lab.start(limits=Limits(rate=1, burst=5, trusted=()))
    raws.append(raw := Raw(idle_lab.port))
    for number in range(50):
        raw.send(
            b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK%d;rport\r\n"
            b"From: <sip:a@b>\r\nTo: <sip:a@b>\r\nCall-ID: x\r\n"
            b"CSeq: 1 OPTIONS\r\nContent-Length: 9\r\n\r\n" % number
        )
    (first, *_) = await raw.answers(5)
    assert first.startswith(b"SIP/2.0 400")
    await settled(idle_lab)
    assert idle_lab.running.statistics.counts["limits:dropped"] >= 30


@pytest.mark.parametrize(
    ("count", "body", "status"), [(100, 10, 407), (300, 10, 400), (10, 300_000, 513)]
)
async def test_too_many_headers_are_400_and_too_large_a_body_is_513(
    lab: Lab, count: int, body: int, status: int
) -> None:
    alex = await lab.phone("alex", "tcp")
    extra = [(f"X-{number}", "x") for number in range(count)]
    request = alex.make("MESSAGE", f"sip:bob@{DOMAIN}", *extra)
    request.set_body(b"x" * body, "text/plain")
    assert (await alex.ask(request, login=False)).status == status


async def test_no_more_contacts_for_one_user_than_the_limit(idle_lab: Lab) -> None:
    await idle_lab.start(ServerOptions(max_contacts=2))
    for _ in range(2):
        await idle_lab.registered("bob")
    third = await idle_lab.phone("bob")
    response = await third.register()
    assert (response.status, response.reason) == (403, "Too Many Contacts")


async def closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(), 5) == b""
    except ConnectionError:
        return True


async def test_no_more_connections_than_the_limits(idle_lab: Lab) -> None:
    await idle_lab.start(limits=Limits(connections=3, connections_per_source=2))
    held = []
    for _ in range(2):
        held.append(await asyncio.open_connection("127.0.0.1", idle_lab.port))
    reader, writer = await asyncio.open_connection("127.0.0.1", idle_lab.port)
    assert await closed(reader)
    other = await asyncio.open_connection("127.0.0.1", idle_lab.port, local_addr=("127.0.0.5", 0))
    fourth = await asyncio.open_connection("127.0.0.1", idle_lab.port, local_addr=("127.0.0.6", 0))
    assert await closed(fourth[0])
    assert idle_lab.running.endpoint.statistics.refused_connections == 2
    for _, each in (*held, other, fourth, (reader, writer)):
        each.close()


async def test_no_more_transactions_than_the_limit(idle_lab: Lab) -> None:
    await idle_lab.start(limits=Limits(transactions=1))
    bob = await idle_lab.phone("bob")
    assert (await bob.register()).status == 200
    response = await bob.ask(bob.make("OPTIONS", f"sip:{DOMAIN}"), login=False)
    # The REGISTER's transaction is there for its retransmissions.
    assert (response.status, response.retry_after) == (503, 10)
