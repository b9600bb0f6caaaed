"""Feature tags and headers that say "this is RCS" in SIP (OMA CPM, GSMA RCC.07, RFC 3840, 3841)."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import unquote

ICSI_PREFIX = "urn:urn-7:3gpp-service.ims.icsi."
IARI_PREFIX = "urn:urn-7:3gpp-application.ims.iari."

CPM_SESSION = ICSI_PREFIX + "oma.cpm.session"
CPM_MESSAGE = ICSI_PREFIX + "oma.cpm.msg"
CPM_LARGE_MESSAGE = ICSI_PREFIX + "oma.cpm.largemsg"
CPM_FILE_TRANSFER = ICSI_PREFIX + "oma.cpm.filetransfer"
RCS_FILE_TRANSFER = IARI_PREFIX + "rcse.ft"
RCS_FILE_TRANSFER_HTTP = IARI_PREFIX + "rcs.fthttp"
RCS_GEOLOCATION_PUSH = IARI_PREFIX + "rcs.geopush"

REGISTERED = (CPM_SESSION, CPM_MESSAGE, CPM_FILE_TRANSFER, RCS_GEOLOCATION_PUSH)
"""What an agent of ours can do, as it says in the Contact of REGISTER, INVITE and OPTIONS."""

ICSI_TAG = "+g.3gpp.icsi-ref"
IARI_TAG = "+g.3gpp.iari-ref"

Params = list[tuple[str, str]]


def feature_params(urns: Iterable[str]) -> Params:
    """Contact parameters for services, each value in its quotes (RFC 3840 §9).

    Several services of one kind are one comma list in one quoted string, colons escaped.
    """
    groups: dict[str, list[str]] = {}
    for urn in urns:
        tag = IARI_TAG if urn.startswith(IARI_PREFIX) else ICSI_TAG
        groups.setdefault(tag, []).append(urn.replace(":", "%3A"))
    return [(tag, f'"{",".join(values)}"') for tag, values in groups.items()]


def feature_text(urns: Iterable[str]) -> str:
    """The same as text that can be put behind a Contact: ``;tag="..."`` and so on."""
    return "".join(f";{name}={value}" for name, value in feature_params(urns))


def read_features(params: Mapping[str, str | None] | Iterable[tuple[str, str | None]]) -> set[str]:
    """The service URNs in the parameters of a Contact or Accept-Contact, in lower case.

    Takes quoted and unquoted values, escaped and raw colons, ``,`` and ``;`` between values, and
    repeated parameters, as they are met in the field.
    """
    pairs = params.items() if isinstance(params, Mapping) else params
    found = set()
    for name, value in pairs:
        if name.lower() in (ICSI_TAG, IARI_TAG) and value:
            for urn in value.strip('"').replace(";", ",").split(","):
                text = unquote(urn).strip().strip('"<>').lower()
                if text:
                    found.add(text)
    return found


@lru_cache(maxsize=32)
def _accept_contact(urn: str) -> str:
    return "*" + feature_text([urn])


def service_headers(
    urn: str,
    *,
    conversation_id: str,
    contribution_id: str,
    in_reply_to: str | None = None,
) -> list[tuple[str, str]]:
    """Headers of an INVITE or MESSAGE for a CPM service (``CPM_SESSION``, ...).

    ``conversation_id`` names the thread with that peer for as long as it lives,
    ``contribution_id`` is new for each session or message; both are UUIDs in text form.
    """
    headers = [
        ("Accept-Contact", _accept_contact(urn)),
        ("P-Preferred-Service", urn),
        ("Conversation-ID", conversation_id),
        ("Contribution-ID", contribution_id),
    ]
    if in_reply_to is not None:
        headers.append(("InReplyTo-Contribution-ID", in_reply_to))
    return headers
