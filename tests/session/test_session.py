"""A session over real worker processes with tiny stages: events, cancellation, kills, one writer, equal bytes."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from fake_stages import CHUNKS, content, fake_stages
from lyra.worldgen.build import journey as build_journey
from lyra.worldgen.build import run as build_run
from lyra.worldgen.cli.main import main
from lyra.worldgen.core.config import load_config
from lyra.worldgen.core.errors import Cancelled, InputError
from lyra.worldgen.core.world import load_world
from lyra.worldgen.core.world_writer import holder, open_for_writing
from lyra.worldgen.session import (
    Branch,
    Command,
    DoneEvent,
    Event,
    Extend,
    Finish,
    FrameEvent,
    Generate,
    LogEvent,
    Outcome,
    ProgressEvent,
    Session,
    Undo,
)

PROGRAM = Path(__file__).with_name("fake_program.py")
PATIENCE_S = 120.0
"""Only a safety net: a loaded machine may be slow, a hanging test must still end."""


@pytest.fixture
def photo(tmp_path: Path, monkeypatch) -> Path:
    """A photo that the tiny stages accept, here and in workers."""
    path = tmp_path / "kitchen.jpg"
    path.write_bytes(b"photo of a kitchen")
    for module in (build_run, build_journey):
        monkeypatch.setattr(module, "default_stages", fake_stages)
    return path


def session(folder: Path, pause_s: float = 0.0, **options) -> Session:
    return Session(folder, launcher=[sys.executable, str(PROGRAM), str(pause_s)], **options)


def finish(working: Session) -> DoneEvent:
    done = working.wait(PATIENCE_S)
    assert done is not None and not working.state.busy, working.state
    return done


def steps(photo: Path) -> list[Command]:
    """A whole visit: seed, generate, undo, extend, undo, reconstruct and the rest."""
    config = load_config(None, {"seed": 7})
    return [
        Generate(photo=photo, config=config, until="understand"),
        Extend(path="forward", until="explore"),
        Undo(chunks=2, until="explore"),
        Extend(chunks=1, until="explore"),
        Extend(path="turn", prompt="a hall", until="explore"),
        Undo(until="explore"),
        Finish(until="reconstruct"),
        Finish(),
    ]


@pytest.mark.slow
def test_command_line_and_session_lead_to_the_same_bytes(photo, tmp_path):
    """The same visit through `run`, through worker processes and through the command line: equal folders."""
    here, there, typed = tmp_path / "here", tmp_path / "there", tmp_path / "typed"
    for command in steps(photo):
        Session(here).run(command)
    with session(there) as working:
        for command in steps(photo):
            working.start(command)
            done = finish(working)
            assert done.outcome is Outcome.FINISHED, done
    said = [
        ["generate", str(photo), "--out", str(typed), "--seed", "7", "--until", "understand"],
        ["extend", str(typed), "--path", "forward", "--until", "explore"],
        ["undo", str(typed), "--chunks", "2", "--until", "explore"],
        ["extend", str(typed), "--chunks", "1", "--until", "explore"],
        ["extend", str(typed), "--path", "turn", "--prompt", "a hall", "--until", "explore"],
        ["undo", str(typed), "--until", "explore"],
        ["finish", str(typed), "--until", "reconstruct"],
        ["finish", str(typed)],
    ]
    assert [main(arguments) for arguments in said] == [0] * len(said)
    assert content(here) == content(there) == content(typed)
    assert len(content(here)) > 10 and load_world(here).finished


def test_a_seeded_world_extended_is_the_world_generated_at_once(photo, tmp_path):
    """Choosing the path after the photo was understood changes nothing but the order of the clicks."""
    parts, whole = Session(tmp_path / "parts"), Session(tmp_path / "whole")
    parts.run(Generate(photo=photo, until="understand"))
    parts.run(Extend(path="forward", prompt="a hall"))
    whole.run(
        Generate(photo=photo, config=load_config(None, {"generation.path": "forward", "generation.prompt": "a hall"}))
    )
    assert content(parts.folder) == content(whole.folder)


def test_events_come_in_order(photo, tmp_path):
    """Progress that never falls, a frame for each chunk, one end; in a thread of the session's own."""
    seen: list[Event] = []
    with session(tmp_path / "world", background=True) as working:
        working.subscribe(seen.append)
        leave = working.subscribe(lambda event: 1 / 0)
        working.start(Generate(photo=photo))
        assert working.state.busy
        with pytest.raises(InputError, match="'generate' is still running"):
            working.start(Finish())
        done = finish(working)
        leave()
    assert seen[-1] is done and sum(isinstance(event, DoneEvent) for event in seen) == 1
    assert done.outcome is Outcome.FINISHED and done.passed is True and done.values["finished"] is True
    assert done.folder == str(tmp_path / "world") and working.load().finished
    fractions = [event.fraction for event in seen if isinstance(event, ProgressEvent)]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    frames = [event for event in seen if isinstance(event, FrameEvent)]
    assert [(event.chunk, event.frame) for event in frames] == [(k, 0) for k in range(CHUNKS)]
    assert all(event.jpeg.startswith(b"\xff\xd8") for event in frames)


