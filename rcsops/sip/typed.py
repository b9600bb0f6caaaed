"""Header values as objects: parsed on first use, kept until their header changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from rcsops.errors import SipParseError
from rcsops.limits import SIP_VALUES
from rcsops.sip.auth import Challenge, Credentials
from rcsops.sip.grammar import parse_number, split_first, split_list, unfold
from rcsops.sip.headers import (
    CSeq,
    MediaType,
    NameAddr,
    Via,
    known_address,
    known_via,
    parse_address,
    parse_via,
)
from rcsops.sip.names import HEADER_NAMES

T = TypeVar("T")

_LONGEST_LIST = 512
_TOP_VIA = ":via"
_MISSING = object()


class TypedHeaders:
    """The typed properties of a message. Each of them raises SipParseError and nothing else."""

    __slots__ = ()

    _lines: list[str]
    _names: list[str]
    _typed: dict[str, Any]
    _values: dict[str, str | list[str]]

    def get(self, name: str) -> str | None:
        """The first field of that name."""
        raise NotImplementedError

    def get_all(self, name: str) -> list[str]:
        """Every field of that name."""
        raise NotImplementedError

    def _changed(self, canonical: str) -> None:
        self._values.pop(canonical, None)
        typed = self._typed
        if typed:
            typed.pop(canonical, None)
            if canonical == "via":
                typed.pop(_TOP_VIA, None)

    def _stands_once(self, name: str) -> bool:
        """Whether there is exactly one line of a canonical name."""
        return type(self._values.get(name)) is str or self._names.count(name) == 1

    def _field_values(self, name: str) -> list[str]:
        """The lines of a canonical name without the name, unfolded and stripped."""
        found = self._values.get(name)
        if found is None:
            if name not in self._names:
                return []
            pairs = zip(self._names, self._lines, strict=True)
            found = [line.partition(":")[2] for each, line in pairs if each == name]
        if isinstance(found, str):
            found = [found]
        values = []
        for value in found:
            value = value.strip(" \t")
            values.append(unfold(value) if "\n" in value else value)
        return values

    def _addresses(self, name: str, parse: Callable[[str], NameAddr]) -> tuple[NameAddr, ...]:
        value = self._values.get(name)
        if type(value) is str and len(value) <= _LONGEST_LIST:
            known = self._typed[name] = _known_addresses(value, parse)
            return known
        return self._list(name, parse)

    def _list(self, name: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        value = self._values.get(name)
        if type(value) is str and "," not in value and "\n" not in value:
            single = self._typed[name] = (parse(value.strip(" \t")),)
            return single
        found: list[T] = []
        for value in self._field_values(name):
            elements = split_list(value) if "," in value else (value,)
            if len(found) + len(elements) > SIP_VALUES:
                raise SipParseError(f"too many values in {name}")
            for element in elements:
                found.append(parse(element))
        result = self._typed[name] = tuple(found)
        return result

    def _each_line(self, name: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        # The commas of these headers separate parameters, so a line is one value (§7.3.1).
        found = self._typed.get(name)
        if found is None:
            found = self._typed[name] = tuple([parse(line) for line in self._field_values(name)])
        return found

    def _optional(self, name: str, parse: Callable[[str], T]) -> T | None:
        found = self._typed.get(name, _MISSING)
        if found is not _MISSING:
            return found  # type: ignore[no-any-return]
        text = self._values.get(name)
        if text is None and name not in self._names:
            self._typed[name] = None
            return None
        if type(text) is not str or "\n" in text:
            values = self._field_values(name)
            if len(values) > 1:
                raise SipParseError(f"more than one {name} header")
            text = values[0]
        value = self._typed[name] = parse(text.strip(" \t"))
        return value

    def _single(self, name: str, parse: Callable[[str], T]) -> T:
        text = self._values.get(name)
        if type(text) is not str or "\n" in text:
            values = self._field_values(name)
            if len(values) != 1:
                raise SipParseError(f"{'more than one' if values else 'no'} {name} header")
            text = values[0]
        value = self._typed[name] = parse(text.strip(" \t"))
        return value

    @property
    def vias(self) -> tuple[Via, ...]:
        """Every hop, the topmost first."""
        found = self._typed.get("via")
        return self._list("via", parse_via) if found is None else found

    @property
    def has_one_via(self) -> bool:
        """Whether there is one hop and no more. Raises SipParseError as `vias` does."""
        line = self._values.get("via")
        return (type(line) is str and "," not in line) or len(self.vias) == 1

    @property
    def top_via(self) -> Via:
        """The topmost Via, which is parsed alone."""
        found = self._typed.get(_TOP_VIA)
        if found is None:
            if vias := self._typed.get("via"):
                return vias[0]  # type: ignore[no-any-return]
            text = self.get("via")
            if text is None:
                raise SipParseError("no via header")
            found = self._typed[_TOP_VIA] = parse_via(split_first(text)[0])
        return found

    @property
    def from_(self) -> NameAddr:
        """From."""
        return self._typed.get("from") or self._single("from", parse_address)

    @property
    def to(self) -> NameAddr:
        """To."""
        return self._typed.get("to") or self._single("to", parse_address)

    @property
    def from_tag(self) -> str | None:
        """The tag of From."""
        return (self._typed.get("from") or self._single("from", parse_address)).tag

    @property
    def to_tag(self) -> str | None:
        """The tag of To."""
        return (self._typed.get("to") or self._single("to", parse_address)).tag

    @property
    def call_id(self) -> str:
        """Call-ID."""
        return self._typed.get("call-id") or self._single("call-id", _call_id)

    @property
    def cseq(self) -> CSeq:
        """CSeq."""
        return self._typed.get("cseq") or self._single("cseq", CSeq.parse)

    @property
    def contacts(self) -> tuple[NameAddr, ...]:
        """The addresses of Contact; () for ``*``."""
        found = self._typed.get("contact")
        if found is None:
            # An asterisk is no address, so it is looked for only where parsing failed.
            try:
                found = self._addresses("contact", parse_address)
            except SipParseError:
                if not self.contact_star:
                    raise
                found = self._typed["contact"] = ()
        return found

    @property
    def contact_star(self) -> bool:
        """Whether Contact is ``*``, which must stand alone (RFC 3261 §10.2.2)."""
        # Where addresses have been read it is none.
        return not self._typed.get("contact") and self._field_values("contact") == ["*"]

    @property
    def routes(self) -> tuple[NameAddr, ...]:
        """Route."""
        found = self._typed.get("route")
        return self._addresses("route", _route) if found is None else found

    @property
    def record_routes(self) -> tuple[NameAddr, ...]:
        """Record-Route."""
        found = self._typed.get("record-route")
        return self._addresses("record-route", _route) if found is None else found

    @property
    def paths(self) -> tuple[NameAddr, ...]:
        """Path (RFC 3327)."""
        found = self._typed.get("path")
        return self._list("path", _route) if found is None else found

    @property
    def service_routes(self) -> tuple[NameAddr, ...]:
        """Service-Route (RFC 3608)."""
        found = self._typed.get("service-route")
        return self._list("service-route", _route) if found is None else found

    @property
    def asserted_identities(self) -> tuple[NameAddr, ...]:
        """P-Asserted-Identity (RFC 3325)."""
        found = self._typed.get("p-asserted-identity")
        return self._addresses("p-asserted-identity", parse_address) if found is None else found

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards; that it is at most 255 is for `check_request` to see."""
        return self._optional("max-forwards", _number)

    @property
    def expires(self) -> int | None:
        """Expires in seconds; a larger number than 2**32-1 counts as that (§20.19)."""
        return self._optional("expires", _seconds)

    @property
    def min_expires(self) -> int | None:
        """Min-Expires in seconds (§20.23)."""
        return self._optional("min-expires", _seconds)

    @property
    def retry_after(self) -> int | None:
        """Retry-After in seconds, without its comment and parameters (§20.33)."""
        return self._optional("retry-after", _retry_after)

    @property
    def content_length(self) -> int | None:
        """Content-Length as it stands in the header."""
        return self._optional("content-length", _number)

    @property
    def content_type(self) -> MediaType | None:
        """Content-Type."""
        return self._typed.get("content-type") or self._optional("content-type", MediaType.parse)

    @property
    def authorizations(self) -> tuple[Credentials, ...]:
        """Authorization, one for each line."""
        return self._each_line("authorization", Credentials.parse)

    @property
    def proxy_authorizations(self) -> tuple[Credentials, ...]:
        """Proxy-Authorization, one for each line."""
        return self._each_line("proxy-authorization", Credentials.parse)

    @property
    def www_challenges(self) -> tuple[Challenge, ...]:
        """WWW-Authenticate, one for each line."""
        return self._each_line("www-authenticate", Challenge.parse)

    @property
    def proxy_challenges(self) -> tuple[Challenge, ...]:
        """Proxy-Authenticate, one for each line."""
        return self._each_line("proxy-authenticate", Challenge.parse)

    def option_tags(self, name: str) -> tuple[str, ...]:
        """The tokens of Require, Supported, Allow and their like, as written."""
        canonical = HEADER_NAMES[name]
        text = self._values.get(canonical)
        if type(text) is str and len(text) <= _LONGEST_LIST and "\n" not in text:
            return _known_tags(text.strip(" \t"))
        if text is None and canonical not in self._names:
            return ()
        return tuple([tag for line in self._field_values(canonical) for tag in _tags(line)])


