"""Two users with two devices each, and whatever may happen to them (hypothesis draws the story)."""

import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rcsops.testing import EmbeddedServer
from tests.model.device import SETTLED, Device, quiet

SETTLING = 20.0
DEVICES = st.integers(0, 3)
WORDS = st.sampled_from(["hello", "grüß 🙂", "x" * 300])


@dataclass
class Message:
    """What was written, and what the world was like at that moment."""

    text: str
    sender: Device
    generation: int
    number: int
    present: tuple[Device, ...]
    calm: bool = True
    states: list[str] = field(default_factory=list)


class Messaging(RuleBasedStateMachine):
    """The real server, four real agents, and what the rules know of them."""

    server: EmbeddedServer
    count = 0

    @initialize()
    def begin(self) -> None:
        Messaging.count += 1
        self.root = Path(tempfile.mkdtemp(prefix="rcsops-model-"))
        self.messages: list[Message] = []
        self.devices: list[Device] = []
        for name in ("alex", "bob"):
            user = f"{name}{self.count}"
            self.server.add_user(user, f"secret of {user}")
            for number in ("one", "two"):
                self.devices.append(
                    Device(self.root, self.server.address, user, number, f"secret of {user}")
                )
        self.devices[0].start()
        # What happens beside a message that is under way makes the model know less of it.
        self.open: list[Message] = []

    # --- the rules ---------------------------------------------------------------------------

    @rule(index=DEVICES)
    def starts(self, index: int) -> None:
        device = self.devices[index]
        if not device.up:
            self.disturb()
            device.start()

    @rule(index=DEVICES)
    def leaves(self, index: int) -> None:
        device = self.devices[index]
        if device.up:
            self.disturb()
            device.leave()

    @rule(index=DEVICES)
    def is_killed(self, index: int) -> None:
        device = self.devices[index]
        if device.up:
            self.disturb()
            device.kill()

    @rule()
    def the_server_dies(self) -> None:
        self.disturb()
        pid = self.server.json("status")["pid"]
        os.kill(pid, signal.SIGKILL)
        self.server.start()
        for device in self.devices:
            if device.chat is not None:
                # Each finds out by itself, but waits longer each time: it need not here.
                device.chat.wait("registration-lost")
                device.chat.type("/register")
                device.chat.wait("registered")

    @rule(index=DEVICES)
    def invites(self, index: int) -> None:
        device = self.devices[index]
        if device.chat is not None:
            self.disturb()
            device.chat.type(f"/invite {self.peer_of(device)}")
            device.chat.wait_any("session", "error", "pager", timeout=40)

    @rule(index=DEVICES)
    def hangs_up(self, index: int) -> None:
        device = self.devices[index]
        if device.chat is not None:
            self.disturb()
            device.chat.type("/bye")

    @precondition(lambda self: any(device.up for device in self.devices))
    @rule(index=DEVICES, waits=st.booleans(), words=WORDS)
    def writes(self, index: int, waits: bool, words: str) -> None:
        device = self.devices[index]
        if device.chat is None:
            return
        number = len(self.messages) + 1
        peer = self.peer_of(device)
        present = tuple(each for each in self.devices if each.user == peer and each.up)
        message = Message(
            f"{number:03} {words}", device, device.generation, number, present, calm=not self.open
        )
        self.messages.append(message)
        self.open.append(message)
        device.chat.type(f"/message {peer}")
        device.chat.say(message.text)
        if waits:
            self.settle()

    # --- what the rules need -----------------------------------------------------------------

    def peer_of(self, device: Device) -> str:
        return next(each.user for each in self.devices if each.user != device.user)

    def settle(self) -> None:
        """Waits until the senders that are still there know what became of their messages."""
        deadline = time.monotonic() + SETTLING
        for message in self.open:
            while (
                message.sender.up
                and message.sender.generation == message.generation
                and message.sender.state_of(message.text) not in SETTLED
            ):
                assert time.monotonic() < deadline, (
                    f"nothing became of {message.text!r}: {message.sender.notices()[-8:]}"
                )
                time.sleep(0.02)
        self.open = []

    def disturb(self) -> None:
        """Something happens while messages are under way."""
        for message in self.open:
            message.calm = False
        self.open = []

    # --- what must hold ----------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "root"):
            return
        try:
            self.settle()
            for device in self.devices:
                if not device.up:
                    device.start()
            quiet(self.devices)
            self.check()
        finally:
            for device in self.devices:
                if device.up:
                    device.kill()
            shutil.rmtree(self.root, ignore_errors=True)

    def check(self) -> None:
        known = {message.text for message in self.messages}
        for device in self.devices:
            received = Counter(device.texts())
            assert set(received) <= known
            twice = [text for text, times in received.items() if times > 1]
            assert not twice, f"{device!r} has {twice} more than once"
            self.check_order(device)
        for message in self.messages:
            self.check_message(message)

    def check_order(self, device: Device) -> None:
        """Of each sender, the messages that nothing disturbed are in the order of writing."""
        number = {message.text: message for message in self.messages}
        last: dict[Device, int] = {}
        for text in device.texts():
            message = number[text]
            if message.calm:
                assert message.number > last.get(message.sender, 0), (
                    f"{device!r} has {text!r} too late"
                )
                last[message.sender] = message.number

    def check_message(self, message: Message) -> None:
        rows = [row for row in message.sender.history() if row.text == message.text]
        assert len(rows) <= 1 and all(row.direction == "out" for row in rows)
        having = [device for device in self.devices if message.text in device.texts()]
        assert all(device.user != message.sender.user for device in having)
        if not rows:
            # Killed before it was put down: nobody has ever heard of it.
            assert not having and not message.calm
            return
        row = rows[0]
        if row.status in ("delivered", "displayed"):
            assert having, f"{message.text!r} is said to be {row.status}, and nobody has it"
        # All devices have been there again since: what may not have arrived has gone once more, and
        # every receipt that was owed has found its way.
        if row.status != "failed":
            assert having, f"{message.text!r} is {row.status}, and nobody has it"
            assert row.status in ("delivered", "displayed"), f"{message.text!r} is {row.status}"
        if message.calm and row.status != "failed":
            # Nobody there: the first who came. Somebody there: one in a session, else all.
            assert len(having) in ({1} if not message.present else {1, len(message.present)})


def run(examples: int, steps: int, *, derandomize: bool, directory: Path) -> None:
    """Tells that many stories on a server of their own."""
    with EmbeddedServer(directory) as server:
        Messaging.server = server
        run_state_machine_as_test(
            Messaging,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                derandomize=derandomize,
                database=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
                # Each step takes a second: a smaller story is not worth the minutes.
                phases=(Phase.explicit, Phase.generate),
            ),
        )


@pytest.mark.timeout(600)
def test_a_few_stories(tmp_path: Path) -> None:
    run(4, 8, derandomize=True, directory=tmp_path / "server")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_stories(tmp_path: Path) -> None:
    stories = int(os.environ.get("RCSOPS_TEST_STORIES", "40"))
    run(stories, 16, derandomize=False, directory=tmp_path / "server")
