#!/usr/bin/env python3
"""Forward warp of five 480x832 views into 80 cameras: the fast version against straightforward tensor code.

    .venv/bin/python tools/bench/bench_warp.py [--targets 80] [--plain-targets 8] [--device cpu]

The straightforward version scatters with `index_add_`, as the reference does; it is timed on fewer targets and scaled
up, both in the same run and on the same data. Seconds are CPU time on a processor. One JSON object goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from unittest.mock import patch

import numpy as np
import torch  # noqa: TID253 - a tool, not a module of the package

from lyra.worldgen.core.frames import camera_pose, invert_rigid
from lyra.worldgen.core.machine import core_count
from lyra.worldgen.generation import warp_torch

SIZE_HW = (480, 832)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--targets", type=int, default=80)
    parser.add_argument("--plain-targets", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    h, w = SIZE_HW
    K = torch.tensor([[500.0, 0, w / 2 - 0.5], [0, 500.0, h / 2 - 0.5], [0, 0, 1]], device=args.device)

    def poses(count: int) -> torch.Tensor:
        at = np.column_stack([rng.normal(0, 0.3, (count, 2)), np.full(count, 1.5)])
        Ts = [camera_pose(p, heading_rad=heading) for p, heading in zip(at, rng.normal(0, 0.2, count), strict=True)]
        return torch.tensor(np.stack([invert_rigid(T) for T in Ts]), dtype=torch.float32, device=args.device)

    images = torch.rand(5, 3, h, w, device=args.device)
    u, v = (torch.linspace(0, end, n, device=args.device) for end, n in ((9, w), (7, h)))
    depths = (4 + u.sin() + v[:, None].cos()).expand(5, h, w).contiguous()
    views = (images, depths, poses(5), K.expand(5, 3, 3))
    targets = poses(args.targets)

    def run(count: int) -> float:
        warp_torch.warp_views(*views, targets[:1], K[None])
        start = clock()
        for first in range(0, count, 16):
            some = targets[first : min(first + 16, count)]
            warp_torch.warp_views(*views, some, K.expand(len(some), 3, 3))
        if args.device != "cpu":
            torch.cuda.synchronize()
        return clock() - start

    fast_s = run(args.targets)
    with patch.object(warp_torch, "_on_processor", warp_torch._on_device):
        plain_s = run(args.plain_targets) * args.targets / args.plain_targets
    result = {
        "machine": {"cores": core_count(), "device": args.device},
        "torch": torch.__version__,
        "targets": args.targets,
        "fast_s": round(fast_s, 2),
        "plain_s": round(plain_s, 2),
        "ratio": round(plain_s / fast_s, 1),
    }
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
