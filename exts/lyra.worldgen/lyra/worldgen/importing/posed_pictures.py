"""Pixels of posed pictures: files and videos read within limits, straightened, and reduced; depth maps beside them."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.exr import read_exr_channel
from ..core.files import explain_os_error
from ..core.npz import read_foreign_npy, read_foreign_npz
from ..core.optional import require
from ..generation.photo import decode_photo, read_photo_file
from .posed import Lens, PosedFrame

MAX_VIDEO_SIDE_PX = 8192
MAX_DEPTH_BYTES = 1 << 30
MAX_DEPTH_SIDE_PX = 16_384
_ASPECT_TOLERANCE = 0.02
_DEPTH_NAMES = ("depth", "depth_z_m", "depth_z", "arr_0", "data")
MILLIMETRE = 1e-3


def read_picture(path: Path, *, long_side_px: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Colours [h, w, 3] uint8, reduced, and the size in the file; as stored, because intrinsics ignore EXIF turns.

    Raises:
        InputError: the file is missing, too large, no picture or damaged.
    """
    photo = decode_photo(read_photo_file(path), path, long_side_px=long_side_px, upright=False)
    return photo.rgb_u8, photo.original_size_px


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in a picture file's header; raises `InputError` for what is no picture."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=["PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP"]) as picture:
                return picture.size
        except Exception as error:  # decoders raise whatever a broken header makes them raise
            raise InputError(f"the file is no picture that can be read ({str(error)[:80]}): {path}") from error


