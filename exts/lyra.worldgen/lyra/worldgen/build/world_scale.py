"""How large a unit of a world's memory is: of one that was understood from a photo, and of one that was imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.config import RescaleConfig, WorldConfig
from ..core.errors import InputError
from ..core.manifest import Manifest
from ..core.scaling import expect_factor
from ..core.views import Photo

if TYPE_CHECKING:
    from ..generation.scale import ScaleEstimate
    from ..importing.records import ImportedScale

IMPORT = "import"
"""Stage that reads the file of an import."""


def scale_of(folder: Path, photo: Photo, photo_bytes: bytes, config: WorldConfig) -> ScaleEstimate:
    """What the settings of `rescale` make of the scale of a world that was understood; raises `InputError`."""
    from ..core.store import load_geometry
    from ..generation.scale import rescaled, scale_clues

    geometry = load_geometry(folder / "memory" / "geometry.npz")
    return rescaled(geometry, scale_clues(photo, photo_bytes, config.scale, config.rescale), config)


def imported_scale(manifest: Manifest, rescale: RescaleConfig) -> ImportedScale:
    """What one unit of an imported world's memory is, after what `rescale` says about it.

    Raises:
        InputError: evidence that needs a photo, or a factor that no world can have.
    """
    from ..importing.records import ImportedScale

    stated = replace(manifest, stages={IMPORT: manifest.stages[IMPORT]}).scale
    if stated is None:
        raise InputError("the imported world does not say how large it is; import it again with --overwrite")
    scale = ImportedScale(
        metres_per_unit=stated.metres_per_unit,
        source=stated.source,
        relative_sigma=stated.relative_sigma,
        evidence=stated.evidence,
    )
    if rescale == RescaleConfig():
        return scale
    if not rescale.factor:
        raise InputError(
            "an imported world has no photo to measure in; give --factor, or import it again with --measure3d, --units "
            "or --ceiling-height and --overwrite"
        )
    told = {"kind": "factor", "says": f"{rescale.factor:g} times as large as imported", "used": True}
    return ImportedScale(
        metres_per_unit=expect_factor("the scale", stated.metres_per_unit * rescale.factor),
        source="factor",
        relative_sigma=rescale.factor_sigma or stated.relative_sigma,
        evidence=(told,),
    )
