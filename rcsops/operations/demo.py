"""The main job, shown in a minute: two users register, one leaves a message for the other, they
invite, chat, send a file and hang up.

Everything is real: a project in a directory of its own, the embedded server as a process (or an
OpenSIPS that is on this machine, see `demo_opensips`), and two processes of ``rcsops chat``. What
they did is read from what they say, and from the traces that their taps write.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from rcsops.errors import RcsopsError, UsageError
from rcsops.operations import db, users
from rcsops.operations.demo_checks import find_problems
from rcsops.operations.demo_opensips import DemoOpenSips
from rcsops.operations.demo_peer import DemoFailed, Notice, Peer
from rcsops.operations.demo_result import DemoFile, DemoMessage, DemoResult
from rcsops.operations.init import initialise
from rcsops.operations.server import start, stop
from rcsops.operations.terminations import run_to_its_end
from rcsops.settings import Project
from rcsops.trace import TraceEntry, merge, read_trace

CALLER, CALLEE = "alex", "bob"
DOMAIN = "rcs.example"
_CONVERSATION = (
    (CALLER, "Hi Bob, are you there?"),
    (CALLEE, "Hi Alex! Yes, and this came straight from you to me."),
    (CALLER, "Grüße — any text will do: 你好 👋"),
    (CALLEE, "Got it. Send me that file?"),
)
_LEFT = "Bob, I have a file for you."
_GRACE = 5.0
_FILE_NAME = "notes.txt"
_FILE_TEXT = "What we said went from one to the other over MSRP; the server saw only the SIP.\n"


@dataclass(frozen=True, slots=True)
class Progress:
    """Something that has happened; ``who`` is a user, "server" or "demo". ``text`` is ours or, in
    quotes, a user's."""

    who: str
    text: str


def demonstrate(
    keep: Path | None = None,
    *,
    report: Callable[[Progress], None],
    opensips: DemoOpenSips | None = None,
) -> DemoResult:
    """Runs the demo, tells ``report`` what happens, and returns all that was seen.

    The project is made in ``keep``, which must be new or empty, and stays there; without it, in a
    temporary directory that is removed. With ``opensips`` that is the server. Nothing is left
    running, also when it is interrupted or fails: what did not happen is in the result's
    ``problems``. Raises :class:`~rcsops.errors.UsageError` for a ``keep`` that cannot be used.
    """
    with _directory(keep) as directory:
        return run_to_its_end(_demonstrate(directory, report, opensips))


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        directory = Path(tempfile.mkdtemp(prefix="rcsops-demo-"))
        try:
            yield directory
        finally:
            _remove(directory)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise UsageError(f"{keep} is not empty", hint="name a new directory")
    except OSError as error:
        raise UsageError(f"{keep} cannot be used: {error.strerror}") from error
    yield keep.resolve()


