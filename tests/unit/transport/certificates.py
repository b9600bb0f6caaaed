"""Certificates for tests, good ones and bad ones, from the code that makes those of a lab."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rcsops.operations.certs_make import Names, Pair, make_authority, make_certificate
from rcsops.transport import TlsOptions

NOW = datetime.datetime.now(datetime.UTC)
LOOPBACK = Names(uris=("sip:rcs.example",), hosts=("rcs.example",), addresses=("127.0.0.1",))


class Shop:
    """An authority, and the files of what it signs."""

    def __init__(self, directory: Path, name: str = "authority of the tests") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.authority = make_authority(name, now=NOW, days=30)
        self.ca = self._file("ca.pem", self.authority.certificate_pem)

    def make(self, stem: str, names: Names = LOOPBACK, *, days: int = 10) -> tuple[Path, Path]:
        """A certificate and its key; with fewer than no days one that has expired."""
        when = NOW if days > 0 else NOW + datetime.timedelta(days=days - 1)
        pair = make_certificate(self.authority, stem, names, now=when, days=abs(days))
        return self.write(stem, pair)

    def write(self, stem: str, pair: Pair) -> tuple[Path, Path]:
        return self._file(f"{stem}.pem", pair.certificate_pem), self._file(
            f"{stem}-key.pem", pair.key_pem
        )

    def server(self, names: Names = LOOPBACK, *, days: int = 10, asks: str = "none") -> TlsOptions:
        """A server's options, which believe this authority."""
        certificate, key = self.make("server", names, days=days)
        return TlsOptions(certificate, key, self.ca, system_ca=False, client_certificates=asks)

    def client(self, names: Names | None = None) -> TlsOptions:
        """A client's options, with a certificate where ``names`` are given."""
        pair = (None, None) if names is None else self.make("client", names)
        return TlsOptions(*pair, self.ca, system_ca=False)

    def _file(self, name: str, data: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        return path


def self_signed(name: str) -> Pair:
    """A certificate that nobody but itself vouches for, as programs make it for a first try."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=1))
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)
