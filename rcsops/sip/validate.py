"""Is a message that could be framed also one to work with? (RFC 3261 §8.1.1, §8.2, §16.3)"""

from __future__ import annotations

from rcsops.errors import RemoteProtocolError, SipParseError
from rcsops.sip.message import Request, Response

_ONCE = ("from", "to", "call-id", "cseq")


def check_request(request: Request) -> RemoteProtocolError | None:
    """What is wrong with a request, with the status to answer; None when nothing is.

    400 for what is missing, doubled or broken, 416 for a Request-URI that is no sip, sips or tel
    URI, 505 for another version. What RFC 2543 left out (branch, From tag, Max-Forwards) may be
    missing. Whether the method is known and Max-Forwards is 0 is for the caller to see.
    """
    if request.version != "SIP/2.0":
        return RemoteProtocolError(f"version {request.version}", status=505)
    try:
        return _missing(request) or _contradiction(request)
    except SipParseError as error:
        return error


def answerable(error: SipParseError) -> Request | None:
    """The request that an error is about, when it holds what an answer needs (§8.2.6.2)."""
    request = error.partial
    if not isinstance(request, Request) or request.method == "ACK":
        return None
    return request if all(map(request.has, ("Via", "From", "To", "CSeq"))) else None


def check_response(response: Response) -> bool:
    """Whether a response can be passed on; one that cannot is dropped (§8.1.3, §16.7)."""
    if response.version != "SIP/2.0":
        return False
    try:
        if not response.vias:
            return False
        _ = (response.from_.uri, response.to.uri, response.call_id, response.cseq)
    except SipParseError:
        return False
    return True


def _missing(request: Request) -> RemoteProtocolError | None:
    values = request._values
    for name in _ONCE:
        if type(values.get(name)) is not str and not request._stands_once(name):
            count = request.count(name)
            return RemoteProtocolError(f"{count or 'no'} {name} header{'s' * (count > 1)}")
    if not request.vias:
        return RemoteProtocolError("no via header")
    return None


def _contradiction(request: Request) -> RemoteProtocolError | None:
    if request.cseq.method != request.method:
        return RemoteProtocolError(f"CSeq says {request.cseq.method}, not {request.method}")
    uri = request.request_uri
    if uri.headers:
        return RemoteProtocolError("the Request-URI has headers")  # §19.1.1
    if not uri.is_sip and uri.scheme != "tel":
        return RemoteProtocolError(f"scheme {uri.scheme[:20]}", status=416)
    if (request.max_forwards or 0) > 255:
        return RemoteProtocolError("Max-Forwards is above 255")  # §20.22
    # Read for their errors: whoever works with the request will need them.
    from_, to = request.from_, request.to
    _ = (request.vias[0].params, from_.uri, from_.tag, to.uri, to.tag, request.call_id, uri.params)
    if "route" in request._names:
        for route in request.routes:
            _ = route.uri.params
    contacts = request.contacts
    for contact in contacts:
        _ = contact.uri.params, contact.params
    if not contacts and request.contact_star and request.method != "REGISTER":
        return RemoteProtocolError("Contact * in a request other than REGISTER")  # §10.2.2
    if request.body:
        _ = request.content_type
    return None
