"""Which faces a collider need not repeat, because boxes stand behind the whole of them."""

from __future__ import annotations

import numpy as np

from ..core.mesh import TriMesh
from .collider_boxes import ColliderBox

COVERED_M = 0.02
"""A face this close in front of a box adds nothing to it."""


def faces_covered(mesh: TriMesh, boxes: list[ColliderBox]) -> np.ndarray:
    """[F] bool: boxes stand behind the whole face, so the mesh need not repeat it."""
    corners = _drawn_in(mesh.triangles())
    flat = corners.reshape(-1, 3)
    whole = np.zeros(mesh.face_count, bool)
    touched = np.zeros((mesh.face_count, 3), bool)
    for box in boxes:
        # A box is convex: with its corners the whole face is inside.
        inside = box.contains(flat, COVERED_M).reshape(-1, 3)
        whole |= inside.all(1)
        touched |= inside
    open_faces = np.flatnonzero(touched.all(1) & ~whole)
    if len(open_faces):
        point, owner = _samples(corners[open_faces], spacing_m=0.12)
        inside = np.zeros(len(point), bool)
        for box in boxes:
            left = np.flatnonzero(~inside)
            inside[left] = box.contains(point[left], COVERED_M)
        whole[open_faces] = np.bincount(owner, ~inside, len(open_faces)) == 0
    return whole


def _drawn_in(triangles: np.ndarray) -> np.ndarray:
    """Corners [F, 3, 3] moved at most 5 mm towards the centre: exactly on an edge the neighbour would answer."""
    centre = triangles.mean(1, keepdims=True)
    arm = np.linalg.norm(triangles - centre, axis=2, keepdims=True)
    return triangles + (centre - triangles) * np.minimum(0.02, 0.005 / np.maximum(arm, 1e-9))


def _samples(triangles: np.ndarray, *, spacing_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 3] over triangles [F, 3, 3], at most `spacing_m` apart, with the triangle of each [N].

    Rows run along the longest edge, so that slivers cost what their area is worth.
    """
    edge = np.linalg.norm(np.roll(triangles, -1, axis=1) - triangles, axis=2)
    first = edge.argmax(1)
    a, b, c = (np.take_along_axis(triangles, ((first + k) % 3)[:, None, None], axis=1)[:, 0] for k in range(3))
    longest = edge.max(1)
    height = np.linalg.norm(np.cross(b - a, c - a), axis=1) / np.maximum(longest, 1e-9)
    cols = np.clip(np.ceil(longest / spacing_m), 1, 400).astype(int)
    rows = np.clip(np.ceil(height / spacing_m), 1, 400).astype(int)
    counts = (cols + 1) * (rows + 1)
    owner = np.repeat(np.arange(len(triangles)), counts)
    k = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    v = (k // (cols[owner] + 1)) / rows[owner]
    u = (k % (cols[owner] + 1)) / cols[owner] * (1 - v)
    return a[owner] + u[:, None] * (b - a)[owner] + v[:, None] * (c - a)[owner], owner
