"""Kit settings of the extension, read into one record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import carb.settings

ROOT = "/exts/lyra.worldgen"
"""Where Kit keeps what the manifest calls `exts."lyra.worldgen"`."""


@dataclass(frozen=True, kw_only=True)
class KitSettings:
    """Defaults of the form and how the worker is started."""

    output_dir: str
    """Folder under which new worlds are proposed."""
    launcher: str
    """Python interpreter or `lyra-worldgen` program of the generator; empty means look for it."""
    seed: int
    camera_height_m: float
    prim_path: str
    """Where a finished world is put on the open stage."""


def read_settings() -> KitSettings:
    """The settings as they are now; empty entries fall back to what suits any machine."""
    settings = carb.settings.get_settings()
    return KitSettings(
        output_dir=str(settings.get(f"{ROOT}/output_dir") or Path.home() / "lyra_worlds"),
        launcher=str(settings.get(f"{ROOT}/launcher") or ""),
        seed=int(settings.get(f"{ROOT}/seed") or 0),
        camera_height_m=float(settings.get(f"{ROOT}/camera_height_m") or 1.5),
        prim_path=str(settings.get(f"{ROOT}/prim_path") or "/World/Lyra"),
    )


def remember_output_dir(folder: str) -> None:
    """Propose this folder next time; Kit keeps it while it runs."""
    carb.settings.get_settings().set(f"{ROOT}/output_dir", folder)
