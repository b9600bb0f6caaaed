"""Pictures in half-blocks, and files that are none."""

from pathlib import Path

import pytest
from rich.color import Color

from rcsops.tui.previews import half_blocks

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
