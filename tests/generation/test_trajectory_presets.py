"""Named camera paths: those recorded from the reference, and what holds for all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_data import load_golden
from lyra.worldgen.core.errors import ConfigError, InputError
from lyra.worldgen.generation.trajectory_presets import PRESETS, preset_path

K = np.array([[600.0, 0, 416], [0, 600, 240], [0, 0, 1]])
UPSTREAM = """original spiral spiral_center spiral_outwards horizontal horizontal_noise horizontal_lift
    horizontal_lift_noise horizontal_zoom horizontal_zoom_noise horizontal_zoom_bend horizontal_zoom_noise_bend
    horizontal_zoom_still horizontal_still horizontal_simple vertical_simple horizontal_outward back back_simple
    dolly_zoom horizontal_spiral orbit_horizontal orbit_vertical rotate_zoom_in rotate_zoom_out rotate_spot
    rotate_spot_noise""".split()
RECORDED = [
    "zoom_in_81",
    "zoom_out_241",
    "horizontal_right_21",
    "orbit_h_right_21",
    "orbit_v_up_21",
    "spiral_21",
    "rotate_spot_left_21",
    "rotate_zoom_in_right_41",
    "zoom_bend_41",
    "dolly_zoom_21",
]

asks = st.fixed_dictionaries(
    {
        "frames": st.integers(1, 90),
        "centre_depth": st.floats(0.05, 50.0),
        "strength": st.floats(0.0, 1.5),
        "seed": st.integers(0, 9),
    }
)


def centres(ws2c: np.ndarray) -> np.ndarray:
    return -(ws2c[:, :3, :3].transpose(0, 2, 1) @ ws2c[:, :3, 3:])[..., 0]


@pytest.mark.parametrize("case", RECORDED)
def test_preset_equals_the_recording(case):
    """Every pose and every intrinsics; K stays unless the recording has its own."""
    g, meta = load_golden("trajectories")
    ask = meta["cases"][case]
    got = preset_path(
        ask["trajectory"],
        K=K,
        centre_depth=ask["center_depth"],
        frames=ask["frames"],
        strength=ask["strength"],
        direction=ask["direction"],
    )
    assert got.ws2c.dtype == got.Ks.dtype == np.float32
    np.testing.assert_allclose(got.ws2c, g[f"{case}_w2c"], atol=1e-5)
    want = g.get(f"{case}_K", np.tile(K, (ask["frames"], 1, 1)))
    np.testing.assert_allclose(got.Ks, want, rtol=1e-6, atol=1e-5)


def test_recorded_presets_are_named_as_such():
    """A path is called recorded exactly where a case of the recording pins it, and every case is tested."""
    _, meta = load_golden("trajectories")
    cases = {
        name: case["trajectory"]
        for name, case in meta["cases"].items()
        if isinstance(case, dict) and "trajectory" in case
    }
    assert sorted(cases) == sorted(RECORDED)
    assert {name for name, preset in PRESETS.items() if preset.recorded} == set(cases.values())


def test_every_name_of_upstream_is_accepted():
    assert sorted(PRESETS) == sorted(UPSTREAM)
    assert all(p.help and "\n" not in p.help for p in PRESETS.values())


@pytest.mark.parametrize("name", sorted(PRESETS))
@given(ask=asks, second=st.booleans())
def test_any_path_is_rigid_and_starts_at_the_photo(name, ask, second):
    """Poses are rigid and upright, the first is the photo's own, intrinsics included."""
    directions = PRESETS[name].directions or ("up",)
    path = preset_path(name, K=K, direction=directions[-1 if second else 0], **ask)
    assert path.ws2c.shape == (ask["frames"], 4, 4) and path.Ks.shape == (ask["frames"], 3, 3)
    R = path.ws2c[:, :3, :3].astype(float)
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.tile(np.eye(3), (len(R), 1, 1)), atol=1e-5)
    assert (np.linalg.det(R) > 0).all()
    np.testing.assert_allclose(R[:, 0, 1], 0, atol=1e-6)  # the camera's x axis stays level
    np.testing.assert_allclose(path.ws2c[0], np.eye(4), atol=1e-5)
    np.testing.assert_allclose(path.Ks[0], K, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(PRESETS))
