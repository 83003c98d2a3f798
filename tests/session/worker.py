"""A tiny worker that speaks the command's JSON lines, a real process, for tests of worker and controller.

Run as `python worker.py MODE [ignored arguments ...]`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time


def say(**record) -> None:
    print(json.dumps(record), flush=True)


def main() -> int:
    mode = sys.argv[1]
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("loading", file=sys.stderr, flush=True)
    say(event="progress", stage="understand", done=1, total=2, fraction=0.25, eta_s=12.5)
    if mode in {"good", "findings"}:
        print("a line that is no event", flush=True)
        say(event="progress", stage="explore", done=1, total=3, fraction=0.1, eta_s=None)
        say(event="result", folder="/worlds/kitchen", passed=mode == "good")
        return 0 if mode == "good" else 1
    if mode == "error":
        say(event="error", message="photo.jpg is no picture; choose a photo", exit_code=2)
        return 2
    if mode == "crash":
        print("Segmentation fault", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "hostile":
        sys.stdout.buffer.write(b"\xff\xfe{not json\n" + b"[" * 200_000 + b"\n" + b'{"event": "result", "folder": 7}\n')
        say(event="progress", stage=None, fraction="NaN", eta_s=float("nan"))
        sys.stdout.buffer.write(b"x" * 3_000_000 + b"\n")
        sys.stdout.buffer.flush()
        return 0
    if mode in {"slow", "stubborn", "family"}:
        if mode == "family":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            say(event="log", child=child.pid)
        say(event="ready")
        time.sleep(600)
    raise SystemExit(f"unknown mode {mode}")


if __name__ == "__main__":
    sys.exit(main())
