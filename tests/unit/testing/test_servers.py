"""The controllers of real servers start them, talk to them and end them."""

import os
import shutil
from pathlib import Path

import psutil
import pytest

from rcsops.errors import EngineError
from rcsops.testing import EmbeddedServer, KamailioServer, SippRunner
from rcsops.testing.kamailio import answers_options

OPTIONS = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="OPTIONS">
  <send retrans="500"><![CDATA[
    OPTIONS sip:[field0]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    From: <sip:probe@[local_ip]>;tag=[call_number]
    To: <sip:[remote_ip]:[remote_port]>
    Call-ID: [call_id]
    CSeq: 1 OPTIONS
    Max-Forwards: 5
    Content-Length: 0

  ]]></send>
  <recv response="{status}" timeout="3000"/>
</scenario>
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "options.xml"
    path.write_text(OPTIONS.replace("[field0]@", "").format(status=200))
    return path


def test_the_embedded_server_from_start_to_stop(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "project", {"alex": "the password of alex"})
    with server:
        assert answers_options(server.host, server.port, wait=2)
        assert [user["user"] for user in server.json("user", "list")["users"]] == [
            "alex@rcs.example"
        ]
        pid = server.json("status")["pid"]
        assert psutil.pid_exists(pid)
        with pytest.raises(EngineError, match="rcsops user show nobody: exit code 1"):
            server.command("user", "show", "nobody")
    assert not answers_options(server.host, server.port)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"


@pytest.mark.skipif(bool(SippRunner.missing()), reason=SippRunner.missing())
def test_sipp_counts_its_calls(tmp_path: Path, scenario: Path) -> None:
    runner = SippRunner(tmp_path)
    with EmbeddedServer(tmp_path / "project") as server:
        good = runner.run(scenario, server.address, calls=5, rate=50)
        assert (good.exit_code, good.successful, good.failed) == (0, 5, 0)
        assert good.seconds > 0
        scenario.write_text(scenario.read_text().replace('"200"', '"486"'))
        bad = runner.run(scenario, server.address, calls=2, rate=50, transport="tcp")
        assert (bad.successful, bad.failed) == (0, 2)
        assert bad.exit_code != 0
        assert "486" in bad.errors


def test_what_is_not_installed_is_named(
    tmp_path: Path, scenario: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    assert "apt-get install sip-tester" in SippRunner.missing()
    assert "apt-get install kamailio" in KamailioServer.missing()
    with pytest.raises(EngineError, match="sipp is not installed"):
        SippRunner(tmp_path).run(scenario, "127.0.0.1:5060")
    with pytest.raises(EngineError, match="kamailio is not installed"):
        KamailioServer(tmp_path).start()
    assert os.listdir(tmp_path) == ["options.xml"]
