"""`rcsops doctor` on a real OpenSIPS: what is broken there, and what its command mends."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from rcsops.testing import wait_until
from tests.live.test_opensips_engine import Lab, lab

__all__ = ["lab"]

pytestmark = [pytest.mark.timeout(240), pytest.mark.feature("doctor")]


def the(lab: Lab, subject: str, level: str) -> dict[str, Any]:
    document = lab.json("doctor")
    found = [each for each in document["findings"] if each["subject"] == subject]
    assert [each["level"] for each in found] == [level], document
    return dict(found[0])


def mend(lab: Lab, command: str) -> None:
    """Types what doctor says."""
    assert command.startswith("rcsops ")
    lab.ok(*command.partition(" (")[0].partition(";")[0].split()[1:])


def test_a_server_that_is_well_killed_and_cut_off(lab: Lab) -> None:
    lab.ok("user", "add", "alex", "--generate")
    lab.ok("start")
    for subject in ("server", "ports", "database", "configuration", "accounts", "credentials"):
        the(lab, subject, "ok")
    ended = lab.installation.version.startswith("3.0")
    found = the(lab, "release", "warning" if ended else "ok")
    assert lab.installation.version in found["text"]
    if ended:
        assert "support ended" in found["text"] and found["mend"].startswith("rcsops install ")
    # Somebody tidied up.
    fifo = lab.run / "fifo"
    fifo.unlink()
    found = the(lab, "server", "problem")
    assert f"nobody answers at {fifo}" in found["text"]
    mend(lab, found["mend"])
    the(lab, "server", "ok")
    # The main process alone, as the kernel does when memory is short.
    os.kill(lab.pid, signal.SIGKILL)
    found = the(lab, "server", "problem")
    assert "its main process was killed" in found["text"]
    mend(lab, found["mend"])
    the(lab, "server", "ok")
    # All at once: what it had open is left.
    for pid in lab.processes:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not lab.processes, what="the end of all processes")
    found = the(lab, "server", "problem")
    assert "without cleaning up" in found["text"]
    assert "fifo" in found["text"] and "pid" in found["text"]
    mend(lab, found["mend"])
    the(lab, "server", "ok")


def test_a_port_a_configuration_and_tables_that_stop_a_start(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", lab.port)):
        found = the(lab, "ports", "problem")
        assert f"pid {os.getpid()}" in found["text"]
        refused = lab("start")
        assert refused.returncode == 1 and f"pid {os.getpid()}" in refused.stderr
    the(lab, "ports", "ok")
    lab.ok("start")
    lab.ok("stop")
    (path,) = lab.directory.glob(".rcsops/**/opensips.cfg")
    good = Path(path).read_text("utf-8")
    path.write_text(good.replace("route {", "route {\n\tno_such_function();\n", 1), "utf-8")
    # OpenSIPS itself says so.
    found = the(lab, "configuration", "problem")
    assert "no_such_function" in found["text"]
    path.write_text(good, "utf-8")
    the(lab, "configuration", "ok")
    if lab.file is not None:
        import sqlite3

        with sqlite3.connect(lab.file) as connection:
            connection.execute("UPDATE version SET table_version = 1 WHERE table_name = 'location'")
        found = the(lab, "database", "problem")
        assert "location" in found["text"] and found["mend"].startswith("rcsops db ")
        assert lab("start").returncode == 1
