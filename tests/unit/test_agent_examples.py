"""The examples of docs/api.md run as they stand and do what the page says."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.ua import Event, TextReceived

from .ua.lab import lab

pytestmark = pytest.mark.timeout(60)

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"


async def run(name: str, *words: str, **environment: str) -> tuple[int, str]:
    process = await start(name, *words, **environment)
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, output.decode()


async def start(name: str, *words: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / name),
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | environment,
    )


def test_the_page_shows_every_example_as_it_is() -> None:
    page = (DOCS / "api.md").read_text()
    shown = dict(re.findall(r"<!-- examples/(\w+\.py) -->\n```python\n(.*?)```", page, re.DOTALL))
    files = {path.name: path.read_text() for path in EXAMPLES.glob("*.py")}
    assert shown == files


async def said(feed: AsyncIterator[Event]) -> str:
    """The next text that comes."""
    async with asyncio.timeout(10):
        async for event in feed:
            if isinstance(event, TextReceived):
                return event.text
    raise AssertionError("the agent was closed")


async def test_two_agents() -> None:
    code, output = await run("two_agents.py")
    assert code == 0, output
    assert "alex: hello is delivered" in output
    assert "alex hears: you said: hello" in output
    assert "bob: Call completed" in output


async def test_send_file(tmp_path: Path) -> None:
    source = tmp_path / "picture.png"
    source.write_bytes(os.urandom(300_000))
    code, output = await run("send_file.py", str(source), str(tmp_path / "in"))
    assert code == 0, output
    assert "with the same hash: True" in output
    assert (tmp_path / "in" / "picture.png").read_bytes() == source.read_bytes()


async def test_leave_a_message() -> None:
    words = ("leave_a_message.py", "{}", "sip:alex@rcs.example", "bob", "call me")
    async with lab() as server:

        async def leave(password: str) -> tuple[int, str]:
            return await run(
                *(word.format(server.address) for word in words), RCSOPS_PASSWORD=password
            )

        code, output = await leave("secret-a")
        assert code == 1
        assert "not sent: the user is not there" in output
        assert "(status 480)" in output
        server.stores = True
        assert await leave("secret-a") == (0, "bob is away; the server keeps it\n")
        bob = Agent("sip:bob@rcs.example", server=server.address, password="secret-b")
        async with bob:
            await bob.register()
            feed = bob.events()
            assert await leave("secret-a") == (0, "bob has it\n")
            event = await anext(feed)
            assert isinstance(event, TextReceived)
            assert event.text == "call me"
            assert event.pager
        code, output = await leave("wrong")
        assert code == 1
        assert output.startswith("failed: ")


async def test_register_and_chat_with_the_echo_bot(tmp_path: Path) -> None:
    async with lab() as server:
        bot = await start(
            "echo_bot.py",
            server.address,
            "sip:bob@rcs.example",
            str(tmp_path / "files"),
            RCSOPS_PASSWORD="secret-b",
        )
        assert bot.stdout is not None
        line = await asyncio.wait_for(bot.stdout.readline(), 20)
        assert line == b"sip:bob@rcs.example waits\n"
        words = ("register_and_chat.py", server.address, "sip:alex@rcs.example", "bob", "hello")
        code, output = await run(*words, RCSOPS_PASSWORD="secret-a")
        assert code == 0, output
        assert "Ringing" in output
        assert "delivered to sip:bob@rcs.example" in output
        code, output = await run(*words, RCSOPS_PASSWORD="wrong")
        assert code == 1
        assert "refused the user name or the password" in output
        code, output = await run(*words[:3], "nobody", "hello", RCSOPS_PASSWORD="secret-a")
        assert code == 1
        assert "status 404" in output
        letter = tmp_path / "letter.txt"
        letter.write_text("dear bot")
        alex = Agent("sip:alex@rcs.example", server=server.address, password="secret-a")
        async with alex:
            await alex.register()
            chat = await alex.invite("bob")
            transfer = await chat.send_file(letter)
            await transfer.done(timeout=10)
            async with asyncio.timeout(10):
                async for event in chat:
                    if isinstance(event, TextReceived):
                        assert transfer.sha1 in event.text
                        break
            await chat.close()
            feed = alex.events()
            await alex.send_message("bob", "no session")
            assert await said(feed) == "no session"
            transfer = await alex.send_file("bob", letter)
            await transfer.done(timeout=10)
            assert await said(feed) == f"letter (1).txt is here, 8 octets, SHA-1 {transfer.sha1}"
        assert sorted(os.listdir(tmp_path / "files")) == ["letter (1).txt", "letter.txt"]
        bot.terminate()
        await bot.wait()
    assert (tmp_path / "files" / "letter.txt").read_text() == "dear bot"
