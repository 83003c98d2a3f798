#!/usr/bin/env python3
"""What robots learn in generated worlds: success and SPL after training, in places known and unknown.

    .venv/bin/python tools/bench/learning_worlds.py --out PLACES
    .venv-lab/bin/python tools/bench/bench_learning.py --places PLACES --out DIR [--world WORLD] [--parts seeds,...]

Every training is `isaaclab train` with the settings of the repository, every figure comes from `lyra_tasks.evaluate`:
the worlds' own episodes, which training never draws, the mean action, no noise. Parts:

    seeds   PointGoal with lidar in one world, three training seeds; >= 90 % success and SPL >= 0.80 each
    many    24 worlds, then eight others; >= 80 % success
    places  a smaller, equal number of steps in 1, 2, 4, 8 and 24 worlds, then the same eight others
    tasks   Patrol, Explore and Deliver: trained policy, random agent and scripted baseline on the same episodes; the
            baseline solves >= 95 %
    atlas   32 worlds in one run: random agent and a few iterations of training, then `play`, on both engines

DIR keeps logs and checkpoints; a second call goes on where the first one was stopped. The result is learning.json,
learning.md and learning.png in DIR; the exit code is 0 if every limit of the parts that were run holds, else 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTS = ("seeds", "many", "places", "tasks", "atlas")
POINT_GOAL = "Lyra-PointGoal-DiffDrive-Lidar"
OTHERS = {
    "patrol": "Lyra-Patrol-DiffDrive-Lidar",
    "explore": "Lyra-Explore-DiffDrive-Lidar",
    "deliver": "Lyra-Deliver-DiffDrive-Lidar",
}
ENGINES = ("ovphysx", "newton_mjwarp")
SEEDS = (0, 1, 2)
SIZES = (1, 2, 4, 8, 24)
UNCERTIFIED = "env.certified_only=false"
LIMITS = {"success": 0.90, "spl": 0.80, "unseen": 0.80, "baseline": 0.95}
FIGURES = {
    "steps": r"Total steps:\s+(\d+)",
    "reward": r"Mean reward:\s+(-?[\d.]+)",
    "arrived": r"Episode_Termination/arrived:\s+([\d.]+)",
    "touched": r"Episode_Termination/touched:\s+([\d.]+)",
}
"""What a line of rsl_rl's log says, by name."""
LOADED, PLAY_S = "Loading model checkpoint from", 30.0
"""`play` says this before it begins, and how long it is watched."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where results go and how large the runs are."""

    places: Path
    out: Path
    world: str
    """The one world of the parts `seeds` and `tasks`."""
    first_place: str
    """The first world that is trained in."""
    envs: int
    iterations: int
    place_iterations: int
    """One more than a multiple of 50: a checkpoint is written then."""
    task_iterations: int
    episodes: int
    """Of each unseen world."""
    overrides: tuple[str, ...] = ()
    """Settings such as `env.clutter=3`; those of the agent are for trainings alone."""

    def train(self, name: str, worlds: str, *, task: str, seed: int, iterations: int, envs: int) -> dict[str, Any]:
        """One training: its checkpoint, its curve, its cost."""
        folder = self.out / "runs" / name
        found = folder / "training.json"
        if not found.is_file():
            command = ["-m", "isaaclab", "train", "--rl_library", "rsl_rl", "--task", task, "--device", "cpu"]
            command += ["--num_envs", str(envs), "--max_iterations", str(iterations), "--seed", str(seed)]
            cost = _run([*command, "physics=ovphysx", f"env.worlds={worlds}", UNCERTIFIED, *self.overrides], folder)
            log = (folder / "log.txt").read_text(errors="replace")
            checkpoint = max(folder.glob("logs/rsl_rl/*/*/model_*.pt"), key=lambda p: (p.stat().st_mtime, p.name))
            record = {"checkpoint": str(checkpoint.relative_to(folder)), "curve": curve_of(log), **cost}
            found.write_text(json.dumps(record, indent=1) + "\n")
        record = json.loads(found.read_text())
        return record | {"checkpoint": str(folder / record["checkpoint"])}

    def evaluate(self, name: str, policy: str, worlds: str, *, task: str, envs: int, episodes: int = 0) -> dict:
        """Figures of a policy on certified episodes."""
        folder = self.out / "evaluations" / name
        if not (folder / "evaluation.json").is_file():
            command = ["-m", "lyra_tasks.evaluate", policy, "--worlds", worlds, "--out", str(folder), "--task", task]
            command += ["--physics", "ovphysx", "--num-envs", str(envs), "--episodes", str(episodes)]
            settings = [UNCERTIFIED, *(setting for setting in self.overrides if setting.startswith("env."))]
            command += [part for setting in settings for part in ("--set", setting)]
            _run(command, folder)
        summary = json.loads((folder / "evaluation.json").read_text())
        by_world = {world: row["success"] for world, row in summary["by_world"].items()}
        kept = ("coverage", "count", "success", "spl", "collisions_per_m", "time_s", "endings")
        return {key: summary[key] for key in kept if key in summary} | {"success_by_world": by_world}

    def seeds(self) -> dict[str, Any]:
        rows = {}
        for seed in SEEDS:
            name = f"seed-{seed}"
            run = self.train(name, self.world, task=POINT_GOAL, seed=seed, iterations=self.iterations, envs=self.envs)
            found = self.evaluate(name, run.pop("checkpoint"), self.world, task=POINT_GOAL, envs=50)
            rows[str(seed)] = run | found
        return {"world": Path(self.world).name, "by_seed": rows}

    def train_in_places(self, count: int) -> dict[str, Any]:
        """A training in the first so many places: the longest lists and the one of the part `seeds` in full."""
        # Training in the first place alone is what the part `seeds` does already.
        same = count == 1 and self.world == self.first_place
        worlds = self.world if same else str(self.places / f"train-{count}.json")
        full = same or count == SIZES[-1]
        return self.train(
            "seed-0" if same else f"places-{count}",
            worlds,
            task=POINT_GOAL,
            seed=0,
            iterations=self.iterations if full else self.place_iterations,
            envs=self.envs,
        )

    def unseen(self, name: str, policy: str) -> dict[str, Any]:
        worlds = str(self.places / "unseen.json")
        return self.evaluate(name, policy, worlds, task=POINT_GOAL, envs=80, episodes=self.episodes)

    def places_curve(self) -> dict[str, Any]:
        rows = {}
        for count in SIZES:
            run = self.train_in_places(count)
            policy = Path(run.pop("checkpoint")).with_name(f"model_{self.place_iterations - 1}.pt")
            share = self.place_iterations / len(run["curve"])
            run |= {"curve": run["curve"][: self.place_iterations], "cpu_s": run["cpu_s"] * share}
            rows[str(count)] = run | self.unseen(f"places-{count}", str(policy))
        return rows

    def many(self) -> dict[str, Any]:
        run = self.train_in_places(SIZES[-1])
        return run | self.unseen("many", run.pop("checkpoint"))

    def tasks(self) -> dict[str, Any]:
        rows = {}
        for name, task in OTHERS.items():
            run = self.train(name, self.world, task=task, seed=0, iterations=self.task_iterations, envs=self.envs)
            drivers = {"trained": run.pop("checkpoint"), "random": "random", "baseline": "baseline"}
            rows[name] = run | {
                driver: self.evaluate(f"{name}-{driver}", policy, self.world, task=task, envs=25, episodes=50)
                for driver, policy in drivers.items()
            }
        return rows

    def atlas(self) -> dict[str, Any]:
        rows = {}
        worlds = f"env.worlds={self.places / 'worlds'}"
        for engine in ENGINES:
            task = ["--task", POINT_GOAL, "--device", "cpu", "--num_envs", "64"]
            rest = [f"physics={engine}", worlds, UNCERTIFIED]
            folder = self.out / "atlas" / engine
            command = ["-m", "isaaclab", "random_agent", *task, "--max_steps", "50", *rest]
            rows[engine] = {"random_agent": _run(command, folder / "random_agent")}
            command = ["-m", "isaaclab", "train", "--rl_library", "rsl_rl", *task, "--max_iterations", "3", *rest]
            rows[engine]["train"] = _run(command, folder / "train")
            checkpoint = max((folder / "train").resolve().glob("logs/rsl_rl/*/*/model_*.pt"), key=lambda p: p.name)
            command = ["-m", "isaaclab", "play", "--rl_library", "rsl_rl", *task, "--checkpoint", str(checkpoint)]
            rows[engine]["play"] = _play([*command, *rest], folder / "play")
        return rows