def _tags(line: str) -> tuple[str, ...]:
    return tuple([value for value in split_list(line) if value])


# Allow and Supported are the same text in all messages of a peer.
_known_tags = lru_cache(maxsize=128)(_tags)


@lru_cache(maxsize=256)
def _known_addresses(line: str, parse: Callable[[str], NameAddr]) -> tuple[NameAddr, ...]:
    # The Contact of a peer and the routes through a server stand in all messages of a call.
    elements = split_list(unfold(line) if "\n" in line else line.strip(" \t"))
    if len(elements) > SIP_VALUES:
        raise SipParseError("too many addresses")
    return tuple([parse(element) for element in elements])


def forget_addresses() -> None:
    """Forgets the addresses that were met last, so that each is read anew: for measurements."""
    known_address.cache_clear()
    known_via.cache_clear()
    _known_addresses.cache_clear()


def _call_id(text: str) -> str:
    if not text or " " in text or "\t" in text:
        raise SipParseError(f"not a Call-ID: {text[:60]!r}")
    return text


def _route(text: str) -> NameAddr:
    # RFC 3261 §20.30, §20.34: the parameters of a bare address would be the header's.
    address = parse_address(text)
    if "<" not in text:
        raise SipParseError(f"a route must stand in <>: {text[:60]!r}")
    return address


def _number(text: str) -> int:
    return parse_number(text, "a number")


def _seconds(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text.lstrip("0")) > 9:
        return min(parse_number(text.lstrip("0")[:11], "seconds", 10**11), 2**32 - 1)
    return parse_number(text, "seconds")


def _retry_after(text: str) -> int:
    return _seconds(text.partition(";")[0].partition("(")[0].strip(" \t"))
