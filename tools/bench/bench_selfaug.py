#!/usr/bin/env python3
"""Does self-augmentation keep a painter from drifting? The same small network trained with and without it.

    python tools/bench/bench_selfaug.py --out DIR [--seeds 0 1 2] [--steps 1200] [--jobs 2]

Films of random rooms of any colour are made (384 to learn from, 32 others to measure with) in which the camera sways
and is back where it was after every second chunk of 8 frames, to the last bit. A network of
`config/training/tiny.yaml` with a shorter context (`SETTINGS`) is trained on them for each seed, once with
self-augmentation and once without, equal otherwise: same first weights, same films in the same order, same number of
steps, same rate. Each network then continues the unseen films chunk by chunk from their first frame, on its own output.

The criterion is the drift of colour in `evaluate --persistence`, by the same functions: what the painter made in the
fifth chunk against what it made of the same poses in the first, mean absolute change of the worst channel in grey
levels of 255, mean over films. It must be lower with self-augmentation in every seed, and by 15 % in the median.
Besides:

    drift after 3, 7 and 9 chunks
    absolute_levels   of every chunk, mean absolute difference from the film itself
    shift_levels      how far the mean colour of a frame is off
    psnr_db           peak signal-to-noise ratio
    repeated          the first chunk's difference from the film if its first frame were repeated
    coded             the film's difference from itself after the autoencoder
    own               the first chunk's difference from the film after the autoencoder: the network's part
    kept              of a colour error that is put into the first chunk, how much comes out again in the second

DIR keeps everything; a second call goes on where the first one was stopped. The result is selfaug.json, selfaug.md
and selfaug.png in DIR; the exit code is 0 if the criterion holds, else 1.
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
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lyra.worldgen.training.clips import Clip
    from lyra.worldgen.training.step_inputs import Painter

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = REPOSITORY / "config" / "training" / "tiny.yaml"
ARMS = ("with", "without")
TRAIN_FILMS, HELD_FILMS = 384, 32
TRAIN_SEED, HELD_SEED = 60_000, 70_000
"""Numbers of the first rooms; the two sets share none."""
ROOMS = {
    "width_px": 32, "height_px": 32, "hfov_deg": 25, "turn_deg": 1.2, "speed_m": 0.02, "loop_frames": 16,
    "colours": 0, "plain_share": 1.0,
}  # fmt: skip
"""Any colour is as likely as another: nothing but what the painter remembers can tell it that one has drifted."""
SETTINGS = {
    "batch_size": 16, "data.frames": 49, "data.resize_width_px": 32, "data.width_px": 32, "data.height_px": 32,
    "network.layout": "f1k1f1s1f1k1_g2", "augment.image_rate": 0.0, "checkpoint_every": 500,
}  # fmt: skip
CHUNKS, LONGEST = 5, 9
"""Chunks of the criterion, and of the figures beside it."""
SOLVER_STEPS, NOISE_SEED = 4, 1
COLOUR_ERROR = (15.0, -15.0, 15.0)
"""Put into the history to see how much of it comes out again [levels]."""
LIMIT = 0.15
FIGURES = ("absolute_levels", "shift_levels", "psnr_db")
ROUNDS = tuple(range(2, LONGEST, 2))
"""Chunks between two looks at the same poses."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1200, help="of each network")
    parser.add_argument("--noise-factor", type=float, help="another augment.noise_factor than that of tiny.yaml")
    parser.add_argument("--train-seed", type=int, default=TRAIN_SEED, help="first room of the films to learn from")
    parser.add_argument("--held-seed", type=int, default=HELD_SEED, help="first room of the films to measure with")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time, one thread each")
    parser.add_argument("--run", metavar="SEED:ARM", help="one run only (what the other processes are started with)")
    parser.add_argument("--core", type=int, help="with --run: the core to stay on")
    args = parser.parse_args()
    if args.run:
        seed, _, arm = args.run.partition(":")
        return one_run(args, int(seed), arm)
    began = time.time()
    make_films(args.out, args.train_seed, args.held_seed)
    if failed := run_all(args, [f"{seed}:{arm}" for seed in args.seeds for arm in ARMS]):
        sys.stderr.write(f"failed: {', '.join(failed)}; see the .log files in {args.out}\n")
        return 4
    return report(args, time.time() - began)


