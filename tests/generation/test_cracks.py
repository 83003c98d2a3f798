"""Thin gaps get the colour of their own surface; wide holes stay for the painter."""

from __future__ import annotations

import numpy as np

from lyra.worldgen.generation.cracks import fill_cracks


def scene():
    rgb = np.zeros((40, 60, 3), np.float32)
    rgb[:, :30], rgb[:, 30:] = (200, 10, 10), (10, 10, 200)
    depth = np.where(np.arange(60) < 30, 2.0, 6.0) * np.ones((40, 1))
    labels = np.where(np.arange(60) < 30, 1, 2) * np.ones((40, 1), np.uint8)
    return rgb, depth.astype(np.float32), labels.astype(np.uint8)


def test_a_gap_beside_an_edge_takes_its_own_surface():
    """Two pixels on either side of a depth edge do not mix the colours of the two surfaces."""
    rgb, depth, labels = scene()
    want = rgb.copy()
    unknown = np.zeros((40, 60), bool)
    unknown[:, 29:31] = True
    unknown[10, 5] = True
    rgb[unknown] = 77
    filled = fill_cracks(rgb, unknown, ~unknown, depth, labels)
    assert filled[unknown].all() and not filled[~unknown].any()
    np.testing.assert_allclose(rgb, want, atol=0.05)


def test_a_wide_hole_stays():
    """What a painter should invent is not smeared over; its rim neither."""
    rgb, depth, labels = scene()
    unknown = np.zeros((40, 60), bool)
    unknown[8:30, 8:28] = True
    before = rgb.copy()
    filled = fill_cracks(rgb, unknown, ~unknown, depth, labels)
    assert filled.sum() < 0.1 * unknown.sum()
    np.testing.assert_array_equal(rgb[~unknown], before[~unknown])


def test_a_surface_seen_for_the_first_time_borrows_from_another():
    """A sliver with nothing of its own kind near it is still filled, and nothing known or all known changes nothing."""
    rgb, depth, labels = scene()
    unknown = np.zeros((40, 60), bool)
    unknown[:, 15] = True
    labels[:, 15], depth[:, 15] = 5, 1.0
    assert fill_cracks(rgb, unknown, ~unknown, depth, labels)[unknown].all()
    assert not fill_cracks(rgb, unknown, np.zeros_like(unknown), depth, labels).any()
    assert not fill_cracks(rgb, np.zeros_like(unknown), ~unknown, depth, labels).any()
