"""Random sequences of what users do, workers say and reloads cut off: nothing is left running, heard twice or lost.

Long sequences over a fake job behind the session's protocol, short ones over real worker processes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fake_stages import content, fake_stages
from lyra.worldgen.build import journey as build_journey
from lyra.worldgen.build import run as build_run
from lyra.worldgen.core.manifest import Manifest, PhotoRecord, manifest_to_json
from lyra.worldgen.core.world import load_world
from lyra.worldgen.kit.controller import KitState, Phase, WorldgenController
from lyra.worldgen.kit.jobs import ExtendRequest, GenerateRequest, ImportRequest
from lyra.worldgen.session import Session
from lyra.worldgen.session.events import ErrorEvent, ExitEvent, FrameEvent, LogEvent, ProgressEvent, ResultEvent
from lyra.worldgen.session.worker import WorkerJob

PROGRAM = Path(__file__).resolve().parent.parent / "session" / "fake_program.py"
MANIFEST = json.dumps(
    manifest_to_json(Manifest(generator="a test", photo=PhotoRecord(name="p.jpg", sha256="0" * 64), config={}, plan=()))
)
PATIENCE_S = 120.0
"""Only a safety net: a loaded machine may be slow, a hanging test must still end."""


class FakeWorldJob:
    """A worker that does what a test says; it knows whether it still lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list = []
        self.alive = True
        self.asked_to_cancel = self.closed = False

    def poll(self):
        events, self.events = self.events, []
        return events

    def cancel(self):
        self.asked_to_cancel = True

    def close(self):
        self.alive, self.closed = False, True

    def end(self, *last):
        """Say something and be gone."""
        self.alive = False
        self.events += last


