"""Two agents talk straight to each other, without a server."""

import asyncio

from rcsops import Agent
from rcsops.ua import SessionEnded, TextReceived


async def answer(bob: Agent) -> None:
    """Takes the first call and answers every text."""
    async for invitation in bob.incoming():
        chat = await invitation.accept()
        async for event in chat:
            if isinstance(event, TextReceived):
                await chat.send(f"you said: {event.text}")
            elif isinstance(event, SessionEnded):
                print("bob:", event.reason)
        return


async def main() -> None:
    async with Agent("sip:alex@rcs.example") as alex, Agent("sip:bob@rcs.example") as bob:
        answering = asyncio.create_task(answer(bob))
        port = bob.host.addresses[0].port
        chat = await alex.invite(f"sip:bob@127.0.0.1:{port}")
        print(f"direct, {chat.local} to {chat.remote}")
        receipt = await chat.send("hello")
        await receipt.delivered(timeout=5)
        print("alex: hello is", receipt.status)
        async for event in chat:
            if isinstance(event, TextReceived):
                print("alex hears:", event.text)
                break
        await chat.close()
        await answering


if __name__ == "__main__":
    asyncio.run(main())
