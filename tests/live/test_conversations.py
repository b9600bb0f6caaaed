"""The same conversations through every server: ours, Kamailio, each OpenSIPS on each database."""

import asyncio
import itertools
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rcsops import Agent
from rcsops.errors import InviteError, RegistrationError
from rcsops.rcs import reaction_text
from rcsops.testing import EmbeddedServer, KamailioServer, free_port, wait_until
from rcsops.testing.opensips import OpenSipsServer
from rcsops.trace import TraceEntry, merge
from rcsops.transport.tap import TapRecord
from rcsops.ua import TextReceived, events
from tests.live.phones import DOMAIN, Phone
from tests.live.subjects import Server
from tests.live.talking import PATIENCE, ended, next_of, session
from tests.live.test_pager import Chat, StartChat, chats_at

pytestmark = [pytest.mark.feature("conversations"), pytest.mark.timeout(240)]

_numbers = itertools.count(1)


@pytest.fixture
def pair(anywhere: Server) -> tuple[str, str]:
    """Two users of that server whom no other test has."""
    number = next(_numbers)
    for name in ("alex", "bob"):
        anywhere.add_user(f"{name}{number}", f"of {name}{number}")
    return f"alex{number}", f"bob{number}"


@pytest.fixture
def chat(anywhere: Server) -> Iterator[StartChat]:
    with chats_at(anywhere.address) as start:
        yield start


def agent(server: Server, name: str, **more: Any) -> Agent:
    settings = {"server": server.address, "password": f"of {name}"} | more
    return Agent(f"sip:{name}@{DOMAIN}", **settings)


# --- in a session ------------------------------------------------------------------------------


class Seen:
    """What all agents of a test sent and got."""

    def __init__(self) -> None:
        self.entries: list[TraceEntry] = []

    def tap(self, node: str) -> Callable[[TapRecord], None]:
        def take(record: TapRecord) -> None:
            self.entries.append(TraceEntry(*record[:6], node=node, data=record.data))

        return take


