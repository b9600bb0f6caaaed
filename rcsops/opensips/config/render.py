"""From a model to the files of a configuration: one template for each concern."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

import jinja2

from rcsops.opensips.config.dialect import dialect
from rcsops.opensips.config.model import ConfigModel, Secrets, quoted

MAIN = "opensips.cfg"
SECRETS = "secrets.cfg"

# The concerns in the order in which they stand in the file: name, and what is said beside it.
PARTS: tuple[tuple[str, str], ...] = (
    ("core", "processes, DNS, connections, addresses"),
    ("transactions", "replies, transactions, routes"),
    ("management", "MI: the FIFO, the socket, HTTP"),
    ("database", "which one"),
    ("location", "who is where: usrloc and registrar"),
    ("nat", "clients behind NAT"),
    ("digest", "passwords"),
    ("offline", "messages for users who are away"),
    ("limits", "floods and too many requests"),
    ("dialogs", "calls that are going on"),
    ("transports", "UDP, TCP, TLS, WebSocket"),
    ("trace", "copies of messages for `rcsops trace --follow`"),
    ("secrets", "what must not be read by everybody"),
    ("requests", "the way of every request"),
    ("nat_requests", "mending the addresses of clients behind NAT"),
    ("in_dialog", "ACK, BYE and other requests inside a dialog"),
    ("register", "REGISTER"),
    ("identity", "who sends this, and may they"),
    ("to_user", "INVITE, MESSAGE, OPTIONS to a user"),
    ("stored", "stored messages on their way out"),
    ("relay", "sending a request on"),
    ("replies", "what comes back, and what does not"),
)
METHODS = "INVITE, ACK, BYE, CANCEL, MESSAGE, OPTIONS, REGISTER"

_HEADING = re.compile(r"^# ==== ([a-z_]+) ====")


@dataclass(frozen=True, slots=True)
class Rendered:
    """The files of a configuration, by their names in its directory."""

    files: Mapping[str, str]

    @property
    def text(self) -> str:
        """opensips.cfg."""
        return self.files[MAIN]


def render(model: ConfigModel, secrets: Secrets | None = None) -> Rendered:
    """Renders a configuration; secrets.cfg only with ``secrets``.

    The same model gives the same text. Raises `SettingsError` when a value cannot be written.
    """
    values = _values(model)
    pieces = [template("head").render(values)]
    for name, title in PARTS:
        if name == "dialogs" and not model.has("dialog"):
            continue
        if name == "trace" and not model.hep:
            continue
        heading = f"# ==== {name} ==== {title}\n\n"
        pieces.append(heading + template(name).render(values).strip("\n") + "\n")
    files = {MAIN: "\n".join(pieces)}
    if secrets is not None:
        files[SECRETS] = template("secrets_file").render(
            database_url=secrets.database_url,
            auth_secret=secrets.auth_secret,
            route_key=secrets.route_key,
            stored_key=secrets.stored_key,
        )
    return Rendered(files)


def concerns(text: str) -> list[str]:
    """For each line of a configuration (also one changed by hand) the concern it belongs to, ""
    before the first."""
    found: list[str] = []
    current = ""
    for line in text.splitlines():
        heading = _HEADING.match(line)
        current = heading[1] if heading else current
        found.append(current)
    return found


def _values(model: ConfigModel) -> dict[str, object]:
    host, _, port = model.mi_http.rpartition(":")
    words = dialect(model.line, model.digest_algorithms, model.max_contacts)
    return words | {
        "line": f"{model.line[0]}.{model.line[1]}",
        "domain": model.domain,
        "listen": model.listen,
        "aliases": model.aliases,
        "own_uri": model.own_uri,
        "transports": model.transports,
        "by_connection": bool({"tls", "ws", "wss"} & set(model.transports)),
        "tls": model.tls,
        "config_dir": model.config_dir.rstrip("/"),
        "run_dir": model.run_dir.rstrip("/"),
        "modules_dir": model.modules_dir.rstrip("/"),
        "driver": model.driver,
        "dialog": model.has("dialog"),
        "ratelimit": model.has("ratelimit"),
        "mi_group": model.mi_group,
        "mi_mode": "0660" if model.mi_group else "0600",
        "mi_http": model.mi_http,
        "mi_http_host": host.strip("[]"),
        "mi_http_port": port,
        "hep": model.hep,
        "hep_socket": model.hep_socket,
        "methods": METHODS,
        "workers": model.workers,
        "answer_seconds": model.answer_seconds,
        "ring_seconds": model.ring_seconds,
        "ping_seconds": model.ping_seconds,
        "min_expires": model.min_expires,
        "max_expires": model.max_expires,
        "offline_messages": model.offline_messages,
        "offline_expires": model.offline_expires,
        "max_contacts": model.max_contacts,
        "max_message": model.max_message,
        "flood": model.flood,
        "guesses": model.guesses,
        "user_rate": model.user_rate,
    }


def template(name: str) -> jinja2.Template:
    """The template ``name``.cfg.j2 of this package."""
    return _environment().get_template(f"{name}.cfg.j2")


@functools.cache
def _environment() -> jinja2.Environment:
    # Nothing here is HTML: strings are quoted by the filter q, which refuses what would break out.
    environment = jinja2.Environment(  # noqa: S701
        loader=jinja2.PackageLoader("rcsops.opensips.config"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["q"] = quoted
    return environment