def curve_of(log: str) -> list[dict[str, float]]:
    """One row an iteration of what a training has printed: steps, mean reward, shares of endings."""
    rows = []
    for block in log.split("Learning iteration ")[1:]:
        values = {name: re.search(pattern, block) for name, pattern in FIGURES.items()}
        if values["steps"] is not None:
            rows.append({name: float(value[1]) for name, value in values.items() if value is not None})
    return rows


def _run(arguments: list[str], folder: Path) -> dict[str, float]:
    """Run Python with arguments in a folder, output to its log; what it cost."""
    folder.mkdir(parents=True, exist_ok=True)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}: {' '.join(arguments)}\nsee {folder / 'log.txt'}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1)}


def _play(arguments: list[str], folder: Path) -> dict[str, float]:
    """Run what goes on until it is interrupted, for `PLAY_S` seconds after it says that the policy is loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    # Whoever ignores interrupts, as jobs in the background do, hands that down to its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, *arguments], cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None and LOADED not in log.read_text(errors="replace"):
            time.sleep(0.5)
        try:
            process.wait(PLAY_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait(60)
        else:
            raise SystemExit(f"stopped by itself, exit code {process.returncode}: see {log}")
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {' '.join(arguments)}\nsee {log}")
    return {"wall_s": round(time.perf_counter() - began, 1)}


def verdicts(result: dict[str, Any]) -> dict[str, bool]:
    """The limits of the parts that were run."""
    held = {}
    for seed, row in result.get("seeds", {}).get("by_seed", {}).items():
        held[f"seed {seed}"] = row["success"] >= LIMITS["success"] and row["spl"] >= LIMITS["spl"]
    if "many" in result:
        held["unseen worlds"] = result["many"]["success"] >= LIMITS["unseen"]
    for name, row in result.get("tasks", {}).items():
        held[f"{name}: baseline"] = row["baseline"]["success"] >= LIMITS["baseline"]
        held[f"{name}: learns"] = _worth(row["trained"]) > _worth(row["random"])
    return held


def _worth(row: dict[str, Any]) -> float:
    """What a task is about: floor covered where it is, else success."""
    return row.get("coverage", row["success"])


def tables(result: dict[str, Any]) -> str:
    """All parts that were run as Markdown."""
    lines: list[str] = []
    if "seeds" in result:
        lines += ["| seed | success | SPL | steps | CPU min |", "| --- | --: | --: | --: | --: |"]
        for seed, row in result["seeds"]["by_seed"].items():
            lines.append(f"| {seed} | {row['success']:.1%} | {row['spl']:.3f} | {_cost(row)} |")
        lines.append("")
    rows = {f"{SIZES[-1]}, longer": result["many"]} if "many" in result else {}
    rows = result.get("places", {}) | rows
    if rows:
        lines += ["| worlds | success, unseen | SPL | steps | CPU min |", "| --: | --: | --: | --: | --: |"]
        for count, row in rows.items():
            lines.append(f"| {count} | {row['success']:.1%} | {row['spl']:.3f} | {_cost(row)} |")
        lines.append("")
    if "tasks" in result:
        head = "| task | random | trained | baseline | steps | CPU min |"
        lines += [head, "| --- | --: | --: | --: | --: | --: |"]
        for name, row in result["tasks"].items():
            cells = [f"{_worth(row[driver]):.1%}" for driver in ("random", "trained")]
            lines.append(f"| {name} | {' | '.join(cells)} | {row['baseline']['success']:.1%} | {_cost(row)} |")
        lines.append("")
    return "\n".join(lines)


def _cost(row: dict[str, Any]) -> str:
    return f"{row['curve'][-1]['steps']:,.0f} | {row['cpu_s'] / 60:.1f}"


def plot(path: Path, result: dict[str, Any]) -> None:
    """Training curves, and success in unseen worlds by how many were trained in."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    draw = {"seeds": _draw_seeds, "places": _draw_places, "tasks": _draw_tasks}
    parts = [part for part in draw if part in result]
    if not parts:
        return
    figure, grid = plt.subplots(1, len(parts), figsize=(4.4 * len(parts), 3.6), constrained_layout=True, squeeze=False)
    axes = grid[0]
    for axis, part in zip(axes, parts, strict=True):
        draw[part](axis, result[part])
    for axis in axes:
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _draw_seeds(axis: Any, seeds: dict[str, Any]) -> None:
    for seed, row in seeds.get("by_seed", {}).items():
        _curve(axis, row["curve"], "arrived", f"seed {seed}")
    axis.set_title("one world: drives that arrive, while training", fontsize=10)


