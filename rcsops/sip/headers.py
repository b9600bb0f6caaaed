"""The values of header fields: addresses, Via, CSeq, media types (RFC 3261 §20, §25.1).

All of them are immutable. ``str()`` gives a parsed value back as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from rcsops.errors import LocalProtocolError, SipParseError
from rcsops.sip.grammar import (
    HOST,
    PARAMS,
    QUOTED,
    TOKEN_CLASS,
    Params,
    is_host,
    is_token,
    make_params,
    param_name,
    param_value,
    parse_number,
    parse_params,
    quote,
    unquote,
)
from rcsops.sip.uri import COMMON_URI, Uri, common_uri

# A tag or branch that comes first is caught on the way: it is all that most readers want.
_NAME_ADDR = re.compile(
    # Without quotes RFC 3261 allows tokens only; anything that cannot be mistaken is accepted.
    rf'(?:({QUOTED})[ \t]*+|([^"<>,;:\x00-\x08\x0a-\x1f\x7f]*+))<([^<>]*+)>[ \t]*+'
    rf"(?>(?:;tag=([{TOKEN_CLASS}]++)(?=;|\Z))?)({PARAMS})",
    re.S,
)
# The common name-addr with its common URI in one pass. Whatever it matches, _NAME_ADDR and `Uri`
# would take apart the same way; all else is left to them. Groups: display name, URI, the four of
# the URI, parameters, the tag that comes first.
_COMMON_ADDR = re.compile(
    rf'("[^"\\]*+"|[{TOKEN_CLASS}]*+(?>(?: [{TOKEN_CLASS}]++)*)) ?+<({COMMON_URI})>'
    rf"((?>(?:;tag=([{TOKEN_CLASS}]++)(?=;|\Z))?){PARAMS})",
    re.S,
)
# RFC 3261 §20.10: without <>, what follows ";" belongs to the header, and "?" or "," must not be.
_ADDR_SPEC = re.compile(rf'([A-Za-z][A-Za-z0-9+.\-]*+:[^ \t<>",;?]++)[ \t]*+({PARAMS})', re.S)
_VIA = re.compile(
    rf"([{TOKEN_CLASS}]++)[ \t]*+/[ \t]*+([{TOKEN_CLASS}]++)[ \t]*+/[ \t]*+([{TOKEN_CLASS}]++)"
    rf"[ \t]++({HOST})[ \t]*+(?>(?::[ \t]*+([0-9]{{1,5}}+)[ \t]*+)?)"
    rf"(?>(?:;branch=([{TOKEN_CLASS}]++)(?=;|\Z))?)({PARAMS})",
    re.S,
)
# The same for Via, in capitals and lower case as all write it.
_COMMON_VIA = re.compile(
    rf"SIP/2\.0/([A-Z]++) ([a-z0-9._\-]++)(?>(?::([0-5]?[0-9]{{1,4}}+))?)"
    rf"(?>(?:;branch=([{TOKEN_CLASS}]++)(?=;|\Z))?)((?>(?:;[{TOKEN_CLASS}]++(?>(?:=[{TOKEN_CLASS}]++)?))*))"
)
_CSEQ = re.compile(rf"([0-9]++)[ \t]++([{TOKEN_CLASS}]++)")
_MEDIA_TYPE = re.compile(
    rf"([{TOKEN_CLASS}]++)[ \t]*+/[ \t]*+([{TOKEN_CLASS}]++)[ \t]*+(;.*+)?", re.S
)
# How many addresses are remembered, and up to which length: a peer chooses what stands there.
_REMEMBERED = 512
_LONGEST = 512
METHODS = {"INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "MESSAGE", "UPDATE", "NOTIFY"}
_new = object.__new__
_new_tuple = tuple.__new__
_DISPLAY_TOKENS = re.compile(rf"(?>(?:[{TOKEN_CLASS}]++(?>(?:[ \t]++[{TOKEN_CLASS}]++)*))?)")


class NameAddr:
    """``"Display" <uri>;param=value`` of From, To, Contact, Route and their like (§20.10).

    ``uri`` is the URI, and raises SipParseError when it is none; ``params`` holds the header's
    parameters as on the wire (see `Params`), and raises it when one appears twice; ``tag`` is that
    of From and To, or None. What has not been parsed yet is parsed when it is first asked for.
    ``param`` gives the parameters' values unquoted.
    """

    __slots__ = ("_display", "_param_text", "_text", "params", "tag", "uri", "uri_text")

    uri: Uri
    uri_text: str
    params: Params
    tag: str | None
    _display: str  # as on the wire
    _param_text: str

    def __init__(
        self,
        uri: Uri | str,
        display: str = "",
        params: Mapping[str, str | None] | Iterable[tuple[str, str | None]] = (),
    ) -> None:
        """A new address; parameter values are quoted where they must be."""
        if isinstance(uri, Uri):
            self.uri = uri
        self.uri_text = str(uri)
        if any(char in "<>\r\n" for char in self.uri_text):
            raise LocalProtocolError(f"not a URI: {self.uri_text[:60]!r}")
        self._display = display if _DISPLAY_TOKENS.fullmatch(display) else quote(display)
        self.params = make_params(params)
        self._param_text = self._text = ""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Asked once only, of what a slot does not hold yet: from then on it costs no call.
            if name == "uri":
                value = Uri.parse(self.uri_text)
            elif name == "params":
                value = parse_params(self._param_text)
            elif name == "tag":
                value = dict.get(self.params, "tag")
            else:
                raise AttributeError(name)
            setattr(self, name, value)
            return value

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Parse one name-addr or addr-spec with its parameters. Raises SipParseError."""
        return parse_address(text.strip(" \t"))

    @property
    def display(self) -> str:
        """The display name without quotes, "" when there is none."""
        return unquote(self._display)

    def param(self, name: str) -> str | None:
        """A header parameter, unquoted; None when absent, "" for a flag."""
        if name not in self.params:
            return None
        return unquote(self.params[name] or "")

    def with_param(self, name: str, value: str | None = None) -> NameAddr:
        """A copy with a header parameter set; the value is quoted if it must be, None is a flag."""
        address = self._copy()
        address.params[param_name(name)] = param_value(value)
        return address

    def without_param(self, name: str) -> NameAddr:
        """A copy without a header parameter."""
        address = self._copy()
        address.params.pop(name.lower(), None)
        return address

    def _copy(self) -> NameAddr:
        address = _new(NameAddr)
        address.uri_text, address._display = self.uri_text, self._display
        address.params = Params(self.params)
        address._param_text = address._text = ""
        return address

    def __str__(self) -> str:
        if not self._text:
            display = self._display
            self._text = f"{display}{' ' if display else ''}<{self.uri_text}>{self.params}"
        return self._text

    def __repr__(self) -> str:
        return f"NameAddr({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        """Equal URIs and parameters; the display name does not count (RFC 3261 §20.20)."""
        if not isinstance(other, NameAddr):
            return NotImplemented
        return self.params == other.params and self.uri == other.uri

    def __hash__(self) -> int:
        return hash(self.uri)


class Via:
    """One hop of a Via header (RFC 3261 §20.42).

    ``transport`` is in upper case, ``host`` in lower case without brackets. ``rport`` is None both
    when absent and when it is a flag without a value (RFC 3581); ``has_rport`` tells these apart.
    ``branch`` is the transaction's identifier (§8.1.1.7), or None. ``params`` are all parameters,
    and raise SipParseError when one appears twice.
    """

    __slots__ = (
        "_branch",
        "_param_text",
        "_text",
        "branch",
        "host",
        "params",
        "port",
        "protocol",
        "transport",
    )

    protocol: str
    transport: str
    host: str
    port: int | None
    params: Params
    branch: str | None
    _param_text: str
    _branch: str | None  # where it stands first

    def __init__(
        self,
        transport: str,
        host: str,
        port: int | None = None,
        params: Mapping[str, str | None] | Iterable[tuple[str, str | None]] = (),
    ) -> None:
        """A new Via, for example ``Via("TCP", "192.0.2.1", 5060, {"branch": branch})``."""
        self.protocol = "SIP/2.0"
        self.transport = transport.upper()
        self.host = host.strip("[]").lower()
        self.port = port
        if not is_token(transport) or not is_host(self.host_text):
            raise LocalProtocolError(f"not a transport and host: {transport!r} {host[:60]!r}")
        self.params = make_params(params)
        self._param_text = self._text = ""
        self._branch = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name == "params":
                branch = "" if self._branch is None else f";branch={self._branch}"
                value = parse_params(branch + self._param_text)
            elif name == "branch":
                value = self._find_branch()
            else:
                raise AttributeError(name)
            setattr(self, name, value)
            return value

    @classmethod
    def parse(cls, text: str) -> Via:
        """Parse one hop. Raises SipParseError."""
        return parse_via(text.strip(" \t"))

    @property
    def host_text(self) -> str:
        """The host with brackets if it is an IPv6 address."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def sent_by(self) -> str:
        """``host`` or ``host:port`` as it stands in the header."""
        return self.host_text if self.port is None else f"{self.host_text}:{self.port}"

    def _find_branch(self) -> str | None:
        if '"' not in (text := self._param_text):
            # Most servers put other parameters before it.
            _, found, rest = text.partition(";branch=")
            if found:
                return rest.partition(";")[0]
        return dict.get(self.params, "branch")

    @property
    def received(self) -> str | None:
        """The ``received`` parameter without brackets (RFC 5118 §4.5)."""
        received = dict.get(self.params, "received")
        return received.strip("[]") if received else None

    @property
    def maddr(self) -> str | None:
        """The ``maddr`` parameter without brackets."""
        maddr = dict.get(self.params, "maddr")
        return maddr.strip("[]") if maddr else None

    @property
    def has_rport(self) -> bool:
        """Whether the sender asks for RFC 3581, or its server has answered."""
        return dict.__contains__(self.params, "rport")

    @property
    def rport(self) -> int | None:
        """The port that the request came from. Raises SipParseError when it is no port."""
        value = dict.get(self.params, "rport")
        return None if value is None else parse_number(value, "rport", 65535)

    def with_params(
        self, params: Mapping[str, str | None] | None = None, **more: str | int | None
    ) -> Via:
        """A copy with parameters set: ``via.with_params(received="192.0.2.1", rport=5060)``.

        None makes a flag without a value.
        """
        via = _new(Via)
        via.protocol, via.transport = self.protocol, self.transport
        via.host, via.port = self.host, self.port
        own = via.params = Params(self.params)
        for name, value in {**(params or {}), **more}.items():
            own[param_name(name)] = param_value(None if value is None else str(value))
        via._param_text = via._text = ""
        via._branch = None
        return via

    def __str__(self) -> str:
        if not self._text:
            self._text = f"{self.protocol}/{self.transport} {self.sent_by}{self.params}"
        return self._text

    def __repr__(self) -> str:
        return f"Via({str(self)!r})"

    def _key(self) -> tuple[str, str, str, int | None]:
        return (self.protocol, self.transport, self.host, self.port)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Via):
            return NotImplemented
        return self._key() == other._key() and self.params == other.params

    def __hash__(self) -> int:
        return hash((self._key(), self.branch))


