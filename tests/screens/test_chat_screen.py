"""The chat screen driven by keys, talking to real agents through a real server."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual import events
from textual.widgets import Input

from rcsops.operations.chat import COMMANDS
from rcsops.trace import read_trace
from rcsops.tui.exporting import EXPORT_COMMAND
from rcsops.tui.widgets.bars import HintLine
from rcsops.ua import Agent, Chat, FileOffer, HttpOffer, MessageStatus
from rcsops.ua.events import FileOffered, TextReceived
from tests.offers import offer_left
from tests.screens.scenes import answering
from tests.screens.stage import SIZES, Screen, Stage


@asynccontextmanager
async def talking(stage: Stage, **options: object) -> "AsyncIterator[tuple[Screen, Chat]]":
    """The screen of alex in a session with bob, and bob's end of it."""
    async with (
        stage.agent("bob") as bob,
        answering(bob) as chats,
        stage.screen("alex", "bob", **options) as screen,  # type: ignore[arg-type]
    ):
        chat = await chats.get()
        await screen.shows("session open")
        yield screen, chat


async def heard(chat: Chat) -> str:
    """The next text that a chat gets."""
    async with asyncio.timeout(30):
        async for event in chat:
            if isinstance(event, TextReceived):
                return event.text
    raise AssertionError("the session is over")


async def test_a_conversation(stage: Stage) -> None:
    async with talking(stage) as (screen, bob):
        await screen.type("hello bob\n")
        assert await heard(bob) == "hello bob"
        await screen.shows("✓✓ ▌ hello bob")
        receipt = await bob.send("日本語 🙂 Grüße")
        await screen.shows("▌ 日本語 🙂 Grüße")
        # It was on the screen, at the end of the conversation, and the terminal had the focus.
        await receipt.displayed(15)
        bob.composing(True)
        await screen.shows("bob is typing …")
        bob.composing(False)
        await screen.hides("bob is typing …")
        await screen.type("/bye\n")
        await screen.shows("you ended the session with bob", "no session")
        await screen.type("/message bob\n")
        await screen.shows("✉ bob  without a session")
        await screen.type("/bye\n")
        await screen.shows("you write no longer to bob", "○ bob  no session")


async def test_another_theme_is_that_of_the_rows_as_well(stage: Stage) -> None:
    async with talking(stage) as (screen, bob):
        await bob.send("can you read this?")
        await screen.shows("▌ can you read this?")

        def ink() -> set[tuple[str, str]]:
            return {
                (segment.style.color.name, segment.style.bgcolor.name)
                for strip in screen.app.screen._compositor.render_strips()
                for segment in strip
                if segment.text == "can you read this?" and segment.style
                if segment.style.color and segment.style.bgcolor
            }

        assert ink() == {("#d5d9e8", "#16181f")}
        await screen.press("f4")
        await screen.until(lambda: ink() == {("#1c2230", "#fbfbf9")}, "of the light theme")
        await bob.send("and this?")
        await screen.shows("▌ can you read this?", "▌ and this?")


async def test_what_stands_where_nothing_was_said(stage: Stage) -> None:
    async with stage.screen("alex", size=(60, 20)) as screen:
        await screen.shows("Nobody is chosen yet", "Ctrl-B shows your contacts", "/invite PEER")
        await screen.press("ctrl+b", "enter")
        await screen.shows(
            "Nothing was said with bob yet", "What you write invites bob to a session"
        )
        await screen.type("/message bob\n")
        await screen.hides("Nothing was said with bob yet")


async def test_the_line_of_keys_cuts_none_in_two(stage: Stage) -> None:
    async with talking(stage, size=(60, 20)) as (screen, bob):
        await bob.send("hi")
        await screen.shows("^Q Quit", "F1 Help", "Esc Messages", "^P Commands")
        assert screen.lines[-1] == "".join(
            (" ^Q Quit", " F1 Help", " F2 Protocol", " Esc Messages", " ^P Commands")
        )
        await screen.press("escape")
        await screen.shows("y Copy", "r Resend", "o Open")
        assert "Messages" not in screen.lines[-1]
        # What is done with a marked message is not offered beside the protocol.
        await screen.press("f2")
        await screen.shows("s States", "e Export", "m Compare", "F1 Help")
        assert "Copy" not in screen.lines[-1]
        await screen.pilot.resize_terminal(250, 80)
        await screen.shows("^F Search Alt-a Unread ^P Commands")


async def test_the_help_of_a_narrow_terminal(stage: Stage) -> None:
    async with stage.screen("alex", size=(60, 20)) as screen:
        await screen.press("f1")
        # What a key does goes on below itself, not below the key.
        set_in = re.compile(r"│ Ctrl-Q +end the [^\n]*\n[^\n]*│ {10,}and leave")
        await screen.until(lambda: set_in.search(screen.text) is not None, "set in")
        await screen.pilot.resize_terminal(100, 30)
        await screen.shows("end the sessions, unregister and leave")


