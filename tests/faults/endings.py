"""What ends with something under way leaves behind: ways to end, and what both sides have then.

The tests number the messages: "0 …", "1 …" and so on.
"""

import signal
import time
from collections import Counter
from typing import Any

from tests.cli.chatting import PATIENCE, ChatProcess, Lab

ENDINGS = ["bye", "SIGINT", "SIGTERM", "end of input"]


def end(chat: ChatProcess, how: str) -> None:
    """Ends it in order, or its session."""
    if how == "bye":
        chat.type("/bye")
    elif how == "end of input":
        chat._process.stdin.close()  # type: ignore[union-attr]
    else:
        chat.signal(signal.Signals[how])


def numbers(messages: list[dict[str, Any]], direction: str) -> list[int]:
    return [
        int(each["text"].split()[0])
        for each in messages
        if each["direction"] == direction and each["text"][0].isdigit()
    ]


def status_of(lab: Lab, user: str) -> dict[int, str]:
    return {
        int(each["text"].split()[0]): each["status"]
        for each in lab.history(user)
        if each["direction"] == "out" and each["text"][0].isdigit()
    }


def all_delivered(lab: Lab, user: str) -> int:
    """Waits until everything that ``user`` has sent is with the peer; how much that was."""
    there = {"delivered", "displayed"}
    deadline = time.monotonic() + PATIENCE
    while not (states := status_of(lab, user)) or not there.issuperset(states.values()):
        late = {number: state for number, state in states.items() if state not in there}
        assert time.monotonic() < deadline, late
        time.sleep(0.2)
    return len(states)


def shown(*chats: ChatProcess) -> Counter[str]:
    """How often each numbered message was shown, of all processes of a user."""
    return Counter(
        notice["text"].split()[0]
        for chat in chats
        for notice in chat.notices
        if notice["event"] == "message" and notice["text"][0].isdigit()
    )
