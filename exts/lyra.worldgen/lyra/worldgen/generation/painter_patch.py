"""The embedded painter: no weights, no download, one CPU core. The photo is its whole training set.

A ring around the first camera is laid out from photo columns (`slab_layout`, `ring_collage`) and its joints and gaps
are sampled by an analytic patch diffusion (`patch_diffusion`). Holes in single frames go to the same sampler. Painted
pixels are never copied again, so nothing drifts however far the world grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.arrays import expect_shape
from ..core.camera import PinholeCamera
from ..core.config import WorldConfig
from ..core.errors import ConfigError, InputError
from ..core.machine import core_count
from ..core.mesh import Label
from ..core.progress import SILENT, SupportsProgress
from ..core.views import Photo, PhotoGeometry, PolarLayout
from .equirect import elevation_map, level_strip
from .painter import PaintHint, RingPanorama
from .patch_atlas import ANY_CODE, Source
from .patch_diffusion import complete
from .patch_target import Target
from .planes import RIM_SHARE, planes_to_paint
from .ring_collage import lay_out
from .ring_course import plan_course
from .room_closing import close_room
from .seeds import derived_seed

OBJECT_MARGIN_PX = 3
"""Background this close to an object may be tinted by it and is not copied."""
CROP_MARGIN_PX = 24
"""Known surroundings that a hole is painted with."""
WHOLE_FRAME_SHARE = 0.6
"""Crops that add up to more than this share of the frame are painted as one."""
MAX_KEPT_SOURCES = 4
"""Scaled copies of the photo that are kept between calls."""
MIN_OBJECT_PX = 400
"""With fewer object pixels in the photo, unseen sides of objects are painted from the background."""


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    photo: Photo
    geometry: PhotoGeometry


class PatchPainter:
    """Paints with patches of the photo; `Painter` protocol.

    Args:
        threads: every core when None; the result is the same for any number.
        rows: most rows of the ring; time grows with their square.
        mode: "full", or "mirror" for a ring of mirror images that costs next to nothing and looks like it.
    """

    name = "patch"
    weights_licence = "none: the photo is the training set"

    def __init__(self, *, threads: int | None = None, rows: int = 384, mode: str = "full") -> None:
        if mode not in ("full", "mirror"):
            raise ConfigError(f"painter mode is '{mode}'; expected full or mirror")
        threads = core_count() if threads is None else threads
        if threads < 1 or rows < 32:
            raise ConfigError(f"painter threads, rows are {threads}, {rows}; expected at least 1 and 32")
        self.threads = threads
        self.rows = rows
        self.mode = mode
        self._prepared: _Prepared | None = None
        self._sources: dict[tuple[int, bool], Source] = {}

    @classmethod
    def from_config(cls, config: WorldConfig) -> PatchPainter:
        """It has no settings of its own."""
        return cls()

    def prepare(
        self,
        photo: Photo,
        geometry: PhotoGeometry,
        *,
        seed: int,
        progress: SupportsProgress = SILENT,
        ring: RingPanorama | None = None,
    ) -> RingPanorama:
        """Paint the ring around the photo's camera and keep the photo as the source for single frames.

        A ring that was painted before is taken as it is.

        Raises:
            InputError: the geometry does not belong to the photo.
        """
        h, w, _ = expect_shape("photo.rgb_u8", photo.rgb_u8, (None, None, 3)).shape
        expect_shape("geometry.labels", geometry.labels, (h, w))
        if (geometry.camera.height_px, geometry.camera.width_px) != (h, w):
            raise InputError(
                f"geometry.camera is {geometry.camera.width_px}x{geometry.camera.height_px} px; expected {w}x{h} px"
            )
        self._prepared = _Prepared(photo=photo, geometry=geometry)
        self._sources.clear()
        if ring is not None:
            return ring
        progress.step("ring", 0, 3)
        strip = level_strip(photo.rgb_u8, geometry.labels, geometry.camera, geometry.T_world_cam, rows_max=self.rows)
        first, end = strip.sector
        indoors = geometry.layout.ceiling_m is not None and self.mode == "full"
        room = None
        if indoors:
            room = close_room(geometry.layout, strip.azimuth_rad, strip.sector, geometry.manhattan_yaw_rad)
        course = plan_course(
            strip,
            seed=derived_seed(seed, 0),
            boundary_m=boundary_at(geometry.layout, strip.azimuth_rad[first:end]),
            room=room,
            mirror_only=self.mode == "mirror",
        )
        progress.step("ring", 1, 3)
        collage = lay_out(strip, course, seamless=self.mode == "full", upright=indoors)
        progress.step("ring", 2, 3)
        rgb = collage.rgb
        hole = collage.hole & ~on_planes(collage.labels, strip.elevation_rad, geometry.layout)
        if self.mode == "full":
            elevation = strip.elevation_rad.astype(np.float32)
            own = np.broadcast_to(elevation[:, None], collage.hole.shape)
            source = Source(
                rgb=_signed(strip.rgb[:, first:end]),
                usable=strip.from_photo[:, first:end],
                prior=own[:, first:end],
                code=strip.labels[:, first:end],
            )
            target = Target(
                rgb=_signed(rgb),
                known=~collage.hole,
                hole=hole,
                prior=elevation[collage.source_row],
                code=_codes(collage.labels),
                guided=True,
                wrap=True,
            )
            rgb = 127.5 * (complete(target, source, seed=derived_seed(seed, 1), threads=self.threads) + 1)
        progress.step("ring", 3, 3)
        rgb_u8 = np.clip(np.where(strip.from_photo[..., None], strip.rgb, rgb) + 0.5, 0, 255).astype(np.uint8)
        return RingPanorama(
            rgb_u8=rgb_u8,
            from_photo=strip.from_photo,
            elevation_rad=strip.elevation_rad,
            azimuth_rad=strip.azimuth_rad,
            source_azimuth_rad=np.interp(collage.column, np.arange(len(strip.azimuth_rad)), strip.azimuth_rad),
            mirrored=collage.mirrored,
            boundary_m=course.boundary_m,
            stretch=None if course.boundary_m is None else collage.stretch,
        )

    def paint(self, hint: PaintHint, *, seed: int) -> np.ndarray:
        """Complete frames [T, H, W, 3] uint8 one by one; known pixels come back bit for bit.

        Sources are `hint.source_rgb_u8` or the prepared photo. Floor is painted from floor, wall from wall, and so on;
        what stands in front is neither copied into the background behind it nor does the painter look at it there.

        Raises:
            InputError: shapes disagree, or there is nothing to copy from.
        """
        t, h, w, _ = expect_shape("hint.rgb_u8", hint.rgb_u8, (None, None, None, 3)).shape
        expect_shape("hint.known", hint.known, (t, h, w))
        if hint.labels is not None:
            expect_shape("hint.labels", hint.labels, (t, h, w))
        if hint.Ts_world_cam is not None:
            expect_shape("hint.Ts_world_cam", hint.Ts_world_cam, (t, 4, 4))
        out = hint.rgb_u8.copy()
        known = hint.known.astype(bool)
        for i in range(t):
            if not known[i].all():
                labels = None if hint.labels is None else hint.labels[i]
                self._paint_frame(out[i], known[i], labels, hint, _elevation(hint, i, (h, w)), derived_seed(seed, i))
        out[known] = hint.rgb_u8[known]
        return out

    def _paint_frame(
        self,
        frame: np.ndarray,
        known: np.ndarray,
        labels: np.ndarray | None,
        hint: PaintHint,
        elevation_rad: np.ndarray | None,
        seed: int,
    ) -> None:
        """Fill one frame in place: the background first, then the unseen sides of objects."""
        hole = ~known
        if labels is None:
            self._paint_layer(frame, known, hole, None, elevation_rad, self._source(hint, objects=False), seed)
            return
        standing = labels == Label.OBJECT
        object_source = self._source(hint, objects=True) if (hole & standing).any() else None
        if object_source is None or object_source.usable.sum() < MIN_OBJECT_PX:
            standing = standing & known
            object_source = None
        layers = [(~standing, self._source(hint, objects=False))]
        if object_source is not None:
            layers.append((standing, object_source))
        for k, (layer, source) in enumerate(layers):
            self._paint_layer(
                frame, known & layer, hole & layer, _codes(labels), elevation_rad, source, derived_seed(seed, k)
            )

    def _paint_layer(
        self,
        frame: np.ndarray,
        condition: np.ndarray,
        hole: np.ndarray,
        code: np.ndarray | None,
        elevation_rad: np.ndarray | None,
        source: Source,
        seed: int,
    ) -> None:
        for k, box in enumerate(hole_boxes(hole)):
            part = complete(
                Target(
                    rgb=_signed(frame[box]),
                    known=condition[box],
                    hole=hole[box],
                    prior=None if elevation_rad is None else elevation_rad[box],
                    code=None if code is None else code[box],
                ),
                source,
                seed=derived_seed(seed, k),
                threads=self.threads,
            )
            painted = np.clip(127.5 * (part + 1) + 0.5, 0, 255).astype(np.uint8)
            frame[box] = np.where(hole[box][..., None], painted, frame[box])

    def _source(self, hint: PaintHint, *, objects: bool) -> Source:
        """What may be copied: background, or only what stands in front of it."""
        if hint.source_rgb_u8 is not None:
            h, w, _ = expect_shape("hint.source_rgb_u8", hint.source_rgb_u8, (None, None, 3)).shape
            usable = np.ones((h, w), bool)
            if hint.source_ok is not None:
                usable = expect_shape("hint.source_ok", hint.source_ok, (h, w)).astype(bool)
            labels = hint.source_labels
            if labels is not None:
                expect_shape("hint.source_labels", labels, (h, w))
            prior = None
            if hint.camera is not None and (h, w) == hint.known.shape[1:]:
                prior = _elevation(hint, 0, (h, w))
            return _source_of(hint.source_rgb_u8, usable, labels, prior, objects=objects)
        if self._prepared is None:
            raise InputError("nothing to copy from; call prepare() with the photo or give hint.source_rgb_u8")
        fx = 0 if hint.camera is None else round(hint.camera.fx_px)
        if (fx, objects) not in self._sources:
            while len(self._sources) >= MAX_KEPT_SOURCES:
                del self._sources[next(iter(self._sources))]
            self._sources[fx, objects] = _scaled_photo(self._prepared, hint.camera, objects=objects)
        return self._sources[fx, objects]


def on_planes(labels: np.ndarray, elevation_rad: np.ndarray, layout: PolarLayout) -> np.ndarray:
    """[R, C] bool: floor so near that it is going to be continued in its own plane; the ring need not be painted there.

    Args:
        labels: [R, C] uint8.
        elevation_rad: [R] of the rows.
        layout: the photo's sector.
    """
    near = np.zeros(labels.shape, bool)
    for plane in planes_to_paint(layout, elevation_rad):
        if plane.label == Label.FLOOR:
            near |= (elevation_rad < -np.arctan2(layout.camera_height_m, (1 - RIM_SHARE) * plane.reach_m))[:, None]
    return near & (labels == Label.FLOOR)


def boundary_at(layout: PolarLayout, azimuth_rad: np.ndarray) -> np.ndarray:
    """Boundary distance [m] at the nearest bin of each azimuth [N]."""
    order = np.abs(np.angle(np.exp(1j * (azimuth_rad[:, None] - layout.azimuth_rad[None])))).argmin(1)
    return layout.boundary_m[order]


def hole_boxes(hole: np.ndarray, *, margin_px: int = CROP_MARGIN_PX) -> list[tuple[slice, slice]]:
    """Windows that hold all holes with their surroundings; overlapping ones are joined, large ones become the frame."""
    from scipy import ndimage

    h, w = hole.shape
    if not hole.any():
        return []
    grown = (
        ndimage.binary_dilation(hole, np.ones((3, 3), bool), iterations=margin_px // 2) if hole.mean() < 0.2 else hole
    )
    pieces: Any = ndimage.label(grown, np.ones((3, 3)))
    pad = margin_px // 2
    boxes = [
        [max(0, y.start - pad), min(h, y.stop + pad), max(0, x.start - pad), min(w, x.stop + pad)]
        for y, x in ndimage.find_objects(pieces[0])
    ]
    merged = True
    while merged:
        merged = False
        for i in range(len(boxes)):
            for j in range(len(boxes) - 1, i, -1):
                a, b = boxes[i], boxes[j]
                if a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]:
                    boxes[i] = [min(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), max(a[3], b[3])]
                    del boxes[j]
                    merged = True
    if sum((b[1] - b[0]) * (b[3] - b[2]) for b in boxes) > WHOLE_FRAME_SHARE * h * w:
        return [(slice(0, h), slice(0, w))]
    return [(slice(b[0], b[1]), slice(b[2], b[3])) for b in boxes]


def _scaled_photo(prepared: _Prepared, camera: PinholeCamera | None, *, objects: bool) -> Source:
    """The photo at the angular scale of `camera`, its elevations as the prior."""
    import cv2

    own = prepared.geometry.camera
    scale = 1.0 if camera is None else float(np.clip(camera.fx_px / own.fx_px, 0.1, 4.0))
    size = (max(16, round(own.width_px * scale)), max(16, round(own.height_px * scale)))
    rgb = cv2.resize(prepared.photo.rgb_u8, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    labels = cv2.resize(prepared.geometry.labels.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    prior = None
    if camera is not None:
        prior = elevation_map(own.resized(*size), prepared.geometry.T_world_cam)
    return _source_of(rgb, np.ones(labels.shape, bool), labels, prior, objects=objects)


def _source_of(
    rgb_u8: np.ndarray, usable: np.ndarray, labels: np.ndarray | None, prior: np.ndarray | None, *, objects: bool
) -> Source:
    import cv2

    if labels is not None:
        standing = labels == Label.OBJECT
        if objects:
            usable = usable & standing
        else:
            size = 2 * OBJECT_MARGIN_PX + 1
            near = cv2.dilate(standing.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
            # A picture of nothing but objects still has to be painted from something.
            usable = usable & ~near if (usable & ~near).any() else usable
    if not objects and not usable.any():
        raise InputError("hint.source_ok allows no pixel to copy from; mark at least some pixels")
    return Source(rgb=_signed(rgb_u8), usable=usable, prior=prior, code=labels)


def _codes(labels: np.ndarray) -> np.ndarray:
    """Labels as codes: what is unknown may be painted from anything."""
    return np.where(labels == Label.UNKNOWN, ANY_CODE, labels).astype(np.uint8)


def _elevation(hint: PaintHint, index: int, shape: tuple[int, int]) -> np.ndarray | None:
    """[H, W] elevation of a frame's pixels [rad]; a camera without a pose counts as level, no camera as flat."""
    if hint.camera is None:
        return None
    if (hint.camera.height_px, hint.camera.width_px) != shape:
        raise InputError(
            f"hint.camera is {hint.camera.width_px}x{hint.camera.height_px} px; expected {shape[1]}x{shape[0]} px"
        )
    if hint.Ts_world_cam is None:
        rays = hint.camera.rays_cam()
        return np.arcsin(-rays[..., 1] / np.linalg.norm(rays, axis=-1)).astype(np.float32)
    return elevation_map(hint.camera, hint.Ts_world_cam[index])


def _signed(rgb: np.ndarray) -> np.ndarray:
    """0..255 to -1..1 float32."""
    return (rgb.astype(np.float32) / 127.5 - 1).astype(np.float32)
