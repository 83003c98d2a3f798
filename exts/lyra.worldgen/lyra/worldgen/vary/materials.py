"""Materials as pictures seen head-on, made here from numbers alone, so nobody has rights in them (CC0-1.0).

A sheet repeats in both directions, so it covers any surface: what leaves it on one side comes in on the other. Its
rows and columns are metric; boards, tiles and bricks have the sizes that are sold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.optional import require

PX_PER_M = 128
SHEET_PX = 1024
"""A sheet's side; it repeats every `SHEET_PX / PX_PER_M` metres."""
SIDE_M = SHEET_PX / PX_PER_M
LICENCE = "CC0-1.0"


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A material seen head-on, evenly lit."""

    rgb: np.ndarray
    """[N, N, 3] float32 sRGB in 0..1; rows go down a wall, columns along it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was drawn, for the record."""


def make_sheet(material: str, rng: np.random.Generator) -> Sheet:
    """A sheet of a material in a drawn size and colour; `MATERIALS` names them."""
    return MATERIALS[material](rng)


def _boards(rng: np.random.Generator, *, width_m: tuple[float, float], upright: bool, colours: list[str]) -> Sheet:
    """Boards side by side, each with its own tone and grain; joints are staggered."""
    n = SHEET_PX
    width = float(rng.uniform(*width_m))
    rows = max(2, round(SIDE_M / width))
    per_row = max(2, round(SIDE_M / float(rng.uniform(1.1, 2.4))))
    base, name = _colour(rng, colours)
    y = np.arange(n)[:, None] * np.ones((1, n))
    x = np.arange(n)[None] * np.ones((n, 1))
    row = np.minimum((y * rows // n).astype(int), rows - 1)
    start = rng.random(rows)[row] * n / per_row
    along = (x + start) % n
    column = (along * per_row // n).astype(int) % per_row
    across = (y * rows / n) % 1.0
    end = (along * per_row / n) % 1.0
    board = row * per_row + column
    tone = rng.normal(0, 1, rows * per_row)[board]
    warmth = rng.normal(0, 1, rows * per_row)[board]
    # One long grain; every board takes another piece of it.
    grain = _noise(rng, rough=1.0, stretch=(14.0, 1.0))
    veins = _noise(rng, rough=0.6, stretch=(30.0, 1.0))
    dy = rng.integers(0, n, rows * per_row)[board]
    dx = rng.integers(0, n, rows * per_row)[board]
    iy, ix = (np.arange(n)[:, None] + dy) % n, (np.arange(n)[None] + dx) % n
    light = 1 + 0.05 * tone + 0.05 * grain[iy, ix] + 0.04 * veins[iy, ix]
    gap_y = _edge(across, SIDE_M / rows, 0.0035)
    gap_x = _edge(end, SIDE_M / per_row, 0.003)
    light = light * (1 - 0.55 * np.maximum(gap_y, gap_x))
    rgb = base * light[..., None] * (1 + 0.014 * warmth[..., None] * np.array([1.0, 0.0, -1.0]))
    facts = {"colour": name, "board_m": [round(SIDE_M / rows, 4), round(SIDE_M / per_row, 4)]}
    return _sheet(np.swapaxes(rgb, 0, 1) if upright else rgb, facts)


def _tiles(
    rng: np.random.Generator,
    *,
    size_m: tuple[float, float],
    colours: list[str],
    mottled: float,
    checker: float,
    gap_m: tuple[float, float] = (0.002, 0.006),
) -> Sheet:
    """Square or half-long tiles with joints; sometimes of two colours in turn."""
    n = SHEET_PX
    rows = max(2, 2 * round(SIDE_M / float(rng.uniform(*size_m)) / 2))
    columns = rows if rng.random() < 0.7 else max(2, rows // 4 * 2)
    base, name = _colour(rng, colours)
    y, x = np.arange(n)[:, None] * rows / n, np.arange(n)[None] * columns / n
    if columns != rows and rng.random() < 0.5:
        x = x + 0.5 * (np.floor(y) % 2)
    row, column = np.floor(y).astype(int) + 0 * np.floor(x).astype(int), np.floor(x).astype(int) % columns
    tile = row * columns + column
    tone = rng.normal(0, 1, rows * columns)[tile]
    clouds = _noise(rng, rough=1.6)
    dy, dx = rng.integers(0, n, rows * columns)[tile], rng.integers(0, n, rows * columns)[tile]
    piece = clouds[(np.arange(n)[:, None] + dy) % n, (np.arange(n)[None] + dx) % n]
    light = 1 + 0.022 * tone + mottled * piece + 0.008 * _noise(rng, rough=0.3)
    rgb = base * light[..., None]
    facts: dict[str, Any] = {"colour": name, "tile_m": [round(SIDE_M / columns, 4), round(SIDE_M / rows, 4)]}
    if rng.random() < checker:
        other, facts["second_colour"] = _colour(rng, colours)
        rgb = np.where(((row + column) % 2 == 0)[..., None], rgb, other * light[..., None])
    gap = float(rng.uniform(*gap_m))
    joint = np.maximum(_edge(y % 1.0, SIDE_M / rows, gap), _edge(x % 1.0, SIDE_M / columns, gap))
    grout = np.full(3, 0.78 if rng.random() < 0.5 else 0.3) * (0.75 + 0.35 * base.mean())
    return _sheet(rgb * (1 - joint[..., None]) + grout * joint[..., None], facts)


def _brick(rng: np.random.Generator) -> Sheet:
    """Running bond of common bricks, bare or painted."""
    n = SHEET_PX
    rows, columns = 2 * round(SIDE_M / 0.0833 / 2), round(SIDE_M / 0.25)
    base, name = _colour(rng, ["a65a44", "8c4a3b", "b4806a", "d9d4cb", "8f8a84", "c9a27e"])
    painted = name in ("d9d4cb",)
    y = np.arange(n)[:, None] * rows / n
    x = np.arange(n)[None] * columns / n + 0.5 * (np.floor(y) % 2)
    brick = np.floor(y).astype(int) * columns + np.floor(x).astype(int) % columns
    tone = rng.normal(0, 1, rows * columns)[brick]
    light = 1 + (0.03 if painted else 0.075) * tone + 0.04 * _noise(rng, rough=0.7)
    joint = np.maximum(_edge(y % 1.0, SIDE_M / rows, 0.011), _edge(x % 1.0, SIDE_M / columns, 0.011))
    mortar = base * 0.86 if painted else np.array([0.68, 0.66, 0.62])
    rgb = base * light[..., None] * (1 - joint[..., None])
    return _sheet(rgb + mortar * joint[..., None], {"colour": name})


def _concrete(rng: np.random.Generator) -> Sheet:
    """Poured concrete: clouds, pores and sometimes joints."""
    base, name = _colour(rng, ["9a9894", "b1aea8", "83827f", "c2beb4"])
    light = 1 + 0.04 * _noise(rng, rough=1.7) + 0.025 * _noise(rng, rough=0.5)
    pores = np.clip(_noise(rng, rough=0.2) - 2.6, 0, 1)
    light = light * (1 - 0.25 * pores)
    facts: dict[str, Any] = {"colour": name}
    if rng.random() < 0.5:
        count = int(rng.integers(2, 5))
        at = np.arange(SHEET_PX) * count / SHEET_PX % 1.0
        joint = np.maximum(_edge(at[:, None], SIDE_M / count, 0.006), _edge(at[None], SIDE_M / count, 0.006))
        light = light * (1 - 0.45 * joint)
        facts["joints_m"] = round(SIDE_M / count, 4)
    return _sheet(base * light[..., None], facts)


def _carpet(rng: np.random.Generator) -> Sheet:
    """Loop pile, in one piece or in tiles that are turned in turn."""
    base, name = _colour(rng, ["5b6472", "6d665c", "7a4a48", "47584f", "8a8378", "3f4a63", "9b8c72"])
    loops = _noise(rng, rough=0.05)
    light = 1 + 0.1 * loops + 0.03 * _noise(rng, rough=1.5)
    facts: dict[str, Any] = {"colour": name}
    if rng.random() < 0.6:
        y, x = np.arange(SHEET_PX)[:, None] * 16 // SHEET_PX, np.arange(SHEET_PX)[None] * 16 // SHEET_PX
        light = light * np.where((y + x) % 2 == 0, 1.035, 0.965)
        facts["tile_m"] = SIDE_M / 16
    return _sheet(base * light[..., None], facts)


def _plaster(rng: np.random.Generator, colours: list[str], *, relief: float) -> Sheet:
    """One even coat with the trace of the roller or the trowel."""
    base, name = _colour(rng, colours)
    light = 1 + relief * _noise(rng, rough=0.9) + 0.5 * relief * _noise(rng, rough=0.3)
    return _sheet(base * light[..., None], {"colour": name})


def _wallpaper(rng: np.random.Generator) -> Sheet:
    """Upright stripes of two tones of one colour."""
    base, name = _colour(rng, ["d8cdb8", "b9c7c4", "cdb9b4", "aebbd0", "c9cdb0", "8fa39a"])
    pairs = int(rng.integers(24, 80))
    at = np.arange(SHEET_PX) * pairs / SHEET_PX % 1.0
    stripe = np.clip(np.minimum(at, 1 - at) * 2 * 6 - 2.5, 0, 1)[None]
    light = (1 - 0.13 * stripe) * (1 + 0.012 * _noise(rng, rough=0.6))
    return _sheet(base * light[..., None], {"colour": name, "stripe_m": round(SIDE_M / pairs, 4)})


def _panels(rng: np.random.Generator) -> Sheet:
    """Mineral-fibre ceiling panels in a metal grid."""
    count = int(rng.integers(12, 15))
    at = np.arange(SHEET_PX) * count / SHEET_PX % 1.0
    grid = np.maximum(_edge(at[:, None], SIDE_M / count, 0.02), _edge(at[None], SIDE_M / count, 0.02))
    base, name = _colour(rng, ["e6e4df", "dcd9d2", "cfd2d3"])
    pores = np.clip(_noise(rng, rough=0.1) - 1.6, 0, 1)
    light = (1 - 0.18 * pores) * (1 + 0.01 * _noise(rng, rough=1.2))
    return _sheet(base * light[..., None] * (1 - 0.16 * grid[..., None]), {"colour": name, "panel_m": SIDE_M / count})


_WOODS = ["b98a5a", "8a5f3c", "d0ab7c", "6b4a33", "a9977f", "c79a66"]
_PAINTS = ["e5e1d8", "d8d2c0", "c6cfc9", "b9c3cf", "d9c3ae", "a8b3a0", "cbb7b3", "8f9ba8", "c9b27c", "7f8f86"]
MATERIALS: dict[str, Callable[[np.random.Generator], Sheet]] = {
    "wood": lambda rng: _boards(rng, width_m=(0.09, 0.22), upright=False, colours=_WOODS),
    "tile": lambda rng: _tiles(
        rng,
        size_m=(0.2, 0.62),
        colours=["cfc9bd", "b7a58f", "8d8c8a", "e2ded6", "9a6a52", "5d6468", "a7b0ad"],
        mottled=0.03,
        checker=0.25,
    ),
    "stone": lambda rng: _tiles(
        rng,
        size_m=(0.4, 0.9),
        colours=["d6cfc2", "a49c90", "7d7a78", "c4b39a", "b8bcbb"],
        mottled=0.045,
        checker=0.1,
        gap_m=(0.0015, 0.003),
    ),
    "concrete": _concrete,
    "carpet": _carpet,
    "brick": _brick,
    "plaster": lambda rng: _plaster(rng, _PAINTS, relief=0.022),
    "paint": lambda rng: _plaster(rng, _PAINTS, relief=0.006),
    "wallpaper": _wallpaper,
    "panelling": lambda rng: _boards(rng, width_m=(0.08, 0.16), upright=True, colours=[*_WOODS, "e3dfd4", "b7c2bd"]),
    "white": lambda rng: _plaster(rng, ["eceae5", "e2dfd8", "f0efec"], relief=0.008),
    "panels": _panels,
}
"""Materials by name."""


def _sheet(rgb: np.ndarray, facts: Mapping[str, Any]) -> Sheet:
    return Sheet(rgb=np.clip(rgb, 0.02, 0.98).astype(np.float32), facts=facts)


def _colour(rng: np.random.Generator, colours: list[str]) -> tuple[np.ndarray, str]:
    """One of some colours, a little off; its name is what stands in the list."""
    name = colours[int(rng.integers(len(colours)))]
    rgb = np.array([int(name[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    return np.clip(rgb * (1 + rng.uniform(-0.08, 0.08)) + rng.uniform(-0.01, 0.01, 3), 0.05, 0.95), name


def _edge(at: np.ndarray, cell_m: float, gap_m: float) -> np.ndarray:
    """How much of a pixel belongs to the gap between cells; `at` runs from 0 to 1 across a cell."""
    from_edge_m = np.minimum(at, 1 - at) * cell_m
    pixel_m = 1 / PX_PER_M
    # A gap that is narrower than a pixel darkens it in part.
    return np.clip((gap_m / 2 + pixel_m / 2 - from_edge_m) / pixel_m, 0, 1) * min(1.0, gap_m / pixel_m + 0.25)


def _noise(rng: np.random.Generator, *, rough: float, stretch: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """[N, N] float32 noise of mean 0 and deviation 1 that repeats.

    Args:
        rng: source.
        rough: how fast amplitudes fall with frequency; 0 is white, 2 is clouds.
        stretch: along columns and rows; larger is longer.
    """
    fft = require("scipy.fft", extra="sim", package="scipy")
    white = rng.standard_normal((SHEET_PX, SHEET_PX)).astype(np.float32)
    fy = np.fft.fftfreq(SHEET_PX)[:, None] * SHEET_PX * stretch[1]
    fx = np.fft.rfftfreq(SHEET_PX)[None] * SHEET_PX * stretch[0]
    radius = np.sqrt(fx**2 + fy**2)
    radius[0, 0] = 1.0
    # Nothing longer than a metre or so, else the repetition shows.
    low = 1 - np.exp(-((radius / 6.0) ** 2))
    spectrum = fft.rfft2(white) * (low / radius**rough).astype(np.float32)
    spectrum[0, 0] = 0.0
    out = fft.irfft2(spectrum, (SHEET_PX, SHEET_PX))
    return (out / out.std()).astype(np.float32)
