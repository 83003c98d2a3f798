#!/usr/bin/env python3
"""The places that `bench_learning.py` trains and tests in: worlds generated from rendered pictures of known scenes.

    .venv/bin/python tools/bench/learning_worlds.py --out DIR [--count 32] [--first-seed 1002]

Every seed is one photo of `tests/known_scenes.py` (a corridor, a hall or a room in turn) and goes through
`lyra-worldgen generate` as any photo does: geometry from the picture alone, painted where it does not reach, colliders,
map and episodes. `config/generation/fast.yaml` and a turn on the spot make it quick, with 100 episodes and no wall
farther than 10 m; it stops before the certificate, which `lyra-worldgen finish` adds. Seeds that give no episodes are
left out and counted; seeds go on until there are enough.

The rule of the split: in the order of seeds, every fourth world is never trained in. DIR holds `photos`, `worlds`,
`learning_worlds.json`, and the lists `train-1.json` to `train-24.json` (each begins like the longer ones) and
`unseen.json` for `--worlds`. A second call goes on where the first one was stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from known_scenes import KINDS, known_scene  # noqa: E402

SETTINGS = ("simulation.episode_count=100", "geometry.max_extent_m=10")
UNSEEN_EVERY = 4
SIZES = (1, 2, 4, 8, 24)
"""Of the lists to train with."""


def make_world(seed: int, out: Path) -> bool:
    """Render, generate; whether a robot has anything to drive there."""
    photo, folder = out / "photos" / f"{seed}.png", out / "worlds" / str(seed)
    episodes = folder / "nav" / "episodes.jsonl"
    if not episodes.is_file():
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(known_scene(seed).photo().rgb_u8).save(photo)
        command = [sys.executable, "-m", "lyra.worldgen", "generate", str(photo), "--out", str(folder)]
        command += ["--path", "turn", "--until", "simulate"]
        command += ["--config", str(REPOSITORY / "config" / "generation" / "fast.yaml")]
        command += [argument for setting in SETTINGS for argument in ("--set", setting)]
        subprocess.run(command, check=False)
    return episodes.is_file() and bool(episodes.read_text().strip())


def _kind(seed: int) -> str:
    """As `known_scene` has it."""
    return KINDS[seed % len(KINDS)]


def write_lists(out: Path, made: list[int], refused: list[int]) -> None:
    """The split of seeds into lists for `--worlds`, and what was left out."""
    unseen = made[UNSEEN_EVERY - 1 :: UNSEEN_EVERY]
    train = [seed for seed in made if seed not in unseen]
    lists = {"unseen": unseen} | {f"train-{n}": train[:n] for n in SIZES if n <= len(train)}
    for name, seeds in lists.items():
        (out / f"{name}.json").write_text(json.dumps({"worlds": [f"worlds/{s}" for s in seeds]}, indent=1) + "\n")
    kinds = {seed: _kind(seed) for seed in made + refused}
    summary = {"train": train, "unseen": unseen, "refused": refused, "kinds": kinds}
    (out / "learning_worlds.json").write_text(json.dumps(summary, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--first-seed", type=int, default=1002)
    args = parser.parse_args()
    made: list[int] = []
    refused: list[int] = []
    for seed in range(args.first_seed, args.first_seed + 2 * args.count):
        (made if make_world(seed, args.out) else refused).append(seed)
        if len(made) == args.count:
            break
    write_lists(args.out, made, refused)
    print(f"{len(made)} worlds; {len(refused)} without episodes")
    return 0 if len(made) == args.count else 1


if __name__ == "__main__":
    sys.exit(main())
