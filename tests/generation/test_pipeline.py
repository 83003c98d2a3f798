"""The cached loop: what was seen stays, what was not is painted once, and a killed run comes back to the same world."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lyra.worldgen.core.config import GenerationConfig
from lyra.worldgen.core.errors import BackendError, InputError
from lyra.worldgen.core.frames import camera_pose, transform_points
from lyra.worldgen.core.views import SOURCE_PAINTED, SOURCE_PHOTO, SOURCE_WARPED, WorldViews
from lyra.worldgen.generation.cache import SpatialCache
from lyra.worldgen.generation.painter import PaintHint
from lyra.worldgen.generation.pipeline import explore
from mortal_store import MortalStore
from rooms import AnalyticRoom, analytic_room


class MeanPainterFake:
    """Fills what is unknown with one colour that depends on the seed."""

    name = "mean-fake"
    weights_licence = "none"

    def __init__(self) -> None:
        self.hints: list[PaintHint] = []

    def prepare(self, photo, geometry, *, seed, progress, ring=None):
        return None

    def paint(self, hint: PaintHint, *, seed: int) -> np.ndarray:
        self.hints.append(hint)
        out = hint.rgb_u8.copy()
        out[~hint.known] = np.random.default_rng(seed).integers(0, 255, 3, dtype=np.uint8)
        return out


CFG = GenerationConfig(view_long_side_px=96, path="auto")


def run(room: AnalyticRoom, *, seed: int = 3, cfg: GenerationConfig = CFG, store=None, painter=None) -> WorldViews:
    return explore(room.photo(), room.geometry(), painter or MeanPainterFake(), cfg, seed=seed, store=store)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-12)))


def test_closing_the_loop_returns_the_photo() -> None:
    """After a full turn the view at the photo's own pose shows the photo wherever the photo reaches."""
    room = analytic_room(width_px=96, height_px=72)
    world = run(room, cfg=dataclasses.replace(CFG, path="turn"))
    home = world.views[-1]
    np.testing.assert_array_equal(home.T_world_cam, room.T_world_cam)
    known = home.source == SOURCE_WARPED
    assert known.mean() > 0.99
    assert psnr(home.rgb_u8[known], room.photo().rgb_u8[known]) >= 40
    np.testing.assert_array_equal(home.depth_z_m, world.views[0].depth_z_m)
    assert world.metrics["loop_closure_psnr_db"] >= 40
    assert world.metrics["forward_warp_psnr_db"] >= 20  # one-pixel checker edges, resampled twice


def test_every_surface_point_has_one_colour() -> None:
    """A point that two views see is painted in the first of them and remembered in the second."""
    world = run(analytic_room())
    assert world.views[0].source.max() == SOURCE_PHOTO
    shares = [np.mean(v.source == SOURCE_PAINTED) for v in world.views[1:]]
    assert shares[-1] < 0.01  # coming home adds nothing
    assert np.mean(shares[8:]) < np.mean(shares[:8])


def test_same_seed_same_world_other_seed_other_paint() -> None:
    """Views depend on the seed and on nothing else."""
    room = analytic_room()
    a, b, c = run(room), run(room), run(room, seed=4)
    for x, y in zip(a.views, b.views, strict=True):
        np.testing.assert_array_equal(x.rgb_u8, y.rgb_u8)
        np.testing.assert_array_equal(x.depth_z_m, y.depth_z_m)
    assert any(not np.array_equal(x.rgb_u8, y.rgb_u8) for x, y in zip(a.views, c.views, strict=True))
    for x, y in zip(a.views, c.views, strict=True):
        np.testing.assert_array_equal(x.depth_z_m, y.depth_z_m)


@pytest.mark.slow
@pytest.mark.parametrize("survived", [0, 1, 2])
def test_killed_after_any_chunk_it_resumes_to_the_same_world(survived: int) -> None:
    """Chunks saved before the kill are reused; the finished world equals an uninterrupted one."""
    room = analytic_room()
    want = run(room)
    store = MortalStore(limit=survived)
    with pytest.raises(KeyboardInterrupt):
        run(room, store=store)
    store.limit = 99
    painter = MeanPainterFake()
    got = run(room, store=store, painter=painter)
    for x, y in zip(want.views, got.views, strict=True):
        assert x.view_id == y.view_id and x.camera == y.camera
        for name in ("rgb_u8", "depth_z_m", "valid", "source", "labels", "T_world_cam"):
            np.testing.assert_array_equal(getattr(x, name), getattr(y, name))
    if survived:
        assert len(painter.hints) < len(want.views) - 9


@pytest.mark.parametrize("path", ["turn", "forward", "loop", "auto"])
def test_cameras_stay_out_of_geometry(path: str) -> None:
    """No pose of a view or of the film lies inside or behind anything."""
    room = analytic_room()
    world = run(room, cfg=dataclasses.replace(CFG, path=path, view_long_side_px=64))
    from lyra.worldgen.core.raycast import Raycaster

    assert world.proxy is not None
    a = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    around = np.stack([np.cos(a), np.sin(a), 0 * a], 1)
    caster = Raycaster(world.proxy)
    poses = np.concatenate([np.stack([v.T_world_cam for v in world.views]), world.Ts_world_path])
    for position in np.unique(np.round(poses[:, :3, 3], 6), axis=0):
        t, face, _ = caster.cast(position, around)
        assert t.min() > 0.1
        assert (np.einsum("ij,ij->i", world.proxy.face_normals()[face], around) < 0).mean() > 0.99


def test_painter_that_touches_known_pixels_is_refused() -> None:
    """The memory's promise is enforced, not hoped for."""

    class Careless(MeanPainterFake):
        def paint(self, hint, *, seed):
            return np.zeros_like(hint.rgb_u8)

    with pytest.raises(BackendError, match="already known"):
        run(analytic_room(), painter=Careless())


def test_memory_recalls_exact_colours_and_hides_what_is_behind() -> None:
    """Visible points return the colour of their pixel; points behind the surface stay unknown."""
    room = analytic_room(width_px=96, height_px=72)
    cache = SpatialCache()
    cache.add(room.render())
    other = room.render(T_world_cam=camera_pose(np.array([0.3, 0.2, 1.4]), heading_rad=0.2), view_id=1)
    points = transform_points(other.T_world_cam, other.camera.unproject(other.depth_z_m.astype(float)).reshape(-1, 3))
    ids = cache.retrieve(other.camera, other.T_world_cam, count=5)
    assert ids == [0]
    rgb, known = cache.recall(points, ids)
    assert 0.5 < known.mean() < 1.0
    error = np.abs(rgb - other.rgb_u8.reshape(-1, 3)).max(1)[known]
    assert np.median(error) < 2 and np.mean(error > 30) < 0.12  # checker edges are one pixel wide in either view
    eye = other.T_world_cam[:3, 3]
    _, beyond = cache.recall(eye + 1.3 * (points - eye), ids)
    assert beyond.mean() < 0.02
    with pytest.raises(InputError, match="already remembered"):
        cache.add(other if other.view_id in [v.view_id for v in cache] else room.render())
