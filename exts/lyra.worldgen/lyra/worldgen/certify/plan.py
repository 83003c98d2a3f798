"""Decides what PhysX is asked about a world: where things drop, what is shot where, which rays, which drives."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..core.camera import PinholeCamera
from ..core.config import CertificateConfig
from ..core.frames import rotate_vectors
from ..core.world import locate
from ..sim.physx_job import Drive, Drop, PhysxJob, RobotSize, Shot
from .space import FreeSpace, RoutePlanner
from .world_data import Episode, WorldData, has_splats, read_path_poses

PANORAMA_HW = (48, 96)
"""Rows and columns of the equal-area panorama of rays around the photo's camera."""
SHOT_SPEEDS_M_S = (8.0, 20.0, 60.0)
DRIVE_SPEED_M_S = 0.8
"""What a drive's time limit is reckoned with; the worker's robot goes no faster."""
PROBE_Z_M = 0.35
"""Height of rays among obstacles [m]; free space of the map is empty there for any robot taller than this."""
DROP_FROM_M = 0.5
SPLAT_VIEW_PX = 320
"""Long side of the views whose splat depth is compared."""
SPLAT_STRIDE = 5
"""Every so many pixels one is compared."""


@dataclass(frozen=True, kw_only=True)
class PlannedDrive:
    """An episode with the route that the robot is sent along; None where the map knows no way."""

    episode: Episode
    route_xy_m: np.ndarray | None
    """[K, 2]."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A physics job and what its parts were meant for."""

    job: PhysxJob
    drives: tuple[PlannedDrive, ...]
    """Those with a route come in the order of `job.drives`."""
    floor_xy_m: np.ndarray
    """[K, 2] where rays go down."""
    splat_views: tuple[tuple[PinholeCamera, np.ndarray], ...] = ()
    """Camera and T_world_cam of the views whose splat depth is compared; rays `splat_0`, ..."""
    splat_scales: tuple[np.ndarray, ...] = field(default_factory=tuple)
    """[N] range along the ray per unit of depth_z, one array a view."""


