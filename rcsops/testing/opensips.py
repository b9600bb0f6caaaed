"""A real OpenSIPS for tests: one throw-away server with SQLite, on free ports of loopback.

Only what the user agent is tried against: digest on every request from a local user, usrloc, record
routing and stateful relay. No OpenSIPS is built here: `find_opensips` looks for those that the
machine has.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rcsops.errors import EngineError
from rcsops.testing.waiting import free_port, wait_until

VERSION = re.compile(r"version: opensips (\S+)")


@dataclass(frozen=True, slots=True)
class OpenSips:
    """An OpenSIPS on this machine: its `prefix` (the directory above ``sbin``) and its version."""

    binary: Path
    prefix: Path
    version: str

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor number."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    @property
    def modules(self) -> Path:
        """Where its modules are."""
        for name in ("lib64", "lib"):
            found = self.prefix / name / "opensips" / "modules"
            if found.is_dir():
                return found
        raise EngineError(f"no modules beside {self.binary}")


def find_opensips() -> list[OpenSips]:
    """Every usable OpenSIPS: the prefixes in RCSOPS_TEST_OPENSIPS (separated by ``:``), then PATH.

    Usable means that it was built with db_sqlite and carries the SQLite scripts of its schema.
    """
    prefixes = [Path(p) for p in os.environ.get("RCSOPS_TEST_OPENSIPS", "").split(":") if p]
    on_path = shutil.which("opensips") or shutil.which("opensips", path="/usr/local/sbin:/usr/sbin")
    if on_path:
        prefixes.append(Path(on_path).resolve().parent.parent)
    found: list[OpenSips] = []
    for prefix in dict.fromkeys(prefixes):
        binary = prefix / "sbin" / "opensips"
        if not binary.is_file():
            continue
        shown = subprocess.run([binary, "-V"], capture_output=True, text=True, check=False).stdout  # noqa: S603
        match = VERSION.search(shown)
        if match is None:
            continue
        server = OpenSips(binary, prefix, match[1])
        scripts = prefix / "share" / "opensips" / "sqlite"
        if (server.modules / "db_sqlite.so").is_file() and scripts.is_dir():
            found.append(server)
    return found


class OpenSipsServer:
    """A running OpenSIPS of our own; a context manager.

    `address` is where it listens on UDP and TCP.
    """

    def __init__(self, server: OpenSips, directory: Path, *, domain: str = "rcs.example") -> None:
        self.server = server
        self.directory = directory
        self.domain = domain
        self.host = "127.0.0.1"
        self.port = free_port()
        self.database = directory / "opensips.db"
        self.log = directory / "opensips.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    def __enter__(self) -> OpenSipsServer:
        self.directory.mkdir(parents=True, exist_ok=True)
        scripts = self.server.prefix / "share" / "opensips" / "sqlite"
        with sqlite3.connect(self.database) as connection:
            for script in ("standard", "auth_db", "usrloc"):
                connection.executescript((scripts / f"{script}-create.sql").read_text())
        config = self.directory / "opensips.cfg"
        config.write_text(self._configuration())
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [self.server.binary, "-F", "-f", config, "-w", self.directory],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            wait_until(self._ready, timeout=20)
        except TimeoutError as error:
            self.stop()
            raise EngineError(f"OpenSIPS did not start: {self.log.read_text()[-2000:]}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def add_user(self, username: str, password: str) -> None:
        """Writes the hashes that this release knows: MD5, and SHA-256 from 3.4 on."""
        a1 = f"{username}:{self.domain}:{password}".encode()
        row = {
            "username": username,
            "domain": self.domain,
            "ha1": hashlib.md5(a1, usedforsecurity=False).hexdigest(),
        }
        if self.server.release >= (3, 4):
            row["ha1_sha256"] = hashlib.sha256(a1).hexdigest()
        names = ", ".join(row)
        marks = ", ".join("?" for _ in row)
        with sqlite3.connect(self.database) as connection:
            connection.execute(
                f"INSERT INTO subscriber ({names}) VALUES ({marks})",  # noqa: S608
                tuple(row.values()),
            )

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to its process group: workers outlive a killed main process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def _ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise EngineError(f"OpenSIPS ended: {self.log.read_text()[-2000:]}")
        if not (self.directory / "fifo").exists():
            return False
        # From 3.4 on a child process binds the TCP port, some time after the FIFO is there.
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((self.host, self.port)) == 0

    def _configuration(self) -> str:
        new = self.server.release >= (3, 4)
        listen = "socket" if new else "listen"
        logging = "stderror_enabled=yes\nsyslog_enabled=no" if new else "log_stderror=yes"
        challenge = '"", "auth", "MD5,SHA-256"' if new else '"", 1'
        flags = "max-contacts=5,force-registration" if new else "c5f"
        nat = '"private-contact,diff-ip-src-via,diff-port-src-via"' if new else "19"
        branch_flag = '"NAT"' if new else "NAT"
        modules = (
            "signaling sl tm rr maxfwd sipmsgops textops mi_fifo db_sqlite usrloc registrar "
            "nathelper auth auth_db proto_udp proto_tcp"
        )
        load = "\n".join(f'loadmodule "{name}.so"' for name in modules.split())
        return f"""log_level=2
{logging}
udp_workers=2
tcp_workers=2
auto_aliases=no
check_via=no
dns=no
rev_dns=no
open_files_limit=2048
{listen}=udp:{self.address}
{listen}=tcp:{self.address}
alias=udp:{self.domain}:{self.port}
alias=tcp:{self.domain}:{self.port}
alias=udp:{self.domain}:5060
db_default_url="sqlite://{self.database}"
mpath="{self.server.modules}/"
{load}
modparam("tm", "fr_timeout", 5)
modparam("tm", "fr_inv_timeout", 30)
modparam("mi_fifo", "fifo_name", "{self.directory}/fifo")
modparam("mi_fifo", "reply_dir", "{self.directory}/")
modparam("usrloc", "working_mode_preset", "single-instance-no-db")
modparam("usrloc", "use_domain", 1)
modparam("usrloc", "nat_bflag", "NAT")
modparam("registrar", "received_avp", "$avp(rcv)")
modparam("registrar", "tcp_persistent_flag", "TCP")
modparam("nathelper", "received_avp", "$avp(rcv)")
modparam("auth", "nonce_expire", 30)
modparam("auth_db", "calculate_ha1", 0)
modparam("auth_db", "use_domain", 1)
modparam("auth_db", "password_column", "ha1")
modparam("auth_db", "load_credentials", "")
route {{
    if (!mf_process_maxfwd_header(10)) {{ send_reply(483, "Too Many Hops"); exit; }}
    force_rport();
    if (nat_uac_test({nat})) {{
        if (is_method("REGISTER")) {{ fix_nated_register(); setbflag({branch_flag}); }}
        else fix_nated_contact();
    }}
    if (has_totag()) {{
        if (is_method("ACK") && t_check_trans()) {{ t_relay(); exit; }}
        if (!loose_route()) {{
            if (!is_method("ACK")) send_reply(404, "Not Here");
            exit;
        }}
        route(relay);
    }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
    t_check_trans();
    if (is_method("REGISTER")) {{
        if (!www_authorize("", "subscriber")) {{ www_challenge({challenge}); exit; }}
        if ($au != $tU) {{ send_reply(403, "Not your account"); exit; }}
        setbflag({'"TCP"' if new else "TCP"});
        if (!save("location", "{flags}")) sl_reply_error();
        exit;
    }}
    if (!proxy_authorize("", "subscriber")) {{ proxy_challenge({challenge}); exit; }}
    if ($au != $fU) {{ send_reply(403, "Not your account"); exit; }}
    consume_credentials();
    if (is_method("INVITE")) record_route();
    if (!db_does_uri_exist("$ru", "subscriber")) {{ send_reply(404, "Not Found"); exit; }}
    if (!lookup("location")) {{ send_reply(480, "Temporarily Unavailable"); exit; }}
    route(relay);
}}
route[relay] {{
    if (is_method("INVITE")) t_on_reply("nat");
    if (!t_relay()) sl_reply_error();
    exit;
}}
onreply_route[nat] {{ if (nat_uac_test({nat})) fix_nated_contact(); }}
"""
