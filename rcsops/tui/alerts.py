"""Telling a person who looks elsewhere: the bell, and the terminal's own notifications."""

import os

from rcsops.text import visible

__all__ = ["desktop_notice"]

_LONGEST = 120


def desktop_notice(title: str, body: str) -> str:
    """What a terminal takes for a notification (OSC 9 and OSC 777), through tmux as well.

    Nothing of the texts can end or begin a sequence.
    """
    title, body = _clean(title), _clean(body)
    return "".join(
        _passed_through(f"\x1b]{sequence}\x1b\\")
        for sequence in (f"9;{title}: {body}", f"777;notify;{title};{body}")
    )


def _clean(text: str) -> str:
    line = visible(" ".join(text.split())).replace(";", ",")
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _passed_through(sequence: str) -> str:
    if not os.environ.get("TMUX"):
        return sequence
    return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