def make_plan(world: WorldData, space: FreeSpace, cfg: CertificateConfig) -> Plan:
    """The job for one world; equal inputs give an equal job."""
    robot = RobotSize(radius_m=world.robot_radius_m, height_m=world.robot_height_m)
    eye = world.T_world_photo[:3, 3]
    roomy = space.fits(0.05) & space.component if space.component.any() else space.grid.free
    probe_z = world.floor_z_m + PROBE_Z_M
    around_xy = space.spread(12, roomy, seed=11)
    floor_xy = space.anywhere(1500, space.clearance_m > 0.5 * space.grid.cell_m, seed=12)
    drives = plan_drives(world, space, cfg.drive_episodes)
    routed = [d.route_xy_m for d in drives if d.route_xy_m is not None]
    route_xy = np.concatenate([np.zeros((0, 2)), *(_every(route, 0.15) for route in routed)])
    views = _splat_views(world) if has_splats(world.folder) else ()
    splat_rays, splat_scales = [], []
    for camera, T_world_cam in views:
        middle = slice(SPLAT_STRIDE // 2, None, SPLAT_STRIDE)
        rays_cam = camera.rays_cam()[middle, middle].reshape(-1, 3)
        scale = np.linalg.norm(rays_cam, axis=1)
        splat_rays.append(_from(T_world_cam[:3, 3], rotate_vectors(T_world_cam, rays_cam / scale[:, None])))
        splat_scales.append(scale)
    panorama = _from(eye, equal_area_directions(*PANORAMA_HW).reshape(-1, 3))
    rng = np.random.default_rng(13)
    scatter_xy = space.spread(24, roomy, seed=14)
    scatter_d = rng.normal(size=(len(scatter_xy) * 48, 3))
    scatter_d /= np.linalg.norm(scatter_d, axis=1, keepdims=True)
    sphere_z = world.floor_z_m + world.robot_radius_m + 0.1
    job = PhysxJob(
        scene=str(world.scene.resolve()),
        rays={
            "panorama": panorama,
            "panorama_front": panorama,
            "scatter": (_at(np.repeat(scatter_xy, 48, 0), probe_z), scatter_d),
            "down": (_at(floor_xy, probe_z), np.tile([0.0, 0.0, -1.0], (len(floor_xy), 1))),
            "around": _fan(_at(around_xy, probe_z), 72),
            "passage": _fan(_at(route_xy, probe_z), 36),
            **{f"splat_{i}": rays for i, rays in enumerate(splat_rays)},
        },
        one_sided=frozenset({"panorama_front", "around", "down"}),
        spheres={
            "free": (_at(space.anywhere(600, space.fits(space.grid.cell_m), seed=15), sphere_z), robot.radius_m),
            "occupied": (_at(space.anywhere(400, space.edge_cells(), seed=16), sphere_z), robot.radius_m),
        },
        drops=_drops(space.spread(max(17, cfg.drops), space.fits(-0.05), seed=17), world.floor_z_m),
        shots=_shots(_at(space.spread(8, roomy, seed=18), probe_z), eye, outdoors=world.outdoors),
        drives=tuple(
            Drive(route_xy_m=tuple((float(x), float(y)) for x, y in route), limit_s=_limit_s(route)) for route in routed
        ),
        robot=robot,
        floor_z_m=world.floor_z_m,
        objects="/World/Objects/*" if locate(world.folder, "payloads/objects.usdc").is_file() else "",
    )
    return Plan(job=job, drives=drives, floor_xy_m=floor_xy, splat_views=tuple(views), splat_scales=tuple(splat_scales))


def plan_drives(world: WorldData, space: FreeSpace, count: int, *, longest_m: float = 12.0) -> tuple[PlannedDrive, ...]:
    """`count` episodes of spread lengths with routes; none longer than `longest_m` while there are shorter ones."""
    short = [e for e in world.episodes if e.geodesic_m <= longest_m] or list(world.episodes)
    if not short or count < 1:
        return ()
    # Long drives find more than short ones; the shortest quarter is left out.
    short.sort(key=lambda e: (e.geodesic_m, e.start_xy_m, e.goal_xy_m))
    picks = [short[i] for i in np.unique(np.linspace(0.25, 1, count) * (len(short) - 1) + 0.5).astype(int)]
    planner = RoutePlanner(space)
    return tuple(PlannedDrive(episode=e, route_xy_m=planner.route(e.start_xy_m, e.goal_xy_m)) for e in picks)


def equal_area_directions(rows: int, cols: int) -> np.ndarray:
    """World directions [rows, cols, 3] of equal solid angle: row 0 looks up, column 0 backwards, then to the right."""
    up = 1 - (np.arange(rows) + 0.5) * 2 / rows
    azimuth = np.pi - (np.arange(cols) + 0.5) * 2 * np.pi / cols
    flat = np.sqrt(1 - up**2)
    return np.stack(
        [
            flat[:, None] * np.cos(azimuth),
            flat[:, None] * np.sin(azimuth),
            np.broadcast_to(up[:, None], (rows, cols)),
        ],
        -1,
    )


def _drops(xy: np.ndarray, floor_z_m: float) -> tuple[Drop, ...]:
    """Balls and boxes in turn."""
    drops = []
    for i, (x, y) in enumerate(xy.tolist()):
        shape, half = ("box", 0.1) if i % 2 else ("sphere", 0.08)
        drops.append(Drop(shape=shape, half_m=half, position_m=(x, y, floor_z_m + DROP_FROM_M)))
    return tuple(drops)


def _shots(points: np.ndarray, eye: np.ndarray, *, outdoors: bool) -> tuple[Shot, ...]:
    """Every speed from every place; directions go all around and, under a roof, also up."""
    rng = np.random.default_rng(19)
    places = [*points, np.asarray(eye, float)]
    shots = []
    for speed in SHOT_SPEEDS_M_S:
        turn = rng.uniform(0, 2 * math.pi)
        for i, place in enumerate(places):
            azimuth = turn + 2 * math.pi * i / len(places)
            # Level, down and (indoors) up shots in turn; a ball over an open world's wall proves nothing.
            rise = (0.0, -0.6, 0.0 if outdoors else 0.6, -0.1)[i % 4]
            d = np.array([math.cos(azimuth) * math.cos(rise), math.sin(azimuth) * math.cos(rise), math.sin(rise)])
            # Off a slope a level ball leaves an open world over its walls, which would say nothing about them.
            level = outdoors and rise == 0.0
            shots.append(Shot(position_m=_tuple(place), velocity_m_s=_tuple(d * speed), level=level))
        if not outdoors:
            shots.append(Shot(position_m=_tuple(eye), velocity_m_s=(0.0, 0.0, speed)))
    return tuple(shots)


def _splat_views(world: WorldData) -> tuple[tuple[PinholeCamera, np.ndarray], ...]:
    """The photo's view and two of the explored path."""
    camera = world.photo_camera
    scale = SPLAT_VIEW_PX / max(camera.width_px, camera.height_px)
    camera = camera.resized(max(8, round(camera.width_px * scale)), max(8, round(camera.height_px * scale)))
    poses = [world.T_world_photo]
    path = read_path_poses(world.folder)
    if len(path):
        poses += [path[len(path) // 3], path[2 * len(path) // 3]]
    return tuple((camera, T) for T in poses)


def _limit_s(route: np.ndarray) -> float:
    length = float(np.linalg.norm(np.diff(route, axis=0), axis=1).sum())
    return round(8 + 2 * length / DRIVE_SPEED_M_S, 1)


def _every(route: np.ndarray, step_m: float) -> np.ndarray:
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(route, axis=0), axis=1))])
    at = np.arange(0, length[-1] + 1e-9, step_m)
    return np.stack([np.interp(at, length, route[:, k]) for k in range(2)], -1)


def _at(xy: np.ndarray, z: float) -> np.ndarray:
    """[N, 3] points at one height."""
    xy = np.asarray(xy, float).reshape(-1, 2)
    return np.column_stack([xy, np.full(len(xy), z)])


def _fan(points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Level rays all around each point."""
    a = np.arange(count) * 2 * np.pi / count
    d = np.stack([np.cos(a), np.sin(a), np.zeros(count)], -1)
    return np.repeat(points, count, 0), np.tile(d, (len(points), 1))


def _from(origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.tile(np.asarray(origin, float), (len(directions), 1)), directions


def _tuple(v: np.ndarray) -> tuple[float, float, float]:
    return float(v[0]), float(v[1]), float(v[2])
