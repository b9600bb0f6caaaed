"""Kamailio and OpenSIPS as proxies between agents and the embedded server: they keep no accounts,
put themselves into Path and Record-Route, and bring every request on."""

import contextlib
import socket
import subprocess
from pathlib import Path
from types import TracebackType

from rcsops.opensips.installed import Installation
from rcsops.testing import ManagedProcess, free_port
from rcsops.testing.kamailio import SECURE_PART, answers_options, kamailio_binary, kamailio_modules


class Edge:
    """A running proxy in front of the server at ``server`` (host:port); a context manager."""

    def __init__(self, directory: Path, server: str) -> None:
        self.directory = directory
        self.server = server
        self.port = free_port()
        self.process: ManagedProcess | None = None

    def where(self, transport: str) -> str:
        """host:port of its socket for a transport."""
        return f"127.0.0.1:{self.port}"

    @property
    def ports(self) -> set[int]:
        """Where it can be reached, by whatever transport."""
        return {self.port}

    def command(self, config: Path) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    def configuration(self) -> str:
        """Its configuration."""
        raise NotImplementedError

    def __enter__(self) -> "Edge":
        self.directory.mkdir()
        config = self.directory / "edge.cfg"
        config.write_text(self.configuration())
        self.process = ManagedProcess(
            self.command(config),
            log=self.directory / "edge.log",
            ready=self._is_ready,
        )
        self.process.start()
        return self

    def _is_ready(self) -> bool:
        """The processes for TCP come later than those for UDP."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return answers_options("127.0.0.1", self.port)
        return False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self.process is not None
        self.process.stop()


class KamailioEdge(Edge):
    """Takes UDP, TCP, TLS and WebSocket; goes on to the server by TCP."""

    def __init__(self, directory: Path, server: str, certificate: tuple[Path, Path]) -> None:
        super().__init__(directory, server)
        self._certificate = certificate
        self._ports = {name: free_port() for name in ("tls", "ws", "wss")}

    def where(self, transport: str) -> str:
        return f"127.0.0.1:{self._ports.get(transport, self.port)}"

    @property
    def ports(self) -> set[int]:
        return {self.port, *self._ports.values()}

    def command(self, config: Path) -> list[str]:
        command = [
            kamailio_binary() or "kamailio",
            "-f",
            str(config),
            "-DD",
            "-E",
            "-m",
            "64",
            "-M",
            "8",
        ]
        return [*command, "-w", str(self.directory), "-Y", str(self.directory)]

    def configuration(self) -> str:
        secure = SECURE_PART.format(
            **{name: self.where(name) for name in ("tls", "ws", "wss")},
            certificate=self._certificate[0],
            private_key=self._certificate[1],
            ca="",
            asks=0,
        )
        return (
            _KAMAILIO.replace("@SECURE@", secure)
            .replace("@MODULES@", str(kamailio_modules()))
            .replace("@PORT@", str(self.port))
            .replace("@SERVER@", self.server)
        )


class OpenSipsEdge(Edge):
    """Takes UDP and TCP, and goes on to the server by the same; with a ``certificate`` TLS and
    WebSocket as well, and goes on by TCP."""

    def __init__(
        self,
        directory: Path,
        server: str,
        installation: Installation,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        super().__init__(directory, server)
        self._installation = installation
        self._certificate = certificate
        names = ("tls", "ws", "wss") if certificate else ()
        self._ports = {name: free_port() for name in names}

    def where(self, transport: str) -> str:
        return f"127.0.0.1:{self._ports.get(transport, self.port)}"

    @property
    def ports(self) -> set[int]:
        return {self.port, *self._ports.values()}

    def command(self, config: Path) -> list[str]:
        binary = str(self._installation.binary)
        checked = subprocess.run(
            [binary, "-C", "-f", str(config)], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr[-2000:]
        return [binary, "-F", "-f", str(config), "-w", str(self.directory), "-m", "64"]

    def configuration(self) -> str:
        old = self._installation.line == (3, 0)
        return (
            _OPENSIPS.replace("@SECURE@", self._secure(old))
            .replace("@LISTEN@", "listen" if old else "socket")
            .replace("@LOG@", "log_stderror=yes" if old else "stderror_enabled=yes")
            .replace("@MODULES@", str(self._installation.modules_dir))
            .replace("@PORT@", str(self.port))
            .replace("@SERVER@", self.server)
        )

    def _secure(self, old: bool) -> str:
        if self._certificate is None:
            return ""
        lines = [f"@LISTEN@={name}:{self.where(name)}" for name in self._ports]
        modules = ["proto_tls", "proto_ws", "proto_wss", "tls_mgm"]
        modules[3:3] = [] if old else ["tls_openssl"]
        lines += [f'loadmodule "{name}.so"' for name in modules]
        values = {
            "tls_method": "TLSv1_2" if old else "TLSv1_2-TLSv1_3",
            "certificate": self._certificate[0],
            "private_key": self._certificate[1],
            "verify_cert": "0",
            "require_cert": "0",
        }
        lines += [
            'modparam("tls_mgm", "server_domain", "own")',
            'modparam("tls_mgm", "match_ip_address", "[own]*")',
            *(f'modparam("tls_mgm", "{name}", "[own]{value}")' for name, value in values.items()),
        ]
        return "\n".join(lines)


_KAMAILIO = """#!KAMAILIO
debug=1
log_stderror=yes
children=2
tcp_children=2
auto_aliases=no
dns=no
rev_dns=no
listen=udp:127.0.0.1:@PORT@
listen=tcp:127.0.0.1:@PORT@
mpath="@MODULES@"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "path.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "nathelper.so"
modparam("path", "use_received", 1)
@SECURE@

