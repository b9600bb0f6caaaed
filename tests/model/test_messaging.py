"""Two users with two devices each, and whatever may happen to them (hypothesis draws the story)."""

import hashlib
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
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
from tests.model.network import Network

SETTLING = 20.0
FILE_SETTLED = ("file-sent", "file-failed", "refused", "declined", "file-interrupted")
DEVICES = st.integers(0, 3)
SIZES = st.sampled_from([0, 700, 300_000])
WORDS = st.sampled_from(["hello", "grüß 🙂", "x" * 300])


@dataclass(eq=False)
class Message:
    """What was written, and the world at that moment.

    ``takers`` are the devices that are to have it: the other end of the session, or all that were
    registered, or, when there was none, the one that registers first; None until that is known.
    ``calm``: nothing happened beside it that makes the model know less.
    """

    text: str
    sender: Device
    generation: int
    number: int
    takers: tuple[Device, ...] | None
    calm: bool = True


@dataclass(eq=False)
class SentFile:
    """A file that was offered in a session."""

    name: str
    sha1: str
    sender: Device
    generation: int
    calm: bool = True


class Messaging(RuleBasedStateMachine):
    """The real server, four real agents, and what the rules know of them."""

    server: EmbeddedServer
    network: Network
    count = 0

    @initialize()
    def begin(self) -> None:
        Messaging.count += 1
        self.root = Path(tempfile.mkdtemp(prefix="rcsops-model-"))
        self.messages: list[Message] = []
        self.files: list[SentFile] = []
        self.devices: list[Device] = []
        for name in ("alex", "bob"):
            user = f"{name}{self.count}"
            self.server.add_user(user, f"secret of {user}")
            for number in ("one", "two"):
                address, password = self.server.address, f"secret of {user}"
                self.devices.append(
                    Device(self.root, self.network, address, user, number, password)
                )
        self.devices[0].start()
        # What happens beside a message that is under way makes the model know less of it.
        self.open: list[Message | SentFile] = []

    # --- the rules ---------------------------------------------------------------------------

    @rule(index=DEVICES)
    def starts(self, index: int) -> None:
        device = self.devices[index]
        if not device.up:
            self.disturb()
            if device.cut_off:
                device.find_network()
            device.start()
            self.registered(device)

    @rule(index=DEVICES)
    def leaves(self, index: int) -> None:
        device = self.devices[index]
        if device.up:
            self.disturb()
            self.goes(device)
            device.leave()
            self.sessions_agree()

    @rule(index=DEVICES)
    def is_killed(self, index: int) -> None:
        device = self.devices[index]
        if device.up:
            self.disturb()
            self.goes(device)
            device.kill()
            self.sessions_agree()

    @rule()
    def the_server_dies(self) -> None:
        self.disturb()
        # Which of several registers first is not ours to say.
        for message in self.messages:
            message.calm &= message.takers is not None
        pid = self.server.json("status")["pid"]
        os.kill(pid, signal.SIGKILL)
        self.server.start()
        for device in self.devices:
            if device.present and device.chat is not None:
                device.chat.wait("registration-lost")
                device.come_back()

    @rule(index=DEVICES)
    def loses_the_network(self, index: int) -> None:
        device = self.devices[index]
        if device.present:
            self.disturb()
            self.goes(device)
            device.lose_network()

    @rule(index=DEVICES)
    def finds_the_network(self, index: int) -> None:
        device = self.devices[index]
        if device.cut_off:
            self.disturb()
            device.find_network()
            if device.up:
                self.registered(device)

    @rule(index=DEVICES)
    def invites(self, index: int) -> None:
        device = self.devices[index]
        if device.present and device.chat is not None:
            self.disturb()
            device.chat.skip()
            device.chat.type(f"/invite {self.peer_of(device)}")
            device.chat.wait_any("session", "error", "pager", timeout=40)
            self.sessions_agree()

    @rule(index=DEVICES)
    def hangs_up(self, index: int) -> None:
        device = self.devices[index]
        if device.chat is not None:
            self.disturb()
            session = device.session
            device.chat.type("/bye")
            if session:
                self.wait(lambda: device.session != session, f"{device!r} does not hang up")
            self.sessions_agree()

    @precondition(lambda self: any(device.up for device in self.devices))
    @rule(index=DEVICES, waits=st.booleans(), words=WORDS)
    def writes(self, index: int, waits: bool, words: str) -> None:
        device = self.devices[index]
        if device.chat is None:
            return
        peer = self.peer_of(device)
        other = self.other_end(device)
        there = tuple(each for each in self.devices if each.user == peer and each.present)
        number = len(self.messages) + 1
        message = Message(
            f"{number:03} {words}",
            device,
            device.generation,
            number,
            (other,) if other is not None else there or None,
            calm=not self.open and not any(each.cut_off for each in self.devices),
        )
        self.messages.append(message)
        self.open.append(message)
        device.chat.type(f"/message {peer}")
        device.chat.say(message.text)
        if waits:
            self.settle()

    @rule(index=DEVICES, newest=st.booleans())
    def reads(self, index: int, newest: bool) -> None:
        """Somebody sees one of the messages that came."""
        device = self.devices[index]
        if device.chat is None:
            return
        seen = {row.text for row in device.history() if row.displayed}
        came = [
            notice
            for notice in device.notices()
            if notice["event"] == "message" and notice["text"] not in seen
        ]
        if came:
            device.chat.type(json.dumps({"displayed": came[-1 if newest else 0]["message_id"]}))

    @rule(index=DEVICES, size=SIZES, waits=st.booleans())
    def sends_a_file(self, index: int, size: int, waits: bool) -> None:
        device = self.devices[index]
        if device.chat is None or not device.session:
            return
        name = f"file {len(self.files) + 1}.bin"
        content = random.Random(name).randbytes(size)
        path = self.root / f"{device!r} {name}"
        path.write_bytes(content)
        file = SentFile(path.name, hashlib.sha1(content).hexdigest(), device, device.generation)
        file.calm = not any(each.cut_off for each in self.devices)
        self.files.append(file)
        self.open.append(file)
        device.chat.type(f"/send {path}")
        if waits:
            self.settle()

    # --- what the rules need -----------------------------------------------------------------

    def peer_of(self, device: Device) -> str:
        return next(each.user for each in self.devices if each.user != device.user)

    def other_end(self, device: Device) -> Device | None:
        """The device that it is in a session with."""
        session = device.session
        for each in self.devices:
            if session and each is not device and each.session == session:
                return each
        return None

    def wait(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + SETTLING
        while not condition():
            assert time.monotonic() < deadline, complaint
            time.sleep(0.02)

    def sessions_agree(self) -> None:
        """Waits until each session has two ends, or none."""

        def agree() -> bool:
            ends = Counter(device.session for device in self.devices if device.session)
            return all(number == 2 for number in ends.values())

        self.wait(agree, f"{[(device, device.session) for device in self.devices]}")

    def registered(self, device: Device) -> None:
        """It is the first one there of those whom messages wait for."""
        for message in self.messages:
            if message.takers is None and message.sender.user != device.user:
                message.takers = (device,)

    def goes(self, device: Device) -> None:
        """It may be too early for what is on its way to it."""
        having = device.texts()
        for message in self.messages:
            if message.takers and device in message.takers and message.text not in having:
                message.calm = False

    def settle(self) -> None:
        """Waits until the senders that are still there know what became of what they sent."""
        for each in self.open:
            self.wait(
                lambda each=each: self.is_settled(each),  # type: ignore[misc]
                f"nothing became of {each}: {each.sender.notices()[-8:]}",
            )
        self.open = []

    def is_settled(self, each: Message | SentFile) -> bool:
        sender = each.sender
        if not sender.present or sender.generation != each.generation:
            return True
        if isinstance(each, Message):
            return sender.state_of(each.text) in SETTLED
        return any(
            notice["event"] in FILE_SETTLED and notice.get("name") == each.name
            for notice in sender.notices()
        )

    def disturb(self) -> None:
        """Something happens while messages are under way."""
        for each in self.open:
            each.calm = False
        self.open = []

    # --- what must hold ----------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "root"):
            return
        try:
            self.settle()
            for device in self.devices:
                if device.cut_off:
                    self.goes(device)
                    device.find_network()
                if not device.up:
                    device.start()
                    self.registered(device)
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
        for file in self.files:
            self.check_file(file)

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
        read = any(
            each.displayed
            for device in having
            for each in device.history()
            if each.text == message.text
        )
        if row.status in ("delivered", "displayed"):
            assert having, f"{message.text!r} is said to be {row.status}, and nobody has it"
        if row.status == "displayed":
            assert read, f"{message.text!r} is said to be displayed, and nobody has seen it"
        # All devices have been there again since: what may not have arrived has gone once more, and
        # every receipt that was owed has found its way.
        if row.status != "failed":
            assert having, f"{message.text!r} is {row.status}, and nobody has it"
            due = "displayed" if read else "delivered"
            assert row.status == due, f"{message.text!r} is {row.status}, not {due}"
        if message.calm and row.status != "failed":
            assert message.takers is not None
            assert set(having) == set(message.takers), f"{having} have {message}"

    def check_file(self, file: SentFile) -> None:
        (row,) = (each for each in file.sender.files("out") if each.file == file.name)
        copies = [
            copy
            for device in self.devices
            for copy in device.files("in")
            if copy.sha1 == file.sha1 and file.name.partition(".")[0] in str(copy.file)
        ]
        assert len(copies) <= 1, f"{file} came as {copies}"
        for copy in copies:
            assert hashlib.sha1(Path(str(copy.path)).read_bytes()).hexdigest() == file.sha1
        if row.status in ("delivered", "displayed"):
            assert copies, f"{file} is {row.status}, and nobody has it"
        if file.calm:
            assert copies and row.status == "delivered", f"{file} is {row.status}: {copies}"


def run(examples: int, steps: int, *, derandomize: bool, directory: Path) -> None:
    """Tells that many stories on a server of their own."""
    with EmbeddedServer(directory) as server, Network() as network:
        Messaging.server, Messaging.network = server, network
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
