"""Colliders: boxes behind surfaces, never in free space, and a mesh for the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.sim.collision import build_colliders, ray_agreement_m
from lyra.worldgen.sim.cover import cover, grid_edges, grown
from lyra.worldgen.sim.free_probe import FreeSpaceProbe
from sample_worlds import box_corners, noisy_room, open_place, random_star, room_with_alcove, simple_room, star_world

CFG = SimulationConfig()
EYE = np.array([[0.0, 0.0, 1.5], [0.2, 0.1, 0.4]])


def interior(box) -> np.ndarray:
    """Points [N, 3] spread through a box, 2 cm inside its skin."""
    axes = [np.linspace(-1, 1, 7) * max(h - 0.02, 0.3 * h) for h in box.half_m]
    return np.stack(np.meshgrid(*axes), -1).reshape(-1, 3) @ box.R_world_box.T + box.centre_m


def stems(plan) -> list[str]:
    """Kinds of boxes, sorted; a slab may be cut into several and counts once."""
    kinds = [name.partition("_")[0] for name in plan.box_names()]
    return sorted({k for k in kinds if k != "wall"}) + [k for k in kinds if k == "wall"]


def test_plain_room_is_six_boxes_and_its_objects():
    """Slabs and four walls, 0.2 m thick and outside the room; the rest holds the objects and the walls' surface."""
    plan = build_colliders(simple_room(step_m=0.13), CFG)
    assert stems(plan) == ["ceiling", "floor"] + 4 * ["wall"]
    assert plan.mode == "boxes" and plan.boxed_share == 1.0
    floor = plan.boxes[0]
    np.testing.assert_allclose(floor.centre_m[2] + floor.half_m[2], 0.0, atol=1e-12)
    low, high = np.array([-4.0, -3.5, 0.0]), np.array([6.0, 4.5, 2.8])
    for box in plan.boxes:
        inside = (interior(box) > low) & (interior(box) < high)
        assert not inside.all(1).any()
        assert np.isclose(2 * box.half_m, 0.2).any()
    assert plan.rest.face_labels is not None and set(plan.rest.face_labels) == {Label.WALL, Label.OBJECT}


@pytest.mark.slow
@settings(max_examples=12)
@given(seed=st.integers(0, 500), walls=st.integers(6, 40), indoors=st.booleans())
def test_any_star_shaped_world_agrees_and_keeps_its_free_space(seed, walls, indoors):
    """Whatever the corners: rays agree with the visual mesh and no box enters free space."""
    mesh = star_world(random_star(seed, walls), ceiling_m=2.8 if indoors else None)
    plan = build_colliders(mesh, CFG)
    error = ray_agreement_m(mesh, plan, EYE, seed=0, count=1500)
    assert np.median(error) < 0.01
    assert np.percentile(error, 95) < 0.03
    solid = mesh.select_faces(mesh.face_labels != Label.SKY)
    points = np.concatenate([interior(box) for box in plan.boxes if box.label == Label.WALL])
    # Probing is by sampled rays, so a thin wedge may be judged either way.
    assert FreeSpaceProbe(solid).free(points).mean() < 0.01


def test_every_place_in_the_floor_is_nearest_to_the_top_of_a_box():
    """A solver pushes what sank in out through the nearest side: at the seams of the tiles that must not be a seam."""
    plan = build_colliders(star_world(box_corners(-11.0, 11.0, -9.0, 9.0)), SimulationConfig())
    floor = [box for box in plan.boxes if box.label == Label.FLOOR]
    assert len(floor) >= 6 and max(box.half_m[:2].max() for box in floor) <= 4.0
    ends = [np.unique([[b.centre_m[k] - b.half_m[k], b.centre_m[k] + b.half_m[k]] for b in floor]) for k in (0, 1)]
    near = [np.unique(np.r_[end - 0.02, end, end + 0.02].clip(-8.9, 8.9)) for end in ends]
    depth_m = 0.08
    x, y = np.meshgrid(*near)
    points = np.stack([x, y, np.full_like(x, plan.floor_z_m - depth_m)], -1).reshape(-1, 3)
    lifted = np.zeros(len(points), bool)
    for box in floor:
        to_side_m = (box.half_m - np.abs(points - box.centre_m))[:, :2].min(1)
        lifted |= to_side_m > depth_m
    assert lifted.all()


