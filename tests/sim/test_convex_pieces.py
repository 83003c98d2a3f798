"""Convex pieces are exactly what the triangle mesh is, wherever the world is made of planes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.mesh import Label, TriMesh, concatenate_meshes
from lyra.worldgen.sim.collision import ColliderPlan, build_colliders, ray_agreement_m
from lyra.worldgen.sim.convex_pieces import ConvexPiece, convex_plan, convex_polygons, hull_mesh
from lyra.worldgen.sim.newton_drop import NewtonJob, run_newton_drop
from lyra.worldgen.sim.physx_job import Drop
from lyra.worldgen.sim.simulate import WorldMeta, write_simulation
from sample_worlds import box_corners, noisy_room, prism, random_star, room_with_alcove, sample_splats, simple_room

CFG = SimulationConfig()


def inside(piece: ConvexPiece, points: np.ndarray) -> np.ndarray:
    """[N] bool: the point lies in the piece's hull."""
    hull = hull_mesh(piece)
    normals, corner = hull.face_normals(), hull.triangles()[:, 0]
    return (points @ normals.T - np.einsum("fc,fc->f", normals, corner) <= 1e-9).all(1)


def star_prism(footprint: np.ndarray, height_m: float) -> TriMesh:
    """A prism of a footprint that is star-shaped about the origin: sides, and a fan as top; it stands on z = 0."""
    n, top = len(footprint), np.array([0.0, 0.0, height_m])
    low, high = np.c_[footprint, np.zeros(n)], np.c_[footprint, np.full(n, height_m)]
    soup = []
    for i in range(n):
        j = (i + 1) % n
        soup += [[low[i], low[j], high[j]], [low[i], high[j], high[i]], [top, high[i], high[j]]]
    vertices = np.array(soup).reshape(-1, 3)
    faces = np.arange(len(vertices), dtype=np.int32).reshape(-1, 3)
    return TriMesh(vertices=vertices, faces=faces, face_labels=np.full(len(faces), Label.OBJECT, np.uint8))


def plan_of(rest: TriMesh) -> ColliderPlan:
    """A plan without boxes."""
    return ColliderPlan(
        boxes=(), rest=rest, floor_z_m=0.0, mode="mesh", boxed_share=0.0, floaters_removed=0, flipped_pieces=0
    )


@pytest.mark.parametrize("world", [simple_room, room_with_alcove], ids=["room", "alcove"])
def test_a_room_of_planes_keeps_its_surface(world):
    """Boxes and pieces together answer rays as boxes and mesh do, to the micrometre for 99 of 100."""
    mesh = world()
    plan = build_colliders(mesh, CFG)
    convex = convex_plan(plan, mesh)
    rng = np.random.default_rng(0)
    origins = np.c_[rng.uniform(-1.0, 1.0, (20, 2)), np.full(20, 1.2)]
    error = ray_agreement_m(plan.as_mesh(), convex.with_boxes(plan), origins, seed=3)
    assert np.percentile(error, 99) < 1e-6
    assert convex.coarse_faces == 0 and len(convex.pieces) < 60
    assert len(set(convex.names())) == len(convex.pieces)


def test_convex_things_are_one_piece_each():
    """Chest, pillar and low box are whole; their pieces reach into the floor and not beyond their tops."""
    mesh = simple_room()
    convex = convex_plan(build_colliders(mesh, CFG), mesh)
    things = [piece for piece in convex.pieces if piece.label == Label.OBJECT]
    assert convex.counts["whole"] == 3 == len(things)
    np.testing.assert_allclose(sorted(np.ptp(p.vertices[:, 2]) for p in things), [0.4, 0.95, 2.55], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(5, 14))
