"""What a world adds to a stage that holds other things: written with pxr alone, so that it is tested without Kit.

`stage` finds the stage that is open in Kit and calls this; main thread only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pxr import Gf, Sdf, Usd, UsdGeom, UsdPhysics, UsdShade

from ..core.errors import InputError
from ..core.frames import cv_from_usd_camera
from .jobs import REPRESENTATIONS, Showing

if TYPE_CHECKING:
    from .spawn import Spawn

GRAVITY_M_S2 = 9.81
OVERLAY_ABOVE_M = 0.01
"""How far above the floor the map lies, so that it neither hides in the floor nor hides a robot."""


def add_world(stage: Usd.Stage, folder: Path, wanted: str, showing: Showing) -> str:
    """Add a world to a stage as a payload, beside what is there already; one that is there is shown anew.

    The interface layer `world.usda` is used, not `world_scene.usda`: the stage keeps its own physics scene and light.

    Args:
        stage: Z up, in metres.
        folder: a finished world folder.
        wanted: absolute prim path; a number is appended when something else is there.
        showing: what is shown, and whether it is solid.

    Returns:
        The prim path that was used.

    Raises:
        InputError: the folder holds no world, the stage's axes or units differ, or the path or representation is none.
    """
    world = Path(folder) / "world.usda"
    if not world.is_file():
        raise InputError(f"the folder holds no world.usda; finish the world first: {folder}")
    if showing.representation not in REPRESENTATIONS:
        raise InputError(f"'{showing.representation}' is none of: {', '.join(REPRESENTATIONS)}")
    up, metres = UsdGeom.GetStageUpAxis(stage), UsdGeom.GetStageMetersPerUnit(stage)
    if up != UsdGeom.Tokens.z or abs(metres - 1.0) > 1e-6:
        raise InputError(
            f"the open stage has up axis {up} and {metres} metres per unit; worlds need Z up and 1: open a new stage, "
            f"or open {world} itself"
        )
    asset = world.resolve().as_posix()
    prim = _prim_of(stage, asset)
    if prim is None:
        prim = stage.DefinePrim(_free_path(stage, wanted), "Xform")
        prim.GetPayloads().AddPayload(asset)
    prim.GetVariantSet("representation").SetVariantSelection(showing.representation)
    colliders = stage.OverridePrim(prim.GetPath().AppendChild("Collision"))
    colliders.SetActive(showing.physics)
    if showing.physics:
        _expect_physics(stage)
    return str(prim.GetPath())


def reload_world(folder: Path) -> None:
    """Read the layers of a world again that was made anew in the same folder."""
    root = Path(folder).resolve()
    for name in ("world.usda", *(f"payloads/{part}.usdc" for part in ("visual", "collision", "splats"))):
        if (layer := Sdf.Layer.Find((root / name).as_posix())) is not None:
            layer.Reload(force=True)


def world_prims(stage: Usd.Stage) -> dict[str, str]:
    """Prim path by folder of every world on a stage."""
    found = {}
    for prim in stage.Traverse():
        for asset in _payloads(prim):
            if Path(asset).name == "world.usda":
                found[str(Path(asset).parent)] = str(prim.GetPath())
    return found


def add_robot(stage: Usd.Stage, usd: Path, wanted: str, world_path: str, spawn: Spawn) -> str:
    """Put a robot on a world's floor; its prim path. An older robot of that name goes first."""
    path = _prim_path(wanted)
    stage.RemovePrim(path)
    prim = stage.DefinePrim(path, "Xform")
    prim.GetReferences().AddReference(usd.resolve().as_posix())
    place = Gf.Matrix4d().SetRotate(Gf.Rotation(Gf.Vec3d(0, 0, 1), float(np.degrees(spawn.yaw_rad))))
    place.SetTranslateOnly(Gf.Vec3d(*spawn.xy_m, spawn.floor_z_m))
    T_stage_world = _to_stage(stage, world_path)
    T_parent_stage = UsdGeom.Xformable(prim.GetParent()).ComputeLocalToWorldTransform(Usd.TimeCode.Default())
    xform = UsdGeom.Xformable(prim)
    xform.ClearXformOpOrder()
    xform.MakeMatrixXform().Set(place * T_stage_world * T_parent_stage.GetInverse())
    return str(prim.GetPath())


