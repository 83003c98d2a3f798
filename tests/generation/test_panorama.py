"""Panoramas: reading them, looking around in them, turning them upright, and the closed world that they become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import GeometryConfig
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose, rotation_x, rotation_y, rotation_z
from lyra.worldgen.core.views import SOURCE_PHOTO
from lyra.worldgen.generation.panorama import Panorama, is_panorama_size, load_panorama
from lyra.worldgen.generation.panorama_geometry import panorama_world
from lyra.worldgen.generation.panorama_upright import GreatCircles, find_upright, level_directions
from rooms import AnalyticRoom, analytic_room

GPANO = (
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF><rdf:Description GPano:ProjectionType=\"{projection}\" "
    'GPano:FullPanoWidthPixels="{full_w}" GPano:FullPanoHeightPixels="{full_h}" GPano:CroppedAreaLeftPixels="0" '
    'GPano:CroppedAreaTopPixels="{top}" GPano:CroppedAreaImageWidthPixels="{w}" '
    'GPano:CroppedAreaImageHeightPixels="{h}"/></rdf:RDF></x:xmpmeta>'
)


def panorama_of(room: AnalyticRoom, *, width_px: int = 256, R_level_pano: np.ndarray | None = None) -> Panorama:
    """The exact picture all around the room's camera; `R_level_pano` [3, 3] tilts it."""
    height = width_px // 2
    el = np.pi / 2 - (np.arange(height) + 0.5) * np.pi / height
    az = np.pi - (np.arange(width_px) + 0.5) * 2 * np.pi / width_px
    e, a = np.meshgrid(el, az, indexing="ij")
    rays = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], -1).reshape(-1, 3)
    if R_level_pano is not None:
        rays = rays @ R_level_pano.T
    eye = room.T_world_cam[:3, 3]
    t, surface = room.cast(eye, rays)
    rgb = room.colour(eye + t[:, None] * rays, surface).reshape(height, width_px, 3)
    return Panorama(
        rgb_u8=rgb,
        known=np.ones(rgb.shape[:2], bool),
        name="room.png",
        sha256="0" * 64,
        original_size_px=(width_px, height),
    )


def save_jpeg(path: Path, size: tuple[int, int], **gpano: object) -> Path:
    """A grey JPEG with GPano metadata."""
    picture = Image.new("RGB", size, (90, 120, 150))
    told = {"projection": "equirectangular", "full_w": size[0], "full_h": size[0] // 2, "top": 0}
    told |= {"w": size[0], "h": size[1]} | gpano
    picture.save(path, xmp=GPANO.format(**told).encode())
    return path


def test_looking_around_shows_what_is_there():
    """A view of the panorama is the view that a camera at its place has."""
    room = analytic_room()
    panorama = panorama_of(room, width_px=512)
    camera = PinholeCamera.from_hfov(112, 84, np.radians(70))
    for heading, pitch in ((0.0, 0.0), (2.0, -0.4), (-3.1, 0.5)):
        T = camera_pose(room.T_world_cam[:3, 3], heading_rad=heading, pitch_rad=pitch)
        rgb, known = panorama.look(camera, T[:3, :3])
        truth = room.render(camera, T).rgb_u8
        off = np.abs(rgb.astype(int) - truth).max(-1)
        assert known.all()
        assert np.mean(off > 40) < 0.12  # edges of the checker fall on other pixels
        assert np.median(off) < 3


def test_reads_a_plain_panorama(tmp_path):
    """Twice as wide as high is enough; the middle column looks ahead and columns run to the right."""
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:32, :, 2] = 255
    pixels[:, 64:96, 0] = 255  # the quarter to the right of straight ahead
    Image.fromarray(pixels).save(tmp_path / "a.png")
    panorama = load_panorama(tmp_path / "a.png")
    assert panorama.known.all()
    rgb, _ = panorama.look(PinholeCamera.from_hfov(40, 40, np.radians(60)), camera_pose(np.zeros(3))[:3, :3])
    assert rgb[5, 30, 0] > 200 and rgb[5, 10, 0] < 50
    assert rgb[5, 30, 2] > 200 and rgb[35, 30, 2] < 50


def test_missing_bands_come_from_the_metadata(tmp_path):
    """A panorama without zenith and nadir lies where its GPano metadata says; the rest is unknown."""
    panorama = load_panorama(save_jpeg(tmp_path / "a.jpg", (256, 80), top=30, full_h=128))
    rows = np.flatnonzero(panorama.known.any(1))
    assert panorama.known.shape == (128, 256)
    assert (rows[0], rows[-1]) == (30, 109)


