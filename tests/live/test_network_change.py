"""The machine of an agent moves to another network: two network namespaces, and a cable."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rcsops.testing.waiting import wait_until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.feature("a registration follows the machine's own address"),
]

SERVER = "10.77.0.1"
HOMES = ("10.77.0.2", "10.77.0.3")


def ip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True, timeout=10)


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """The names of a server's network and of an agent's, with one cable between them."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    names = tuple(f"rcsops{os.getpid()}{side}" for side in "ab")
    made = []
    try:
        try:
            for name in names:
                ip("netns", "add", name)
                made.append(name)
            near, far = names
            ip(*f"-n {near} link add cable type veth peer name cable netns {far}".split())
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        for name, address in ((near, SERVER), (far, HOMES[0])):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", name, "link", "set", device, "up")
        yield near, far
    finally:
        for name in made:
            ip("netns", "del", name)


class Project:
    """rcsops as a person types it, in one namespace or the other."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        listen = ", ".join(f'"{name}:{SERVER}:5060"' for name in ("udp", "tcp"))
        (directory / "rcsops.toml").write_text(f'domain = "rcs.example"\nlisten = [{listen}]\n')
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RCSOPS_")}
        self._environment = {**kept, "HOME": str(directory)}

    def words(self, namespace: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", namespace, sys.executable, "-m", "rcsops", *words]

    def run(self, namespace: str, *words: str, stdin: str = "") -> str:
        done = subprocess.run(
            self.words(namespace, *words),
            cwd=self.directory,
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout

    def contacts(self, namespace: str) -> list[str]:
        return [each["contact"] for each in json.loads(self.run(namespace, "contacts", "--json"))]

    def chat(self, namespace: str, output: Path, *words: str) -> "subprocess.Popen[str]":
        with output.open("w") as file:
            return subprocess.Popen(
                self.words(namespace, "chat", *words, "--json"),
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=file,
                text=True,
            )


def events(output: Path, name: str) -> list[dict[str, Any]]:
    lines = [line for line in output.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [event for line in lines if (event := json.loads(line))["event"] == name]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_registration_follows(
    namespaces: tuple[str, str], tmp_path: Path, transport: str
) -> None:
    near, far = namespaces
    project = Project(tmp_path / "project")
    project.run(near, "db", "create")
    project.run(near, "user", "add", "bob", "--password-stdin", stdin="secret\n")
    project.run(near, "start")
    output = tmp_path / "bob.jsonl"
    chat = project.chat(far, output, "bob", "--server", SERVER, "--transport", transport)
    try:
        wait_until(lambda: events(output, "registered"), 30, what="bob being registered")
        assert f"@{HOMES[0]}:" in str(project.contacts(near))
        ip("-n", far, "addr", "add", f"{HOMES[1]}/24", "dev", "cable")
        ip("-n", far, "addr", "del", f"{HOMES[0]}/24", "dev", "cable")
        # The kernel takes the second address of a network away with the first, unless told not to.
        ip("-n", far, "addr", "replace", f"{HOMES[1]}/24", "dev", "cable")
        wait_until(
            lambda: len(events(output, "registered")) > 1, 60, what="bob being registered again"
        )
        (lost, *_) = events(output, "registration-lost")
        assert HOMES[1] in lost["reason"], lost
        (contact,) = project.contacts(near)
        assert f"@{HOMES[1]}:" in contact
    finally:
        assert chat.stdin is not None
        chat.stdin.close()
        chat.wait(30)
        project.run(near, "stop")
