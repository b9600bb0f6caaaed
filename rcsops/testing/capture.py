"""tshark as a second opinion: what was on the wire, and what it makes of that."""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rcsops.errors import EngineError
from rcsops.testing.process import ManagedProcess
from rcsops.testing.waiting import free_port, wait_until

# Transaction-id, then a method or a status with its comment (RFC 4975 §9).
_MSRP_START = re.compile(r"MSRP [A-Za-z0-9.+%=-]{4,32} (?:[A-Z]+|[0-9]{3}(?: .*)?)")


class TsharkUnavailable(EngineError):
    """tshark is not installed, or may not capture here."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One packet (or the packet that completes a reassembled message) as tshark decodes it.

    ``sip`` and ``msrp`` are the start lines in it, ``sdp`` says how many bodies are SDP,
    ``malformed`` what tshark could not decode.
    """

    number: int
    time: float
    sip: tuple[str, ...]
    msrp: tuple[str, ...]
    sdp: int
    malformed: tuple[str, ...]


class Capture:
    """Captures what passes on the loopback interface, from entering until leaving.

    Raises :class:`TsharkUnavailable` with the reason where that is not possible. ``file`` is the
    capture; :meth:`frames` decodes it afterwards.
    """

    def __init__(self, directory: Path, *, interface: str = "lo") -> None:
        self.file = directory / "capture.pcapng"
        self._log = directory / "capture.log"
        self._interface = interface
        self._process: ManagedProcess | None = None
        self._marker = free_port()

    def __enter__(self) -> "Capture":
        dumpcap = shutil.which("dumpcap")
        if dumpcap is None or shutil.which("tshark") is None:
            raise TsharkUnavailable("tshark is not installed (apt-get install tshark)")
        command = [dumpcap, "-i", self._interface, "-f", "tcp or udp", "-w", str(self.file), "-q"]
        # A large buffer: what the kernel drops would look like a message that was never sent.
        self._process = ManagedProcess(
            [*command, "-B", "16"],
            log=self._log,
            ready=self._captures,
            timeout=15,
        )
        try:
            self._process.start()
        except EngineError as error:
            raise TsharkUnavailable(f"capturing on {self._interface}: {error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if error is None:
                # What came before this mark has been written when the mark has.
                mark = secrets.token_bytes(16)
                wait_until(lambda: self._marked(mark), what="the end of the capture")
        finally:
            process.stop(number=signal.SIGINT)

    def _captures(self) -> bool:
        return self._marked(secrets.token_bytes(16))

    def _marked(self, mark: bytes) -> bool:
        """Sends a packet with ``mark`` in it; whether one is in the file."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            try:
                sender.sendto(b"\0" * 8 + mark, ("127.0.0.1", self._marker))
            except OSError:
                return False
        try:
            wait_until(lambda: mark in self.file.read_bytes(), 1.0)
        except (OSError, TimeoutError):
            return False
        return True

    def frames(
        self, *, sip_ports: Iterable[int] = (), msrp_ports: Iterable[int] = ()
    ) -> list[Frame]:
        """The packets with SIP or MSRP in them, in order; the ports say which is which.

        Packets of other ports are left out: other tests may be talking too.
        """
        options: list[str] = []
        sip, msrp = sorted(set(sip_ports)), sorted(set(msrp_ports))
        for port in sip:
            options += ["-d", f"udp.port=={port},sip", "-d", f"tcp.port=={port},sip"]
        for port in msrp:
            options += ["-d", f"tcp.port=={port},msrp"]
        ours = "{" + ", ".join(str(port) for port in (*sip, *msrp)) + "}"
        wanted = f"(udp.port in {ours} or tcp.port in {ours}) and (sip or msrp or _ws.malformed)"
        finished = subprocess.run(  # noqa: S603
            [
                shutil.which("tshark") or "tshark",
                *("-n", "-r", str(self.file), "-2", "-R", wanted),
                *options,
                *("-T", "json", "--no-duplicate-keys"),
            ],
            capture_output=True,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            check=False,
        )
        if finished.returncode != 0:
            raise EngineError(f"tshark: {finished.stderr.decode('utf-8', 'replace')[-1000:]}")
        packets = json.loads(finished.stdout.decode("utf-8", "replace") or "[]")
        return [_frame(packet["_source"]["layers"]) for packet in packets]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _start_lines(layers: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    lines: list[str] = []
    for layer in _listed(layers):
        if isinstance(layer, dict):
            found = (str(line) for name in names for line in _listed(layer.get(name)))
            lines.append(next(found, ""))
    return tuple(lines)


def _msrp_start_lines(layers: dict[str, Any]) -> tuple[str, ...]:
    """All of them: tshark takes what comes in one segment for one message, the rest for text."""
    raw = layers.get("Message Session Relay Protocol(as raw text)")
    lines = [line.removesuffix("\\r\\n") for part in _listed(raw) for line in part]
    found = tuple(line for line in lines if _MSRP_START.fullmatch(line))
    names = ("msrp.request.line", "msrp.response.line", "msrp.status.line")
    return found or _start_lines(layers.get("msrp"), names)


def _malformed(tree: Any) -> list[str]:
    """Everything that tshark marks as malformed, however deep."""
    found: list[str] = []
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name.startswith("_ws.malformed"):
                found.append(str(value))
            found += _malformed(value)
    elif isinstance(tree, list):
        for value in tree:
            found += _malformed(value)
    return found


def _count(tree: Any, wanted: str) -> int:
    if isinstance(tree, dict):
        return sum(
            len(_listed(value)) if name == wanted else _count(value, wanted)
            for name, value in tree.items()
        )
    return sum(_count(value, wanted) for value in tree) if isinstance(tree, list) else 0


def _frame(layers: dict[str, Any]) -> Frame:
    frame = layers["frame"]
    return Frame(
        number=int(frame["frame.number"]),
        time=_epoch(str(frame.get("frame.time_epoch", "0"))),
        sip=_start_lines(layers.get("sip"), ("sip.Request-Line", "sip.Status-Line")),
        msrp=_msrp_start_lines(layers),
        sdp=_count(layers, "sdp"),
        malformed=tuple(_malformed(layers)),
    )


def _epoch(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
