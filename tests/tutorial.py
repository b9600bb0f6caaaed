"""A page of docs whose commands are run and whose outputs are compared with what came.

An indented block of a page that begins with ``$ `` is a session: each ``$`` line is typed into bash
in one directory, in the order of the page, and what stands below it is its output. A command of
`rcsops listen` goes on in the background, as in a second terminal, until `rcsops send` is done.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rcsops.testing import free_port, wait_until

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "first-session.md"

# What is another one each time, and what a reader sees instead.
_VARIABLE = [
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"\brport=\d+", "rport=PORT"),
    (r"\bm=message \d+", "m=message PORT"),
    (r"\b\d\d:\d\d:\d\d\b", "CLOCK"),
    # The first arrow of all has no time since the one before; which it is may differ.
    (r" \+\d+(?:\.\d)? (?:ms|s|min)\b", ""),
    (r"\b\d+\.\d{3}\b", "SECONDS"),
    (r"\b\d+\.\d ms\b", "MILLISECONDS"),
    (r"\bpid \d+", "pid PID"),
    (r"\b[a-z0-9]{5}(?:-[a-z0-9]{5}){3}\b", "PASSWORD"),
    (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"sqlite:/\S+", "DATABASE"),
    (r"\(SQLite [\d.]+\)", "(SQLite)"),
    (r"\b(?:z9hG4bK)?[0-9a-f]{16,}(?:\.[0-9a-f]+)?\b", "TOKEN"),
    (r"(?:flow|dlg)=[\w-]+", "TOKEN"),
    (r"x{12,}", "HIDDEN"),
]
_ARROW = re.compile(r" *(\d+) +(?=SECONDS )")


@dataclass
class Command:
    """One typed line; ``first`` and ``last`` are the lines of its output in the page, from 0, the
    second not included."""

    text: str
    expected: list[str]
    first: int
    last: int
    output: str = ""


def commands(page: str) -> Iterator[Command]:
    """The commands of a page."""
    lines = page.split("\n")
    number = 0
    while number < len(lines):
        if not lines[number].startswith("    $ "):
            number += 1
            continue
        end = number + 1
        while end < len(lines) and _in_output(lines, end):
            end += 1
        shown = [line[4:] for line in lines[number + 1 : end]]
        yield Command(lines[number][6:], shown, number + 1, end)
        number = end


def _in_output(lines: list[str], number: int) -> bool:
    line = lines[number]
    if line.startswith("    $ "):
        return False
    # An empty line belongs to the output when an indented one follows.
    after = next((each for each in lines[number:] if each.strip()), "")
    return line.startswith("    ") or (
        not line.strip() and after.startswith("    ") and not after.startswith("    $ ")
    )


def normalised(lines: list[str], *, any_order: bool) -> list[str]:
    """The lines without what is another one each time. The messages of three processes may come
    a little before or after each other: ``any_order`` compares a ladder without its order."""
    result = []
    for line in lines:
        for expression, word in _VARIABLE:
            line = re.sub(expression, word, line)
        if any_order:
            line = _ARROW.sub("", line)
        result.append(re.sub(r"  +", "  ", line).rstrip())
    while result and not result[-1]:
        result.pop()
    return sorted(result) if any_order else result


def expects_any_order(command: Command) -> bool:
    """Whether its output is a ladder of several processes."""
    return command.text.startswith("rcsops trace") and "server.jsonl" in command.text


def run(page: str, directory: Path, port: int = 0) -> list[Command]:
    """Types every command of the page in ``directory``; raises AssertionError when one fails."""
    port = port or free_port()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RCSOPS_", "XDG_", "LC_"))
    }
    environment = kept | {
        "HOME": str(directory),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "TZ": "UTC",
        # A free port in place of 5060.
        "RCSOPS_LISTEN": f"udp:127.0.0.1:{port},tcp:127.0.0.1:{port}",
    }
    found = list(commands(page))
    waiting: list[tuple[Command, subprocess.Popen[str]]] = []
    try:
        for command in found:
            shell = ["bash", "-c", command.text]
            if command.text.startswith("rcsops listen"):
                waiting.append((command, _background(shell, directory, environment)))
                continue
            finished = subprocess.run(
                shell,
                cwd=directory,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            assert finished.returncode == 0, (command.text, finished.stdout)
            command.output = finished.stdout
            if command.text.startswith("rcsops send"):
                for earlier, process in waiting:
                    # Ctrl-C in the second terminal.
                    process.send_signal(signal.SIGINT)
                    assert process.wait(60) == 0, earlier.text
                    earlier.output = (directory / "background").read_text()
    finally:
        for _, process in waiting:
            if process.poll() is None:
                process.kill()
                process.wait()
        stop = ["rcsops", "stop"]
        subprocess.run(stop, cwd=directory, env=environment, capture_output=True, check=False)
    return found


def _background(
    shell: list[str], directory: Path, environment: dict[str, str]
) -> "subprocess.Popen[str]":
    log = directory / "background"
    with log.open("w") as output:
        process = subprocess.Popen(
            shell, cwd=directory, env=environment, stdout=output, stderr=output, text=True
        )
    wait_until(lambda: "registered" in log.read_text(), 60, what="the one who listens")
    return process


def rewritten(page: str, ran: list[Command]) -> str:
    """The page with the outputs that came."""
    lines = page.split("\n")
    for command in reversed(ran):
        output = [f"    {line}".rstrip() for line in command.output.rstrip("\n").split("\n")]
        if command.last > command.first or command.output:
            gap = [""] if command.last > command.first and not lines[command.last - 1] else []
            lines[command.first : command.last] = [*output, *gap]
    return "\n".join(lines)


def write() -> Path:
    """Runs the page and writes it anew; returns the directory of its session."""
    directory = Path(tempfile.mkdtemp(prefix="rcsops-tutorial-"))
    page, port = PAGE.read_text(), free_port()
    text = rewritten(page, run(page, directory, port))
    text = text.replace(str(directory), "/home/you/first").replace(f":{port}", ":5060")
    PAGE.write_text(at_noon(text))
    return directory


def at_noon(text: str) -> str:
    """``text`` with one date and hour in place of those of its making, each as long as it was:
    a page or picture that is made anew must not differ by them."""
    text = re.sub(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", _noon, text)
    text = re.sub(r"(?<![\d:T])\d\d:\d\d:\d\d(?![\d:])", "12:00:00", text)
    return re.sub(r"(?<![\d:])\d\d:\d\d(?![\d:])", "12:00", text)


def _noon(found: "re.Match[str]") -> str:
    return "2026-11-26T12:00:00" + re.sub(r"\d", "0", found[1] or "")
