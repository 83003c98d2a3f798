"""Label edges move onto straight edges near them, and onto the lower ends of upright ones."""

from __future__ import annotations

import numpy as np

from lyra.worldgen.generation.floor_edges import FloorEdges, moved_onto_edges


def edges(level=(), foot=()) -> FloorEdges:
    level, foot = (np.array(part, float).reshape(-1, 2) for part in (level, foot))
    return FloorEdges(
        level_column=level[:, 0].astype(int),
        level_rad=np.radians(level[:, 1]),
        foot_column=foot[:, 0].astype(int),
        foot_rad=np.radians(foot[:, 1]),
    )


def moved(contact_deg, found: FloorEdges) -> np.ndarray:
    return np.degrees(moved_onto_edges(np.radians(np.array(contact_deg, float)), found))


def test_nearest_level_edge_takes_the_contact():
    found = edges(level=[(1, 10.4), (1, 9.8), (2, 12.0)])
    np.testing.assert_allclose(moved([10.0] * 4, found), [10.0, 9.8, 10.0, 10.0])


def test_lower_edge_of_a_skirting_is_the_foot():
    np.testing.assert_allclose(moved([10.0], edges(level=[(0, 9.7), (0, 10.4)])), [10.4])


def test_upright_edges_lower_the_contact_beside_them():
    result = moved([10.0] * 12, edges(foot=[(2, 11.5), (11, 20.0)]))
    np.testing.assert_allclose(result[:7], 11.5)
    np.testing.assert_allclose(result[7:], 10.0)


def test_hidden_contacts_stay_hidden():
    result = moved([np.nan, 10.0], edges(level=[(0, 10.0)], foot=[(0, 11.0)]))
    assert np.isnan(result[0])
    np.testing.assert_allclose(result[1], 11.0)
