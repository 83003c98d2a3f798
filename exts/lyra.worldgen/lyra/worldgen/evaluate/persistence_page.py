"""Plots and page of the persistence report; `persistence.html` needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np

from ..certify import Line
from ..generation.trajectory_files import CHUNK_FRAMES
from .persistence import Persistence, PersistenceConfig, Walk
from .persistence_judge import PATHS, REVISIT_DB, drift, first_round

SHOWN_DB = 60.0
"""Plots end here: more is not visible."""
THUMB_PX = 240
LINE_PX = 3
"""Between pictures of a sheet."""
WITH, WITHOUT = "#12805c", "#c4311f"
_SENTENCES = {
    True: "Wherever the camera came back to, it found what it had seen before.",
    False: "At least one limit does not hold; the lines below say which.",
}


def draw_plots(results: Sequence[Persistence], cfg: PersistenceConfig) -> bytes:
    """All curves as one PNG: likeness along both paths, colours over loops, shifts. One thin line a photo.

    Raises:
        DependencyError: matplotlib is missing.
    """
    from ..core.optional import require

    figure_module = require("matplotlib.figure", extra="evaluate")
    figure = figure_module.Figure(figsize=(11, 7.5), dpi=100, layout="constrained")
    (out, spin), (levels, moved) = figure.subplots(2, 2)
    for path, axes in (("out-and-back", out), ("spin", spin)):
        for remembers, colour in ((True, WITH), (False, WITHOUT)):
            for one in results:
                walk = one.walk(path, remembers=remembers)
                x, y = _curve(walk)
                axes.plot(x, np.minimum(y, SHOWN_DB), color=colour, linewidth=1, alpha=0.8)
            axes.plot([], [], color=colour, label="with memory" if remembers else "without")
        axes.axhline(REVISIT_DB, color="black", linewidth=0.8, linestyle=":")
        axes.set_ylim(0, SHOWN_DB + 2)
        axes.set_ylabel(f"PSNR of the revisit [dB], ≥ {SHOWN_DB:g} shown as {SHOWN_DB:g}")
        axes.legend(loc="center right")
    out.set_title("Out and back")
    out.set_xlabel("walked between the two visits [m]")
    spin.set_title("One turn on the spot")
    spin.set_xlabel("heading after the photo's [°]")
    for one in results:
        for remembers, colour in ((True, WITH), (False, WITHOUT)):
            loops = drift(one.walk("spin", remembers=remembers).revisits)
            if loops:
                worst = [max(x["absolute_levels"]) for x in loops]
                levels.plot([x["loops"] for x in loops], np.maximum(worst, 1e-3), color=colour, marker=".", alpha=0.8)
    levels.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    levels.set_yscale("log")
    levels.set_title("Colour after n turns against the first, ≤ 0.001 shown as 0.001")
    levels.set_xlabel("turns")
    levels.set_xticks(range(1, cfg.loops + 1))
    levels.set_ylabel("mean absolute change [grey levels]")
    _bars(moved, results)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _curve(walk: Walk) -> tuple[np.ndarray, np.ndarray]:
    """Metres between the visits, or degrees of heading, and PSNR; in ascending order."""
    revisits = first_round(walk)
    if walk.path.startswith("spin"):
        x = np.array([360 / CHUNK_FRAMES * r.first for r in revisits])
    else:
        x = np.array([r.between_m for r in revisits])
    y = np.array([r.psnr_db for r in revisits])
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


def _bars(axes: Any, results: Sequence[Persistence]) -> None:
    """How far the picture has moved over the geometry, by photo."""
    place = np.arange(len(results))
    for k, (remembers, colour) in enumerate(((True, WITH), (False, WITHOUT))):
        medians = []
        for one in results:
            found = [r.flow_p95_px for path in PATHS for r in first_round(one.walk(path, remembers=remembers))]
            medians.append(float(np.median(found)) if found else 0.0)
        axes.bar(place + 0.4 * k - 0.2, medians, 0.4, color=colour)
    axes.set_xticks(place, [one.name for one in results], rotation=30, ha="right")
    axes.set_title("What has moved over the geometry, 95th percentile")
    axes.set_ylabel("optical flow [px]")


def render_page(
    results: Sequence[Persistence],
    lines: Sequence[Line],
    rows: Sequence[tuple[str, ...]],
    cfg: PersistenceConfig,
    machine: dict[str, Any],
    plots: bytes,
) -> str:
    """The whole page; holds nothing that differs between two runs on one machine."""
    passed = all(line.status == "passed" for line in lines)
    title = "The memory holds" if passed else "The memory does not hold"
    curves = f'<img alt="Curves" src="{data_uri(plots, "png")}">'
    return (
        f"{page_head(f'Persistence: {title}')}<body><main>"
        f'<section class="hero {"passed" if passed else "failed"}"><p class="name">Persistence of {len(results)} '
        f"{'photo' if len(results) == 1 else 'photos'}</p><h1>{title}</h1><p>{_SENTENCES[passed]}</p></section>"
        f"<h2>Limits</h2>{''.join(_line(line) for line in lines)}"
        f'<h2>Curves</h2><figure class="card">{curves}<figcaption>One line a photo; green with memory, red without.'
        "</figcaption></figure>"
        f'<h2>Photo by photo</h2><div class="card scroll">{_table(rows)}</div>'
        f"<h2>What was seen, and what was seen again</h2>{''.join(_strips(one) for one in results)}"
        f"<h2>How it was measured</h2>{_method(cfg)}"
        f"<footer>{', '.join(f'{escape(k)} {escape(str(v))}' for k, v in machine.items())}. All numbers, and the times "
        "they took, are in <code>persistence.json</code>.</footer></main></body></html>\n"
    )


def page_head(title: str) -> str:
    """Beginning of a page up to its body, in the certificate's style."""
    style = (resources.files("lyra.worldgen.certify") / "style.html").read_text(encoding="utf-8").strip()
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title>{style}"
        "<style>table{border-collapse:collapse;width:100%;font-size:.85rem}td,th{padding:.3rem .5rem;text-align:right;"
        "border-top:1px solid var(--rule)}td:first-child,th:first-child{text-align:left}.scroll{overflow-x:auto}"
        "</style></head>"
    )


