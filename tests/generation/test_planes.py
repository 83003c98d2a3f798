"""What the painter prepared around the first camera is found again at the right world points."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.mesh import Label
from lyra.worldgen.generation.painter import RingPanorama
from lyra.worldgen.generation.planes import PlaneTexture, common_material, continue_plane, plane_cells
from lyra.worldgen.generation.scene import Scene
from rooms import analytic_room


def test_plane_lookup_returns_the_cell_colours() -> None:
    """Cell centres read back exactly; points off the plane or outside it are refused."""
    cells, cell_m = plane_cells(2.0, 0.0)
    side = len(cells)
    rgb = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    known = np.ones((side, side), bool)
    known[:10] = False
    plane = PlaneTexture(z_m=0.0, cell_m=cell_m, rgb_u8=rgb, known=known)
    colour, ok = plane.lookup(cells.reshape(-1, 3))
    np.testing.assert_array_equal(ok, known.reshape(-1))
    np.testing.assert_allclose(colour[ok], rgb.reshape(-1, 3)[ok], atol=1.0)
    _, off = plane.lookup(np.array([[0.0, 0.0, 0.5], [50.0, 0.0, 0.0]]))
    assert not off.any()


@pytest.mark.parametrize("ceiling", [True])
def test_ring_is_read_along_rays_from_the_first_camera(ceiling: bool) -> None:
    """Points on surfaces that the first camera sees get the ring's colour there; hidden points get none."""
    room = analytic_room()
    full = room.layout(-np.pi + (np.arange(1440) + 0.5) * 2 * np.pi / 1440)
    azimuth = np.pi - (np.arange(1440) + 0.5) * 2 * np.pi / 1440
    elevation = np.radians(40) - (np.arange(320) + 0.5) * np.radians(80) / 320
    el, az = np.meshgrid(elevation, azimuth, indexing="ij")
    rays = np.stack([np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el)], -1).reshape(-1, 3)
    eye = np.array([0.0, 0.0, room.camera_height_m])
    t, surface = room.cast(eye, rays)
    points = eye + t[:, None] * rays
    ring = RingPanorama(
        rgb_u8=room.colour(points, surface).reshape(*el.shape, 3),
        from_photo=np.zeros(el.shape, bool),
        elevation_rad=elevation,
        azimuth_rad=azimuth,
        source_azimuth_rad=azimuth,
        mirrored=np.zeros(1440, bool),
    )
    from lyra.worldgen.generation.proxy import build_proxy

    scene = Scene(full, build_proxy(full), ring)
    colour, ok = scene.recall_ring(points)
    # Box silhouettes are polylines of bins here and exact planes in the room.
    assert ok.mean() > 0.97
    error = np.abs(colour - room.colour(points, surface)).max(1)[ok]
    assert np.mean(error > 2) < 0.03
    behind = np.array([[4.9, -2.3, 0.2]])  # in the shadow of the first box
    assert not scene.recall_ring(behind)[1].any()
    assert scene.mesh.face_labels is not None and (scene.mesh.face_labels == Label.OBJECT).any()


def test_common_material_leaves_out_what_is_no_floor() -> None:
    """A red bench on a grey floor is no source, the unevenly lit floor is."""
    rng = np.random.default_rng(1)
    light = np.linspace(90, 150, 120)[:, None, None]
    rgb = np.clip(light + rng.normal(0, 8, (120, 120, 3)), 0, 255).astype(np.uint8)
    rgb[70:100, 20:60] = [200, 40, 40]
    keep = common_material(rgb, np.ones((120, 120), bool))
    assert not keep[72:98, 22:58].any()
    assert keep[8:60, 8:112].mean() > 0.9


def seen_floor(side: int, cell_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tiled floor that darkens towards its middle [S, S, 3], what a camera there sees of it, and its tiles alone."""
    y, x = (np.mgrid[:side, :side] - side / 2) * cell_m
    tile = ((np.floor(x / 0.4) + np.floor(y / 0.4)) % 2) * 40.0
    grain = np.random.default_rng(0).normal(0, 3, (side, side))
    light = 12 * np.abs(x)
    floor = (110 + tile + grain + light)[..., None] * np.ones(3)
    return floor, (np.abs(np.arctan2(y, x)) < 0.7) & (np.hypot(x, y) > 0.6), tile


def test_floor_goes_on_in_phase_under_its_light() -> None:
    """Behind the camera the tiles lie where they would, and the light is neither copied nor lost."""
    side, cell_m = 240, 0.025
    floor, from_photo, tile = seen_floor(side, cell_m)
    from_ring = ~from_photo & (np.hypot(*(np.mgrid[:side, :side] - side / 2)) > 60)
    rgb = np.where(from_photo[..., None], floor, 0)
    # The ring's copy has another pattern but the right light.
    rgb[from_ring] = (floor - tile[..., None])[from_ring] + 20
    continued = continue_plane(
        rgb.astype(np.float32), from_photo, from_ring, np.ones_like(from_photo), np.full((side, side), cell_m), cell_m,
        plain=False, seed=0,
    )  # fmt: skip
    assert continued is not None
    out = continued[0].mean(-1)
    behind = np.zeros_like(from_photo)
    behind[40:200, 20:100] = True
    detail, want = out - _smooth(out), tile - _smooth(tile)
    assert np.corrcoef(detail[behind], want[behind])[0, 1] > 0.85
    assert np.abs(_smooth(out) - _smooth(floor.mean(-1)))[behind].mean() < 6


def _smooth(grey: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(grey, (0, 0), 16)


def test_a_rail_on_the_floor_is_not_copied() -> None:
    """A red rail along one side of the floor is a thing on it; the tiles are not."""
    side, cell_m = 240, 0.025
    floor, from_photo, _ = seen_floor(side, cell_m)
    rail = np.zeros_like(from_photo)
    rail[60:70, 150:] = True
    floor[rail & from_photo] = [150, 30, 30]
    continued = continue_plane(
        floor.astype(np.float32), from_photo, np.zeros_like(from_photo), np.ones_like(from_photo),
        np.full((side, side), cell_m), cell_m, plain=False, seed=0,
    )  # fmt: skip
    assert continued is not None
    reddish = continued[0][..., 0] - continued[0][..., 1] > 60
    assert not reddish[:, :100].any()
