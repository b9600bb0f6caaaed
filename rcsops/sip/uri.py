"""SIP, SIPS and tel URIs and their comparison (RFC 3261 §19.1, RFC 3966)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rcsops.errors import LocalProtocolError, SipParseError
from rcsops.sip.grammar import HOST, Params, is_host

_ESC = "%[0-9A-Fa-f]{2}"
# RFC 3261 §25.1. "#" is not in the grammar of a user, but phones send it (service codes).
_USER = rf"(?>(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/#]++|{_ESC})+)"
_PASSWORD = rf"(?>(?:[A-Za-z0-9\-_.!~*'()&=+$,]++|{_ESC})*)"
_PARAM_CHARS = rf"(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]++|{_ESC})"
_HEADER_CHARS = rf"(?:[A-Za-z0-9\-_.!~*'()\[\]/?:+$]++|{_ESC})"
_SIP = re.compile(
    rf"(sips?):(?:({_USER})(?>(?::({_PASSWORD}))?)@)?({HOST})(?>(?::([0-9]{{1,5}}+))?)"
    rf"((?>(?:;(?>{_PARAM_CHARS}+)(?>(?:=(?>{_PARAM_CHARS}*))?))*))"
    rf"(?>(?:\?((?>{_HEADER_CHARS}+)=(?>{_HEADER_CHARS}*)(?>(?:&(?>{_HEADER_CHARS}+)=(?>{_HEADER_CHARS}*))*)))?)",
    re.I | re.A,
)
# What nearly all URIs are, told apart in half the time: no password, no escapes, no headers, in
# lower case, a port that needs no check. Whatever it matches, _SIP would take apart the same way;
# all else is left to _SIP. Groups: user, host, port, parameters.
COMMON_URI = (
    r"sip:(?>(?:([A-Za-z0-9\-_.!~*'()&=+$,;?/#]++)@)?)([a-z0-9._\-]++)(?>(?::([0-5]?[0-9]{1,4}+))?)"
    r"((?>(?:;[A-Za-z0-9\-_.!~*'()\[\]/:&+$]++(?>(?:=[A-Za-z0-9\-_.!~*'()\[\]/:&+$]*+)?))*))"
)
_COMMON = re.compile(COMMON_URI)
_TEL = re.compile(
    rf"(tel):(\+[0-9.()\-]++|[0-9A-Fa-f*#.()\-]++)((?>(?:;(?>{_PARAM_CHARS}+)(?>(?:=(?>{_PARAM_CHARS}*))?))*))",
    re.I | re.A,
)
_OTHER = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+):([\x21\x23-\x3b\x3d\x3f-\x7e]++)")
_ESCAPES = re.compile(r"(?>(?:%[0-9A-Fa-f]{2})+)")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()")
_USER_SAFE = _UNRESERVED | frozenset(b"&=+$,;?/")
_PARAM_SAFE = _UNRESERVED | frozenset(b"[]/:&+$")
_HEADER_SAFE = _UNRESERVED | frozenset(b"[]/?:+$")
_SCHEMES = frozenset({"sip", "sips"})
_new = object.__new__
_TEL_SEPARATORS = str.maketrans("", "", "-.()")

# RFC 3261 §19.1.4: present in one URI only, these never match. The text names the first four, the
# section's examples ("can resolve to different transports") add transport.
_MUST_MATCH = ("user", "ttl", "method", "maddr", "transport")


def escape(text: str, safe: frozenset[int] = _USER_SAFE) -> str:
    """Escape a text for a URI (RFC 3261 §19.1.2); by default for its user part."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(octet) if octet in safe else f"%{octet:02X}" for octet in data)


def unescape(text: str) -> str:
    """Resolve %-escapes; octets that are not UTF-8 become surrogate escapes."""
    if "%" not in text:
        return text
    return _ESCAPES.sub(
        lambda run: bytes.fromhex(run[0].replace("%", "")).decode("utf-8", "surrogateescape"), text
    )


def _normalise(text: str) -> str:
    """Resolve escapes of unreserved characters only: the others differ from what they escape."""
    if "%" not in text:
        return text
    return _ESCAPES.sub(
        lambda run: "".join(
            chr(octet) if octet in _UNRESERVED else f"%{octet:02X}"
            for octet in bytes.fromhex(run[0].replace("%", ""))
        ),
        text,
    )


