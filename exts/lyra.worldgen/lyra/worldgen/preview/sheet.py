"""The contact sheet: tiles with captions under a title strip, drawn with Pillow's own font."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

WIDTH_PX = 1600
MARGIN, GAP, HEADER = 20, 12, 84
BACK, PANEL, INK, SOFT = (20, 23, 28), (32, 36, 43), (236, 240, 245), (154, 165, 179)
VERDICT_RGB = {"passed": (38, 150, 108), "failed": (200, 62, 46), "incomplete": (170, 122, 14)}


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One picture of the sheet."""

    rgb_u8: np.ndarray | None
    """[H, W, 3]; None draws the caption on an empty panel."""
    caption: str


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A coloured word in the title strip."""

    text: str
    rgb: tuple[int, int, int] = PANEL


def draw_sheet(title: str, chips: list[Chip], rows: list[tuple[list[Tile], float]]) -> np.ndarray:
    """[H, W, 3] uint8.

    Args:
        title: name of the world; cut off where it does not fit.
        chips: from the right border leftwards.
        rows: tiles from left to right, and height of a tile over its width; pictures keep their shape.
    """
    from PIL import Image, ImageDraw

    sizes = []
    for tiles, aspect in rows:
        width = (WIDTH_PX - 2 * MARGIN - GAP * (len(tiles) - 1)) // len(tiles)
        sizes.append((width, round(width * aspect)))
    height = HEADER + sum(h for _, h in sizes) + GAP * (len(rows) - 1) + MARGIN
    sheet = Image.new("RGB", (WIDTH_PX, height), BACK)
    draw = ImageDraw.Draw(sheet)
    x = WIDTH_PX - MARGIN
    for chip in chips:
        font = _font(22)
        # Pillow's font has no superscript two, so area units get theirs drawn.
        head, squared, tail = chip.text.partition("²")
        two = draw.textlength("2", font=_font(14)) if squared else 0
        widths = [draw.textlength(head, font=font), two, draw.textlength(tail, font=font)]
        length = int(sum(widths)) + 32
        x -= length
        draw.rounded_rectangle((x, 22, x + length, 62), 20, fill=chip.rgb)
        draw.text((x + 16, 42), head, font=font, fill=INK, anchor="lm")
        if squared:
            draw.text((x + 16 + widths[0], 36), "2", font=_font(14), fill=INK, anchor="lm")
            draw.text((x + 16 + widths[0] + two, 42), tail, font=font, fill=INK, anchor="lm")
        x -= 10
    title = _fitting(draw, title, x - MARGIN - 20, _font(34)) or "world"
    draw.text((MARGIN, 42), title, font=_font(34), fill=INK, anchor="lm")
    y = HEADER
    for (tiles, _), (w, h) in zip(rows, sizes, strict=True):
        for i, tile in enumerate(tiles):
            _paste(sheet, tile, MARGIN + i * (w + GAP), y, w, h)
        y += h + GAP
    return np.asarray(sheet)


def _paste(sheet: PilImage, tile: Tile, x: int, y: int, w: int, h: int) -> None:
    from PIL import Image, ImageDraw

    draw = ImageDraw.Draw(sheet, "RGBA")
    draw.rectangle((x, y, x + w - 1, y + h - 1), fill=PANEL)
    if tile.rgb_u8 is not None:
        picture = Image.fromarray(np.ascontiguousarray(tile.rgb_u8))
        scale = min(w / picture.width, h / picture.height)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        if size != picture.size:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        sheet.paste(picture, (x + (w - size[0]) // 2, y + (h - size[1]) // 2))
    font = _font(17)
    if tile.rgb_u8 is None:
        draw.text((x + w // 2, y + h // 2), tile.caption, font=font, fill=SOFT, anchor="mm")
        return
    caption = _fitting(draw, tile.caption, w - 20, font)
    length = int(draw.textlength(caption, font=font))
    draw.rectangle((x, y + h - 30, x + length + 20, y + h - 1), fill=(*BACK, 200))
    draw.text((x + 10, y + h - 15), caption, font=font, fill=INK, anchor="lm")


def _font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _fitting(draw, text: str, width: int, font) -> str:
    """A text on one line, its end left out where there is no room for it."""
    text = " ".join(text.split())
    while len(text) > 2 and draw.textlength(text, font=font) > width:
        text = text[:-2].rstrip("…") + "…"
    return text
