"""A Kamailio for tests: another registrar and proxy, with accounts in its own SQLite file."""

import hashlib
import secrets
import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from types import TracebackType

from rcsops.errors import EngineError
from rcsops.testing.process import ManagedProcess
from rcsops.testing.waiting import free_port

_MODULES = ("/usr/lib/x86_64-linux-gnu/kamailio/modules", "/usr/lib64/kamailio/modules")
_ATTEMPTS = 3
_SCHEMA = Path("/usr/share/kamailio/db_sqlite")


class KamailioServer:
    """A running Kamailio on loopback: digest, location service, stateful record-routing proxy, and
    msilo, which keeps a MESSAGE for a user who is away.

    A context manager. ``address`` (host:port) is where it listens on UDP and TCP. With
    ``certificate`` and its key (PEM files) it also has TLS, WebSocket and secure WebSocket, at
    ``where(transport)``; ``client_ca`` makes it ask clients for a certificate. ``outbound`` turns
    on RFC 5626; ``hep`` (host:port) is sent a copy of every message.
    ``missing()`` says why it cannot be run on this machine, "" when it can.
    """

    def __init__(
        self,
        directory: Path,
        *,
        domain: str = "rcs.example",
        workers: int = 2,
        certificate: tuple[Path, Path] | None = None,
        client_ca: Path | None = None,
        outbound: bool = False,
        hep: str = "",
    ) -> None:
        self.directory = directory
        self.domain = domain
        self.workers = workers
        self.host = "127.0.0.1"
        self._certificate = certificate
        self._client_ca = client_ca
        self._choose_ports()
        self._outbound = outbound
        self._hep = hep
        self.database = directory / "kamailio.sqlite"
        self._process: ManagedProcess | None = None

    @staticmethod
    def missing(*, secure: bool = False, outbound: bool = False) -> str:
        """Why Kamailio cannot be run here, with TLS and WebSocket if ``secure``, with RFC 5626 if
        ``outbound``; "" when it can."""
        if kamailio_binary() is None:
            return "kamailio is not installed (apt-get install kamailio)"
        modules = kamailio_modules()
        if modules is None or not (modules / "db_sqlite.so").exists() or not _SCHEMA.is_dir():
            return "Kamailio's SQLite module is missing (apt-get install kamailio-sqlite-modules)"
        wanted = ("tls", "websocket") if secure else ()
        for name in (*wanted, "outbound") if outbound else wanted:
            if not (modules / f"{name}.so").exists():
                package = f"kamailio-{name}-modules"
                return f"Kamailio's module {name} is missing (apt-get install {package})"
        return ""

    @property
    def address(self) -> str:
        """host:port of its UDP and TCP sockets."""
        return self.where("udp")

    def where(self, transport: str) -> str:
        """host:port of the socket for a transport."""
        return f"{self.host}:{self._ports.get(transport, self.port)}"

    @property
    def log(self) -> Path:
        """What it has printed."""
        return self.directory / "kamailio.log"

    def add_user(self, username: str, password: str) -> None:
        """Writes an account; it counts from the next request on."""
        a1 = f"{username}:{self.domain}:{password}".encode()
        ha1 = hashlib.md5(a1, usedforsecurity=False).hexdigest()
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute(
                "INSERT INTO subscriber (username, domain, ha1) VALUES (?, ?, ?)",
                (username, self.domain, ha1),
            )

    def start(self) -> None:
        """Makes its database and starts it; returns when it answers OPTIONS."""
        reason = self.missing(secure=self._certificate is not None, outbound=self._outbound)
        if reason:
            raise EngineError(reason)
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.database.exists():
            with closing(sqlite3.connect(self.database)) as connection:
                for name in ("standard", "auth_db", "msilo"):
                    connection.executescript((_SCHEMA / f"{name}-create.sql").read_text())
        for attempt in range(_ATTEMPTS):
            try:
                self._launch()
                return
            except EngineError as error:
                # Somebody was faster with one of the free ports.
                if "already in use" not in str(error) or attempt == _ATTEMPTS - 1:
                    raise
                self._choose_ports()

    def _choose_ports(self) -> None:
        self.port = free_port()
        more = () if self._certificate is None else ("tls", "ws", "wss")
        self._ports = {name: free_port() for name in more}

    def _launch(self) -> None:
        config = self.directory / "kamailio.cfg"
        config.write_text(self._configuration())
        binary = kamailio_binary()
        assert binary is not None
        command = [binary, "-f", str(config), "-DD", "-E", "-m", "64", "-M", "8"]
        command += ["-w", str(self.directory), "-Y", str(self.directory)]
        self._process = ManagedProcess(command, log=self.log, ready=self._answers)
        self._process.start()

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def __enter__(self) -> "KamailioServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        return answers_options(self.host, self.port)

    def _configuration(self) -> str:
        names = "tm sl rr pv maxfwd usrloc registrar textops siputils auth db_sqlite auth_db msilo"
        load = "\n".join(f'loadmodule "{name}.so"' for name in f"{names} nathelper".split())
        secure = self._secure_part() if self._certificate is not None else ""
        return _CONFIGURATION.format(
            secure=secure + (_HEP_PART.format(where=self._hep) if self._hep else ""),
            outbound=_OUTBOUND_PART if self._outbound else "",
            address=self.address,
            port=self.port,
            domain=self.domain,
            workers=self.workers,
            modules=kamailio_modules(),
            load=load,
            database=self.database,
            secret=secrets.token_hex(16),
        )

    def _secure_part(self) -> str:
        assert self._certificate is not None
        certificate, private_key = self._certificate
        ca = f'modparam("tls", "ca_list", "{self._client_ca}")' if self._client_ca else ""
        return SECURE_PART.format(
            tls=self.where("tls"),
            ws=self.where("ws"),
            wss=self.where("wss"),
            certificate=certificate,
            private_key=private_key,
            ca=ca,
            asks=int(self._client_ca is not None),
        )


