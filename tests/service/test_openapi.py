"""The service against its own description: schemathesis makes thousands of requests and looks at every answer."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from service_client import Server

pytestmark = pytest.mark.slow
CASES = 2000


def passed_cases(server: Server, folder: Path, seed: int) -> int:
    """One pass over all operations with all checks; how many cases it had. Fails with what schemathesis says."""
    here = Path(__file__).parent
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(here / "schemathesis.toml")),
            *("run", f"{server.address}/v1/openapi.json", "-H", f"Authorization: Bearer {server.token}"),
            *("--checks", "all", "--continue-on-failure", "--seed", str(seed)),
        ],
        cwd=folder,
        env={"PYTHONPATH": f"{here}:{here.parent}", "PATH": "/usr/bin:/bin", "NO_COLOR": "1", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    said = re.search(r"^ *([\d,]+) generated", run.stdout, re.MULTILINE)
    assert said is not None, run.stdout[-2000:]
    # With `pytest -s`: what it printed.
    sys.stdout.write(run.stdout[run.stdout.find("API Operations:") :])
    return int(said[1].replace(",", ""))


def test_the_service_is_what_its_description_says(tmp_path):
    """All checks, at least 2,000 cases: no server error, no route without a token, no answer that is not described."""
    pytest.importorskip("schemathesis")
    quota = {"worlds": 10**6, "queued_jobs": 10**6}
    server = Server(tmp_path / "data", limits={"stream_s": 0.5, "queued_jobs": 10**6}, quota=quota).start()
    cases = 0
    for seed in range(1, 20):
        cases += passed_cases(server, tmp_path, seed)
        if cases >= CASES:
            break
    server.stop()
    assert cases >= CASES
