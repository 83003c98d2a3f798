"""Figures of each photo's walks, their medians, and the limits that they are held against."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from ..certify import Line
from .persistence import Persistence, Revisit, Walk

REVISIT_DB, GAIN_DB, DRIFT_LEVELS = 30.0, 8.0, 1.0
PATHS = {"out-and-back": "out and back", "spin": "turn on the spot"}


class SeenAgain(Protocol):
    """What the drift of colours needs of a pose that was seen again; a `Revisit`, for one."""

    @property
    def loop(self) -> int: ...
    @property
    def psnr_db(self) -> float: ...
    @property
    def signed_levels(self) -> Sequence[float]: ...
    @property
    def absolute_levels(self) -> Sequence[float]: ...


def figures(one: Persistence) -> dict[str, Any]:
    """Everything that was measured on one photo, as JSON values: medians over the poses that were seen again."""
    out: dict[str, Any] = {}
    for path in PATHS:
        pair = {"with": one.walk(path, remembers=True), "without": one.walk(path, remembers=False)}
        sides: dict[str, Any] = {side: _walk_figures(walk) for side, walk in pair.items()}
        a, b = sides["with"]["psnr_db"], sides["without"]["psnr_db"]
        out[path] = {**sides, "gain_db": None if a is None or b is None else _rounded(a - b)}
    spins = one.walk("spin", remembers=True), one.walk("spin", remembers=False)
    out["drift"] = {"with": drift(spins[0].revisits), "without": drift(spins[1].revisits)}
    out["depth"] = {}
    for side, remembers in (("with", True), ("without", False)):
        revisits = [r for walk in one.walks if walk.remembers == remembers for r in walk.revisits]
        out["depth"][side] = {
            "px": sum(r.depth_px for r in revisits),
            "changed_px": sum(r.depth_changed_px for r in revisits),
        }
    return out


def drift(revisits: Sequence[SeenAgain]) -> list[dict[str, Any]]:
    """Change of colour after each loop: mean over poses and pixels, by channel, in grey levels of 255."""
    loops: list[dict[str, Any]] = []
    for loop in sorted({r.loop for r in revisits}):
        of_loop = [r for r in revisits if r.loop == loop]
        signed = np.mean([r.signed_levels for r in of_loop], 0)
        absolute = np.mean([r.absolute_levels for r in of_loop], 0)
        psnr = statistics.median(r.psnr_db for r in of_loop)
        loops.append(
            {
                "loops": loop,
                "signed_levels": [_rounded(x) for x in signed],
                "absolute_levels": [_rounded(x) for x in absolute],
                "psnr_db": _rounded(psnr),
            }
        )
    return loops


def first_round(walk: Walk) -> list[Revisit]:
    """What was seen again after one loop: all of a walk out and back."""
    if not walk.path.startswith("spin"):
        return list(walk.revisits)
    return [r for r in walk.revisits if r.loop == 1]


def medians(photos: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Median over photos of every number in the figures of `figures`, in the same places."""
    return _merged([photo for photo in photos.values()])


def judged(photos: dict[str, dict[str, Any]], *, loops: int, distance_m: float) -> tuple[Line, ...]:
    """The limits, over all photos."""
    count = f"Median of {len(photos)} photos" if len(photos) > 1 else "One photo"
    lines = []
    for path, words in PATHS.items():
        of = [photo[path] for photo in photos.values()]
        where = f"{words}, {distance_m:g} m" if path == "out-and-back" else f"{words}, 360°"
        lines.append(
            Line(
                id=f"revisit.{path}",
                title=f"What is seen again looks the same ({where})",
                measured=_median(x["with"]["psnr_db"] for x in of),
                unit="dB",
                limit=REVISIT_DB,
                comparison=">=",
                detail=f"{count}: PSNR of the frame at the same pose, all pixels; equal pictures count as 99 dB. "
                f"Lowest photo {_said(_least(x['with']['psnr_db'] for x in of))} dB.",
            )
        )
        lines.append(
            Line(
                id=f"gain.{path}",
                title=f"That is the memory's doing ({where})",
                measured=_median(x["gain_db"] for x in of),
                unit="dB",
                limit=GAIN_DB,
                comparison=">=",
                detail=f"{count}: with memory minus without; "
                f"without it is {_said(_median(x['without']['psnr_db'] for x in of))} dB.",
            )
        )
    worst = [level_after(photo["drift"]["with"], loops) for photo in photos.values()]
    lines.append(
        Line(
            id="drift.colour",
            title=f"Colours do not drift in {loops} loops",
            measured=None if None in worst else max(x for x in worst if x is not None),
            unit="levels",
            limit=DRIFT_LEVELS,
            detail="Mean absolute change of the worst channel of the worst photo, in grey levels of 255.",
        )
    )
    px = sum(photo["depth"]["with"]["px"] for photo in photos.values())
    changed = sum(photo["depth"]["with"]["changed_px"] for photo in photos.values())
    lines.append(
        Line(
            id="depth.changed",
            title="Geometry never changes where it was known",
            measured=float(changed) if px else None,
            unit="pixels",
            limit=0.0,
            detail=f"Of {px} pixels that were seen again, those whose depth differs in any bit. Depth comes from one "
            "proxy world, so this holds without memory too.",
        )
    )
    return tuple(lines)


