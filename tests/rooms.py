"""Ground truth without a model: a ray-traced box room with known depth, mesh, labels and free floor.

The room is axis-aligned in the world frame, its floor at z = 0, the camera's foot at the origin. All faces point into
free space. Distances come from slab tests in closed form, so nothing of the product is used to judge the product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose, invert_rigid, rotate_vectors, transform_points
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.views import (
    SOURCE_PAINTED,
    SOURCE_PHOTO,
    Photo,
    PhotoGeometry,
    PolarLayout,
    RgbdView,
    WorldViews,
)
from lyra.worldgen.generation.calibration import Segments, segments_from_ends

ROOM_FACES = ("x-", "x+", "y-", "y+", "z-", "z+")
_FACE_RGB = np.array([[200, 120, 90], [90, 140, 200], [120, 190, 110], [210, 190, 90], [150, 110, 80], [225, 225, 215]])
_BOX_RGB = np.array([140, 60, 130])
_CORNERS = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], float)
# Counter-clockwise seen from outside the unit cube, in the order of ROOM_FACES.
_QUADS_OUT = np.array([[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [0, 2, 3, 1], [4, 5, 7, 6]])


@dataclass(frozen=True, kw_only=True)
class AnalyticRoom:
    """A box seen from inside, with solid boxes standing in it."""

    lo_m: tuple[float, float, float]
    """Lowest corner of the free space, z = 0."""
    hi_m: tuple[float, float, float]
    """Highest corner."""
    boxes_m: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...]
    """(lowest, highest) corner of each solid box; boxes stand on the floor and do not overlap."""
    camera: PinholeCamera
    T_world_cam: np.ndarray
    """[4, 4] pose of the photo."""

    @property
    def camera_height_m(self) -> float:
        return float(self.T_world_cam[2, 3])

    @property
    def floor_area_m2(self) -> float:
        """Floor that is not under a box."""
        lo, hi = np.array(self.lo_m), np.array(self.hi_m)
        covered = sum(np.prod(np.subtract(b, a)[:2]) for a, b in self.boxes_m)
        return float(np.prod((hi - lo)[:2]) - covered)

    def free_at(self, xy_m: np.ndarray, radius_m: float = 0.0) -> np.ndarray:
        """[...] bool: a disc of that radius at [..., 2] touches neither wall nor box."""
        xy = np.asarray(xy_m, float)
        lo, hi = np.array(self.lo_m[:2]), np.array(self.hi_m[:2])
        ok = ((xy - radius_m > lo) & (xy + radius_m < hi)).all(-1)
        for a, b in self.boxes_m:
            outside = np.maximum(np.maximum(np.array(a[:2]) - xy, xy - np.array(b[:2])), 0.0)
            ok &= np.linalg.norm(outside, axis=-1) > radius_m
        return ok

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance t [N] in units of the direction's length and surface [N] of rays that start in free space.

        Surface is an index into `ROOM_FACES`, or 6 + i for box i.
        """
        origins = np.broadcast_to(np.asarray(origins, float), np.shape(directions))
        with np.errstate(divide="ignore", invalid="ignore"):
            to_lo = (np.array(self.lo_m) - origins) / directions
            to_hi = (np.array(self.hi_m) - origins) / directions
        leave = np.where(directions > 0, to_hi, np.where(directions < 0, to_lo, np.inf))
        axis = leave.argmin(-1)
        t = np.take_along_axis(leave, axis[:, None], -1)[:, 0]
        surface = 2 * axis + (np.take_along_axis(directions, axis[:, None], -1)[:, 0] > 0)
        for i, (a, b) in enumerate(self.boxes_m):
            with np.errstate(divide="ignore", invalid="ignore"):
                t0, t1 = (np.array(a) - origins) / directions, (np.array(b) - origins) / directions
            near = np.nanmax(np.minimum(t0, t1), -1)
            far = np.nanmin(np.maximum(t0, t1), -1)
            hit = (near > 0) & (near < far) & (near < t)
            t, surface = np.where(hit, near, t), np.where(hit, 6 + i, surface)
        return t, surface

    def render(
        self, camera: PinholeCamera | None = None, T_world_cam: np.ndarray | None = None, *, view_id: int = 0
    ) -> RgbdView:
        """Exact picture, depth and labels from any pose inside the room; the photo's by default."""
        camera = camera or self.camera
        T = self.T_world_cam if T_world_cam is None else T_world_cam
        rays_world = rotate_vectors(T, camera.rays_cam()).reshape(-1, 3)
        t, surface = self.cast(T[:3, 3], rays_world)  # rays have unit z in cam, so t is depth along the axis
        points_world = T[:3, 3] + t[:, None] * rays_world
        hw = (camera.height_px, camera.width_px)
        return RgbdView(
            view_id=view_id,
            camera=camera,
            T_world_cam=T,
            rgb_u8=self.colour(points_world, surface).reshape(*hw, 3),
            depth_z_m=t.reshape(hw).astype(np.float32),
            valid=np.ones(hw, bool),
            source=np.full(hw, SOURCE_PHOTO if view_id == 0 else SOURCE_PAINTED, np.uint8),
            labels=surface_labels(surface).reshape(hw),
        )

    def colour(self, points_world: np.ndarray, surface: np.ndarray) -> np.ndarray:
        """[N, 3] uint8: one base colour a surface, shaded by a half-metre checker that every view agrees on."""
        base = np.where((surface < 6)[:, None], _FACE_RGB[np.minimum(surface, 5)], _BOX_RGB)
        # The offset keeps the surfaces themselves off the checker's edges, where rounding would decide the colour.
        checker = np.floor(points_world / 0.5 + 0.137).sum(-1) % 2
        return np.clip(base * (0.8 + 0.2 * checker)[:, None], 0, 255).astype(np.uint8)

    def mesh(self) -> TriMesh:
        """Walls, floor, ceiling and boxes (without their bottoms); faces point into free space; labelled."""
        lo, hi = np.array(self.lo_m), np.array(self.hi_m)
        vertices = [lo + _CORNERS * (hi - lo)]
        quads = [_QUADS_OUT[:, ::-1]]
        labels = [surface_labels(np.arange(6))]
        for i, (a, b) in enumerate(self.boxes_m):
            vertices.append(np.array(a) + _CORNERS * np.subtract(b, a))
            keep = [0, 1, 2, 3, 5]
            quads.append(_QUADS_OUT[keep] + 8 * (i + 1))
            labels.append(np.full(len(keep), Label.OBJECT, np.uint8))
        q = np.concatenate(quads)
        faces = np.stack([q[:, [0, 1, 2]], q[:, [0, 2, 3]]], 1).reshape(-1, 3).astype(np.int32)
        return TriMesh(
            vertices=np.concatenate(vertices), faces=faces, face_labels=np.repeat(np.concatenate(labels), 2)
        ).validate()

    def layout(self, azimuth_rad: np.ndarray) -> PolarLayout:
        """The polar layout about the origin at these bin centres [A]."""
        azimuth = np.asarray(azimuth_rad, float)
        flat = np.stack([np.cos(azimuth), np.sin(azimuth), np.zeros_like(azimuth)], -1)
        walls = AnalyticRoom(
            lo_m=self.lo_m, hi_m=self.hi_m, boxes_m=(), camera=self.camera, T_world_cam=self.T_world_cam
        )
        boundary, _ = walls.cast(np.array([0.0, 0.0, 0.5 * self.hi_m[2]]), flat)
        bins, near_all, far_all, tops = [], [], [], []
        for a, b in self.boxes_m:
            with np.errstate(divide="ignore", invalid="ignore"):
                t0, t1 = np.array(a[:2]) / flat[:, :2], np.array(b[:2]) / flat[:, :2]
            near, far = np.nanmax(np.minimum(t0, t1), -1), np.nanmin(np.maximum(t0, t1), -1)
            hit = np.flatnonzero((near > 0) & (near < far))
            bins.append(hit)
            near_all.append(near[hit])
            far_all.append(far[hit])
            tops.append(np.full(len(hit), b[2]))
        return PolarLayout(
            azimuth_rad=azimuth,
            boundary_m=boundary,
            boundary_top_m=np.full(len(azimuth), np.inf),
            boundary_label=np.full(len(azimuth), Label.WALL, np.uint8),
            object_bin=np.concatenate([np.zeros(0, int), *bins]).astype(np.int32),
            object_near_m=np.concatenate([np.zeros(0), *near_all]),
            object_far_m=np.concatenate([np.zeros(0), *far_all]),
            object_top_m=np.concatenate([np.zeros(0), *tops]),
            ceiling_m=self.hi_m[2],
            camera_height_m=self.camera_height_m,
        )

    def photo(self, name: str = "room.png") -> Photo:
        """The exact picture as a photo record."""
        view = self.render()
        return Photo(
            rgb_u8=view.rgb_u8,
            name=name,
            sha256="0" * 64,
            original_size_px=(self.camera.width_px, self.camera.height_px),
        )

    def geometry(self, *, step_rad: float = np.radians(1.0)) -> PhotoGeometry:
        """Perfect knowledge of the photo; the layout covers the photo's sector."""
        view = self.render()
        half = 0.5 * self.camera.hfov_rad
        count = max(2, int(2 * half / step_rad))
        centres = (np.arange(count) + 0.5) * (2 * half / count) - half
        return PhotoGeometry(
            camera=self.camera,
            T_world_cam=self.T_world_cam,
            depth_z_m=view.depth_z_m,
            labels=view.labels,
            layout=self.layout(centres),
            confidence=1.0,
            mode="manhattan",
            manhattan_yaw_rad=0.0,
            relative_scale_sigma=0.0,
            backend="analytic",
        )

    def views(self, headings_deg: tuple[float, ...] = (0, 60, 120, 180, 240, 300)) -> WorldViews:
        """The photo, then one exact view per heading (the first heading is the photo itself), with the exact mesh."""
        views = [self.render()]
        for i, heading in enumerate(headings_deg[1:], start=1):
            T = camera_pose(self.T_world_cam[:3, 3], heading_rad=np.radians(heading))
            views.append(self.render(T_world_cam=T, view_id=i))
        return WorldViews(
            views=views,
            proxy=self.mesh(),
            ceiling_m=self.hi_m[2],
            Ts_world_path=np.stack([v.T_world_cam for v in views]),
        )


