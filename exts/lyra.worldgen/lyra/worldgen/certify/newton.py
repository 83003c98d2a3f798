"""The optional part of the certificate: the same drops in Newton, a second engine that shares no code with PhysX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..core.progress import SupportsProgress
from ..core.raycast import Raycaster
from ..core.world import locate
from ..sim.child_process import Outcome
from ..sim.newton_drop import NewtonJob, NewtonResult, run_newton_drop
from ..sim.physx_job import Drop
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
    "newton.native": "They do so with MuJoCo's own contacts, which know convex shapes only",
}
"""The last one is about the collider without triangle meshes and stands only where a world has it."""


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
    raycaster = Raycaster(world.solid)
    outcome = run_newton_drop(
        NewtonJob(stage=str(stage_of(world)), drops=drops), workdir, timeout_s=TIMEOUT_S, progress=progress
    )
    if outcome.result is None:
        return NewtonPart(lines=unmeasured(f"Not measured: {outcome.problem}."), warnings=(_said(outcome),))
    landed, detail = _landed(raycaster, drops, outcome.result, floor_z)
    half = np.array([drop.half_m for drop in drops])
    lines = [
        _line("newton.landed", landed, f"{detail} MuJoCo solver, Newton's contacts."),
        _line(
            "newton.lowest",
            float((outcome.result.lowest_m - half - floor_z).min()),
            f"Lowest point that any of {len(drops)} bodies reached, impact included.",
        ),
    ]
    convex = locate(world.folder, "payloads/collision_convex.usdc")
    if convex.is_file():
        native = run_newton_drop(
            NewtonJob(stage=str(convex.resolve()), drops=drops, contacts="mujoco"),
            workdir,
            timeout_s=TIMEOUT_S,
            progress=progress,
        )
        if native.result is None:
            lines.append(_line("newton.native", None, f"Not measured: {native.problem}."))
        else:
            lines.append(_line("newton.native", *_landed(raycaster, drops, native.result, floor_z)))
    return NewtonPart(lines=tuple(lines), versions=outcome.result.versions, timings_s=outcome.result.timings_s)


def _landed(raycaster: Raycaster, drops: tuple[Drop, ...], result: NewtonResult, floor_z_m: float) -> tuple[float, str]:
    """Share of bodies [%] that lie on the visible surface below them, and a sentence about them."""
    half = np.array([drop.half_m for drop in drops])
    seen_z = seen_floor_m(raycaster, result.end_m, half, floor_z_m + FALL_M)
    error = result.end_m[:, 2] - half - seen_z
    landed = np.abs(error) <= TOLERANCE_M
    worst = f" Worst: {100 * np.nanmax(np.abs(error[~landed])):.0f} cm." if (~landed).any() else ""
    rest = np.abs(error[landed])
    typical = f" typical error {1000 * np.median(rest):.1f} mm." if len(rest) else ""
    shapes = ", ".join(f"{count} {name.lower().replace('_', ' ')}" for name, count in result.shapes.items())
    said = (
        f"{int(landed.sum())} of {len(drops)} balls and boxes rest within 3 cm of the visible surface below ({shapes});"
    )
    return percent(landed), f"{said}{typical}{worst}"


def stage_of(world: WorldData) -> Path:
    """The layer with nothing but colliders where the world has one, else the whole scene."""
    payload = locate(world.folder, "payloads/collision.usdc")
    return (payload if payload.is_file() else world.scene).resolve()


def unmeasured(detail: str) -> tuple[Line, ...]:
    """Lines without a measurement."""
    return tuple(_line(id, None, detail) for id in ("newton.landed", "newton.lowest"))


def _line(id: str, measured: float | None, detail: str) -> Line:
    limit, unit = (LOWEST_M, "m") if id == "newton.lowest" else (100.0, "%")
    return Line(id=id, title=TITLES[id], measured=measured, unit=unit, limit=limit, comparison=">=", detail=detail)


def _said(outcome: Outcome[NewtonResult]) -> str:
    return f"Newton was asked for and did not measure: {outcome.problem}."
