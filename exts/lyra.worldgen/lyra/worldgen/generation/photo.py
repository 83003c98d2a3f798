"""Reading a photo from disk: hostile files are refused with one line, odd but honest ones become upright sRGB."""

from __future__ import annotations

import hashlib
import io
import logging
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from ..core.errors import InputError
from ..core.views import Photo

MIN_SIDE_PX = 16
"""Smaller pictures hold neither lines nor labels."""
MAX_PIXELS = 120_000_000
MAX_FILE_BYTES = 1 << 29

# Named one by one: Pillow would also open formats that start other programs (EPS) or that hold no photo.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "TGA", "AVIF")
_MATTE_RGB = (128, 128, 128)
"""Behind transparent pixels: neutral, so that it reads neither as sky nor as shadow."""
_DIAGONAL_35MM = math.hypot(36.0, 24.0)
_STITCHED_ASPECT = 2.4
"""Wider pictures are stitched or cropped; the focal length in their EXIF belongs to something else."""
_FOCAL_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}

_log = logging.getLogger(__name__)


def load_photo(path: Path, *, long_side_px: int) -> Photo:
    """Read one picture file.

    The first frame counts, the EXIF orientation is applied, colours become sRGB, transparency lies on grey. The
    picture is reduced until its long side fits; it is never enlarged.

    Args:
        path: a file in a common picture format.
        long_side_px: longest side of the result [px].

    Raises:
        InputError: the file is missing, unreadable, no picture, cut short, smaller than 16 px on a side or larger than
            120 megapixels (refused from the header, before anything is decoded).
    """
    path = Path(path)
    return decode_photo(read_photo_file(path), path, long_side_px=long_side_px)


def decode_photo(data: bytes, path: Path, *, long_side_px: int, upright: bool = True) -> Photo:
    """`load_photo` for a file that was read already; the path is for names and messages.

    Without `upright` the picture stays as it is stored, whatever its EXIF says.
    """
    if long_side_px < MIN_SIDE_PX:
        raise InputError(f"long_side_px is {long_side_px}; expected at least {MIN_SIDE_PX}")
    # Pillow warns about broken EXIF and large pictures; both are decided here, so the warnings say nothing new.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = _open(data, path)
        stored_size = picture.size
        exif = _exif(picture)
        rgb = _decode(picture, long_side_px, path)
        rgb = ImageOps.exif_transpose(_with_orientation(rgb, exif)) if upright else rgb
    turned = upright and exif.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    width, height = stored_size[::-1] if turned else stored_size
    scale = min(1.0, long_side_px / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if rgb.size != size:
        rgb = rgb.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return Photo(
        rgb_u8=np.array(rgb, np.uint8),
        name=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        original_size_px=(width, height),
        hfov_rad=_hfov_from_exif(exif, stored_size, turned=turned),
        subject_distance_m=_subject_distance(exif),
    )


def read_photo_file(path: Path) -> bytes:
    """The bytes of a picture file; raises `InputError` for what is missing, empty, too large or no regular file."""
    try:
        if path.is_dir():
            raise InputError(f"photo is a directory; name one picture file inside it: {path}")
        if not path.exists():
            raise InputError(f"photo does not exist; check the path: {path}")
        if not path.is_file():
            raise InputError(f"photo is no regular file; copy it to disk first: {path}")
        size = path.stat().st_size
        if size == 0:
            raise InputError(f"photo file is empty; copy it again: {path}")
        if size > MAX_FILE_BYTES:
            raise InputError(f"photo file has {size >> 20} MiB; at most {MAX_FILE_BYTES >> 20} are read: {path}")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"photo cannot be read ({reason}); check its permissions: {str(path)[:300]!r}") from error


def _open(data: bytes, path: Path) -> Image.Image:
    """The picture with its header parsed and its size accepted; pixels are not decoded yet."""
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    try:
        picture = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"photo declares far more than {MAX_PIXELS // 1_000_000} megapixels; reduce it first: {path}"
        ) from error
    except Exception as error:  # decoders raise whatever a broken header makes them raise
        raise InputError(f"file is not a picture that can be read; save it as JPEG or PNG: {path}") from error
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"photo is {width}x{height} px; at most {MAX_PIXELS // 1_000_000} megapixels are read, reduce it: {path}"
        )
    if min(width, height) < MIN_SIDE_PX:
        raise InputError(f"photo is {width}x{height} px; expected at least {MIN_SIDE_PX} px on each side: {path}")
    return picture


def _decode(picture: Image.Image, long_side_px: int, path: Path) -> Image.Image:
    """RGB picture not much larger than needed, still in the orientation of the file."""
    try:
        if picture.format in ("JPEG", "MPO"):
            # The decoder itself skips frequencies: a 48-megapixel file never becomes 48 megapixels in memory.
            scale = max(picture.size) / (2.0 * long_side_px)
            picture.draft(picture.mode, (int(picture.width / max(scale, 1)), int(picture.height / max(scale, 1))))
        picture.load()
        profile = picture.info.get("icc_profile")
        picture = _eight_bit(picture)
        factor = max(picture.size) // (2 * long_side_px)
        if factor > 1:
            picture = picture.reduce(factor)
        return _to_srgb(picture, profile)
    except MemoryError as error:
        raise InputError(f"photo does not fit into memory; reduce it: {path}") from error
    except Exception as error:  # decoders raise whatever broken data makes them raise
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"photo is damaged or cut short ({reason}); copy or save it again: {path}") from error


