"""`evaluate_persistence`: photos and worlds are measured one after the other, then the report is written."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..build import resolve_backends
from ..certify import Line
from ..core.config import WorldConfig, config_from_dict
from ..core.errors import InputError
from ..core.files import naming, write_bytes, write_json, write_text
from ..core.machine import core_count
from ..core.manifest import MANIFEST_NAME
from ..core.optional import require
from ..core.progress import SILENT, Progress
from ..core.store import load_geometry
from ..core.version import __version__
from ..core.views import Photo, PhotoGeometry
from ..core.world import load_world
from ..generation.geometry import estimate_geometry
from ..generation.painter import PAINTERS, Painter
from ..generation.photo import load_photo
from .persistence import Persistence, PersistenceConfig, measure_persistence, walk_plans
from .persistence_judge import figures, judged, medians, table_rows

STAGE = "evaluate"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found, and where it is written."""

    lines: tuple[Line, ...]
    table: tuple[tuple[str, ...], ...]
    """Head and rows."""
    values: dict[str, Any]
    """All of it as JSON values."""
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    """What was not measured, and why."""

    @property
    def passed(self) -> bool:
        return all(line.status == "passed" for line in self.lines)


def evaluate_persistence(
    sources: Sequence[Path], out: Path, cfg: PersistenceConfig, *, progress: Progress = SILENT
) -> Report:
    """Measure what the spatial memory is worth and write `persistence.json`, `.png` and `.html`.

    Args:
        sources: photo files, or world folders, whose photo, geometry and settings are used; at least one.
        out: folder of the report; made if it is missing.
        cfg: what is walked.
        progress: one row of steps for everything.

    Raises:
        InputError: unusable photo or world, or a folder that cannot be written.
        DependencyError: matplotlib is missing; found out before anything is measured.
        BackendError: the painter or the geometry failed.
        Cancelled: through `progress`.
    """
    require("matplotlib", extra="evaluate")
    if not sources:
        raise InputError("nothing to evaluate; give at least one photo or world folder")
    with naming("make the folder", out):
        out.mkdir(parents=True, exist_ok=True)
    total = len(sources) * sum(plan.cost for plan in walk_plans(cfg))
    results: list[Persistence] = []
    settings: dict[str, Any] = {}
    timings_s: dict[str, float] = {}
    done = 0
    report: Report | None = None

    def on_step(steps: int, note: str) -> None:
        nonlocal done
        done += steps
        progress.step(STAGE, done, total, note)

    for source in sources:
        began = time.perf_counter()
        on_step(0, f"{source.name}, geometry")
        photo, geometry, painter, config = read_source(source)
        name = unused_name(source.stem if source.is_file() else source.name, settings)
        result = measure_persistence(name, photo, geometry, painter, config.generation, cfg, on_step=on_step)
        results.append(result)
        settings[name] = {
            "photo_sha256": photo.sha256,
            "geometry": geometry.backend,
            "painter": painter.name,
            "photo_px": [geometry.camera.width_px, geometry.camera.height_px],
        }
        timings_s[name] = round(time.perf_counter() - began, 1)
        # A run that is stopped leaves the report of what it has measured.
        report = write_persistence(out, results, cfg, settings=settings, timings_s=timings_s)
    assert report is not None, "there is at least one source"
    return report


def read_source(source: Path) -> tuple[Photo, PhotoGeometry, Painter, WorldConfig]:
    """Photo, geometry, painter and configuration of a photo file or a world folder.

    Raises:
        InputError: neither, or a world that does not hold its photo and geometry yet.
    """
    if not source.is_dir():
        config = resolve_backends(WorldConfig())
        photo = load_photo(source, long_side_px=config.geometry.working_long_side_px)
        geometry = estimate_geometry(photo, config.geometry)
    else:
        world = load_world(source)
        config = config_from_dict(world.manifest.config)
        name = next((file for file in world.manifest.files() if file.startswith("photo.")), None)
        if name is None:
            raise InputError(f"the world does not hold its photo yet; finish it first ({MANIFEST_NAME}): {source}")
        photo = load_photo(world.path(name), long_side_px=config.geometry.working_long_side_px)
        # Generation works in the units of the memory, whatever the world was rescaled to.
        geometry = load_geometry(world.path("memory/geometry.npz"))
    return photo, geometry, PAINTERS.load(config.generation.painter).from_config(config), config


def write_persistence(
    out: Path,
    results: Sequence[Persistence],
    cfg: PersistenceConfig,
    *,
    settings: dict[str, Any],
    timings_s: dict[str, float],
) -> Report:
    """Judge the results and write the three files; the same results give the same bytes but for the timings."""
    from .persistence_page import draw_plots, render_page

    photos = {result.name: figures(result) for result in results}
    lines = judged(photos, loops=cfg.loops, distance_m=cfg.distance_m)
    rows = table_rows(photos, loops=cfg.loops)
    values = {
        "format": 1,
        "passed": all(line.status == "passed" for line in lines),
        "lines": [line.as_dict() for line in lines],
        "config": dataclasses.asdict(cfg),
        "photos": {name: {**settings.get(name, {}), **figures} for name, figures in photos.items()},
        "median": medians(photos),
        "machine": machine(),
        "timings_s": timings_s,
    }
    plots = draw_plots(results, cfg)
    page = render_page(results, lines, rows, cfg, values["machine"], plots)
    files = tuple(out / f"persistence.{kind}" for kind in ("json", "png", "html"))
    write_bytes(files[1], plots)
    write_text(files[2], page)
    write_json(files[0], values)
    return Report(lines=lines, table=tuple(rows), values=values, files=files)


def machine() -> dict[str, Any]:
    """What it was measured on, without names."""
    from importlib.metadata import version

    packages = ("numpy", "opencv-python-headless", "torch", "diffusers", "numba", "embreex")
    return {
        "cores": core_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "lyra-worldgen": __version__,
        **{name: version(name) for name in packages},
    }


def unused_name(name: str, taken: dict[str, Any]) -> str:
    """The name, with a number if it is taken."""
    return next(n for n in (name, *(f"{name} {i}" for i in range(2, len(taken) + 3))) if n not in taken)
