"""The gallery copies what certificates say."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.fixture
def gallery(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "tools" / "site"))
    import gallery

    return gallery


def test_a_check_is_a_row(gallery):
    """With what was measured and its limit; a check that was not made says so."""
    line = {"status": "passed", "title": "T", "measured": 0.123456, "unit": "cm", "limit": 2.0, "comparison": "<="}
    assert gallery.certificate_row(line) == "| passed | T | 0.1235 cm | <= 2 |"
    assert gallery.certificate_row(line | {"measured": None, "limit": None}) == "| passed | T | not measured |  |"


def test_a_folder_without_worlds_is_refused(repository, tmp_path):
    """Nothing is written then."""
    done = subprocess.run(
        [sys.executable, repository / "tools" / "site" / "gallery.py", tmp_path, "--docs", tmp_path / "docs"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "no world folder lies there" in done.stderr
    assert not (tmp_path / "docs").exists()