class Uri:
    """A URI; immutable. ``user``, ``password``, ``params`` and ``headers`` are kept escaped.

    ``scheme`` and ``host`` are in lower case and ``host`` has no brackets; ``str()`` gives a parsed
    URI back as it was written. Schemes other than sip, sips and tel are opaque: everything after
    the colon is in ``opaque``. A tel URI has its number in ``user``, and no host. ``is_sip`` says
    whether the scheme is sip or sips; ``params`` raises SipParseError when one appears twice
    (§19.1.1); ``headers`` are (name, value) of the header part. ``aor`` is the canonical address of
    record, ``sip:user@host`` without port and parameters (§10.3): sip and sips give the same one, a
    tel URI its number without visual separators.
    Two URIs are equal by the rules of RFC 3261 §19.1.4.
    """

    __slots__ = (
        "_header_text",
        "_param_text",
        "_text",
        "aor",
        "headers",
        "host",
        "is_sip",
        "params",
        "password",
        "port",
        "scheme",
        "user",
    )

    scheme: str
    user: str | None
    password: str | None
    host: str
    port: int | None
    params: Params
    headers: tuple[tuple[str, str], ...]
    is_sip: bool
    aor: str
    _param_text: str
    _header_text: str | None

    def __init__(
        self,
        scheme: str = "sip",
        user: str | None = None,
        host: str = "",
        port: int | None = None,
        params: Mapping[str, str | None] | Iterable[tuple[str, str | None]] = (),
        headers: Iterable[tuple[str, str]] = (),
        *,
        password: str | None = None,
    ) -> None:
        """A new sip or sips URI. Parts are given unescaped; a host may be a bare IPv6 address."""
        items = params.items() if isinstance(params, Mapping) else params
        if scheme not in ("sip", "sips"):
            raise LocalProtocolError(f"cannot build a {scheme} URI from parts")
        self.scheme = scheme
        self.user = None if user is None else escape(user)
        self.password = None if password is None else escape(password, _UNRESERVED)
        self.host = host.strip("[]").lower()
        if not is_host(self.host_text) or (port is not None and not 0 <= port <= 65535):
            raise LocalProtocolError(f"not a host and port: {host[:60]!r}, {port}")
        self.port = port
        self.params = Params(
            (escape(n, _PARAM_SAFE).lower(), None if v is None else escape(v, _PARAM_SAFE))
            for n, v in items
        )
        self.headers = tuple((escape(n, _HEADER_SAFE), escape(v, _HEADER_SAFE)) for n, v in headers)
        self._param_text = self._text = ""
        self._header_text = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Asked once only, of what a slot does not hold yet: from then on it costs no call.
            if name == "params":
                value = _parse_params(self._param_text)
            elif name == "headers":
                value = _parse_headers(self._header_text)
            elif name == "is_sip":
                value = self.scheme in _SCHEMES
            elif name == "aor":
                value = self._find_aor()
            else:
                raise AttributeError(name)
            setattr(self, name, value)
            return value

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Parse a URI. Raises SipParseError."""
        match = _COMMON.fullmatch(text)
        if match is not None:
            return common_uri(text, *match.groups())
        match = _SIP.fullmatch(text)
        uri = _new(Uri)
        uri._text = text
        if match is None:
            return _parse_other(uri, text)
        scheme, uri.user, uri.password, host, port, uri._param_text, uri._header_text = (
            match.groups()
        )
        uri.scheme = scheme.lower()
        uri.host = host[1:-1].lower() if host[0] == "[" else host.lower()
        uri.port = _port(port) if port else None
        return uri

    @property
    def opaque(self) -> str:
        """What follows the scheme of a URI that is not sip, sips or tel; "" for these."""
        if self.is_sip or self.scheme == "tel":
            return ""
        return self._text.partition(":")[2]

    @property
    def host_text(self) -> str:
        """The host as it stands in a URI: an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def host_port(self) -> str:
        """``host`` or ``host:port``, an IPv6 address in brackets."""
        return self.host_text if self.port is None else f"{self.host_text}:{self.port}"

    @property
    def username(self) -> str:
        """The user part with its escapes resolved, "" when there is none."""
        return unescape(self.user or "")

    def _find_aor(self) -> str:
        if self.is_sip:
            return (
                f"sip:{_normalise(self.user)}@{self.host_text}"
                if self.user
                else (f"sip:{self.host_text}")
            )
        if self.scheme == "tel":
            return f"tel:{(self.user or '').translate(_TEL_SEPARATORS).lower()}"
        return str(self)

    def param(self, name: str) -> str | None:
        """The value of a parameter with its escapes resolved; None if absent, "" for a flag."""
        name = name.lower()
        params = self.params
        if not dict.__contains__(params, name):
            return None
        value = params[name]
        return unescape(value) if value else ""

    def with_param(self, name: str, value: str | None = None) -> Uri:
        """A copy with a parameter (given unescaped; None makes a flag) set."""
        uri = self._copy()
        uri.params[escape(name, _PARAM_SAFE).lower()] = (
            None if value is None else escape(value, _PARAM_SAFE)
        )
        return uri

    def without_param(self, name: str) -> Uri:
        """A copy without a parameter."""
        uri = self._copy()
        uri.params.pop(name.lower(), None)
        return uri

    def without_headers(self) -> Uri:
        """The URI without its ``?headers``: they are not allowed in a Request-URI (§19.1.1)."""
        if not self.headers and self.is_sip and self._is_normal():
            return self
        uri = self._copy()
        uri.headers = ()
        return uri

    def _is_normal(self) -> bool:
        """Whether it was written with scheme and host in lower case, as a copy would be."""
        text = str(self)
        return text.startswith(self.scheme) and self.host in text

    def _copy(self) -> Uri:
        if not self.is_sip and self.scheme != "tel":
            raise LocalProtocolError(f"the parts of a {self.scheme} URI are not known")
        uri = _new(Uri)
        for slot in ("scheme", "user", "password", "host", "port"):
            setattr(uri, slot, getattr(self, slot))
        uri.params, uri.headers = Params(self.params), self.headers
        uri._param_text = uri._text = ""
        uri._header_text = None
        return uri

    def __str__(self) -> str:
        if not self._text:
            self._text = self._build()
        return self._text

    def _build(self) -> str:
        if not self.is_sip:
            return f"{self.scheme}:{self.user}{self.params}"
        password = "" if self.password is None else f":{self.password}"
        user = "" if self.user is None else f"{self.user}{password}@"
        headers = "&".join(f"{name}={value}" for name, value in self.headers)
        return f"{self.scheme}:{user}{self.host_port}{self.params}{'?' if headers else ''}{headers}"

    def __repr__(self) -> str:
        return f"Uri({str(self)!r})"

    def _key(self) -> tuple[object, ...]:
        """What must be the same in equal URIs."""
        if not self.is_sip:
            if self.scheme == "tel":
                pairs = ((n, _normalise(v or "").lower()) for n, v in self.params.items())
                return (self.aor, frozenset(pairs))
            return (self.scheme, self.opaque)
        user = None if self.user is None else _normalise(self.user)
        password = None if self.password is None else _normalise(self.password)
        params = self.params
        musts = tuple(
            _normalise(params[name] or "").lower() if name in params else None
            for name in _MUST_MATCH
        )
        headers = frozenset((_normalise(n).lower(), _normalise(v)) for n, v in self.headers)
        return (self.scheme, user, password, self.host, self.port, musts, headers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Uri):
            return NotImplemented
        if self._key() != other._key():
            return False
        if not self.is_sip:
            return True
        theirs = other.params
        for name, value in self.params.items():
            if name in theirs:
                their = theirs[name]
                if value != their and (
                    _normalise(value or "").lower() != _normalise(their or "").lower()
                ):
                    return False
        return True

    def __hash__(self) -> int:
        return hash(self._key())