@pytest.mark.parametrize(
    ("size", "gpano", "says"),
    [
        ((300, 200), {}, "twice as wide"),
        ((200, 100), {"full_w": 400, "full_h": 200}, "180 of 360"),
        ((400, 200), {"projection": "cylindrical"}, "cylindrical"),
        ((400, 30), {"full_h": 200, "top": 80}, "rows"),
        ((64, 32), {}, "rows"),
    ],
)
def test_refuses_what_is_no_full_turn(tmp_path, size, gpano, says):
    """What is no equirectangular full turn is refused with what it is."""
    with pytest.raises(InputError, match=says):
        load_panorama(save_jpeg(tmp_path / "a.jpg", size, **gpano))
    assert is_panorama_size(4000, 2000) and not is_panorama_size(1920, 1080)


@pytest.mark.parametrize("damage", ["head", "cut", "lies", "noise"])
def test_damaged_panoramas_are_refused_or_read(tmp_path, rng, damage):
    """Broken files end in a panorama or in one clear error, never in another exception."""
    data = bytearray(save_jpeg(tmp_path / "a.jpg", (256, 128)).read_bytes())
    for trial in range(6):
        broken = bytearray(data)
        if damage == "head":
            broken[: 20 + trial] = bytes(20 + trial)
        elif damage == "cut":
            broken = broken[: len(broken) * (trial + 1) // 8]
        elif damage == "lies":
            text = [b"-1", b"1e9", b"nan", b"99999999999", b"", b"0"][trial]
            broken = bytearray(
                bytes(data).replace(b'FullPanoWidthPixels="256"', b'FullPanoWidthPixels="' + text + b'"')
            )
        else:
            for index in rng.integers(0, len(broken), 30):
                broken[index] = int(rng.integers(256))
        path = tmp_path / "b.jpg"
        path.write_bytes(bytes(broken))
        try:
            assert load_panorama(path).rgb_u8.shape[1] <= 4096
        except InputError as error:
            assert str(path) in str(error)


def test_a_tilt_is_found_from_lines_all_around(rng):
    """Planes through edges of three families give tilt and heading to a tenth of a degree, strays notwithstanding."""
    R = rotation_x(np.radians(4.0)) @ rotation_y(np.radians(-2.5))
    ahead = R[:, 0]
    R = rotation_z(-np.arctan2(ahead[1], ahead[0])) @ R
    yaw = np.radians(25.0)
    normals = []
    for direction in level_directions(yaw):
        across = np.cross(direction, rng.normal(size=(60, 3)))
        normals.append(across / np.linalg.norm(across, axis=1, keepdims=True))
    stray = rng.normal(size=(40, 3))
    normal_level = np.concatenate([*normals, stray / np.linalg.norm(stray, axis=1, keepdims=True)])
    n = len(normal_level)
    circles = GreatCircles(
        normal_pano=normal_level @ R, weight=np.full(n, 1 / n), sigma_rad=np.full(n, np.radians(0.8))
    )
    found = find_upright(circles)
    off = found.R_level_pano @ R.T
    assert np.degrees(np.arccos(np.clip(off[2, 2], -1, 1))) < 0.1
    assert abs(np.degrees(found.yaw_rad) - 25.0) < 0.3
    assert abs(np.degrees(found.tilt_rad) - np.degrees(np.arccos(R[2, 2]))) < 0.1
    assert found.explained > 0.75


@pytest.mark.slow
def test_a_panorama_becomes_a_closed_world(repository):
    """A real panorama: closed proxy, views all around whose depth is the proxy's, floor where the floor is."""
    panorama = load_panorama(repository / "tests" / "data" / "panoramas" / "apartment.png")
    world = panorama_world(panorama, GeometryConfig())
    layout = world.geometry.layout
    assert world.geometry.mode == "manhattan" and world.geometry.confidence > 0.3
    assert world.upright.tilt_rad < np.radians(1.0)
    assert np.isclose(len(layout.azimuth_rad) * layout.step_rad, 2 * np.pi)
    assert 2.2 < layout.ceiling_m < 4.5
    assert len(world.views.views) == 6
    for view in world.views.views:
        # The faces cover the sphere, so the proxy has no hole in any direction.
        assert view.valid.all() and (view.source == SOURCE_PHOTO).all()
        assert np.isfinite(view.depth_z_m).all() and (view.depth_z_m > 0).all()


@pytest.mark.slow
def test_a_featureless_panorama_becomes_a_backdrop():
    """One flat colour holds nothing to understand: a bare disc that claims nothing, and no exception."""
    grey = np.full((64, 128, 3), 127, np.uint8)
    panorama = Panorama(
        rgb_u8=grey, known=np.ones((64, 128), bool), name="grey", sha256="0" * 64, original_size_px=(128, 64)
    )
    world = panorama_world(panorama, GeometryConfig())
    assert world.geometry.mode == "backdrop" and world.geometry.confidence <= 0.1
