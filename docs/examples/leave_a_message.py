"""Sends one text without a session, to somebody who may not be there.

RCSOPS_PASSWORD=... python leave_a_message.py 127.0.0.1:5060 sip:alex@rcs.example bob "call me"
"""

import asyncio
import os
import sys

from rcsops import Agent
from rcsops.errors import DeliveryError, RcsopsError
from rcsops.ua import MessageStatus


async def main(server: str, user: str, peer: str, text: str) -> int:
    password = os.environ["RCSOPS_PASSWORD"]
    try:
        async with Agent(user, server=server, password=password) as agent:
            await agent.register()
            receipt = await agent.send_message(peer, text)
            await receipt.stored(timeout=40)
            if receipt.status is MessageStatus.STORED:
                print(f"{peer} is away; the server keeps it")
            else:
                await receipt.delivered(timeout=10)
                print(f"{peer} has it")
    except DeliveryError as error:
        print(f"not sent: {error} (status {error.status})")
        return 1
    except RcsopsError as error:
        print(f"failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
