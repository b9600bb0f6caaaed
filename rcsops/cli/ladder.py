"""The ladder on a terminal, in colours; `rcsops demo` and `rcsops trace` print it by this."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from rcsops.trace import Arrow, BesidePiece, Difference


def unicode_output() -> bool:
    """Whether stdout takes the lines and heads of the arrows."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def shown(text: str) -> str:
    """``text`` as stdout can take it."""
    return text if unicode_output() else text.encode("ascii", "backslashreplace").decode("ascii")


def console(width: int | None = None) -> "Console":
    """A console that obeys nothing in what it prints; ``width`` counts where there is no terminal,
    80 without."""
    from rich.console import Console

    if not unicode_output() and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    fixed = None if sys.stdout.isatty() else width or 80
    return Console(highlight=False, markup=False, emoji=False, width=fixed)


def print_ladder(
    arrows: "Sequence[Arrow]",
    *,
    width: int,
    numbers: Sequence[int] = (),
    nodes: Sequence[str] | None = None,
    head: bool = True,
    gaps: "Sequence[float | None] | None" = None,
) -> None:
    """Prints the picture, as `rcsops.trace.draw_ladder` draws it, with the times between the
    arrows: ``gaps``, where they are not those of ``arrows`` alone."""
    from rich.text import Text

    from rcsops.trace import BOTH_TIMES, draw_ladder, times_between

    screen = console(width)
    for line in draw_ladder(
        arrows,
        width=width,
        ascii_only=not unicode_output(),
        numbers=numbers,
        nodes=nodes,
        head=head,
        gaps=times_between(arrows) if gaps is None else gaps,
        seconds=width >= BOTH_TIMES,
    ):
        screen.print(Text(line.text, style=line.style or "default"), no_wrap=True, crop=False)


def print_side_by_side(
    differences: "Sequence[Difference]", titles: tuple[str, str], *, width: int
) -> None:
    """Prints two messages side by side, as `rcsops.trace.beside` lays them out."""
    from rich.text import Text

    from rcsops.text import visible
    from rcsops.trace import beside, cell_width, fit

    screen = console(width)
    picture = beside(differences, width)
    names, values = picture.names, picture.values
    left, right = (fit(visible(title), values) for title in titles)
    head = f"{'':{names}}  {left}{' ' * (values - cell_width(left))} │ {right}"
    screen.print(Text(head, style="bold"), no_wrap=True, crop=False)
    for line in picture.lines:
        same = line.kind == "same"
        name = line.name + " " * (names + 2 - cell_width(line.name))
        shown = Text.assemble((name, "dim" if same else "bold"))
        for piece in line.first:
            shown.append(piece.text, style=_ink(piece, "red", same))
        shown.append(f"{' ' * (values - cell_width(shown.plain) + names + 2)} {line.mark} ", "dim")
        for piece in line.second:
            shown.append(piece.text, style=_ink(piece, "green", same))
        screen.print(shown, no_wrap=True, crop=False)


def _ink(piece: "BesidePiece", colour: str, same: bool) -> str:
    return "dim" if same else f"bold {colour}" if piece.differs else ""
