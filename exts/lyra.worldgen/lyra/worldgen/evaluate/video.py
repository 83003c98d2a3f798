"""`evaluate_video`: figures of the walks of worlds, measured one after the other, and their report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.files import naming, write_bytes, write_json, write_text
from ..core.manifest import MANIFEST_NAME
from ..core.optional import require
from ..core.progress import SILENT, Progress
from ..core.world import World, load_world
from .film import load_film
from .measures import HIGHER, Measure, measure_film
from .networks import Networks, load_networks
from .run import STAGE, Report, machine, unused_name
from .video_page import FilmReport, draw_curves, render_markdown, render_page, shown_frames, table_rows, unmeasured

_WORLD_METRICS = {
    "loop_closure_psnr_db": ("world.loop_closure", "Photo's view from memory, PSNR", "dB"),
    "forward_warp_psnr_db": ("world.forward_warp", "Photo carried back from the first frame, PSNR", "dB"),
}


def evaluate_video(
    worlds: Sequence[Path], out: Path, *, networks: Path | None = None, progress: Progress = SILENT
) -> Report:
    """Measure the walks of worlds and write `video.json`, `.md`, `.png` and `.html`.

    Args:
        worlds: folders of worlds that were explored, or batches and other folders of worlds; they are only read.
            Of a folder of worlds the finished ones are measured, and the report says which are left out.
        out: folder of the report; made if it is missing.
        networks: folder of weight files; None looks where torch's hub keeps them.
        progress: one step for every frame.

    Raises:
        InputError: no world or none that is finished, one without a walk, or weights that are damaged.
        DependencyError: matplotlib or OpenCV is missing; found out before anything is measured.
        Cancelled: through `progress`.
    """
    require("matplotlib", extra="evaluate")
    require("cv2", extra="gen", package="opencv-python-headless")
    if not worlds:
        raise InputError("nothing to evaluate; give at least one world folder")
    chosen, notes = named_worlds(worlds)
    asked = load_networks(networks)
    with naming("make the folder", out):
        out.mkdir(parents=True, exist_ok=True)
    films: list[FilmReport] = []
    timings_s: dict[str, float] = {}
    for world in chosen:
        began = time.perf_counter()
        name = unused_name(world.folder.resolve().name, timings_s)
        films.append(measure_world(name, world, asked, progress=progress))
        timings_s[name] = round(time.perf_counter() - began, 1)
    report = write_films(out, "video", "Films of worlds", films, timings_s=timings_s)
    return dataclasses.replace(report, notes=(*report.notes, *notes))


def named_worlds(folders: Sequence[Path]) -> tuple[list[World], list[str]]:
    """The worlds that folders are or hold, and which of those held are left out, with the reason.

    Raises:
        InputError: a folder is no world and holds none that is finished.
    """
    chosen: list[World] = []
    notes: list[str] = []
    for folder in map(Path, folders):
        if not folder.is_dir() or (folder / MANIFEST_NAME).is_file():
            chosen.append(load_world(folder))
            continue
        inside = folder / "worlds" if (folder / "batch.json").is_file() else folder
        held = [load_world(path.parent) for path in sorted(inside.glob(f"*/{MANIFEST_NAME}"))]
        if not held:
            raise InputError(f"neither a world nor a folder with worlds in it (*/{MANIFEST_NAME}): {inside}")
        fit = [world for world in held if world.finished and world.manifest.base is None]
        if not fit:
            raise InputError(
                f"no world in it is finished, or all are variants, which have no walk of their own: {inside}"
            )
        chosen += fit
        reasons = {True: "it is a variant, without a walk of its own", False: "it is not finished"}
        notes += [f"{w.folder}, {reasons[w.manifest.base is not None]}" for w in held if w not in fit]
    return chosen, notes


def measure_world(name: str, world: World, networks: Networks, *, progress: Progress = SILENT) -> FilmReport:
    """Figures of one world's walk."""
    views = world.views()
    frames = load_film(world, views.views)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress.step(STAGE, done, len(frames) - 1, f"{name}, frame {done} of {len(frames) - 1}")

    figures = measure_film(frames, networks, metres_per_unit=world.manifest.metres_per_unit, on_frame=step)
    shown, caption = shown_frames(frames, figures)
    known = [
        Measure(
            id=key,
            title=title,
            value=views.metrics.get(metric),
            unit=unit,
            better=HIGHER,
            detail="Measured when the world was explored"
            if metric in views.metrics
            else "the world was not explored from a photo",
        )
        for metric, (key, title, unit) in _WORLD_METRICS.items()
    ]
    settings = {
        "frames": len(frames),
        "frame_px": [frames[0].camera.width_px, frames[0].camera.height_px],
        "paths": list(dict.fromkeys(_paths(world))),
        "verdict": world.verdict,
        "photo_sha256": world.manifest.photo.sha256,
        "seed": world.manifest.seed,
    }
    return FilmReport(
        name=name,
        figures=figures,
        measures=(*figures.measures, *known),
        shown_u8=shown,
        caption=caption,
        settings=settings,
    )


def _paths(world: World) -> list[str]:
    facts = [record.facts for record in world.manifest.stages.values()]
    return [str(f["path"]) for f in facts if "path" in f]


def write_films(
    out: Path, stem: str, title: str, films: Sequence[FilmReport], *, timings_s: Mapping[str, float]
) -> Report:
    """Write the four files; the same films give the same bytes but for the timings."""
    of_machine = machine()
    curves = draw_curves(films)
    values: dict[str, Any] = {
        "format": 1,
        "films": {film.name: _film_values(film) for film in films},
        "machine": of_machine,
        "timings_s": dict(timings_s),
    }
    files = tuple(out / f"{stem}.{kind}" for kind in ("json", "md", "png", "html"))
    write_bytes(files[2], curves)
    write_text(files[1], render_markdown(films, of_machine))
    write_text(files[3], render_page(title, films, of_machine, curves))
    write_json(files[0], values)
    # These figures are to be compared, not held against limits.
    return Report(lines=(), table=tuple(table_rows(films)), values=values, files=files, notes=tuple(unmeasured(films)))


def _film_values(film: FilmReport) -> dict[str, Any]:
    of = film.figures
    frames = []
    for pose, carried, style in zip(of.poses, of.reprojections, of.styles, strict=True):
        frames.append(
            {
                "frame": pose.second,
                "compared_with": pose.first,
                "rotation_deg": _rounded(pose.rotation_deg),
                "translation_m": _rounded(pose.translation_m),
                "inliers": pose.inliers,
                "photometric": _rounded(carried.photometric),
                "flow_px": _rounded(carried.flow_px),
                "seen_share": _rounded(carried.seen_share),
                **{key: _rounded(value) for key, value in dataclasses.asdict(style).items()},
            }
        )
    return {
        **film.settings,
        "measures": {measure.id: measure.as_dict() for measure in film.measures},
        "revisits": [list(pair) for pair in of.revisits],
        "along": frames,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
