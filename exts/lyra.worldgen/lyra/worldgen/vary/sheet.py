"""A picture of all variants: what the photo's camera would see of each, lit evenly."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..certify.world_data import viewpoint
from ..core.files import write_bytes
from ..core.manifest import VARY
from ..core.progress import SupportsProgress
from ..core.world import World
from ..preview.raster import MeshRasteriser
from ..preview.sheet import Chip, Tile, draw_sheet
from ..sim.usd_read import read_visual
from .base import Base

TILE_PX = 360
FEW, MANY = 4, 6
"""Columns for up to a dozen variants, and for more."""
MOST_TILES = 96
"""Further variants are not drawn: nobody looks at thousands."""


def write_sheet(path: Path, base: Base, worlds: Sequence[World], progress: SupportsProgress) -> None:
    """Draw the world and its variants side by side into a PNG; light is even, so there are no shadows.

    Args:
        path: the picture.
        base: the world.
        worlds: its variants.
        progress: told about `sheet`.
    """
    tiles = [_tile(base.world, "as it is")]
    for world in progress.track("sheet", worlds[:MOST_TILES]):
        tiles.append(_tile(world, _caption(world)))
    columns = FEW if len(tiles) <= 12 else MANY
    first = tiles[0].rgb_u8
    assert first is not None, "tiles are drawn"
    aspect = first.shape[0] / first.shape[1]
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    rows = [row + [Tile(rgb_u8=None, caption="")] * (columns - len(row)) for row in rows]
    chips = [Chip(text=f"{len(worlds)} variants")]
    sheet = draw_sheet(Path(base.world.manifest.photo.name).stem or "world", chips, [(row, aspect) for row in rows])
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(sheet)).save(buffer, "PNG", compress_level=9)
    write_bytes(path, buffer.getvalue())


def _tile(world: World, caption: str) -> Tile:
    camera, T_world_cam = viewpoint(world.folder, world.manifest.metres_per_unit)
    scale = TILE_PX / max(camera.width_px, camera.height_px)
    camera = camera.resized(max(2, round(camera.width_px * scale)), max(2, round(camera.height_px * scale)))
    mesh = read_visual(world.path("payloads/visual.usdc"))
    return Tile(rgb_u8=MeshRasteriser(mesh).render(camera, T_world_cam, supersample=2).rgb_u8, caption=caption)


def _caption(world: World) -> str:
    facts = world.facts(VARY)
    words = [world.folder.name.removeprefix("variant_")]
    if facts["values"]["mirrored"]:
        words.append("mirrored")
    if facts["style"]:
        made_of = (row["material"] for row in facts["style"]["surfaces"].values())
        words.append(", ".join(made_of) or facts["style"]["name"])
    if facts["things"]:
        words.append(f"{len(facts['things'])} things")
    return " · ".join(words)
