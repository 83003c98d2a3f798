"""The controller's state machine, driven by a real worker process and by a scripted one."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from lyra.worldgen.kit.controller import JobState, Phase, WorldgenController
from lyra.worldgen.kit.jobs import GenerateRequest, generate_command
from lyra.worldgen.session.events import ErrorEvent, ExitEvent, ProgressEvent, ResultEvent
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


def request(path: Path, **change) -> GenerateRequest:
    return GenerateRequest(**({"photo": str(path), "out": "world"} | change))


def run(mode: str, photo: Path, **callbacks) -> tuple[WorldgenController, list[JobState]]:
    """A controller over the real worker, polled until it rests."""
    seen: list[JobState] = []
    controller = WorldgenController(
        lambda r: WorkerJob([sys.executable, str(WORKER), mode, r.photo]), on_change=seen.append, **callbacks
    )
    assert controller.start(request(photo))
    give_up = time.monotonic() + 60
    while controller.state.busy and time.monotonic() < give_up:
        controller.poll()
        if mode == "slow" and controller.state.fraction > 0:
            controller.cancel()
        time.sleep(0.005)
    assert not controller.state.busy, seen
    return controller, seen


def test_a_real_run_ends_with_the_world_on_the_stage(photo):
    """The bar never runs backwards, the world is handed over once, and the controller can start again."""
    worlds: list[str] = []
    controller, seen = run("good", photo, on_world=worlds.append)
    assert worlds == ["/worlds/kitchen"]
    assert controller.state.phase is Phase.DONE and controller.state.passed is True
    fractions = [s.fraction for s in seen]
    assert fractions == sorted(fractions) and 0.25 in fractions and fractions[-1] == 1.0
    assert any("understand: 25 %, 12 s left" in s.message for s in seen)
    assert controller.start(request(photo))
    controller.close()


def test_a_world_with_findings_is_delivered_and_named(photo):
    """Exit code 1 with a result is a finished world that failed its certificate, not a failed job."""
    controller, _ = run("findings", photo)
    assert controller.state.phase is Phase.DONE and controller.state.passed is False
    assert "NOT certified" in controller.state.message


def test_the_workers_own_words_reach_the_user(photo):
    """An error event is shown with its message and exit code."""
    controller, _ = run("error", photo)
    assert controller.state.phase is Phase.FAILED
    assert controller.state.message == "Failed (exit code 2): photo.jpg is no picture; choose a photo"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_crash_shows_the_last_words(photo):
    """A worker that dies without an event leaves its last line of text."""
    controller, _ = run("crash", photo)
    assert controller.state.phase is Phase.FAILED and "(exit code -9)" in controller.state.message


def test_cancel_comes_to_rest(photo):
    """Cancelling a real worker ends in `cancelled`, with what to do next."""
    controller, seen = run("slow", photo)
    assert [s.phase for s in seen if s.phase is not Phase.RUNNING] == [Phase.CANCELLING, Phase.CANCELLED]
    assert "go on" in controller.state.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"photo": " "}, "Choose a photo"),
        ({"photo": "absent.jpg"}, "no such photo"),
        ({"out": ""}, "output folder"),
        ({"seed": -1}, "seed"),
        ({"camera_height_m": 0.0}, "camera height"),
        ({"camera_height_m": float("nan")}, "camera height"),
    ],
)
def test_requests_that_cannot_work_start_nothing(photo, change, words):
    """The reason is one line; no worker is started."""
    controller = WorldgenController(lambda r: pytest.fail("started"))
    assert not controller.start(request(photo, **change))
    assert controller.state.phase is Phase.FAILED and words in controller.state.message


def test_a_missing_program_is_a_message(photo):
    """No installation found is shown, not raised."""

    def launch(r):
        raise FileNotFoundError("no lyra-worldgen installation found")

    controller = WorldgenController(launch)
    assert not controller.start(request(photo))
    assert "no lyra-worldgen installation found" in controller.state.message


def test_one_job_at_a_time(photo):
    """A second start is refused and changes nothing while a job runs."""
    jobs = []
    controller = WorldgenController(lambda r: jobs.append(ScriptedJob()) or jobs[-1])
    assert controller.start(request(photo)) and not controller.start(request(photo))
    assert len(jobs) == 1 and controller.state.phase is Phase.RUNNING
    controller.cancel()
    controller.cancel()
    assert jobs[0].cancelled == 1
    controller.close()
    assert jobs[0].closed == 1


def test_a_result_that_beats_the_cancel_is_kept(photo):
    """The world was finished when the cancel arrived: it is delivered."""
    job = ScriptedJob([], [ResultEvent(folder="w", passed=None), ExitEvent(exit_code=0)])
    controller = WorldgenController(lambda r: job)
    controller.start(request(photo))
    controller.poll()
    controller.cancel()
    controller.poll()
    assert controller.state.phase is Phase.DONE and "not fully measured" in controller.state.message


def test_progress_after_cancel_does_not_revive_the_bar(photo):
    """Late progress lines change nothing once cancelling."""
    job = ScriptedJob([ProgressEvent(stage="paint", fraction=0.5, eta_s=200.0)])
    controller = WorldgenController(lambda r: job)
    controller.start(request(photo))
    controller.cancel()
    controller.poll()
    assert controller.state.phase is Phase.CANCELLING and controller.state.fraction == 0.0


def test_a_stage_that_refuses_the_world_loses_nothing(photo):
    """The job is done, the reason and the folder are shown, and the frame loop goes on."""

    def refuse(folder):
        raise ValueError("the open stage has up axis Y")

    job = ScriptedJob([ResultEvent(folder="w", passed=True), ExitEvent(exit_code=0)])
    controller = WorldgenController(lambda r: job, on_world=refuse)
    controller.start(request(photo))
    controller.poll()
    assert controller.state.phase is Phase.DONE and controller.state.folder == "w"
    assert "up axis Y" in controller.state.message


def test_an_error_event_alone_is_a_failure(photo):
    """Exit code 0 without a result is still no world."""
    job = ScriptedJob([ErrorEvent(message="no space"), ExitEvent(exit_code=0)])
    controller = WorldgenController(lambda r: job)
    controller.start(request(photo))
    controller.poll()
    assert controller.state.phase is Phase.FAILED and "no space" in controller.state.message


def test_the_form_becomes_a_command():
    """A height that the form proposed is a guess, one that somebody typed was measured."""
    command = generate_command(GenerateRequest(photo="a photo.jpg", out="w", seed=7, camera_height_m=1.25))
    assert (command.photo, command.config.seed) == (Path("a photo.jpg"), 7)
    assert command.config.geometry.camera_height_m == 1.25 and command.config.scale.camera_height_sigma > 0
    for height_m in (None, 1.5):
        guessed = generate_command(GenerateRequest(photo="p", out="o", camera_height_m=height_m))
        assert guessed.config.scale.camera_height_sigma == 0


def test_a_form_that_cannot_be_is_told(photo):
    """A height out of range is refused before anything starts."""
    controller = WorldgenController(lambda r: ScriptedJob() if generate_command(r) else None)
    assert not controller.start(request(photo, camera_height_m=900.0))
    assert controller.state.phase is Phase.FAILED and "camera_height_m" in controller.state.message
