"""The embedded painter: a ring that closes, holes that keep what is known, and no pixel from where it must not come."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import ConfigError, InputError
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.progress import SILENT
from lyra.worldgen.generation.equirect import elevation_map, level_strip
from lyra.worldgen.generation.painter import PAINTERS, PaintHint
from lyra.worldgen.generation.painter_fake import PainterFake
from lyra.worldgen.generation.painter_patch import PatchPainter, boundary_at, hole_boxes
from lyra.worldgen.generation.ring_collage import UPRIGHT_BAND_DEG, lay_out, least_cost_seam
from lyra.worldgen.generation.ring_course import plan_course
from rooms import analytic_room

ROOM = analytic_room(width_px=160, height_px=120, boxes=False)


def grained(rgb_u8: np.ndarray, seed: int = 0) -> np.ndarray:
    """The analytic room is flat-coloured; grain makes sharpness measurable."""
    noise = np.random.default_rng(seed).normal(0, 9, rgb_u8.shape[:2])[..., None]
    return np.clip(rgb_u8 + noise, 0, 255).astype(np.uint8)


def photo():
    plain = ROOM.photo()
    return dataclasses.replace(plain, rgb_u8=grained(plain.rgb_u8))


def gradient(rgb: np.ndarray, where: np.ndarray | None = None) -> float:
    """Mean horizontal and vertical step."""
    grey = rgb.astype(float).mean(-1)
    step = np.abs(np.diff(grey, axis=1))[:-1] + np.abs(np.diff(grey, axis=0))[:, :-1]
    return float(step.mean() if where is None else step[where[:-1, :-1]].mean())


@pytest.fixture(scope="module")
def painter() -> PatchPainter:
    painter = PatchPainter(rows=96)
    painter.ring = painter.prepare(photo(), ROOM.geometry(), seed=1, progress=SILENT)
    return painter


def test_registered():
    """The pipeline finds the painter by name."""
    assert PAINTERS.load("patch") is PatchPainter


def test_ring_closes_and_keeps_the_photo(painter):
    """A full turn, photo pixels copied from the photo, no step where the turn closes."""
    ring = painter.ring
    rows, columns, _ = ring.rgb_u8.shape
    step = 2 * np.pi / columns
    np.testing.assert_allclose(np.diff(ring.azimuth_rad), -step, atol=1e-12)
    np.testing.assert_allclose(ring.azimuth_rad[0] - ring.azimuth_rad[-1], 2 * np.pi - step, atol=1e-9)
    assert (np.diff(ring.elevation_rad) < 0).all() and len(ring.elevation_rad) == rows
    strip = level_strip(photo().rgb_u8, ROOM.geometry().labels, ROOM.camera, ROOM.T_world_cam, rows_max=96)
    want = np.clip(strip.rgb + 0.5, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(ring.rgb_u8[ring.from_photo], want[strip.from_photo])
    inner = np.abs(np.diff(ring.rgb_u8.astype(int), axis=1)).mean()
    closing = np.abs(ring.rgb_u8[:, 0].astype(int) - ring.rgb_u8[:, -1]).mean()
    assert closing <= 3 * inner
    painted = np.roll(ring.rgb_u8, columns // 2, 1)[:, : columns // 2]
    first, end = strip.sector
    assert 0.75 < gradient(painted) / gradient(ring.rgb_u8[:, first:end]) < 1.3


def test_column_map_stays_in_the_photo(painter):
    """Every column says which photo azimuth it copies; inside the photo it is its own source."""
    ring = painter.ring
    half = ROOM.camera.hfov_rad / 2
    assert np.abs(ring.source_azimuth_rad).max() <= half + 0.02
    inside = ring.from_photo.mean(0) > 0.9
    np.testing.assert_allclose(ring.source_azimuth_rad[inside], ring.azimuth_rad[inside])
    assert not ring.mirrored[inside].any()
    # Where no joint is near, the picture really is a copy of that column.
    columns = np.arange(len(ring.azimuth_rad))
    step = ring.azimuth_rad[0] - ring.azimuth_rad[1]
    source = np.round((ring.azimuth_rad[0] - ring.source_azimuth_rad) / step).astype(int)
    joints = np.flatnonzero(
        (np.abs(np.diff(source, prepend=source[-1])) > 4)
        | (ring.mirrored != np.roll(ring.mirrored, 1))
        | (inside != np.roll(inside, 1))
    )
    away = np.abs((columns[:, None] - joints[None] + len(columns) // 2) % len(columns) - len(columns) // 2).min(1)
    clear = ~inside & (away > np.radians(8) / step)
    assert clear.any()
    middle = len(ring.elevation_rad) // 2
    difference = np.abs(ring.rgb_u8[middle, clear].astype(int) - ring.rgb_u8[middle, source[clear]])
    assert np.median(difference) < 25


@pytest.mark.slow
def test_ring_repeats_bit_for_bit(painter):
    """Same seed, same ring, for any number of threads; another seed paints another one around the same photo."""
    again = PatchPainter(rows=96, threads=2).prepare(photo(), ROOM.geometry(), seed=1)
    np.testing.assert_array_equal(again.rgb_u8, painter.ring.rgb_u8)
    other = PatchPainter(rows=96).prepare(photo(), ROOM.geometry(), seed=2)
    np.testing.assert_array_equal(other.rgb_u8[other.from_photo], again.rgb_u8[again.from_photo])
    assert (other.rgb_u8 != again.rgb_u8).mean() > 0.1


@pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(-25.0, 0.0), (20.0, 6.0), (0.0, -15.0)])
def test_tilted_photos_are_levelled(pitch_deg, roll_deg):
    """Pitch and roll are taken out: the strip shows each world direction where it belongs."""
    tilted = analytic_room(width_px=160, height_px=120, boxes=False, pitch_deg=pitch_deg, roll_deg=roll_deg)
    strip = level_strip(tilted.photo().rgb_u8, tilted.geometry().labels, tilted.camera, tilted.T_world_cam, rows_max=96)
    el, az = np.meshgrid(strip.elevation_rad, strip.azimuth_rad, indexing="ij")
    rays = np.stack([np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el)], -1).reshape(-1, 3)
    t, surface = tilted.cast(tilted.T_world_cam[:3, 3], rays)
    want = tilted.colour(tilted.T_world_cam[:3, 3] + t[:, None] * rays, surface).reshape(*el.shape, 3)
    wrong = np.abs(strip.rgb - want).max(-1) > 40
    assert wrong[strip.from_photo].mean() < 0.06  # checker edges only
    first, end = strip.sector
    assert strip.from_photo[:, first:end].mean() > 0.7


def test_mirror_mode_is_a_fold(painter):
    """The cheap mode copies columns back and forth and closes as well."""
    ring = PatchPainter(rows=96, mode="mirror").prepare(photo(), ROOM.geometry(), seed=1)
    outside = ring.from_photo.mean(0) < 0.1
    assert 0.3 < ring.mirrored[outside].mean() < 0.9
    assert ring.rgb_u8[:, outside].std() > 5


def turned(heading_deg: float):
    T = camera_pose(ROOM.T_world_cam[:3, 3], heading_rad=np.radians(heading_deg))
    view = ROOM.render(T_world_cam=T)
    return view, T


def hint_of(view, T, known, **kw) -> PaintHint:
    rgb = np.where(known[..., None], view.rgb_u8, 77).astype(np.uint8)
    return PaintHint(
        rgb_u8=rgb[None],
        known=known[None],
        labels=view.labels[None],
        camera=view.camera,
        Ts_world_cam=T[None],
        **kw,
    )


@pytest.mark.slow
@settings(max_examples=5)
@given(share=st.sampled_from([0.0, 0.02, 0.3, 1.0]), seed=st.integers(0, 2**32 - 1), flat=st.booleans())
def test_known_pixels_come_back(painter, share, seed, flat):
    """Any mask, with and without a camera: known pixels bit for bit, uint8, right shape."""
    view, T = turned(20)
    rng = np.random.default_rng(seed)
    known = np.kron(rng.random((15, 20)) >= share, np.ones((8, 8), bool))
    hint = hint_of(view, T, known)
    if flat:
        hint = dataclasses.replace(hint, camera=None, Ts_world_cam=None, labels=None)
    out = painter.paint(hint, seed=seed)
    assert out.shape == hint.rgb_u8.shape and out.dtype == np.uint8
    np.testing.assert_array_equal(out[hint.known], hint.rgb_u8[hint.known])
    np.testing.assert_array_equal(out, painter.paint(hint, seed=seed))


def test_floor_comes_from_floor(painter):
    """A hole across floor and wall is filled with each one's own material."""
    view, T = turned(0)
    known = np.ones(view.labels.shape, bool)
    known[30:100, 60:100] = False
    out = painter.paint(hint_of(view, T, known), seed=3)[0].astype(float)
    hole = ~known
    for label in (Label.FLOOR, Label.WALL):
        here = hole & (view.labels == label)
        truth = view.rgb_u8[here].mean(0)
        np.testing.assert_allclose(out[here].mean(0), truth, atol=40)


