"""What the embedded server does at twice the load that it can carry.

A generator of its own process sends by UDP as clients do: with credentials after the challenge,
with retransmissions after 0.5, 1, 2 s, and what gets a 503 gives up. First the capacity is found,
with 64 units of work under way at any time; then twice that comes in an open loop, which does not
wait for anybody; then half of it, to see that the server has recovered. A unit is a registration
(401, 200) or a call (407, 200 of the callee, ACK, BYE, 200).

    python benchmarks/overload.py [--seconds 20] [--kind register|call|both] [--without] [--json F]

``--without`` shows the same with the control of overload turned off. Goodput is what succeeded in a
second; its ratio to the capacity is the figure. The machine is shared by server and generator.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import multiprocessing
import os
import re
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from server_load import ACCOUNTS, DOMAIN, PASSWORD, Ours

GOAL = 0.7
WINDOW = 64
CALLEE = ACCOUNTS[-1]
PATIENCE = 8.0
RETRIES = (0.5, 1.0, 2.0, 4.0)
COUNTED = ("offered", "done", "refused", "no answer", "sent again", "begun and failed")
_NONCE = re.compile(rb'nonce="([^"]+)"')
_BRANCH = re.compile(rb"branch=z9hG4bK([^;\r\n]+)")
_TO = re.compile(rb"\r\nTo: ([^\r\n]+)")
_CONTACT = re.compile(rb"\r\nContact: <([^>]+)>")
_RECORD = re.compile(rb"\r\nRecord-Route: ([^\r\n]+)")


class Unit:
    """One registration or call on its way."""

    __slots__ = ("began", "cseq", "data", "deadline", "key", "number", "retry", "started", "step")

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.started = now
        self.began = False
        self.step = 0
        self.cseq = 1
        self.key = b""
        self.data = b""
        self.retry = 0
        self.deadline = 0.0


class Generator:
    """Sends units and follows them to their end."""

    def __init__(self, port: int, kind: str, process: psutil.Process) -> None:
        self.server = ("127.0.0.1", port)
        self.process = process
        self.kind = kind
        self.sock = _socket()
        self.callee = _socket()
        self.own = f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.nonce_count = 0
        self.prefix = os.urandom(4).hex()
        self.units: dict[bytes, Unit] = {}
        self.timers: collections.deque[tuple[float, bytes, Unit]] = collections.deque()
        self.number = 0
        self.counts: collections.Counter[str] = collections.Counter()
        self.latencies: list[float] = []

    # --- messages ----------------------------------------------------------------------------

    def _message(
        self,
        unit: Unit,
        method: str,
        *,
        uri: str,
        to: str,
        more: str = "",
        branch: str = "",
    ) -> bytes:
        user = ACCOUNTS[unit.number % (len(ACCOUNTS) - 1)]
        branch = branch or f"{self.prefix}x{unit.number}x{unit.step}"
        unit.key = branch.encode()
        return (
            f"{method} {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {self.own};branch=z9hG4bK{branch};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{user}@{DOMAIN}>;tag=f{unit.number}\r\nTo: {to}\r\n"
            f"Call-ID: {self.prefix}-{unit.number}\r\nCSeq: {unit.cseq} {method}\r\n"
            f"Contact: <sip:{user}@{self.own}>\r\n{more}Content-Length: 0\r\n\r\n"
        ).encode()

    def _credentials(self, unit: Unit, method: str, uri: str, nonce: str) -> str:
        user = ACCOUNTS[unit.number % (len(ACCOUNTS) - 1)]
        name = "Authorization" if method == "REGISTER" else "Proxy-Authorization"
        first = hashlib.md5(f"{user}:{DOMAIN}:{PASSWORD}".encode()).hexdigest()
        second = hashlib.md5(f"{method}:{uri}".encode()).hexdigest()
        text = f"{first}:{nonce}:00000001:c0ffee:auth:{second}"
        response = hashlib.md5(text.encode()).hexdigest()
        return (
            f'{name}: Digest username="{user}", realm="{DOMAIN}", nonce="{nonce}", uri="{uri}", '
            f'response="{response}", algorithm=MD5, qop=auth, nc=00000001, cnonce="c0ffee"\r\n'
        )

    def _first(self, unit: Unit, nonce: str = "") -> bytes:
        register = self.kind == "register"
        method = "REGISTER" if register else "INVITE"
        user = ACCOUNTS[unit.number % (len(ACCOUNTS) - 1)]
        uri = f"sip:{DOMAIN}" if register else f"sip:{CALLEE}@{DOMAIN}"
        to = f"<sip:{user}@{DOMAIN}>" if register else f"<{uri}>"
        more = "Expires: 600\r\n" if register else ""
        if nonce:
            more += self._credentials(unit, method, uri, nonce)
        return self._message(unit, method, uri=uri, to=to, more=more)

    # --- the course of a unit -----------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begins a unit."""
        self.number += 1
        unit = Unit(self.number, now)
        self.counts["offered"] += 1
        self._send(unit, self._first(unit), now)

    def _send(self, unit: Unit, data: bytes, now: float) -> None:
        unit.data = data
        unit.retry = 0
        unit.deadline = now + PATIENCE
        self.units[unit.key] = unit
        self._write(data)
        self.timers.append((now + RETRIES[0], unit.key, unit))

    def _write(self, data: bytes) -> None:
        try:
            self.sock.sendto(data, self.server)
        except BlockingIOError:
            self.counts["not sent"] += 1

    def _end(self, unit: Unit, how: str, now: float) -> None:
        self.units.pop(unit.key, None)
        self.counts[how] += 1
        if unit.began:
            self.counts["begun and done" if how == "done" else "begun and failed"] += 1
        if how == "done":
            self.latencies.append(now - unit.started)

    def response(self, data: bytes, now: float) -> None:
        """Takes a response to the caller."""
        match = _BRANCH.search(data)
        unit = self.units.get(match[1]) if match else None
        status = int(data[8:11])
        if unit is None:
            return
        if status < 200:
            if status == 100:
                unit.began = unit.began or unit.step == 1
            # The server has it: nothing is sent again.
            unit.retry = len(RETRIES)
            return
        del self.units[unit.key]
        if self.kind == "call" and unit.step < 2:
            self._acknowledge(unit, data, status)
        if status in (401, 407) and unit.step == 0:
            nonce = _NONCE.search(data)
            unit.step, unit.cseq = 1, 2
            assert nonce is not None
            self._send(unit, self._first(unit, nonce[1].decode()), now)
        elif status == 503:
            self._end(unit, "refused", now)
        elif status != 200:
            self._end(unit, f"answered {status}", now)
        elif self.kind == "register" or unit.step == 2:
            self._end(unit, "done", now)
        else:
            unit.step, unit.cseq = 2, 3
            self._send(unit, self._in_dialog(unit, "BYE", data), now)

    def _acknowledge(self, unit: Unit, data: bytes, status: int) -> None:
        if status >= 300:
            to = _TO.search(data)
            assert to is not None
            branch = unit.key.decode()
            uri = f"sip:{CALLEE}@{DOMAIN}"
            self._write(self._message(unit, "ACK", uri=uri, to=to[1].decode(), branch=branch))
        else:
            self._write(self._in_dialog(unit, "ACK", data))

    def _in_dialog(self, unit: Unit, method: str, data: bytes) -> bytes:
        to, contact = _TO.search(data), _CONTACT.search(data)
        assert to is not None and contact is not None
        routes = [each.decode() for each in _RECORD.findall(data)]
        more = "".join(f"Route: {each}\r\n" for each in reversed(routes))
        branch = f"{self.prefix}x{unit.number}x{method}"
        return self._message(
            unit, method, uri=contact[1].decode(), to=to[1].decode(), more=more, branch=branch
        )

    def request(self, data: bytes, source: Any) -> None:
        """The callee answers whatever comes, but ACK, with 200."""
        if data.startswith(b"ACK "):
            self.counts["acknowledged"] += 1
            return
        lines = [b"SIP/2.0 200 OK"]
        for line in data.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
            name = line.partition(b":")[0]
            if name in (b"Via", b"From", b"Call-ID", b"CSeq", b"Record-Route"):
                lines.append(line)
            elif name == b"To":
                lines.append(line if b"tag=" in line else line + b";tag=callee")
        host, port = self.callee.getsockname()
        lines.append(f"Contact: <sip:{CALLEE}@{host}:{port}>".encode())
        lines += [b"Content-Length: 0", b"", b""]
        self.callee.sendto(b"\r\n".join(lines), source)

    # --- the loop -----------------------------------------------------------------------------

    def run(self, seconds: float, rate: float) -> dict[str, Any]:
        """Sends for so long, at a rate, or with rate 0 with a window of units under way."""
        self.counts.clear()
        self.latencies = []
        cpu = self._cpu()
        started = now = time.monotonic()
        sent = 0
        behind = 0.0
        while (now := time.monotonic()) < started + seconds:
            if rate:
                due = int((now - started) * rate) - sent
                behind = max(behind, due / rate)
                # Never more than a few at a time, so that answers are read in between.
                for _ in range(min(due, 20)):
                    self.start(now)
                    sent += 1
            else:
                for _ in range(WINDOW - len(self.units)):
                    self.start(now)
            self._turn(now, 0.0005)
        in_time = self.counts["done"]
        cpu = self._cpu() - cpu
        while self.units and (now := time.monotonic()) < started + seconds + PATIENCE:
            self._turn(now, 0.01)
        for unit in list(self.units.values()):
            self._end(unit, "no answer", now)
        latencies = sorted(self.latencies) or [0.0]
        return {
            "seconds": seconds,
            "per_second": in_time / seconds,
            "cpu": cpu / seconds,
            "per_cpu_second": in_time / cpu if cpu else 0.0,
            "p50_ms": 1000 * latencies[len(latencies) // 2],
            "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)],
            "behind_ms": 1000 * behind,
            **self.counts,
        }

    def _cpu(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def _turn(self, now: float, wait: float) -> None:
        ready, _, _ = select.select([self.sock, self.callee], [], [], wait)
        for sock in ready:
            for _ in range(200):
                try:
                    data, source = sock.recvfrom(65535)
                except BlockingIOError:
                    break
                if data.startswith(b"SIP/2.0 "):
                    self.response(data, now)
                else:
                    self.request(data, source)
        while self.timers and self.timers[0][0] <= now:
            _, key, unit = self.timers.popleft()
            if self.units.get(key) is not unit or unit.key != key:
                continue
            unit.retry += 1
            if now >= unit.deadline:
                self._end(unit, "no answer", now)
            elif unit.retry < len(RETRIES):
                self.counts["sent again"] += 1
                self._write(unit.data)
                # Out of order by a little: what matters is that it comes.
                self.timers.append((now + RETRIES[0], key, unit))
            else:
                self.timers.append((unit.deadline, key, unit))

    def register_callee(self) -> None:
        """Makes the callee known to the server."""
        host, port = self.callee.getsockname()
        unit = Unit(len(ACCOUNTS) - 1, time.monotonic())
        uri = f"sip:{DOMAIN}"
        nonce = ""
        self.callee.setblocking(True)
        self.callee.settimeout(10)
        for step in (0, 1):
            unit.step, unit.cseq = step, step + 1
            more = "Expires: 3600\r\n"
            if nonce:
                more += self._credentials(unit, "REGISTER", uri, nonce)
            data = self._message(
                unit, "REGISTER", uri=uri, to=f"<sip:{CALLEE}@{DOMAIN}>", more=more
            )
            user = ACCOUNTS[unit.number % (len(ACCOUNTS) - 1)]
            text = data.decode().replace(f"<sip:{user}@", f"<sip:{CALLEE}@")
            text = text.replace(f'username="{user}"', f'username="{CALLEE}"')
            text = text.replace(f"@{self.own}>", f"@{host}:{port}>")
            if nonce:
                text = self._again(text, uri, nonce)
            self.callee.sendto(text.encode(), self.server)
            answer = self.callee.recv(65535)
            found = _NONCE.search(answer)
            nonce = found[1].decode() if found else ""
        if not answer.startswith(b"SIP/2.0 200"):
            raise SystemExit(f"the callee was not registered: {answer[:80]!r}")
        self.callee.setblocking(False)

    @staticmethod
    def _again(text: str, uri: str, nonce: str) -> str:
        first = hashlib.md5(f"{CALLEE}:{DOMAIN}:{PASSWORD}".encode()).hexdigest()
        second = hashlib.md5(f"REGISTER:{uri}".encode()).hexdigest()
        whole = f"{first}:{nonce}:00000001:c0ffee:auth:{second}"
        response = hashlib.md5(whole.encode()).hexdigest()
        return re.sub(r'response="[^"]*"', f'response="{response}"', text)


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    return made


def _phases(port: int, pid: int, kind: str, seconds: float, results: Any) -> None:
    """What the generator's process does: capacity, twice that, half of it."""
    generator = Generator(port, kind, psutil.Process(pid))
    if kind == "call":
        generator.register_callee()
    generator.run(2.0, 0)
    capacity = generator.run(max(5.0, seconds / 3), 0)
    rate = capacity["per_second"]
    double = generator.run(seconds, 2 * rate)
    time.sleep(1.0)
    half = generator.run(max(5.0, seconds / 3), rate / 2)
    results.put({"capacity": capacity, "double": double, "half": half})


def measure(directory: Path, kind: str, seconds: float, *, control: bool) -> dict[str, Any]:
    """One server, one generator, three phases."""
    ours = Ours(directory, more="" if control else "[limits]\nqueue_milliseconds = 0\n")
    results: Any = multiprocessing.Queue()
    process = multiprocessing.Process(
        target=_phases, args=(ours.port, ours.pid, kind, seconds, results)
    )
    try:
        process.start()
        found: dict[str, Any] = results.get(timeout=4 * seconds + 90)
        process.join(10)
    finally:
        if process.is_alive():
            process.terminate()
            process.join(5)
        ours.stop()
    found["cpu_ratio"] = found["double"]["per_cpu_second"] / found["capacity"]["per_cpu_second"]
    found["ratio"] = found["double"]["per_second"] / found["capacity"]["per_second"]
    return found


def show(kind: str, control: bool, found: dict[str, Any]) -> None:
    """Prints one measurement."""
    print(f"{kind}, control of overload {'on' if control else 'off'}:")
    for name in ("capacity", "double", "half"):
        part = found[name]
        more = {key: value for key, value in sorted(part.items()) if key in COUNTED}
        print(
            f"  {name:8} {part['per_second']:6.0f}/s done with {part['cpu']:4.0%} of a CPU   "
            f"{part['p50_ms']:6.1f} ms (median) {part['p99_ms']:7.1f} ms (p99)"
        )
        print(f"           {', '.join(f'{value} {key}' for key, value in more.items())}")
    print(
        f"  goodput at twice the capacity: {found['ratio']:.2f} of it (goal {GOAL}); "
        f"{found['cpu_ratio']:.2f} for each second of the server's CPU"
    )
    double = found["double"]
    begun = double.get("begun and done", 0) + double.get("begun and failed", 0)
    if begun:
        print(f"  of what it had begun it finished {double['begun and done'] / begun:.2%}")
    behind = found["double"]["behind_ms"]
    if behind > 200:
        print(f"  the generator was {behind:.0f} ms behind: it was a limit too")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--kind", choices=("register", "call", "both"), default="both")
    parser.add_argument("--without", action="store_true", help="also with the control off")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    # Ended by a time limit it must not leave the servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="rcsops-bench-") as name:
        for kind in ("register", "call") if options.kind == "both" else (options.kind,):
            for control in (True, False) if options.without else (True,):
                key = f"{kind}{'' if control else '_without'}"
                result[key] = measure(Path(name) / key, kind, options.seconds, control=control)
                show(kind, control, result[key])
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
