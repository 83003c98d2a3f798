"""The sky around the zenith: found again from any point on the dome, made of the photo's sky, and not smeared."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.views import Photo, PhotoGeometry
from lyra.worldgen.generation.painter_patch import PatchPainter
from lyra.worldgen.generation.scene import planes_from_arrays, planes_to_arrays
from lyra.worldgen.generation.sky import SkyTexture, paint_sky
from rooms import analytic_room

ROOM = analytic_room(width_px=160, height_px=120, boxes=False)


@pytest.fixture(scope="module")
def outdoors() -> tuple[Photo, PhotoGeometry]:
    """A photo with clouds above a green field."""
    import cv2

    rng = np.random.default_rng(0)
    cloud = cv2.GaussianBlur(rng.normal(0, 1, (120, 160)), (0, 0), 3)
    cloud = np.clip(cloud / cloud.std(), -1.5, 1.5)[..., None] * [45, 30, 10] + [170, 195, 235]
    sky = np.arange(120)[:, None] < 60
    rgb = np.where(sky[..., None], cloud, [70, 120, 50]).clip(0, 255).astype(np.uint8)
    labels = np.where(sky, Label.SKY, Label.FLOOR).astype(np.uint8) * np.ones((1, 160), np.uint8)
    geometry = ROOM.geometry()
    layout = dataclasses.replace(geometry.layout, ceiling_m=None)
    return dataclasses.replace(ROOM.photo(), rgb_u8=rgb), dataclasses.replace(geometry, labels=labels, layout=layout)


@pytest.mark.slow
def test_zenith_is_clouds_like_those_of_the_photo(outdoors) -> None:
    """Straight up it is as blue and as cloudy as ahead; the field is nowhere in it."""
    photo, geometry = outdoors
    ring = PatchPainter(rows=64).prepare(photo, geometry, seed=0)
    sky = paint_sky(photo, geometry, ring, seed=0)
    assert sky is not None
    side = len(sky.rgb_u8)
    middle = sky.rgb_u8[side // 2 - 80 : side // 2 + 80, side // 2 - 80 : side // 2 + 80].astype(float)
    shown = photo.rgb_u8[geometry.labels == Label.SKY].astype(float)
    np.testing.assert_allclose(middle.mean((0, 1)), shown.mean(0), atol=12)
    assert 0.5 < middle[..., 0].std() / shown[:, 0].std() < 1.5
    green = sky.rgb_u8[..., 1].astype(int) - sky.rgb_u8[..., 2]
    assert not (green[sky.known] > 20).any()
    again = paint_sky(photo, geometry, ring, seed=0)
    assert again is not None
    np.testing.assert_array_equal(again.rgb_u8, sky.rgb_u8)


def test_no_sky_no_texture(outdoors) -> None:
    """A photo without sky has nothing to paint one from."""
    photo, geometry = outdoors
    ring = PatchPainter(rows=64, mode="mirror").prepare(photo, geometry, seed=0)
    bare = dataclasses.replace(geometry, labels=np.full_like(geometry.labels, Label.WALL))
    assert paint_sky(photo, bare, ring, seed=0) is None


def test_directions_are_found_again_and_survive_storage() -> None:
    """A colour written at an angle from the zenith is read back there, at any distance, and after a round trip."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (101, 101, 3), dtype=np.uint8)
    sky = SkyTexture(eye_m=1.5, rad_per_cell=0.02, rgb_u8=rgb, known=np.ones((101, 101), bool))
    row, column = rng.integers(5, 95, (2, 200))
    x, y = (column + 0.5 - 50.5) * 0.02, (row + 0.5 - 50.5) * 0.02
    angle = np.hypot(x, y)
    flat = np.sin(angle) / np.maximum(angle, 1e-12)
    offset = np.stack([flat * x, flat * y, np.cos(angle)], 1) * rng.uniform(5, 50, (200, 1))
    stored = planes_from_arrays(planes_to_arrays({int(Label.SKY): sky}))[int(Label.SKY)]
    for texture in (sky, stored):
        colour, ok = texture.lookup(offset + np.array([0, 0, 1.5]))
        assert ok.all()
        np.testing.assert_allclose(colour, rgb[row, column], atol=1.0)
    assert not sky.lookup(np.array([[30.0, 0.0, -20.0]]))[1].any()