def test_run_tells_the_subscribers_too(photo, tmp_path):
    """The command line's way has the same events, and an error reaches both the caller and the subscribers."""
    seen: list[Event] = []
    working = Session(tmp_path / "world")
    working.subscribe(seen.append)
    world = working.run(Generate(photo=photo))
    assert world.finished and isinstance(seen[-1], DoneEvent) and seen[-1].passed is True
    assert sum(isinstance(event, FrameEvent) for event in seen) == CHUNKS
    with pytest.raises(InputError, match="expected 1 to 3 to undo"):
        working.run(Undo(chunks=99))
    assert isinstance(seen[-1], DoneEvent) and seen[-1].outcome is Outcome.FAILED and seen[-1].exit_code == 2
    assert not working.state.busy


def test_a_run_is_cancelled_from_another_thread(photo, tmp_path, monkeypatch):
    """`cancel` stops the work at its next step."""
    monkeypatch.setattr(build_run, "default_stages", lambda: fake_stages(0.05))
    working = Session(tmp_path / "world")
    threading.Timer(0.1, working.cancel).start()
    with pytest.raises(Cancelled):
        working.run(Generate(photo=photo))
    assert working.state.done is not None and working.state.done.outcome is Outcome.CANCELLED
    assert holder(working.folder) == ""


def test_a_failure_says_why(photo, tmp_path):
    """The worker's own words, and its exit code."""
    with session(tmp_path / "world") as working:
        working.start(Generate(photo=tmp_path / "none.jpg"))
        done = finish(working)
        assert (done.outcome, done.exit_code) == (Outcome.FAILED, 2)
        assert done.message == f"the photo does not exist; check the path: {tmp_path / 'none.jpg'}"
        working.start(Generate(photo=photo))
        assert finish(working).outcome is Outcome.FINISHED
    with pytest.raises(OSError), Session(tmp_path / "w", launcher=[str(tmp_path / "absent")]) as broken:
        broken.start(Finish())


def undisturbed(photo: Path, folder: Path, command: Command) -> dict[str, bytes]:
    """What a world generated and changed by a command is when nobody disturbs it."""
    working = Session(folder)
    working.run(Generate(photo=photo))
    working.run(command)
    return content(folder)


CHANGES = [Extend(path="forward"), Undo(chunks=2), Extend(path="turn", chunks=2, seed=4)]


@pytest.mark.slow
@pytest.mark.parametrize("command", CHANGES, ids=["extend", "undo", "extend-some"])
@pytest.mark.parametrize("how", ["cancel", "kill"])
def test_stopped_at_any_moment_nothing_is_lost_or_done_twice(photo, tmp_path, command, how):
    """Cancelled or killed at random moments and resumed, a command ends with the bytes of an undisturbed run."""
    wanted = undisturbed(photo, tmp_path / "wanted", command)
    folder = tmp_path / "world"
    Session(folder).run(Generate(photo=photo))
    draw = random.Random(f"{how} {command}")
    with session(folder, 0.03, grace_s=30.0) as working:
        working.start(command)
        for _ in range(4):
            time.sleep(draw.uniform(0.0, 1.2))
            if how == "cancel":
                working.cancel()
            elif working._job is not None:
                with contextlib.suppress(ProcessLookupError):  # it may have finished just now
                    os.kill(working._job.pid, signal.SIGKILL)
            done = finish(working)
            load_world(folder)  # always readable
            if done.outcome is Outcome.FINISHED:
                break
            assert working.resume()
        assert finish(working).outcome is Outcome.FINISHED, working.state
        assert not working.resume()
    assert content(folder) == wanted


