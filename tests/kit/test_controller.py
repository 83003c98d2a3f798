"""The controller over real sessions, whose work is done by a real process or by a scripted job."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from lyra.worldgen.kit.controller import KitState, Phase, WorldgenController
from lyra.worldgen.kit.jobs import (
    QUALITIES,
    UNITS,
    UPS,
    ExtendRequest,
    GenerateRequest,
    ImportRequest,
    extend_command,
    generate_command,
    import_command,
)
from lyra.worldgen.session import Session
from lyra.worldgen.session.events import ErrorEvent, ExitEvent, FrameEvent, LogEvent, ProgressEvent, ResultEvent
from lyra.worldgen.session.worker import WorkerJob

WORKER = Path(__file__).resolve().parent.parent / "session" / "worker.py"


class ScriptedJob:
    """Hands out prepared events, one list per poll."""

    def __init__(self, *polls):
        self.polls = list(polls)
        self.cancelled = self.closed = 0

    def poll(self):
        return self.polls.pop(0) if self.polls else []

    def cancel(self):
        self.cancelled += 1

    def close(self):
        self.closed += 1


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"x")
    return path


@pytest.fixture
def world(tmp_path) -> Path:
    """A folder that can be put on a stage."""
    folder = tmp_path / "kitchen"
    folder.mkdir()
    (folder / "world.usda").write_text("#usda 1.0\n")
    return folder


def request(path: Path, **change) -> GenerateRequest:
    return GenerateRequest(**({"photo": str(path), "out": str(path.parent / "out")} | change))


def scripted(job, **callbacks) -> WorldgenController:
    return WorldgenController(lambda folder: Session(folder, launch=lambda command: job), **callbacks)


def run(mode: str, photo: Path, **callbacks) -> tuple[WorldgenController, list[KitState]]:
    """A controller over the real worker, polled until it rests."""
    seen: list[KitState] = []

    def launch(command):
        return WorkerJob([sys.executable, str(WORKER), mode, str(command.photo)])

    controller = WorldgenController(lambda folder: Session(folder, launch=launch), on_change=seen.append, **callbacks)
    assert controller.generate(request(photo))
    give_up = time.monotonic() + 60
    while controller.state.busy and time.monotonic() < give_up:
        controller.poll()
        if mode == "slow" and controller.state.fraction > 0:
            controller.cancel()
        time.sleep(0.005)
    assert not controller.state.busy, seen
    return controller, seen


def test_a_real_run_ends(photo):
    """The bar never runs backwards, and the controller can begin again. A world without a stage is not put on one."""
    worlds: list[str] = []
    controller, seen = run("good", photo, on_world=worlds.append)
    assert controller.state.phase is Phase.DONE and controller.state.passed is True
    assert controller.state.folder == "/worlds/kitchen" and worlds == []
    fractions = [s.fraction for s in seen]
    assert fractions == sorted(fractions) and 0.25 in fractions and fractions[-1] == 1.0
    assert any("understand: 25 %, 12 s left" in s.message for s in seen)
    assert controller.generate(request(photo))
    controller.close()


def test_a_world_with_findings_is_named(photo, world):
    """Exit code 1 with a result is a finished world that failed its certificate, not a failed job; it is loaded."""
    worlds: list[str] = []
    job = ScriptedJob([ResultEvent(folder=str(world), passed=False), ExitEvent(exit_code=1)])
    controller = scripted(job, on_world=worlds.append)
    controller.generate(request(photo))
    controller.poll()
    assert controller.state.phase is Phase.DONE and controller.state.passed is False
    assert "NOT certified" in controller.state.message and worlds == [str(world)]
    assert controller.load() and worlds == [str(world)] * 2


def test_the_workers_own_words_reach_the_user(photo):
    """An error event is shown with its message and exit code."""
    controller, _ = run("error", photo)
    assert controller.state.phase is Phase.FAILED and controller.state.can_resume
    assert controller.state.message == "Failed (exit code 2): photo.jpg is no picture; choose a photo"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_crash_shows_the_last_words(photo):
    """A worker that dies without an event leaves its last line of text."""
    controller, _ = run("crash", photo)
    assert controller.state.phase is Phase.FAILED and "(exit code -9)" in controller.state.message
    assert "Segmentation fault" in controller.log


def test_cancel_comes_to_rest(photo):
    """Cancelling a real worker ends in `cancelled`, with what to do next."""
    controller, seen = run("slow", photo)
    assert [s.phase for s in seen if s.phase is not Phase.RUNNING] == [Phase.CANCELLING, Phase.CANCELLED]
    assert "Resume" in controller.state.message and controller.state.can_resume


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"photo": " "}, "Choose a photo"),
        ({"photo": "absent.jpg"}, "no such photo"),
        ({"out": ""}, "output folder"),
        ({"seed": -1}, "seed"),
        ({"camera_height_m": 0.0}, "camera height"),
        ({"camera_height_m": float("nan")}, "camera height"),
        ({"camera_height_m": 900.0}, "camera_height_m"),
        ({"quality": "best"}, "standard, draft, fine"),
        ({"seed": 2**40}, "seed"),
        ({"prompt": "x" * 5000}, "prompt"),
    ],
)
def test_requests_that_cannot_work_start_nothing(photo, change, words):
    """The reason is one line; no session is opened."""
    controller = WorldgenController(lambda folder: pytest.fail("opened"))
    assert not controller.generate(request(photo, **change))
    assert controller.state.phase is Phase.FAILED and words in controller.state.message


def test_a_missing_program_is_a_message(photo):
    """No installation found is shown, not raised."""

    def launch(command):
        raise FileNotFoundError("no lyra-worldgen installation found")

    controller = WorldgenController(lambda folder: Session(folder, launch=launch))
    assert not controller.generate(request(photo))
    assert "no lyra-worldgen installation found" in controller.state.message and not controller.state.busy


def test_one_job_at_a_time(photo):
    """Whatever begins work is refused and changes nothing while a job runs."""
    jobs = []
    controller = WorldgenController(
        lambda folder: Session(folder, launch=lambda c: jobs.append(ScriptedJob()) or jobs[-1])
    )
    assert controller.generate(request(photo))
    for refused in (
        lambda: controller.generate(request(photo)),
        lambda: controller.extend(ExtendRequest(path="turn")),
        lambda: controller.extend(ExtendRequest(path="turn", seed=-5)),
        controller.undo,
        controller.finish,
        controller.resume,
        lambda: controller.choose(str(photo.parent)),
    ):
        assert not refused()
    assert len(jobs) == 1 and controller.state.phase is Phase.RUNNING
    controller.cancel()
    controller.cancel()
    assert jobs[0].cancelled == 1
    controller.close()
    assert jobs[0].closed == 1


def test_without_a_world_there_is_nothing_to_extend(tmp_path):
    """Each says what to do first."""
    controller = scripted(ScriptedJob())
    for call in (lambda: controller.extend(ExtendRequest(path="turn")), controller.undo, controller.finish):
        assert not call() and "first" in controller.state.message
    assert not controller.resume() and not controller.load()
    assert not controller.choose(str(tmp_path)) and "no world" in controller.state.message


def test_a_result_that_beats_the_cancel_is_kept(photo, world):
    """The world was finished when the cancel arrived: it is delivered."""
    job = ScriptedJob([], [ResultEvent(folder=str(world), passed=None), ExitEvent(exit_code=0)])
    controller = scripted(job)
    controller.generate(request(photo))
    controller.poll()
    controller.cancel()
    controller.poll()
    assert controller.state.phase is Phase.DONE and "not fully measured" in controller.state.message


def test_progress_after_cancel_does_not_revive_the_bar(photo):
    """Late progress lines change nothing once cancelling."""
    job = ScriptedJob([ProgressEvent(stage="paint", fraction=0.5, eta_s=200.0)])
    controller = scripted(job)
    controller.generate(request(photo))
    controller.cancel()
    controller.poll()
    assert controller.state.phase is Phase.CANCELLING and controller.state.fraction == 0.0


def test_frames_and_lines_arrive(photo):
    """Pictures go to who shows them, the last lines are kept, and none of a command before."""
    frames: list[bytes] = []
    job = ScriptedJob([FrameEvent(chunk=0, frame=1, jpeg=b"\xff\xd8"), *(LogEvent(text=str(i)) for i in range(500))])
    controller = scripted(job, on_frame=frames.append)
    controller.generate(request(photo))
    controller.poll()
    assert frames == [b"\xff\xd8"] and list(controller.log) == [str(i) for i in range(300, 500)]


def test_a_stage_that_refuses_the_world_loses_nothing(photo, world):
    """The job is done, the reason and the folder are shown, and the frame loop goes on."""

    def refuse(folder):
        raise ValueError("the open stage has up axis Y")

    job = ScriptedJob([ResultEvent(folder=str(world), passed=True), ExitEvent(exit_code=0)])
    controller = scripted(job, on_world=refuse)
    controller.generate(request(photo))
    controller.poll()
    assert controller.state.phase is Phase.DONE and controller.state.folder == str(world)
    assert "up axis Y" in controller.state.message
    assert not controller.load()


def test_an_error_event_alone_is_a_failure(photo):
    """Exit code 0 without a result is still no world."""
    controller = scripted(ScriptedJob([ErrorEvent(message="no space"), ExitEvent(exit_code=0)]))
    controller.generate(request(photo))
    controller.poll()
    assert controller.state.phase is Phase.FAILED and "no space" in controller.state.message


def test_after_closing_nothing_is_heard_or_begun(photo):
    """A window that is gone hears of nothing, not even of the closing."""
    seen: list[KitState] = []
    controller = scripted(ScriptedJob(), on_change=seen.append)
    controller.generate(request(photo))
    seen.clear()
    controller.close()
    controller.close()
    assert not controller.generate(request(photo))
    assert not controller.choose(str(photo.parent))
    assert not controller.load() and seen == []
    controller.poll()
    controller.cancel()
    assert seen == []


def test_the_form_becomes_a_command():
    """A height that the form proposed is a guess, one that somebody typed was measured; all else goes where it says."""
    asked = GenerateRequest(
        photo="a photo.jpg",
        out="w",
        seed=7,
        camera_height_m=1.25,
        path="spin:turns=1",
        prompt="a hall",
        painter="patch",
        quality="draft",
        seed_only=True,
    )
    command = generate_command(asked)
    assert (command.photo, command.config.seed, command.until) == (Path("a photo.jpg"), 7, "understand")
    generation = command.config.generation
    assert (generation.path, generation.prompt, generation.painter) == ("spin:turns=1", "a hall", "patch")
    assert generation.view_long_side_px == 256 and command.config.geometry.working_long_side_px == 448
    assert command.config.geometry.camera_height_m == 1.25 and command.config.scale.camera_height_sigma > 0
    for height_m in (None, 1.5):
        guessed = generate_command(GenerateRequest(photo="p", out="o", camera_height_m=height_m))
        assert guessed.config.scale.camera_height_sigma == 0 and guessed.until == ""
    more = extend_command(ExtendRequest(path="walk.npz", seed=3, pose_scale=1.0, explore_only=True))
    assert (more.path, more.prompt, more.seed, more.pose_scale, more.until) == ("walk.npz", None, 3, 1.0, "explore")


def test_draft_is_the_preset_of_the_command_line():
    """The window's draft and `config/generation/fast.yaml` are the same settings; every quality makes sense."""
    import yaml

    preset = Path(__file__).resolve().parents[2] / "config" / "generation" / "fast.yaml"
    assert QUALITIES["draft"] == yaml.safe_load(preset.read_text())
    for quality in QUALITIES:
        assert generate_command(GenerateRequest(photo="p", out="o", quality=quality)).config.seed == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": ""}, "Choose a scan"),
        ({"source": "/nowhere/scan.ply"}, "no such file"),
        ({"out": " "}, "output folder"),
        ({"seed": -1}, "seed"),
        ({"quality": "superb"}, "no quality"),
        ({"camera_height_m": 0.0}, "camera height"),
        ({"up": "sideways"}, "source.up"),
        ({"units": "league"}, "source.units"),
    ],
)
def test_an_import_that_cannot_be_is_refused(photo, change, words):
    """Nothing is started, and the reason is a line for the user."""
    job = ScriptedJob()
    controller = scripted(job)
    asked = ImportRequest(**({"source": str(photo), "out": str(photo.parent / "out")} | change))
    assert not controller.import_file(asked)
    assert controller.state.phase is Phase.FAILED and words in controller.state.message and not job.closed


def test_what_the_form_offers_for_a_file_is_allowed(photo):
    """Every axis, unit and quality of the form makes a command."""
    for up, units, quality in zip(UPS, [*UNITS, "m"], [*QUALITIES, *["standard"] * 4], strict=True):
        command = import_command(ImportRequest(source=str(photo), out="o", up=up, units=units, quality=quality, seed=3))
        assert command.config.source.up == up and command.config.source.units == units and command.config.seed == 3
