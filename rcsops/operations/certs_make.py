"""X.509 certificates for a lab: a private authority, and what it signs (RFC 5280, RFC 5922)."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Names", "Pair", "load", "make_authority", "make_certificate", "names_in"]

_SKEW = datetime.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Names:
    """What a certificate is for: SIP URIs, DNS names and numeric addresses, each sorted."""

    uris: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    def __or__(self, other: "Names") -> "Names":
        return Names(
            tuple(sorted({*self.uris, *other.uris})),
            tuple(sorted({*self.hosts, *other.hosts})),
            tuple(sorted({*self.addresses, *other.addresses})),
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key as PEM, unencrypted (PKCS #8)."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def signed(self, other: x509.Certificate) -> bool:
        """Whether this authority has signed ``other``."""
        try:
            other.verify_directly_issued_by(self.certificate)
        except Exception:
            # ValueError, TypeError or InvalidSignature: in each case it has not.
            return False
        return True


def load(certificate: bytes, key: bytes) -> Pair:
    """A pair from its PEM texts; raises ValueError when they are not one."""
    try:
        loaded = serialization.load_pem_private_key(key, password=None)
        found = x509.load_pem_x509_certificate(certificate)
    except TypeError as error:
        raise ValueError("the private key has a password") from error
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError("the private key is not one that rcsops made")
    if loaded.public_key() != found.public_key():
        raise ValueError("the certificate is not that of the private key")
    return Pair(found, loaded)


def make_authority(name: str, *, now: datetime.datetime, days: int) -> Pair:
    """A self-signed authority that signs certificates, and no other authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    builder = _builder(subject, subject, key, now, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(authority=True), critical=True)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return Pair(builder.sign(key, hashes.SHA256()), key)


def make_certificate(
    authority: Pair, common_name: str, names: Names, *, now: datetime.datetime, days: int
) -> Pair:
    """A certificate for a server, that can be shown as a client as well: a SIP proxy is both."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    builder = _builder(subject, authority.certificate.subject, key, now, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    builder = builder.add_extension(_usage(authority=False), critical=True)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(_general(names)), critical=False)
    issuer = authority.key.public_key()
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)
    builder = builder.add_extension(identifier, critical=False)
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def names_in(certificate: x509.Certificate) -> Names:
    """What a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Names()
    return Names(
        tuple(sorted(found.get_values_for_type(x509.UniformResourceIdentifier))),
        tuple(sorted(found.get_values_for_type(x509.DNSName))),
        tuple(sorted(map(str, found.get_values_for_type(x509.IPAddress)))),
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of a lab differ a little.
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general(names: Names) -> Sequence[x509.GeneralName]:
    return [
        *(x509.UniformResourceIdentifier(uri) for uri in names.uris),
        *(x509.DNSName(host) for host in names.hosts),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in names.addresses),
    ]
