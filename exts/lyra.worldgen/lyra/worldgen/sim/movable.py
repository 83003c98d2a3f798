"""Things that stand free on the floor become bodies that can be pushed; what they leave behind is closed.

A thing is taken out of the world when it is a connected piece of objects only, stands on the floor, keeps clear of
everything else, and has the size of something that a robot or a person could move. Its colliders are the convex pieces
that it is made of, or its hull where it has no planes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.mesh import Label, TriMesh
from ..core.raycast import Raycaster
from .convex_pieces import ConvexPiece, exact_pieces, hull_mesh, hull_volume_m3
from .covered_faces import COVERED_M
from .solid_surface import connected_pieces
from .surface_materials import HULL_FILL, SurfaceChoice

GAP_M = 0.04
"""A thing nearer than this to a wall or to another thing leans on it."""
SIZE_M = (0.08, 1.6)
"""Least and largest side of what can be moved."""
LARGEST_KG = 150.0
MOST_PIECES = 32
"""Colliders of one body; a thing of more is taken for its hull."""
MOST_OBJECTS = 100


@dataclass(frozen=True, kw_only=True)
class MovableObject:
    """A thing that stands free."""

    name: str
    mesh: TriMesh
    """What is seen of it, world frame."""
    pieces: tuple[ConvexPiece, ...]
    """What it collides with, world frame; their lower side lies on the floor."""
    origin_m: np.ndarray
    """[3] middle of its footprint, on the floor: the origin of its own frame, which is not turned."""
    mass_kg: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `world.json`."""
        low, high = self.mesh.bounds()
        return {
            "name": self.name,
            "position_m": [round(float(x), 4) for x in self.origin_m],
            "size_m": [round(float(x), 4) for x in high - low],
            "mass_kg": round(self.mass_kg, 3),
            "colliders": len(self.pieces),
        }


def split_movable(mesh: TriMesh, floor_z_m: float, material: SurfaceChoice) -> tuple[TriMesh, list[MovableObject]]:
    """Take what stands free out of a world.

    Args:
        mesh: the visual mesh with labels.
        floor_z_m: height of the floor.
        material: of objects; its density times the share of a hull that is matter gives the mass.

    Returns:
        The mesh without the things and with a floor where they stood, and the things by position.
    """
    if mesh.face_labels is None or not (mesh.face_labels == Label.OBJECT).any():
        return mesh, []
    upright = np.flatnonzero(~np.isin(mesh.face_labels, (Label.FLOOR, Label.CEILING, Label.SKY)))
    standing = mesh.select_faces(np.isin(np.arange(mesh.face_count), upright))
    count, piece_of_face = connected_pieces(standing)
    density = material.properties.density_kg_m3 * HULL_FILL
    found: list[tuple[np.ndarray, MovableObject]] = []
    for k in range(count):
        own = piece_of_face == k
        assert standing.face_labels is not None
        if (standing.face_labels[own] != Label.OBJECT).any():
            continue
        thing = _movable(standing.select_faces(own), floor_z_m, density)
        if thing is not None and _stands_free(thing, standing.select_faces(~own)):
            found.append((upright[own], thing))
    found.sort(key=lambda pair: tuple(pair[1].origin_m.tolist()))
    found = found[:MOST_OBJECTS]
    if not found:
        return mesh, []
    keep = np.ones(mesh.face_count, bool)
    keep[np.concatenate([faces for faces, _ in found])] = False
    things = [replace(thing, name=f"object_{i:03d}") for i, (_, thing) in enumerate(found)]
    return _floor_closed(mesh.select_faces(keep), things, floor_z_m), things


def _movable(part: TriMesh, floor_z_m: float, density_kg_m3: float) -> MovableObject | None:
    """The piece as a body, if its size and place allow."""
    low, high = part.bounds()
    size = high - low
    if abs(low[2] - floor_z_m) > COVERED_M or size.min() < SIZE_M[0] or size.max() > SIZE_M[1]:
        return None
    sides = part.select_faces(part.face_normals()[:, 2] > -0.7)
    pieces, _ = exact_pieces(sides, floor_z_m) if sides.face_count else ([], "")
    if not pieces or len(pieces) > MOST_PIECES:
        pieces = [ConvexPiece(vertices=part.vertices, label=int(Label.OBJECT))]
    mass_kg = density_kg_m3 * sum(hull_volume_m3(piece) for piece in pieces)
    if not 0 < mass_kg <= LARGEST_KG:
        return None
    origin = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, floor_z_m])
    return MovableObject(name="", mesh=part, pieces=tuple(pieces), origin_m=origin, mass_kg=mass_kg)


def _stands_free(thing: MovableObject, others: TriMesh) -> bool:
    """Level rays from all over its sides meet nothing near."""
    if not others.face_count:
        return True
    triangles = thing.mesh.triangles()
    weights = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [1 / 3] * 3])
    points = np.unique(np.round(np.einsum("kc,fcx->fkx", weights, triangles).reshape(-1, 3), 4), axis=0)
    angle = np.arange(16) * np.pi / 8 + 0.1
    directions = np.stack([np.cos(angle), np.sin(angle), np.zeros(16)], -1)
    distance, _, _ = Raycaster(others).cast(np.repeat(points, 16, axis=0), np.tile(directions, (len(points), 1)))
    return bool((distance > GAP_M).all())


def _floor_closed(mesh: TriMesh, things: list[MovableObject], floor_z_m: float) -> TriMesh:
    """The mesh with floor under things that stood in a hole of it; a patch has the colour of the floor beside it."""
    assert mesh.face_labels is not None
    floor = np.flatnonzero(mesh.face_labels == Label.FLOOR)
    if not len(floor):
        return mesh
    caster = Raycaster(mesh.select_faces(mesh.face_labels == Label.FLOOR))
    patches: list[np.ndarray] = []
    for piece in (piece for thing in things for piece in thing.pieces):
        hull = hull_mesh(piece)
        under = hull.triangles()[hull.face_normals()[:, 2] < -0.99]
        middle = np.concatenate([under.mean(1), 0.8 * under.reshape(-1, 3) + 0.2 * under.mean(1).repeat(3, 0)])
        middle[:, 2] = floor_z_m + 0.01
        seen, _, _ = caster.cast(middle, np.tile([0.0, 0.0, -1.0], (len(middle), 1)))
        if len(under) and not (seen < 0.05).all():
            up = under[:, ::-1].copy()
            up[..., 2] = floor_z_m
            patches.append(up)
    if not patches:
        return mesh
    corners = np.concatenate(patches)
    near = floor[((mesh.triangles()[floor].mean(1)[None] - corners.mean(1)[:, None]) ** 2).sum(-1).argmin(1)]
    count = len(mesh.vertices)
    faces = np.arange(count, count + 3 * len(corners), dtype=np.int32).reshape(-1, 3)
    uv, rgb = mesh.uv, mesh.vertex_rgb_u8
    return replace(
        mesh,
        vertices=np.concatenate([mesh.vertices, corners.reshape(-1, 3)]),
        faces=np.concatenate([mesh.faces, faces]),
        face_labels=np.concatenate([mesh.face_labels, np.full(len(corners), Label.FLOOR, np.uint8)]),
        # One texel for the whole patch: nobody has seen what is there.
        uv=None if uv is None else np.concatenate([uv, uv[near].mean(1, keepdims=True).repeat(3, axis=1)]),
        vertex_rgb_u8=None if rgb is None else np.concatenate([rgb, rgb[mesh.faces[near]].reshape(-1, 3)]),
    )
