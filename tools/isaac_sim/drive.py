"""Drives the certified episodes of a world inside Isaac Sim, with its own Python. Not verified inside Isaac Sim.

<isaac-sim>/python.sh tools/isaac_sim/drive.py worlds/kitchen --policy baseline --gui
<isaac-sim>/python.sh tools/isaac_sim/drive.py worlds/kitchen --policy exported/policy.onnx --out evaluation
"""

from __future__ import annotations

import json
import sys
from typing import Any

from in_app import run_in_app, use_checkout


def main() -> int:
    use_checkout()
    from lyra_tasks.isaac_sim.run import build_parser, run

    args, _ = build_parser().parse_known_args()

    def drive(app: Any) -> None:
        summary = run(args)
        print(json.dumps({k: v for k, v in summary.items() if k != "episodes"}, indent=2))

    return run_in_app({"headless": not args.gui}, drive)


if __name__ == "__main__":
    sys.exit(main())