@given(ask=asks)
def test_strength_zero_stays(name, ask):
    """The camera keeps its place and its lens; only the presets that turn first still turn."""
    path = preset_path(name, K=K, **{**ask, "strength": 0.0})
    np.testing.assert_allclose(path.ws2c[:, :3, 3], 0, atol=1e-6)
    np.testing.assert_allclose(path.Ks, np.tile(K, (ask["frames"], 1, 1)), rtol=1e-6)
    if not name.startswith("rotate_zoom"):
        np.testing.assert_allclose(path.ws2c, np.tile(np.eye(4), (ask["frames"], 1, 1)), atol=1e-6)


@pytest.mark.parametrize("name", sorted(PRESETS))
@given(ask=asks, factor=st.floats(0.2, 5.0))
def test_a_path_scales_with_the_scene(name, ask, factor):
    """What the pictures show does not depend on the unit of depth."""
    one = preset_path(name, K=K, **ask)
    other = preset_path(name, K=K, **{**ask, "centre_depth": factor * ask["centre_depth"]})
    size = factor * ask["centre_depth"]
    np.testing.assert_allclose(other.ws2c[:, :3, 3], factor * one.ws2c[:, :3, 3], atol=1e-5 * size)
    # Where a camera passes the very point it looks at, rounding decides which way it faces.
    if name != "dolly_zoom":
        np.testing.assert_allclose(other.ws2c[:, :3, :3], one.ws2c[:, :3, :3], atol=1e-5)


@pytest.mark.parametrize(
    "name", sorted(n for n, p in PRESETS.items() if p.directions == ("right", "left") and "noise" not in n)
)
def test_left_mirrors_right(name):
    """Sideways presets mirror; those that go along the axis go the other way."""
    ask = {"K": K, "centre_depth": 3.0, "frames": 33, "strength": 0.4}
    right, left = (centres(preset_path(name, direction=d, **ask).ws2c) for d in ("right", "left"))
    if "zoom" in name and not name.startswith("rotate"):
        np.testing.assert_allclose(left, right * [1, 1, -1], atol=1e-5)
        assert right[-1, 2] > 0
    else:
        np.testing.assert_allclose(left, right * [-1, 1, 1], atol=1e-5)


@pytest.mark.parametrize("name", sorted(n for n in PRESETS if "noise" in n))
def test_noise_follows_its_seed(name):
    """The same seed gives the same path; another one a path nearby."""
    ask = {"K": K, "centre_depth": 2.0}
    one, again, other = (preset_path(name, seed=s, **ask).ws2c for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert 1e-4 < np.abs(one - other).max() < 0.3


def test_still_presets_end_standing():
    """They reach the same end in half the time."""
    for name in ("horizontal", "horizontal_zoom"):
        moving, still = (preset_path(n, K=K, centre_depth=2.0).ws2c for n in (name, f"{name}_still"))
        np.testing.assert_allclose(still[-1], moving[-1], atol=1e-6)
        np.testing.assert_allclose(still[41:], np.tile(still[-1], (40, 1, 1)), atol=1e-7)
        assert np.abs(still[20] - still[0]).max() > 0.1


def test_dolly_keeps_its_subject_defined():
    """A camera that stands exactly at the subject still has a direction."""
    path = preset_path("dolly_zoom", K=K, centre_depth=1.0, frames=3, strength=2 * 0.185 / 3)
    assert np.isfinite(path.ws2c).all() and np.abs(np.linalg.det(path.ws2c[1]) - 1) < 1e-5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "horizontl"}, "unknown camera path 'horizontl'; expected one of: back"),
        ({"direction": "up"}, "no direction 'up'; expected one of: right, left"),
        ({"name": "orbit_vertical", "strength": 1.6}, "at most 1.5"),
        ({"frames": 0}, "frames is 0"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"strength": -0.1}, "strength is -0.1"),
        ({"centre_depth": 0.0}, "centre_depth is 0"),
        ({"K": np.zeros((3, 3))}, "focal lengths 0, 0"),
        ({"K": np.eye(4)}, "K has shape"),
    ],
)
def test_bad_asks(changes, message):
    ask = {"name": "horizontal", "K": K, "centre_depth": 2.0, **changes}
    kind = ConfigError if {"name", "direction"} & changes.keys() and "strength" not in changes else InputError
    with pytest.raises(kind, match=message):
        preset_path(**ask)
