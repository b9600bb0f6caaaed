"""Sends a file straight to another agent, with progress, and checks that it arrived whole.

python send_file.py FILE DIRECTORY
"""

import asyncio
import sys

from rcsops import Agent
from rcsops.ua import FileOffered, FileProgress, FileReceived


async def take(bob: Agent, directory: str) -> FileReceived:
    """Takes the first file that anybody offers."""
    async for event in bob.events():
        if isinstance(event, FileOffered):
            print(f"bob: {event.peer} offers {event.name}, {event.size} octets")
            await event.offer.accept(directory)
        elif isinstance(event, FileReceived):
            return event
    raise RuntimeError("closed before a file came")


async def main(path: str, directory: str) -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        taking = asyncio.create_task(take(bob, directory))
        feed = alex.events()
        port = bob.host.addresses[0].port
        transfer = await alex.send_file(f"sip:bob@127.0.0.1:{port}", path)
        async for event in feed:
            if isinstance(event, FileProgress):
                print(f"alex: {event.octets} of {event.total}")
                if event.octets == event.total:
                    break
        await transfer.done(timeout=30)
        received = await taking
        print("bob has", received.path, "with the same hash:", received.sha1 == transfer.sha1)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
