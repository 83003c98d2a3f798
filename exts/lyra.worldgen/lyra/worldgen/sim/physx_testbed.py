"""A stage that puts test bodies and robots on top of a finished world, written as USD text.

Text keeps the physics process free of pxr, which some installations of PhysX must not share a process with. The
world's files are only referred to, never touched.
"""

from __future__ import annotations

import math
from pathlib import Path

from .physx_job import Drop, PhysxJob, RobotSize, Shot

_BODY_APIS = '"PhysicsRigidBodyAPI", "PhysicsMassAPI", "PhysxRigidBodyAPI", "PhysxContactReportAPI"'


def wheel_radius_m(robot: RobotSize) -> float:
    """Radius of the drive wheels [m]."""
    return 0.32 * robot.radius_m


_LOCKED_Z = 4
"""Bit of the vertical axis: neither gravity nor contacts move the body along it."""


def track_m(robot: RobotSize) -> float:
    """Distance between the wheels' middles [m]."""
    return 1.44 * robot.radius_m


def write_testbed(path: Path, job: PhysxJob) -> None:
    """Write the test stage: the world's scene as a sublayer plus `/Test` with drops, shots and robots.

    One collision group holds every test body and filters itself, so bodies meet the world and never one another.
    """
    scene = Path(job.scene).resolve().as_posix()
    parts = [
        "#usda 1.0",
        "(",
        '    defaultPrim = "World"',
        "    metersPerUnit = 1",
        "    kilogramsPerUnit = 1",
        '    upAxis = "Z"',
        f"    subLayers = [@@@{scene}@@@]",
        ")",
        'def Xform "Test"',
        "{",
    ]
    parts += [_drop(i, drop) for i, drop in enumerate(job.drops)]
    parts += [_shot(i, shot) for i, shot in enumerate(job.shots)]
    parts += [_robot(i, drive.route_xy_m, job.robot, job.floor_z_m) for i, drive in enumerate(job.drives)]
    parts += [
        '    def PhysicsCollisionGroup "ghosts" (prepend apiSchemas = ["CollectionAPI:colliders"])',
        "    {",
        '        uniform token collection:colliders:expansionRule = "expandPrims"',
        "        rel collection:colliders:includes = </Test>",
        "        rel physics:filteredGroups = </Test/ghosts>",
        "    }",
        "}",
        "",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{v:.6g}" for v in values) + ")"


def _body(
    name: str, position_m: tuple[float, ...], mass_kg: float, geometry: str, *, velocity: str = "", ccd: bool = False
) -> str:
    return f"""    def Xform "{name}" (prepend apiSchemas = [{_BODY_APIS}])
    {{
        double3 xformOp:translate = {_numbers(position_m)}
        uniform token[] xformOpOrder = ["xformOp:translate"]
        float physics:mass = {mass_kg:.6g}
        bool physxRigidBody:enableCCD = {int(ccd)}
        float physxRigidBody:angularDamping = 0.5
        float physxRigidBody:sleepThreshold = 0
        float physxContactReport:threshold = 0
{velocity}{geometry}
    }}"""


def _sphere(radius_m: float) -> str:
    return f"""        def Sphere "geo" (prepend apiSchemas = ["PhysicsCollisionAPI"])
        {{
            double radius = {radius_m:.6g}
        }}"""


def _drop(index: int, drop: Drop) -> str:
    geometry = _sphere(drop.half_m)
    if drop.shape == "box":
        geometry = f"""        def Cube "geo" (prepend apiSchemas = ["PhysicsCollisionAPI"])
        {{
            double size = {2 * drop.half_m:.6g}
        }}"""
    velocity = ""
    if any(drop.velocity_m_s):
        velocity = f"        vector3f physics:velocity = {_numbers(drop.velocity_m_s)}\n"
    return _body(f"drop_{index:03d}", drop.position_m, drop.mass_kg, geometry, velocity=velocity)


def _shot(index: int, shot: Shot) -> str:
    velocity = f"        vector3f physics:velocity = {_numbers(shot.velocity_m_s)}\n"
    if shot.level:
        velocity += f"        int physxRigidBody:lockedPosAxis = {_LOCKED_Z}\n"
    return _body(f"shot_{index:03d}", shot.position_m, 0.1, _sphere(shot.radius_m), velocity=velocity, ccd=True)


