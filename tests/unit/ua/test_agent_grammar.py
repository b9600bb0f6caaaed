"""Every header and body that agents and the embedded server send, against a second grammar."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rcsops import Agent
from rcsops.errors import InviteError, RegistrationError
from rcsops.testing import eventually
from rcsops.transport import TapRecord
from rcsops.ua import Displayed, Event, FilePaused, FileReceived, TextReceived
from tests.content_client import ContentLab, content_lab
from tests.unit.rcs.grammar import CONTENTS
from tests.unit.sip.grammar import ATTRIBUTES, Checked
from tests.unit.ua.grammar import Seen, check_record

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContentLab]:
    with content_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


class Wire:
    """All that passed the taps, checked."""

    def __init__(self) -> None:
        self.records: list[TapRecord] = []

    def check(self) -> Seen:
        """What there was."""
        seen = Seen()
        for record in self.records:
            message = check_record(record, seen)
            if message is not None:
                check_service(message)
        return seen


def check_service(message: Checked) -> None:
    """What OMA CPM wants of the requests that begin something."""
    fields = dict(message.headers)
    to_new = ";tag=" not in fields["To"]
    if message.start not in ("INVITE", "MESSAGE") or not to_new:
        return
    kept = "Proxy-Authorization" not in fields and "P-Asserted-Identity" in fields
    service = fields.get("P-Preferred-Service") or fields.get("P-Asserted-Service") or ""
    kind = "session" if message.start == "INVITE" else "msg"
    if "a=file-selector" in message.body.decode():
        kind = "filetransfer"
    if message.start == "INVITE" or not kept:
        assert service == f"urn:urn-7:3gpp-service.ims.icsi.oma.cpm.{kind}", fields
        assert f"icsi.oma.cpm.{kind}" in fields["Accept-Contact"], fields
        assert {"Conversation-ID", "Contribution-ID"} <= fields.keys()
    if message.start == "INVITE":
        assert re.search(r'\+g\.3gpp\.icsi-ref="[^"]*oma\.cpm\.session', fields["Contact"]), fields


@asynccontextmanager
async def agent(
    lab: ContentLab, name: str, wire: Wire, root: Path, **options: object
) -> AsyncIterator[Agent]:
    settings: dict[str, object] = {
        "server": lab.server.address,
        "password": {"alex": "secret", "bob": "secret of bob"}[name],
        "tap": wire.records.append,
        "history": root / f"{name}.db",
        "transfers": root / f"{name}-transfers",
        "content": lab.base,
        "display_name": f'{name} "the" \\ one',
    }
    made = Agent(f"sip:{name}@rcs.example", **(settings | options))  # type: ignore[arg-type]
    async with made:
        await made.register()
        yield made


async def sees(stream: AsyncIterator[Event], kind: type[Event]) -> Event:
    async with asyncio.timeout(20):
        async for event in stream:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__}")


async def asked(agent: Agent) -> Any:
    """What waits for an answer: an invitation, or the offer of a file."""
    await eventually(lambda: agent.invitations, timeout=20)
    return agent.invitations[0]


async def without_a_session(lab: ContentLab, wire: Wire, root: Path) -> None:
    """Pager mode, the server's store, capabilities, and what is refused."""
    photo = root / "beach.jpg"
    photo.write_bytes(b"\xff\xd8" + bytes(5000))
    async with agent(lab, "alex", wire, root, transport="udp") as alex:
        for name in ("nobody", "bob"):
            with pytest.raises(InviteError):
                await alex.invite(name)
        await (await alex.send_message("bob", "are you there? <&> 🙂")).stored()
        upload = await alex.send_file_http("bob", photo, thumbnail=photo)
        await upload.done(30)
        async with agent(lab, "bob", wire, root, transport="udp") as bob:
            told, feed = alex.events(), bob.events()
            await (await alex.send_location("bob", 48.2082, 16.3738, label='"a" & b')).stored()
            await (await alex.send_location("bob", -33.9, 18.4, radius=25.5)).stored()
            message = await sees(feed, TextReceived)
            assert isinstance(message, TextReceived)
            bob.mark_displayed(message)
            await sees(told, Displayed)
            await alex.capabilities("bob", fresh=True)
            await bob.capabilities("alex", fresh=True)
    with pytest.raises(RegistrationError):
        async with agent(lab, "bob", wire, root, password="wrong"):
            pass


