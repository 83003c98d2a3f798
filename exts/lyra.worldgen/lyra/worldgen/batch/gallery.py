"""The page of a batch: a picture, a verdict and the certificates of every world and its variants, without scripts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .plan import BatchPlan
from .run import SHOWN, BatchReport, local_place, shown_files, told_of, variants_of, verdict_of


def gallery(plan: BatchPlan, report: BatchReport) -> str:
    """`index.html`: a picture, a verdict and the links of every world and its variants, without scripts."""
    cards = "".join(_card(report.folder, name, values) for name, values in sorted(report.made.items()))
    aside = "".join(
        f"<li><b>{escape(name)}</b>: {escape(cause[:300])}</li>" for name, cause in sorted(report.quarantined.items())
    )
    style = (resources.files("lyra.worldgen.batch") / "gallery.html").read_text(encoding="utf-8").strip()
    said = [f"{len(report.finished)} of {len(plan.items)} worlds finished, {report.certified} certified"]
    if plan.order is not None:
        asked = plan.order.count * len(plan.items)
        said.append(f"{report.variants_made} of {asked} variants, {report.variants_certified} certified")
    said += [f"{len(report.quarantined)} set aside"] if report.quarantined else []
    said += [f"not done yet: {len(report.left)}, with which the same command goes on"] if report.left else []
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(plan.title)}</title>{style}</head><body><main><h1>{escape(plan.title)}</h1>"
        f'<p>{escape("; ".join(said))}. <a href="README.md">Dataset card</a>, <a href="worlds.csv">table</a></p>'
        f'<div class="worlds">{cards}</div>{f"<h2>Set aside</h2><ul>{aside}</ul>" if aside else ""}'
        "</main></body></html>\n"
    )


def _card(folder: Path, name: str, values: Mapping[str, Any]) -> str:
    many = "variants" in values
    here = local_place(folder, name, str(values.get("place", "")))
    shown = folder / SHOWN / name
    # What lies where no browser reads is shown by the few files that were brought from there.
    place = here or (shown if shown.is_dir() else None)
    base = quote(relative_to(place, folder)) if place is not None else str(values.get("place", ""))
    picture, page = shown_files(values)[:2]
    verdict = verdict_of(values)
    area = values.get("connected_area_m2")
    facts = [f"{area:.1f} m² of floor"] if isinstance(area, int | float) else []
    axes = [f"{axis} {value}" for axis, value in values.get("axes", {}).items() if value and axis != "photo"]
    facts = [f"{values['variants']} variants of {values.get('base', '')}"] if many else facts + axes
    if many:
        said = f"{values['certified']} of {values['variants']} certified"
        said += "".join(_chip(base if here else "", part, of) for part, of in variants_of(values).items())
    else:
        said = f'<a href="{escape(base)}/{page}">{escape(told_of(values))}</a>'
    return (
        f'<article class="{verdict.replace(" ", "-")}{" variants" if many else ""}"><a href="{escape(base)}/{picture}">'
        f'<img loading="lazy" src="{escape(base)}/{picture}" alt="{escape(name)}"></a>'
        f"<h2>{escape(name)}</h2><p>{escape(', '.join(facts))}</p><p>{said}</p></article>"
    )


def _chip(base: str, name: str, values: Mapping[str, Any]) -> str:
    """One variant: its number in the colour of its verdict, leading to its certificate."""
    verdict = verdict_of(values)
    target = f' href="{escape(base)}/{escape(name)}/certificate.html"' if base and values["passed"] is not None else ""
    number = escape(name.removeprefix("variant_"))
    return f'<a class="chip {verdict.replace(" ", "-")}"{target} title="{escape(f"{name}: {verdict}")}">{number}</a>'


def relative_to(path: Path, folder: Path) -> str:
    """A path from a folder, as links have it."""
    return os.path.relpath(path, folder).replace(os.sep, "/")
