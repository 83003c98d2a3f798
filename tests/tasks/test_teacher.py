"""The teacher drives: every pose has an answer, and following the answers reaches goals with room to spare."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")
pytest.importorskip("torch")

import torch

from known_scenes import known_scene
from lyra_tasks import rules
from lyra_tasks.atlas import load_atlas
from lyra_tasks.courses import EPISODES, CourseBook, CourseOptions
from lyra_tasks.pursuit import SLACK_M
from lyra_tasks.robots import omni
from lyra_tasks.robots.catalogue import RobotSpec
from lyra_tasks.robots.diff_drive import SIZES
from lyra_tasks.rules import DELIVER, POINT_GOAL, DriveRules
from lyra_tasks.teacher import COMFORT_M, STRAIN, Teacher, strain
from task_worlds import write_known_worlds

SPEC = SIZES["medium"]
SEEDS = (1000, 1004)
STEP_S = rules.PHYSICS_STEP_S * rules.DECIMATION


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    write_known_worlds(folder, SEEDS)
    return load_atlas(str(folder), robot_radius_m=SPEC.footprint_radius_m + POINT_GOAL.planning_margin_m)


def taught(atlas, drive: DriveRules, count: int, robot: RobotSpec = SPEC) -> tuple[CourseBook, Teacher]:
    options = CourseOptions(source=EPISODES, stops=drive.stops, min_geodesic_m=1.0, goals=8, starts=8, seed=0)
    book = CourseBook(atlas, options, env_count=count, device="cpu")
    book.begin(torch.arange(count))
    return book, Teacher(book, robot, stop_speed_m_s=drive.stop_speed_m_s)


@pytest.mark.slow
@pytest.mark.parametrize("robot", [SPEC, omni.SIZES["medium"]], ids=["diff_drive", "omni"])
@pytest.mark.parametrize("drive", [POINT_GOAL, DELIVER], ids=["point_goal", "deliver"])
def test_following_the_teacher_arrives(atlas, drive, robot):
    """Robots that do as they are told with a little delay: all stops, slowly where asked, nobody near an obstacle."""
    count = 48
    book, teacher = taught(atlas, drive, count, robot)
    scenes = [known_scene(seed, kind="room") for seed in SEEDS]
    xy, yaw = book.start_xy_w.clone(), book.start_yaw.clone()
    motion, driven = torch.zeros(count, 3 if rules.strafes(robot) else 2), torch.zeros(count)
    here, there = torch.ones(count, dtype=torch.bool), torch.zeros(count)
    gap = torch.full((count,), math.inf)
    for _ in range(1500):
        motion += 0.4 * (teacher.actions(xy, yaw) - motion) * here.unsqueeze(1)
        motion *= here.unsqueeze(1)
        yaw = yaw + motion[:, -1] * robot.max_turn_rad_s * STEP_S
        ahead = motion[:, 0] * robot.max_speed_m_s * STEP_S
        left = motion[:, 1] * robot.max_sideways_m_s * STEP_S
        xy = xy + torch.stack([yaw.cos() * ahead - yaw.sin() * left, yaw.sin() * ahead + yaw.cos() * left], -1)
        step = (ahead.square() + left.square()).sqrt()
        driven += step
        local = (xy - book.env_offset_w[:, :2]).numpy().astype(float)
        for k, scene in enumerate(scenes):
            clear = torch.from_numpy(scene.clearance_m(local[k::2], 0.05, 0.65)).float()
            gap[k::2] = torch.minimum(gap[k::2], clear - SPEC.footprint_radius_m)
        reached = rules.at_stop(
            (book.goal_xy_w - xy).norm(dim=-1),
            step / STEP_S,
            goal_radius_m=drive.goal_radius_m,
            stop_speed_m_s=drive.stop_speed_m_s,
        )
        here &= ~(reached & (book.leg == drive.stops - 1))
        book.go_on(reached & (book.leg < drive.stops - 1))
        there += here
    assert not here.any(), "everybody has arrived"
    assert gap.min() > SLACK_M / 2
    assert (driven < 1.15 * book.way_m + 0.3).all(), "there is no better way by more than that"


def test_who_is_close_to_an_obstacle_gets_away(atlas):
    """From poses where the robot all but touches, a second of obedience makes the gap larger."""
    count = 40
    book, teacher = taught(atlas, POINT_GOAL, count)
    xy, yaw = book.start_xy_w.clone(), book.start_yaw.clone()
    rng = np.random.default_rng(0)
    for i in range(count):
        ground = atlas.grounds[i % 2]
        tight = np.argwhere((ground.clearance_m > SPEC.footprint_radius_m + 0.012) & (ground.clearance_m < 0.25))
        place = ground.grid.centre_xy_m(tight[rng.integers(len(tight))])
        xy[i] = torch.tensor(place) + book.env_offset_w[i, :2]
        yaw[i] = rng.uniform(-math.pi, math.pi)
    before = book.clearance_m(xy)
    least = before.clone()
    for _ in range(75):
        action = teacher.actions(xy, yaw)
        assert (action.abs() <= 1).all() and torch.isfinite(action).all()
        yaw = yaw + action[:, 1] * SPEC.max_turn_rad_s * STEP_S
        xy = xy + (action[:, :1] * SPEC.max_speed_m_s * STEP_S) * torch.stack([yaw.cos(), yaw.sin()], -1)
        least = torch.minimum(least, book.clearance_m(xy))
    assert (least > before - 0.01).all(), "nobody comes closer on the way"
    assert (book.clearance_m(xy) > before + 0.02).float().mean() > 0.9


def test_metres_near_obstacles_count_for_more():
    """Nothing in the open, all of it at no gap and closer, half of it half-way; of arrays and tensors."""
    radius = SPEC.footprint_radius_m
    clearance = np.array([radius + COMFORT_M + 1, radius + COMFORT_M, radius + COMFORT_M / 2, radius, 0.0])
    expected = [0, 0, STRAIN / 2, STRAIN, STRAIN]
    np.testing.assert_allclose(strain(clearance, radius), expected, atol=1e-12)
    np.testing.assert_allclose(strain(torch.from_numpy(clearance), radius), expected, atol=1e-12)


def test_answers_depend_on_the_pose_alone(atlas):
    """One robot by itself, or among others in other worlds: the same answer."""
    book, teacher = taught(atlas, POINT_GOAL, 12)
    together = teacher.actions(book.start_xy_w, book.start_yaw)
    moved = book.start_xy_w.clone()
    moved[1:] += 0.3
    assert torch.equal(teacher.actions(moved, book.start_yaw)[0], together[0])