async def test_conversations_by_their_place_and_those_that_are_unread(stage: Stage) -> None:
    async with stage.agent("carol") as carol, talking(stage) as (screen, _bob):
        await (await carol.send_message("alex", "psst")).delivered()
        await screen.shows("1 unread elsewhere")
        for name in ("bob", "carol"):
            at = [each.name for each in screen.app.state.ordered()].index(name)
            await screen.press(f"alt+{at + 1}")
            await screen.until(lambda name=name: name in screen.app.state.current, name)
        await (await carol.send_message("alex", "psst again")).delivered()
        await screen.type("/invite bob\n")
        await screen.shows("● bob")
        await (await carol.send_message("alex", "once more")).delivered()
        await screen.shows("1 unread elsewhere")
        # A third, who has nothing to say.
        await screen.type("/message alex\n")
        await screen.type("/invite bob\n")
        await screen.until(lambda: "bob" in screen.app.state.current, "bob")
        everybody = {each.name for each in screen.app.view.list.items}
        await screen.press("ctrl+b", "u")
        await screen.shows("unread alone · u shows all")
        assert {each.name for each in screen.app.view.list.items} == {"bob", "carol"} < everybody
        await screen.press("u")
        await screen.hides("unread alone")
        assert {each.name for each in screen.app.view.list.items} == everybody


async def test_emoji_of_several_characters_are_written_as_they_are(stage: Stage) -> None:
    family, heart = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f"
    persian, wales = "می\u200cخواهم", "\U0001f3f4\U000e0067\U000e0062\U000e007f"
    async with talking(stage) as (screen, bob):
        # By keys, and pasted with what must not be obeyed.
        composer = screen.app.view.composer
        for character in f"{family} ":
            composer.post_message(events.Key(character, character))
        pasted = f"{family} {heart} {persian} {wales} \x1b[2J\u202e"
        composer.post_message(events.Paste(pasted))
        await screen.until(lambda: "[2J" in composer.text, "pasted")
        await screen.press("enter")
        assert await heard(bob) == f"{family} {family} {heart} {persian} {wales} [2J"


async def test_what_is_written_invites(stage: Stage) -> None:
    async with (
        stage.agent("bob") as bob,
        answering(bob) as chats,
        stage.screen("alex") as screen,
    ):
        assert "Contacts" in screen.text
        await screen.press("ctrl+b", "enter")
        await screen.shows("○ bob")
        await screen.type("are you there?\n")
        chat = await chats.get()
        assert await heard(chat) == "are you there?"
        await screen.shows("session open", "✓✓ ▌ are you there?")


async def test_several_lines_and_pastes_that_never_send(stage: Stage) -> None:
    async with talking(stage) as (screen, bob):
        await screen.type("one")
        await screen.press("ctrl+j")
        await screen.type("two")
        await screen.press("shift+enter", "alt+enter")
        screen.app.view.composer.post_message(events.Paste("three\r\nfour\n\x1b[31mfive\n"))
        await screen.shows("four", "[31mfive")
        assert "▌ one" not in screen.text
        await screen.press("enter")
        assert await heard(bob) == "one\ntwo\n\nthree\nfour\n[31mfive\n"
        # What was sent can be had again, and what was begun stays.
        await screen.type("begun")
        await screen.press("up")
        assert screen.app.view.composer.text.startswith("one\ntwo")
        for _ in range(7):
            await screen.press("down")
        assert screen.app.view.composer.text == "begun"


async def test_two_people_write_at_a_time(stage: Stage) -> None:
    async with stage.agent("carol") as carol, talking(stage) as (screen, bob):
        receipt = await carol.send_message("alex", "psst")
        await receipt.delivered()
        await carol.send_message("alex", "it is carol")
        await screen.shows("2 unread elsewhere", "it is carol")
        await bob.send("still bob")
        await screen.shows("▌ still bob")
        await screen.type("a draft")
        await screen.press("alt+a")
        await screen.shows("✉ carol  without a session", "── new ──", "▌ psst", "▌ it is carol")
        assert "still bob" not in "\n".join(line[30:] for line in screen.lines)
        assert screen.app.view.composer.text == ""
        assert "unread" not in screen.lines[0]
        await screen.type("yes?\n")
        await screen.shows("✓✓ ▌ yes?")
        await screen.press("alt+down")
        await screen.shows("● bob  session open", "▌ still bob")
        assert screen.app.view.composer.text == "a draft"


async def test_unread_survives_the_end(stage: Stage) -> None:
    async with stage.agent("carol") as carol:
        async with talking(stage) as (screen, _bob):
            await (await carol.send_message("alex", "read me later")).delivered()
            await screen.shows("1 unread elsewhere")
        async with stage.screen("alex") as screen:
            await screen.shows("── new ──", "▌ read me later")
        async with stage.screen("alex") as screen:
            await screen.shows("▌ read me later")
            assert "── new ──" not in screen.text
            assert screen.app.state.unread == 0


async def test_what_came_to_an_earlier_run_is_displayed_once_it_is_opened(stage: Stage) -> None:
    async with stage.agent("carol") as carol:
        async with talking(stage) as (screen, _bob):
            receipt = await carol.send_message("alex", "read me tomorrow")
            await receipt.delivered(15)
            await screen.shows("1 unread elsewhere")
            assert receipt.status is MessageStatus.DELIVERED
        async with stage.screen("alex", "carol") as screen:
            await screen.shows("── new ──", "▌ read me tomorrow")
            await receipt.displayed(15)


async def test_a_file_that_did_not_come_is_asked_for_again(stage: Stage, tmp_path: Path) -> None:
    async with talking(stage) as (screen, bob):
        bob_agent = bob._agent
        assert isinstance(bob_agent, Agent)
        await screen.type("/get late.txt\n")
        await screen.shows("▤ late.txt", "r asks for it again")
        late = tmp_path / "late.txt"
        late.write_text("here at last")
        await bob_agent.share("alex", late)
        await screen.press("escape", "up")
        await screen.press("r")
        await screen.shows("▤ late.txt  12 bytes", "saved as …/", "/files/late.txt")
        assert screen.text.count("a file") == 0
        found = [*tmp_path.rglob("files/late.txt")]
        assert [each.read_text() for each in found] == ["here at last"]


