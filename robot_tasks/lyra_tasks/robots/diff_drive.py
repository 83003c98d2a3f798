"""A differential-drive robot in plain numbers, and its USD: a box on two driven wheels and two sliding casters.

Frame `base`: +X forward, +Y left, +Z up, origin on the floor between the wheels. The link `base` itself sits at the
height of the hull's middle, and simulators report that link's pose as the robot's root pose.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import astuple, dataclass
from pathlib import Path

from lyra.worldgen.core.errors import ConfigError
from lyra.worldgen.core.optional import require

from ..cache import cache_folder

WHEEL_JOINTS = ("wheel_left_joint", "wheel_right_joint")
RUBBER, SLICK = 1.0, 0.02
"""Friction of tyres; of casters and hull. Zero would make MuJoCo's solver divide by it; casters have none there."""
_FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class DiffDriveSpec:
    """Everything that defines the robot; lengths in metres."""

    wheel_radius_m: float
    track_m: float
    """Between the wheels' middles."""
    hull_m: tuple[float, float, float]
    """Length, width and height of the box."""
    hull_z_m: float
    """Height of the box's middle above the floor: the root link's height."""
    caster_radius_m: float
    caster_x_m: float
    base_mass_kg: float
    wheel_mass_kg: float
    wheel_effort_nm: float
    """Most torque of a wheel; more than its grip makes the robot rear up."""
    max_speed_m_s: float
    max_reverse_m_s: float
    max_turn_rad_s: float
    lidar_height_m: float
    """Of the lidar's plane above the floor."""

    @property
    def footprint_radius_m(self) -> float:
        """Of the circle around the middle that holds hull and wheels."""
        hull = (self.hull_m[0] ** 2 + self.hull_m[1] ** 2) ** 0.5 / 2
        # Tyres are spheres, see `write_usd`.
        return max(hull, self.track_m / 2 + self.wheel_radius_m)


SIZES = {
    "small": DiffDriveSpec(
        wheel_radius_m=0.05,
        track_m=0.19,
        hull_m=(0.22, 0.15, 0.08),
        hull_z_m=0.07,
        caster_radius_m=0.025,
        caster_x_m=0.08,
        base_mass_kg=2.0,
        wheel_mass_kg=0.2,
        wheel_effort_nm=0.16,
        max_speed_m_s=0.6,
        max_reverse_m_s=0.2,
        max_turn_rad_s=2.5,
        lidar_height_m=0.15,
    ),
    "medium": DiffDriveSpec(
        wheel_radius_m=0.08,
        track_m=0.30,
        hull_m=(0.36, 0.24, 0.12),
        hull_z_m=0.11,
        caster_radius_m=0.04,
        caster_x_m=0.13,
        base_mass_kg=6.0,
        wheel_mass_kg=0.5,
        wheel_effort_nm=0.8,
        max_speed_m_s=1.0,
        max_reverse_m_s=0.2,
        max_turn_rad_s=2.0,
        lidar_height_m=0.23,
    ),
}


def spec_of(size: str) -> DiffDriveSpec:
    """The robot of a named size; raises `ConfigError` that lists the names."""
    if size not in SIZES:
        raise ConfigError(f"robot size '{size}' is unknown; expected one of: {', '.join(SIZES)}")
    return SIZES[size]


def usd_path(spec: DiffDriveSpec) -> Path:
    """The robot's USD file, written on first use; its name tells its content."""
    folder = cache_folder()
    digest = hashlib.sha256(repr((_FORMAT, astuple(spec))).encode()).hexdigest()[:16]
    path = folder / f"diff_drive_{digest}.usda"
    if not path.is_file():
        write_usd(path, spec)
    return path


