"""The protocol panel and the export dialog with what does not change from run to run in them."""

from textual.widget import Widget
from textual.widgets import Input

from rcsops.sip import DialogState, RegistrationState, State
from rcsops.trace import Story, TraceEntry, merge
from rcsops.tui.widgets.protocol import Ladder
from rcsops.tui.wire import Step
from rcsops.ua import AgentSnapshot
from rcsops.ua.call_user import CallState
from rcsops.ua.snapshot import (
    DialogSnapshot,
    MsrpSnapshot,
    RegistrationSnapshot,
    SessionSnapshot,
    SessionTimerSnapshot,
    TransactionSnapshot,
)
from tests.screens.stage import Screen

PANES = ("two messages compared", "the state machines")
"""The states whose lower half is compared."""

_SERVER = ("192.0.2.1", 5060)
_STATES = AgentSnapshot(
    RegistrationSnapshot(RegistrationState.REGISTERED, 3570.0, 2970.0),
    (
        TransactionSnapshot(
            "INVITE client transaction", "INVITE", True, State.ACCEPTED, 200, "z9hg4bk1", "tcp",
            _SERVER, (("Timer M", 12.0),),
        ),
        TransactionSnapshot(
            "non-INVITE client transaction", "MESSAGE", True, State.TRYING, 0, "z9hg4bk2", "udp",
            _SERVER, (("Timer E", 0.4), ("Timer F", 31.0)),
        ),
    ),
    (
        SessionSnapshot(
            "chat", "sip:bob@rcs.example", "a84b4c76e66710", True, CallState.CONFIRMED,
            (
                DialogSnapshot(
                    DialogState.CONFIRMED, "a84b4c76e66710", "1928301774", "a6c85cf5e233c615", 2,
                    None,
                ),
            ),
            SessionTimerSnapshot(1800, True, 870.0, 1770.0),
            MsrpSnapshot(
                "39be1cc760a41", "sendrecv", True, True, True, False, "192.0.2.7:45589",
                "192.0.2.8:52325", "TLSv1.3", 0,
            ),
        ),
    ),
)  # fmt: skip


def _register(number: int, branch: str, *more: str) -> bytes:
    lines = [
        "REGISTER sip:rcs.example SIP/2.0",
        f"Via: SIP/2.0/TCP 192.0.2.7:40001;branch=z9hG4bK{branch};rport",
        "Max-Forwards: 70",
        "From: <sip:alex@rcs.example>;tag=1928301774",
        "To: <sip:alex@rcs.example>",
        "Call-ID: a84b4c76e66710",
        f"CSeq: {number} REGISTER",
        "Contact: <sip:alex@192.0.2.7:40001;transport=tcp>;expires=3600",
        *more,
        "Content-Length: 0",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


_DIGEST = (
    'Authorization: Digest username="alex", realm="rcs.example", nonce="xxxxxxxx", '
    'uri="sip:rcs.example", response="xxxxxxxx", algorithm=SHA-256'
)


_CHALLENGE = b"".join(
    line + b"\r\n"
    for line in (
        b"SIP/2.0 401 Unauthorized",
        *_register(1, "one").split(b"\r\n")[1:7:5],
        b"Call-ID: a84b4c76e66710",
        b"From: <sip:alex@rcs.example>;tag=1928301774",
        b"To: <sip:alex@rcs.example>;tag=37GkEhwl6",
        b'WWW-Authenticate: Digest realm="rcs.example", nonce="xxxxxxxx", algorithm=SHA-256',
        b"Content-Length: 0",
        b"",
    )
)


def _ladder() -> list[Step]:
    """A registration whose second request is sent twice."""
    said = (
        (1.0, "out", _register(1, "one")),
        (1.004, "in", _CHALLENGE),
        (1.012, "out", _register(2, "two", _DIGEST)),
        (1.512, "out", _register(2, "two", _DIGEST)),
    )
    entries = [
        TraceEntry(
            time=time, protocol="sip", direction=direction, transport="tcp",
            local=("192.0.2.7", 40001), remote=_SERVER, node="alex", data=data,
        )
        for time, direction, data in said
    ]  # fmt: skip
    story = Story()
    arrows = merge(entries, server="server")
    return [Step(number, arrow, story.tell(arrow)) for number, arrow in enumerate(arrows, 1)]


def still(name: str, screen: Screen) -> list[Widget] | None:
    """What of a state is to be compared, made the same each time; None for all of the screen."""
    if name == "export":
        box = screen.app.screen.query_one("#box")
        box.border_title = "Export 26 messages"
        screen.app.screen.query_one(Input).value = "alex-bob-20261126-1301.txt"
        return [box]
    if name not in (*PANES, "protocol"):
        return None
    panel = screen.app.view.protocol
    if name == "protocol":
        panel._shown = _ladder
        panel.refresh_steps()
        return [panel]
    panel._snapshot = lambda: _STATES
    held, _, step, _ = _ladder()
    panel.query_one(Ladder).held = held if name == "two messages compared" else None
    panel._step = step
    panel._open()
    return [panel.query_one("#wire-title"), panel.query_one("#opened")]