@pytest.mark.smoke
@pytest.mark.rfc("3261", "10.2", "13.2.1", "15.1.1", "22.3")
@pytest.mark.parametrize("security", ["tcp", "tls"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_session_with_receipts_typing_and_a_reaction(
    anywhere: Server, pair: tuple[str, str], transport: str, security: str
) -> None:
    seen = Seen()
    a, b = pair
    more: dict[str, Any] = {"transport": transport, "msrp_security": security}
    async with (
        agent(anywhere, a, tap=seen.tap(a), **more) as alex,
        agent(anywhere, b, tap=seen.tap(b), **more) as bob,
    ):
        await alex.register()
        await bob.register()
        ours, theirs = await session(alex, bob)
        assert bool(ours.security) == bool(theirs.security) == (security == "tls")
        ours.composing(True)
        assert (await next_of(theirs, events.Composing)).active
        there = await ours.send("Grüße 👋")
        came = await next_of(theirs, TextReceived)
        assert came.text == "Grüße 👋"
        await there.delivered(PATIENCE)
        theirs.mark_displayed(came)
        await there.displayed(PATIENCE)
        back = await theirs.send(reaction_text("👍", came.text))
        assert (await next_of(ours, TextReceived)).text == "Reacted 👍 to “Grüße 👋”"
        await back.delivered(PATIENCE)
        # Longer than one chunk.
        await (await ours.send("long é" * 20_000)).delivered(PATIENCE)
        assert (await next_of(theirs, TextReceived)).text == "long é" * 20_000
        await theirs.close()
        await ended(ours)
    arrows = merge(seen.entries)
    # Every SIP message goes through the server, every MSRP frame past it.
    both = set(pair)
    for arrow in arrows:
        assert ({arrow.source, arrow.target} == both) == (arrow.protocol == "msrp"), arrow
    came_there = [
        arrow.summary.method for arrow in arrows if arrow.protocol == "sip" and arrow.source in both
    ]
    # Challenged, then with credentials.
    assert came_there.count("INVITE") >= 2
    assert came_there.count("ACK") >= 2
    assert came_there.count("BYE") >= 1
    if isinstance(anywhere, OpenSipsServer):
        assert not anywhere.mi("ul_dump")["Domains"][0].get("AORs")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_wrong_password_is_refused(
    anywhere: Server, pair: tuple[str, str], transport: str
) -> None:
    a, b = pair
    async with agent(anywhere, b, transport=transport, password=f"of {a}") as bob:
        with pytest.raises(RegistrationError) as refused:
            await bob.register()
    assert refused.value.status in (401, 403)


async def test_an_absent_peer_is_said_to_be_absent(anywhere: Server, pair: tuple[str, str]) -> None:
    a, b = pair
    async with agent(anywhere, a, transport="udp") as alex:
        await alex.register()
        with pytest.raises(InviteError) as refused:
            await alex.invite(f"sip:{b}@{DOMAIN}")
    assert refused.value.status == 480


@pytest.mark.smoke
@pytest.mark.rfc("3261", "16.7")
async def test_the_other_device_hears_that_it_was_answered_elsewhere(
    anywhere: Server, pair: tuple[str, str]
) -> None:
    """It rings at both devices of bob; what the server's CANCEL to the other says is shown."""
    a, b = pair
    async with agent(anywhere, a) as alex, agent(anywhere, b) as home, agent(anywhere, b) as work:
        for each in (alex, home, work):
            await each.register()
        told = work.events()
        ringing = asyncio.create_task(alex.invite(b))
        async with asyncio.timeout(PATIENCE):
            while not (home.invitations and work.invitations):
                await asyncio.sleep(0.02)
            await asyncio.gather(home.invitations[0].accept(), ringing)
        gone = await next_of(told, events.InviteCancelled)
        assert gone.reason == "Call completed elsewhere"
        assert not work.invitations
        await ringing.result().close()
        # Taken back by who called: nobody has answered.
        again = asyncio.create_task(alex.invite(b))
        async with asyncio.timeout(PATIENCE):
            while not (home.invitations and work.invitations):
                await asyncio.sleep(0.02)
        again.cancel()
        assert "elsewhere" not in (await next_of(told, events.InviteCancelled)).reason


# --- to one who is away ------------------------------------------------------------------------


def all_of(chat: Chat, texts: list[str]) -> dict[str, dict[str, Any]]:
    """The notices of these messages, once all are there. Their order is not looked at: what one
    process of a server handles overtakes what another does."""
    wait_until(lambda: set(chat.messages) >= set(texts), PATIENCE)
    return {each["text"]: each for each in chat.notices if each["event"] == "message"}


def test_to_one_who_is_away_and_back(
    anywhere: Server, chat: StartChat, pair: tuple[str, str]
) -> None:
    """alex writes to bob, who is away; bob comes, answers, and takes an invitation."""
    a, b = pair
    # The last is too long for a datagram.
    texts = ["are you there?", "Grüße 👋", "…until later", "é" * 4000]
    alex = chat(a, b)
    alex.wait("error", status=480)
    alex.wait("pager", peer=f"sip:{b}@{DOMAIN}")
    sent = []
    for text in texts:
        alex.type(text)
        sent.append(alex.wait("status", text=text, status="stored"))
    bob = chat(b)
    arrived = all_of(bob, texts)
    for text, stored in zip(texts, sent, strict=True):
        came = arrived[text]
        assert came["message_id"] == stored["message_id"]
        assert came["peer"] == f"sip:{a}@{DOMAIN}"
        assert came["pager"] is True
        assert datetime.fromisoformat(came["sent_at"]) <= datetime.fromisoformat(stored["time"])
    wait_until(lambda: alex.statuses("delivered") >= set(texts), PATIENCE)
    # The way back is the same, until there is a session again.
    bob.type("now I am")
    alex.wait("message", text="now I am", pager=True)
    alex.type(f"/invite {b}")
    alex.wait("session")
    alex.type("in a session")
    assert bob.wait("message", text="in a session")["pager"] is False
    assert alex.finish() == 0
    assert bob.finish() == 0
    assert sorted(bob.messages) == sorted([*texts, "in a session"])
    # Nothing is left, and nothing comes again.
    again = chat(b)
    again.wait("registered")
    if isinstance(anywhere, OpenSipsServer):
        query = f"SELECT id FROM silo WHERE username IN ('{a}', '{b}')"
        wait_until(lambda: not anywhere.rows(query), PATIENCE)
    assert again.finish() == 0
    assert again.messages == []


def test_the_receipt_waits_for_a_sender_who_has_left(
    chat: StartChat, pair: tuple[str, str]
) -> None:
    a, b = pair
    alex = chat(a, b)
    alex.type("I have to go", "bye")
    assert alex.finish() == 0
    assert alex.statuses("stored") == {"I have to go", "bye"}
    assert alex.kept("out") == [("I have to go", "stored"), ("bye", "stored")]
    bob = chat(b)
    all_of(bob, ["I have to go", "bye"])
    assert bob.finish() == 0
    # Nobody is there any more who could tell it again.
    alex = chat(a)
    alex.wait("status", status="delivered", peer=f"sip:{b}@{DOMAIN}")
    alex.wait("status", status="delivered", peer=f"sip:{b}@{DOMAIN}")
    assert alex.kept("out") == [("I have to go", "delivered"), ("bye", "delivered")]
    assert alex.finish() == 0


def test_places_with_and_without_a_session(chat: StartChat, pair: tuple[str, str]) -> None:
    """A place for bob who is away, one without a session, and one in a session."""
    a, b = pair
    alex = chat(a)
    alex.wait("registered")
    alex.type(f"/message {b}", "/location 48.2082,16.3738 first 👋")
    alex.wait("status", status="stored")
    bob = chat(b)
    place = {"latitude": 48.2082, "longitude": 16.3738, "radius": 0.0}
    first = bob.wait("message", location={**place, "label": "first 👋"}, pager=True)
    assert "geo:48.2082,16.3738" in first["text"]
    alex.type("/location 48.2082,16.3738 second")
    bob.wait("message", location={**place, "label": "second"}, pager=True)
    alex.type(f"/invite {b}")
    alex.wait("session")
    alex.type("/location 48.2082,16.3738 third")
    bob.wait("message", location={**place, "label": "third"}, pager=False)
    assert alex.finish() == 0
    assert bob.finish() == 0
    assert len(bob.messages) == 3
    assert [status for _, status in alex.kept("out")] == ["delivered"] * 3


@pytest.mark.rfc("3261", "18.1.1")
@pytest.mark.parametrize("listening", [False, True], ids=["udp alone", "tcp too"])
def test_a_long_message_to_one_on_udp(
    anywhere: Server, pair: tuple[str, str], listening: bool
) -> None:
    """Ours takes TCP to the contact where that is taken there; else it is one datagram."""
    a, b = pair
    with (
        Phone(anywhere.address, a, transport="tcp") as alex,
        Phone(anywhere.address, b, port=(port := free_port())) as bob,
        socket.socket() as other,
    ):
        by_tcp = listening and isinstance(anywhere, EmbeddedServer)
        other.bind(("127.0.0.1", port))
        if listening:
            other.listen()
        assert bob.register().status == 200
        sent = alex.authorized(alex.request("MESSAGE", bob.uri, body="x" * 8000))
        alex.send(sent)
        if by_tcp:
            other.settimeout(PATIENCE)
            connection, _ = other.accept()
            with bob.over(connection):
                came = bob.incoming("MESSAGE")
                bob.answer(came, 200)
        else:
            came = bob.incoming("MESSAGE")
            bob.answer(came, 200)
        assert came.top_via.transport == ("TCP" if by_tcp else "UDP")
        assert came.body == b"x" * 8000
        assert alex.final(sent).status == 200


# --- what a peer can do ------------------------------------------------------------------------

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command() -> Iterator[Command]:
    """Runs ``rcsops COMMAND USER …`` at a server, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="rcsops-") as directory:
        (Path(directory) / "rcsops.toml").write_text(f'domain = "{DOMAIN}"\n')

        def run(server: str, *words: str) -> subprocess.CompletedProcess[str]:
            done = subprocess.run(
                [sys.executable, "-m", "rcsops", *words, "--server", server, "--json"],
                cwd=directory,
                env={"HOME": directory, "RCSOPS_PASSWORD": f"of {words[1]}", "PATH": "/usr/bin"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert "Traceback" not in done.stderr, done.stderr
            return done

        yield run


def asked(command: Command, server: str, user: str, peer: str) -> tuple[int, dict[str, object]]:
    done = command(server, "capabilities", user, peer)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.smoke
def test_options_to_a_user(
    anywhere: Server, command: Command, chat: StartChat, pair: tuple[str, str]
) -> None:
    """alex asks what bob can do, while bob is away, there with two devices, and gone again."""
    (a, b), server = pair, anywhere.address
    # Our script for Kamailio does not look into the database for who is not registered.
    nobody = ("offline", 480) if isinstance(anywhere, KamailioServer) else ("no such user", 404)
    code, found = asked(command, server, a, b)
    assert (code, found["state"], found["status"]) == (1, "offline", 480)
    code, found = asked(command, server, a, "nobody")
    assert (code, found["state"], found["status"]) == (1, *nobody)
    bob, second = chat(b), chat(b)
    bob.wait("registered")
    second.wait("registered")
    code, found = asked(command, server, a, b)
    services = found["services"]
    assert isinstance(services, dict)
    assert (code, found["state"], found["status"]) == (0, "online", 200)
    assert services["chat"]
    assert services["pager"]
    assert services["geolocation_push"]
    assert bob.finish() == 0
    assert second.finish() == 0
    code, found = asked(command, server, a, b)
    assert (code, found["state"], found["services"]) == (1, "offline", services)
    # One that vanished, whom the server still knows: the same.
    vanished = chat(b)
    vanished.wait("registered")
    vanished.kill()
    code, found = asked(command, server, a, b)
    assert (code, found["state"], found["services"]) == (1, "offline", services), found["status"]
