"""``rcsops`` as a person has it: a process of its own, with a home and a directory of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.cli.chatting import Lab


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Shell:
    """Types ``rcsops …`` in ``directory``."""

    def __init__(self, root: Path, work: str = "work") -> None:
        self.home = root / "home"
        self.directory = root / work
        self.home.mkdir(parents=True)
        self.directory.mkdir()
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RCSOPS_", "XDG_"))
        }
        self.environment = kept | {
            "HOME": str(self.home),
            "TERM": "xterm",
            "NO_COLOR": "1",
            "COLUMNS": "80",
        }

    @property
    def state(self) -> Path:
        """Where a project without rcsops.toml keeps its things."""
        return self.home / ".local" / "state" / "rcsops"

    def __call__(
        self, *words: str, stdin: str = "", limit: float = 60, **environment: str
    ) -> Finished:
        """Runs it with ``stdin`` as a pipe, for ``limit`` seconds at most."""
        done = subprocess.run(
            [sys.executable, "-m", "rcsops", *words],
            cwd=self.directory,
            env=self.environment | environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str, stdin: str = "", **environment: str) -> Finished:
        """The same for what must succeed."""
        done = self(*words, stdin=stdin, **environment)
        assert done.code == 0, done.err
        return done

    def terminal(self, *words: str) -> "pexpect.spawn[str]":
        """Runs it on a pseudo-terminal."""
        return pexpect.spawn(
            sys.executable,
            ["-m", "rcsops", *words],
            cwd=str(self.directory),
            env=self.environment,
            encoding="utf-8",
            timeout=30,
        )


@pytest.fixture
def rcsops(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One server for the chats of a module."""
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab
