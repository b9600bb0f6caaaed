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