def surface_labels(surface: np.ndarray) -> np.ndarray:
    """[N] uint8 `Label` of surface indices."""
    table = np.array([Label.WALL] * 4 + [Label.FLOOR, Label.CEILING, Label.OBJECT], np.uint8)
    return table[np.minimum(surface, 6)]


def analytic_room(
    *,
    width_px: int = 64,
    height_px: int = 48,
    hfov_deg: float = 80.0,
    camera_height_m: float = 1.5,
    pitch_deg: float = -6.0,
    roll_deg: float = 0.0,
    boxes: bool = True,
) -> AnalyticRoom:
    """A 7 x 6 x 2.8 m room; with two boxes in front of the camera unless told otherwise."""
    standing = (((2.5, -1.9, 0.0), (3.3, -0.9, 0.8)), ((3.2, 1.0, 0.0), (3.8, 2.2, 1.2))) if boxes else ()
    return AnalyticRoom(
        lo_m=(-2.0, -3.0, 0.0),
        hi_m=(5.0, 3.0, 2.8),
        boxes_m=standing,
        camera=PinholeCamera.from_hfov(width_px, height_px, np.radians(hfov_deg)),
        T_world_cam=camera_pose(
            np.array([0.0, 0.0, camera_height_m]), pitch_rad=np.radians(pitch_deg), roll_rad=np.radians(roll_deg)
        ),
    )