def _remove(directory: Path) -> None:
    """Removes the temporary project, with its run directory wherever that is."""
    project = None
    with contextlib.suppress(RcsopsError):
        project = Project.find(directory, environment={})
    # Without settings of its own yet, what was found is somebody else's project.
    if project is not None and project.root == directory.resolve():
        # Elsewhere when the name of our directory is too long for a socket in it.
        shutil.rmtree(project.run_dir, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


async def _demonstrate(
    directory: Path, report: Callable[[Progress], None], opensips: DemoOpenSips | None
) -> DemoResult:
    demo = _Demo(directory, report, opensips)
    result = demo.result
    begun = time.monotonic()
    try:
        await demo.run()
    except RcsopsError as error:
        result.problems.append(str(error))
    finally:
        await demo.clean_up()
    result.seconds = time.monotonic() - begun
    result.ladder = merge(demo.entries(), server="server")
    # What stopped the demo explains the rest, so it comes first.
    result.problems += find_problems(result, CALLER, CALLEE)
    return result


class _Demo:
    """The steps, in order; ``result`` grows as things happen."""

    def __init__(
        self,
        directory: Path,
        report: Callable[[Progress], None],
        opensips: DemoOpenSips | None = None,
    ) -> None:
        self.directory = directory
        self._opensips = opensips
        self.result = DemoResult()
        self._report = report
        self._peers = {name: Peer(name, self._hear) for name in (CALLER, CALLEE)}
        self._project: Project | None = None
        self._server_pid = 0
        self._chat_id: object = None

    def say(self, who: str, text: str) -> None:
        self._report(Progress(who, text))

    async def run(self) -> None:
        """All of it; raises RcsopsError when something fails that the rest needs."""
        # On the loop, where Ctrl-C waits: no server may start after the cleaning up.
        self._prepare()
        await self._join(CALLER)
        await self._peers[CALLER].wait_for("registered", what="registering")
        await self._leave_message()
        await self._peers[CALLER].type(f"/invite {CALLEE}")
        for name in (CALLER, CALLEE):
            opened = await self._peers[name].wait_for("session", what="the session")
            self._chat_id = opened.get("chat_id")
        for sender, text in _CONVERSATION:
            await self._write(sender, text)
        await self._send_file()
        await self._hang_up()

    def _trace(self, node: str) -> Path:
        return self.directory / f"{node}.trace.jsonl"

    def entries(self) -> list[TraceEntry]:
        """What the taps of all processes have written."""
        traces = (self._trace(node) for node in (CALLER, "server", CALLEE))
        return [entry for trace in traces if trace.exists() for entry in read_trace(trace)]

    def _prepare(self) -> None:
        """The project, the accounts and the server, by the operations behind the commands."""
        port = _free_port()
        listen = tuple(f"{transport}:127.0.0.1:{port}" for transport in ("udp", "tcp"))
        initialise(self.directory, domain=DOMAIN, listen=listen)
        self._project = Project.find(self.directory, environment={})
        if self._opensips is None:
            db.create(self._project)
            self.say("demo", f"a project with the domain {DOMAIN} and its database")
        else:
            self._project = self._opensips.prepare(self._project)
            self.say("demo", f"a project with the domain {DOMAIN} and {self._opensips.database}")
        for name in (CALLER, CALLEE):
            changed = users.add_user(self._project, name, password=users.generate_password())
            self.result.users.append(changed.user)
            self.say("demo", f"account {changed.user} ({', '.join(changed.algorithms)})")
        # OpenSIPS writes no trace: what it says is known from those that it says it to.
        trace = None if self._opensips else self._trace("server")
        started = start(self._project, trace=trace)
        self._server_pid = started.pid
        self.result.server = f"127.0.0.1:{port}"
        self.say("server", f"{started.version} listens on {' and '.join(listen)}")

    async def _join(self, name: str, *words: str) -> None:
        trace = self._trace(name)
        await self._peers[name].start(
            self.directory,
            *words,
            "--json",
            "--auto-accept",
            *("--trace", str(trace)),
            environment=_environment(),
        )

    def _hear(self, peer: Peer, notice: Notice) -> None:
        """Reports what a person would like to know of what an agent tells."""
        told = _told(notice)
        if told:
            self.say(peer.name, told)

    async def _leave_message(self) -> None:
        """One to the callee, who is away: the server keeps it until he registers."""
        message = DemoMessage("", self._aor(CALLER), self._aor(CALLEE), _LEFT)
        self.result.messages.append(message)
        caller, callee = self._peers[CALLER], self._peers[CALLEE]
        what = "the message to one who is away"
        self.say(CALLER, f"writes “{_LEFT}” to {CALLEE}, who is away")
        for line in (f"/message {CALLEE}", _LEFT):
            await caller.type(line)
        stored = await caller.wait_for("status", _is("stored"), what=what)
        message.id = str(stored["message_id"])
        message.status = "stored"
        await self._join(CALLEE)
        await callee.wait_for("registered", what="registering")
        await callee.wait_for("message", lambda each: each.get("text") == _LEFT, what=what)
        message.received = True
        await caller.wait_for("status", _is("delivered"), what=what)
        message.status = "delivered"

    async def _write(self, sender: str, text: str) -> None:
        """One message: written by one, read by the other, and its receipts."""
        recipient = CALLEE if sender == CALLER else CALLER
        known = {message.id for message in self.result.messages}
        message = DemoMessage("", self._aor(sender), self._aor(recipient), text)
        self.result.messages.append(message)
        self.say(sender, f"writes “{text}”")
        await self._peers[sender].type(text)
        what = f"the message {text!r}"
        for status in ("sent", "delivered"):
            notice = await self._peers[sender].wait_for(
                "status",
                lambda each, status=status: (  # type: ignore[misc]
                    each.get("status") == status and each.get("message_id") not in known
                ),
                what=f"{what} being {status}",
            )
            message.id = str(notice["message_id"])
            message.status = status
        await self._peers[recipient].wait_for(
            "message", lambda each: each.get("text") == text, what=what
        )
        message.received = True

    async def _send_file(self) -> None:
        """A small file from the caller, compared octet by octet where it has arrived."""
        path = self.directory / _FILE_NAME
        content = (_FILE_TEXT * 10).encode()
        path.write_bytes(content)
        digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        file = DemoFile(
            _FILE_NAME, self._aor(CALLER), self._aor(CALLEE), size=len(content), sha1=digest
        )
        self.result.files.append(file)
        self.say(CALLER, f"sends the file {_FILE_NAME}, {len(content)} octets")
        await self._peers[CALLER].type(f"/send {path}")
        what = f"the file {_FILE_NAME}"
        received = await self._peers[CALLEE].wait_for("file-received", what=what)
        file.status = "received"
        arrived = await asyncio.to_thread(Path(str(received["path"])).read_bytes)
        file.intact = arrived == content
        await self._peers[CALLER].wait_for("file-sent", what=what)
        file.status = "sent"

    async def _hang_up(self) -> None:
        """BYE from the caller, then both unregister and end by themselves."""
        await self._peers[CALLER].type("/quit")
        await self._peers[CALLEE].wait_for(
            "session-ended",
            lambda each: each.get("chat_id") == self._chat_id,
            what="the end of the session",
        )
        await self._peers[CALLEE].type("/quit")
        for name, peer in self._peers.items():
            code = await peer.finish()
            if code != 0:
                raise DemoFailed(f"{name} ended with exit code {code}")

    async def clean_up(self) -> None:
        """Ends what still runs, and checks that nothing does."""
        for peer in self._peers.values():
            await peer.kill()
        if self._project is not None:
            try:
                stop(self._project)
            except RcsopsError as error:
                self.result.problems.append(f"the server did not stop: {error}")
            if self._opensips is not None:
                try:
                    self._opensips.remove(self._project)
                except RcsopsError as error:
                    self.result.problems.append(f"the database is still there: {error}")
        pids = {peer.name: peer.pid for peer in self._peers.values()} | {"server": self._server_pid}
        for name, pid in pids.items():
            if pid and _runs(pid, _GRACE):
                self.result.problems.append(f"{name}, process {pid}, was still running")
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)

    def _aor(self, name: str) -> str:
        return f"{name}@{DOMAIN}"


