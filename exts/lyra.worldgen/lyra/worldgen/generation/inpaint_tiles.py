"""Pictures for a model with a size of its own: tiles in a good order, holes prefilled, results joined without seams."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

FEATHER_PX = 12
"""Width inside the hole over which a difference of colour to the surroundings fades out."""
OVERLAP = 0.25
"""Least share of a tile that its neighbour covers too."""

Box = tuple[slice, slice]


def smooth_fill(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values [H, W, C] as float32 with the unknown ones replaced by a smooth continuation of the known [H, W] bool.

    Known values are returned as they are; with nothing known everything is the middle of 0..255.
    """
    import cv2

    known = known.astype(bool)
    if not known.any():
        return np.full(values.shape, 127.5, np.float32)
    weight = known.astype(np.float32)
    total = np.where(known[..., None], values, 0).astype(np.float32)
    levels: list[tuple[np.ndarray, np.ndarray]] = [(total, weight)]
    while (weight == 0).any():  # halve until every cell has seen something
        h, w = weight.shape
        size = ((w + 1) // 2, (h + 1) // 2)
        total = cv2.resize(total, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
        weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        levels.append((total, weight))
    filled = levels[-1][0] / levels[-1][1][..., None]
    for total, weight in reversed(levels[:-1]):
        h, w = weight.shape
        coarse = cv2.resize(filled, (w, h), interpolation=cv2.INTER_LINEAR).reshape(h, w, -1)
        mean = total / np.maximum(weight, 1e-6)[..., None]
        filled = np.where((weight > 0)[..., None], mean, coarse)
    return np.where(known[..., None], values, filled).astype(np.float32)


def tile_boxes(height_px: int, width_px: int, side_px: int) -> list[Box]:
    """Windows of at most `side_px` that cover the picture and overlap, in reading order."""
    return [
        (slice(y, min(y + side_px, height_px)), slice(x, min(x + side_px, width_px)))
        for y in _starts(height_px, side_px)
        for x in _starts(width_px, side_px)
    ]


def next_tile(boxes: list[Box], hole: np.ndarray) -> int | None:
    """The window of which most is known among those with a part of the hole [H, W] bool; None when nothing is left."""
    shares = [float(hole[box].mean()) for box in boxes]
    open_tiles = [index for index, share in enumerate(shares) if share > 0]
    return min(open_tiles, key=lambda index: (shares[index], index), default=None)


def model_size(height_px: int, width_px: int, *, side_px: int, multiple_px: int) -> tuple[int, int]:
    """Height and width that a window is given to the model in: long side `side_px` or more, both multiples [px]."""
    scale = max(1.0, side_px / max(height_px, width_px))
    height, width = (max(1, round(n * scale / multiple_px)) * multiple_px for n in (height_px, width_px))
    return height, width


def resized(picture: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """A picture [H, W, 3] in another size; bits are kept when the size is right already."""
    import cv2

    h, w = picture.shape[:2]
    if (h, w) == (height_px, width_px):
        return picture
    shrinks = height_px * width_px < h * w
    return cv2.resize(picture, (width_px, height_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def mask_in_cells(hole: np.ndarray, height_px: int, width_px: int, cell_px: int) -> np.ndarray:
    """The hole [H, W] bool at the model's size, grown to whole cells of its latent picture.

    A cell that a hole touches says nothing reliable, and models shrink the mask by taking single pixels, so that thin
    holes would be lost.
    """
    h, w = hole.shape
    rows, cols = height_px // cell_px, width_px // cell_px
    cells = np.zeros((rows, cols), bool)
    y, x = np.nonzero(hole)
    # Every cell that the pixel's square reaches into, wherever the enlarged pixel lies.
    for dy in (0.0, 1.0 - 1e-6):
        for dx in (0.0, 1.0 - 1e-6):
            row = np.minimum(((y + dy) * rows / h).astype(int), rows - 1)
            col = np.minimum(((x + dx) * cols / w).astype(int), cols - 1)
            cells[row, col] = True
    return np.kron(cells, np.ones((cell_px, cell_px), bool))


def joined(painted: np.ndarray, frame: np.ndarray, known: np.ndarray, *, feather_px: int = FEATHER_PX) -> np.ndarray:
    """A painted picture [H, W, 3] laid into the hole of a frame without a step at its edge, uint8.

    What model and frame disagree by along the edge is continued into the hole and fades out there. Known pixels of
    the frame are returned bit for bit.
    """
    from scipy import ndimage

    hole = ~known
    painted = painted.astype(np.float32)
    if known.any() and hole.any():
        to_hole: Any = ndimage.distance_transform_edt(known)
        to_known: Any = ndimage.distance_transform_edt(hole)
        edge = known & (to_hole <= feather_px)
        offset = smooth_fill(frame.astype(np.float32) - painted, edge)
        inward = np.minimum(to_known / feather_px, 1.0)
        painted = painted + (0.5 + 0.5 * np.cos(math.pi * inward))[..., None] * offset
    out = np.clip(painted + 0.5, 0, 255).astype(np.uint8)
    out[known] = frame[known]
    return out


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    step = max(1, side - round(OVERLAP * side))
    count = 1 + math.ceil((length - side) / step)
    return [round(i * (length - side) / (count - 1)) for i in range(count)]
