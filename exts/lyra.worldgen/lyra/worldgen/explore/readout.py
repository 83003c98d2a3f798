"""A world in words: verdict, statistics and every line of its certificate, as Markdown."""

from __future__ import annotations

from typing import Any

from ..core.chunks import chunk_stages
from ..faces.contents import Contents
from ..session.summary import world_values

VERDICTS = {"passed": "certified", "failed": "NOT certified", "incomplete": "not fully measured"}
_MARKS = {"passed": "✓", "failed": "✗", "not measured": "?", "info": "·"}


def world_text(contents: Contents) -> str:
    """Verdict and what a user asks for first."""
    world, values = contents.world, world_values(contents.world)
    manifest = world.manifest
    verdict = VERDICTS.get(str(values["verdict"]), "no certificate yet")
    left = [name for name in manifest.plan if name not in manifest.stages]
    rows = [
        ("made from", plain(manifest.photo.name)),
        ("seed", str(manifest.seed)),
        ("chunks", str(len(chunk_stages(manifest.stages)))),
        ("free floor", _metres2(values["connected_area_m2"])),
        ("scale", manifest.scale.text if manifest.scale is not None else "unknown"),
        ("licence", plain(str(values["licence"]))),
        ("still to do", ", ".join(left) or "nothing"),
    ]
    return f"**{verdict}**\n\n" + "\n".join(f"- {name}: {text}" for name, text in rows)


def certificate_text(certificate: dict[str, Any]) -> str:
    """Every line with its measurement against its limit; failed ones first."""
    lines = certificate.get("lines")
    lines = [line for line in lines if isinstance(line, dict)] if isinstance(lines, list) else []
    if not lines:
        return "No certificate yet; finish the world."
    order = {name: rank for rank, name in enumerate(("failed", "not measured", "passed", "info"))}
    lines.sort(key=lambda line: order.get(str(line.get("status")), len(order)))
    rows = [
        f"| {_MARKS.get(str(line.get('status')), '·')} | {plain(str(line.get('title', line.get('id', ''))))} "
        f"| {_measured(line)} |"
        for line in lines
    ]
    return "\n".join([plain(str(certificate.get("summary", ""))), "", "| | | |", "| --- | --- | --- |", *rows])


def plain(text: str) -> str:
    """Text that Markdown and HTML show as it is, in one line."""
    shown = "".join(f"\\{c}" if c in "\\`*_[]|#~" else c for c in " ".join(text.split())[:300])
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _measured(line: dict[str, Any]) -> str:
    measured, limit, unit = line.get("measured"), line.get("limit"), plain(str(line.get("unit", "")))
    if not isinstance(measured, int | float):
        return "not measured"
    text = f"{measured:.4g} {unit}".strip()
    if isinstance(limit, int | float):
        text += f" ({'≤' if line.get('comparison') == '<=' else '≥'} {limit:g})"
    return text


def _metres2(value: Any) -> str:
    return f"{value:.1f} m²" if isinstance(value, int | float) else "not known yet"
