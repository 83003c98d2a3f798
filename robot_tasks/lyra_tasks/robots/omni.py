"""A robot that drives in every direction: a hull like the differential drive's on two wheels that are steered as well.

Steered wheels roll and grip like any others, so friction, mass, gains and pushes mean the same as for the differential
drive, and nothing but contact moves the robot. Rollers at 45 degrees would need dozens of small contacts, and joints
that slide along the world's axes would carry the robot over holes. What it costs: a change of direction waits until the
wheels have turned. Frame and root link are those of `diff_drive`.
"""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from .diff_drive import SIZES as DIFF_DRIVE_SIZES
from .diff_drive import DiffDriveSpec, add_hull
from .usd_parts import RobotStage, kept_usd

STEER_JOINTS = ("steer_left_joint", "steer_right_joint")
_FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class OmniSpec(DiffDriveSpec):
    """The numbers of the differential drive, and those of its forks."""

    fork_mass_kg: float
    """What turns with a wheel."""
    steer_effort_nm: float
    """Most torque of a steering joint."""
    sideways_m_s: float
    """Largest speed to either side."""

    @property
    def max_sideways_m_s(self) -> float:
        return self.sideways_m_s


def _steered(size: str, width_m: float, **more: float) -> OmniSpec:
    """The differential drive's numbers but for wheels that stand closer together under a wider hull: a tyre that met a
    wall sideways would climb it."""
    numbers: dict[str, Any] = {**asdict(DIFF_DRIVE_SIZES[size]), **more}
    length_m, _, height_m = numbers["hull_m"]
    numbers["hull_m"] = (length_m, width_m, height_m)
    # It drives as fast to all sides.
    numbers["max_reverse_m_s"] = numbers["sideways_m_s"] = numbers["max_speed_m_s"]
    return OmniSpec(**numbers)


SIZES = {
    "small": _steered("small", 0.20, track_m=0.08, fork_mass_kg=0.1, steer_effort_nm=0.6),
    "medium": _steered("medium", 0.30, track_m=0.13, fork_mass_kg=0.2, steer_effort_nm=2.0),
}


def usd_path(spec: OmniSpec) -> Path:
    """The robot's USD file, written on first use; its name tells its content."""
    return kept_usd("omni", (_FORMAT, astuple(spec)), lambda path: write_usd(path, spec))


def write_usd(path: Path, spec: OmniSpec) -> None:
    """Write the robot as an articulation under `/Robot`; two processes may write the same file at once."""
    robot = RobotStage()
    add_hull(robot, spec, (0.2, 0.6, 0.4))
    for side, y in (("left", spec.track_m / 2), ("right", -spec.track_m / 2)):
        middle = (0, y, spec.wheel_radius_m)
        spin = 0.25 * spec.fork_mass_kg * spec.wheel_radius_m**2
        robot.body(f"fork_{side}", spec.fork_mass_kg, (spin, spin, spin), middle)
        robot.wheel_body(f"wheel_{side}", spec.wheel_mass_kg, spec.wheel_radius_m, middle)
        at = (0, y, spec.wheel_radius_m - spec.hull_z_m)
        robot.joint(f"steer_{side}_joint", "Z", "base", f"fork_{side}", at, effort_nm=spec.steer_effort_nm)
        wheel = (f"fork_{side}", f"wheel_{side}", (0, 0, 0))
        robot.joint(f"wheel_{side}_joint", "Y", *wheel, effort_nm=spec.wheel_effort_nm)
        # Tyres turn inside the hull, two joints away from it, and overlap one another.
        robot.apart("base", f"wheel_{side}")
    robot.apart("wheel_left", "wheel_right")
    robot.save(path)
