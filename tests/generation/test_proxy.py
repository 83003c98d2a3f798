"""The proxy world is closed, faces free space, and keeps what the photo's sector says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.views import PolarLayout
from lyra.worldgen.generation.proxy import boundary_polygon, build_proxy, clear_start, full_turn, object_prisms
from lyra.worldgen.generation.trajectory import CLEARANCE_M, Stop, free_space, plan_stops, spread_places


def sector(
    *, half_span_rad: float = 0.7, front_m: float = 5.0, side_m: float = 2.5, ceiling_m: float | None = 2.7, objects=()
) -> PolarLayout:
    """The part of a corridor-shaped room that a camera with a field of view of 2 * half_span_rad sees."""
    azimuth = np.linspace(-half_span_rad, half_span_rad, 400)
    boundary = np.minimum(front_m / np.cos(azimuth), side_m / np.maximum(np.abs(np.sin(azimuth)), 1e-9))
    bins, near, far, top = [], [], [], []
    for a0, a1, n, f, t in objects:
        k = np.flatnonzero((azimuth > a0) & (azimuth < a1))
        bins += k.tolist()
        near += [n] * len(k)
        far += [f] * len(k)
        top += [t] * len(k)
    return PolarLayout(
        azimuth_rad=azimuth,
        boundary_m=boundary,
        boundary_top_m=np.full(400, np.inf if ceiling_m else 3.0),
        boundary_label=np.full(400, Label.WALL, np.uint8),
        object_bin=np.array(bins, np.int32),
        object_near_m=np.array(near, float),
        object_far_m=np.array(far, float),
        object_top_m=np.array(top, float),
        ceiling_m=ceiling_m,
        camera_height_m=1.5,
    )


def directions(count: int, rng: np.random.Generator) -> np.ndarray:
    d = rng.normal(size=(count, 3))
    return d / np.linalg.norm(d, axis=1, keepdims=True)


@given(
    half_span=st.floats(0.3, 1.4), front=st.floats(1.5, 20.0), side=st.floats(1.0, 8.0), indoor=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_no_ray_escapes(half_span: float, front: float, side: float, indoor: bool, seed: int) -> None:
    """Every ray from a free place hits a surface that faces the viewer: the world is bounded on every side."""
    photo = sector(half_span_rad=half_span, front_m=front, side_m=side, ceiling_m=2.7 if indoor else None)
    layout = clear_start(full_turn(photo, None))
    mesh = build_proxy(layout)
    rng = np.random.default_rng(seed)
    d = directions(2000, rng)
    t, face, _ = Raycaster(mesh).cast(np.array([0.1, -0.05, 1.2]), d)
    assert np.isfinite(t).all()
    facing = np.einsum("ij,ij->i", mesh.face_normals()[face], d)
    assert np.mean(facing < 0) > 0.999


def test_sector_distances_survive() -> None:
    """Inside the photo's sector a horizontal ray measures the layout's own distance."""
    photo = sector()
    mesh = build_proxy(full_turn(photo, None))
    a = np.linspace(-0.65, 0.65, 101)
    rays = np.stack([np.cos(a), np.sin(a), np.zeros_like(a)], 1)
    t, _, _ = Raycaster(mesh).cast(np.array([0, 0, 1.5]), rays)
    want = np.minimum(5.0 / np.cos(a), 2.5 / np.maximum(np.abs(np.sin(a)), 1e-9))
    np.testing.assert_allclose(t, want, rtol=0.01)


def test_straight_walls_stay_straight() -> None:
    """The wall in front is a single plane of few vertices, not a staircase of bins."""
    xy, _, _ = boundary_polygon(full_turn(sector(), None))
    front = xy[(np.abs(np.arctan2(xy[:, 1], xy[:, 0])) < 0.4)]
    assert len(front) < 8
    np.testing.assert_allclose(front[:, 0], 5.0, atol=0.03)


def test_objects_become_closed_solids() -> None:
    """A prism has no open edge and a positive volume, and stands where the stixels said."""
    trimesh = pytest.importorskip("trimesh")
    layout = full_turn(sector(objects=[(-0.1, 0.15, 2.0, 2.6, 0.8)]), None)
    prisms = object_prisms(layout)
    assert prisms
    for prism in prisms:
        solid = trimesh.Trimesh(prism.vertices, prism.faces)
        assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0
    mesh = build_proxy(layout)
    t, face, _ = Raycaster(mesh).cast(np.array([0, 0, 0.4]), np.array([[1.0, 0.0, 0.0]]))
    assert mesh.face_labels is not None and mesh.face_labels[face[0]] == Label.OBJECT
    assert t[0] == pytest.approx(2.0, abs=0.02)


@pytest.mark.slow
@settings(max_examples=12)
@given(span=st.floats(0.3, 1.2), seed=st.integers(0, 20))
def test_camera_never_enters_geometry(span: float, seed: int) -> None:
    """Every pose of every preset keeps its distance from walls and objects."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(-span, span * 0.5)
    layout = clear_start(full_turn(sector(half_span_rad=span, objects=[(centre, centre + 0.2, 1.5, 2.0, 1.0)]), None))
    space = free_space(layout)
    caster = Raycaster(build_proxy(layout))
    a = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    around = np.stack([np.cos(a), np.sin(a), np.zeros_like(a)], 1)
    for path in ("turn", "forward", "loop", "auto"):
        camera = PinholeCamera.from_hfov(64, 48, 1.4)
        home = Stop(Ts_world_cam=camera_pose(np.array([0.0, 0.0, 1.5]))[None], camera=camera)
        for stop in plan_stops(layout, space, path=path, camera=camera, home=home):
            for T in stop.Ts_world_cam[:1]:
                assert np.hypot(*T[:2, 3]) == 0 or space.clearance_at(T[:2, 3]) > CLEARANCE_M
                for height in (0.3, 1.5):
                    t, _, _ = caster.cast(np.array([T[0, 3], T[1, 3], height]), around)
                    assert t.min() > 0.2


def test_places_are_spread_and_reachable() -> None:
    """Places lie in the reachable floor, at least a metre apart."""
    space = free_space(full_turn(sector(), None))
    places = spread_places(space, 4)
    assert len(places) >= 2
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + 9 * np.eye(len(places))
    assert gaps.min() >= 1.0 and (space.clearance_at(places) > CLEARANCE_M).all()
