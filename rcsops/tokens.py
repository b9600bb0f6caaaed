"""Unique and unguessable strings for SIP, digest, MSRP and IMDN.

The protocol cores never ask the system for randomness: they are given a :class:`Tokens`, so that a
test replays exactly. ``rcsops.transport`` builds the real one on ``os.urandom``.
"""

from collections.abc import Callable
from hashlib import sha256

MAGIC_COOKIE = "z9hG4bK"
"""How the branch of an RFC 3261 element starts (RFC 3261 §8.1.1.7)."""


class Tokens:
    """Makes the tokens of every protocol from one source of random bytes.

    ``random_bytes(n)`` returns n bytes that nobody can foretell.
    """

    __slots__ = ("_random_bytes",)

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes

    @classmethod
    def deterministic(cls, seed: int) -> "Tokens":
        """A generator that gives the same tokens for the same seed: for tests and replays only."""
        return cls(_SeededBytes(seed))

    def branch(self) -> str:
        """A Via branch: the magic cookie and 80 random bits (RFC 3261 §8.1.1.7)."""
        return MAGIC_COOKIE + self._random_bytes(10).hex()

    def tag(self) -> str:
        """A From or To tag; RFC 3261 §19.3 asks for 32 random bits, these are 64."""
        return self._random_bytes(8).hex()

    def call_id(self) -> str:
        """A Call-ID of 128 random bits without a host part, which would tell our address."""
        return self._random_bytes(16).hex()

    def cnonce(self) -> str:
        """The client's nonce of digest, 80 bits (RFC 7616 §3.4)."""
        return self._random_bytes(10).hex()

    def nonce(self) -> str:
        """128 random bits for a server's nonce, opaque or secret."""
        return self._random_bytes(16).hex()

    def transact_id(self) -> str:
        """An MSRP transaction identifier, 80 bits in 20 characters (RFC 4975 §9 allows 4 to 32)."""
        return self._random_bytes(10).hex()

    def msrp_message_id(self) -> str:
        """An MSRP Message-ID, 80 bits in 20 characters (RFC 4975 §9 allows 4 to 32)."""
        return self._random_bytes(10).hex()

    def session_id(self) -> str:
        """The session part of an MSRP URI; RFC 4975 §14.1 asks for 80 random bits, these are 96."""
        return self._random_bytes(12).hex()

    def imdn_id(self) -> str:
        """An IMDN Message-ID of 96 bits (RFC 5438 §6.3)."""
        return self._random_bytes(12).hex()

    def uuid(self) -> str:
        """A random UUID, version 4, in text form (RFC 4122 §4.4)."""
        raw = bytearray(self._random_bytes(16))
        raw[6] = raw[6] & 0x0F | 0x40
        raw[8] = raw[8] & 0x3F | 0x80
        text = raw.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def number(self, bits: int) -> int:
        """A number below 2**bits."""
        return int.from_bytes(self._random_bytes((bits + 7) // 8), "big") % (1 << bits)

    def fraction(self) -> float:
        """A number in [0, 1), evenly spread: for jitter and for choosing by weight."""
        return int.from_bytes(self._random_bytes(4), "big") / 2**32


class _SeededBytes:
    """A stream of bytes out of SHA-256 in counter mode."""

    __slots__ = ("_buffer", "_counter", "_seed")

    def __init__(self, seed: int) -> None:
        self._seed = str(seed).encode()
        self._counter = 0
        self._buffer = b""

    def __call__(self, count: int) -> bytes:
        while len(self._buffer) < count:
            block = b"%s/%d" % (self._seed, self._counter)
            self._buffer += sha256(block).digest()
            self._counter += 1
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken
