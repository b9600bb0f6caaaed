"""Fingerprints of certificates in SDP (RFC 8122 §5)."""

import hashlib
import re
from collections.abc import Sequence

from rcsops.errors import SdpParseError

# Strongest first. MD2 and MD5 are forbidden (RFC 8122 §5); SHA-1 counts only where a peer of old
# gives nothing better.
_HASHES = {"sha-512": "sha512", "sha-384": "sha384", "sha-256": "sha256", "sha-1": "sha1"}
_VALUE = re.compile(r"\s*([A-Za-z0-9-]{1,16})\s+([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){15,63})\s*")
_MAX = 16


def fingerprint(certificate: bytes, algorithm: str = "sha-256") -> str:
    """The value of ``a=fingerprint`` for a certificate in DER: "SHA-256 0A:1B:…"."""
    digest = hashlib.new(_HASHES[algorithm.lower()], certificate).digest()
    return f"{algorithm.upper()} {digest.hex(':').upper()}"


def check_fingerprints(values: Sequence[str]) -> None:
    """Raise SdpParseError (488) unless there is one by which a certificate can be known."""
    if not _strongest(values):
        raise SdpParseError("TLS without a usable a=fingerprint", status=488)


def is_fingerprint_of(values: Sequence[str], certificate: bytes) -> bool:
    """Whether one of the values is that of this certificate (DER).

    Of several hash functions the strongest decides, any of its values will do (RFC 8122 §5.1).
    """
    name, digests = _strongest(values) or ("", ())
    return bool(name) and hashlib.new(name, certificate).digest() in digests


def _strongest(values: Sequence[str]) -> tuple[str, tuple[bytes, ...]] | None:
    found: dict[str, list[bytes]] = {}
    for value in values[:_MAX]:
        match = _VALUE.fullmatch(value)
        if match is None:
            continue
        name = _HASHES.get(match[1].lower())
        digest = bytes.fromhex(match[2].replace(":", ""))
        if name is not None and len(digest) == hashlib.new(name).digest_size:
            found.setdefault(name, []).append(digest)
    for name in _HASHES.values():
        if name in found:
            return name, tuple(found[name])
    return None
