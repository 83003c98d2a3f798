"""Walks of our own: turns that repeat exactly, so that what is seen again can be compared."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.chunks import MemoryChunkStore
from lyra.worldgen.core.config import GenerationConfig
from lyra.worldgen.core.journey import Leg
from lyra.worldgen.core.progress import SILENT
from lyra.worldgen.generation.cache import SpatialCache
from lyra.worldgen.generation.painter_fake import PainterFake
from lyra.worldgen.generation.paths import Surrounding, plan_leg
from lyra.worldgen.generation.pipeline import WorldPipeline
from rooms import analytic_room


@pytest.fixture(scope="module")
def around() -> Surrounding:
    """A camera in a room, pitched and rolled."""
    room = analytic_room(pitch_deg=-7, roll_deg=2)
    pipeline = WorldPipeline(painter=PainterFake(), cfg=GenerationConfig())
    scene = pipeline.prepare(
        room.photo(), room.geometry(), SpatialCache(), seed=0, progress=SILENT, store=MemoryChunkStore()
    )
    return Surrounding(
        geometry=room.geometry(),
        scene=scene,
        view_long_side_px=64,
        T_world_begin=room.T_world_cam,
        is_first=True,
        load_file=lambda name: None,
    )


@pytest.mark.parametrize("turns", [1, 2, 7, 11, 99])
def test_every_turn_has_the_same_poses(around, turns):
    """The n-th turn looks exactly where the first one did, and each ends where the walk began."""
    planner = plan_leg(Leg(path=f"spin:turns={turns}"), around)
    chunks = [planner.plan(k) for k in range(turns)]
    assert planner.plan(turns) is None
    for chunk in chunks:
        np.testing.assert_array_equal(chunk.Ts_world_cam, chunks[0].Ts_world_cam)
    np.testing.assert_allclose(chunks[0].Ts_world_cam[-1], around.T_world_begin, atol=1e-12)


def test_out_and_back_comes_by_the_same_poses(around):
    """The way back is the way out, backwards."""
    planner = plan_leg(Leg(path="out-and-back:distance=2"), around)
    out, back = planner.plan(0), planner.plan(1)
    np.testing.assert_array_equal(back.Ts_world_cam[:-1], out.Ts_world_cam[-2::-1])
    np.testing.assert_allclose(back.Ts_world_cam[-1], around.T_world_begin, atol=1e-12)