async def in_sessions(lab: ContentLab, wire: Wire, root: Path, **options: object) -> None:
    """Texts of any length, receipts, typing, refreshes, files that are pushed and pulled."""
    film = root / "the film “1”.bin"
    film.write_bytes(bytes(range(256)) * 4000)
    async with (
        agent(lab, "alex", wire, root, **options) as alex,
        agent(lab, "bob", wire, root, downloads=root / "in", **options) as bob,
    ):
        feed = bob.events()
        calling = asyncio.create_task(alex.invite("bob", subject="a “subject”"))
        invitation = await asked(bob)
        ours, theirs = await asyncio.gather(calling, invitation.accept())
        for text in ("hello", "", "grüß 🙂 <&>", "long " * 20_000):
            await (await ours.send(text)).delivered(20)
            await (await theirs.send(text)).delivered(20)
        await (await ours.send_location(48.2082, 16.3738)).delivered(20)
        message = await sees(feed, TextReceived)
        assert isinstance(message, TextReceived)
        ours.composing(True)
        ours.composing(False)
        told = alex.events()
        theirs.mark_displayed(message)
        await sees(told, Displayed)
        await ours.refresh()
        await theirs.refresh()
        pushed = await ours.send_file(film)
        await pushed.pause()
        await sees(feed, FilePaused)
        await pushed.resume()
        await pushed.done(30)
        await sees(feed, FileReceived)
        await bob.share("alex", film)
        pulled = await alex.fetch_file("bob", root / "in", name=film.name)
        await pulled.done(30)
        await ours.close()

        # What comes to nothing: taken back, declined, busy.
        calling = asyncio.create_task(alex.invite("bob"))
        await asked(bob)
        calling.cancel()
        await asyncio.wait((calling,))
        for status in (603, 486):
            calling = asyncio.create_task(alex.invite("bob"))
            invitation = await asked(bob)
            assert invitation.reject(status)
            with pytest.raises(InviteError):
                await calling
        film.write_bytes(b"another film")
        offered = await alex.send_file("bob", film)
        (await asked(bob)).reject()
        await eventually(lambda: offered.failed, timeout=20)


@pytest.mark.rfc("3261", "25")
@pytest.mark.rfc("4975", "9")
@pytest.mark.rfc("3862", "3")
@pytest.mark.rfc("5438", "7")
async def test_all_that_is_sent_obeys_the_grammar(lab: ContentLab, tmp_path: Path) -> None:
    wire = Wire()
    for name, options in (
        ("tcp", {"transport": "tcp"}),
        ("udp", {"transport": "udp", "msrp_security": "tls", "answer_setup": "passive"}),
    ):
        (tmp_path / name).mkdir()
        await in_sessions(lab, wire, tmp_path / name, **options)
    await without_a_session(lab, wire, tmp_path)
    seen = wire.check()
    # It has been there, so that its grammar was held against something.
    requests = ("REGISTER", "INVITE", "ACK", "BYE", "CANCEL", "MESSAGE", "OPTIONS", "UPDATE")
    answers = ("100", "180", "200", "202", "401", "404", "407", "480", "486", "487", "603")
    for start in (*requests, *answers, "MSRP SEND", "MSRP REPORT", "MSRP response"):
        assert seen.starts[start], f"no {start} in {seen.starts}"
    assert set(ATTRIBUTES) - set(seen.attributes) == {"file-range"}
    for kind in CONTENTS:
        assert seen.types[kind], f"no {kind} in {seen.types}"
