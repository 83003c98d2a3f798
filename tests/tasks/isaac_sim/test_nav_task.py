"""Drives of one robot without a simulator: whatever it does, the books agree with a count from the beginning."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")

from known_scenes import known_scene
from lyra.worldgen.core.errors import InputError
from lyra_tasks import rules
from lyra_tasks.evaluation import COLLISION, ENDINGS, GOAL, TIMEOUT
from lyra_tasks.ground import load_ground
from lyra_tasks.isaac_sim.nav_task import NavTask, RobotState
from lyra_tasks.pursuit import plan
from lyra_tasks.robots.diff_drive import SIZES
from lyra_tasks.rules import DriveRules
from lyra_tasks.worlds import load_navigation_world
from task_worlds import write_world

SPEC = SIZES["medium"]
SCENE = known_scene(1004, kind="room")
TRIALS = {
    "point_goal": DriveRules(time_limit_s=0.4, pace_m_s=math.inf),
    "patrol": DriveRules(stops=5, revisits=True, time_limit_s=1.2, pace_m_s=math.inf),
    "deliver": DriveRules(stops=2, goal_radius_m=0.4, stop_speed_m_s=0.3, time_limit_s=0.6, pace_m_s=math.inf),
}
"""The tasks with little time, so that it runs out now and then."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    folder = write_world(tmp_path_factory.mktemp("worlds") / "a", SCENE.truth)
    return load_ground(load_navigation_world(folder), robot_radius_m=SPEC.footprint_radius_m + 0.05)


def counted(task: NavTask, states: list[RobotState]) -> dict:
    """What the books should say after a drive through these states, the start first; clearance is the room's own."""
    drive, leg, touches, touching, path, ending = task.rules, 0, 0, False, 0.0, None
    goals = [task.ground.world.episodes[n].goal_xy_m for n in task.stops]
    for steps, (last, now) in enumerate(itertools.pairwise(states), start=1):
        assert ending is None, "the task went on after its end"
        step = float(np.linalg.norm(np.subtract(now.xy_m, last.xy_m)))
        path += step
        # The clearance is interpolated between cells: exact in the open, a little off beside corners.
        near = task.ground.clearance_at(np.array(now.xy_m)) < SPEC.footprint_radius_m + drive.touch_margin_m
        touches += near and not touching
        touching = near
        there = np.linalg.norm(np.subtract(goals[leg], now.xy_m)) < drive.goal_radius_m
        there = there and step / 0.04 <= drive.stop_speed_m_s
        if there and leg == drive.stops - 1:
            ending = GOAL
        elif near:
            ending = COLLISION
        elif steps >= round(drive.time_limit_s / 0.04):
            ending = TIMEOUT
        elif there:
            leg += 1
    return {"leg": leg, "touches": touches, "path_m": path, "ending": ending, "steps": len(states) - 1}


