"""How long styles of a world take on one core, and what they take on disk.

python tools/bench/bench_styles.py --world WORLD --out DIR [--styles 4] [--seed 1000]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from lyra.worldgen.vary.base import read_base
from lyra.worldgen.vary.config import StyleVariation
from lyra.worldgen.vary.styles import Styles


def main() -> None:
    """Make styles and print what they cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--styles", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1000)
    args = parser.parse_args()
    base = read_base(args.world)
    # The photo's own floor is painted once for all styles, so it is a time of its own.
    cfg = StyleVariation(floor=("wood", "tile", "stone", "concrete", "carpet"))
    styles = Styles(args.out, base, cfg, seed=args.seed)
    begun = time.process_time()
    assert not styles.refused, styles.refused
    mapped = time.process_time() - begun
    seconds, sizes = [], []
    for number in range(args.styles):
        begun = time.process_time()
        style = styles.get(number)
        seconds.append(time.process_time() - begun)
        sizes.append(sum(path.stat().st_size for path in style.folder.iterdir()))
    begun = time.process_time()
    painted = Styles(args.out / "photo", base, StyleVariation(floor=("photo",), count=1), seed=args.seed)
    painted.get(0)
    photo = time.process_time() - begun - mapped
    world_bytes = sum(path.stat().st_size for path in args.world.rglob("*") if path.is_file())
    row = {
        "texture_px": list(base.mesh.texture_u8.shape[:2]) if base.mesh.texture_u8 is not None else None,
        "mapping_s": round(mapped, 1),
        "style_s": round(statistics.median(seconds), 1),
        "style_with_painted_floor_s": round(photo, 1),
        "style_mib": round(statistics.median(sizes) / 2**20, 1),
        "world_mib": round(world_bytes / 2**20, 1),
        "share_of_64_copies_with_8_styles_pct": round(100 * 8 * statistics.median(sizes) / (64 * world_bytes), 2),
    }
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