def write_usd(path: Path, spec: DiffDriveSpec) -> None:
    """Write the robot as an articulation under `/Robot`; two processes may write the same file at once.

    Tyres are spheres: Newton lets cylinders drift sideways on floors of triangles. What slides has its friction decide
    on both engines: MuJoCo takes the larger of two frictions unless one has priority, PhysX the mean unless told.
    """
    require("pxr.Usd", extra="tasks", package="usd-exchange")
    from pxr import Gf, Usd, UsdGeom, UsdPhysics, UsdShade

    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    UsdPhysics.SetStageKilogramsPerUnit(stage, 1.0)
    root = UsdGeom.Xform.Define(stage, "/Robot")
    stage.SetDefaultPrim(root.GetPrim())
    UsdPhysics.ArticulationRootAPI.Apply(root.GetPrim())
    rubber, slick = _material(stage, "rubber", RUBBER, "average"), _material(stage, "slick", SLICK, "min")

    def collider(geom: UsdGeom.Gprim, material: UsdShade.Material, colour: tuple[float, float, float]) -> None:
        UsdPhysics.CollisionAPI.Apply(geom.GetPrim())
        _int_attribute(geom.GetPrim(), "mjc:priority", 1)
        UsdShade.MaterialBindingAPI.Apply(geom.GetPrim()).Bind(material, materialPurpose="physics")
        geom.CreateDisplayColorAttr([Gf.Vec3f(*colour)])

    length, width, height = spec.hull_m
    box = [spec.base_mass_kg / 12 * s for s in (width**2 + height**2, length**2 + height**2, length**2 + width**2)]
    base = _body(stage, "base", spec.base_mass_kg, box, (0.0, 0.0, spec.hull_z_m))
    hull = UsdGeom.Cube.Define(stage, "/Robot/base/hull")
    hull.CreateSizeAttr(1.0)
    hull.CreateExtentAttr([Gf.Vec3f(-0.5), Gf.Vec3f(0.5)])
    hull.AddScaleOp().Set(Gf.Vec3f(*spec.hull_m))
    collider(hull, slick, (0.2, 0.4, 0.8))
    for name, side in (("front", 1), ("rear", -1)):
        # 2 mm off the floor: casters only catch pitching.
        low = spec.caster_radius_m + 0.002 - spec.hull_z_m
        caster = _sphere(stage, f"/Robot/base/caster_{name}", spec.caster_radius_m)
        caster.AddTranslateOp().Set(Gf.Vec3d(side * spec.caster_x_m, 0, low))
        collider(caster, slick, (0.1, 0.1, 0.1))
        # Without friction a contact takes MuJoCo one row instead of four.
        _int_attribute(caster.GetPrim(), "mjc:condim", 1)
    for name, side in (("left", 1), ("right", -1)):
        y = side * spec.track_m / 2
        spin = 0.5 * spec.wheel_mass_kg * spec.wheel_radius_m**2
        # A disc's 1/2 : 1 : 1/2 lies on the triangle inequality, which importers "correct".
        wheel = _body(
            stage, f"wheel_{name}", spec.wheel_mass_kg, (0.6 * spin, spin, 0.6 * spin), (0, y, spec.wheel_radius_m)
        )
        collider(_sphere(stage, f"/Robot/wheel_{name}/tyre", spec.wheel_radius_m), rubber, (0.05, 0.05, 0.05))
        joint = UsdPhysics.RevoluteJoint.Define(stage, f"/Robot/joints/wheel_{name}_joint")
        joint.CreateBody0Rel().SetTargets([base.GetPath()])
        joint.CreateBody1Rel().SetTargets([wheel.GetPath()])
        joint.CreateAxisAttr("Y")
        joint.CreateLocalPos0Attr(Gf.Vec3f(0, y, spec.wheel_radius_m - spec.hull_z_m))
        joint.CreateLocalPos1Attr(Gf.Vec3f(0, 0, 0))
        joint.CreateLocalRot0Attr(Gf.Quatf(1))
        joint.CreateLocalRot1Attr(Gf.Quatf(1))
        drive = UsdPhysics.DriveAPI.Apply(joint.GetPrim(), "angular")
        drive.CreateTypeAttr("force")
        drive.CreateStiffnessAttr(0.0)
        drive.CreateDampingAttr(0.05)
        drive.CreateMaxForceAttr(spec.wheel_effort_nm)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    stage.GetRootLayer().Export(str(partial), comment="")
    os.replace(partial, path)


def _material(stage, name: str, friction: float, combine: str):
    from pxr import Sdf, UsdPhysics, UsdShade

    material = UsdShade.Material.Define(stage, f"/Robot/Looks/{name}")
    api = UsdPhysics.MaterialAPI.Apply(material.GetPrim())
    api.CreateStaticFrictionAttr(friction)
    api.CreateDynamicFrictionAttr(friction)
    api.CreateRestitutionAttr(0.0)
    # Spelled out: stock USD does not know the schema.
    material.GetPrim().AddAppliedSchema("PhysxMaterialAPI")
    kind = Sdf.ValueTypeNames.Token
    material.GetPrim().CreateAttribute("physxMaterial:frictionCombineMode", kind, False).Set(combine)
    return material


def _body(stage, name: str, mass_kg: float, inertia_kg_m2, position_m: tuple[float, float, float]):
    from pxr import Gf, UsdGeom, UsdPhysics

    body = UsdGeom.Xform.Define(stage, f"/Robot/{name}")
    body.AddTranslateOp().Set(Gf.Vec3d(*position_m))
    UsdPhysics.RigidBodyAPI.Apply(body.GetPrim())
    mass = UsdPhysics.MassAPI.Apply(body.GetPrim())
    mass.CreateMassAttr(mass_kg)
    mass.CreateDiagonalInertiaAttr(Gf.Vec3f(*inertia_kg_m2))
    mass.CreateCenterOfMassAttr(Gf.Vec3f(0, 0, 0))
    return body.GetPrim()


def _sphere(stage, path: str, radius_m: float):
    from pxr import Gf, UsdGeom

    sphere = UsdGeom.Sphere.Define(stage, path)
    sphere.CreateRadiusAttr(radius_m)
    sphere.CreateExtentAttr([Gf.Vec3f(-radius_m), Gf.Vec3f(radius_m)])
    return sphere


def _int_attribute(prim, name: str, value: int) -> None:
    from pxr import Sdf

    prim.CreateAttribute(name, Sdf.ValueTypeNames.Int, False).Set(value)
