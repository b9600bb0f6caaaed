"""Registers at a server, invites a peer, sends one text and waits until it is delivered.

RCSOPS_PASSWORD=... python register_and_chat.py 127.0.0.1:5060 sip:alex@rcs.example bob "hello"
"""

import asyncio
import os
import sys

from rcsops import Agent
from rcsops.errors import InviteError, RcsopsError, RegistrationError


async def main(server: str, user: str, peer: str, text: str) -> int:
    password = os.environ["RCSOPS_PASSWORD"]
    try:
        async with Agent(user, server=server, password=password) as agent:
            await agent.register()
            chat = await agent.invite(peer, on_progress=lambda event: print(type(event).__name__))
            receipt = await chat.send(text)
            await receipt.delivered(timeout=10)
            print(f"delivered to {chat.peer}")
            await chat.close()
    except RegistrationError as error:
        print(f"not registered: {error}")
        return 1
    except InviteError as error:
        print(f"no chat: {error} (status {error.status})")
        return 1
    except RcsopsError as error:
        print(f"failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
