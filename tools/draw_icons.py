"""Draws the extension's icon and preview picture: a room in one-point perspective inside a photo's white frame.

python tools/draw_icons.py
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from PIL import Image, ImageDraw

DATA = Path(__file__).resolve().parent.parent / "exts" / "lyra.worldgen" / "data"
SUPERSAMPLE = 4
FLOOR, CEILING, LEFT, RIGHT, BACK = "#8a6f52", "#e9e6dd", "#b9c6d2", "#93a7b8", "#d8dee4"
GRID, PATH, ROBOT, FRAME = "#6d573f", "#35c46a", "#f2a33a", "#ffffff"


def room(width: int, height: int, *, tilt: float) -> Image.Image:
    """A room with a floor grid, a driven path and a robot on it.

    Args:
        width: of the picture [px].
        height: of the picture [px].
        tilt: where the vanishing point sits, as a fraction of the width right of the middle.
    """
    w, h = width * SUPERSAMPLE, height * SUPERSAMPLE
    image = Image.new("RGB", (w, h), BACK)
    draw = ImageDraw.Draw(image)
    cx, cy = w * (0.5 + tilt), h * 0.46
    scale = 0.36

    def far(x: float, y: float) -> tuple[float, float]:
        return cx + (x - cx) * scale, cy + (y - cy) * scale

    corners = [(0, 0), (w, 0), (w, h), (0, h)]
    a, b, c, d = (far(*p) for p in corners)
    draw.polygon([corners[3], corners[2], c, d], fill=FLOOR)
    draw.polygon([corners[0], corners[1], b, a], fill=CEILING)
    draw.polygon([corners[0], corners[3], d, a], fill=LEFT)
    draw.polygon([corners[1], corners[2], c, b], fill=RIGHT)

    def on_floor(u: float, v: float) -> tuple[float, float]:
        """u across 0..1, v into the room 0..1, with true perspective foreshortening."""
        near_depth = scale / (1 - scale)
        s = near_depth / (near_depth + v)
        s = scale + (1 - scale) * (s - near_depth / (near_depth + 1)) / (1 - near_depth / (near_depth + 1))
        return cx + (u * w - cx) * s, cy + (h - cy) * s

    line = max(1, w // 220)
    for i in range(1, 8):
        draw.line([on_floor(i / 8, 0), on_floor(i / 8, 1)], fill=GRID, width=line)
        draw.line([on_floor(0, i / 8), on_floor(1, i / 8)], fill=GRID, width=line)
    path = [on_floor(0.24 + 0.5 * t + 0.10 * math.sin(6 * t), 0.06 + 0.72 * t) for t in (i / 60 for i in range(61))]
    draw.line(path, fill=PATH, width=max(2, w // 46), joint="curve")
    x, y = path[18]
    r = w / 19
    draw.ellipse([x - r, y - 0.62 * r, x + r, y + 0.62 * r], fill="#5b4630")
    draw.ellipse([x - 0.86 * r, y - 1.15 * r, x + 0.86 * r, y + 0.2 * r], fill=ROBOT)
    draw.ellipse([x + 0.15 * r, y - 0.8 * r, x + 0.5 * r, y - 0.4 * r], fill="#2d2d2d")
    return image.resize((width, height), Image.Resampling.LANCZOS)


def framed(size: tuple[int, int], border: int, *, tilt: float) -> Image.Image:
    """The room behind a photo's frame, on a transparent ground."""
    width, height = size
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle([0, 0, width - 1, height - 1], radius=border, fill=FRAME)
    image.paste(room(width - 2 * border, height - 2 * border, tilt=tilt), (border, border))
    return image


def main() -> int:
    DATA.mkdir(parents=True, exist_ok=True)
    framed((256, 256), 20, tilt=0.06).save(DATA / "icon.png", optimize=True)
    framed((640, 360), 18, tilt=0.1).save(DATA / "preview.png", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
