"""The splats of a world for robots' cameras: its own, or merged to a budget, kept for the next time."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")
pytest.importorskip("numba")

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.colour import display_gain
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose, mirrored_poses
from lyra.worldgen.importing.mesh_world import splats_on
from lyra.worldgen.reconstruction.splat_render import render_splats
from lyra.worldgen.sensors import load_world_splats
from lyra.worldgen.vary import vary_world
from lyra.worldgen.vary.config import vary_config_from_dict
from lyra_tasks import world_splats
from lyra_tasks.cache import CACHE_VARIABLE
from lyra_tasks.ground import Ground, load_ground
from lyra_tasks.world_splats import robot_splats
from lyra_tasks.worlds import load_navigation_world
from sample_worlds import simple_room
from task_worlds import write_world

COUNT, BUDGET = 6000, 2500


@pytest.fixture(scope="module")
def ground(tmp_path_factory) -> Ground:
    """A room with splats on every surface."""
    room = simple_room()
    folder = write_world(
        tmp_path_factory.mktemp("splats") / "plain", room, episode_count=4, splats=splats_on(room, COUNT, seed=0)
    )
    return load_ground(load_navigation_world(folder), robot_radius_m=0.3)


def test_without_a_budget_splats_are_the_worlds(ground, tmp_path, monkeypatch):
    """All of them, as its readers read them; nothing is kept."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    for budget in (0, COUNT):
        splats = robot_splats(ground, budget=budget, height_m=0.2)
        assert np.array_equal(splats.means, load_world_splats(ground.world.folder).means)
    assert not (tmp_path / "cache").exists()


def test_merged_splats_look_alike_and_are_kept(ground, tmp_path, monkeypatch):
    """Pictures from where robots are stay close; the second time nothing is merged; another height is another set."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    whole = load_world_splats(ground.world.folder)
    merged = robot_splats(ground, budget=BUDGET, height_m=0.2)
    assert len(merged) <= BUDGET and len(list(tmp_path.iterdir())) == 1
    camera = PinholeCamera.from_hfov(32, 32, math.radians(90))
    T_world_cam = camera_pose(np.array([0.0, 0.5, 0.2]), heading_rad=0.3)
    a, b = (render_splats(s, camera, T_world_cam) for s in (whole, merged))
    assert np.abs(a.rgb - b.rgb).mean() < 0.03 and np.abs(a.alpha - b.alpha).mean() < 0.03
    with monkeypatch.context() as patch:
        patch.setattr(world_splats, "compress_splats", None)
        again = robot_splats(ground, budget=BUDGET, height_m=0.2)
        assert np.array_equal(again.means, merged.means) and np.array_equal(again.sh, merged.sh)
    robot_splats(ground, budget=BUDGET, height_m=0.4)
    assert len(list(tmp_path.iterdir())) == 2
    kept = next(tmp_path.iterdir())
    kept.write_bytes(b"cut off")
    assert len(robot_splats(ground, budget=BUDGET, height_m=0.2)) <= BUDGET, "a damaged copy is made again"


def test_a_world_without_splats_is_refused(tmp_path):
    """With what to do about it."""
    folder = write_world(tmp_path / "bare", simple_room(), episode_count=4)
    bare = load_ground(load_navigation_world(folder), robot_radius_m=0.3)
    with pytest.raises(InputError, match=r"no Gaussian splats.* generate or import .* -Depth or -Lidar there: .*bare"):
        robot_splats(replace(bare), budget=0, height_m=0.2)


def test_variants_are_seen_mirrored_and_darker(ground, tmp_path):
    """Robots see what a variant states about its base's splats: the mirror image, half of the light."""
    cfg = vary_config_from_dict(
        {"layout": {"mirrored": 1.0}, "camera": {"exposure_ev": [-1.0, -1.0], "auto_exposure": False}}
    )
    made = vary_world(ground.world.folder, tmp_path / "variants", count=1, seed=1000, cfg=cfg, certify=False)
    variant = load_ground(load_navigation_world(made.folder / made.names[0]), robot_radius_m=0.3)
    camera = PinholeCamera.from_hfov(32, 24, math.radians(90))
    T_world_cam = camera_pose(np.array([0.0, 0.5, 0.2]), heading_rad=0.3)
    drawn = [
        render_splats(robot_splats(g, budget=0, height_m=0.2), camera, pose).rgb
        for g, pose in ((ground, T_world_cam), (variant, mirrored_poses(T_world_cam)))
    ]
    assert drawn[0].std() > 0.05
    np.testing.assert_allclose(drawn[1], drawn[0][:, ::-1] * display_gain((0.5,))[0], atol=2e-3)
