"""Worlds on the stage that is open in Kit. Main thread only; what is written is decided in `stage_content`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import omni.usd
from pxr import Usd

from ..core.errors import InputError
from .jobs import Showing
from .stage_content import (
    add_world,
    camera_pose_in,
    hide,
    reload_world,
    show_floor_picture,
    show_path,
    world_prims,
)

OVERLAY_PATH, PATH_PATH = "/LyraFreeSpace", "/LyraCameraPath"


def open_stage() -> Usd.Stage:
    """The stage that is open; raises `InputError` if none is."""
    stage = omni.usd.get_context().get_stage()
    if stage is None:
        raise InputError("no stage is open; open or create one, then load the world")
    return stage


def load_world(folder: str, prim_path: str, showing: Showing | None = None) -> str:
    """Add a world to the open stage, or show it anew if it is there; the prim path that was used.

    Raises:
        InputError: no stage is open, the folder holds no world, or the stage's axes or units differ.
    """
    path = add_world(open_stage(), Path(folder), prim_path, showing or Showing())
    reload_world(Path(folder))
    return path


def world_path_of(folder: str) -> str:
    """Where a world stands on the open stage; raises `InputError` if it does not."""
    path = world_prims(open_stage()).get(str(Path(folder).resolve()))
    if path is None:
        raise InputError("the world is not on the stage; load it first")
    return path


def viewport_pose(folder: str) -> np.ndarray:
    """`T_world_cam` [4, 4] of the active viewport's camera in a world's frame.

    Raises:
        InputError: there is no viewport, or the world is not on the stage.
    """
    try:
        from omni.kit.viewport.utility import get_active_viewport
    except ImportError as error:
        raise InputError("this app has no viewport") from error
    viewport = get_active_viewport()
    if viewport is None:
        raise InputError("no viewport is open")
    return camera_pose_in(open_stage(), str(viewport.camera_path), world_path_of(folder))


def draw_path(folder: str, Ts_world_cam: np.ndarray) -> None:
    """Draw a camera path beside the world, without saving anything."""
    show_path(open_stage(), PATH_PATH, world_path_of(folder), Ts_world_cam)


def toggle_overlay(folder: str) -> bool:
    """Lay the map of free space on the world's floor, or take it away; whether it lies there now.

    Raises:
        InputError: the world is not on the stage or has no map.
        DependencyError: this Python lacks what measures clearances.
    """
    stage = open_stage()
    if stage.GetPrimAtPath(OVERLAY_PATH):
        hide(stage, OVERLAY_PATH)
        return False
    from .overlay import floor_picture

    picture = floor_picture(Path(folder))
    world_path = world_path_of(folder)
    show_floor_picture(stage, OVERLAY_PATH, world_path, picture.file, picture.size_m, picture.centre_world)
    return True