def _method(cfg: PersistenceConfig) -> str:
    return (
        '<div class="card" style="padding:.9rem 1rem">'
        f"<p>A camera walks {cfg.distance_m:g} m ahead and backwards to where it began, and turns {cfg.loops + 1} "
        f"times on the spot: {CHUNK_FRAMES} frames each way and each turn, {cfg.size_px} px wide or high, seed "
        f"{cfg.seed}. Geometry holds it back where there is no room; the table says how far it came. Every frame is "
        "compared with the first one from the same pose, to the last bit, if the camera has moved in between.</p>"
        "<p><b>Without memory</b> is the same program from the same seed that forgets every surface point as soon as a "
        "frame does not show it, and everything that was painted beforehand. What stays in the picture keeps its "
        "colour exactly, so what is lost is lost by forgetting alone. A video model without spatial memory also "
        "remembers some seconds, but drifts; it was not measured here.</p>"
        "<p><b>Depth</b> comes from one proxy world, with memory and without, and cannot drift by construction; what "
        "can go wrong is the picture moving over the geometry, which optical flow shows.</p></div>"
    )


def _line(line: Line) -> str:
    measured = "not measured" if line.measured is None else f"{line.measured:.3g}"
    sign = "≤" if line.comparison == "<=" else "≥"
    mark = {"passed": "✓", "failed": "✗"}.get(line.status, "–")
    return (
        f'<div class="line {line.status.replace(" ", "-")}" id="{escape(line.id)}"><div class="mark">{mark}</div>'
        f'<h3>{escape(line.title)}</h3><div class="value">{measured} {escape(line.unit)}</div>'
        f'<div class="detail">{escape(line.detail)}</div><div class="limit">limit {sign} {line.limit:g}</div></div>'
    )


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"

    return f"<table>{row(rows[0], 'th')}{''.join(row(cells, 'td') for cells in rows[1:])}</table>"


def _strips(one: Persistence) -> str:
    figures = []
    for path, words in PATHS.items():
        for remembers in (True, False):
            walk = one.walk(path, remembers=remembers)
            if not walk.shown:
                continue
            strip = picture_sheet(
                [[thumbnail(getattr(shown, name)) for shown in walk.shown] for name in ("first_u8", "again_u8")]
            )
            side = "with memory" if remembers else "without memory"
            shown = ", ".join(shown.label for shown in walk.shown)
            figures.append(
                f'<figure class="card"><img alt="{escape(f"{one.name}, {words}, {side}")}" src="{jpeg_uri(strip)}">'
                f"<figcaption>{escape(one.name)}, {words}, {side}: first visit above, last visit below ({shown})."
                "</figcaption></figure>"
            )
    return f'<div style="display:grid;gap:.8rem;margin-bottom:1.6rem">{"".join(figures)}</div>'


def picture_sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Pictures of one size in rows, [H, W, 3] uint8, with lines between them."""
    line = ((0, LINE_PX), (0, LINE_PX), (0, 0))
    padded = [np.concatenate([np.pad(picture, line, constant_values=255) for picture in row], 1) for row in rows]
    return np.concatenate(padded)[:-LINE_PX, :-LINE_PX]


def thumbnail(rgb_u8: np.ndarray) -> np.ndarray:
    import cv2

    height, width = rgb_u8.shape[:2]
    scale = min(1.0, THUMB_PX / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(rgb_u8, size, interpolation=cv2.INTER_AREA)


def jpeg_uri(rgb_u8: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb_u8)).save(buffer, "JPEG", quality=85)
    return data_uri(buffer.getvalue(), "jpeg")


def data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
