"""The sky above the photo's reach, painted in one piece around the zenith.

The picture is flat: distance from its middle is the angle from the zenith. Columns that are copied around the ring meet
there in one point, which no painting in a view repairs; pieces of the photo's own sky laid on the flat picture do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.mesh import Label
from ..core.views import Photo, PhotoGeometry
from .equirect import project_directions
from .painter import RingPanorama
from .planes import common_material, even_light, faded_into, matched_tone
from .quilting import PIECE_PX, quilt

LARGEST_SIDE_PX = 640
LOWEST_RAD = float(np.radians(2))
OVERLAP_RAD = float(np.radians(8))
"""The picture reaches this far below the ring's upper edge and fades into it there."""
LIGHT_RAD = float(np.radians(12))
"""Smaller changes of colour are clouds, larger ones the light of the sky."""
ENLARGED = 2.0
LEAST_SHARE = 0.02
"""With a smaller share of sky in the photo there is nothing to copy."""
BELOW_RAD = float(np.radians(30))
"""Sky that far below the ring's edge is still looked at as a source."""


@dataclass(frozen=True, kw_only=True)
class SkyTexture:
    """Colours of the sky around the zenith, seen from a height above the origin."""

    eye_m: float
    rad_per_cell: float
    rgb_u8: np.ndarray
    """[S, S, 3]; row 0 at the lowest y, column 0 at the lowest x."""
    known: np.ndarray
    """[S, S] bool."""

    def lookup(self, points_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bilinear colour [N, 3] float32 and validity [N] bool of points on the sky."""
        import cv2

        offset = points_world - np.array([0.0, 0.0, self.eye_m])
        flat = np.linalg.norm(offset[:, :2], axis=1)
        angle = np.arctan2(flat, offset[:, 2])
        side = len(self.rgb_u8)
        xy = offset[:, :2] / np.maximum(flat, 1e-9)[:, None] * (angle / self.rad_per_cell)[:, None] + side / 2
        ok = ((xy >= 0.5) & (xy <= side - 0.5)).all(1)
        col, row = np.clip(xy.astype(int), 0, side - 1).T
        ok &= self.known[row, col]
        out = np.zeros((len(points_world), 3), np.float32)
        pick = np.flatnonzero(ok)
        for start in range(0, len(pick), 30_000):  # cv2.remap addresses at most 32767 rows
            part = pick[start : start + 30_000]
            at = (xy[part] - 0.5).astype(np.float32)
            out[part] = cv2.remap(self.rgb_u8, at[:, :1], at[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[
                :, 0
            ]
        return out, ok


def paint_sky(photo: Photo, geometry: PhotoGeometry, ring: RingPanorama, *, seed: int) -> SkyTexture | None:
    """The sky from the zenith to a little below the ring's upper edge; None when the photo shows no sky.

    Args:
        photo, geometry: whose sky is copied.
        ring: what the sky has to meet.
        seed: decides among equally good pieces.
    """
    import cv2

    if np.mean(geometry.labels == Label.SKY) < LEAST_SHARE:
        return None
    highest = float(ring.elevation_rad[0])
    reach = np.pi / 2 - max(highest - OVERLAP_RAD, LOWEST_RAD)
    radius = min(reach + BELOW_RAD, np.pi / 2 - LOWEST_RAD)
    rad_per_cell = 2 * radius / LARGEST_SIDE_PX
    axis = (np.arange(LARGEST_SIDE_PX) + 0.5 - LARGEST_SIDE_PX / 2) * rad_per_cell
    x, y = np.meshgrid(axis, axis)
    angle, azimuth = np.hypot(x, y), np.arctan2(y, x)
    elevation = np.pi / 2 - angle
    px, inside = project_directions(geometry.camera, geometry.T_world_cam, elevation, azimuth)
    map_x, map_y = (px[..., i].astype(np.float32) - 0.5 for i in (0, 1))
    # Reduced first, so that the coarser picture skips no photo pixel.
    blur = max(0.0, 0.4 * (geometry.camera.fx_px * rad_per_cell - 1))
    picture = cv2.GaussianBlur(photo.rgb_u8, (0, 0), blur) if blur > 0.1 else photo.rgb_u8
    shown = cv2.remap(picture.astype(np.float32), map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    u = np.clip(px[..., 0].astype(int), 0, geometry.camera.width_px - 1)
    v = np.clip(px[..., 1].astype(int), 0, geometry.camera.height_px - 1)
    from_photo = inside & (geometry.labels[v, u] == Label.SKY)
    row_step = float(ring.elevation_rad[0] - ring.elevation_rad[1])
    rows, columns = ring.from_photo.shape
    at_y = (highest - elevation) / row_step
    at_x = np.mod(ring.azimuth_rad[0] - azimuth, 2 * np.pi) / (2 * np.pi) * columns
    ring_rgb = cv2.remap(
        np.concatenate([ring.rgb_u8, ring.rgb_u8[:, :1]], 1).astype(np.float32),
        at_x.astype(np.float32),
        at_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    from_ring = (at_y >= 0) & (at_y <= rows - 1) & ~inside
    wanted = angle < reach
    material = cv2.erode(from_photo.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if not material.any():
        return None
    rgb = np.where(inside[..., None], shown, ring_rgb)
    seen = np.clip(np.where((inside | from_ring)[..., None], rgb, 0) + 0.5, 0, 255).astype(np.uint8)
    alike = material | (common_material(seen, inside | from_ring, material) & from_ring)
    light = even_light(rgb, alike, LIGHT_RAD / rad_per_cell)
    mean = light[material].mean(0)
    flat = rgb - light + mean
    laid = _overhead(flat, material, wanted | material, seed)
    colour = light if laid is None else matched_tone(laid, flat, material, LIGHT_RAD / rad_per_cell) + light - mean
    colour = faded_into(colour, ring_rgb, from_ring & alike, angle, reach)
    colour = np.where(from_photo[..., None], shown, colour)
    return SkyTexture(
        eye_m=float(geometry.T_world_cam[2, 3]),
        rad_per_cell=rad_per_cell,
        rgb_u8=np.clip(colour + 0.5, 0, 255).astype(np.uint8),
        known=wanted,
    )


def _overhead(flat: np.ndarray, material: np.ndarray, wanted: np.ndarray, seed: int) -> np.ndarray | None:
    """[S, S, 3] `wanted` sky from pieces of the photo's sky, enlarged: clouds overhead are nearer than those ahead."""
    import cv2

    y, x = np.nonzero(material)
    box = np.s_[y.min() : y.max() + 1, x.min() : x.max() + 1]
    small = np.where(material[box][..., None], flat[box], flat[material].mean(0)).astype(np.float32)
    sheet = cv2.resize(small, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    usable = cv2.resize(material[box].astype(np.uint8), sheet.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
    # The enlarged sky lies below the picture, where pieces are taken from but none is laid.
    side, width = len(flat), max(flat.shape[1], sheet.shape[1])
    room = ((0, len(sheet)), (0, width - flat.shape[1]))
    picture = np.pad(flat, (*room, (0, 0)))
    picture[side:, : sheet.shape[1]] = sheet
    source = np.zeros(picture.shape[:2], bool)
    source[side:, : sheet.shape[1]] = usable
    inner = cv2.erode(material.astype(np.uint8), np.ones((11, 11), np.uint8)) > 0
    laid = quilt(
        picture,
        np.pad(inner, room),
        np.pad(wanted, room),
        source,
        seed=seed,
        piece_px=2 * PIECE_PX,
        least_px=PIECE_PX // 2,
    )
    return None if laid is None else laid[:side, : flat.shape[1]]
