"""Whole episodes with an ideal robot: the baseline arrives, chance does not, exported policies steer."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")

from ideal_robot import IdealRobot
from known_scenes import known_scene
from lyra.worldgen.core.errors import Cancelled, InputError
from lyra.worldgen.core.progress import Progress
from lyra_tasks import rules
from lyra_tasks.ground import load_ground
from lyra_tasks.isaac_sim.drive_loop import EpisodeDriver, drive_episodes
from lyra_tasks.isaac_sim.nav_task import NavTask
from lyra_tasks.isaac_sim.pilots import load_pilot
from lyra_tasks.robots.diff_drive import SIZES
from lyra_tasks.worlds import load_navigation_world
from task_worlds import write_world

SPEC = SIZES["medium"]


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    folder = write_world(tmp_path_factory.mktemp("worlds") / "a", known_scene(1000, kind="room").truth)
    return load_ground(load_navigation_world(folder), robot_radius_m=SPEC.footprint_radius_m + 0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "drive", [rules.POINT_GOAL, rules.PATROL, rules.DELIVER], ids=["point_goal", "patrol", "deliver"]
)
def test_baseline_arrives_at_every_stop(ground, drive):
    """All tasks, every third episode: no touch, near-shortest ways, one placement an episode."""
    task, robot = NavTask(ground, SPEC, drive), IdealRobot(SPEC)
    numbers = range(0, task.episode_count, 3)
    drive_episodes(EpisodeDriver(task, robot, load_pilot("baseline"), numbers), robot.step)
    metrics = task.metrics()
    assert metrics["success"] == 1.0 and metrics["collisions_per_m"] == 0.0 and metrics["spl"] > 0.85
    assert [d.outcome.episode_id for d in task.driven] == list(numbers)
    assert [s.xy_m for s in robot.placed] == [ground.world.episodes[n].start_xy_m for n in numbers]


def test_chance_is_seeded_and_poor(ground):
    """The same seed drives the same way; hardly anybody arrives."""
    outcomes = []
    for seed in (1, 1, 2):
        task, robot = NavTask(ground, SPEC), IdealRobot(SPEC)
        drive_episodes(EpisodeDriver(task, robot, load_pilot("random", seed=seed), range(4)), robot.step)
        outcomes.append([d.outcome for d in task.driven])
    assert outcomes[0] == outcomes[1] != outcomes[2]
    assert sum(o.success for o in outcomes[0]) <= 1


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_exported_policies_steer(ground, tmp_path):
    """A TorchScript policy is told what the task tells and its answer drives the robot."""
    torch = pytest.importorskip("torch")

    class TurnToGoal(torch.nn.Module):
        def forward(self, told):
            return torch.stack([0.5 * told[:, 1].clamp(min=0.0), 2.0 * told[:, 2]], -1)

    torch.jit.script(TurnToGoal()).save(str(tmp_path / "policy.pt"))
    task = NavTask(ground, SPEC)
    pilot = load_pilot(str(tmp_path / "policy.pt"))
    task.begin(0)
    told = task.observe()
    np.testing.assert_allclose(pilot(task), [0.5 * max(told[1], 0), 2 * told[2]], atol=1e-6)
    wrong = torch.nn.Sequential(torch.nn.Linear(7, 2))
    torch.jit.script(wrong).save(str(tmp_path / "wrong.pt"))
    with pytest.raises(InputError, match="does not take the 47 numbers"):
        load_pilot(str(tmp_path / "wrong.pt"))(task)


@pytest.mark.parametrize("name", ["nothing.onnx", "policy.txt", "best"])
def test_other_policies_are_refused(tmp_path, name, monkeypatch):
    """The message lists what is possible."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.txt").write_text("no policy")
    with pytest.raises(InputError, match=r"neither 'baseline' nor 'random' nor an exported policy"):
        load_pilot(name)


def test_driving_can_be_cancelled(ground):
    """Between two episodes; what was driven is kept."""

    class Stop(Progress):
        def keep_going(self):
            return len(task.driven) < 2

    task, robot = NavTask(ground, SPEC), IdealRobot(SPEC)
    driver = EpisodeDriver(task, robot, load_pilot("random"), progress=Stop())
    with pytest.raises(Cancelled):
        drive_episodes(driver, robot.step)
    assert len(task.driven) == 2 and not driver.done


def test_a_driver_is_done_once(ground):
    """Ticks after the end change nothing; a restart drives the same episodes again."""
    task, robot = NavTask(ground, SPEC), IdealRobot(SPEC)
    driver = EpisodeDriver(task, robot, load_pilot("baseline"), [2])
    drive_episodes(driver, robot.step)
    first = task.driven[0]
    for _ in range(5):
        driver.tick()
    assert driver.done and len(task.driven) == 1 and len(robot.placed) == 1
    driver.restart()
    drive_episodes(driver, robot.step)
    assert [d.outcome for d in task.driven] == [first.outcome] * 2
    assert EpisodeDriver(task, robot, load_pilot("baseline"), []).done
