"""``rcsops doctor``: each cause is brought about for real, and the answer read."""

import datetime
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rcsops.opensips.releases import minimal_modules
from rcsops.operations.certs_make import Names, make_authority, make_certificate
from rcsops.server.run_files import RunFiles
from rcsops.settings import Project
from rcsops.sip.digest import hash_a1
from rcsops.testing import free_port
from tests.cli.conftest import Shell

pytestmark = pytest.mark.timeout(120)

REPOSITORY = Path(__file__).parents[2]
HEADERS = Path("/usr/include/openssl")
FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
Finding = dict[str, Any]


@pytest.fixture
def project(rcsops: Shell) -> Iterator[Shell]:
    """A project with a user, at a port of its own; its server ends with the test."""
    port = free_port()
    listen = ("--listen", f"udp:127.0.0.1:{port}", "--listen", f"tcp:127.0.0.1:{port}")
    rcsops.ok("init", "--yes", *listen)
    rcsops.ok("db", "create")
    rcsops.ok("user", "add", "bob", "--password-stdin", stdin="secret of bob\n")
    yield rcsops
    rcsops("stop")


def findings(shell: Shell, *, before: tuple[str, ...] = (), **environment: str) -> list[Finding]:
    """What it finds, with what it printed for machines; ``before`` stands before the command."""
    command = [*before, sys.executable, "-m", "rcsops", "doctor", "--json"]
    done = subprocess.run(
        command,
        cwd=shell.directory,
        env=shell.environment | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return read(done)


def read(done: "subprocess.CompletedProcess[str]") -> list[Finding]:
    import json

    assert "Traceback" not in done.stderr
    answer = json.loads(done.stdout)
    found: list[Finding] = answer["findings"]
    assert answer["problems"] == sum(each["level"] == "problem" for each in found)
    assert done.returncode == (1 if answer["problems"] else 0)
    return found


def the(found: list[Finding], subject: str, level: str) -> Finding:
    fitting = [each for each in found if (each["subject"], each["level"]) == (subject, level)]
    assert fitting, f"no {level} about {subject} in {found}"
    return fitting[0]


def change(shell: Shell, old: str, new: str) -> None:
    path = shell.directory / "rcsops.toml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def database(shell: Shell) -> Path:
    return shell.directory / ".rcsops" / "rcsops.db"


# --- nothing is wrong --------------------------------------------------------------------------


def test_a_project_that_is_well(project: Shell) -> None:
    project.ok("start")
    done = project.ok("doctor", "--all")
    assert "server: it runs, pid" in done.out
    assert re.search(r"\d+ things looked at: nothing is wrong", done.out)
    assert "problem" not in done.out
    # What is well is not worth a line otherwise.
    assert "ok " not in project.ok("doctor").out


# --- settings, machine -------------------------------------------------------------------------


def test_settings_that_cannot_be_read(project: Shell) -> None:
    (project.directory / "rcsops.toml").write_text("listen = [\n")
    (only,) = findings(project)
    assert (only["subject"], only["level"]) == ("settings", "problem")
    assert "rcsops.toml" in only["text"]


def test_a_package_that_is_missing(project: Shell, tmp_path: Path) -> None:
    packages = Path(sysconfig.get_paths()["purelib"])
    for distribution, module, setting, said in (
        ("qrcode", "", "", ""),
        ("dnspython", "", "", f"{sys.executable} -m pip install 'dnspython>="),
        (
            "mysqlclient",
            "MySQLdb",
            '\n[database]\nurl = "mysql://a@127.0.0.1:1/b"\n',
            f"{sys.executable} -m pip install mysqlclient ",
        ),
    ):
        shadow = tmp_path / distribution
        shadow.mkdir()
        for each in packages.iterdir():
            name = each.name.lower()
            if name != module.lower() and not name.startswith(f"{distribution}-"):
                (shadow / each.name).symlink_to(each)
        if setting:
            path = project.directory / "rcsops.toml"
            text = path.read_text("utf-8").replace("\n[database]\n", setting, 1)
            path.write_text(text, "utf-8")
        found = with_packages(project, shadow)
        if not said:
            the(found, "python", "ok")
            continue
        problem = the(found, "python", "problem")
        assert distribution in problem["text"] and said in problem["mend"]


def test_a_package_that_is_too_old(project: Shell, tmp_path: Path) -> None:
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    for each in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if each.name.startswith("dnspython-"):
            shutil.copytree(each, shadow / each.name)
            metadata = shadow / each.name / "METADATA"
            text = re.sub(r"(?m)^Version: .*", "Version: 2.5.9", metadata.read_text("utf-8"))
            metadata.write_text(text, "utf-8")
        else:
            (shadow / each.name).symlink_to(each)
    problem = the(with_packages(project, shadow), "python", "problem")
    assert "dnspython (2.5.9, not 2.6 or later)" in problem["text"]
    assert "-m pip install 'dnspython>=2.6'" in problem["mend"]


def with_packages(project: Shell, packages: Path) -> list[Finding]:
    """What is found where these packages are the ones that are installed."""
    program = (
        f"import sys; sys.path[:0] = [{str(packages)!r}, {str(REPOSITORY)!r}]; "
        "from rcsops.cli.main import main; main(['doctor', '--json'])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=project.directory,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return read(done)


def test_no_compiler_and_no_headers(project: Shell) -> None:
    found = findings(project, RCSOPS_ENGINE="opensips", PATH="/nonexistent")
    missing = the(found, "compiler", "problem")
    assert "gcc" in missing["text"] and "bison" in missing["text"]
    assert missing["mend"].startswith(("sudo apt-get", "apt-get"))
    assert "gcc" in missing["mend"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a directory")
@pytest.mark.skipif(not HEADERS.is_dir(), reason="libssl-dev is not installed")
def test_headers_that_are_missing(project: Shell) -> None:
    secure(project)
    change(project, 'engine = "embedded"', 'engine = "opensips"')
    there = [each for each in findings(project) if each["subject"] == "compiler"]
    assert not any("libssl-dev" in each["text"] for each in there)
    hide = ("unshare", "-m", "sh", "-c", f'mount -t tmpfs tmpfs {HEADERS} && exec "$@"', "sh")
    found = the(findings(project, before=hide), "compiler", "problem")
    assert "libssl-dev" in found["text"] and "libssl-dev" in found["mend"]


def test_too_few_files(project: Shell) -> None:
    before = ("sh", "-c", 'ulimit -n 200; exec "$@"', "sh")
    found = the(findings(project, before=before), "limits", "warning")
    assert "200 files" in found["text"]
    assert found["mend"].startswith("ulimit -n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_full(project: Shell) -> None:
    state = project.directory / ".rcsops"
    script = f'mount -t tmpfs -o size=2M tmpfs {state} && exec "$@"'
    found = the(
        findings(project, before=("unshare", "-m", "sh", "-c", script, "sh")), "disk", "problem"
    )
    assert str(state) in found["text"]


def test_a_clock_that_was_set_back(project: Shell) -> None:
    ahead = time.time() + 86400
    os.utime(database(project), (ahead, ahead))
    found = the(findings(project), "clock", "problem")
    assert "set back" in found["text"]
    assert "ntp" in found["mend"]


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not here: apt-get install faketime")
def test_a_clock_that_goes_wrong(project: Shell) -> None:
    faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    found = the(findings(project, FAKETIME="-1d", **faked), "clock", "problem")
    assert "set back" in found["text"]
    found = the(findings(project, FAKETIME="@2001-02-03 04:05:06", **faked), "clock", "problem")
    assert "2001-02-0" in found["text"] and "ntp" in found["mend"]
    the(findings(project, FAKETIME="+0", **faked), "clock", "ok")


def test_secrets_that_others_may_read(project: Shell) -> None:
    path = project.directory / ".rcsops" / "credentials.json"
    path.chmod(0o644)
    found = the(findings(project), "secrets", "problem")
    assert found["mend"] == f"chmod 600 {path}"
    subprocess.run(found["mend"].split(), check=True)
    the(findings(project), "secrets", "ok")


def test_a_project_that_is_closed_to_us(project: Shell) -> None:
    # In a namespace of its own root is root no more, and yet the owner of its files.
    alone = ("unshare", "-U", "sh", "-c", 'exec "$@"', "sh")
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    the(findings(project, before=alone), "secrets", "ok")
    state = project.directory / ".rcsops"
    state.chmod(0)
    try:
        found = the(findings(project, before=alone), "secrets", "problem")
        assert f"{state} is closed to you" in found["text"]
        assert found["mend"] == f"chmod 700 {state}"
        kept = the(findings(project, before=alone), "credentials", "problem")
        assert "remove" not in kept["mend"] and "owner" in kept["mend"]
    finally:
        state.chmod(0o700)


# --- database, accounts ------------------------------------------------------------------------


def test_no_database_yet(rcsops: Shell) -> None:
    rcsops.ok("init", "--yes")
    found = the(findings(rcsops), "database", "problem")
    assert "rcsops db create" in found["mend"]


def test_a_damaged_database(project: Shell) -> None:
    database(project).write_bytes(b"this is no database" * 1000)
    found = the(findings(project), "database", "problem")
    assert found["mend"]


def test_a_table_that_is_missing_or_of_another_version(project: Shell) -> None:
    with sqlite3.connect(database(project)) as connection:
        connection.execute("UPDATE version SET table_version = 3 WHERE table_name = 'location'")
    found = the(findings(project), "database", "problem")
    assert "location" in found["text"] and found["mend"].startswith("rcsops db ")


def test_an_account_that_lacks_a_hash(project: Shell) -> None:
    with sqlite3.connect(database(project)) as connection:
        connection.execute("UPDATE subscriber SET ha1_sha256 = ''")
    found = the(findings(project), "accounts", "warning")
    assert "SHA-256" in found["text"] and "rcsops user passwd" in found["mend"]


def test_a_database_server_that_is_not_reached(project: Shell) -> None:
    url = f"mysql://opensips:pw@127.0.0.1:{free_port()}/opensips"
    found = the(findings(project, RCSOPS_DATABASE_URL=url), "database", "problem")
    assert "pw@" not in found["text"] and found["mend"]


def test_a_password_that_was_changed_elsewhere_and_an_account_that_is_gone(project: Shell) -> None:
    changed = hash_a1("bob", "rcs.example", "another", "SHA-256")
    with sqlite3.connect(database(project)) as connection:
        connection.execute("UPDATE subscriber SET ha1_sha256 = ?", (changed,))
    found = the(findings(project), "credentials", "problem")
    assert found["mend"] == "rcsops user passwd bob"
    project.ok("user", "passwd", "bob", "--password-stdin", stdin="another\n")
    the(findings(project), "credentials", "ok")
    with sqlite3.connect(database(project)) as connection:
        connection.execute("DELETE FROM subscriber")
    assert the(findings(project), "credentials", "problem")["mend"] == "rcsops user add bob"


# --- certificates ------------------------------------------------------------------------------


def secure(shell: Shell) -> None:
    change(shell, "listen = [", f'listen = ["tls:127.0.0.1:{free_port()}", ')


def put(shell: Shell, *, start: int, days: int, name: str = "rcs.example") -> None:
    """A certificate that begins ``start`` days from now."""
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=start)
    authority = make_authority("of the tests", now=now, days=days)
    names = Names(uris=(f"sip:{name}",), hosts=(name,))
    pair = make_certificate(authority, name, names, now=now, days=days)
    directory = shell.directory / ".rcsops" / "tls"
    (directory / "server.pem").write_bytes(pair.certificate_pem)
    (directory / "server-key.pem").write_bytes(pair.key_pem)


def test_certificates_of_every_kind(project: Shell) -> None:
    secure(project)
    found = the(findings(project), "certificates", "problem")
    assert found["mend"] == "rcsops certs"
    project.ok("certs")
    the(findings(project), "certificates", "ok")
    put(project, start=-30, days=20)
    found = the(findings(project), "certificates", "problem")
    assert "expired" in found["text"] and found["mend"] == "rcsops certs --renew"
    put(project, start=5, days=60)
    assert "not valid before" in the(findings(project), "certificates", "problem")["text"]
    put(project, start=-1, days=10)
    assert "expires in" in the(findings(project), "certificates", "warning")["text"]
    put(project, start=-1, days=90, name="other.example")
    found = the(findings(project), "certificates", "warning")
    assert "rcs.example" in found["text"] and "--name rcs.example" in found["mend"]
    key = project.directory / ".rcsops" / "tls" / "server-key.pem"
    shutil.copy(project.directory / ".rcsops" / "tls" / "ca-key.pem", key)
    assert "is not the key of" in the(findings(project), "certificates", "problem")["text"]
    key.write_text("nothing")
    the(findings(project), "certificates", "problem")
    project.ok("certs", "--renew")
    the(findings(project), "certificates", "ok")


# --- server, ports, names ----------------------------------------------------------------------


def test_a_server_that_was_killed_leaves_files(project: Shell) -> None:
    project.ok("start")
    os.kill(project.ok("status", "--json").json["pid"], signal.SIGKILL)
    found = the(findings(project), "server", "problem")
    assert "without cleaning up" in found["text"] and "fifo" in found["text"]
    assert found["mend"].startswith("rcsops start")
    project.ok("start")
    the(findings(project), "server", "ok")


def test_a_server_that_does_not_answer(project: Shell) -> None:
    project.ok("start")
    pid = project.ok("status", "--json").json["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        found = the(findings(project), "server", "problem")
        assert "management interface" in found["text"] and "does not answer" in found["text"]
        assert "rcsops restart" in found["mend"]
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_management_interface_that_was_removed(project: Shell) -> None:
    project.ok("start")
    fifo = RunFiles(Project.find(project.directory).run_dir).fifo
    fifo.unlink()
    found = the(findings(project), "server", "problem")
    assert f"nobody answers at {fifo}" in found["text"]
    assert found["mend"] == "rcsops restart"
    project.ok("restart")
    the(findings(project), "server", "ok")


def test_a_port_that_another_project_has(project: Shell, tmp_path: Path) -> None:
    project.ok("start")
    other = Shell(tmp_path / "other", work="the lab")
    shutil.copy(project.directory / "rcsops.toml", other.directory)
    other.ok("db", "create")
    found = the(findings(other), "ports", "problem")
    assert f"the server of the project {project.directory} (pid " in found["text"]
    command, _, _ = found["mend"].removeprefix("end it: ").partition(",")
    assert command == f"rcsops -C {project.directory} stop"
    refused = other("start")
    assert refused.code == 1 and f"hint: end it: {command}, or" in refused.err
    other.ok(*shlex.split(command)[1:])
    other.ok("start")
    try:
        # A name that the shell would take apart is quoted.
        mend = the(findings(project), "ports", "problem")["mend"]
        assert shlex.split(mend.partition(",")[0])[-2:] == [str(other.directory), "stop"]
    finally:
        other.ok("stop")


def test_a_content_server_that_does_not_run(project: Shell) -> None:
    port = free_port()
    change(project, '# listen = ""', f'listen = "http:127.0.0.1:{port}"')
    the(findings(project), "content", "note")
    with socket.create_server(("127.0.0.1", port)):
        found = the(findings(project), "content", "problem")
        assert f"pid {os.getpid()}" in found["text"]
        assert "`content.listen`" in found["mend"]
        project("start")
        again = the(findings(project), "content", "problem")
        assert again["text"] == found["text"] and again["mend"].endswith(", then rcsops restart")
    found = the(findings(project), "content", "problem")
    assert "does not run; its last error: cannot listen at" in found["text"]
    assert found["mend"] == "rcsops restart"
    project.ok("restart")
    the(findings(project), "content", "ok")


def test_a_content_server_that_has_no_certificate(project: Shell) -> None:
    change(project, '# listen = ""', f'listen = "https:127.0.0.1:{free_port()}"')
    found = the(findings(project), "certificates", "problem")
    assert "https:127.0.0.1" in found["text"] and found["mend"] == "rcsops certs"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_another_has(project: Shell, kind: socket.SocketKind) -> None:
    text = (project.directory / "rcsops.toml").read_text("utf-8")
    match = re.search(r"udp:127\.0\.0\.1:(\d+)", text)
    assert match is not None
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", int(match[1])))
        if kind == socket.SOCK_STREAM:
            other.listen()
        found = the(findings(project), "ports", "problem")
    assert f"pid {os.getpid()}" in found["text"]
    assert "another port" in found["mend"]


def test_the_port_of_mi_over_http_that_another_has(project: Shell) -> None:
    settings = {
        "RCSOPS_ENGINE": "opensips",
        "RCSOPS_DATABASE_URL": "sqlite:///.rcsops/rcsops.db",
        "RCSOPS_MI_TRANSPORT": "http",
    }
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = the(
            findings(project, RCSOPS_MI_HTTP=f"127.0.0.1:{port}", **settings), "ports", "problem"
        )
        assert f"tcp:127.0.0.1:{port}" in found["text"] and f"pid {os.getpid()}" in found["text"]
        assert "`mi.http`" in found["mend"]
    the(findings(project, RCSOPS_MI_HTTP=f"127.0.0.1:{port}", **settings), "ports", "ok")


def test_an_address_that_is_not_this_machines(project: Shell) -> None:
    change(project, "listen = [", 'listen = ["udp:192.0.2.77:5060", ')
    found = the(findings(project), "ports", "problem")
    assert "no address 192.0.2.77" in found["text"] and "127.0.0.1" in found["text"]


def test_a_server_that_nobody_finds(project: Shell) -> None:
    found = findings(project, RCSOPS_AGENT_SERVER="nowhere.invalid")
    wrong = the(found, "dns", "problem")
    assert "nowhere.invalid" in wrong["text"] and "records" in wrong["mend"]
    the(found, "credentials", "note")


def test_who_can_reach_it(project: Shell) -> None:
    found = the(findings(project), "reach", "note")
    assert "loopback" in found["text"] and found["mend"].startswith("to open it to a network:")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network of its own")
def test_who_can_reach_it_from_behind_a_nat(project: Shell) -> None:
    def at(listen: str, *addresses: str) -> Finding:
        """What is found on a machine that has these addresses."""
        script = "ip link set lo up; " + "".join(f"ip addr add {a} dev lo; " for a in addresses)
        before = ("unshare", "-n", "sh", "-c", f'{script} exec "$@"', "sh")
        found = findings(project, before=before, RCSOPS_LISTEN=listen)
        (reach,) = [each for each in found if each["subject"] == "reach"]
        return reach

    for listen in ("udp:192.168.7.7:5060", "udp:0.0.0.0:5060"):
        found = at(listen, "192.168.7.7/24")
        assert found["level"] == "warning"
        assert "(192.168.7.7)" in found["text"] and "NAT" in found["text"]
        assert "forward the ports" in found["mend"]
    assert at("udp:8.8.4.4:5060", "8.8.4.4/32", "192.168.7.7/24")["level"] == "ok"
    assert at("udp:0.0.0.0:5060", "8.8.4.4/32", "192.168.7.7/24")["level"] == "ok"


# --- OpenSIPS ----------------------------------------------------------------------------------


def install(project: Shell) -> Path:
    """Something in the place of OpenSIPS 3.0.2 that tells its version, and finds no fault."""
    binary = project.directory / ".rcsops" / "opensips" / "3.0.2" / "sbin" / "opensips"
    modules = binary.parents[1] / "lib64" / "opensips" / "modules"
    for directory in (binary.parent, modules):
        directory.mkdir(parents=True, exist_ok=True)
    for name in minimal_modules((3, 0)):
        (modules / f"{name}.so").write_bytes(b"")
    binary.write_text("#!/bin/sh\necho 'version: opensips 3.0.2 (x86_64/linux)'\n")
    binary.chmod(0o755)
    return binary


def test_no_opensips_a_broken_one_and_one_that_nobody_mends(project: Shell) -> None:
    opensips = {"RCSOPS_ENGINE": "opensips"}
    found = the(findings(project, **opensips), "release", "problem")
    assert found["mend"] == "rcsops install --release 3.0.2"
    binary = install(project)
    the(findings(project, **opensips), "release", "warning")
    binary.write_text("#!/bin/sh\nexit 3\n")
    the(findings(project, **opensips), "release", "problem")
    install(project)
    found = the(findings(project, **opensips), "release", "warning")
    assert "support ended" in found["text"] and "--release 3.6" in found["mend"]
    binary.write_text("#!/bin/sh\necho 'version: opensips 3.4.18 (x86_64/linux)'\n")
    found = the(findings(project, **opensips), "release", "problem")
    assert "3.0.2" in found["text"] and 'release = "3.4.18"' in found["mend"]


def test_a_release_that_knows_one_hash_lacks_no_other(rcsops: Shell) -> None:
    rcsops.ok("init", "--yes")
    change(rcsops, 'engine = "embedded"', 'engine = "opensips"')
    change(rcsops, "[database]", '[database]\nurl = "sqlite:///.rcsops/rcsops.db"')
    rcsops.ok("db", "create")
    rcsops.ok("user", "add", "bob", "--password-stdin", stdin="secret of bob\n")
    the(findings(rcsops), "accounts", "ok")


def test_a_configuration_with_an_error_and_one_that_is_behind(project: Shell) -> None:
    change(project, 'engine = "embedded"', 'engine = "opensips"')
    change(project, "[database]", '[database]\nurl = "sqlite:///.rcsops/rcsops.db"')
    install(project)
    project.ok("config", "render")
    the(findings(project), "configuration", "ok")
    change(project, "listen = [", f'listen = ["udp:127.0.0.1:{free_port()}", ')
    found = the(findings(project), "configuration", "warning")
    assert found["mend"].startswith("rcsops config render")
    (path,) = project.directory.glob(".rcsops/**/opensips.cfg")
    text = path.read_text("utf-8")
    path.write_text(text.replace("route {", "route {\n\troute(NOWHERE);\n", 1), "utf-8")
    found = the(findings(project), "configuration", "problem")
    assert "NOWHERE" in found["text"] and "rcsops config check" in found["mend"]


# --- the bundle --------------------------------------------------------------------------------


def test_the_bundle_holds_what_helps_and_no_secret(project: Shell) -> None:
    project.ok("start")
    # Not below the project when that has a long name.
    log = Path(project.ok("status", "--json").json["log"])
    secret = hash_a1("bob", "rcs.example", "secret of bob", "MD5")
    with log.open("a") as file:
        file.write(f"INFO something {secret}\n")
        file.write('Authorization: Digest username="bob", nonce="0123", response="4567"\n')
        file.write("mysql://opensips:hunter22@localhost/opensips\n")
    change(project, "[database]", '[database]\n# password = "hunter33"')
    done = project.ok("doctor", "--bundle", "help.tar.gz")
    assert "look through it" in done.err
    bundle = project.directory / "help.tar.gz"
    assert bundle.stat().st_mode & 0o777 == 0o600
    files = {}
    with tarfile.open(bundle) as archive:
        for member in archive.getmembers():
            held = archive.extractfile(member)
            assert held is not None
            files[member.name.rpartition("/")[2]] = held.read().decode()
    assert {"findings.json", "versions.txt", "rcsops.toml", "server.log"} <= set(files)
    assert "sqlalchemy 2" in files["versions.txt"].lower()
    everything = "\n".join(files.values())
    for hidden in (secret, "0123", "4567", "hunter22", "hunter33", "secret of bob"):
        assert hidden not in everything
    assert "(hidden)" in files["server.log"]
    again = project("doctor", "--bundle", "help.tar.gz")
    assert again.code == 2 and "already" in again.err
