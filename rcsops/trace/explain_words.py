"""What a message does where it stands, in plain words: the sentences of `rcsops.trace.explain`.

``{source}`` and ``{target}`` are the names of its two ends.
"""

REQUESTS: dict[str, str] = {
    "REGISTER first": "{source} asks to be registered, without credentials yet: the server is "
    "going to answer 401 with a nonce.",
    "REGISTER answer": "The same REGISTER again, now with the answer to the server's challenge. "
    "CSeq is one higher and the branch is new: it is a new request.",
    "REGISTER known": "{source} registers with the nonce that it was given before (nc counts its "
    "uses), so that no 401 is needed.",
    "REGISTER remove": "{source} takes its contact away (expires=0): it unregisters.",
    "INVITE": "{source} invites to a session.",
    "INVITE offer": "{source} invites to a session. The SDP offers MSRP at {path}.",
    "INVITE again": "{source} changes or refreshes the session that is there (a re-INVITE: To has "
    "a tag already).",
    "ACK 2xx": "{source} says that the 200 has arrived. INVITE, 200, ACK: only now do both know "
    "that the session stands. This ACK is a request of its own, with a new branch, and goes to "
    "the other end.",
    "ACK refused": "The ACK for a refusal only goes to the next hop, with the branch of the "
    "INVITE: it ends the repeating of the response.",
    "ACK": "{source} confirms the final answer to its INVITE.",
    "BYE": "{source} hangs up: the session is over.",
    "CANCEL": "{source} takes back its INVITE, which has no final answer yet; the INVITE itself is "
    "answered with 487.",
    "MESSAGE": "{source} sends a message without a session (pager mode): the text is in the body.",
    "MESSAGE receipt": "{source} sends a receipt for a message: {receipt}.",
    "OPTIONS": "{source} asks what the other can do, or whether it is there.",
    "PRACK": "{source} confirms a provisional answer that was sent reliably.",
    "UPDATE": "{source} changes or refreshes the session without a new INVITE.",
    "SUBSCRIBE": "{source} wants to be told of events.",
    "NOTIFY": "{source} tells of an event that was subscribed to.",
    "PUBLISH": "{source} publishes its state (presence, for example).",
    "REFER": "{source} asks the other to call somebody.",
    "INFO": "{source} sends information within the session.",
}

PASSED_ON = (
    " {source} passes it on: its own Via is on top, Max-Forwards one less, and the Request-URI is "
    "where {target} registered."
)
"""Behind the sentence of a request that did not begin at ``{source}``."""

PASSED_ON_ROUTE = " {source} passes it on along the Route that Record-Route has made."

PASSED_BACK = " {source} passes it back, without its own Via."
"""Behind the sentence of a response that did not begin at ``{source}``."""