class Controllers(RuleBasedStateMachine):
    """One controller at a time, as Kit has it: a reload closes it and makes another one."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="kit-states-"))
        (self.root / "photo.jpg").write_bytes(b"x")
        self.jobs: list[FakeWorldJob] = []
        self.closed: list[WorldgenController] = []
        self.sessions: list[Session] = []
        self.launch_fails = self.stage_refuses = False
        self.made: list[str] = []
        self.delivered: list[str] = []
        self.spoken_after_close: list[KitState] = []
        logging.disable(logging.CRITICAL)
        self.open_controller()

    def open_controller(self) -> None:
        shown: list[KitState] = []
        gone: list[bool] = []

        def launch(folder):
            if self.launch_fails:
                raise FileNotFoundError("no installation")
            self.jobs.append(FakeWorldJob(folder))
            return self.jobs[-1]

        def open_session(folder):
            self.sessions.append(Session(folder, launch=lambda command: launch(folder)))
            return self.sessions[-1]

        def on_change(state):
            (self.spoken_after_close if gone else shown).append(state)

        def on_world(folder):
            self.delivered.append(folder)
            if self.stage_refuses:
                raise ValueError("the stage is Y up")

        self.controller = WorldgenController(open_session, on_change=on_change, on_world=on_world)
        self.shown, self.gone = shown, gone

    @property
    def job(self) -> FakeWorldJob | None:
        """The one that is at work now."""
        living = [job for job in self.jobs if job.alive]
        assert len(living) <= 1, "two workers at once"
        return living[0] if living else None

    @rule(
        kind=st.sampled_from(["generate", "import"]),
        name=st.sampled_from(["a", "b"]),
        good=st.booleans(),
        seed=st.integers(-1, 3),
    )
    def make(self, kind, name, good, seed) -> None:
        before, busy = len(self.jobs), self.controller.state.busy
        file, out = str(self.root / ("photo.jpg" if good else "absent.jpg")), str(self.root / name)
        if kind == "generate":
            began = self.controller.generate(GenerateRequest(photo=file, out=out, seed=seed))
        else:
            began = self.controller.import_file(ImportRequest(source=file, out=out, seed=seed))
        assert began == (not busy and good and seed >= 0 and not self.launch_fails)
        assert len(self.jobs) == before + began

    @rule(action=st.sampled_from(["extend", "undo", "finish", "resume"]))
    def go_on(self, action) -> None:
        before, state = len(self.jobs), self.controller.state
        calls = {
            "extend": lambda: self.controller.extend(ExtendRequest(path="turn")),
            "undo": self.controller.undo,
            "finish": self.controller.finish,
            "resume": self.controller.resume,
        }
        began = calls[action]()
        has_world = state.folder is not None
        expected = not state.busy and has_world and not self.launch_fails
        assert began == (expected and (action != "resume" or state.can_resume))
        assert len(self.jobs) == before + began
        if not began and state.can_resume and not state.busy:
            assert self.controller.state.can_resume, "what was stopped can no longer go on"

    @rule(name=st.sampled_from(["a", "b", "nothing"]))
    def choose(self, name) -> None:
        state = self.controller.state
        chosen = self.controller.choose(str(self.root / name))
        assert chosen == (not state.busy and (self.root / name / "world.json").is_file())

    @rule()
    def load(self) -> None:
        folder = self.controller.state.folder
        before = len(self.delivered)
        loaded = self.controller.load()
        there = folder is not None and (Path(folder) / "world.usda").is_file()
        assert loaded == (there and not self.stage_refuses) and len(self.delivered) == before + there
        self.delivered = self.delivered[:before]

    @rule()
    def cancel(self) -> None:
        running = self.controller.state.phase is Phase.RUNNING
        self.controller.cancel()
        job = self.jobs[-1] if self.jobs else None
        if running:
            assert job is not None and job.asked_to_cancel and self.controller.state.phase is Phase.CANCELLING

    @rule()
    def poll(self) -> None:
        self.controller.poll()

    @rule(fraction=st.floats(0, 1), stage=st.sampled_from(["understand", "explore"]))
    @precondition(lambda self: self.job is not None)
    def works(self, fraction, stage) -> None:
        assert self.job is not None
        self.job.events += [
            ProgressEvent(stage=stage, fraction=fraction),
            FrameEvent(chunk=0, frame=0, jpeg=b""),
            LogEvent(text="a line"),
        ]

    @rule(passed=st.sampled_from([True, False, None]))
    @precondition(lambda self: self.job is not None)
    def makes_a_world(self, passed) -> None:
        job = self.job
        assert job is not None
        job.folder.mkdir(exist_ok=True)
        (job.folder / "world.usda").write_text("#usda 1.0\n")
        (job.folder / "world.json").write_text(MANIFEST)
        self.made.append(str(job.folder))
        job.end(ResultEvent(folder=str(job.folder), passed=passed), ExitEvent(exit_code=0))

    @rule(code=st.sampled_from([-9, -15, 0, 2, 130]), says=st.booleans())
    @precondition(lambda self: self.job is not None)
    def dies(self, code, says) -> None:
        assert self.job is not None
        self.job.end(*([ErrorEvent(message="no space")] if says else []), ExitEvent(exit_code=code))

    @rule(fails=st.booleans())
    def installation(self, fails) -> None:
        self.launch_fails = fails

    @rule(refuses=st.booleans())
    def stage(self, refuses) -> None:
        self.stage_refuses = refuses

    @rule()
    def reload(self) -> None:
        """Kit reloads the extension: the old controller is closed, a new one begins; the worlds are on the disk."""
        # What was made but not yet heard of when the window went away is still in its folder.
        unheard = [event for job in self.jobs for event in job.events if isinstance(event, ResultEvent)]
        for event in unheard:
            assert (Path(event.folder) / "world.usda").is_file()
            assert self.made.pop() == event.folder
        for job in self.jobs:
            job.events.clear()
        self.controller.close()
        self.gone.append(True)
        self.closed.append(self.controller)
        self.open_controller()

    @invariant()
    def at_most_one_worker_and_none_of_closed_controllers(self) -> None:
        job = self.job
        if job is not None:
            assert self.controller.state.busy, "a worker that nobody watches"
        assert all(job.closed for job in self.jobs if not job.alive and not job.events)
        heard_all = not self.jobs or not self.jobs[-1].events
        assert job is not None or not self.controller.state.busy or not heard_all, "busy with nothing"

    @invariant()
    def nobody_listens_who_is_gone(self) -> None:
        assert self.spoken_after_close == []
        listening = [session for session in self.sessions if session.listened_to]
        assert len(listening) <= 1
        for controller in self.closed:
            assert not controller.generate(GenerateRequest(photo="p", out="o"))
            assert not controller.import_file(ImportRequest(source="p", out="o"))

    @invariant()
    def what_is_shown_is_what_is(self) -> None:
        assert not self.shown or self.shown[-1] == self.controller.state
        runs: list[list[float]] = [[]]
        for state in self.shown:
            if state.message == "Starting ...":
                runs.append([])
            if state.busy:
                runs[-1].append(state.fraction)
        assert all(run == sorted(run) for run in runs), "the bar ran backwards"

    @invariant()
    def worlds_are_handed_over_once_and_in_order(self) -> None:
        assert self.delivered == self.made[: len(self.delivered)]

    def teardown(self) -> None:
        logging.disable(logging.NOTSET)
        if hasattr(self, "controller"):
            self.controller.poll()
            assert self.delivered == self.made, "a world was finished and not handed over, or twice"
            self.controller.close()
            assert self.job is None
            shutil.rmtree(self.root)


@pytest.mark.parametrize("examples", [10, pytest.param(150, marks=pytest.mark.slow)])
def test_fake_workers(examples) -> None:
    """No sequence of actions, deaths and reloads leaves a worker, a listener or a world that nobody hears of."""
    plain = settings(max_examples=examples, stateful_step_count=50, deadline=None)
    run_state_machine_as_test(Controllers, settings=settings(plain, suppress_health_check=list(HealthCheck)))


class RealControllers(RuleBasedStateMachine):
    """The same over real workers that make tiny worlds, killed and reloaded at random moments."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="kit-real-"))
        (self.root / "photo.jpg").write_bytes(b"photo of a kitchen")
        self.pids: list[int] = []
        self.loaded: list[str] = []
        self.open_controller()

    def open_controller(self) -> None:
        def open_session(folder):
            def launch(command):
                job = WorkerJob(
                    [sys.executable, str(PROGRAM), "0.02", "work", str(folder), "--frames"], command, grace_s=2.0
                )
                self.pids.append(job.pid)
                return job

            return Session(folder, launch=launch)

        self.controller = WorldgenController(open_session, on_world=self.loaded.append)
        if (self.root / "world" / "world.json").is_file():
            assert self.controller.choose(str(self.root / "world"))

    def work(self, seconds: float) -> None:
        give_up = time.monotonic() + seconds
        while self.controller.state.busy and time.monotonic() < give_up:
            self.controller.poll()
            time.sleep(0.005)

    @rule()
    def generate(self) -> None:
        self.controller.generate(
            GenerateRequest(photo=str(self.root / "photo.jpg"), out=str(self.root / "world"), seed=5)
        )

    @rule()
    def resume(self) -> None:
        self.controller.resume()

    @rule()
    def finish(self) -> None:
        self.controller.finish()

    @rule(seconds=st.floats(0.2, 3.0))
    def wait(self, seconds) -> None:
        self.work(seconds)

    @rule()
    def cancel(self) -> None:
        self.controller.cancel()

    @rule(seconds=st.floats(0.0, 2.0))
    def worker_dies(self, seconds) -> None:
        self.work(seconds)
        if self.controller.state.busy:
            try:
                os.kill(self.pids[-1], signal.SIGKILL)
            except ProcessLookupError:
                pass

    @rule()
    def reload(self) -> None:
        self.controller.close()
        self.open_controller()

    def teardown(self) -> None:
        if not hasattr(self, "controller"):
            return
        self.controller.cancel()
        self.work(PATIENCE_S)
        assert not self.controller.state.busy
        # Whatever happened, the same form finishes the world, and its bytes are those of an undisturbed one.
        assert self.controller.generate(
            GenerateRequest(photo=str(self.root / "photo.jpg"), out=str(self.root / "world"), seed=5)
        )
        self.work(PATIENCE_S)
        assert self.controller.state.phase is Phase.DONE, self.controller.state
        assert self.loaded[-1] == str(self.root / "world") and load_world(self.root / "world").finished
        assert content(self.root / "world") == undisturbed(self.root)
        self.controller.close()
        assert living(self.pids) == []
        shutil.rmtree(self.root)


def living(pids: list[int]) -> list[int]:
    """Which of these processes still run, or wait to be reaped."""
    give_up = time.monotonic() + 10
    while True:
        left = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).ppid() == os.getpid()]
        if not left or time.monotonic() > give_up:
            return left
        time.sleep(0.02)


def undisturbed(root: Path) -> dict[str, bytes]:
    from lyra.worldgen.kit.jobs import generate_command

    with pytest.MonkeyPatch.context() as patch:
        for module in (build_run, build_journey):
            patch.setattr(module, "default_stages", fake_stages)
        near = Session(root / "near")
        near.run(generate_command(GenerateRequest(photo=str(root / "photo.jpg"), out="near", seed=5)))
        return content(near.folder)


@pytest.mark.slow
def test_real_workers() -> None:
    """No sequence of actions, deaths and reloads leaves a process behind or another world than an undisturbed one."""
    run_state_machine_as_test(
        RealControllers,
        settings=settings(
            max_examples=8, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
