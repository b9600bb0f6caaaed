"""SDP and offer/answer without I/O (RFC 8866, RFC 3264), as far as RCS needs them."""

from rcsops.errors import SdpParseError
from rcsops.sdp.description import (
    Connection,
    MediaDescription,
    Origin,
    SessionDescription,
    parse_sdp,
)
from rcsops.sdp.fingerprint import check_fingerprints, fingerprint, is_fingerprint_of
from rcsops.sdp.msrp_media import (
    MsrpMedia,
    answer_setup,
    find_msrp,
    make_answer,
    make_offer,
    offerer_is_active,
    reverse_direction,
)

__all__ = [
    "Connection",
    "MediaDescription",
    "MsrpMedia",
    "Origin",
    "SdpParseError",
    "SessionDescription",
    "answer_setup",
    "check_fingerprints",
    "find_msrp",
    "fingerprint",
    "is_fingerprint_of",
    "make_answer",
    "make_offer",
    "offerer_is_active",
    "parse_sdp",
    "reverse_direction",
]
