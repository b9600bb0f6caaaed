"""Digest arithmetic against published vectors."""

import pytest

from rcsops.errors import LocalProtocolError
from rcsops.sip import ALGORITHMS, Credential, digest_response, hash_a1

# RFC 7616 §3.9.1.
MUFASA = {
    "MD5": "8ca523f5e9506fed4657c9700eebdbec",
    "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
}
# A REGISTER of alice@example.org with the password "wonder-land".
ALICE = {
    "MD5": "c023b933d354cdc75f5e232afbb5d922",
    "SHA-256": "1c4f17bffa11ac083776221ce40cb5343079584999d37e9f66d0a584aa0bb33b",
    "SHA-512-256": "00c1fb8c7c1fd5d9d49cd136b3706eeeb7d3835fea1f900bdc32f054f6748480",
}


@pytest.mark.parametrize("algorithm", MUFASA)
def test_rfc_7616_mufasa(algorithm: str) -> None:
    ha1 = hash_a1("Mufasa", "http-auth@example.org", "Circle of Life", algorithm)
    response = digest_response(
        algorithm,
        ha1,
        method="GET",
        uri="/dir/index.html",
        nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        qop="auth",
        nc="00000001",
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert response == MUFASA[algorithm]


def test_rfc_2617_mufasa() -> None:
    ha1 = hash_a1("Mufasa", "testrealm@host.com", "Circle Of Life")
    assert ha1 == "939e7578ed9e3c518a452acee763bce9"
    response = digest_response(
        "MD5",
        ha1,
        method="GET",
        uri="/dir/index.html",
        nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
        qop="auth",
        nc="00000001",
        cnonce="0a4f113b",
    )
    assert response == "6629fae49393a05397450978507c4ef1"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_register(algorithm: str) -> None:
    ha1 = hash_a1("alice", "example.org", "wonder-land", algorithm)
    response = digest_response(
        algorithm,
        ha1,
        method="REGISTER",
        uri="sip:example.org",
        nonce="9f3c0a77b1e24d5f8a6c",
        qop="auth",
        nc="00000001",
        cnonce="6b8b4567d1",
    )
    assert response == ALICE[algorithm]


def test_without_qop_is_rfc_2069() -> None:
    # RFC 2617 §3.2.2.1 without qop: H(H(A1):nonce:H(A2)), computed by hand from its parts.
    from hashlib import md5

    ha1 = md5(b"u:r:p").hexdigest()
    ha2 = md5(b"INVITE:sip:x").hexdigest()
    expected = md5(f"{ha1}:n:{ha2}".encode()).hexdigest()
    assert digest_response("MD5", ha1, method="INVITE", uri="sip:x", nonce="n") == expected


def test_session_key_from_stored_hash_and_auth_int() -> None:
    from hashlib import sha256

    def h(text: str) -> str:
        return sha256(text.encode()).hexdigest()

    ha1 = h("u:r:p")
    a1 = h(f"{ha1}:n:c")
    ha2 = h(f"MESSAGE:sip:x:{sha256(b'hello').hexdigest()}")
    expected = h(f"{a1}:n:00000002:c:auth-int:{ha2}")
    assert expected == digest_response(
        "SHA-256-sess",
        ha1,
        method="MESSAGE",
        uri="sip:x",
        nonce="n",
        qop="auth-int",
        nc="00000002",
        cnonce="c",
        body=b"hello",
    )


def test_names_are_case_insensitive_and_unknown_ones_are_refused() -> None:
    same = {"method": "A", "uri": "u", "nonce": "n"}
    assert digest_response("sha-256", "x", **same) == digest_response("SHA-256", "x", **same)
    with pytest.raises(LocalProtocolError):
        digest_response("MD4", "x", **same)
    with pytest.raises(LocalProtocolError):
        hash_a1("u", "r", "p", "SHA-1")


def test_password_is_utf_8_and_hidden() -> None:
    credential = Credential.from_password("jürgen", "example.org", "Paßwort")
    assert set(credential.ha1) == set(ALGORITHMS)
    assert credential.ha1["MD5"] == hash_a1("jürgen", "example.org", "Paßwort")
    assert credential.ha1["MD5"] not in repr(credential)
