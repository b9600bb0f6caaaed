"""Replies and reactions as they stand in plain text, for peers that know nothing else.

RCS text messages have no field that names the message they answer. A reply quotes it above the
answer, as mail does; a reaction is the sentence that phones fall back to where a reaction cannot be
sent as one, which messengers that look for it turn back into an emoji on the message.
"""

from rcsops.errors import UsageError

__all__ = ["quoted_reply", "reaction_text"]

_QUOTE = "> "
# Without a session a message has room for some 350 octets, its quotation included.
_MAX_QUOTED = 100
_MAX_LINES = 2
_MAX_EMOJI = 64


def quoted_reply(original: str, answer: str) -> str:
    """``answer`` below the beginning of ``original``, each line of which begins with ``> ``.

    What ``original`` itself quotes is left out, at most two lines and 100 characters are kept.
    """
    lines = [line.rstrip() for line in original.replace("\r\n", "\n").split("\n")]
    own = [line for line in lines if line and not line.startswith(">")] or [
        line for line in lines if line
    ]
    kept = []
    room = _MAX_QUOTED
    for line in own[:_MAX_LINES]:
        kept.append(_cut(line, room))
        room -= len(line)
        if room <= 0:
            break
    if len(kept) < len(own) and not kept[-1].endswith("…"):
        kept[-1] += " …"
    return "\n".join((*(_QUOTE + line for line in kept), answer))


def reaction_text(emoji: str, original: str) -> str:
    """``Reacted 👍 to “see you at nine”``: that is what it is for who takes texts alone.

    A message of more than 100 characters is named by its beginning. Raises UsageError for what is
    no emoji.
    """
    if not emoji or len(emoji) > _MAX_EMOJI or any(each.isspace() for each in emoji):
        raise UsageError("a reaction is one emoji", hint="/react 👍")
    if emoji.isascii() or emoji.isalnum():
        raise UsageError(f"{emoji!r} is no emoji", hint="/react 👍, or /reply for words")
    line = " ".join(original.split())
    return f"Reacted {emoji} to “{_cut(line, _MAX_QUOTED)}”"


def _cut(line: str, most: int) -> str:
    if len(line) <= most:
        return line
    cut = most - 1
    # An emoji of several characters is not cut in two.
    while cut > 1 and (line[cut] in "\u200d\ufe0f" or line[cut - 1] == "\u200d"):
        cut -= 1
    return line[:cut].rstrip() + "…"
