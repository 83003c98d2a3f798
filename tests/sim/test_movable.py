"""Things that stand free become bodies: which, with what mass, and that they rest and can be pushed in PhysX."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.sim.movable import split_movable
from lyra.worldgen.sim.physx_job import PhysxJob
from lyra.worldgen.sim.physx_process import run_physx_job
from lyra.worldgen.sim.simulate import WorldMeta, write_simulation
from lyra.worldgen.sim.surface_materials import HULL_FILL, MATERIALS, default_materials
from sample_worlds import box_corners, sample_splats, simple_room, star_world

OBJECT = default_materials()["object"]
MOVABLE = SimulationConfig(episode_count=5, movable_objects=True)


def room(*objects: tuple[np.ndarray, float]) -> TriMesh:
    """6 x 6 m about the origin with these prisms."""
    return star_world(box_corners(-3.0, 3.0, -3.0, 3.0), objects=objects)


def test_a_free_box_is_taken_out_with_its_mass():
    """Its faces leave the mesh, its mass follows from its volume, its origin lies on the floor under its middle."""
    mesh = room((box_corners(1.0, 1.5, 0.5, 0.9), 0.6))
    static, (thing,) = split_movable(mesh, 0.0, OBJECT)
    assert static.face_labels is not None and not (static.face_labels == Label.OBJECT).any()
    assert static.face_count + thing.mesh.face_count == mesh.face_count
    density = MATERIALS["furniture"].density_kg_m3 * HULL_FILL
    assert thing.mass_kg == pytest.approx(density * 0.5 * 0.4 * 0.6)
    np.testing.assert_allclose(thing.origin_m, [1.25, 0.7, 0.0])
    assert thing.mesh.uv is not None and len(thing.pieces) == 1


@pytest.mark.parametrize(
    ("footprint", "height_m"),
    [
        (box_corners(2.4, 2.98, 0.0, 0.5), 0.6),
        (box_corners(1.0, 1.5, 0.5, 0.9), 2.4),
        (box_corners(1.0, 1.05, 0.5, 0.55), 0.6),
        (box_corners(0.5, 2.05, 0.5, 2.05), 1.55),
    ],
    ids=["at a wall", "too tall", "too thin", "too heavy"],
)
def test_what_leans_or_is_no_size_to_move_stays(footprint, height_m):
    """It is left where it was, and the mesh is the same object."""
    mesh = room((footprint, height_m))
    static, things = split_movable(mesh, 0.0, OBJECT)
    assert things == [] and static is mesh


def test_two_things_that_touch_stay():
    """A thing a centimetre beside another leans on it."""
    pair = ((box_corners(1.0, 1.5, 0.5, 0.9), 0.6), (box_corners(1.51, 2.0, 0.5, 0.9), 0.6))
    assert split_movable(room(*pair), 0.0, OBJECT)[1] == []
    apart = (pair[0], (box_corners(1.6, 2.0, 0.5, 0.9), 0.6))
    assert [t.name for t in split_movable(room(*apart), 0.0, OBJECT)[1]] == ["object_000", "object_001"]


def test_the_floor_under_it_is_closed():
    """Where a thing stood in a hole of the floor, the floor goes on in the colour beside it."""
    mesh = room((box_corners(1.0, 1.5, 0.5, 0.9), 0.6))
    assert mesh.face_labels is not None
    # Cut the floor out: four strips around the thing in the place of the fan.
    strips = [(-3, 3, -3, 0.5), (-3, 3, 0.9, 3), (-3, 1.0, 0.5, 0.9), (1.5, 3, 0.5, 0.9)]
    quads = [np.c_[box_corners(*map(float, strip)), np.zeros(4)] for strip in strips]
    uv = mesh.uv[mesh.face_labels == Label.FLOOR][:1]
    rest = mesh.select_faces(mesh.face_labels != Label.FLOOR)
    count = len(rest.vertices)
    faces = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + count + 4 * i for i in range(4)])
    holed = replace(
        rest,
        vertices=np.concatenate([rest.vertices, *quads]),
        faces=np.concatenate([rest.faces, faces]).astype(np.int32),
        face_labels=np.r_[rest.face_labels, np.full(8, Label.FLOOR, np.uint8)],
        uv=np.concatenate([rest.uv, uv.repeat(8, axis=0)]),
    )
    static, things = split_movable(holed, 0.0, OBJECT)
    assert len(things) == 1
    static.validate()
    xy = np.random.default_rng(0).uniform([1.0, 0.5], [1.5, 0.9], (200, 2))
    t, face, _ = Raycaster(static).cast(np.c_[xy, np.full(200, 0.3)], np.tile([0.0, 0.0, -1.0], (200, 1)))
    np.testing.assert_allclose(t, 0.3, atol=1e-9)
    assert static.face_labels is not None and (static.face_labels[face] == Label.FLOOR).all()


def test_usd_bodies_and_a_map_that_still_knows_them(tmp_path):
    """Each is a rigid body at its place with visual, colliders and mass; the map calls its place occupied."""
    pxr = pytest.importorskip("pxr")
    from pxr import UsdGeom, UsdPhysics

    mesh, meta = simple_room(), WorldMeta(name="x")
    splats = sample_splats(mesh, 10)
    result = write_simulation(tmp_path / "moved", mesh, splats, cfg=MOVABLE, meta=meta, seed=0)
    plain = write_simulation(
        tmp_path / "plain", mesh, splats, cfg=replace(MOVABLE, movable_objects=False), meta=meta, seed=0
    )
    assert plain.objects == () and [thing.name for thing in result.objects] == ["object_000"]
    assert "payloads/objects.usdc" in result.files and "payloads/objects.usdc" not in plain.files
    for name in ("map.png", "map.yaml", "episodes.jsonl"):
        assert (tmp_path / "moved/nav" / name).read_bytes() == (tmp_path / "plain/nav" / name).read_bytes()
    (thing,) = result.objects
    assert not result.space.grid.free_at(thing.origin_m[None, :2])[0]
    stage = pxr.Usd.Stage.Open(str(tmp_path / "moved" / "world_scene.usda"))
    body = stage.GetPrimAtPath("/World/Objects/object_000")
    assert body.HasAPI(UsdPhysics.RigidBodyAPI)
    assert UsdPhysics.MassAPI(body).GetMassAttr().Get() == pytest.approx(thing.mass_kg)
    cache = UsdGeom.BBoxCache(0, ["default", "guide"])
    for part in (body.GetChild("visual"), body.GetChild("collider_000")):
        box = cache.ComputeWorldBound(part).ComputeAlignedRange()
        np.testing.assert_allclose([box.GetMin(), box.GetMax()], thing.mesh.bounds(), atol=1e-5)
    static = sum(p.HasAPI(UsdPhysics.RigidBodyAPI) for p in stage.GetPrimAtPath("/World/Collision").GetChildren())
    assert static == 0


@pytest.mark.physx
def test_bodies_rest_for_five_seconds_and_move_when_pushed(tmp_path):
    """Within a centimetre and a degree when left alone; a push of 1.5 m/s slides them as friction says."""
    pytest.importorskip("ovphysx", reason="PhysX is not installed")
    steps = (box_corners(-1.5, -1.0, -1.0, -0.6), 0.5), (box_corners(1.0, 1.5, 0.5, 0.9), 0.6)
    mesh = room(*steps, (np.array([[-1.0, 1.0], [-0.5, 1.0], [-0.3, 1.4], [-0.75, 1.7], [-1.2, 1.4]]), 0.7))
    cfg = replace(MOVABLE, floor_material="tile")
    result = write_simulation(tmp_path, mesh, sample_splats(mesh, 10), cfg=cfg, meta=WorldMeta(name="x"), seed=0)
    assert len(result.objects) == 3
    job = PhysxJob(scene=str(tmp_path / "world_scene.usda"), objects="/World/Objects/*", push_m_s=1.5)
    outcome = run_physx_job(job, tmp_path, timeout_s=60)
    assert outcome.result is not None, outcome.problem
    assert (outcome.result.object_moved_m < 0.01).all()
    assert (np.degrees(outcome.result.object_turned_rad) < 1.0).all()
    mu = MATERIALS["tile"].dynamic_friction * MATERIALS["furniture"].dynamic_friction
    np.testing.assert_allclose(outcome.result.object_pushed_m, 1.5**2 / (2 * mu * 9.81), rtol=0.15)
