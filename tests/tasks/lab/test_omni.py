"""The robot that strafes, on every engine: what it is told to do it does, to all sides, and walls stop it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lab_cases import BACKENDS, OMNI_CASES
from lab_process import run_lab
from lyra_tasks.robots.omni import SIZES
from task_worlds import write_known_worlds

WORKER = Path(__file__).with_name("drive_worker.py")
WORLDS, STEP_S = 8, 0.04


@pytest.fixture(scope="session", params=[(engine, size) for engine in BACKENDS for size in SIZES], ids="-".join)
def strafed(request, worlds, tmp_path_factory) -> tuple[str, dict[str, np.ndarray]]:
    """Size of a robot and what `drive_worker.py` measured of it."""
    engine, size = request.param
    folder = tmp_path_factory.mktemp(f"omni_{engine}_{size}")
    run_lab(WORKER, engine, worlds, "omni", size, folder / "result.npz", cwd=folder)
    with np.load(folder / "result.npz") as data:
        return size, dict(data)


def track_of(result: dict[str, np.ndarray], case: str) -> np.ndarray:
    """[T, 7] x, y, z, heading, forward speed, turn rate, speed to the left of a robot of world 0."""
    return result["track"][:, WORLDS * list(OMNI_CASES).index(case)]


@pytest.mark.parametrize("case", ["straight", "left", "slanted"])
def test_robots_drive_to_any_side(strafed, case):
    """Three seconds: the asked velocity to 5 % once wheels have turned, straight, and hardly any turning."""
    size, result = strafed
    track, command = track_of(result, case), np.array(OMNI_CASES[case][1])
    wanted = command[:2] * SIZES[size].max_speed_m_s
    np.testing.assert_allclose(track[-1, [4, 6]], wanted, atol=0.05 * np.linalg.norm(wanted))
    heading = track[0, 3]
    way = np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]]) @ wanted
    seconds = (len(track) - 1) * STEP_S
    gone = track[-1, :2] - track[0, :2]
    # Small motors take most of a second to get there, and wheels a quarter of one to turn.
    assert 0.8 < np.linalg.norm(gone) / (np.linalg.norm(way) * seconds) < 1.02
    aside = np.array([-way[1], way[0]]) / np.linalg.norm(way)
    assert np.abs((track[:, :2] - track[0, :2]) @ aside).max() < 0.05
    assert np.abs(track[1:, 3] - heading).max() < 0.05


def test_turning_on_the_spot_is_turning(strafed):
    """Half the largest turn rate: the asked rate to 5 %, the middle stays within a centimetre."""
    size, result = strafed
    track = track_of(result, "spin")
    assert track[-1, 5] == pytest.approx(0.5 * SIZES[size].max_turn_rad_s, rel=0.05)
    assert np.linalg.norm(track[:, :2] - track[0, :2], axis=1).max() < 0.01


def test_strafing_while_turning_is_a_circle(strafed):
    """Speed to the right and a turn to the left at once: both as asked, to 7 %."""
    size, result = strafed
    spec, command = SIZES[size], OMNI_CASES["circle"][1]
    late = track_of(result, "circle")[-25:]
    np.testing.assert_allclose(late[:, 6].mean(), command[1] * spec.max_sideways_m_s, rtol=0.07)
    np.testing.assert_allclose(late[:, 5].mean(), command[2] * spec.max_turn_rad_s, rtol=0.07)
    assert np.abs(late[:, 4]).mean() < 0.07 * spec.max_sideways_m_s


@pytest.mark.parametrize(
    ("case", "wall_m", "side"), [("wall_east", 6.0, 0), ("wall_sideways", 6.0, 1), ("chest", 3.0, 1)]
)
def test_walls_stop_robots_where_they_are(strafed, case, wall_m, side):
    """The hull comes to rest at the wall, to 1 cm, ahead and sideways; the robot stays on the floor."""
    size, result = strafed
    spec, track = SIZES[size], track_of(result, case)
    reach = spec.hull_m[side] / 2
    assert track[:, 0].max() == pytest.approx(wall_m - reach, abs=0.01)
    assert track[-1, 0] == pytest.approx(wall_m - reach, abs=0.01)
    assert track[:, 2].min() > spec.hull_z_m - 0.015 and track[:, 2].max() < spec.hull_z_m + 0.02


def test_no_robot_gets_into_an_obstacle(strafed):
    """All drive ahead until something is in the way: middles stay the hull's half width away from it, to 1 cm."""
    size, result = strafed
    assert result["ahead"][..., -1].min() > SIZES[size].hull_m[1] / 2 - 0.01
    assert np.abs(result["ahead"][..., 2] - SIZES[size].hull_z_m).max() < 0.05


def test_the_scripted_baseline_patrols_with_it(tmp_path):
    """Actions of two numbers become three: five stops in a furnished room under OvPhysX, nearly all reached."""
    write_known_worlds(tmp_path, (1000,))
    run_lab(
        *("-m", "lyra_tasks.evaluate", "baseline", "--worlds", tmp_path / "world_1000", "--out", tmp_path / "out"),
        *("--task", "Lyra-Patrol-DiffDrive-Lidar", "--physics", "ovphysx", "--num-envs", 12, "--episodes", 12),
        *("--set", "env.robot=omni"),
        cwd=tmp_path,
    )
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert summary["count"] == 12 and summary["success"] >= 0.9 and summary["collisions_per_m"] < 0.02