def _is(status: str) -> Callable[[Notice], bool]:
    return lambda notice: notice.get("status") == status


def _told(notice: Notice) -> str:
    """A notice of ``rcsops chat`` as a line of the demo, "" when it says nothing new."""
    match notice["event"]:
        case "registered":
            return "is registered"
        case "inviting":
            return f"invites {str(notice.get('peer', '')).removeprefix('sip:')}"
        case "progress":
            return f"hears {notice.get('status', '')} {notice.get('reason', '')}".rstrip()
        case "session":
            ends = f"{notice.get('local', '?')} and {notice.get('remote', '?')}"
            return f"has a direct MSRP connection between {ends}"
        case "message":
            return f"reads “{notice.get('text', '')}”"
        case "status" if notice.get("status") != "queued":
            return f"sees it {notice.get('status', '')}"
        case "file-received":
            return f"has received {notice.get('name', 'the file')}"
        case "file-sent":
            return f"sees {notice.get('name', 'the file')} come through"
        case "session-ended":
            return f"sees the session end: {notice.get('reason', '')}"
        case "ended":
            return "has unregistered and ended"
    return ""


def _runs(pid: int, grace: float) -> bool:
    """Whether the process is there; a leaving one gets ``grace`` seconds to be gone."""
    deadline = time.monotonic() + grace
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return True
            time.sleep(0.02)
    return False


def _free_port() -> int:
    """A port of loopback that is free for UDP and TCP both."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
            contextlib.suppress(OSError),
        ):
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            datagram.bind(("127.0.0.1", port))
            return port


def _environment() -> dict[str, str]:
    """The environment of the agents: the settings come from the demo's project alone."""
    return {key: value for key, value in os.environ.items() if not key.startswith("RCSOPS_")}
