"""The script's way through all three interfaces of Isaac Sim, which are stood in for: see `fake_isaacsim`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")
pytest.importorskip("PIL")

from fake_isaacsim import Simulated, modules_of_5, modules_of_6
from known_scenes import known_scene
from lyra.worldgen.core.errors import InputError
from lyra_tasks.isaac_sim.run import build_parser, make_task, run
from lyra_tasks.robots.diff_drive import SIZES
from task_worlds import write_world

SCRIPT = Path(__file__).resolve().parents[3] / "tools" / "isaac_sim" / "drive.py"
OURS = ("lyra_tasks.isaac_sim.driver", "lyra_tasks.isaac_sim.base_task")
INTERFACES = {
    "isaacsim.core.experimental": modules_of_6,
    "isaacsim.core.api": modules_of_5,
    "omni.isaac.core": lambda sim: modules_of_5(sim, old_names=True),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return write_world(tmp_path_factory.mktemp("worlds") / "kitchen", known_scene(1000, kind="room").truth)


@pytest.fixture(params=list(INTERFACES))
def simulator(request, monkeypatch, tmp_path) -> tuple[str, Simulated]:
    """Name of an interface and what is simulated behind it."""
    monkeypatch.setenv("LYRA_TASKS_CACHE", str(tmp_path / "robots"))
    simulated = Simulated(SIZES["medium"])
    for name, module in INTERFACES[request.param](simulated).items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in OURS:
        monkeypatch.delitem(sys.modules, name, raising=False)
        # Imported against the stand-in: nobody else may find it.
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    return request.param, simulated


@pytest.mark.slow
@pytest.mark.parametrize("gui", [False, True])
def test_episodes_are_driven_and_reported(simulator, world, tmp_path, gui):
    """Four episodes by the baseline: all arrive, with the same figures whichever interface moved the robot."""
    name, simulated = simulator
    arguments = [str(world), "--episodes", "4", "--out", str(tmp_path / "out"), *["--gui"] * gui]
    summary = run(build_parser().parse_args(arguments))
    assert summary["physics"] == name and summary["count"] == 4 and summary["success"] == 1.0
    assert simulated.references["/World/Lyra"] == (world / "world.usda").resolve().as_posix()
    np.testing.assert_allclose(simulated.gains, 0.4)
    # Five steps to settle down and then the drive, each step four of physics.
    driven = sum(row["time_s"] for row in summary["episodes"])
    assert simulated.steps == pytest.approx(100 * (driven + 4 * 5 * 0.04), abs=8)
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == summary
    assert (tmp_path / "out" / "trajectories" / "kitchen.png").is_file()
    assert summary["spl"] > 0.9 and summary["collisions_per_m"] == 0


def test_small_robots_and_other_tasks(world):
    """Size and task are arguments."""
    small, patrol = (make_task(world, task="patrol", robot_size=size) for size in ("small", "medium"))
    assert small.spec.wheel_radius_m < patrol.spec.wheel_radius_m
    assert small.ground.robot_radius_m < patrol.ground.robot_radius_m and patrol.rules.stops == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no world folder"),
        (["WORLD", "--policy", "best"], "neither 'baseline'"),
        (["WORLD", "--episodes", "-1"], "expected 0 for all"),
    ],
)
def test_wrong_arguments_are_named(world, tmp_path, arguments, said, monkeypatch):
    """Before any simulator is touched."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        run(build_parser().parse_args([str(world) if a == "WORLD" else a for a in arguments]))


def test_other_pythons_are_told_so(world):
    """Without Isaac Sim the script says which Python it wants."""
    done = subprocess.run([sys.executable, str(SCRIPT), str(world)], text=True, capture_output=True, check=False)
    assert done.returncode == 3 and "not Isaac Sim's" in done.stderr and not done.stdout
