"""The worker process and its JSON lines, with a real process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.session.commands import Finish
from lyra.worldgen.session.events import (
    MAX_LINE_BYTES,
    ErrorEvent,
    ExitEvent,
    FrameEvent,
    LogEvent,
    ProgressEvent,
    ResultEvent,
    WorkerEvent,
    parse_line,
)
from lyra.worldgen.session.worker import WorkerJob, find_launcher, work_command, worker_environment

WORKER = Path(__file__).with_name("worker.py")
PATIENCE_S = 60.0
"""Only a safety net: a loaded machine may be slow, a hanging test must still end."""


def start(mode: str, grace_s: float = 5.0) -> WorkerJob:
    return WorkerJob([sys.executable, str(WORKER), mode], grace_s=grace_s)


def events_until(job: WorkerJob, kind: type | str) -> list[WorkerEvent]:
    """Events up to and with the first of that type, or the first log text that contains the word."""
    seen: list[WorkerEvent] = []
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        for event in job.poll():
            seen.append(event)
            if isinstance(kind, str):
                if isinstance(event, LogEvent) and kind in event.text:
                    return seen
            elif isinstance(event, kind):
                return seen
        time.sleep(0.005)
    raise AssertionError(f"no {kind} within {PATIENCE_S} s; saw {seen}")


def test_a_good_run_is_told_in_order():
    """Progress, log text and result arrive in order; the exit comes last, after both pipes are drained."""
    events = events_until(start("good"), ExitEvent)
    assert events[-1] == ExitEvent(exit_code=0)
    assert ProgressEvent(stage="understand", fraction=0.25, eta_s=12.5) in events
    assert LogEvent(text="a line that is no event") in events and LogEvent(text="loading") in events
    assert events.index(next(e for e in events if isinstance(e, ResultEvent))) < len(events) - 1


def test_cancel_ends_the_worker():
    """The worker is asked to end and ends; asking twice changes nothing."""
    job = start("slow")
    events_until(job, "ready")
    job.cancel()
    job.cancel()
    assert events_until(job, ExitEvent)[-1].exit_code != 0


def test_a_stubborn_worker_is_ended_by_force():
    """A worker that ignores the request is killed after the grace."""
    job = start("stubborn", grace_s=0.2)
    events_until(job, "ready")
    job.cancel()
    assert events_until(job, ExitEvent)[-1].exit_code == -9


@pytest.mark.slow
def test_children_end_with_the_worker():
    """A physics process started by the worker does not outlive it."""
    job = start("family", grace_s=0.2)
    text = next(e.text for e in events_until(job, "child") if isinstance(e, LogEvent) and "child" in e.text)
    child = psutil.Process(int("".join(c for c in text if c.isdigit())))
    job.close()
    assert not psutil.pid_exists(job.pid) or psutil.Process(job.pid).status() == psutil.STATUS_ZOMBIE
    psutil.wait_procs([child], timeout=PATIENCE_S)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_hostile_output_does_no_harm():
    """Bad UTF-8, deep nesting, wrong types, NaN and an endless line become log text or harmless numbers."""
    events = events_until(start("hostile"), ExitEvent)
    assert not any(isinstance(e, ResultEvent) for e in events)
    assert ProgressEvent(stage="None", fraction=0.0, eta_s=None) in events
    assert max(len(e.text) for e in events if isinstance(e, LogEvent)) <= MAX_LINE_BYTES


def test_a_program_that_does_not_exist_is_an_os_error():
    """Starting nothing raises at once."""
    with pytest.raises(OSError):
        WorkerJob([str(WORKER.with_name("absent"))])


@given(st.binary(max_size=200))
def test_any_line_is_taken(line):
    """No bytes raise."""
    assert parse_line(line) is None or isinstance(
        parse_line(line), (ProgressEvent, LogEvent, FrameEvent, ResultEvent, ErrorEvent)
    )


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"", None),
        (b"  \n", None),
        (b'{"event": "progress", "stage": "a", "fraction": 7}', ProgressEvent(stage="a", fraction=1, eta_s=None)),
        (b'{"event": "result", "folder": "a", "passed": "yes"}',
         ResultEvent(folder="a", passed=None, values={"folder": "a", "passed": "yes"})),
        (b'{"event": "frame", "chunk": 1, "frame": 2, "jpeg": "/9g="}', FrameEvent(chunk=1, frame=2, jpeg=b"\xff\xd8")),
        (b'{"event": "frame", "chunk": 1, "frame": 2, "jpeg": "?"}',
         LogEvent(text='{"event": "frame", "chunk": 1, "frame": 2, "jpeg": "?"}')),
        (b'{"event": "error"}', ErrorEvent(message="the worker gave no reason")),
        (b'{"fraction": 1}', LogEvent(text='{"fraction": 1}')),
    ],
)  # fmt: skip
def test_lines_and_their_events(line, event):
    """Values out of range are clamped, missing ones named, strangers logged."""
    assert parse_line(line) == event


def test_the_command_is_told_on_stdin(tmp_path):
    """The folder is an argument, the command a line of JSON, whatever is in it."""
    assert work_command(["lyra-worldgen"], tmp_path, frames=True) == [
        "lyra-worldgen",
        "work",
        str(tmp_path),
        "--frames",
    ]
    echo = [sys.executable, "-c", "import sys; print('said', sys.stdin.readline())"]
    events = events_until(WorkerJob(echo, Finish(until="a 'b' \n c")), ExitEvent)
    assert LogEvent(text='said {"command": "finish", "until": "a \'b\' \\n c"}') in events


@pytest.mark.slow
def test_the_worker_hears_that_its_caller_has_gone():
    """A caller that is killed closes the worker's stdin; a worker that reads it ends by itself."""
    script = (
        "import subprocess, sys; from lyra.worldgen.session.worker import WorkerJob; "
        "job = WorkerJob([sys.executable, '-c', 'import sys; sys.stdin.read()']); print(job.pid, flush=True); input()"
    )
    caller = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert caller.stdin and caller.stdout
    worker = psutil.Process(int(caller.stdout.readline()))
    caller.kill()
    psutil.wait_procs([worker], timeout=PATIENCE_S)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    caller.wait()
    caller.stdin.close()
    caller.stdout.close()


