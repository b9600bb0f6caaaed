"""``rcsops certs``: the certificates of a lab, made where they are missing, renewed in time."""

import contextlib
import datetime
import fcntl
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from rcsops.errors import SettingsError, UsageError
from rcsops.operations.certs_make import (
    Names,
    Pair,
    load,
    make_authority,
    make_certificate,
    names_in,
)
from rcsops.operations.engine import CertificateStatus
from rcsops.settings import Project, private_directory, valid_domain

__all__ = [
    "AUTHORITY_DAYS",
    "CERTIFICATE_DAYS",
    "RENEW_DAYS",
    "CertView",
    "CertsResult",
    "certificate_status",
    "make_certs",
]

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
RENEW_DAYS = 30
_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class CertView:
    """One certificate as a person sees it: ``done`` is "made", "renewed" or "kept", ``why`` the
    reason of a renewal, ``fingerprint`` its SHA-256."""

    role: str
    done: str
    why: str
    certificate: Path
    private_key: Path
    names: tuple[str, ...]
    not_after: datetime.datetime
    days_left: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class CertsResult:
    """The authority, the server's certificate and those of clients. ``unused`` says that [tls] of
    the settings names another certificate than the one made here."""

    certificates: tuple[CertView, ...]
    unused: str

    @property
    def changed(self) -> bool:
        """Whether anything was made or renewed."""
        return any(each.done != "kept" for each in self.certificates)


