"""The explorer in headless Chromium, over real workers that really paint: work that begins, stops and goes on.

Pictures of every step go to the folder that LYRA_EXPLORER_PICTURES names, to be looked at; else to a temporary one.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import numpy as np
import pytest

from browser import PHONE
from fake_stages import CHUNKS, content
from lyra.worldgen.core.config import load_config
from lyra.worldgen.core.world import load_world
from lyra.worldgen.core.world_writer import open_for_writing
from page_visitor import TINY, chunks, until, visiting
from service_client import picture

pytest.importorskip("viser")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

FAKE = Path(__file__).resolve().parent.parent / "session" / "fake_program.py"
DROP = """([data, name]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), drag = new DataTransfer();
  drag.items.add(new File([bytes], name, { type: "image/png" }));
  for (const kind of ["dragover", "drop"])
    document.querySelector("canvas").dispatchEvent(
      new DragEvent(kind, { dataTransfer: drag, bubbles: true, cancelable: true }));
}"""
"""Drops a file onto the 3D view, as the browser tells it to the page."""


def test_a_photo_begins_a_world(browser, photos, tmp_path, pictures):
    """A folder that does not exist: bad files are refused in words, a photo that is dropped becomes a world."""
    folder = tmp_path / "new"
    with visiting(browser, folder, pictures, config=load_config(None, TINY)) as visitor:
        page = visitor.page
        visitor.says("Upload a photo to begin a world.")
        upload = page.locator("input[type=file]")
        upload.set_input_files({"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"})
        visitor.says("file is not a picture that can be read")
        upload.set_input_files({"name": "tiny.png", "mimeType": "image/png", "buffer": picture(size=(8, 8))})
        visitor.says("expected at least 16 px")
        visitor.shoot("refused")
        assert not folder.exists()
        dropped = base64.b64encode((photos / "apartment.png").read_bytes()).decode()
        page.evaluate(DROP, [dropped, "apartment.png"])
        until(lambda: visitor.explorer.desk.state.done is not None, "the photo is understood")
        visitor.says("made from: apartment.png")
        visitor.settle()
        # What was found in the photo is there as points, seen from where it was taken, so that a path can be chosen.
        np.testing.assert_allclose(visitor.eye, load_world(folder).geometry().T_world_cam[:3, 3], atol=1e-3)
        # The brown floor, where no notice covers it.
        seen = visitor.shoot("begun")[310:370, 285:415]
        assert (np.ptp(seen, axis=-1) > 10).mean() > 0.6
        assert load_world(folder).manifest.stages.keys() == {"understand"}


def test_work_is_stopped_and_goes_on_and_a_locked_world_says_so(browser, tmp_path, pictures):
    """On a phone, over tiny stages: a photo, a preset, cancel, resume; then another program writes to the world."""
    folder = tmp_path / "world"
    launcher = [sys.executable, str(FAKE), "2"]
    with visiting(browser, folder, pictures, PHONE, launcher=launcher) as visitor:
        desk, page = visitor.explorer.desk, visitor.page
        kitchen = {"name": "kitchen.png", "mimeType": "image/png", "buffer": picture()}
        page.locator("input[type=file]").set_input_files(kitchen)
        visitor.says("made from: kitchen.png")
        until(lambda: not desk.state.busy, "the photo is understood")
        visitor.tab("Path")
        page.get_by_text("Presets").click()
        visitor.press("Generate along the preset")
        until(lambda: desk.state.busy and chunks(folder) >= 1, "the first chunk is painted")
        visitor.press("Cancel")
        visitor.says("what is finished stays")
        assert 1 <= chunks(folder) < CHUNKS and not desk.state.busy
        visitor.settle()
        visitor.shoot("phone-stopped")
        visitor.press("Resume")
        until(lambda: chunks(folder) == CHUNKS and not desk.state.busy, "the whole path is there")
        visitor.says("Done.")
        page.get_by_role("button", name="Resume").wait_for(state="hidden")

        before = content(folder)
        with open_for_writing(folder):
            visitor.tab("World")
            visitor.press("Finish the world")
            visitor.says("writes to this world; wait for it")
            visitor.says("Locked: process")
            visitor.settle()
            visitor.shoot("phone-locked")
        assert content(folder) == before
        visitor.press("Look again")
        page.get_by_text("Locked: process").wait_for(state="hidden")
        visitor.press("Finish the world")
        until(lambda: desk.state.done is not None and not desk.state.busy, "the world is finished")
        assert load_world(folder).finished
