"""The service against its own description: schemathesis makes thousands of requests and looks at every answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service_client import Server

pytestmark = pytest.mark.slow
CASES = 2000


def test_the_service_is_what_its_description_says(tmp_path, repository):
    """All checks, at least 2,000 cases: no server error, no route without a token, no answer that is not described."""
    pytest.importorskip("schemathesis")
    quota = {"worlds": 10**6, "queued_jobs": 10**6}
    server = Server(tmp_path / "data", limits={"stream_s": 0.5, "queued_jobs": 10**6}, quota=quota).start()
    folder = Path(__file__).parent
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml")),
            *("run", f"{server.address}/v1/openapi.json", "-H", f"Authorization: Bearer {server.token}"),
            *("--checks", "all", "--continue-on-failure", "--seed", "1", "--max-examples", "100"),
            *("--report", "json", "--report-dir", str(tmp_path / "report")),
        ],
        cwd=tmp_path,
        env={
            "PYTHONPATH": f"{folder}:{folder.parent}",
            "PATH": "/usr/bin:/bin",
            "NO_COLOR": "1",
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    server.stop()
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    said = next(line for line in run.stdout.splitlines() if line.strip().endswith("skipped") and "generated" in line)
    assert int(said.split()[0].replace(",", "")) >= CASES, said
    assert json.loads(next((tmp_path / "report").glob("*.json")).read_text())
