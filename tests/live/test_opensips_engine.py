"""start, stop, reload, status, mi and chat on every OpenSIPS of the machine, by the commands."""

import contextlib
import grp
import itertools
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rcsops.opensips.installed import Installation
from rcsops.opensips.process import server_processes
from rcsops.testing.mariadb import MariaDbServer
from rcsops.testing.waiting import free_port
from tests.live.phones import DOMAIN, Phone
from tests.live.subjects import Case

pytestmark = pytest.mark.feature("start, stop, status")


class Lab:
    """A project with that OpenSIPS, and a database: an SQLite file unless ``url`` is another."""

    def __init__(
        self, installation: Installation, directory: Path, url: str, created: tuple[str, ...]
    ) -> None:
        self.installation = installation
        self.directory = directory
        self.port = free_port()
        self.http = free_port()
        self.run = directory / ".rcsops" / "run"
        self.file = None if url else directory / "rcsops.db"
        url = url or f"sqlite:///{self.file}"
        (directory / "rcsops.toml").write_text(
            f'engine = "opensips"\nrelease = "{installation.version}"\n'
            f'prefix = "{installation.prefix}"\n'
            f'listen = ["udp:127.0.0.1:{self.port}", "tcp:127.0.0.1:{self.port}"]\n'
            f'[database]\nurl = "{url}"\n[mi]\nhttp = "127.0.0.1:{self.http}"\n'
        )
        self.ok("db", "create", *created)

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RCSOPS_")}
        return kept | {"HOME": str(self.directory), "NO_COLOR": "1"}

    def __call__(
        self, *words: str, stdin: str = "", **more: str
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "rcsops", *words],
            cwd=self.directory,
            env=self.environment | more,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def ok(self, *words: str, stdin: str = "", **more: str) -> str:
        done = self(*words, stdin=stdin, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json").stdout)

    @property
    def pid(self) -> int:
        return int(self.json("status")["pid"])

    @property
    def processes(self) -> tuple[int, ...]:
        return server_processes(self.run).pids

    def options(self) -> bool:
        """Whether the server answers OPTIONS."""
        from rcsops.testing.kamailio import answers_options

        return answers_options("127.0.0.1", self.port)


@contextlib.contextmanager
def lab_of(
    installation: Installation, url: str = "", created: tuple[str, ...] = ()
) -> Iterator[Lab]:
    directory = Path(tempfile.mkdtemp(prefix="rcsops-"))
    lab = Lab(installation, directory, url, created)
    try:
        yield lab
    finally:
        lab("stop")
        assert not lab.processes
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def lab(case: Case, request: pytest.FixtureRequest) -> Iterator[Lab]:
    if case.database == "sqlite":
        with lab_of(case.installation) as made:
            yield made
        return
    server: MariaDbServer = request.getfixturevalue("mariadb")
    name = f"lab{next(_numbers)}"
    url = server.url(name, name)
    with lab_of(case.installation, url, ("--admin-url", server.admin_url)) as made:
        yield made


_numbers = itertools.count(1)


def until(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.smoke
def test_start_status_mi_reload_stop(lab: Lab) -> None:
    started = lab.json("start")
    assert started["already"] is False
    assert lab.options()
    # Whoever is ready for connections is so when start returns.
    socket.create_connection(("127.0.0.1", lab.port), timeout=1).close()
    assert os.getsid(started["pid"]) == started["pid"]
    again = lab.json("start")
    assert again["already"] is True
    assert again["pid"] == started["pid"]
    found = lab.json("status")
    assert f"OpenSIPS ({lab.installation.version} " in found["version"]
    assert found["processes"] > 5
    assert found["memory"] > 1_000_000
    assert found["uptime"] >= 0
    assert found["counts"]["usrloc:registered_users"] == 0
    assert found["fault"] == ""
    address = f"127.0.0.1:{lab.port}"
    assert found["listeners"] == [f"udp:{address}", f"tcp:{address}"]
    assert lab.json("mi", "ul_dump")["Domains"][0]["name"] == "location"
    # A list for OpenSIPS, words for a person.
    groups = lab.json("mi", "get_statistics", "core:", "usrloc:")
    assert {"core:rcv_requests", "usrloc:registered_users"} <= set(groups)
    # The name of 4.0, on any release.
    assert lab.json("mi", "usrloc:dump")["Domains"][0]["name"] == "location"
    assert "Up time" in lab.json("mi", "core:uptime")
    assert lab.ok("mi", "pike_list")
    assert "Up time" in lab.ok("mi", "uptime", RCSOPS_MI_TRANSPORT="datagram")
    assert "PID" in lab.ok("mi", "ps").splitlines()[0]
    if "dialog" in lab.installation.modules:
        assert lab.ok("dialogs") == "no call is going on\n"
    for name in ("fifo", "mi.sock", "secrets.cfg", "server.log"):
        assert stat.S_IMODE((lab.run / name).stat().st_mode) == 0o600, name
    assert lab.ok("contacts") == "nobody is registered\n"
    assert lab.json("stop")["how"] == "mi"
    assert not lab.processes
    assert not {"fifo", "mi.sock", "pid"} & {each.name for each in lab.run.iterdir()}
    assert lab("status").returncode == 3
    assert "was not running" in lab.ok("stop")
    # OpenSIPS answers this by ending.
    lab.ok("start")
    assert lab.ok("mi", "kill") == "OK\n"
    until(lambda: not lab.processes)


@pytest.mark.feature("accounts and contacts")
def test_contacts_of_a_running_server(lab: Lab) -> None:
    """They are in its memory; the database hears of them some seconds later."""
    number = 120
    lines = "".join(f"u{n},of user u{n}\n" for n in range(number))
    lab.ok("user", "import", "-", stdin=f"user,password\n{lines}")
    lab.ok("start")
    for n in range(number):
        # From several addresses: one alone would be taken for a flood.
        source = f"127.0.1.{n // 10 + 1}"
        phone = Phone(f"127.0.0.1:{lab.port}", f"u{n}", password=f"of user u{n}", source=source)
        with phone:
            answer = phone.register(User_Agent=f"evil\x1b[31m {'x' * 200}")
            assert answer.status == 200
    shown = lab.ok("user", "show", "u0")
    assert "sip:u0@127.0.1.1" in shown
    assert "\x1b" not in shown
    assert "evil\\x1b[31m" in shown
    # More than a datagram holds: the FIFO has it.
    for transport in ("fifo", "datagram"):
        text = lab.ok("contacts", "--json", RCSOPS_MI_TRANSPORT=transport)
        assert len(text) > 32_768
        assert len(json.loads(text)) == number
    removed = json.loads(lab.ok("user", "remove", "u0", "--yes", "--json"))
    assert removed == {"user": f"u0@{DOMAIN}", "contacts": 1, "messages": 0, "fault": ""}
    assert lab.ok("contacts", "u0") == "u0 is not registered\n"
    for pid in lab.processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        stuck = lab("user", "remove", "u1", "--yes")
        assert stuck.returncode == 0
        assert "the running server still finds u1@" in stuck.stderr
    finally:
        for pid in lab.processes:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.feature("accounts and contacts")
def test_names_with_odd_characters(lab: Lab) -> None:
    """OpenSIPS keeps contacts under the name without escapes, and no others than ASCII's."""
    names = ["a%40b", "c%40d", "x'%20OR%201=1", "b%22c", "-_.!~*'()", "&=+$,;?/", "d%5Ce"]
    lines = "".join(f'"{name}",of everybody\n' for name in names)
    lab.ok("user", "import", "-", stdin=f"user,password\n{lines}")
    refused = lab("user", "add", "j%C3%BCrgen", "--generate")
    assert refused.returncode == 2
    assert "lets nobody register whose name has %C3" in refused.stderr
    refused = lab("user", "import", "-", stdin="user,password\nj%00,of everybody\n")
    assert "line 2: OpenSIPS lets nobody register" in refused.stderr
    lab.ok("start")
    for name in names:
        with Phone(f"127.0.0.1:{lab.port}", name, password="of everybody") as phone:
            assert phone.register().status == 200
    assert {each["user"] for each in lab.json("contacts")} == {f"{n}@{DOMAIN}" for n in names}
    assert f"sip:{names[0]}@127.0.0.1" in lab.ok("user", "show", names[0])
    removed = json.loads(lab.ok("user", "remove", names[0], "--yes", "--json"))
    assert (removed["contacts"], removed["fault"]) == (1, "")
    assert lab.json("contacts", names[0]) == []
    lab.ok("stop")
    # What it has written by now is what the database says.
    for name in names[1:3]:
        assert f"sip:{name}@127.0.0.1" in lab.ok("user", "show", name)
        removed = json.loads(lab.ok("user", "remove", name, "--yes", "--json"))
        assert removed["contacts"] == 1


@pytest.mark.feature("mi")
def test_mi_over_http(lab: Lab) -> None:
    if not {"httpd", "mi_http"} <= set(lab.installation.modules):
        pytest.skip("this OpenSIPS has no httpd or mi_http")
    lab.ok("start", RCSOPS_MI_TRANSPORT="http")
    assert "Up time" in lab.ok("mi", "uptime", RCSOPS_MI_TRANSPORT="http")
    assert "Up time" in lab.ok("mi", "uptime", "--url", f"http://127.0.0.1:{lab.http}/mi")


def test_reload(lab: Lab) -> None:
    lab.ok("start")
    done = lab("reload")
    if lab.installation.line < (3, 4):
        assert done.returncode == 1
        assert "rcsops restart" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    config = lab.run / "opensips.cfg"
    text = config.read_text()
    config.write_text(text.replace('"Too Many Hops"', '"Far Too Many"'))
    assert "anew" in lab.ok("reload")
    config.write_text(text.replace("route(nat);", "no_such_function();", 1))
    done = lab("reload")
    assert done.returncode == 1
    assert "no_such_function" in done.stderr
    config.write_text(text.replace("udp_workers=", "udp_workers=1", 1))
    assert "next rcsops restart" in lab("reload").stderr
    assert lab.options()


@pytest.mark.feature("faults")
def test_a_restart_that_would_fail_stops_nothing(lab: Lab) -> None:
    lab.ok("start")
    pid = lab.pid
    config = lab.run / "opensips.cfg"
    text = config.read_text()
    config.write_text(text.replace("route(nat);", "route(nosuch);"))
    done = lab("restart")
    assert done.returncode == 1
    assert "nothing was stopped" in done.stderr
    assert "nosuch" in done.stderr
    config.write_text(text)
    if lab.file is not None:
        lab.file.rename(lab.directory / "away")
        assert "nothing was stopped" in lab("restart").stderr
        (lab.directory / "away").rename(lab.file)
    assert lab.pid == pid
    assert lab.options()
    assert lab.json("restart")["started"]["pid"] != pid
    assert lab.options()


@pytest.mark.feature("faults")
def test_kill_9_of_the_main_process_and_of_a_worker(lab: Lab) -> None:
    lab.ok("start")
    first = lab.pid
    os.kill(first, signal.SIGKILL)
    time.sleep(0.3)
    # Its workers go on without it: seen, and mended by the next start.
    assert lab.processes
    found = lab.json("status")
    assert found["running"] is True
    assert "main process was killed" in found["fault"]
    assert lab.json("start")["already"] is False
    second = lab.pid
    assert lab.options()
    os.kill(second, signal.SIGKILL)
    assert lab.json("stop")["how"] == "SIGKILL"
    assert not lab.processes
    with (lab.run / "server.log").open("a") as log:
        log.write("Nov 27 09:00:26 [1] ERROR:core:main: what another one has died of\n")
    lab.ok("start")
    worker = next(pid for pid in lab.processes if pid != lab.pid)
    os.kill(worker, signal.SIGKILL)
    until(lambda: not lab.processes)
    found = lab.json("status")
    assert found["running"] is False
    assert "ended without" in found["fault"]
    assert "another one" not in found["fault"]
    lab.ok("start")
    assert lab.options()
    for pid in lab.processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not lab.processes)
    assert "killed" in lab.json("status")["fault"] or "ended" in lab.json("status")["fault"]
    lab.ok("start")


@pytest.mark.feature("faults")
def test_a_stuck_server_is_seen_and_ended(lab: Lab) -> None:
    lab.ok("start")
    os.killpg(lab.pid, signal.SIGSTOP)
    found = lab.json("status")
    assert (found["running"], found["answers"]) == (True, False)
    assert "does not answer" in lab("mi", "uptime", "--timeout", "0.5").stderr
    assert lab.json("stop")["how"] == "SIGKILL"


@pytest.mark.feature("faults")
def test_what_keeps_it_from_starting_is_said(lab: Lab) -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as taken:
            taken.bind(("127.0.0.1", lab.port))
            if kind == socket.SOCK_STREAM:
                taken.listen()
            failed = lab("start")
        assert failed.returncode == 1
        assert "the port is in use by" in failed.stderr
        assert f"pid {os.getpid()}" in failed.stderr
    lab.ok("config", "render")
    config = lab.run / "opensips.cfg"
    text = config.read_text()
    for old, new, reason in (
        ('loadmodule "msilo.so"', 'loadmodule "nosuch.so"', "nosuch"),
        ("route(nat);", "route(nosuch);", "nosuch"),
        ("udp_workers=", "udp_wrkers=", "error|syntax"),
        (
            'modparam("usrloc", "use_domain", 1)',
            'modparam("usrloc", "use_domian", 1)',
            "use_domian",
        ),
    ):
        config.write_text(text.replace(old, new, 1))
        failed = lab("start")
        assert failed.returncode == 1, reason
        assert any(each in failed.stderr for each in reason.split("|")), failed.stderr
        assert "hint:" in failed.stderr
        assert not lab.processes
    config.write_text(text)
    if lab.file is not None:
        lab.file.rename(lab.directory / "away")
        failed = lab("start")
        assert failed.returncode == 1
        assert "rcsops db create" in failed.stderr
        (lab.directory / "away").rename(lab.file)
    lab.ok("start")
    assert lab.options()


def test_two_starts_at_once_are_one_server(lab: Lab) -> None:
    starts = [
        subprocess.Popen(
            [sys.executable, "-m", "rcsops", "start", "--json"],
            cwd=lab.directory,
            env=lab.environment,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    found = [json.loads(each.communicate(timeout=60)[0]) for each in starts]
    assert len({each["pid"] for each in found}) == 1
    assert sorted(each["already"] for each in found) == [False, True, True]


def test_in_the_foreground_it_ends_with_sigterm(lab: Lab) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "rcsops", "start", "--foreground"],
        cwd=lab.directory,
        env=lab.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: bool(self_answers(lab)))
    process.terminate()
    assert process.wait(20) == 0
    assert not lab.processes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("words", [("start",), ("start", "--foreground")])
def test_an_interrupted_start_leaves_nothing(
    lab: Lab, words: tuple[str, ...], number: signal.Signals
) -> None:
    done = lab.directory / ".rcsops" / "started.json"
    for _ in range(6):
        done.unlink(missing_ok=True)
        starting = subprocess.Popen(
            [sys.executable, "-m", "rcsops", *words],
            cwd=lab.directory,
            env=lab.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: bool(lab.processes), 30)
        # So that it cannot answer, and the start has to wait for it.
        group = os.getpgid(lab.processes[0])
        os.killpg(group, signal.SIGSTOP)
        starting.send_signal(number)
        starting.wait(30)
        if "--foreground" in words or not done.exists():
            break
        # The start had done all its work already: the signal came too late to be of interest.
        os.killpg(group, signal.SIGCONT)
        lab.ok("stop")
    else:
        pytest.fail("the start was always quicker than the signal")
    until(lambda: not lab.processes, 30)


def self_answers(lab: Lab) -> bool:
    return bool(lab.json("status")["answers"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start it as another user")
def test_as_another_user_with_a_group(lab: Lab) -> None:
    user = pwd.getpwnam("nobody")
    group = next(each.gr_name for each in grp.getgrall() if each.gr_gid not in (0, user.pw_gid))
    shared = Path(tempfile.mkdtemp(prefix="rcsops-db-"))
    run, database = None, {}
    try:
        if lab.file is not None:
            refused = lab("start", "--user", "nobody")
            assert refused.returncode == 1
            assert "may not write the database" in refused.stderr
            database = {"RCSOPS_DATABASE_URL": f"sqlite:///{shared}/rcsops.db"}
            lab.ok("db", "create", **database)
            for path in (shared, shared / "rcsops.db"):
                os.chown(path, user.pw_uid, user.pw_gid)
        lab.ok("start", "--user", "nobody", "--group", group, **database)
        found = json.loads(lab.ok("status", "--json", **database))
        assert found["answers"] is True
        assert os.stat(f"/proc/{found['pid']}").st_uid == user.pw_uid
        run = Path(found["log"]).parent
        for name in ("fifo", "mi.sock"):
            entry = (run / name).stat()
            assert entry.st_gid == grp.getgrnam(group).gr_gid, name
            assert stat.S_IMODE(entry.st_mode) == 0o660, name
        assert lab.ok("mi", "uptime", RCSOPS_MI_TRANSPORT="datagram")
        assert json.loads(lab.ok("stop", "--json"))["how"] == "mi"
        assert not server_processes(run).pids

        # It is started again as that user, who may write what they want into their run directory.
        told = run / "started.json"
        told.write_text('{"user": "root", "group": ""}')
        os.chown(told, user.pw_uid, user.pw_gid)
        lab.ok("start", **database)
        found = json.loads(lab.ok("status", "--json", **database))
        assert os.stat(f"/proc/{found['pid']}").st_uid == user.pw_uid
    finally:
        lab("stop")
        shutil.rmtree(shared, ignore_errors=True)
        if run is not None and run.parent == Path("/run"):
            shutil.rmtree(run)


@pytest.mark.feature("mi")
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can become others"
)
def test_the_group_may_use_mi_and_nobody_else(lab: Lab) -> None:
    """Also where there is a password of the database, which the group cannot read."""
    group = next(each for each in grp.getgrall() if each.gr_gid not in (0, nobody().pw_gid))
    lab.directory.chmod(0o755)
    toml = lab.directory / "rcsops.toml"
    text = toml.read_text().replace("[mi]\n", f'[mi]\ngroup = "{group.gr_name}"\n')
    toml.write_text(text)
    lab.ok("start")
    run = Path(lab.json("status")["log"]).parent
    try:
        # The script that `reload` reads is not theirs to replace.
        script = run / "opensips.cfg"
        moved = subprocess.run(
            ["setpriv", *_as([group.gr_gid]), "mv", str(script), str(run / "other.cfg")],
            capture_output=True,
            check=False,
        )
        assert moved.returncode != 0
        assert script.exists()
        for transport in ("fifo", "datagram"):
            assert "Up time" in as_nobody(lab, [group.gr_gid], transport, "mi", "uptime").stdout
            stranger = as_nobody(lab, [], transport, "mi", "uptime")
            assert stranger.returncode == 1
            assert "you may not use the management interface" in stranger.stderr
        assert as_nobody(lab, [group.gr_gid], "fifo", "contacts").returncode == 0
        found = as_nobody(lab, [group.gr_gid], "fifo", "status", "--json")
        assert found.returncode == 0, found.stderr
        assert json.loads(found.stdout)["fault"] == ""
        assert as_nobody(lab, [group.gr_gid], "fifo", "logs").returncode == 1
    finally:
        lab("stop")
        assert run.parent == Path("/run")
        shutil.rmtree(run)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can give rights up"
)
def test_the_unit_runs_with_the_rights_that_it_leaves(lab: Lab) -> None:
    """What systemd would do with it, as far as that goes without systemd."""
    unit = dict(
        line.split("=", 1) for line in lab.ok("service").splitlines() if re.match(r"\w+=", line)
    )
    rights = [f"+{name[4:].lower()}" for name in unit["CapabilityBoundingSet"].split()]
    assert unit["NoNewPrivileges"] == "yes"
    words = ["setpriv", "--no-new-privs", "--bounding-set", ",".join(["-all", *rights])]
    told = lab.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(told))
        manager.settimeout(30)
        service = subprocess.Popen(
            [*words, *shlex.split(unit["ExecStart"])],
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": str(told)},
            umask=int(unit["UMask"], 8),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert manager.recv(100) == b"READY=1"
        assert lab.options()
        service.terminate()
        assert manager.recv(100) == b"STOPPING=1"
        assert service.wait(30) == 0
    assert not lab.processes


def nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def _as(groups: list[int]) -> list[str]:
    who = ["--reuid", str(nobody().pw_uid), "--regid", str(nobody().pw_gid)]
    return who + (["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"])


def as_nobody(
    lab: Lab, groups: list[int], transport: str, *words: str
) -> "subprocess.CompletedProcess[str]":
    """A command of somebody with these groups and no rights beside them."""
    done = subprocess.run(
        [
            "setpriv",
            *_as(groups),
            sys.executable,
            "-m",
            "rcsops",
            "--project",
            str(lab.directory),
            *words,
        ],
        cwd="/",
        env=lab.environment | {"RCSOPS_MI_TRANSPORT": transport, "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "No module named" in done.stderr or "cannot execute" in done.stderr:
        pytest.skip("this Python is in a directory that is closed to others")
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.feature("chat")
def test_contacts_survive_a_restart_and_chat_goes_through_it(lab: Lab) -> None:
    for name in ("alex", "bob"):
        lab.ok("user", "add", name, "--generate")
    lab.ok("start")
    lines = [sys.executable, "-m", "rcsops", "chat", "bob", "--json"]
    bob = subprocess.Popen(
        lines,
        cwd=lab.directory,
        env=lab.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: "bob@" in lab.ok("contacts"))
        assert lab.json("status")["counts"]["usrloc:registered_users"] == 1
        lab.ok("restart")
        assert "bob@" in lab.ok("contacts")
    finally:
        bob.communicate("/quit\n", timeout=30)
    assert bob.returncode == 0
    assert lab.ok("contacts") == "nobody is registered\n"


@pytest.mark.smoke
@pytest.mark.feature("chat")
def test_the_demo(lab: Lab) -> None:
    done = lab("demo", "--engine", "opensips", "--prefix", str(lab.installation.prefix), "--json")
    result = json.loads(done.stdout)
    assert result["problems"] == []
    assert done.returncode == 0
