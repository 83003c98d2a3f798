"""Planes of a mesh: found where they are, and always in the end."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.sim.planes import OFFSET_BIN_M, level_planes


def patches(heights_m: list[float], lean: list[float], side_m: float) -> TriMesh:
    """One square of two triangles per height, side by side, each leaning by so much per metre."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * side_m
    vertices = [
        np.c_[corners + np.array([2 * side_m * i, 0]), height + slope * corners[:, 0]]
        for i, (height, slope) in enumerate(zip(heights_m, lean, strict=True))
    ]
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return TriMesh(
        vertices=np.concatenate(vertices),
        faces=np.concatenate([faces + 4 * i for i in range(len(heights_m))]).astype(np.int32),
    )


@given(
    st.lists(st.tuples(st.floats(0, 3), st.sampled_from([0.0, 0.05, 0.2])), min_size=1, max_size=12),
    st.floats(0.5, 3),
)
def test_level_planes_end_and_share_no_face(drawn, side_m):
    """Faces that lean out of every plane's reach are spent as well, wherever in their bin they lie."""
    heights, lean = zip(*drawn, strict=True)
    mesh = patches(list(heights), list(lean), side_m)
    planes = level_planes(mesh, np.ones(mesh.face_count, bool), up=True, tolerance_m=0.02, min_area_m2=0.2)
    faces = np.concatenate([np.zeros(0, int), *(p.faces for p in planes)])
    assert len(np.unique(faces)) == len(faces)
    flat = 2 * np.flatnonzero(np.array(lean) == 0)
    assert set(flat) <= set(faces)


def test_level_planes_stop_when_told():
    """The first planes found are among the largest."""
    heights = [0.0, 1.0, 2.0]
    mesh = patches(heights, [0.0] * 3, 2.0)
    found = level_planes(mesh, np.ones(6, bool), up=True, tolerance_m=0.02, min_area_m2=1.0, max_planes=2)
    assert len(found) == 2
    np.testing.assert_allclose([p.area_m2 for p in found], 4.0)
    assert {round(p.offset_m / OFFSET_BIN_M) for p in found} <= {round(h / OFFSET_BIN_M) for h in heights}
