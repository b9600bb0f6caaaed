"""TLS under SIP (RFC 3261 §26.2.1, RFC 5922): contexts, and the layer of one connection."""

import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path

from rcsops.errors import SettingsError
from rcsops.transport.identity import Identities, identities_of
from rcsops.transport.layers import ConnectionFailed, Layer
from rcsops.transport.tls_failures import explain

__all__ = ["Tls", "TlsLayer", "TlsOptions"]

_READ_SIZE = 65536


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How an endpoint proves who it is, and whom it believes.

    ``certificate`` and ``private_key`` are PEM files: a server needs them, a client may have them.
    ``ca`` holds the authorities that are believed; with ``system_ca`` those of the system are
    believed as well. ``client_certificates`` is what a server asks of clients: "none", "optional"
    or "required".
    """

    certificate: Path | None = None
    private_key: Path | None = None
    ca: Path | None = None
    system_ca: bool = True
    client_certificates: str = "none"


class Tls:
    """The contexts of one endpoint, made when they are first needed."""

    def __init__(self, options: TlsOptions | None = None) -> None:
        self.options = options or TlsOptions()
        self._client: ssl.SSLContext | None = None
        self._server: ssl.SSLContext | None = None

    @property
    def has_certificate(self) -> bool:
        """Whether it can be a server."""
        return self.options.certificate is not None

    def client(self) -> ssl.SSLContext:
        """For connections that we open. Raises SettingsError for files that cannot be used."""
        if self._client is None:
            context = _context(ssl.PROTOCOL_TLS_CLIENT)
            # RFC 5922 §7 has rules of its own, which OpenSSL does not know; see `TlsLayer`.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_REQUIRED
            self._trust(context, ssl.Purpose.SERVER_AUTH)
            self._show_certificate(context)
            self._client = context
        return self._client

    def https(self) -> ssl.SSLContext:
        """For HTTPS: the name of the host is checked, and no certificate of ours is shown. Raises
        SettingsError."""
        context = _context(ssl.PROTOCOL_TLS_CLIENT)
        self._trust(context, ssl.Purpose.SERVER_AUTH)
        return context

    def server(self) -> ssl.SSLContext:
        """For connections that others open. Raises SettingsError."""
        if self._server is None:
            if not self.has_certificate:
                raise SettingsError(
                    "there is no certificate for TLS", hint="make one for a lab: rcsops certs"
                )
            context = _context(ssl.PROTOCOL_TLS_SERVER)
            wanted = self.options.client_certificates
            if wanted != "none":
                required = wanted == "required"
                context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
                self._trust(context, ssl.Purpose.CLIENT_AUTH)
            self._show_certificate(context)
            self._server = context
        return self._server

    def _trust(self, context: ssl.SSLContext, purpose: ssl.Purpose) -> None:
        options = self.options
        if options.system_ca:
            context.load_default_certs(purpose)
        if options.ca is not None:
            try:
                context.load_verify_locations(cafile=options.ca)
            except (OSError, ssl.SSLError) as error:
                raise _unusable("authorities", options.ca, error) from error

    def _show_certificate(self, context: ssl.SSLContext) -> None:
        options = self.options
        if options.certificate is None:
            return
        try:
            # No password: a key that has one must not make a server wait for a terminal.
            context.load_cert_chain(options.certificate, options.private_key, password=lambda: "")
        except ssl.SSLError as error:
            if "KEY_VALUES_MISMATCH" in str(error):
                raise SettingsError(
                    f"the private key {options.private_key} is not that of the certificate "
                    f"{options.certificate}",
                    hint="name the two that belong together in [tls], or make new ones: "
                    "rcsops certs --renew",
                ) from error
            raise _unusable("certificate", options.certificate, error) from error
        except (OSError, ValueError) as error:
            raise _unusable("certificate", options.certificate, error) from error


class TlsLayer(Layer):
    """TLS of one connection.

    As a client it goes on only with a server whose certificate proves ``domain`` (RFC 5922 §7.3).
    ``identities`` are those that the other side has proved; none for a client without certificate.
    """

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, domain: str = "") -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._domain = domain
        self._server_side = server_side
        self._object = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=None if server_side else _sni(domain),
        )
        self.identities = Identities()

    @property
    def version(self) -> str:
        """ "TLSv1.3", once established."""
        return self._object.version() or ""

    def start(self) -> None:
        self._handshake()

    def receive_data(self, data: bytes) -> list[bytes]:
        self._incoming.write(data)
        if not self.established and not self._handshake():
            return []
        read = self._object.read
        chunks: list[bytes] = []
        try:
            while chunk := read(_READ_SIZE):
                chunks.append(chunk)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            # The other side says good-bye; the end of the connection follows.
            pass
        except ssl.SSLError as error:
            raise ConnectionFailed(explain(error)) from error
        return chunks

    def send(self, data: bytes) -> None:
        try:
            self._object.write(data)
        except ssl.SSLError as error:
            raise ConnectionFailed(explain(error)) from error

    def data_to_send(self) -> bytes:
        return self._outgoing.read()

    def close(self) -> None:
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._object.unwrap()

    def _handshake(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise ConnectionFailed(explain(error)) from error
        self.identities = identities_of(self._object.getpeercert() or {})
        if not self._server_side and not self.identities.prove(self._domain):
            raise ConnectionFailed(f"its certificate is for {self.identities}, not {self._domain}")
        self.established = True
        return True


def _context(protocol: "ssl._SSLMethod") -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A peer that asks for new keys over and over would have us compute for it.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def _sni(domain: str) -> str | None:
    """A name for the server to choose its certificate by; a number is none (RFC 6066 §3)."""
    numeric = ":" in domain or domain.replace(".", "").isdigit()
    return None if numeric or not domain else domain


def _unusable(what: str, path: Path, error: Exception) -> SettingsError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, ssl.SSLError):
        reason = "it is not a PEM file that OpenSSL can read"
    return SettingsError(
        f"cannot use the {what} in {path}: {reason}",
        hint="mend [tls] in rcsops.toml, or make new ones for a lab: rcsops certs",
    )
