"""`--path explore`: the robot decides. Each chunk looks around from the place that shows most of what it has not seen.

The world gets rooms behind doors up-front, because known geometry never changes; what they look like is painted when
somebody comes to see it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import camera_pose, transform_points
from ..core.mesh import Label
from ..core.raycast import Raycaster
from ..core.views import PhotoGeometry, PolarLayout, RgbdView
from .chunk_plan import ChunkPlan, looks
from .frontier import floor_hits, floor_sight_m, next_place, seen_area_m2, seen_floor, walk_between
from .proxy import build_proxy
from .room_plan import plan_rooms
from .rooms import RoomPlan, free_space_of_rooms
from .scene import Scene
from .trajectory import TILTED_VIEWS, TURN_VIEWS, WIDE_HFOV_RAD, sweep

log = logging.getLogger(__name__)

AREA_RATIO = 2.3
"""Free floor seen in the end, in units of what a turn on the spot shows, when no area is asked for."""
ROOMS_RATIO = 1.75
"""Floor that is planned for each square metre that shall be seen; corners stay unseen."""
STEEP_RAD = np.radians(52)
PROBE_PX = 192
"""Width of the pictures that measure what a turn would see."""
FILM_STEP_M = 0.06


@dataclass(frozen=True, kw_only=True)
class ExploreOptions:
    """What `--path explore` was asked for."""

    robot_radius_m: float = 0.25
    area_m2: float = 0.0
    """Free floor to see; 0 for `AREA_RATIO` times what a turn shows."""
    places: int = 24
    """Most places to look around from."""


def look_around(xy_m: np.ndarray, height_m: float, heading_rad: float = 0.0) -> np.ndarray:
    """[16, 4, 4] poses that see everything around a place, floor and ceiling included."""
    level = heading_rad + np.arange(TURN_VIEWS) * 2 * np.pi / TURN_VIEWS
    tilted = heading_rad + np.arange(TILTED_VIEWS) * 2 * np.pi / TILTED_VIEWS
    return np.concatenate(
        [sweep(xy_m, height_m, level, (0.0,)), sweep(xy_m, height_m, tilted, (-STEEP_RAD, STEEP_RAD))]
    )


def turn_area_m2(layout: PolarLayout, photo_sector_rad: tuple[float, float], robot_radius_m: float) -> float:
    """Free floor that a turn on the spot sees in the world of one room."""
    alone = plan_rooms(layout, photo_sector_rad, seed=0, robot_radius_m=robot_radius_m, count=1)
    space = free_space_of_rooms(alone, clearance_m=robot_radius_m)
    mesh = build_proxy(layout)
    caster = Raycaster(mesh)
    camera = PinholeCamera.from_hfov(PROBE_PX, PROBE_PX * 3 // 4, WIDE_HFOV_RAD)
    hits = np.zeros(space.clearance_m.shape, np.int32)
    for T_world_cam in look_around(np.zeros(2), layout.camera_height_m):
        image = caster.render(camera, T_world_cam)
        depth = np.where(image.hit, image.depth_z_m, 0)
        floor = image.hit & (image.labels(mesh) == Label.FLOOR)
        points = transform_points(T_world_cam, camera.unproject(depth)[floor])
        hits += floor_hits(space, points[:, :2], eye_m=T_world_cam[:3, 3], pixel_rad=1 / camera.fx_px)
    return seen_area_m2(space, seen_floor(space, hits))


def plan_world(layout: PolarLayout, geometry: PhotoGeometry, options: ExploreOptions, *, seed: int) -> RoomPlan:
    """The rooms that an exploration is going to find.

    Args:
        layout: full turn of the photo's room.
        geometry: of the photo, whose own sector stays as it is.
        options: what was asked for.
        seed: of the world.
    """
    sector = (float(geometry.layout.azimuth_rad[0]), float(geometry.layout.azimuth_rad[-1]))
    target = options.area_m2 or AREA_RATIO * turn_area_m2(layout, sector, options.robot_radius_m)
    plan = plan_rooms(
        layout,
        sector,
        seed=seed,
        robot_radius_m=options.robot_radius_m,
        target_area_m2=ROOMS_RATIO * target,
        manhattan_yaw_rad=geometry.manhattan_yaw_rad if geometry.mode == "manhattan" else None,
    )
    for note in plan.notes:
        log.info("explore: %s", note)
    return plan


class ExplorePlanner:
    """Chooses place after place until enough free floor has been seen.

    Args:
        scene: the proxy world.
        options: what was asked for.
        views: everything remembered so far, in order; grows while the exploration goes on.
        views_before: how many of them were there when a chunk of this path was planned. What an earlier run planned is
            planned again with what it knew.
        camera: of the painted views.
        begin_xy_m: where the robot stands.
        prompt: for painters that read text.
        turn_first: look around where it stands before going anywhere.
    """

    def __init__(
        self,
        scene: Scene,
        options: ExploreOptions,
        views: Callable[[], Sequence[RgbdView]],
        views_before: Callable[[int], int],
        *,
        camera: PinholeCamera,
        begin_xy_m: np.ndarray,
        prompt: str,
        turn_first: bool,
    ) -> None:
        self._scene, self._options, self._views = scene, options, views
        self._views_before = views_before
        self._camera, self._prompt = camera, prompt
        self._space = scene.robot_space(options.robot_radius_m)
        self._hits = np.zeros(self._space.clearance_m.shape, np.int32)
        self._counted = 0
        self._turn_first = turn_first
        self._visited: list[np.ndarray] = [np.asarray(begin_xy_m, float)]
        self._height_m = scene.layout.camera_height_m
        self._target_m2 = options.area_m2
        self._plans: dict[int, ChunkPlan | None] = {}

    def plan(self, index: int) -> ChunkPlan | None:
        for k in range(len(self._plans), index + 1):
            self._count_new_views(self._views_before(k))
            self._plans[k] = self._next(k)
        return self._plans[index]

    def frames_from(self, index: int) -> int:
        return (TURN_VIEWS + 2 * TILTED_VIEWS) * max(1, min(6, self._options.places) - index)

    def facts(self) -> Mapping[str, float]:
        """Free floor seen so far [m2]."""
        return {"seen_m2": round(self.seen_m2(), 2)}

    def seen_m2(self) -> float:
        """Free floor that the remembered views show [m2]."""
        self._count_new_views(len(self._views()))
        return self._counted_m2()

    def _counted_m2(self) -> float:
        return seen_area_m2(self._space, seen_floor(self._space, self._hits))

    def _next(self, index: int) -> ChunkPlan | None:
        here = self._visited[-1]
        if index == 0 and self._turn_first:
            headings = np.linspace(0, 2 * np.pi, 90, endpoint=False)
            at = np.array([*here, self._height_m])
            film = np.stack([camera_pose(at, heading_rad=a) for a in headings])
            return looks(look_around(here, self._height_m), self._camera, film, prompt=self._prompt)
        seen_m2 = self._counted_m2()
        if not self._target_m2:
            self._target_m2 = AREA_RATIO * seen_m2
        if seen_m2 >= self._target_m2 or index >= self._options.places:
            return None
        radius = self._options.robot_radius_m
        place = next_place(
            self._space,
            seen_floor(self._space, self._hits),
            here_xy_m=here,
            robot_radius_m=radius,
            sight_m=floor_sight_m(self._height_m, 1 / self._camera.fx_px),
            visited_xy_m=self._visited,
        )
        if place is None:
            return None
        way = walk_between(self._space, here, place, robot_radius_m=radius)
        self._visited.append(place)
        film = walk_film(way, self._height_m)
        heading = float(np.arctan2(film[-1, 1, 2], film[-1, 0, 2]))
        return looks(look_around(place, self._height_m, heading), self._camera, film, prompt=self._prompt)

    def _count_new_views(self, until: int) -> None:
        views = self._views()
        for i in range(self._counted, until):
            view = views[i]
            floor = view.valid & (view.labels == Label.FLOOR)
            points = transform_points(view.T_world_cam, view.camera.unproject(view.depth_z_m.astype(float))[floor])
            self._hits += floor_hits(
                self._space, points[:, :2], eye_m=view.T_world_cam[:3, 3], pixel_rad=1 / view.camera.fx_px
            )
        self._counted = max(self._counted, until)


def walk_film(way_xy_m: np.ndarray, height_m: float) -> np.ndarray:
    """[P, 4, 4] camera poses along corners [K, 2], looking where it goes."""
    poses = []
    for a, b in itertools.pairwise(way_xy_m):
        length = float(np.linalg.norm(b - a))
        if length < 1e-6:
            continue
        heading = float(np.arctan2(b[1] - a[1], b[0] - a[0]))
        for s in np.linspace(0, 1, max(2, int(np.ceil(length / FILM_STEP_M)))):
            poses.append(camera_pose(np.array([*(a + s * (b - a)), height_m]), heading_rad=heading))
    if not poses:
        poses.append(camera_pose(np.array([*way_xy_m[-1], height_m])))
    return np.stack(poses)
