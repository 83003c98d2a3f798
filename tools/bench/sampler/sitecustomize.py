"""Samples the processor time of every Python process that finds this file on its path, for `profile_generate.py`.

Python imports `sitecustomize` by itself when it starts. A timer of processor time interrupts the main thread; the time
since the last interruption goes to the stack that is found, so a long call into compiled code costs its caller what it
took although the interruption waits for its end. Time of other threads goes where the main thread is.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import signal
import sys
import threading
import time
from collections import Counter
from types import FrameType

FOLDER = os.environ.get("LYRA_PROFILE")
EVERY_S = 0.01
WRITE_EVERY_S = 1.0


class Sampler:
    """Stacks and their seconds; written again and again, because a process may end without saying so."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, f"{os.getpid()}.json")
        self.seconds: Counter[str] = Counter()
        self.writing = False
        self.last = time.process_time()
        self.written = self.last
        signal.signal(signal.SIGPROF, self.sample)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
        atexit.register(self.stop)

    def sample(self, _signal: int, frame: FrameType | None) -> None:
        """Called by the timer, in the main thread, between two of its instructions: also while it writes."""
        if self.writing:
            return
        now = time.process_time()
        stack = []
        while frame is not None:
            code = frame.f_code
            stack.append(f"{code.co_filename}:{code.co_name}")
            frame = frame.f_back
        self.seconds["|".join(reversed(stack))] += now - self.last
        self.last = now
        if now - self.written > WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Aside and renamed, so that a reader finds the whole."""
        self.writing = True
        said = {
            "arguments": sys.argv if hasattr(sys, "argv") else [],
            "parent": os.getppid(),
            "cpu_s": time.process_time(),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "stacks": self.seconds,
        }
        aside = f"{self.path}.part"
        with open(aside, "w", encoding="utf-8") as file:
            json.dump(said, file)
        os.replace(aside, self.path)
        self.last = self.written = time.process_time()
        self.writing = False

    def stop(self) -> None:
        """The end of the process."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.seconds["exit"] += time.process_time() - self.last
        self.write()


if FOLDER and threading.current_thread() is threading.main_thread():
    Sampler(FOLDER)
