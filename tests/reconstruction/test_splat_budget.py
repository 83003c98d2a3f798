"""Compression to a number of splats keeps what a cloud looks like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.splats import GaussianCloud, sh_from_rgb
from lyra.worldgen.reconstruction.metrics import psnr_db
from lyra.worldgen.reconstruction.splat_budget import compress_splats, seen_importance, shape_importance
from lyra.worldgen.reconstruction.splat_render import render_splats
from sample_splats import random_splats

pytest.importorskip("numba")
pytest.importorskip("scipy")
CAMERA = PinholeCamera.from_hfov(96, 96, np.radians(60))
POSE = camera_pose(np.zeros(3))


def wall(side: int, seed: int = 0) -> GaussianCloud:
    """A wall 3 m ahead, a disc a pixel, whose colour changes slowly."""
    y, z = (a.ravel() for a in np.meshgrid(*[np.linspace(-2, 2, side)] * 2))
    n, pitch = side * side, 4 / (side - 1)
    rgb = 0.5 + 0.3 * np.stack([np.sin(y), np.cos(1.5 * z), np.sin(y + z)], -1)
    return GaussianCloud(
        means=np.stack([np.full(n, 3.0), y, z], -1).astype(np.float32),
        scales_m=np.tile([0.001, 0.6 * pitch, 0.6 * pitch], (n, 1)).astype(np.float32),
        quats_wxyz=np.tile([1, 0, 0, 0], (n, 1)).astype(np.float32),
        opacities=np.full(n, 0.97, np.float32),
        sh=sh_from_rgb(rgb),
    )


@pytest.mark.parametrize(("share", "least_db"), [(2, 42), (10, 33)])
def test_a_wall_stays_a_wall(share: int, least_db: float):
    """Half and a tenth of the splats still cover a wall, which leaving splats out would riddle with holes."""
    cloud = wall(120)
    count = len(cloud) // share
    small = compress_splats(cloud, count, seen_importance(cloud, [(CAMERA, POSE)])).validate()
    assert len(small) == count
    full, less = (render_splats(c, CAMERA, POSE) for c in (cloud, small))
    assert less.alpha.min() > 0.88
    assert psnr_db(less.rgb_u8(), full.rgb_u8(), np.ones((96, 96), bool)) > least_db
    left_out = cloud.take(np.sort(np.random.default_rng(0).permutation(len(cloud))[:count]))
    assert render_splats(left_out, CAMERA, POSE).alpha.min() < 0.7


@settings(max_examples=15, deadline=None)
@given(n=st.integers(2, 60), degree=st.integers(0, 3), seed=st.integers(0, 99), data=st.data())
def test_any_cloud_comes_down_to_any_count(n: int, degree: int, seed: int, data: st.DataObject):
    """The result is a sound cloud of exactly that many, labels included, and the same each time."""
    count = data.draw(st.integers(1, n))
    cloud = replace(random_splats(n, degree, seed), labels=np.arange(n, dtype=np.uint8))
    small = compress_splats(cloud, count, shape_importance(cloud)).validate()
    again = compress_splats(cloud, count, shape_importance(cloud))
    assert len(small) == count and small.labels is not None and len(set(small.labels.tolist())) == count
    np.testing.assert_array_equal(small.means, again.means)


def test_splats_at_one_spot():
    """Copies of one splat become one splat of the same size and place, denser than each."""
    one = random_splats(1, 0)
    eight = one.take(np.zeros(8, int))
    eight = replace(eight, opacities=np.full(8, 0.1, np.float32))
    merged = compress_splats(eight, 1, shape_importance(eight)).validate()
    np.testing.assert_allclose(merged.means, one.means, rtol=1e-5)
    np.testing.assert_allclose(np.sort(merged.scales_m), np.sort(one.scales_m), rtol=1e-3)
    np.testing.assert_allclose(merged.opacities, 1 - 0.9**8, rtol=1e-3)


def test_what_is_not_merged_is_not_touched():
    """One merge changes one splat and leaves all others as they were, to the last bit; nothing to do changes none."""
    cloud = wall(20)
    small = compress_splats(cloud, 399, np.ones(400))
    kept = [np.flatnonzero((cloud.means == mean).all(1)) for mean in small.means]
    rows = np.array([int(row[0]) for row in kept if len(row)])
    assert len(rows) == 398
    same = np.array([len(row) > 0 for row in kept])
    for name in ("quats_wxyz", "scales_m", "opacities", "sh"):
        np.testing.assert_array_equal(getattr(small, name)[same], getattr(cloud, name)[rows])
    assert compress_splats(cloud, 400, np.ones(400)) is cloud


def test_the_least_visible_go_first():
    """Of two equal pairs the one that nobody sees is merged."""
    cloud = wall(10).take(np.array([0, 1, 98, 99]))
    for hidden in (slice(0, 2), slice(2, 4)):
        seen = np.ones(4)
        seen[hidden] = 0.0
        small = compress_splats(cloud, 3, seen)
        left = {tuple(mean) for mean in small.means}
        assert not left & {tuple(mean) for mean in cloud.means[hidden]} and len(left) == 3


def test_importance_knows_what_hides_what():
    """A splat behind an opaque wall is worth next to nothing, the same splat in front of it all its pixels."""
    cloud = wall(120)
    extra = cloud.take(np.array([60 * 120 + 60] * 2))
    extra = replace(extra, means=np.float32([[2.0, 0.1, 0.1], [4.0, -0.1, -0.1]]))
    both = replace(
        cloud, **{n: np.concatenate([getattr(cloud, n), getattr(extra, n)]) for n in
                  ("means", "scales_m", "quats_wxyz", "opacities", "sh")}
    )  # fmt: skip
    front, behind = seen_importance(both, [(CAMERA, POSE)])[-2:]
    assert front > 3 and behind < 0.05 * front
    alone = render_splats(extra.take(np.array([0])), CAMERA, POSE)
    np.testing.assert_allclose(front, alone.alpha.sum(), rtol=1e-5)
