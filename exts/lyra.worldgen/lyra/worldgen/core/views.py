"""Records that the stages hand to one another: the photo, its geometry, RGB-D views, the whole set of views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .arrays import expect_shape
from .camera import PinholeCamera
from .errors import InputError
from .mesh import TriMesh


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A decoded, upright sRGB photo."""

    rgb_u8: np.ndarray
    """[H, W, 3] uint8, EXIF orientation applied, reduced to the working size."""
    name: str
    """File name without folder."""
    sha256: str
    """Hash of the file's bytes."""
    original_size_px: tuple[int, int]
    """Width and height in the file, upright."""
    hfov_rad: float | None = None
    """Horizontal field of view from EXIF, if the file states it."""
    calibrated: bool = False
    """Whether `hfov_rad` was measured and is to be kept; what EXIF says is a strong hint and no more."""
    subject_distance_m: float | None = None
    """Distance of what was focused from EXIF, if the file states it."""

    def __post_init__(self) -> None:
        expect_shape("rgb_u8", self.rgb_u8, (None, None, 3))


@dataclass(frozen=True, kw_only=True)
class PolarLayout:
    """A 2.5D world around the first camera: per azimuth one boundary surface and any number of standing objects.

    Azimuth is the world angle from +X towards +Y (left positive), measured about the vertical through the camera.
    Distances are horizontal. Everything stands on the floor z = 0.
    """

    azimuth_rad: np.ndarray
    """[A] strictly ascending bin centres with one constant step; a full turn when A * step == 2 pi."""
    boundary_m: np.ndarray
    """[A] distance of the last surface: the wall, facade or backdrop that ends the view."""
    boundary_top_m: np.ndarray
    """[A] height of its upper edge; inf where it reaches the ceiling or was not seen to end."""
    boundary_label: np.ndarray
    """[A] uint8 `Label`: WALL, or BACKDROP where the distance is a cap and not a measurement."""
    object_bin: np.ndarray
    """[M] int32 index into azimuth_rad."""
    object_near_m: np.ndarray
    """[M] distance where the object meets the floor, < boundary."""
    object_far_m: np.ndarray
    """[M] assumed far side, > near."""
    object_top_m: np.ndarray
    """[M] height of its top."""
    ceiling_m: float | None
    """Height of the ceiling above the floor; None under open sky."""
    camera_height_m: float

    def __post_init__(self) -> None:
        a, m = len(self.azimuth_rad), len(self.object_bin)
        for name in ("boundary_m", "boundary_top_m", "boundary_label"):
            expect_shape(name, getattr(self, name), (a,))
        for name in ("object_near_m", "object_far_m", "object_top_m"):
            expect_shape(name, getattr(self, name), (m,))

    @property
    def step_rad(self) -> float:
        return float(self.azimuth_rad[1] - self.azimuth_rad[0]) if len(self.azimuth_rad) > 1 else 2 * np.pi


@dataclass(frozen=True, kw_only=True)
class PhotoGeometry:
    """What is known about the space in a photo."""

    camera: PinholeCamera
    """At the working size of the photo."""
    T_world_cam: np.ndarray
    """[4, 4]; position (0, 0, camera height), heading 0."""
    depth_z_m: np.ndarray
    """[H, W] float32, finite and positive everywhere; sky and backdrop carry a far value."""
    labels: np.ndarray
    """[H, W] uint8 `Label`."""
    layout: PolarLayout
    """The photo's sector only."""
    confidence: float
    """0..1."""
    mode: str
    """Rung of the fallback chain: manhattan, horizon, prior, backdrop."""
    manhattan_yaw_rad: float
    """World angle of one family of walls, modulo 90 degrees."""
    relative_scale_sigma: float
    """One standard deviation of metres per unit, relative."""
    backend: str
    notes: tuple[str, ...] = ()
    """Exceptions that were survived and what a depth model's answer was worth, one line each."""