def camera_pose_in(stage: Usd.Stage, camera_path: str, world_path: str) -> np.ndarray:
    """`T_world_cam` [4, 4] of a camera prim in a world's own frame, OpenCV axes, any scale on the way taken out.

    Raises:
        InputError: there is no such camera or world on the stage.
    """
    camera = UsdGeom.Camera(stage.GetPrimAtPath(camera_path)) if camera_path else None
    if not camera:
        raise InputError(f"the viewport looks through no camera of the stage ({camera_path or 'none'})")
    M = camera.ComputeLocalToWorldTransform(Usd.TimeCode.Default()) * _to_stage(stage, world_path).GetInverse()
    T = np.array(M).T  # USD multiplies row vectors
    # The nearest rotation: viewports carry scales of their parents along.
    U, _, Vt = np.linalg.svd(T[:3, :3])
    T[:3, :3] = U @ np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))]) @ Vt
    return cv_from_usd_camera(T)


def world_transform(stage: Usd.Stage, world_path: str) -> np.ndarray:
    """`T_stage_world` [4, 4] of a world on a stage; raises `InputError` if there is none."""
    return np.array(_to_stage(stage, world_path)).T


def show_path(stage: Usd.Stage, path: str, world_path: str, Ts_world_cam: np.ndarray) -> None:
    """Draw a camera path as a line through its positions, on the session layer: nothing of it is saved.

    Args:
        stage: where.
        path: prim path of the drawing, which replaces an older one.
        world_path: the world in whose frame the poses are.
        Ts_world_cam: [N, 4, 4]; fewer than two take the drawing away.
    """
    with Usd.EditContext(stage, stage.GetSessionLayer()):
        stage.RemovePrim(path)
        if len(Ts_world_cam) < 2:
            return
        curve = UsdGeom.BasisCurves.Define(stage, path)
        curve.CreateTypeAttr(UsdGeom.Tokens.linear)
        curve.CreatePointsAttr([Gf.Vec3f(*map(float, T[:3, 3])) for T in Ts_world_cam])
        curve.CreateCurveVertexCountsAttr([len(Ts_world_cam)])
        curve.CreateWidthsAttr([0.02])
        curve.SetWidthsInterpolation(UsdGeom.Tokens.constant)
        curve.CreateDisplayColorAttr([Gf.Vec3f(1.0, 0.55, 0.0)])
        UsdGeom.Xformable(curve).MakeMatrixXform().Set(_to_stage(stage, world_path) * _from_parent(stage, path))


def show_floor_picture(
    stage: Usd.Stage, path: str, world_path: str, picture: Path, size_m: tuple[float, float], centre_world: np.ndarray
) -> None:
    """Lay a picture on a world's floor, on the session layer: it is seen, neither saved nor bumped into.

    Args:
        stage: where.
        path: prim path of the drawing, which replaces an older one.
        world_path: the world whose floor it is.
        picture: PNG with transparency; its top is the highest y.
        size_m: along x and y.
        centre_world: [3].
    """
    with Usd.EditContext(stage, stage.GetSessionLayer()):
        stage.RemovePrim(path)
        mesh = UsdGeom.Mesh.Define(stage, path)
        half_x, half_y = size_m[0] / 2, size_m[1] / 2
        x, y, z = (float(v) for v in centre_world)
        corners = [(-half_x, -half_y), (half_x, -half_y), (half_x, half_y), (-half_x, half_y)]
        mesh.CreatePointsAttr([Gf.Vec3f(x + dx, y + dy, z + OVERLAY_ABOVE_M) for dx, dy in corners])
        mesh.CreateFaceVertexCountsAttr([4])
        mesh.CreateFaceVertexIndicesAttr([0, 1, 2, 3])
        mesh.CreateDoubleSidedAttr(True)
        mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
        mesh.CreateExtentAttr(UsdGeom.PointBased.ComputeExtent(mesh.GetPointsAttr().Get()))
        st = UsdGeom.PrimvarsAPI(mesh).CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex)
        st.Set([Gf.Vec2f(0, 0), Gf.Vec2f(1, 0), Gf.Vec2f(1, 1), Gf.Vec2f(0, 1)])
        mesh.MakeMatrixXform().Set(_to_stage(stage, world_path) * _from_parent(stage, path))
        material = _glowing(stage, f"{path}/Look", picture)
        UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)


