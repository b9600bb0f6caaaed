"""What went wrong with TLS, in words for a person, and what to do about it."""

import ssl

__all__ = ["advice", "explain"]

_PORT = "does it listen for that transport on this port? SIP over TLS has 5061"
_OUR_CA = "name the file of its authority as `ca` in [tls] of rcsops.toml"

# verify_code of OpenSSL (x509_vfy.h) -> what a person is told
_VERIFY = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is self-signed, and not one that is trusted here",
    19: "its certificate comes from an authority that is not trusted here",
    20: "its certificate comes from an authority that is not trusted here",
    21: "its certificate comes from an authority that is not trusted here",
    26: "its certificate is not one for a server",
}
# The reason of an ssl.SSLError -> the same
_REASONS = {
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the authority of our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept our certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it broke the TLS handshake off",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of ours",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not speak TLS 1.2 or 1.3",
    "UNSUPPORTED_PROTOCOL": "it does not speak TLS 1.2 or 1.3",
    "WRONG_VERSION_NUMBER": "what it says is not TLS",
    "HTTP_REQUEST": "what it says is not TLS",
    "RECORD_LAYER_FAILURE": "what it says is not TLS",
    "NO_SHARED_CIPHER": "it has no cipher in common with us",
}
_ADVICE = {
    "not valid yet": "compare the clocks of both machines",
    "its certificate has expired": "have it renewed (of a lab server: rcsops certs --renew)",
    "is self-signed": _OUR_CA,
    "an authority that is not trusted": _OUR_CA,
    "not one for a server": "have one made that is (for a lab: rcsops certs)",
    "its certificate is for": "name the server by a name that its certificate has, or have one "
    "made with this name (for a lab: rcsops certs --name NAME)",
    "our certificate": "have ours renewed, or leave `certificate` of [agent] out",
    "wants a certificate of ours": "set `certificate` and `private_key` in [agent] "
    "(for a lab: rcsops certs --client NAME)",
    "showed no certificate": "a client of this server needs one: `client_certificates` in [tls]",
    "TLS handshake": _PORT,
    "is not TLS": _PORT,
    "during the handshake": _PORT,
    "the handshake did not end": _PORT,
    "TLS 1.2": "have it speak a newer TLS",
    "cipher": "have it speak a newer TLS",
}


def explain(error: ssl.SSLError) -> str:
    """One line for a failure of TLS; "it" is the other side."""
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _VERIFY.get(error.verify_code)
        return known or f"its certificate cannot be trusted: {error.verify_message}"
    reason = error.reason or ""
    return _REASONS.get(reason) or f"TLS failed: {reason.lower().replace('_', ' ') or error}"


def advice(text: str) -> str:
    """What to do about a failure that `explain` described; "" for any other text."""
    return next((hint for part, hint in _ADVICE.items() if part in text), "")
