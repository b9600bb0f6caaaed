"""Fingerprints of certificates (RFC 8122)."""

import hashlib

import pytest

from rcsops.errors import SdpParseError
from rcsops.sdp import check_fingerprints, fingerprint, is_fingerprint_of

CERTIFICATE = b"not really a certificate: octets are octets"
RFC8122 = pytest.mark.rfc("8122", "5")


def colons(name: str) -> str:
    digest = hashlib.new(name, CERTIFICATE).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


@RFC8122
def test_ours_is_sha_256_in_upper_case() -> None:
    assert fingerprint(CERTIFICATE) == f"SHA-256 {colons('sha256').upper()}"
    assert is_fingerprint_of([fingerprint(CERTIFICATE)], CERTIFICATE)
    assert not is_fingerprint_of([fingerprint(CERTIFICATE)], CERTIFICATE + b"!")


@RFC8122
@pytest.mark.parametrize(
    ("name", "hashed"),
    [("sha-1", "sha1"), ("sha-256", "sha256"), ("SHA-384", "sha384"), ("Sha-512", "sha512")],
)
def test_every_function_in_either_case(name: str, hashed: str) -> None:
    assert is_fingerprint_of([f"{name} {colons(hashed)}"], CERTIFICATE)
    assert is_fingerprint_of([f"{name} {colons(hashed).upper()}"], CERTIFICATE)


@RFC8122
def test_of_several_functions_the_strongest_decides() -> None:
    wrong = f"sha-256 {colons('sha256')[:-2]}00"
    assert not is_fingerprint_of([f"sha-1 {colons('sha1')}", wrong], CERTIFICATE)
    assert is_fingerprint_of([wrong, f"sha-256 {colons('sha256')}"], CERTIFICATE)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "sha-256",
        f"md5 {colons('md5')}",
        f"sha-256 {colons('sha1')}",
        f"sha-256 {colons('sha256')} and more",
        f"sha-256 {colons('sha256').replace(':', '')}",
        "sha-256 " + ":" * 95,
        "sha-256 " + "AA:" * 100_000,
    ],
)
def test_what_cannot_be_used(value: str) -> None:
    assert not is_fingerprint_of([value], CERTIFICATE)
    with pytest.raises(SdpParseError) as refused:
        check_fingerprints([value])
    assert refused.value.status == 488