async def test_what_waits_for_a_session_is_in_the_history(stage: Stage) -> None:
    async with stage.agent("bob") as bob, stage.screen("alex", "bob") as screen:
        invitation = await anext(bob.incoming())
        await screen.type("are you there?\n")
        await screen.shows("◌  ▌ are you there?", "waits for the session")
        history = screen.app.room.agent.history
        assert history is not None
        (kept,) = await history.messages("sip:bob@rcs.example")
        assert (kept.text, kept.status) == ("are you there?", "queued")
        screen.app.open("sip:carol@rcs.example")
        await screen.hides("▌ are you there?")
        screen.app.open("sip:bob@rcs.example")
        await screen.shows("◌  ▌ are you there?")
        invitation.reject(603)
        await screen.shows("✗  ▌ are you there?", "there was no session", "r sends it again")
        assert screen.text.count("▌ are you there?") == 1
        (kept,) = await history.messages("sip:bob@rcs.example")
        assert (kept.status, kept.reason) == ("failed", "there was no session")
        await screen.type("hello\n")
        await screen.shows("◌  ▌ hello", "waits for the session")
        chat = await (await anext(bob.incoming())).accept()
        assert await heard(chat) == "hello"
        await screen.shows("✓✓ ▌ hello")
        await screen.hides("waits for the session")
        assert screen.text.count("▌ hello") == 1


@pytest.mark.parametrize("answer", ["alt+y", "alt+n", "click"])
async def test_an_invitation_waits_for_an_answer(stage: Stage, answer: str) -> None:
    async with stage.agent("bob") as bob, stage.screen("alex", auto_accept=False) as screen:
        calling = asyncio.create_task(bob.invite("alex"))
        await screen.shows("bob invites you", "Accept Alt-y", "Decline Alt-n")
        if answer == "click":
            await screen.pilot.click("#yes")
        else:
            await screen.press(answer)
        if answer == "alt+n":
            with pytest.raises(Exception, match="Decline"):
                await calling
            await screen.shows("declined bob")
        else:
            chat = await calling
            await screen.shows("session open")
            await chat.send("thank you")
            await screen.shows("▌ thank you")
        await screen.hides("Accept Alt-y")


async def test_files(stage: Stage, tmp_path: Path) -> None:
    async with talking(stage, auto_accept=False) as (screen, bob):
        bob_agent = bob._agent
        assert isinstance(bob_agent, Agent)
        picture = tmp_path / "a picture.png"
        picture.write_bytes(b"0123456789" * 2000)
        await bob.send_file(picture)
        await screen.shows("bob sends a picture.png (20.0 kB)", "Accept Alt-y")
        await screen.press("alt+y")
        await screen.shows("▤ a picture.png  20.0 kB")
        await screen.hides("Accept Alt-y")
        found = [*tmp_path.rglob("files/a picture.png")]
        assert [each.read_bytes() for each in found] == [picture.read_bytes()]
        # One that is dropped on the terminal is offered after a question, or is text.
        screen.app.view.composer.post_message(events.Paste(f"'{picture}' "))
        await screen.shows("Enter sends the file a picture.png")
        await screen.press("escape")
        assert screen.app.view.composer.text.strip() == f"'{picture}'"
        screen.app.view.composer.put_aside()
        screen.app.view.composer.post_message(events.Paste(picture.as_uri()))
        await screen.shows("Enter sends the file a picture.png")
        feed = bob_agent.events()
        await screen.press("enter")
        async for event in feed:
            if isinstance(event, FileOffered):
                await screen.shows("◌  ▌ ▤ a picture.png", "offered; waits for the peer")
                await event.offer.accept(tmp_path / "of bob")
                break
        await screen.shows("✓✓ ▌ ▤ a picture.png  20.0 kB")


async def test_several_files_wait_for_an_answer(stage: Stage, tmp_path: Path) -> None:
    """Each has a row from its offer on, and is answered by its number, its mark or in its turn."""
    async with talking(stage, auto_accept=False) as (screen, bob):
        offers = {}
        for number, name in enumerate(("one.txt", "two.txt", "three.txt", "four.txt"), 1):
            (tmp_path / name).write_text(f"the text of {name}")
            offers[name] = await bob.send_file(tmp_path / name)
            await screen.shows(f"▤ {name}", f"/accept {number} or /decline {number}")
        await screen.shows("1 of 4: bob sends one.txt", "Accept Alt-y")
        assert screen.text.count("waits for your answer") == 4
        # The one in the middle, by its number.
        await screen.type("/accept 2\n")
        await screen.shows("/files/two.txt")
        # The last, as it is marked.
        await screen.press("escape")
        assert "four.txt" in str(screen.app.view.timeline.marked)
        await screen.press("alt+n")
        await screen.shows("you declined it")
        assert "declined bob" not in screen.text
        # The others in their turn.
        await screen.press("escape", "alt+y")
        await screen.shows("/files/one.txt", "bob sends three.txt")
        await offers["three.txt"].cancel()
        await screen.shows("bob took the offer of three.txt back")
        await screen.hides("Accept Alt-y")
        assert "waits for your answer" not in screen.text
        found = {each.name: each.read_text() for each in tmp_path.rglob("files/*.txt")}
        assert found == {name: f"the text of {name}" for name in ("one.txt", "two.txt")}
        # What came to nothing is still there when one comes back to the conversation.
        screen.app.open("sip:carol@rcs.example")
        await screen.hides("four.txt")
        screen.app.open("sip:bob@rcs.example")
        await screen.shows("▤ four.txt", "you declined it", "▤ three.txt", "took the offer")


