"""The command line over tiny stages, as a program: what a session's workers are in quick tests.

`python fake_program.py PAUSE_S work DIR ...`; every step of a stage sleeps, so that a test can cancel or kill it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fake_stages import fake_stages
from lyra.worldgen.build import journey as build_journey
from lyra.worldgen.build import run as build_run
from lyra.worldgen.cli.main import main

if __name__ == "__main__":
    pause_s = float(sys.argv[1])
    for module in (build_run, build_journey):
        module.default_stages = lambda: fake_stages(pause_s)
    sys.exit(main(sys.argv[2:]))
