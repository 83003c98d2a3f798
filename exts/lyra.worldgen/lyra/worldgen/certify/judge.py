"""Turns what PhysX answered into lines of the certificate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.raycast import Raycaster
from ..sim.physx_job import GRAVITY_M_S2, PhysxResult
from .plan import DROP_FROM_M, PANORAMA_HW, SHOT_SPEEDS_M_S, Plan
from .records import Line
from .space import FreeSpace
from .world_data import WorldData

SAFETY_Z_M = -0.9
"""Hits below, seen from the floor, lie on the safety plane and not on the world."""
FAR_M = 1e3
MOVED_M = 0.01


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the pictures of the certificate are drawn from."""

    plan: Plan
    result: PhysxResult
    landed: np.ndarray
    """[D] bool."""
    panorama_error_m: np.ndarray
    """[rows, cols] collider minus mesh distance; NaN where neither was hit."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Lines and what they rest on."""

    lines: tuple[Line, ...]
    evidence: Evidence


def judge(world: WorldData, space: FreeSpace, plan: Plan, result: PhysxResult) -> Judgement:
    """All lines that need PhysX."""
    raycaster = Raycaster(world.solid)
    drop_lines, landed = _drop_lines(plan, result, raycaster)
    ray_lines, error_m = _agreement_lines(plan, result, raycaster)
    lines = (
        *_floor_lines(plan, result),
        *drop_lines,
        *_shot_lines(world, plan, result),
        *ray_lines,
        *_bound_lines(plan, result),
        *_map_lines(plan, result),
        *_drive_lines(world, plan, result),
        *_object_lines(result),
    )
    evidence = Evidence(plan=plan, result=result, landed=landed, panorama_error_m=error_m)
    return Judgement(lines=lines, evidence=evidence)


PHYSICS_LINES: Mapping[str, str] = {
    "floor.flat": "The floor is flat",
    "floor.closed": "The floor has no holes",
    "drops.landed": "Dropped bodies come to rest where the floor is seen",
    "drops.lowest": "Nothing sinks or falls through the floor",
    "drops.speed": "Nothing is thrown about",
    "drops.force": "The floor carries exactly the weight of what lies on it",
    "shots.inside": "Balls at up to 60 m/s stay inside",
    "winding.front": "Surfaces collide from the side that is seen",
    "rays.median": "Colliders lie where surfaces are seen",
    "rays.p95": "Colliders lie where surfaces are seen, nearly everywhere",
    "bounds.around": "The world is closed on every side",
    "map.free": "Where the map says free, the robot fits",
    "map.occupied": "Where the map says occupied, something stands",
    "drive.passage": "The narrowest passage on the driven routes is wide enough",
    "drive.success": "A robot drives planned episodes to their goals",
    "drive.spl": "It takes the direct way (SPL)",
    "drive.collisions": "It touches nothing on the way",
}
"""Every line that PhysX measures; those with a limit stand as not measured when it could not run."""

LIMITS: Mapping[str, tuple[float | None, str, str]] = {
    "floor.flat": (2.0, "<=", "cm"),
    "floor.closed": (100.0, ">=", "%"),
    "drops.landed": (100.0, ">=", "%"),
    "drops.lowest": (-0.1, ">=", "m"),
    "drops.speed": (1.0, "<=", "x free fall"),
    "drops.force": (5.0, "<=", "% off"),
    "shots.inside": (100.0, ">=", "%"),
    "winding.front": (99.0, ">=", "%"),
    "rays.median": (1.0, "<=", "cm"),
    "rays.p95": (3.0, "<=", "cm"),
    "bounds.around": (100.0, ">=", "%"),
    "map.free": (99.0, ">=", "%"),
    "map.occupied": (90.0, ">=", "%"),
    "drive.passage": (None, ">=", "m"),
    "drive.success": (75.0, ">=", "%"),
    "drive.spl": (None, ">=", ""),
    "drive.collisions": (None, "<=", "per m"),
}


def physics_line(id: str, measured: float | None, detail: str, picture: str = "", **changes: Any) -> Line:
    """A line of `PHYSICS_LINES` with its limit."""
    limit, comparison, unit = LIMITS[id]
    fields = {"limit": limit, "comparison": comparison, "unit": unit} | changes
    return Line(id=id, title=PHYSICS_LINES[id], measured=measured, detail=detail, picture=picture, **fields)


def unmeasured_lines(problem: str) -> tuple[Line, ...]:
    """What stands in the certificate when PhysX could not run."""
    return tuple(
        physics_line(id, None, f"Not measured: {problem}.") for id in PHYSICS_LINES if LIMITS[id][0] is not None
    )


