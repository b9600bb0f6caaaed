"""What a configuration is made from: everything that its templates ask for."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from rcsops.errors import SettingsError
from rcsops.opensips.releases import MINIMAL_MODULES, Line
from rcsops.settings import Listen, parse_listen

# In front of SIP on the wire, and the port that a URI without one means (RFC 3261 §19.1.2,
# RFC 7118 §3): with these the SIP domain counts as ourselves.
_DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
_UNWRITABLE = re.compile(r'[\x00-\x1f\x7f"\\]')


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files, by absolute paths: what the server shows to clients, and ``ca`` with what it
    trusts ("" for nothing)."""

    certificate: str
    private_key: str
    ca: str = ""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What goes into secrets.cfg. ``database_url`` as OpenSIPS writes it."""

    database_url: str
    auth_secret: str
    route_key: str
    stored_key: str


@dataclass(frozen=True, slots=True)
class ConfigModel:
    """The configuration of one server; the defaults are those that config.cfg is rendered with.

    ``modules`` are those that may be loaded: what is an extra (ratelimit, dialog) is left out where
    it is missing. Times are in seconds, ``max_message`` in octets; rates are requests of one user
    (``user_rate``) and wrong passwords from one address (``guesses``) within ten seconds; ``flood``
    is what pike takes from one address within two seconds. ``hep`` is where copies of messages go
    ("" for none); they are sent from the port after it.
    """

    line: Line = (3, 0)
    domain: str = "rcs.example"
    listen: tuple[str, ...] = ("udp:127.0.0.1:5060", "tcp:127.0.0.1:5060")
    config_dir: str = "/usr/local/etc/opensips"
    run_dir: str = "/run/opensips"
    modules_dir: str = "/usr/local/lib64/opensips/modules"
    modules: frozenset[str] = frozenset(MINIMAL_MODULES)
    driver: str = "db_mysql"
    digest_algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    mi_group: str = ""
    mi_http: str = ""
    hep: str = ""
    tls: Tls | None = None
    workers: int = 4
    answer_seconds: int = 5
    ring_seconds: int = 120
    ping_seconds: int = 30
    min_expires: int = 60
    max_expires: int = 3600
    offline_messages: int = 200
    offline_expires: int = 259_200
    max_contacts: int = 5
    max_message: int = 32768
    flood: int = 200
    guesses: int = 20
    user_rate: int = 500

    def __post_init__(self) -> None:
        for name in (
            *("domain", "config_dir", "run_dir", "modules_dir", "mi_group", "mi_http", "hep"),
        ):
            quoted(getattr(self, name))
        for path in (self.config_dir, self.run_dir, self.modules_dir):
            # The server changes to / before it opens most of its files.
            if not Path(path).is_absolute():
                raise SettingsError(f"{path!r} is not an absolute path")
        if not self.listen:
            raise SettingsError("there is no address to listen at", hint="set listen")
        for address in self.addresses:
            if address.host in ("0.0.0.0", "::"):  # noqa: S104
                raise SettingsError(
                    f"{address} cannot stand in a Record-Route",
                    hint="name the addresses of this machine one by one",
                )
        wanted = sorted({"tls", "wss"} & set(self.transports))
        if wanted and self.tls is None:
            raise SettingsError(
                f"listen has {' and '.join(wanted)} addresses, but there is no certificate",
                hint="make one for a lab: rcsops certs; or name your own in [tls]",
            )

    @property
    def addresses(self) -> tuple[Listen, ...]:
        """``listen`` as values."""
        return tuple(parse_listen(text) for text in self.listen)

    @property
    def transports(self) -> tuple[str, ...]:
        """The transports of ``listen``, each once."""
        return tuple(dict.fromkeys(address.transport for address in self.addresses))

    @property
    def aliases(self) -> tuple[str, ...]:
        """The SIP domain at the ports that URIs for us may name."""
        found: dict[str, None] = {}
        for address in self.addresses:
            for port in (address.port, _DEFAULT_PORTS[address.transport]):
                found[f"{address.transport}:{self.domain}:{port}"] = None
        # A URI without transport= is UDP's, whether or not we listen there.
        found[f"udp:{self.domain}:5060"] = None
        return tuple(found)

    @property
    def own_uri(self) -> str:
        """A URI by which the server sends a request to itself."""
        order = {"udp": 0, "tcp": 1, "ws": 2, "tls": 3, "wss": 4}
        address = min(self.addresses, key=lambda each: order[each.transport])
        more = "" if address.transport == "udp" else f";transport={address.transport}"
        return f"sip:{address.host_port}{more}"

    @property
    def hep_socket(self) -> str:
        """The address that copies are sent from; "" where there are none."""
        if not self.hep:
            return ""
        host, _, port = self.hep.rpartition(":")
        return f"hep_udp:{host}:{int(port) + 1}"

    def has(self, module: str) -> bool:
        """Whether a module that the configuration can do without is there."""
        return module in self.modules


def quoted(text: str) -> str:
    """A string of a configuration; raises `SettingsError` for what one cannot hold."""
    if _UNWRITABLE.search(text):
        raise SettingsError(
            f"{text!r} cannot stand in a configuration of OpenSIPS",
            hint="quotes, backslashes and control characters are not possible there",
        )
    return f'"{text}"'


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
