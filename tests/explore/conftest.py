"""A browser, a small world that was really made, and a place for pictures of the page."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from browser import chromium
from lyra.worldgen.core.config import load_config
from lyra.worldgen.session import Generate, Session
from page_visitor import TINY


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def made(photos, tmp_path_factory) -> Path:
    """A small world with everything that layers show."""
    folder = tmp_path_factory.mktemp("made") / "flat"
    Session(folder).run(Generate(photo=photos / "apartment.png", config=load_config(None, TINY), until="certify"))
    return folder


@pytest.fixture
def world(made, tmp_path) -> Path:
    """A copy of it that may be changed."""
    shutil.copytree(made, tmp_path / "flat")
    return tmp_path / "flat"


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = Path(os.environ.get("LYRA_EXPLORER_PICTURES") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
