"""Authored paths: what they are in the file is what the pipeline walks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose, heading_of
from lyra.worldgen.faces.camera_path import PREVIEWED, PathDraft, preset_keys, preset_poses
from lyra.worldgen.generation.paths import path_names
from lyra.worldgen.generation.trajectory_files import CHUNK_FRAMES, read_trajectory
from rooms import analytic_room

BEGIN = camera_pose(np.array([0.5, -0.2, 1.5]), heading_rad=0.3, pitch_rad=-0.05)
places = st.tuples(st.floats(-4, 4), st.floats(-4, 4), st.floats(0.3, 2.5))
looks = st.tuples(places, st.floats(-3.1, 3.1), st.floats(-0.6, 0.6))


def pose(look) -> np.ndarray:
    at, heading_rad, pitch_rad = look
    return camera_pose(np.array(at), heading_rad=heading_rad, pitch_rad=pitch_rad)


@given(st.lists(looks, min_size=1, max_size=6))
def test_frames_pass_through_the_key_poses_at_an_even_pace(keys):
    """The first frame is the beginning, the last one the last key, whole chunks, and no frame jumps."""
    draft = PathDraft(BEGIN)
    for look in keys:
        draft.add(pose(look))
    Ts = draft.poses()
    assert (len(Ts) - 1) % CHUNK_FRAMES == 0 and len(Ts) == 1 + CHUNK_FRAMES * draft.chunks
    np.testing.assert_allclose(Ts[0], BEGIN, atol=1e-5)
    np.testing.assert_allclose(Ts[-1], draft.keys[-1], atol=1e-5)
    np.testing.assert_allclose(
        Ts[:, :3, :3] @ Ts[:, :3, :3].swapaxes(1, 2), np.tile(np.eye(3), (len(Ts), 1, 1)), atol=1e-5
    )
    steps_m = np.linalg.norm(np.diff(Ts[:, :3, 3], axis=0), axis=1)
    # Two keys that fall into one frame are walked as one, so a step may be a little longer than the pace.
    assert steps_m.max() <= 2 * 4.0 / CHUNK_FRAMES + 1e-5
    for key in draft.keys:
        nearest = np.linalg.norm(Ts[:, :3, 3] - key[:3, 3], axis=1).min()
        assert nearest <= 2 * 4.0 / CHUNK_FRAMES + 1e-5


def test_the_file_is_the_path(tmp_path):
    """Read back as `--path` reads it, the cameras are those of the draft; equal paths are equal bytes."""
    camera = analytic_room().geometry().camera
    draft = PathDraft(BEGIN)
    draft.add(pose(((2.0, 1.0, 1.4), 1.0, 0.0)))
    trajectory = read_trajectory(draft.save(tmp_path / "walk.npz", camera))
    np.testing.assert_allclose(np.linalg.inv(trajectory.w2c), draft.poses(), atol=1e-5)
    assert trajectory.size_hw == (camera.height_px, camera.width_px)
    path = trajectory.camera_path((camera.height_px, camera.width_px), pose_scale=1.0)
    np.testing.assert_allclose(path.Ks[0, :2, 2] + 0.5, camera.K_px[:2, 2], rtol=1e-6)
    assert draft.trajectory(camera) == (tmp_path / "walk.npz").read_bytes()


def test_waypoints_look_where_they_lead():
    """A place on the floor keeps the height, and the camera looks along the way."""
    draft = PathDraft(BEGIN)
    draft.add_waypoint(np.array([0.5, 1.8]))
    assert heading_of(draft.keys[0]) == pytest.approx(np.pi / 2)
    np.testing.assert_allclose(draft.keys[0][:3, 3], [0.5, 1.8, 1.5])
    with pytest.raises(InputError, match="already"):
        draft.add_waypoint(np.array([0.5, 1.8]))
    assert draft.length_m == pytest.approx(2.0)


def test_key_poses_are_edited():
    """Replaced, visited earlier, removed; what does not exist is refused; no key is no path."""
    draft = PathDraft(BEGIN)
    a, b, c = (pose(((x, 0.0, 1.5), 0.0, 0.0)) for x in (1.0, 2.0, 3.0))
    for key in (a, b, c):
        draft.add(key)
    assert draft.shift(2, -1) == 1
    np.testing.assert_array_equal(draft.keys[1], c)
    assert draft.shift(0, -1) == 0 and draft.shift(2, 5) == 2
    draft.replace(0, b)
    draft.remove(1)
    np.testing.assert_array_equal(draft.keys, [b, b])
    for wrong in (-1, 2):
        with pytest.raises(InputError, match="does not exist"):
            draft.remove(wrong)
    draft.clear()
    assert draft.chunks == 0
    with pytest.raises(InputError, match="no key pose"):
        draft.poses()
    draft.add(BEGIN)
    with pytest.raises(InputError, match="nowhere"):
        draft.poses()


def test_a_camera_that_is_recorded_leaves_key_poses_where_it_moved():
    """Small moves are not kept, a walk and a turn are."""
    draft = PathDraft(BEGIN)
    step = BEGIN.copy()
    step[0, 3] += 0.1
    assert not draft.record(step)
    step[0, 3] += 0.2
    assert draft.record(step) and not draft.record(step)
    assert draft.record(camera_pose(step[:3, 3], heading_rad=0.9))


@pytest.mark.parametrize("name", sorted(path_names()))
def test_every_preset_becomes_key_poses_or_says_why_not(name):
    """Presets that are known beforehand begin at the path's end; the others are decided on the way."""
    geometry = analytic_room().geometry()
    if name not in PREVIEWED:
        assert preset_poses(name, geometry, BEGIN) is None
        with pytest.raises(InputError, match="decided while"):
            preset_keys(name, geometry, BEGIN)
        return
    Ts = preset_poses(name, geometry, BEGIN)
    assert Ts is not None
    np.testing.assert_allclose(Ts[0], BEGIN, atol=1e-9)
    draft = PathDraft(BEGIN, preset_keys(name, geometry, BEGIN))
    np.testing.assert_allclose(draft.keys[-1], Ts[-1], atol=1e-9)
