"""Equirectangular panoramas: reading them as hostile input, and perspective views of them.

Row 0 looks straight up, the middle column straight ahead; columns run to the right. The `pano` frame has the axes of
the world: +X through the middle column, +Y left, +Z through the top row. `R_level_pano` turns it upright.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import InputError
from ..core.optional import require
from .photo import decode_photo, read_photo_file

MAX_WIDTH_PX = 4096
"""Panoramas are reduced to this width: eleven pixels a degree, as much as splats and texture hold."""
MIN_HEIGHT_PX = 64
_ASPECT_TOLERANCE = 0.02
_FULL_TURN_SHARE = 0.98
"""Less than this share of a turn is a wide photo and no panorama."""
_LEAST_ROWS_SHARE = 0.3
"""A panorama shows at least this share of the elevations: 54 degrees."""
_XMP_BYTES = 1 << 20
_GPANO = re.compile(rb"GPano:(\w{1,40})\s*(?:=\s*[\"']([^\"'<>]{0,80})[\"']|>([^<>]{0,80})<)")


@dataclass(frozen=True, kw_only=True)
class Panorama:
    """A full sphere around one point."""

    rgb_u8: np.ndarray
    """[H, 2H, 3] uint8 sRGB; grey where `known` is false."""
    known: np.ndarray
    """[H, 2H] bool: the file shows this direction."""
    name: str
    """File name without folder."""
    sha256: str
    """Hash of the file's bytes."""
    original_size_px: tuple[int, int]
    """Width and height in the file."""

    @property
    def px_per_rad(self) -> float:
        """Pixels per radian along the horizon."""
        return self.rgb_u8.shape[1] / (2.0 * np.pi)

    def look(self, camera: PinholeCamera, R_pano_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Perspective picture [H, W, 3] uint8 and what of it is known [H, W] bool.

        Args:
            camera: of the picture; where it is finer than the panorama, the panorama is enlarged.
            R_pano_cam: [3, 3] takes camera directions to the frame of the panorama.
        """
        cv2 = require("cv2", extra="gen", package="opencv-python-headless")
        height, width = self.known.shape
        rays = np.einsum("ij,hwj->hwi", R_pano_cam, camera.rays_cam())
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        picture, known = self.rgb_u8, self.known
        # Reduce first where the view is coarser, so that the resampling skips no pixels.
        factor = self.px_per_rad / camera.fx_px
        if factor > 1.5:
            width = max(8, round(width / factor))
            height = max(4, round(height / factor))
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            known = cv2.resize(known.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        x = (0.5 - np.arctan2(rays[..., 1], rays[..., 0]) / (2 * np.pi)) * width - 0.5
        y = (0.5 - np.arcsin(np.clip(rays[..., 2], -1, 1)) / np.pi) * height - 0.5
        map_x, map_y = (np.mod(x, width) + 2).astype(np.float32), y.astype(np.float32)
        wrapped = np.concatenate([picture[:, -2:], picture, picture[:, :3]], 1)
        rgb = cv2.remap(wrapped, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        row = np.clip(np.round(y).astype(int), 0, height - 1)
        return rgb, known[row, np.mod(np.round(x).astype(int), width)]


def load_panorama(path: Path) -> Panorama:
    """Read one equirectangular picture: any that is twice as wide as high, or that says so in its GPano metadata.

    Bands that are missing at the top or the bottom are known from that metadata; they become unknown.

    Raises:
        InputError: the file is unreadable or hostile as in `load_photo`, is no full turn, or has another projection.
    """
    path = Path(path)
    data = read_photo_file(path)
    photo = decode_photo(data, path, long_side_px=MAX_WIDTH_PX)
    width, height = photo.original_size_px
    told = _gpano(data)
    projection = told.get("ProjectionType", "equirectangular").strip().lower()
    if projection != "equirectangular":
        raise InputError(f"panorama has the projection '{projection[:40]}'; expected equirectangular: {path}")
    full_width, full_height, left, top = _area(told, width, height)
    if width < _FULL_TURN_SHARE * full_width:
        raise InputError(
            f"panorama shows {360 * width / full_width:.0f} of 360 degrees; give a full turn, or make a world from one "
            f"view of it with: lyra-worldgen generate PHOTO: {path}"
        )
    if abs(full_width / full_height - 2.0) > 2.0 * _ASPECT_TOLERANCE:
        raise InputError(
            f"picture of {width}x{height} px is no equirectangular panorama; expected twice as wide as high, or GPano "
            f"metadata that says which part of the sphere it is: {path}"
        )
    if height < _LEAST_ROWS_SHARE * full_height or full_height < MIN_HEIGHT_PX:
        raise InputError(
            f"panorama has {height} of {full_height} rows; expected at least {MIN_HEIGHT_PX} and "
            f"{_LEAST_ROWS_SHARE:.0%} of the sphere: {path}"
        )
    scale = photo.rgb_u8.shape[1] / width
    rows = max(MIN_HEIGHT_PX, round(full_height * scale))
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    first, end = round(top * scale), min(rows, round((top + height) * scale))
    band = cv2.resize(photo.rgb_u8, (2 * rows, end - first), interpolation=cv2.INTER_AREA)
    rgb = np.full((rows, 2 * rows, 3), 128, np.uint8)
    rgb[first:end] = np.roll(band, round(left / full_width * 2 * rows), axis=1)
    known = np.zeros((rows, 2 * rows), bool)
    known[first:end] = True
    return Panorama(
        rgb_u8=rgb, known=known, name=photo.name, sha256=photo.sha256, original_size_px=photo.original_size_px
    )


def is_panorama_size(width_px: int, height_px: int) -> bool:
    """Whether a picture of that size is a full sphere if nothing else is known about it."""
    return height_px >= MIN_HEIGHT_PX and abs(width_px / height_px - 2.0) <= 2.0 * _ASPECT_TOLERANCE


def _gpano(data: bytes) -> dict[str, str]:
    """GPano properties of a file's XMP packet; a packet lies near the beginning or the end."""
    found: dict[str, str] = {}
    for part in (data[:_XMP_BYTES], data[-_XMP_BYTES:]):
        for name, attribute, element in _GPANO.findall(part):
            found.setdefault(name.decode("ascii", "replace"), (attribute or element).decode("utf-8", "replace"))
    return found


def _area(told: dict[str, str], width: int, height: int) -> tuple[float, float, float, float]:
    """Width and height of the full sphere in pixels of the file, and left and top of what the file shows of it."""
    whole = float(width), float(height), 0.0, 0.0
    names = (
        "FullPanoWidthPixels",
        "FullPanoHeightPixels",
        "CroppedAreaLeftPixels",
        "CroppedAreaTopPixels",
        "CroppedAreaImageWidthPixels",
        "CroppedAreaImageHeightPixels",
    )
    try:
        full_width, full_height, left, top, area_width, area_height = (float(told[name]) for name in names)
    except (KeyError, ValueError):
        return whole
    sane = (
        all(math.isfinite(v) for v in (full_width, full_height, left, top, area_width, area_height))
        and 0 < area_width <= full_width <= 1e6
        and 0 < area_height <= full_height <= 1e6
        and 0 <= left < full_width
        and 0 <= top <= full_height - area_height
        # Pictures that were scaled after stitching keep their old metadata.
        and abs((area_width / area_height) / (width / height) - 1.0) < _ASPECT_TOLERANCE
    )
    if not sane:
        return whole
    scale = width / area_width
    return full_width * scale, full_height * scale, left * scale, top * scale
