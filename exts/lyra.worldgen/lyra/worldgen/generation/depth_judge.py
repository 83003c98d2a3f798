"""Whether a painted frame contradicts the world that it was painted into, as a depth model sees it.

The proxy world gives every view its depth, so what the painter invents cannot bend known geometry. But it can paint a
cupboard where the wall is flat. A depth model looks at the finished frame; its answer is put into metres by the pixels
that were known before (`align`, which needs no baseline, so turns keep their scale), and where new pixels then lie far
from the proxy's surface, paint and geometry disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.mesh import Label
from .align import FloorView, align_depth
from .depth import DepthEstimator

APART = 0.25
"""Relative distance from the proxy's surface from which a pixel contradicts it."""
LIMIT = 0.35
"""Share of contradicting new pixels from which a frame is painted again."""
MIN_NEW_PX = 200
"""Fewer new pixels than this prove nothing."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the depth model says of one painted frame."""

    conflict: float
    """Share of the new pixels that contradict the proxy world, 0..1; 0 where nothing could be said."""
    reason: str = ""
    """Why nothing could be said."""

    @property
    def acceptable(self) -> bool:
        return self.conflict <= LIMIT


class DepthJudge:
    """Compares painted frames with the proxy world.

    Args:
        estimator: the depth model that looks at them.
    """

    def __init__(self, estimator: DepthEstimator) -> None:
        self._estimator = estimator

    def judge(
        self,
        rgb_u8: np.ndarray,
        known: np.ndarray,
        *,
        depth_z_m: np.ndarray,
        labels: np.ndarray,
        camera: PinholeCamera,
        T_world_cam: np.ndarray,
    ) -> Judgement:
        """Look at one frame.

        Args:
            rgb_u8: [H, W, 3] painted.
            known: [H, W] bool: pixels that were there before.
            depth_z_m: [H, W] of the proxy world, 0 where nothing is.
            labels: [H, W] uint8 of the proxy world.
            camera: of the frame.
            T_world_cam: [4, 4].

        Raises:
            BackendError: the depth model failed.
        """
        solid = (depth_z_m > 0) & ~np.isin(labels, (Label.SKY, Label.BACKDROP))
        new = solid & ~known
        if new.sum() < MIN_NEW_PX:
            return Judgement(conflict=0.0, reason="hardly anything is new")
        result = self._estimator.estimate(rgb_u8, camera)
        floor = FloorView(mask=known & (labels == Label.FLOOR), camera=camera, T_world_cam=T_world_cam)
        aligned = align_depth(
            result, reference_z_m=np.where(solid, depth_z_m, 0.0), weight=known.astype(float), floor=floor
        )
        if aligned.depth_z_m is None:
            return Judgement(conflict=0.0, reason=aligned.reason)
        new &= aligned.valid
        if new.sum() < MIN_NEW_PX:
            return Judgement(conflict=0.0, reason="the depth model says nothing of what is new")
        apart = np.abs(np.log(aligned.depth_z_m[new] / depth_z_m[new])) > np.log1p(APART)
        return Judgement(conflict=float(apart.mean()))
