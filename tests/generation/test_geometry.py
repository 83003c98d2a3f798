"""Understanding a photo: exact where geometry is exact, honest where it guesses, and never failing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from geometry_checks import as_photo, expect_sound, odd_pictures
from lyra.worldgen.core.config import GeometryConfig
from lyra.worldgen.core.errors import ConfigError
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.generation import geometry, label_net
from lyra.worldgen.generation.geometry import estimate_geometry
from lyra.worldgen.generation.layout_cast import cast_layout
from lyra.worldgen.generation.photo import load_photo
from rooms import analytic_room


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(odd_pictures()))
def test_any_picture_gives_a_sound_geometry(name):
    g = estimate_geometry(as_photo(odd_pictures()[name]), GeometryConfig())
    expect_sound(g)
    if name in ("blank", "strip", "column"):
        assert g.mode == "backdrop" and g.confidence <= 0.1


@pytest.mark.parametrize("name", ["apartment", "hall", "lobby", "warehouse"])
def test_real_rooms_are_rooms(photos, name):
    g = estimate_geometry(load_photo(photos / f"{name}.png", long_side_px=320), GeometryConfig())
    expect_sound(g)
    assert g.mode == "manhattan" and g.layout.ceiling_m is not None and not g.notes
    np.testing.assert_allclose(np.degrees(g.camera.hfov_rad), 80.0, atol=12.0)
    pitch = np.degrees(np.arcsin(g.T_world_cam[2, 2]))
    np.testing.assert_allclose(pitch, -6.0, atol=2.5)


def test_depth_and_labels_are_the_layout_cast(photos):
    g = estimate_geometry(load_photo(photos / "lobby.png", long_side_px=320), GeometryConfig())
    depth, labels = cast_layout(g.layout, g.camera, g.T_world_cam)
    np.testing.assert_array_equal(depth, g.depth_z_m)
    np.testing.assert_array_equal(labels, g.labels)


def test_floor_pixels_lie_on_the_floor_plane(photos):
    g = estimate_geometry(load_photo(photos / "hall.png", long_side_px=320), GeometryConfig())
    floor = g.labels == Label.FLOOR
    points = g.camera.unproject(g.depth_z_m) @ g.T_world_cam[:3, :3].T + g.T_world_cam[:3, 3]
    assert floor.mean() > 0.2
    np.testing.assert_allclose(points[floor][:, 2], 0.0, atol=1e-3)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_everything_scales_with_the_camera_height(photos, factor):
    photo = load_photo(photos / "apartment.png", long_side_px=320)
    one = estimate_geometry(photo, GeometryConfig())
    other = estimate_geometry(photo, GeometryConfig(camera_height_m=1.5 * factor, max_extent_m=20.0 * factor))
    floor = one.labels == Label.FLOOR
    np.testing.assert_allclose(other.depth_z_m[floor], factor * one.depth_z_m[floor], rtol=1e-5)
    np.testing.assert_allclose(np.median(other.layout.boundary_m / one.layout.boundary_m), factor, rtol=0.02)


def test_mirrored_photo_gives_the_mirrored_world(photos):
    photo = load_photo(photos / "warehouse.png", long_side_px=320)
    one = estimate_geometry(photo, GeometryConfig())
    two = estimate_geometry(as_photo(photo.rgb_u8[:, ::-1].copy()), GeometryConfig())
    assert np.median(np.abs(np.log(one.depth_z_m / two.depth_z_m[:, ::-1]))) < 0.1


def test_focal_length_in_the_file_overrides_the_lines(photos):
    photo = load_photo(photos / "warehouse.png", long_side_px=320)
    g = estimate_geometry(as_photo(photo.rgb_u8, hfov_rad=np.radians(50.0)), GeometryConfig())
    np.testing.assert_allclose(np.degrees(g.camera.hfov_rad), 50.0, atol=5.0)


def test_a_calibrated_field_of_view_is_kept(photos):
    """However much the lines of the picture speak for another one."""
    photo = load_photo(photos / "warehouse.png", long_side_px=320)
    told = dataclasses.replace(as_photo(photo.rgb_u8, hfov_rad=np.radians(70.0)), calibrated=True)
    g = estimate_geometry(told, GeometryConfig())
    np.testing.assert_allclose(np.degrees(g.camera.hfov_rad), 70.0, atol=0.05)


@pytest.mark.slow
def test_same_photo_gives_the_same_bytes(photos):
    photo = load_photo(photos / "lobby.png", long_side_px=320)
    one, two = (estimate_geometry(photo, GeometryConfig()) for _ in range(2))
    assert one.depth_z_m.tobytes() == two.depth_z_m.tobytes()
    assert one.layout.boundary_m.tobytes() == two.layout.boundary_m.tobytes()
    assert one.confidence == two.confidence


def test_far_surfaces_become_a_backdrop_at_the_reach(photos):
    g = estimate_geometry(load_photo(photos / "hall.png", long_side_px=320), GeometryConfig(max_extent_m=6.0))
    expect_sound(g)
    assert g.layout.boundary_m.max() <= 9.0 + 1e-9  # the hall is a room
    assert (g.layout.boundary_label == Label.BACKDROP).mean() > 0.5


@pytest.fixture
def no_weights(monkeypatch):
    """A package whose weights file is missing."""
    label_net.load_packaged_net.cache_clear()
    monkeypatch.setattr(label_net, "WEIGHTS_NAME", "absent.safetensors")
    yield
    label_net.load_packaged_net.cache_clear()


@pytest.mark.parametrize("name", ["hall", "warehouse"])
def test_without_weights_the_classical_path_works(photos, no_weights, name):
    g = estimate_geometry(load_photo(photos / f"{name}.png", long_side_px=320), GeometryConfig())
    expect_sound(g)
    assert g.confidence <= 0.5 and any("label network failed" in note for note in g.notes)
    assert (g.labels == Label.FLOOR).mean() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["calibrate", "grabcut_floor", "join_cues", "_runs", "build_layout"])
def test_a_broken_stage_costs_confidence_and_not_the_world(photos, monkeypatch, stage):
    whole = estimate_geometry(load_photo(photos / "hall.png", long_side_px=320), GeometryConfig())

    original = getattr(geometry, stage)

    def broken(first, *rest, **more):
        if stage == "calibrate" and not len(first.length):
            return original(first, *rest, **more)  # the chain falls back on the prior by way of no segments
        raise ZeroDivisionError("stage is broken")

    monkeypatch.setattr(geometry, stage, broken)
    g = estimate_geometry(load_photo(photos / "hall.png", long_side_px=320), GeometryConfig())
    expect_sound(g)
    assert g.confidence < whole.confidence and any("stage is broken" in note for note in g.notes)


def test_unknown_backend_is_refused():
    with pytest.raises(ConfigError, match="unknown geometry 'nonsense'"):
        estimate_geometry(as_photo(np.zeros((32, 32, 3), np.uint8)), GeometryConfig(backend="nonsense"))


@pytest.mark.parametrize("roll_deg", [0.0, 6.0])
def test_cast_of_an_exact_layout_is_the_exact_room(roll_deg):
    room = analytic_room(width_px=160, height_px=120, boxes=False, roll_deg=roll_deg)
    truth = room.render()
    g = room.geometry(step_rad=np.radians(0.25))
    wide = room.layout((np.arange(-260, 260) + 0.5) * np.radians(0.25))
    depth, labels = cast_layout(wide, g.camera, g.T_world_cam)
    agree = labels == truth.labels
    assert agree.mean() > 0.99
    # Corners fall between two columns; everywhere else the walls are exact.
    assert np.quantile(np.abs(depth / truth.depth_z_m - 1.0)[agree], 0.98) < 1e-4
