"""Posed pictures as they are told by other programs, before any pixel is read."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import InputError

MAX_FRAMES = 100_000
MAX_SIDE_PX = 32_768
MAX_POINTS = 500_000
"""Sparse points that are kept of a reconstruction; they only tell how far things are."""
RIGID_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Lens:
    """Intrinsics with distortion, pixel centres at +0.5."""

    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    distortion: tuple[float, ...] = ()
    """Coefficients in OpenCV's order k1, k2, p1, p2, k3, ...; of a fisheye k1, k2, k3, k4."""
    fisheye: bool = False

    def __post_init__(self) -> None:
        values = (self.fx_px, self.fy_px, self.cx_px, self.cy_px, *self.distortion)
        if not (1 <= self.width_px <= MAX_SIDE_PX and 1 <= self.height_px <= MAX_SIDE_PX):
            raise InputError(
                f"a camera has {self.width_px}x{self.height_px} px; expected at most {MAX_SIDE_PX} px on a side"
            )
        if not all(math.isfinite(v) and abs(v) < 1e7 for v in values) or min(self.fx_px, self.fy_px) <= 0:
            raise InputError("a camera has focal lengths, centre or distortion that are not finite and positive")

    @property
    def straight(self) -> bool:
        """Whether straight lines stay straight in its pictures."""
        return not self.fisheye and not any(self.distortion)

    def camera(self) -> PinholeCamera:
        """The camera without its distortion."""
        return PinholeCamera(
            width_px=self.width_px,
            height_px=self.height_px,
            fx_px=self.fx_px,
            fy_px=self.fy_px,
            cx_px=self.cx_px,
            cy_px=self.cy_px,
        )

    def resized(self, width_px: int, height_px: int) -> Lens:
        """The same lens for pictures of another size."""
        sx, sy = width_px / self.width_px, height_px / self.height_px
        return replace(
            self,
            width_px=width_px,
            height_px=height_px,
            fx_px=self.fx_px * sx,
            fy_px=self.fy_px * sy,
            cx_px=self.cx_px * sx,
            cy_px=self.cy_px * sy,
        )


@dataclass(frozen=True, kw_only=True)
class PosedFrame:
    """One picture with its camera."""

    name: str
    lens: Lens
    T_file_cam: np.ndarray
    """[4, 4] rigid, OpenCV axes, in the file's own world and unit."""
    picture: Path | None = None
    """None where it is a frame of the video."""
    video_index: int = 0
    depth: Path | None = None
    """Depth map along the optical axis."""


@dataclass(frozen=True, kw_only=True)
class PosedSet:
    """All frames of one file or folder."""

    frames: tuple[PosedFrame, ...]
    layout: str
    """`colmap`, `transforms` or `npz`."""
    path: Path
    """The file that holds the poses."""
    video: Path | None = None
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    """[N, 3] sparse points of the scene, in the file's world."""
    depth_unit: float | None = None
    """Poses' units for each unit of the depth maps, where the file states it."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.frames) <= MAX_FRAMES:
            raise InputError(f"{len(self.frames)} posed pictures; expected 1 to {MAX_FRAMES}: {self.path}")

    @property
    def Ts_file_cam(self) -> np.ndarray:
        """[F, 4, 4]."""
        return np.stack([frame.T_file_cam for frame in self.frames])


def rigid_pose(T: np.ndarray, what: str, path: Path) -> np.ndarray:
    """A pose [4, 4] made exactly rigid; raises `InputError` if it is far from that."""
    R = T[:3, :3]
    if not np.isfinite(T).all() or np.abs(T[:3, 3]).max(initial=0) > 1e9:
        raise InputError(f"the pose of {what[:80]} is not finite: {path}")
    off = float(np.abs(R @ R.T - np.eye(3)).max())
    if off > RIGID_TOLERANCE or np.linalg.det(R) < 0:
        raise InputError(
            f"the pose of {what[:80]} is no rigid transform (off by {off:.2g}); remove scale and mirroring: {path}"
        )
    u, _, vt = np.linalg.svd(R)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = u @ vt, T[:3, 3]
    return out


def spread_frames(Ts_file_cam: np.ndarray, count: int) -> np.ndarray:
    """[<= count] indices, ascending, of frames that differ most in place and direction; the first is always there.

    Args:
        Ts_file_cam: [F, 4, 4].
        count: how many to keep at most.
    """
    total = len(Ts_file_cam)
    if total <= count:
        return np.arange(total)
    place, ahead = Ts_file_cam[:, :3, 3], Ts_file_cam[:, :3, 2]
    size = float(np.median(np.linalg.norm(place - np.median(place, 0), axis=1))) or 1.0
    # Half a radian of turning counts like half the usual distance from the middle.
    at = np.concatenate([place / size, ahead], 1)
    chosen = [0]
    gap = np.linalg.norm(at - at[0], axis=1)
    while len(chosen) < count:
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, np.linalg.norm(at - at[chosen[-1]], axis=1))
    return np.unique(chosen)
