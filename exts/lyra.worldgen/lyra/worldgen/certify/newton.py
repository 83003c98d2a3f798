"""The optional part of the certificate: the same drops in Newton, a second engine that shares no code with PhysX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..core.progress import SupportsProgress
from ..core.raycast import Raycaster
from ..sim.newton_drop import NewtonJob, NewtonOutcome, run_newton_drop
from .judge import percent, seen_floor_m
from .plan import Plan
from .records import Line
from .world_data import WorldData

FALL_M = 0.3
"""Free height under each body at the start: it lies still after half of the simulated time."""
TOLERANCE_M = 0.03
LOWEST_M = -0.1
TIMEOUT_S = 1200.0
"""Compiling kernels for the first time takes minutes on a busy machine."""
TITLES = {
    "newton.landed": "Dropped bodies come to rest in Newton, too",
    "newton.lowest": "Nothing sinks or falls through the floor in Newton",
}


@dataclass(frozen=True, kw_only=True)
class NewtonPart:
    """What Newton adds to a certificate."""

    lines: tuple[Line, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    timings_s: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def newton_part(world: WorldData, plan: Plan, workdir: Path, *, progress: SupportsProgress) -> NewtonPart:
    """Drop the certificate's bodies in Newton's MuJoCo solver with Newton's own contacts.

    Args:
        world: the world.
        plan: where PhysX drops bodies.
        workdir: an existing folder for the process's files.
        progress: told about `physics`.

    Raises:
        Cancelled: through `progress`.
    """
    floor_z = plan.job.floor_z_m
    drops = tuple(
        replace(d, position_m=(d.position_m[0], d.position_m[1], floor_z + d.half_m + FALL_M)) for d in plan.job.drops
    )
    if not drops:
        return NewtonPart(lines=unmeasured("The map has no place wide enough to drop anything."))
    outcome = run_newton_drop(
        NewtonJob(stage=str(stage_of(world)), drops=drops), workdir, timeout_s=TIMEOUT_S, progress=progress
    )
    if outcome.result is None:
        return NewtonPart(lines=unmeasured(f"Not measured: {outcome.problem}."), warnings=(_said(outcome),))
    half = np.array([drop.half_m for drop in drops])
    seen_z = seen_floor_m(Raycaster(world.solid), outcome.result.end_m, half, floor_z + FALL_M)
    error = outcome.result.end_m[:, 2] - half - seen_z
    landed = np.abs(error) <= TOLERANCE_M
    worst = f" Worst: {100 * np.nanmax(np.abs(error[~landed])):.0f} cm." if (~landed).any() else ""
    rest = np.abs(error[landed])
    typical = f" typical error {1000 * np.median(rest):.1f} mm." if len(rest) else ""
    shapes = ", ".join(f"{count} {name.lower()}" for name, count in outcome.result.shapes.items())
    lines = (
        _line(
            "newton.landed",
            percent(landed),
            f"{int(landed.sum())} of {len(drops)} balls and boxes rest within 3 cm of the visible surface below "
            f"(MuJoCo solver, Newton's contacts, {shapes});{typical}{worst}",
        ),
        _line(
            "newton.lowest",
            float((outcome.result.lowest_m - half - floor_z).min()),
            f"Lowest point that any of {len(drops)} bodies reached, impact included.",
        ),
    )
    return NewtonPart(lines=lines, versions=outcome.result.versions, timings_s=outcome.result.timings_s)


def stage_of(world: WorldData) -> Path:
    """The layer with nothing but colliders where the world has one, else the whole scene."""
    payload = world.folder / "payloads" / "collision.usdc"
    return (payload if payload.is_file() else world.scene).resolve()


def unmeasured(detail: str) -> tuple[Line, ...]:
    """Lines without a measurement."""
    return tuple(_line(id, None, detail) for id in TITLES)


def _line(id: str, measured: float | None, detail: str) -> Line:
    limit, unit = (LOWEST_M, "m") if id == "newton.lowest" else (100.0, "%")
    return Line(id=id, title=TITLES[id], measured=measured, unit=unit, limit=limit, comparison=">=", detail=detail)


def _said(outcome: NewtonOutcome) -> str:
    return f"Newton was asked for and did not measure: {outcome.problem}."
