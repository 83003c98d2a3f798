"""What adds up over a drive, however often a step is looked at, with a task that only has poses."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")
pytest.importorskip("torch")

import torch

from known_scenes import known_scene
from lyra_tasks.atlas import load_atlas
from lyra_tasks.courses import RANDOM, CourseBook, CourseOptions
from lyra_tasks.drive_state import DriveState
from lyra_tasks.robots.diff_drive import SIZES
from lyra_tasks.rules import TRAIL_STEPS
from task_worlds import write_world

COUNT, DT = 3, 0.04


class Task:
    """A task whose robots are where the test puts them."""

    def __init__(self, book: CourseBook, *, stop_speed_m_s: float) -> None:
        self.robot_spec, self.coverage, self.step_dt, self.common_step_counter = SIZES["medium"], None, DT, 0
        self.cfg = SimpleNamespace(touch_margin_m=0.01, goal_radius_m=0.3, stop_speed_m_s=stop_speed_m_s)
        self.pose = torch.zeros(COUNT, 7)
        self.pose[:, 6] = 1.0
        data = SimpleNamespace(root_pose_w=SimpleNamespace(torch=self.pose))
        self.scene = {"robot": SimpleNamespace(data=data)}
        self.book = book
        self.drive = DriveState(self, book, env_count=COUNT, device="cpu")

    def put(self, xy: torch.Tensor) -> None:
        self.common_step_counter += 1
        self.pose[:, :2] = xy


@pytest.fixture
def task(tmp_path) -> Task:
    write_world(tmp_path / "a", known_scene(1004, kind="room").truth)
    atlas = load_atlas(str(tmp_path), robot_radius_m=0.28)
    options = CourseOptions(source=RANDOM, stops=2, min_geodesic_m=1.5, goals=16, starts=64, seed=1)
    book = CourseBook(atlas, options, env_count=COUNT, device="cpu")
    made = Task(book, stop_speed_m_s=0.3)
    book.begin(torch.arange(COUNT))
    made.put(book.start_xy_w)
    made.drive.began(torch.arange(COUNT))
    made.drive.measure()
    return made


def test_paths_and_speeds_add_up(task):
    """Steps of one centimetre; looking twice changes nothing."""
    xy = task.book.start_xy_w.clone()
    for _ in range(10):
        xy[:, 0] += 0.01
        task.put(xy)
        task.drive.measure()
        task.drive.measure()
    torch.testing.assert_close(task.drive.path_m, torch.full((COUNT,), 0.1), atol=1e-4, rtol=0)
    torch.testing.assert_close(task.drive.speed_m_s, torch.full((COUNT,), 0.25), atol=1e-3, rtol=0)
    assert (task.drive.touches == 0).all()


def test_resets_of_others_stop_nobody(task):
    """A robot that rushes through its stop has not stopped there because another one was reset in that step."""
    xy = task.book.start_xy_w.clone()
    xy[0] = task.book.goal_xy_w[0]
    task.put(xy)
    task.drive.measure()
    assert task.drive.speed_m_s[0] > 1.0
    task.drive.began(torch.tensor([2]))
    task.drive.next_stop()
    assert task.book.leg[0] == 0 and task.drive.speed_m_s[0] > 1.0 and task.drive.speed_m_s[2] == 0.0
    task.put(xy)
    task.drive.next_stop()
    assert task.book.leg[0] == 1, "now it stands there"


def test_new_drives_begin_at_nothing(task):
    """What was driven and touched before a reset is forgotten, of that robot only."""
    wall = task.book.start_xy_w + torch.tensor([30.0, 0.0])
    task.put(wall)
    task.drive.measure()
    assert (task.drive.touches == 1).all() and task.drive.touching.all() and (task.drive.path_m > 29).all()
    task.drive.began(torch.tensor([1]))
    task.drive.measure()
    assert task.drive.touches.tolist() == [1, 0, 1] and task.drive.path_m[1] == 0.0 and not task.drive.touching[1]


def test_trail_leads_back_to_the_beginning(task):
    """Where the robot was a while ago; its start until then, and again after it was put somewhere else."""
    start = task.book.start_xy_w.clone()
    places = [start.clone()]
    for _ in range(2 * max(TRAIL_STEPS) + 30):
        places.append(places[-1] + torch.tensor([0.01, -0.005]))
        task.put(places[-1])
        task.drive.measure()
        then = [places[max(len(places) - 1 - steps, 0)] for steps in TRAIL_STEPS]
        assert torch.equal(task.drive.trail_w, torch.stack(then, 1))
    kept = task.drive.trail_w.clone()
    task.put(places[-1])
    task.pose[1, :2] = start[1]
    task.drive.began(torch.tensor([1]))
    task.drive.measure()
    assert torch.equal(task.drive.trail_w[1], start[1].expand(2, 2))
    assert (task.drive.trail_w[[0, 2]] - kept[[0, 2]]).norm(dim=-1).max() < 0.02, "others go on"
