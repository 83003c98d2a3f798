"""Copying the teacher before PPO: what is remembered, when it ends, and that robots learn to arrive by it."""

from __future__ import annotations

import json
import re

import pytest

from lab_process import run_lab

TASK = "Lyra-PointGoal-DiffDrive-Lidar"


def train(world, cwd, *settings, iterations: int, envs: int, task: str = TASK) -> tuple[str, list]:
    """Output and checkpoints of a training."""
    output = run_lab(
        *("-m", "isaaclab", "train", "--rl_library", "rsl_rl", "--task", task, "--device", "cpu"),
        *("--num_envs", envs, "--max_iterations", iterations, "physics=ovphysx", f"env.worlds={world}", *settings),
        cwd=cwd,
    )
    return output, sorted(cwd.glob("logs/rsl_rl/lyra_navigation/*/model_*.pt"), key=lambda p: int(p.stem[6:]))


def test_memory_gives_back_what_belongs_together():
    """Observations and the answers to them stay in one row; gradients may be taken of what was kept in rollouts."""
    import torch
    from tensordict import TensorDict

    from lyra_tasks.navigation.agents.imitation import Memory

    memory = Memory(12, ["policy"], "cpu")
    with torch.inference_mode():
        for first in (0, 4, 8):
            told = torch.arange(first, first + 4.0).unsqueeze(1).repeat(1, 3)
            memory.add(TensorDict({"policy": told, "teacher": -told}, batch_size=[4]), told[:, :2] * 10)
    told, answers = memory.sample(500)
    assert set(told.keys()) == {"policy"} and set(told["policy"][:, 0].tolist()) == set(range(12))
    assert torch.equal(told["policy"][:, :2] * 10, answers)
    weight = torch.ones(3, 2, requires_grad=True)
    (told["policy"] @ weight - answers).square().mean().backward()
    assert weight.grad is not None and weight.grad.abs().min() > 0
    memory.clear()
    memory.add(TensorDict({"policy": torch.zeros(2, 3)}, batch_size=[2]), torch.ones(2, 2))
    assert memory.sample(9)[1].sum() == 18, "nothing is left of before"


def test_memory_keeps_pictures_in_bytes():
    """In 256 steps they come back as they were, beside the numbers and answers of the same row."""
    import torch
    from tensordict import TensorDict

    from lyra_tasks.navigation.agents.imitation import Memory

    memory = Memory(256, ["policy", "camera"], "cpu")
    value = torch.arange(256.0)[:, None]
    camera = (value / 255)[..., None, None].expand(256, 3, 4, 5)
    memory.add(TensorDict({"policy": value, "camera": camera}, batch_size=[256]), value.repeat(1, 2))
    told, answers = memory.sample(900)
    assert told["camera"].dtype == torch.float32 and told["camera"].shape == (900, 3, 4, 5)
    assert torch.equal(told["camera"][:, 1, 2, 3], told["policy"][:, 0] / 255)
    assert torch.equal(answers[:, 0], told["policy"][:, 0])
    assert memory._told["camera"].element_size() == 1


def test_ppo_goes_on_from_where_imitation_ends(worlds, tmp_path):
    """Two iterations of each; the checkpoint knows that nothing is left to imitate, and can be resumed."""
    import torch

    world = worlds.parent / "plain"
    output, found = train(world, tmp_path, "agent.algorithm.imitation.iterations=2", iterations=4, envs=16)
    parts = output.split("Learning iteration ")[1:]
    assert [bool(re.search("Mean imitation loss", p)) for p in parts] == [True, True, False, False]
    assert [bool(re.search("Mean surrogate loss", p)) for p in parts] == [False, False, True, True]
    first, last = (torch.load(path, weights_only=False) for path in (found[0], found[-1]))
    assert (first["imitated"], last["imitated"]) == (1, 2)
    assert first["actor_state_dict"]["distribution.std_param"].allclose(torch.tensor(0.2)), "no loss of its width"
    resumed = ("--checkpoint", found[-1], "agent.algorithm.imitation.iterations=2")
    output, _ = train(world, tmp_path, *resumed, iterations=1, envs=16)
    assert "Mean surrogate loss" in output and "Mean imitation loss" not in output


def test_exploring_has_no_teacher(worlds, tmp_path):
    """Asking for one is an error that says what to set."""
    task, setting = "Lyra-Explore-DiffDrive-Lidar", "agent.algorithm.imitation.iterations=1"
    with pytest.raises(AssertionError, match=r"set agent\.algorithm\.imitation\.iterations=0"):
        train(worlds.parent / "plain", tmp_path, setting, iterations=1, envs=4, task=task)


def test_copying_alone_arrives(worlds, tmp_path):
    """After some seconds of copying, robots reach most of a room's certified goals, and its exported copy agrees."""
    world = worlds.parent / "world_1000"
    settings = ("agent.algorithm.imitation.iterations=24", "env.curriculum=null")
    _, found = train(world, tmp_path, *settings, iterations=24, envs=64)
    run_lab(
        *("-m", "lyra_tasks.evaluate", found[-1], "--worlds", world, "--out", tmp_path / "out", "--num-envs", 24),
        *("--physics", "ovphysx", "--export", tmp_path / "exported"),
        cwd=tmp_path,
    )
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert summary["count"] == 24 and summary["success"] >= 0.5
    assert summary["export_difference"] <= 1e-5 and (tmp_path / "exported" / "policy.onnx").is_file()
