"""Somebody before the explorer's page, in headless Chromium over the real server."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from browser import TIMEOUT_MS, Watched, opened
from lyra.worldgen.core.chunks import chunk_stages
from lyra.worldgen.core.config import WorldConfig
from lyra.worldgen.core.world import load_world
from lyra.worldgen.explore.app import Explorer
from lyra.worldgen.explore.options import ExplorerOptions
from lyra.worldgen.explore.shelf import open_shelf
from lyra.worldgen.faces.contents import LAYERS

PATIENCE_S = 600.0
CLICK_S = 20.0
"""How long a click may take to arrive before it counts as lost [s]."""
COMPACT = {"viewport": {"width": 760, "height": 440}}
"""Quick to draw, for what does not depend on the size."""
LIBRARY_WARNING = "warning: THREE.Clock: This module has been deprecated. Please use THREE.Timer instead."
"""What a library of viser's page says about another one, whatever the page shows."""
TINY = {
    "seed": 1007,
    "geometry.working_long_side_px": 192,
    "generation.path": "horizontal_zoom:frames=25,strength=0.3",
    "generation.view_long_side_px": 96,
    "reconstruction.texture_px": 256,
    "reconstruction.splat_budget": 20000,
}


class Visitor:
    """Somebody before the page."""

    def __init__(self, watched: Watched, explorer: Explorer, pictures: Path) -> None:
        self.page, self.watched, self.explorer, self._pictures = watched.page, watched, explorer, pictures
        self.page.get_by_role("tab", name="World").wait_for()
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.explorer.panels.stage.wait()
        self.explorer.server.flush()
        # Drawn by the CPU, and only after the messages have come: two frames later it is there.
        self.page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
        self.page.wait_for_timeout(700)

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def tick(self, name: str) -> None:
        self.page.get_by_label(name, exact=True).click()

    def choose(self, label: str, option: str) -> None:
        """Take an entry of a drop-down list."""
        self.page.get_by_label(label, exact=True).first.click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def write(self, label: str, text: str) -> None:
        """Type into the field of that name in the tab that is open."""
        field = self.page.locator(
            f"xpath=//label[normalize-space(.)='{label}']/following::input[not(@type='hidden')][1]"
        )
        field.locator("visible=true").last.fill(text)
        self.page.keyboard.press("Tab")

    def show(self, name: str) -> None:
        """One layer only; splats take long to draw for what does not depend on them."""
        for layer in LAYERS:
            self.explorer.panels.stage.switch(layer, layer == name)
        self.settle()

    def point(self, x_px: float, y_px: float, done: Callable[[], Any], what: str) -> None:
        """Click into the 3D view until it has done something: a page that was just told to listen may not yet."""
        give_up = time.monotonic() + PATIENCE_S
        self.settle()
        while not done():
            assert time.monotonic() < give_up, f"clicks do not lead to this: {what}"
            self.page.mouse.move(x_px, y_px)
            self.page.mouse.down()
            self.page.mouse.up()
            again = time.monotonic() + CLICK_S
            while not done() and time.monotonic() < again:
                time.sleep(0.05)

    def shoot(self, name: str) -> np.ndarray:
        """Save a picture of the page; [H, W, 3] uint8."""
        data = self.page.screenshot()
        (self._pictures / f"{name}.png").write_bytes(data)
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))

    def look(self, T_world_cam: np.ndarray) -> None:
        self.explorer.panels.stage.look(T_world_cam)
        self.settle()

    @property
    def eye(self) -> np.ndarray:
        """Where the browser's camera is, [3]."""
        return np.array(next(iter(self.explorer.server.get_clients().values())).camera.position)

    def says(self, text: str) -> None:
        """Wait until the page shows a text."""
        self.page.get_by_text(text).first.wait_for(timeout=TIMEOUT_MS)

    @property
    def problems(self) -> list[str]:
        return [text for text in self.watched.problems if text != LIBRARY_WARNING]


@contextlib.contextmanager
def visiting(
    browser: Any,
    folder: Path,
    pictures: Path,
    device: dict[str, Any] = COMPACT,
    *,
    config: WorldConfig | None = None,
    launcher: Sequence[str] | None = None,
) -> Iterator[Visitor]:
    """The real server on a folder, and a browser before it; complains about everything the page complains about."""
    options = ExplorerOptions(config=config or WorldConfig(), splats=3_000, points=20_000, launcher=launcher)
    with Explorer(open_shelf(folder), options) as explorer:
        with opened(browser, explorer.url, device) as watched:
            visitor = Visitor(watched, explorer, pictures)
            yield visitor
            assert visitor.problems == []


def until(true: Callable[[], Any], what: str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up, f"it has not come to this: {what}"
        time.sleep(0.05)


def chunks(folder: Path) -> int:
    return len(chunk_stages(load_world(folder).manifest.stages))
