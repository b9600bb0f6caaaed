"""The arithmetic of digest authentication (RFC 3261 §22, RFC 7616, RFC 8760).

`DigestClient` and `DigestServer` have modules of their own; this one has what both compute.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from rcsops.errors import LocalProtocolError

_ENCODING = ("utf-8", "surrogateescape")
# What is longer is not remembered: a peer may choose it.
_LONGEST = 256


def _md5(data: bytes) -> str:
    # The protocol demands it; FIPS builds of OpenSSL refuse MD5 unless told so.
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha512_256(data: bytes) -> str:
    return hashlib.new("sha512_256", data).hexdigest()


_HASHES = {"MD5": _md5, "SHA-256": _sha256}
if "sha512_256" in hashlib.algorithms_available:
    _HASHES["SHA-512-256"] = _sha512_256

ALGORITHMS: tuple[str, ...] = tuple(_HASHES)
"""The algorithms that work here, the weakest first; each with its "-sess" variant."""

_SPELLINGS = {
    (name + suffix).lower(): (name, bool(suffix)) for name in _HASHES for suffix in ("", "-sess")
}


def algorithm_of(name: str) -> tuple[str, bool] | None:
    """The base algorithm of a name and whether it is the -sess variant; None when unknown."""
    return _SPELLINGS.get(name.lower())


def _encode(text: str) -> bytes:
    return text.encode(*_ENCODING)


def _hash_a2(base: str, a2: str) -> str:
    return _HASHES[base](_encode(a2))


# Requests of one kind mostly go to the same few URIs.
_known_a2 = lru_cache(maxsize=128)(_hash_a2)


def hash_a1(username: str, realm: str, password: str, algorithm: str = "MD5") -> str:
    """``H(username:realm:password)``: what a server stores instead of a password (RFC 7616 §3.4.2).

    Raises LocalProtocolError for an algorithm not in `ALGORITHMS`.
    """
    if algorithm not in _HASHES:
        raise LocalProtocolError(f"digest algorithm {algorithm} is not supported here")
    return _HASHES[algorithm](_encode(f"{username}:{realm}:{password}"))


def digest_response(
    algorithm: str,
    ha1: str,
    *,
    method: str,
    uri: str,
    nonce: str,
    qop: str | None = None,
    nc: str = "",
    cnonce: str = "",
    body: bytes = b"",
) -> str:
    """The ``response`` of a request, and with method "" the ``rspauth`` of its answer.

    ``algorithm`` may be a -sess variant: A1 is then made from the stored ``ha1`` (RFC 7616
    §3.4.2). ``qop`` None is the form without qop of RFC 2069.
    """
    known = algorithm_of(algorithm)
    if known is None:
        raise LocalProtocolError(f"digest algorithm {algorithm} is not supported here")
    base, session = known
    hashed = _HASHES[base]
    if session:
        ha1 = hashed(_encode(f"{ha1}:{nonce}:{cnonce}"))
    a2 = f"{method}:{uri}"
    if qop == "auth-int":
        a2 = f"{a2}:{hashed(body)}"
    ha2 = _known_a2(base, a2) if len(a2) <= _LONGEST else _hash_a2(base, a2)
    if qop is None:
        return hashed(_encode(f"{ha1}:{nonce}:{ha2}"))
    return hashed(_encode(f"{ha1}:{nonce}:{nc}:{cnonce}:{qop}:{ha2}"))


@dataclass(frozen=True, slots=True)
class Credential:
    """A user's secret for one realm: a hash for each algorithm, never the password."""

    username: str
    realm: str
    ha1: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_password(cls, username: str, realm: str, password: str) -> Credential:
        """The hashes of every algorithm in `ALGORITHMS`."""
        return cls(
            username, realm, {name: hash_a1(username, realm, password, name) for name in ALGORITHMS}
        )