def room_lines(
    width: int, height: int, hfov_deg: float, pitch_deg: float, roll_deg: float, yaw_deg: float, noise_px: float = 0.4
) -> Segments:
    """Segments of lines along the three directions of a turned room, seen by a known camera."""
    rng = np.random.default_rng(3)
    camera = PinholeCamera.from_hfov(width, height, np.radians(hfov_deg))
    T = camera_pose(np.array([0.0, 0.0, 1.5]), pitch_rad=np.radians(pitch_deg), roll_rad=np.radians(roll_deg))
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    axes = np.array([[0, 0, 1], [c, s, 0], [-s, c, 0]])
    start = np.stack([rng.uniform(2.5, 6, 240), rng.uniform(-4, 4, 240), rng.uniform(0, 3, 240)], -1)
    end = start + axes[np.arange(240) % 3] * rng.uniform(0.5, 1.5, (240, 1))
    uv = []
    for points in (start, end):
        pixels, depth = camera.project(transform_points(invert_rigid(T), points))
        uv.append(np.where((depth > 0.1)[:, None], pixels, np.nan))
    ends = np.concatenate(uv, 1) + rng.normal(0, noise_px, (240, 4))
    inside = np.isfinite(ends).all(1) & (ends >= 0).all(1)
    inside &= (ends[:, [0, 2]] < width).all(1) & (ends[:, [1, 3]] < height).all(1)
    return segments_from_ends(ends[inside], width, height)
