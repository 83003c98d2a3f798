#!/usr/bin/env python3
"""Does self-augmentation keep a painter from drifting? The same small network trained with and without it.

    python tools/bench/bench_selfaug.py --out DIR [--seeds 0 1 2] [--base-steps 1000] [--steps 1000] [--jobs 2]

Films of random rooms are made (48 to learn from, 8 others to measure with). A network of `config/training/tiny.yaml`
is trained on them without self-augmentation, as the released training starts from a video model that never saw its own
output. From there it is trained on for each seed, once with self-augmentation and once without, equal otherwise: same
films in the same order, same number of steps, same rate. Each network then continues the unseen films for five chunks
from their first frame, on its own output. Per chunk, against the film itself:

    absolute_levels   mean absolute difference of colour in grey levels of 255: the drift that the acceptance is about
    shift_levels      how far the mean colour of a frame is off
    psnr_db           peak signal-to-noise ratio

DIR keeps everything; a second call goes on where the first one was stopped. The result is selfaug.json, selfaug.md
and selfaug.png in DIR, and the exit code says whether the drift after the last chunk is lower with self-augmentation in
every seed and by 15 % in the median.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = REPOSITORY / "config" / "training" / "tiny.yaml"
ARMS = ("with", "without")
TRAIN_FILMS, HELD_FILMS = 48, 8
TRAIN_SEED, HELD_SEED = 1000, 5000
"""Numbers of the first rooms; the two sets share none."""
BASE_SEED = 77
TURN_DEG, SPEED_M = 0.2, 0.008
"""Calm films: most of what a chunk shows was seen before, so that errors are the painter's and not new places."""
CONTINUED = {"optim.lr": 2e-3, "augment.image_rate": 0.0}
"""Settings after the common start, of both arms: every second step may be self-augmented."""
CHUNKS, SOLVER_STEPS, NOISE_SEED = 5, 4, 1
LIMIT = 0.15
FIGURES = ("absolute_levels", "shift_levels", "psnr_db")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--base-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1000, help="after the common start")
    parser.add_argument("--noise-factor", type=float, help="another augment.noise_factor than that of tiny.yaml")
    parser.add_argument("--held-seed", type=int, default=HELD_SEED, help="first room of the films to measure with")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time, one thread each")
    parser.add_argument("--run", metavar="SEED:ARM", help="one run only (what the other processes are started with)")
    parser.add_argument("--core", type=int, help="with --run: the core to stay on")
    args = parser.parse_args()
    if args.run:
        seed, _, arm = args.run.partition(":")
        return one_run(args, int(seed), arm)
    began = time.time()
    make_films(args.out, args.held_seed)
    base = [f"{BASE_SEED}:base"]
    runs = [f"{seed}:{arm}" for seed in args.seeds for arm in ARMS]
    for names in (base, runs):
        if failed := run_all(args, names):
            sys.stderr.write(f"failed: {', '.join(failed)}; see the .log files in {args.out}\n")
            return 4
    return report(args, time.time() - began)


def make_films(out: Path, held_seed: int) -> None:
    """The two sets of films, unless they are there."""
    from lyra.worldgen.training.procedural import FilmSpec
    from lyra.worldgen.training.writer import procedural_films, write_films

    spec = FilmSpec(turn_deg=TURN_DEG, speed_m=SPEED_M)
    for name, count, seed in (("train", TRAIN_FILMS, TRAIN_SEED), (f"held{held_seed}", HELD_FILMS, held_seed)):
        listed = out / "films" / name / "all_filter.lst"
        if not (listed.exists() and len(listed.read_text().split()) == count):
            write_films(out / "films" / name, procedural_films(count, spec, seed=seed))