def kamailio_binary() -> str | None:
    """Where its program is."""
    return shutil.which("kamailio") or shutil.which("kamailio", path="/usr/sbin:/usr/local/sbin")


def kamailio_modules() -> Path | None:
    """The directory of its modules."""
    places = [Path(name) for name in _MODULES] + sorted(Path("/usr/lib").glob("*/kamailio/modules"))
    return next((place for place in places if place.is_dir()), None)


def answers_options(host: str, port: int, wait: float = 0.2) -> bool:
    """Whether a SIP server answers OPTIONS over UDP there, whatever the status."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(wait)
        token = secrets.token_hex(8)
        try:
            probe.connect((host, port))
            local = probe.getsockname()
            probe.send(
                f"OPTIONS sip:{host}:{port} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {local[0]}:{local[1]};rport;branch=z9hG4bK{token}\r\n"
                f"From: <sip:probe@{host}>;tag={token}\r\nTo: <sip:{host}:{port}>\r\n"
                f"Call-ID: {token}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 5\r\n"
                "Content-Length: 0\r\n\r\n".encode()
            )
            return probe.recv(65535).startswith(b"SIP/2.0 ")
        except OSError:
            return False


_CONFIGURATION = """#!KAMAILIO
debug=1
log_stderror=yes
children={workers}
tcp_children={workers}
auto_aliases=no
dns=no
rev_dns=no
server_signature=no
listen=udp:{address}
listen=tcp:{address}
alias={domain}
mpath="{modules}"
{load}
{outbound}
modparam("tm", "fr_timer", 5000)
modparam("tm", "fr_inv_timer", 60000)
modparam("rr", "append_fromtag", 1)
modparam("usrloc", "db_mode", 0)
modparam("usrloc", "use_domain", 1)
modparam("registrar", "max_expires", 3600)
modparam("registrar", "received_avp", "$avp(received)")
modparam("nathelper", "received_avp", "$avp(received)")
modparam("auth", "secret", "{secret}")
modparam("auth", "nonce_expire", 60)
modparam("auth_db", "db_url", "sqlite:///{database}")
modparam("auth_db", "calculate_ha1", 0)
modparam("auth_db", "password_column", "ha1")
modparam("auth_db", "use_domain", 1)
modparam("auth_db", "load_credentials", "")
modparam("msilo", "db_url", "sqlite:///{database}")
modparam("msilo", "add_date", 0)
modparam("msilo", "check_time", 2)
modparam("msilo", "clean_period", 1)
modparam("msilo", "outbound_proxy", "sip:{address}")
{secure}

