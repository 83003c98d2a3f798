"""Finished chunks: both stores keep and forget alike, and what lies on the disk is what was given."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.chunks import Chunk, ChunkStore, FolderChunkStore, MemoryChunkStore, read_arrays, write_arrays
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.journey import Leg, journey_from_json, leg_to_json, shortened
from lyra.worldgen.core.manifest import Manifest, PhotoRecord, world_id
from lyra.worldgen.core.views import RgbdView
from lyra.worldgen.core.world_writer import open_for_writing


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """Flushing is for power cuts, which no test makes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def manifest() -> Manifest:
    photo = PhotoRecord(name="a.jpg", sha256="0" * 64, size_px=(4, 3))
    return Manifest(generator="test", photo=photo, config={"seed": 1}, plan=("explore",))


def view(view_id: int) -> RgbdView:
    rng = np.random.default_rng(view_id)
    return RgbdView(
        view_id=view_id,
        camera=PinholeCamera.from_hfov(4, 3, 1.0),
        T_world_cam=np.eye(4),
        rgb_u8=rng.integers(0, 255, (3, 4, 3), dtype=np.uint8),
        depth_z_m=rng.uniform(1, 2, (3, 4)).astype(np.float32),
        valid=np.ones((3, 4), bool),
        source=np.full((3, 4), 2, np.uint8),
        labels=np.zeros((3, 4), np.uint8),
    )


def chunk(first: int, count: int = 2) -> Chunk:
    return Chunk(
        views=tuple(view(first + i) for i in range(count)),
        Ts_world_path=np.stack([np.eye(4)] * 3),
        facts={"leg": 0, "last": False},
        film_mp4=b"film" if first else b"",
    )


def same(a: Chunk | None, b: Chunk) -> bool:
    if a is None or a.facts != b.facts or a.film_mp4 != b.film_mp4 or len(a.views) != len(b.views):
        return False
    pairs = [
        (getattr(x, f.name), getattr(y, f.name))
        for x, y in zip(a.views, b.views, strict=True)
        for f in fields(RgbdView)
    ]
    return all(np.array_equal(x, y) for x, y in [*pairs, (a.Ts_world_path, b.Ts_world_path)])


def test_stores_agree(tmp_path: Path) -> None:
    """Both give back exactly what they were given under its key, and saving one chunk forgets all later ones."""
    with open_for_writing(tmp_path / "w") as writer:
        writer.start(manifest())
        stores: list[ChunkStore] = [MemoryChunkStore(), FolderChunkStore(writer, stage="explore", inputs="i")]
        for store in stores:
            assert store.load_chunk(0, "k0") is None
            chunks = [chunk(0), chunk(2), chunk(4, 1)]
            for i, item in enumerate(chunks):
                store.save_chunk(i, f"k{i}", item)
            assert all(same(store.load_chunk(i, f"k{i}"), item) for i, item in enumerate(chunks))
            assert store.load_chunk(1, "other") is None
            np.testing.assert_array_equal(store.load_view(3).rgb_u8, chunks[1].views[1].rgb_u8)
            store.save_chunk(1, "new", chunk(2, 1))
            assert store.load_chunk(2, "k2") is None and same(store.load_chunk(0, "k0"), chunks[0])
            store.save_arrays("prepared", "p", {"a": np.arange(3)})
            arrays = store.load_arrays("prepared", "p")
            assert arrays is not None and arrays["a"].tolist() == [0, 1, 2]
            assert store.load_arrays("prepared", "q") is None
            store.keep_chunks(0)
            assert store.load_chunk(0, "k0") is None
        left = sorted(p.name for p in (tmp_path / "w" / "memory").rglob("*") if p.is_file())
        assert left == ["prepared.npz"]


def test_a_damaged_view_costs_its_chunk(tmp_path: Path) -> None:
    """A file that is not what it was is never handed out."""
    with open_for_writing(tmp_path / "w") as writer:
        writer.start(manifest())
        store = FolderChunkStore(writer, stage="explore", inputs="i")
        store.save_chunk(0, "k", chunk(0))
        path = tmp_path / "w" / "memory" / "views" / "view_00001.npz"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        assert store.load_chunk(0, "k") is None
        assert FolderChunkStore(writer, stage="explore", inputs="other").load_chunk(0, "k") is None


def test_array_files_depend_on_the_arrays_only(tmp_path: Path) -> None:
    """Order and time do not show in the bytes; objects are refused; damaged files are named."""
    a, b = {"x": np.arange(3), "y": np.ones(2)}, {"y": np.ones(2), "x": np.arange(3)}
    for name, arrays in (("a", a), ("b", b)):
        with open(tmp_path / name, "wb") as file:
            write_arrays(file, arrays)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(ValueError), open(tmp_path / "c", "wb") as file:
        write_arrays(file, {"x": np.array([object()])})
    (tmp_path / "d").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="no plain arrays"):
        read_arrays(tmp_path / "d")


LEG = Leg(path="walk.npz#0123456789ab", prompt="a hall", captions={0: "a", 81: "b"}, chunks=3, first=1, seed=7)


def test_journeys_survive_json_and_decide_the_id() -> None:
    """A leg comes back equal; a world without a journey keeps the id that it always had."""
    assert journey_from_json([leg_to_json(LEG)]) == (LEG,)
    photo, config = "0" * 64, {"seed": 1}
    assert world_id(photo, config) == world_id(photo, config, ())
    assert len({world_id(photo, config, legs) for legs in ((), (LEG,), (LEG, LEG), (replace(LEG, chunks=2),))}) == 4


@pytest.mark.parametrize(
    "data",
    [{}, [3], [{}], [{"path": 3}], [{"path": "a", "chunks": 0}], [{"path": "a", "chunks": True}],
     [{"path": "a", "captions": {"x": "y"}}], [{"path": "a", "seed": -1}], [{"path": "a", "first": -1}],
     [{"path": "a", "pose_scale": True}], [{"path": "a", "pose_scale": 0}]],
)  # fmt: skip
def test_journeys_that_make_no_sense_are_refused(data) -> None:
    """world.json may come from anybody."""
    with pytest.raises(InputError, match="journey"):
        journey_from_json(data)


def test_shortening_cuts_the_last_legs() -> None:
    """Whole legs go first, then chunks of the one before."""
    legs = (Leg(path="auto"), Leg(path="spin"), Leg(path="loop"))
    assert shortened(legs, [4, 2, 3], 9) == legs
    assert shortened(legs, [4, 2, 3], 7) == (*legs[:2], replace(legs[2], chunks=1))
    assert shortened(legs, [4, 2, 3], 6) == legs[:2]
    assert shortened(legs, [4, 2, 3], 1) == (replace(legs[0], chunks=1),)
