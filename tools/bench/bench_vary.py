#!/usr/bin/env python3
"""Does variation help? A policy trained in one world against one trained in variants of it, in variants unseen by both.

    .venv-lab/bin/python tools/bench/bench_vary.py --world WORLD --out DIR [--ranges config/randomization/physics.yaml]
        [--task Lyra-PointGoal-DiffDrive-Rgb] [--set env.observations.camera.rgb.params.width_px=48 ...]

Makes variants of a world twice, with two seeds: some to train in, others that no training ever sees. Three times, with
training seeds 0 to 2, PointGoal (with lidar unless `--task` says otherwise) is trained for equally many steps in the
world alone and in the world with its variants (`isaaclab train` with the settings of the repository), and both
policies drive the episodes of the unseen variants (`lyra_tasks.evaluate`: the mean action, no noise). Variants may
block the world's episodes here, which are drawn anew then: a way that is known to be free would teach and test
nothing.

DIR keeps variants, logs and checkpoints; a second call goes on where the first one was stopped. The result is
vary.json and vary.md in DIR; the exit code is 0 if the policy with variation succeeds more often with every seed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench_learning import POINT_GOAL, SEEDS, Bench

from lyra.worldgen.vary import load_vary_config, vary_world

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN_SEED, UNSEEN_SEED = 1000, 2000
"""Of the variants."""
KINDS = ("plain", "varied")


def make_variants(world: Path, out: Path, ranges: Path, *, train: int, unseen: int) -> None:
    """Variants for both purposes, and the lists `plain.json`, `varied.json` and `unseen.json` for `--worlds`."""
    cfg = load_vary_config(ranges)
    cfg = replace(cfg, clutter=replace(cfg.clutter, blocking=True))
    lists: dict[str, list[Path]] = {"plain": [world], "varied": [world], "unseen": []}
    for name, folder, count, seed in (
        ("varied", "train", train, TRAIN_SEED),
        ("unseen", "unseen", unseen, UNSEEN_SEED),
    ):
        made = vary_world(world, out / folder, count=count, seed=seed, cfg=cfg, certify=False)
        lists[name] += [made.folder / variant for variant in made.names]
    for name, folders in lists.items():
        (out / f"{name}.json").write_text(json.dumps({"worlds": [str(folder) for folder in folders]}) + "\n")


def measure(bench: Bench, *, task: str, iterations: int, envs: int) -> dict[str, Any]:
    """Success and SPL in the unseen variants, by kind of training and seed."""
    rows: dict[str, Any] = {kind: {} for kind in KINDS}
    for seed in SEEDS:
        for kind in KINDS:
            name, worlds = f"{kind}-{seed}", str(bench.out / f"{kind}.json")
            run = bench.train(name, worlds, task=task, seed=seed, iterations=iterations, envs=envs)
            found = bench.evaluate(
                name,
                run.pop("checkpoint"),
                str(bench.out / "unseen.json"),
                task=task,
                envs=64,
                episodes=bench.episodes,
            )
            rows[kind][str(seed)] = run | found
    return rows


def table(rows: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| seed | world alone | SPL | with variants | SPL | steps |", "| --- | --: | --: | --: | --: | --: |"]
    for seed in map(str, SEEDS):
        plain, varied = rows["plain"][seed], rows["varied"][seed]
        cells = " | ".join(f"{row['success']:.1%} | {row['spl']:.3f}" for row in (plain, varied))
        lines.append(f"| {seed} | {cells} | {varied['curve'][-1]['steps']:,.0f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True, help="a finished world folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ranges", type=Path, default=REPOSITORY / "config" / "randomization" / "physics.yaml")
    parser.add_argument("--train-variants", type=int, default=23)
    parser.add_argument("--unseen-variants", type=int, default=16)
    parser.add_argument("--envs", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=101)
    parser.add_argument("--episodes", type=int, default=20, help="of every unseen variant")
    parser.add_argument("--task", default=POINT_GOAL)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of task or agent")
    args = parser.parse_args()
    out, world = args.out.resolve(), args.world.resolve()
    out.mkdir(parents=True, exist_ok=True)
    make_variants(world, out, args.ranges, train=args.train_variants, unseen=args.unseen_variants)
    bench = Bench(
        places=out,
        out=out,
        world=str(world),
        first_place=str(world),
        envs=args.envs,
        iterations=args.iterations,
        place_iterations=args.iterations,
        task_iterations=args.iterations,
        episodes=args.episodes,
        overrides=tuple(args.set),
    )
    rows = measure(bench, task=args.task, iterations=args.iterations, envs=args.envs)
    held = {seed: rows["varied"][seed]["success"] > rows["plain"][seed]["success"] for seed in map(str, SEEDS)}
    machine = {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    settings |= {"world": world.name, "out": "", "ranges": args.ranges.name}
    result = {"machine": machine, "settings": settings, "rows": rows, "variation is better": held}
    (out / "vary.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "vary.md").write_text(table(rows))
    sys.stdout.write((out / "vary.md").read_text() + json.dumps(held) + "\n")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
