"""What no view saw is coloured from around it, also from across the edges of charts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose, transform_points
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.reconstruction.mesh_extract import clean_mesh
from lyra.worldgen.reconstruction.texture import BakedTexture, bake_texture
from lyra.worldgen.reconstruction.texture_fill import push_pull
from reconstruction.analytic_world import make_view, quad

for _package in ("xatlas", "numba", "embreex", "cv2", "scipy"):
    pytest.importorskip(_package)

CAMERA = PinholeCamera.from_hfov(320, 240, np.radians(80))
POSE = camera_pose(np.array([0.0, 0.0, 1.5]))


def two_walls(near_m: float, far_m: float, label: Label = Label.WALL) -> TriMesh:
    """A near wall on the left, a far one on the right, a strip between them along the line of sight, and a floor."""
    edges = np.array([(near_m, 3.0), (near_m, 0.0), (far_m, 0.0), (far_m, -3.0)])
    low = np.column_stack([edges, np.zeros(4)])
    high = low + np.array([0, 0, 2.7])
    walls = [quad(low[k][None], low[k + 1][None], high[k + 1][None], high[k][None]) for k in range(3)]
    corners = np.array([(-1.0, -3, 0), (6.0, -3, 0), (6.0, 3, 0), (-1.0, 3, 0)])
    floor = quad(*corners[:, None])
    triangles = np.concatenate([*walls, floor])
    labels = [Label.WALL] * 2 + [label] * 2 + [Label.WALL] * 2 + [Label.FLOOR] * 2
    return clean_mesh(
        TriMesh(
            vertices=triangles.reshape(-1, 3),
            faces=np.arange(3 * len(triangles), dtype=np.int32).reshape(-1, 3),
            face_labels=np.array(labels, np.uint8),
        )
    )


def banded(mesh: TriMesh) -> BakedTexture:
    """The texture from one photo in which whatever stands is dark up to 1.2 m and light above, and the floor green."""
    view = make_view(mesh, CAMERA, POSE, [])
    height_m = transform_points(view.T_world_cam, view.camera.unproject(view.depth_z_m))[..., 2]
    view.rgb_u8[...] = np.where(height_m > 1.2, 220, 40)[..., None]
    view.rgb_u8[height_m < 0.01] = (0, 120, 0)
    return bake_texture(mesh, [view], texture_px=1024)


def texels_of(baked: BakedTexture, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World points [N, 3] and colours [N, 3] of the texels of the faces [F] bool."""
    row, col = np.nonzero(baked.face_map >= 0)
    face = baked.face_map[row, col]
    mine = where[face]
    row, col, face = row[mine], col[mine], face[mine]
    across = np.stack([col + 0.5, row + 0.5, np.ones(len(row))], -1)
    return np.einsum("nij,nj->ni", baked.texel_to_world[face], across), baked.mesh.texture_u8[row, col].astype(int)


@settings(max_examples=10)
@given(st.floats(1.5, 3.0), st.floats(0.05, 0.6))
def test_a_strip_between_two_walls_has_their_colours_at_each_height(near_m, depth_m):
    """What lies along the photo's line of sight goes on with the bands of the walls beside it."""
    baked = banded(two_walls(near_m, near_m + depth_m))
    strip = np.abs(baked.mesh.face_normals()[:, 1]) > 0.9
    points, rgb = texels_of(baked, strip)
    assert len(points) > 20
    clear = np.abs(points[:, 2] - 1.2) > 0.15
    wanted = np.where(points[:, 2] > 1.2, 220, 40)
    assert np.abs(rgb[:, 0] - wanted)[clear].mean() < 20


def test_a_strip_of_a_thing_has_room_for_its_colours():
    """The strip between the fronts of two things is narrow, far, unseen, and as finely banded as they are."""
    mesh = two_walls(4.0, 4.06)
    mesh = replace(
        mesh, face_labels=np.where(mesh.face_labels == Label.FLOOR, Label.FLOOR, Label.OBJECT).astype(np.uint8)
    )
    baked = banded(mesh)
    points, rgb = texels_of(baked, np.abs(baked.mesh.face_normals()[:, 1]) > 0.9)
    clear = np.abs(points[:, 2] - 1.2) > 0.1
    assert len(points) > 60
    assert np.abs(rgb[:, 0] - np.where(points[:, 2] > 1.2, 220, 40))[clear].mean() < 20


def test_colours_stay_within_a_label():
    """A strip of another label does not go on with the bands of the walls across its edges."""
    baked = banded(two_walls(2.0, 2.6, Label.OBJECT))
    points, rgb = texels_of(baked, baked.mesh.face_labels == Label.OBJECT)
    assert len(points) > 20
    assert abs(rgb[points[:, 2] > 1.4].mean() - rgb[points[:, 2] < 1.0].mean()) < 40


def test_push_pull_keeps_the_known_and_smooths_the_rest():
    """Known pixels stay; unknown ones lie between the known colours."""
    colour = np.zeros((20, 33, 3), np.float32)
    colour[:, :5], colour[:, -5:] = 50, 200
    weight = np.zeros((20, 33), np.float32)
    weight[:, :5], weight[:, -5:] = 1, 1
    full = push_pull(colour, weight)
    np.testing.assert_array_equal(full[weight == 1], colour[weight == 1])
    assert full.min() >= 50 - 1e-3 and full.max() <= 200 + 1e-3
    assert full[10, 8, 0] < full[10, 24, 0]