def run_all(args: argparse.Namespace, names: list[str]) -> list[str]:
    """Those runs that have no result yet, some at a time; the names of those that failed."""
    cores = sorted(os.sched_getaffinity(0))
    waiting = [name for name in names if not result_path(args, *_parts(name)).exists()]
    running: dict[int, tuple[str, subprocess.Popen]] = {}
    failed = []
    while waiting or running:
        for slot in range(args.jobs):
            if slot not in running and waiting:
                name = waiting.pop(0)
                command = [sys.executable, str(Path(__file__).resolve()), "--out", str(args.out), "--run", name]
                command += ["--core", str(cores[slot % len(cores)]), "--held-seed", str(args.held_seed)]
                command += ["--base-steps", str(args.base_steps), "--steps", str(args.steps)]
                command += [] if args.noise_factor is None else ["--noise-factor", str(args.noise_factor)]
                threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
                with open(args.out / f"{name.replace(':', '-')}.log", "a") as file:
                    process = subprocess.Popen(
                        command, stdout=file, stderr=file, env=os.environ | dict.fromkeys(threads, "1")
                    )
                running[slot] = (name, process)
        time.sleep(1)
        for slot, (name, process) in list(running.items()):
            if process.poll() is not None:
                failed += [name] if process.returncode else []
                del running[slot]
    return failed


def _parts(name: str) -> tuple[int, str]:
    seed, _, arm = name.partition(":")
    return int(seed), arm


def run_folder(args: argparse.Namespace, seed: int, arm: str) -> Path:
    base = args.out / f"base-{args.base_steps}"
    factor = f"-noise{args.noise_factor:g}" if arm == "with" and args.noise_factor is not None else ""
    return base if arm == "base" else base / f"seed{seed}-{arm}{factor}-{args.steps}"


def result_path(args: argparse.Namespace, seed: int, arm: str) -> Path:
    return run_folder(args, seed, arm) / f"drift{args.held_seed}.json"


def one_run(args: argparse.Namespace, seed: int, arm: str) -> int:
    """Train one network and measure it."""
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    import torch

    torch.set_num_threads(1)
    from lyra.worldgen.core.schema import load_schema
    from lyra.worldgen.training.config import TrainingConfig
    from lyra.worldgen.training.run import train

    folder = run_folder(args, seed, arm)
    steps = args.base_steps if arm == "base" else args.steps
    settings = {
        "seed": seed, "steps": steps, "optim.decay_steps": steps, "augment.self_augmentation": arm == "with",
    }  # fmt: skip
    if arm != "base":
        settings |= CONTINUED
        if args.noise_factor is not None:
            settings["augment.noise_factor"] = args.noise_factor
    config = load_schema(TrainingConfig, CONFIG, settings)
    began, cpu = time.time(), time.process_time()
    start = None if arm == "base" else run_folder(args, seed, "base")
    outcome = train(config, args.out / "films" / "train", folder, start=start, cpu=True)
    trained = time.process_time() - cpu
    values = {
        "seed": seed,
        "arm": arm,
        "steps": steps,
        "loss": outcome.loss,
        "training_cpu_s": round(trained, 1),
        "films": measure(args.out / "films" / f"held{args.held_seed}", folder),
        "wall_s": round(time.time() - began, 1),
    }
    result_path(args, seed, arm).write_text(json.dumps(values, indent=1) + "\n")
    return 0


def measure(held: Path, folder: Path) -> list[list[dict]]:
    """Drift of every chunk of every unseen film."""
    import torch

    from lyra.worldgen.training.components import TEXT_WIDTH, VAE_NAME, load_small_network, small_painter
    from lyra.worldgen.training.dataset import FilmFolder
    from lyra.worldgen.training.patch_vae import PatchVae
    from lyra.worldgen.training.rollout import continue_film, drift_of

    painter = small_painter(load_small_network(folder).eval(), PatchVae.load(folder / VAE_NAME))
    frames = CHUNKS * painter.layout.new_frames
    films = FilmFolder(held, frames=1 + frames, held=1)
    found = []
    for k in range(len(films)):
        clip = films.clip(k)
        text = torch.zeros(1, 1, TEXT_WIDTH)
        made = continue_film(painter, clip, chunks=CHUNKS, steps=SOLVER_STEPS, seed=NOISE_SEED, text=text)
        chunks = drift_of(made, clip.rgb_u8, chunk_frames=painter.layout.new_frames)
        found.append([{k: v if isinstance(v, int) else _rounded(v) for k, v in asdict(c).items()} for c in chunks])
    return found


