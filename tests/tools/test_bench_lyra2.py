"""The benchmark of the video network, where there is no GPU."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_without_a_gpu_it_says_what_is_missing(repository):
    """A small network is measured, and nothing of it passes for a figure of the released one."""
    pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    tool = repository / "tools" / "bench" / "bench_lyra2.py"
    done = subprocess.run(
        [sys.executable, str(tool), "--device", "cpu", "--latent", "4x4", "--repeats", "1"],
        check=True,
        capture_output=True,
        text=True,
    )
    result = json.loads(done.stdout)
    assert "figures of a GPU are missing" in done.stderr
    assert result["gpu_figures"].startswith("missing") and result["chunk_s"] is None
    assert result["network"]["width"] < 5120
    assert set(result["layer"]["seconds_by_kernel"]) == {"auto", "plain"} and result["layer"]["share_of_ceiling"] > 0
    assert result["released_chunk_pflop_by_formula"] == {"unipc_35_guided": 152.9, "distilled_4": 8.74}
