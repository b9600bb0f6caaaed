"""OPTIONS and geolocation push through real servers: agents as processes ask, answer and send."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rcsops.testing import KamailioServer
from rcsops.testing.opensips import OpenSipsServer
from tests.live.phones import DOMAIN
from tests.live.test_pager import StartChat, chats_at

pytestmark = pytest.mark.feature("capabilities and geolocation")

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def chat(opensips: OpenSipsServer) -> Iterator[StartChat]:
    with chats_at(opensips.address) as start:
        yield start


@pytest.fixture
def names(opensips: OpenSipsServer) -> tuple[str, str]:
    """Two users whom no other test has."""
    names.count = getattr(names, "count", 0) + 1  # type: ignore[attr-defined]
    made = tuple(f"{name}caps{names.count}" for name in ("alex", "bob"))  # type: ignore[attr-defined]
    for name in made:
        opensips.add_user(name, f"of {name}")
    return made  # type: ignore[return-value]


@pytest.fixture
def command() -> Iterator[Command]:
    """Runs ``rcsops COMMAND USER …`` at a server, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="rcsops-") as directory:
        (Path(directory) / "rcsops.toml").write_text(f'domain = "{DOMAIN}"\n')

        def run(server: str, *words: str) -> subprocess.CompletedProcess[str]:
            done = subprocess.run(
                [sys.executable, "-m", "rcsops", *words, "--server", server, "--json"],
                cwd=directory,
                env={"HOME": directory, "RCSOPS_PASSWORD": f"of {words[1]}", "PATH": "/usr/bin"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert "Traceback" not in done.stderr, done.stderr
            return done

        yield run


def asked(command: Command, server: str, user: str, peer: str) -> tuple[int, dict[str, object]]:
    done = command(server, "capabilities", user, peer)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def there_and_gone(
    command: Command, chat: StartChat, server: str, a: str, b: str, *, nobody: tuple[str, int]
) -> None:
    """alex asks what bob can do, while bob is away, there with two devices, and gone again.

    ``nobody`` is what comes of asking for a user who is none.
    """
    code, found = asked(command, server, a, b)
    assert (code, found["state"], found["status"]) == (1, "offline", 480)
    code, found = asked(command, server, a, "nobody")
    assert (code, found["state"], found["status"]) == (1, *nobody)
    bob, second = chat(b), chat(b)
    bob.wait("registered")
    second.wait("registered")
    code, found = asked(command, server, a, b)
    services = found["services"]
    assert isinstance(services, dict)
    assert (code, found["state"], found["status"]) == (0, "online", 200)
    assert services["chat"]
    assert services["pager"]
    assert services["geolocation_push"]
    assert bob.finish() == 0
    assert second.finish() == 0
    code, found = asked(command, server, a, b)
    assert (code, found["state"], found["services"]) == (1, "offline", services)
    # One that vanished, whom the server still knows: the same.
    vanished = chat(b)
    vanished.wait("registered")
    vanished.kill()
    code, found = asked(command, server, a, b)
    assert (code, found["state"], found["services"]) == (1, "offline", services), found["status"]


def places(chat: StartChat, a: str, b: str) -> None:
    """A place for bob who is away, one without a session, and one in a session."""
    alex = chat(a)
    alex.wait("registered")
    alex.type(f"/message {b}", "/location 48.2082,16.3738 first 👋")
    alex.wait("status", status="stored")
    bob = chat(b)
    place = {"latitude": 48.2082, "longitude": 16.3738, "radius": 0.0}
    first = bob.wait("message", location={**place, "label": "first 👋"}, pager=True)
    assert "geo:48.2082,16.3738" in first["text"]
    alex.type("/location 48.2082,16.3738 second")
    bob.wait("message", location={**place, "label": "second"}, pager=True)
    alex.type(f"/invite {b}")
    alex.wait("session")
    alex.type("/location 48.2082,16.3738 third")
    bob.wait("message", location={**place, "label": "third"}, pager=False)
    assert alex.finish() == 0
    assert bob.finish() == 0
    assert len(bob.messages) == 3
    assert [status for _, status in alex.kept("out")] == ["delivered"] * 3


@pytest.mark.smoke
def test_options_to_a_user(
    opensips: OpenSipsServer, command: Command, chat: StartChat, names: tuple[str, str]
) -> None:
    there_and_gone(command, chat, opensips.address, *names, nobody=("no such user", 404))


@pytest.mark.server("Kamailio")
@pytest.mark.database("sqlite")
@pytest.mark.skipif(bool(KamailioServer.missing()), reason=KamailioServer.missing())
def test_through_kamailio(command: Command, tmp_path: Path) -> None:
    with KamailioServer(tmp_path / "kamailio", domain=DOMAIN) as server:
        for name in ("alex", "bob"):
            server.add_user(name, f"of {name}")
        with chats_at(server.address) as chat:
            # Our script for it does not look into the database for who is not registered.
            nobody = ("offline", 480)
            there_and_gone(command, chat, server.address, "alex", "bob", nobody=nobody)