def _draw_places(axis: Any, places: dict[str, Any]) -> None:
    counts = [int(count) for count in places]
    axis.plot(counts, [100 * row["success"] for row in places.values()], marker="o")
    for count, row in zip(counts, places.values(), strict=True):
        shares = [100 * share for share in row["success_by_world"].values()]
        axis.scatter([count] * len(shares), shares, s=8, color="gray", alpha=0.6)
    axis.set_xscale("log", base=2)
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.set_ylim(0, 102)
    axis.set_title("eight unseen worlds: success [%]", fontsize=10)
    axis.set_xlabel("worlds trained in, equal steps")


def _draw_tasks(axis: Any, tasks: dict[str, Any]) -> None:
    for name, row in tasks.items():
        _curve(axis, row["curve"], "reward", name)
    axis.set_title("other tasks: mean reward, while training", fontsize=10)


def _curve(axis: Any, rows: list[dict[str, float]], figure: str, label: str) -> None:
    rows = [row for row in rows if figure in row]
    axis.plot([row["steps"] / 1000 for row in rows], [row[figure] for row in rows], label=label)
    axis.set_xlabel("thousand steps")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=Path, required=True, help="what learning_worlds.py has made")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--world", help="of the parts seeds and tasks; default: the first to train in")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--envs", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--place-iterations", type=int, default=51)
    parser.add_argument("--task-iterations", type=int, default=60)
    parser.add_argument("--episodes", type=int, default=40, help="of every unseen world")
    args = parser.parse_args()
    places = args.places.resolve()
    train = json.loads((places / "learning_worlds.json").read_text())["train"]
    first = str(places / "worlds" / str(train[0]))
    bench = Bench(
        places=places,
        out=args.out.resolve(),
        world=str(Path(args.world).resolve()) if args.world else first,
        first_place=first,
        envs=args.envs,
        iterations=args.iterations,
        place_iterations=args.place_iterations,
        task_iterations=args.task_iterations,
        episodes=args.episodes,
    )
    bench.out.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
    settings = {key: getattr(args, key) for key in ("envs", "iterations", "place_iterations", "task_iterations")}
    result: dict[str, Any] = {"machine": machine, "settings": settings}
    for part in args.parts.split(","):
        result[part] = bench.places_curve() if part == "places" else getattr(bench, part)()
    result["limits"] = verdicts(result)
    (bench.out / "learning.json").write_text(json.dumps(result, indent=1) + "\n")
    (bench.out / "learning.md").write_text(tables(result))
    plot(bench.out / "learning.png", result)
    sys.stdout.write((bench.out / "learning.md").read_text() + json.dumps(result["limits"], indent=1) + "\n")
    return 0 if all(result["limits"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
