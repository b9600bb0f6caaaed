"""What the keys and commands are, and what the marks mean."""

from collections.abc import Iterator, Mapping, Sequence

from textual.content import Content

from rcsops.settings.chat import CHAT_KEYS
from rcsops.tui.keys import keys_of
from rcsops.tui.paint import wrapped

__all__ = ["help_words"]

_TICKS = (
    ("◌", "waits here: for the session, or for the network"),
    ("⇡", "the server keeps it until the peer is there"),
    ("✓", "the peer's device has it"),
    ("✓✓", "the peer's device says that it has it; in colour: it was displayed"),
    ("✗", "it did not get through, and why stands below"),
)
_MARKS = (
    ("●", "a session is open"),
    ("◌", "a session is being set up"),
    ("✉", "what you write goes without a session"),
)
_PROTOCOL = (
    ("Up, Down, click", "open a message"),
    ("Enter, Esc", "what is open gets all the room, and gives it back"),
    ("PgUp, PgDn", "scroll what is open"),
    ("s", "how the registration, transactions, dialogs, timers and MSRP sessions stand now"),
    ("m", "hold it: what you open next is compared with it; again: not"),
    ("c", "compare with what it is a new form of (without credentials, as it came in)"),
    ("e", "export the ladder: text, Mermaid, SVG, HTML, pcap"),
    ("a", "everything, or this conversation"),
    ("y", "copy the message that is open"),
    ("t", "the seconds since the first message, or the time since the one before"),
)
_LIST = (
    ("Up, Down, Enter", "choose a conversation"),
    ("u", "those with something unread alone, or all"),
    ("Alt-1 to Alt-0", "the first to the tenth conversation, from wherever you are"),
)
_WRITING = (
    ("Enter", "sends; what is pasted never does"),
    ("Up, Down", "what you sent before, at the first and last line"),
    ("Tab", "completes /commands, names and files"),
)


def help_words(commands: Mapping[str, str], keymap: Mapping[str, str], width: int) -> Content:
    """All of it, in ``width`` columns."""
    keys = [(keys_of(name, keymap), what) for name, (_, what) in CHAT_KEYS.items()]
    return Content.assemble(
        *_section("Keys", [*keys, *_WRITING], width),
        *_section(f"In the list ({keys_of('list', keymap)})", _LIST, width),
        # What keys do the same is said above.
        *_section(
            "Commands",
            [(name, what.partition(" (")[0]) for name, what in commands.items()],
            width,
        ),
        *_section(f"In the protocol ({keys_of('protocol', keymap)})", _PROTOCOL, width),
        *_section("Ticks of a message", _TICKS, width),
        *_section("Marks of a conversation", _MARKS, width),
        Content(
            "Grey says that more is not known, red that it failed: a peer that sends no "
            "notifications leaves a single tick, and has the message all the same."
        ),
    )


_COLUMN = 26


def _section(title: str, lines: Sequence[tuple[str, str]], width: int) -> Iterator[Content]:
    # Half of the width is for what they do, also where there is little.
    column = min(_COLUMN, max(len(name) for name, _ in lines), max(width // 2 - 8, 8))
    yield Content.styled(f"{title}\n", "bold $primary")
    for name, what in lines:
        yield Content.styled(f"{name:<{column}}  ", "$text-accent")
        if len(name) > column:
            yield Content(f"\n{'':<{column}}  ")
        below = f"\n{'':<{column}}  "
        yield Content(below.join(wrapped(what, max(width - column - 2, 16))))
        yield Content("\n")
    yield Content("\n")
