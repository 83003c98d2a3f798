"""Drives the certified episodes of a world inside Isaac Sim, with its own Python. Not verified inside Isaac Sim.

<isaac-sim>/python.sh tools/isaac_sim/drive.py worlds/kitchen --policy baseline --gui
<isaac-sim>/python.sh tools/isaac_sim/drive.py worlds/kitchen --policy exported/policy.onnx --out evaluation

Nothing is installed into the simulator's Python: this checkout is put on its path.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    sys.path[:0] = [str(ROOT / "exts" / "lyra.worldgen"), str(ROOT / "robot_tasks")]
    from lyra.worldgen.core.errors import WorldgenError
    from lyra_tasks.isaac_sim.run import build_parser, run

    args, _ = build_parser().parse_known_args()
    try:
        from isaacsim import SimulationApp
    except ImportError:
        try:
            from omni.isaac.kit import SimulationApp
        except ImportError:
            print("error: this Python is not Isaac Sim's; use its python.sh", file=sys.stderr)
            return 3
    app = SimulationApp({"headless": not args.gui, "multi_gpu": False})
    try:
        summary = run(args)
        print(json.dumps({k: v for k, v in summary.items() if k != "episodes"}, indent=2), flush=True)
        code = 0
    except WorldgenError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = error.exit_code
    app.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
