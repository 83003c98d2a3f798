"""Ray queries against a mesh, judged by the analytic room."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.raycast import Raycaster, directions_all_around

pytest.importorskip("embreex")


def test_rendered_mesh_equals_the_analytic_room(room):
    """Depth and labels of the ray-cast mesh are those of the closed-form room, silhouettes aside."""
    mesh, view = room.mesh(), room.render()
    image = Raycaster(mesh).render(room.camera, room.T_world_cam)
    assert image.hit.all()
    same = image.labels(mesh) == view.labels
    assert same.mean() > 0.99
    np.testing.assert_allclose(image.depth_z_m[same], view.depth_z_m[same], rtol=1e-4)


def test_misses_are_marked(room):
    """A ray that meets nothing says so in every output."""
    t, face, bary = Raycaster(room.mesh()).cast(np.array([0.0, 0.0, 10.0]), np.array([[0.0, 0.0, 1.0]]))
    assert np.isinf(t[0]) and face[0] == -1 and not bary[0].any()


def test_directions_all_around_are_even():
    """Unit vectors whose mean is nothing, as many in every octant, and no two of them close together."""
    directions = directions_all_around(400, turn_rad=0.3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-12)
    assert np.linalg.norm(directions.mean(0)) < 0.01
    octants = np.bincount((directions > 0) @ [1, 2, 4], minlength=8)
    assert octants.min() >= 45 and octants.max() <= 55
    alike = directions @ directions.T - 2 * np.eye(400)
    assert np.degrees(np.arccos(alike.max())) > 6  # caps of that radius have more area than the sphere
