"""Painters of whole chunks: the world keeps its promise, and a film is taken up where it was left."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from chunk_painter_fake import ChunkPainterFake
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.chunks import MemoryChunkStore
from lyra.worldgen.core.config import GenerationConfig
from lyra.worldgen.core.errors import BackendError, ConfigError, InputError
from lyra.worldgen.core.journey import Leg
from lyra.worldgen.core.views import SOURCE_PAINTED, SOURCE_WARPED, WorldViews
from lyra.worldgen.generation.cache import SpatialCache
from lyra.worldgen.generation.film_painting import seen_through
from lyra.worldgen.generation.painter import ChunkPainter, Painter
from lyra.worldgen.generation.painter_fake import PainterFake
from lyra.worldgen.generation.paths import film_camera
from lyra.worldgen.generation.pipeline import WorldPipeline, explore
from mortal_store import MortalStore
from rooms import analytic_room

pytestmark = pytest.mark.slow

ROOM = analytic_room(width_px=96, height_px=72)
LEGS = (Leg(path="horizontal_zoom:frames=17,direction=left"), Leg(path="spin"))


def run(painter=None, *, store=None, legs=LEGS, seed: int = 3, **cfg) -> WorldViews:
    return explore(
        ROOM.photo(), ROOM.geometry(), painter or ChunkPainterFake(), GenerationConfig(**cfg), seed=seed, store=store,
        journey=legs,
    )  # fmt: skip


def assert_same(a: WorldViews, b: WorldViews) -> None:
    assert len(a.views) == len(b.views)
    for x, y in zip(a.views, b.views, strict=True):
        assert x.view_id == y.view_id and x.camera == y.camera
        for name in ("rgb_u8", "depth_z_m", "valid", "source", "labels", "T_world_cam"):
            np.testing.assert_array_equal(getattr(x, name), getattr(y, name))


def test_which_painters_paint_chunks() -> None:
    """The two protocols are told apart by what they can do."""
    assert isinstance(ChunkPainterFake(), ChunkPainter)
    assert not isinstance(PainterFake(), ChunkPainter)
    assert Painter is not ChunkPainter


def test_a_film_is_painted_in_the_painters_format() -> None:
    """Every chunk has the painter's frames and size, square pixels, and begins where the one before ended."""
    store, painter = MemoryChunkStore(), ChunkPainterFake()
    run(painter, store=store)
    chunks = [chunk for _, chunk in store.chunks.values()]
    assert [chunk.facts["frames"] for chunk in chunks] == [8] * 3
    assert [chunk.facts["path"] for chunk in chunks] == [LEGS[0].path] * 2 + ["spin"]
    for chunk in chunks:
        camera = chunk.views[-1].camera
        assert (camera.width_px, camera.height_px) == (64, 32) and camera.fx_px == pytest.approx(camera.fy_px)
        assert chunk.film_mp4
    assert len(painter.begun) == 1
    first, depth = seen_through(ROOM.render(), chunks[0].views[-1].camera)
    np.testing.assert_allclose(painter.begun[0], first, atol=1e-3)
    assert np.median(np.abs(painter.hints[0].last_depth_z_m / depth - 1)) < 0.02, "the proxy's, which rounds edges"


def test_what_memory_knows_is_never_painted_over() -> None:
    """Every remembered pixel of every frame is what memory holds, to the bit; the rest is the draft's."""
    seen: list = []
    painter = ChunkPainterFake()
    pipeline = WorldPipeline(
        painter=painter, cfg=GenerationConfig(), on_frame=lambda chunk, t, view: seen.append((chunk, t, view))
    )
    world = pipeline(ROOM.photo(), ROOM.geometry(), seed=3, journey=LEGS)
    assert [(chunk, t) for chunk, t, _ in seen] == [(chunk, t) for chunk in range(3) for t in range(8)]
    cache = SpatialCache()
    for view in world.views:
        cache.add(view)
    last = world.views[-1]
    assert (last.source == SOURCE_WARPED).mean() > 0.4, "a turn comes back to what was seen"
    glimpse_rgb, known = cache.recall(points_of(last), [view.view_id for view in world.views[:-1]])
    known = known.reshape(last.valid.shape) & (last.source == SOURCE_WARPED)
    error = np.abs(glimpse_rgb.reshape(last.rgb_u8.shape)[known] - last.rgb_u8[known])
    assert np.mean(error < 1) > 0.98, "all but pixels that were filled in from their neighbours"


