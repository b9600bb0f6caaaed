"""The keymap: what is bound unless the settings say otherwise, and how keys are called."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

from textual import _ansi_sequences
from textual.binding import Binding

from rcsops.settings.chat import CHAT_KEYS

__all__ = [
    "bindings",
    "bound_keys",
    "key_brief",
    "key_name",
    "keys_of",
    "palette_binding",
    "teach_terminal_keys",
]

_SHOWN = {
    "quit": "Quit",
    "commands": "Commands",
    "search": "Search",
    "next-unread": "Unread",
    "protocol": "Protocol",
    "help": "Help",
    "yank": "Copy",
    "resend": "Resend",
    "open": "Open",
    "leave": "Write",
}
_FIRST = ("quit", "commands", "page-up", "page-down", "accept", "decline", "next-unread")
_NAMES = {
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "question_mark": "?",
    "escape": "Esc",
    "enter": "Enter",
    "up": "Up",
    "down": "Down",
}


def bindings() -> list[Binding]:
    """A binding for each action of `CHAT_KEYS` that a screen has."""
    return [_binding(name) for name in CHAT_KEYS if name not in ("newline", "commands")]


def palette_binding() -> Binding:
    """The binding of the palette, which the app has."""
    return _binding("commands", "command_palette")


def _binding(name: str, action: str = "") -> Binding:
    """The id of a binding is the name that the settings use."""
    keys, what = CHAT_KEYS[name]
    return Binding(
        keys,
        action or name.replace("-", "_"),
        _SHOWN.get(name, what),
        show=name in _SHOWN,
        id=name,
        priority=name in _FIRST,
        tooltip=what,
    )


def bound_keys(name: str, keymap: Mapping[str, str]) -> list[str]:
    """The keys of an action, with what the settings say of them."""
    return keymap.get(name, CHAT_KEYS[name][0]).split(",")


def keys_of(name: str, keymap: Mapping[str, str]) -> str:
    """The same as people call them: "Alt-a", "F1 or ?"."""
    return " or ".join(map(key_name, bound_keys(name, keymap)))


def key_name(key: str) -> str:
    """A key as people call it: "Ctrl-Q"."""
    *modifiers, last = key.split("+")
    name = _NAMES.get(last, last.upper() if len(last) > 1 or modifiers == ["ctrl"] else last)
    return "-".join([*(each.capitalize() for each in modifiers), name])


def key_brief(key: str) -> str:
    """A key where there is little room: "^Q", "Alt-a", "F1"."""
    return key_name(key).replace("Ctrl-", "^")


class _TerminalKey(StrEnum):
    ALT_ENTER = "alt+enter"


def teach_terminal_keys() -> None:
    """Alt and Enter, which most terminals send as an escape and a return.

    Without this the escape is lost, and what was to become a new line would be sent.
    """
    table = cast(dict[str, Any], _ansi_sequences.ANSI_SEQUENCES_KEYS)
    table["\x1b\r"] = (_TerminalKey.ALT_ENTER,)
