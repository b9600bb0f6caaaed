"""A row of numbers as a row of bars."""

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-=+*#@"


def sparkline(values: Sequence[float], *, ascii_only: bool = False) -> str:
    """One character for each value, as high as its share of the largest."""
    bars = _ASCII if ascii_only else _BARS
    top = max(values, default=0)
    return "".join(bars[int(value * (len(bars) - 1) / top)] if top else bars[0] for value in values)
