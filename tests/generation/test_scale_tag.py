"""AprilTags: found in every family, at the distance that they hang at, and nothing else taken for one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.generation.scale_tag import find_tags, tag_pose

cv2 = pytest.importorskip("cv2")

SIZE_M = 0.16
CAMERA = PinholeCamera.from_hfov(800, 600, math.radians(65.0))
CODES = {
    "36h11": (cv2.aruco.DICT_APRILTAG_36h11, 8),
    "25h9": (cv2.aruco.DICT_APRILTAG_25h9, 7),
    "16h5": (cv2.aruco.DICT_APRILTAG_16h5, 6),
}


def picture(family: str, number: int, centre_m: tuple[float, float, float], turn_deg: float) -> np.ndarray:
    """A photo of one printed tag with its white margin, turned about its upright, on a grey wall."""
    code, cells = CODES[family]
    marker = cv2.aruco.generateImageMarker(cv2.aruco.getPredefinedDictionary(code), number, cells * 20, borderBits=1)
    margin = 20
    printed = np.pad(marker, margin, constant_values=255)
    half = 0.5 * SIZE_M * printed.shape[0] / marker.shape[0]
    c, s = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    corners = np.array([[-half, -half, 0], [half, -half, 0], [half, half, 0], [-half, half, 0]])
    corners = corners @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T + np.array(centre_m)
    there, _ = CAMERA.project(corners)
    side = printed.shape[0]
    paper = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    H = cv2.getPerspectiveTransform(paper, there.astype(np.float32))
    size = (CAMERA.width_px, CAMERA.height_px)
    warped = cv2.warpPerspective(printed, H, size, flags=cv2.INTER_AREA, borderValue=0)
    mask = cv2.warpPerspective(np.full_like(printed, 255), H, size, borderValue=0)
    grey = np.where(mask > 127, warped, 140).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), 0.7) + np.random.default_rng(0).normal(0, 2, grey.shape)
    return np.clip(grey, 0, 255).astype(np.uint8)[..., None].repeat(3, 2)


@pytest.mark.parametrize("family", sorted(CODES))
@pytest.mark.parametrize(("centre_m", "turn_deg"), [((0.1, -0.1, 1.0), 0.0), ((-0.4, 0.2, 1.8), 35.0)])
def test_a_tag_is_where_it_hangs(family, centre_m, turn_deg):
    """Family, number, corners to half a pixel, distance within three of its stated sigma and to two percent."""
    rgb = picture(family, 5, centre_m, turn_deg)
    (tag,) = find_tags(rgb, family)
    assert (tag.family, tag.number) == (family, 5)
    pose = tag_pose(tag, SIZE_M, CAMERA)
    assert pose is not None
    off = math.log(np.linalg.norm(pose.centre_m) / np.linalg.norm(centre_m))
    assert abs(off) < 0.02 and abs(off) < 3.0 * pose.sigma
    np.testing.assert_allclose(pose.centre_m, centre_m, atol=0.03)
    middle, _ = CAMERA.project(np.array(centre_m))
    np.testing.assert_allclose(tag.corners_px.mean(0), middle, atol=3.0)


def test_auto_finds_each_once():
    """Looking for every family finds the one that is there and nothing in noise or in a blank wall."""
    assert [tag.family for tag in find_tags(picture("36h11", 7, (0, 0, 1.0), 10.0), "auto")] == ["36h11"]
    rng = np.random.default_rng(1)
    assert find_tags(rng.integers(0, 255, (300, 400, 3), np.uint8), "auto") == ()
    assert find_tags(np.full((300, 400, 3), 90, np.uint8), "auto") == ()


def test_flat_and_tiny_tags_are_not_used():
    """A tag seen almost edge-on or a dozen pixels wide says nothing about its distance."""
    for tag in find_tags(picture("36h11", 7, (0.0, 0.0, 0.8), 80.0), "36h11"):
        assert tag_pose(tag, SIZE_M, CAMERA) is None
    assert find_tags(picture("36h11", 7, (0.0, 0.0, 9.5), 0.0), "36h11") == ()