def _floor_lines(plan: Plan, result: PhysxResult) -> list[Line]:
    origins, _ = plan.job.rays["down"]
    z = origins[:, 2] - result.rays["down"] - plan.job.floor_z_m
    solid = z > SAFETY_Z_M
    holes = origins[~solid]
    if not len(z):
        return [physics_line(i, None, "The map has no free cell.") for i in ("floor.flat", "floor.closed")]
    flat = float(np.percentile(np.abs(z[solid]), 95)) if solid.any() else FAR_M
    tilt = math.degrees(_tilt_rad(origins[solid], z[solid]))
    where = f" First hole near x={holes[0, 0]:.2f}, y={holes[0, 1]:.2f} m." if len(holes) else ""
    return [
        physics_line(
            "floor.flat",
            100 * flat,
            f"95 % of {len(z)} places of free floor lie within this of its height; the floor leans by {tilt:.2f}°.",
            "map",
        ),
        physics_line(
            "floor.closed",
            percent(solid),
            f"{len(z)} rays straight down over free floor; {len(holes)} found no floor.{where}",
            "map",
        ),
    ]


def _drop_lines(plan: Plan, result: PhysxResult, raycaster: Raycaster) -> tuple[list[Line], np.ndarray]:
    drops = plan.job.drops
    if not drops:
        problem = "The map has no place wide enough to drop anything."
        names = ("drops.landed", "drops.lowest", "drops.speed", "drops.force")
        return [physics_line(name, None, problem) for name in names], np.zeros(0, bool)
    half = np.array([d.half_m for d in drops])
    seen_z = seen_floor_m(raycaster, result.drop_end_m, half, plan.job.floor_z_m + DROP_FROM_M)
    error = result.drop_end_m[:, 2] - half - seen_z
    landed = np.abs(error) <= 0.03
    lowest = result.drop_lowest_m - half - plan.job.floor_z_m
    free_fall = np.sqrt(2 * GRAVITY_M_S2 * (DROP_FROM_M - half + 0.1)) + 0.3
    weight = np.array([d.mass_kg * GRAVITY_M_S2 for d in drops])
    force = result.drop_force_n[landed] / weight[landed]
    off = 100 * abs(float(force.mean()) - 1) if len(force) else 100.0
    worst = f" Worst: {100 * np.nanmax(np.abs(error[~landed])):.0f} cm." if (~landed).any() else ""
    rest = np.abs(error[landed])
    typical = f" typical error {1000 * np.median(rest):.1f} mm." if len(rest) else ""
    lines = [
        physics_line(
            "drops.landed",
            percent(landed),
            f"{int(landed.sum())} of {len(drops)} balls and boxes rest within 3 cm of the visible surface below;"
            f"{typical}{worst}",
            "map",
        ),
        physics_line(
            "drops.lowest",
            float(lowest.min()),
            f"Lowest point that any of {len(drops)} bodies reached, impact included.",
            "map",
        ),
        physics_line(
            "drops.speed",
            float((result.drop_fastest_m_s / free_fall).max()),
            f"Fastest body against a free fall from {DROP_FROM_M:g} m; more means that a collider pushed it out.",
        ),
        physics_line(
            "drops.force",
            off,
            f"Mean contact force of the bodies at rest: {100 * float(force.mean()) if len(force) else 0:.1f} % of m·g.",
        ),
    ]
    return lines, landed


def _shot_lines(world: WorldData, plan: Plan, result: PhysxResult) -> list[Line]:
    shots = plan.job.shots
    if not shots:
        return [physics_line("shots.inside", None, "The map has no place to shoot from.")]
    lo, hi = world.solid.bounds()
    margin = 0.3  # twice a ball and some of the depth that a solver may push it in
    high = FAR_M if world.outdoors else hi[2] + margin
    inside = (
        (result.shot_lowest_m > plan.job.floor_z_m - 0.1)
        & (result.shot_lo_m[:, :2] > lo[:2] - margin).all(1)
        & (result.shot_hi_m[:, :2] < hi[:2] + margin).all(1)
        & (result.shot_hi_m[:, 2] < high)
    )
    speed = np.array([np.linalg.norm(s.velocity_m_s) for s in shots])
    escaped = ", ".join(
        f"{int((~inside & (np.abs(speed - v) < 0.5)).sum())} of {int((np.abs(speed - v) < 0.5).sum())} at {v:g} m/s"
        for v in SHOT_SPEEDS_M_S
    )
    detail = f"{len(shots)} balls of 3 cm radius with continuous collision detection; escaped: {escaped}."
    return [physics_line("shots.inside", percent(inside), detail, "map")]


