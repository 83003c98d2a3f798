"""The map of free space as a picture to lay on the floor. Needs no Kit."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.world import load_world


@dataclass(frozen=True, kw_only=True)
class FloorPicture:
    """Clearance from above: where the world's robot fits, and how much room it has."""

    file: Path
    """PNG; its top is the highest y."""
    size_m: tuple[float, float]
    centre_world: np.ndarray
    """[3]."""


def floor_picture(folder: Path, into: Path | None = None) -> FloorPicture:
    """Draw the map of a finished world.

    Args:
        folder: the world's.
        into: folder for the picture; the system's for temporary files when None.

    Raises:
        InputError: no world, or its map is missing or damaged.
        DependencyError: a package that measures clearances is missing in this Python.
    """
    from PIL import Image

    from ..faces.contents import Contents

    world = load_world(folder)
    layer = Contents(world, points=0, splats=0).free_space
    place = Path(tempfile.gettempdir()) / "lyra_worldgen" if into is None else into
    place.mkdir(parents=True, exist_ok=True)
    # A name of its own for each content: renderers keep what they have read under a name.
    digest = world.manifest.files()["nav/map.png"].sha256[:16]
    file = place / f"clearance-{digest}.png"
    Image.fromarray(layer.rgba_u8, "RGBA").save(file)
    return FloorPicture(file=file, size_m=layer.size_m, centre_world=np.array(layer.centre_world))