def _eight_bit(picture: Image.Image) -> Image.Image:
    """The same picture with 8 bits per channel, palettes resolved and transparency laid on grey."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return Image.fromarray(_grey_from_deep(np.asarray(picture)))
    if picture.mode == "P" or picture.mode in ("1", "LA", "La", "PA", "RGBa"):
        transparent = "transparency" in picture.info or picture.mode in ("LA", "La", "PA", "RGBa")
        picture = picture.convert("RGBA" if transparent else "RGB")
    elif picture.mode in ("L", "RGB") and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if picture.mode == "RGBA":
        matte = Image.new("RGBA", picture.size, (*_MATTE_RGB, 255))
        return Image.alpha_composite(matte, picture).convert("RGB")
    return picture


def _grey_from_deep(values: np.ndarray) -> np.ndarray:
    """[H, W] uint8 from 16-bit, 32-bit or float samples of unstated range."""
    v = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(v.max(initial=0.0))
    if values.dtype.kind == "f" and top <= 1.0:
        scale = 255.0
    elif values.dtype == np.uint16 or 255.0 < top <= 65535.0:
        scale = 255.0 / 65535.0
    elif top <= 255.0:
        scale = 1.0
    else:
        scale = 255.0 / top
    return np.clip(v * scale + 0.5, 0.0, 255.0).astype(np.uint8)


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    if profile and picture.mode in ("RGB", "CMYK", "L", "LAB"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(picture, source, target, outputMode="RGB")
            if converted is not None:
                return converted
        except Exception as error:  # a broken profile costs colour fidelity, not the photo
            _log.info("colour profile ignored: %s", error)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _exif(picture: Image.Image) -> dict[int, Any]:
    """Base and camera tags; empty when they are broken."""
    try:
        exif = picture.getexif()
        return {**dict(exif), **dict(exif.get_ifd(ExifTags.IFD.Exif))}
    except Exception as error:  # the tag parser raises whatever broken tags make it raise
        _log.info("EXIF ignored: %s", error)
        return {}


def _with_orientation(picture: Image.Image, exif: dict[int, Any]) -> Image.Image:
    """A picture that carries only the orientation tag, whatever conversions did to the others."""
    picture = picture.copy()
    tags = picture.getexif()
    tags.clear()
    picture.info.pop("exif", None)
    if exif.get(ExifTags.Base.Orientation) in range(1, 9):
        tags[ExifTags.Base.Orientation] = exif[ExifTags.Base.Orientation]
    return picture


def _number(exif: dict[int, Any], tag: int) -> float:
    """A positive finite tag value, else 0."""
    try:
        value = float(exif.get(tag, 0.0))
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return value if math.isfinite(value) and value > 0.0 else 0.0


def _subject_distance(exif: dict[int, Any]) -> float | None:
    """Distance that the lens was focused at [m], if the file states it; all bits set stand for infinity."""
    value = _number(exif, ExifTags.Base.SubjectDistance)
    return value if 0.05 <= value <= 100.0 else None


def _hfov_from_exif(exif: dict[int, Any], stored_size: tuple[int, int], *, turned: bool) -> float | None:
    """Horizontal field of view of the upright picture [rad], if the file states it believably.

    The 35 mm equivalent compares diagonals (CIPA DCG-001), so it needs no sensor size.
    """
    width, height = stored_size
    if max(width, height) > _STITCHED_ASPECT * min(width, height):
        return None
    told_w, told_h = _number(exif, ExifTags.Base.ExifImageWidth), _number(exif, ExifTags.Base.ExifImageHeight)
    if told_w and told_h:
        aspect, told = max(width, height) / min(width, height), max(told_w, told_h) / min(told_w, told_h)
        if abs(math.log(aspect / told)) > 0.05:
            return None  # cropped after it was taken
    diagonal_px = math.hypot(width, height)
    across_px = height if turned else width
    focal_35 = _number(exif, ExifTags.Base.FocalLengthIn35mmFilm)
    if focal_35:
        focal_px = focal_35 * diagonal_px / _DIAGONAL_35MM
    else:
        focal = _number(exif, ExifTags.Base.FocalLength)
        per_unit = _number(exif, ExifTags.Base.FocalPlaneXResolution)
        unit_mm = _FOCAL_UNIT_MM.get(int(_number(exif, ExifTags.Base.FocalPlaneResolutionUnit)), 0.0)
        if not (focal and per_unit and unit_mm and told_w):
            return None
        focal_px = focal * per_unit / unit_mm * max(width, height) / max(told_w, told_h)
    hfov = 2.0 * math.atan(across_px / (2.0 * focal_px))
    return hfov if math.radians(15.0) <= hfov <= math.radians(130.0) else None
