"""Rooms of known truth through the whole path from one photo; `tools/bench/bench_known_truth.py` has all of them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from known_scenes import known_scene

SEEDS = (1008, 1010, 1020)
"""A room with a cabinet, a hall with pillars, a room behind a doorway with a box before it."""


@pytest.mark.slow
def test_three_scenes(repository, monkeypatch):
    """Most of the floor that the photo shows is free, what stands on it blocks, and walls stand where they stand."""
    monkeypatch.syspath_prepend(str(repository / "tools" / "bench"))
    monkeypatch.delitem(sys.modules, "known_photo", raising=False)
    import known_photo

    scores = [known_photo.score_photo(scene, known_photo.photo_world(scene)) for scene in map(known_scene, SEEDS)]
    assert all(score.indoors and score.mode == "manhattan" for score in scores)
    assert np.mean([score.free_found for score in scores]) >= 0.87, scores
    assert np.mean([score.blocked_found for score in scores]) >= 0.91, scores
    assert np.mean([score.floor_iou for score in scores]) >= 0.93, scores
    assert np.median([score.range_error for score in scores]) <= 0.03, scores
    assert all(abs(score.scale_error) <= 2 * score.scale_sigma for score in scores), scores
