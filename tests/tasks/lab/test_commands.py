"""Isaac Lab's own commands on our tasks, on either engine, with worlds given on the command line."""

from __future__ import annotations

import re

import pytest

from lab_process import run_lab

TASK = "Lyra-PointGoal-DiffDrive-Lidar"


def test_tasks_are_found(tmp_path):
    """`list_envs` shows every task with its presets."""
    from lyra_tasks.navigation import TASKS

    output = run_lab("-m", "isaaclab", "list_envs", "--keyword", "Lyra", "--show_presets", cwd=tmp_path)
    for name in TASKS:
        (line,) = [line for line in output.splitlines() if f" {name} " in line]
        assert "rsl_rl" in line
    assert "newton_mjwarp" in output and "ovphysx" in output


@pytest.mark.parametrize(
    ("task", "physics", "robot"),
    [(TASK, "newton_mjwarp", "omni"), ("Lyra-Explore-DiffDrive-Lidar", "ovphysx", "diff_drive")],
)
def test_random_agent_drives_every_world(worlds, tmp_path, task, physics, robot):
    """Eight worlds, sixteen robots of the small size."""
    arguments = ("--num_envs", 16, "--device", "cpu", "--max_steps", 5)
    run_lab(
        *("-m", "isaaclab", "random_agent", "--task", task, *arguments),
        *(f"physics={physics}", f"env.worlds={worlds}", f"env.robot={robot}", "env.robot_size=small"),
        cwd=tmp_path,
    )


@pytest.mark.parametrize(
    ("task", "robot"),
    [
        (TASK, "diff_drive"),
        (TASK, "omni"),
        ("Lyra-Explore-DiffDrive-Lidar", "diff_drive"),
        ("Lyra-Deliver-DiffDrive-Lidar", "omni"),
    ],
)
def test_training_leaves_a_checkpoint(worlds, tmp_path, task, robot):
    """Two iterations of PPO under OvPhysX; every observation of the task has a mirror image."""
    world = worlds.parent / "plain"
    common = ("--rl_library", "rsl_rl", "--task", task, "--device", "cpu")
    output = run_lab(
        *("-m", "isaaclab", "train", *common, "--num_envs", 16, "--max_iterations", 2),
        *("physics=ovphysx", f"env.worlds={world}", f"env.robot={robot}"),
        cwd=tmp_path,
    )
    assert re.search(r"Learning iteration 1/2", output)
    (checkpoint,) = tmp_path.glob("logs/rsl_rl/lyra_navigation/*/model_1.pt")
    assert checkpoint.is_file()


def test_no_worlds_is_one_clear_error(tmp_path):
    """Forgetting `env.worlds` says so and says what to set."""
    with pytest.raises(AssertionError, match=r"set env\.worlds to a world folder"):
        run_lab(
            *("-m", "isaaclab", "random_agent", "--task", TASK, "--num_envs", 4, "--device", "cpu"),
            "--max_steps",
            2,
            "physics=ovphysx",
            cwd=tmp_path,
        )