def hide(stage: Usd.Stage, path: str) -> None:
    """Take a drawing of this module away."""
    with Usd.EditContext(stage, stage.GetSessionLayer()):
        stage.RemovePrim(path)


def _glowing(stage: Usd.Stage, path: str, picture: Path) -> UsdShade.Material:
    """A material that shows a picture in its own colours, whatever the light."""
    material = UsdShade.Material.Define(stage, path)
    surface = UsdShade.Shader.Define(stage, f"{path}/Surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    texture = UsdShade.Shader.Define(stage, f"{path}/Texture")
    texture.CreateIdAttr("UsdUVTexture")
    texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(Sdf.AssetPath(picture.resolve().as_posix()))
    texture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
    reader = UsdShade.Shader.Define(stage, f"{path}/Place")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(
        reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
    )
    surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).Set(Gf.Vec3f(0))
    surface.CreateInput("emissiveColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(
        texture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
    )
    surface.CreateInput("opacity", Sdf.ValueTypeNames.Float).ConnectToSource(
        texture.CreateOutput("a", Sdf.ValueTypeNames.Float)
    )
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", Sdf.ValueTypeNames.Token))
    return material


def _expect_physics(stage: Usd.Stage) -> None:
    """A physics scene, if the stage has none."""
    if not any(prim.IsA(UsdPhysics.Scene) for prim in stage.Traverse()):
        scene = UsdPhysics.Scene.Define(stage, _free_path(stage, "/World/PhysicsScene"))
        scene.CreateGravityDirectionAttr(Gf.Vec3f(0, 0, -1))
        scene.CreateGravityMagnitudeAttr(GRAVITY_M_S2)


def _prim_of(stage: Usd.Stage, asset: str) -> Usd.Prim | None:
    """The prim that a world is the payload of, if there is one."""
    return next((prim for prim in stage.Traverse() if asset in _payloads(prim)), None)


def _payloads(prim: Usd.Prim) -> list[str]:
    """Payloads that the stage's own layers give a prim, absolute."""
    found = []
    for spec in prim.GetPrimStack():
        if spec.path == prim.GetPath():
            for payload in spec.payloadList.GetAddedOrExplicitItems():
                found.append(spec.layer.ComputeAbsolutePath(payload.assetPath))
    return found


def _to_stage(stage: Usd.Stage, world_path: str) -> Gf.Matrix4d:
    """Row-vector matrix from a world's frame to the stage's."""
    prim = stage.GetPrimAtPath(world_path) if world_path else None
    if not prim:
        raise InputError(f"the world is not on the stage ({world_path or 'none'}); load it first")
    return UsdGeom.Xformable(prim).ComputeLocalToWorldTransform(Usd.TimeCode.Default())


def _from_parent(stage: Usd.Stage, path: str) -> Gf.Matrix4d:
    """Row-vector matrix from the stage's frame to that of a prim's parent."""
    parent = UsdGeom.Xformable(stage.GetPrimAtPath(Sdf.Path(path).GetParentPath()))
    if not parent:
        return Gf.Matrix4d(1.0)
    return parent.ComputeLocalToWorldTransform(Usd.TimeCode.Default()).GetInverse()


def _free_path(stage: Usd.Stage, wanted: str) -> Sdf.Path:
    """`wanted`, or `wanted_2`, `wanted_3`, ... when something is there."""
    path, number = _prim_path(wanted), 1
    while stage.GetPrimAtPath(path):
        number += 1
        path = Sdf.Path(f"{wanted}_{number}")
    return path


def _prim_path(text: str) -> Sdf.Path:
    path = Sdf.Path(text) if Sdf.Path.IsValidPathString(text) else Sdf.Path.emptyPath
    if not path.IsAbsolutePath() or not path.IsPrimPath():
        raise InputError(f"'{text}' is no absolute prim path; expected something like /World/Lyra")
    return path
