"""What a project says about itself: the values of rcsops.toml, as types, with their defaults."""

from dataclasses import dataclass, field

from rcsops.settings.content import Content
from rcsops.settings.file_rules import FileRules
from rcsops.settings.limits import Limits
from rcsops.settings.listen import Listen, parse_listen

ENGINES = ("embedded", "opensips")
REDIRECTS = ("relay", "follow")
MI_TRANSPORTS = ("fifo", "datagram", "http")
# From the weakest to the strongest: min_algorithm draws the line (RFC 8760 §2.4).
DIGEST_ALGORITHMS = ("MD5", "SHA-256", "SHA-512-256")
# "auto": what the DNS says of the server (RFC 3263 §4.1).
AGENT_TRANSPORTS = ("auto", "udp", "tcp", "tls", "ws", "wss")
MSRP_SECURITY = ("auto", "tcp", "tls")
CLIENT_CERTIFICATES = ("none", "optional", "required")
DEFAULT_MYSQL_URL = "mysql://opensips@localhost/opensips"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a project says about itself; every value has passed its check.

    An empty ``database_url`` stands for the engine's own: the project's SQLite file, or for a real
    OpenSIPS `DEFAULT_MYSQL_URL` (`Project.settings` fills it in, and the password that is kept
    apart from it), an empty ``agent_server`` for the project's own server, an empty ``dns`` for the
    DNS servers of the system.
    """

    domain: str = "rcs.example"
    domains: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    engine: str = "embedded"
    listen: tuple[str, ...] = ("udp:127.0.0.1:5060", "tcp:127.0.0.1:5060")
    release: str = "3.0.2"
    prefix: str = ""
    dns: tuple[str, ...] = ()
    database_url: str = ""
    mi_transport: str = "fifo"
    mi_group: str = ""
    mi_http: str = "127.0.0.1:8888"
    trace_hep: str = ""
    tls_certificate: str = ""
    tls_private_key: str = ""
    tls_ca: str = ""
    tls_client_certificates: str = "none"
    ws_origins: tuple[str, ...] = ()
    digest_algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    digest_min_algorithm: str = "MD5"
    registrar_min_expires: int = 60
    registrar_max_expires: int = 3600
    registrar_flow_timer: int = 120
    offline_messages: int = 200
    offline_expires: int = 259_200
    proxy_redirects: str = "relay"
    limits: Limits = field(default_factory=Limits)
    content: Content = field(default_factory=Content)
    agent_server: str = ""
    agent_transport: str = "tcp"
    agent_bind: str = "127.0.0.1"
    agent_certificate: str = ""
    agent_private_key: str = ""
    agent_msrp_security: str = "auto"
    agent_display_notifications: bool = True
    agent_idle_timeout: int = 300
    agent_max_pager_size: int = 16384
    files_rules: tuple[str, ...] = ("accept size<=100MB",)
    files_max_size: int = 1 << 30
    files_reserve: int = 100_000_000
    files_resume_seconds: int = 300
    chat_front: str = "screen"
    chat_theme: str = "dark"
    chat_notifications: str = "desktop"
    chat_mouse: str = "on"
    chat_keys: tuple[tuple[str, str], ...] = ()
    agent_content: str = ""
    agent_content_hosts: tuple[str, ...] = ()

    @property
    def listen_addresses(self) -> tuple[Listen, ...]:
        """``listen`` as values."""
        return tuple(parse_listen(text) for text in self.listen)

    @property
    def all_domains(self) -> tuple[str, tuple[str, ...]]:
        """The domain, and the others that the embedded server has accounts of."""
        return self.domain, self.domains

    @property
    def file_rules(self) -> FileRules:
        """``files_rules`` as a value."""
        return FileRules.parse(self.files_rules, domain=self.domain)

    @property
    def upload_url(self) -> str:
        """Where the project's agents upload files: the content server that is named for them, or
        else the project's own; "" without one."""
        return self.agent_content or self.content.upload_url

    def local_server(self, transport: str | None = None) -> Listen | None:
        """Where an agent on this machine finds the project's server by ``transport``.

        ``transport`` is ``agent_transport`` unless given; None: the server does not listen so.
        """
        wanted = transport or self.agent_transport
        for name in ("tcp", "udp") if wanted == "auto" else (wanted,):
            for address in self.listen_addresses:
                if address.transport == name:
                    return address.reachable
        return None
