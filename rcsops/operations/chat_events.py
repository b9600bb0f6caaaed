"""The events of an agent as words for people and as data for programs."""

from collections.abc import Callable
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rcsops.errors import AgentError
from rcsops.operations.wording import amount, short_name
from rcsops.ua import events

__all__ = ["Teller"]

Told = tuple[str, str, dict[str, Any]]

# What a final answer to an INVITE means to who sent it.
_REFUSALS = {
    403: "may not be invited by you",
    404: "is not known to the server",
    408: "does not answer",
    480: "is not there now",
    486: "is busy",
    487: "was not reached, because the invitation was taken back",
    488: "cannot chat over MSRP",
    603: "declined",
}
_BIG_FILE = 1 << 20
# After so long a message that came without a session was kept by the server.
_LATE = timedelta(seconds=5)


class Teller:
    """Says what an event means to a user of ``server`` (its address, as a person names it).

    Addresses of ``domain`` are shown without it.
    """

    def __init__(self, domain: str, server: str) -> None:
        self.server = server
        self._domain = domain
        self._steps: dict[str, int] = {}

    def short(self, aor: str) -> str:
        """``sip:bob@rcs.example`` as ``bob``."""
        return short_name(aor, self._domain)

    def refusal(self, peer: str, error: AgentError) -> str:
        """Why an invitation, to a chat or for a file, came to nothing."""
        name = self.short(peer)
        known = _REFUSALS.get(error.status)
        return f"{name} {known} ({error.status})" if known else f"{name} was not reached: {error}"

    def tell(self, event: events.Event, text: str) -> Told | None:
        """Event name, words and data; None for an event that is told otherwise.

        ``text`` is the message that the event is about, if it is one of ours.
        """
        entry = _ENTRIES.get(type(event))
        if entry is None:
            return None
        name, words = entry
        data = {each.name: _plain(getattr(event, each.name)) for each in fields(event)}  # type: ignore[arg-type]
        if isinstance(event, events.Failed):
            data["code"] = event.status
        data.update(_EXTRA.get(type(event), {}))
        if text:
            data["text"] = text
        if "aor" in data:
            data["user"] = str(data.pop("aor")).removeprefix("sip:")
        return name, words(self, event, text), data

    def progress(self, event: events.FileProgress) -> str:
        """Each quarter of a big file, nothing of a small one."""
        if event.total < _BIG_FILE:
            return ""
        step = event.octets * 4 // event.total
        if step == self._steps.get(event.transfer_id, 0):
            return ""
        self._steps[event.transfer_id] = step
        return f"{'received' if event.incoming else 'sent'} {step * 25} % of the file"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone().isoformat(timespec="milliseconds")
    return str(value) if isinstance(value, Path) else value


def _snippet(text: str) -> str:
    line = " ".join(text.split())
    return f"“{line if len(line) <= 40 else line[:39] + '…'}”"


def _registered(teller: Teller, event: Any, _text: str) -> str:
    again = " again" if event.again else ""
    return f"registered{again} as {teller.short(event.aor)} at {teller.server}"


def _lost(_teller: Teller, event: Any, _text: str) -> str:
    after = f"; trying again in {event.retry_in:.0f} s" if event.retry_in is not None else ""
    hint = f"; {event.hint}" if event.hint else ""
    return f"not registered: {event.reason}{after}{hint}"


def _opened(teller: Teller, event: Any, _text: str) -> str:
    peer = teller.short(event.peer)
    return f"session with {peer}: {connection(event.local, event.remote, event.security)}"


def connection(local: str, remote: str, security: str) -> str:
    """How the two agents are connected, for people."""
    return f"direct, {local} <-> {remote}" + (f", encrypted ({security})" if security else "")


def _ended(teller: Teller, event: Any, _text: str) -> str:
    peer = teller.short(event.peer)
    if event.idle:
        return f"the session with {peer} rests, as nobody used it; the next message goes on with it"
    if event.by_peer:
        # What an agent like this one says of every ordinary end tells a person nothing.
        ordinary = event.reason in ("", "Call completed", "ended by the peer")
        return f"{peer} ended the session" + ("" if ordinary else f": {event.reason}")
    if event.reason in ("closed", "the agent was closed"):
        return f"you ended the session with {peer}"
    return f"the session with {peer} is over: {event.reason}"


def _message(teller: Teller, event: Any, _text: str) -> str:
    peer = teller.short(event.peer)
    if not event.pager:
        return f"{peer}: {event.text}"
    if event.sent_at is None or event.received_at - event.sent_at < _LATE:
        return f"{peer} (no session): {event.text}"
    written, now = event.sent_at.astimezone(), event.received_at.astimezone()
    day = "" if written.date() == now.date() else f"{written:%Y-%m-%d} "
    return f"{peer} (written {day}{written:%H:%M:%S}): {event.text}"


