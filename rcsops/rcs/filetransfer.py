"""A file over MSRP in a session of its own (RFC 5547)."""

import re
import unicodedata
from dataclasses import dataclass, field
from urllib.parse import unquote

from rcsops.errors import LocalProtocolError, SdpParseError
from rcsops.msrp import ByteRange, MsrpParseError, Path
from rcsops.rcs.filedate import file_date, modification_date
from rcsops.rcs.negotiation import (
    Agreement,
    LocalStream,
    accept_answer,
    answer_stream,
    choose_setup,
    offer_stream,
    offered_setup,
)
from rcsops.sdp import MsrpMedia, SessionDescription, find_msrp

MAX_NAME = 200
"""Octets of a name that a file is saved under; file systems take 255, and we may add a number."""

_PART = re.compile(
    r"name:\"(?P<name>[^\"]*)\"|type:(?P<type>[^\s\";]+(?:;\s*[^\s=\"]+=(?:\"[^\"]*\"|[^\s;\"]+))*)"
    r"|size:(?P<size>[0-9]{1,18})|hash:(?P<alg>[A-Za-z0-9\-]+):(?P<hash>[0-9A-Fa-f:]+)"
)
_ESCAPED = re.compile(r"[\x00\r\n\"%]")
_RESERVED_NAMES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE)
_RESERVED = re.compile(r"[<>:\"|?*]")


@dataclass(frozen=True, slots=True)
class FileSelector:
    """What file is meant: name, MIME type, size in octets, hashes in lower-case hex (§6).

    The RFC knows SHA-1 alone; a second hash, SHA-256, is skipped by who does not know it.
    """

    name: str | None = None
    type: str | None = None
    size: int | None = None
    sha1: str | None = None
    sha256: str | None = None

    @classmethod
    def parse(cls, text: str) -> "FileSelector":
        """Read ``a=file-selector``; raise SdpParseError. Parts that we do not know are skipped."""
        found: dict[str, str] = {}
        position = 0
        while position < len(text):
            if text[position] in " \t":
                position += 1
                continue
            match = _PART.match(text, position)
            if match is None:
                position = _skip(text, position)
                continue
            position = match.end()
            if position < len(text) and text[position] not in " \t":
                raise SdpParseError(f"not a file-selector: {text[:80]!r}")
            parts = match.groupdict()
            found.update({key: value for key, value in parts.items() if value is not None})
            if parts["alg"]:
                algorithm = parts["alg"].lower().replace("-", "")
                found[algorithm] = parts["hash"].replace(":", "").lower()
        sha1, sha256 = found.get("sha1"), found.get("sha256")
        if sha1 is not None and len(sha1) != 40:
            raise SdpParseError("a SHA-1 has 20 octets")
        size = found.get("size")
        return cls(
            None if "name" not in found else unquote(found["name"], errors="replace"),
            found.get("type"),
            None if size is None else int(size),
            sha1,
            sha256 if sha256 is not None and len(sha256) == 64 else None,
        )

    def __str__(self) -> str:
        parts = []
        if self.name is not None:
            name = _ESCAPED.sub(lambda match: f"%{ord(match[0]):02X}", self.name)
            parts.append(f'name:"{name}"')
        if self.type is not None:
            parts.append(f"type:{self.type}")
        if self.size is not None:
            parts.append(f"size:{self.size}")
        for algorithm, digest in (("sha-1", self.sha1), ("sha-256", self.sha256)):
            if digest is not None:
                digits = digest.upper()
                pairs = ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))
                parts.append(f"hash:{algorithm}:{pairs}")
        return " ".join(parts)

    def selects(self, file: "FileSelector") -> bool:
        """Whether ``file`` is one that is asked for: all that is said here is true of it (§8.3)."""
        pairs = (
            (self.name, file.name),
            (self.type and self.type.lower(), file.type and file.type.lower()),
            (self.size, file.size),
            (self.sha1, file.sha1),
            (self.sha256, file.sha256),
        )
        said = [(wanted, found) for wanted, found in pairs if wanted is not None]
        return bool(said) and all(wanted == found for wanted, found in said)


@dataclass(frozen=True, slots=True)
class FileOffer:
    """A file that a peer offers (push) or asks for (pull).

    ``start`` and ``stop`` are the octets of the file that are meant, counted from 1 (``stop``
    None: to its end); others than 1 and None resume a transfer (§7, file-range).
    ``modified`` is when the file was changed last, in seconds since 1970, as who has it says
    (file-date); None when that is not said, or not so that it can be read.
    """

    push: bool
    selector: FileSelector
    transfer_id: str
    disposition: str = "attachment"
    start: int = 1
    stop: int | None = None
    icon: str | None = None
    modified: float | None = None
    media: MsrpMedia | None = field(default=None, repr=False)
    index: int = 0


def file_stream(
    path: Path,
    *,
    send: bool,
    content_type: str = "*",
    max_size: int | None = None,
    can_listen: bool = True,
    prefer: str = "active",
    fingerprints: tuple[str, ...] = (),
) -> LocalStream:
    """Our side of a transfer: ``send`` for the side that has the file.

    A path of ``msrps`` URIs goes with the ``fingerprints`` of our certificate.
    """
    kind = content_type.partition(";")[0].strip() or "*"
    return LocalStream(
        path,
        (kind,),
        max_size=max_size,
        direction="sendonly" if send else "recvonly",
        can_listen=can_listen,
        prefer=prefer,
        fingerprints=fingerprints,
        cema=True,
    )


