"""Writes a collider plan as UsdPhysics, and the physics scene in a layer of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.frames import rigid
from ..core.mesh import TriMesh
from .collision import ColliderPlan
from .convex_pieces import ConvexPlan, hull_mesh
from .movable import MovableObject
from .surface_materials import COMBINE_MODE, SurfaceChoice, default_materials
from .usd_mesh import define_material, define_mesh
from .usd_stage import gf_matrix, new_stage, save_stage

if TYPE_CHECKING:
    from pxr import Usd, UsdShade

SAFETY_DEPTH_M = 1.0
SAFETY_PATH = "/World/SafetyGround"


def write_collision(path: Path, plan: ColliderPlan, surfaces: Mapping[str, SurfaceChoice] | None = None) -> list[str]:
    """`payloads/collision.usdc`: static colliders under /World/Collision, purpose guide. Returns their prim paths.

    Args:
        path: target layer.
        plan: the shapes.
        surfaces: material of each kind of collider; defaults when None.
    """
    from pxr import UsdGeom, UsdPhysics

    stage = new_stage()
    root = UsdGeom.Xform.Define(stage, "/World/Collision")
    root.CreatePurposeAttr(UsdGeom.Tokens.guide)
    materials = _Materials(stage, surfaces or default_materials())
    paths = _define_boxes(stage, plan, materials)
    if plan.rest.face_count:
        rest = define_mesh(stage, "/World/Collision/rest", plan.rest)
        materials.collide(rest.GetPrim(), "object")
        # Triangles as they are: anything else turns a room into a block.
        UsdPhysics.MeshCollisionAPI.Apply(rest.GetPrim()).CreateApproximationAttr(UsdPhysics.Tokens.none)
        paths.append("/World/Collision/rest")
    save_stage(stage, path)
    return paths


def _define_boxes(stage: Usd.Stage, plan: ColliderPlan, materials: _Materials) -> list[str]:
    from pxr import Gf, UsdGeom

    paths = []
    for name, box in zip(plan.box_names(), plan.boxes, strict=True):
        cube = UsdGeom.Cube.Define(stage, f"/World/Collision/{name}")
        cube.CreateSizeAttr(1.0)
        cube.CreateExtentAttr([Gf.Vec3f(-0.5), Gf.Vec3f(0.5)])
        # One rigid transform and one scale: PhysX maps this to an exact box.
        cube.AddTransformOp().Set(gf_matrix(rigid(box.R_world_box, box.centre_m)))
        cube.AddScaleOp().Set(Gf.Vec3f(*(float(2 * x) for x in box.half_m)))
        materials.collide(cube.GetPrim(), name.partition("_")[0])
        paths.append(str(cube.GetPath()))
    return paths


def write_convex_collision(
    path: Path, plan: ColliderPlan, convex: ConvexPlan, surfaces: Mapping[str, SurfaceChoice] | None = None
) -> None:
    """`payloads/collision_convex.usdc`: the same boxes, and convex pieces in the place of the triangle mesh.

    Args:
        path: target layer.
        plan: the boxes.
        convex: the pieces.
        surfaces: material of each kind of collider; defaults when None.
    """
    from pxr import UsdGeom, UsdPhysics

    stage = new_stage()
    UsdGeom.Xform.Define(stage, "/World/Collision").CreatePurposeAttr(UsdGeom.Tokens.guide)
    materials = _Materials(stage, surfaces or default_materials())
    _define_boxes(stage, plan, materials)
    for name, piece in zip(convex.names(), convex.pieces, strict=True):
        mesh = define_mesh(stage, f"/World/Collision/{name}", hull_mesh(piece))
        materials.collide(mesh.GetPrim(), name.partition("_")[0])
        UsdPhysics.MeshCollisionAPI.Apply(mesh.GetPrim()).CreateApproximationAttr(UsdPhysics.Tokens.convexHull)
    save_stage(stage, path)


def write_objects(path: Path, things: list[MovableObject], surfaces: Mapping[str, SurfaceChoice]) -> None:
    """`payloads/objects.usdc`: rigid bodies under /World/Objects with what is seen of them and what they collide with.

    Args:
        path: target layer, beside the visual payload, whose texture it shares.
        things: at least one.
        surfaces: material of each kind of collider.
    """
    from pxr import Gf, UsdGeom, UsdPhysics, UsdSemantics, UsdShade

    stage = new_stage()
    UsdGeom.Xform.Define(stage, "/World/Objects")
    textured = things[0].mesh.uv is not None and things[0].mesh.texture_u8 is not None
    look = define_material(stage, "/World/Looks/world", "./textures/albedo.jpg" if textured else None)
    materials = _Materials(stage, surfaces)
    for thing in things:
        root = UsdGeom.Xform.Define(stage, f"/World/Objects/{thing.name}")
        root.AddTranslateOp().Set(Gf.Vec3d(*(float(x) for x in thing.origin_m)))
        UsdPhysics.RigidBodyAPI.Apply(root.GetPrim())
        UsdPhysics.MassAPI.Apply(root.GetPrim()).CreateMassAttr(thing.mass_kg)
        UsdSemantics.LabelsAPI.Apply(root.GetPrim(), "class").CreateLabelsAttr(["object"])
        seen = replace(thing.mesh, vertices=thing.mesh.vertices - thing.origin_m)
        visual = define_mesh(stage, f"{root.GetPath()}/visual", seen)
        visual.CreateDoubleSidedAttr(True)
        UsdShade.MaterialBindingAPI.Apply(visual.GetPrim()).Bind(look)
        for i, piece in enumerate(thing.pieces):
            hull = hull_mesh(replace(piece, vertices=piece.vertices - thing.origin_m))
            collider = define_mesh(stage, f"{root.GetPath()}/collider_{i:03d}", hull)
            collider.CreatePurposeAttr(UsdGeom.Tokens.guide)
            materials.collide(collider.GetPrim(), "object")
            approximation = UsdPhysics.MeshCollisionAPI.Apply(collider.GetPrim()).CreateApproximationAttr()
            approximation.Set(UsdPhysics.Tokens.convexHull)
    save_stage(stage, path)


def define_standing(stage: Usd.Stage, things: Mapping[str, TriMesh]) -> None:
    """Static colliders under /World/Collision for convex things, by prim name; all of one material, `clutter`.

    Args:
        stage: whose /World/Collision may be an over.
        things: surfaces in that prim's frame, faces outward.
    """
    from pxr import UsdGeom, UsdPhysics

    materials = _Materials(stage, {"clutter": SurfaceChoice(material="furniture", basis="default")})
    for name, mesh in things.items():
        collider = define_mesh(stage, f"/World/Collision/{name}", mesh)
        collider.CreatePurposeAttr(UsdGeom.Tokens.guide)
        materials.collide(collider.GetPrim(), "clutter")
        approximation = UsdPhysics.MeshCollisionAPI.Apply(collider.GetPrim()).CreateApproximationAttr()
        approximation.Set(UsdPhysics.Tokens.convexHull)


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
    _Materials(stage, default_materials()).collide(ground.GetPrim(), "ground")
    save_stage(stage, path)


class _Materials:
    """Physics materials of one layer: one prim a kind of collider, made when the first collider needs it."""

    def __init__(self, stage: Usd.Stage, surfaces: Mapping[str, SurfaceChoice]) -> None:
        self._stage, self._surfaces = stage, surfaces
        self._made: dict[str, UsdShade.Material] = {}

    def collide(self, prim: Usd.Prim, kind: str) -> None:
        """Make a static collider of the material of its kind. A mesh gets one: PhysX keeps others off the GPU."""
        from pxr import UsdPhysics, UsdSemantics, UsdShade

        UsdPhysics.CollisionAPI.Apply(prim)
        binding = UsdShade.MaterialBindingAPI.Apply(prim)
        binding.Bind(self._material(kind), UsdShade.Tokens.weakerThanDescendants, "physics")
        labels = UsdSemantics.LabelsAPI.Apply(prim, "material")
        labels.CreateLabelsAttr([self._surfaces[kind].material])

    def _material(self, kind: str) -> UsdShade.Material:
        from pxr import Sdf, UsdGeom, UsdPhysics, UsdShade

        if kind in self._made:
            return self._made[kind]
        UsdGeom.Scope.Define(self._stage, "/World/PhysicsMaterials")
        material = UsdShade.Material.Define(self._stage, f"/World/PhysicsMaterials/{kind}")
        prim, row = material.GetPrim(), self._surfaces[kind].properties
        api = UsdPhysics.MaterialAPI.Apply(prim)
        api.CreateStaticFrictionAttr(row.static_friction)
        api.CreateDynamicFrictionAttr(row.dynamic_friction)
        api.CreateRestitutionAttr(row.restitution)
        api.CreateDensityAttr(row.density_kg_m3)
        # PhysxMaterialAPI spelled out, as in the physics scene.
        prim.AddAppliedSchema("PhysxMaterialAPI")
        name, token = "physxMaterial:frictionCombineMode", Sdf.ValueTypeNames.Token
        prim.CreateAttribute(name, token, False, Sdf.VariabilityUniform).Set(COMBINE_MODE)
        prim.SetCustomDataByKey(
            "lyra", {"material": self._surfaces[kind].material, "basis": self._surfaces[kind].basis}
        )
        self._made[kind] = material
        return material


def collision_bounds_m(plan: ColliderPlan) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of everything that collides."""
    return plan.as_mesh().bounds()
