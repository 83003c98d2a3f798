"""What a batch leaves for people: a dataset card with all licences, a table for programs, and a gallery."""

from __future__ import annotations

import csv
import io
import os
import statistics
from collections import Counter
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..core.files import write_json, write_text
from ..core.licences import is_research_only, strictest_licence
from .plan import AXES, BatchPlan
from .run import BatchReport, verdict_of

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
    """Write `README.md`, `worlds.csv`, `report.json` and `index.html` into the batch's folder; their paths.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = report.folder
    rows = [_row(name, values) for name, values in sorted(_all(report).items())]
    write_json(folder / "report.json", _summary(plan, report))
    write_text(folder / "worlds.csv", _csv(rows))
    write_text(folder / "README.md", dataset_card(plan, report))
    write_text(folder / "index.html", gallery(plan, report))
    return [folder / name for name in ("README.md", "worlds.csv", "report.json", "index.html")]


def licence_roll_up(report: BatchReport) -> dict[str, Any]:
    """What binds the batch as a whole: of weights and of photos, with how many worlds stand under each."""
    weights: Counter[str] = Counter()
    photos: Counter[str] = Counter()
    for values in _all(report).values():
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


def _all(report: BatchReport) -> dict[str, Mapping[str, Any]]:
    """Worlds and folders of variants by name."""
    return {**report.finished, **report.variants}


def dataset_card(plan: BatchPlan, report: BatchReport) -> str:
    """Markdown: what is in the batch, how it was made, and under which licences."""
    licences = licence_roll_up(report)
    worlds = list(report.finished.values())
    variants = list(report.variants.values())
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
        made, certified = (sum(int(v[key]) for v in variants) for key in ("variants", "certified"))
        lines.append(f"| variants | {made} of {len(variants)} worlds, {certified} certified |")
    if area:
        lines += [f"| connected free floor, median | {statistics.median(area):.1f} m² |"]
    for axis in AXES:
        values = Counter(str(v.get("axes", {}).get(axis, "")) for v in worlds)
        if len(values) > 1:
            shown = ", ".join(f"{value or 'none'} ({count})" for value, count in sorted(values.items())[:20])
            lines.append(f"| {axis} | {shown}{', ...' if len(values) > 20 else ''} |")
    lines += ["", "## Licences", ""]
    lines += [f"- weights that took part: {text} ({count} worlds)" for text, count in licences["weights"].items()]
    lines += [f"- photos: {text} ({count} worlds)" for text, count in licences["photos"].items()]
    if UNSTATED in licences["photos"]:
        lines.append("- `photo_licence` in the batch file says what photos are under; without it, ask their owner.")
    bound = "forbidden by at least one of them" if licences["research_only"] else "see above"
    lines.append(f"- commercial use: {bound}")
    if report.quarantined:
        lines += ["", "## Set aside", ""]
        lines += [f"- `{name}`: {cause[:300]}" for name, cause in sorted(report.quarantined.items())]
    lines += [
        "",
        "## Files",
        "",
        "`manifest.jsonl` is the record of every start, failure and end; `worlds.csv` and `report.json` are for "
        "programs; `index.html` is the gallery. A world's `world.json` holds photo hash, seed, settings and versions.",
        "",
    ]
    return "\n".join(lines)


def gallery(plan: BatchPlan, report: BatchReport) -> str:
    """`index.html`: a picture, a verdict and the links of every world, without scripts."""
    cards = "".join(_card(report.folder, name, values) for name, values in sorted(_all(report).items()))
    aside = "".join(
        f"<li><b>{escape(name)}</b>: {escape(cause[:300])}</li>" for name, cause in sorted(report.quarantined.items())
    )
    style = (resources.files("lyra.worldgen.batch") / "gallery.html").read_text(encoding="utf-8").strip()
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(plan.title)}</title>{style}</head><body><main><h1>{escape(plan.title)}</h1>"
        f"<p>{len(report.finished)} of {len(plan.items)} worlds finished, {report.certified} certified, "
        f"{len(report.quarantined)} set aside.</p>"
        f'<div class="worlds">{cards}</div>{f"<h2>Set aside</h2><ul>{aside}</ul>" if aside else ""}'
        "</main></body></html>\n"
    )


def _card(folder: Path, name: str, values: Mapping[str, Any]) -> str:
    place = str(values.get("place", ""))
    remote = "://" in place
    base = place if remote else quote(os.path.relpath(place, folder).replace(os.sep, "/"))
    verdict = verdict_of(values)
    many = "variants" in values
    if many and values.get("passed") is False:
        verdict = f"{values['certified']} of {values['variants']} certified"
    picture, link = ("variants.png", "variants.json") if many else ("preview.png", "certificate.html")
    area = values.get("connected_area_m2")
    facts = [f"{area:.1f} m² of floor"] if isinstance(area, int | float) else []
    facts += [f"{values['variants']} variants"] if many else []
    facts += [f"{axis} {value}" for axis, value in values.get("axes", {}).items() if value and axis != "photo"]
    return (
        f'<article class="{verdict_of(values).replace(" ", "-")}"><a href="{escape(base)}/{picture}">'
        f'<img loading="lazy" src="{escape(base)}/{picture}" alt="{escape(name)}"></a>'
        f"<h2>{escape(name)}</h2><p>{escape(', '.join(facts))}</p>"
        f'<p><a href="{escape(base)}/{link}">{escape(verdict)}</a></p></article>'
    )


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
