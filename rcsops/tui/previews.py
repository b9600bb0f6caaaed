"""Pictures as half-blocks: two pixels to a character. They need Pillow, which may be missing.

What peers send is hostile: only common formats are read, no larger than some megapixels, one after
the other in a thread, of an animation the first picture alone, and what cannot be read has no
preview.
"""

import asyncio
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from rcsops.tui.rows import Row

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Previews", "half_blocks"]

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp"})
_MAX_OCTETS = 32 << 20
_MAX_PIXELS = 50_000_000
# Once it is decoded, which a JPEG is in a smaller size; with what is made of it some 200 MB.
_MAX_DECODED = 25_000_000
_MAX_KEPT = 64
_MOST_LINES = 14
# The tag of EXIF, and its values from which on width and height change places.
_ORIENTATION, _ON_ITS_SIDE = 0x0112, 5

Lines = list[list[Segment]]


class Previews:
    """The pictures of rows; ``ready`` is called with a row whose picture has come meanwhile."""

    def __init__(self, ready: Callable[[Row], None]) -> None:
        self._ready = ready
        self._kept: OrderedDict[tuple[Path, int], Lines] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        # Several large ones at once would add up.
        self._one = asyncio.Lock()
        # Without colours a picture is a grey square.
        self._wanted = not os.environ.get("NO_COLOR") and _has_pillow()

    def lines(self, row: Row, width: int) -> Lines:
        """The picture of a row's file at most ``width`` columns wide; nothing without one, or
        before it is there."""
        file = row.file
        if not self._wanted or file is None or file.path is None or file.moving:
            return []
        if file.path.suffix.lower() not in _SUFFIXES or file.size > _MAX_OCTETS:
            return []
        key = (file.path, width)
        if key not in self._kept:
            self._kept[key] = []
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
            task = asyncio.create_task(self._make(row, key))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return self._kept[key]

    async def _make(self, row: Row, key: tuple[Path, int]) -> None:
        async with self._one:
            lines = await asyncio.to_thread(half_blocks, *key)
        if lines:
            self._kept[key] = lines
            self._ready(row)


def _has_pillow() -> bool:
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return False
    return True


def half_blocks(path: Path, width: int) -> Lines:
    """A picture file at most ``width`` columns wide; nothing when it cannot be read."""
    from PIL import Image, ImageOps

    # Its own warning would go to the terminal.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS or min(image.size) < 1:
                return []
            image.draft("RGB", (width * 4, _MOST_LINES * 8))
            if image.width * image.height > _MAX_DECODED:
                return []
            small = image if image.mode == "RGBA" else image.convert("RGBA")
            room = (width, _MOST_LINES * 2)
            # A camera's picture says which way up it is; the small one is turned, not the large.
            lies = image.getexif().get(_ORIENTATION, 1) >= _ON_ITS_SIDE
            small.thumbnail(room[::-1] if lies else room)
            small = ImageOps.exif_transpose(small)
            ground = Image.new("RGBA", small.size, (0, 0, 0, 255))
            pixels = Image.alpha_composite(ground, small).convert("RGB")
    except Exception:
        # Whatever a decoder raises for what somebody made on purpose.
        return []
    return [_line(pixels, top) for top in range(0, pixels.height, 2)]


def _line(pixels: "Image.Image", top: int) -> list[Segment]:
    segments: list[Segment] = []
    run: tuple[object, object] | None = None
    for x in range(pixels.width):
        upper = pixels.getpixel((x, top))
        lower = pixels.getpixel((x, top + 1)) if top + 1 < pixels.height else None
        if run == (upper, lower):
            last = segments[-1]
            segments[-1] = Segment(last.text + "▀", last.style)
            continue
        run = (upper, lower)
        segments.append(Segment("▀", Style(color=_colour(upper), bgcolor=_colour(lower))))
    return segments


def _colour(pixel: object) -> Color | None:
    if not isinstance(pixel, tuple):
        return None
    red, green, blue = (int(part) for part in pixel[:3])
    return Color.from_rgb(red, green, blue)