def parse_address(text: str) -> NameAddr:
    """`NameAddr.parse` for a text that is stripped.

    The same addresses stand in all messages of a call, so those met last are remembered.
    """
    return _read_address(text) if len(text) > _LONGEST else known_address(text)


def _read_address(text: str) -> NameAddr:
    address = _new(NameAddr)
    address._text = text
    match = _COMMON_ADDR.fullmatch(text)
    if match is not None:
        (
            address._display,
            address.uri_text,
            user,
            host,
            port,
            uri_params,
            address._param_text,
            tag,
        ) = match.groups()
        address.uri = common_uri(address.uri_text, user, host, port, uri_params)
        # With more parameters there could be a second tag, which is for `params` to find.
        if tag is None:
            if not address._param_text:
                address.tag = None
        elif len(address._param_text) == len(tag) + 5:
            address.tag = tag
        return address
    match = _NAME_ADDR.fullmatch(text)
    if match is None:
        match = _ADDR_SPEC.fullmatch(text)
        if match is None:
            raise SipParseError(f"not an address: {text[:60]!r}")
        address.uri_text, address._param_text = match.groups()
        address._display = ""
        return address
    quoted, plain, address.uri_text, tag, rest = match.groups()
    address._display = quoted if plain is None else plain.rstrip(" \t")
    if tag is None:
        address._param_text = rest
    else:
        address._param_text = f";tag={tag}{rest}"
        if not rest:
            address.tag = tag
    return address