async def test_an_offer_of_an_earlier_time_is_answered(stage: Stage) -> None:
    path = stage.project.make_agent_dir("alex@rcs.example") / "history.db"
    await offer_left(path, "sip:bob@rcs.example", message_id="an-offer")
    async with stage.screen("alex") as screen:
        await screen.shows("bob sends beach.jpg (5.0 kB)", "Accept Alt-y", "▤ beach.jpg")
        await screen.press("alt+n")
        await screen.shows("you declined it")
    async with stage.screen("alex") as screen:
        await screen.shows("beach.jpg (image/jpeg, 5000 octets")
        assert "Accept Alt-y" not in screen.text


async def test_a_failed_file_is_said_by_its_row_and_sent_again(
    stage: Stage, tmp_path: Path
) -> None:
    file = tmp_path / "plan.txt"
    file.write_text("the plan")
    async with talking(stage) as (screen, bob):
        agent = bob._agent
        assert isinstance(agent, Agent)
        feed = agent.events()
        await screen.type(f"/send {file}\n")
        (await _offered(feed)).reject(603)
        await screen.shows("✗  ▌ ▤ plan.txt", "r sends it again")
        assert "not sent" not in screen.text
        await screen.press("escape", "up", "r")
        await (await _offered(feed)).accept(tmp_path / "of bob")
        await screen.shows("✓✓ ▌ ▤ plan.txt")
    assert (tmp_path / "of bob" / "plan.txt").read_text() == "the plan"


async def _offered(feed: AsyncIterator[object]) -> FileOffer | HttpOffer:
    """The next file that is offered."""
    async with asyncio.timeout(30):
        async for event in feed:
            if isinstance(event, FileOffered):
                return event.offer
    raise AssertionError("the agent has ended")


async def test_a_failure_can_be_sent_again(stage: Stage) -> None:
    async with stage.screen("alex", "bob") as screen:
        await screen.shows("bob is not there now (480)", "without a session")
        # More than a server keeps for one who is away.
        screen.app.view.composer.post_message(events.Paste("too long " * 2500))
        await screen.shows("too long too long")
        await screen.press("enter")
        await screen.shows("octets too long for a message without a", "r sends it again")
        await screen.press("escape", "r")
        shown = screen.app.state.shown
        assert shown is not None
        await screen.until(
            lambda: [row.status for row in shown.rows or ()].count("failed") == 2, "sent again"
        )
        await screen.shows("r sends it again")


async def test_a_message_is_copied(stage: Stage) -> None:
    async with talking(stage) as (screen, bob):
        await bob.send("first\nsecond line")
        await bob.send("last https://example.org/x")
        await screen.shows("▌ last")
        await screen.press("escape", "up", "y")
        assert screen.app.clipboard == "first\nsecond line"
        # Two keys of a person who has written something are letters.
        await screen.press("escape")
        await screen.type("yr")
        assert screen.app.view.composer.text == "yr"


async def test_peers_words_are_not_obeyed(stage: Stage) -> None:
    hostile = "[bold red]x[/] \x1b[2J\x1b]52;c;aGFoYQ==\x07 \u202eabc [@click=app.quit]y[/]"
    async with talking(stage, size=SIZES["large"]) as (screen, bob):
        await bob.send(hostile)
        await screen.shows(
            "[bold red]x[/] \\x1b[2J\\x1b]52;c;aGFoYQ==\\x07 \\u202eabc [@click=app.quit]y[/]"
        )
        assert screen.app.clipboard == ""
        await screen.press("alt+a")
        for key in ("ctrl+p", "escape", "ctrl+f"):
            await screen.press(key)
        await screen.type("bold red")
        await screen.shows("from bob: [bold red]x[/] \\x1b[2J")


async def test_search_goes_to_the_place(stage: Stage) -> None:
    async with talking(stage) as (screen, bob):
        for number in range(60):
            hay = " with hay and hay and a needle" if number == 3 else ""
            await bob.send(f"message {number}{hay}")
        await screen.shows("▌ message 59")
        await screen.press("ctrl+f")
        await screen.type("NEEDLE")
        await screen.shows("1 found", "from bob: message 3 with hay and hay and a needle")
        await screen.press("enter")
        await screen.shows("▌ message 3 with hay and hay and a needle", "received ")
        assert "message 59" not in "\n".join(line[30:] for line in screen.lines)
        await screen.press("end")
        await screen.shows("▌ message 59")
        # Also in a line that has not room for all of it.
        await screen.pilot.resize_terminal(60, 20)
        await screen.press("ctrl+f")
        await screen.shows("the names of files")
        await screen.type("needle")
        await screen.shows("1 found", "from bob: …")
        found = next(line for line in screen.lines if "from bob: …" in line)
        assert "needle" in found


async def test_the_place_is_kept(stage: Stage) -> None:
    async with talking(stage) as (screen, bob):
        for number in range(60):
            await bob.send(f"message {number:02} " + "word " * (number % 20))
        await screen.shows("▌ message 59")
        await screen.press("pageup", "pageup")
        top = next(line for line in screen.lines if "▌ message" in line)[31:]
        await bob.send("one more")
        await screen.until(lambda: "one more" in str(screen.app.state.shown), "come")
        assert top in screen.text
        await screen.pilot.resize_terminal(64, 20)
        await screen.shows(top.split("word")[0].strip()[:20])
        await screen.pilot.resize_terminal(250, 80)
        await screen.shows("one more")
        await screen.pilot.resize_terminal(60, 20)
        await screen.shows("▌ one more")


