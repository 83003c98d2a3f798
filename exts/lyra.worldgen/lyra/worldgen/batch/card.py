"""What a batch leaves: a dataset card with all licences, a list of worlds to train in, a table, and a gallery."""

from __future__ import annotations

import csv
import io
import statistics
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.files import write_json, write_text
from ..core.licences import is_research_only, strictest_licence
from ..core.manifest import WORLD_LIST_NAME
from .gallery import gallery, relative_to
from .plan import AXES, BatchPlan
from .run import BatchReport, local_place, variants_of, verdict_of

COLUMNS: tuple[str, ...] = (
    "name",
    *AXES,
    "verdict",
    "connected_area_m2",
    "confidence",
    "seconds",
    "licence",
    "photo_licence",
    "variants",
    "certified",
    "place",
)
UNSTATED = "not stated"


def write_reports(plan: BatchPlan, report: BatchReport) -> list[Path]:
    """Write `README.md`, `worlds.json`, `worlds.csv`, `report.json` and `index.html` into the batch's folder.

    Returns:
        Their paths.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = report.folder
    rows = [_row(name, values) for name, values in sorted(report.made.items())]
    write_json(folder / "report.json", _summary(plan, report))
    write_json(folder / WORLD_LIST_NAME, {"title": plan.title, "worlds": world_list(report)})
    write_text(folder / "worlds.csv", _csv(rows))
    write_text(folder / "README.md", dataset_card(plan, report))
    write_text(folder / "index.html", gallery(plan, report))
    return [folder / name for name in ("README.md", WORLD_LIST_NAME, "worlds.csv", "report.json", "index.html")]


def world_list(report: BatchReport) -> list[dict[str, str]]:
    """Every finished world and variant that lies on this machine: `folder` from the batch's folder, `verdict`."""
    rows = []
    for name, values in sorted(report.made.items()):
        place = local_place(report.folder, name, str(values.get("place", "")))
        if place is None:
            continue
        worlds = {"": values} if "variants" not in values else variants_of(values)
        for part, of in worlds.items():
            rows.append({"folder": relative_to(place / part, report.folder), "verdict": verdict_of(of)})
    return rows


def licence_roll_up(report: BatchReport) -> dict[str, Any]:
    """What binds the batch as a whole: of weights and of photos, with how many worlds stand under each."""
    weights: Counter[str] = Counter()
    photos: Counter[str] = Counter()
    for values in report.made.values():
        # A folder of variants is as many worlds, under the licences of the world that they are made from.
        weights[str(values.get("licence") or UNSTATED)] += int(values.get("variants", 1))
        photos[str(values.get("photo_licence") or UNSTATED)] += int(values.get("variants", 1))
    strictest = strictest_licence(weights)
    return {
        "weights": dict(sorted(weights.items())),
        "photos": dict(sorted(photos.items())),
        "strictest_weights": strictest,
        "research_only": any(is_research_only(text) for text in [*weights, *photos]),
    }


def dataset_card(plan: BatchPlan, report: BatchReport) -> str:
    """Markdown: what is in the batch, how it was made, and under which licences."""
    licences = licence_roll_up(report)
    worlds = list(report.finished.values())
    area = [float(v["connected_area_m2"]) for v in worlds if isinstance(v.get("connected_area_m2"), int | float)]
    lines = [
        f"# {plan.title}",
        "",
        f"{len(worlds)} worlds, {report.certified} of them certified in PhysX. Each is a folder with a USD stage, "
        "meshes, Gaussian splats, colliders, a map, navigation episodes and its certificate.",
        "",
        "| | |",
        "| --- | --- |",
        f"| worlds asked for | {len(plan.items)} |",
        f"| finished | {len(worlds)} |",
        f"| certified | {report.certified} |",
        f"| set aside | {len(report.quarantined)} |",
        f"| not made yet | {len(report.left)} |",
    ]
    if plan.order is not None:
        verdict = f"{report.variants_certified} certified" if plan.order.certify else "not measured"
        lines.append(f"| variants | {report.variants_made}, made of {len(report.variants)} worlds, {verdict} |")
    if area:
        lines += [f"| connected free floor, median | {statistics.median(area):.1f} m² |"]
    for axis in AXES:
        values = Counter(str(v.get("axes", {}).get(axis, "")) for v in worlds)
        if len(values) > 1:
            shown = ", ".join(f"{value or 'none'} ({count})" for value, count in sorted(values.items())[:20])
            lines.append(f"| {axis} | {shown}{', ...' if len(values) > 20 else ''} |")
    lines += ["", "## Licences", ""] if worlds else []
    lines += [f"- weights that took part: {text} ({count} worlds)" for text, count in licences["weights"].items()]
    lines += [f"- photos: {text} ({count} worlds)" for text, count in licences["photos"].items()]
    if UNSTATED in licences["photos"]:
        lines.append("- `photo_licence` in the batch file says what photos are under; without it, ask their owner.")
    unclear = UNSTATED in {*licences["photos"], *licences["weights"]}
    bound = "unclear while a licence is not stated" if unclear else "see above"
    bound = "forbidden by at least one of them" if licences["research_only"] else bound
    lines += [f"- commercial use: {bound}"] if worlds else []
    if report.quarantined:
        lines += ["", "## Set aside", ""]
        lines += [f"- `{name}`: {cause[:300]}" for name, cause in sorted(report.quarantined.items())]
    lines += [
        "",
        "## Files",
        "",
        "`worlds.json` lists every world and variant with its verdict; robot tasks take this folder as it is and leave "
        "out what is not certified: `env.worlds=FOLDER`. `index.html` is the gallery; `worlds.csv` and `report.json` "
        "are for programs; `manifest.jsonl` is the record of every start, failure and end, and `batch.json` what was "
        "asked for. A world's `world.json` holds photo hash, seed, settings and versions.",
        "",
    ]
    return "\n".join(lines)


def _row(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    axes = values.get("axes", {})
    return {"name": name, **values, **axes, "verdict": verdict_of(values)}


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _summary(plan: BatchPlan, report: BatchReport) -> dict[str, Any]:
    return {
        "title": plan.title,
        "plan": plan.digest,
        "asked": len(plan.items),
        "certified": report.certified,
        "licences": licence_roll_up(report),
        "finished": {name: dict(values) for name, values in sorted(report.finished.items())},
        "variants": {name: dict(values) for name, values in sorted(report.variants.items())},
        "quarantined": dict(sorted(report.quarantined.items())),
        "left": list(report.left),
    }