def machine(ground):
    class Drives(RuleBasedStateMachine):
        """Any order of beginning, wandering, jumping to goals and running into things."""

        @initialize(name=st.sampled_from(sorted(TRIALS)))
        def made(self, name):
            self.task = NavTask(ground, SPEC, TRIALS[name])
            self.finished = 0
            self.begin(0)

        @rule(number=st.integers(0, 23))
        def begin(self, number):
            start = self.task.begin(number)
            episode = ground.world.episodes[number]
            assert start.xy_m == episode.start_xy_m and start.yaw_rad == episode.start_yaw_rad
            self.states = [start]

        def go(self, state):
            self.states.append(state)
            ending = self.task.advance(state)
            self.finished += ending is not None

        @precondition(lambda self: self.task.ending is None)
        @rule(way=st.tuples(*[st.floats(-0.3, 0.3)] * 2), yaw=st.floats(-7, 7), speed=st.floats(-1, 1))
        def wander(self, way, yaw, speed):
            x, y = self.task.state.xy_m
            self.go(RobotState(xy_m=(x + way[0], y + way[1]), yaw_rad=yaw, speed_m_s=speed, turn_rad_s=-speed))

        @precondition(lambda self: self.task.ending is None)
        @rule(off=st.floats(0.0, 0.5), yaw=st.floats(-7, 7))
        def come_to_the_stop(self, off, yaw):
            x, y = self.task.goal_xy_m.tolist()
            self.go(RobotState(xy_m=(x + off * np.cos(yaw), y + off * np.sin(yaw)), yaw_rad=yaw))

        @precondition(lambda self: self.task.ending is None)
        @rule()
        def stand_still(self):
            self.go(RobotState(xy_m=self.task.state.xy_m, yaw_rad=self.task.state.yaw_rad))

        @precondition(lambda self: self.task.ending is None)
        @rule(corner=st.sampled_from([(40.0, 0.0), (0.0, -40.0)]))
        def leave_the_room(self, corner):
            self.go(RobotState(xy_m=corner, yaw_rad=0.0))

        @rule(action=st.tuples(*[st.floats(-3, 3, width=32)] * 2))
        def command(self, action):
            wheels = self.task.command(np.array(action))
            np.testing.assert_allclose(wheels, rules.wheel_speeds(np.array([action]), SPEC)[0], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(self.task.observe()[5:7], np.clip(action, -1, 1), atol=1e-6)

        @invariant()
        def books_agree(self):
            task, expected = self.task, counted(self.task, self.states)
            assert task.path_m == pytest.approx(expected.pop("path_m"))
            assert {name: getattr(task, name) for name in expected} == expected
            assert len(task.driven) == self.finished

        @invariant()
        def what_is_told_is_bounded_and_true(self):
            task, told = self.task, self.task.observe()
            assert told.shape == (47 + (task.rules.stops > 1),) and told.dtype == np.float32
            assert np.isfinite(told).all() and (told[7:43] >= 0).all() and (np.abs(told[:3]) <= 1 + 1e-6).all()
            assert told[0] == pytest.approx(min(task.goal_distance_m / task.rules.far_m, 1), abs=1e-5)
            x, y = task.state.xy_m
            ahead = task.state.yaw_rad + np.arctan2(told[2], told[1])
            reach = task.goal_distance_m * np.array([np.cos(ahead), np.sin(ahead)])
            np.testing.assert_allclose(np.array([x, y]) + reach, task.goal_xy_m, atol=1e-4)

        @invariant()
        def figures_are_shares(self):
            for driven in self.task.driven:
                outcome = driven.outcome
                assert outcome.ending in ENDINGS and 0 <= outcome.spl <= 1
                assert (outcome.spl > 0) <= outcome.success
                assert len(driven.trajectory.path_xy_m) == round(outcome.time_s / 0.04) + 1
            if self.task.driven:
                metrics = self.task.metrics()
                assert metrics["count"] == self.finished == sum(metrics["endings"].values())

    return Drives


@pytest.mark.slow
def test_books_agree_whatever_happens(ground):
    """Random histories of drives against a count from their beginning."""
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(machine(ground), settings=settings(max_examples=60, stateful_step_count=25))


def test_clearance_is_the_rooms(ground):
    """Touching is decided by distances that are the room's own, to 2 mm in the open."""
    task = NavTask(ground, SPEC)
    for number in range(6):
        task.begin(number)
        truth = SCENE.clearance_m(np.array([task.state.xy_m]), 0.05, 0.65)[0]
        assert task.clearance_m == pytest.approx(truth, abs=2e-3)


def test_gained_metres_add_up(ground):
    """From start to goal a robot gains the episode's length along the floor."""
    task = NavTask(ground, SPEC)
    for number, episode in enumerate(ground.world.episodes[:6]):
        task.begin(number)
        assert task.gained_m == 0.0
        task.advance(RobotState(xy_m=episode.goal_xy_m, yaw_rad=0.0))
        # Grid distances exceed straightened paths by up to 8 %.
        assert 0.93 * episode.geodesic_m - 0.1 < task.gained_m < 1.1 * episode.geodesic_m


def test_lengths_go_over_all_stops(ground):
    """The shortest way of a delivery: an episode, then on to the next one's goal, less both radii."""
    task = NavTask(ground, SPEC, rules.DELIVER)
    task.begin(2)
    for stop in task.stops:
        goal = ground.world.episodes[stop].goal_xy_m
        task.advance(RobotState(xy_m=goal, yaw_rad=0.0))
        assert task.ending is None, "arriving at speed does not count"
        task.advance(RobotState(xy_m=goal, yaw_rad=0.0))
    (driven,) = task.driven
    a, b = (np.array(ground.world.episodes[n].goal_xy_m) for n in (2, 3))
    least = ground.world.episodes[2].geodesic_m + np.linalg.norm(b - a) - 0.8
    assert driven.outcome.ending == GOAL and least <= driven.outcome.shortest_m + 0.01 < 3 * least


def test_long_drives_have_more_time(ground):
    """Two metres a second: the shortest episode has the least time, others what their ways take, over all stops."""
    drive = DriveRules(stops=2, time_limit_s=1.0, pace_m_s=2.0)
    task, episodes = NavTask(ground, SPEC, drive), ground.world.episodes
    for number, episode in enumerate(episodes[:-1]):
        task.begin(number)
        a, b = np.array(episode.goal_xy_m), np.array(episodes[number + 1].goal_xy_m)
        on = plan(ground, a, b, footprint_radius_m=SPEC.footprint_radius_m)
        way = episode.geodesic_m + np.linalg.norm(np.diff(on.points_xy_m, axis=0), axis=1).sum()
        # Grid distances exceed straightened paths by up to 8 %.
        assert 0.93 * max(way / 2, 1.0) - 0.1 < task.step_limit * 0.04 < 1.1 * max(way / 2, 1.0) + 0.1
        while task.advance(task.state) is None:
            pass
        assert task.ending == TIMEOUT and task.steps == task.step_limit


@pytest.mark.parametrize("number", [-1, 24])
def test_unknown_episodes_are_refused(ground, number):
    """The message says how many there are."""
    with pytest.raises(InputError, match="the world has 24"):
        NavTask(ground, SPEC).begin(number)


@pytest.mark.parametrize("action", [[0.0], [np.nan, 0.0], [0.0, 1.0, 2.0]])
def test_bad_actions_are_refused(ground, action):
    """A policy for another task, or one that has gone wild."""
    task = NavTask(ground, SPEC)
    task.begin(0)
    with pytest.raises(InputError, match="expected speed and turn rate"):
        task.command(np.array(action))