def test_door_gap_stays_open():
    """A body can pass the opening in the wall, and not the wall beside it."""
    mesh = room_with_alcove()
    plan = build_colliders(mesh, CFG)
    gap = np.array([[3.0, 0.0, 1.0], [3.1, 0.4, 0.5], [3.6, -0.4, 1.5]])
    beside = np.array([[3.1, 0.8, 1.0], [3.1, -0.8, 1.0]])
    assert not any(box.contains(gap).any() for box in plan.boxes)
    assert all(any(box.contains(p[None]).any() for box in plan.boxes) for p in beside)


@pytest.mark.slow
def test_sky_never_collides_and_backdrop_does():
    """Open sky lets everything through; the walls that stand for far scenery stop a robot."""
    mesh = open_place()
    plan = build_colliders(mesh, CFG)
    assert {Label.FLOOR, Label.WALL, Label.BACKDROP} == {Label(b.label) for b in plan.boxes}
    assert plan.as_mesh().vertices[:, 2].max() < 4.3


@pytest.mark.slow
def test_noise_and_dust_become_clean_planes():
    """A fused mesh with millimetre noise and floaters gives the same slabs and walls, floor at zero, dust gone."""
    plan = build_colliders(noisy_room(), CFG)
    assert stems(plan) == ["ceiling", "floor"] + 4 * ["wall"]
    assert abs(plan.floor_z_m) < 0.002
    assert plan.floaters_removed == 30
    assert plan.rest.face_count < 3000


def test_inverted_mesh_is_wound_into_free_space():
    """With the winding of the whole mesh turned, the collider is the same."""
    mesh = simple_room()
    turned = replace(mesh, faces=mesh.faces[:, ::-1].copy(), uv=None)
    plan = build_colliders(turned, CFG)
    assert plan.flipped_pieces > 0
    assert stems(plan) == ["ceiling", "floor"] + 4 * ["wall"]
    assert np.percentile(ray_agreement_m(mesh, plan, EYE, seed=0, count=1000), 95) < 0.01


@pytest.mark.slow
def test_rest_keeps_its_budget():
    """The triangle mesh is decimated to its budget and stays close to the surface."""
    mesh = noisy_room()
    walls = mesh.select_faces(mesh.face_labels != Label.UNKNOWN)
    plan = build_colliders(walls, replace(CFG, rest_faces=400))
    assert 0 < plan.rest.face_count <= 420
    assert np.percentile(ray_agreement_m(walls, plan, EYE, seed=0, count=1500), 95) < 0.03


def test_unlabelled_mesh_works_by_geometry_alone():
    """Without labels floor, ceiling and walls are still found."""
    plan = build_colliders(replace(simple_room(), face_labels=None), CFG)
    names = plan.box_names()
    assert "floor_000" in names and "ceiling_000" in names and sum(n.startswith("wall") for n in names) >= 4
    assert plan.floor_z_m == pytest.approx(0.0)


@given(st.integers(0, 10_000))
def test_cover_takes_every_wanted_cell_once(seed):
    """Rectangles hold usable cells only, share no wanted cell and leave none when nothing is too small."""
    rng = np.random.default_rng(seed)
    usable = rng.random((rng.integers(1, 9), rng.integers(1, 12))) < 0.7
    wanted = usable & (rng.random(usable.shape) < 0.8)
    row_m, col_m = rng.uniform(0.1, 1, usable.shape[0]), rng.uniform(0.1, 1, usable.shape[1])
    count = np.zeros(usable.shape, int)
    for rectangle in cover(usable, wanted, row_m, col_m, min_area_m2=0.0, min_side_m=0.0, limit=1000):
        r0, r1, c0, c1 = rectangle
        assert usable[r0:r1, c0:c1].all()
        count[r0:r1, c0:c1] += 1
        g0, g1, h0, h1 = grown(rectangle, usable)
        assert usable[g0:g1, h0:h1].all() and g0 <= r0 and g1 >= r1 and h0 <= c0 and h1 >= c1
    assert (count[wanted] >= 1).all()


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=60), st.integers(2, 40))
def test_grid_edges_reach_from_end_to_end(values, most):
    """Borders ascend, begin and end with the surface and are never farther apart than a step."""
    values = np.array(values)
    edges = grid_edges(values, step_m=0.5, gap_m=0.02, most=most)
    assert (np.diff(edges) > 0).all()
    np.testing.assert_allclose([edges[0], edges[-1]], [values.min(), values.max()], atol=0.02)
    assert np.diff(edges).max(initial=0.0) <= 0.5 + 0.021