known_address = lru_cache(maxsize=_REMEMBERED)(_read_address)


def parse_via(text: str) -> Via:
    """`Via.parse` for a text that is stripped.

    Our own stands in every response to a request, and the topmost is read twice: alone to find the
    transaction, then with the others. So those met last are remembered as well.
    """
    return _read_via(text) if len(text) > _LONGEST else known_via(text)


def _read_via(text: str) -> Via:
    via = _new(Via)
    via._text = text
    match = _COMMON_VIA.fullmatch(text)
    if match is not None:
        via.transport, via.host, port, via._branch, via._param_text = match.groups()
        via.protocol = "SIP/2.0"
        via.port = int(port) if port else None
        if via._branch is not None:
            via.branch = via._branch
        return via
    match = _VIA.fullmatch(text)
    if match is None:
        raise SipParseError(f"not a Via: {text[:60]!r}")
    name, version, transport, host, port, branch, rest = match.groups()
    via.protocol = "SIP/2.0" if name == "SIP" and version == "2.0" else f"{name.upper()}/{version}"
    via.transport = transport.upper()
    via.host = host[1:-1].lower() if host[0] == "[" else host.lower()
    via.port = None
    if port:
        via.port = int(port)
        if via.port > 65535:
            raise SipParseError(f"port out of range: {port}")
    via._branch = branch
    if branch is not None:
        via.branch = branch
    via._param_text = rest
    return via