def test_any_prism_is_exactly_its_pieces(seed, count):
    """A point is in some piece just when it is in the prism, and pieces do not overlap."""
    footprint = random_star(seed, count, near_m=0.3, far_m=1.0)
    mesh = star_prism(footprint, 0.7)
    convex = convex_plan(plan_of(mesh), mesh, coacd_s=0)
    assert convex.counts["whole"] + convex.counts["prism"] == len(convex.pieces) <= count
    points = np.random.default_rng(seed).uniform([-1, -1, 0], [1, 1, 0.8], (400, 3))
    hits = sum(inside(piece, points).astype(int) for piece in convex.pieces)
    want = in_star(footprint, points[:, :2]) & (points[:, 2] < 0.7)
    near = distance_to_edges(footprint, points[:, :2]) < 1e-6
    np.testing.assert_array_equal((hits > 0)[~near], want[~near])
    assert (hits[~near] <= 1).mean() > 0.99  # shared faces only


def in_star(footprint: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """[N] bool: inside a counter-clockwise polygon that is star-shaped about the origin."""
    after = np.roll(footprint, -1, axis=0)

    def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]

    p = xy[:, None]
    return ((cross(footprint, p) >= 0) & (cross(p, after) >= 0) & (cross(after - footprint, p - footprint) >= 0)).any(1)


def distance_to_edges(footprint: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """[N] distance to the polygon's edges and to the spokes of its fan."""
    after = np.roll(footprint, -1, axis=0)
    starts, ends = np.concatenate([footprint, footprint * 0]), np.concatenate([after, footprint])
    along = ends - starts
    t = np.clip(((xy[:, None] - starts) * along).sum(-1) / (along**2).sum(-1), 0, 1)
    return np.linalg.norm(xy[:, None] - starts - t[..., None] * along, axis=-1).min(1)


def test_stacked_prisms_are_cut_under_every_top():
    """A step of two heights is two columns."""
    low, _ = prism(box_corners(0.0, 1.0, 0.0, 1.0), 0.4)
    high, _ = prism(box_corners(1.0, 2.0, 0.0, 1.0), 0.8)
    triangles = np.concatenate([low, high])
    mesh = TriMesh(
        vertices=triangles.reshape(-1, 3), faces=np.arange(3 * len(triangles), dtype=np.int32).reshape(-1, 3)
    )
    convex = convex_plan(plan_of(mesh), mesh, coacd_s=0)
    assert len(convex.pieces) == 2
    assert sorted(round(float(p.vertices[:, 2].max()), 3) for p in convex.pieces) == [0.4, 0.8]


def test_polygons_join_what_lies_in_one_plane():
    """A triangulated square is one polygon, an L two; area is kept."""
    square = TriMesh(
        vertices=np.c_[box_corners(0, 1, 0, 1), np.zeros(4)], faces=np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    )
    (ring,) = convex_polygons(square)
    assert len(ring) == 4
    other = replace(square, vertices=square.vertices + np.array([1.0, 0.0, 0.0]))
    third = replace(square, vertices=square.vertices + np.array([0.0, 1.0, 0.0]))
    assert len(convex_polygons(concatenate_meshes([square, other, third]))) == 2


@pytest.mark.slow
def test_rough_surfaces_become_coarse_plates_within_the_budget():
    """A reconstructed room without exact planes is made coarser, says so, and stays near its surface."""
    mesh = noisy_room()
    plan = build_colliders(mesh, SimulationConfig(rest_faces=3000))
    convex = convex_plan(plan, mesh, coacd_s=0)
    assert 0 < len(convex.pieces) <= 1024
    assert (convex.coarse_faces > 0) == (plan.rest.face_count > 1024)
    for piece in convex.pieces[:40]:
        assert np.isfinite(piece.vertices).all() and hull_mesh(piece).face_count >= 4


def test_a_variant_chooses_the_collider(tmp_path):
    """`collision` is mesh unless convex is chosen; both have the same boxes; without the option there is no choice."""
    pxr = pytest.importorskip("pxr")
    from pxr import UsdPhysics

    mesh = simple_room()
    meta, splats = WorldMeta(name="x"), sample_splats(mesh, 10)
    plain, both = tmp_path / "plain", tmp_path / "both"
    write_simulation(plain, mesh, splats, cfg=SimulationConfig(episode_count=0), meta=meta, seed=0)
    result = write_simulation(both, mesh, splats, cfg=SimulationConfig(episode_count=0, convex=True), meta=meta, seed=0)
    assert result.convex is not None and "payloads/collision_convex.usdc" in result.files
    assert result.convex_error_m[1] < 1e-6
    assert (plain / "payloads/collision.usdc").read_bytes() == (both / "payloads/collision.usdc").read_bytes()
    alone = pxr.Usd.Stage.Open(str(plain / "world.usda"))
    assert alone.GetPrimAtPath("/World").GetVariantSets().GetNames() == ["representation"]
    stage = pxr.Usd.Stage.Open(str(both / "world_scene.usda"))
    variants = stage.GetPrimAtPath("/World").GetVariantSet("collision")
    assert variants.GetVariantSelection() == "mesh" and stage.GetPrimAtPath("/World/Collision/rest")
    variants.SetVariantSelection("convex")
    assert not stage.GetPrimAtPath("/World/Collision/rest") and stage.GetPrimAtPath("/World/Collision/floor_000")
    for name in result.convex.names():
        prim = stage.GetPrimAtPath(f"/World/Collision/{name}")
        assert prim.HasAPI(UsdPhysics.CollisionAPI)
        assert UsdPhysics.MeshCollisionAPI(prim).GetApproximationAttr().Get() == "convexHull"


@pytest.mark.slow
def test_coacd_cuts_watertight_things_without_planes():
    """A dumbbell of two spheres becomes a few hulls; without time it becomes plates."""
    pytest.importorskip("coacd", reason="CoACD is not installed")
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.3)
    vertices = ball.vertices * (0.55 + 1.4 * np.abs(ball.vertices[:, :1] / 0.3) ** 1.5) + [0.0, 0.0, 0.8]
    mesh = TriMesh(vertices=np.asarray(vertices), faces=np.asarray(ball.faces, np.int32))
    convex = convex_plan(plan_of(mesh), mesh)
    assert 2 <= convex.counts["coacd"] == len(convex.pieces) <= 48
    late = convex_plan(plan_of(mesh), mesh, coacd_s=0.01)
    assert late.counts["plate"] > 48 and "longer than" in late.problem and not convex.problem


