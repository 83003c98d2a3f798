"""Splats that hang in free space are found by the views that see through them; those on surfaces stay."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from known_scenes import known_scene
from lyra.worldgen.core.frames import rotation_from_quat_wxyz
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.splats import GaussianCloud, sh_from_rgb
from lyra.worldgen.core.views import RgbdView
from lyra.worldgen.reconstruction.splat_lift import lift_splats
from lyra.worldgen.reconstruction.splat_prune import LONG_M, consistent_splats, judge_splats, trimmed_splats
from lyra.worldgen.reconstruction.surface_hits import cast_views

for _package in ("numba", "embreex", "cv2", "scipy"):
    pytest.importorskip(_package)


@cache
def scene_of(seed: int):
    """A scene, its views, and splats lifted onto its true surface."""
    scene = known_scene(seed)
    views = list(scene.lift_views(12, width_px=160, height_px=120).views)
    return scene, views, lift_splats(scene.truth, views, cast_views(scene.truth, views), budget=60_000)


@pytest.fixture(params=[1001, 1002], ids=["hall", "room"])
def lifted(request):
    return scene_of(request.param)


def planted(scene, views: list[RgbdView], count: int, seed: int) -> tuple[GaussianCloud, np.ndarray]:
    """Floaters on the lines of sight of views, well before what these see; and the view of each."""
    rng = np.random.default_rng(seed)
    view = rng.integers(0, len(views), count)
    means = np.empty((count, 3))
    for i, number in enumerate(view):
        v = views[number]
        row, col = rng.integers(4, v.camera.height_px - 4), rng.integers(4, v.camera.width_px - 4)
        end = v.depth_z_m[row - 2 : row + 3, col - 2 : col + 3].min()
        z = end * rng.uniform(0.3, 0.8)
        c = v.camera
        ray = np.array([(col + 0.5 - c.cx_px) / c.fx_px, (row + 0.5 - c.cy_px) / c.fy_px, 1.0])
        means[i] = v.T_world_cam[:3, :3] @ (ray * z) + v.T_world_cam[:3, 3]
    cloud = GaussianCloud(
        means=means.astype(np.float32),
        scales_m=np.tile(rng.uniform(0.005, 0.03, (count, 1)), 3).astype(np.float32),
        quats_wxyz=np.tile([1, 0, 0, 0], (count, 1)).astype(np.float32),
        opacities=np.full(count, 0.9, np.float32),
        sh=sh_from_rgb(rng.random((count, 3))),
    )
    return cloud, view.astype(np.int32)


@pytest.mark.slow
@settings(max_examples=4)
@given(kind=st.sampled_from([1001, 1002]), seed=st.integers(0, 10_000), of_no_view=st.booleans())
def test_planted_floaters_are_found(kind: int, seed: int, of_no_view: bool):
    """All of them, whether a view claims to have seen them or not."""
    scene, views, _ = scene_of(kind)
    cloud, view = planted(scene, views, 300, seed)
    if of_no_view:
        view = np.full_like(view, -1)
    far = nearest_m(scene, cloud.means) > 0.25
    kept = consistent_splats(cloud, view, views)
    assert far.sum() > 100
    assert not kept[far].any()


def nearest_m(scene, points: np.ndarray) -> np.ndarray:
    """[N] distance from the true surface, by rays all around."""
    rng = np.random.default_rng(0)
    rays = rng.normal(size=(60, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    t, _, _ = Raycaster(scene.truth).cast(np.repeat(points, len(rays), 0), np.tile(rays, (len(points), 1)))
    return t.reshape(len(points), -1).min(1)


def test_what_lies_on_the_surface_stays(lifted):
    """Not one splat in ten thousand of those lifted onto the true surface goes."""
    _, views, splats = lifted
    kept = consistent_splats(splats.splats, splats.view, views)
    assert (~kept).mean() < 1e-4


def test_depth_may_be_off_by_its_error(lifted):
    """With 2 % of noise in every view's depth the surface stays, and floaters still go."""
    scene, views, splats = lifted
    rng = np.random.default_rng(3)
    noisy = [
        replace(v, depth_z_m=(v.depth_z_m * (1 + rng.normal(0, 0.02, v.depth_z_m.shape))).astype(np.float32))
        for v in views
    ]
    assert (~consistent_splats(splats.splats, splats.view, noisy)).mean() < 1e-3
    cloud, view = planted(scene, views, 300, 1)
    far = nearest_m(scene, cloud.means) > 0.25
    assert consistent_splats(cloud, np.full_like(view, -1), noisy)[far].mean() < 0.02


def test_nobody_judges_what_nobody_sees(lifted):
    """Splats behind walls, and any without views, stay."""
    _, views, _ = lifted
    cloud, view = planted(*lifted[:2], 50, 7)
    hidden = replace(cloud, means=cloud.means + np.float32([0, 0, -40.0]))
    assert consistent_splats(hidden, view, views).all()
    votes = judge_splats(cloud, view, [])
    assert not votes.floating().any() and votes.support.max() == 0


def test_the_photo_outvotes_a_painted_view(lifted):
    """Where the photo sees a surface and one painted view sees through it, the splat stays."""
    _, views, _ = lifted
    photo = views[0]
    rows, cols = np.mgrid[20:100:10, 20:140:10]
    points = photo.camera.unproject(photo.depth_z_m)[rows.ravel(), cols.ravel()]
    means = points @ photo.T_world_cam[:3, :3].T + photo.T_world_cam[:3, 3]
    cloud = replace(planted(*lifted[:2], len(means), 2)[0], means=means.astype(np.float32))
    liar = replace(views[1], camera=photo.camera, T_world_cam=photo.T_world_cam, depth_z_m=photo.depth_z_m + 5)
    view = np.full(len(means), -1, np.int32)
    assert consistent_splats(cloud, view, [photo, liar]).all()
    # Beside outlines nobody is sure.
    assert consistent_splats(cloud, view, [liar, liar]).mean() < 0.1


def ends(cloud: GaussianCloud) -> np.ndarray:
    """[2, N, 3] where splats end along their longest axis."""
    longest = cloud.scales_m.argmax(1)
    each = np.arange(len(cloud))
    along = rotation_from_quat_wxyz(cloud.quats_wxyz)[each, :, longest] * cloud.scales_m[each, longest][:, None]
    return np.stack([cloud.means + along, cloud.means - along])


def test_ends_in_the_air_are_cut_off():
    """What is cut stood out into the air and does so less; long splats on flat places keep their bytes."""
    scene, views, lifted = scene_of(1001)
    cloud = lifted.splats
    trimmed, count = trimmed_splats(cloud, lifted.view, views)
    cut = (trimmed.scales_m != cloud.scales_m).any(1)
    assert count == cut.sum() > 10
    assert (trimmed.scales_m <= cloud.scales_m).all()
    before, after = (np.stack([nearest_m(scene, end[cut]) for end in ends(c)]).max(0) for c in (cloud, trimmed))
    assert np.median(before) > 0.05
    assert np.median(after / before) < 0.8
    rows = np.flatnonzero(cloud.scales_m.max(1) > LONG_M)[::20]
    flat = np.stack([nearest_m(scene, end[rows]) for end in ends(cloud)]).max(0) < 0.02
    assert flat.sum() > 100 and not cut[rows][flat].any()
