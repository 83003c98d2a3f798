"""Children that leave badly leave nothing behind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from lyra.worldgen.sim.child_process import ChildEnd, run_child

LITTERING = """
import os, sys, tempfile
with open(sys.argv[2], "w") as result:
    result.write(tempfile.mkdtemp(prefix="litter-"))
if {hang}:
    import time
    time.sleep(600)
os._exit({code})
"""


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *, code: int = 0, hang: bool = False) -> tuple[ChildEnd, Path]:
    """How a child ended that made a temporary folder and skipped all clean-up, and that folder."""
    (folder / "littering.py").write_text(LITTERING.format(code=code, hang=hang))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    result = folder / "result.txt"
    end = run_child("littering", "", result, name="a test", install_hint="no hint", timeout_s=5 if hang else 60)
    return end, Path(result.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("code", "hang"), [(0, False), (7, False), (0, True)], ids=["done", "failed", "killed"])
def test_temporary_files_of_a_child_go_with_it(tmp_path, monkeypatch, code, hang):
    """Whatever its end: a batch of a thousand worlds must not fill the system's temporary folder."""
    end, litter = run(tmp_path, monkeypatch, code=code, hang=hang)
    assert bool(end.problem) == bool(code or hang)
    assert litter.name.startswith("litter-") and litter.parent != Path(tempfile.gettempdir())
    assert not litter.parent.exists()
