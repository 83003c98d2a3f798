"""Robots whose files lie on an asset server: their numbers, and where Isaac Lab's folders hold them.

Wheels, joints and sizes are those that their makers and Isaac Sim publish. Names of bodies and the height of root links
are known from the files alone, and are guesses. Not verified with the real assets.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ServedSpec:
    """What every robot from a server has; lengths in metres."""

    name: str
    hull_m: tuple[float, float, float]
    """Length, width and height of all of it."""
    hull_z_m: float
    """Of the root link above the floor where a drive begins; the robot drops by what is too much."""
    base_body: str
    grips: str
    """Pattern of the bodies that touch the floor."""
    max_speed_m_s: float
    max_reverse_m_s: float
    max_sideways_m_s: float = 0.0
    max_turn_rad_s: float
    lidar_height_m: float
    """Of the tasks' lidar above the floor; the robot's own sensors are not used."""

    @property
    def footprint_radius_m(self) -> float:
        """Of the circle around the middle that holds all of it."""
        return (self.hull_m[0] ** 2 + self.hull_m[1] ** 2) ** 0.5 / 2


@dataclass(frozen=True, kw_only=True)
class WheeledSpec(ServedSpec):
    """Two driven wheels."""

    usd: str
    """Below Isaac Lab's `ISAAC_NUCLEUS_DIR`."""
    wheel_radius_m: float
    track_m: float
    wheel_joints: tuple[str, str]
    """Left and right."""
    wheel_effort_nm: float
    """Most torque of a wheel; a guess."""
    armature_kg_m2: float
    """What motors and gears add to a wheel's inertia; a guess. Without any, stiff drives of light wheels never settle
    under MuJoCo."""


@dataclass(frozen=True, kw_only=True)
class LeggedSpec(ServedSpec):
    """Legs that a policy moves, which is told (vx, vy, turn rate); the articulation is Isaac Lab's own."""


JETBOT = WheeledSpec(
    name="jetbot",
    usd="Robots/NVIDIA/Jetbot/jetbot.usd",
    hull_m=(0.19, 0.14, 0.13),
    hull_z_m=0.05,
    base_body="chassis",
    grips="(left|right)_wheel",
    wheel_radius_m=0.03,
    track_m=0.1125,
    wheel_joints=("left_wheel_joint", "right_wheel_joint"),
    wheel_effort_nm=0.1,
    armature_kg_m2=0.001,
    max_speed_m_s=0.3,
    max_reverse_m_s=0.1,
    max_turn_rad_s=2.0,
    lidar_height_m=0.12,
)
CARTER = WheeledSpec(
    name="carter",
    usd="Robots/NVIDIA/NovaCarter/nova_carter.usd",
    hull_m=(0.72, 0.5, 0.56),
    hull_z_m=0.1,
    base_body="chassis_link",
    grips="wheel_(left|right)",
    wheel_radius_m=0.14,
    track_m=0.413,
    wheel_joints=("joint_wheel_left", "joint_wheel_right"),
    wheel_effort_nm=20.0,
    armature_kg_m2=0.05,
    max_speed_m_s=1.5,
    max_reverse_m_s=0.3,
    max_turn_rad_s=2.0,
    lidar_height_m=0.3,
)
# Walking policies of Isaac Lab are trained for commands of up to 1 m/s and 1 rad/s.
ANYMAL = LeggedSpec(
    name="anymal",
    hull_m=(0.93, 0.53, 0.89),
    hull_z_m=0.6,
    base_body="base",
    grips=".*FOOT",
    max_speed_m_s=1.0,
    max_reverse_m_s=0.5,
    max_sideways_m_s=0.5,
    max_turn_rad_s=1.0,
    lidar_height_m=0.5,
)
GO2 = LeggedSpec(
    name="go2",
    hull_m=(0.70, 0.31, 0.40),
    hull_z_m=0.4,
    base_body="base",
    grips=".*_foot",
    max_speed_m_s=1.0,
    max_reverse_m_s=0.5,
    max_sideways_m_s=0.5,
    max_turn_rad_s=1.0,
    lidar_height_m=0.3,
)
SERVED = {spec.name: spec for spec in (JETBOT, CARTER, ANYMAL, GO2)}