def points_of(view) -> np.ndarray:
    from lyra.worldgen.core.frames import transform_points

    return transform_points(view.T_world_cam, view.camera.unproject(view.depth_z_m.astype(float)).reshape(-1, 3))


def test_frames_as_they_come() -> None:
    """With keep_known off every pixel is the draft's, and only key frames are remembered."""
    store = MemoryChunkStore()
    run(ChunkPainterFake(keep_known=False), store=store)
    for index, (_, chunk) in store.chunks.items():
        views = chunk.views[1:] if index == 0 else chunk.views
        assert len(views) == int(chunk.arrays["film_keys"].sum())
        for view in views:
            assert (view.source[view.valid] == SOURCE_PAINTED).all()


def test_retrieved_views_follow_the_rule() -> None:
    """The first chunk is shown the photo; later ones never the newest view, and at most as many as it can take."""
    store, painter = MemoryChunkStore(), ChunkPainterFake()
    run(painter, store=store)
    chunks = [store.chunks[i][1] for i in range(3)]
    assert chunks[0].facts["retrieved"] == [0]
    for before, chunk, hint in zip(chunks, chunks[1:], painter.hints[1:], strict=False):
        keys = int(before.arrays["film_keys"].sum())
        newest = [v.view_id for v in before.views if v.view_id][keys - 1]
        assert newest not in chunk.facts["retrieved"] and len(chunk.facts["retrieved"]) <= 3
        assert [view.frame_id for view in hint.retrieved] == chunk.facts["retrieved"]
        for view in hint.retrieved:
            assert view.rgb.shape == (3, 32, 64) and -1 <= view.rgb.min() and view.rgb.max() <= 1


@pytest.mark.parametrize(("survived", "keep_known"), [(1, True), (2, True), (2, False)])
def test_a_killed_film_is_taken_up(survived: int, keep_known: bool, caplog) -> None:
    """The painter's own memory is made again from what was kept: the same views as in one run."""
    want = run(ChunkPainterFake(keep_known=keep_known))
    store = MortalStore(limit=survived)
    with pytest.raises(KeyboardInterrupt):
        run(ChunkPainterFake(keep_known=keep_known), store=store)
    store.limit = 99
    painter = ChunkPainterFake(keep_known=keep_known)
    assert_same(want, run(painter, store=store))
    assert painter.redrafted == 3 and len(painter.hints) == 3 - survived
    assert not caplog.records


@pytest.mark.slow
def test_only_as_many_chunks_are_drafted_again_as_the_painter_looks_back(caplog) -> None:
    """Older chunks are remembered from their views alone, and the film goes on the same."""
    legs = (*LEGS, Leg(path="out-and-back:distance=1"))
    want = run(ChunkPainterFake(lookback_chunks=1), legs=legs)
    store = MortalStore(limit=4)
    with pytest.raises(KeyboardInterrupt):
        run(ChunkPainterFake(lookback_chunks=1), store=store, legs=legs)
    store.limit = 99
    painter = ChunkPainterFake(lookback_chunks=1)
    assert_same(want, run(painter, store=store, legs=legs))
    assert painter.redrafted == 1 + 1 and not caplog.records


def test_nothing_is_taken_up_when_nothing_is_left_to_paint() -> None:
    """A finished film costs nothing."""
    store = MemoryChunkStore()
    want = run(store=store)
    painter = ChunkPainterFake()
    assert_same(want, run(painter, store=store))
    assert painter.redrafted == 0 and not painter.begun


@pytest.mark.slow
def test_undo_leaves_no_trace() -> None:
    """After a leg was taken back another one comes out as if the first had never been."""
    other = (LEGS[0], Leg(path="out-and-back:distance=1"))
    want = run(legs=other)
    store = MemoryChunkStore()
    run(store=store)
    run(store=store, legs=LEGS[:1])
    assert_same(want, run(store=store, legs=other))


def test_changed_pictures_are_said(caplog) -> None:
    """When an earlier chunk cannot be made again to the bit, the world keeps its views and the log says so."""
    legs, store = (Leg(path="spin:turns=2"),), MortalStore(limit=1)
    with pytest.raises(KeyboardInterrupt):
        run(store=store, legs=legs)
    key, chunk = store.chunks[0]
    kept = dict(chunk.arrays) | {"noise_seed": chunk.arrays["noise_seed"][::-1]}
    store.chunks[0] = key, dataclasses.replace(chunk, arrays=kept)
    store.limit = 99
    world = run(store=store, legs=legs)
    np.testing.assert_array_equal(world.views[1].rgb_u8, chunk.views[1].rgb_u8)
    assert "came out differently" in caplog.text


