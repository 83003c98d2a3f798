"""Kit settings of the extension, read into one record."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import carb.settings

from .jobs import Showing, WorkPlace

ROOT = "/exts/lyra.worldgen"
"""Where Kit keeps what the manifest calls `exts."lyra.worldgen"`."""
TOKEN_VARIABLE = "LYRA_WORLDGEN_TOKEN"
"""Environment variable with the token of the server; it wins over the setting, which Kit may write to a file."""


@dataclass(frozen=True, kw_only=True)
class KitSettings:
    """Defaults of the form, how the worker is started, and how worlds are shown."""

    output_dir: str
    """Folder under which new worlds are proposed, and which the browser lists."""
    seed: int
    camera_height_m: float
    painter: str
    quality: str
    place: WorkPlace
    """Where worlds are made."""
    prim_path: str
    """Where a finished world is put on the open stage."""
    showing: Showing
    load_when_done: bool
    """Whether a finished world is put on the stage by itself."""
    last_world: str
    """Folder of the world that was worked on before a reload; empty if there was none."""


def read_settings() -> KitSettings:
    """The settings as they are now; empty entries fall back to what suits any machine."""
    settings = carb.settings.get_settings()
    return KitSettings(
        output_dir=str(settings.get(f"{ROOT}/output_dir") or Path.home() / "lyra_worlds"),
        seed=int(settings.get(f"{ROOT}/seed") or 0),
        camera_height_m=float(settings.get(f"{ROOT}/camera_height_m") or 1.5),
        painter=str(settings.get(f"{ROOT}/painter") or "auto"),
        quality=str(settings.get(f"{ROOT}/quality") or "standard"),
        place=WorkPlace(
            launcher=str(settings.get(f"{ROOT}/launcher") or ""),
            server=str(settings.get(f"{ROOT}/server") or ""),
            token=os.environ.get(TOKEN_VARIABLE) or str(settings.get(f"{ROOT}/server_token") or ""),
        ),
        prim_path=str(settings.get(f"{ROOT}/prim_path") or "/World/Lyra"),
        showing=Showing(
            representation=str(settings.get(f"{ROOT}/representation") or "mesh"),
            physics=settings.get(f"{ROOT}/physics") is not False,
        ),
        load_when_done=settings.get(f"{ROOT}/load_when_done") is not False,
        last_world=str(settings.get(f"{ROOT}/last_world") or ""),
    )


def remember(**values: str | bool) -> None:
    """Keep settings while Kit runs: `output_dir`, `last_world`, `server`, `representation`, ..."""
    settings = carb.settings.get_settings()
    for name, value in values.items():
        settings.set(f"{ROOT}/{name}", value)
