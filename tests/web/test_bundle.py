"""The page in the package is what its sources in tools/web give, and it carries the licences of what it is made of."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from lyra.worldgen.web.export import PAGE, PAGE_FILES

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "tools" / "web"


def test_page_is_whole_and_nothing_else():
    """The folder of the page holds the files that an export copies."""
    assert {path.name for path in PAGE.iterdir()} == set(PAGE_FILES)


def test_versions_are_pinned():
    """Exact versions, the lock file's the same, and no address of a registry in it."""
    package = json.loads((SOURCES / "package.json").read_text())
    lock_text = (SOURCES / "package-lock.json").read_text()
    lock = json.loads(lock_text)["packages"]
    for name, version in {**package["dependencies"], **package["devDependencies"]}.items():
        assert version[0].isdigit() and lock[f"node_modules/{name}"]["version"] == version
    assert "://" not in lock_text


def test_licences_travel_along():
    """The text of every package of the bundle is there, with the version that the lock file names."""
    text = (PAGE / "licences.txt").read_text()
    lock = json.loads((SOURCES / "package-lock.json").read_text())["packages"]
    for name in ("three", "three-mesh-bvh", "@sparkjsdev/spark", "fflate"):
        entry = lock[f"node_modules/{name}"]
        assert entry["license"] == "MIT"
        assert f"{name} {entry['version']}, MIT" in text
    assert text.count("Permission is hereby granted, free of charge") == 4


@pytest.mark.slow
def test_fresh_build_gives_the_same_bytes(tmp_path):
    """Whoever changes the sources builds the page again, else this fails: npm ci && npm run build, in tools/web."""
    if shutil.which("node") is None:
        pytest.skip("needs the program node")
    if not (SOURCES / "node_modules" / "esbuild").is_dir():
        pytest.skip("needs the packages of tools/web (npm ci, in that folder)")
    result = subprocess.run(
        ["node", "build.mjs", str(tmp_path)], cwd=SOURCES, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    for name in PAGE_FILES:
        assert (tmp_path / name).read_bytes() == (PAGE / name).read_bytes(), f"{name} is not what the sources give"
