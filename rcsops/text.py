"""Text from outside, made safe to show: the one way of peers' words to a terminal or a log."""

import re
import unicodedata

__all__ = ["shown", "visible"]

# Cc: C0 and C1 controls, with the escape that starts a terminal sequence. Cf: format characters,
# with those that turn the direction of writing. Cs, Co, Cn: no character at all. Zl, Zp: line and
# paragraph ends.
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Emoji are joined and varied with these, and words of Persian and of Indian scripts parted; to a
# terminal they do nothing.
_HARMLESS = frozenset("\u200c\u200d\ufe0f")
# The flags of England, Scotland, Wales and others: a black flag and the letters of the region.
_REGION_FLAG = re.compile("(\U0001f3f4[\U000e0030-\U000e007a]{1,12}\U000e007f)")
# Kept for emoji: those that are newer than Python's tables have no category there.
_EMOJI = range(0x1F300, 0x1FB00)


def visible(text: str, *, keep: str = "") -> str:
    """``text`` with what a terminal would obey written out (``\\x1b``, ``\\u202e``) instead.

    Characters in ``keep`` (for instance a newline) are left as they are. A backslash is not
    doubled: the result is for eyes, not for reading back.
    """
    if text.isascii() and text.isprintable():
        return text
    parts = _REGION_FLAG.split(text)
    parts[::2] = (
        "".join(
            each if each in keep or _is_shown(each) else _written_out(ord(each)) for each in part
        )
        for part in parts[::2]
    )
    return "".join(parts)


def shown(text: str, *, keep: str = "") -> str:
    """What of ``text`` `visible` leaves as it is; the rest is left out, not written out.

    For what a person types or pastes, where an escape sequence would be a mistake.
    """
    parts = _REGION_FLAG.split(text)
    parts[::2] = (
        "".join(each for each in part if each in keep or _is_shown(each)) for part in parts[::2]
    )
    return "".join(parts)


def _is_shown(character: str) -> bool:
    if character in _HARMLESS:
        return True
    category = unicodedata.category(character)
    return category not in _UNSHOWN or (category == "Cn" and ord(character) in _EMOJI)


def _written_out(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        # A byte that was not UTF-8, as `surrogateescape` keeps it.
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
