"""Writes a collider plan as UsdPhysics, and the physics scene in a layer of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.frames import rigid
from .collision import ColliderPlan
from .usd_mesh import define_mesh
from .usd_stage import gf_matrix, new_stage, save_stage

if TYPE_CHECKING:
    from pxr import Usd, UsdShade

FRICTION = {
    "floor": (0.9, 0.8, 0.0),
    "wall": (0.6, 0.5, 0.05),
    "ceiling": (0.6, 0.5, 0.05),
    "object": (0.7, 0.6, 0.05),
    "ground": (0.8, 0.7, 0.0),
}
"""Static friction, dynamic friction, restitution. Rubber on a sealed indoor floor lies near 0.9 / 0.8; painted walls
and furniture are smoother. Values are plain starting points for randomisation, not measurements of the photo."""
SAFETY_DEPTH_M = 1.0
SAFETY_PATH = "/World/SafetyGround"


def write_collision(path: Path, plan: ColliderPlan) -> list[str]:
    """`payloads/collision.usdc`: static colliders under /World/Collision, purpose guide. Returns their prim paths."""
    from pxr import Gf, UsdGeom, UsdPhysics

    stage = new_stage()
    root = UsdGeom.Xform.Define(stage, "/World/Collision")
    root.CreatePurposeAttr(UsdGeom.Tokens.guide)
    materials: dict[str, Any] = {}
    paths = []
    for name, box in zip(plan.box_names(), plan.boxes, strict=True):
        cube = UsdGeom.Cube.Define(stage, f"/World/Collision/{name}")
        cube.CreateSizeAttr(1.0)
        cube.CreateExtentAttr([Gf.Vec3f(-0.5), Gf.Vec3f(0.5)])
        # One rigid transform and one scale: PhysX maps this to an exact box.
        cube.AddTransformOp().Set(gf_matrix(rigid(box.R_world_box, box.centre_m)))
        cube.AddScaleOp().Set(Gf.Vec3f(*(float(2 * x) for x in box.half_m)))
        _collide(stage, cube.GetPrim(), name.partition("_")[0], materials)
        paths.append(str(cube.GetPath()))
    if plan.rest.face_count:
        rest = define_mesh(stage, "/World/Collision/rest", plan.rest)
        _collide(stage, rest.GetPrim(), "object", materials)
        # Triangles as they are: anything else turns a room into a block.
        UsdPhysics.MeshCollisionAPI.Apply(rest.GetPrim()).CreateApproximationAttr(UsdPhysics.Tokens.none)
        paths.append("/World/Collision/rest")
    save_stage(stage, path)
    return paths


def write_physics_scene(path: Path, *, floor_z_m: float, half_width_m: float) -> None:
    """`payloads/physics_scene.usda`: gravity, solver settings and a plane that catches whatever leaves the world.

    Args:
        path: target layer.
        floor_z_m: the plane lies 1 m below.
        half_width_m: drawn half size of the plane; it collides without end.
    """
    from pxr import Gf, Sdf, UsdGeom, UsdPhysics

    stage = new_stage()
    scene = UsdPhysics.Scene.Define(stage, "/World/PhysicsScene")
    scene.CreateGravityDirectionAttr(Gf.Vec3f(0, 0, -1))
    scene.CreateGravityMagnitudeAttr(9.81)
    prim = scene.GetPrim()
    # PhysxSceneAPI spelled out: stock USD does not know the schema, and the bytes must not depend on who has it.
    prim.AddAppliedSchema("PhysxSceneAPI")
    types = Sdf.ValueTypeNames
    for name, kind, value, uniform in (
        ("timeStepsPerSecond", types.UInt, 60, False),
        ("enableCCD", types.Bool, True, False),
        ("enableStabilization", types.Bool, False, False),
        ("enableGPUDynamics", types.Bool, False, False),
        ("broadphaseType", types.Token, "MBP", True),
        ("solverType", types.Token, "TGS", True),
    ):
        variability = Sdf.VariabilityUniform if uniform else Sdf.VariabilityVarying
        prim.CreateAttribute(f"physxScene:{name}", kind, False, variability).Set(value)
    ground = UsdGeom.Plane.Define(stage, SAFETY_PATH)
    ground.CreateAxisAttr(UsdGeom.Tokens.z)
    ground.CreatePurposeAttr(UsdGeom.Tokens.guide)
    ground.CreateWidthAttr(2 * half_width_m)
    ground.CreateLengthAttr(2 * half_width_m)
    ground.CreateExtentAttr([Gf.Vec3f(-half_width_m, -half_width_m, 0), Gf.Vec3f(half_width_m, half_width_m, 0)])
    ground.AddTranslateOp().Set(Gf.Vec3d(0, 0, floor_z_m - SAFETY_DEPTH_M))
    _collide(stage, ground.GetPrim(), "ground", {})
    save_stage(stage, path)


def _collide(stage: Usd.Stage, prim: Usd.Prim, material: str, materials: dict[str, UsdShade.Material]) -> None:
    """Make a static collider with the named physics material."""
    from pxr import UsdGeom, UsdPhysics, UsdShade

    if material not in materials:
        UsdGeom.Scope.Define(stage, "/World/PhysicsMaterials")
        made = UsdShade.Material.Define(stage, f"/World/PhysicsMaterials/{material}")
        api = UsdPhysics.MaterialAPI.Apply(made.GetPrim())
        static, dynamic, restitution = FRICTION[material]
        api.CreateStaticFrictionAttr(static)
        api.CreateDynamicFrictionAttr(dynamic)
        api.CreateRestitutionAttr(restitution)
        materials[material] = made
    UsdPhysics.CollisionAPI.Apply(prim)
    UsdShade.MaterialBindingAPI.Apply(prim).Bind(materials[material], UsdShade.Tokens.weakerThanDescendants, "physics")


def collision_bounds_m(plan: ColliderPlan) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of everything that collides."""
    return plan.as_mesh().bounds()
