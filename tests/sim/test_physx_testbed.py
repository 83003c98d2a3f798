"""Jobs, results and the test stage: what travels between the processes, without PhysX."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.sim.physx_job import Drive, DriveResult, Drop, PhysxJob, PhysxResult, RobotSize, Shot
from lyra.worldgen.sim.physx_testbed import track_m, wheel_radius_m, write_testbed


def job(scene: str = "/tmp/world_scene.usda") -> PhysxJob:
    rng = np.random.default_rng(0)
    d = rng.normal(size=(5, 3))
    return PhysxJob(
        scene=scene,
        rays={"a": (rng.normal(size=(5, 3)), d / np.linalg.norm(d, axis=1, keepdims=True))},
        one_sided=frozenset({"a"}),
        spheres={"s": (rng.normal(size=(3, 3)), 0.25)},
        drops=(Drop(shape="box", half_m=0.1, position_m=(0.0, 1.0, 0.5)),),
        shots=(Shot(position_m=(0.0, 0.0, 1.0), velocity_m_s=(8.0, 0.0, 0.0)),),
        drives=(Drive(route_xy_m=((0.0, 0.0), (1.0, 0.5), (2.0, 0.0)), limit_s=10.0),),
        robot=RobotSize(radius_m=0.3, height_m=0.5),
        floor_z_m=0.1,
    )


def test_job_round_trip(tmp_path):
    """A job read back asks for the same."""
    path = tmp_path / "job.json"
    path.write_text(job().dump())
    again = PhysxJob.load(path)
    assert again.dump() == job().dump()
    np.testing.assert_allclose(again.rays["a"][0], job().rays["a"][0], atol=1e-6)


def test_job_checks_its_rays():
    """Origins without as many directions are refused by name."""
    with pytest.raises(InputError, match=r"rays\[a\]"):
        PhysxJob(scene="x", rays={"a": (np.zeros((2, 3)), np.zeros((3, 3)))}).dump()


@given(
    distances=hnp.arrays(float, 4, elements=st.floats(0, 1e3) | st.just(float("inf"))),
    flags=hnp.arrays(bool, 3),
)
def test_result_round_trip(tmp_path_factory, distances, flags):
    """Misses survive as inf; everything else keeps its type."""
    path = tmp_path_factory.mktemp("r") / "result.json"
    drive = DriveResult(
        reached=True, driven_m=1.0, collisions=0, seconds=2.0, trace_xy_m=np.zeros((2, 2)), lowest_z_m=0.0, tilt_rad=0.0
    )
    empty = np.zeros((0, 3))
    PhysxResult(
        rays={"a": distances},
        spheres={"s": flags},
        drop_end_m=np.ones((1, 3)),
        drop_lowest_m=np.zeros(1),
        drop_fastest_m_s=np.zeros(1),
        drop_force_n=np.zeros(1),
        shot_end_m=empty,
        shot_lowest_m=np.zeros(0),
        shot_lo_m=empty,
        shot_hi_m=empty,
        drives=(drive,),
        object_moved_m=np.array([0.001]),
        object_turned_rad=np.zeros(1),
        object_pushed_m=np.array([0.3]),
        versions={"ovphysx": "0.7"},
        timings_s={"open": 0.1},
        counts={"steps": 3},
    ).save(path)
    again = PhysxResult.load(path)
    np.testing.assert_allclose(again.rays["a"], distances, atol=1e-6)
    np.testing.assert_array_equal(again.spheres["s"], flags)
    assert again.drives[0].reached and again.drives[0].trace_xy_m.shape == (2, 2)
    assert again.object_moved_m.tolist() == [0.001]
    assert again.shot_lo_m.shape == (0, 3) and again.counts["steps"] == 3


def test_robot_keeps_inside_its_footprint():
    """Wheels and track fit into the cylinder that stands for the robot, at any size."""
    for radius in (0.15, 0.25, 0.6):
        robot = RobotSize(radius_m=radius)
        wheel, track, thickness = wheel_radius_m(robot), track_m(robot), 0.12 * radius
        assert np.hypot(track / 2 + thickness / 2, wheel) < radius * 1.1


@pytest.mark.parametrize("name", ["world scene.usda", "wörld.usda", "it's.usda"])
def test_testbed_composes(tmp_path, name):
    """The stage holds every body once, applies the physics schemas, and refers to the world by its path."""
    Usd = pytest.importorskip("pxr.Usd")
    from pxr import UsdPhysics

    scene = tmp_path / name
    scene.write_text('#usda 1.0\n(\n    defaultPrim = "World"\n)\ndef Xform "World"\n{\n    def Xform "Floor" {}\n}\n')
    write_testbed(tmp_path / "testbed.usda", job(str(scene)))
    stage = Usd.Stage.Open(str(tmp_path / "testbed.usda"))
    assert stage.GetPrimAtPath("/World/Floor")
    drop, robot = stage.GetPrimAtPath("/Test/drop_000"), stage.GetPrimAtPath("/Test/robot_000")
    assert drop.HasAPI(UsdPhysics.RigidBodyAPI) and robot.HasAPI(UsdPhysics.ArticulationRootAPI)
    joint = UsdPhysics.RevoluteJoint(stage.GetPrimAtPath("/Test/robot_000/joint_l"))
    assert [str(p) for p in joint.GetBody0Rel().GetTargets()] == ["/Test/robot_000/base"]
    assert [str(p) for p in joint.GetBody1Rel().GetTargets()] == ["/Test/robot_000/wheel_l"]
    group = UsdPhysics.CollisionGroup(stage.GetPrimAtPath("/Test/ghosts"))
    assert group.GetFilteredGroupsRel().GetTargets() == [group.GetPath()]
