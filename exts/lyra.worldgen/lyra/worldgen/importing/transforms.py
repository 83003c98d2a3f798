"""`transforms.json` as nerfstudio and instant-ngp write it: camera-to-world matrices with OpenGL axes.

Format: https://docs.nerf.studio/quickstart/data_conventions.html
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.files import explain_os_error
from ..core.frames import cv_from_usd_camera
from .posed import MAX_FRAMES, Lens, PosedFrame, PosedSet, rigid_pose
from .posed_pictures import picture_size
from .side_files import side_file

TRANSFORMS_NAME = "transforms.json"
MAX_JSON_BYTES = 256 << 20
_PLAIN = ("", "OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
_IMAGES = re.compile(r"^((?:\./)?)images/")
_REDUCED = ("images_2/", "images_4/", "images_8/")
"""Folders of reduced copies that data sets ship, some of them without the originals."""
_SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".PNG", ".JPG")


def read_transforms(path: Path) -> PosedSet:
    """Cameras and poses; pictures and depth maps are found beside the file.

    Raises:
        InputError: the file is too large, no JSON of that kind, has a camera that is not read, or names files that do
            not lie beside it.
    """
    root = _object(path)
    listed = root.get("frames")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_FRAMES:
        raise InputError(f"'frames' is no list of 1 to {MAX_FRAMES} frames; expected a nerfstudio data set: {path}")
    frames = []
    for index, entry in enumerate(listed):
        if not isinstance(entry, dict):
            raise InputError(f"frame {index} is no object: {path}")
        name = entry.get("file_path")
        if not isinstance(name, str) or not name:
            raise InputError(f"frame {index} has no file_path: {path}")
        picture = _find(path, name)
        if picture is None:
            raise InputError(f"frame {index} names the picture '{name[:120]}', which is not there: {path}")
        depth_name = entry.get("depth_file_path")
        depth = side_file(path, depth_name, quoted=False) if isinstance(depth_name, str) and depth_name else None
        if depth_name and depth is None:
            raise InputError(f"frame {index} names the depth map '{str(depth_name)[:120]}', which is not there: {path}")
        frames.append(
            PosedFrame(
                name=name,
                picture=picture,
                lens=_lens(root | entry, picture, f"frame {index}", path),
                T_file_cam=_pose(entry.get("transform_matrix"), f"frame {index}", path),
                depth=depth,
            )
        )
    unit = root.get("depth_unit_scale_factor")
    return PosedSet(
        frames=tuple(sorted(frames, key=lambda frame: frame.name)),
        layout="transforms",
        path=path,
        depth_unit=None if unit is None else _number(unit, "depth_unit_scale_factor", path, least=1e-9),
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InputError(f"the file has more than {MAX_JSON_BYTES >> 20} MiB: {path}")
        root = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the file cannot be read ({explain_os_error(error)}): {path}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"the file is no JSON ({str(error)[:100]}): {path}") from error
    if not isinstance(root, dict):
        raise InputError(f"the file holds no JSON object; expected a nerfstudio data set: {path}")
    return root


def _find(path: Path, name: str) -> Path | None:
    """The picture that is named, with or without its suffix; a reduced one where the full one was left out."""
    for folder in ("images/", *_REDUCED):
        for suffix in _SUFFIXES:
            if found := side_file(path, _IMAGES.sub(rf"\g<1>{folder}", name) + suffix, quoted=False):
                return found
    return None


def _number(value: Any, name: str, path: Path, *, least: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < least:
        raise InputError(f"{name} is {str(value)[:40]}; expected a finite number: {path}")
    return float(value)


def _pose(value: Any, what: str, path: Path) -> np.ndarray:
    try:
        T = np.array(value, float)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"transform_matrix of {what} is no matrix: {path}") from error
    if T.shape not in ((4, 4), (3, 4)):
        raise InputError(f"transform_matrix of {what} has shape {T.shape}; expected (4, 4): {path}")
    T = np.vstack([T[:3], [0.0, 0.0, 0.0, 1.0]])
    return cv_from_usd_camera(rigid_pose(T, what, path))


def _lens(told: dict[str, Any], picture: Path, what: str, path: Path) -> Lens:
    """Intrinsics of a frame: its own win over the shared ones, and the picture tells its size if they do not."""
    model = told.get("camera_model", "")
    fisheye = model == "OPENCV_FISHEYE" or (told.get("is_fisheye") is True)
    if not fisheye and (not isinstance(model, str) or model.upper() not in _PLAIN):
        raise InputError(
            f"{what} has the camera model '{str(model)[:40]}'; expected OPENCV, OPENCV_FISHEYE or pinhole: {path}"
        )

    def get(name: str, otherwise: float | None = None) -> float:
        if told.get(name) is None:
            if otherwise is None:
                raise InputError(f"{what} has no '{name}'; expected fl_x or camera_angle_x: {path}")
            return otherwise
        return _number(told[name], name, path)

    width, height = (get("w"), get("h")) if {"w", "h"} <= told.keys() else picture_size(picture)
    if "fl_x" in told:
        fx = get("fl_x")
    else:
        angle = get("camera_angle_x")
        if not 0 < angle < math.pi:
            raise InputError(f"camera_angle_x is {angle}; expected between 0 and pi: {path}")
        fx = 0.5 * width / math.tan(0.5 * angle)
    names = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3")
    if not fisheye and get("k4", 0.0):
        raise InputError(f"{what} has a coefficient k4, which its camera model does not have: {path}")
    try:
        return Lens(
            width_px=int(width),
            height_px=int(height),
            fx_px=fx,
            fy_px=get("fl_y", fx),
            cx_px=get("cx", 0.5 * width),
            cy_px=get("cy", 0.5 * height),
            distortion=tuple(get(name, 0.0) for name in names),
            fisheye=fisheye,
        )
    except (InputError, OverflowError) as error:
        raise InputError(f"{what}: {error}: {path}") from error