known_via = lru_cache(maxsize=_REMEMBERED)(_read_via)


class CSeq(NamedTuple):
    """``number method`` (RFC 3261 §20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Parse a CSeq. Raises SipParseError; the number must be below 2**31 (§8.1.1.5)."""
        digits, _, method = text.partition(" ")
        if method in METHODS and len(digits) < 10 and digits.isascii() and digits.isdigit():
            return _new_tuple(cls, (int(digits), method))
        match = _CSEQ.fullmatch(text)
        if match is None:
            raise SipParseError(f"not a CSeq: {text[:60]!r}")
        return cls(parse_number(match[1], "CSeq", 2**31 - 1), match[2])

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


class MediaType(NamedTuple):
    """A Content-Type (RFC 3261 §20.15): ``type_`` is "application/sdp", lower case, no parameters.

    ``params`` are as on the wire; `param` unquotes.
    """

    type_: str
    params: Params

    @classmethod
    def parse(cls, text: str) -> MediaType:
        """Parse a media type. Raises SipParseError."""
        if text == "application/sdp":
            return _SDP
        match = _MEDIA_TYPE.fullmatch(text)
        if match is None:
            raise SipParseError(f"not a media type: {text[:60]!r}")
        return cls(
            f"{match[1]}/{match[2]}".lower(), parse_params(match[3]) if match[3] else Params()
        )

    @property
    def main(self) -> str:
        """The part before the slash."""
        return self.type_.partition("/")[0]

    @property
    def subtype(self) -> str:
        """The part after the slash."""
        return self.type_.partition("/")[2]

    def param(self, name: str) -> str | None:
        """A parameter, unquoted; None when absent, "" for a flag."""
        if name not in self.params:
            return None
        return unquote(self.params[name] or "")

    def __hash__(self) -> int:
        return hash(self.type_)

    def __str__(self) -> str:
        return f"{self.type_}{self.params}"


_SDP = MediaType("application/sdp", Params())
