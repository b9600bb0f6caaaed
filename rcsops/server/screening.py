"""The quick no: a 503 to a datagram of which nothing is parsed (used while there is overload).

What is not plainly new work, or has a shape that is not common, is left to the ordinary way.
"""

import re
from collections.abc import Callable
from hashlib import blake2b

from rcsops.sip import Flow

__all__ = ["Screen"]

# What ends or goes on with something that exists.
_LEFT_ALONE = frozenset({b"ACK", b"CANCEL", b"BYE", b"PRACK"})
_START = re.compile(rb"([A-Z]{2,20}) [^ \r\n]+ SIP/2\.0\r\n")
_VIA = re.compile(
    rb"\r\n(?:via|v)[ \t]*:[ \t]*SIP/2\.0/UDP[ \t]+(\[[0-9a-f:.]+\]|[0-9a-z.\-]+)(?::(\d{1,5}))?"
    rb"((?:;[^,\r\n;]*)*)(?=\r\n)",
    re.IGNORECASE,
)
_BRANCH = re.compile(rb";branch=([^;,\s]+)", re.IGNORECASE)
_TO_TAG = re.compile(rb"\r\n(?:to|t)[ \t]*:[^\r\n]*;[ \t]*tag=", re.IGNORECASE)
_CREDENTIALS = re.compile(rb"\r\n(?:proxy-)?authorization[ \t]*:", re.IGNORECASE)
_ECHOED = frozenset({b"via", b"v", b"from", b"f", b"call-id", b"i", b"cseq"})
_TO = frozenset({b"to", b"t"})

Refuses = Callable[[bool], bool]
Knows = Callable[[str, str, int, str], bool]


class Screen:
    """Looks at datagrams.

    ``refuses(credentials)`` decides about new work; ``knows(branch, host, port, method)`` says
    whether there is a transaction already, whose retransmission it is. ``retry_after()`` gives
    seconds.
    """

    def __init__(
        self, secret: bytes, refuses: Refuses, knows: Knows, retry_after: Callable[[], int]
    ) -> None:
        self._key = blake2b(secret, person=b"rcsops-screen").digest()
        self._refuses = refuses
        self._knows = knows
        self._retry_after = retry_after

    def __call__(self, data: bytes, flow: Flow) -> tuple[bytes, Flow] | None:
        """The answer to send, and where; None for what has to go the ordinary way."""
        start = _START.match(data)
        if start is None or start[1] in _LEFT_ALONE:
            return None
        end = data.find(b"\r\n\r\n")
        # The first field follows the start line, whose line end is part of the pattern of a field.
        head = data[start.end() - 2 : end if end >= 0 else None]
        via = _VIA.search(head)
        if via is None or b"maddr" in via[3] or _TO_TAG.search(head):
            return None
        credentials = _CREDENTIALS.search(head) is not None
        if credentials and self._has_transaction(start[1], via):
            return None
        if not self._refuses(credentials):
            return None
        return self._refusal(head, via, flow)

    def _has_transaction(self, method: bytes, via: re.Match[bytes]) -> bool:
        branch = _BRANCH.search(via[3])
        if branch is None:
            return True
        host = via[1].decode("ascii").strip("[]").lower()
        return self._knows(
            branch[1].decode("latin-1").lower(), host, int(via[2] or 5060), method.decode("ascii")
        )

    def _refusal(self, head: bytes, via: re.Match[bytes], flow: Flow) -> tuple[bytes, Flow] | None:
        host, port = flow.remote
        params = via[3]
        index = params.lower().find(b";rport")
        if index >= 0 and params[index + 6 : index + 7] in (b"", b";"):
            back = flow
            params = b"%s=%d%s" % (params[: index + 6], port, params[index + 6 :])
        else:
            back = flow._replace(remote=(host, int(via[2] or 5060)))
        seen = b";received=%s" % host.encode("ascii")
        sent_by = via[0][2:].partition(via[3])[0] if via[3] else via[0][2:]
        lines = [b"SIP/2.0 503 Service Unavailable"]
        first = True
        for line in head.split(b"\r\n"):
            name = line.partition(b":")[0].rstrip(b" \t").lower()
            if line[:1] in (b" ", b"\t"):
                return None
            if name in _ECHOED:
                if first and name in (b"via", b"v"):
                    first = False
                    line = sent_by + params + seen
                lines.append(line)
            elif name in _TO:
                tag = blake2b(head, key=self._key, digest_size=8).hexdigest().encode("ascii")
                lines.append(b"%s;tag=%s" % (line, tag))
        lines.append(b"Retry-After: %d" % self._retry_after())
        lines.append(b"Content-Length: 0\r\n\r\n")
        return b"\r\n".join(lines), back
