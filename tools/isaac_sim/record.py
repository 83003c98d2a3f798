"""Records MobilityGen trajectories in a world with Isaac Sim's own Python. Not verified inside Isaac Sim.

<isaac-sim>/python.sh tools/isaac_sim/record.py worlds/kitchen --robot CarterRobot --out recordings

Nothing is installed into the simulator's Python: this checkout is put on its path.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    sys.path[:0] = [str(ROOT / "exts" / "lyra.worldgen"), str(ROOT / "robot_tasks")]
    from lyra.worldgen.core.errors import WorldgenError
    from lyra_tasks.isaac_sim.record import build_parser, record

    args, _ = build_parser().parse_known_args()
    try:
        from isaacsim import SimulationApp
    except ImportError:
        print("error: this Python is not Isaac Sim's; use its python.sh", file=sys.stderr)
        return 3
    # With several GPUs at work MobilityGen crashes in Kit 110.1.
    app = SimulationApp({"headless": True, "multi_gpu": False, "extra_args": ["--/renderer/multiGpu/enabled=false"]})
    try:
        for folder in record(app, args):
            print(folder, flush=True)
        code = 0
    except WorldgenError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = error.exit_code
    app.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
