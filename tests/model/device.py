"""A device of a user: ``rcsops chat`` in a project of its own, killed and started again at will."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.cli.chatting import ChatProcess
from tests.model.network import Network

SETTLED = ("stored", "sent", "delivered", "displayed", "failed")


class Kept(NamedTuple):
    """A row of a history."""

    text: str
    direction: str
    status: str
    delivered: bool
    displayed: bool
    file: str | None
    path: str | None
    sha1: str | None


class Device:
    """``name`` tells it from the user's other one; what it keeps outlives its process."""

    def __init__(
        self, root: Path, network: Network, server: str, user: str, name: str, password: str
    ) -> None:
        self.directory = root / f"{user}-{name}"
        self.directory.mkdir(parents=True)
        self.user = user
        self.name = name
        self.line = network.line(server)
        # All that it says to the server goes over its line.
        (self.directory / "rcsops.toml").write_text(
            f'domain = "rcs.example"\n[agent]\nserver = "{self.line.address}"\ntransport = "tcp"\n',
            "utf-8",
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
        self.cut_off = False

    def __repr__(self) -> str:
        return f"{self.user}-{self.name}"

    @property
    def up(self) -> bool:
        """Whether its process is there."""
        return self.chat is not None

    @property
    def present(self) -> bool:
        """Whether the server can reach it."""
        return self.up and not self.cut_off

    @property
    def session(self) -> str:
        """The chat_id of the session that it is in; empty for none."""
        chat_id = ""
        for notice in self.notices():
            if notice["event"] == "session":
                chat_id = notice["chat_id"]
            elif notice["event"] == "session-ended" and notice["chat_id"] == chat_id:
                chat_id = ""
        return chat_id

    def lose_network(self) -> None:
        """Its connection to the server is reset, and there is no other for now."""
        assert self.chat is not None
        self.chat.skip()
        self.cut_off = True
        self.line.cut()
        self.chat.wait("registration-lost")

    def find_network(self) -> None:
        """There is a way to the server again."""
        self.line.mend()
        self.cut_off = False
        if self.chat is not None:
            self.come_back()

    def come_back(self) -> None:
        """It finds out by itself, but waits longer each time: it need not here."""
        assert self.chat is not None
        self.chat.type("/register")
        self.chat.wait("registered")

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
                "SELECT text, direction, status, delivered_at, displayed_at, attachment.name, path,"
                " sha1 FROM message LEFT JOIN attachment ON message.id = attachment.message"
                " ORDER BY message.id"
            ).fetchall()
        return [Kept(*r[:3], r[3] is not None, r[4] is not None, *r[5:]) for r in rows]

    def texts(self) -> list[str]:
        """What it has received, but for files."""
        return [row.text for row in self.history() if row.direction == "in" and not row.file]

    def files(self, direction: str) -> list[Kept]:
        """What it has of files."""
        return [row for row in self.history() if row.direction == direction and row.file]


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
