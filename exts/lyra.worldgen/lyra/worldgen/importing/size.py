"""How long a metre is in a file: what the user says, what its format says, and what rooms are usually like."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ..core.annotations import UNITS_M, measured_sigma
from ..core.config import SourceConfig
from ..core.errors import InputError
from ..core.report import Report
from ..core.scaling import FACTOR_RANGE
from .records import ImportedScale
from .upright import Upright

ROOM_HEIGHT_M, ROOM_SIGMA = 2.7, 0.13
"""Height of rooms and one standard deviation of its logarithm: 2.4 to 3.2 m covers five of six."""
FIT_SIGMA = 0.35
"""The same, of places that a file of usual units may hold: halls and cellars as well."""
UNIT_SIGMA = 0.01
"""Doubt of a unit that was stated."""
FORMAT_SIGMA = 0.02
"""Doubt of a unit that the format defines, when the place has a sensible size in it."""
ARBITRARY_DENSITY = 0.5
"""How often a file without units is in none of the usual ones, per factor e of scale, relative to metres."""
UNKNOWN_SIGMA = 0.5
SIZE_RANGE_M = (1.2, 400.0)
"""Longer side of the floor plan of a place that a robot may drive in."""
HEIGHT_RANGE_M = (1.0, 60.0)


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Size of a scene along its own upright axes, in units of the file."""

    length: float
    """Longer side of what lies over the floor."""
    width: float
    height: float
    """Of nearly everything above the floor."""
    ceiling: float | None
    """Height of the ceiling above the floor."""


@dataclass
class _Evidence:
    """Logarithms of metres per unit with their sigmas."""

    pieces: list[tuple[float, float, dict[str, Any]]] = field(default_factory=list)

    def add(self, metres_per_unit: float, sigma: float, kind: str, says: str, **more: Any) -> None:
        self.pieces.append((math.log(metres_per_unit), sigma, {"kind": kind, "says": says, "used": True, **more}))


def estimate_scale(
    upright: Upright,
    extent: Extent,
    cfg: SourceConfig,
    report: Report,
    *,
    unit_odds: dict[str, float],
    defined_unit: str | None = None,
) -> ImportedScale:
    """Metres per unit with an error bar.

    Args:
        upright: for what its ceiling says.
        extent: size in units of the file.
        cfg: what the user says.
        report: takes findings about contradictions and guesses.
        unit_odds: how often files of this kind are in each usual unit, relative to one another; `none` stands for
            units of no meaning.
        defined_unit: what the format says that its unit is.

    Raises:
        InputError: the place is far too small or too large to be one, in the units that were said.
    """
    said = _Evidence()
    if cfg.units != "auto":
        said.add(UNITS_M[cfg.units], UNIT_SIGMA, "units", f"one unit of the file is 1 {cfg.units}")
    if cfg.metres_per_unit:
        says = f"one unit of the file is {cfg.metres_per_unit:g} m"
        said.add(cfg.metres_per_unit, UNIT_SIGMA, "units", says)
    for measure in cfg.measures3d:
        length = math.dist(*measure.ends)
        sigma = measure.sigma_m / measure.length_m
        said.add(measure.length_m / length, sigma, "measure", measure.text, stated_m=measure.length_m, in_file=length)
    if cfg.ceiling_height_m:
        if extent.ceiling is None:
            raise InputError("no ceiling was found, so its height says nothing; give --units or --measure3d instead")
        sigma = max(0.01, measured_sigma(cfg.ceiling_height_m) / cfg.ceiling_height_m)
        says = f"the ceiling is {cfg.ceiling_height_m:g} m above the floor"
        said.add(
            cfg.ceiling_height_m / extent.ceiling,
            sigma,
            "ceiling",
            says,
            stated_m=cfg.ceiling_height_m,
            in_file=extent.ceiling,
        )
    if said.pieces:
        scale = _fused(said, report)
    elif defined_unit is not None:
        scale = _defined(extent, defined_unit, report)
    else:
        scale = _guessed(extent, unit_odds, report)
    _expect_sensible(extent, scale.metres_per_unit)
    return scale


def _fused(said: _Evidence, report: Report) -> ImportedScale:
    """What was said, weighted by its doubt; contradictions widen the doubt and become findings."""
    weights = [1 / sigma**2 for _, sigma, _ in said.pieces]
    mean = sum(w * log for w, (log, _, _) in zip(weights, said.pieces, strict=True)) / sum(weights)
    sigma = 1 / math.sqrt(sum(weights))
    spread = max(abs(log - mean) / own for log, own, _ in said.pieces)
    if spread > 3:
        sigma = max(abs(log - mean) for log, _, _ in said.pieces)
        quoted = "; ".join(str(piece["says"]) for *_, piece in said.pieces)
        report.warn(
            "scale.contradiction", f"what was said about the size does not agree, leave out the wrong one: {quoted}"
        )
    kinds = list(dict.fromkeys(str(piece["kind"]) for *_, piece in said.pieces))
    return _scale(math.exp(mean), "_and_".join(kinds), sigma, [piece for *_, piece in said.pieces])