@pytest.mark.slow
def test_nothing_red_behind_a_red_box(rng):
    """Foreground is neither copied nor looked at: the hole beside it shows background only."""
    view, T = turned(0)
    rgb = grained(np.full((120, 160, 3), 120, np.uint8))
    labels = np.full((120, 160), Label.WALL, np.uint8)
    rgb[30:110, 50:80], labels[30:110, 50:80] = [230, 10, 10], Label.OBJECT
    known = np.ones_like(labels, bool)
    known[30:110, 80:100] = False
    geometry = dataclasses.replace(ROOM.geometry(), labels=labels)
    painter = PatchPainter(rows=32)
    painter.prepare(dataclasses.replace(photo(), rgb_u8=rgb), geometry, seed=0)
    hint = PaintHint(rgb_u8=rgb[None], known=known[None], labels=labels[None], camera=view.camera, Ts_world_cam=T[None])
    for labels_known in (True, False):
        use = hint if labels_known else dataclasses.replace(hint, labels=None)
        out = painter.paint(use, seed=0)[0].astype(int)
        redness = (out[..., 0] - out[..., 1])[~known]
        if labels_known:
            assert redness.max() < 40
        else:  # without labels the box is context like everything else, but still never copied
            assert np.mean(redness > 100) < 0.1


