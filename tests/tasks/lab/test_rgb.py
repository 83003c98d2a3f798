"""Colour cameras on robots see the splats of their own world from where they are; all tasks run and train by them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lab_process import run_lab
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.importing.mesh_world import splats_on
from lyra.worldgen.reconstruction.splat_render import render_splats
from lyra.worldgen.sensors import load_world_splats
from lyra_tasks.robots.diff_drive import SIZES
from lyra_tasks.rules import CAMERA_HFOV_DEG, CAMERA_PITCH_DEG
from sample_worlds import simple_room
from task_worlds import write_world

WORKER = Path(__file__).resolve().parent / "rgb_worker.py"
SPEC = SIZES["medium"]
BOX_AHEAD_M, BOX_HALF_M = 1.0, (0.1, 0.15, 0.15)
"""Of `rgb_worker.box_ahead`."""
SMALL = [f"env.observations.camera.rgb.params.{side}_px=32" for side in ("width", "height")]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory) -> Path:
    """Two rooms of the same walls and other colours."""
    folder, room = tmp_path_factory.mktemp("rgb"), simple_room()
    dark = splats_on(replace(room, texture_u8=255 - room.texture_u8), 4000, seed=1)
    write_world(folder / "a", room, episode_count=6, splats=splats_on(room, 4000, seed=0))
    write_world(folder / "b", room, episode_count=6, splats=dark)
    return folder


def run(physics: str, rooms: Path, randomised: str, folder: Path) -> dict[str, np.ndarray]:
    """What `rgb_worker.py` found."""
    run_lab(WORKER, physics, rooms, randomised, folder / "out.npz", cwd=folder)
    with np.load(folder / "out.npz") as file:
        return dict(file)


@pytest.mark.parametrize("physics", ["ovphysx", "newton_mjwarp"])
def test_cameras_see_the_splats_from_where_robots_are(rooms, tmp_path, physics):
    """Before and after a drive, in both worlds, told in 256 steps: what the package's renderer draws from poses that
    are computed here. A box before the robots covers the middle of their pictures."""
    found = run(physics, rooms, "off", tmp_path)
    assert found["kept"] == 2
    assert np.linalg.norm(found["pose"][1, :, :2] - found["pose"][0, :, :2], axis=-1).mean() > 0.2, "they have driven"
    clouds = [load_world_splats(rooms / name) for name in ("a", "b")]
    count, size = found["told"].shape[1], found["told"].shape[-1]
    camera = PinholeCamera.from_hfov(size, size, math.radians(CAMERA_HFOV_DEG))
    assert CAMERA_PITCH_DEG == 0
    for when in range(2):
        for i in range(count):
            x, y, heading = found["pose"][when, i].astype(float)
            place = np.array([x, y, 0.0]) - found["offset"][i]
            place += [SPEC.hull_m[0] / 2 * math.cos(heading), SPEC.hull_m[0] / 2 * math.sin(heading), 0.0]
            place[2] += SPEC.lidar_height_m
            cloud = clouds[found["world"][i]]
            wanted = np.clip(render_splats(cloud, camera, camera_pose(place, heading_rad=heading)).rgb, 0, 1)
            told = found["told"][when, i].transpose(1, 2, 0)
            apart = np.abs(told - wanted)
            # Half a step of 256, and pixels where single precision of the pose puts a splat before another one.
            assert np.quantile(apart, 0.98) < 0.004 and apart.mean() < 0.003
            assert np.abs(told * 255 - np.round(told * 255)).max() < 1e-3
    assert found["told"].std() > 0.05
    middle = (slice(None), slice(None), slice(size // 2 - 2, size // 2 + 2), slice(size // 2 - 2, size // 2 + 2))
    red, depth_z_m = found["boxed"][middle], found["depth"][middle]
    face_z_m = BOX_AHEAD_M - BOX_HALF_M[0] - SPEC.hull_m[0] / 2
    farther, nearer = depth_z_m > face_z_m + 0.01, depth_z_m < face_z_m - 0.01
    assert farther.mean() > 0.5
    assert (red[farther][:, 0] > 0.3).all() and (red[farther][:, 1:] < 0.01).all()
    assert not nearer.any() or np.abs(red - found["true"][middle])[nearer].max() < 0.5, "walls hide it"
    clear = np.abs(found["boxed"] - found["true"]).max(-1) == 0
    assert 0.5 < clear.mean() < 0.99, "around the box nothing changes"


def test_randomised_cameras_differ(rooms, tmp_path):
    """Exposure and tint of their own for each robot, and noise in every pixel."""
    found = run("ovphysx", rooms, "on", tmp_path)
    told, true = found["told"][0].transpose(0, 2, 3, 1), found["true"][0]
    within = ((told > 0.02) & (told < 0.98) & (true > 0.1)).all(-1)
    rows = list(zip(told, true, within, strict=True))
    gain = np.array([[np.median(t[w][:, c] / s[w][:, c]) for c in range(3)] for t, s, w in rows])
    assert np.ptp(gain[:, 1]) > 0.1, "exposure"
    assert np.ptp(gain[:, 0] / gain[:, 1]) > 0.01 and np.ptp(gain[:, 2] / gain[:, 1]) > 0.01, "white balance"
    off = [(t - s * g)[w].std() for (t, s, w), g in zip(rows, gain, strict=True)]
    assert 0.01 < np.median(off) < 0.03, "noise"


@pytest.mark.parametrize(("task", "physics"), [("Patrol", "ovphysx"), ("Deliver", "newton_mjwarp")])
def test_random_agents_drive(rooms, tmp_path, task, physics):
    """A few steps of the registered task."""
    run_lab(
        *("-m", "isaaclab", "random_agent", "--task", f"Lyra-{task}-DiffDrive-Rgb", "--num_envs", 4),
        *("--device", "cpu", "--max_steps", 5, f"physics={physics}", f"env.worlds={rooms}", *SMALL),
        cwd=tmp_path,
    )


def test_a_world_without_splats_is_refused(tmp_path):
    """The last line says what to do."""
    write_world(tmp_path / "bare", simple_room(), episode_count=4)
    with pytest.raises(AssertionError, match=r"has no Gaussian splats.*-Depth or -Lidar there: "):
        run_lab(
            *("-m", "isaaclab", "random_agent", "--task", "Lyra-PointGoal-DiffDrive-Rgb", "--num_envs", 2),
            *("--device", "cpu", "--max_steps", 1, "physics=ovphysx", f"env.worlds={tmp_path / 'bare'}"),
            cwd=tmp_path,
        )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Isaac Lab's own imports
@pytest.mark.parametrize("asked", [False, True])
def test_evaluation_is_not_random_unless_it_is_asked_for(asked):
    """Neither noise nor faults, whatever training had; with `in_evaluation` what training had."""
    from lyra_tasks.navigation.camera_env_cfg import RgbPointGoalEnvCfg
    from lyra_tasks.navigation.rollout import configure_evaluation

    cfg = RgbPointGoalEnvCfg()
    cfg.randomisation.enabled, cfg.randomisation.in_evaluation = True, asked
    trained = cfg.randomisation.camera()
    assert trained is not None and trained.exposure_ev > 0
    configure_evaluation(cfg)
    assert cfg.randomisation.camera() == (trained if asked else None)
    assert not cfg.observations.camera.enable_corruption and not cfg.observations.policy.enable_corruption


def train(task: str, rooms: Path, cwd: Path, *settings: str) -> str:
    """Output of two iterations."""
    return run_lab(
        *("-m", "isaaclab", "train", "--rl_library", "rsl_rl", "--task", f"Lyra-{task}-DiffDrive-Rgb"),
        *("--device", "cpu", "--num_envs", 8, "--max_iterations", 2, "physics=ovphysx", f"env.worlds={rooms}"),
        *(*SMALL, "agent.num_steps_per_env=8", *settings),
        cwd=cwd,
    )


def test_pictures_are_learnt_from_and_the_export_agrees(rooms, tmp_path):
    """One iteration of copying and one of PPO, mirror images included, through convolutions; the checkpoint drives, and
    its ONNX copy does the same."""
    output = train("PointGoal", rooms, tmp_path, "agent.algorithm.imitation.iterations=1")
    assert "Conv2d(3, 16" in output
    assert [m in output for m in ("Mean imitation loss", "Mean surrogate loss")] == [True, True]
    checkpoint = max(tmp_path.glob("logs/rsl_rl/lyra_navigation_camera/*/model_*.pt"), key=lambda p: int(p.stem[6:]))
    run_lab(
        *("-m", "lyra_tasks.evaluate", checkpoint, "--worlds", rooms, "--out", tmp_path / "out", "--num-envs", 4),
        *("--task", "Lyra-PointGoal-DiffDrive-Rgb", "--physics", "ovphysx", "--episodes", 2),
        *("--export", tmp_path / "exported", *(w for s in SMALL for w in ("--set", s))),
        *("--set", "env.episode_length_s=4.0", "--set", "env.pace_m_s=100.0"),
        cwd=tmp_path,
    )
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert summary["count"] == 4 and summary["export_difference"] <= 1e-5
    assert (tmp_path / "exported" / "policy.onnx").is_file()


def test_exploring_is_learnt_from_pictures(rooms, tmp_path):
    """Without a teacher."""
    assert re.search(r"Learning iteration 1/2", train("Explore", rooms, tmp_path))
