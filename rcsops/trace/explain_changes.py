"""Two messages beside each other, in plain words: what is new, gone or changed, and why it is."""

import re
from collections.abc import Iterable, Sequence

from rcsops.trace.compare import Difference

__all__ = ["explain_changes"]

_BRANCH = re.compile(r";\s*branch\s*=\s*([^;,\s]+)")
_NUMBER = re.compile(r"\s*(\d{1,10})")
_REQUEST = re.compile(r"([A-Za-z]+) (\S+) SIP/2\.0")

_ADDED = {
    "via": "Via is added: {count} more hop(s) handled it. Each proxy puts its own on top, so that "
    "the answer finds the way back.",
    "record-route": "Record-Route is added: a proxy wants what follows in this dialog to pass it, "
    "too.",
    "route": "Route is added: the way by the proxies is now laid down.",
    "authorization": "Authorization is added: this one answers the challenge (401) of the "
    "registrar; the other had nothing to prove its user by.",
    "proxy-authorization": "Proxy-Authorization is added: this one answers the challenge (407) of "
    "the proxy.",
    "p-asserted-identity": "P-Asserted-Identity is added: the server vouches for who sent it.",
    "contact": "Contact is added: where the device itself is reached.",
    "session-expires": "Session-Expires is added: the session is to be refreshed in time.",
    "content-type": "Content-Type is added: this one has a body.",
}
_REMOVED = {
    "via": "Via is gone: {count} hop(s) took theirs off on the way back.",
    "route": "Route is gone: the proxy that it named took itself off when it came by there.",
    "authorization": "Authorization is gone: this one proves nothing.",
    "proxy-authorization": "Proxy-Authorization is gone: the proxy that it was for took it off, "
    "so that nobody behind it can guess the password.",
    "content-type": "Content-Type is gone: this one has no body.",
}
_CHANGED = {
    "contact": "Contact is another: other device, address or lifetime.",
    "call-id": "Call-ID is another: these belong to two calls.",
    "route": "Route is another: the way by the proxies has changed.",
    "content-length": "Content-Length is another: the bodies are not equally long.",
    "authorization": "Authorization is another: each request has an answer of its own to the "
    "challenge (`nc` counts them).",
    "expires": "Expires is another: the lifetime asked for; 0 removes the contact.",
    "to-path": "To-Path is another: it goes to another session, or the other way.",
    "from-path": "From-Path is another: it comes from another session, or the other way.",
    "message-id": "Message-ID is another: these are two messages.",
    "byte-range": "Byte-Range is another: another part of a message.",
    "session-expires": "Session-Expires is another: the interval, or who refreshes.",
}
_SAME = "Nothing: they are alike octet for octet. One is the other once more."


def explain_changes(differences: Sequence[Difference]) -> list[str]:
    """One sentence or two for each header field that differs, in the order of the comparison."""
    fields: dict[str, list[Difference]] = {}
    body: list[Difference] = []
    told: list[str] = []
    for number, each in enumerate(differences):
        if each.name:
            fields.setdefault(each.name.lower(), []).append(each)
        elif number:
            body.append(each)
        elif each.kind != "same":
            told.append(_start(each))
    for key, found in fields.items():
        if any(each.kind != "same" for each in found):
            told += _field(key, found)
    if any(each.kind != "same" for each in body):
        told.append(_body(body))
    return told or [_SAME]


def _start(start: Difference) -> str:
    first, second = _REQUEST.match(start.first), _REQUEST.match(start.second)
    if first is None and second is None:
        return "The first line is another: two answers, or two frames of MSRP."
    if first is None or second is None:
        return "One is a request, the other an answer."
    if first[1] != second[1]:
        return f"The methods differ: {first[1]}, then {second[1]}."
    return (
        "The Request-URI is another: the server has put the device's address in the place of the "
        "user's, or it is for another user."
    )


def _field(key: str, found: list[Difference]) -> Iterable[str]:
    name = found[0].name
    added = [each for each in found if each.kind == "added"]
    removed = [each for each in found if each.kind == "removed"]
    changed = [each for each in found if each.kind == "changed"]
    if added:
        yield _words(_ADDED, key, f"{name} is added.", len(added))
    if removed:
        yield _words(_REMOVED, key, f"{name} is gone.", len(removed))
    if changed:
        yield _change(key, name, changed[0])


def _words(table: dict[str, str], key: str, otherwise: str, count: int) -> str:
    words = table.get(key)
    return otherwise if words is None else words.format(count=count)


def _change(key: str, name: str, change: Difference) -> str:
    first, second = _NUMBER.match(change.first), _NUMBER.match(change.second)
    steps = int(second[1]) - int(first[1]) if first and second else 0
    match key:
        case "max-forwards" if steps:
            way = "down" if steps < 0 else "up"
            return (
                f"Max-Forwards goes {way} by {abs(steps)}: each proxy takes one off, so that a "
                "loop ends."
            )
        case "cseq" if steps:
            return (
                f"CSeq goes {'up' if steps > 0 else 'down'} by {abs(steps)}: it is a request of "
                "its own, no retransmission."
            )
        case "via":
            before, after = _BRANCH.search(change.first), _BRANCH.search(change.second)
            if before and after and before[1] != after[1]:
                return "The branch of Via is another: it is another transaction."
            return "Via says more: the receiver wrote down where it came from (received, rport)."
        case "to" | "from":
            whose = "the one who answers" if key == "to" else "the sender"
            if "tag" in change.second and "tag" not in change.first:
                return f"{name} has a tag now: {whose} has given the dialog its half of the name."
            return f"{name} is another: another tag (dialog) or another user."
        case _:
            return _CHANGED.get(key, f"{name} is another.")


def _body(lines: Sequence[Difference]) -> str:
    count = sum(each.kind != "same" for each in lines)
    return f"The body differs, in {count} line{'s' * (count != 1)}."