def _rounded(value):
    return [round(v, 3) for v in value] if isinstance(value, tuple | list) else round(value, 3)


def report(args: argparse.Namespace, seconds: float) -> int:
    """Table, plot and verdict."""
    out, seeds = args.out, args.seeds
    keys = [(BASE_SEED, "base"), *((seed, arm) for seed in seeds for arm in ARMS)]
    runs = {key: json.loads(result_path(args, *key).read_text()) for key in keys}
    means = {
        key: [
            {name: statistics.fmean(film[c][name] for film in run["films"]) for name in FIGURES} for c in range(CHUNKS)
        ]
        for key, run in runs.items()
    }
    gains = [1 - means[s, "with"][-1]["absolute_levels"] / means[s, "without"][-1]["absolute_levels"] for s in seeds]
    passed = min(gains) > 0 and statistics.median(gains) >= LIMIT
    values = {
        "passed": passed,
        "drift_after_chunk": CHUNKS,
        "relative_reduction": dict(zip(map(str, seeds), (round(g, 4) for g in gains), strict=True)),
        "relative_reduction_of_mean_colour": {
            str(s): round(1 - means[s, "with"][-1]["shift_levels"] / means[s, "without"][-1]["shift_levels"], 4)
            for s in seeds
        },
        "median_reduction": round(statistics.median(gains), 4),
        "limit": LIMIT,
        "chunks": {
            f"{seed} {arm}": [{k: round(v, 3) for k, v in chunk.items()} for chunk in means[seed, arm]]
            for seed, arm in means
        },
        "loss": {f"{seed} {arm}": run["loss"] for (seed, arm), run in runs.items()},
        "training_cpu_s": {f"{seed} {arm}": run["training_cpu_s"] for (seed, arm), run in runs.items()},
        "base_steps": args.base_steps,
        "steps": args.steps,
        "first_held_room": args.held_seed,
        "train_films": TRAIN_FILMS,
        "held_films": HELD_FILMS,
        "solver_steps": SOLVER_STEPS,
        "seconds_of_this_call": round(seconds),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    (out / "selfaug.json").write_text(json.dumps(values, indent=2) + "\n")
    lines = [
        "| seed | self-augmentation | "
        + " | ".join(f"chunk {c + 1}" for c in range(CHUNKS))
        + " | colour | PSNR | less drift |",
        "| --- | --- | " + " | ".join("---" for _ in range(CHUNKS)) + " | --- | --- | --- |",
    ]
    rows = [(BASE_SEED, "base", 0.0), *((s, a, g) for s, g in zip(seeds, gains, strict=True) for a in ARMS[::-1])]
    for seed, arm, gain in rows:
        chunks = means[seed, arm]
        cells = ["start" if arm == "base" else str(seed), "none yet" if arm == "base" else arm]
        cells += [f"{c['absolute_levels']:.1f}" for c in chunks]
        cells += [f"{chunks[-1]['shift_levels']:.1f}", f"{chunks[-1]['psnr_db']:.1f} dB"]
        lines.append(f"| {' | '.join(cells)} | {f'{100 * gain:.0f} %' if arm == 'with' else ''} |")
    lines.append(f"\nMedian: {100 * statistics.median(gains):.0f} % less after {CHUNKS} chunks.\n")
    (out / "selfaug.md").write_text("\n".join(lines))
    plot(out / "selfaug.png", means, seeds)
    sys.stdout.write((out / "selfaug.md").read_text())
    return 0 if passed else 1


def plot(path: Path, means: dict, seeds: list[int]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    looks = {"with": {"color": "tab:blue"}, "without": {"color": "tab:orange", "linestyle": "--"}}
    titles = {"absolute_levels": "difference from the film [levels of 255]", "shift_levels": "mean colour off [levels]"}
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        for arm, look in looks.items():
            for seed in seeds:
                label = f"{arm} self-augmentation" if seed == seeds[0] else None
                axis.plot(range(1, CHUNKS + 1), [c[name] for c in means[seed, arm]], marker="o", label=label, **look)
        axis.set_xlabel("chunk")
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(1, CHUNKS + 1))
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