def make_certs(
    project: Project,
    *,
    names: Sequence[str] = (),
    clients: Sequence[str] = (),
    days: int = CERTIFICATE_DAYS,
    renew: bool = False,
    renew_authority: bool = False,
    now: datetime.datetime | None = None,
) -> CertsResult:
    """Makes an authority, a certificate for the project's server and one for each of ``clients``.

    What is there and good for another 30 days is kept. The server's certificate is for its domain,
    this machine's name, the addresses that it listens at and ``names``. ``renew`` makes the
    certificates anew, ``renew_authority`` the authority as well: then whoever trusts the old one
    needs the new one. Raises UsageError for a name that is none, SettingsError for the disk.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    for client in clients:
        if not _CLIENT.fullmatch(client):
            raise UsageError(f"{client!r} cannot be a client's name", hint="--client alice")
    wanted = _server_names(project, names)
    domain = project.settings.domain
    project.make_state_dir()
    directory = private_directory(project.tls_dir)
    try:
        with _locked(directory):
            workshop = _Workshop(directory, now, days, renew or renew_authority)
            workshop.authority(
                f"rcsops lab authority of {project.settings.domain}", renew_authority
            )
            workshop.issue("server", "server", project.settings.domain, wanted)
            known = {path.name[7:-4] for path in directory.glob("client-*.pem")}
            known = {name for name in known if not name.endswith("-key")}
            for client in sorted({*known, *clients}):
                uri = f"sip:{client}@{domain}"
                workshop.issue("client", f"client-{client}", client, Names(uris=(uri,)))
    except OSError as error:
        raise SettingsError(
            f"cannot keep certificates in {directory}: {error.strerror or error}",
            hint="check who owns that directory and that the disk has room",
        ) from error
    own = (directory / "server.pem", directory / "server-key.pem")
    unused = "" if project.certificate == own else project.settings.tls_certificate
    return CertsResult(tuple(workshop.views), unused)


def certificate_status(
    path: Path, *, now: datetime.datetime | None = None
) -> CertificateStatus | None:
    """Until when the certificate in a PEM file is good; None where there is none to read."""
    try:
        until = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None
    left = until - (now or datetime.datetime.now(datetime.UTC))
    return CertificateStatus(path, until, left.days)


class _Workshop:
    """Makes and keeps the pairs of one directory."""

    def __init__(self, directory: Path, now: datetime.datetime, days: int, renew: bool) -> None:
        self._directory = directory
        self._now = now
        self._days = days
        self._renew = renew
        self._authority: Pair | None = None
        self.views: list[CertView] = []

    def authority(self, name: str, renew: bool) -> None:
        """The authority: the one that is there, as long as it can sign what outlives nobody."""
        old, why = self._load("ca")
        if old is not None:
            left = (old.certificate.not_valid_after_utc - self._now).days
            why = "asked for" if renew else f"{left} days left" if left < self._days else ""
        pair = old
        if old is None or why:
            pair = make_authority(name, now=self._now, days=AUTHORITY_DAYS)
            self._write("ca", pair)
        assert pair is not None
        self._authority = pair
        self._show("authority", "ca", pair, pair is old, why)

    def issue(self, role: str, stem: str, common_name: str, wanted: Names) -> None:
        """A certificate for ``wanted``, and for what the one that is there was made for."""
        assert self._authority is not None
        old, why = self._load(stem)
        if old is not None:
            there = names_in(old.certificate)
            wanted = there | wanted
            left = (old.certificate.not_valid_after_utc - self._now).days
            if self._renew:
                why = "asked for"
            elif not self._authority.signed(old.certificate):
                why = "it was signed by another authority"
            elif left < min(RENEW_DAYS, self._days // 3):
                why = "it has expired" if left < 0 else f"{left} days left"
            elif there != wanted:
                why = "it lacks a name"
        pair = old
        if old is None or why:
            pair = make_certificate(
                self._authority, common_name, wanted, now=self._now, days=self._days
            )
            self._write(stem, pair)
        assert pair is not None
        self._show(role, stem, pair, pair is old, why)

    def _paths(self, stem: str) -> tuple[Path, Path]:
        return self._directory / f"{stem}.pem", self._directory / f"{stem}-key.pem"

    def _load(self, stem: str) -> tuple[Pair | None, str]:
        """The pair that is there, or why it cannot be used; "" where there is none."""
        certificate, key = self._paths(stem)
        if not certificate.exists() and not key.exists():
            return None, ""
        try:
            return load(certificate.read_bytes(), key.read_bytes()), ""
        except (OSError, ValueError) as error:
            return None, f"the old one cannot be used: {error}"

    def _write(self, stem: str, pair: Pair) -> None:
        certificate, key = self._paths(stem)
        _replace(key, pair.key_pem, 0o600)
        _replace(certificate, pair.certificate_pem, 0o644)

    def _show(self, role: str, stem: str, pair: Pair, kept: bool, why: str) -> None:
        certificate, key = self._paths(stem)
        until = pair.certificate.not_valid_after_utc
        names = names_in(pair.certificate)
        self.views.append(
            CertView(
                role=role,
                done="kept" if kept else "renewed" if why else "made",
                why=why,
                certificate=certificate,
                private_key=key,
                names=(*names.uris, *names.hosts, *names.addresses),
                not_after=until,
                days_left=(until - self._now).days,
                fingerprint=pair.certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
            )
        )


def _server_names(project: Project, more: Sequence[str]) -> Names:
    """What the server is called: its domain first (RFC 5922 §7.1), and where it listens."""
    settings = project.settings
    found = [settings.domain, "localhost", "127.0.0.1", "::1"]
    with contextlib.suppress(ValueError):
        found.append(valid_domain(socket.gethostname()))
    for listen in settings.listen_addresses:
        wildcard = listen.host in ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound
        found += _machine_addresses() if wildcard else [listen.host]
    if content := urlsplit(settings.content.base_url).hostname:
        found.append(content)
    names = Names()
    for text in (*found, *more):
        try:
            names |= Names(addresses=(str(ipaddress.ip_address(text.strip("[]"))),))
        except ValueError:
            try:
                host = valid_domain(text)
            except ValueError as error:
                raise UsageError(str(error), hint="--name sip.example.org") from None
            names |= Names(uris=(f"sip:{host}",), hosts=(host,))
    return names


def _machine_addresses() -> list[str]:
    import psutil

    return [
        each.address
        for interface in psutil.net_if_addrs().values()
        for each in interface
        if each.family in (socket.AF_INET, socket.AF_INET6) and "%" not in each.address
    ]


def _replace(path: Path, data: bytes, mode: int) -> None:
    """Writes a file in one step: it never has a wider mode, and never half its content."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    opener: Callable[[str, int], int] = lambda name, flags: os.open(name, flags, mode)  # noqa: E731
    try:
        with open(temporary, "xb", opener=opener) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        owner = path.parent.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:
            # Root that works in somebody's project must not lock that somebody out.
            os.chown(temporary, owner.st_uid, owner.st_gid)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Two at the same time would each make an authority, and one would lose its certificates."""
    handle = os.open(directory / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
