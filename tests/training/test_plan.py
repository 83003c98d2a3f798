"""What is drawn for a training step."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_data import load_golden
from lyra.worldgen.core.errors import ConfigError, InputError
from lyra.worldgen.generation.context_layout import RELEASED, ContextLayout
from lyra.worldgen.generation.retrieval import cache_points, visible_cells
from lyra.worldgen.training.clips import Clip
from lyra.worldgen.training.plan import AUGMENTED, CLEAN, FROM_IMAGE, AugmentConfig, plan_step, step_kind
from lyra.worldgen.training.segments import Segment, draw_views, drop_views, remembered_frames, segment_count

SMALL = ContextLayout.parse("f1k1f1s2f1s1f2k2f1k1_g4")
LARGE = ContextLayout.parse(RELEASED)


def retrieval_cache(g: dict, meta: dict) -> list:
    return [cache_points(i, g["depths"][k], g["w2c"][k], g["K"]) for k, i in enumerate(meta["frame_ids"])]


@pytest.fixture(scope="module")
def clip() -> Clip:
    """A still film of a wall."""
    t, h, w = 97, 32, 48
    w2c = np.tile(np.eye(4, dtype=np.float32), (t, 1, 1))
    w2c[:, 0, 3] = 0.01 * np.arange(t)
    K = np.array([[40, 0, 24], [0, 40, 16], [0, 0, 1]], np.float32)
    return Clip(
        video_id="wall",
        rgb_u8=np.zeros((t, h, w, 3), np.uint8),
        depth_z=np.full((t, h, w), 2.0, np.float32),
        w2c=w2c,
        K_px=K,
    )


def test_released_windows():
    """96 copies of the first frame come before it, and 13 segments of a 1000-frame film may be drawn."""
    segment = Segment.of(2, LARGE)
    assert (segment.window == 0).sum() == 97 and segment.history_frames == 97 + 160
    assert (segment.first_new, segment.last_new, segment.last_history) == (161, 240, 160)
    assert segment_count(1000, LARGE) == 11
    assert segment_count(5000, LARGE) == 13
    with pytest.raises(InputError, match="needs at least 161"):
        segment_count(160, LARGE)


@given(st.integers(0, 12), st.integers(200, 1200))
def test_memory_keeps_away_from_the_target(number, frames):
    """Every eighth frame but the first, before or after, never near the new ones."""
    segment = Segment.of(number, LARGE)
    found = remembered_frames(segment, frames)
    assert found == sorted(found)
    assert all(i % 8 == 0 and 0 < i < frames and i != segment.last_history for i in found)
    near = set(range(segment.first_new - 16, segment.last_new + 17))
    assert not near & set(found)
    assert {i for i in range(8, frames, 8)} - near - set(found) <= {segment.last_history}


def test_visible_cells_equal_the_recording():
    """How many cells each remembered frame owns, and ties go to the first."""
    g, meta = load_golden("retrieval")
    case = next(c for c in meta["cases"] if c["name"] == "topk_full")
    cells = visible_cells(retrieval_cache(g, meta), g["target_topk_full"], g["K"], tuple(meta["image_hw"]))
    want = [case["visibility_counts"][str(i)]["score"] for i in meta["frame_ids"]]
    assert cells.tolist() == want
    tied = next(c for c in meta["cases"] if c["name"] == "topk_ties")
    places = [1, 1, 1, 4]
    cache = [
        cache_points(i, g["depths"][k], g["w2c"][k], g["K"])
        for i, k in zip(tied["cache_frame_ids"], places, strict=True)
    ]
    cells = visible_cells(cache, g["target_topk_ties"], g["K"], tuple(meta["image_hw"]))
    assert cells.tolist() == [tied["visibility_counts"][str(i)]["score"] for i in tied["cache_frame_ids"]]


def test_draws_of_views_follow_the_recorded_histogram(rng):
    """First picks of 2000 draws agree with those of the reference (chi-squared, far beyond chance when wrong)."""
    g, meta = load_golden("retrieval")
    cache, hw = retrieval_cache(g, meta), tuple(meta["image_hw"])
    counts = Counter(draw_views(rng, cache, g["target_topk_full"], g["K"], hw, count=5)[-1] for _ in range(2000))
    want = {int(k): v for k, v in meta["random_mode_first_pick_histogram_2000_draws"].items()}
    distance = sum((counts[k] - want[k]) ** 2 / (counts[k] + want[k]) for k in want)
    assert distance < 22.5  # 6 degrees of freedom: one in a thousand


def test_draws_of_views_without_anything_to_see(rng):
    """No memory, no place, or nothing visible."""
    g, meta = load_golden("retrieval")
    cache, hw = retrieval_cache(g, meta), tuple(meta["image_hw"])
    away = np.diag([1.0, -1.0, -1.0, 1.0]) @ g["target_topk_full"]
    away[2, 3] -= 1000
    assert draw_views(rng, [], away, g["K"], hw, count=5) == []
    assert draw_views(rng, cache, away, g["K"], hw, count=0) == []
    assert draw_views(rng, cache, away, g["K"], hw, count=5) == []


@given(st.lists(st.integers(0, 99), unique=True, max_size=5), st.floats(0, 1), st.integers(0, 99))
def test_dropped_views(picks, rate, seed):
    """Those that stay keep their order; rate 0 drops none, rate 1 at least one."""
    left = drop_views(np.random.default_rng(seed), picks, rate=rate)
    assert left == [p for p in picks if p in set(left)]
    assert drop_views(np.random.default_rng(seed), picks, rate=0.0) == picks
    assert len(drop_views(np.random.default_rng(seed), picks, rate=1.0)) < max(len(picks), 1)


def test_kinds_of_steps():
    """35, 15 and 50 percent; without self-augmentation those steps are clean, and all others stay as they were."""
    with_it, without = AugmentConfig(), AugmentConfig(self_augmentation=False)
    kinds = [step_kind(5, step, with_it) for step in range(4000)]
    shares = {kind: count / 4000 for kind, count in Counter(kinds).items()}
    assert abs(shares[AUGMENTED] - 0.35) < 0.02 and abs(shares[FROM_IMAGE] - 0.15) < 0.02
    assert all(kind == CLEAN for kind in kinds[1::2])
    for step in range(200):
        other = step_kind(5, step, without)
        assert other == (CLEAN if kinds[step] == AUGMENTED else kinds[step])


def test_plans_follow_from_seed_step_and_rank(clip):
    """Equal ones draw the same, others something else; ranks share the kind."""
    config = AugmentConfig()
    for step in range(8):
        plans = [plan_step(clip, SMALL, config, seed=1, step=step, rank=rank) for rank in (0, 0, 1)]
        np.testing.assert_array_equal(plans[0].draws.noise, plans[1].draws.noise)
        assert plans[0].draws.picks == plans[1].draws.picks and plans[0].target.number == plans[1].target.number
        assert np.abs(plans[0].draws.noise - plans[2].draws.noise).max() > 0.1
        assert plans[0].kind == plans[2].kind
        if plans[0].kind == AUGMENTED:
            assert plans[0].before.number + 1 == plans[0].target.number
        if plans[0].kind == FROM_IMAGE:
            assert plans[0].target.number == 0 and set(plans[0].draws.picks) <= {0}


def test_what_is_drawn_has_the_stated_distribution(clip):
    """Corruption, text, and quantiles of the time."""
    plans = [plan_step(clip, SMALL, AugmentConfig(), seed=3, step=2 * k + 1, rank=0).draws for k in range(400)]
    logs = np.log(np.concatenate([p.corruption_sigma for p in plans]))
    assert abs(logs.mean() + 3) < 0.25 and abs(logs.std() - 2) < 0.2
    assert abs(np.mean([p.text_dropped for p in plans]) - 0.2) < 0.06
    u = np.array([p.time_u for p in plans])
    assert abs(np.mean(np.log(u / (1 - u)))) < 0.2
    assert Counter(len(p.picks) for p in plans)[2] / 400 > 0.85


@pytest.mark.parametrize("name", ["image_rate", "view_drop_rate", "text_drop_rate"])
def test_rates_are_shares(name):
    """Between 0 and 1, named by their key path."""
    with pytest.raises(ConfigError, match=f"augment.{name}"):
        dataclasses.replace(AugmentConfig(), **{name: 1.5})