@pytest.mark.slow
def test_unseen_side_of_an_object_looks_like_the_object(rng):
    """Where the proxy says object, the object's own pixels are the source."""
    view, T = turned(0)
    rgb = grained(np.full((120, 160, 3), 120, np.uint8))
    labels = np.full((120, 160), Label.WALL, np.uint8)
    rgb[30:110, 40:90], labels[30:110, 40:100] = [200, 30, 30], Label.OBJECT
    labels[30:110, 90:100] = Label.WALL
    painter = PatchPainter(rows=32)
    painter.prepare(
        dataclasses.replace(photo(), rgb_u8=rgb), dataclasses.replace(ROOM.geometry(), labels=labels), seed=0
    )
    target = labels.copy()
    target[30:110, 90:110] = Label.OBJECT
    known = np.ones_like(labels, bool)
    known[30:110, 90:110] = False
    hint = PaintHint(rgb_u8=rgb[None], known=known[None], labels=target[None], camera=view.camera, Ts_world_cam=T[None])
    out = painter.paint(hint, seed=0)[0]
    assert out[~known][:, 0].mean() > 170 and out[~known][:, 1].mean() < 70


@pytest.mark.slow
def test_painting_feeds_nothing_back():
    """Steps round a loop: no drift in sharpness or colour, and the painter does not remember what it painted."""
    painter = PatchPainter(rows=32)
    picture = photo()
    painter.prepare(picture, ROOM.geometry(), seed=0)
    sharp, colour = gradient(picture.rgb_u8), picture.rgb_u8.mean((0, 1)) / 255
    rows = slice(20, 100)
    frame = picture.rgb_u8
    camera = ROOM.camera
    for step in range(6):
        T = camera_pose(ROOM.T_world_cam[:3, 3], heading_rad=-0.5 * (step + 1))
        known = np.zeros(frame.shape[:2], bool)
        known[:, :100] = True
        shifted = np.concatenate([frame[:, 60:], frame[:, :60]], 1)
        hint = PaintHint(rgb_u8=shifted[None], known=known[None], camera=camera, Ts_world_cam=T[None])
        frame = painter.paint(hint, seed=step)[0]
        new = frame[rows, 104:]
        assert 0.6 < gradient(new) / sharp < 1.4
        assert np.abs(new.mean((0, 1)) / 255 - colour).mean() < 0.12
    fresh = PatchPainter(rows=32)
    fresh.prepare(picture, ROOM.geometry(), seed=0)
    np.testing.assert_array_equal(fresh.paint(hint, seed=5)[0], frame)


