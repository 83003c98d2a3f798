"""Planes in a triangle mesh: level ones (floor, ceiling) and upright ones (walls). NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.mesh import TriMesh

LEVEL_COS = np.cos(np.radians(15.0))
"""A face belongs to a level plane when its normal is within 15 degrees of the vertical, to allow for noise."""
UPRIGHT_SIN = np.sin(np.radians(15.0))
AZIMUTH_BINS = 180
OFFSET_BIN_M = 0.02
MAX_FAILURES = 60
"""So many fullest cells in a row without a plane: what is left is not flat."""
NEAR_COS = np.cos(np.radians(20.0))


@dataclass(frozen=True, kw_only=True)
class Plane:
    """`normal_world @ p = offset_m`; the normal points into free space."""

    normal_world: np.ndarray
    """[3] unit."""
    offset_m: float
    faces: np.ndarray
    """[K] int indices of the mesh faces that lie in it."""
    area_m2: float

    def distance_m(self, points_world: np.ndarray) -> np.ndarray:
        """Signed distance [...] of points [..., 3], positive in free space."""
        return points_world @ self.normal_world - self.offset_m


def level_planes(
    mesh: TriMesh,
    candidates: np.ndarray,
    *,
    up: bool,
    tolerance_m: float,
    min_area_m2: float,
    max_planes: int | None = None,
) -> list[Plane]:
    """Level planes, largest first.

    Args:
        mesh: the surface.
        candidates: [F] bool faces to look at.
        up: floors face up, ceilings face down.
        tolerance_m: a face belongs to a plane when all its corners are this close.
        min_area_m2: smaller planes are left out.
        max_planes: stop after so many.
    """
    sign = 1.0 if up else -1.0
    chosen = np.flatnonzero(candidates & (mesh.face_normals()[:, 2] * sign > LEVEL_COS))
    area, z = mesh.face_areas_m2()[chosen], mesh.triangles()[chosen, :, 2]
    centre = z.mean(1)
    # A plane's faces spread over so many windows of three bins at most.
    windows = int(np.ceil((2 * tolerance_m / OFFSET_BIN_M + 1) / 3))
    planes: list[Plane] = []
    while len(chosen) and (max_planes is None or len(planes) < max_planes):
        low = centre.min()
        bins = np.floor((centre - low) / OFFSET_BIN_M).astype(int)
        votes = np.convolve(np.bincount(bins, area), np.ones(3), "same")
        if windows * votes.max() < min_area_m2:
            break
        fullest = int(votes.argmax())
        peak = low + (fullest + 0.5) * OFFSET_BIN_M
        height = peak
        for reach in (2 * tolerance_m, tolerance_m):
            inside = np.abs(z - height).max(1) <= reach + OFFSET_BIN_M
            if inside.any():
                height = _weighted_median(centre[inside], area[inside])
        inside = np.abs(z - height).max(1) <= tolerance_m
        if area[inside].sum() >= min_area_m2:
            planes.append(
                Plane(
                    normal_world=np.array([0.0, 0.0, sign]),
                    offset_m=sign * height,
                    faces=chosen[inside],
                    area_m2=float(area[inside].sum()),
                )
            )
        # The peak is spent even if it made no plane, and its voters are where it holds nothing itself: the loop ends.
        spent = inside | (np.abs(centre - peak) <= OFFSET_BIN_M)
        if not spent.any():
            spent = np.abs(bins - fullest) <= 1
        chosen, area, z, centre = chosen[~spent], area[~spent], z[~spent], centre[~spent]
    return sorted(planes, key=lambda p: -p.area_m2)


def upright_planes(
    mesh: TriMesh, candidates: np.ndarray, *, tolerance_m: float, min_area_m2: float, max_planes: int
) -> list[Plane]:
    """Vertical planes, largest first: Hough vote over azimuth and offset, then a fit that tightens.

    Args:
        mesh: the surface.
        candidates: [F] bool faces to look at.
        tolerance_m: a face belongs to a plane when all its corners are this close.
        min_area_m2: smaller planes are left out.
        max_planes: stop after so many.
    """
    normals = mesh.face_normals()
    chosen = np.flatnonzero(candidates & (np.abs(normals[:, 2]) < UPRIGHT_SIN))
    if not len(chosen):
        return []
    triangles, area = mesh.triangles()[chosen], mesh.face_areas_m2()[chosen]
    flat = normals[chosen, :2] / np.linalg.norm(normals[chosen, :2], axis=1, keepdims=True)
    ballot = _Ballot(flat, triangles[:, :, :2].mean(1), area)
    left = np.ones(len(chosen), bool)
    planes: list[Plane] = []
    failures = 0
    while len(planes) < max_planes and failures < MAX_FAILURES:
        # Three neighbouring cells take part, so one of them holds a third at least.
        if ballot.winner_area_m2() < min_area_m2 / 3:
            break
        voters = left & ballot.winner_voters()
        # Two walls can share a cell; the largest voter on its own then starts a fit that their mean spoils.
        largest = np.zeros(len(left), bool)
        if voters.any():
            largest[np.flatnonzero(voters)[area[voters].argmax()]] = True
        best, best_area = (np.zeros(2), 0.0, left & False), 0.0
        for start in (voters, largest):
            direction, offset, inside = np.zeros(2), 0.0, start
            for reach in (4 * tolerance_m, 2 * tolerance_m, tolerance_m, tolerance_m):
                if not inside.any():
                    break
                direction, offset = _fit_upright(triangles[inside], flat[inside], area[inside])
                distance = np.abs(triangles[:, :, :2] @ direction - offset).max(1)
                inside = left & (distance <= reach) & (flat @ direction > NEAR_COS)
            if area[inside].sum() > best_area:
                best, best_area = (direction, offset, inside), float(area[inside].sum())
        direction, offset, inside = best
        if best_area < min_area_m2:
            ballot.strike()
            failures += 1
            continue
        failures = 0
        planes.append(
            Plane(
                normal_world=np.array([direction[0], direction[1], 0.0]),
                offset_m=float(offset),
                faces=chosen[inside],
                area_m2=best_area,
            )
        )
        ballot.withdraw(inside)
        left &= ~inside
    return sorted(planes, key=lambda p: -p.area_m2)


class _Ballot:
    """Area-weighted votes of upright faces for (azimuth, offset); votes can be withdrawn."""

    def __init__(self, flat: np.ndarray, centre_xy: np.ndarray, area: np.ndarray) -> None:
        angle = 2 * np.pi * np.arange(AZIMUTH_BINS) / AZIMUTH_BINS
        self.directions = np.stack([np.cos(angle), np.sin(angle)], -1)
        nearest = np.round(np.arctan2(flat[:, 1], flat[:, 0]) / (2 * np.pi) * AZIMUTH_BINS).astype(int)
        # Every face votes for the azimuths within 4 degrees of its own normal: noisy normals still meet in one cell,
        # and the offset of its centre is exact for each of those azimuths.
        azimuth = (nearest[:, None] + np.arange(-2, 3)) % AZIMUTH_BINS
        offset = np.einsum("nkc,nc->nk", self.directions[azimuth], centre_xy)
        self._low = float(offset.min())
        self._bins = int((offset.max() - self._low) / OFFSET_BIN_M) + 2
        self.cell = azimuth * self._bins + ((offset - self._low) / OFFSET_BIN_M).astype(int)
        self._weight = np.repeat(area[:, None], 5, 1)
        self.votes = self._count(np.ones(len(area), bool))
        self._winner = 0
        self._struck: list[int] = []

    def _count(self, who: np.ndarray) -> np.ndarray:
        return np.bincount(self.cell[who].ravel(), self._weight[who].ravel(), AZIMUTH_BINS * self._bins)

    def winner_area_m2(self) -> float:
        """Area behind the fullest cell, which becomes the winner."""
        self._winner = int(self.votes.argmax())
        return float(self.votes[self._winner])

    def winner_voters(self) -> np.ndarray:
        """[n] bool: faces that voted for the winning cell or its two neighbours in offset."""
        return (np.abs(self.cell - self._winner) <= 1).any(1)

    def strike(self) -> None:
        """Never let the last winner win again."""
        self._struck.append(self._winner)
        self.votes[self._struck] = 0.0

    def withdraw(self, who: np.ndarray) -> None:
        self.votes = np.maximum(self.votes - self._count(who), 0.0)
        self.votes[self._struck] = 0.0


def _fit_upright(triangles: np.ndarray, flat: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, float]:
    """Direction [2] and offset of the vertical plane through triangles [N, 3, 3]: total least squares by area."""
    weight = np.repeat(area / 3, 3)
    points = triangles[:, :, :2].reshape(-1, 2)
    centre = np.average(points, axis=0, weights=weight)
    spread = points - centre
    covariance = (spread * weight[:, None]).T @ spread
    values, vectors = np.linalg.eigh(covariance)
    mean = (flat * area[:, None]).sum(0)
    # A patch that is narrow in the plane says little about its azimuth; its normals say more.
    direction = vectors[:, 0] if values[1] > 25 * values[0] and values[1] > 1e-4 * weight.sum() else mean
    direction = direction / max(float(np.linalg.norm(direction)), 1e-12)
    if direction @ mean < 0:
        direction = -direction
    return direction, float(centre @ direction)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])
