"""The measure of colliders: the truth scores nothing, and what is wrong shows in the figure that is meant for it."""

from __future__ import annotations

import numpy as np
import pytest

from known_collider import nearest_m, score_collider
from known_scenes import known_scene
from lyra.worldgen.core.mesh import TriMesh, concatenate_meshes

TRIANGLE = TriMesh(vertices=np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0]], float), faces=np.array([[0, 1, 2]], np.int32))


def test_distance_to_a_triangle():
    """Above it, beside an edge and beyond a corner."""
    points = np.array([[1, 1, 2], [1, -3, 0], [-3, -4, 0], [2, 2, 0.5]], float)
    np.testing.assert_allclose(nearest_m(TRIANGLE, points), [2, 3, 5, 0.5], atol=1e-9)


@pytest.mark.slow
def test_truth_scores_nothing_and_faults_show():
    """A phantom wall, a missing wall and a sunken floor each raise their own figure."""
    scene = known_scene(1001)
    views = scene.lift_views(10, width_px=80, height_px=60).views
    exact = score_collider(scene, views, scene.truth, count=800)
    assert max(vars(exact).values()) < 1e-3
    wall = np.array([[1.0, -1, 0], [1.0, 1, 0], [1.0, 1, 2], [1.0, -1, 2]])
    phantom = TriMesh(vertices=wall, faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    assert (
        score_collider(scene, views, concatenate_meshes([scene.truth] + 12 * [phantom]), count=800).phantom_p95_m > 0.1
    )
    opened = scene.truth.select_faces(scene.truth.face_labels != 2)
    assert score_collider(scene, views, opened, count=800).surface_p95_m > 0.5
    sunken = TriMesh(vertices=scene.truth.vertices - [0, 0, 0.03], faces=scene.truth.faces)
    assert score_collider(scene, views, sunken, count=800).floor_m == pytest.approx(0.03, abs=1e-3)