def common_uri(text: str, user: str | None, host: str, port: str | None, params: str) -> Uri:
    """The URI of what `COMMON_URI` has matched."""
    uri = _new(Uri)
    uri._text = text
    uri.scheme = "sip"
    uri.user = user
    uri.host = host
    uri.port = int(port) if port else None
    uri._param_text = params
    uri.password = uri._header_text = None
    uri.headers = ()
    uri.is_sip = True
    if not params:
        uri.params = Params()
    return uri


def _port(text: str) -> int:
    port = int(text)
    if port > 65535:
        raise SipParseError(f"port out of range: {text}")
    return port


def _parse_params(text: str) -> Params:
    """``;name=value`` of a URI that the pattern has already checked."""
    params = Params()
    if not text:
        return params
    for piece in text[1:].split(";"):
        name, equals, value = piece.partition("=")
        name = name.lower()
        # RFC 3261 §19.1.1: a parameter name must not appear more than once.
        if dict.__contains__(params, name):
            raise SipParseError(f"URI parameter {name[:40]} appears twice")
        params[name] = value if equals else None
    return params


def _parse_headers(text: str | None) -> tuple[tuple[str, str], ...]:
    if not text:
        return ()
    pairs = (piece.partition("=") for piece in text.split("&"))
    return tuple((name, value) for name, _, value in pairs)


def _parse_other(uri: Uri, text: str) -> Uri:
    """A tel URI or one of a scheme that SIP only carries."""
    match = _TEL.fullmatch(text)
    uri.password = uri.port = uri._header_text = None
    uri.host = ""
    if match is not None:
        uri.scheme, uri.user, uri._param_text = "tel", match[2], match[3]
        return uri
    match = _OTHER.fullmatch(text)
    if match is None or match[1].lower() in ("sip", "sips", "tel"):
        raise SipParseError(f"not a URI: {text[:60]!r}")
    uri.scheme = match[1].lower()
    uri.user = None
    uri._param_text = ""
    return uri
