"""Planar priors: ripple goes, edges come back, and what is curved stays curved."""

from __future__ import annotations

import numpy as np
import pytest

from core.test_simplify import sheet
from lyra.worldgen.reconstruction.flatten import flatten

pytest.importorskip("numba")


def test_ripple_of_a_nearly_level_sheet_goes():
    """One plane, exactly level although the data lean a little, at the height of the data."""
    rng = np.random.default_rng(0)
    flat = flatten(sheet(60, lambda x, y: 0.002 * x + rng.normal(0, 0.004, x.shape)), tolerance_m=0.03, reach_m=0.08)
    assert len(flat.normals) == 1
    np.testing.assert_allclose(flat.normals[0], [0, 0, 1])
    np.testing.assert_allclose(flat.mesh.vertices[:, 2], 0.004, atol=0.002)
    assert (flat.rank == 1).all()


def test_a_rounded_edge_becomes_sharp():
    """Two planes that meet in a chamfer are carried on to their common line."""
    step = 4 / 60
    # Floor that becomes a 45 degree ramp; the corner row of the grid is cut off.
    flat = flatten(
        sheet(60, lambda x, y: np.where(np.abs(x - 2) < 0.6 * step, 0.3 * step, np.maximum(x - 2, 0))),
        tolerance_m=0.02,
        reach_m=1.2 * step,
    )
    assert len(flat.normals) == 2
    on_floor, on_ramp = (
        np.abs(flat.mesh.vertices @ n - d) < 1e-9 for n, d in zip(flat.normals, flat.offsets_m, strict=True)
    )
    assert (on_floor | on_ramp).all()
    assert (flat.rank[on_floor & on_ramp] == 2).all() and (on_floor & on_ramp).sum() >= 61


def test_a_dome_stays_round():
    """Where nothing is flat, vertices move by less than the tolerance."""
    dome = sheet(60, lambda x, y: np.sqrt(np.maximum(9 - (x - 2) ** 2 - (y - 2) ** 2, 0)))
    flat = flatten(dome, tolerance_m=0.005, reach_m=0.08)
    assert np.quantile(np.linalg.norm(flat.mesh.vertices - dome.vertices, axis=1), 0.9) < 0.01
