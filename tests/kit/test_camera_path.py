"""Key poses of a viewport become a path that the world is explored along; the map becomes a picture for the floor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pxr")
from PIL import Image

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose, invert_rigid
from lyra.worldgen.core.world import load_world
from lyra.worldgen.faces.contents import Contents
from lyra.worldgen.generation.trajectory_files import CHUNK_FRAMES, read_trajectory
from lyra.worldgen.kit.camera_path import PathRecorder, next_file
from lyra.worldgen.kit.overlay import floor_picture


def test_key_poses_become_a_file_that_paths_read(room_world, tmp_path):
    """Whole chunks of frames from where the world's exploration ends, through every key pose, in metres."""
    recorder = PathRecorder()
    keys = [camera_pose(np.array([0.5 * k, 0.2, 1.4]), heading_rad=0.3 * k) for k in (1, 2, 3)]
    for key in keys:
        recorder.add(str(room_world), key)
    assert recorder.count == 3 and recorder.poses().shape == (4, 4, 4)
    trajectory = read_trajectory(recorder.save(tmp_path / "deep" / "path.npz"))
    assert (len(trajectory.w2c) - 1) % CHUNK_FRAMES == 0
    Ts = invert_rigid(trajectory.w2c)
    begin = Contents(load_world(room_world), points=0, splats=0).T_world_begin
    np.testing.assert_allclose(Ts[0], begin, atol=1e-5)
    np.testing.assert_allclose(Ts[-1], keys[-1], atol=1e-5)
    for key in keys:
        assert np.abs(Ts - key).max((1, 2)).min() < 0.05


def test_recording_keeps_what_moves(room_world):
    """A camera that stands still adds nothing; another world begins another path."""
    recorder = PathRecorder()
    pose = camera_pose(np.array([1.0, 0.0, 1.5]))
    assert recorder.record(str(room_world), pose) and not recorder.record(str(room_world), pose)
    recorder.add(str(room_world), camera_pose(np.array([2.0, 0.0, 1.5])))
    recorder.drop_last()
    assert recorder.count == 1
    recorder.clear()
    recorder.drop_last()
    assert recorder.count == 0 and len(recorder.poses()) == 0
    with pytest.raises(InputError, match="key pose"):
        recorder.save(Path("never.npz"))
    with pytest.raises(InputError):
        recorder.add("no world", pose)


def test_paths_lie_beside_their_world(tmp_path):
    """No file of a user's gets into a world folder, and none is overwritten."""
    world = tmp_path / "hall"
    first = next_file(str(world))
    assert first.parent == tmp_path
    first.write_bytes(b"")
    assert next_file(str(world)) not in (first, world)


def test_the_map_as_a_picture(room_world, tmp_path):
    """Its size and place are the map's; free floor is seen, unknown is not; the same map is the same file."""
    picture = floor_picture(room_world, tmp_path)
    assert floor_picture(room_world, tmp_path).file == picture.file
    rgba = np.asarray(Image.open(picture.file))
    grid = Contents(load_world(room_world), points=0, splats=0).space.grid
    rows, cols = grid.shape
    np.testing.assert_allclose(picture.size_m, (cols * grid.cell_m, rows * grid.cell_m), atol=1e-6)
    middle = np.array(grid.origin_xy_m) + np.array(picture.size_m) / 2
    np.testing.assert_allclose(picture.centre_world[:2], middle, atol=grid.cell_m)
    scale = rgba.shape[0] / rows
    alpha = rgba[..., 3]
    free = np.argwhere(grid.free[::-1])
    shown = alpha[((free[:, 0] + 0.5) * scale).astype(int), ((free[:, 1] + 0.5) * scale).astype(int)]
    assert (shown > 0).mean() > 0.95 and alpha.min() == 0
    with pytest.raises(InputError):
        floor_picture(tmp_path)
