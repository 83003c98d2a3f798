"""A training film with everything that is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ..core.arrays import expect_finite, expect_shape
from ..core.errors import InputError
from ..generation.retrieval import CachedPoints, cache_points

MAX_FOCAL_CHANGE = 0.01
"""Most that intrinsics may vary along a film, relative to the focal length: one set stands for all frames."""


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What a part of a film shows."""

    text: str = ""
    embedding: np.ndarray | None = None
    """[L, width] float32 as the text encoder gives it, where the data set brings it."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Frames with cameras and depth; pixel centres at integer coordinates."""

    video_id: str
    rgb_u8: np.ndarray
    """[T, H, W, 3] uint8."""
    depth_z: np.ndarray
    """[T, H, W] float32 along the optical axis, in the unit of the poses; what is not positive is missing."""
    w2c: np.ndarray
    """[T, 4, 4] float32 world to camera."""
    K_px: np.ndarray
    """[3, 3] float32."""
    captions: Mapping[int, Caption] = field(default_factory=dict)
    """By the frame from which they hold."""

    def __post_init__(self) -> None:
        t, h, w, _ = expect_shape("rgb_u8", self.rgb_u8, (None, None, None, 3)).shape
        if t < 1 or self.rgb_u8.dtype != np.uint8:
            raise InputError(f"rgb_u8 holds {t} frames of {self.rgb_u8.dtype}; expected at least one of uint8")
        expect_shape("depth_z", self.depth_z, (t, h, w))
        expect_finite("w2c", expect_shape("w2c", self.w2c, (t, 4, 4)))
        expect_finite("K_px", expect_shape("K_px", self.K_px, (3, 3)))

    def __len__(self) -> int:
        return len(self.rgb_u8)

    def frames(self, indices: np.ndarray | slice) -> np.ndarray:
        """[3, N, H, W] float32 in -1..1 of some frames."""
        return np.ascontiguousarray(np.moveaxis(self.rgb_u8[indices], -1, 0), np.float32) / 127.5 - 1

    def points(self, frame: int) -> CachedPoints:
        """What retrieval needs of a frame; computed once."""
        if frame not in self._points:
            self._points[frame] = cache_points(frame, self.depth_z[frame], self.w2c[frame], self.K_px)
        return self._points[frame]

    @cached_property
    def token(self) -> object:
        """Stands for this very film where something is remembered of it; no other film, however alike, has it."""
        return object()

    @cached_property
    def _points(self) -> dict[int, CachedPoints]:
        return {}

    def caption_at(self, frame: int) -> Caption | None:
        """What holds for a frame: the entry with the largest key up to it, else the first one; None without any."""
        if not self.captions:
            return None
        before = [key for key in self.captions if key <= frame]
        return self.captions[max(before) if before else min(self.captions)]

    def mirrored_to(self, frames: int) -> Clip:
        """Exactly `frames` frames: the first ones, or the film played back and forth until it is long enough."""
        index = mirror_indices(len(self), frames)
        return replace(self, rgb_u8=self.rgb_u8[index], depth_z=self.depth_z[index], w2c=self.w2c[index])

    def fitted(self, resize_hw: tuple[int, int], crop_hw: tuple[int, int]) -> Clip:
        """Resized without keeping the aspect, then cropped around the centre; intrinsics follow.

        Raises:
            InputError: the crop does not fit into the resized frame.
        """
        (h, w), (rh, rw), (ch, cw) = self.rgb_u8.shape[1:3], resize_hw, crop_hw
        if ch > rh or cw > rw:
            raise InputError(f"crop of {cw}x{ch} px does not fit into frames of {rw}x{rh} px")
        top, left = (rh - ch) // 2, (rw - cw) // 2
        K = self.K_px.astype(np.float64)
        K[0] *= rw / w
        K[1] *= rh / h
        K[0, 2] -= left
        K[1, 2] -= top
        rgb, depth = self.rgb_u8, self.depth_z
        if (rh, rw) != (h, w):
            import cv2

            method = cv2.INTER_AREA if rh < h else cv2.INTER_LINEAR
            rgb = np.stack([cv2.resize(x, (rw, rh), interpolation=method) for x in rgb])
            # A mean across a depth edge would lie in the air.
            depth = np.stack([cv2.resize(x, (rw, rh), interpolation=cv2.INTER_NEAREST) for x in depth])
        place = (slice(None), slice(top, top + ch), slice(left, left + cw))
        return replace(self, rgb_u8=rgb[place], depth_z=depth[place], K_px=K.astype(np.float32))


def mirror_indices(length: int, frames: int) -> np.ndarray:
    """[frames] int64: 0, 1, ... up to the last of `length` frames, back to the first, and so on."""
    if length == 1:
        return np.zeros(frames, np.int64)
    around = np.arange(frames) % (2 * (length - 1))
    return np.where(around < length, around, 2 * (length - 1) - around)


def one_K(intrinsics: np.ndarray, where: str) -> np.ndarray:
    """[3, 3] float32 that stands for all of [T, 4] fx, fy, cx, cy; raises `InputError` if they vary too much."""
    middle = np.median(expect_finite("intrinsics", intrinsics.astype(np.float64)), axis=0)
    off = np.abs(intrinsics - middle).max() / max(float(middle[:2].min()), 1e-9)
    if middle[:2].min() <= 0 or off > MAX_FOCAL_CHANGE:
        raise InputError(
            f"intrinsics vary by {100 * off:.1f} % of the focal length {middle[0]:g}; expected one camera: {where}"
        )
    fx, fy, cx, cy = middle
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
