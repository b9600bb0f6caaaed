"""MSRP in SDP (RFC 4975 §8, RFC 4145, RFC 6135, RFC 5547, RFC 6714) and offer/answer (RFC 3264).

Paths, selectors and fingerprints stay text here: what they mean is known to the layers that own
them.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from rcsops.errors import LocalProtocolError, SdpParseError
from rcsops.sdp.description import (
    Connection,
    MediaDescription,
    SessionDescription,
    check_value,
)

PROTOCOLS = ("TCP/MSRP", "TCP/TLS/MSRP")
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
_DIRECTIONS = frozenset(DIRECTIONS)
REVERSED = {"sendonly": "recvonly", "recvonly": "sendonly"}

_KNOWN = {
    *DIRECTIONS,
    "path",
    "setup",
    "accept-types",
    "accept-wrapped-types",
    "max-size",
    "msrp-cema",
    "fingerprint",
    "file-selector",
    "file-transfer-id",
    "file-disposition",
    "file-date",
    "file-icon",
    "file-range",
}


class MsrpMedia(NamedTuple):
    """An ``m=message`` with MSRP.

    ``path`` is the text of ``a=path``, ``host`` the address of the ``c=`` line that holds for it,
    ``max_size`` in octets. ``setup`` is actpass, active, passive, or None when there is none.
    ``port`` 0 means refused. ``attributes`` are the other attributes, in order.
    """

    path: str
    host: str
    port: int
    setup: str | None = "actpass"
    accept_types: tuple[str, ...] = ("*",)
    accept_wrapped_types: tuple[str, ...] = ()
    max_size: int | None = None
    direction: str = "sendrecv"
    secure: bool = False
    cema: bool = False
    fingerprints: tuple[str, ...] = ()
    file_selector: str | None = None
    file_transfer_id: str | None = None
    file_disposition: str | None = None
    file_date: str | None = None
    file_icon: str | None = None
    file_range: str | None = None
    attributes: tuple[str, ...] = ()

    @classmethod
    def from_media(cls, session: SessionDescription, media: MediaDescription) -> "MsrpMedia":
        """Read an m= section; raise SdpParseError (488) when it is no MSRP that we can use."""
        if media.media != "message" or media.proto.upper() not in PROTOCOLS:
            raise SdpParseError(f"not MSRP: {media.media} {media.proto}", status=488)
        found = media.first_attributes()
        path = found.get("path", "").strip()
        if not path and media.port:
            raise SdpParseError("a message stream without a=path is no MSRP", status=488)
        connection = session.connection_for(media)
        setup = found.get("setup") or session.attribute("setup")
        if setup is not None:
            setup = setup.strip().lower()
            if setup not in ("actpass", "active", "passive"):
                raise SdpParseError(f"a=setup:{setup[:20]} cannot be used here", status=488)
        flags = _DIRECTIONS & found.keys()
        direction = next(iter(flags)) if len(flags) == 1 else ""
        if not direction or found[direction]:
            direction = session.direction_of(media)
        return cls(
            path=path,
            host="" if connection is None else connection.address,
            port=media.port,
            setup=setup,
            accept_types=tuple(found.get("accept-types", "").split()),
            accept_wrapped_types=tuple(found.get("accept-wrapped-types", "").split()),
            max_size=_size(found.get("max-size")),
            direction=direction,
            secure=media.proto.upper() == "TCP/TLS/MSRP",
            cema="msrp-cema" in found,
            fingerprints=tuple(
                (media if "fingerprint" in found else session).attributes("fingerprint")
            ),
            file_selector=found.get("file-selector"),
            file_transfer_id=found.get("file-transfer-id"),
            file_disposition=found.get("file-disposition"),
            file_date=found.get("file-date"),
            file_icon=found.get("file-icon"),
            file_range=found.get("file-range"),
            attributes=()
            if _KNOWN.issuperset(found)
            else tuple(
                value
                for kind, value in media.lines
                if kind == "a" and value.partition(":")[0] not in _KNOWN
            ),
        )

    def to_text(self, session_host: str = "") -> str:
        """The m= section; raise LocalProtocolError for a wrong value.

        It has its own c= line unless ``session_host`` is the same already.
        That the port and the host are those of our path is the caller's care: peers connect to
        the one or to the other.
        """
        if self.direction not in _DIRECTIONS:
            raise LocalProtocolError(f"not a direction: {self.direction!r}")
        check_value(self.path)
        own = ""
        if self.port and self.host != session_host:
            own = f"c={_connection_line(self.host)}\r\n"
        # But for that and the path, it is the same in every session of an agent.
        taken = _taken(
            self.setup,
            self.accept_types,
            self.accept_wrapped_types,
            self.max_size,
            self.fingerprints,
        )
        further = _further(self.attributes, self.cema, self.direction)
        return (
            f"m=message {self.port} {PROTOCOLS[self.secure]} *\r\n{own}a=path:{self.path}\r\n"
            f"{taken}{self._file_lines()}{further}"
        )

    def _file_lines(self) -> str:
        values = (
            ("file-selector", self.file_selector),
            ("file-transfer-id", self.file_transfer_id),
            ("file-disposition", self.file_disposition),
            ("file-date", self.file_date),
            ("file-icon", self.file_icon),
            ("file-range", self.file_range),
        )
        lines = [f"{name}:{value}" for name, value in values if value is not None]
        return _attributes(lines) if lines else ""


def find_msrp(session: SessionDescription) -> tuple[int, MsrpMedia]:
    """Index and contents of the first usable MSRP stream; raise SdpParseError (488) without one."""
    problem: SdpParseError | None = None
    for index, media in enumerate(session.media):
        if media.media != "message" or not media.port:
            continue
        try:
            return index, MsrpMedia.from_media(session, media)
        except SdpParseError as error:
            problem = error
    raise problem or SdpParseError("no MSRP stream is offered", status=488)


def make_offer(
    media: Sequence[MsrpMedia], *, username: str, host: str, session_id: int, version: int
) -> bytes:
    """A description of our streams (RFC 3264 §5); session_id and version are numbers below 2^63.

    ``username`` may not hold white space; ``host`` is our address for the o= line.
    """
    text = _session(username, host, session_id, version)
    text += "".join([stream.to_text(host) for stream in media])
    return text.encode("utf-8", "surrogateescape")


def make_answer(
    offer: SessionDescription,
    answers: Sequence[MsrpMedia | None],
    *,
    username: str,
    host: str,
    session_id: int,
    version: int,
) -> bytes:
    """An answer with one m= line for each of the offer, in its order (RFC 3264 §6).

    None, or nothing where ``answers`` is shorter, refuses a stream by port 0.
    """
    if len(answers) > len(offer.media):
        raise LocalProtocolError("an answer cannot have more streams than the offer")
    text = _session(username, host, session_id, version)
    for index, offered in enumerate(offer.media):
        stream = answers[index] if index < len(answers) else None
        if stream is None:
            text += str(MediaDescription(offered.media, 0, offered.proto, offered.formats))
        else:
            secure = "TLS" in offered.proto.upper()
            if stream.secure is not secure:
                stream = stream._replace(secure=secure)
            text += stream.to_text(host)
    return text.encode("utf-8", "surrogateescape")


def answer_setup(offered: str | None, *, can_listen: bool = True, prefer: str = "active") -> str:
    """The role to answer with: active or passive (RFC 4145 §4.1, RFC 6135 §4.2).

    ``prefer`` decides when the offer leaves the choice (actpass). Without a=setup the offerer
    opens the connection (RFC 4975 §5.4). Raises SdpParseError (488) when we had to listen and
    cannot.
    """
    if offered == "passive" or (offered == "actpass" and (prefer == "active" or not can_listen)):
        return "active"
    if not can_listen:
        raise SdpParseError("the peer wants to connect and we cannot listen", status=488)
    return "passive"


def offerer_is_active(offered: str | None, answered: str | None) -> bool:
    """Whether the offerer opens the connection, given both a=setup values (None: absent).

    Raises SdpParseError (488) when the answer contradicts the offer.
    """
    if offered is None or answered is None:
        # An answer that says nothing leaves the old rule, or what the offer fixed by itself.
        return offered != "passive"
    if answered == "actpass" or (offered == answered and offered != "actpass"):
        raise SdpParseError(f"a=setup:{answered} is no answer to {offered}", status=488)
    return answered == "passive"


def reverse_direction(offered: str) -> str:
    """The widest direction that an answer may have (RFC 3264 §6.1)."""
    return REVERSED.get(offered, offered)


@lru_cache(maxsize=64)
def _taken(
    setup: str | None,
    accept_types: tuple[str, ...],
    accept_wrapped_types: tuple[str, ...],
    max_size: int | None,
    fingerprints: tuple[str, ...],
) -> str:
    """The lines of what a stream takes, and how it is connected."""
    lines = [f"setup:{setup}"] if setup is not None else []
    lines.append(f"accept-types:{' '.join(accept_types)}")
    if accept_wrapped_types:
        lines.append(f"accept-wrapped-types:{' '.join(accept_wrapped_types)}")
    if max_size is not None:
        lines.append(f"max-size:{max_size}")
    return _attributes([*lines, *[f"fingerprint:{value}" for value in fingerprints]])


@lru_cache(maxsize=64)
def _further(attributes: tuple[str, ...], cema: bool, direction: str) -> str:
    """The last lines of a stream."""
    return _attributes([*attributes, *(["msrp-cema"] if cema else []), direction])


def _attributes(values: Iterable[str]) -> str:
    return "".join([f"a={check_value(value)}\r\n" for value in values])


def _session(username: str, host: str, session_id: int, version: int) -> str:
    before, after = _around(username, host)
    return f"{before} {session_id} {version} {after}"


@lru_cache(maxsize=64)
def _around(username: str, host: str) -> tuple[str, str]:
    """What stands before and after the two numbers of the lines above the streams."""
    if not username or username.split() != [username]:
        raise LocalProtocolError(f"not a user name of SDP: {username!r}")
    address = _connection_line(host)
    before = f"v=0\r\no={check_value(username)}"
    return before, f"{address}\r\ns=-\r\nc={address}\r\nt=0 0\r\n"


@lru_cache(maxsize=64)
def _connection_line(host: str) -> str:
    return check_value(str(Connection.to(host)))


def _size(value: str | None) -> int | None:
    if value is None:
        return None
    value = value.strip()
    if not value.isascii() or not value.isdigit() or len(value) > 18:
        raise SdpParseError(f"not a max-size: {value[:40]!r}")
    return int(value)
