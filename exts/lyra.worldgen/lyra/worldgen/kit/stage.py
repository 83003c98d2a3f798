"""Puts a finished world on the stage that is open in Kit. Main thread only."""

from __future__ import annotations

from pathlib import Path

import omni.usd
from pxr import Sdf, UsdGeom

from ..core.errors import InputError


def load_world(folder: str, prim_path: str) -> str:
    """Add a world to the open stage as a payload, beside what is there already.

    The interface layer `world.usda` is used, not `world_scene.usda`: the open stage keeps its own physics scene.

    Args:
        folder: a finished world folder.
        prim_path: wanted absolute prim path; a number is appended when it is taken.

    Returns:
        The prim path that was used.

    Raises:
        InputError: no stage is open, the folder holds no world, or the stage's axes or units differ.
    """
    world = Path(folder) / "world.usda"
    if not world.is_file():
        raise InputError(f"the folder holds no world.usda; generate the world again: {folder}")
    stage = omni.usd.get_context().get_stage()
    if stage is None:
        raise InputError("no stage is open; open or create one, then load the world")
    if UsdGeom.GetStageUpAxis(stage) != UsdGeom.Tokens.z or abs(UsdGeom.GetStageMetersPerUnit(stage) - 1.0) > 1e-6:
        raise InputError(
            f"the open stage has up axis {UsdGeom.GetStageUpAxis(stage)} and {UsdGeom.GetStageMetersPerUnit(stage)} "
            f"metres per unit; worlds need Z up and 1: open a new stage, or open {world} itself"
        )
    path = _free_path(stage, prim_path)
    prim = stage.DefinePrim(path, "Xform")
    prim.GetPayloads().AddPayload(world.resolve().as_posix())
    return str(path)


def _free_path(stage, wanted: str) -> Sdf.Path:
    """`wanted`, or `wanted_2`, `wanted_3`, ... when something is there."""
    if not Sdf.Path.IsValidPathString(wanted) or not Sdf.Path(wanted).IsAbsoluteRootOrPrimPath():
        raise InputError(f"'{wanted}' is no absolute prim path; expected something like /World/Lyra")
    path, number = Sdf.Path(wanted), 1
    while stage.GetPrimAtPath(path):
        number += 1
        path = Sdf.Path(f"{wanted}_{number}")
    return path