def _agreement_lines(plan: Plan, result: PhysxResult, raycaster: Raycaster) -> tuple[list[Line], np.ndarray]:
    errors, panorama = [], np.zeros(0)
    for name in ("panorama", "scatter"):
        error = ray_errors(raycaster, *plan.job.rays[name], result.rays[name], floor_z_m=plan.job.floor_z_m)
        errors.append(error)
        if name == "panorama":
            panorama = error
    both, front = result.rays["panorama"], result.rays["panorama_front"]
    hit = np.isfinite(both) & (both > 0)
    same = np.abs(np.where(np.isfinite(front), front, FAR_M)[hit] - both[hit]) < 1e-3
    error = np.abs(np.concatenate(errors))
    error = error[np.isfinite(error)]
    median, p95 = np.percentile(error, (50, 95)) if len(error) else (None, None)
    astray = 100 * float((error > 0.1).mean()) if len(error) else 0.0
    detail = (
        f"{len(error)} rays in all directions, PhysX against the visible mesh; "
        f"{astray:.1f} % differ by more than 10 cm."
    )
    lines = [
        physics_line(
            "winding.front",
            percent(same) if len(same) else 0.0,
            f"{len(same)} rays that may hit fronts only find the same surface as rays that may hit backs.",
        ),
        physics_line("rays.median", None if median is None else 100 * float(median), detail, "disagreement"),
        physics_line("rays.p95", None if p95 is None else 100 * float(p95), detail, "disagreement"),
    ]
    return lines, panorama.reshape(PANORAMA_HW)


def ray_errors(
    raycaster: Raycaster, origins: np.ndarray, directions: np.ndarray, collider_m: np.ndarray, *, floor_z_m: float
) -> np.ndarray:
    """Collider minus visible distance [N] [m]; NaN where both see nothing, a large value where only one does."""
    seen_m, _, _ = raycaster.cast(origins, directions)
    z = origins[:, 2] + np.where(np.isfinite(collider_m), collider_m, 0) * directions[:, 2]
    collider_m = np.where(z < floor_z_m + SAFETY_Z_M, np.inf, collider_m)
    nothing = ~np.isfinite(seen_m) & ~np.isfinite(collider_m)
    clipped = np.minimum(collider_m, FAR_M) - np.minimum(seen_m, FAR_M)
    return np.where(nothing, np.nan, clipped)


def _bound_lines(plan: Plan, result: PhysxResult) -> list[Line]:
    distance = result.rays["around"]
    if not len(distance):
        return [physics_line("bounds.around", None, "The map has no place to look from.")]
    hit = np.isfinite(distance)
    far = f", the farthest wall at {distance[hit].max():.1f} m" if hit.any() else ""
    places = len(np.unique(plan.job.rays["around"][0], axis=0))
    detail = f"{len(hit)} level rays from {places} places; {int((~hit).sum())} leave the world{far}."
    return [physics_line("bounds.around", percent(hit), detail, "map")]


def _map_lines(plan: Plan, result: PhysxResult) -> list[Line]:
    radius = plan.job.robot.radius_m
    free, occupied = ~result.spheres["free"], result.spheres["occupied"]
    blocked = plan.job.spheres["free"][0][~free]
    where = f" First blocked place: x={blocked[0, 0]:.2f}, y={blocked[0, 1]:.2f} m." if len(blocked) else ""
    lines = []
    for id, agree, text in (
        ("map.free", free, f"free places do not touch a sphere of {radius:g} m.{where}"),
        ("map.occupied", occupied, f"occupied border cells touch a sphere of {radius:g} m."),
    ):
        if len(agree):
            lines.append(physics_line(id, percent(agree), f"{int(agree.sum())} of {len(agree)} {text}", "map"))
        elif id == "map.free":
            lines.append(physics_line(id, None, "The map has no place where the robot fits."))
        else:
            # An empty hall under open sky may hold nothing at all: there is nothing to get wrong then.
            lines.append(physics_line(id, None, "The map has no occupied cell beside free ones.", limit=None))
    return lines


