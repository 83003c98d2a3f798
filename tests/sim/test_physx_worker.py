"""Real PhysX on a hand-written room: the numbers that a ruler would give."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.sim.collision import build_colliders
from lyra.worldgen.sim.physx_job import Drive, Drop, PhysxJob, PhysxResult, Shot
from lyra.worldgen.sim.physx_process import run_physx_job
from lyra.worldgen.sim.usd_physics import write_collision, write_physics_scene
from physx_rooms import write_room_world
from sample_worlds import simple_room

pytestmark = pytest.mark.physx


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> PhysxResult:
    """One job that asks everything; the room spans x -2..5, y -3..3, z 0..2.8, with two boxes."""
    pytest.importorskip("ovphysx", reason="PhysX is not installed")
    folder = tmp_path_factory.mktemp("physx")
    write_room_world(folder / "room")
    axes = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    job = PhysxJob(
        scene=str(folder / "room" / "world_scene.usda"),
        rays={"axes": (np.tile([0.0, 0.0, 1.5], (6, 1)), axes), "front": (np.tile([0.0, 0.0, 1.5], (6, 1)), axes)},
        one_sided=frozenset({"front"}),
        spheres={"s": (np.array([[0.0, 0, 0.35], [0, 0, 0.2], [4.9, 0, 1], [2.9, -1.4, 0.85]]), 0.25)},
        drops=(
            Drop(shape="sphere", half_m=0.08, position_m=(0.0, 0.0, 0.5)),
            Drop(shape="box", half_m=0.1, position_m=(2.9, -1.4, 1.2), mass_kg=2.0),
        ),
        shots=(
            Shot(position_m=(0.0, 0.0, 1.0), velocity_m_s=(60.0, 0.0, 0.0)),
            Shot(position_m=(0.0, 0.0, 0.6), velocity_m_s=(20.0, -9.3, 0.0), level=True),
        ),
        drives=(
            Drive(route_xy_m=((0.0, 0.0), (0.0, 2.0), (2.0, 2.0)), limit_s=15.0),
            Drive(route_xy_m=((1.0, -1.4), (4.0, -1.4)), limit_s=12.0),
        ),
    )
    outcome = run_physx_job(job, folder, timeout_s=120)
    assert outcome.result is not None, outcome.problem
    return outcome.result


def test_rays_measure_the_room(result):
    """Distances to six sides are those of the room, from fronts as from both sides."""
    np.testing.assert_allclose(result.rays["axes"], [5, 2, 3, 3, 1.3, 1.5], atol=1e-4)
    np.testing.assert_allclose(result.rays["front"], result.rays["axes"], atol=1e-6)


def test_a_level_ball_keeps_its_height(result):
    """It neither falls nor climbs, whatever it hits, and walls stop it."""
    np.testing.assert_allclose([result.shot_lowest_m[1], result.shot_hi_m[1, 2]], 0.6, atol=1e-3)
    assert (result.shot_lo_m[1, :2] > (-2.0, -3.0)).all() and (result.shot_hi_m[1, :2] < (5.0, 3.0)).all()
    assert np.abs(result.shot_end_m[1, :2]).max() > 0.5


def test_overlaps_know_surfaces(result):
    """A sphere is free in the middle and touches floor, wall and box."""
    assert result.spheres["s"].tolist() == [False, True, True, True]


def test_bodies_rest_where_they_should(result):
    """The ball rests on the floor, the box on the box, each with its own weight."""
    assert result.drop_end_m[0, 2] == pytest.approx(0.08, abs=2e-3)
    assert result.drop_end_m[1, 2] == pytest.approx(0.9, abs=2e-3)
    np.testing.assert_allclose(result.drop_force_n, [9.81, 19.62], rtol=0.01)
    assert (result.drop_fastest_m_s < 3.6).all()


def test_fast_ball_is_stopped(result):
    """At 60 m/s a ball of 3 cm does not pass the wall."""
    assert result.shot_hi_m[0, 0] < 5.0
    assert result.shot_lowest_m[0] > -0.01


def test_robot_drives_and_is_stopped(result):
    """The free route is driven to its goal without a touch; the box in the way is touched and not passed."""
    free, blocked = result.drives
    assert free.reached and free.collisions == 0
    assert free.driven_m == pytest.approx(4.0, abs=0.5)
    np.testing.assert_allclose(free.trace_xy_m[-1], [2.0, 2.0], atol=0.3)
    assert abs(free.lowest_z_m) < 0.03 and free.tilt_rad < 0.15
    assert not blocked.reached and blocked.collisions >= 1
    assert blocked.trace_xy_m[:, 0].max() < 2.5 - 0.2


def test_only_the_world_meets_bodies(result):
    """Two robots and all bodies pass through one another: nothing but the world was touched on the free route."""
    assert result.counts["collision_shapes"] >= 8


def test_worker_refuses_another_format(tmp_path):
    """A job of another version ends the worker with a message and no result."""
    (tmp_path / "job.json").write_text(json.dumps({"format": 99}))
    done = subprocess.run(
        [sys.executable, "-m", "lyra.worldgen.sim.physx_worker", str(tmp_path / "job.json"), str(tmp_path / "r.json")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0 and "format is 99" in done.stderr
    assert not (tmp_path / "r.json").exists()


@pytest.mark.slow
def test_no_ball_that_rolls_on_the_floor_gets_out_under_a_wall(tmp_path):
    """From wherever it comes, however fast: a ball at a wall is never pushed out through the wall's bottom."""
    pytest.importorskip("ovphysx", reason="PhysX is not installed")
    plan = build_colliders(simple_room(step_m=0.13), SimulationConfig())
    # Fused walls have too many faces to stay in the rest beside their boxes: the boxes alone must hold.
    assert plan.rest.face_labels is not None
    plan = replace(plan, rest=plan.rest.select_faces(plan.rest.face_labels == Label.OBJECT))
    write_collision(tmp_path / "collision.usda", plan)
    write_physics_scene(tmp_path / "physics_scene.usda", floor_z_m=0.0, half_width_m=50.0)
    scene = tmp_path / "scene.usda"
    scene.write_text(
        '#usda 1.0\n(\n    subLayers = [@./collision.usda@, @./physics_scene.usda@]\n    upAxis = "Z"\n)\n'
    )
    rng = np.random.default_rng(3)
    azimuth, speed = rng.uniform(0, 2 * np.pi, 400), rng.choice([5.0, 7.0, 9.0, 20.0], 400)
    shots = tuple(
        Shot(position_m=(x, y, 0.1), velocity_m_s=(v * np.cos(a), v * np.sin(a), -0.3 * v))
        for (x, y), a, v in zip(rng.uniform([-2, -2], [4, 3], (400, 2)).tolist(), azimuth, speed.tolist(), strict=True)
    )
    outcome = run_physx_job(PhysxJob(scene=str(scene), shots=shots, settle_s=2.0), tmp_path, timeout_s=120)
    assert outcome.result is not None, outcome.problem
    assert (outcome.result.shot_lowest_m > -0.1).all()
    assert (outcome.result.shot_lo_m[:, :2] > [-4.3, -3.8]).all()
    assert (outcome.result.shot_hi_m[:, :2] < [6.3, 4.8]).all()