async def test_names_that_lead_nowhere_are_said_and_end_nothing(stage: Stage) -> None:
    async with talking(stage) as (screen, _):
        # Each letter of it is looked up for the completion.
        await screen.type("/send ~nobody-of-this-name/plan.txt\n")
        await screen.shows("~nobody-of-this-name/plan.txt cannot be read:")
        await screen.type(f"/send {'x' * 300}\n")
        await screen.shows("File name too long")
        for name in ("~nobody-of-this-name/ladder.txt", "/"):
            screen.app.obey(f"/export text {name}")
        await screen.shows("cannot write ~nobody-of-this-name", "/ is there already")


async def test_keys_commands_and_completion(stage: Stage) -> None:
    async with stage.screen("alex", "bob") as screen:
        await screen.type("/se")
        await screen.press("tab")
        assert screen.app.view.composer.text == "/send "
        await screen.press("ctrl+u")
        await screen.type("/invite c")
        await screen.press("tab")
        assert screen.app.view.composer.text == "/invite carol"
        await screen.press("ctrl+u")
        await screen.type("/nonsense\n")
        await screen.shows("there is no command /nonsense")
        await screen.press("f1")
        await screen.shows("Ctrl-Q", "end the sessions, unregister and leave")
        await screen.press("escape", "f3")
        await screen.shows("There is no end-to-end encryption.")
        await screen.press("escape", "ctrl+p")
        await screen.type("theme")
        await screen.shows("The next theme")
        await screen.press("enter")
        await screen.until(lambda: screen.app.theme == "rcsops-light", "light")
        await screen.press("f4")
        await screen.until(lambda: screen.app.theme == "rcsops-contrast", "of high contrast")
        await screen.press("ctrl+q")
        await screen.until(lambda: screen.app.farewell != "", "good-bye")
        assert screen.app.farewell == "unregistered; good bye"


async def test_the_list_of_commands_says_that_there_are_more(stage: Stage) -> None:
    async with stage.screen("alex", size=(60, 20)) as screen:
        hint = screen.app.view.query_one(HintLine)

        def offered() -> str:
            return screen.text.splitlines()[hint.region.y].strip()

        await screen.type("/")
        await screen.until(lambda: offered().endswith("   …"), "more than fit")
        words = offered().split()
        assert words[0].startswith("/")
        # Whole ones only: the last is a command, no part of one.
        assert set(words[:-1]) <= {command.split()[0] for command in {**COMMANDS, **EXPORT_COMMAND}}
        # Where all fit, nothing says so.
        await screen.type("re")
        await screen.until(lambda: len(offered().split()) > 1 and "…" not in offered(), "all")
        await screen.press("backspace", "backspace")
        await screen.until(lambda: offered().endswith("   …"), "more than fit again")
        await screen.pilot.resize_terminal(250, 20)
        await screen.type("r")
        await screen.press("backspace")
        await screen.until(lambda: "…" not in offered() and "/who" in offered(), "all of them")


async def test_the_keymap_of_the_settings(tmp_path: Path) -> None:
    settings = '[chat]\ntheme = "contrast"\n[chat.keys]\nhelp = "f9"\nquit = "ctrl+x"\n'
    with Stage(tmp_path, "alex", "bob", settings=settings) as stage:
        async with stage.screen("alex") as screen:
            await screen.press("f1")
            assert "this help" not in screen.text
            await screen.press("f9")
            await screen.shows("F9", "this help", "Ctrl-X")
            await screen.press("escape", "ctrl+x")
            await screen.until(lambda: screen.app.farewell != "", "good-bye")


