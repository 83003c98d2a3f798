"""The cached diffusion pipeline: retrieve, recall, paint, take depth from the proxy world, remember."""

from __future__ import annotations

import dataclasses
import logging
from typing import Protocol

import numpy as np

from ..core.camera import PinholeCamera
from ..core.config import GenerationConfig
from ..core.errors import BackendError
from ..core.frames import invert_rigid, transform_points
from ..core.mesh import Label, TriMesh
from ..core.progress import SILENT, SupportsProgress
from ..core.raycast import Raycaster
from ..core.views import (
    SOURCE_PAINTED,
    SOURCE_PHOTO,
    SOURCE_WARPED,
    Photo,
    PhotoGeometry,
    PolarLayout,
    RgbdView,
    WorldViews,
)
from .cache import SpatialCache
from .painter import Painter, PaintHint, RingPanorama
from .planes import MIN_SOURCE_PX, PlaneTexture, common_material, plane_cells
from .proxy import build_proxy, clear_start, full_turn
from .trajectory import WIDE_HFOV_RAD, FreeSpace, Stop, film_path, free_space, plan_stops
from .warp import forward_warp, reference_K

log = logging.getLogger(__name__)

RETRIEVED_VIEWS = 8
"""Past views that may answer for one frame; the released Lyra 2 layout has five slots, ours is not bound to them."""
RANGE_TOLERANCE = 0.02
"""Relative difference of range up to which a ring pixel counts as showing the point asked for."""


class ChunkStore(Protocol):
    """Where finished chunks survive a killed process."""

    def load_chunk(self, index: int) -> dict[str, np.ndarray] | None:
        """The chunk saved under this index for the same inputs, else None."""
        ...

    def save_chunk(self, index: int, record: dict[str, np.ndarray]) -> None:
        """Keep a finished chunk for good before the next one starts."""
        ...


class NoStore:
    """Keeps nothing: every run starts anew."""

    def load_chunk(self, index: int) -> dict[str, np.ndarray] | None:
        return None

    def save_chunk(self, index: int, record: dict[str, np.ndarray]) -> None:
        pass


def explore(
    photo: Photo,
    geometry: PhotoGeometry,
    painter: Painter,
    cfg: GenerationConfig,
    *,
    seed: int,
    progress: SupportsProgress = SILENT,
    store: ChunkStore | None = None,
) -> WorldViews:
    """Grow a persistent world from a photo whose geometry is known.

    Args:
        photo: upright picture.
        geometry: its camera, depth, labels and layout.
        painter: fills what nobody has seen.
        cfg: path, prompt and sizes.
        seed: every random stream derives from it.
        progress: one step per painted view.
        store: finished chunks are kept there and found again.

    Raises:
        BackendError: the painter changed known pixels or returned the wrong shape.
        ConfigError: unknown path preset.
        Cancelled: the user stopped.
    """
    return WorldPipeline(painter=painter, cfg=cfg)(photo, geometry, seed=seed, progress=progress, store=store)


