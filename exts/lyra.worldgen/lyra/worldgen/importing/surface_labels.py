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
FLAT_COS, FLAT_SHARE = 0.99999, 0.75
"""Where so much of a floor or wall is as flat as this, the rest of it is none."""


def label_surface(mesh: TriMesh, *, ceiling_m: float | None) -> TriMesh:
    """The mesh with face labels.

    Args:
        mesh: +Z up, the floor at z = 0, faces wound into free space; in metres.
        ceiling_m: height of the ceiling; None without one.
    """
    z = mesh.triangles()[:, :, 2]
    normals = mesh.face_normals()
    area = mesh.face_areas_m2()
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
                labels[_mostly(faces, normals[faces] @ plane.normal_world > FLAT_COS, area)] = Label.WALL
    floor = (normals[:, 2] > LEVEL_COS) & (np.abs(z).max(1) < FLOOR_REACH_M)
    # Crumbs at the feet of things lean; a floor that is flat has no part in them.
    rows = np.flatnonzero(floor)
    labels[_mostly(rows, normals[rows, 2] > FLAT_COS, area)] = Label.FLOOR
    if ceiling_m is not None:
        rows = np.flatnonzero((normals[:, 2] < -LEVEL_COS) & (np.abs(z - ceiling_m).max(1) < CEILING_REACH_M))
        labels[_mostly(rows, normals[rows, 2] < -FLAT_COS, area)] = Label.CEILING
    return replace(mesh, face_labels=labels)


def _mostly(faces: np.ndarray, flat: np.ndarray, area: np.ndarray) -> np.ndarray:
    """The flat ones of some faces [K] int if they are most of their area, else all."""
    if not len(faces):
        return faces
    return faces[flat] if area[faces[flat]].sum() > FLAT_SHARE * area[faces].sum() else faces
