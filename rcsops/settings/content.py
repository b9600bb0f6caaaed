"""``[content]`` of rcsops.toml: the server for file transfer over HTTP that runs beside a SIP
server."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from rcsops.errors import SettingsError
from rcsops.settings.listen import Listen, parse_listen
from rcsops.settings.values import choice, listen_address, string, whole

__all__ = ["CONTENT_CHECKS", "CONTENT_PATH", "Content", "content_url"]

CONTENT_PATH = "/ft"
DOWNLOADS = ("url", "digest")
_SCHEMES = {"http": 80, "https": 443}
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound
_YEAR = 31_536_000
_MOST_OCTETS = 1 << 50


@dataclass(frozen=True, slots=True)
class Content:
    """Sizes in octets, times in seconds; docs/files-http.md says what each is for.

    Without ``listen`` ("http:127.0.0.1:8080") there is no such server.
    """

    listen: str = ""
    url: str = ""
    downloads: str = "url"
    max_file: int = 104_857_600
    per_user: int = 1_073_741_824
    total: int = 10_737_418_240
    expires: int = 604_800
    unfinished: int = 86_400
    connections: int = 256
    idle_seconds: int = 30

    @property
    def address(self) -> Listen:
        """``listen`` as a value; its transport is "http" or "https"."""
        return _listen_of(self.listen)

    @property
    def base_url(self) -> str:
        """How others name it: scheme, host and port; "" when that cannot be known."""
        if self.url:
            return self.url
        if not self.listen or self.address.host in _WILDCARDS or not self.address.port:
            return ""
        address = self.address
        if address.port == _SCHEMES[address.transport]:
            return f"{address.transport}://{address.host_port.rpartition(':')[0]}"
        return f"{address.transport}://{address.host_port}"

    @property
    def upload_url(self) -> str:
        """Where the users of the main domain upload; "" when that cannot be known."""
        return f"{self.base_url}{CONTENT_PATH}" if self.base_url else ""

    def check(self) -> None:
        """Raises `ValueError` with the reason when the values do not fit each other."""
        if self.listen and not self.base_url:
            raise ValueError(
                "content.listen is not an address that others could use; say how they name the "
                'server: content.url = "https://files.example.org"'
            )


def content_url(value: object) -> str:
    """An http or https URL without a query, or empty; raises `ValueError`."""
    if value == "":
        return ""
    text = str(value).strip() if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not re.fullmatch(r"[!-~]+", text) or set("?#@") & set(text):
        raise ValueError(f'{value!r} is not an address; write "https://files.example.org/ft"')
    return text.rstrip("/")


def _listen_of(text: str) -> Listen:
    scheme, _, rest = text.partition(":")
    if scheme.lower() not in _SCHEMES:
        raise SettingsError(
            f"{text!r} is not an address to listen at", hint='write it as "http:127.0.0.1:8080"'
        )
    return parse_listen(f"tcp:{rest}")._replace(transport=scheme.lower())


def _listen(value: object) -> str:
    return listen_address(_listen_of)(value) if string(value) else ""


def _base(value: object) -> str:
    text = content_url(value)
    if urlsplit(text).path:
        raise ValueError(f"{text!r} has a path; write scheme, host and port alone")
    return text


CONTENT_CHECKS: dict[str, Callable[[object], object]] = {
    "listen": _listen,
    "url": _base,
    "downloads": choice(DOWNLOADS),
    "max_file": whole(1, _MOST_OCTETS),
    "per_user": whole(1, _MOST_OCTETS),
    "total": whole(1, _MOST_OCTETS),
    "expires": whole(1, _YEAR),
    "unfinished": whole(1, _YEAR),
    "connections": whole(1, 100_000),
    "idle_seconds": whole(1, 3600),
}
