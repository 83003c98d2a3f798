"""Environment steps per second of CPU time of a navigation task, with a breakdown, without a learning library.

.venv-lab/bin/python tools/bench/bench_tasks.py --worlds WORLDS [--envs 64,1024] [--physics newton_mjwarp,ovphysx]

Every figure comes from a process of its own; wall seconds mean little on a machine that others use, CPU seconds more.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

TASK = "Lyra-PointGoal-DiffDrive-Lidar"
PARTS = {
    "sim": "step",
    "scene": "update",
    "observation_manager": "compute",
    "reward_manager": "compute",
    "termination_manager": "compute",
    "command_manager": "compute",
    "action_manager": "process_action",
}
"""Attribute of the environment: its method that is timed."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", required=True)
    parser.add_argument("--envs", default="64,1024")
    parser.add_argument("--physics", default="newton_mjwarp,ovphysx")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--breakdown", action="store_true")
    parser.add_argument("--set", action="append", default=[], help="a setting of the task: env.robot_size=small")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        sys.argv = sys.argv[:1]
        print("RESULT " + json.dumps(measure(args)), flush=True)
        return 0
    rows = []
    for physics in args.physics.split(","):
        for envs in args.envs.split(","):
            command = [sys.executable, __file__, "--one", "--worlds", args.worlds, "--envs", envs, "--physics", physics]
            command += ["--steps", str(args.steps), "--device", args.device]
            command += [f"--set={value}" for value in args.set] + ["--breakdown"] * args.breakdown
            done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
            if not found:
                sys.stderr.write(done.stdout[-3000:])
                return 1
            rows.append(json.loads(found[0].removeprefix("RESULT ")))
            print(json.dumps(rows[-1]), flush=True)
    return 0


def measure(args: argparse.Namespace) -> dict:
    """One environment: random actions, after a few steps to warm up."""
    import gymnasium as gym
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    from isaaclab.app import launch_simulation
    from isaaclab_tasks.utils import resolve_task_config

    import lyra_tasks.navigation  # noqa: F401 registers the tasks

    started = time.process_time()
    settings = [f"physics={args.physics}", f"env.worlds={args.worlds}", *args.set]
    cfg, _ = resolve_task_config(TASK, "", overrides=settings)
    cfg.scene.num_envs, cfg.sim.device, cfg.certified_only = int(args.envs), args.device, False
    with launch_simulation(cfg, {"device": args.device, "headless": True}):
        env = gym.make(TASK, cfg=cfg).unwrapped
        env.reset()
        action = torch.zeros(env.num_envs, 2, device=env.device)
        for _ in range(5):
            env.step(action.uniform_(-1, 1))
        made = time.process_time() - started
        spent: dict[str, float] = {}
        if args.breakdown:
            for part, name in PARTS.items():
                _time(getattr(env, part), name, f"{part}.{name}", spent)
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(args.steps):
            env.step(action.uniform_(-1, 1))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        worlds = len(env.atlas)
        env.close()
    steps = args.steps * int(args.envs)
    return {
        "physics": args.physics,
        "envs": int(args.envs),
        "worlds": worlds,
        "steps_per_cpu_s": round(steps / cpu),
        "steps_per_s": round(steps / wall),
        "start_cpu_s": round(made, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "load": round(os.getloadavg()[0], 1),
        **({"cpu_ms_per_step": {k: round(1e3 * v / args.steps, 2) for k, v in spent.items()}} if spent else {}),
    }


def _time(owner: object, name: str, key: str, spent: dict[str, float]) -> None:
    """Add the CPU seconds of every call of a method to `spent[key]`."""
    method = getattr(owner, name)

    def timed(*args, **kwargs):
        start = time.process_time()
        try:
            return method(*args, **kwargs)
        finally:
            spent[key] = spent.get(key, 0.0) + time.process_time() - start

    setattr(owner, name, timed)


if __name__ == "__main__":
    sys.exit(main())
