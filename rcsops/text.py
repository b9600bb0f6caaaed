"""Text from outside, made safe to show: the one way of peers' words to a terminal or a log."""

import unicodedata

__all__ = ["visible"]

# Cc: C0 and C1 controls, with the escape that starts a terminal sequence. Cf: format characters,
# with those that turn the direction of writing. Cs, Co, Cn: no character at all. Zl, Zp: line and
# paragraph ends.
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Emoji are joined and varied with these two, which do nothing to a terminal.
_HARMLESS = frozenset("\u200d\ufe0f")


def visible(text: str, *, keep: str = "") -> str:
    """``text`` with what a terminal would obey written out (``\\x1b``, ``\\u202e``) instead.

    Characters in ``keep`` (for instance a newline) are left as they are. A backslash is not
    doubled: the result is for eyes, not for reading back.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in keep
        or character in _HARMLESS
        or unicodedata.category(character) not in _UNSHOWN
        else _written_out(ord(character))
        for character in text
    )


def _written_out(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        # A byte that was not UTF-8, as `surrogateescape` keeps it.
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
