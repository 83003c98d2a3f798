"""The command line over tiny stages whose worlds hold a real room, so that variants can be made of them.

`python room_program.py PAUSE_S ROOM work DIR ...`; ROOM is a finished world whose files every world gets.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fake_stages import fake_stages
from lyra.worldgen.build import StageContext, Stages
from lyra.worldgen.build import journey as build_journey
from lyra.worldgen.build import run as build_run
from lyra.worldgen.cli.main import main
from lyra.worldgen.core.world import load_world


def room_stages(pause_s: float, room: Path) -> Stages:
    """The tiny stages; what `reconstruct` and `simulate` write comes from the room."""

    def copied(name: str):
        def run(context: StageContext) -> None:
            for file in load_world(room).manifest.stages[name].files:
                target = context.notes.folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(room / file, target)
            context.progress.step(name, 1, 1)

        return run

    stages = fake_stages(pause_s)
    real = {name: copied(name) for name in ("reconstruct", "simulate")}
    items = (
        replace(stage, run=real[stage.name], outputs=()) if stage.name in real else stage for stage in stages.items
    )
    return replace(stages, items=tuple(items))


if __name__ == "__main__":
    for module in (build_run, build_journey):
        module.default_stages = lambda: room_stages(float(sys.argv[1]), Path(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
