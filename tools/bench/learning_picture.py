#!/usr/bin/env python3
"""docs/images/learning.png, of what docs/benchmarks/learning-*.json record and nothing else.

    .venv/bin/python tools/bench/learning_picture.py [--out docs/images/learning.png]

Three parts: success in the world trained in over steps, success in eight unseen worlds over the number of worlds that
were trained in, and each of those eight by itself. Bars are one standard error of so many episodes.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from records import FOLDER, ROOT, Table, load_record

LIMITS = {"one": 90.0, "unseen": 80.0}
"""What is aimed at [%], in the world trained in and in unseen worlds."""
SEED_COLOURS = ("tab:blue", "tab:orange", "tab:green")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, as its row says."""

    worlds: int
    seed: int | None
    steps: int
    episodes: int
    success: float
    """[%]"""

    @property
    def error(self) -> float:
        """One standard error of the success [%]."""
        share = self.success / 100
        return 100 * math.sqrt(share * (1 - share) / self.episodes)


def runs_of(record: str) -> list[Run]:
    """The trainings of `learning-point-goal` or `learning-places`; a row that says `the same` or names a seed alone
    goes on about the last number of worlds."""
    runs, worlds = [], 0
    for row in _rows(record):
        name = row["trained in"]
        if count := re.match(r"(\d+) worlds?\b", name):
            worlds = int(count[1])
        elif name.startswith("world "):
            worlds = 1
        seed = re.search(r"seed (\d+)", name)
        runs.append(
            Run(
                worlds=worlds,
                seed=int(seed[1]) if seed else None,
                steps=int(row["steps"].replace(",", "")),
                episodes=int(row["episodes"]),
                success=_percent(row["success"]),
            )
        )
    return runs


def unseen_by_world() -> tuple[list[str], dict[str, list[float]]]:
    """Names of the worlds, and success [%] in each by seed."""
    rows = _rows("learning-unseen")
    worlds = [column for column in rows[0] if column != "arrived in"]
    return worlds, {row["arrived in"]: [_percent(row[world]) for world in worlds] for row in rows}


def _rows(record: str) -> list[dict[str, str]]:
    table = next(block for block in load_record(FOLDER / f"{record}.json").blocks if isinstance(block, Table))
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _percent(cell: str) -> float:
    return float(cell.removesuffix("%").strip())


def draw(path: Path) -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (one, many, each) = plt.subplots(
        1, 3, figsize=(13.5, 4.2), constrained_layout=True, sharey=True, width_ratios=(1, 1.15, 1.3)
    )
    trained = runs_of("learning-point-goal")
    for seed, colour in enumerate(SEED_COLOURS):
        runs = sorted((r for r in trained if r.worlds == 1 and r.seed == seed), key=lambda r: r.steps)
        shifted = [r.steps / 1e6 + 0.02 * (seed - 1) for r in runs]
        one.errorbar(shifted, [r.success for r in runs], [r.error for r in runs], fmt="o-", color=colour, capsize=3,
                     label=f"seed {seed}")  # fmt: skip
    _limit(one, "one")
    one.set_xlim(0, 2.3)
    one.set_xlabel("million steps")
    one.set_ylabel("drives that arrive [%]")
    one.set_title("in the one world trained in", fontsize=11)

    places = runs_of("learning-places")
    steps = places[0].steps
    many.errorbar([r.worlds for r in places], [r.success for r in places], [r.error for r in places], fmt="o",
                  color="black", capsize=3, label=f"{steps:,} steps, one seed")  # fmt: skip
    longer = [r for r in trained if r.worlds > 1]
    for run, colour in zip(longer, SEED_COLOURS, strict=True):
        place = run.worlds * 1.12 ** (1 + (run.seed or 0))
        many.errorbar([place], [run.success], [run.error], fmt="s", color=colour, capsize=3,
                      label=f"{run.steps:,} steps, seed {run.seed}")  # fmt: skip
    _limit(many, "unseen")
    counts = [r.worlds for r in places]
    many.set_xscale("log", base=2)
    many.set_xlim(0.8, 44)
    many.set_xticks(counts, [str(count) for count in counts])
    many.minorticks_off()
    many.set_xlabel("worlds trained in")
    many.set_title("in eight worlds never seen", fontsize=11)

    worlds, by_seed = unseen_by_world()
    for seed, (shares, colour) in enumerate(zip(by_seed.values(), SEED_COLOURS, strict=True)):
        each.bar([i + 0.27 * (seed - 1) for i in range(len(worlds))], shares, 0.25, color=colour)
    _limit(each, "unseen")
    each.set_xticks(range(len(worlds)), worlds)
    each.set_xlabel(f"unseen world, after {longer[0].steps:,} steps in {longer[0].worlds}")
    each.set_title("in each of them", fontsize=11)
    for axis in (one, many, each):
        axis.set_ylim(0, 102)
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    for axis in (one, many):  # the bars have the colours of the seeds
        axis.legend(fontsize=9, loc="lower right")
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def _limit(axis, of: str) -> None:
    axis.axhline(LIMITS[of], color="gray", linestyle=":")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "learning.png")
    draw(parser.parse_args().out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
