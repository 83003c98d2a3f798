"""What the physics process is asked to measure and what it answers: plain records that travel as JSON.

The caller plans in NumPy, the worker (`physx_worker`) only measures, so neither side imports what the other needs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.arrays import expect_shape
from ..core.errors import InputError
from ..core.files import replacing

JOB_FORMAT = 1
GRAVITY_M_S2 = 9.81


@dataclass(frozen=True, kw_only=True)
class Drop:
    """A rigid body that is let go, by default at rest."""

    shape: str
    """`sphere` or `box`."""
    half_m: float
    """Radius of the sphere, or half the edge of the box [m]."""
    position_m: tuple[float, float, float]
    """Centre at the start, world."""
    mass_kg: float = 1.0
    velocity_m_s: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A small ball with continuous collision detection."""

    position_m: tuple[float, float, float]
    velocity_m_s: tuple[float, float, float]
    radius_m: float = 0.03
    level: bool = False
    """Whether the ball keeps its height whatever it hits, so that it cannot bounce over a wall."""


@dataclass(frozen=True, kw_only=True)
class Drive:
    """A planned route for the differential-drive robot."""

    route_xy_m: tuple[tuple[float, float], ...]
    """Start, corners, goal; at least two points."""
    limit_s: float
    """The robot has failed when it is not at the goal by then."""


@dataclass(frozen=True, kw_only=True)
class RobotSize:
    """A cylinder of this size holds the robot."""

    radius_m: float = 0.25
    height_m: float = 0.6


@dataclass(frozen=True, kw_only=True)
class PhysxJob:
    """One physics run of one world."""

    scene: str
    """Absolute path of the stage with the world and a physics scene."""
    rays: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    """Name to (origins [N, 3], unit directions [N, 3])."""
    one_sided: frozenset[str] = frozenset()
    """Names of rays that may hit the front of a surface only."""
    spheres: Mapping[str, tuple[np.ndarray, float]] = field(default_factory=dict)
    """Name to (centres [M, 3], radius [m]) of overlap tests."""
    ray_limit_m: float = 200.0
    drops: tuple[Drop, ...] = ()
    shots: tuple[Shot, ...] = ()
    drives: tuple[Drive, ...] = ()
    robot: RobotSize = RobotSize()
    settle_s: float = 4.0
    """Simulated time for bodies to come to rest; forces are averaged over its last second."""
    floor_z_m: float = 0.0
    """Height that robots start on."""
    objects: str = ""
    """Pattern of the world's own rigid bodies, as `/World/Objects/*`, to leave alone and then push; none if empty."""
    watch_s: float = 5.0
    """Simulated time that they are left alone."""
    push_m_s: float = 1.5
    """Speed along x that a push gives them; they are looked at after another second."""

    def dump(self) -> str:
        """JSON text."""
        for name, (origins, directions) in self.rays.items():
            expect_shape(f"rays[{name}] origins", origins, (None, 3))
            expect_shape(f"rays[{name}] directions", directions, (len(origins), 3))
        plain = {
            "format": JOB_FORMAT,
            "scene": self.scene,
            "rays": {k: [np.round(o, 6).tolist(), np.round(d, 9).tolist()] for k, (o, d) in sorted(self.rays.items())},
            "one_sided": sorted(self.one_sided),
            "spheres": {k: [np.round(c, 6).tolist(), float(r)] for k, (c, r) in sorted(self.spheres.items())},
            "ray_limit_m": self.ray_limit_m,
            "drops": [asdict(d) for d in self.drops],
            "shots": [asdict(s) for s in self.shots],
            "drives": [asdict(d) for d in self.drives],
            "robot": asdict(self.robot),
            "settle_s": self.settle_s,
            "floor_z_m": self.floor_z_m,
            "objects": self.objects,
            "watch_s": self.watch_s,
            "push_m_s": self.push_m_s,
        }
        return json.dumps(plain, allow_nan=False)

    @classmethod
    def load(cls, path: Path) -> PhysxJob:
        """Read what `dump` wrote; raises `InputError` for another format."""
        plain = json.loads(Path(path).read_text())
        if plain.get("format") != JOB_FORMAT:
            raise InputError(f"job format is {plain.get('format')}; this worker reads {JOB_FORMAT}: {path}")
        return cls(
            scene=plain["scene"],
            rays={k: (_points(o), _points(d)) for k, (o, d) in plain["rays"].items()},
            one_sided=frozenset(plain["one_sided"]),
            spheres={k: (_points(c), r) for k, (c, r) in plain["spheres"].items()},
            ray_limit_m=plain["ray_limit_m"],
            drops=tuple(Drop(**_with_tuples(d)) for d in plain["drops"]),
            shots=tuple(Shot(**_with_tuples(s)) for s in plain["shots"]),
            drives=tuple(
                Drive(route_xy_m=tuple(map(tuple, d["route_xy_m"])), limit_s=d["limit_s"]) for d in plain["drives"]
            ),
            robot=RobotSize(**plain["robot"]),
            settle_s=plain["settle_s"],
            floor_z_m=plain["floor_z_m"],
            objects=plain["objects"],
            watch_s=plain["watch_s"],
            push_m_s=plain["push_m_s"],
        )


