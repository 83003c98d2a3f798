"""Robots from an asset server: refused in one line where it cannot be reached, driven by the real code where a folder
stands in for it. The real files were never there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab_cases import BACKENDS
from lab_process import run_lab
from lyra_tasks.robots.served import GO2, JETBOT, SERVED
from sample_worlds import simple_room
from task_worlds import write_world

WORKER = Path(__file__).with_name("served_worker.py")
REFUSED = """
from lyra.worldgen.core.errors import DependencyError
from lyra_tasks.navigation.robot_cfg import check_robot
from lyra_tasks.robots.served import SERVED
for name, spec in SERVED.items():
    try:
        check_robot(spec)
    except DependencyError as error:
        print(f"<{name}>{error}</{name}>")
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return write_world(tmp_path_factory.mktemp("served") / "plain", simple_room())


@pytest.fixture
def server(tmp_path, monkeypatch) -> Path:
    """A folder in place of the server."""
    from served_robots import write_server

    write_server(tmp_path / "server")
    monkeypatch.setenv("ISAACSIM_ASSET_ROOT", str(tmp_path / "server"))
    return tmp_path / "server"


@pytest.mark.parametrize("root", ["", "http://127.0.0.1:9/Assets"], ids=["folder", "server"])
def test_robots_whose_files_are_missing_are_refused(tmp_path, monkeypatch, root):
    """Each one at once, with its name, the path, and both things that can be done."""
    monkeypatch.setenv("ISAACSIM_ASSET_ROOT", root or str(tmp_path))
    output = run_lab("-c", REFUSED, cwd=tmp_path, timeout_s=120)
    for name in SERVED:
        message = output.partition(f"<{name}>")[2].partition(f"</{name}>")[0]
        assert f"robot '{name}'" in message and f"{root or tmp_path}/Isaac/" in message
        assert "env.robot=diff_drive or env.robot=omni" in message and "set ISAACSIM_ASSET_ROOT" in message


def test_a_command_ends_with_that_error(world, tmp_path, monkeypatch):
    """Isaac Lab's own command, too."""
    monkeypatch.setenv("ISAACSIM_ASSET_ROOT", str(tmp_path))
    arguments = ("random_agent", "--task", "Lyra-PointGoal-DiffDrive-Lidar", "--num_envs", 2, "--device", "cpu")
    with pytest.raises(AssertionError, match=r"robot 'carter' comes from an asset server.*nova_carter\.usd"):
        run_lab(
            *("-m", "isaaclab", *arguments, "--max_steps", 2, "physics=ovphysx"),
            *(f"env.worlds={world}", "env.robot=carter"),
            cwd=tmp_path,
        )


@pytest.mark.parametrize("physics", BACKENDS)
def test_a_robot_with_the_joints_of_a_jetbot_drives(world, server, tmp_path, physics):
    """Its largest speed and half its turn rate by the published wheels, to 8 %: Newton keeps 2 mm below a tyre."""
    run_lab(WORKER, physics, world, "jetbot", tmp_path / "out.npz", cwd=tmp_path)
    with np.load(tmp_path / "out.npz") as file:
        np.testing.assert_allclose(file["ahead"][:, 0], JETBOT.max_speed_m_s, rtol=0.08)
        np.testing.assert_allclose(file["turn"][:, 1], 0.5 * JETBOT.max_turn_rad_s, rtol=0.08)


@pytest.mark.parametrize("physics", BACKENDS)
def test_a_walking_policy_is_told_what_it_was_trained_with(world, server, tmp_path, physics):
    """A checkpoint that answers with what it is told first: every 20 ms, velocities and gravity, then the command in
    m/s and rad/s, joints, their speeds, and its own last answer; joints are sent a quarter of it off their posture."""
    run_lab(WORKER, physics, world, "go2", tmp_path / "out.npz", cwd=tmp_path)
    with np.load(tmp_path / "out.npz") as file:
        run = dict(file)
    np.testing.assert_allclose(run["step_s"], [0.005, 0.04])
    assert run["calls"].tolist() == [2, 2, 2] and run["told"].shape == (4, 48)
    np.testing.assert_allclose(np.linalg.norm(run["told"][:, 6:9], axis=1), 1.0, atol=1e-4)
    assert (run["told"][:, 8] < -0.5).all(), "gravity points down"
    command = [0.5 * GO2.max_speed_m_s, -GO2.max_sideways_m_s, 0.25 * GO2.max_turn_rad_s]
    np.testing.assert_allclose(run["told"][:, 9:12], np.tile(command, (4, 1)), atol=1e-6)
    np.testing.assert_allclose(run["moved"], run["told"][:, :12], atol=1e-6)
    np.testing.assert_allclose(run["told"][:, 36:], run["told_before"][:, :12], atol=1e-6)
    np.testing.assert_allclose(run["target"], run["default"] + 0.25 * run["moved"], atol=1e-5)
    assert len(run["joints"]) == 12
