"""Styles of pieces of text, and of a widget's component classes, for lines that it draws itself."""

from rich.style import Style
from textual.widget import Widget

__all__ = ["MUTED", "background", "ink", "label"]

MUTED = "$foreground-muted"
"""What stands back, in a piece of `textual.content.Content`; ``$text-muted`` is a share of whatever
stands out from the ground, and there comes out brighter than the text beside it."""


def ink(widget: Widget, name: str) -> Style:
    """How a text is written, on whatever it stands: its colour, seen through where it is thin."""
    full = widget.get_component_rich_style(name)
    return Style(
        color=full.color,
        bold=full.bold or None,
        italic=full.italic or None,
        underline=full.underline or None,
        reverse=full.reverse or None,
    )


def background(widget: Widget, name: str) -> Style:
    """What a text stands on."""
    return Style(bgcolor=widget.get_component_rich_style(name).bgcolor)


def label(widget: Widget, name: str) -> Style:
    """Both: a text with a ground of its own."""
    return widget.get_component_rich_style(name)
