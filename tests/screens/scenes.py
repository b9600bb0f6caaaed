"""The states of the chat screen, come to by keys and real peers, for pictures and comparisons."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from rcsops.operations.chat_notices import Notice
from rcsops.ua import Agent, Chat
from rcsops.ua.events import TextReceived
from tests.screens.stage import Screen, Stage

NAMES = ("alex", "bob", "carol", "dora")


@asynccontextmanager
async def answering(agent: Agent) -> "AsyncIterator[asyncio.Queue[Chat]]":
    """Accepts whoever invites; gives the chats."""
    chats: asyncio.Queue[Chat] = asyncio.Queue()

    async def accept() -> None:
        async for invitation in agent.incoming():
            chats.put_nowait(await invitation.accept())

    task = asyncio.create_task(accept())
    try:
        yield chats
    finally:
        task.cancel()


async def walk(stage: Stage, look: Callable[[str, Screen], Awaitable[None]]) -> None:
    """Calls ``look`` in each state; it may resize and change the colours, and undoes that."""
    async with (
        stage.agent("bob") as bob,
        stage.agent("carol") as carol,
        answering(bob) as chats,
        stage.screen("alex", auto_accept=False) as screen,
    ):
        await look("nobody yet", screen)
        await screen.type("/invite bob\n")
        chat = await chats.get()
        await screen.shows("session open")
        await screen.type("Hi Bob! Shall we meet at nine?\n")
        await screen.shows("✓✓ ▌ Hi Bob!")
        await _displayed(bob, chat)
        await screen.until(lambda: "displayed" in str(screen.app.state.shown), "displayed")
        for text in (
            "Good morning, nine is fine. The plan: https://example.org/plan?page=3",
            "You will need the long way round, because the bridge is closed until Friday and the "
            "ferry leaves at half past eight.\nSee you there!",
            "日本語も 한국어도 Grüße",
        ):
            await chat.send(text)
        await screen.shows("Grüße")
        await screen.type("Thank you")
        await screen.press("ctrl+j")
        await screen.type("I shall bring the tickets\n")
        await screen.shows("✓✓ ▌ Thank you")
        await look("a conversation", screen)
        chat.composing(True)
        await screen.shows("is typing …")
        await screen.type("/se")
        await look("typing and completing", screen)
        await screen.press("backspace", "backspace", "backspace")
        chat.composing(False)
        await screen.hides("is typing …")
        await (
            await carol.send_message("alex", "Have you seen [b]my[/b] \x1b[31mkeys?")
        ).delivered()
        await screen.shows("1 unread elsewhere")
        screen.app.clear_notifications()
        calling = asyncio.create_task(_invite(stage))
        await screen.shows("dora invites you")
        screen.app.clear_notifications()
        await screen.pilot.pause()
        await look("unread and asked", screen)
        screen.app.open("sip:dora@rcs.example")
        await screen.shows("Accept Alt-y")
        await look("an invitation", screen)
        await screen.press("alt+n")
        await calling
        screen.app.open("sip:bob@rcs.example")
        await screen.shows("✓✓ ▌ Thank you")
        _files(screen)
        await screen.shows("song.ogg", "its hash is another")
        await look("files and a failure", screen)
        await screen.press("escape", "up", "up", "up", "up")
        await screen.shows("queued ")
        await look("a marked message", screen)
        await screen.press("escape", "f1")
        await screen.shows("the palette of commands")
        await look("help", screen)
        await screen.press("escape", "f3")
        await screen.shows("no end-to-end encryption")
        await look("security", screen)
        await screen.press("escape", "ctrl+f")
        await screen.type("nine")
        await screen.shows("2 found")
        await look("search", screen)
        await screen.press("escape", "ctrl+p")
        await screen.shows("End the sessions, unregister and leave")
        await look("palette", screen)
        await screen.press("escape", "f2")
        await screen.shows("SIP and MSRP of")
        await screen.press("home")
        await look("protocol", screen)
        await screen.press("a", "home", "m", "down", "down")
        await screen.shows("3 REGISTER")
        await look("two messages compared", screen)
        await screen.press("m", "s")
        await screen.shows("How it stands now")
        await look("the state machines", screen)
        await screen.press("s", "e")
        await screen.shows("for you alone")
        await look("export", screen)
        await screen.press("escape", "f2")


async def _displayed(bob: Agent, chat: Chat) -> None:
    """Bob's program shows what came."""
    async with asyncio.timeout(15):
        async for event in chat:
            if isinstance(event, TextReceived):
                bob.mark_displayed(event)
                break


async def _invite(stage: Stage) -> None:
    async with stage.agent("dora") as dora:
        with contextlib.suppress(Exception):
            await dora.invite("alex")


def _files(screen: Screen) -> None:
    """What the room tells of files in the middle of their way, and of a message that failed."""
    peer = "sip:bob@rcs.example"

    def tell(event: str, text: str = "", **data: object) -> None:
        screen.app._notify(Notice(event, text, data, about=peer))

    tell("file-offering", transfer_id="t1", name="holiday.jpg", size=2_400_000)
    tell("file-offering", transfer_id="t2", name="plan.pdf", size=1_000_000)
    tell("file-progress", transfer_id="t2", octets=620_000, total=1_000_000, incoming=False)
    for number, (transfer_id, name) in enumerate((("t3", "tickets.pdf"), ("t4", "map.png")), 1):
        tell(
            "file-offered",
            transfer_id=transfer_id,
            name=name,
            size=48_000,
            waits=True,
            number=number,
        )
    tell("file-offered", transfer_id="t5", name="song.ogg", size=5_200_000, waits=False)
    tell(
        "file-failed",
        "song.ogg not received: its hash is another",
        transfer_id="t5",
        name="song.ogg",
        reason="its hash is another",
        incoming=True,
    )
    tell(
        "dropped", texts=["See you at the ferry"], message_ids=[None], reason="the session is over"
    )
