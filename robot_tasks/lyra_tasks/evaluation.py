"""What a policy is worth: outcomes of driven episodes, their summary and report, free of simulators and learning
libraries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .worlds import NavigationEpisode

GOAL, COLLISION, TIMEOUT = "goal", "collision", "timeout"
ENDINGS = (GOAL, COLLISION, TIMEOUT)


@dataclass(frozen=True, kw_only=True)
class EpisodeOutcome:
    """One driven episode."""

    world: str
    """Name of the world's folder."""
    episode_id: int
    difficulty: str
    ending: str
    """One of `ENDINGS`."""
    shortest_m: float | None
    """Length of the shortest path from where the robot was put to where its goal begins: the goal's radius is taken
    off, which makes SPL a little stricter than where it is left in. None where there is no goal to reach."""
    path_m: float
    """Driven."""
    time_s: float
    collisions: int
    """How often the robot came to touch something."""
    goal_distance_m: float
    """Straight distance to the goal at the end."""
    coverage: float | None = None
    """Share of the floor that was covered, in exploration tasks."""

    @classmethod
    def of_drive(
        cls,
        episode: NavigationEpisode,
        *,
        world: str,
        ending: str,
        collisions: int,
        path_m: float,
        time_s: float,
        goal_distance_m: float,
        shortest_m: float | None = None,
        coverage: float | None = None,
    ) -> EpisodeOutcome:
        """The outcome of driving an episode; lengths, times and shares are rounded to what is reported."""
        return cls(
            world=world,
            episode_id=episode.episode_id,
            difficulty=episode.difficulty,
            ending=ending,
            collisions=collisions,
            path_m=round(path_m, 4),
            time_s=round(time_s, 4),
            goal_distance_m=round(goal_distance_m, 4),
            shortest_m=None if shortest_m is None else round(shortest_m, 4),
            coverage=None if coverage is None else round(coverage, 4),
        )

    @property
    def success(self) -> bool:
        return self.ending == GOAL

    @property
    def spl(self) -> float | None:
        """Success weighted by path length: shortest over driven length if the goal was reached, else 0; None without a
        goal."""
        if self.shortest_m is None:
            return None
        return self.shortest_m / max(self.path_m, self.shortest_m, 1e-9) if self.success else 0.0


def summarise(outcomes: Iterable[EpisodeOutcome]) -> dict[str, Any]:
    """Rates and means over all episodes, by difficulty and by world; JSON values, keys sorted.

    `spl` is None where there are no goals, `coverage` is there only where floor is covered; `collisions_per_m` divides
    all collisions by all metres; `time_s` is the mean over reached goals, None without any.
    """
    rows = sorted(outcomes, key=lambda o: (o.world, o.episode_id))
    return {
        **_figures(rows),
        "by_difficulty": _grouped(rows, lambda o: o.difficulty),
        "by_world": _grouped(rows, lambda o: o.world),
        "episodes": [_row(o) for o in rows],
    }


def _row(outcome: EpisodeOutcome) -> dict[str, Any]:
    row = asdict(outcome) | {"spl": None if outcome.spl is None else round(outcome.spl, 4)}
    return row if outcome.coverage is not None else {k: v for k, v in row.items() if k != "coverage"}


def _mean(values: Sequence[float | None]) -> float | None:
    """None if one of them is."""
    known = [v for v in values if v is not None]
    return round(float(np.mean(known)), 4) if len(known) == len(values) else None


def _grouped(rows: Sequence[EpisodeOutcome], key) -> dict[str, Any]:
    names = sorted({key(o) for o in rows})
    return {name: _figures([o for o in rows if key(o) == name]) for name in names}


def _figures(rows: Sequence[EpisodeOutcome]) -> dict[str, Any]:
    if not rows:
        return {"count": 0}
    reached = [o.time_s for o in rows if o.success]
    coverage = _mean([o.coverage for o in rows])
    return {
        **({} if coverage is None else {"coverage": coverage}),
        "count": len(rows),
        "success": round(float(np.mean([o.success for o in rows])), 4),
        "spl": _mean([o.spl for o in rows]),
        "collisions_per_m": round(sum(o.collisions for o in rows) / max(sum(o.path_m for o in rows), 1e-9), 4),
        "time_s": round(float(np.mean(reached)), 3) if reached else None,
        "endings": {name: sum(o.ending == name for o in rows) for name in ENDINGS},
    }


def markdown_table(summary: dict[str, Any], group: str) -> str:
    """The summary's groups (`by_difficulty` or `by_world`) as a table, all episodes in its last row."""
    head = f"| {group.removeprefix('by_')} | episodes | success | SPL | collisions/m | time [s] |"
    lines = [head, "| --- | --: | --: | --: | --: | --: |"]
    for name, row in [*summary[group].items(), ("**all**", summary)]:
        time = "-" if row["time_s"] is None else f"{row['time_s']:.1f}"
        spl = "-" if row["spl"] is None else f"{row['spl']:.3f}"
        lines.append(
            f"| {name} | {row['count']} | {row['success']:.3f} | {spl} | {row['collisions_per_m']:.3f} | {time} |"
        )
    return "\n".join(lines) + "\n"