def _robot(index: int, route_xy_m: tuple[tuple[float, float], ...], robot: RobotSize, floor_z_m: float) -> str:
    """Two driven wheels of rubber, two frictionless casters and a cylinder that fills the robot's whole footprint.

    The cylinder keeps clear of the floor by less than half a wheel, so it meets whatever the wheels cannot climb.
    """
    r, wheel, track = robot.radius_m, wheel_radius_m(robot), track_m(robot)
    (x0, y0), (x1, y1) = route_xy_m[0], route_xy_m[1]
    yaw = math.atan2(y1 - y0, x1 - x0)
    height = max(robot.height_m, 2 * wheel)
    skirt = 0.04  # free height under the body
    caster = 0.03
    centre_z = skirt + (height - skirt) / 2
    # The base frame lies on the axle; its mass sits low, as batteries do.
    to_base = -wheel
    wheels = "\n".join(
        f"""        def Xform "wheel_{side}" (prepend apiSchemas = ["PhysicsRigidBodyAPI", "PhysicsMassAPI"])
        {{
            double3 xformOp:translate = (0, {sign * track / 2:.6g}, {wheel:.6g})
            uniform token[] xformOpOrder = ["xformOp:translate"]
            float physics:mass = 0.6
            def Cylinder "geo" (prepend apiSchemas = ["PhysicsCollisionAPI", "MaterialBindingAPI"])
            {{
                double radius = {wheel:.6g}
                double height = {0.12 * r:.6g}
                uniform token axis = "Y"
                rel material:binding:physics = <../../grip>
            }}
        }}
        def PhysicsRevoluteJoint "joint_{side}" (prepend apiSchemas = ["PhysicsDriveAPI:angular"])
        {{
            rel physics:body0 = <../base>
            rel physics:body1 = <../wheel_{side}>
            uniform token physics:axis = "Y"
            point3f physics:localPos0 = (0, {sign * track / 2:.6g}, 0)
            point3f physics:localPos1 = (0, 0, 0)
            quatf physics:localRot0 = (1, 0, 0, 0)
            quatf physics:localRot1 = (1, 0, 0, 0)
            uniform token drive:angular:physics:type = "force"
            float drive:angular:physics:stiffness = 0
            float drive:angular:physics:damping = 0.5
            float drive:angular:physics:maxForce = 20
            float drive:angular:physics:targetVelocity = 0
        }}"""
        for side, sign in (("l", 1), ("r", -1))
    )
    casters = "\n".join(
        f"""            def Sphere "caster_{side}" (prepend apiSchemas = ["PhysicsCollisionAPI", "MaterialBindingAPI"])
            {{
                double radius = {caster:.6g}
                double3 xformOp:translate = ({sign * 0.8 * r:.6g}, 0, {to_base + caster + 0.002:.6g})
                uniform token[] xformOpOrder = ["xformOp:translate"]
                rel material:binding:physics = <../../slick>
            }}"""
        for side, sign in (("front", 1), ("back", -1))
    )
    apis = '"PhysicsArticulationRootAPI", "PhysxArticulationAPI"'
    return f"""    def Xform "robot_{index:03d}" (prepend apiSchemas = [{apis}])
    {{
        double3 xformOp:translate = {_numbers((x0, y0, floor_z_m + 0.02))}
        float xformOp:rotateZ = {math.degrees(yaw):.6g}
        uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:rotateZ"]
        bool physxArticulation:enabledSelfCollisions = 0
        def Material "slick" (prepend apiSchemas = ["PhysicsMaterialAPI", "PhysxMaterialAPI"])
        {{
            float physics:staticFriction = 0
            float physics:dynamicFriction = 0
            uniform token physxMaterial:frictionCombineMode = "min"
        }}
        def Material "grip" (prepend apiSchemas = ["PhysicsMaterialAPI"])
        {{
            float physics:staticFriction = 1
            float physics:dynamicFriction = 1
        }}
        def Xform "base" (prepend apiSchemas = ["PhysicsRigidBodyAPI", "PhysicsMassAPI", "PhysxContactReportAPI"])
        {{
            double3 xformOp:translate = (0, 0, {wheel:.6g})
            uniform token[] xformOpOrder = ["xformOp:translate"]
            float physics:mass = 8
            point3f physics:centerOfMass = (0, 0, 0.02)
            float3 physics:diagonalInertia = (0.2, 0.2, 0.25)
            float physxContactReport:threshold = 0
            def Cylinder "body" (prepend apiSchemas = ["PhysicsCollisionAPI", "MaterialBindingAPI"])
            {{
                double radius = {r:.6g}
                double height = {height - skirt:.6g}
                uniform token axis = "Z"
                double3 xformOp:translate = (0, 0, {to_base + centre_z:.6g})
                uniform token[] xformOpOrder = ["xformOp:translate"]
                rel material:binding:physics = <../../slick>
            }}
{casters}
        }}
{wheels}
    }}"""
