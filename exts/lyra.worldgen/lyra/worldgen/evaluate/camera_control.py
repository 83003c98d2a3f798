"""Camera control: the pose that a painted frame shows against the pose that was asked for.

Features of a frame are matched with those of an earlier one, whose geometry gives them places in the world; the later
camera's pose follows from these alone (perspective-n-point). The commanded pose of the later frame takes no part in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import invert_rigid, rigid, transform_points
from ..core.views import RgbdView

LEAST_INLIERS = 12
INLIER_PX = 2.0
RATIO = 0.8
"""Of Lowe's test: the best match is so much closer than the second best."""
STEEP = 0.05
"""Relative range of depth around a feature beyond which its place is unsure."""
ROTATION_DEG, TRANSLATION_M = 5.0, 0.25
"""Errors at which the score has lost 63 % of what rotation and translation each are worth."""
MAX_FEATURES = 4000


@dataclass(frozen=True, kw_only=True)
class PoseError:
    """One frame's recovered pose against the commanded one."""

    first: int
    second: int
    inliers: int
    """Matches that agree with the recovered pose; 0 where none was found."""
    rotation_deg: float | None
    translation_m: float | None

    @property
    def score(self) -> float:
        """100 for the commanded pose, towards 0 with the error, 0 where no pose was found; ours, not WorldScore's."""
        if self.rotation_deg is None or self.translation_m is None:
            return 0.0
        return 50 * (math.exp(-self.rotation_deg / ROTATION_DEG) + math.exp(-self.translation_m / TRANSLATION_M))


def pose_error(
    frames: Sequence[RgbdView],
    first: int,
    second: int,
    *,
    T_commanded: np.ndarray | None = None,
    metres_per_unit: float = 1.0,
) -> PoseError:
    """Recover the pose of frame `second` from what it shows of frame `first`, and compare with the commanded one.

    That is the frame's own unless `T_commanded` [4, 4] says otherwise.
    """
    frame = frames[second]
    found = recover_pose(frames[first], frame.rgb_u8, frame.camera)
    if found is None:
        return PoseError(first=first, second=second, inliers=0, rotation_deg=None, translation_m=None)
    T_world_cam, inliers = found
    rotation_deg, translation = pose_difference(frame.T_world_cam if T_commanded is None else T_commanded, T_world_cam)
    return PoseError(
        first=first,
        second=second,
        inliers=inliers,
        rotation_deg=rotation_deg,
        translation_m=translation * metres_per_unit,
    )


def pose_difference(T_a: np.ndarray, T_b: np.ndarray) -> tuple[float, float]:
    """Angle [deg] and distance between two poses [4, 4]."""
    between = invert_rigid(T_a) @ T_b
    sine = 0.5 * np.linalg.norm(
        [between[2, 1] - between[1, 2], between[0, 2] - between[2, 0], between[1, 0] - between[0, 1]]
    )
    angle = math.degrees(math.atan2(float(sine), (float(np.trace(between[:3, :3])) - 1) / 2))
    return angle, float(np.linalg.norm(between[:3, 3]))


def recover_pose(reference: RgbdView, rgb_u8: np.ndarray, camera: PinholeCamera) -> tuple[np.ndarray, int] | None:
    """T_world_cam [4, 4] of a picture, and how many matches agree with it; None where too few do.

    Args:
        reference: a frame whose pose and depth are taken for granted.
        rgb_u8: [H, W, 3] the picture.
        camera: of the picture.
    """
    import cv2

    matched = match_features(reference.rgb_u8, rgb_u8)
    if len(matched[0]) < LEAST_INLIERS:
        return None
    points, good = _places(reference, matched[0])
    points, pixels = points[good], matched[1][good]
    if len(points) < LEAST_INLIERS:
        return None
    # Pixel centres at +0.5 on both sides: features and K.
    found, rvec, tvec, inliers = cv2.solvePnPRansac(
        points,
        pixels,
        camera.K_px,
        None,
        iterationsCount=2000,
        reprojectionError=INLIER_PX,
        confidence=0.9999,
        flags=cv2.SOLVEPNP_SQPNP,
    )
    if not found or inliers is None or len(inliers) < LEAST_INLIERS:
        return None
    keep = np.asarray(inliers)[:, 0].astype(int)
    points, pixels = np.asarray(points)[keep], np.asarray(pixels)[keep]
    rvec, tvec = cv2.solvePnPRefineLM(points, pixels, camera.K_px, None, rvec, tvec)
    if not (np.isfinite(rvec).all() and np.isfinite(tvec).all()):
        return None
    T_cam_world = rigid(cv2.Rodrigues(rvec)[0], tvec[:, 0])
    return invert_rigid(T_cam_world), len(keep)


def match_features(a_u8: np.ndarray, b_u8: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [M, 2] in both pictures of SIFT features that are each other's best match."""
    import cv2

    sift: Any = cv2.SIFT_create(nfeatures=MAX_FEATURES, contrastThreshold=0.02)  # pyright: ignore
    (at_a, of_a), (at_b, of_b) = (
        sift.detectAndCompute(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), None) for x in (a_u8, b_u8)
    )
    none = np.zeros((0, 2))
    if of_a is None or of_b is None or min(len(of_a), len(of_b)) < 2:
        return none, none
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    back = {m.queryIdx: m.trainIdx for m in matcher.match(of_b, of_a)}
    pairs = [
        (best.queryIdx, best.trainIdx)
        for best, second in matcher.knnMatch(of_a, of_b, k=2)
        if best.distance < RATIO * second.distance and back.get(best.trainIdx) == best.queryIdx
    ]
    if not pairs:
        return none, none
    pixels_a = np.array([at_a[i].pt for i, _ in pairs]) + 0.5
    pixels_b = np.array([at_b[j].pt for _, j in pairs]) + 0.5
    return pixels_a, pixels_b


def _places(view: RgbdView, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World points [M, 3] of pixels [M, 2] of a view, and where they are sure [M]: away from edges of depth."""
    h, w = view.depth_z_m.shape
    u, v = (np.clip(pixels[:, k].astype(int), 1, side - 2) for k, side in ((0, w), (1, h)))
    around = np.stack([view.depth_z_m[v + j, u + i] for j in (-1, 0, 1) for i in (-1, 0, 1)])
    all_valid = np.all([view.valid[v + j, u + i] for j in (-1, 0, 1) for i in (-1, 0, 1)], axis=0)
    depth = _interpolated(view.depth_z_m, pixels)
    sure = all_valid & (np.ptp(around, axis=0) <= STEEP * np.maximum(depth, 1e-6))
    camera = view.camera
    rays = np.stack(
        [
            (pixels[:, 0] - camera.cx_px) / camera.fx_px,
            (pixels[:, 1] - camera.cy_px) / camera.fy_px,
            np.ones(len(pixels)),
        ],
        -1,
    )
    return transform_points(view.T_world_cam, rays * depth[:, None]), sure


def _interpolated(depth_z: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Depth [M] between pixel centres; a plane's inverse depth is linear in the picture."""
    h, w = depth_z.shape
    x, y = np.clip(pixels[:, 0] - 0.5, 0, w - 1.001), np.clip(pixels[:, 1] - 0.5, 0, h - 1.001)
    i, j = x.astype(int), y.astype(int)
    fx, fy = x - i, y - j
    inverse = 1 / np.maximum(depth_z.astype(np.float64), 1e-6)
    top = inverse[j, i] * (1 - fx) + inverse[j, i + 1] * fx
    bottom = inverse[j + 1, i] * (1 - fx) + inverse[j + 1, i + 1] * fx
    return 1 / (top * (1 - fy) + bottom * fy)