request_route {
    if (!mf_process_maxfwd_header("70")) { sl_send_reply("483", "Too Many Hops"); exit; }
    force_rport();
    if (has_totag()) {
        if (is_method("ACK") && t_check_trans()) { t_relay(); exit; }
        if (!loose_route()) {
            if (!is_method("ACK")) sl_send_reply("404", "Not Here");
            exit;
        }
        # Only where there is no route left is it for us to find the agent.
        if ($du == $null) handle_ruri_alias();
        route(RELAY);
    }
    if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
    t_check_trans();
    if (is_method("INVITE")) record_route();
    # From the server, by the Path that we gave it.
    if ($hdr(Route) =~ "127.0.0.1:@PORT@;") {
        loose_route();
        if (is_method("INVITE")) t_on_reply("CONTACT");
        route(RELAY);
    }
    if (is_method("OPTIONS") && $rU == $null) { sl_send_reply("200", "OK"); exit; }
    if (is_method("REGISTER")) {
        $var(proto) = $(proto{s.tolower});
        # RFC 7118: in URIs a WebSocket is "ws", whether TLS is under it or not.
        if ($var(proto) == "wss") $var(proto) = "ws";
        $var(from) = "sip:" + $si + ":" + $sp + "%3Btransport%3D" + $var(proto);
        $var(own) = "sip:127.0.0.1:@PORT@;transport=tcp;lr;received=" + $var(from);
        insert_hf("Path: <$var(own)>\\r\\n");
    } else if (is_method("INVITE")) {
        add_contact_alias();
    }
    $du = "sip:@SERVER@;transport=tcp";
    $fs = "tcp:127.0.0.1:@PORT@";
    route(RELAY);
}

route[RELAY] {
    if (!t_relay()) sl_reply_error();
    exit;
}

onreply_route[CONTACT] {
    add_contact_alias();
}
"""

_OPENSIPS = """
log_level=2
@LOG@
@LISTEN@=udp:127.0.0.1:@PORT@
@LISTEN@=tcp:127.0.0.1:@PORT@
udp_workers=2
tcp_workers=2
dns=no
rev_dns=no
auto_aliases=no
check_via=no
mpath="@MODULES@/"
loadmodule "proto_udp.so"
loadmodule "proto_tcp.so"
loadmodule "signaling.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "sipmsgops.so"
loadmodule "textops.so"
loadmodule "nathelper.so"
@SECURE@

route {
    if (!mf_process_maxfwd_header(70)) { sl_send_reply(483, "Too Many Hops"); exit; }
    force_rport();
    if (has_totag()) {
        if (is_method("ACK") && t_check_trans()) { t_relay(); exit; }
        if (!loose_route()) {
            if (!is_method("ACK")) sl_send_reply(404, "Not Here");
            exit;
        }
        t_relay();
        exit;
    }
    if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
    t_check_trans();
    if (is_method("INVITE")) record_route();
    # From the server, by the Path that we gave it: its user part is the agent's flow.
    if ($hdr(Route) =~ "127.0.0.1:@PORT@;") {
        $var(flow) = $(hdr(Route){nameaddr.uri}{uri.user});
        loose_route();
        if ($var(flow) =~ "tls$|ws$|wss$") {
            $var(host) = $(var(flow){s.select,0,_});
            $var(at) = $(var(flow){s.select,1,_});
            $var(by) = $(var(flow){s.select,2,_});
            $du = "sip:" + $var(host) + ":" + $var(at) + ";transport=" + $var(by);
        }
        t_on_reply("1");
        t_relay();
        exit;
    }
    if (is_method("OPTIONS") && $rU == NULL) { sl_send_reply(200, "OK"); exit; }
    if ($hdr(Via) =~ "^SIP/2.0/UDP") {
        $var(way) = "";
    } else {
        $var(way) = ";transport=tcp";
    }
    if (is_method("REGISTER")) {
        $var(by) = $(hdr(Via){s.select,0, }{s.select,2,/}{s.tolower});
        $var(flow) = $si + "_" + $sp + "_" + $var(by);
        insert_hf("Path: <sip:$var(flow)@127.0.0.1:@PORT@$var(way);lr>\\r\\n");
    } else if (is_method("INVITE")) {
        fix_nated_contact();
    }
    $du = "sip:@SERVER@" + $var(way);
    t_relay();
    exit;
}

onreply_route[1] {
    fix_nated_contact();
}
"""