def swd(a: np.ndarray, b: np.ndarray, *, patch: int = 7, seed: int = 0) -> float:
    """Sliced distance between the patch distributions of two pictures."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(patch * patch * 3, 64))
    directions /= np.linalg.norm(directions, axis=0)
    q = np.linspace(0.01, 0.99, 99)

    def quantiles(x):
        windows = np.lib.stride_tricks.sliding_window_view(x.astype(float) / 255, (patch, patch), axis=(0, 1))
        return np.quantile(windows.reshape(-1, patch * patch * 3) @ directions, q, axis=0)

    return float(np.abs(quantiles(a) - quantiles(b)).mean())


@pytest.mark.slow
def test_beats_diffusing_colour_into_the_hole(painter):
    """Patch statistics of a large hole are nearer to the photo's than those of Telea and Navier-Stokes inpainting."""
    import cv2

    view, T = turned(0)
    picture = photo().rgb_u8
    known = np.ones(view.labels.shape, bool)
    known[20:110, 60:130] = False
    hint = dataclasses.replace(hint_of(view, T, known), rgb_u8=np.where(known[..., None], picture, 0)[None])
    box = np.s_[20:110, 60:130]
    truth = picture[box]
    ours = swd(painter.paint(hint, seed=0)[0][box], truth)
    mask = (~known).astype(np.uint8)
    for flag in (cv2.INPAINT_TELEA, cv2.INPAINT_NS):
        assert ours < swd(cv2.inpaint(hint.rgb_u8[0], mask, 5, flag)[box], truth)


def test_small_holes_are_nearly_free(painter):
    """The work follows the hole, not the frame."""
    view, T = turned(0)
    speck, half = np.ones((2, *view.labels.shape), bool)
    speck[50:53, 70:73] = False
    half[:, 80:] = False

    def cost(known):
        hint = hint_of(view, T, known)
        painter.paint(hint, seed=0)
        start = time.process_time()
        painter.paint(hint, seed=0)
        return time.process_time() - start

    assert cost(speck) < 0.5 * cost(half)


@given(seed=st.integers(0, 2**32 - 1))
def test_boxes_hold_every_hole(seed):
    """All holes lie inside a box with some surroundings, and boxes do not overlap."""
    rng = np.random.default_rng(seed)
    hole = np.zeros((90, 120), bool)
    for _ in range(rng.integers(0, 8)):
        y, x = rng.integers(0, 80), rng.integers(0, 110)
        hole[y : y + rng.integers(1, 10), x : x + rng.integers(1, 10)] = True
    count = np.zeros(hole.shape, int)
    for box in hole_boxes(hole):
        count[box] += 1
    assert (count[hole] == 1).all() and count.max(initial=0) <= 1


