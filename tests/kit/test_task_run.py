"""A task on the open stage: real episodes, real USD, an ideal robot behind stand-ins for the simulator's interfaces."""

from __future__ import annotations

import sys
import types

import pytest

pytest.importorskip("pxr")
from pxr import Gf, Usd, UsdGeom

from fake_isaacsim import Simulated, modules_of_6
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.kit.jobs import Showing
from lyra.worldgen.kit.stage_content import add_world
from lyra_tasks import rules
from lyra_tasks.robots.diff_drive import SIZES

pytestmark = pytest.mark.slow
OURS = ("lyra.worldgen.kit.stage", "lyra.worldgen.kit.task_run", "lyra_tasks.isaac_sim.driver")


class Timeline:
    """The clock of the stand-in; physics moves when the app updates."""

    def __init__(self) -> None:
        self.time_s, self.state = 0.0, "stopped"

    def play(self) -> None:
        self.state = "playing"

    def stop(self) -> None:
        self.time_s, self.state = 0.0, "stopped"

    def is_playing(self) -> bool:
        return self.state == "playing"

    def is_stopped(self) -> bool:
        return self.state == "stopped"

    def get_current_time(self) -> float:
        return self.time_s


@pytest.fixture
def kit(monkeypatch, tmp_path):
    """An open stage, a timeline, and what is simulated."""
    monkeypatch.setenv("LYRA_TASKS_CACHE", str(tmp_path / "robots"))
    simulated = Simulated(SIZES["medium"])
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    timeline = Timeline()
    usd, clock = types.ModuleType("omni.usd"), types.ModuleType("omni.timeline")
    vars(usd)["get_context"] = lambda: types.SimpleNamespace(get_stage=lambda: stage)
    vars(clock)["get_timeline_interface"] = lambda: timeline
    omni = types.ModuleType("omni")
    vars(omni).update(__path__=[], usd=usd, timeline=clock)
    modules = {**modules_of_6(simulated), "omni": omni, "omni.usd": usd, "omni.timeline": clock}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in OURS:
        # Imported against the stand-ins: nobody else may find them.
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    simulated.references["/World/LyraRobot"] = ""
    yield types.SimpleNamespace(stage=stage, timeline=timeline, simulated=simulated)
    for name in OURS:
        sys.modules.pop(name, None)


def test_episodes_are_driven_while_the_timeline_plays(kit, room_world):
    """The robot is put down, drives one episode after the other to its goal, and a stopped timeline ends it."""
    from lyra.worldgen.kit.task_run import TaskRun

    add_world(kit.stage, room_world, "/World/Lyra", Showing())
    run = TaskRun(str(room_world), None)
    assert kit.stage.GetPrimAtPath("/World/LyraRobot/base") and kit.timeline.is_playing()
    assert run.message == "waiting for physics" and not run.over
    update_steps = 4
    for _ in range(20_000):
        run.update()
        if run.message.startswith("2 of"):
            break
        if run._drive is not None:
            kit.simulated.step(update_steps)
        kit.timeline.time_s += update_steps * rules.PHYSICS_STEP_S
    assert run.message.startswith("2 of 24 episodes"), run.message
    assert [driven.outcome.ending for driven in run._task.driven] == ["goal", "goal"]
    kit.timeline.stop()
    assert run.over
    run.update()
    run.stop()


def test_tasks_need_a_world_where_it_was_made(kit, room_world):
    """A world that is not there or was moved is refused in words, and nothing plays."""
    from lyra.worldgen.kit.task_run import TaskRun

    with pytest.raises(InputError, match="not on the stage"):
        TaskRun(str(room_world), None)
    path = add_world(kit.stage, room_world, "/World/Lyra", Showing())
    UsdGeom.Xformable(kit.stage.GetPrimAtPath(path)).AddTranslateOp().Set(Gf.Vec3d(1, 0, 0))
    with pytest.raises(InputError, match="moved"):
        TaskRun(str(room_world), None)
    assert kit.timeline.is_stopped()
