#!/usr/bin/env python3
"""Train the label network on procedural scenes.

    python tools/label_net/train.py --images 6000 --seed 7 [--init FILE] --out FILE [--passes 3] [--rate 6e-4]

Seeds `seed * 1_000_000 + i` make the training pictures, seeds from `HELD_OUT_SEED` the held-out ones, on which the
network is judged before and after. One thread. The result replaces `generation/data/label_net.safetensors` only by
hand, once held-out scenes and `tools/bench/bench_calibration.py` on real crops both say that it is better.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import cv2  # noqa: TID253 - training tool
import numpy as np
import torch  # noqa: TID253 - training tool
import torch.nn.functional as F  # noqa: TID253 - training tool
from model import LabelNet
from safetensors.torch import load_file, save_file
from scenes import Sample, sample

from lyra.worldgen.core.frames import up_in_cam
from lyra.worldgen.core.machine import core_count
from lyra.worldgen.generation.label_net import SKY, network_input

HELD_OUT_SEED = 900_000_000
FAR_LOG = 6.0
"""Depths beyond e^6 camera heights teach nothing."""
_CLASS_WEIGHT = (1.0, 1.0, 1.0, 1.3, 1.0)


def make_pool(first_seed: int, count: int, width: int = 160, height: int = 96) -> list[Sample]:
    """Pictures of consecutive seeds, drawn by every core; the same for any number of them."""
    seeds = range(first_seed, first_seed + count)
    if count < 100:
        return [sample(seed, width, height) for seed in seeds]
    with ProcessPoolExecutor(core_count(), mp_context=get_context("spawn")) as pool:
        return list(pool.map(sample, seeds, repeat(width), repeat(height), chunksize=32))


def network_sample(s: Sample, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Input [7, H, W], log(depth / height) [H/2, W/2] (inf: sky) and labels [H/2, W/2]; augmented with `rng`."""
    rgb, depth, labels = s.rgb_u8, s.depth_z_m[::2, ::2], s.labels[::2, ::2]
    log_f, pitch, roll = 0.0, s.pitch_rad, s.roll_rad
    if rng is not None:
        rgb = augmented(rgb, rng)
        rough = 3.5 if rng.random() < 0.15 else 1.0
        log_f = rng.normal(0, 0.07 * rough)
        pitch += np.radians(rng.normal(0, 1.3 * rough))
        roll += np.radians(rng.normal(0, 1.0 * rough))
    f = s.f_px * np.exp(log_f)
    up = up_in_cam(pitch, roll)
    if rng is not None and rng.random() < 0.5:
        rgb, depth, labels = rgb[:, ::-1], depth[:, ::-1], labels[:, ::-1]
        up = up * np.array([-1.0, 1.0, 1.0])
    x = network_input(rgb, f_px=f, f_row_px=f, up_cam=up)
    if rng is not None and rng.random() < 0.15:
        x[..., 5:] = 0.0  # a camera that nobody knows
    with np.errstate(divide="ignore"):
        log_depth = np.where(depth > 0, np.log(np.maximum(depth, 1e-3) / s.height_m), np.inf)
    return np.moveaxis(x, -1, 0).copy(), log_depth.astype(np.float32), labels.astype(np.int64)


