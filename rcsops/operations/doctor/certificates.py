"""The certificates of TLS and secure WebSocket."""

import datetime
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rcsops.errors import SettingsError
from rcsops.operations.certs import RENEW_DAYS
from rcsops.operations.doctor.finding import Finding, bad, good, note, warn
from rcsops.settings import Project
from rcsops.transport.identity import identities_of

__all__ = ["certificates"]

_RENEW = "rcsops certs --renew"


def certificates(project: Project) -> Iterator[Finding]:
    """Whether the server can prove who it is, where it has to."""
    settings = project.settings
    addresses = [*settings.listen_addresses]
    if settings.content.listen:
        addresses.append(settings.content.address)
    secure = [str(each) for each in addresses if each.transport in ("tls", "wss", "https")]
    try:
        pair = project.certificate
    except SettingsError as error:
        yield bad("certificates", str(error), "name both in [tls] of rcsops.toml")
        return
    if pair is None:
        if secure:
            yield bad(
                "certificates",
                f"there is no certificate, and {', '.join(secure)} need one",
                "rcsops certs",
            )
        else:
            yield note("certificates", "none, and nothing that listens by TLS")
        return
    path, key_path = pair
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), None)
    except OSError as error:
        yield bad("certificates", f"{error.filename}: {error.strerror}", "rcsops certs")
        return
    except (ValueError, TypeError) as error:
        yield bad("certificates", f"{path} or {key_path} cannot be used: {error}", _RENEW)
        return
    if key.public_key() != certificate.public_key():
        yield bad("certificates", f"{key_path} is not the key of {path}", _RENEW)
        return
    yield _by_time_and_name(project, certificate)


def _by_time_and_name(project: Project, certificate: x509.Certificate) -> Finding:
    now = datetime.datetime.now(datetime.UTC)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < start:
        return bad(
            "certificates",
            f"it is not valid before {start:%Y-%m-%d %H:%M} UTC: one clock is wrong",
            "timedatectl set-ntp on",
        )
    if now > end:
        return bad("certificates", f"it has expired at {end:%Y-%m-%d %H:%M} UTC", _RENEW)
    names = _identities(certificate)
    domain = project.settings.domain.lower()
    if domain not in identities_of({"subjectAltName": names}).domains:
        listed = ", ".join(value for _, value in names) or "nobody"
        return warn(
            "certificates",
            f"it is for {listed}, not for {domain}: agents who ask for that turn away",
            f"{_RENEW} --name {domain}",
        )
    left = (end - now).days
    if left < RENEW_DAYS:
        return warn("certificates", f"it expires in {left} days", _RENEW)
    return good("certificates", f"for {domain}, until {end:%Y-%m-%d}")


def _identities(certificate: x509.Certificate) -> tuple[tuple[str, str], ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return (
        *(("URI", each) for each in found.get_values_for_type(x509.UniformResourceIdentifier)),
        *(("DNS", each) for each in found.get_values_for_type(x509.DNSName)),
    )
