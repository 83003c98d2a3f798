"""The scenes of known truth are what they claim to be: exact, seeded, seen alike from everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from known_scenes import KINDS, known_scene
from known_truth import ROBOT_RADIUS_M, score_cells
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import invert_rigid, transform_points
from lyra.worldgen.core.raycast import Raycaster

SMALL = PinholeCamera.from_hfov(48, 36, np.radians(80))


@pytest.fixture(scope="module", params=range(1000, 1003))
def scene(request):
    return known_scene(request.param)


def test_same_seed_gives_the_same_scene(scene):
    again = known_scene(scene.seed)
    np.testing.assert_array_equal(again.truth.vertices, scene.truth.vertices)
    np.testing.assert_array_equal(again.render(SMALL).rgb_u8, scene.render(SMALL).rgb_u8)


def test_kinds_take_turns(scene):
    assert scene.kind == KINDS[scene.seed % 3]
    assert scene.T_world_cam[2, 3] == scene.camera_height_m
    np.testing.assert_allclose(scene.T_world_cam[:2, 3], 0.0)


def test_mesh_is_closed_around_every_camera(scene):
    """No ray leaves the building, and every ray meets the front of a face."""
    rng = np.random.default_rng(0)
    for pose in scene.poses(6, seed=5):
        directions = rng.normal(size=(500, 3))
        t, face, _ = Raycaster(scene.truth).cast(pose[:3, 3], directions)
        assert np.isfinite(t).all()
        assert (np.einsum("nk,nk->n", directions, scene.truth.face_normals()[face]) < 0).all()


def test_clearance_is_the_distance_to_the_mesh(scene):
    """A level ray at robot height never meets anything nearer than the clearance, and one of many comes close to it."""
    rng = np.random.default_rng(1)
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    level = np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
    for xy in scene.poses(5, seed=7)[:, :2, 3]:
        height = float(rng.uniform(0.06, 0.25))
        t, _, _ = Raycaster(scene.truth).cast(np.array([*xy, height]), level)
        clearance = scene.clearance_m(xy, height - 1e-3, height + 1e-3)
        assert clearance <= t.min() + 1e-6
        assert t.min() < clearance + 0.02


def test_views_agree_on_colours(scene):
    """What one view shows at a point, another that sees the point shows too, up to sub-pixel patterns."""
    first, second = scene.render(SMALL), scene.render(SMALL, scene.T_world_cam @ _nudged())
    points = transform_points(first.T_world_cam, SMALL.unproject(first.depth_z_m)).reshape(-1, 3)
    uv, z = SMALL.project(transform_points(invert_rigid(second.T_world_cam), points))
    inside = (uv >= 0).all(-1) & (uv < (48, 36)).all(-1)
    col, row = np.where(inside[:, None], uv, 0).astype(int).T
    same = inside & (np.abs(second.depth_z_m[row, col] - z) < 0.02 * z)
    difference = np.abs(first.rgb_u8.reshape(-1, 3)[same].astype(int) - second.rgb_u8[row[same], col[same]])
    assert same.mean() > 0.5
    assert np.median(difference) < 6


def test_truth_scores_itself_perfect_and_a_wall_that_moved_worse():
    scene = known_scene(1002)
    views = [scene.render(SMALL, pose) for pose in scene.poses(4, seed=3)]
    perfect = score_cells(scene, views, scene.clearance_m)
    assert perfect.free_seen > 50
    assert perfect.blocked_seen > 5
    assert perfect.free_found == perfect.blocked_found == 1.0
    bold = score_cells(scene, views, lambda xy: scene.clearance_m(xy) + ROBOT_RADIUS_M)
    assert bold.blocked_found < 0.9
    shy = score_cells(scene, views, lambda xy: scene.clearance_m(xy) - 0.5)
    assert shy.free_found < 0.95


def _nudged() -> np.ndarray:
    T = np.eye(4)
    T[:3, 3] = (0.1, 0.02, 0.05)
    return T
