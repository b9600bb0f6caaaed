"""Names of header fields and the phrases of status codes (RFC 3261 §7.3.3, §20, §21)."""

from __future__ import annotations

import re

from rcsops.errors import SipParseError

# RFC 3261 §7.3.3, RFC 3515, 3841, 3892, 4028, 6665, 8224 and the IANA registry of compact forms.
COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}

_FREQUENT = (
    "Accept",
    "Accept-Contact",
    "Accept-Encoding",
    "Accept-Language",
    "Allow",
    "Allow-Events",
    "Authentication-Info",
    "Authorization",
    "Call-ID",
    "Contact",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Contribution-ID",
    "Conversation-ID",
    "CSeq",
    "Date",
    "Event",
    "Expires",
    "Flow-Timer",
    "From",
    "Max-Breadth",
    "Max-Forwards",
    "MIME-Version",
    "Min-Expires",
    "Min-SE",
    "P-Asserted-Identity",
    "P-Asserted-Service",
    "P-Associated-URI",
    "P-Preferred-Identity",
    "P-Preferred-Service",
    "Path",
    "Priority",
    "Privacy",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Require",
    "Reason",
    "Record-Route",
    "Refer-To",
    "Require",
    "Retry-After",
    "Route",
    "Server",
    "Service-Route",
    "Session-Expires",
    "SIP-ETag",
    "SIP-If-Match",
    "Subject",
    "Subscription-State",
    "Supported",
    "Timestamp",
    "To",
    "Unsupported",
    "User-Agent",
    "Via",
    "Warning",
    "WWW-Authenticate",
)

_NAME = re.compile(r"([A-Za-z0-9\-.!%*_+`'~]++)[ \t]*+")

# Cache limits: names come from the network, so neither their number nor their length is ours.
_MAX_CACHED = 1024
_MAX_CACHED_LENGTH = 64


class HeaderNames(dict[str, str]):
    """Maps a header name as spelled to its canonical form: lower case, long.

    ``HEADER_NAMES["v"] == HEADER_NAMES["VIA "] == "via"``. A subscript raises SipParseError when
    the text is no header name.
    """

    def __missing__(self, spelled: str) -> str:
        match = _NAME.fullmatch(spelled)
        if match is None:
            raise SipParseError(f"not a header name: {spelled[:40]!r}")
        lower = match[1].lower()
        name = COMPACT.get(lower, lower)
        # One object for each name, so that a search through a list of names compares by identity.
        name = dict.get(self, name, name)
        if len(self) < _MAX_CACHED and len(spelled) <= _MAX_CACHED_LENGTH:
            self[spelled] = name
        return name


HEADER_NAMES = HeaderNames()
for _long in _FREQUENT:
    HEADER_NAMES[_long.lower()] = _long.lower()
for _long in _FREQUENT:
    HEADER_NAMES[_long] = HEADER_NAMES[_long.lower()]
for _short, _long in COMPACT.items():
    HEADER_NAMES[_short] = HEADER_NAMES[_short.upper()] = HEADER_NAMES[_long]

REASON_PHRASES = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    417: "Unknown Resource-Priority",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    424: "Bad Location Information",
    428: "Use Identity Header",
    429: "Provide Referrer Identity",
    430: "Flow Failed",
    433: "Anonymity Disallowed",
    436: "Bad Identity Info",
    437: "Unsupported Credential",
    438: "Invalid Identity Header",
    439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded",
    469: "Bad Info Package",
    470: "Consent Needed",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
    607: "Unwanted",
    608: "Rejected",
}


def reason_phrase(status: int) -> str:
    """The usual phrase for a status code, by its class when the code is unknown (§21)."""
    phrase = REASON_PHRASES.get(status)
    if phrase is not None:
        return phrase
    return REASON_PHRASES.get(status // 100 * 100, "Unknown")