@pytest.mark.slow
@pytest.mark.newton
@pytest.mark.xdist_group("newton")
def test_mujocos_own_contacts_hold_what_lies_on_pieces(tmp_path):
    """Bodies rest on the floor and on the low box although MuJoCo knows hulls only."""
    pytest.importorskip("newton", reason="Newton is not installed")
    mesh = simple_room()
    cfg = SimulationConfig(episode_count=0, convex=True)
    write_simulation(tmp_path, mesh, sample_splats(mesh, 10), cfg=cfg, meta=WorldMeta(name="x"), seed=0)
    drops = (
        Drop(shape="box", half_m=0.1, position_m=(0.0, 0.0, 0.4)),
        Drop(shape="sphere", half_m=0.08, position_m=(1.0, 0.0, 0.38)),
        Drop(shape="box", half_m=0.05, position_m=(1.3, -2.3, 0.6)),
    )
    job = NewtonJob(stage=str(tmp_path / "payloads" / "collision_convex.usdc"), drops=drops, contacts="mujoco")
    outcome = run_newton_drop(job, tmp_path, timeout_s=600)
    assert outcome.result is not None, outcome.problem
    assert "MESH" not in outcome.result.shapes and outcome.result.shapes["CONVEX_MESH"] >= 3
    bottom = outcome.result.end_m[:, 2] - [d.half_m for d in drops]
    np.testing.assert_allclose(bottom, [0.0, 0.0, 0.35], atol=0.01)