def _defined(extent: Extent, unit: str, report: Report) -> ImportedScale:
    factor = UNITS_M[unit]
    piece = {"kind": "format", "says": f"the format counts in {unit}", "used": True}
    height = (extent.ceiling or extent.height) * factor
    if extent.ceiling is None or 1.9 <= height <= 12:
        return _scale(factor, "format", FORMAT_SIGMA if extent.ceiling else 0.05, [piece])
    other = {name: m for name, m in UNITS_M.items() if 2.0 <= (extent.ceiling or 0) * m <= 6.0}
    if not other:
        report.warn("scale.odd", f"the format counts in {unit}, then the room is {height:.3g} m high; check it")
        return _scale(factor, "format", 0.2, [piece])
    # Exporters that ignore the definition are common; a room of 270 m is not.
    name = min(other, key=lambda n: abs(math.log((extent.ceiling or 1) * other[n] / ROOM_HEIGHT_M)))
    message = (
        f"the format counts in {unit}, but then the room is {height:.4g} m high; taken to be in {name} instead, where "
        f"it is {(extent.ceiling or 0) * other[name]:.2f} m; say --units {unit} if that is wrong"
    )
    report.warn("scale.unit", message)
    pieces = [{**piece, "used": False}, {"kind": "room height", "says": f"rooms are as high in {name}", "used": True}]
    return _scale(other[name], "room_height", 0.05, pieces)


def _guessed(extent: Extent, unit_odds: dict[str, float], report: Report) -> ImportedScale:
    """The usual unit in which the room has a usual height, or no usual unit and a usual height."""
    if extent.ceiling is None:
        return _guessed_outdoors(extent, unit_odds, report)
    free = math.log(ROOM_HEIGHT_M / extent.ceiling)
    weights = {name: unit_odds.get(name, 0.0) * _normal(math.log(UNITS_M[name]) - free, FIT_SIGMA) for name in UNITS_M}
    weights["none"] = unit_odds.get("none", 0.0) * ARBITRARY_DENSITY
    total = sum(weights.values())
    best = max(weights, key=lambda name: weights[name])
    if best == "none" or total <= 0:
        height = ROOM_HEIGHT_M
        piece = {
            "kind": "room height",
            "says": f"rooms are {height} m high, give or take {ROOM_SIGMA:.0%}",
            "used": True,
        }
        report.info(
            "scale.guessed", "nothing says how large the place is; it is taken to be as high as rooms usually are"
        )
        return _scale(math.exp(free), "room_height", ROOM_SIGMA, [piece])
    chosen = math.log(UNITS_M[best])
    # What else it may be keeps its share in the doubt.
    variance = sum(
        w / total * (0.0 if name == best else ((free if name == "none" else math.log(UNITS_M[name])) - chosen) ** 2)
        for name, w in weights.items()
    )
    variance += weights["none"] / total * ROOM_SIGMA**2
    sigma = min(UNKNOWN_SIGMA, math.sqrt(variance + UNIT_SIGMA**2))
    height_m = extent.ceiling * UNITS_M[best]
    says = f"in {best} the room is {height_m:.2f} m high, as rooms are"
    report.info("scale.guessed", f"nothing says how large the place is; {says}")
    return _scale(UNITS_M[best], "room_height", sigma, [{"kind": "room height", "says": says, "used": True}])


def _guessed_outdoors(extent: Extent, unit_odds: dict[str, float], report: Report) -> ImportedScale:
    """Without a ceiling only the extent speaks, and it says little."""
    usual_m, sigma = 12.0, 1.0
    side = math.sqrt(extent.length * extent.width)
    scores = {
        name: unit_odds.get(name, 0.0) * _normal(math.log(side * UNITS_M[name] / usual_m), sigma) for name in UNITS_M
    }
    best = max(scores, key=lambda name: scores[name])
    factor = UNITS_M[best] if scores[best] > 0.02 else usual_m / side
    message = "nothing says how large the place is and it has no ceiling; give --units or --measure3d"
    report.warn("scale.unknown", message)
    piece = {"kind": "extent", "says": f"the place is {side * factor:.3g} m wide", "used": True}
    return _scale(factor, "extent", UNKNOWN_SIGMA, [piece])


def _normal(x: float, sigma: float) -> float:
    return math.exp(-0.5 * (x / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))


def _scale(factor: float, source: str, sigma: float, pieces: list[dict[str, Any]]) -> ImportedScale:
    evidence = []
    for piece in pieces:
        in_file = piece.pop("in_file", None)
        evidence.append(piece if in_file is None else {**piece, "in_world_m": round(in_file * factor, 6)})
    # Twelve digits: what differs behind them comes from the order of a sum.
    return ImportedScale(
        metres_per_unit=float(f"{factor:.12g}"), source=source, relative_sigma=sigma, evidence=tuple(evidence)
    )


def _expect_sensible(extent: Extent, factor: float) -> None:
    low, high = FACTOR_RANGE
    if not low <= factor <= high:
        raise InputError(f"one unit of the file would be {factor:.3g} m; expected {low:g} to {high:g}, check the units")
    length, height = extent.length * factor, extent.height * factor
    size = f"{length:.3g} x {extent.width * factor:.3g} m and {height:.3g} m high"
    if length < SIZE_RANGE_M[0] or height < 0.02 or (extent.ceiling or 9e9) * factor < HEIGHT_RANGE_M[0]:
        raise InputError(f"the place is {size}, too small for a robot; say its true size with --units or --measure3d")
    if length > SIZE_RANGE_M[1] or (extent.ceiling or 0) * factor > HEIGHT_RANGE_M[1]:
        raise InputError(f"the place is {size}, too large for one world; say its true size with --units or --measure3d")
