"""Puts a world on a stage with Isaac Sim's own Python, with a robot if asked. Not verified inside Isaac Sim.

<isaac-sim>/python.sh tools/isaac_sim/load_world.py worlds/kitchen --representation both --robot --seconds 10
"""

from __future__ import annotations

import json
import sys
from typing import Any

from in_app import run_in_app, use_checkout


def main() -> int:
    use_checkout()
    from lyra.worldgen.kit.headless import build_parser, load

    args, _ = build_parser().parse_known_args()

    def put(app: Any) -> None:
        print(json.dumps(load(app, args), indent=2))
        while args.gui and app.is_running():
            app.update()

    return run_in_app({"headless": not args.gui}, put)


if __name__ == "__main__":
    sys.exit(main())
