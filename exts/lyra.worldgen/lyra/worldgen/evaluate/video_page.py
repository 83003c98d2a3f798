"""Curves and page of a film's figures; `video.html` needs no other file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from ..core.optional import require
from ..core.views import RgbdView
from .measures import FilmFigures, Measure
from .persistence_page import data_uri, jpeg_uri, page_head, picture_sheet, thumbnail
from .reprojection import carried

SHOWN_FRAMES = 6
COLOURS = ("#12805c", "#c4311f", "#2b5fb3", "#a8761c", "#6b4aa0", "#333333")


@dataclass(frozen=True, kw_only=True)
class FilmReport:
    """One film with its figures and pictures."""

    name: str
    figures: FilmFigures
    measures: tuple[Measure, ...]
    """Of the film, and what else is known."""
    shown_u8: np.ndarray
    """[h, w, 3] pictures of some frames, and under them what was carried there."""
    caption: str
    settings: Mapping[str, Any]


def shown_frames(
    frames: Sequence[RgbdView], figures: FilmFigures, real_u8: Sequence[np.ndarray] = ()
) -> tuple[np.ndarray, str]:
    """Some frames side by side, under each the frame that was carried there, and the real one where there is one."""
    picks = np.unique(np.linspace(1, len(frames) - 1, min(SHOWN_FRAMES, len(frames) - 1)).round().astype(int))
    rows: list[list[np.ndarray]] = [[], [], []]
    for k in picks:
        source = frames[figures.reprojections[k - 1].first]
        rgb, seen = carried(source, frames[k])
        rows[0].append(thumbnail(frames[k].rgb_u8))
        rows[1].append(thumbnail(np.where(seen[..., None], rgb, 40).astype(np.uint8)))
        if real_u8:
            rows[2].append(thumbnail(real_u8[k]))
    caption = f"Frames {', '.join(map(str, picks))}; below, what an earlier frame shows there through the geometry"
    if real_u8:
        caption += "; last, the real frame"
    return picture_sheet([row for row in rows if row]), f"{caption}."


def draw_curves(films: Sequence[FilmReport]) -> bytes:
    """Errors along each film as one PNG.

    Raises:
        DependencyError: matplotlib is missing.
    """
    figure_module = require("matplotlib.figure", extra="evaluate")
    figure = figure_module.Figure(figsize=(11, 7), dpi=100, layout="constrained")
    axes = figure.subplots(2, 2)
    (rotation, translation), (shift, style) = axes
    for film, colour in zip(films, (COLOURS * len(films))[: len(films)], strict=True):
        of = film.figures
        at = [p.second for p in of.poses]
        for where, values in (
            (rotation, [p.rotation_deg for p in of.poses]),
            (translation, [p.translation_m for p in of.poses]),
            (shift, [r.flow_px for r in of.reprojections]),
            (style, [s.score for s in of.styles]),
        ):
            y = np.array([np.nan if v is None else v for v in values], float)
            where.plot(at, y, color=colour, marker=".", markersize=3, linewidth=1, label=film.name)
    for where, title, unit in (
        (rotation, "Camera control: rotation", "error [°]"),
        (translation, "Camera control: translation", "error [m]"),
        (shift, "Reprojection: shift of the picture", "optical flow [px]"),
        (style, "Style against the first frame", "score of 100"),
    ):
        where.set_title(title)
        where.set_ylabel(unit)
        where.set_xlabel("frame of the film")
        where.xaxis.get_major_locator().set_params(integer=True)
        highest = max(
            (float(np.nanmax(y)) for line in where.lines if np.isfinite(y := line.get_ydata()).any()), default=None
        )
        if highest is None:
            where.set_xticks([])
            where.set_yticks([])
            where.text(0.5, 0.5, "not measured", ha="center", va="center", transform=where.transAxes, color="gray")
            continue
        where.set_ylim(0, 1.05 * highest or 1.0)
        # One pose that was recovered wrongly must not flatten all others to a line.
        if (small := {rotation: 1.0, translation: 0.1}.get(where, np.inf)) < highest / 10:
            where.set_yscale("symlog", linthresh=small)
    style.set_ylim(0, 102)
    rotation.legend(loc="best")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def table_rows(films: Sequence[FilmReport]) -> list[tuple[str, ...]]:
    """Head, and one row a measure."""
    rows = [("", *(film.name for film in films), "unit", "better")]
    for index, measure in enumerate(films[0].measures):
        cells = [_said(film.measures[index].value) for film in films]
        rows.append((measure.title, *cells, measure.unit, measure.better))
    return rows


def _said(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def unmeasured(films: Sequence[FilmReport]) -> list[str]:
    """Why figures are missing, each reason once."""
    return list(dict.fromkeys(f"{m.title}: {m.detail}" for film in films for m in film.measures if m.value is None))


def render_markdown(films: Sequence[FilmReport], machine: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    head, *rows = table_rows(films)
    lines = [f"| {' | '.join(head)} |", f"| --- |{' --: |' * len(films)} --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    why = "".join(f"- {reason}\n" for reason in unmeasured(films))
    said = f"\nNot measured:\n\n{why}" if why else ""
    return "\n".join(lines) + f"\n{said}\n{', '.join(f'{k} {v}' for k, v in machine.items())}.\n"


def render_page(title: str, films: Sequence[FilmReport], machine: Mapping[str, Any], curves: bytes) -> str:
    """The whole page; holds nothing that differs between two runs on one machine."""
    rows = table_rows(films)
    missing = "".join(f"<li>{escape(reason)}</li>" for reason in unmeasured(films))
    if missing:
        missing = f'<h2>Not measured</h2><div class="card" style="padding:.9rem 1rem"><ul>{missing}</ul></div>'
    pictures = "".join(
        f'<figure class="card"><img alt="{escape(film.name)}" src="{jpeg_uri(film.shown_u8)}">'
        f"<figcaption>{escape(film.name)}. {escape(film.caption)}</figcaption></figure>"
        for film in films
    )
    measured = [m for m in films[0].measures if m.value is not None]
    details = "".join(f"<tr><td>{escape(m.title)}</td><td>{escape(m.detail)}</td></tr>" for m in measured)
    cells = "".join(
        f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in row)}</tr>"
        for row, tag in zip(rows, ("th", *("td" for _ in rows[1:])), strict=True)
    )
    return (
        f"{page_head(title)}<body><main>"
        f'<section class="hero"><p class="name">{len(films)} {"film" if len(films) == 1 else "films"}</p>'
        f"<h1>{escape(title)}</h1></section>"
        f'<h2>Figures</h2><div class="card scroll"><table>{cells}</table></div>'
        f"{missing}"
        f'<h2>Along the film</h2><figure class="card"><img alt="Curves" src="{data_uri(curves, "png")}"></figure>'
        f'<h2>Frames</h2><div style="display:grid;gap:.8rem;margin-bottom:1.6rem">{pictures}</div>'
        f'<h2>How it was measured</h2><div class="card scroll"><table>{details}</table></div>'
        f"<footer>{', '.join(f'{escape(k)} {escape(str(v))}' for k, v in machine.items())}. Figures of every frame are "
        "in the JSON file beside this page.</footer></main></body></html>\n"
    )
