"""The scale of a photo's world: evidence agrees with the truth, contradictions are named, hostile input is refused."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import RescaleConfig, ScaleConfig, WorldConfig, load_config
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import invert_rigid, transform_points
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.scaling import scaled_geometry
from lyra.worldgen.generation.photo import decode_photo
from lyra.worldgen.generation.scale import (
    CameraDoubt,
    Evidence,
    as_generated,
    fuse,
    gather,
    metric_geometry,
    rescaled,
    scale_clues,
)
from lyra.worldgen.generation.scale_lift import STEPS, PhotoLift
from rooms import AnalyticRoom, analytic_room

DOUBT = CameraDoubt(pitch_rad=math.radians(0.5), roll_rad=math.radians(0.5), log_f=0.02)


@pytest.fixture(scope="module")
def big_room() -> AnalyticRoom:
    return analytic_room(width_px=480, height_px=360)


@pytest.fixture(scope="module")
def geometry(big_room):
    """Of the same room at two thirds of its size: one unit is 1.5 m."""
    return replace(scaled_geometry(big_room.geometry(), 1 / 1.5), backend="embedded", relative_scale_sigma=0.13)


@pytest.fixture(scope="module")
def photo_bytes(big_room) -> bytes:
    file = io.BytesIO()
    Image.fromarray(big_room.render().rgb_u8).resize((960, 720)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def photo(photo_bytes):
    return decode_photo(photo_bytes, Path("room.png"), long_side_px=480)


def pixels(room: AnalyticRoom, *points_m: tuple[float, float, float]) -> str:
    """Where points are in the photo, which is twice as large as the working picture, as people count pixels."""
    uv, _ = room.camera.project(transform_points(invert_rigid(room.T_world_cam), np.array(points_m, float)))
    return ",".join(f"{value:.2f}" for value in (2.0 * uv - 0.5).ravel())


def estimate(photo, photo_bytes, geometry, **settings):
    """Of the evidence alone: the camera height is far off and hardly counts."""
    config = load_config(None, {"geometry.camera_height_m": 1.0, "scale.camera_height_sigma": 1.0, **settings})
    clues = scale_clues(photo, photo_bytes, config.scale, config.rescale)
    return fuse(gather(geometry, clues, config), geometry, DOUBT)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("measure", lambda room: pixels(room, (2.2, 0.3, 0), (2.4, -0.5, 0)) + f"={math.hypot(0.2, 0.8):.4f}m"),
        ("measure", lambda room: pixels(room, (3.2, 1.15, 0), (3.2, 1.15, 1.1)) + "=43.3in"),
        ("measure", lambda room: pixels(room, (5, 0.2, 1.0), (5, -1.2, 1.0)) + "=1400mm"),
        ("known", lambda room: "height:" + pixels(room, (5, 0.5, 0), (5, 0.5, 2.03)) + "=2.03m"),
        ("known", lambda room: "door:" + pixels(room, (5, 0.5, 2.03), (5, 0.5, 0))),
        ("known", lambda room: "person:" + pixels(room, (3.0, 0.2, 0), (3.0, 0.2, 1.70))),
    ],
)
def test_true_lengths_give_the_true_scale(big_room, photo, photo_bytes, geometry, key, text):
    """With exact clicks the scale is right to a percent, whichever end comes first and whatever the unit."""
    found = estimate(photo, photo_bytes, geometry, **{f"scale.{key}": text(big_room)})
    assert found.metres_per_unit == pytest.approx(1.5, rel=0.01)
    assert 0.01 < found.relative_sigma < 0.15


def test_derivatives_are_those_of_another_camera(big_room, geometry):
    """Lifting with a camera that is off is what the derivative says: compared with floor rays in closed form."""
    lift = PhotoLift(geometry)
    ends = np.array([[150.0, 330.0], [300.0, 310.0]])
    lifted = lift.between(ends)
    assert lifted.on_floor
    for axis, step in enumerate(STEPS):
        lengths = []
        for sign in (-1.0, 1.0):
            off = np.zeros(3)
            off[axis] = sign * step
            ray = lift.rays(ends, off)
            foot = ray * (lift.height / -ray[:, 2:])
            lengths.append(np.linalg.norm(foot[1] - foot[0]))
        slope = math.log(lengths[1] / lengths[0]) / (2 * step)
        assert lifted.by_camera[axis] == pytest.approx(slope, rel=5e-3, abs=5e-3)


def test_camera_height_is_exact(photo, photo_bytes, geometry):
    """A measured height alone gives exactly its ratio; its doubt is the statement's and the horizon's."""
    config = WorldConfig(rescale=RescaleConfig(camera_height_m=1.2))
    found = rescaled(geometry, scale_clues(photo, photo_bytes, config.scale, config.rescale), config)
    assert found.metres_per_unit == pytest.approx(1.2) and found.source == "camera_height"
    assert found.relative_sigma > 0.03


def test_ceiling_and_exif_distance(photo, photo_bytes, geometry):
    """Both give the scale, roughly and with the doubt to match."""
    found = estimate(photo, photo_bytes, geometry, **{"scale.ceiling_height_m": 2.8})
    assert found.metres_per_unit == pytest.approx(1.5, rel=0.06)
    middle = float(np.linalg.norm(PhotoLift(geometry).range_at(np.array([240.0, 180.0])).units)) * 1.5
    told = replace(photo, subject_distance_m=middle)
    found = estimate(told, photo_bytes, geometry, **{"scale.exif_distance": True})
    assert 0.15 < found.relative_sigma < 0.35
    assert found.metres_per_unit == pytest.approx(1.5, rel=0.15)


def test_more_evidence_less_doubt(big_room, photo, photo_bytes, geometry):
    """A second length narrows the doubt, but not by as much as an independent one: the horizon is the same."""
    texts = [
        pixels(big_room, (2.2, y, 0), (2.6, y - 0.8, 0)) + f"={math.hypot(0.4, 0.8):.4f}m" for y in (0.3, 0.5, 0.1, 0.7)
    ]
    sigmas = [
        estimate(photo, photo_bytes, geometry, **{"scale.measure": "; ".join(texts[:n])}).relative_sigma
        for n in (1, 2, 4)
    ]
    assert sigmas[0] > sigmas[1] > sigmas[2] > 0.5 * sigmas[0]


def test_two_that_contradict_are_named_and_doubted(big_room, photo, photo_bytes, geometry):
    """The finding names both and the doubt spans them; of three the wrong one is left out."""
    right = pixels(big_room, (2.2, 0.3, 0), (2.4, -0.5, 0)) + f"={math.hypot(0.2, 0.8):.4f}m"
    wrong = pixels(big_room, (2.5, 0.5, 0), (2.6, -0.3, 0)) + "=2.1m"
    guess = {"scale.camera_height_sigma": 0.0}
    both = estimate(photo, photo_bytes, geometry, **{"scale.measure": f"{right}; {wrong}", **guess})
    (finding,) = [f for f in both.report if f.code == "scale.contradiction"]
    assert right in finding.message and wrong in finding.message and "leave out the wrong one" in finding.message
    assert both.relative_sigma > 0.4
    height = {"rescale.camera_height_m": 1.5, "scale.camera_height_sigma": 0.0}
    three = estimate(photo, photo_bytes, geometry, **{"scale.measure": f"{right}; {wrong}", **height})
    assert three.metres_per_unit == pytest.approx(1.5, rel=0.02) and three.relative_sigma < 0.1
    assert [e["used"] for e in three.evidence] == [True, True, False]


def test_a_guess_gives_way_and_says_so(big_room, photo, photo_bytes, geometry):
    """A floor measurement puts the guessed height aside; one on a wall alone is doubted instead."""
    floor = pixels(big_room, (2.2, 0.3, 0), (2.4, -0.5, 0)) + f"={math.hypot(0.2, 0.8):.4f}m"
    guess = {"geometry.camera_height_m": 0.4, "scale.camera_height_sigma": 0.0}
    found = estimate(photo, photo_bytes, geometry, **{"scale.measure": floor, **guess})
    assert [f.code for f in found.report] == ["scale.guess"]
    assert found.source == "measure" and found.metres_per_unit == pytest.approx(1.5, rel=0.01)
    wall = pixels(big_room, (5, 0.2, 1.0), (5, -1.2, 1.0)) + "=1.4m"
    found = estimate(photo, photo_bytes, geometry, **{"scale.measure": wall, **guess})
    assert [f.code for f in found.report] == ["scale.alone"] and found.relative_sigma > 0.4


@given(
    ratios=st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=6),
    sigmas=st.lists(st.floats(0.01, 0.5), min_size=6, max_size=6),
    seed=st.integers(0, 100),
)
def test_fusing_does_not_depend_on_the_order(ratios, sigmas, seed):
    """Any evidence fuses to a finite scale within its own range, the same in every order."""
    room = analytic_room(width_px=32, height_px=24)
    rng = np.random.default_rng(seed)
    pieces = [
        Evidence(kind="measure", says=f"piece {i}", stated_m=math.exp(ratio), units=1.0, sigma=sigma)
        for i, (ratio, sigma) in enumerate(zip(ratios, sigmas, strict=False))
    ]
    found = fuse(pieces, room.geometry(), DOUBT)
    other = fuse([pieces[i] for i in rng.permutation(len(pieces))], room.geometry(), DOUBT)
    assert min(ratios) - 1e-9 <= math.log(found.metres_per_unit) <= max(ratios) + 1e-9
    assert 0.0 < found.relative_sigma <= 0.6
    assert other.metres_per_unit == pytest.approx(found.metres_per_unit) or len(found.report)


def test_generating_applies_the_scale_as_the_camera_height(big_room, photo, photo_bytes):
    """The photo is understood anew at the height that the evidence gives, so that absolute sizes hold."""
    text = pixels(big_room, (2.2, 0.3, 0), (2.4, -0.5, 0)) + f"={math.hypot(0.2, 0.8):.4f}m"
    config = load_config(None, {"geometry.camera_height_m": 0.9, "scale.measure": text})
    heights = []

    def understand(height_m: float):
        heights.append(height_m)
        return scaled_geometry(big_room.geometry(), height_m / 1.5)

    found, scale = metric_geometry(understand(0.9), understand, scale_clues(photo, photo_bytes, config.scale), config)
    assert heights[-1] == pytest.approx(1.5, rel=0.01) and len(heights) <= 4
    assert scale.metres_per_unit == 1.0 and found.relative_scale_sigma == scale.relative_sigma
    measured = scale.evidence[1]
    assert measured["in_world_m"] == pytest.approx(measured["stated_m"], rel=0.01)


def test_nothing_said_changes_nothing(geometry):
    """Without evidence the scale is one, from the camera height, with the doubt that the geometry states."""
    scale = as_generated(geometry)
    assert scale.metres_per_unit == 1.0 and scale.source == "camera_height" and not len(scale.report)
    assert scale.relative_sigma == geometry.relative_scale_sigma
    assert not ScaleConfig().says_something and not RescaleConfig().says_something


@pytest.mark.parametrize("on_floor", [True, False])
def test_a_tag_gives_the_scale(big_room, photo, photo_bytes, geometry, on_floor):
    """Printed 24 cm wide on the floor or the far wall, found in the file at full size."""
    cv2 = pytest.importorskip("cv2")
    marker = cv2.aruco.generateImageMarker(cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11), 3, 160)
    printed = np.pad(marker, 20, constant_values=255)
    half = 0.5 * 0.24 * 200 / 160
    square = half * np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]], float)  # as the camera sees them, clockwise
    if on_floor:
        corners = np.column_stack([2.3 + square[:, 0], square[:, 1], np.zeros(4)])
    else:
        corners = np.column_stack([np.full(4, 5.0), square[:, 1], 1.2 + square[:, 0]])
    uv, _ = big_room.camera.project(transform_points(invert_rigid(big_room.T_world_cam), corners))
    rgb = np.array(Image.open(io.BytesIO(photo_bytes)))
    paper = np.array([[0, 0], [200, 0], [200, 200], [0, 200]], np.float32)
    H = cv2.getPerspectiveTransform(paper, (2.0 * uv).astype(np.float32))
    shown = cv2.warpPerspective(printed, H, (960, 720), flags=cv2.INTER_AREA)
    mask = cv2.warpPerspective(np.full_like(printed, 255), H, (960, 720)) > 127
    rgb[mask] = shown[mask][:, None]
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG")
    found = estimate(photo, file.getvalue(), geometry, **{"scale.tag_size_m": 0.24})
    assert found.source == "camera_height, tag" and "tag 36h11 number 3" in found.evidence[1]["says"]
    assert found.metres_per_unit == pytest.approx(1.5, rel=0.03)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale.measure": "-5,10,300,400=1m"}, r"pixel \(-5, 10\) lies outside the photo, which is 960 x 720"),
        ({"scale.measure": "10,10,960,400=1m"}, "lies outside the photo"),
        ({"scale.known": "door:300,100,300,200"}, "at or above the horizon"),
        ({"scale.tag_size_m": 0.16}, "no AprilTag of any family was found"),
        ({"scale.tag_size_m": 0.16, "scale.tag_family": "25h9"}, "no AprilTag of family 25h9"),
        ({"scale.exif_distance": True}, "states no subject distance"),
    ],
)
def test_what_cannot_be_used_is_refused(photo, photo_bytes, geometry, settings, message):
    """One line that quotes what was said and tells what to do."""
    with pytest.raises(InputError, match=message) as error:
        estimate(photo, photo_bytes, geometry, **settings)
    assert "\n" not in str(error.value)


def test_the_sky_has_no_distance(photo, photo_bytes, geometry):
    """Clicks on the sky are refused, also where everything around is sky; a ceiling needs a room."""
    labels = geometry.labels.copy()
    labels[:150] = Label.SKY
    outside = replace(geometry, labels=labels, layout=replace(geometry.layout, ceiling_m=None))
    with pytest.raises(InputError, match="shows the sky"):
        estimate(photo, photo_bytes, outside, **{"scale.measure": "100,100,700,650=1m"})
    with pytest.raises(InputError, match="under open sky"):
        estimate(photo, photo_bytes, outside, **{"scale.ceiling_height_m": 2.5})
    with pytest.raises(InputError, match="no floor was found"):
        estimate(photo, photo_bytes, replace(geometry, mode="backdrop"), **{"scale.measure": "100,500,700,650=1m"})


def test_a_click_beside_an_edge_means_the_nearer_thing(big_room, geometry):
    """Two pixels past the edge of a box the depth is still the box's."""
    lift = PhotoLift(geometry)
    uv, _ = big_room.camera.project(transform_points(invert_rigid(big_room.T_world_cam), np.array([[2.5, -0.9, 0.5]])))
    depth, label, solid = lift.surface(uv + np.array([[-0.7, 0.0]]))
    assert solid[0] and label[0] == Label.OBJECT
    camera: PinholeCamera = geometry.camera
    box = geometry.depth_z_m[int(uv[0, 1]), int(uv[0, 0]) + 8]
    assert camera.width_px == 480 and depth[0] == pytest.approx(box, rel=0.1)
