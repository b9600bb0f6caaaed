"""Which SIP domain a certificate stands for (RFC 5922 §7)."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rcsops.errors import SipParseError
from rcsops.sip import Uri

__all__ = ["Identities", "identities_of"]

_MAX_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Identities:
    """The names that a certificate proves: SIP domains in lower case, and numeric addresses."""

    domains: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    def prove(self, name: str) -> bool:
        """Whether the certificate is that of ``name``, a domain or a numeric address.

        Names are compared as a whole: there is no wildcard and no suffix (RFC 5922 §7.2).
        """
        address = _address(name)
        if address:
            return address in self.addresses
        return name.lower().rstrip(".") in self.domains

    def __str__(self) -> str:
        names = [*self.domains, *self.addresses]
        shown = ", ".join(_printable(name) for name in names[:_MAX_SHOWN])
        more = len(names) - _MAX_SHOWN
        return f"{shown} and {more} more" if more > 0 else shown or "nobody"


def identities_of(certificate: Mapping[str, Any]) -> Identities:
    """The identities in a certificate, as ``ssl.SSLObject.getpeercert`` gives it.

    RFC 5922 §7.1: the hosts of its sip: URIs without a user; its DNS names only where there is no
    such URI; the common name only where there is no subjectAltName at all. Addresses come from
    its iPAddress entries, for servers that are named by a number.
    """
    alternatives = certificate.get("subjectAltName", ())
    addresses = [_address(value) for kind, value in alternatives if kind == "IP Address"]
    domains = [_domain_of(value) for kind, value in alternatives if kind == "URI"]
    if not any(domains):
        domains = [value for kind, value in alternatives if kind == "DNS"]
    if not alternatives:
        domains = [
            value
            for names in certificate.get("subject", ())
            for kind, value in names
            if kind == "commonName"
        ]
    return Identities(
        tuple(dict.fromkeys(name.lower().rstrip(".") for name in domains if name)),
        tuple(dict.fromkeys(filter(None, addresses))),
    )


def _domain_of(text: str) -> str:
    """The domain that a URI names; "" for another scheme, or for a user in a domain."""
    if not text.lower().startswith("sip:") or "@" in text:
        return ""
    try:
        return Uri.parse(text).host or ""
    except SipParseError:
        return ""


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip().strip("[]")))
    except ValueError:
        return ""


def _printable(text: str) -> str:
    return "".join(c if " " < c <= "~" else "?" for c in text)[:80]