SPACE_METRIC, SPACE_SCALE, SPACE_DEPTH, SPACE_DISPARITY = "metric", "scale", "depth", "disparity"
"""Values of `DepthResult.space`: metres, depth up to a factor, depth up to a factor and a shift, inverse depth up to a
factor and a shift."""


@dataclass(frozen=True, kw_only=True)
class DepthResult:
    """What a depth model says about one picture, at that picture's size. One of the two maps is set."""

    valid: np.ndarray
    """[H, W] bool: the value is finite, positive and, where the model knows the sky, not sky."""
    space: str
    """`SPACE_*`: how the map relates to metres along the optical axis."""
    depth_z_m: np.ndarray | None = None
    """[H, W] float32 of a metric model."""
    rel_depth: np.ndarray | None = None
    """[H, W] float32 of any other model, in its own space."""
    K_px: np.ndarray | None = None
    """[3, 3] intrinsics that the model worked with, None where it neither knows nor needs them."""

    def __post_init__(self) -> None:
        if self.space not in (SPACE_METRIC, SPACE_SCALE, SPACE_DEPTH, SPACE_DISPARITY):
            raise InputError(f"space is '{self.space}'; expected metric, scale, depth or disparity")
        if (self.depth_z_m is None) == self.metric or (self.rel_depth is None) != self.metric:
            raise InputError(f"a depth result in the space '{self.space}' needs depth_z_m if metric, else rel_depth")
        expect_shape("valid", self.valid, (None, None))
        expect_shape("depth_z_m" if self.metric else "rel_depth", self.values, self.valid.shape)
        if self.K_px is not None:
            expect_shape("K_px", self.K_px, (3, 3))

    @property
    def metric(self) -> bool:
        return self.space == SPACE_METRIC

    @property
    def values(self) -> np.ndarray:
        """[H, W] the map in the model's own space, metres if metric."""
        values = self.depth_z_m if self.metric else self.rel_depth
        assert values is not None, "checked when it was made"
        return values


SOURCE_NONE, SOURCE_PHOTO, SOURCE_PAINTED, SOURCE_WARPED = 0, 1, 2, 3
"""Values of `RgbdView.source`: nothing, a pixel of the photo, first painted in this view, warped from older views."""


@dataclass(frozen=True, kw_only=True)
class RgbdView:
    """One remembered picture with depth and pose."""

    view_id: int
    camera: PinholeCamera
    T_world_cam: np.ndarray
    """[4, 4]."""
    rgb_u8: np.ndarray
    """[H, W, 3] uint8 sRGB."""
    depth_z_m: np.ndarray
    """[H, W] float32."""
    valid: np.ndarray
    """[H, W] bool: depth and colour mean something."""
    source: np.ndarray
    """[H, W] uint8 `SOURCE_*`: only PHOTO and PAINTED pixels add anything new to the world."""
    labels: np.ndarray
    """[H, W] uint8 `Label`."""

    def __post_init__(self) -> None:
        hw = (self.camera.height_px, self.camera.width_px)
        expect_shape("rgb_u8", self.rgb_u8, (*hw, 3))
        for name in ("depth_z_m", "valid", "source", "labels"):
            expect_shape(name, getattr(self, name), hw)


@dataclass(frozen=True, kw_only=True)
class WorldViews:
    """Everything that generation hands to reconstruction. View 0 is the photo at its own pose."""

    views: Sequence[RgbdView]
    proxy: TriMesh | None = None
    """The evolving proxy world that gave the views their depth, with face labels; None when depth is per view."""
    ceiling_m: float | None = None
    Ts_world_path: np.ndarray = field(default_factory=lambda: np.zeros((0, 4, 4)))
    """[P, 4, 4] camera path that was explored, for the walkthrough film."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What generation measured about its own memory."""

    def __post_init__(self) -> None:
        if not self.views:
            raise InputError("WorldViews holds no view; expected at least the photo")

    @property
    def photo_view(self) -> RgbdView:
        return self.views[0]