def make_films(out: Path, train_seed: int, held_seed: int) -> None:
    """The two sets of films, unless they are there."""
    from lyra.worldgen.training.procedural import FilmSpec
    from lyra.worldgen.training.writer import procedural_films, write_films

    for name, count, seed, frames in (
        (f"train{train_seed}", TRAIN_FILMS, train_seed, SETTINGS["data.frames"]),
        (f"held{held_seed}", HELD_FILMS, held_seed, 1 + 8 * LONGEST),
    ):
        spec = FilmSpec(frames=frames, **ROOMS)  # pyright: ignore[reportArgumentType]
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
                command += ["--core", str(cores[slot % len(cores)]), "--steps", str(args.steps)]
                command += ["--train-seed", str(args.train_seed), "--held-seed", str(args.held_seed)]
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
    factor = f"-noise{args.noise_factor:g}" if arm == "with" and args.noise_factor is not None else ""
    return args.out / f"seed{seed}-{arm}{factor}-{args.steps}"


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
    settings = {
        "seed": seed, "steps": args.steps, "optim.decay_steps": args.steps,
        "augment.self_augmentation": arm == "with", **SETTINGS,
    }  # fmt: skip
    if args.noise_factor is not None:
        settings["augment.noise_factor"] = args.noise_factor
    config = load_schema(TrainingConfig, CONFIG, settings)
    began, cpu = time.time(), time.process_time()
    outcome = train(config, args.out / "films" / f"train{args.train_seed}", folder, cpu=True)
    trained = time.process_time() - cpu
    values = {
        "seed": seed,
        "arm": arm,
        "steps": args.steps,
        "loss": outcome.loss,
        "training_cpu_s": round(trained, 1),
        "films": measure(args.out / "films" / f"held{args.held_seed}", folder),
        "wall_s": round(time.time() - began, 1),
    }
    result_path(args, seed, arm).write_text(json.dumps(values, indent=1) + "\n")
    return 0


@dataclass(frozen=True)
class Seen:
    """A pose that was seen before, as `evaluate.persistence_judge.drift` takes it."""

    loop: int
    """After how many chunks it was seen again."""
    psnr_db: float
    signed_levels: tuple[float, ...]
    absolute_levels: tuple[float, ...]


def seen_again(made_u8: np.ndarray, w2c: np.ndarray, chunk_frames: int) -> list[Seen]:
    """Every painted frame against the first painted one from the same pose, to the last bit, of an earlier chunk.

    Args:
        made_u8: [1 + N * chunk_frames, H, W, 3], the given first frame in front.
        w2c: [at least as many, 4, 4].
        chunk_frames: frames of a chunk.
    """
    from lyra.worldgen.evaluate.likeness import colour_change, psnr_db

    everywhere = np.ones(made_u8.shape[1:3], bool)
    first: dict[bytes, int] = {}
    found = []
    for i in range(1, len(made_u8)):
        k = first.setdefault((w2c[i] + 0.0).tobytes(), i)
        loop = (i - 1) // chunk_frames - (k - 1) // chunk_frames
        if loop:
            signed, absolute = colour_change(made_u8[k], made_u8[i], everywhere)
            level_db = psnr_db(made_u8[k], made_u8[i], everywhere)
            assert level_db is not None, "the mask selects pixels"
            found.append(Seen(loop, level_db, tuple(signed.tolist()), tuple(absolute.tolist())))
    return found


def drift_after(made_u8: np.ndarray, w2c: np.ndarray, chunk_frames: int, rounds: int) -> float:
    """The drift of what was painted `rounds` chunks after the first one [levels]; arguments as for `seen_again`."""
    from lyra.worldgen.evaluate.persistence_judge import drift, level_after

    shown = made_u8[: 1 + (1 + rounds) * chunk_frames]
    level = level_after(drift(seen_again(shown, w2c, chunk_frames)), rounds)
    assert level is not None, "the camera comes back to the poses of the first chunk"
    return level