class WorldPipeline:
    """The steps of exploration; each is a method, and `__call__` is their order."""

    def __init__(self, *, painter: Painter, cfg: GenerationConfig) -> None:
        self.painter = painter
        self.cfg = cfg

    def __call__(
        self,
        photo: Photo,
        geometry: PhotoGeometry,
        *,
        seed: int,
        progress: SupportsProgress = SILENT,
        store: ChunkStore | None = None,
    ) -> WorldViews:
        store = NoStore() if store is None else store
        ring = self.painter.prepare(photo, geometry, seed=seed, progress=progress)
        layout = clear_start(full_turn(clear_start(geometry.layout), ring))
        scene = _Scene(layout, build_proxy(layout), ring)
        cache = SpatialCache()
        cache.add(self.seed_view(photo, geometry, scene))
        self.paint_planes(geometry, scene, cache, seed=seed)
        width = self.cfg.view_long_side_px
        stops = plan_stops(
            layout,
            scene.space,
            path=self.cfg.path,
            camera=PinholeCamera.from_hfov(width, width * 3 // 4, WIDE_HFOV_RAD),
            home=Stop(Ts_world_cam=geometry.T_world_cam[None], camera=geometry.camera),
        )
        total = sum(len(s.Ts_world_cam) for s in stops)
        done = 0
        for index, stop in enumerate(stops):
            saved = store.load_chunk(index)
            if saved is not None:
                for view in _views_from_record(saved):
                    cache.add(view)
                done += len(stop.Ts_world_cam)
                progress.step("explore", done, total)
                continue
            first = cache.next_id
            for T_world_cam in stop.Ts_world_cam:
                cache.add(self.paint_view(scene, cache, stop.camera, T_world_cam, seed=seed))
                done += 1
                progress.step("explore", done, total)
            store.save_chunk(index, _record_from_views([v for v in cache if v.view_id >= first]))
        seed_view, turned, home = cache.views[0], cache.views[1], cache.views[-1]
        return WorldViews(
            views=cache.views,
            proxy=scene.mesh,
            ceiling_m=layout.ceiling_m,
            Ts_world_path=film_path(stops),
            metrics={
                "loop_closure_psnr_db": _psnr_db(home.rgb_u8, seed_view.rgb_u8, home.source == SOURCE_WARPED),
                "forward_warp_psnr_db": warped_psnr_db(seed_view, turned),
            },
        )

    def seed_view(self, photo: Photo, geometry: PhotoGeometry, scene: _Scene) -> RgbdView:
        """The photo as the first remembered view; its depth is the proxy world's, so that no point has two places."""
        image = scene.raycaster.render(geometry.camera, geometry.T_world_cam)
        return RgbdView(
            view_id=0,
            camera=geometry.camera,
            T_world_cam=geometry.T_world_cam,
            rgb_u8=photo.rgb_u8,
            depth_z_m=np.where(image.hit, image.depth_z_m, 0).astype(np.float32),
            valid=image.hit,
            source=np.where(image.hit, SOURCE_PHOTO, 0).astype(np.uint8),
            labels=image.labels(scene.mesh),
        )

    def paint_planes(self, geometry: PhotoGeometry, scene: _Scene, cache: SpatialCache, *, seed: int) -> None:
        """Complete floor and ceiling around the vertical axis in their own planes."""
        if scene.ring is None:
            return
        h = scene.layout.camera_height_m
        lowest, highest = float(scene.ring.elevation_rad[-1]), float(scene.ring.elevation_rad[0])
        jobs = [(Label.FLOOR, 0.0, lowest < -0.1, h / np.tan(max(-lowest, 0.1)))]
        if scene.layout.ceiling_m is not None:
            rise = scene.layout.ceiling_m - h
            jobs.append((Label.CEILING, scene.layout.ceiling_m, highest > 0.1, rise / np.tan(max(highest, 0.1))))
        for label, z_m, seen, blind_m in jobs:
            if not seen:
                continue
            cells, cell_m = plane_cells(min(1.6 * blind_m + 0.4, 6.0), z_m)
            points = cells.reshape(-1, 3)
            rgb, from_photo = cache.recall(points, [0])
            ring_rgb, from_ring = scene.recall_ring(points)
            known = from_photo | from_ring
            rgb[~from_photo] = ring_rgb[~from_photo]
            if from_photo.sum() < MIN_SOURCE_PX or known.all():
                continue
            shape = cells.shape[:2]
            picture = np.clip(rgb + 0.5, 0, 255).astype(np.uint8).reshape(*shape, 3)
            # Only the blind disc is filled here; what an object hides stays for the views that look behind it.
            blind = (np.linalg.norm(points[:, :2], axis=1) < 1.05 * blind_m) & ~known
            wanted = (known | blind).reshape(shape)
            painted = self._checked_paint(
                PaintHint(
                    rgb_u8=picture[None],
                    known=(known | ~blind).reshape(1, *shape),
                    labels=np.full((1, *shape), label, np.uint8),
                    source_rgb_u8=picture,
                    source_ok=common_material(picture, from_photo.reshape(shape)),
                    source_labels=np.full(shape, label, np.uint8),
                    prompt=self.cfg.prompt,
                ),
                seed=_derived(seed, int(label)),
            )[0]
            scene.planes[label] = PlaneTexture(z_m=z_m, cell_m=cell_m, rgb_u8=painted, known=wanted)

    def paint_view(
        self, scene: _Scene, cache: SpatialCache, camera: PinholeCamera, T_world_cam: np.ndarray, *, seed: int
    ) -> RgbdView:
        """One new view: depth from the proxy, colour from memory, ring and planes, the rest from the painter."""
        image = scene.raycaster.render(camera, T_world_cam)
        hit = image.hit.reshape(-1)
        depth = np.where(image.hit, image.depth_z_m, 0.0)
        labels = image.labels(scene.mesh)
        points = transform_points(T_world_cam, camera.unproject(depth).reshape(-1, 3))
        rgb, remembered = cache.recall(points, cache.retrieve(camera, T_world_cam, count=RETRIEVED_VIEWS))
        remembered &= hit
        fresh = hit & ~remembered
        for colour, valid in scene.recall_own(points, labels.reshape(-1), fresh):
            rgb[valid] = colour
            fresh[valid] = False
        known = hit & ~fresh
        shape = depth.shape
        picture = np.clip(rgb + 0.5, 0, 255).astype(np.uint8).reshape(*shape, 3)
        view_id = cache.next_id
        source = np.where(remembered, SOURCE_WARPED, np.where(hit, SOURCE_PAINTED, 0)).astype(np.uint8)
        painted = self._checked_paint(
            PaintHint(
                rgb_u8=picture[None],
                known=(known | ~hit).reshape(1, *shape),
                depth_z_m=depth[None].astype(np.float32),
                labels=labels[None],
                camera=camera,
                Ts_world_cam=T_world_cam[None],
                prompt=self.cfg.prompt,
            ),
            seed=_derived(seed, 1000 + view_id),
        )[0]
        return RgbdView(
            view_id=view_id,
            camera=camera,
            T_world_cam=T_world_cam,
            rgb_u8=painted,
            depth_z_m=depth.astype(np.float32),
            valid=hit.reshape(shape),
            source=source.reshape(shape),
            labels=labels,
        )

    def _checked_paint(self, hint: PaintHint, *, seed: int) -> np.ndarray:
        if hint.known.all():
            return hint.rgb_u8
        painted = self.painter.paint(hint, seed=seed)
        if painted.shape != hint.rgb_u8.shape or painted.dtype != np.uint8:
            raise BackendError(
                f"painter '{self.painter.name}' returned {painted.dtype} {painted.shape}; "
                f"expected uint8 {hint.rgb_u8.shape}"
            )
        if not np.array_equal(painted[hint.known], hint.rgb_u8[hint.known]):
            raise BackendError(f"painter '{self.painter.name}' changed pixels that were already known")
        return painted


def warped_psnr_db(photo_view: RgbdView, turned: RgbdView) -> float:
    """How well the photo is found again in another view [dB].

    That view is warped forward into the photo's camera with nothing but its own depth, so an error of colour, depth or
    pose shows. It is limited by the coarser resolution of the two. Compared on the pixels that the warp reaches.
    """
    image, seen, _ = forward_warp(
        turned.rgb_u8[None].astype(float),
        np.where(turned.valid, turned.depth_z_m, 0)[None],
        invert_rigid(turned.T_world_cam)[None],
        reference_K(turned.camera)[None],
        invert_rigid(photo_view.T_world_cam),
        reference_K(photo_view.camera),
        size_hw=photo_view.depth_z_m.shape,
    )
    return _psnr_db(image, photo_view.rgb_u8, seen & photo_view.valid)


def _psnr_db(got: np.ndarray, want: np.ndarray, where: np.ndarray) -> float:
    """Peak signal-to-noise ratio [dB] of 8-bit values, capped at 99; 0 when there is nothing to compare."""
    if not where.any():
        return 0.0
    error = float(np.mean((got[where].astype(float) - want[where]) ** 2))
    return float(min(10 * np.log10(255.0**2 / max(error, 1e-9)), 99.0))


class _Scene:
    """The proxy world with what can be asked of it."""

    def __init__(self, layout: PolarLayout, mesh: TriMesh, ring: RingPanorama | None) -> None:
        self.layout, self.mesh, self.ring = layout, mesh, ring
        self.raycaster = Raycaster(mesh)
        self.space: FreeSpace = free_space(layout)
        self.planes: dict[int, PlaneTexture] = {}
        self._eye = np.array([0.0, 0.0, layout.camera_height_m])
        self._ring_range_m = self._range_of_ring(ring) if ring is not None else None

    def _range_of_ring(self, ring: RingPanorama) -> np.ndarray:
        el, az = np.meshgrid(ring.elevation_rad, ring.azimuth_rad, indexing="ij")
        rays = np.stack([np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el)], -1)
        t, _, _ = self.raycaster.cast(self._eye, rays.reshape(-1, 3))
        return t.reshape(el.shape)

    def recall_ring(self, points_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Colour [N, 3] float32 and validity [N] bool of points that the ring shows."""
        import cv2

        out = np.zeros((len(points_world), 3), np.float32)
        if self.ring is None or self._ring_range_m is None:
            return out, np.zeros(len(points_world), bool)
        offset = points_world - self._eye
        range_m = np.linalg.norm(offset, axis=1)
        elevation = np.arcsin(np.clip(offset[:, 2] / np.maximum(range_m, 1e-9), -1, 1))
        azimuth = np.arctan2(offset[:, 1], offset[:, 0])
        rows, cols = self._ring_range_m.shape
        row_step = float(self.ring.elevation_rad[0] - self.ring.elevation_rad[1])
        y = (self.ring.elevation_rad[0] - elevation) / row_step
        x = np.mod(self.ring.azimuth_rad[0] - azimuth, 2 * np.pi) / (2 * np.pi) * cols
        inside = (y >= -0.5) & (y <= rows - 0.5)
        row = np.clip(np.round(y).astype(int), 0, rows - 1)
        col = np.round(x).astype(int) % cols
        expected = self._ring_range_m[row, col]
        # At a grazing surface neighbouring rows differ much in range; the window's extremes bracket the true one.
        low, high = expected, expected
        for dr in (-1, 1):
            near = self._ring_range_m[np.clip(row + dr, 0, rows - 1), col]
            similar = np.abs(near - expected) < 0.25 * expected
            low = np.where(similar, np.minimum(low, near), low)
            high = np.where(similar, np.maximum(high, near), high)
        ok = inside & (range_m > low * (1 - RANGE_TOLERANCE)) & (range_m < high * (1 + RANGE_TOLERANCE))
        padded = np.concatenate([self.ring.rgb_u8[:, -2:], self.ring.rgb_u8, self.ring.rgb_u8[:, :2]], 1)
        pick = np.flatnonzero(ok)
        for start in range(0, len(pick), 30_000):  # cv2.remap addresses at most 32767 rows
            part = pick[start : start + 30_000]
            map_x, map_y = (x[part] + 2).astype(np.float32)[:, None], y[part].astype(np.float32)[:, None]
            out[part] = cv2.remap(padded, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
        return out, ok

    def recall_own(
        self, points_world: np.ndarray, labels: np.ndarray, wanted: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """What the painter prepared for points [N] where `wanted`: pairs of colours and indices, ring first."""
        answers = []
        left = np.flatnonzero(wanted)
        colour, ok = self.recall_ring(points_world[left])
        answers.append((colour[ok], left[ok]))
        left = left[~ok]
        for label, plane in self.planes.items():
            on_plane = left[labels[left] == label]
            colour, ok = plane.lookup(points_world[on_plane])
            answers.append((colour[ok], on_plane[ok]))
        return answers


def _derived(seed: int, stream: int) -> int:
    """A seed of its own for each use, so that adding one use never shifts another."""
    return int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint32)[0])


def _record_from_views(views: list[RgbdView]) -> dict[str, np.ndarray]:
    """Stack the views of one chunk (all of one camera) into plain arrays."""
    camera = views[0].camera
    record = {
        "camera": np.array([getattr(camera, f.name) for f in dataclasses.fields(camera)], float),
        "view_id": np.array([v.view_id for v in views]),
    }
    for name in ("T_world_cam", "rgb_u8", "depth_z_m", "valid", "source", "labels"):
        record[name] = np.stack([getattr(v, name) for v in views])
    return record


def _views_from_record(record: dict[str, np.ndarray]) -> list[RgbdView]:
    values = dict(zip([f.name for f in dataclasses.fields(PinholeCamera)], record["camera"].tolist(), strict=True))
    values["width_px"], values["height_px"] = int(values["width_px"]), int(values["height_px"])
    camera = PinholeCamera(**values)
    arrays = ("T_world_cam", "rgb_u8", "depth_z_m", "valid", "source", "labels")
    return [
        RgbdView(view_id=int(i), camera=camera, **{name: record[name][k] for name in arrays})
        for k, i in enumerate(record["view_id"])
    ]