def read_video_frames(path: Path, indices: Iterable[int]) -> dict[int, np.ndarray]:
    """Chosen frames [H, W, 3] uint8 of a video by their number; the rest is skipped without being kept.

    Raises:
        InputError: no video that can be read, frames that are too large, or fewer frames than asked for.
        DependencyError: OpenCV is missing.
    """
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    wanted = sorted(set(indices))
    found: dict[int, np.ndarray] = {}
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise InputError(f"the file is no video that can be read; convert it to H.264 in .mp4: {path}")
        width, height = (int(capture.get(k)) for k in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if not (0 < width <= MAX_VIDEO_SIDE_PX and 0 < height <= MAX_VIDEO_SIDE_PX):
            raise InputError(f"the video has {width}x{height} px; expected at most {MAX_VIDEO_SIDE_PX} a side: {path}")
        for index in range(wanted[-1] + 1 if wanted else 0):
            if not capture.grab():
                raise InputError(
                    f"the video ends after {index} frames, but the poses go up to frame {wanted[-1]}; give the video "
                    f"that they were made from: {path}"
                )
            if index == wanted[len(found)]:
                ok, bgr = capture.retrieve()
                if not ok or bgr is None or bgr.ndim != 3:
                    raise InputError(f"frame {index} of the video is damaged: {path}")
                found[index] = np.ascontiguousarray(bgr[..., ::-1])
    except cv2.error as error:
        raise InputError(f"the video is damaged ({str(error)[:80]}): {path}") from error
    finally:
        capture.release()
    return found


def fit_lens(lens: Lens, stored_px: tuple[int, int], what: str, path: Path) -> Lens:
    """The lens for pictures of the size that they really have; raises `InputError` if they have another shape."""
    width, height = stored_px
    stretch = (width / height) / (lens.width_px / lens.height_px)
    if abs(math.log(stretch)) > _ASPECT_TOLERANCE:
        raise InputError(
            f"{what[:80]} has {width}x{height} px, its camera {lens.width_px}x{lens.height_px}; give the pictures that "
            f"the poses were made from: {path}"
        )
    return lens if (width, height) == (lens.width_px, lens.height_px) else lens.resized(width, height)


def working_size(lens: Lens, long_side_px: int) -> tuple[int, int]:
    """Width and height of the reduced picture."""
    scale = min(1.0, long_side_px / max(lens.width_px, lens.height_px))
    return max(8, round(lens.width_px * scale)), max(8, round(lens.height_px * scale))


def straighten(image: np.ndarray, lens: Lens, *, nearest: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A picture without its lens's distortion, same focal lengths and centre, and where it shows anything [H, W].

    Args:
        image: [h, w] or [h, w, 3] of any size; the result has the size of `lens`.
        lens: at the size of the result.
        nearest: take the nearest pixel (depth, whose mean across an edge would lie in the air).
    """
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    size = (lens.width_px, lens.height_px)
    if image.shape[:2] != size[::-1]:
        smaller = image.shape[0] > size[1]
        method = cv2.INTER_NEAREST if nearest else cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        image = cv2.resize(image, size, interpolation=method)
    if lens.straight:
        return image, np.ones(size[::-1], bool)
    # OpenCV's pixel centres lie on whole numbers.
    K = lens.camera().K_px
    K[:2, 2] -= 0.5
    coefficients = np.array(lens.distortion, float)
    undistort = cv2.fisheye.initUndistortRectifyMap if lens.fisheye else cv2.initUndistortRectifyMap
    map_x, map_y = undistort(K, coefficients, np.eye(3), K, size, cv2.CV_32FC1)
    inside = (map_x >= -0.5) & (map_x <= size[0] - 0.5) & (map_y >= -0.5) & (map_y <= size[1] - 0.5)
    map_x, map_y = (np.where(inside, m, -10.0).astype(np.float32) for m in (map_x, map_y))
    method = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.remap(image, map_x, map_y, method, borderMode=cv2.BORDER_REPLICATE), inside


def read_depth(path: Path) -> tuple[np.ndarray, float | None]:
    """A depth map [h, w] float32, 0 where nothing is known, and metres for each of its units where the format says so.

    16-bit pictures are in millimetres; `.npy`, `.npz` and `.exr` are in whatever unit the poses are.

    Raises:
        InputError: the file is missing, too large, damaged, or holds no depth map.
    """
    try:
        size = path.stat().st_size
        if size > MAX_DEPTH_BYTES:
            raise InputError(f"the depth map has {size >> 20} MiB; at most {MAX_DEPTH_BYTES >> 20} are read: {path}")
        suffix = path.suffix.lower()
        if suffix == ".npy":
            values, unit = read_foreign_npy(path), None
        elif suffix == ".npz":
            arrays = read_foreign_npz(path, set(_DEPTH_NAMES))
            name = next((name for name in _DEPTH_NAMES if name in arrays), None)
            if name is None:
                raise InputError(f"the depth file holds none of {', '.join(_DEPTH_NAMES)}: {path}")
            values, unit = arrays[name], None
        elif suffix == ".exr":
            values, unit = _read_exr(path), None
        else:
            values, unit = _read_png(path), MILLIMETRE
    except OSError as error:
        raise InputError(f"the depth map cannot be read ({explain_os_error(error)}): {path}") from error
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if (
        values.ndim != 2
        or not all(0 < side <= MAX_DEPTH_SIDE_PX for side in values.shape)
        or values.dtype.kind not in "fiu"
    ):
        raise InputError(f"the depth map is {values.dtype} {values.shape[:4]}; expected one number a pixel: {path}")
    values = values.astype(np.float32)
    return np.where(np.isfinite(values) & (values > 0), values, 0.0).astype(np.float32), unit


def _read_exr(path: Path) -> np.ndarray:
    data = path.read_bytes()
    failed: InputError | None = None
    for channel in ("Z", "Y", "R", "V"):
        try:
            return read_exr_channel(data, channel)
        except InputError as error:
            failed = failed or error
    raise InputError(f"{failed}: {path}") from failed


def _read_png(path: Path) -> np.ndarray:
    from PIL import Image

    data = read_photo_file(path)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "TIFF"]) as picture:
            if max(picture.size) > MAX_DEPTH_SIDE_PX or not picture.mode.startswith(("I", "F")):
                raise InputError(
                    f"the depth picture is {picture.size[0]}x{picture.size[1]} px, mode {picture.mode}; expected "
                    f"16-bit grey in millimetres: {path}"
                )
            return np.asarray(picture)
    except InputError:
        raise
    except Exception as error:  # decoders raise whatever broken data makes them raise
        raise InputError(f"the depth picture is damaged ({str(error)[:80]}): {path}") from error


def depth_by_name(frames: Iterable[PosedFrame], files: Iterable[Path]) -> dict[str, Path]:
    """Depth maps that lie in folders called depth or depths, for the frames by the stem of their picture."""
    by_stem: dict[str, Path] = {}
    for file in files:
        if "depth" in file.parent.name.lower() and file.suffix.lower() in (
            ".npy",
            ".npz",
            ".png",
            ".exr",
            ".tif",
            ".tiff",
        ):
            stem = file.stem.lower()
            for tail in ("_depth", ".depth", "-depth"):
                stem = stem.removesuffix(tail)
            by_stem.setdefault(stem, file)
    found = {}
    for frame in frames:
        stem = (frame.picture.stem if frame.picture else f"{frame.video_index:05d}").lower()
        if depth := by_stem.get(stem) or by_stem.get(f"frame_{stem}"):
            found[frame.name] = depth
    return found
