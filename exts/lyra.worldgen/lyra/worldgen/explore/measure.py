"""A distance between two places that somebody points at, and the size of the world that follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.annotations import measured_sigma, parse_length
from ..core.config import RescaleConfig
from ..core.errors import InputError
from ..core.raycast import Raycaster

FARTHEST_M = 60.0
"""Clicks on the floor farther away than this are clicks at the horizon."""
_LEAST_M = 1e-3


@dataclass(frozen=True)
class Ruler:
    """Up to two places on surfaces."""

    ends_world: tuple[np.ndarray, ...] = ()
    """[3] each [m]."""

    def with_end(self, point_world: np.ndarray) -> Ruler:
        """Another place; a third one begins anew."""
        return Ruler((point_world,) if len(self.ends_world) == 2 else (*self.ends_world, point_world))

    @property
    def length_m(self) -> float | None:
        """In the world as it is; None before the second place."""
        if len(self.ends_world) < 2:
            return None
        return float(np.linalg.norm(self.ends_world[1] - self.ends_world[0]))


def surface_at(raycaster: Raycaster, origin_world: np.ndarray, direction_world: np.ndarray) -> np.ndarray:
    """Where a ray meets the world's surface first, [3]; raises `InputError` when it meets nothing."""
    t, face, _ = raycaster.cast(np.atleast_2d(origin_world), np.atleast_2d(direction_world))
    if face[0] < 0:
        raise InputError("there is no surface; point at a wall, the floor or a thing")
    return np.asarray(origin_world, float) + float(t[0]) * np.asarray(direction_world, float)


def floor_at(origin_world: np.ndarray, direction_world: np.ndarray, floor_z_m: float) -> np.ndarray:
    """Where a ray meets the floor, [2]; raises `InputError` when it looks past it."""
    down = float(direction_world[2])
    t = (floor_z_m - float(origin_world[2])) / down if abs(down) > 1e-9 else -1.0
    if not 0 < t * float(np.linalg.norm(direction_world)) <= FARTHEST_M:
        raise InputError("there is no floor; point at the floor of the world")
    return np.asarray(origin_world, float)[:2] + t * np.asarray(direction_world, float)[:2]


def rescale_by(ruler: Ruler, true_length: str, metres_per_unit: float) -> RescaleConfig:
    """The size that makes a measured distance what it is in reality.

    Args:
        ruler: two places.
        true_length: text with a unit, `2.05m` or `80+-0.5in`; metres if it has none.
        metres_per_unit: of the world as it is.

    Raises:
        InputError: the ruler has no two places that differ.
        ConfigError: the text is no length, or the factor is one that no world has.
    """
    length_m = ruler.length_m
    if length_m is None or length_m < _LEAST_M:
        raise InputError("point at two places whose distance you know first")
    text = true_length.strip()
    if text and text[-1].isdigit():
        text += "m"
    true_m, sigma_m = parse_length("known distance", text)
    sigma_m = measured_sigma(true_m) if sigma_m is None else sigma_m
    return RescaleConfig(factor=metres_per_unit * true_m / length_m, factor_sigma=sigma_m / true_m)