def _stored(teller: Teller, event: Any, text: str) -> str:
    if not text:
        return f"stored by the server: an earlier message of yours to {teller.short(event.peer)}"
    return f"stored by the server {_snippet(text)}: {teller.short(event.peer)} gets it later"


def _arrived(word: str) -> "Words":
    def words(teller: Teller, event: Any, text: str) -> str:
        if text:
            return f"{_MARKS[word]} {word} {_snippet(text)}"
        return f"{_MARKS[word]} {word}: an earlier message of yours to {teller.short(event.peer)}"

    return words


def _failed(teller: Teller, event: Any, text: str) -> str:
    if event.incoming:
        return f"a message of {teller.short(event.peer)} was not kept: {event.reason}"
    if not text:
        return (
            f"not sent: an earlier message of yours to {teller.short(event.peer)}: {event.reason}"
        )
    return f"not sent {_snippet(text)}: {event.reason}"


def _file_failed(_teller: Teller, event: Any, _text: str) -> str:
    return f"{event.name} not {'received' if event.incoming else 'sent'}: {event.reason}"


def _file_paused(teller: Teller, event: Any, _text: str) -> str:
    return f"{event.name} is paused{f' by {teller.short(event.peer)}' if event.by_peer else ''}"


def _file_resumed(_teller: Teller, event: Any, _text: str) -> str:
    return f"{event.name} goes on at {amount(event.octets)} of {amount(event.total)}"


def _file_interrupted(_teller: Teller, event: Any, _text: str) -> str:
    at = f"{event.name} is interrupted at {amount(event.octets)} of {amount(event.total)}"
    if event.retry_in is not None:
        words = f"{at}: {event.reason}; trying again in {event.retry_in:.0f} s"
        if event.gives_up_in is not None:
            words += f", for {event.gives_up_in:.0f} s at most"
        return words
    return f"{at}: {event.reason}; what is through is kept"


_MARKS = {"sent": "✓", "delivered": "✓✓", "displayed": "✓✓"}

Words = Callable[[Teller, Any, str], str]

_ENTRIES: dict[type[events.Event], tuple[str, Words]] = {
    events.Registered: ("registered", _registered),
    events.RegistrationLost: ("registration-lost", _lost),
    events.Unregistered: ("unregistered", lambda *_: ""),
    events.Trying: ("progress", lambda *_: "trying"),
    events.Ringing: ("progress", lambda t, e, _: f"ringing at {t.short(e.peer)}"),
    events.SessionOpened: ("session", _opened),
    events.SessionEnded: ("session-ended", _ended),
    events.TextReceived: ("message", _message),
    events.Stored: ("status", _stored),
    events.Sent: ("status", _arrived("sent")),
    events.Delivered: ("status", _arrived("delivered")),
    events.Displayed: ("status", _arrived("displayed")),
    events.Failed: ("status", _failed),
    events.NotRead: (
        "not-read",
        lambda t, e, _: f"a message of {t.short(e.peer)} is not shown: {e.reason}",
    ),
    events.Composing: ("composing", lambda *_: ""),
    events.FileRefused: (
        "refused",
        lambda t, e, _: (
            f"{t.short(e.peer)} sends {e.name} ({amount(e.size)}): refused, as your rules say"
        ),
    ),
    events.FileProgress: ("file-progress", lambda t, e, _: t.progress(e)),
    events.FilePaused: ("file-paused", _file_paused),
    events.FileResumed: ("file-resumed", _file_resumed),
    events.FileInterrupted: ("file-interrupted", _file_interrupted),
    events.FileSent: (
        "file-sent",
        lambda t, e, _: f"delivered {e.name} ({amount(e.size)}) to {t.short(e.peer)}",
    ),
    events.FileUploaded: (
        "file-uploaded",
        lambda t, e, _: f"uploaded {e.name} ({amount(e.size)}) for {t.short(e.peer)}: {e.url}",
    ),
    events.FileReceived: ("file-received", lambda t, e, _: f"received {e.name}: {e.path}"),
    events.FileFailed: ("file-failed", _file_failed),
}

_EXTRA: dict[type[events.Event], dict[str, Any]] = {
    events.Trying: {"status": 100, "reason": "Trying"},
    events.Ringing: {"reason": "Ringing"},
    events.SessionOpened: {"direct": True},
    events.Stored: {"status": "stored"},
    events.Sent: {"status": "sent"},
    events.Delivered: {"status": "delivered"},
    events.Displayed: {"status": "displayed"},
    events.Failed: {"status": "failed"},
}
