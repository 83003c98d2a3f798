"""World folders as a task sees them, read from a folder that the real simulation stage wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")

from lyra.worldgen.core.errors import InputError
from lyra_tasks.worlds import load_navigation_world, load_navigation_worlds
from rooms import analytic_room
from task_worlds import write_world


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The analytic room as a world folder whose certificate passed."""
    return write_world(tmp_path_factory.mktemp("worlds") / "room", analytic_room().mesh(), episode_count=12)


@pytest.fixture
def world_folder(finished, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(finished, tmp_path / "room"))


def test_episodes_lie_in_the_rooms_free_space(finished):
    """Starts and goals keep the robot's radius from walls and boxes, and no path beats the straight line."""
    world = load_navigation_world(finished)
    room = analytic_room()
    assert len(world.episodes) == 12 and world.verdict == "passed" and world.usd_path.is_file()
    starts, goals = world.starts_xy_yaw(), world.goals_xy_m()
    assert starts.shape == (12, 3) and goals.shape == (12, 2)
    slack = world.map.cell_m
    assert room.free_at(starts[:, :2], world.robot_radius_m - slack).all()
    assert room.free_at(goals, world.robot_radius_m - slack).all()
    straight = np.linalg.norm(goals - starts[:, :2], axis=1)
    assert (world.geodesics_m() >= straight - 0.01).all()
    for episode in world.episodes:
        np.testing.assert_allclose(episode.waypoints_xy_m[0], episode.start_xy_m, atol=slack)
        np.testing.assert_allclose(episode.waypoints_xy_m[-1], episode.goal_xy_m, atol=slack)
        assert episode.floor_z_m == pytest.approx(0.0, abs=0.01)


def test_difficulty_bins_are_a_partition(finished):
    """Every episode is in exactly one bin."""
    world = load_navigation_world(finished)
    bins = {e.difficulty for e in world.episodes}
    assert sum(len(world.with_difficulty(name)) for name in bins) == len(world.episodes)


def test_map_agrees_with_the_room(finished):
    """Cells well inside free space are free, cells inside a box are not."""
    world = load_navigation_world(finished)
    assert world.map.free_at(np.array([[0.0, 0.0], [-1.5, 2.5], [4.5, -2.5]])).all()
    assert not world.map.free_at(np.array([[2.9, -1.4], [3.5, 1.6], [6.0, 0.0]])).any()


def test_only_certified_worlds_are_taken_unless_asked(finished, world_folder, caplog):
    """A failed world is left out and named; nothing left is an error; the verdict can be overruled."""
    path = world_folder / "world.json"
    manifest = json.loads(path.read_text())
    manifest["stages"]["certify"]["facts"]["verdict"] = "failed"
    path.write_text(json.dumps(manifest))
    assert [w.folder for w in load_navigation_worlds([world_folder, finished])] == [finished]
    assert f"1 of 2 worlds are taken; their certificates leave out {Path(*world_folder.parts[-2:])} (failed)" in (
        caplog.text
    )
    with pytest.raises(InputError, match="none of the 1 worlds passed"):
        load_navigation_worlds([world_folder])
    assert len(load_navigation_worlds([world_folder], certified_only=False)) == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("nav/episodes.jsonl", "not json\n", "line 1"),
        ("nav/episodes.jsonl", "[1, 2]\n", "expected an object"),
        ("nav/episodes.jsonl", '{"start": [0, 0, 0]}\n', "start is"),
        ("nav/episodes.jsonl", '{"start": [0, 0, 0, NaN], "goal": [1, 1, 0], "waypoints": []}\n', "finite number"),
        ("nav/episodes.jsonl", '{"start": [0,0,0,0], "goal": [1,1,0], "waypoints": 3}\n', "waypoints"),
        (
            "nav/episodes.jsonl",
            '{"id": 0, "start": [99,0,0,0], "goal": [1,1,0], "waypoints": [], "geodesic_m": 1}\n',
            "free space",
        ),
        ("nav/free_space.json", "[]", "expected an object"),
        ("nav/free_space.json", "{}", "robot_radius_m"),
        ("nav/free_space.json", '{"robot_radius_m": 0.2, "robot_height_m": 1}', "floor_z_m"),
        ("nav/free_space.json", "{", "JSON"),
        ("nav/map.yaml", "image: ../../secret.png\n", "map"),
    ],
)
def test_damaged_navigation_data_is_named(world_folder, name, text, said):
    """Hostile or broken files give one error that names the place; nothing else escapes."""
    (world_folder / name).write_text(text)
    with pytest.raises(InputError, match=said):
        load_navigation_world(world_folder)


def test_a_folder_without_a_world_is_refused(tmp_path):
    """The manifest decides what is a world."""
    with pytest.raises(InputError, match="no world folder"):
        load_navigation_world(tmp_path)
