"""A device of a user: ``rcsops chat`` in a project of its own, killed and started again at will."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.cli.chatting import ChatProcess

SETTLED = ("stored", "sent", "delivered", "displayed", "failed")


class Kept(NamedTuple):
    """A row of a history."""

    text: str
    direction: str
    status: str
    delivered: bool
    displayed: bool


class Device:
    """``name`` tells it from the user's other one; what it keeps outlives its process."""

    def __init__(self, root: Path, server: str, user: str, name: str, password: str) -> None:
        self.directory = root / f"{user}-{name}"
        self.directory.mkdir(parents=True)
        self.user = user
        self.name = name
        (self.directory / "rcsops.toml").write_text(
            f'domain = "rcs.example"\n[agent]\nserver = "{server}"\n', "utf-8"
        )
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RCSOPS_")}
        self.environment = {
            **kept,
            "HOME": str(self.directory),
            "RCSOPS_PASSWORD": password,
            "NO_COLOR": "1",
            "LANG": "C.UTF-8",
        }
        self.chat: ChatProcess | None = None
        self.generation = 0

    def __repr__(self) -> str:
        return f"{self.user}-{self.name}"

    @property
    def up(self) -> bool:
        """Whether its process is there."""
        return self.chat is not None

    def start(self) -> None:
        """Starts it and waits until it is registered."""
        self.generation += 1
        # It has what the process wants of a lab: a directory and an environment.
        self.chat = ChatProcess(self, self.user)  # type: ignore[arg-type]
        self.chat.wait("registered")

    def kill(self) -> None:
        """kill -9."""
        assert self.chat is not None
        chat, self.chat = self.chat, None
        with chat:
            chat.kill()

    def leave(self) -> None:
        """The orderly end."""
        assert self.chat is not None
        chat, self.chat = self.chat, None
        with chat:
            chat.type("/quit")
            assert chat.ended() in (0, 1)

    def notices(self) -> list[dict[str, Any]]:
        """Everything that its present process has said."""
        return [] if self.chat is None else list(self.chat.notices)

    def state_of(self, text: str) -> str:
        """What it last said of a message; empty when it has said nothing."""
        state = ""
        for notice in self.notices():
            if notice["event"] == "status" and notice.get("text") == text:
                state = notice["status"]
        return state

    def history(self) -> list[Kept]:
        """Its history, in the order of storing."""
        path = next(self.directory.glob(".rcsops/agents/*/history.db"), None)
        if path is None:
            return []
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            rows = database.execute(
                "SELECT text, direction, status, delivered_at, displayed_at FROM message"
                " ORDER BY id"
            ).fetchall()
        return [Kept(r[0], r[1], r[2], r[3] is not None, r[4] is not None) for r in rows]

    def texts(self) -> list[str]:
        """What it has received."""
        return [row.text for row in self.history() if row.direction == "in"]


def quiet(devices: list[Device], *, calm: float = 1.5, at_most: float = 60.0) -> None:
    """Waits until nobody has said or stored anything new for ``calm`` seconds."""
    deadline = time.monotonic() + at_most
    before: object = None
    since = time.monotonic()
    while time.monotonic() < deadline:
        now = [(len(device.notices()), device.history()) for device in devices]
        if now != before:
            before, since = now, time.monotonic()
        elif time.monotonic() - since > calm:
            return
        time.sleep(0.1)
    raise AssertionError("it does not come to rest")
