"""Real PhysX on a hand-written room: the numbers that a ruler would give."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from lyra.worldgen.sim.physx_job import Drive, Drop, PhysxJob, PhysxResult, Shot
from lyra.worldgen.sim.physx_process import run_physx_job
from physx_rooms import write_room_world

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