@pytest.mark.slow
def test_a_branch_that_was_stopped_begins_anew(photo, tmp_path):
    """A copy that was cut off is not taken for a world."""
    Session(tmp_path / "world").run(Generate(photo=photo))
    Session(tmp_path / "world").run(Branch(out=tmp_path / "wanted", chunks=2))
    with session(tmp_path / "world", 0.05) as working:
        working.start(Branch(out=tmp_path / "branch", chunks=2))
        while not (tmp_path / "branch" / "world.json").exists():
            working.poll()
            time.sleep(0.001)
        assert working._job is not None
        os.kill(working._job.pid, signal.SIGKILL)
        assert finish(working).outcome is Outcome.FAILED
        assert working.resume() and finish(working).outcome is Outcome.FINISHED
    assert content(tmp_path / "branch") == content(tmp_path / "wanted")


def test_one_writer_at_a_time(photo, tmp_path):
    """A second session is refused and told who writes; what a killed writer leaves is in nobody's way."""
    folder = tmp_path / "world"
    first, second = session(folder, PATIENCE_S), session(folder)  # the first is at work until it is killed
    with first, second:
        first.start(Generate(photo=photo))
        assert first._job is not None
        worker = first._job.pid
        give_up = time.monotonic() + PATIENCE_S
        while not second.holder() and time.monotonic() < give_up:
            time.sleep(0.01)
        assert second.holder().split()[0] == str(worker)
        second.start(Generate(photo=photo))
        done = finish(second)
        assert done.exit_code == 2 and f"another process ({worker} on " in done.message
        with pytest.raises(InputError, match=f"another process \\({worker} on "):
            Session(folder).run(Finish())
        os.kill(worker, signal.SIGKILL)
        assert finish(first).outcome is Outcome.FAILED
        assert second.holder() == "" and (folder / ".lock").exists()
        second.start(Generate(photo=photo))
        assert finish(second).outcome is Outcome.FINISHED


def test_asking_who_writes_never_keeps_a_writer_out(tmp_path):
    """Looking at the lock takes it for a moment; a writer waits that moment out."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            holder(tmp_path)

    (tmp_path / ".lock").touch()
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(50):
            with open_for_writing(tmp_path):
                pass
            (tmp_path / ".lock").touch()
    finally:
        stop.set()
        asking.join()


def test_closing_leaves_no_process(photo, tmp_path):
    """Closing a session ends its worker by force."""
    working = session(tmp_path / "world", 0.2)
    working.start(Generate(photo=photo))
    assert working._job is not None
    worker = psutil.Process(working._job.pid)
    working.close()
    psutil.wait_procs([worker], timeout=PATIENCE_S)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    assert not working.state.busy


@pytest.mark.slow
def test_a_worker_ends_when_its_caller_is_killed(photo, tmp_path):
    """Nobody is left writing to the world, and the next caller goes on."""
    folder = tmp_path / "world"
    script = (
        "import sys, time; from pathlib import Path; from lyra.worldgen.session import Generate, Session; "
        f"session = Session(Path({str(folder)!r}), launcher=[sys.executable, {str(PROGRAM)!r}, '0.2']); "
        f"session.start(Generate(photo=Path({str(photo)!r}))); print(session._job.pid, flush=True); time.sleep(600)"
    )
    caller = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert caller.stdout is not None
    worker = psutil.Process(int(caller.stdout.readline()))
    give_up = time.monotonic() + PATIENCE_S
    while not holder(folder) and time.monotonic() < give_up:
        time.sleep(0.01)
    caller.kill()
    caller.wait()
    caller.stdout.close()
    psutil.wait_procs([worker], timeout=PATIENCE_S)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    assert holder(folder) == ""
    assert Session(folder).run(Generate(photo=photo)).finished


def test_work_refuses_what_is_no_command(tmp_path):
    """The program behind the workers says in JSON what is wrong, and ends."""
    for line, message in ((b"", "no JSON line"), (b"{}\n", "unknown command"), (b"[" * 9999 + b"\n", "no JSON line")):
        run = subprocess.run(
            [sys.executable, "-m", "lyra.worldgen", "work", str(tmp_path / "w")],
            input=line,
            capture_output=True,
            check=False,
        )
        assert run.returncode == 2 and message in run.stdout.decode() and run.stdout.startswith(b'{"event": "error"')
    assert not any(tmp_path.iterdir())


def test_log_text_reaches_the_subscribers(photo, tmp_path):
    """What the worker writes to stderr becomes log events."""
    seen: list[Event] = []
    with Session(tmp_path / "w", launcher=[sys.executable, "-c", "import sys; sys.exit('no such thing')"]) as working:
        working.subscribe(seen.append)
        working.start(Generate(photo=photo))
        assert finish(working).message == "no such thing"
    assert LogEvent(text="no such thing") in seen
