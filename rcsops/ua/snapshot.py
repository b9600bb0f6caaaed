"""Where an agent's state machines stand at this moment, for who wants to look at them.

Nothing here is made out of messages: each value is read from the machine itself.
"""

from dataclasses import dataclass

from rcsops.sip import (
    ClientTransaction,
    Dialog,
    DialogState,
    RegistrationState,
    ServerTransaction,
    State,
)
from rcsops.transport.msrp import MsrpLink
from rcsops.ua.call_user import CallState
from rcsops.ua.chat import Chat
from rcsops.ua.core import AgentCore
from rcsops.ua.incoming import Invitation, Pending
from rcsops.ua.session import MsrpCall
from rcsops.ua.transfer import Transfer

__all__ = [
    "AgentSnapshot",
    "DialogSnapshot",
    "MsrpSnapshot",
    "RegistrationSnapshot",
    "SessionSnapshot",
    "SessionTimerSnapshot",
    "TransactionSnapshot",
    "take_snapshot",
]


@dataclass(frozen=True, slots=True)
class RegistrationSnapshot:
    """A registration (RFC 3261 §10.2). Times are seconds from now: until the registrar forgets us
    (0: it does not know us), and until the next REGISTER (None: one is under way, or none is to
    go)."""

    state: RegistrationState
    expires_in: float
    renews_in: float | None


@dataclass(frozen=True, slots=True)
class TransactionSnapshot:
    """A transaction (RFC 3261 §17): ``figure`` is the RFC's name of its machine, "INVITE client
    transaction", ``status`` that of the newest response (0: none), ``timers`` what runs: the name,
    "Timer M", and the seconds until it fires."""

    figure: str
    method: str
    is_client: bool
    state: State
    status: int
    branch: str
    transport: str
    remote: tuple[str, int]
    timers: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class DialogSnapshot:
    """A dialog (RFC 3261 §12); a CSeq is the last number used on that side, None before any."""

    state: DialogState
    call_id: str
    local_tag: str
    remote_tag: str
    local_cseq: int | None
    remote_cseq: int | None


@dataclass(frozen=True, slots=True)
class SessionTimerSnapshot:
    """A session timer (RFC 4028): the interval agreed on, whether we refresh, and the seconds until
    that is due (None: not for us, or under way) and until the session ends without it."""

    interval: int
    refreshing: bool
    refreshes_in: float | None
    ends_in: float | None


@dataclass(frozen=True, slots=True)
class MsrpSnapshot:
    """An MSRP session and its connection (RFC 4975 §5.4): ``active`` opens it, ``bound`` says that
    the session has one that belongs to it, ``connected`` that this is there now; ``local`` and
    ``remote`` are its ends, ``security`` "TLSv1.3" or ""; ``waiting`` octets have not gone yet."""

    session_id: str
    direction: str
    active: bool
    bound: bool
    connected: bool
    closed: bool
    local: str
    remote: str
    security: str
    waiting: int


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """A call and all that hangs on it. ``kind`` is "chat", "invitation" or "file"; ``dialogs`` are
    several while an INVITE of ours that was forked rings, and none before a response made one."""

    kind: str
    peer: str
    call_id: str
    outgoing: bool
    state: CallState
    dialogs: tuple[DialogSnapshot, ...]
    timer: SessionTimerSnapshot | None
    msrp: MsrpSnapshot | None


@dataclass(frozen=True, slots=True)
class AgentSnapshot:
    """All of it; ``registration`` is None for an agent that does not register. ``transactions`` are
    those of its sockets: agents of one `AgentHost` share them."""

    registration: RegistrationSnapshot | None
    transactions: tuple[TransactionSnapshot, ...]
    sessions: tuple[SessionSnapshot, ...]


def take_snapshot(agent: AgentCore) -> AgentSnapshot:
    """Where the machines of an agent stand now. Raises AgentError before ``start``."""
    endpoint = agent.host.endpoint
    now = endpoint.now
    return AgentSnapshot(
        _registration(agent, now),
        tuple(_transaction(each, now) for each in endpoint.layer),
        tuple(
            _session(user, call, now)
            for user, call in agent.sessions()
            if call.call.state is not CallState.ENDED
        ),
    )


def _registration(agent: AgentCore, now: float) -> RegistrationSnapshot | None:
    registrar = agent.registrar
    if registrar is None:
        return None
    return RegistrationSnapshot(
        registrar.state, max(0.0, registrar.expires_at - now), _left(registrar.renews_at, now)
    )


def _transaction(
    transaction: ClientTransaction | ServerTransaction, now: float
) -> TransactionSnapshot:
    if isinstance(transaction, ClientTransaction):
        newest, is_client = transaction.last_response, True
        status = 0 if newest is None else newest.status
    else:
        status, is_client = transaction.status, False
    return TransactionSnapshot(
        transaction.FIGURE,
        transaction.method,
        is_client,
        transaction.state,
        status,
        str(transaction.key[0] or ""),
        transaction.flow.transport,
        transaction.flow.remote,
        tuple((on.removesuffix(" fires"), max(0.0, due - now)) for on, due in transaction.timers),
    )


def _session(user: Chat | Pending | Transfer, session: MsrpCall, now: float) -> SessionSnapshot:
    call = session.call
    timer = call.refresh.timer
    agreed = timer.agreed
    kind = "chat" if isinstance(user, Chat) else "file"
    return SessionSnapshot(
        "invitation" if isinstance(user, Invitation) else kind,
        user.peer,
        call.call_id,
        call.outgoing,
        call.state,
        tuple(_dialog(each) for each in call.dialogs),
        None
        if agreed is None
        else SessionTimerSnapshot(
            agreed.seconds,
            timer.refreshing,
            _left(timer.refreshes_at, now),
            _left(timer.ends_at, now),
        ),
        None if session.link is None else _msrp(session.link),
    )


def _dialog(dialog: Dialog) -> DialogSnapshot:
    return DialogSnapshot(
        dialog.state,
        dialog.call_id,
        dialog.local_tag,
        dialog.remote_tag,
        dialog.local_cseq,
        dialog.remote_cseq,
    )


def _msrp(link: MsrpLink) -> MsrpSnapshot:
    session = link.session
    return MsrpSnapshot(
        session.session_id,
        session.direction,
        session.active,
        session.bound,
        link.connected,
        session.closed or link.closed,
        link.local,
        link.remote,
        link.security,
        session.octets_waiting,
    )


def _left(due: float | None, now: float) -> float | None:
    return None if due is None else max(0.0, due - now)