def augmented(rgb_u8: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What cameras, editors and scaling do to pictures."""
    x = (rgb_u8.astype(np.float32) / 255.0).clip(1e-4) ** np.exp(rng.normal(0, 0.25))
    x = x * (1 + rng.normal(0, 0.2)) + rng.normal(0, 0.06)
    x *= 1 + rng.normal(0, 0.07, 3)
    mean = x.mean()
    x = (x - mean) * np.exp(rng.normal(0, 0.25)) + mean
    grey = x.mean(-1, keepdims=True)
    x = grey + (x - grey) * (0.0 if rng.random() < 0.05 else rng.uniform(0, 1.5))
    if rng.random() < 0.6:
        k, (h, w) = rng.uniform(0.3, 0.9), x.shape[:2]
        small = cv2.resize(x.astype(np.float32), (max(8, int(k * w)), max(8, int(k * h))), interpolation=cv2.INTER_AREA)
        x = cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC)
    x = x + rng.normal(0, 0.03 * rng.random(), x.shape)
    return (255.0 * x.clip(0, 1)).astype(np.uint8)


def loss_of(out: torch.Tensor, log_depth: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Total loss and its label part."""
    known = torch.isfinite(log_depth) & (log_depth < FAR_LOG) & (labels != SKY)
    target = torch.where(known, log_depth, torch.zeros_like(log_depth))
    error = torch.where(known, (out[:, 0] - target).abs(), torch.zeros_like(target))
    count = known.sum().clamp(1)
    scale = out[:, 1].clamp(-4, 2)
    likelihood = ((error * torch.exp(-scale) + scale) * known).sum() / count
    cross = F.cross_entropy(out[:, 2:7], labels, weight=torch.tensor(_CLASS_WEIGHT))
    return cross + 0.25 * likelihood + 0.25 * error.sum() / count, cross


@torch.no_grad()
def evaluate(net: LabelNet, held_out: list[Sample]) -> dict[str, float]:
    """Label accuracy, mean intersection over union of each class, depth error; camera channels as lines give them."""
    net.eval()
    rng = np.random.default_rng(0)
    hits, total = 0, 0
    both, either = np.zeros(5), np.zeros(5)
    errors = []
    for s in held_out:
        noisy = Sample(
            **{
                **vars(s),
                "pitch_rad": s.pitch_rad + np.radians(rng.normal(0, 1.3)),
                "f_px": s.f_px * np.exp(rng.normal(0, 0.07)),
            }
        )
        x, log_depth, labels = network_sample(noisy, None)
        out = net(torch.from_numpy(x)[None])[0].numpy()
        found = out[2:7].argmax(0)
        hits, total = hits + int((found == labels).sum()), total + labels.size
        for k in range(5):
            both[k] += ((found == k) & (labels == k)).sum()
            either[k] += ((found == k) | (labels == k)).sum()
        known = np.isfinite(log_depth) & (log_depth < FAR_LOG)
        if known.any():
            errors.append(float(np.median(np.abs(out[0] - log_depth)[known])))
    net.train()
    names = ("floor", "wall", "ceiling", "object", "sky")
    iou = {f"iou_{n}": round(float(b / max(e, 1)), 4) for n, b, e in zip(names, both, either, strict=True)}
    return {"accuracy": round(hits / total, 4), **iou, "log_depth_error": round(float(np.mean(errors)), 4)}


def save(net: LabelNet, path: Path, note: str) -> None:
    """Write half-precision weights aside and rename."""
    tensors = {k: v.half().contiguous() for k, v in net.state_dict().items() if "num_batches" not in k}
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata={"note": note})
    os.replace(part, path)


def load(path: Path) -> LabelNet:
    net = LabelNet()
    missing, unexpected = net.load_state_dict({k: v.float() for k, v in load_file(path).items()}, strict=False)
    if unexpected or [name for name in missing if "num_batches" not in name]:
        raise SystemExit(f"weights do not fit the network: {path}")
    return net


def train(net: LabelNet, pool: list[Sample], *, seed: int, passes: int, rate: float, batch: int = 12) -> list[float]:
    """Train in place; returns the label loss of every step. Weights end as their running average."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02, betas=(0.9, 0.98))
    average = {k: v.clone() for k, v in net.state_dict().items()}
    steps = passes * (len(pool) // batch)
    losses = []
    net.train()
    for step in range(steps):
        if step % (len(pool) // batch) == 0:
            order = rng.permutation(len(pool))
        pick = order[(step % (len(pool) // batch)) * batch :][:batch]
        parts = [network_sample(pool[i], rng) for i in pick]
        x, log_depth, labels = (torch.from_numpy(np.stack(p)) for p in zip(*parts, strict=True))
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 60) * (0.5 + 0.5 * np.cos(np.pi * step / steps))
        total, cross = loss_of(net(x), log_depth, labels)
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        losses.append(float(cross.detach()))
        keep = min(0.995, (step + 1) / (step + 20))
        with torch.no_grad():
            for name, value in net.state_dict().items():
                if value.dtype.is_floating_point:
                    average[name].mul_(keep).add_(value, alpha=1 - keep)
        if step % 100 == 99:
            print(
                json.dumps({"step": step + 1, "of": steps, "loss": round(float(np.mean(losses[-100:])), 4)}), flush=True
            )
    net.load_state_dict(average)
    return losses


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--held-out", type=int, default=300)
    parser.add_argument("--init", type=Path, help="weights to start from; random when left out")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    start = time.process_time()
    net = load(args.init) if args.init else LabelNet()
    held_out = make_pool(HELD_OUT_SEED, args.held_out)
    print(json.dumps({"before": evaluate(net, held_out)}), flush=True)
    pool = make_pool(args.seed * 1_000_000, args.images)
    print(json.dumps({"pictures": len(pool), "cpu_s": round(time.process_time() - start)}), flush=True)
    train(net, pool, seed=args.seed, passes=args.passes, rate=args.rate)
    result = evaluate(net, held_out)
    print(json.dumps({"after": result, "cpu_s": round(time.process_time() - start)}), flush=True)
    save(net, args.out, f"images {args.images} x {args.passes}, seed {args.seed}, init {args.init and args.init.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
