"""Geometry from a depth map: exact where the map is, whatever its scale and shift, and never failing on nonsense."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from geometry_checks import as_photo, expect_sound, odd_pictures
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import GeometryConfig
from lyra.worldgen.core.errors import BackendError
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.views import SPACE_DEPTH, SPACE_DISPARITY, SPACE_METRIC, SPACE_SCALE, DepthResult, PhotoGeometry
from lyra.worldgen.generation.depth import make_result
from lyra.worldgen.generation.geometry_depth import DepthGeometry
from rooms import AnalyticRoom, analytic_room

pytestmark = pytest.mark.slow

SPACES = (SPACE_METRIC, SPACE_SCALE, SPACE_DEPTH, SPACE_DISPARITY)


class FakeOracle:
    """Says the exact depth of an analytic room, in a space and with a factor and a shift that nobody is told."""

    name, model, weights_licence = "transformers", "fake-oracle", "none"

    def __init__(
        self, room: AnalyticRoom, space: str, *, factor: float = 0.37, shift: float = 0.0, noise: float = 0.0
    ) -> None:
        self.room, self.space, self.factor, self.shift, self.noise = room, space, factor, shift, noise

    def estimate(self, rgb_u8: np.ndarray, camera: PinholeCamera | None) -> DepthResult:
        z = self.room.render().depth_z_m.astype(float)
        z *= np.exp(self.noise * np.random.default_rng(3).standard_normal(z.shape))
        values = self.factor * (1.0 / z if self.space == SPACE_DISPARITY else z) + self.shift
        return make_result(self.model, values, space=self.space, K_px=self.room.camera.K_px)


class FakeNonsense:
    """Says what it is given."""

    name, model, weights_licence = "transformers", "fake-nonsense", "none"

    def __init__(self, values: np.ndarray, K_px: np.ndarray | None = None) -> None:
        self.values, self.K_px = values, K_px

    def estimate(self, rgb_u8: np.ndarray, camera: PinholeCamera | None) -> DepthResult:
        return make_result(self.model, self.values, space=SPACE_METRIC, K_px=self.K_px)


def understood(room: AnalyticRoom, oracle: FakeOracle) -> PhotoGeometry:
    g = DepthGeometry(oracle).estimate(room.photo(), GeometryConfig())
    expect_sound(g)
    assert g.backend == "transformers", g.notes
    return g


def boundary_error(g: PhotoGeometry, room: AnalyticRoom) -> float:
    return float(np.abs(g.layout.boundary_m / room.layout(g.layout.azimuth_rad).boundary_m - 1.0).max())


def gravity_error_deg(g: PhotoGeometry, room: AnalyticRoom) -> float:
    cosine = float(g.T_world_cam[2, :3] @ room.T_world_cam[2, :3])
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "factor", "shift"),
    [
        (SPACE_METRIC, 1.27, 0.0),
        (SPACE_SCALE, 0.05, 0.0),
        (SPACE_DEPTH, 0.37, -0.4),
        (SPACE_DEPTH, 2.0, 5.0),
        (SPACE_DISPARITY, 3.1, 0.8),
        (SPACE_DISPARITY, 400.0, -40.0),
    ],
)
def test_exact_depth_of_unknown_scale_and_shift_gives_the_room(space, factor, shift):
    """Boundary within 3 % everywhere, up within half a degree, the boxes and the ceiling where they are."""
    room = analytic_room(width_px=256, height_px=192, roll_deg=2.0)
    g = understood(room, FakeOracle(room, space, factor=factor, shift=shift))
    assert boundary_error(g, room) < 0.03
    assert gravity_error_deg(g, room) < 0.5
    assert g.layout.ceiling_m is not None
    np.testing.assert_allclose(g.layout.ceiling_m, 2.8, atol=0.05)
    truth = room.render()
    assert (g.labels == truth.labels).mean() > 0.97
    assert np.quantile(np.abs(np.log(g.depth_z_m / truth.depth_z_m)), 0.9) < 0.02
    assert g.confidence > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("space", "shift"), [(SPACE_METRIC, 0.0), (SPACE_DEPTH, -0.3), (SPACE_DISPARITY, 0.3)])
def test_noise_of_two_percent_costs_little(space, shift):
    """Every pixel 2 % off: still within 3 % and half a degree, less sure of it."""
    room = analytic_room(width_px=320, height_px=240, pitch_deg=-12.0, roll_deg=3.0)
    g = understood(room, FakeOracle(room, space, shift=shift, noise=0.02))
    assert boundary_error(g, room) < 0.03 and gravity_error_deg(g, room) < 0.5
    assert 0.2 < g.confidence < 0.65


def test_furniture_stands_where_it_stands():
    """Near faces and tops of the boxes are those of the room."""
    room = analytic_room(width_px=256, height_px=192)
    g = understood(room, FakeOracle(room, SPACE_METRIC, factor=1.0))
    truth = room.layout(g.layout.azimuth_rad)
    near = {b: (n, t) for b, n, t in zip(truth.object_bin, truth.object_near_m, truth.object_top_m, strict=True)}
    pairs = [
        (n / near[b][0], t - near[b][1])
        for b, n, t in zip(g.layout.object_bin, g.layout.object_near_m, g.layout.object_top_m, strict=True)
        if b in near
    ]
    assert len(pairs) > 0.9 * len(near)
    np.testing.assert_allclose(np.median([p[0] for p in pairs]), 1.0, atol=0.03)
    np.testing.assert_allclose(np.median([p[1] for p in pairs]), 0.0, atol=0.05)


def test_the_camera_height_wins_over_the_models_own_scale():
    """The world is as large as the camera height says; how far the model differs is written down."""
    room = analytic_room(width_px=192, height_px=144)
    g = understood(room, FakeOracle(room, SPACE_METRIC, factor=2.0))
    assert boundary_error(g, room) < 0.03
    assert any("3.00 m above the floor, 100 % above the camera height of 1.5 m, which is used" in n for n in g.notes)
    plain = understood(room, FakeOracle(room, SPACE_METRIC, factor=1.0))
    assert g.relative_scale_sigma > plain.relative_scale_sigma >= 0.12


def test_depth_and_layout_scale_with_the_camera_height():
    """Twice the height, twice the world."""
    room = analytic_room(width_px=192, height_px=144)
    oracle = DepthGeometry(FakeOracle(room, SPACE_SCALE))
    one = oracle.estimate(room.photo(), GeometryConfig())
    two = oracle.estimate(room.photo(), GeometryConfig(camera_height_m=3.0, max_extent_m=40.0))
    np.testing.assert_allclose(np.median(two.depth_z_m / one.depth_z_m), 2.0, rtol=0.01)
    np.testing.assert_allclose(np.median(two.layout.boundary_m / one.layout.boundary_m), 2.0, rtol=0.02)


def test_far_surfaces_become_a_backdrop_at_the_reach():
    """What lies beyond the reach is capped and labelled so."""
    room = analytic_room(width_px=192, height_px=144, boxes=False)
    g = DepthGeometry(FakeOracle(room, SPACE_METRIC)).estimate(room.photo(), GeometryConfig(max_extent_m=3.0))
    expect_sound(g)
    assert g.layout.boundary_m.max() <= 3.0 and (g.layout.boundary_label == Label.BACKDROP).any()


@pytest.mark.parametrize("what", ["constant", "zero", "noise", "upside-down", "half-nan"])
def test_nonsense_costs_confidence_and_not_the_world(what):
    """Where the answer makes no room, the embedded chain speaks, with a note and less confidence."""
    room = analytic_room(width_px=160, height_px=120)
    z = room.render().depth_z_m
    values = {
        "constant": np.full(z.shape, 3.0),
        "zero": np.zeros(z.shape),
        "noise": np.exp(np.random.default_rng(0).uniform(-2, 2, z.shape)),
        "upside-down": z[::-1] ** 2,
        "half-nan": np.where(np.arange(z.shape[0])[:, None] > 30, np.nan, z),
    }[what]
    g = DepthGeometry(FakeNonsense(values.astype(np.float32))).estimate(room.photo(), GeometryConfig())
    expect_sound(g)
    assert g.backend == "embedded" and g.confidence <= 0.5
    assert "fake-nonsense" in g.notes[0] and g.notes[0].endswith("the embedded geometry is used instead")


@pytest.mark.parametrize("name", ["blank", "gradient", "tiny", "strip", "column"])
def test_any_picture_gives_a_sound_geometry(name):
    """Odd pictures and odd sizes pass, whatever a model makes of them."""
    rgb = odd_pictures()[name]
    slope = np.linspace(8.0, 1.0, rgb.shape[0])[:, None] * np.ones(rgb.shape[1])
    expect_sound(DepthGeometry(FakeNonsense(slope)).estimate(as_photo(rgb), GeometryConfig()))


def test_impossible_intrinsics_are_put_aside_with_a_note():
    """A model that claims a needle's view is not believed in that."""
    room = analytic_room(width_px=192, height_px=144)
    K = np.diag([1e6, 1e6, 1.0])
    g = DepthGeometry(FakeNonsense(room.render().depth_z_m, K)).estimate(room.photo(), GeometryConfig())
    assert any("no usable intrinsics" in note for note in g.notes)


def test_a_calibrated_field_of_view_wins_over_the_models():
    """A film's own intrinsics are measured; a model's are a guess."""
    room = analytic_room()
    told = dataclasses.replace(room.photo(), hfov_rad=1.1 * room.camera.hfov_rad, calibrated=True)
    g = DepthGeometry(FakeOracle(room, SPACE_METRIC)).estimate(told, GeometryConfig())
    assert g.backend == "transformers", g.notes
    np.testing.assert_allclose(g.camera.hfov_rad, told.hfov_rad, rtol=1e-3)


def test_no_finite_number_is_an_error():
    """NaN everywhere means that the weights are broken, not the photo."""
    room = analytic_room()
    with pytest.raises(BackendError, match="fake-nonsense returned no finite number"):
        nan = np.full((room.camera.height_px, room.camera.width_px), np.nan)
        DepthGeometry(FakeNonsense(nan)).estimate(room.photo(), GeometryConfig())
