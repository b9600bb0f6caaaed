"""What the headers say, in plain words: a table, for whoever shows a message to a person."""

from typing import NamedTuple


class HeaderNote(NamedTuple):
    """``text`` is two or three sentences, ``rfc`` where it is defined."""

    text: str
    rfc: str


SIP_HEADERS: dict[str, HeaderNote] = {
    "via": HeaderNote(
        "The way that the answer takes back: each hop puts its own Via on top of a request and "
        "takes it off the response. `branch` names the transaction: it is new for every request, "
        "and begins with z9hG4bK. `rport` asks to be answered at the port that the request came "
        "from, and `received` is the address seen there: that is how SIP gets back through a NAT.",
        "RFC 3261 §8.1.1.7, RFC 3581",
    ),
    "max-forwards": HeaderNote(
        "How many more hops the request may take. Each proxy takes one off; at 0 it is refused "
        "with 483, so that a loop of proxies ends.",
        "RFC 3261 §8.1.1.6",
    ),
    "from": HeaderNote(
        "Who sends the request, as a name that people know, not as an address on the network. "
        "`tag` is the sender's half of the name of the dialog.",
        "RFC 3261 §8.1.1.3",
    ),
    "to": HeaderNote(
        "Whom the request is for. The first request has no `tag`: whoever answers adds one, and "
        "from then on both tags and the Call-ID name the dialog.",
        "RFC 3261 §8.1.1.2",
    ),
    "call-id": HeaderNote(
        "One name for all messages of a call, or of all registrations of one device.",
        "RFC 3261 §8.1.1.4",
    ),
    "cseq": HeaderNote(
        "A number that grows with each new request of the call, and the method. A response "
        "repeats both: that is how one knows what it answers. ACK and CANCEL have the number of "
        "their INVITE.",
        "RFC 3261 §8.1.1.5",
    ),
    "contact": HeaderNote(
        "Where the device itself is to be reached, past the server. In a REGISTER it is what the "
        "server remembers for the user, in an INVITE where later requests of the call go. `expires`"
        " says for how many seconds (0 removes it), `+sip.instance` names the device, `reg-id` its "
        "connection, and the feature tags (`+g.3gpp…`) what it can do.",
        "RFC 3261 §8.1.1.8, RFC 5626, RFC 3840",
    ),
    "expires": HeaderNote(
        "How many seconds it is good for; 0 in a REGISTER takes the contact away.",
        "RFC 3261 §20.19",
    ),
    "min-expires": HeaderNote(
        "The shortest registration that the server takes; it comes with 423.", "RFC 3261 §20.23"
    ),
    "record-route": HeaderNote(
        "A proxy that wants to see the rest of the call writes itself down here. Both ends keep the"
        " list and send what follows along it, as Route.",
        "RFC 3261 §16.6",
    ),
    "route": HeaderNote(
        "The proxies that the request is to pass, in order: the list that Record-Route made. `lr` "
        "says that the proxy leaves the Request-URI alone.",
        "RFC 3261 §20.34",
    ),
    "path": HeaderNote(
        "The proxies between a device and its registrar; requests to the device come back by them.",
        "RFC 3327",
    ),
    "service-route": HeaderNote(
        "The proxies that the server wants this device's requests to go through.", "RFC 3608"
    ),
    "www-authenticate": HeaderNote(
        "The question that a password answers. `nonce` is a number used once: the device mixes it "
        "with the password and sends the hash, so that the password itself never crosses the "
        "network. One line for each hash that the server can do; the device takes the first.",
        "RFC 3261 §22.2, RFC 7616, RFC 8760",
    ),
    "proxy-authenticate": HeaderNote(
        "As WWW-Authenticate, asked by a proxy on the way (407) and not by the one that the "
        "request is for (401).",
        "RFC 3261 §22.3",
    ),
    "authorization": HeaderNote(
        "The answer to a challenge: `response` is a hash over user, realm, password, nonce, method "
        "and URI, `nc` counts how often the nonce was used, `cnonce` is the device's own part.",
        "RFC 3261 §22, RFC 7616",
    ),
    "proxy-authorization": HeaderNote(
        "The answer to a proxy's challenge. The proxy takes it off before it sends the request on.",
        "RFC 3261 §22.3",
    ),
    "authentication-info": HeaderNote(
        "The server's own proof that it knows the password, or the nonce to take next time.",
        "RFC 7615",
    ),
    "content-type": HeaderNote(
        "What the body is: application/sdp says where and how to talk, message/cpim wraps a "
        "message with its sender, time and wish for receipts.",
        "RFC 3261 §20.15",
    ),
    "content-length": HeaderNote(
        "How many octets the body has. Over TCP, which has no borders between messages, it is the "
        "only thing that says where one ends.",
        "RFC 3261 §18.3",
    ),
    "allow": HeaderNote("The methods that the sender understands.", "RFC 3261 §20.5"),
    "supported": HeaderNote(
        "Extensions that the sender can do: `path`, `outbound` (a connection kept for what comes "
        "back), `gruu` (an address of one device), `timer` (see Session-Expires).",
        "RFC 3261 §20.37",
    ),
    "require": HeaderNote(
        "Extensions that the other end must do; who cannot answers 420.", "RFC 3261 §20.32"
    ),
    "unsupported": HeaderNote(
        "What was required and cannot be done; it comes with 420.", "RFC 3261 §20.40"
    ),
    "accept-contact": HeaderNote(
        "Asks the server for a device that can do this (an RCS chat, a file), when the user has "
        "several.",
        "RFC 3841",
    ),
    "session-expires": HeaderNote(
        "How long the call lasts unless it is refreshed, and by whom (`refresher`): a call whose "
        "end got lost ends by itself.",
        "RFC 4028",
    ),
    "min-se": HeaderNote("The shortest time for Session-Expires.", "RFC 4028"),
    "flow-timer": HeaderNote(
        "How many seconds the connection may be silent before the server takes it for dead; the "
        "device sends a keep-alive in time.",
        "RFC 5626 §5.4",
    ),
    "p-asserted-identity": HeaderNote(
        "Who the sender really is: written by a server that has checked the password, believed "
        "only from one's own server.",
        "RFC 3325",
    ),
    "p-preferred-service": HeaderNote(
        "The service that the device wants to use; RCS names chat and file transfer so.", "RFC 6050"
    ),
    "p-asserted-service": HeaderNote("The service, as the server has checked it.", "RFC 6050"),
    "conversation-id": HeaderNote(
        "One name for everything that these two have said to each other, over many sessions.",
        "RCC.07 §3.2",
    ),
    "contribution-id": HeaderNote("One name for this session of the conversation.", "RCC.07 §3.2"),
    "reason": HeaderNote("Why the call was ended or refused.", "RFC 3326"),
    "retry-after": HeaderNote(
        "In how many seconds to try again; a server that has too much to do says so.",
        "RFC 3261 §20.33",
    ),
    "warning": HeaderNote("More about what went wrong, for people.", "RFC 3261 §20.43"),
    "user-agent": HeaderNote("The program that sent it.", "RFC 3261 §20.41"),
    "server": HeaderNote("The program that answered.", "RFC 3261 §20.35"),
    "max-breadth": HeaderNote(
        "Into how many branches the request may still be split, so that forking proxies cannot "
        "multiply it without end.",
        "RFC 5393",
    ),
}

