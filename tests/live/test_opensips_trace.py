"""`rcsops trace --follow` on a running OpenSIPS, which sends copies by HEP while it is asked to."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rcsops.testing import free_port, wait_until
from tests.cli.test_trace_live import Follower, following
from tests.live.test_opensips_engine import Lab, lab

__all__ = ["lab"]

pytestmark = [pytest.mark.timeout(180), pytest.mark.feature("trace --follow")]


@pytest.fixture
def hep(lab: Lab) -> Lab:
    """A lab whose OpenSIPS may be followed."""
    missing = {"proto_hep", "tracer"} - {*lab.installation.modules}
    if missing:
        pytest.skip("built without them: rcsops install --modules proto_hep,tracer")
    with (lab.directory / "rcsops.toml").open("a") as file:
        file.write(f'[trace]\nhep = "127.0.0.1:{free_port()}"\n')
    for name in ("alex", "bob"):
        lab.ok("user", "add", name, "--generate")
    lab.ok("start")
    return lab


def tracing(lab: Lab) -> str:
    return str(lab.json("mi", "tracer:trace")["global"])


def talk(lab: Lab) -> None:
    """bob listens, and alex sends him a message in a session."""
    command = [sys.executable, "-m", "rcsops", "listen", "bob", "--count", "1"]
    with subprocess.Popen(
        command, cwd=lab.directory, env=lab.environment, stderr=subprocess.PIPE, text=True
    ) as bob:
        assert bob.stderr is not None
        assert "registered" in bob.stderr.readline()
        lab.ok("send", "alex", "bob", "hello", "--session", "--wait", "delivered")
        assert bob.wait(60) == 0


def seen(follower: Follower) -> list[dict[str, Any]]:
    """What it has printed in whole lines."""
    whole, _, _ = follower.printed.rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def test_the_running_server(hep: Lab, tmp_path: Path) -> None:
    with following(tmp_path, "--follow", "--json", project=hep.directory) as follower:
        follower.ready("following the server")
        assert tracing(hep) == "on"
        talk(hep)
        # Either may hang up first, or both at once: what counts is that the server passes it on.
        wait_until(
            lambda: any(
                each.get("method") == "BYE" and each["from"] == "server" for each in seen(follower)
            ),
            30,
            what="the copy of a BYE that the server passes on",
        )
        assert follower.end() == 0
    # Nobody watches any more.
    assert tracing(hep) == "off"
    assert 'nonce="' not in follower.printed.replace('nonce="x', "")
    ladder = seen(follower)
    sent = Counter((each["from"], each["to"], each.get("method")) for each in ladder)
    assert sent["alex", "server", "REGISTER"] >= 2
    assert sent["bob", "server", "REGISTER"] >= 2
    assert sent["alex", "server", "INVITE"] == 2
    assert sent["server", "bob", "INVITE"] == 1
    # It may come to its receiver by a connection of the server's own.
    assert sent["server", "bob", "BYE"] or sent["server", "alex", "BYE"]
    answers = Counter(
        (each["from"], each["to"], each["status"], each["cseq_method"])
        for each in ladder
        if "status" in each
    )
    assert answers["server", "alex", 401, "REGISTER"] >= 1
    assert answers["server", "alex", 200, "REGISTER"] >= 1
    assert answers["server", "alex", 407, "INVITE"] == 1
    assert answers["bob", "server", 200, "INVITE"] == 1
    assert answers["server", "alex", 200, "INVITE"] == 1


def test_it_ends_with_the_server_and_there_is_one_at_a_time(hep: Lab, tmp_path: Path) -> None:
    with following(tmp_path, "--follow", project=hep.directory) as follower:
        follower.ready("following the server")
        hep.ok("stop")
        assert follower.process.wait(30) == 0
    assert "the server has ended" in follower.said
    hep.ok("start")
    assert tracing(hep) == "off"
    with following(tmp_path / "2", "--follow", project=hep.directory) as follower:
        follower.ready("following the server")
        refused = hep("trace", "--follow")
        assert refused.returncode == 2
        assert "cannot listen at udp:127.0.0.1:" in refused.stderr
        assert follower.end() == 0


def test_one_that_may_not_be_followed(lab: Lab) -> None:
    refused = lab("trace", "--follow")
    assert refused.returncode == 2
    assert re.search(r'^hint: write hep = "127\.0\.0\.1:9060" into \[trace\]', refused.stderr, re.M)
    lab.ok("start")
    with (lab.directory / "rcsops.toml").open("a") as file:
        file.write(f'[trace]\nhep = "127.0.0.1:{free_port()}"\n')
    if {"proto_hep", "tracer"} <= {*lab.installation.modules}:
        refused = lab("trace", "--follow")
        assert refused.returncode == 1
        assert "rcsops restart" in refused.stderr
    else:
        refused = lab("restart")
        assert refused.returncode == 1
        assert "lacks: proto_hep, tracer" in refused.stderr
        assert "rcsops install" in refused.stderr
