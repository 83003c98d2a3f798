"""200 damaged and malicious files: none crashes, none hangs, none takes memory that its size does not explain."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from damaged_files import ALARM_S, FORMATS, make_files

COUNT = 200
GROWTH_MIB = 700
"""More than the libraries and the largest file on purpose (a glTF of 26 MB, which JSON multiplies) need."""


@pytest.mark.slow
def test_damaged_files_are_refused_or_read(tmp_path):
    """Every refusal is one of ours and names the file."""
    files = make_files(tmp_path, COUNT)
    assert len(files) == COUNT
    run = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "damaged_files.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=ALARM_S * 10,
        check=False,
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, f"died after {lines[-1:]}: {run.stderr[-2000:]}"
    assert [line["file"] for line in lines] == [file.name for file in files]
    crashed = [line for line in lines if line["outcome"].startswith("CRASH")]
    assert crashed == []
    for line in lines:
        if line["outcome"].startswith("refused:") and len(line["outcome"]) < 300:
            assert line["file"] in line["outcome"], line
    assert lines[-1]["peak_mib"] - lines[0]["peak_mib"] < GROWTH_MIB
    pairs = zip(files, lines, strict=True)
    outcomes = Counter((file.name.partition(".")[2], line["outcome"].partition(":")[0]) for file, line in pairs)
    assert {name for name, _ in outcomes} == set(FORMATS)
    # Some damage does no harm, but most does: otherwise this test damages too gently.
    assert sum(n for (_, outcome), n in outcomes.items() if outcome == "refused") > COUNT // 2
