"""Pictures in half-blocks, and files that are none."""

import asyncio
import struct
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.color import Color

from rcsops.tui import previews
from rcsops.tui.previews import Previews, half_blocks
from rcsops.tui.rows import FileState, Row

Image = pytest.importorskip("PIL.Image")


def test_two_pixels_to_a_character(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 3), (255, 0, 0))
    picture.putpixel((1, 1), (0, 0, 255))
    picture.save(tmp_path / "a.png")
    lines = half_blocks(tmp_path / "a.png", 40)
    assert ["".join(segment.text for segment in line) for line in lines] == ["▀▀▀▀", "▀▀▀▀"]
    first, second, third = lines[0]
    red, blue = Color.from_rgb(255, 0, 0), Color.from_rgb(0, 0, 255)
    assert first.style is not None and (first.style.color, first.style.bgcolor) == (red, red)
    assert second.style is not None and (second.style.color, second.style.bgcolor) == (red, blue)
    assert third.text == "▀▀"
    # The last row has nothing below it.
    assert lines[1][0].style is not None and lines[1][0].style.bgcolor is None


def test_a_large_picture_is_made_to_fit(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 900), (1, 2, 3)).save(tmp_path / "a.jpg")
    lines = half_blocks(tmp_path / "a.jpg", 40)
    assert len(lines) <= 14
    assert {sum(len(segment.text) for segment in line) for line in lines} == {40}


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\xff" * 200, b"text"])
def test_what_is_no_picture_has_no_preview(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    assert half_blocks(tmp_path / "a.png", 40) == []


def test_a_picture_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    Image.new("1", (12_000, 12_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    assert half_blocks(tmp_path / "bomb.png", 40) == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_of_a_camera_stands_upright(tmp_path: Path, orientation: int) -> None:
    """Whichever of the eight ways EXIF says that it lies, the red corner comes out above left."""
    from PIL import ImageOps

    upright = Image.new("RGB", (4, 8), (0, 0, 255))
    upright.putpixel((0, 0), (255, 0, 0))
    turns = {
        2: ImageOps.mirror, 3: lambda each: each.rotate(180), 4: ImageOps.flip,
        5: lambda each: each.transpose(Image.Transpose.TRANSPOSE),
        6: lambda each: each.rotate(90, expand=True),
        7: lambda each: each.transpose(Image.Transpose.TRANSVERSE),
        8: lambda each: each.rotate(270, expand=True),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = turns.get(orientation, lambda each: each)(upright)
    lying.save(tmp_path / "a.png", exif=exif)
    lines = half_blocks(tmp_path / "a.png", 40)
    assert (len(lines), sum(len(each.text) for each in lines[0])) == (4, 4)
    first = lines[0][0]
    assert first.style is not None and first.style.color == Color.from_rgb(255, 0, 0)


def test_what_is_transparent_is_dark_and_of_an_animation_the_first_picture_is_shown(
    tmp_path: Path,
) -> None:
    Image.new("RGBA", (2, 2), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    first, second = Image.new("RGB", (2, 2), (255, 0, 0)), Image.new("RGB", (2, 2), (0, 255, 0))
    first.save(tmp_path / "moving.gif", save_all=True, append_images=[second])
    for name, colour in (("clear.png", (0, 0, 0)), ("moving.gif", (255, 0, 0))):
        ((segment,),) = half_blocks(tmp_path / name, 40)
        assert segment.style is not None and segment.style.color == Color.from_rgb(*colour)


def test_half_a_picture_has_no_preview(tmp_path: Path) -> None:
    Image.effect_noise((200, 200), 50).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    assert half_blocks(tmp_path / "whole.jpg", 40)
    assert half_blocks(tmp_path / "half.jpg", 40) == []


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "jpg"])
@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_a_picture_that_is_all_height_or_width(
    tmp_path: Path, size: tuple[int, int], suffix: str
) -> None:
    Image.new("RGB", size, (9, 200, 3)).save(tmp_path / f"a.{suffix}")
    lines = half_blocks(tmp_path / f"a.{suffix}", 40)
    widths = {sum(len(segment.text) for segment in line) for line in lines}
    assert (len(lines), widths) == ((14, {1}) if size[1] > 1 else (1, {40}))


def frame(x: int, y: int, width: int, height: int, data: bytes = b"\x02\x02\x44\x01\x00") -> bytes:
    """A frame of a GIF: by default one black pixel, and its end."""
    return b"," + struct.pack("<HHHH", x, y, width, height) + b"\0" + data


def gif(width: int, height: int, *frames: bytes) -> bytes:
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0"
    return head + b"\0\0\0\xff\xff\xff" + b"".join(frames) + b";"


BMP_HUGE = struct.pack("<IiiHHIIiiII", 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0)
ONE = frame(0, 0, 1, 1)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        pytest.param(gif(1, 1, ONE, *[ONE] * 200_000), 1, id="200,000 frames"),
        pytest.param(gif(1, 1, ONE, b",\0\0"), 1, id="a second frame that is none"),
        pytest.param(gif(1, 1, ONE, frame(60_000, 60_000, 5_000, 5_000)), 1, id="a second far off"),
        pytest.param(gif(0, 0, frame(0, 0, 0, 0)), 0, id="no size"),
        pytest.param(gif(10, 10, frame(0, 0, 0, 0)), 0, id="a frame without a size"),
        pytest.param(gif(65_535, 65_535, ONE), 0, id="a GIF of 4 gigapixels"),
        pytest.param(gif(1, 1, frame(60_000, 60_000, 5_000, 5_000)), 0, id="a frame far outside"),
        pytest.param(gif(5_000, 5_000, frame(0, 0, 5_000, 5_000)), 0, id="a frame that breaks off"),
        pytest.param(gif(4, 4, frame(0, 0, 4, 4, b"\x0c\xff" + b"\xff" * 255)), 0, id="broken LZW"),
        pytest.param(gif(4, 4, frame(0, 0, 4, 4, b"\x00\x01\xff\0")), 0, id="codes of 0 bits"),
        pytest.param(gif(4, 4), 0, id="no frame"),
        pytest.param(
            b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + BMP_HUGE, 0, id="a BMP of 4 exapixels"
        ),
    ],
)
@pytest.mark.timeout(20)
def test_a_picture_made_to_do_harm(
    tmp_path: Path, data: bytes, shown: int, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.gif").write_bytes(data)
    assert len(half_blocks(tmp_path / "a.gif", 40)) == shown
    assert capfd.readouterr() == ("", "")


@pytest.mark.timeout(60)
def test_the_largest_pictures_that_are_read_take_no_more_than_so_much_memory(
    tmp_path: Path,
) -> None:
    Image.new("RGBA", (5_000, 5_000), (1, 2, 3, 4)).save(tmp_path / "a.png")
    Image.new("RGB", (7_000, 7_000), (1, 2, 3)).save(tmp_path / "a.jpg", progressive=True)
    Image.new("P", (7_000, 7_000)).save(tmp_path / "a.gif")
    program = """
import resource, sys
from pathlib import Path
from rcsops.tui.previews import half_blocks
import PIL.Image, PIL.ImageOps
def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
before = used()
print(len(half_blocks(Path(sys.argv[1]), 40)), used() - before)
"""
    for name, shown in (("a.png", 14), ("a.jpg", 14), ("a.gif", 0)):
        run = subprocess.run(
            [sys.executable, "-c", program, tmp_path / name],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        lines, mebibytes = map(int, run.stdout.split())
        assert lines == shown
        assert mebibytes < 256
        assert run.stderr == ""


async def test_pictures_are_read_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    at_once, most = 0, 0
    guard = threading.Lock()

    def watched(path: Path, width: int) -> previews.Lines:
        nonlocal at_once, most
        with guard:
            at_once += 1
            most = max(most, at_once)
        try:
            return half_blocks(path, width)
        finally:
            with guard:
                at_once -= 1

    monkeypatch.setattr(previews, "half_blocks", watched)
    rows = []
    for number in range(20):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (600, 600), (number, 0, 0)).save(path)
        file = FileState(path.name, path.stat().st_size, path)
        now = datetime.now(UTC)
        rows.append(Row(key=str(number), kind="in", time=now, text="", sender="bob", file=file))
    came: list[Row] = []
    shown = Previews(came.append)
    for row in rows:
        assert shown.lines(row, 40) == []
    async with asyncio.timeout(20):
        while len(came) < len(rows):
            await asyncio.sleep(0.01)
    assert most == 1
    assert all(shown.lines(row, 40) for row in rows)
