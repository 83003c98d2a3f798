"""The files that an evaluation leaves: figures, tables and pictures of the driven paths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .evaluation import markdown_table
from .ground import Ground
from .trajectory_film import write_film
from .trajectory_picture import Trajectory, draw_trajectories


def write_report(
    out: Path,
    summary: dict[str, Any],
    grounds: Sequence[Ground],
    trajectories: Sequence[Sequence[Trajectory]],
    *,
    goal_radius_m: float,
) -> None:
    """Write `evaluation.json`, `evaluation.md` and `trajectories/WORLD.png` and `.mp4`.

    Args:
        out: made if missing.
        summary: see `evaluation.summarise`, with whatever else is to be told.
        grounds: the worlds.
        trajectories: driven paths of each world.
        goal_radius_m: drawn around goals.
    """
    from PIL import Image

    (out / "trajectories").mkdir(parents=True, exist_ok=True)
    for ground, driven in zip(grounds, trajectories, strict=True):
        picture = draw_trajectories(ground.grid, driven, goal_radius_m=goal_radius_m)
        place = out / "trajectories" / f"{ground.world.folder.name}.png"
        Image.fromarray(picture).save(place)
        write_film(place.with_suffix(".mp4"), ground.grid, driven, goal_radius_m=goal_radius_m)
    (out / "evaluation.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    tables = "\n".join(markdown_table(summary, group) for group in ("by_difficulty", "by_world"))
    (out / "evaluation.md").write_text(tables, encoding="utf-8")
