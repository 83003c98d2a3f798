"""Environment steps per second of CPU time of a navigation task, with a breakdown, without a learning library.

.venv-lab/bin/python tools/bench/bench_env.py --world WORLD [--prototype DIR] [--profile] [--markdown]

Every figure comes from a process of its own; wall seconds mean little on a machine that others use, CPU seconds more.
With `--prototype`, a folder with another task's `bench/bench_env.py`, both take turns in one run: same robot, lidar
(one beam a ray) and decimation, and the very same collider file, one triangle mesh that is written from the world's
colliders, with the world's clearance as the peer's map. `--colliders own` adds a row with the world's colliders as they
are, boxes and all.

`--profile` adds the CPU milliseconds of each part of a step, and the functions that take most of a step themselves.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TASK = "Lyra-PointGoal-DiffDrive-Lidar"
PACKAGES = ("isaaclab", "newton", "mujoco-warp", "warp-lang", "ovphysx", "torch")
PARTS = {
    "sim": "step",
    "scene": "update",
    "scene ": "write_data_to_sim",
    "observation_manager": "compute",
    "reward_manager": "compute",
    "termination_manager": "compute",
    "command_manager": "compute",
    "event_manager": "apply",
    "action_manager": "process_action",
    "action_manager ": "apply_action",
    "": "_reset_idx",
}
"""Attribute of the environment: its method that is timed."""
OURS, OWN, PEER = "ours", "ours, own colliders", "prototype"
SHARED = "shared"
"""Name of the written world as the peer knows it."""
WARM_UP = 5
TOP = 25
"""Functions that a profile lists."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", required=True, type=Path, help="world folder")
    parser.add_argument("--prototype", type=Path, help="folder with the other task's bench/bench_env.py")
    parser.add_argument("--envs", default="64,1024")
    parser.add_argument("--physics", default="newton_mjwarp,ovphysx")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3, help="how often they take turns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--colliders", choices=("shared", "own"), default="shared")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="print tables instead of JSON")
    parser.add_argument("--set", action="append", default=[], help="a setting of the task: env.robot_size=small")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        sys.argv = sys.argv[:1]
        sys.stdout.write("RESULT " + json.dumps(measure(args)) + "\n")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        _result([sys.executable, __file__, "--one", scratch, *_passed(args, physics="", envs="0")], {})
        rows = take_turns(args, Path(scratch))
    result = {
        "machine": {"cpu": _processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "seed": args.seed,
        "task": TASK,
        "world": args.world.name,
        "steps": args.steps,
        "runs": rows,
        "summary": summary(rows),
    }
    sys.stdout.write(markdown(result["summary"]) if args.markdown else json.dumps(result) + "\n")
    return 0


def take_turns(args: argparse.Namespace, scratch: Path) -> list[dict]:
    """One row a process; within a round every contender runs once in every setting."""
    contenders = [OURS, *([OWN] if args.colliders == "own" else []), *([PEER] if args.prototype else [])]
    rows = []
    for number in range(args.rounds):
        for physics in args.physics.split(","):
            for envs in args.envs.split(","):
                for who in contenders if number % 2 == 0 else contenders[::-1]:
                    row = {"round": number, "who": who, "physics": physics, "envs": int(envs)}
                    row |= _peer_run(args, scratch, physics, envs) if who == PEER else _our_run(args, scratch, row)
                    rows.append(row)
                    sys.stderr.write(json.dumps({k: v for k, v in row.items() if k != "profile"}) + "\n")
    return rows


def summary(rows: list[dict]) -> list[dict]:
    """Medians over the rounds by engine and number of environments, and how many times the peer's ours are."""
    found = []
    for physics, envs in dict.fromkeys((r["physics"], r["envs"]) for r in rows):
        of = [r for r in rows if (r["physics"], r["envs"]) == (physics, envs)]
        rates = {who: _median([r["steps_per_cpu_s"] for r in of if r["who"] == who]) for who in {r["who"] for r in of}}
        row = {"physics": physics, "envs": envs, "steps_per_cpu_s": rates}
        if PEER in rates:
            row["ratio"] = {who: round(rate / rates[PEER], 2) for who, rate in rates.items() if who != PEER}
        profiles = [r["profile"] for r in of if "profile" in r]
        found.append(row | ({"profile": profiles[-1]} if profiles else {}))
    return found


def markdown(rows: list[dict]) -> str:
    """The summary as tables."""
    who = [name for name in (PEER, OURS, OWN) if any(name in r["steps_per_cpu_s"] for r in rows)]
    lines = ["| engine | robots | " + " | ".join(f"{n} [steps per CPU s]" for n in who) + " | ratio |"]
    lines.append("| --- | --: |" + " --: |" * (len(who) + 1))
    for r in rows:
        cells = " | ".join(f"{r['steps_per_cpu_s'].get(n, 0):.0f}" for n in who)
        ratio = ", ".join(f"{v:.2f}" for _, v in sorted(r.get("ratio", {}).items())) or "-"
        lines.append(f"| {r['physics']} | {r['envs']} | {cells} | {ratio} |")
    for r in rows:
        if "profile" in r:
            lines += ["", f"{r['physics']}, {r['envs']} robots: CPU ms of a step", "", "| part | ms |", "| --- | --: |"]
            lines += [f"| {name} | {ms:.2f} |" for name, ms in r["profile"]["parts_ms"].items()]
            lines += ["", "| function | calls | own ms |", "| --- | --: | --: |"]
            lines += [f"| `{name}` | {calls:g} | {ms:.2f} |" for name, calls, ms in r["profile"]["functions"]]
    return "\n".join(lines) + "\n"


def measure(args: argparse.Namespace) -> dict:
    """One environment: random actions, after a few steps to warm up. Without environments: write the shared world."""
    if not args.physics:
        write_shared(args.world, args.one)
        return {}
    import gymnasium as gym
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    from dataclasses import replace

    from isaaclab.app import launch_simulation
    from isaaclab_tasks.utils import resolve_task_config

    import lyra_tasks.navigation  # noqa: F401 registers the tasks
    from lyra_tasks.atlas import load_atlas

    started = time.process_time()
    settings = [f"physics={args.physics}", f"env.worlds={args.world}", *args.set]
    cfg, _ = resolve_task_config(TASK, "", overrides=settings)
    cfg.scene.num_envs, cfg.sim.device, cfg.certified_only, cfg.seed = int(args.envs), args.device, False, args.seed
    radius = cfg.robot_spec().footprint_radius_m + cfg.planning_margin_m
    atlas = load_atlas(str(args.world), robot_radius_m=radius, certified_only=False)
    if args.colliders == "shared":
        cfg.observations.policy.lidar.params["beams"] = 1
        shared = args.one / f"{SHARED}.usda"
        grounds = [replace(g, world=replace(g.world, collision_path=shared)) for g in atlas.grounds]
        atlas = replace(atlas, grounds=tuple(grounds))
    with launch_simulation(cfg, {"device": args.device, "headless": True}):
        env = gym.make(TASK, cfg=cfg, atlas=atlas).unwrapped
        env.reset()
        action = torch.zeros(env.num_envs, 2, device=env.device)
        for _ in range(WARM_UP):
            env.step(action.uniform_(-1, 1))
        made = time.process_time() - started
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(args.steps):
            env.step(action.uniform_(-1, 1))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        found = profile(env, action, args.steps) if args.profile else None
        env.close()
    steps = args.steps * int(args.envs)
    return {
        "steps_per_cpu_s": round(steps / cpu),
        "steps_per_s": round(steps / wall),
        "start_cpu_s": round(made, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "load": round(os.getloadavg()[0], 1),
        **({"profile": found} if found else {}),
    }


def profile(env, action, steps: int) -> dict:
    """CPU milliseconds of a step by part (parts lie within one another), then the functions with most time of their
    own: calls and milliseconds a step."""
    import cProfile
    import pstats

    spent: dict[str, float] = {}
    for part, name in PARTS.items():
        owner = getattr(env, part.strip()) if part else env
        _time(owner, name, f"{part.strip() or 'env'}.{name}", spent)
    _time(env, "step", "env.step", spent)
    for _ in range(steps):
        env.step(action.uniform_(-1, 1))
    parts = {name: round(1e3 * s / steps, 3) for name, s in sorted(spent.items(), key=lambda item: -item[1])}
    profiler = cProfile.Profile(time.process_time)
    profiler.enable()
    for _ in range(steps):
        env.step(action.uniform_(-1, 1))
    profiler.disable()
    stats = pstats.Stats(profiler).stats  # pyright: ignore[reportAttributeAccessIssue]
    rows = sorted(((own, calls, where) for where, (_, calls, own, _, _) in stats.items()), reverse=True)[:TOP]
    named = [(_named(where), round(calls / steps, 1), round(1e3 * own / steps, 3)) for own, calls, where in rows]
    return {"parts_ms": parts, "functions": named}


def write_shared(world: Path, folder: Path) -> None:
    """The world's colliders as one mesh with the peer's friction, and the clearance as the peer's map."""
    import numpy as np
    from pxr import Usd, UsdGeom, UsdPhysics, UsdShade

    from lyra_tasks.ground import load_ground
    from lyra_tasks.worlds import load_navigation_world

    loaded = load_navigation_world(world)
    ground = load_ground(loaded, robot_radius_m=loaded.robot_radius_m)
    assert abs(loaded.floor_z_m) < 1e-3, "the peer's floor is at zero"
    stage = Usd.Stage.CreateNew(str(folder / f"{SHARED}.usda"))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, "/Room").GetPrim())
    mesh = UsdGeom.Mesh.Define(stage, "/Room/mesh")
    faces = np.asarray(ground.colliders.faces, np.int32)
    mesh.CreatePointsAttr(np.asarray(ground.colliders.vertices, np.float32))
    mesh.CreateFaceVertexCountsAttr(np.full(len(faces), 3, np.int32))
    mesh.CreateFaceVertexIndicesAttr(faces.reshape(-1))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateDoubleSidedAttr(True)
    UsdPhysics.CollisionAPI.Apply(mesh.GetPrim())
    UsdPhysics.MeshCollisionAPI.Apply(mesh.GetPrim()).CreateApproximationAttr("none")
    material = UsdShade.Material.Define(stage, "/Room/physicsMaterial")
    api = UsdPhysics.MaterialAPI.Apply(material.GetPrim())
    api.CreateStaticFrictionAttr(0.9)
    api.CreateDynamicFrictionAttr(0.8)
    api.CreateRestitutionAttr(0.0)
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material, materialPurpose="physics")
    stage.GetRootLayer().Save()
    rows, cols = (np.arange(n) for n in ground.grid.shape)
    x = ground.grid.centre_xy_m(np.stack([np.zeros_like(cols), cols], -1))[:, 0]
    y = ground.grid.centre_xy_m(np.stack([rows, np.zeros_like(rows)], -1))[:, 1]
    d = np.where(ground.clearance_m > 0, ground.clearance_m, -1.0).T
    np.savez(folder / f"{SHARED}_free.npz", x=x.astype("f4"), y=y.astype("f4"), d=d.astype("f4"))


