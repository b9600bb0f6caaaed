"""The keys of rcsops.toml about the chat screen: its front, theme, notifications and keymap."""

import re
from collections.abc import Mapping

CHAT_FRONTS = ("screen", "plain")
CHAT_THEMES = ("dark", "light", "contrast")
CHAT_NOTIFICATIONS = ("desktop", "bell", "off")
CHAT_MOUSE = ("on", "off")

CHAT_KEYS: dict[str, tuple[str, str]] = {
    "quit": ("ctrl+q", "end the sessions, unregister and leave"),
    "commands": ("ctrl+p", "the palette of commands"),
    "help": ("f1,question_mark", "this help"),
    "protocol": ("f2", "the protocol beside the chat"),
    "security": ("f3", "what is encrypted, and what is not"),
    "theme": ("f4", "the next theme: dark, light, high contrast"),
    "list": ("ctrl+b", "show or hide the conversations"),
    "mouse": ("f8", "free the mouse for the terminal's own copying"),
    "search": ("ctrl+f", "search in the history"),
    "next-unread": ("alt+a", "the next conversation with something unread"),
    "next": ("alt+down,ctrl+pagedown", "the next conversation"),
    "previous": ("alt+up,ctrl+pageup", "the one before"),
    "accept": ("alt+y", "accept the invitation or file that waits"),
    "decline": ("alt+n", "decline it"),
    "newline": ("alt+enter,shift+enter,ctrl+j", "a new line in what you write"),
    "page-up": ("pageup", "scroll back"),
    "page-down": ("pagedown", "scroll forward"),
    "yank": ("y", "copy the marked message"),
    "resend": ("r", "send again what failed; resume or fetch a file"),
    "open": ("o", "open the link or file of the marked message"),
    "leave": ("escape", "from what you write to the conversation, and back"),
}
"""What can be bound: the keys that it has unless others are set, and what it does."""

# As Textual names keys: ctrl+q, alt+a, f2, shift+f2, escape, y.
_KEY = re.compile(r"(?:(?:ctrl|alt|shift|super)\+)*(?:[a-z0-9_]+)")


def keymap(value: object) -> tuple[tuple[str, str], ...]:
    """``{"quit": "ctrl+x"}``, or ``quit=ctrl+x`` as the environment has it, as pairs.

    Several keys of one action are separated by commas, in the file alone. Raises ValueError.
    """
    if isinstance(value, (list, tuple)):
        value = dict(str(each).partition("=")[::2] for each in value)
    if not isinstance(value, Mapping):
        raise ValueError('is a table: write [chat.keys] and below it quit = "ctrl+x"')
    pairs: dict[str, str] = {}
    owner: dict[str, str] = {}
    for name, keys in value.items():
        if name not in CHAT_KEYS:
            raise ValueError(f"{name!r} is not one of {', '.join(CHAT_KEYS)}")
        given = [key.strip().lower() for key in keys.split(",")] if isinstance(keys, str) else [""]
        for key in given:
            if not _KEY.fullmatch(key):
                raise ValueError(f'{key!r} of {name!r} is not a key; write "ctrl+x", "alt+a", "f9"')
            if owner.setdefault(key, name) != name:
                raise ValueError(f"{key!r} is given to both {owner[key]!r} and {name!r}")
        pairs[name] = ",".join(given)
    return tuple(pairs.items())
