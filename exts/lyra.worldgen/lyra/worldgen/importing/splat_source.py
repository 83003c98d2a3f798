"""Splats of any trainer, and coloured points, which become splats: read, cleaned, turned upright."""

from __future__ import annotations

import numpy as np

from ..core.config import WorldConfig
from ..core.errors import InputError
from ..core.files import naming
from ..core.progress import SILENT, SupportsProgress
from ..core.report import Report
from ..core.splats import GaussianCloud, transform_splats
from ..reconstruction.splat_io import read_splat_file
from .records import ImportedScene, Source
from .samples import sample_splats
from .settle import FileCustoms, settle, turned_axis
from .splat_clean import clean_splats

CUSTOMS = FileCustoms(
    # The first camera of structure from motion looks along +Z with +Y down; tools for viewers turn it to +Y or +Z up.
    up_odds={"-y": 1.5, "z": 1.0, "y": 0.5},
    # Phones and LiDAR give metres; structure from motion gives nothing.
    unit_odds={"m": 1.0, "cm": 0.15, "mm": 0.1, "ft": 0.05, "in": 0.02, "none": 1.0},
)
SAID_ODDS = 3.0
"""Log-odds of an axis that the file itself names."""


def read_splat_source(source: Source, config: WorldConfig, *, progress: SupportsProgress = SILENT) -> ImportedScene:
    """The upright cloud of a splat file or a point cloud.

    Raises:
        InputError: a damaged file, or one that holds no place with a floor.
    """
    cfg, report = config.source, Report()
    progress.step("import", 0, 4, "reading")
    facts: dict[str, object] = {}
    said, odds = cfg.up_axis, dict(CUSTOMS.up_odds)
    if source.kind == "points":
        from .points import read_points_as_splats

        splats = read_points_as_splats(source.path)
    else:
        file = read_splat_file(source.path)
        splats = file.splats
        facts = {"file_layout": file.layout, "broken": file.left_out, "antialiased": file.antialiased}
        if file.left_out:
            report.warn("import.broken", f"{file.left_out} splats hold NaN or infinite values and were left out")
        if file.layout.startswith("spz"):
            from ..reconstruction.splat_spz import T_WORLD_RUB

            # The reader has turned the file's axes; what people say is about the file's own.
            R = T_WORLD_RUB[:3, :3]
            said = None if said is None else turned_axis(said, R)
            odds = {"z": 2.0, "-z": 0.7}
        elif file.up_axis is not None:
            odds[file.up_axis] = SAID_ODDS
    if not len(splats):
        raise InputError(f"the file holds no splats: {source.path}")
    progress.step("import", 1, 4, "cleaning")
    with naming("use the splats", source.path):
        cleaned = clean_splats(splats, keep_floaters=cfg.keep_floaters)
    progress.step("import", 2, 4, "floor and size")
    customs = FileCustoms(up_odds=odds, unit_odds=CUSTOMS.unit_odds)
    settled = settle(sample_splats(cleaned.splats), cfg, customs, report, said=said)
    progress.step("import", 3, 4, "turning")
    cloud = _moved(settled.T_scene_file, cleaned.splats)
    facts |= {"splats_read": len(splats), "splats_kept": len(cloud), "removed": cleaned.facts()}
    return ImportedScene(
        scale=settled.scale,
        splats=cloud,
        Ts_world_path=settled.Ts_scene_path,
        backend=f"import-{source.layout}",
        facts={**facts, **settled.facts},
        report=report,
    )


def _moved(T: np.ndarray, splats: GaussianCloud) -> GaussianCloud:
    """Turned and moved; the harmonics turn with it."""
    return transform_splats(T, splats).validate()
