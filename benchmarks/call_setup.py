"""How long a call takes to be set up through a real OpenSIPS: by our agents, and by bare sockets.

    python benchmarks/call_setup.py [--calls 300] [--transport tcp|udp] [--release VERSION]
                                    [--profile]

Both send the same messages through the same server, in turns, so that whatever else the machine
does falls on both alike: INVITE with credentials for a nonce that is known, 100, 180, 200, ACK
(and a 407 and its ACK before that where the server wants another nonce). The sockets repeat the
header fields and the SDP that the agents have just sent, and go by TCP where the size of the INVITE
makes the agents do so (RFC 3261 §18.1.1). Caller and callee are processes of their own, of the
agents as of the sockets, and each of the two stays on a processor of its own, as in life they are
machines of their own.

The clock runs from the call to `Agent.invite` (or the first octet put together by the bare caller)
until the callee has the ACK; it is the system's monotonic one, which is the same in all processes.
The bare pair cuts what it needs out of the octets with regular expressions and knows neither
transactions nor dialogs. What each stage of the way takes is shown as well, and what the agents add
to it. Exit code 1 if the agents' p50 or p99 is more than 1.5 times that of the sockets.

OpenSIPS is looked for in $RCSOPS_TEST_OPENSIPS (prefixes) and on the PATH, and runs on a MariaDB of
its own where there is one, else on SQLite; where there is no OpenSIPS the benchmark says so and
does nothing. ``--profile`` shows where the agents' time goes instead, the callee's first.
"""

import argparse
import asyncio
import contextlib
import cProfile
import hashlib
import json
import os
import pstats
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rcsops import Agent
from rcsops.errors import InviteError
from rcsops.testing import MariaDbServer
from rcsops.testing.opensips import OpenSipsServer, find_opensips
from rcsops.transport import Tap
from rcsops.transport.limits import EndpointLimits
from rcsops.transport.loop import loop_runner, settle_collector
from rcsops.transport.tap import TapRecord

GOAL = 1.5
DOMAIN = "rcs.example"
WARM_UP = 20


