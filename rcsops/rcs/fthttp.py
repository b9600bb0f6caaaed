"""The documents of file transfer over HTTP: where a file is, and how much of one has come (RCC.07).

The content server answers an upload with the first, `FileInfo`; the sender hands it on as the
content of a message, and the receiver fetches the file from the address in it. The second,
`ResumeInfo`, says from where a broken upload goes on. Elements are known by their local names,
since the field does not agree on the namespaces.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

from rcsops.errors import CpimParseError, LocalProtocolError
from rcsops.rcs.cpim import parse_date_time
from rcsops.rcs.filetransfer import safe_name
from rcsops.rcs.xml import local_name, parse_tree

__all__ = [
    "CONTENT_TYPE",
    "FileInfo",
    "ResumeInfo",
    "StoredFile",
    "checked_url",
    "is_media_type",
    "make_file_info",
    "make_resume_info",
    "parse_file_info",
    "parse_resume_info",
]

CONTENT_TYPE = "application/vnd.gsma.rcs-ft-http+xml"
NAMESPACE = "urn:gsma:params:xml:ns:rcs:rcs:fthttp"
AUDIO_NAMESPACE = "urn:gsma:params:xml:ns:rcs:rcs:rram"
DISPOSITIONS = ("attachment", "render")

_MAX_URL = 2048
_MAX_SIZE = 1 << 53
_MAX_SECONDS = 1 << 31
_NAME = r"[A-Za-z0-9!#$&^_.+\-]{1,127}"
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}")
_URL = re.compile(r"https?://[!-~]+", re.I)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file on a content server: where it is fetched, and what it is.

    ``size`` in octets; ``until`` is when the server forgets it, None when it does not say.
    """

    url: str
    size: int
    content_type: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What a message says of a file: ``name`` is safe to save under.

    ``disposition`` is "attachment", "render" (such as a spoken message, of ``playing_length``
    seconds) or "". ``branded_url`` is a page for people without RCS, by some operators.
    ``document`` is what was read, to be handed on as it is.
    """

    file: StoredFile
    name: str
    thumbnail: StoredFile | None = None
    disposition: str = ""
    playing_length: int | None = None
    branded_url: str = ""
    document: bytes = field(default=b"", repr=False, compare=False)

    @property
    def text(self) -> str:
        """What people read of it."""
        file = self.file
        until = "" if file.until is None else f", until {file.until:%Y-%m-%d %H:%M} UTC"
        return f"{self.name} ({file.content_type}, {file.size} octets{until}): {file.url}"


_TEXT = re.compile(
    r"(.+) \(([^ ]+), ([0-9]{1,18}) octets(?:, until ([0-9]{4}-[0-9-]{5} [0-9:]{5}) UTC)?\): (\S+)",
    re.DOTALL,
)


def read_file_text(text: str) -> FileInfo | None:
    """What `FileInfo.text` says, which is all that a history keeps of it; None for other words."""
    found = _TEXT.fullmatch(text)
    if found is None or not _is_url(found[5]) or not is_media_type(found[2]):
        return None
    until = None
    if found[4]:
        try:
            until = datetime.strptime(found[4], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
        except ValueError:
            return None
    return FileInfo(StoredFile(found[5], int(found[3]), found[2], until), found[1])


@dataclass(frozen=True, slots=True)
class ResumeInfo:
    """The octets ``start`` to ``end`` (counted from 0, both included) are there; the rest is to be
    PUT to ``url``."""

    start: int
    end: int
    url: str


def make_file_info(info: FileInfo) -> bytes:
    """The document; raise LocalProtocolError for what must not stand in one."""
    parts = []
    if info.thumbnail is not None:
        parts += ['<file-info type="thumbnail">', *_stored(info.thumbnail, ""), "</file-info>"]
    disposition = ""
    if info.disposition:
        if info.disposition not in DISPOSITIONS:
            raise LocalProtocolError(f"not a disposition: {info.disposition!r}")
        disposition = f' file-disposition="{info.disposition}"'
    name = f"<file-name>{escape(safe_name(info.name))}</file-name>"
    parts += [f'<file-info type="file"{disposition}>', *_stored(info.file, name)]
    if info.playing_length is not None:
        parts.append(
            f'<am:playing-length xmlns:am="{AUDIO_NAMESPACE}">{info.playing_length}'
            "</am:playing-length>"
        )
    parts.append("</file-info>")
    return _document(f'file xmlns="{NAMESPACE}"', "file", parts)


def parse_file_info(data: bytes) -> FileInfo:
    """Read a document; raise CpimParseError without a file that could be fetched.

    A thumbnail that makes no sense is left out.
    """
    root = parse_tree(data)
    if local_name(root) != "file":
        raise CpimParseError(f"not a file-info document: {local_name(root)[:80]!r}")
    found: dict[str, Element] = {}
    for child in root:
        if local_name(child) == "file-info":
            found.setdefault(child.get("type", ""), child)
    element = found.get("file")
    if element is None:
        raise CpimParseError("a file-info document without a file")
    thumbnail = None
    if "thumbnail" in found:
        try:
            thumbnail = _read_stored(found["thumbnail"])
        except CpimParseError:
            thumbnail = None
    disposition = element.get("file-disposition", "").strip().lower()
    branded = _text(element, "branded-url")
    length = _text(element, "playing-length")
    return FileInfo(
        _read_stored(element),
        safe_name(_text(element, "file-name")),
        thumbnail,
        disposition if disposition in DISPOSITIONS else "",
        _whole(length, _MAX_SECONDS),
        branded if _is_url(branded) else "",
        data,
    )


def make_resume_info(info: ResumeInfo) -> bytes:
    """The document that answers ``get_upload_info``."""
    parts = [
        f'<file-range start="{info.start}" end="{info.end}"/>',
        f"<data url={quoteattr(checked_url(info.url))}/>",
    ]
    return _document(f'file-resume-info xmlns="{NAMESPACE}"', "file-resume-info", parts)


def parse_resume_info(data: bytes) -> ResumeInfo:
    """Read a document; raise CpimParseError for anything else."""
    root = parse_tree(data)
    place, where = _child(root, "file-range"), _child(root, "data")
    if local_name(root) != "file-resume-info" or place is None or where is None:
        raise CpimParseError("not a file-resume-info document")
    start, end = _whole(place.get("start", "")), _whole(place.get("end", ""))
    # What is there is the beginning: nobody could go on behind a hole.
    if start != 0 or end is None:
        raise CpimParseError("a file-resume-info document without a range")
    return ResumeInfo(start, end, checked_url(where.get("url", "")))


def checked_url(url: str) -> str:
    """An absolute http or https URL without credentials in it; raise CpimParseError."""
    url = url.strip()
    if not _is_url(url):
        raise CpimParseError(f"not the address of a file: {url[:80]!r}")
    return url


def is_media_type(text: str) -> bool:
    """Whether a text is ``type/subtype`` without parameters (RFC 6838 §4.2)."""
    return _MEDIA_TYPE.fullmatch(text) is not None


def _is_url(url: str) -> bool:
    if len(url) > _MAX_URL or not _URL.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        # What looks like a user is there to make the host look like another.
        return bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return False


def _document(start: str, name: str, parts: list[str]) -> bytes:
    body = "\r\n".join(parts)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\r\n<{start}>\r\n{body}\r\n</{name}>\r\n'
    ).encode()


def _stored(file: StoredFile, name: str) -> list[str]:
    if not is_media_type(file.content_type):
        raise LocalProtocolError(f"not a media type: {file.content_type!r}")
    until = ""
    if file.until is not None:
        moment = file.until.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
        until = f' until="{moment}Z"'
    parts = [f"<file-size>{file.size}</file-size>", name]
    parts += [f"<content-type>{escape(file.content_type)}</content-type>"]
    parts += [f"<data url={quoteattr(checked_url(file.url))}{until}/>"]
    return [part for part in parts if part]


def _read_stored(element: Element) -> StoredFile:
    data = _child(element, "data")
    size = _whole(_text(element, "file-size"))
    if data is None or size is None:
        raise CpimParseError("a file without its address or its size")
    kind = _text(element, "content-type").partition(";")[0].strip().lower()
    until = None
    if data.get("until"):
        try:
            until = parse_date_time(data.get("until", "")).astimezone(UTC).replace(microsecond=0)
        except (CpimParseError, OverflowError):
            # Not a time, or one before the year 1 or after 9999 in UTC.
            until = None
    return StoredFile(
        checked_url(data.get("url", "")),
        size,
        kind if is_media_type(kind) else "application/octet-stream",
        until,
    )


def _child(element: Element, name: str) -> Element | None:
    return next((child for child in element if local_name(child) == name), None)


def _text(element: Element, name: str) -> str:
    child = _child(element, name)
    return "" if child is None else (child.text or "").strip()


def _whole(text: str, most: int = _MAX_SIZE) -> int | None:
    """A whole number from 0 to ``most``, or None."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    number = int(text)
    return number if number <= most else None