def _drive_lines(world: WorldData, plan: Plan, result: PhysxResult) -> list[Line]:
    need = 2 * plan.job.robot.radius_m
    if not plan.drives:
        return [
            physics_line("drive.passage", None, "There is no navigation episode.", limit=need),
            physics_line("drive.success", None, "There is no navigation episode."),
        ]
    outcomes = iter(result.drives)
    reached, spl, driven, touches, told = [], [], 0.0, 0, []
    for number, drive in enumerate(plan.drives, 1):
        if drive.route_xy_m is None:
            reached.append(False)
            spl.append(0.0)
            told.append(f"{number} has no route on the map")
            continue
        outcome = next(outcomes)
        reached.append(outcome.reached)
        shortest = max(drive.episode.geodesic_m, 1e-6)
        spl.append(float(outcome.reached) * min(1.0, shortest / max(outcome.driven_m, shortest)))
        driven += outcome.driven_m
        touches += outcome.collisions
        if not outcome.reached:
            x, y = outcome.trace_xy_m[-1] if len(outcome.trace_xy_m) else (math.nan, math.nan)
            why = "fell" if outcome.lowest_z_m < -0.2 else "tipped over" if outcome.tilt_rad > 0.8 else "got stuck"
            told.append(f"{number} {why} at x={x:.2f}, y={y:.2f} m")
    fan = result.rays["passage"]
    width = 2 * float(fan.min()) if len(fan) else None
    problems = f" Episode {'; '.join(told)}." if told else ""
    count = f"{sum(reached)} of {len(reached)} episodes reached, {driven:.1f} m driven by a robot of two wheels."
    return [
        physics_line(
            "drive.passage",
            width,
            f"Twice the distance from the routes to the nearest obstacle; the robot is {need:.2f} m wide.",
            "map",
            limit=need,
        ),
        physics_line("drive.success", percent(np.array(reached)), count + problems, "map"),
        physics_line("drive.spl", float(np.mean(spl)), "Success weighted by shortest over driven length, 1 is ideal."),
        physics_line(
            "drive.collisions", touches / driven if driven > 0.1 else None, f"{touches} touches in {driven:.1f} m."
        ),
    ]


def _object_lines(result: PhysxResult) -> list[Line]:
    """Whether things that can be pushed stay where they are until somebody does; none without such things."""
    count = len(result.object_moved_m)
    if not count:
        return []
    stays = f"{count} things that stand free, left alone for some seconds: the farthest that one of them got."
    turns = np.degrees(result.object_turned_rad)
    pushed = result.object_pushed_m
    return [
        Line(
            id="objects.rest",
            title="Movable things stay where they stand",
            measured=100 * float(result.object_moved_m.max()),
            unit="cm",
            limit=1.0,
            detail=stays,
        ),
        Line(
            id="objects.upright",
            title="Movable things stay upright",
            measured=float(turns.max()),
            unit="°",
            limit=1.0,
            detail="Largest turn meanwhile.",
        ),
        Line(
            id="objects.pushed",
            title="They move when they are pushed",
            measured=percent(pushed > MOVED_M),
            unit="%",
            limit=100.0,
            comparison=">=",
            detail=f"{int((pushed > MOVED_M).sum())} of {count} slid more than 1 cm after a push; "
            f"between {100 * pushed.min():.0f} and {100 * pushed.max():.0f} cm.",
        ),
    ]


def seen_floor_m(raycaster: Raycaster, centres: np.ndarray, half: np.ndarray, from_z_m: float) -> np.ndarray:
    """[D] highest visible surface under each body's footprint, looking down from a height; NaN if none."""
    offsets = np.array([[0, 0], [-1, -1], [-1, 1], [1, -1], [1, 1]]) * 0.6
    xy = centres[:, None, :2] + offsets * half[:, None, None]
    origins = np.concatenate([xy, np.full((*xy.shape[:2], 1), from_z_m)], -1).reshape(-1, 3)
    t, _, _ = raycaster.cast(origins, np.tile([0.0, 0.0, -1.0], (len(origins), 1)))
    z = np.where(np.isfinite(t), from_z_m - t, -FAR_M).reshape(len(centres), -1).max(1)
    return np.where(z > -FAR_M, z, np.nan)


def _tilt_rad(points: np.ndarray, z: np.ndarray) -> float:
    """Lean of the best plane through heights z [N] over points [N, 3]."""
    if len(z) < 3:
        return 0.0
    a = np.column_stack([points[:, :2], np.ones(len(points))])
    slope, *_ = np.linalg.lstsq(a, z, rcond=None)
    return math.atan(math.hypot(slope[0], slope[1]))


def percent(good: np.ndarray) -> float:
    """Share of true values in percent, never rounded up to 100."""
    share = 100 * float(np.mean(good)) if len(good) else 0.0
    return share if good.all() else min(share, 99.99)
