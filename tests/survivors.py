"""Objects and open files that outlive their work; objects are counted while Python's collector of
cycles does not run.

What reference counting frees goes at once. What goes round in a circle waits for the collector,
which comes ever more rarely the more a process holds: memory then grows in steps though nothing
leaks.
"""

import gc
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rcsops.testing import eventually

__all__ = ["alive", "no_collector", "none_more_than", "open_files"]


@contextmanager
def no_collector() -> Iterator[None]:
    """Within the block only reference counting frees anything."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def alive(*classes: type) -> Counter[str]:
    """How many objects of each class there are; those of its subclasses do not count."""
    wanted = frozenset(classes)
    return Counter(type(each).__name__ for each in gc.get_objects() if type(each) in wanted)


async def none_more_than(before: Counter[str], *classes: type) -> None:
    """Waits until no more objects of the classes are there than before; fails with what is left."""
    try:
        await eventually(lambda: not alive(*classes) - before, interval=0.05)
    except TimeoutError:
        left = alive(*classes) - before
        raise AssertionError(f"kept alive by cycles: {dict(left)}") from None


def open_files(place: Path) -> list[str]:
    """The files at a path, and below it, that this process holds open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            path = Path(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
        if path.is_relative_to(place):
            found.append(str(path))
    return found