def table_rows(photos: dict[str, dict[str, Any]], *, loops: int) -> list[tuple[str, ...]]:
    """Head, one row a photo, and the medians when there are several."""
    head = ["photo", "reach [m]"]
    head += [f"{path} {what}" for path in ("out-and-back", "spin") for what in ("with [dB]", "without [dB]")]
    head += [f"drift after {loops} [levels]", "moved with/without, p95 [px]", "changed depth [px]"]
    rows = [tuple(head), *(_row(name, photo, loops) for name, photo in photos.items())]
    return [*rows, _row("median", medians(photos), loops)] if len(photos) > 1 else rows


def _row(name: str, photo: dict[str, Any], loops: int) -> tuple[str, ...]:
    moved = "/".join(_said(photo["spin"][side]["flow_p95_px"], 2) for side in ("with", "without"))
    return (
        name,
        _said(photo["out-and-back"]["with"]["reach_m"], 2),
        *(_said(photo[path][side]["psnr_db"]) for path in PATHS for side in ("with", "without")),
        _said(level_after(photo["drift"]["with"], loops), 3),
        moved,
        _said(photo["depth"]["with"]["changed_px"], 0),
    )


def _walk_figures(walk: Walk) -> dict[str, Any]:
    revisits = first_round(walk)

    def of(value: Callable[[Revisit], float | None]) -> float | None:
        return _rounded(_median(value(r) for r in revisits))

    walked = [r for r in revisits if r.between_m > 0]
    return {
        "poses": len(revisits),
        "reach_m": _rounded(walk.reach_m),
        "psnr_db": of(lambda r: r.psnr_db),
        "psnr_worst_db": _rounded(_least(r.psnr_db for r in revisits)),
        "psnr_painted_db": of(lambda r: r.psnr_painted_db),
        "ssim": of(lambda r: r.ssim),
        "flow_median_px": of(lambda r: r.flow_median_px),
        "flow_p95_px": of(lambda r: r.flow_p95_px),
        "flow_m_per_m": _rounded(_median(r.flow_median_m / r.between_m for r in walked)),
        "depth_relative": of(lambda r: r.depth_error_relative),
        "depth_m_per_m": _rounded(_median(r.depth_error_m / r.between_m for r in walked)),
        "home_psnr_db": _rounded(walk.home_psnr_db),
    }


def level_after(loops: Sequence[dict[str, Any]], count: int) -> float | None:
    """The drift that is held against the limit: change of the worst channel after so many loops [levels]."""
    return next((max(x["absolute_levels"]) for x in loops if x["loops"] == count), None)


def _merged(values: list[Any]) -> Any:
    """Medians of numbers that stand in the same place of nested mappings and lists; None is left out."""
    known = [v for v in values if v is not None]
    if known and isinstance(known[0], dict):
        return {key: _merged([v[key] for v in known]) for key in known[0]}
    if known and isinstance(known[0], list):
        return [_merged(list(column)) for column in zip(*known, strict=False)]
    return _rounded(_median(known))


def _median(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return statistics.median(known) if known else None


def _least(values: Iterable[float | None]) -> float | None:
    return min((v for v in values if v is not None), default=None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def _said(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
