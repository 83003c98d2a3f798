"""The script that puts a world on a stage, over real USD and stand-ins for the application, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pxr")
from pxr import Usd, UsdGeom, UsdPhysics

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "isaac_sim" / "load_world.py"
STAND_INS = {
    "isaacsim/__init__.py": """
class SimulationApp:
    def __init__(self, settings):
        assert settings["headless"] in (True, False)
    def update(self):
        import omni.timeline
        omni.timeline.tick()
    def is_running(self):
        return False
    def close(self):
        print("closed", flush=True)
""",
    "omni/usd.py": """
from pxr import Usd
class Context:
    stage = None
    def new_stage(self):
        self.stage = Usd.Stage.CreateInMemory()
    def get_stage(self):
        return self.stage
context = Context()
def get_context():
    return context
""",
    "omni/timeline.py": """
import os
class Timeline:
    time_s, playing = 0.0, False
    def play(self):
        self.playing = True
    def stop(self):
        self.playing = False
    def get_current_time(self):
        return self.time_s
timeline = Timeline()
def tick():
    timeline.time_s += float(os.environ.get("TICK_S", "0.02")) * timeline.playing
def get_timeline_interface():
    return timeline
""",
}

pytestmark = pytest.mark.slow


@pytest.fixture
def simulator(tmp_path) -> Path:
    for name, text in STAND_INS.items():
        path = tmp_path / "sim" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "sim"


def run(simulator: Path | None, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = {"PYTHONPATH": "" if simulator is None else str(simulator)}
    cache = {} if simulator is None else {"LYRA_TASKS_CACHE": str(simulator / "robots")}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env={**os.environ, **path, **cache, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_world_with_a_robot_is_saved_as_a_stage(room_world, simulator, tmp_path):
    """World, robot and physics scene are on it; the clock ran for as long as was asked for."""
    saved = tmp_path / "deep" / "stage.usda"
    said = run(
        simulator, str(room_world), "--representation", "both", "--robot", "--seconds", "1", "--save", str(saved)
    )
    assert said.returncode == 0 and said.stdout.endswith("closed\n"), said.stderr
    report = json.loads(said.stdout.removesuffix("closed\n"))
    assert report["world"] == "/World/Lyra" and report["robot"] == "/World/LyraRobot"
    assert 1.0 <= report["simulated_s"] < 1.1 and report["saved"] == str(saved)
    stage = Usd.Stage.Open(str(saved))
    assert UsdGeom.GetStageUpAxis(stage) == "Z" and UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    assert stage.GetPrimAtPath("/World/Lyra/Visual") and stage.GetPrimAtPath("/World/Lyra/Splats")
    assert stage.GetPrimAtPath("/World/LyraRobot").HasAPI(UsdPhysics.ArticulationRootAPI)
    assert sum(prim.IsA(UsdPhysics.Scene) for prim in stage.Traverse()) == 1


def test_a_clock_that_stands_still_ends(room_world, simulator):
    """A simulation that does not move does not hang the script."""
    said = run(simulator, str(room_world), "--no-physics", "--seconds", "0.5", TICK_S="0")
    assert said.returncode == 0 and '"simulated_s": 0.0' in said.stdout


def test_what_cannot_be_has_an_exit_code(room_world, simulator, tmp_path):
    """No world, no simulator, a time that is none: each with its code and a line."""
    absent = run(simulator, str(tmp_path / "absent"))
    assert absent.returncode == 2 and "world.usda" in absent.stderr
    assert run(simulator, str(room_world), "--seconds", "-1").returncode == 2
    outside = run(None, str(room_world))
    assert outside.returncode == 3 and "python.sh" in outside.stderr