def measure(held: Path, folder: Path) -> list[dict]:
    """Figures of every unseen film; see the top of this file."""
    import torch

    from lyra.worldgen.training.components import TEXT_WIDTH, VAE_NAME, load_small_network, small_painter
    from lyra.worldgen.training.dataset import FilmFolder
    from lyra.worldgen.training.patch_vae import PatchVae
    from lyra.worldgen.training.rollout import continue_film, drift_of

    painter = small_painter(load_small_network(folder).eval(), PatchVae.load(folder / VAE_NAME))
    new = painter.layout.new_frames
    films = FilmFolder(held, frames=1 + LONGEST * new, held=1)
    told = {"steps": SOLVER_STEPS, "seed": NOISE_SEED, "text": torch.zeros(1, 1, TEXT_WIDTH)}
    found = []
    for k in range(len(films)):
        clip = films.clip(k)
        made = continue_film(painter, clip, chunks=LONGEST, **told)
        chunks = [asdict(c) for c in drift_of(made, clip.rgb_u8, chunk_frames=new)]
        film = torch.from_numpy(clip.frames(slice(None)))[None]
        coded = painter.vae.decode(painter.vae.encode(film)[0])[0].clip(-1, 1)
        true_u8 = clip.rgb_u8.astype(float)
        found.append(
            {
                "drift": {str(n): _rounded(drift_after(made, clip.w2c, new, n)) for n in ROUNDS},
                "chunks": [{name: _rounded(c[name]) for name in FIGURES} for c in chunks],
                "repeated": _rounded(np.abs(true_u8[1 : 1 + new] - true_u8[0]).mean()),
                "coded": _rounded(127.5 * float((coded - film).abs().mean())),
                "own": _rounded(np.abs(made[1 : 1 + new] - _u8(coded)[1 : 1 + new].astype(float)).mean()),
                "kept": _rounded(colour_kept(painter, clip, told)),
            }
        )
    return found


def colour_kept(painter: Painter, clip: Clip, told: dict[str, Any]) -> float:
    """How much of a colour error in the first chunk, which is shown, comes out in the second, which is painted."""
    from lyra.worldgen.training.rollout import continue_film

    new = painter.layout.new_frames
    wrong = clip.rgb_u8.copy()
    wrong[1 : 1 + new] = np.clip(wrong[1 : 1 + new] + np.array(COLOUR_ERROR), 0, 255).astype(np.uint8)
    made = [
        continue_film(painter, replace(clip, rgb_u8=rgb), chunks=1, shown=1, **told).astype(float)
        for rgb in (clip.rgb_u8, wrong)
    ]
    change = (made[1] - made[0]) * np.sign(COLOUR_ERROR)
    return float(change[1 + new :].mean() / change[1 : 1 + new].mean())


def _u8(film: Any) -> np.ndarray:
    """[T, H, W, 3] of [1, 3, T, H, W] in -1..1."""
    return ((np.moveaxis(film[0].numpy(), 0, -1) + 1) * 127.5 + 0.5).clip(0, 255).astype(np.uint8)


def _rounded(value: float) -> float:
    return round(float(value), 3)