MSRP_HEADERS: dict[str, HeaderNote] = {
    "to-path": HeaderNote(
        "Where the frame goes: the URI that the receiver named in its SDP. The last part is a "
        "random name of the session; who does not know it is turned away with 481.",
        "RFC 4975 §7.1",
    ),
    "from-path": HeaderNote(
        "Where the frame comes from, and where its answer goes: the sender's own URI.",
        "RFC 4975 §7.1",
    ),
    "message-id": HeaderNote(
        "One name for the message, the same in all of its chunks and in the report about it.",
        "RFC 4975 §7.1.1",
    ),
    "byte-range": HeaderNote(
        "Which octets of the message this chunk has: first-last/total. `*` is not known yet. A "
        "long message goes in pieces, so that another one can come between.",
        "RFC 4975 §7.1.1",
    ),
    "success-report": HeaderNote(
        "Whether the sender wants a REPORT when the whole message has arrived.", "RFC 4975 §7.1.2"
    ),
    "failure-report": HeaderNote(
        "Whether each SEND is to be answered (yes), only when it failed (partial), or never (no).",
        "RFC 4975 §7.1.2",
    ),
    "status": HeaderNote(
        "What became of the message: a name space (000: the numbers of MSRP), then the status.",
        "RFC 4975 §7.1.2",
    ),
    "content-type": HeaderNote(
        "What the body is; in a chat message/cpim, in a file transfer the type of the file.",
        "RFC 4975 §7.1",
    ),
    "use-path": HeaderNote("The URIs that a relay has given out.", "RFC 4976"),
    "expires": HeaderNote("How many seconds it is good for.", "RFC 4976"),
    "authorization": SIP_HEADERS["authorization"],
    "www-authenticate": SIP_HEADERS["www-authenticate"],
}