def test_a_chunk_that_kept_nothing() -> None:
    """A chunk of another painter cannot be taken up; that is one error."""
    store = MortalStore(limit=1)
    with pytest.raises(KeyboardInterrupt):
        run(store=store)
    key, chunk = store.chunks[0]
    store.chunks[0] = key, dataclasses.replace(chunk, arrays={})
    store.limit = 99
    with pytest.raises(InputError, match="does not hold film_Ts_world_cam"):
        run(store=store)


@pytest.mark.parametrize("path", ["auto", "turn", "forward", "loop"])
def test_looks_become_films(path: str) -> None:
    """Paths of separate looks are walked: small steps, whole chunks, and a full turn."""
    painter = ChunkPainterFake(frames=16)
    world = run(painter, legs=(Leg(path=path),))
    Ts = world.Ts_world_path
    assert len(Ts) % 16 == 0
    steps = np.linalg.norm(np.diff(Ts[:, :3, 3], axis=0), axis=1)
    assert steps.max() < 4.0 / 16 + 0.3
    turns = np.arccos(np.clip((np.einsum("nij,nij->n", Ts[1:, :3, :3], Ts[:-1, :3, :3]) - 1) / 2, -1, 1))
    assert turns.max() < 2 * np.pi / 16 + 1e-6 and turns.sum() > 2 * np.pi * 14 / 16
    if path == "loop":
        np.testing.assert_allclose(Ts[-1, :2, 3], ROOM.T_world_cam[:2, 3], atol=1e-6)


@pytest.mark.slow
def test_separate_looks_of_a_robot_are_refused() -> None:
    """`explore` jumps from place to place; the message names what works."""
    with pytest.raises(ConfigError, match=r"path 'explore' looks at separate places.* auto"):
        run(legs=(Leg(path="explore"),))


def test_a_changing_lens() -> None:
    """A path whose focal length changes keeps one camera a frame, also when it is taken up."""
    legs = (Leg(path="dolly_zoom:frames=17"),)
    want = run(legs=legs)
    store = MortalStore(limit=1)
    with pytest.raises(KeyboardInterrupt):
        run(store=store, legs=legs)
    store.limit = 99
    got = run(store=store, legs=legs)
    assert_same(want, got)
    assert len({view.camera.fx_px for view in got.views}) > 3


def test_wrong_drafts_are_refused() -> None:
    """Frames of another shape or with NaN are the painter's fault."""

    class Odd(ChunkPainterFake):
        def __init__(self, change) -> None:
            super().__init__()
            self.change = change

        def redraft(self, memory, kept):
            draft = super().redraft(memory, kept)
            return dataclasses.replace(draft, **self.change(draft))

    with pytest.raises(BackendError, match=r"frames of shape \(7, 32, 64, 3\)"):
        run(Odd(lambda draft: {"frames": draft.frames[:7]}))
    with pytest.raises(BackendError, match="NaN or infinite"):
        run(Odd(lambda draft: {"frames": draft.frames * np.nan}))
    with pytest.raises(BackendError, match="reserved names: film_keys"):
        run(Odd(lambda draft: {"kept": {"film_keys": np.zeros(1)}}))


def test_without_memory() -> None:
    """The measure of what memory is worth runs with chunks too."""
    pipeline = WorldPipeline(painter=ChunkPainterFake(), cfg=GenerationConfig(path="spin"), remember=False)
    assert len(pipeline(ROOM.photo(), ROOM.geometry(), seed=3).views) == 1 + 8


def test_another_lens_at_the_same_pose() -> None:
    """A narrower lens shows the middle; a coarser one the mean; a wider one has no depth outside."""
    view = ROOM.render()
    same, depth = seen_through(view, view.camera)
    np.testing.assert_array_equal(same, view.rgb_u8)
    np.testing.assert_array_equal(depth, view.depth_z_m)
    half = view.camera.resized(48, 36)
    small, small_depth = seen_through(view, half)
    assert abs(small.mean() - same.mean()) < 1
    assert np.isin(small_depth, depth).all()
    wide = PinholeCamera.from_hfov(96, 72, 2.5)
    _, wide_depth = seen_through(view, wide)
    assert (wide_depth == 0).mean() > 0.3 and (wide_depth[30:40, 44:52] > 0).all()
    narrow = film_camera(view.camera, ChunkPainterFake(width_px=96, height_px=32).film)
    np.testing.assert_allclose(seen_through(view, narrow)[0], same[20:52], atol=1e-3)
