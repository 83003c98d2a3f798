"""Parts that embedded robots are made of, written as USD: bodies, colliders with their grip, driven joints."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from lyra.worldgen.core.optional import require

from ..cache import cache_folder

RUBBER, SLICK = 1.0, 0.02
"""Friction of tyres; of casters and hull. Zero would make MuJoCo's solver divide by it; casters have none there."""
TYRE_COLOUR, CASTER_COLOUR = (0.05, 0.05, 0.05), (0.1, 0.1, 0.1)


def kept_usd(kind: str, content: object, write: Callable[[Path], None]) -> Path:
    """A robot's USD file in the folder of written robots, written on first use; its name tells its content."""
    path = cache_folder() / f"{kind}_{hashlib.sha256(repr(content).encode()).hexdigest()[:16]}.usda"
    if not path.is_file():
        write(path)
    return path


class RobotStage:
    """An articulation under `/Robot` while it is written.

    Tyres are spheres: Newton lets cylinders drift sideways on floors of triangles. What slides has its friction decide
    on both engines: MuJoCo takes the larger of two frictions unless one has priority, PhysX the mean unless told.
    """

    def __init__(self) -> None:
        require("pxr.Usd", extra="tasks", package="usd-exchange")
        from pxr import Usd, UsdGeom, UsdPhysics

        self.stage = Usd.Stage.CreateInMemory()
        UsdGeom.SetStageUpAxis(self.stage, UsdGeom.Tokens.z)
        UsdGeom.SetStageMetersPerUnit(self.stage, 1.0)
        UsdPhysics.SetStageKilogramsPerUnit(self.stage, 1.0)
        root = UsdGeom.Xform.Define(self.stage, "/Robot")
        self.stage.SetDefaultPrim(root.GetPrim())
        UsdPhysics.ArticulationRootAPI.Apply(root.GetPrim())
        self.rubber, self.slick = self._material("rubber", RUBBER, "average"), self._material("slick", SLICK, "min")

    def body(self, name: str, mass_kg: float, inertia_kg_m2, position_m: tuple[float, float, float]) -> None:
        """A rigid body `/Robot/name` around its centre of mass; inertia [3] along its axes."""
        from pxr import Gf, UsdGeom, UsdPhysics

        body = UsdGeom.Xform.Define(self.stage, f"/Robot/{name}")
        body.AddTranslateOp().Set(Gf.Vec3d(*position_m))
        UsdPhysics.RigidBodyAPI.Apply(body.GetPrim())
        mass = UsdPhysics.MassAPI.Apply(body.GetPrim())
        mass.CreateMassAttr(mass_kg)
        mass.CreateDiagonalInertiaAttr(Gf.Vec3f(*inertia_kg_m2))
        mass.CreateCenterOfMassAttr(Gf.Vec3f(0, 0, 0))

    def box_body(self, name: str, mass_kg: float, size_m, position_m: tuple[float, float, float]) -> None:
        """A body with the inertia of a solid box [3]."""
        length, width, height = size_m
        sums = (width**2 + height**2, length**2 + height**2, length**2 + width**2)
        self.body(name, mass_kg, [mass_kg / 12 * s for s in sums], position_m)

    def wheel_body(self, name: str, mass_kg: float, radius_m: float, position_m: tuple[float, float, float]) -> None:
        """A body that spins about its y axis, with a round tyre."""
        spin = 0.5 * mass_kg * radius_m**2
        # A disc's 1/2 : 1 : 1/2 lies on the triangle inequality, which importers "correct".
        self.body(name, mass_kg, (0.6 * spin, spin, 0.6 * spin), position_m)
        self.sphere(f"{name}/tyre", radius_m, self.rubber, TYRE_COLOUR)

    def box(self, path: str, size_m, material, colour) -> None:
        """A colliding box around a body's centre."""
        from pxr import Gf, UsdGeom

        box = UsdGeom.Cube.Define(self.stage, f"/Robot/{path}")
        box.CreateSizeAttr(1.0)
        box.CreateExtentAttr([Gf.Vec3f(-0.5), Gf.Vec3f(0.5)])
        box.AddScaleOp().Set(Gf.Vec3f(*size_m))
        self._collider(box, material, colour)

    def sphere(
        self, path: str, radius_m: float, material, colour, position_m=(0.0, 0.0, 0.0), *, one_row: bool = False
    ) -> None:
        """A colliding sphere; without friction its contacts take MuJoCo one row instead of four."""
        from pxr import Gf, Sdf, UsdGeom

        sphere = UsdGeom.Sphere.Define(self.stage, f"/Robot/{path}")
        sphere.CreateRadiusAttr(radius_m)
        sphere.CreateExtentAttr([Gf.Vec3f(-radius_m), Gf.Vec3f(radius_m)])
        sphere.AddTranslateOp().Set(Gf.Vec3d(*position_m))
        self._collider(sphere, material, colour)
        if one_row:
            sphere.GetPrim().CreateAttribute("mjc:condim", Sdf.ValueTypeNames.Int, False).Set(1)

    def joint(self, name: str, axis: str, parent: str, child: str, at_parent_m, *, effort_nm: float) -> None:
        """A joint about an axis through the child's middle; simulators set its gains."""
        from pxr import Gf, UsdPhysics

        joint = UsdPhysics.RevoluteJoint.Define(self.stage, f"/Robot/joints/{name}")
        joint.CreateBody0Rel().SetTargets([f"/Robot/{parent}"])
        joint.CreateBody1Rel().SetTargets([f"/Robot/{child}"])
        joint.CreateAxisAttr(axis)
        joint.CreateLocalPos0Attr(Gf.Vec3f(*at_parent_m))
        joint.CreateLocalPos1Attr(Gf.Vec3f(0, 0, 0))
        joint.CreateLocalRot0Attr(Gf.Quatf(1))
        joint.CreateLocalRot1Attr(Gf.Quatf(1))
        drive = UsdPhysics.DriveAPI.Apply(joint.GetPrim(), "angular")
        drive.CreateTypeAttr("force")
        drive.CreateStiffnessAttr(0.0)
        drive.CreateDampingAttr(0.05)
        drive.CreateMaxForceAttr(effort_nm)

    def apart(self, a: str, b: str) -> None:
        """Two bodies that are no neighbours, and may overlap."""
        from pxr import UsdPhysics

        prim = self.stage.GetPrimAtPath(f"/Robot/{a}")
        UsdPhysics.FilteredPairsAPI.Apply(prim).CreateFilteredPairsRel().AddTarget(f"/Robot/{b}")

    def save(self, path: Path) -> None:
        """Write the file; two processes may write the same one at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
        self.stage.GetRootLayer().Export(str(partial), comment="")
        os.replace(partial, path)

    def _collider(self, geom, material, colour) -> None:
        from pxr import Gf, Sdf, UsdPhysics, UsdShade

        UsdPhysics.CollisionAPI.Apply(geom.GetPrim())
        geom.GetPrim().CreateAttribute("mjc:priority", Sdf.ValueTypeNames.Int, False).Set(1)
        UsdShade.MaterialBindingAPI.Apply(geom.GetPrim()).Bind(material, materialPurpose="physics")
        geom.CreateDisplayColorAttr([Gf.Vec3f(*colour)])

    def _material(self, name: str, friction: float, combine: str):
        from pxr import Sdf, UsdPhysics, UsdShade

        material = UsdShade.Material.Define(self.stage, f"/Robot/Looks/{name}")
        api = UsdPhysics.MaterialAPI.Apply(material.GetPrim())
        api.CreateStaticFrictionAttr(friction)
        api.CreateDynamicFrictionAttr(friction)
        api.CreateRestitutionAttr(0.0)
        # Spelled out: stock USD does not know the schema.
        material.GetPrim().AddAppliedSchema("PhysxMaterialAPI")
        kind = Sdf.ValueTypeNames.Token
        material.GetPrim().CreateAttribute("physxMaterial:frictionCombineMode", kind, False).Set(combine)
        return material
