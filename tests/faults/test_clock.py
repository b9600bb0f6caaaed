"""The clock of the server's machine is set back, or forward, while it serves."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops.testing import EmbeddedServer, ManagedProcess, wait_until
from tests.cli.chatting import Lab, talk

LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not here: apt-get install faketime"),
]


class FakedServer(EmbeddedServer):
    """A server whose wall clock is set by a file; its monotonic clock is left alone.

    Only the server's own process is under libfaketime.
    """

    process: ManagedProcess | None = None

    def set_clock(self, offset: str) -> None:
        (self.directory / "clock").write_text(f"{offset}\n")

    def start(self) -> None:
        faked = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.directory / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.process = ManagedProcess(
            [sys.executable, "-m", "rcsops.server", "--project", self.directory],
            log=self.directory / "process.log",
            env={**self.environment, **faked},
            ready=lambda: self.command("status", check=False).returncode == 0,
            timeout=30,
        )
        self.process.start()

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()


class FakedLab(Lab):
    server: FakedServer

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.server = FakedServer(root)
        self.server.set_clock("+0")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[FakedLab]:
    with FakedLab(tmp_path) as lab:
        yield lab


@pytest.mark.parametrize("offset", ["-1h", "-400d", "+50m"])
def test_calls_and_registrations_go_on(lab: FakedLab, offset: str) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as two, lab.waiting(alex) as one:
        lab.server.set_clock(offset)
        # An expiry of an hour has not come, whatever the clock now says.
        one.type(f"/invite {bob}")
        talk(one, two)
        one.type("/bye")
        two.wait("session-ended")
        # A registration made after it counts as well, and is taken back.
        (carol,) = lab.users("carol")
        with lab.waiting(carol) as three:
            three.type(f"/invite {bob}")
            talk(three, two)
            three.type("/quit")
            assert three.ended() == 0
        wait_until(lambda: not lab.is_registered(carol), what="carol is gone")


def test_the_server_starts_with_another_clock_than_it_ended_with(lab: FakedLab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as two, lab.waiting(alex) as one:
        lab.server.set_clock("-2h")
        lab.server.stop()
        lab.server.start()
        one.wait("registered", again=True, timeout=60)
        two.wait("registered", again=True, timeout=60)
        one.type(f"/invite {bob}")
        talk(one, two)
