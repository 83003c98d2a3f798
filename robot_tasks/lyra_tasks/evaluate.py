"""Command: drive the certified episodes of some worlds and say how well.

python -m lyra_tasks.evaluate POLICY --worlds WORLDS --out FOLDER [--task TASK] [--physics NAME] [--num-envs N] ...

POLICY is `baseline` (shortest path and pure pursuit), `random`, a checkpoint of rsl_rl, or a policy that was exported
to ONNX. With --export FOLDER a checkpoint is written there as `policy.onnx` and `policy.pt`, and what the exported
policy does is compared with what the checkpoint does in every step of the evaluation.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

from lyra.worldgen.core.errors import BackendError, InputError, WorldgenError

from .exported import SUFFIX, OnnxPolicy

BASELINE, RANDOM = "baseline", "random"
AGREEMENT = 1e-5
"""Largest difference of an action between checkpoint and exported policy."""


def build_parser() -> argparse.ArgumentParser:
    """The command's own arguments."""
    parser = argparse.ArgumentParser(prog="python -m lyra_tasks.evaluate", description="Drive certified episodes.")
    parser.add_argument("policy", help="'baseline', 'random', a checkpoint of rsl_rl or an ONNX file")
    parser.add_argument("--worlds", required=True, help="world folder, folder of worlds, pattern or list")
    parser.add_argument("--out", required=True, type=Path, help="folder for evaluation.json, .md and pictures")
    parser.add_argument("--task", default="Lyra-PointGoal-DiffDrive-Lidar")
    parser.add_argument("--physics", default="newton_mjwarp", choices=("newton_mjwarp", "ovphysx"))
    parser.add_argument("--num-envs", type=int, default=0, help="0: eight a world, at most 256")
    parser.add_argument("--episodes", type=int, default=0, help="of every world, the first ones; 0: all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the checkpoint there as ONNX, too")
    parser.add_argument("--set", action="append", default=[], help="a setting of the task: env.robot_size=small")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code of `WorldgenError` classes, 0 if all went well."""
    args = build_parser().parse_args(arguments)
    sys.argv = sys.argv[:1]  # Isaac Lab reads the command line, too
    try:
        summary = evaluate(
            args.policy,
            worlds=args.worlds,
            out=args.out,
            task=args.task,
            physics=args.physics,
            env_count=args.num_envs,
            episodes=args.episodes,
            device=args.device,
            overrides=args.set,
            export=args.export,
        )
    except WorldgenError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps({k: v for k, v in summary.items() if k != "episodes"}, indent=2) + "\n")
    return 0


def evaluate(
    policy: str,
    *,
    worlds: str,
    out: Path,
    task: str,
    physics: str,
    env_count: int = 0,
    episodes: int = 0,
    device: str = "cpu",
    overrides: list[str] | None = None,
    export: Path | None = None,
) -> dict[str, Any]:
    """Drive certified episodes once; writes `evaluation.json`, `evaluation.md` and `trajectories/WORLD.png`.

    Args:
        policy: `baseline`, `random` or a checkpoint.
        worlds: see `find_world_folders`.
        out: made if missing.
        task: name of the task.
        physics: preset.
        env_count: robots; 0 for eight a world, at most 256.
        episodes: of every world, the first so many; 0 for all.
        device: of simulation and policy.
        overrides: Hydra settings of the task.
        export: folder for the policy as ONNX and TorchScript; the summary then says how far its actions are from the
            checkpoint's.

    Returns:
        The summary, see `evaluation.summarise`.

    Raises:
        InputError: worlds or policy cannot be used.
        BackendError: the exported policy does something else than the checkpoint.
    """
    import gymnasium as gym
    from isaaclab.app import launch_simulation
    from isaaclab_tasks.utils import resolve_task_config

    from . import navigation
    from .atlas import load_atlas
    from .evaluation import summarise
    from .evaluation_report import write_report
    from .navigation import rollout
    from .navigation.robot_cfg import check_robot

    if task not in navigation.TASKS:
        raise InputError(f"task '{task}' is unknown; expected one of: {', '.join(navigation.TASKS)}")
    if policy not in (BASELINE, RANDOM) and not Path(policy).is_file():
        raise InputError(f"policy is neither '{BASELINE}' nor '{RANDOM}' nor a file: {policy}")
    if export is not None and (policy in (BASELINE, RANDOM) or Path(policy).suffix == SUFFIX):
        raise InputError(f"only a checkpoint can be exported, not: {policy}")
    settings = [f"physics={physics}", *(overrides or ())]
    cfg, agent_cfg = resolve_task_config(task, "rsl_rl_cfg_entry_point", overrides=settings)
    cfg.worlds, cfg.sim.device = worlds, device
    check_robot(cfg.robot_spec(), cfg.walking_policy)
    rollout.configure_evaluation(cfg)
    radius = cfg.robot_spec().footprint_radius_m + cfg.planning_margin_m
    atlas = load_atlas(worlds, robot_radius_m=radius, certified_only=cfg.certified_only)
    if episodes:
        atlas = atlas.with_first_episodes(episodes)
    cfg.scene.num_envs = env_count or min(8 * len(atlas), 256)
    compared: rollout.ComparedDriver | None = None
    with launch_simulation(cfg, {"device": device, "headless": True}):
        env = gym.make(task, cfg=cfg, atlas=atlas).unwrapped
        if policy == BASELINE:
            act = rollout.ScriptedDriver(env) if env.coverage is None else rollout.ScriptedExplorer(env)
        elif policy == RANDOM:
            act = rollout.RandomDriver(env, seed=cfg.seed or 0)
        elif Path(policy).suffix == SUFFIX:
            act = rollout.ExportedDriver(OnnxPolicy(Path(policy)))
        else:
            runner = _load(policy, env, agent_cfg)
            act = _deterministic(runner, env)
            if export is not None:
                runner.export_policy_to_jit(path=str(export))
                runner.export_policy_to_onnx(path=str(export))
                act = compared = rollout.ComparedDriver(act, OnnxPolicy(export / "policy.onnx"))
        driven = rollout.drive_episodes(env, act)
        env.close()
    summary = {
        "policy": policy if policy in (BASELINE, RANDOM) else Path(policy).name,
        "task": task,
        "physics": physics,
        **({} if compared is None else {"export_difference": compared.difference}),
        **summarise(driven.outcomes),
    }
    write_report(out, summary, atlas.grounds, driven.trajectories, goal_radius_m=cfg.goal_radius_m)
    if compared is not None and not compared.difference <= AGREEMENT:
        raise BackendError(
            f"actions of the exported policy are {compared.difference:.2g} from the checkpoint's; expected at most "
            f"{AGREEMENT}: {export}"
        )
    return summary


def _load(checkpoint: str, env: Any, agent_cfg: Any) -> Any:
    """The runner of rsl_rl that a checkpoint makes."""
    from isaaclab.utils import to_dict
    from isaaclab_rl.rsl_rl import RslRlVecEnvWrapper, handle_deprecated_rsl_rl_cfg
    from rsl_rl.runners import OnPolicyRunner

    # Takes out what this release of rsl_rl no longer knows, as Isaac Lab's own commands do.
    agent_cfg = handle_deprecated_rsl_rl_cfg(agent_cfg, importlib.metadata.version("rsl-rl-lib"))
    wrapped = RslRlVecEnvWrapper(env, clip_actions=agent_cfg.clip_actions)
    runner = OnPolicyRunner(wrapped, to_dict(agent_cfg), log_dir=None, device=agent_cfg.device)
    try:
        runner.load(checkpoint)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise InputError(
            f"is no checkpoint of this task's networks ({str(error).splitlines()[0]}): {checkpoint}"
        ) from error
    return runner


def _deterministic(runner: Any, env: Any) -> Any:
    """Observations by group to mean actions."""
    from tensordict import TensorDict

    policy = runner.get_inference_policy(device=env.device)
    return lambda observations: policy(TensorDict(observations, batch_size=[env.num_envs]))


if __name__ == "__main__":
    sys.exit(main())
