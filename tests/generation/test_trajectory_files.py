"""Trajectory and caption files: upstream's layout, and nothing that a hostile file could do."""

from __future__ import annotations

import json

import numpy as np
import pytest

from golden_data import load_golden
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.generation.trajectory_files import (
    caption_of_chunk,
    interpolate_poses,
    load_captions,
    load_trajectory,
)


def write(path, **changes):
    g, meta = load_golden("trajectories")
    arrays = {
        "w2c": g["custom_in_w2c"],
        "intrinsics": g["custom_in_K"],
        "image_height": np.array(meta["cases"]["custom"]["image_height"]),
        "image_width": np.array(meta["cases"]["custom"]["image_width"]),
    }
    np.savez(path, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return path


def test_trajectory_equals_the_recording(tmp_path):
    """Length, scale of the poses and intrinsics for another size."""
    g, meta = load_golden("trajectories")
    case = meta["cases"]["custom"]
    got = load_trajectory(
        write(tmp_path / "t.npz"), case["target_hw"], frames=case["num_frames"], pose_scale=case["pose_scale"]
    )
    np.testing.assert_allclose(got.ws2c, g["custom_out_w2c"], atol=1e-5)
    np.testing.assert_allclose(got.Ks, g["custom_out_K"], rtol=1e-6, atol=1e-4)


def test_interpolation_equals_the_recording():
    g, meta = load_golden("trajectories")
    case = meta["cases"]["interp"]
    got = interpolate_poses(g["interp_keys"], np.array(case["key_frame_indices"]), case["total"])
    np.testing.assert_allclose(got, g["interp_out"], atol=1e-5)
    alone = interpolate_poses(g["interp_keys"][:1], np.array([3]), 4)
    np.testing.assert_allclose(alone, np.repeat(g["interp_keys"][:1], 4, 0), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w2c": None}, "lacks w2c"),
        ({"w2c": np.zeros((3, 4))}, "expected"),
        ({"w2c": np.tile(2 * np.eye(4), (12, 1, 1))}, "rigid"),
        ({"w2c": np.full((12, 4, 4), np.nan)}, "rigid"),
        ({"intrinsics": np.zeros((12, 3, 3))}, "focal"),
        ({"image_width": np.array(0)}, "size"),
        ({"image_width": np.array([])}, "size"),
        ({"w2c": np.array([{}], object)}, "expected plain numbers"),
    ],
)
def test_bad_trajectories(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load_trajectory(write(tmp_path / "t.npz", **changes), (48, 64))


def test_more_frames_than_there_are(tmp_path):
    path = write(tmp_path / "t.npz", extra=np.ones(3))
    with pytest.raises(InputError, match="12 frames; 13"):
        load_trajectory(path, (48, 64), frames=13)
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("text.npz", "missing.npz"):
        with pytest.raises(InputError, match=name):
            load_trajectory(tmp_path / name, (48, 64))


def test_captions(tmp_path):
    """Each chunk has the last caption that has begun; what lies beyond the film is dropped."""
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"81": "b", "0": "a", "161": "c", "900": "never"}))
    captions = load_captions(path, 481)
    assert captions == {0: "a", 81: "b", 161: "c"}
    assert [caption_of_chunk(captions, k) for k in range(4)] == ["a", "b", "c", "c"]
    assert caption_of_chunk({40: "late", 81: "later"}, 0) == "late"


@pytest.mark.parametrize("text", ["", "[]", '{"a": "x"}', '{"0": 3}', '{"-1": "x"}', '{"900": "x"}', "[" * 100_000])
def test_bad_captions(tmp_path, text):
    path = tmp_path / "captions.json"
    path.write_text(text)
    with pytest.raises(InputError, match="captions"):
        load_captions(path, 81)
