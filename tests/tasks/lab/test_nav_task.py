"""The task without a simulator and the Isaac Lab task are one task: the same poses give the same words and endings."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from known_scenes import known_scene
from lab_process import run_lab
from lyra_tasks import rules
from lyra_tasks.ground import load_ground
from lyra_tasks.isaac_sim.nav_task import NavTask, RobotState
from lyra_tasks.robots.diff_drive import SIZES
from lyra_tasks.worlds import load_navigation_world
from task_worlds import write_world

WORKER = Path(__file__).resolve().parent / "parity_worker.py"


def test_both_tell_and_judge_alike(tmp_path):
    """Every step of every episode: observations to a thousandth, then outcomes to a millimetre."""
    world = write_world(tmp_path / "world", known_scene(1000, kind="room").truth, episode_count=12)
    task, drive = "Lyra-PointGoal-DiffDrive-Lidar", rules.POINT_GOAL
    run_lab(WORKER, task, world, "random", tmp_path / "rows.npz", cwd=tmp_path)
    with np.load(tmp_path / "rows.npz") as file:
        rows = dict(file)
    spec = SIZES["medium"]
    ground = load_ground(load_navigation_world(world), robot_radius_m=spec.footprint_radius_m + drive.planning_margin_m)
    nav = NavTask(ground, spec, drive)
    outcomes = {o["episode_id"]: o for o in json.loads(str(rows["outcomes"]))}
    compared = 0
    for env in range(rows["xy"].shape[1]):
        for number in np.unique(rows["drive"][:, env]):
            steps = np.flatnonzero(rows["drive"][:, env] == number)
            episode = int(rows["episode"][steps[0], env])
            if episode in {d.outcome.episode_id for d in nav.driven}:
                continue  # begun once more while others were still driving
            nav.begin(episode)
            for k, step in enumerate(steps):
                state = RobotState(
                    xy_m=tuple(rows["xy"][step, env].tolist()),
                    yaw_rad=float(rows["yaw"][step, env]),
                    speed_m_s=float(rows["velocity"][step, env, 0]),
                    turn_rad_s=float(rows["velocity"][step, env, 1]),
                )
                if k:
                    assert nav.advance(state) is None, f"episode {episode} ended early, in step {k} of {len(steps)}"
                else:
                    nav.state = state
                # Before the first step of all, Isaac Lab has not computed its commands yet.
                if k or number > 1:
                    np.testing.assert_allclose(nav.observe(), rows["told"][step, env], atol=2e-3)
                    compared += 1
                nav.command(rows["action"][step, env])
            end = rows["ends"][list(outcomes).index(episode)]
            assert nav.advance(RobotState(xy_m=tuple(end.tolist()), yaw_rad=0.0)) is not None
            ours, theirs = asdict(nav.driven[-1].outcome), outcomes[episode]
            assert ours.pop("world") == theirs.pop("world") and ours.pop("ending") == theirs.pop("ending")
            assert ours.pop("difficulty") == theirs.pop("difficulty")
            assert ours.pop("coverage") is None and theirs.pop("coverage") is None
            assert ours == pytest.approx(theirs, abs=2e-3)
    assert len(nav.driven) == 12 and compared > 500
