"""Whether depth maps and poses fit together: what one picture sees is looked for in others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import invert_rigid, rotate_vectors, transform_points

SAMPLES = 400
"""Pixels of each picture that are looked for elsewhere."""
PARTNERS = 6
"""Other pictures in which each is looked for."""
AGREES = 0.03
"""Relative difference of depth up to which two pictures see the same surface."""
LEAST_AGREEMENT = 0.35
"""Furniture hides things from most pictures; when less than this fits, something is wrong."""
_FACTORS = np.geomspace(1e-4, 1e4, 461)


@dataclass(frozen=True, kw_only=True)
class DepthPicture:
    """What consistency needs to know about a picture, in one world and unit."""

    camera: PinholeCamera
    T_world_cam: np.ndarray
    depth_z: np.ndarray
    """[H, W] along the optical axis, 0 where unknown."""


def partners(Ts_world_cam: np.ndarray, count: int = PARTNERS) -> list[np.ndarray]:
    """For each pose indices of others that look about the same way from another place, the nearest first.

    Args:
        Ts_world_cam: [F, 4, 4].
        count: most of them for each.
    """
    place, ahead = Ts_world_cam[:, :3, 3], Ts_world_cam[:, :3, 2]
    distance = np.linalg.norm(place[:, None] - place, axis=2)
    size = max(float(np.median(distance[distance > 0])) if (distance > 0).any() else 1.0, 1e-9)
    turn = np.arccos(np.clip(ahead @ ahead.T, -1, 1))
    cost = distance / size + turn
    # From the same place nothing can be measured, and behind each other's back nothing is shared.
    cost[(distance < 1e-3 * size) | (turn > np.radians(100))] = np.inf
    np.fill_diagonal(cost, np.inf)
    order = np.argsort(cost, axis=1, kind="stable")[:, :count]
    return [row[np.isfinite(cost[i, row])] for i, row in enumerate(order)]


def agreement(pictures: Sequence[DepthPicture], factors: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """[K] share of pixels that other pictures confirm if depths are multiplied by each of K factors."""
    rng = np.random.default_rng([seed, 0xA62EE])
    near = partners(np.stack([p.T_world_cam for p in pictures]))
    hits, total = np.zeros(len(factors)), np.zeros(len(factors))
    for i, picture in enumerate(pictures):
        known = np.flatnonzero(picture.depth_z)
        if not len(known):
            continue
        pick = np.sort(rng.choice(known, min(SAMPLES, len(known)), replace=False))
        rays = rotate_vectors(picture.T_world_cam, picture.camera.rays_cam().reshape(-1, 3)[pick])
        along = rays * picture.depth_z.reshape(-1)[pick, None]
        for j in near[i]:
            other = pictures[j]
            T_cam_world = invert_rigid(other.T_world_cam)
            turned = rotate_vectors(T_cam_world, along)
            start = transform_points(T_cam_world, picture.T_world_cam[:3, 3])
            for k, factor in enumerate(factors):
                px, z = other.camera.project(start + factor * turned)
                inside = (z > 0) & (px[:, 0] >= 0) & (px[:, 1] >= 0)
                inside &= (px[:, 0] < other.camera.width_px) & (px[:, 1] < other.camera.height_px)
                if not inside.any():
                    continue
                u, v = px[inside].astype(int).T
                seen = factor * other.depth_z[v, u]
                shown = seen > 0
                # What lies behind the other's surface is hidden from it and says nothing; before it, it contradicts.
                off = z[inside][shown] / seen[shown] - 1.0
                hits[k] += (np.abs(off) < AGREES).sum()
                total[k] += (off < AGREES).sum() + 0.5 * (off >= AGREES).sum()
    return hits / np.maximum(total, 50.0)


def depth_factor(pictures: Sequence[DepthPicture]) -> tuple[float, float]:
    """Factor that takes the depths to the unit of the poses, and the share of pixels that confirms it."""
    few = pictures[:: max(1, len(pictures) // 12)]
    if len(few) < 4:
        few = pictures
    coarse = agreement(few, _FACTORS)
    best = float(_FACTORS[coarse.argmax()])
    step = float(_FACTORS[1] / _FACTORS[0])
    for _ in range(3):
        fine = best * np.geomspace(1 / step, step, 9)
        score = agreement(few, fine)
        # The middle of what scores about as well as the best: the peak is flat.
        good = score > 0.98 * score.max()
        best = float(np.exp(np.log(fine[good]).mean()))
        step = step**0.5
    return best, float(agreement(pictures, np.array([best]))[0])
