"""Frames that contradict the known geometry are painted again; those that fit are left alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lyra.worldgen.core.chunks import MemoryChunkStore
from lyra.worldgen.core.config import GenerationConfig
from lyra.worldgen.core.errors import BackendError
from lyra.worldgen.core.views import SPACE_DISPARITY, DepthResult
from lyra.worldgen.generation.depth_judge import DepthJudge
from lyra.worldgen.generation.painter_fake import PainterFake
from lyra.worldgen.generation.pipeline import WorldPipeline, explore
from rooms import analytic_room

CUPBOARD = np.array([250, 0, 250], np.uint8)
WALL = np.array([120, 120, 120], np.uint8)
ROOM = analytic_room(width_px=96, height_px=72)


class MoodyPainterFake(PainterFake):
    """Paints a cupboard into every hole, or a plain wall, as the seed wills."""

    name = "moody-fake"

    def __init__(self, share_bad: float) -> None:
        self.share_bad = share_bad
        self.bad = 0

    def paint(self, hint, *, seed):
        out = hint.rgb_u8.copy()
        bad = np.random.default_rng(seed).random() < self.share_bad
        self.bad += bad
        out[~hint.known] = CUPBOARD if bad else WALL
        return out


class OracleDepthFake:
    """Knows the room, answers as an unscaled disparity with noise, and sees every cupboard half as far away."""

    name = model = "oracle-fake"
    weights_licence = "none"

    def __init__(self) -> None:
        self.depth_z_m = np.zeros((0, 0))

    def estimate(self, rgb_u8, camera):
        depth = np.where((rgb_u8 == CUPBOARD).all(-1), 0.5, 1.0) * self.depth_z_m
        noise = np.random.default_rng(0).normal(1, 0.02, depth.shape)
        rel = (0.7 / np.maximum(depth, 1e-3) * noise + 0.05).astype(np.float32)
        return DepthResult(valid=depth > 0, space=SPACE_DISPARITY, rel_depth=rel)


class KnowingJudge(DepthJudge):
    """Tells the oracle which room it looks at."""

    def __init__(self) -> None:
        self.oracle = OracleDepthFake()
        super().__init__(self.oracle)

    def judge(self, rgb_u8, known, *, depth_z_m, **rest):
        self.oracle.depth_z_m = depth_z_m
        return super().judge(rgb_u8, known, depth_z_m=depth_z_m, **rest)


CFG = GenerationConfig(view_long_side_px=96, path="turn", attempts=8)


def run(painter, judge, cfg=CFG):
    store = MemoryChunkStore()
    views = explore(ROOM.photo(), ROOM.geometry(), painter, cfg, seed=1, store=store, judge=judge)
    return views, [chunk.facts for _, chunk in store.chunks.values()]


def cupboards(views) -> int:
    return sum(int((view.rgb_u8 == CUPBOARD).all(-1).sum()) for view in views.views)


def test_contradictions_are_painted_again_until_they_fit() -> None:
    """With a judge hardly a cupboard is left in a world that is full of them without one."""
    without, facts = run(MoodyPainterFake(0.6), None)
    assert cupboards(without) > 1000 and "painted_again" not in facts[0]
    with_judge, facts = run(MoodyPainterFake(0.6), KnowingJudge())
    assert cupboards(with_judge) < 0.1 * cupboards(without)
    assert facts[0]["painted_again"] > 2 and facts[0]["worst_conflict"] < 0.35


def test_a_painter_that_never_fits_is_asked_only_so_often() -> None:
    """The least bad attempt stands, and the chunk says how bad it is."""
    painter = MoodyPainterFake(1.0)
    _, facts = run(painter, KnowingJudge(), dataclasses.replace(CFG, attempts=2))
    assert facts[0]["worst_conflict"] > 0.5
    once = MoodyPainterFake(1.0)
    run(once, None)
    assert once.bad < painter.bad <= 2 * once.bad


def test_what_fits_is_painted_once() -> None:
    """A good painter's world is the same with and without a judge."""
    plain, _ = run(MoodyPainterFake(0.0), None)
    judged, facts = run(MoodyPainterFake(0.0), KnowingJudge())
    assert facts[0]["painted_again"] == 0
    for a, b in zip(plain.views, judged.views, strict=True):
        np.testing.assert_array_equal(a.rgb_u8, b.rgb_u8)


def test_a_judge_that_knows_nothing_lets_everything_pass() -> None:
    """A constant map cannot be aligned: no verdict, no repainting; a broken model is an error, not a verdict."""

    class ConstantFake(OracleDepthFake):
        def estimate(self, rgb_u8, camera):
            ones = np.ones(rgb_u8.shape[:2], np.float32)
            return DepthResult(valid=ones > 0, space=SPACE_DISPARITY, rel_depth=ones)

    _, facts = run(MoodyPainterFake(1.0), DepthJudge(ConstantFake()))
    assert facts[0]["painted_again"] == 0

    class BrokenFake(OracleDepthFake):
        def estimate(self, rgb_u8, camera):
            raise BackendError("depth model broken-fake failed")

    with pytest.raises(BackendError, match="broken-fake"):
        run(MoodyPainterFake(1.0), DepthJudge(BrokenFake()))
    assert WorldPipeline(painter=PainterFake(), cfg=CFG).judge is None