def file_offer(
    stream: LocalStream,
    file: FileOffer,
    *,
    session_id: int,
    version: int | None = None,
) -> bytes:
    """Offer a file (``stream`` sends, ``file.push``) or ask for one (RFC 5547 §8.2)."""
    if file.push != (stream.direction == "sendonly"):
        raise LocalProtocolError("a push is sent, a pull is received")
    media = _with_file(stream.media(offered_setup(stream)), file)
    return offer_stream(media, session_id, version)


def read_file_offer(offer: SessionDescription) -> FileOffer:
    """The file that an offer is about; raise SdpParseError (488) when it is about none."""
    index, media = find_msrp(offer)
    if media.file_selector is None:
        raise SdpParseError("no file is offered", status=488)
    if media.direction not in ("sendonly", "recvonly"):
        raise SdpParseError("a file goes in one direction", status=488)
    start, stop = 1, None
    if media.file_range is not None:
        start, stop = _file_range(media.file_range)
    return FileOffer(
        push=media.direction == "sendonly",
        selector=FileSelector.parse(media.file_selector),
        transfer_id=(media.file_transfer_id or "").strip(),
        disposition=(media.file_disposition or "attachment").strip().lower(),
        start=start,
        stop=stop,
        icon=media.file_icon,
        modified=said_modified(media),
        media=media,
        index=index,
    )


def file_answer(
    offer: SessionDescription,
    file: FileOffer,
    stream: LocalStream,
    *,
    session_id: int,
    version: int | None = None,
) -> tuple[bytes, Agreement]:
    """Accept what ``read_file_offer`` read; raise SdpParseError with the status to refuse it by.

    For a push the selector goes back as it came; for a pull ``file`` should hold the selector of
    the file that was found.
    """
    offered = file.media
    if offered is None:
        raise LocalProtocolError("only an offer that was read can be answered")
    if file.push == (stream.direction == "sendonly"):
        raise LocalProtocolError("a push is received, a pull is sent")
    media = _with_file(stream.media(choose_setup(offered, stream)), file)
    if file.push:
        media = media._replace(
            file_selector=offered.file_selector, accept_types=offered.accept_types
        )
    return answer_stream(offer, file.index, offered, media, stream, session_id, version)


def file_accepted(stream: LocalStream, answer: SessionDescription) -> Agreement:
    """What the answer to our offer agrees on; raise SdpParseError (488) when it refuses."""
    agreement = accept_answer(stream, answer)
    if agreement.remote.direction in (stream.direction, "inactive"):
        raise SdpParseError("both sides want the same direction", status=488)
    return agreement


def answered_start(answer: MsrpMedia) -> int:
    """The octet, counted from 1, that the answer to an offer begins with: who does not know
    file-range sends or takes the whole file. Raises SdpParseError (488)."""
    return 1 if answer.file_range is None else _file_range(answer.file_range)[0]


def said_modified(media: MsrpMedia) -> float | None:
    """When the side that sent this description says that the file was modified (seconds since
    1970); None when it does not, or not so that it can be read."""
    return None if media.file_date is None else modification_date(media.file_date)


def _with_file(media: MsrpMedia, file: FileOffer) -> MsrpMedia:
    resumed = file.start > 1 or file.stop is not None
    stop = "*" if file.stop is None else file.stop
    # Who has the file knows its date.
    modified = file.modified if media.direction == "sendonly" else None
    return media._replace(
        file_selector=str(file.selector),
        file_transfer_id=file.transfer_id or None,
        file_disposition=file.disposition if file.push else None,
        file_date=None if modified is None else file_date(modified),
        file_icon=file.icon if file.push else None,
        file_range=f"{file.start}-{stop}" if resumed else None,
    )


def _file_range(text: str) -> tuple[int, int | None]:
    try:
        span = ByteRange.parse(text.strip() + "/*")
    except MsrpParseError as error:
        raise SdpParseError(f"not a file-range: {text[:40]!r}") from error
    if span.end is not None and span.end < span.start:
        raise SdpParseError(f"not a file-range: {text[:40]!r}")
    return span.start, span.end


def safe_name(name: str, fallback: str = "file") -> str:
    """A name under which a peer's file can be saved in a directory of ours.

    Directories, control and direction-changing characters, leading dots, and what some file
    system reserves are taken out; letters of any script stay. At most 200 octets of UTF-8, with
    the extension kept. Whether that name is free is the caller's care.
    """
    # The peer's directories may be of either kind, whatever ours are.
    name = name[-4096:].replace("\\", "/").rpartition("/")[2]
    # Cc, Cf, Cs, Co, Cn: control, format (bidirectional overrides), surrogates, and no characters.
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C")
    # Afterwards: what stood between a letter and its accent is gone now.
    name = unicodedata.normalize("NFC", name)
    name = "".join(" " if unicodedata.category(c)[0] == "Z" else c for c in name)
    name = _RESERVED.sub("_", name).strip(" .")
    if _RESERVED_NAMES.match(name):
        name = f"_{name}"
    if len(name.encode()) > MAX_NAME:
        stem, dot, extension = name.rpartition(".")
        if not dot or len(extension.encode()) > 20:
            stem, dot, extension = name, "", ""
        room = MAX_NAME - len((dot + extension).encode())
        name = stem.encode()[:room].decode("utf-8", "ignore").rstrip(" .") + dot + extension
    return name or fallback


def _skip(text: str, position: int) -> int:
    end = text.find(" ", position)
    return len(text) if end < 0 else end