request_route {{
    if (!mf_process_maxfwd_header("70")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    force_rport();
    if (has_totag()) {{
        if (is_method("ACK") && t_check_trans()) {{ t_relay(); exit; }}
        if (!loose_route()) {{
            if (!is_method("ACK")) sl_send_reply("404", "Not Here");
            exit;
        }}
        handle_ruri_alias();
        if (is_gruu() && !lookup("location")) {{
            if (!is_method("ACK")) sl_send_reply("480", "Temporarily Unavailable");
            exit;
        }}
        route(RELAY);
    }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
    t_check_trans();
    if (is_method("OPTIONS") && $rU == $null) {{ sl_send_reply("200", "OK"); exit; }}
    if (is_method("REGISTER")) {{
        if (!www_authorize("{domain}", "subscriber")) {{ www_challenge("{domain}", "1"); exit; }}
        if ($au != $tU) {{ sl_send_reply("403", "Not Your Account"); exit; }}
        if (nat_uac_test("82")) fix_nated_register();
        if (!save("location")) {{ sl_reply_error(); exit; }}
        m_dump("$tu");
        exit;
    }}
    # A message that msilo kept, on its way out: it was checked when it came.
    if (is_method("MESSAGE") && $si == $Ri && $sp == {port}) {{
        if (!lookup("location")) {{ sl_send_reply("480", "Temporarily Unavailable"); exit; }}
        route(RELAY);
    }}
    if (!proxy_authorize("{domain}", "subscriber")) {{ proxy_challenge("{domain}", "1"); exit; }}
    if ($au != $fU) {{ sl_send_reply("403", "Not Your Account"); exit; }}
    consume_credentials();
    if (nat_uac_test("82")) add_contact_alias();
    if (is_method("INVITE")) record_route();
    if (!lookup("location")) {{
        if (is_method("MESSAGE")) {{
            t_newtran();
            route(STORE);
            t_reply("480", "Temporarily Unavailable");
            exit;
        }}
        sl_send_reply("480", "Temporarily Unavailable");
        exit;
    }}
    if (is_method("MESSAGE")) t_on_failure("AWAY");
    route(RELAY);
}}

route[STORE] {{
    if (m_store("$tu")) {{ t_reply("202", "Accepted"); exit; }}
}}

failure_route[AWAY] {{
    if (t_check_status("408|430|480|5[0-9][0-9]")) route(STORE);
}}

route[RELAY] {{
    if (is_method("INVITE")) t_on_reply("MEND");
    if (!t_relay()) sl_reply_error();
    exit;
}}

onreply_route[MEND] {{
    if (nat_uac_test("82")) add_contact_alias();
}}
"""

_OUTBOUND_PART = """
loadmodule "outbound.so"
modparam("outbound", "flow_token_secret", "of the flows")
modparam("registrar", "outbound_mode", 1)
modparam("registrar", "flow_timer", 2)
modparam("registrar", "gruu_enabled", 0)
"""

_HEP_PART = """
loadmodule "siptrace.so"
modparam("siptrace", "duplicate_uri", "sip:{where}")
modparam("siptrace", "hep_mode_on", 1)
modparam("siptrace", "hep_version", 3)
modparam("siptrace", "hep_capture_id", 42)
modparam("siptrace", "trace_on", 1)
modparam("siptrace", "trace_to_database", 0)
modparam("siptrace", "trace_mode", 1)
"""

# TLS, WebSocket and secure WebSocket, for any configuration of a Kamailio.
SECURE_PART = """
enable_tls=yes
tcp_accept_no_cl=yes
listen=tls:{tls}
listen=tcp:{ws}
listen=tls:{wss}
loadmodule "tls.so"
loadmodule "xhttp.so"
loadmodule "websocket.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "{certificate}")
modparam("tls", "private_key", "{private_key}")
{ca}
modparam("tls", "verify_certificate", {asks})
modparam("tls", "require_certificate", {asks})

event_route[xhttp:request] {{
    if ($hdr(Upgrade) =~ "websocket" && ws_handle_handshake()) exit;
    xhttp_reply("404", "Not Found", "", "");
}}
"""