def test_launcher_choice(tmp_path):
    """The user's setting wins, then the nearest .venv above the extension, then the search path, then nothing."""
    extension = tmp_path / "repo" / "exts" / "lyra.worldgen"
    python = tmp_path / "repo" / ".venv" / "bin" / "python"
    program = tmp_path / "bin" / "lyra-worldgen"
    for path in (extension / "x", python, program):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)
    search = os.pathsep.join(["", str(tmp_path / "absent"), str(program.parent)])
    assert find_launcher("/opt/python3.11", extension, search) == ["/opt/python3.11", "-m", "lyra.worldgen"]
    assert find_launcher("/opt/lyra-worldgen", extension, search) == ["/opt/lyra-worldgen"]
    assert find_launcher("", extension, search) == [str(python), "-m", "lyra.worldgen"]
    assert find_launcher("", None, search) == [str(program)]
    assert find_launcher("", None, str(tmp_path)) == []


def test_worker_environment_drops_what_belongs_to_kit():
    """Kit's Python paths and libraries stay away; the user's own entries stay."""
    env = worker_environment(
        {
            "HOME": "/h",
            "PYTHONPATH": "/kit/python",
            "PYTHONHOME": "/kit",
            "CARB_APP_PATH": "/kit",
            "LD_LIBRARY_PATH": os.pathsep.join(["/kit/lib", "/usr/lib/cuda", "/kitchen"]),
        }
    )
    assert "PYTHONPATH" not in env and "PYTHONHOME" not in env and env["HOME"] == "/h"
    assert env["LD_LIBRARY_PATH"] == os.pathsep.join(["/usr/lib/cuda", "/kitchen"])
