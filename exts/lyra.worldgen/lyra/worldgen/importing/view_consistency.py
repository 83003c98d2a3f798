"""Whether depth maps and poses fit together: what one picture sees is looked for in others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def agreement(
    pictures: Sequence[DepthPicture], factors: np.ndarray, *, samples: int = SAMPLES, seed: int = 0
) -> np.ndarray:
    """[K] share of pixels that other pictures confirm if depths are multiplied by each of K factors.

    Args:
        pictures: in one world.
        factors: [K].
        samples: pixels of each picture that are looked for in others.
        seed: of which pixels they are.
    """
    hits, total = np.zeros(len(factors)), np.zeros(len(factors))
    for look in _looks(pictures, samples, seed):
        for k, factor in enumerate(factors):
            off, _ = look.off(factor)
            # What lies behind the other's surface is hidden from it and says little; before it, it contradicts.
            hits[k] += (np.abs(off) < AGREES).sum()
            total[k] += (off < AGREES).sum() + 0.5 * (off >= AGREES).sum()
    return hits / np.maximum(total, 50.0)


def depth_factor(pictures: Sequence[DepthPicture]) -> tuple[float, float]:
    """Factor that takes the depths to the unit of the poses, and the share of pixels that confirms it."""
    few = pictures if len(pictures) < 24 else pictures[:: len(pictures) // 12]
    coarse = agreement(few, _FACTORS, samples=SAMPLES // 4)
    best = float(_FACTORS[coarse.argmax()])
    fine = best * np.geomspace(1 / 1.05, 1.05, 11)
    best = float(fine[agreement(few, fine).argmax()])
    looks = list(_looks(pictures, SAMPLES, 1))
    # Least squares from here: errors of single pixels on slanted surfaces cancel.
    for within in (0.03, 0.02, 0.015, 0.01, 0.01):
        gradient, curvature = 0.0, 0.0
        for look in looks:
            off, lever = look.off(best)
            near = np.abs(off) < within
            gradient += float((lever[near] * off[near]).sum())
            curvature += float((lever[near] ** 2).sum())
        if curvature <= 0:
            break
        best *= float(np.exp(np.clip(-gradient / curvature, -0.03, 0.03)))
    return best, float(agreement(pictures, np.array([best]))[0])


@dataclass(frozen=True, kw_only=True)
class _Look:
    """Some pixels of one picture, looked for in another."""

    other: DepthPicture
    start: np.ndarray
    """[3] place of the first camera in the other's frame."""
    along: np.ndarray
    """[N, 3] from there to each point, for a factor of one."""

    def off(self, factor: float) -> tuple[np.ndarray, np.ndarray]:
        """Relative difference [M] of depth at the points that the other picture knows, and its derivative [M] by the
        logarithm of the factor."""
        camera = self.other.camera
        px, z = camera.project(self.start + factor * self.along)
        inside = (z > 0) & (px[:, 0] >= 0) & (px[:, 1] >= 0)
        inside &= (px[:, 0] < camera.width_px) & (px[:, 1] < camera.height_px)
        u, v = px[inside].astype(int).T
        seen = factor * self.other.depth_z[v, u].astype(float)
        known = seen > 0
        return z[inside][known] / seen[known] - 1.0, -self.start[2] / seen[known]


def _looks(pictures: Sequence[DepthPicture], samples: int, seed: int) -> Iterator[_Look]:
    rng = np.random.default_rng([seed, 0xA62EE])
    near = partners(np.stack([p.T_world_cam for p in pictures]))
    for i, picture in enumerate(pictures):
        known = np.flatnonzero(picture.depth_z)
        if not len(known):
            continue
        pick = np.sort(rng.choice(known, min(samples, len(known)), replace=False))
        rays = rotate_vectors(picture.T_world_cam, picture.camera.rays_cam().reshape(-1, 3)[pick])
        along = rays * picture.depth_z.reshape(-1)[pick, None]
        for j in near[i]:
            T_cam_world = invert_rigid(pictures[j].T_world_cam)
            yield _Look(
                other=pictures[j],
                start=transform_points(T_cam_world, picture.T_world_cam[:3, 3]),
                along=rotate_vectors(T_cam_world, along),
            )
