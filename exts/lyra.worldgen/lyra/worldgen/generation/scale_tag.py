"""AprilTags in a photo: where they are and how far away, from their known size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.optional import require

_DICTIONARIES = {"36h11": "DICT_APRILTAG_36h11", "25h9": "DICT_APRILTAG_25h9", "16h5": "DICT_APRILTAG_16h5"}
CORNER_SIGMA_PX = 0.5
"""How well the detector finds a corner, one standard deviation along each axis."""
_LEAST_SIDE_PX = 12.0
_STEEPEST = math.radians(75.0)
"""Tags seen under a flatter angle say little about their distance."""


@dataclass(frozen=True, kw_only=True)
class Tag:
    """One tag that was found."""

    family: str
    number: int
    corners_px: np.ndarray
    """[4, 2] in the picture that was searched, clockwise from the tag's upper left, pixel centres at +0.5."""

    @property
    def side_px(self) -> float:
        """Mean length of its sides [px]."""
        return float(np.linalg.norm(self.corners_px - np.roll(self.corners_px, -1, axis=0), axis=1).mean())


@dataclass(frozen=True, kw_only=True)
class TagPose:
    """Where a tag of known size is."""

    centre_m: np.ndarray
    """[3] in cam."""
    normal_cam: np.ndarray
    """[3] unit, towards the camera."""
    sigma: float
    """Relative doubt of its distance, from its corners alone."""


def find_tags(rgb_u8: np.ndarray, family: str) -> tuple[Tag, ...]:
    """The tags in a picture [H, W, 3], sorted by family and number; `auto` looks for every family."""
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    grey = cv2.cvtColor(np.ascontiguousarray(rgb_u8), cv2.COLOR_RGB2GRAY)
    found = []
    for name in _DICTIONARIES if family == "auto" else (family,):
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, _DICTIONARIES[name]))
        settings = cv2.aruco.DetectorParameters()
        settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        if name == "16h5":
            settings.errorCorrectionRate = 0.0  # thirty short codes look like many things; no bit of them is guessed
        corners, numbers, _ = cv2.aruco.ArucoDetector(dictionary, settings).detectMarkers(grey)
        for quad, number in zip(corners, [] if numbers is None else numbers.ravel(), strict=True):
            # The detector puts pixel centres on whole numbers; ours lie at +0.5.
            tag = Tag(family=name, number=int(number), corners_px=quad.reshape(4, 2).astype(float) + 0.5)
            if tag.side_px >= _LEAST_SIDE_PX:
                found.append(tag)
    return tuple(sorted(found, key=lambda tag: (tag.family, tag.number, tuple(tag.corners_px[0]))))


def tag_pose(tag: Tag, size_m: float, camera: PinholeCamera) -> TagPose | None:
    """Where a tag with that side is, seen by a camera of the searched picture; None if it is seen too flat."""
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    half = 0.5 * size_m
    square = np.array([[-half, half, 0], [half, half, 0], [half, -half, 0], [-half, -half, 0]])

    def solve(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        good, turn, shift = cv2.solvePnP(square, corners, camera.K_px, None, flags=cv2.SOLVEPNP_IPPE_SQUARE)
        return (cv2.Rodrigues(turn)[0][:, 2], shift.ravel()) if good and shift[2] > 0 else None

    solved = solve(tag.corners_px)
    if solved is None:
        return None
    normal, centre = solved
    facing = float(-normal @ centre / np.linalg.norm(centre))
    if facing < 0:
        normal, facing = -normal, -facing
    if facing < math.cos(_STEEPEST):
        return None
    variance = 0.0
    for index in np.ndindex(4, 2):
        moved = tag.corners_px.copy()
        moved[index] += CORNER_SIGMA_PX
        other = solve(moved)
        if other is not None:
            variance += math.log(np.linalg.norm(other[1]) / np.linalg.norm(centre)) ** 2
    return TagPose(centre_m=centre, normal_cam=normal, sigma=math.sqrt(variance))
