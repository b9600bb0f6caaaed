"""How much one message of a peer may be: every bound of the parsers, in one place.

A message over a bound is refused as a whole with its parser's own error; docs/hostility.md has the
answers that follow. Sizes are octets. What counts over time, such as connections and transactions,
belongs to `rcsops.transport.limits` and `rcsops.server.options`.
"""

SIP_HEAD = 65536
"""Start line and headers. Over it a stream is closed (513)."""

SIP_HEADERS = 256
"""Header lines of a SIP message; folded lines count as one."""

SIP_VALUES = 256
"""Values of one header: hops of Via and Route, addresses of Contact.

Max-Forwards, one octet, lets no message pass more hops than that (RFC 3261 §20.22).
"""

SIP_BODY = 1 << 20
"""A body on a stream; over it the stream is closed (513)."""

SDP_SIZE = 65536
SDP_LINES = 2000
SDP_MEDIA = 64
"""A session description: octets, lines and m= lines."""

MSRP_START_LINE = 1024
MSRP_HEAD = 16384
MSRP_HEADERS = 64
MSRP_WHOLE_BODY = 4096
"""An MSRP frame: start line, head, headers. A longer body is handed on piece by piece."""

MSRP_URI = 1024
MSRP_PATH_URIS = 16
"""One MSRP URI, and how many a path may have (RFC 4975 §5.1)."""

CPIM_HEAD = 65536
CPIM_HEADERS = 256
"""Each of the two blocks of headers in a message/cpim body."""

XML_SIZE = 65536
XML_DEPTH = 32
XML_ELEMENTS = 2000
"""An IMDN, isComposing or file-transfer document; a DTD is refused whatever its size."""
