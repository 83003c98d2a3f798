"""The optional Newton part of the certificate: what is asked, how answers are judged, and one real run."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.certify import newton as newton_module
from lyra.worldgen.certify.newton import FALL_M, newton_part, stage_of
from lyra.worldgen.certify.plan import make_plan
from lyra.worldgen.certify.space import analyse
from lyra.worldgen.certify.world_data import read_world
from lyra.worldgen.core.config import CertificateConfig, SimulationConfig
from lyra.worldgen.core.progress import SILENT
from lyra.worldgen.sim.child_process import Outcome
from lyra.worldgen.sim.newton_drop import NewtonJob, NewtonResult, run_newton_drop
from lyra.worldgen.sim.physx_job import Drop
from lyra.worldgen.sim.simulate import WorldMeta, write_simulation
from physx_rooms import write_room_world
from sample_worlds import sample_splats, simple_room


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("newton") / "room"
    write_room_world(folder)
    world = read_world(folder)
    return world, make_plan(world, analyse(world.grid, world.robot_radius_m), CertificateConfig(drops=17))


def answer(job: NewtonJob, sunk_m: np.ndarray) -> Outcome[NewtonResult]:
    """As if every body lay on the floor, but for what it sank."""
    end = np.array([d.position_m for d in job.drops])
    end[:, 2] = np.array([d.half_m for d in job.drops]) - sunk_m
    result = NewtonResult(
        end_m=end, lowest_m=end[:, 2], shapes={"BOX": 8}, versions={"newton": "fake"}, timings_s={}, peak_mib=1
    )
    return Outcome(result=result)


@pytest.mark.parametrize(
    ("sunk_m", "landed", "lowest"), [(0.0, 100.0, True), (0.05, 94.1, True), (1.0, 94.1, False)], ids=str
)
def test_lines_follow_where_bodies_lie(planned, tmp_path, monkeypatch, sunk_m, landed, lowest):
    """All on the floor passes; one that sank 5 cm has not landed; one that fell through fails both lines."""
    world, plan = planned
    asked = []

    def fake_run(job, workdir, **options):
        asked.append(job)
        return answer(job, np.r_[sunk_m, np.zeros(len(job.drops) - 1)])

    monkeypatch.setattr(newton_module, "run_newton_drop", fake_run)
    part = newton_part(world, plan, tmp_path, progress=SILENT)
    lines = {line.id: line for line in part.lines}
    assert lines["newton.landed"].measured == pytest.approx(landed, abs=0.1)
    assert lines["newton.landed"].passed is (landed == 100.0)
    assert lines["newton.lowest"].passed is lowest
    assert len(asked[0].drops) == len(plan.job.drops) >= 17
    assert all(d.position_m[2] == pytest.approx(d.half_m + FALL_M) for d in asked[0].drops)
    assert asked[0].stage == str(stage_of(world)) and part.versions == {"newton": "fake"}


def test_no_newton_is_said_and_fails_nothing(planned, tmp_path, monkeypatch):
    """Without an answer the lines stand as not measured, with the reason, and the reader is warned."""
    world, plan = planned
    gone = Outcome(result=None, problem="Newton is not installed here", missing=True)
    monkeypatch.setattr(newton_module, "run_newton_drop", lambda *args, **options: gone)
    part = newton_part(world, plan, tmp_path, progress=SILENT)
    assert {line.status for line in part.lines} == {"not measured"}
    assert "not installed" in part.lines[0].detail and "not installed" in part.warnings[0]


def test_jobs_and_results_travel(tmp_path):
    """What is written is what is read; numbers that are none are refused."""
    job = NewtonJob(stage="/w.usdc", drops=(Drop(shape="box", half_m=0.1, position_m=(1.0, 2.0, 0.4)),), seconds=0.5)
    (tmp_path / "job.json").write_text(job.dump())
    assert NewtonJob.load(tmp_path / "job.json") == job
    outcome = answer(job, np.zeros(1))
    assert outcome.result is not None
    outcome.result.save(tmp_path / "result.json")
    back = NewtonResult.load(tmp_path / "result.json")
    np.testing.assert_array_equal(back.end_m, outcome.result.end_m)
    assert replace(back, end_m=outcome.result.end_m, lowest_m=outcome.result.lowest_m) == outcome.result
    lost = run_newton_drop(job, tmp_path, timeout_s=20, python=sys.executable + "-is-not-there")
    assert lost.result is None and "cannot be started" in lost.problem


@pytest.mark.slow
@pytest.mark.newton
@pytest.mark.xdist_group("newton")
def test_newton_holds_what_our_layer_holds(tmp_path):
    """Bodies rest on the floor's slab and on the mesh of a low box; one beside the world falls."""
    pytest.importorskip("newton", reason="Newton is not installed")
    mesh = simple_room()
    cfg = SimulationConfig(episode_count=0)
    result = write_simulation(tmp_path, mesh, sample_splats(mesh, 10), cfg=cfg, meta=WorldMeta(name="x"), seed=0)
    top = mesh.triangles()[(mesh.face_labels == 4) & (mesh.face_normals()[:, 2] > 0.9)].mean(1)
    chest = top[np.argmin(top[:, 2])]
    drops = (
        Drop(shape="box", half_m=0.1, position_m=(0.0, 0.0, 0.4)),
        Drop(shape="sphere", half_m=0.08, position_m=(1.0, 0.0, 0.38)),
        Drop(shape="box", half_m=0.05, position_m=(float(chest[0]), float(chest[1]), float(chest[2]) + 0.25)),
        Drop(shape="sphere", half_m=0.08, position_m=(30.0, 0.0, 0.38)),
    )
    job = NewtonJob(stage=str(tmp_path / "payloads" / "collision.usdc"), drops=drops)
    outcome = run_newton_drop(job, tmp_path, timeout_s=900)
    assert outcome.result is not None, outcome.problem
    assert outcome.result.shapes == {"BOX": len(result.plan.boxes), "MESH": 1}
    bottom = outcome.result.end_m[:, 2] - [d.half_m for d in drops]
    np.testing.assert_allclose(bottom[:3], [0.0, 0.0, chest[2]], atol=0.01)
    assert outcome.result.lowest_m[3] < -5
