"""A differential-drive robot in plain numbers, and its USD: a box on two driven wheels and two sliding casters.

Frame `base`: +X forward, +Y left, +Z up, origin on the floor between the wheels. The link `base` itself sits at the
height of the hull's middle, and simulators report that link's pose as the robot's root pose.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path

from lyra.worldgen.core.errors import ConfigError

from .usd_parts import CASTER_COLOUR, RobotStage, kept_usd

WHEEL_JOINTS = ("wheel_left_joint", "wheel_right_joint")
_FORMAT = 3


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
    def base_body(self) -> str:
        return "base"

    @property
    def grips(self) -> str:
        """Pattern of the bodies that touch the floor."""
        return "wheel_.*"

    @property
    def max_sideways_m_s(self) -> float:
        return 0.0

    @property
    def footprint_radius_m(self) -> float:
        """Of the circle around the middle that holds hull and wheels."""
        hull = (self.hull_m[0] ** 2 + self.hull_m[1] ** 2) ** 0.5 / 2
        # Tyres are spheres, see `RobotStage`.
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
    return kept_usd("diff_drive", (_FORMAT, astuple(spec)), lambda path: write_usd(path, spec))


def write_usd(path: Path, spec: DiffDriveSpec) -> None:
    """Write the robot as an articulation under `/Robot`; two processes may write the same file at once."""
    robot = RobotStage()
    add_hull(robot, spec)
    for side, y in (("left", spec.track_m / 2), ("right", -spec.track_m / 2)):
        robot.wheel_body(f"wheel_{side}", spec.wheel_mass_kg, spec.wheel_radius_m, (0, y, spec.wheel_radius_m))
        at = (0, y, spec.wheel_radius_m - spec.hull_z_m)
        robot.joint(f"wheel_{side}_joint", "Y", "base", f"wheel_{side}", at, effort_nm=spec.wheel_effort_nm)
    robot.save(path)


def add_hull(robot: RobotStage, spec: DiffDriveSpec, colour: tuple[float, float, float] = (0.2, 0.4, 0.8)) -> None:
    """The link `base`: the box and its two casters."""
    robot.box_body("base", spec.base_mass_kg, spec.hull_m, (0.0, 0.0, spec.hull_z_m))
    robot.box("base/hull", spec.hull_m, robot.slick, colour)
    for name, side in (("front", 1), ("rear", -1)):
        # 2 mm off the floor: casters only catch pitching.
        place = (side * spec.caster_x_m, 0.0, spec.caster_radius_m + 0.002 - spec.hull_z_m)
        robot.sphere(f"base/caster_{name}", spec.caster_radius_m, robot.slick, CASTER_COLOUR, place, one_row=True)
