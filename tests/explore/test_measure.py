"""A measured distance gives the world its size."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.errors import ConfigError, InputError
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.explore.measure import Ruler, floor_at, rescale_by, surface_at
from rooms import analytic_room


def test_clicks_meet_surfaces():
    """A ray from the camera meets the wall or the floor that it points at; one that meets nothing is refused."""
    pytest.importorskip("embreex")
    room = analytic_room()
    raycaster = Raycaster(room.mesh())
    origin = np.array([0.0, 0.6, 1.5])
    for direction in ([1.0, 0.2, 0.05], [0.3, -0.2, -0.6]):
        way = np.array(direction)
        t, _ = room.cast(origin[None], way[None])
        np.testing.assert_allclose(surface_at(raycaster, origin, way), origin + t[0] * way, atol=1e-5)
    with pytest.raises(InputError, match="no surface"):
        surface_at(raycaster, np.array([100.0, 0, 1]), np.array([1.0, 0, 0]))


def test_clicks_meet_the_floor():
    """Looking down meets it, looking up or at the horizon does not."""
    np.testing.assert_allclose(floor_at(np.array([1.0, 2, 1.5]), np.array([1.0, 0, -0.5]), 0.0), [4, 2])
    for up in ([1, 0, 0.1], [1, 0, 0.0], [1, 0, -0.001]):
        with pytest.raises(InputError, match="no floor"):
            floor_at(np.array([0, 0, 1.5]), np.array(up, float), 0.0)


def test_the_factor_makes_the_distance_true():
    """Two metres that are one and a half in reality: everything is three quarters as large; doubt follows."""
    ruler = Ruler().with_end(np.zeros(3)).with_end(np.array([0, 0, 2.0]))
    rescale = rescale_by(ruler, "1.5+-0.03m", 1.2)
    assert rescale.factor == pytest.approx(0.9) and rescale.factor_sigma == pytest.approx(0.02)
    assert rescale_by(ruler, "1.5", 1.2).factor == pytest.approx(0.9)
    third = ruler.with_end(np.ones(3))
    assert third.length_m is None and len(third.ends_world) == 1
    with pytest.raises(InputError, match="two places"):
        rescale_by(third, "1m", 1.0)
    for text in ("", "a metre", "-1m", "0m"):
        with pytest.raises(ConfigError, match="known distance"):
            rescale_by(ruler, text, 1.0)
