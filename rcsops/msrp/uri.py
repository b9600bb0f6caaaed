"""MSRP URIs and paths (RFC 4975 §6, §9)."""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from rcsops.errors import LocalProtocolError, MsrpParseError
from rcsops.limits import MSRP_PATH_URIS, MSRP_URI

DEFAULT_PORT = 2855

_URI = re.compile(
    r"([A-Za-z]+)://"
    r"(?:([^@/;\s]*)@)?"
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)"
    r"(?::([0-9]{1,5}))?"
    r"(?:/([A-Za-z0-9\-._~+=/%!$&'()*,:@]*))?"
    r"((?:;[^;\s<>\"]+)+)"
)
_SESSION_ID = re.compile(r"[A-Za-z0-9\-._~+=/]+")


@dataclass(frozen=True, slots=True, eq=False)
class MsrpUri:
    """One URI of a path: ``msrp://host:port/session-id;tcp``.

    ``host`` stands without brackets, ``port`` is None when it was not written, ``params`` holds
    what follows the transport, each as written. Two URIs are equal by the rules of RFC 4975 §6.1:
    the session-id counts with its case, the user part and the other parameters do not count.
    """

    host: str
    port: int | None
    session_id: str
    transport: str = "tcp"
    scheme: str = "msrp"
    userinfo: str = ""
    params: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "MsrpUri":
        """Read one URI; raise MsrpParseError when it is none (RFC 4975 §9)."""
        match = _URI.fullmatch(text) if len(text) <= MSRP_URI else None
        if match is None:
            raise MsrpParseError(f"not an MSRP URI: {text[:80]!r}")
        scheme, userinfo, host, digits, session_id, rest = match.groups()
        scheme = scheme.lower()
        if scheme not in ("msrp", "msrps"):
            raise MsrpParseError(f"not the scheme of an MSRP URI: {scheme[:20]!r}")
        port = int(digits) if digits is not None else None
        if port is not None and port > 65535:
            raise MsrpParseError(f"not a port: {port}")
        transport, *params = rest[1:].split(";")
        return cls(
            host.strip("[]"),
            port,
            session_id or "",
            transport,
            scheme,
            userinfo or "",
            tuple(params),
        )

    @classmethod
    def make(
        cls, host: str, port: int, session_id: str, *, secure: bool = False, transport: str = "tcp"
    ) -> "MsrpUri":
        """The URI of one of our own sessions; raise LocalProtocolError when it cannot be one."""
        if not _SESSION_ID.fullmatch(session_id):
            raise LocalProtocolError(f"not an MSRP session-id: {session_id!r}")
        scheme = "msrps" if secure else "msrp"
        return cls(host.strip("[]"), port, session_id, transport=transport, scheme=scheme)

    @property
    def secure(self) -> bool:
        """Whether TLS is asked for."""
        return self.scheme == "msrps"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to, with the default port where none is written."""
        return self.host, DEFAULT_PORT if self.port is None else self.port

    def same_session(self, other: "MsrpUri") -> bool:
        """Whether both carry the same session-id, whatever a middlebox did to the rest."""
        return bool(self.session_id) and self.session_id == other.session_id

    def _key(self) -> tuple[object, ...]:
        return (
            self.scheme,
            _host_key(self.host),
            self.port,
            self.session_id,
            self.transport.lower(),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MsrpUri):
            return NotImplemented
        # "If both have no session-id they match a relay"; a URI with one never equals one without,
        # which the comparison of the keys already says.
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        if self.port and self.session_id and not (self.userinfo or self.params or ":" in self.host):
            return f"{self.scheme}://{self.host}:{self.port}/{self.session_id};{self.transport}"
        user = f"{self.userinfo}@" if self.userinfo else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        session = f"/{self.session_id}" if self.session_id else ""
        params = ";".join((self.transport, *self.params))
        return f"{self.scheme}://{user}{host}{port}{session};{params}"


Path = tuple[MsrpUri, ...]


def _host_key(host: str) -> object:
    try:
        return ip_address(host)
    except ValueError:
        return host.lower()


@lru_cache(maxsize=256)
def _parse_path(text: str) -> Path:
    return tuple(map(MsrpUri.parse, text.split()))


def parse_path(text: str) -> Path:
    """Read the value of To-Path, From-Path or ``a=path``: URIs in visiting order, at least one.

    Raises MsrpParseError. The last URI is the endpoint itself (RFC 4975 §5).
    """
    if len(text) > MSRP_URI * 2:
        if text.count(" ") >= MSRP_PATH_URIS or len(text) > MSRP_URI * MSRP_PATH_URIS:
            raise MsrpParseError("a path with too many URIs")
        path = _parse_path.__wrapped__(text)
    else:
        path = _parse_path(text)
    if not path or len(path) > MSRP_PATH_URIS:
        raise MsrpParseError("a path with no URI, or too many")
    return path


def format_path(path: Path) -> str:
    """The text of a path, as it stands in To-Path, From-Path and ``a=path``."""
    return " ".join(map(str, path))
