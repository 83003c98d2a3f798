"""What an import hands on: the file with its hash, and the scene that was read from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.mesh import TriMesh
from ..core.report import Report
from ..core.splats import GaussianCloud
from ..core.views import PhotoGeometry, WorldViews


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file or folder that is to become a world."""

    path: Path
    kind: str
    """One of `config.SOURCE_KINDS`."""
    layout: str
    """Format: `ply`, `spz`, `glb`, `gltf`, `obj`, `npz`, `colmap`, `transforms`, `image`, `video`, ..."""
    files: tuple[Path, ...]
    """Everything that is read, the main file first."""
    sha256: str
    """Of the main file, or of names and contents of all files where there are several."""


@dataclass(frozen=True, kw_only=True)
class ImportedScale:
    """What one unit of the scene is, as `world.json` states it."""

    metres_per_unit: float
    source: str
    """What it rests on, for example `units`, `measured`, `room height`."""
    relative_sigma: float
    evidence: tuple[dict[str, Any], ...] = ()
    """Each with `says` and `used`, and with `stated_m` and `in_world_m` where it is a length."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "metres_per_unit": self.metres_per_unit,
            "source": self.source,
            "relative_sigma": round(self.relative_sigma, 4),
            "evidence": [dict(piece) for piece in self.evidence],
        }


@dataclass(frozen=True, kw_only=True)
class ImportedScene:
    """One of mesh, splats or views, upright: +Z up, floor at z = 0, the origin on free floor; in units of its own."""

    scale: ImportedScale
    mesh: TriMesh | None = None
    splats: GaussianCloud | None = None
    views: WorldViews | None = None
    """The first view is the one that people look from."""
    geometry: PhotoGeometry | None = None
    """What is known around the first view, where somebody knows it."""
    Ts_world_path: np.ndarray = field(default_factory=lambda: np.zeros((0, 4, 4)))
    """[P, 4, 4] poses from which the place is looked at, the viewpoint first; views bring their own."""
    backend: str = "import"
    weights_licence: str = ""
    """Of models that took part in reading it."""
    facts: dict[str, Any] = field(default_factory=dict)
    """JSON values for the manifest."""
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        given = [name for name in ("mesh", "splats", "views") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InputError(f"an imported scene holds {given or 'nothing'}; expected one of mesh, splats, views")
