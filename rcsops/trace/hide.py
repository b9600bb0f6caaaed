"""Credentials taken out of a message before it is shown: each stands there as as many ``x``.

A trace that our taps wrote has no digest in it (`rcsops.trace.writer`). What came from a capture or
another server has all, and is shown to people and written to files.
"""

import re

# With challenge and response a password can be guessed at leisure (RFC 7616 §5.8); Basic and Bearer
# are the secret itself.
_FIELDS = re.compile(
    rb"^(?:(?:proxy-)?authorization|(?:proxy-|www-)authenticate|(?:proxy-)?authentication-info)"
    rb"[ \t]*:(?:[^\r\n]|\r\n[ \t])*",
    re.IGNORECASE | re.MULTILINE,
)
_PARAMETERS = re.compile(
    rb"\b((?:next)?nonce|cnonce|response|rspauth|opaque|auts)([ \t]*=[ \t]*)"
    rb'(?:"((?:[^"\\\r\n]|\\.)*)"?|([^\s,;"]+))',
    re.IGNORECASE,
)
_TOKEN = re.compile(rb":([ \t]*(?:basic|bearer)[ \t]+)([^\r\n,]+)", re.IGNORECASE)
_URI_PASSWORD = re.compile(rb"(\bsips?:[^\s@<>:;?\"]{1,256}:)([^\s@<>;?\"]{1,256})@", re.IGNORECASE)
# Keys of the media and passwords of ICE (RFC 4568 §9.1, RFC 8839 §5.4, RFC 8866 §5.12).
_SDP_KEYS = re.compile(
    rb"^(a=crypto:[^\r\n]*?inline:|a=ice-pwd:|k=(?:clear|base64):)([^\r\n|]+)", re.MULTILINE
)


def hide_credentials(data: bytes) -> bytes:
    """``data``, as long as before, with nonces, digests, tokens, passwords and keys as ``x``."""
    head, separator, body = data.partition(b"\r\n\r\n")
    head = _FIELDS.sub(_without_secrets, head)
    head = _URI_PASSWORD.sub(lambda found: found[1] + b"x" * len(found[2]) + b"@", head)
    if b"v=0" in body:
        body = _SDP_KEYS.sub(lambda found: found[1] + b"x" * len(found[2]), body)
    return head + separator + body


def _without_secrets(field: re.Match[bytes]) -> bytes:
    hidden = _TOKEN.sub(lambda found: b":" + found[1] + b"x" * len(found[2]), field[0])
    return _PARAMETERS.sub(_parameter_hidden, hidden)


def _parameter_hidden(found: re.Match[bytes]) -> bytes:
    if found[4] is not None:
        return found[1] + found[2] + b"x" * len(found[4])
    closed = b'"' if found[0].endswith(b'"') and found.end(3) < found.end() else b""
    return found[1] + found[2] + b'"' + b"x" * len(found[3]) + closed
