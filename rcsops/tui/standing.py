"""How the state machines of an agent stand, as what a screen shows."""

import time
from collections.abc import Callable, Iterable

from textual.content import Content

from rcsops.text import visible
from rcsops.transport.addresses import host_port
from rcsops.tui.styles import MUTED
from rcsops.ua import AgentSnapshot
from rcsops.ua.snapshot import (
    DialogSnapshot,
    MsrpSnapshot,
    RegistrationSnapshot,
    SessionSnapshot,
    SessionTimerSnapshot,
    TransactionSnapshot,
)

__all__ = ["standing"]

# A transaction or a session more is counted, not shown: the screen is drawn twice a second.
_MOST = 40
_TAG = 12
_LABEL = 10


def standing(shot: AgentSnapshot | None, peer: str, short: Callable[[str], str]) -> Content:
    """All of it; of the sessions those with ``peer``, "" for every one. ``short`` names a peer."""
    parts = [Content.styled("How it stands now", "bold"), _muted(" · s shows the message\n")]
    if shot is None:
        return Content.assemble(*parts, "the agent has not begun\n")
    parts += _head("Registration", "RFC 3261 §10")
    parts += _registration(shot.registration)
    parts += _head("Transactions", "RFC 3261 §17")
    parts += _transactions(shot.transactions)
    sessions = [each for each in shot.sessions if not peer or each.peer == peer]
    for each in sessions[:_MOST]:
        parts += _session(each, short)
    if not sessions:
        parts += [*_head("Sessions", ""), Content("  none is open or being set up\n")]
    parts += _more(len(sessions))
    return Content.assemble(*parts)


def _registration(found: RegistrationSnapshot | None) -> list[Content]:
    if found is None:
        return [Content("  not registered, and not asked to be\n")]
    parts = [_line("state", _state(str(found.state)))]
    if found.expires_in > 0:
        parts.append(_line("until", _moment(found.expires_in)))
    if found.renews_in is not None:
        name = "refresh" if found.state == "registered" else "again"
        parts.append(_line(name, _moment(found.renews_in)))
    return parts


def _transactions(found: tuple[TransactionSnapshot, ...]) -> list[Content]:
    if not found:
        return [Content("  none: all are over\n")]
    parts = []
    for each in found[-_MOST:]:
        kind = "INVITE" if each.figure.startswith("INVITE") else "non-INVITE"
        side = "client" if each.is_client else "server"
        status = f" {each.status}" if each.status else ""
        parts += [
            Content(f"  {visible(each.method)[:12]:<10}"),
            _state(str(each.state)),
            Content(f"{status} · {kind} {side}\n"),
        ]
        facts = [f"{each.transport.upper()} {host_port(*each.remote)}"]
        facts += [f"{name} in {_brief(left)}" for name, left in each.timers]
        parts.append(_muted(f"{'':12}{', '.join(facts)}\n"))
    return [*parts, *_more(len(found))]


def _session(found: SessionSnapshot, short: Callable[[str], str]) -> list[Content]:
    whose = "our INVITE" if found.outgoing else "their INVITE"
    parts = _head(
        f"{found.kind.capitalize()} with {visible(short(found.peer))}", f"{whose}, {found.state}"
    )
    if not found.dialogs:
        parts.append(_line("dialog", Content("none yet: no response has a To tag")))
    for dialog in found.dialogs:
        parts += _dialog(dialog)
    parts += _timer(found.timer)
    parts += _msrp(found.msrp)
    return parts


def _dialog(dialog: DialogSnapshot) -> Iterable[Content]:
    ours, theirs = (_tag(tag) for tag in (dialog.local_tag, dialog.remote_tag))
    yield _line("dialog", _state(str(dialog.state)), _muted(" (RFC 3261 §12)"))
    yield _line("tags", Content(f"{ours} (ours), {theirs} (theirs)"))
    numbers = [
        "none yet" if number is None else str(number)
        for number in (dialog.local_cseq, dialog.remote_cseq)
    ]
    yield _line("CSeq", Content(f"{numbers[0]} (ours), {numbers[1]} (theirs)"))


def _timer(timer: SessionTimerSnapshot | None) -> Iterable[Content]:
    if timer is None:
        yield _line("timer", Content("none agreed on"), _muted(" (RFC 4028)"))
        return
    who = "we refresh" if timer.refreshing else "the peer refreshes"
    yield _line("timer", Content(f"{timer.interval} s, {who}"), _muted(" (RFC 4028)"))
    if timer.refreshes_in is not None:
        yield _line("refresh", _moment(timer.refreshes_in))
    if timer.ends_in is not None:
        yield _line("else ends", _moment(timer.ends_in))


def _msrp(msrp: MsrpSnapshot | None) -> Iterable[Content]:
    if msrp is None:
        yield _line("MSRP", Content("no session yet"))
        return
    words = "closed" if msrp.closed else "bound" if msrp.bound else "waiting to be bound"
    yield _line("MSRP", _state(words), _muted(f" · {msrp.direction}, id {_tag(msrp.session_id)}"))
    if msrp.connected:
        who = "opened by us" if msrp.active else "opened by the peer"
        over = visible(msrp.security) or "TCP"
        yield _line("connected", Content(f"{visible(msrp.local)} to {visible(msrp.remote)}"))
        yield _line("", _muted(f"{over}, {who}, {msrp.waiting} octets wait"))
    else:
        yield _line("connected", Content("no"))


def _head(title: str, note: str) -> list[Content]:
    return [Content.styled(f"\n{title}", "bold $primary"), _muted(f"  {note}\n")]


def _line(name: str, *parts: Content) -> Content:
    return Content.assemble(_muted(f"  {name:<{_LABEL}}"), *parts, "\n")


def _state(name: str) -> Content:
    return Content.styled(name, "bold $text-success")


def _muted(text: str) -> Content:
    return Content.styled(text, MUTED)


def _more(count: int) -> list[Content]:
    return [_muted(f"  and {count - _MOST} more\n")] if count > _MOST else []


def _tag(tag: str) -> str:
    shown = visible(tag)
    return shown if len(shown) <= _TAG else f"{shown[: _TAG - 1]}…"


def _moment(seconds: float) -> Content:
    """By the clock, and from now."""
    at = time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))
    return Content.assemble(at, _muted(f" · in {_brief(seconds)}"))


def _brief(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
