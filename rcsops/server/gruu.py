"""Globally routable user agent URIs: one address for one device of a user (RFC 5627).

The public one is the address-of-record with the instance as its ``gr``. A temporary one hides both:
it holds them sealed, so that nothing has to be kept for the many that a registrar hands out, and a
restart of the server takes none of them away.
"""

import base64
import binascii
from hashlib import blake2b
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from rcsops.server.location import Binding
from rcsops.sip import Uri
from rcsops.tokens import Tokens

__all__ = ["GruuTarget", "Gruus"]

_PREFIX = "tgruu."
_INSTANCE_BYTES = 8
_CALL_BYTES = 4
_SALT_BYTES = 8
_SEAL_BYTES = _INSTANCE_BYTES + _CALL_BYTES
_LONGEST = 512


class GruuTarget(NamedTuple):
    """Whom a GRUU means: the user, and a test for the device."""

    user: str
    instance: str
    seal: bytes = b""

    def chooses(self, binding: Binding) -> bool:
        """Whether a binding is one of that device, and of the registration that it was given in:
        when the Call-ID of a device's registration changes, its temporary GRUUs are void (§3.3)."""
        if self.seal:
            return bool(binding.instance) and _seal(binding) == self.seal
        return _bare(binding.instance) == self.instance


class Gruus:
    """Makes and reads the GRUUs of one server, with a secret that outlives its restart."""

    __slots__ = ("_cipher", "_tokens")

    def __init__(self, secret: bytes, tokens: Tokens) -> None:
        self._cipher = AESSIV(blake2b(secret, digest_size=32, person=b"rcsops-gruu").digest())
        self._tokens = tokens

    def params(self, binding: Binding) -> str:
        """What the registrar adds to the Contact of a device (§5.3); "" for one without a name."""
        if not binding.instance:
            return ""
        return f';pub-gruu="{self.public(binding)}";temp-gruu="{self.temporary(binding)}"'

    def public(self, binding: Binding) -> str:
        """The GRUU that stays the same (§3.1.1)."""
        user, _, domain = binding.address.rpartition("@")
        return str(Uri("sip", user, domain).with_param("gr", _bare(binding.instance)))

    def temporary(self, binding: Binding) -> str:
        """A new GRUU that tells nobody whose it is (§3.1.2)."""
        user, _, domain = binding.address.rpartition("@")
        salt = bytes.fromhex(self._tokens.nonce())[:_SALT_BYTES]
        plain = salt + _seal(binding) + user.encode("utf-8", "surrogateescape")
        sealed = self._cipher.encrypt(plain, [domain.encode()])
        text = base64.urlsafe_b64encode(sealed).decode("ascii").rstrip("=")
        return f"sip:{_PREFIX}{text}@{domain};gr"

    def read(self, uri: Uri) -> GruuTarget | None:
        """Whom a URI with ``gr`` means; None when this server never gave it out."""
        instance = uri.param("gr")
        if instance is None:
            return None
        user = uri.username
        if instance:
            return GruuTarget(user, _bare(instance))
        if not user.startswith(_PREFIX) or len(user) > _LONGEST:
            return None
        text = user.removeprefix(_PREFIX)
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            plain = self._cipher.decrypt(sealed, [uri.host.encode()])
        except (binascii.Error, ValueError, InvalidTag):
            return None
        seal, owner = plain[_SALT_BYTES:][:_SEAL_BYTES], plain[_SALT_BYTES + _SEAL_BYTES :]
        return GruuTarget(owner.decode("utf-8", "surrogateescape"), "", seal)


def _seal(binding: Binding) -> bytes:
    return _digest(_bare(binding.instance), _INSTANCE_BYTES) + _digest(binding.call_id, _CALL_BYTES)


def _digest(text: str, size: int) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return blake2b(data, digest_size=size).digest()


def _bare(instance: str) -> str:
    """An instance without its angle brackets; that of a UUID in lower case."""
    bare = instance.strip("<>")
    return bare.lower() if "uuid:" in bare.lower() else bare
