"""How far colour and ground truth of one sensor frame are apart, and one LiDAR turn of mesh and collider."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..core.frames import rigid, rotation_z
from ..core.mesh import Label
from .lidar import LIDAR_16, PLANAR_LIDAR, LidarPattern, scan_lidar
from .render import COVERED, SensorFrame
from .world import SensorWorld

TOLERANCE_M, TOLERANCE_SHARE = 0.05, 0.03
"""Depths agree when they differ by no more than the larger of a length and a share of the distance."""


@dataclass(frozen=True, kw_only=True)
class FrameComparison:
    """Splats against mesh in one picture; a share or error of nothing is None."""

    disagree_percent: float | None
    """Pixels with both depths whose depths do not agree."""
    median_cm: float | None
    p95_cm: float | None
    """Absolute depth difference."""
    holes_percent: float | None
    """Pixels where the mesh is solid and the splats are transparent."""
    psnr_db: float | None
    ssim: float | None
    """Picture of the splats against that of the mesh, where something solid is seen."""
    shift_deg: float | None
    """By how much one picture must be turned to lie on the other; None where there is too little texture to tell."""

    def as_dict(self) -> dict[str, Any]:
        return {key: None if value is None else round(value, 3) for key, value in asdict(self).items()}


def disagreement(frame: SensorFrame) -> tuple[np.ndarray, np.ndarray]:
    """[H, W] bool where depths do not agree, and [H, W] float32 absolute difference [m], NaN where one is missing."""
    both = frame.valid & frame.splat_valid
    error = np.where(both, np.abs(frame.splat_depth_z_m - frame.depth_z_m), np.nan).astype(np.float32)
    tolerance = np.maximum(TOLERANCE_M, TOLERANCE_SHARE * frame.depth_z_m)
    return both & (np.nan_to_num(error) > tolerance), error


def compare_frame(frame: SensorFrame) -> FrameComparison:
    """All figures of one picture."""
    # The evaluation package builds worlds, and worlds are certified with this module.
    from ..evaluate.likeness import psnr_db, ssim

    bad, error = disagreement(frame)
    both = np.isfinite(error)
    solid = frame.valid & (frame.labels != Label.BACKDROP)
    median, p95 = (100 * float(np.percentile(error[both], q)) if both.any() else None for q in (50, 95))
    return FrameComparison(
        disagree_percent=100 * float(bad[both].mean()) if both.any() else None,
        median_cm=median,
        p95_cm=p95,
        holes_percent=100 * float((frame.alpha < COVERED)[solid].mean()) if solid.any() else None,
        psnr_db=psnr_db(frame.rgb_u8, frame.mesh_rgb_u8, frame.valid),
        ssim=ssim(frame.rgb_u8, frame.mesh_rgb_u8, frame.valid),
        shift_deg=_shift_deg(frame),
    )


def _shift_deg(frame: SensorFrame) -> float | None:
    """The shift between the pictures of splats and mesh that brightness gradients explain best (Lucas-Kanade)."""
    import cv2

    a, b = (
        cv2.GaussianBlur(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).astype(np.float64), (0, 0), 1.5)
        for x in (frame.rgb_u8, frame.mesh_rgb_u8)
    )
    gy, gx = (np.asarray(slope) for slope in np.gradient(0.5 * (a + b)))
    # Only where both show the same surface does a shift of the pictures mean a shift of the frames.
    bad, _ = disagreement(frame)
    use = frame.valid & frame.splat_valid & ~cv2.dilate(bad.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    use &= np.hypot(gx, gy) > 1.0
    if use.sum() < 0.02 * use.size:
        return None
    A, difference = np.stack([gx[use], gy[use]], -1), (b - a)[use]
    weight = np.ones(len(A))
    shift = np.zeros(2)
    for _ in range(5):
        normal = (A * weight[:, None]).T @ A
        if np.linalg.cond(normal) > 1e4:
            return None
        shift = np.linalg.solve(normal, (A * weight[:, None]).T @ difference)
        weight = 1 / np.maximum(np.abs(A @ shift - difference), 2.0)
    return math.degrees(math.hypot(shift[0] / frame.camera.fx_px, shift[1] / frame.camera.fy_px))


@dataclass(frozen=True, kw_only=True)
class LidarComparison:
    """Collider against mesh from one place, the planar and the 16-beam scan together."""

    rays: int
    """Rays that hit the mesh."""
    disagree_percent: float | None
    """Of those, how many find the collider at another distance, or not at all."""
    median_cm: float | None
    p95_cm: float | None

    def as_dict(self) -> dict[str, Any]:
        return {key: None if value is None else round(value, 3) for key, value in asdict(self).items()}


def compare_lidar(world: SensorWorld, place_world: np.ndarray, heading_rad: float) -> LidarComparison:
    """Both scans of a level sensor at `place_world` [3]."""
    T_world_lidar = rigid(rotation_z(heading_rad), np.asarray(place_world, float))
    errors, bad, count = [], 0, 0
    for pattern in (PLANAR_LIDAR, LIDAR_16):
        error, wrong = _scan_difference(world, T_world_lidar, pattern)
        errors.append(error[np.isfinite(error)])
        bad += int(wrong.sum())
        count += len(error)
    error = np.concatenate(errors)
    median, p95 = (100 * float(np.percentile(error, q)) if len(error) else None for q in (50, 95))
    return LidarComparison(
        rays=count, disagree_percent=100 * bad / count if count else None, median_cm=median, p95_cm=p95
    )


def _scan_difference(
    world: SensorWorld, T_world_lidar: np.ndarray, pattern: LidarPattern
) -> tuple[np.ndarray, np.ndarray]:
    """Absolute difference [m] of the rays that hit the mesh (NaN where the collider is missed), and which are wrong."""
    seen = scan_lidar(world, T_world_lidar, pattern)
    felt = scan_lidar(world, T_world_lidar, pattern, surface="collider")
    rays = seen.valid & (seen.labels != Label.BACKDROP)
    error = np.where(felt.valid, np.abs(felt.range_m - seen.range_m), np.nan)[rays]
    tolerance = np.maximum(TOLERANCE_M, TOLERANCE_SHARE * seen.range_m[rays])
    return error, ~np.isfinite(error) | (np.nan_to_num(error) > tolerance)
