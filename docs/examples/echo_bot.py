"""A bot: takes every chat, echoes every text, keeps every file in a directory.

RCSOPS_PASSWORD=... python echo_bot.py 127.0.0.1:5060 sip:bob@rcs.example files/
"""

import asyncio
import os
import sys

from rcsops import Agent
from rcsops.errors import AgentError
from rcsops.settings import FileRules
from rcsops.ua import FileReceived, Invitation, RegistrationLost, TextReceived


def answer(event: TextReceived | FileReceived) -> str:
    """What the bot says to a text or a file."""
    if isinstance(event, FileReceived):
        return f"{event.path.name} is here, {event.size} octets, SHA-1 {event.sha1}"
    return event.text


async def echo(invitation: Invitation) -> None:
    """Answers one peer until the session ends."""
    try:
        chat = await invitation.accept()
        async for event in chat:
            if isinstance(event, TextReceived | FileReceived):
                await chat.send(answer(event))
    except AgentError as error:
        print(f"{invitation.peer}: {error}")


async def watch(agent: Agent) -> None:
    """Answers what comes without a session, and tells when the server is lost; the agent comes
    back by itself."""
    async for event in agent.events():
        if isinstance(event, RegistrationLost):
            print(f"{event.reason}; again in {event.retry_in} s")
        elif isinstance(event, TextReceived | FileReceived) and not event.chat_id:
            try:
                await agent.send_message(event.peer, answer(event))
            except AgentError as error:
                print(f"{event.peer}: {error}")


async def main(server: str, user: str, directory: str) -> None:
    password = os.environ["RCSOPS_PASSWORD"]
    rules = FileRules.parse(["accept size<=100MB"])
    async with (
        Agent(
            user, server=server, password=password, downloads=directory, file_rules=rules
        ) as agent,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(watch(agent))
        await agent.register(retry=True)
        print(f"{agent.aor} waits", flush=True)
        async for invitation in agent.incoming():
            tasks.create_task(echo(invitation))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
