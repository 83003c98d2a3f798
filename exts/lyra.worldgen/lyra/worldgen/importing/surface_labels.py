"""What each face of an upright surface is, by its plane alone: floor, wall, ceiling, or a thing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.mesh import Label, TriMesh
from ..sim.planes import upright_planes

FLOOR_REACH_M = 0.035
"""Level faces that are this close to the floor's height belong to it."""
CEILING_REACH_M = 0.25
"""Beams and lamps aside, ceilings are as level as this."""
WALL_RISE = 0.55
"""Share of the room's height that a wall must rise over."""
WALL_RISE_OUTDOORS_M = 1.6
WALL_AREA_M2 = 1.0
WALL_TOLERANCE_M = 0.05
MAX_WALLS = 200
LEVEL_COS = 0.85


def label_surface(mesh: TriMesh, *, ceiling_m: float | None) -> TriMesh:
    """The mesh with face labels.

    Args:
        mesh: +Z up, the floor at z = 0, faces wound into free space; in metres.
        ceiling_m: height of the ceiling; None without one.
    """
    z = mesh.triangles()[:, :, 2]
    normals = mesh.face_normals()
    labels = np.full(mesh.face_count, Label.OBJECT, np.uint8)
    upright = np.abs(normals[:, 2]) < 0.3
    rise = WALL_RISE_OUTDOORS_M if ceiling_m is None else WALL_RISE * ceiling_m
    if upright.any():
        planes = upright_planes(
            mesh, upright, tolerance_m=WALL_TOLERANCE_M, min_area_m2=WALL_AREA_M2, max_planes=MAX_WALLS
        )
        for plane in planes:
            faces = plane.faces
            if z[faces].max() - z[faces].min() >= rise:
                labels[faces] = Label.WALL
    labels[(normals[:, 2] > LEVEL_COS) & (np.abs(z).max(1) < FLOOR_REACH_M)] = Label.FLOOR
    if ceiling_m is not None:
        level = (normals[:, 2] < -LEVEL_COS) & (np.abs(z - ceiling_m).max(1) < CEILING_REACH_M)
        labels[level] = Label.CEILING
    return replace(mesh, face_labels=labels)