def field(message: bytes, name: bytes) -> bytes:
    """The value of a header field that stands once."""
    found = re.search(rb"^%s: *(.*?)\r\n" % name, message, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else b""


def fields(message: bytes, name: bytes) -> list[bytes]:
    """The values of a header field, in order."""
    return re.findall(rb"^%s: *(.*?)\r\n" % name, message, re.MULTILINE | re.IGNORECASE)


# The way of a call: who has the message when the stage is over, which, and the words for it.
STAGES = (
    ("caller", "out INVITE", "the caller makes the INVITE"),
    ("callee", "in INVITE", "the server takes it to the callee"),
    ("callee", "out 200", "the callee sends 180 and 200"),
    ("caller", "in 200", "the server takes the 200 back"),
    ("caller", "out ACK", "the caller makes the ACK"),
    ("callee", "in ACK", "the server takes it to the callee"),
)


class Marks:
    """When the first message of each kind of one call came or went, in seconds."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def note(self, direction: str, message: bytes) -> None:
        """A message passes; an INVITE that comes begins a call."""
        word = message.split(b" ", 2)[message.startswith(b"SIP/2.0")].decode()
        if (direction, word) == ("in", "INVITE"):
            self._at = {}
        self._at.setdefault(f"{direction} {word}", time.perf_counter())

    def take(self) -> dict[str, float]:
        """What it has; begins anew."""
        taken, self._at = self._at, {}
        return taken


def stages(started: float, caller: dict[str, float], callee: dict[str, float]) -> list[float]:
    """Milliseconds of each of `STAGES`."""
    ends = [(caller if who == "caller" else callee)[what] for who, what, _ in STAGES]
    return [(end - begin) * 1000 for begin, end in zip((started, *ends), ends, strict=False)]


def stay_on(number: int) -> None:
    """Keeps this process, and what it starts from now on, on one of its processors."""
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[number % len(processors)]})


class Bare:
    """A user of a socket: messages are made by pasting, and cut apart by regular expressions."""

    def __init__(self, server: str, name: str, transport: str) -> None:
        self.name = name
        self.transport = transport.upper()
        host, _, port = server.rpartition(":")
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.settimeout(10)
        self._socket.connect((host, int(port)))
        if kind == socket.SOCK_STREAM:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host, port = self._socket.getsockname()
        self.address = f"{host}:{port}"
        self._buffer = self._early_bye = b""
        self._challenge: dict[str, str] = {}
        self._count = 0
        self.marks = Marks()

    @property
    def contact(self) -> str:
        return f"<sip:{self.name}@{self.address};transport={self.transport.lower()}>"

    def via(self) -> str:
        return f"Via: SIP/2.0/{self.transport} {self.address};branch=z9hG4bK{secrets.token_hex(8)}"

    def send(self, *lines: str, body: bytes = b"") -> None:
        head = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", ""))
        message = head.encode() + body
        self._socket.sendall(message)
        self.marks.note("out", message)

    def receive(self) -> bytes:
        """The next message."""
        message = self._read()
        self.marks.note("in", message)
        return message

    def _read(self) -> bytes:
        """The next message: a datagram, or as much of the stream as Content-Length says."""
        if self.transport == "UDP":
            return self._socket.recv(65535)
        while True:
            head, mark, rest = self._buffer.partition(b"\r\n\r\n")
            if mark:
                length = int(field(head + b"\r\n", b"Content-Length") or 0)
                if len(rest) >= length:
                    self._buffer = rest[length:]
                    return head + mark + rest[:length]
            data = self._socket.recv(65535)
            if not data:
                raise SystemExit("the server closed a connection")
            self._buffer += data

    def answer(self) -> bytes:
        """The next response."""
        while True:
            message = self.receive()
            if message.startswith(b"SIP/2.0 "):
                return message

    def final(self) -> bytes:
        """The next response that is not provisional."""
        while (message := self.answer()).startswith(b"SIP/2.0 1"):
            continue
        return message

    def request(self, method: str) -> bytes:
        """The next request of that kind."""
        if method == "BYE" and self._early_bye:
            message, self._early_bye = self._early_bye, b""
            return message
        while True:
            message = self.receive()
            if message.startswith(method.encode() + b" "):
                return message
            if method == "ACK" and message.startswith(b"BYE "):
                # A server with several workers may let it overtake the ACK.
                self._early_bye = message

    def challenged(self, response: bytes) -> None:
        """Remembers the first challenge of a response."""
        offered = (fields(response, b"(?:WWW|Proxy)-Authenticate") or [b""])[0].decode()
        self._challenge = dict(re.findall(r'(\w+)="?([^",]+)"?', offered))
        self._count = 0

    def credentials(self, method: str, uri: str, header: str) -> list[str]:
        """The answer to the challenge (RFC 7616), no line where there was none yet."""
        said = self._challenge
        if not said:
            return []
        self._count += 1
        algorithm = said.get("algorithm", "MD5")
        digest = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]

        def hashed(text: str) -> str:
            return digest(text.encode()).hexdigest()

        a1 = hashed(f"{self.name}:{said['realm']}:of {self.name}")
        cnonce, count = secrets.token_hex(8), f"{self._count:08x}"
        a2 = hashed(f"{method}:{uri}")
        response = hashed(f"{a1}:{said['nonce']}:{count}:{cnonce}:auth:{a2}")
        return [
            f'{header}: Digest username="{self.name}", realm="{said["realm"]}", '
            f'nonce="{said["nonce"]}", uri="{uri}", response="{response}", '
            f'algorithm={algorithm}, cnonce="{cnonce}", qop=auth, nc={count}'
        ]

    def head(self, method: str, uri: str, number: int, to: str, from_: str, call: str) -> list[str]:
        lines = [f"{method} {uri} SIP/2.0", self.via(), "Max-Forwards: 70", f"From: {from_}"]
        return [*lines, f"To: {to}", f"Call-ID: {call}", f"CSeq: {number} {method}"]

    def register(self) -> None:
        own, uri, call = f"<sip:{self.name}@{DOMAIN}>", f"sip:{DOMAIN}", secrets.token_hex(8)
        more = [f"Contact: {self.contact}", "Expires: 3600"]
        self.send(*self.head("REGISTER", uri, 1, own, f"{own};tag=r", call), *more)
        self.challenged(self.final())
        more += self.credentials("REGISTER", uri, "Authorization")
        self.send(*self.head("REGISTER", uri, 2, own, f"{own};tag=r", call), *more)
        self._challenge = {}
        if not self.final().startswith(b"SIP/2.0 200"):
            raise SystemExit("the bare socket could not register")


# What a bare user makes itself; the other header fields are those of the agents' messages.
_OWN = (
    *("via", "max-forwards", "from", "to", "call-id", "cseq", "contact", "record-route"),
    *("content-length", "content-type", "proxy-authorization"),
)


class Model:
    """What the sockets repeat of the messages that an agent has sent."""

    def __init__(self) -> None:
        self._sent: list[bytes] = []
        self._sorted: dict[bytes, bytes] = {}

    def note(self, message: bytes) -> None:
        """An agent has sent that; looked at when the clock does not run."""
        self._sent.append(message)

    @property
    def _messages(self) -> dict[bytes, bytes]:
        """The newest message of each kind."""
        for message in self._sent:
            if message.startswith(b"INVITE ") or b" INVITE\r\n" in message:
                kind = message.split(b" ", 2)[message.startswith(b"SIP/2.0")]
                self._sorted[kind] = message
        self._sent.clear()
        return self._sorted

    def is_large(self) -> bool:
        """Whether the INVITE is too large for a datagram."""
        return len(self._messages[b"INVITE"]) > EndpointLimits().max_datagram_request

    def body(self, kind: bytes) -> bytes:
        """The SDP of the newest message of that kind."""
        return self._messages[kind].partition(b"\r\n\r\n")[2]

    def lines(self, kind: bytes) -> list[str]:
        """The header fields of it that a bare user does not make itself."""
        head = self._messages[kind].partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return [line for line in head if line.partition(":")[0].lower() not in _OWN]

    def features(self) -> str:
        """The parameters of the Contact."""
        message = next(iter(self._messages.values()))
        return field(message, b"Contact").decode().partition(">")[2]


def bare_invite(alice: Bare, model: Model, peer: str) -> tuple[float, Callable[[], None]]:
    """A call of the sockets as its caller; when it began, and what ends it."""
    offer, more, features = model.body(b"INVITE"), model.lines(b"INVITE"), model.features()
    alice.marks.take()
    started = time.perf_counter()
    uri, call = f"sip:{peer}@{DOMAIN}", secrets.token_hex(8)
    to, from_ = f"<{uri}>", f"<sip:{alice.name}@{DOMAIN}>;tag={secrets.token_hex(4)}"
    more = [f"Contact: {alice.contact}{features}", *more, "Content-Type: application/sdp"]
    for number in (1, 2):
        invite = alice.head("INVITE", uri, number, to, from_, call)
        proof = alice.credentials("INVITE", uri, "Proxy-Authorization")
        alice.send(*invite, *more, *proof, body=offer)
        if (answered := alice.answer()).startswith(b"SIP/2.0 1"):
            break
        alice.challenged(answered)
        ack = alice.head("ACK", uri, number, field(answered, b"To").decode(), from_, call)
        ack[1] = invite[1]
        alice.send(*ack)
    accepted = alice.final()
    target = re.search(rb"<([^>]+)>", field(accepted, b"Contact"))
    assert target is not None
    to = field(accepted, b"To").decode()
    routes = [f"Route: {each.decode()}" for each in fields(accepted, b"Record-Route")[::-1]]
    alice.send(*alice.head("ACK", target[1].decode(), number, to, from_, call), *routes, *proof)

    def hang_up() -> None:
        alice.send(*alice.head("BYE", target[1].decode(), 3, to, from_, call), *routes)
        alice.final()

    return started, hang_up


def bare_answer(bob: Bare, model: Model) -> dict[str, float]:
    """A call of the sockets as its callee, to the end; when its messages came and went."""
    ringing, accepting = model.lines(b"180"), model.lines(b"200")
    features, answer = model.features(), model.body(b"200")
    came = bob.request("INVITE")
    copied = [f"Via: {each.decode()}" for each in fields(came, b"Via")]
    copied += [f"Record-Route: {each.decode()}" for each in fields(came, b"Record-Route")]
    copied += [f"{name}: {field(came, name.encode()).decode()}" for name in ("From", "Call-ID")]
    copied += [f"CSeq: {field(came, b'CSeq').decode()}", f"Contact: {bob.contact}{features}"]
    copied += [f"To: {field(came, b'To').decode()};tag={secrets.token_hex(4)}"]
    bob.send("SIP/2.0 180 Ringing", *copied, *ringing)
    bob.send("SIP/2.0 200 OK", *copied, *accepting, "Content-Type: application/sdp", body=answer)
    bob.request("ACK")
    marks = bob.marks.take()
    bye = bob.request("BYE")
    copied = [f"Via: {each.decode()}" for each in fields(bye, b"Via")]
    copied += [f"{n}: {field(bye, n.encode()).decode()}" for n in ("From", "To", "Call-ID", "CSeq")]
    bob.send("SIP/2.0 200 OK", *copied)
    return marks


def agent(server: str, transport: str, name: str, tap: Tap) -> Agent:
    """One of the agents of both sides."""
    uri, password = f"sip:{name}@{DOMAIN}", f"of {name}"
    return Agent(uri, server=server, transport=transport, password=password, tap=tap)


async def serve(server: str, transport: str) -> None:
    """The callees: told by lines of stdin what comes next, they say when its messages passed."""
    stay_on(1)
    bob, model, marks = Bare(server, "bob", transport), Model(), Marks()
    bob.register()
    loop = asyncio.get_running_loop()
    orders: asyncio.Queue[str] = asyncio.Queue()
    loop.add_reader(sys.stdin.fileno(), lambda: orders.put_nowait(sys.stdin.readline().strip()))

    def say(*words: object) -> None:
        print(*words, flush=True)

    def watch(record: TapRecord) -> None:
        marks.note(record.direction, record.data)
        if record.direction == "out":
            model.note(record.data)
        elif record.data.startswith(b"ACK "):
            say(json.dumps(marks.take()))

    async def accept(dave: Agent) -> None:
        async for invitation in dave.incoming():
            # The caller may hang up before the callee has seen that the session is open.
            with contextlib.suppress(InviteError):
                await invitation.accept()

    async with agent(server, transport, "dave", watch) as dave:
        await dave.register()
        accepting = asyncio.create_task(accept(dave))
        settle_collector()
        say("ready")
        while await orders.get() == "sockets":
            say("ready")
            say(json.dumps(bare_answer(bob, model)))
        accepting.cancel()


class Callees:
    """The process of those who are called."""

    def __init__(self, server: str, transport: str, *, profile: bool) -> None:
        command = [sys.executable, __file__, "--callees", server, "--transport", transport]
        command += ["--profile"] if profile else []
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.heard()

    def order(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")

    def heard(self) -> str:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        raise SystemExit("the process of the callees has ended")

    def close(self) -> None:
        self.order("end")
        self._process.wait()


Stages = dict[str, list[list[float]]]


async def measure(server: str, calls: int, transport: str, profile: bool) -> Stages:
    """The stages of all calls of each, one of the one after one of the other."""
    alice, model, marks = None, Model(), Marks()
    times: dict[str, list[list[float]]] = {"sockets": [], "agents": []}

    def watch(record: TapRecord) -> None:
        marks.note(record.direction, record.data)
        if record.direction == "out":
            model.note(record.data)

    with contextlib.closing(Callees(server, transport, profile=profile)) as callees:
        # Only now: the callees are to have another, and the server all of them.
        stay_on(0)
        async with agent(server, transport, "carol", watch) as carol:
            await carol.register()
            settle_collector()
            for number in range(WARM_UP + calls):
                marks.take()
                started = time.perf_counter()
                async with asyncio.timeout(20):
                    chat = await carol.invite(f"sip:dave@{DOMAIN}")
                    by_agents = stages(started, marks.take(), json.loads(callees.heard()))
                    await chat.close()
                callees.order("sockets")
                callees.heard()
                if alice is None:
                    over = "tcp" if model.is_large() else transport
                    alice = Bare(server, "alice", over)
                    alice.register()
                started, hang_up = bare_invite(alice, model, "bob")
                caller = alice.marks.take()
                hang_up()
                by_sockets = stages(started, caller, json.loads(callees.heard()))
                if number >= WARM_UP:
                    times["agents"].append(by_agents)
                    times["sockets"].append(by_sockets)
    return times


def database(server: MariaDbServer) -> str:
    """Makes an empty database with a user of its own; the URL of it."""
    import MySQLdb

    with contextlib.closing(
        MySQLdb.connect(unix_socket=str(server.socket), user=server.user)
    ) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE DATABASE bench")
        cursor.execute("CREATE USER bench@'127.0.0.1' IDENTIFIED BY 'bench'")
        cursor.execute("GRANT ALL ON bench.* TO bench@'127.0.0.1'")
    return server.url("bench", "bench:bench")


def p99(values: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(values, n=100)[98]


@contextlib.contextmanager
def profiled(profile: cProfile.Profile | None) -> Iterator[None]:
    """Shows on stderr where the time went."""
    if profile is None:
        yield
        return
    with profile:
        yield
    pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(40)


def main() -> int:
    parser = argparse.ArgumentParser(description="call set-up through OpenSIPS")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--transport", choices=("tcp", "udp"), default="udp")
    parser.add_argument("--release", help="which OpenSIPS, the first one unless told otherwise")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--callees", metavar="SERVER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    profile = cProfile.Profile() if options.profile else None
    if options.callees:
        with loop_runner() as runner, profiled(profile):
            runner.run(serve(options.callees, options.transport))
        return 0
    found = [each for each in find_opensips() if options.release in (None, each.version)]
    if not found:
        print("skipped: no OpenSIPS here; RCSOPS_TEST_OPENSIPS names prefixes")
        return 0
    with contextlib.ExitStack() as stack:
        url = None
        if not MariaDbServer.missing() and "db_mysql" in found[0].modules:
            url = database(stack.enter_context(MariaDbServer()))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rcsops-")))
        # Room for all calls: the limits are not what is measured.
        server = OpenSipsServer(
            found[0], place, database_url=url, memory=256, flood=100_000, user_rate=100_000
        )
        for user in ("alice", "bob", "carol", "dave"):
            server.add_user(user, f"of {user}")
        stack.enter_context(server)
        runner = stack.enter_context(loop_runner())
        with profiled(profile):
            work = measure(server.address, options.calls, options.transport, options.profile)
            parts = runner.run(work)
    where = f"OpenSIPS {found[0].version} on {'MariaDB' if url else 'SQLite'}"
    print(f"{where}, {options.transport}, {options.calls} calls of each, in turns")
    times = {who: [sum(call) for call in calls] for who, calls in parts.items()}
    medians = {who: statistics.median(values) for who, values in times.items()}
    for who, values in times.items():
        print(f"{who:<8} p50 {medians[who]:6.2f} ms   p99 {p99(values):6.2f} ms")
    print("where it goes, p50 in ms              sockets  agents  more")
    for number, (_, _, words) in enumerate(STAGES):
        each = [statistics.median(call[number] for call in calls) for calls in parts.values()]
        print(f"  {words:<34}  {each[0]:6.2f}  {each[1]:6.2f} {each[1] - each[0]:5.2f}")
    ratios = (medians["agents"] / medians["sockets"], p99(times["agents"]) / p99(times["sockets"]))
    print(f"agents: {ratios[0]:.2f} (p50) and {ratios[1]:.2f} (p99) times the sockets' time;")
    print(f"the goal is at most {GOAL}")
    return 0 if max(ratios) <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
