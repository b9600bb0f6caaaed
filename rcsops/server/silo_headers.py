"""The headers that a stored MESSAGE keeps beside its body.

OpenSIPS's table ``silo`` has no column for them. They are written behind the Content-Type, as
parameters of it that are ours, so that the table keeps its shape, and a message its thread, through
backups and a move to OpenSIPS, whose msilo hands the parameters on as they are.
"""

import re

from rcsops.sip import Request

__all__ = ["kept_type", "restore_type"]

_HEADERS = {
    "x-conversation-id": "Conversation-ID",
    "x-contribution-id": "Contribution-ID",
    "x-reply-to-contribution": "InReplyTo-Contribution-ID",
    "x-service": "P-Preferred-Service",
}
# What needs no quotes in a parameter; the identifiers of OMA CPM are UUIDs in text form.
_TOKEN = re.compile(r"[A-Za-z0-9.+-]{1,64}")
_SERVICE = re.compile(r"urn:urn-7:3gpp-service\.ims\.icsi\.([A-Za-z0-9.+-]{1,40})")
_SERVICE_PREFIX = "urn:urn-7:3gpp-service.ims.icsi."
_LONGEST = 255
_PARAMETER = re.compile(rf";({'|'.join(map(re.escape, _HEADERS))})=([A-Za-z0-9.+-]+)$")


def kept_type(request: Request) -> str:
    """What goes into the column ``ctype``: the Content-Type, and the headers that fit behind it."""
    kept = (request.get("Content-Type") or "text/plain")[:_LONGEST]
    for name, header in _HEADERS.items():
        value = (request.get(header) or "").strip()
        if name == "x-service":
            found = _SERVICE.fullmatch(value)
            value = found[1] if found else ""
        if not _TOKEN.fullmatch(value):
            continue
        longer = f"{kept};{name}={value}"
        if len(longer) <= _LONGEST:
            kept = longer
    return kept


def restore_type(kept: str) -> tuple[str, list[tuple[str, str]]]:
    """The Content-Type, and the headers, that ``kept_type`` made one of."""
    headers: list[tuple[str, str]] = []
    while (found := _PARAMETER.search(kept)) is not None:
        kept = kept[: found.start()]
        name, value = found.groups()
        if name == "x-service":
            value = _SERVICE_PREFIX + value
            tag = value.replace(":", "%3A")
            headers.insert(0, ("Accept-Contact", f'*;+g.3gpp.icsi-ref="{tag}"'))
        headers.insert(0, (_HEADERS[name], value))
    return kept, headers
