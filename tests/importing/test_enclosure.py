"""What falls through a crack of a scanned floor is caught right below it; pits stay pits."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.report import Report
from lyra.worldgen.importing.enclosure import enclose, underlaid


def floor_with_a_crack(low_z: float) -> TriMesh:
    """Two halves of a floor, textured, 4 cm apart, the second one at `low_z`, and a crumb far below."""
    half = np.array([[-2.0, -2, 0], [-0.02, -2, 0], [-0.02, 2, 0], [-2, 2, 0]])
    other = half * [-1, 1, 1] + [0, 0, low_z]
    crumb = np.array([[-1.0, 0, -0.15], [-0.9, 0, -0.15], [-1.0, 0.1, -0.15]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 6, 5], [4, 7, 6], [8, 9, 10]], np.int32)
    return TriMesh(
        vertices=np.concatenate([half, other, crumb]),
        faces=faces,
        face_labels=np.array([Label.FLOOR] * 4 + [Label.OBJECT], np.uint8),
        uv=np.zeros((5, 3, 2), np.float32),
        texture_u8=np.full((16, 16, 3), 90, np.uint8),
    )


@pytest.mark.parametrize(("low_z", "caught"), [(0.0, True), (-0.05, True), (-0.5, False)])
def test_a_crack_in_the_floor_has_a_bottom(low_z, caught):
    """Down through the crack, and beside the floor up to the backdrop around it, is a backdrop not far below."""
    mesh = underlaid(floor_with_a_crack(low_z))
    closed = enclose(mesh, np.array([[0.0, 0.0, 1.0]]), ceiling_m=None, report=Report())
    start = np.array([[1e-3, 0.2, 1.0], [2.03, 0.3, 1.0]])
    t, face, _ = Raycaster(closed).cast(start, np.tile([0.0, 0.0, -1.0], (2, 1)))
    assert np.isfinite(t).all() == caught and closed.uv is not None and len(closed.uv) == closed.face_count
    if caught:
        assert closed.face_labels is not None and (closed.face_labels[face] == Label.BACKDROP).all()
        assert ((t > 1.02) & (t < 1.08)).all()