STATUS: dict[str, str] = {
    "100": "The request has come to the next hop: {target} need not repeat it. It says nothing of "
    "the other end yet.",
    "180": "The other end has the INVITE and rings.",
    "183": "The other end has the INVITE and works on it.",
    "200 REGISTER": "Registered: Contact lists where the user is reached from now on, and for how "
    "many seconds.",
    "200 REGISTER remove": "Unregistered.",
    "200 INVITE": "The invitation is taken. This answer is repeated until the ACK comes.",
    "200 INVITE answer": "The invitation is taken; the SDP answers the offer: MSRP at {path}. "
    "This answer is repeated until the ACK comes.",
    "200 BYE": "The end of the session is confirmed.",
    "200 CANCEL": "The CANCEL has arrived; what becomes of the INVITE is told by its own answer.",
    "200 MESSAGE": "The message has arrived at the device.",
    "200": "Done as asked.",
    "202": "Taken, and not delivered yet: the server keeps the message until the user registers.",
    "301": "The user has moved for good; Contact says where to.",
    "302": "The user is elsewhere for now; Contact says where.",
    "400": "The request is not understood: it breaks a rule of the protocol.",
    "401": "Who are you? The server asks for proof of the password: a hash over this nonce. It is "
    "a step of every first registration, and no failure.",
    "401 again": "Challenged again, although credentials came: the password is wrong, or the nonce "
    "has grown too old (stale=true).",
    "403": "Understood and refused.",
    "404": "There is no such user.",
    "405": "This method is not allowed here.",
    "407": "The proxy asks for proof of the password before it sends the request on: a hash over "
    "this nonce. It is a step on the way, and no failure.",
    "407 again": "Challenged again, although credentials came: the password is wrong, or the nonce "
    "has grown too old (stale=true).",
    "408": "No answer came in time.",
    "413": "The body is too large.",
    "415": "The body is of a kind that is not taken here.",
    "420": "An extension is required that is not known here.",
    "421": "An extension is wanted that the sender does not offer.",
    "422": "The session timer is too short.",
    "423": "The registration is too short; Min-Expires says how long it must be.",
    "480": "The user is known and not reached now: not registered, or nobody answers.",
    "481": "There is no such call here (any more).",
    "481 BYE": "There is no such call here (any more): for a BYE that is as good as a 200, and no "
    "failure.",
    "481 BYE crossed": "Both ends hung up in the same moment, and their BYEs crossed on the way: "
    "whoever answers has ended the session by its own BYE already. The session is over, as both "
    "wanted; it is no failure.",
    "482": "The request has come back to where it has been: a loop.",
    "483": "Max-Forwards is used up.",
    "486": "The user is busy, or declined.",
    "487": "The INVITE was cancelled.",
    "488": "The offered session is not acceptable here.",
    "491": "Both ends began to change the session at once; each tries again later.",
    "500": "The server failed.",
    "503": "The server has too much to do, or is going down; Retry-After says when to come back.",
    "513": "The message is too large.",
    "600": "The user is busy everywhere.",
    "603": "The user declined.",
}

CLASSES: dict[str, str] = {
    "1": "The request is being worked on.",
    "2": "Done as asked.",
    "3": "The request is to be sent elsewhere.",
    "4": "Refused; the reason lies with the request.",
    "5": "The server failed.",
    "6": "Refused, wherever else one would ask.",
}
"""For a status that has no sentence of its own, by its first digit (RFC 3261 §7.2)."""

MSRP: dict[str, str] = {
    "SEND empty": "{source} opened the connection; this first, empty SEND says which session it is "
    "for (RFC 4975 §5.4).",
    "SEND": "{source} sends a message directly to {target}: the server does not see it.",
    "SEND chunk": "{source} sends a piece of a message directly to {target}: {range}.",
    "SEND receipt": "{source} sends a receipt for a message that it got: {receipt}.",
    "SEND composing": "{source} tells that somebody is typing, or no longer is.",
    "REPORT": "{source} reports what became of a message that has arrived whole.",
    "AUTH": "{source} asks a relay for a URI.",
    "200": "The frame has arrived. It is the connection that says so; a receipt of the person's "
    "device comes by itself (IMDN).",
    "400": "The frame is not understood.",
    "403": "The frame is not allowed.",
    "408": "No answer came in time.",
    "413": "Enough: the receiver does not want the rest of this message.",
    "415": "The receiver does not take this kind of content.",
    "423": "A parameter is out of bounds.",
    "481": "There is no such session: the sender has to end it.",
    "501": "This method is not known here.",
    "506": "The session is bound to another connection already.",
}

RECEIPTS: dict[str, str] = {
    "delivered": "it has reached the device",
    "displayed": "the person has seen it",
    "failed": "it could not be delivered",
    "forbidden": "receipts are refused",
    "error": "something went wrong with it",
}

REPEATED = "Sent again, octet for octet: no answer had come in time. "
LOST = " It did not arrive: the trace of {target} has no such message."
UNKNOWN = "A message that this page has no words for."