@dataclass(frozen=True, kw_only=True)
class DriveResult:
    """How one drive went."""

    reached: bool
    driven_m: float
    collisions: int
    """Separate touches of anything but the floor."""
    seconds: float
    """Simulated."""
    trace_xy_m: np.ndarray
    """[K, 2] positions, ten a second."""
    lowest_z_m: float
    """Lowest height of the wheels' lower edge above the floor [m]."""
    tilt_rad: float
    """Largest lean against the vertical."""


@dataclass(frozen=True, kw_only=True)
class PhysxResult:
    """What PhysX answered."""

    rays: Mapping[str, np.ndarray]
    """Name to distance [N] [m]; inf on a miss."""
    spheres: Mapping[str, np.ndarray]
    """Name to [M] bool: overlaps a collider."""
    drop_end_m: np.ndarray
    """[D, 3] centres at the end."""
    drop_lowest_m: np.ndarray
    """[D] lowest height of the centre."""
    drop_fastest_m_s: np.ndarray
    """[D]."""
    drop_force_n: np.ndarray
    """[D] vertical contact force, mean over the last second before `settle_s`."""
    shot_end_m: np.ndarray
    """[S, 3]."""
    shot_lowest_m: np.ndarray
    """[S]."""
    shot_lo_m: np.ndarray
    """[S, 3] lowest coordinates that each ball ever had."""
    shot_hi_m: np.ndarray
    """[S, 3] highest."""
    drives: tuple[DriveResult, ...]
    object_moved_m: np.ndarray
    """[K] farthest that each of the world's bodies got from where it was made while it was left alone."""
    object_turned_rad: np.ndarray
    """[K] largest turn meanwhile."""
    object_pushed_m: np.ndarray
    """[K] way after the push."""
    versions: Mapping[str, str]
    timings_s: Mapping[str, float]
    counts: Mapping[str, int]
    """Shapes in the stage, peak memory [MiB], steps."""

    def save(self, path: Path) -> None:
        """Write JSON aside and rename it to `path`; missing distances become null."""
        plain: dict[str, Any] = {"format": JOB_FORMAT}
        for name, value in self.__dict__.items():
            plain[name] = _plain(value)
        with replacing(path) as file:
            file.write(json.dumps(plain, allow_nan=False).encode())

    @classmethod
    def load(cls, path: Path) -> PhysxResult:
        """Read what `save` wrote."""
        plain = json.loads(Path(path).read_text())
        if plain.pop("format", None) != JOB_FORMAT:
            raise InputError(f"result format differs from {JOB_FORMAT}; the worker is of another version: {path}")
        for name in ("drop_end_m", "shot_end_m", "shot_lo_m", "shot_hi_m"):
            plain[name] = _points(plain[name])
        moved = ("object_moved_m", "object_turned_rad", "object_pushed_m")
        for name in ("drop_lowest_m", "drop_fastest_m_s", "drop_force_n", "shot_lowest_m", *moved):
            plain[name] = np.array(plain[name], float)
        plain["rays"] = {k: np.array([math.inf if v is None else v for v in d]) for k, d in plain["rays"].items()}
        plain["spheres"] = {k: np.array(v, bool) for k, v in plain["spheres"].items()}
        plain["drives"] = tuple(
            DriveResult(**{**d, "trace_xy_m": np.array(d["trace_xy_m"], float).reshape(-1, 2)}) for d in plain["drives"]
        )
        return cls(**plain)


def _with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _points(values: Any) -> np.ndarray:
    return np.array(values, float).reshape(-1, 3)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, DriveResult):
        return _plain(value.__dict__)
    return value