def report(args: argparse.Namespace, seconds: float) -> int:
    """Table, plot and verdict."""
    out, seeds = args.out, args.seeds
    keys = [(seed, arm) for seed in seeds for arm in ARMS[::-1]]
    runs = {key: json.loads(result_path(args, *key).read_text()) for key in keys}

    def mean(key: tuple[int, str], pick: Callable[[dict], float]) -> float:
        return statistics.fmean(pick(film) for film in runs[key]["films"])

    drifts = {key: [mean(key, lambda film, n=n: film["drift"][str(n)]) for n in ROUNDS] for key in keys}
    chunks = {
        key: [{f: mean(key, lambda film, c=c, f=f: film["chunks"][c][f]) for f in FIGURES} for c in range(LONGEST)]
        for key in keys
    }
    decides = ROUNDS.index(CHUNKS - 1)
    after = {key: curve[decides] for key, curve in drifts.items()}
    gains = {seed: 1 - after[seed, "with"] / after[seed, "without"] for seed in seeds}
    median = statistics.median(gains.values())
    passed = min(gains.values()) > 0 and median >= LIMIT
    names = {key: f"{key[0]} {key[1]}" for key in keys}
    values = {
        "passed": passed,
        "drift_levels": {names[key]: dict(zip(ROUNDS, map(_rounded, drifts[key]), strict=True)) for key in keys},
        "less_drift": {str(seed): round(gain, 4) for seed, gain in gains.items()},
        "median_less_drift": round(median, 4),
        "limit": LIMIT,
        "chunks": {names[key]: [{k: _rounded(v) for k, v in c.items()} for c in chunks[key]] for key in keys},
        "kept": {names[key]: _rounded(mean(key, lambda film: film["kept"])) for key in keys},
        "repeated": _rounded(mean(keys[0], lambda film: film["repeated"])),
        "coded": {names[key]: _rounded(mean(key, lambda film: film["coded"])) for key in keys},
        "own": {names[key]: _rounded(mean(key, lambda film: film["own"])) for key in keys},
        "loss": {names[key]: runs[key]["loss"] for key in keys},
        "training_cpu_s": {names[key]: runs[key]["training_cpu_s"] for key in keys},
        "steps": args.steps,
        "noise_factor": args.noise_factor,
        "first_rooms": {"train": args.train_seed, "held": args.held_seed},
        "train_films": TRAIN_FILMS,
        "held_films": HELD_FILMS,
        "rooms": ROOMS,
        "settings": SETTINGS,
        "solver_steps": SOLVER_STEPS,
        "seconds_of_this_call": round(seconds),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    (out / "selfaug.json").write_text(json.dumps(values, indent=2) + "\n")
    shown = (1, 3, CHUNKS, LONGEST)
    head = ["seed", "self-augmentation", f"drift after {CHUNKS} chunks", "less", "kept", "own, chunk 1"]
    head += [*(f"off the film, chunk {c}" for c in shown), f"PSNR, chunk {CHUNKS}"]
    lines = [f"| {' | '.join(head)} |", f"| --- | --- |{' --: |' * (len(head) - 2)}"]
    for seed, arm in keys:
        of = chunks[seed, arm]
        cells = [str(seed), arm, f"{after[seed, arm]:.2f}", f"{100 * gains[seed]:.1f} %" if arm == "with" else ""]
        cells += [f"{values['kept'][names[seed, arm]]:.2f}", f"{values['own'][names[seed, arm]]:.1f}"]
        cells += [*(f"{of[c - 1]['absolute_levels']:.1f}" for c in shown)]
        cells.append(f"{of[CHUNKS - 1]['psnr_db']:.1f} dB")
        lines.append(f"| {' | '.join(cells)} |")
    coded = statistics.fmean(values["coded"].values())
    lines.append(
        f"\nMedian: {100 * median:.1f} % less drift after {CHUNKS} chunks. Repeating the first frame is "
        f"{values['repeated']:.1f} levels off the first chunk, the autoencoder alone {coded:.1f}.\n"
    )
    (out / "selfaug.md").write_text("\n".join(lines))
    plot(out / "selfaug.png", drifts, chunks, seeds)
    sys.stdout.write((out / "selfaug.md").read_text())
    return 0 if passed else 1


def plot(path: Path, drifts: dict, chunks: dict, seeds: list[int]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    looks = {"with": {"color": "tab:blue"}, "without": {"color": "tab:orange", "linestyle": "--"}}
    back = [1, *(1 + n for n in ROUNDS)]
    for arm, look in looks.items():
        for seed in seeds:
            label = f"{arm} self-augmentation" if seed == seeds[0] else None
            axes[0].plot(back, [0.0, *drifts[seed, arm]], marker="o", label=label, **look)
            levels = [c["absolute_levels"] for c in chunks[seed, arm]]
            axes[1].plot(range(1, LONGEST + 1), levels, marker="o", label=label, **look)
    titles = ("drift: change since the first chunk [levels of 255]", "difference from the film [levels of 255]")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("chunk")
        axis.set_xticks(range(1, LONGEST + 1))
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