CPIM_HEADERS: dict[str, HeaderNote] = {
    "ns": HeaderNote("Declares the short name of a set of headers, here that of IMDN.", "RFC 3862"),
    "datetime": HeaderNote("When the message was written, by its sender's clock.", "RFC 3862"),
    "imdn.message-id": HeaderNote(
        "The name by which receipts speak of this message; it holds over all servers and sessions.",
        "RFC 5438 §6.3",
    ),
    "imdn.disposition-notification": HeaderNote(
        "Which receipts the sender wants: positive-delivery when it has reached the device, "
        "display when the person has seen it.",
        "RFC 5438 §6.4",
    ),
    "imdn.original-to": HeaderNote(
        "Whom it was for, before a server changed that.", "RFC 5438 §6.1"
    ),
    "from": HeaderNote(
        "The sender, as the message itself has it; RCS writes anonymous here, and the SIP headers "
        "say who it is.",
        "RFC 3862",
    ),
    "to": HeaderNote("The recipient, as the message itself has it.", "RFC 3862"),
    "content-disposition": HeaderNote("`notification`: the body is a receipt.", "RFC 5438 §8"),
}

SDP_LINES: dict[str, HeaderNote] = {
    "m=message": HeaderNote(
        "What is offered: messages, at this port, by MSRP over TCP (TLS with TCP/TLS/MSRP).",
        "RFC 4975 §8",
    ),
    "a=path": HeaderNote("Where to send: the MSRP URI of the sender of this SDP.", "RFC 4975 §8.2"),
    "a=setup": HeaderNote(
        "Who opens the TCP connection: active does, passive waits, actpass leaves the choice.",
        "RFC 4145, RFC 6135",
    ),
    "a=accept-types": HeaderNote("What kinds of message are taken.", "RFC 4975 §8.6"),
    "a=accept-wrapped-types": HeaderNote("What may be inside of message/cpim.", "RFC 4975 §8.6"),
    "a=file-selector": HeaderNote(
        "The file that is offered: name, type, size and hash.", "RFC 5547 §6"
    ),
    "a=file-transfer-id": HeaderNote(
        "The name of this transfer; a resumed one has it again.", "RFC 5547 §6"
    ),
    "a=sendonly": HeaderNote("The sender of this SDP only sends.", "RFC 8866 §6.7.2"),
    "a=recvonly": HeaderNote("The sender of this SDP only receives.", "RFC 8866 §6.7.1"),
    "a=fingerprint": HeaderNote(
        "The hash of the certificate that the TLS connection must show.", "RFC 8122"
    ),
    "c=in": HeaderNote("The address; the port stands in the m= line.", "RFC 8866 §5.7"),
}
