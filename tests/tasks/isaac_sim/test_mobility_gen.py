"""Readiness for MobilityGen, judged by a reader that knows nothing of our code; the order of a recording."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")
pytest.importorskip("PIL")

from known_scenes import known_scene
from lyra.worldgen.core.errors import DependencyError, InputError
from lyra_tasks.isaac_sim.mobility_gen import ROBOT_RADIUS_M, dilated_free, main, readiness
from lyra_tasks.isaac_sim.record import build_parser, record
from lyra_tasks.worlds import load_navigation_world
from ros_map_reader import RosMap, read_ros_map
from strategies import grids
from task_worlds import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return write_world(tmp_path_factory.mktemp("worlds") / "kitchen", known_scene(1000, kind="room").truth)


@given(grid=grids(), radius_m=st.floats(0.02, 1.0))
def test_dilation_is_the_readers(grid, radius_m):
    """The distance transform leaves what stamping discs on the picture leaves."""
    picture = RosMap(
        free=grid.free[::-1],
        occupied=(grid.cells == 1)[::-1],
        resolution_m=grid.cell_m,
        origin_xy_m=grid.origin_xy_m,
    )
    np.testing.assert_array_equal(dilated_free(grid, radius_m), picture.dilated_free(radius_m)[::-1])


def test_readiness_tells_room_and_problems(world):
    """Area by the reader of the files; a raised floor, coarse cells and a closet are named."""
    loaded = load_navigation_world(world)
    for robot, radius in ROBOT_RADIUS_M.items():
        found = readiness(loaded, robot)
        left = read_ros_map(world / "nav" / "map.yaml").dilated_free(radius)
        assert found.area_m2 == pytest.approx(left.sum() * loaded.map.cell_m**2, abs=0.001)
        assert found.largest_m2 <= found.area_m2
    assert readiness(loaded, "JetbotRobot").problems == ()
    (raised,) = readiness(replace(loaded, floor_z_m=0.2), "JetbotRobot").problems
    assert "z = 0.200 m" in raised
    coarse = replace(loaded, map=replace(loaded.map, cell_m=0.3))
    assert any("larger than the robot's radius" in p for p in readiness(coarse, "JetbotRobot").problems)
    closet = loaded.map.cells.copy()
    closet[:, closet.shape[1] // 3 :] = 1
    tight = replace(loaded, map=replace(loaded.map, cells=closet))
    assert any("in one piece" in p for p in readiness(tight, "H1Robot").problems)
    with pytest.raises(InputError, match="CarterRobot"):
        readiness(loaded, "Rover")


def test_the_command_reports_and_writes_the_ros_map(world, tmp_path, capsys):
    """Scene, map and robots as JSON; a PGM map beside them on request; exit codes."""
    assert main([str(world), "--robot", "JetbotRobot", "--ros-map", str(tmp_path / "ros")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert Path(report["scene"]).is_file() and report["robots"][0]["problems"] == []
    ours, theirs = read_ros_map(Path(report["map"])), read_ros_map(tmp_path / "ros" / "map.yaml")
    np.testing.assert_array_equal(ours.free, theirs.free)
    np.testing.assert_array_equal(ours.occupied, theirs.occupied)
    assert (tmp_path / "ros" / "map.pgm").read_bytes().startswith(b"P5\n")
    assert main([str(tmp_path)]) == 2 and "no world folder" in capsys.readouterr().err


class Session:
    """Stands in for MobilityGen's recording session and minds the order that its documentation asks for."""

    log: list[str]

    def __init__(self):
        type(self).log = []

    def build(self, robot, scenario, occupancy_map, *, scene_usd, cached_stage_path, recordings_dir, add_ground_plane):
        assert Path(cached_stage_path).is_file() and occupancy_map.free.any() and add_ground_plane
        self.log += ["build", robot.name, scenario]
        self.folder = Path(recordings_dir)

    def initialize(self):
        self.log.append("initialize")

    def reset(self):
        assert self.log[-1] == "initialize"
        self.log.append("reset")

    def enable_recording(self):
        assert self.log[-1] == "reset"
        (self.folder / "one").mkdir()
        self.log.append("record")

    def step(self, seconds):
        assert seconds == 0.005
        self.log.append("step")

    def disable_recording(self):
        self.log.append("stop")

    def close(self):
        self.log.append("close")


def test_recordings_are_made_in_the_documented_order(world, tmp_path, monkeypatch):
    """Collect, open, build, initialise, reset, record; one step of physics before every step of the session."""
    physics: list[int] = []

    async def collect_input(scene, folder):
        copy = Path(folder) / "stage.usd"
        copy.write_bytes(Path(scene).read_bytes())
        return str(copy)

    class App:
        def update(self):
            """Nothing is drawn."""

        def run_coroutine(self, coroutine):
            with pytest.raises(StopIteration) as stopped:
                coroutine.send(None)
            return stopped.value.value

    robot = types.SimpleNamespace(name="JetbotRobot", physics_dt=0.005)
    names = {
        "isaacsim.core.experimental.utils.app": {"enable_extension": lambda name: None},
        "isaacsim.core.experimental.utils.stage": {"open_stage": lambda path: None},
        "isaacsim.core.simulation_manager": {
            "SimulationManager": types.SimpleNamespace(step=lambda *, steps: physics.append(steps))
        },
        "isaacsim.replicator.experimental.mobility_gen": {
            "ROBOTS": {"JetbotRobot": robot},
            "SCENARIOS": {"RandomPathFollowingScenario": "paths"},
            "OccupancyMap": types.SimpleNamespace(from_ros_yaml=lambda path: read_ros_map(Path(path))),
            "RecordingSession": Session,
            "collect_input": collect_input,
        },
    }
    from fake_isaacsim import stand_in_modules

    for name, module in stand_in_modules(names).items():
        monkeypatch.setitem(sys.modules, name, module)
    arguments = [str(world), "--robot", "JetbotRobot", "--steps", "3", "--out", str(tmp_path / "out")]
    assert record(App(), build_parser().parse_args(arguments)) == [tmp_path / "out" / "one"]
    steps = ["step"] * 3
    assert Session.log == ["build", "JetbotRobot", "paths", "initialize", "reset", "record", *steps, "stop", "close"]
    assert physics == [1, 1, 1]


def test_older_simulators_are_told_what_to_open(world, tmp_path):
    """Without MobilityGen of Isaac Sim 6 the message names scene and map."""
    with pytest.raises(DependencyError, match=r"world\.usda and .*map\.yaml"):
        record(None, build_parser().parse_args([str(world), "--robot", "JetbotRobot", "--out", str(tmp_path)]))


def test_worlds_without_room_are_refused(world, tmp_path):
    """Before a simulator is started."""
    with pytest.raises(InputError, match="expected at least 1"):
        record(None, build_parser().parse_args([str(world), "--robot", "JetbotRobot", "--steps", "0", "--out", "x"]))
