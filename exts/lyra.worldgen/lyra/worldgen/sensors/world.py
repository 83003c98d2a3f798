"""A finished world as sensors see it, read back from the files that a simulator loads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import InputError
from ..core.mesh import Label, TriMesh
from ..core.raycast import Raycaster
from ..core.splats import GaussianCloud
from ..core.world import locate
from ..reconstruction.splat_io import read_splats
from ..sim.usd_read import read_colliders, read_splats_usd, read_visual

if TYPE_CHECKING:
    from ..preview.raster import MeshRasteriser


@dataclass(frozen=True, kw_only=True)
class SensorWorld:
    """Surfaces and splats of one world, in its frame [m]; what answers questions about them is made on first use."""

    mesh: TriMesh
    """The visible mesh with labels, and texture where it has one; sky included."""
    collider: TriMesh
    """Boxes and triangles that things collide with, labelled by their prims' names."""
    splats: GaussianCloud | None = None
    """None for a world without splats: its pictures come from the mesh."""

    @cached_property
    def rasteriser(self) -> MeshRasteriser:
        """Draws the visible mesh."""
        # The preview package reads certificates, which use this module.
        from ..preview.raster import MeshRasteriser

        return MeshRasteriser(self.mesh)

    @cached_property
    def mesh_caster(self) -> Raycaster:
        """Rays against the visible mesh without sky."""
        labels = self.mesh.face_labels
        if labels is None or not (labels == Label.SKY).any():
            return Raycaster(self.mesh)
        return Raycaster(self.mesh.select_faces(labels != Label.SKY))

    @cached_property
    def collider_caster(self) -> Raycaster:
        """Rays against the colliders."""
        return Raycaster(self.collider)

    @cached_property
    def face_normals(self) -> np.ndarray:
        """[F, 3] of the visible mesh."""
        return self.mesh.face_normals()


def load_world_splats(folder: Path) -> GaussianCloud | None:
    """The splats of a world folder; None for a world without any.

    Args:
        folder: a finished world. Splats come from `payloads/splats.usdc`, or `splats.ply` where that is missing.

    Raises:
        InputError: the file cannot be read.
        DependencyError: usd-core is missing.
    """
    in_stage, portable = (locate(folder, name) for name in ("payloads/splats.usdc", "splats.ply"))
    if in_stage.is_file():
        return read_splats_usd(in_stage)
    return read_splats(portable) if portable.is_file() else None


def load_sensor_world(folder: Path) -> SensorWorld:
    """Read `payloads/visual.usdc`, `payloads/collision.usdc` and the splats of a world folder.

    Args:
        folder: a finished world; splats are those of `load_world_splats`.

    Raises:
        InputError: a payload is missing or cannot be read; the message names it.
        DependencyError: usd-core is missing.
    """
    visual, collision = (locate(folder, name) for name in ("payloads/visual.usdc", "payloads/collision.usdc"))
    for path in (visual, collision):
        if not path.is_file():
            raise InputError(f"world has no payloads/{path.name}; pass a folder with finished USD files: {folder}")
    return SensorWorld(
        mesh=read_visual(visual),
        collider=read_colliders(collision).mesh,
        splats=load_world_splats(folder),
    )
