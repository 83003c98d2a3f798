"""Records MobilityGen trajectories in a world with Isaac Sim's own Python. Not verified inside Isaac Sim.

<isaac-sim>/python.sh tools/isaac_sim/record.py worlds/kitchen --robot CarterRobot --out recordings
"""

from __future__ import annotations

import sys
from typing import Any

from in_app import run_in_app, use_checkout


def main() -> int:
    use_checkout()
    from lyra_tasks.isaac_sim.record import build_parser, record

    args, _ = build_parser().parse_known_args()

    def record_all(app: Any) -> None:
        print(*record(app, args), sep="\n")

    return run_in_app({"headless": True}, record_all)


if __name__ == "__main__":
    sys.exit(main())
