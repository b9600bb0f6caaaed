"""TLS under MSRP (RFC 4975 §14.4): each side knows the other by a fingerprint in the SDP.

The certificates are self-signed and prove nothing by themselves; the `ssl` of the standard library
refuses them unseen when a server asks its client for one, so this is OpenSSL by way of pyOpenSSL.
"""

import contextlib
import secrets
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from rcsops.transport.clock import wall_clock
from rcsops.transport.layers import ConnectionFailed, Layer

__all__ = ["MsrpCertificate", "MsrpTlsLayer"]

_READ_SIZE = 65536
_LIFETIME = timedelta(days=3650)


class MsrpCertificate:
    """The key and the self-signed certificate of one endpoint, made for its life and kept in
    memory; ``der`` is the certificate."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        # A name that is new each time: it tells nobody that two sessions are of one person.
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, secrets.token_hex(8))])
        now = wall_clock()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + _LIFETIME)
            .sign(key, hashes.SHA256())
        )
        self.der = certificate.public_bytes(Encoding.DER)
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        # Who signed it means nothing: that the other side holds the key is what TLS proves, and
        # the fingerprint in the SDP says whether it is the right one.
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        context.use_certificate(certificate)
        context.use_privatekey(key)
        self.context = context


class MsrpTlsLayer(Layer):
    """TLS of one connection; ``peer_certificate`` is the other side's in DER once established,
    ``b""`` when it showed none."""

    def __init__(self, own: MsrpCertificate, *, server_side: bool) -> None:
        self._connection = SSL.Connection(own.context, None)
        if server_side:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
        self.peer_certificate = b""

    @property
    def version(self) -> str:
        """ "TLSv1.3", once established."""
        return self._connection.get_protocol_version_name()

    def start(self) -> None:
        self._handshake()

    def receive_data(self, data: bytes) -> list[bytes]:
        self._connection.bio_write(data)
        if not self.established and not self._handshake():
            return []
        chunks: list[bytes] = []
        try:
            while chunk := self._connection.recv(_READ_SIZE):
                chunks.append(chunk)
        except (SSL.WantReadError, SSL.ZeroReturnError):
            # Nothing more for now; or it says good-bye, and the end of the connection follows.
            pass
        except SSL.Error as error:
            raise ConnectionFailed(_explain(error)) from error
        return chunks

    def send(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise ConnectionFailed(_explain(error)) from error

    def data_to_send(self) -> bytes:
        parts: list[bytes] = []
        with contextlib.suppress(SSL.WantReadError):
            while True:
                parts.append(self._connection.bio_read(_READ_SIZE))
        return b"".join(parts)

    def close(self) -> None:
        with contextlib.suppress(SSL.Error):
            self._connection.shutdown()

    def _handshake(self) -> bool:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise ConnectionFailed(_explain(error)) from error
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is not None:
            self.peer_certificate = certificate.public_bytes(Encoding.DER)
        self.established = True
        return True


def _explain(error: SSL.Error) -> str:
    if isinstance(error, SSL.SysCallError):
        return "the connection ended within TLS"
    for *_, reason in error.args[0] if error.args and isinstance(error.args[0], list) else ():
        return f"TLS failed: {reason}"
    return "TLS failed"