def test_seam_follows_the_cheap_path():
    """The cut runs where the cost is low and never jumps by more than a column."""
    cost = np.ones((40, 12), np.float32)
    path = np.clip(3 + np.arange(40) // 8, 0, 11)
    cost[np.arange(40), path] = 0
    seam = least_cost_seam(cost)
    np.testing.assert_array_equal(seam, path)
    assert np.abs(np.diff(seam)).max() <= 1


@pytest.mark.parametrize("upright", [False, True])
def test_walls_of_a_room_end_straight(upright):
    """In a room the seams above the floor are straight and the bands around them narrow; elsewhere they may be wide."""
    picture, geometry = photo(), ROOM.geometry()
    rng = np.random.default_rng(1)
    # Every part of the wall has another colour, so that slabs disagree at every joint.
    stripes = rng.integers(40, 220, (1, 8, 3)).repeat(20, 1)
    picture.rgb_u8[:] = np.where((geometry.labels == Label.FLOOR)[..., None], picture.rgb_u8, stripes)
    strip = level_strip(picture.rgb_u8, geometry.labels, geometry.camera, geometry.T_world_cam, rows_max=96)
    first, end = strip.sector
    boundary_m = boundary_at(geometry.layout, strip.azimuth_rad[first:end])
    course = plan_course(strip, seed=0, boundary_m=boundary_m, room=None, mirror_only=False)
    collage = lay_out(strip, course, upright=upright)
    band = collage.hole & (collage.labels != Label.FLOOR)
    wall = slice(30, 45)
    where = band[wall].any(0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], where.astype(int), [0]])))
    widest_deg = float((edges[1::2] - edges[::2]).max() * np.degrees(strip.step_rad))
    assert (widest_deg < 2 * UPRIGHT_BAND_DEG + 1.5) == upright


def test_elevation_of_a_level_camera():
    """The middle row of a level camera looks at the horizon, rows above look up."""
    camera = PinholeCamera.from_hfov(64, 48, np.radians(80))
    elevation = elevation_map(camera, camera_pose(np.array([0, 0, 1.5])))
    np.testing.assert_allclose(elevation[23:25].mean(0), 0, atol=1e-6)
    assert elevation[0, 32] > 0.3


def test_boundary_of_a_direction():
    """Distances are looked up at the nearest bin, across the back as well."""
    layout = ROOM.geometry().layout
    np.testing.assert_allclose(boundary_at(layout, np.array([0.0])), 5.0, atol=0.01)


def test_misuse_is_refused():
    """Each mistake is named."""
    view, T = turned(0)
    known = np.zeros(view.labels.shape, bool)
    with pytest.raises(InputError, match="nothing to copy from"):
        PatchPainter().paint(hint_of(view, T, known), seed=0)
    with pytest.raises(ConfigError, match="mode is 'fast'"):
        PatchPainter(mode="fast")
    with pytest.raises(ConfigError, match="threads"):
        PatchPainter(threads=0)
    with pytest.raises(InputError, match=r"hint.known has shape"):
        PatchPainter().paint(dataclasses.replace(hint_of(view, T, known), known=known[None, :-1]), seed=0)
    with pytest.raises(InputError, match="allows no pixel"):
        PatchPainter().paint(hint_of(view, T, known, source_rgb_u8=view.rgb_u8, source_ok=np.zeros_like(known)), seed=0)


def test_fake_painter_fills_with_the_mean():
    """The stand-in keeps known pixels and needs no preparation."""
    view, T = turned(0)
    known = np.ones(view.labels.shape, bool)
    known[:, :50] = False
    hint = hint_of(view, T, known)
    out = PainterFake().paint(hint, seed=0)
    np.testing.assert_array_equal(out[hint.known], hint.rgb_u8[hint.known])
    np.testing.assert_allclose(out[0, 5, 5], view.rgb_u8[known].mean(0), atol=1)
    assert PainterFake().prepare(photo(), ROOM.geometry(), seed=0, progress=SILENT) is None