async def test_who_looks_elsewhere_is_called(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    async with talking(stage) as (screen, bob):
        written: list[str] = []
        driver = screen.app._driver
        assert driver is not None
        monkeypatch.setattr(driver, "write", written.append)
        screen.app.post_message(events.AppBlur())
        await screen.until(lambda: not screen.app.app_focus, "without focus")
        receipt = await bob.send("look; \x1b\\ here")
        await screen.until(lambda: any("777" in each for each in written), "called")
        assert any(
            each
            == "\x1b]9;bob: look, \\x1b\\ here\x1b\\\x1b]777;notify;bob;look, \\x1b\\ here\x1b\\"
            for each in written
        )
        await screen.until(lambda: screen.app.state.unread == 1, "unread")
        await receipt.delivered()
        assert receipt.status is MessageStatus.DELIVERED
        screen.app.post_message(events.AppFocus())
        await screen.until(lambda: screen.app.state.unread == 0, "read")
        await receipt.displayed(15)


async def test_the_protocol_beside_the_chat(stage: Stage) -> None:
    async with stage.agent("carol") as carol, talking(stage, size=(160, 50)) as (screen, bob):
        await screen.type("hello\n")
        await screen.shows("✓✓ ▌ hello")
        await carol.send_message("alex", "not this one")
        await screen.shows("not this one")
        await screen.press("f2")
        await screen.shows("this conversation", "INVITE", "200 OK", "SEND", "server", "bob")
        assert "REGISTER" not in screen.text
        await screen.press("home")
        await screen.shows("INVITE sip:bob@rcs.example SIP/2.0", "Call-ID")
        await bob.send("and live")
        await screen.press("end")
        await screen.shows("and live")
        await screen.press("a", "home")
        await screen.shows("everything", "REGISTER sip:rcs.example SIP/2.0")
        assert "secret of alex" not in screen.text
        await screen.press("y")
        assert screen.app.clipboard.startswith("REGISTER sip:rcs.example SIP/2.0\nVia: ")
        await screen.press("f2")
        await screen.hides("SIP and MSRP of")


async def test_the_times_between_the_arrows(stage: Stage) -> None:
    async with talking(stage, size=(100, 30)) as (screen, _bob):
        await screen.press("f2")
        await screen.shows(" seconds    since alex")
        seconds = r"^ +\d+ +\d+\.\d{3} +"
        between = r"\+\d+(\.\d)? (ms|s|min) "
        await screen.until(
            lambda: re.search(seconds + between, screen.text, re.M) is not None, "both"
        )
        await screen.pilot.resize_terminal(60, 20)
        await screen.shows("   since alex")
        assert re.search(r"^ +\d+ +" + between, screen.text, re.M)
        await screen.press("t")
        await screen.shows(" seconds alex")
        assert not re.search(between, screen.text)
        await screen.press("t")
        await screen.hides("seconds")


async def test_what_is_opened_waits_while_somebody_types_and_much_comes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking(stage, size=(160, 50)) as (screen, bob):
        await screen.press("f2", "escape")
        panel = screen.app.view.protocol
        ladder, pane = panel.query_one("#ladder").region, panel.query_one("#opened").region

        def opened() -> list[str]:
            return [line[pane.x :] for line in screen.lines[pane.y : pane.bottom]]

        def last() -> int:
            lines = [line[ladder.x :].split() for line in screen.lines[ladder.y : ladder.bottom]]
            return max((int(line[0]) for line in lines if line and line[0].isdigit()), default=0)

        await screen.until(lambda: last() > 8, "there")
        await asyncio.sleep(0.6)
        before, number = opened(), last()
        typing = True
        monkeypatch.setattr(screen.app, "was_busy", lambda _seconds: typing)
        # So much at once that a look of the panel finds it waiting.
        monkeypatch.setattr("rcsops.tui.widgets.protocol._MANY", 0)
        for each in range(40):
            await bob.send(f"number {each}")
        await screen.until(lambda: last() > number + 80, "in the ladder")
        assert opened() == before
        typing = False
        await screen.until(lambda: opened() != before, "opened")


async def test_how_the_state_machines_stand(stage: Stage) -> None:
    async with talking(stage, size=(160, 60)) as (screen, bob):
        await screen.press("f2", "s")
        await screen.shows(
            "How it stands now", "Registration  RFC 3261 §10", "state     registered", "until ",
            "refresh ", "INVITE    Accepted 200 · INVITE client", "Timer M in",
            "Chat with bob  our INVITE, confirmed", "dialog    confirmed (RFC 3261 §12)", "tags  ",
            "CSeq      2 (ours), none yet (theirs)", "1800 s, ", "(RFC 4028)",
            "MSRP      bound · sendrecv", "connected 127.0.0.1:", "TCP, opened by ",
        )  # fmt: skip
        # It goes on by itself: a request of the peer's has a number, and the timer begins anew.
        await bob.refresh()
        await screen.hides("none yet (theirs)")
        before = re.search(r"Timer M in (\d+) s", screen.text)
        assert before is not None
        await screen.until(
            lambda: (
                (now := re.search(r"Timer M in (\d+) s", screen.text)) is None
                or int(now[1]) < int(before[1])
            ),
            "counted down",
        )
        await bob.close()
        await screen.shows("none is open or being set up")
        # An arrow opens its message again, and so does the key.
        await screen.press("home")
        await screen.shows("INVITE sip:bob@rcs.example SIP/2.0")
        await screen.hides("How it stands now")
        await screen.press("s")
        await screen.shows("How it stands now")
        await screen.press("s")
        await screen.hides("How it stands now")


async def test_the_protocol_of_a_low_terminal(stage: Stage) -> None:
    async with talking(stage, size=(60, 20)) as (screen, _bob):
        await screen.type("hello\n")
        await screen.shows("✓✓ ▌ hello")
        await screen.press("f2", "home")
        await screen.shows("SIP and MSRP of this conversation", "1 ", "INVITE", "✓✓ ▌ hello")
        assert "Max-Forwards" not in screen.text
        # What the footer says does not stand in the title as well.
        assert "s states" not in screen.text
        assert "s States" in screen.text
        # All the room for what is opened, with the arrow that it is; the keys still go.
        await screen.press("enter")
        await screen.shows("INVITE sip:bob@rcs.example SIP/2.0", "Esc back", "INVITE")
        await screen.hides("✓✓ ▌ hello")
        await screen.press("pagedown", "pagedown")
        await screen.hides("INVITE sip:bob@rcs.example SIP/2.0")
        await screen.press("down")
        await screen.shows("407 Proxy Authentication Required")
        await screen.press("escape")
        await screen.shows("✓✓ ▌ hello", "Enter opens")
        await screen.press("s")
        await screen.shows("How it stands now", "state     registered")
        for _ in range(6):
            await screen.press("pagedown")
        await screen.shows("MSRP      bound · sendrecv", "opened by ")
        # F2 closes all of it, and it opens as the ladder again.
        await screen.press("f2")
        await screen.shows("✓✓ ▌ hello")
        assert "SIP and MSRP" not in screen.text
        await screen.press("f2")
        await screen.shows("SIP and MSRP of", "✓✓ ▌ hello")
        await screen.press("escape")
        await screen.until(lambda: screen.app.view.composer.has_focus, "writing")


async def test_two_messages_are_compared(stage: Stage) -> None:
    async with talking(stage, size=(160, 80)) as (screen, _bob):
        await screen.press("f2", "a", "home")
        await screen.shows("everything", "REGISTER sip:rcs.example SIP/2.0")
        await screen.press("m")
        await screen.shows("held: the arrow keys mark another")
        await screen.press("down", "down")
        await screen.shows(
            "1 REGISTER", "→  3 REGISTER", "Authorization is added: this one answers the challenge",
            "CSeq goes up by 1", "+ Authorization: Digest", "- CSeq: 1 REGISTER",
            "+ CSeq: 2 REGISTER",
        )  # fmt: skip
        await screen.press("up")
        await screen.shows("One is a request, the other an answer.")
        await screen.press("m", "down")
        await screen.hides("m ends it")
        # The same two, by one key.
        await screen.press("c")
        await screen.shows("→  3 REGISTER", "Authorization is added")
        # With all the room of the terminal they stand side by side; in less, below each other.
        beside = re.compile(r"^ CSeq +1 REGISTER +≠ +2 REGISTER", re.M)
        assert not beside.search(screen.text)
        await screen.press("enter")
        await screen.until(lambda: beside.search(screen.text) is not None, "side by side")
        await screen.shows("≠ differs", "+ Digest username=")
        await screen.pilot.resize_terminal(100, 50)
        await screen.shows("+ CSeq: 2 REGISTER")
        assert not beside.search(screen.text)
        await screen.press("m", "home", "c")
        await screen.shows("it is no new form of an earlier message")


async def test_two_messages_are_chosen_on_a_low_terminal(stage: Stage) -> None:
    """Where what is opened has all the room, a comparison leaves some of the ladder to choose."""
    async with talking(stage, size=(60, 20)) as (screen, _bob):
        await screen.press("f2", "a", "home", "m")
        await screen.shows("held: the arrow keys mark another")
        ladder = screen.app.view.protocol.query_one("#ladder")

        def arrows() -> list[int]:
            top, rows = ladder.region.y, ladder.region.height
            lines = screen.text.splitlines()[top + 1 : top + rows]
            return [int(line.split()[0]) for line in lines]

        # The one that is marked, and what stands around it.
        await screen.until(lambda: arrows() == [1, 2, 3, 4], "the first four")
        await screen.press("down", "down")
        await screen.shows("1 REGISTER  →  3 REGISTER", "Authorization is added")
        assert {2, 3, 4} <= set(arrows())
        await screen.press("down", "down")
        await screen.until(lambda: {4, 5, 6} <= set(arrows()), "those around the fifth")
        # Nothing is compared any more: what is opened has the room again.
        await screen.press("m")
        await screen.until(lambda: arrows() == [5], "one")


async def test_what_says_least_of_a_message_stands_back(stage: Stage) -> None:
    async with talking(stage, size=(160, 60)) as (screen, _bob):
        await screen.press("f2", "home")
        await screen.shows('+g.3gpp.icsi-ref="…cpm.session,…cpm.msg,…cpm.filetransfer"', "t times")
        # Set in below the name of its header, and greyer than what stands beside it.
        assert re.search(r"^ .*Contact: <sip:alex@", screen.text, re.M)
        assert re.search(r"  ;\+g\.3gpp\.icsi-ref", screen.text)
        ink = {
            segment.text.strip(): segment.style.color.triplet
            for strip in screen.app.screen._compositor.render_strips()
            for segment in strip
            if segment.style and segment.style.color and segment.style.color.triplet
        }
        (told,) = (sum(ink[text]) for text in ink if text.startswith("alex invites to a session"))
        assert sum(ink['"…rcs.geopush"']) < told - 100
        assert sum(ink["alex to server · TCP"]) < told - 100
        await screen.press("enter")
        await screen.shows("urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session")


async def test_the_ladder_is_exported(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    # The dialog shows as much of the path as there is room for.
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.chdir(directory)
        await export_the_ladder(stage, Path(directory))


async def export_the_ladder(stage: Stage, tmp_path: Path) -> None:
    async with talking(stage, size=(100, 30)) as (screen, _bob):
        await screen.type("hello\n")
        await screen.shows("✓✓ ▌ hello")
        await screen.press("f2")
        await screen.shows("this conversation", "SEND")
        await screen.press("e")
        await screen.shows("Export ", "messages", "mermaid", "for you alone", "alex-bob-")
        await screen.press("down", "down", "down")
        await screen.until(lambda: ".html" in screen.text, "another ending")
        await screen.press("enter")
        await screen.until(lambda: len(list(tmp_path.glob("*.html"))) == 1, "written")
        (page,) = tmp_path.glob("alex-bob-*.html")
        assert page.stat().st_mode & 0o777 == 0o600
        assert b"INVITE" in page.read_bytes()
        assert b"REGISTER sip" not in page.read_bytes()
        # All forms, by the command; what is there already stays as it is.
        for form in ("text", "mermaid", "svg", "pcap", "trace"):
            screen.app.obey(f"/export {form} {form}.out")
            await screen.until(lambda form=form: (tmp_path / f"{form}.out").exists(), form)
        assert "INVITE" in (tmp_path / "text.out").read_text()
        assert (tmp_path / "mermaid.out").read_text().startswith("sequenceDiagram")
        assert (tmp_path / "pcap.out").read_bytes()[:4] == b"\n\r\r\n"  # pcapng
        before = (tmp_path / "text.out").read_bytes()
        screen.app.obey("/export svg text.out")
        await screen.shows("text.out is there already")
        assert (tmp_path / "text.out").read_bytes() == before
        screen.app.obey("/export gif")
        await screen.shows("'gif' is no format")


async def test_an_export_hides_credentials_unless_asked(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with talking(stage) as (screen, _bob):
        await screen.press("f2", "a")
        await screen.shows("everything")
        screen.app.obey("/export text hidden.txt")
        await screen.until((tmp_path / "hidden.txt").exists, "written")
        (tmp_path / "taken.jsonl").write_text("mine")
        screen.app.obey("/export trace")
        await screen.shows("leave nonces and keys readable")
        await screen.press("tab")
        screen.app.screen.query_one(Input).value = "taken.jsonl"
        assert "▐ ▌ leave" in screen.text
        await screen.press("tab", "space")
        await screen.shows("▐X▌ leave")
        await screen.press("shift+tab", "enter")
        await screen.shows("taken.jsonl is there already")
        screen.app.screen.query_one(Input).value = "open.jsonl"
        await screen.press("enter")
        await screen.until((tmp_path / "open.jsonl").exists, "written")
        assert (tmp_path / "taken.jsonl").read_text() == "mine"
        shown = [entry.data for entry in read_trace(tmp_path / "open.jsonl")]
        assert any(re.search(rb'WWW-Authenticate:.*nonce="[^x"]', data) for data in shown)
        # The answer to a challenge is never kept by the screen.
        assert not any(re.search(rb'response="[^x"]', data) for data in shown)
        screen.app.obey("/export trace hidden.jsonl")
        await screen.until((tmp_path / "hidden.jsonl").exists, "written")
        hidden = [entry.data for entry in read_trace(tmp_path / "hidden.jsonl")]
        assert any(b"WWW-Authenticate" in data for data in hidden)
        assert not any(re.search(rb'nonce="[^x"]', data) for data in hidden)


async def test_a_picture_in_half_blocks(stage: Stage, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (8, 4), (200, 30, 30)).save(tmp_path / "red.png")
    async with talking(stage) as (screen, bob):
        await bob.send_file(tmp_path / "red.png")
        await screen.shows("▤ red.png", "▌ ▀▀▀▀▀▀▀▀")


async def test_a_server_that_goes_and_comes_back(stage: Stage) -> None:
    async with talking(stage) as (screen, bob):
        stage.server.stop()
        await screen.shows("✗ alex, not registered", "trying again in")
        # The session does not need it.
        await screen.type("still here\n")
        assert await heard(bob) == "still here"
        await screen.shows("✓✓ ▌ still here")
        stage.server.start()
        await screen.until(lambda: screen.app.state.registration == "registered", "back")
        await screen.shows("● alex at")


async def test_a_wrong_password_is_said(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCSOPS_PASSWORD", "not the one")
    setup = stage.setup("alex")
    monkeypatch.delenv("RCSOPS_PASSWORD")
    monkeypatch.setattr(stage, "setup", lambda _user: setup)
    async with stage.screen("alex", registers=False) as screen:
        await screen.shows("401", "/register tries again")
        await screen.until(lambda: screen.app.state.registration == "refused", "refused")
        await screen.shows("✗ alex, not registered")


async def test_keys_come_before_what_pours_in_and_nothing_of_it_is_lost(stage: Stage) -> None:
    async with talking(stage) as (screen, bob):
        count = 600

        async def pour() -> None:
            receipts = [await bob.send(f"number {each}") for each in range(count)]
            await receipts[-1].displayed(60)

        pouring = asyncio.create_task(pour())
        written = "while it pours"
        holds = 0
        turns = screen.app.room.agent.host.turns
        for at in range(len(written)):
            await screen.press("space" if written[at] == " " else written[at])
            holds += turns.held or turns._next_hold > 0
            # The screen's own pause does not wait for the rest of the messages.
            await screen.shows(written[: at + 1].rstrip())
        assert holds
        await pouring
        await screen.until(lambda: not turns.held, "let go")
        await screen.shows(f"▌ number {count - 1}")
        assert written in screen.text
        history = screen.app.room.agent.history
        assert history is not None
        kept = await history.messages("sip:bob@rcs.example", limit=2 * count)
        texts = [each.text for each in kept if each.direction == "in"]
        assert texts == [f"number {each}" for each in range(count)]
        shown = screen.app.state.shown
        assert shown is not None
        rows = [row.text for row in shown.rows or () if row.kind == "in"]
        assert rows == texts[-len(rows) :]
        assert len(rows) == count


async def test_a_screen_that_is_left_in_the_midst_of_much_has_kept_what_it_acknowledged(
    stage: Stage,
) -> None:
    async with stage.agent("bob") as bob, answering(bob) as chats:
        async with stage.screen("alex", "bob") as screen:
            chat = await chats.get()
            await screen.shows("session open")
            receipts = []

            async def pour() -> None:
                for number in range(2000):
                    receipts.append(await chat.send(f"number {number}"))

            pouring = asyncio.create_task(pour())
            await screen.shows("▌ number ")
            await screen.press("h", "i")
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
        delivered = [each for each in receipts if each.status is MessageStatus.DISPLAYED]
        assert delivered
    async with stage.setup("alex").agent(tap=None) as alex:
        assert alex.history is not None
        kept = await alex.history.messages("sip:bob@rcs.example", limit=5000)
        texts = [each.text for each in kept if each.direction == "in"]
        numbers = [int(text.split()[1]) for text in texts]
        assert numbers == list(range(len(numbers)))
        assert {each.text for each in delivered} <= set(texts)