def _our_run(args: argparse.Namespace, scratch: Path, row: dict) -> dict:
    colliders = "own" if row["who"] == OWN else "shared"
    command = [*_passed(args, physics=row["physics"], envs=str(row["envs"])), "--colliders", colliders]
    if args.profile and row["round"] == args.rounds - 1:
        command.append("--profile")
    return _result([sys.executable, __file__, "--one", str(scratch), *command], {})


def _peer_run(args: argparse.Namespace, scratch: Path, physics: str, envs: str) -> dict:
    bench = args.prototype.resolve() / "bench" / "bench_env.py"
    command = [sys.executable, str(bench), "--num_envs", envs, "--physics", physics, "--worlds", SHARED]
    path = os.pathsep.join(filter(None, [str(args.prototype.resolve() / "src"), os.environ.get("PYTHONPATH")]))
    more = {"H1_NAV_ASSETS": str(scratch), "PYTHONPATH": path}
    found = _result([*command, "--steps", str(args.steps), "--device", args.device], more)
    return {
        "steps_per_cpu_s": found["env_steps_per_cpu_s"],
        "steps_per_s": found["env_steps_per_s"],
        "peak_mib": found["max_rss_mb"],
        "load": found["load1"],
    }


def _passed(args: argparse.Namespace, *, physics: str, envs: str) -> list[str]:
    found = ["--world", str(args.world), "--envs", envs, "--physics", physics, "--steps", str(args.steps)]
    return [*found, "--seed", str(args.seed), "--device", args.device, *(f"--set={value}" for value in args.set)]


def _result(command: list[str], environment: dict[str, str]) -> dict:
    more = {**os.environ, **environment}
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, env=more)
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not found:
        raise SystemExit(f"no result, exit code {done.returncode}:\n{done.stdout[-3000:]}")
    return json.loads(found[0].removeprefix("RESULT "))


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


def _named(where: tuple[str, int, str]) -> str:
    file, line, function = where
    return f"{Path(file).name}:{line} {function}" if line else function


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
