"""The explorer in headless Chromium, over real workers that really paint: what a user sees and does.

Pictures of every step go to the folder that LYRA_EXPLORER_PICTURES names, to be looked at; else to a temporary one.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import DESKTOP, PHONE, TIMEOUT_MS, Watched, chromium, opened
from fake_stages import content
from lyra.worldgen.core.chunks import chunk_stages
from lyra.worldgen.core.config import WorldConfig, load_config
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.world import load_world
from lyra.worldgen.explore.app import Explorer
from lyra.worldgen.explore.shelf import open_shelf
from lyra.worldgen.faces.contents import LAYERS
from lyra.worldgen.session import Generate, Session
from service_client import picture

pytest.importorskip("viser")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

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
    "generation.path": "turn",
    "generation.view_long_side_px": 96,
    "reconstruction.texture_px": 256,
    "reconstruction.splat_budget": 20000,
}


DROP = """([data, name]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), drag = new DataTransfer();
  drag.items.add(new File([bytes], name, { type: "image/png" }));
  for (const kind of ["dragover", "drop"])
    document.querySelector("canvas").dispatchEvent(
      new DragEvent(kind, { dataTransfer: drag, bubbles: true, cancelable: true }));
}"""
"""Drops a file onto the 3D view, as the browser tells it to the page."""

WATCH = """() => {
  window.seen = new Set();
  new MutationObserver(() => {
    const label = [...document.querySelectorAll("p, div")].find((e) => e.textContent === "being painted");
    const image = label?.parentElement.querySelector("img");
    if (image?.src) seen.add(image.src);
  }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["src"] });
}"""
"""Remembers every painted frame that the page shows, however shortly."""


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
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

    def write(self, label: str, text: str) -> None:
        """Type into the field of that name in the tab that is open."""
        field = self.page.locator(f"xpath=//label[normalize-space(.)='{label}']/following::input[1]")
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

    def says(self, text: str) -> None:
        """Wait until the page shows a text."""
        self.page.get_by_text(text).first.wait_for(timeout=TIMEOUT_MS)

    @property
    def problems(self) -> list[str]:
        return [text for text in self.watched.problems if text != LIBRARY_WARNING]


@contextlib.contextmanager
def visiting(
    browser: Any, folder: Path, pictures: Path, device: dict[str, Any] = COMPACT, config: WorldConfig | None = None
) -> Iterator[Visitor]:
    """The real server on a folder, and a browser before it; complains about everything the page complains about."""
    with Explorer(open_shelf(folder), config=config, splats=3_000, points=20_000) as explorer:
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


def test_layers_are_seen(browser, world, pictures):
    """Each layer alone changes the picture, none of them is one colour, and off again it is gone."""
    with visiting(browser, world, pictures) as visitor:
        visitor.says("48.0 m²")
        visitor.tab("View")
        visitor.tick("splats")
        visitor.look(camera_pose(np.array([0.0, 0.0, 1.5]), heading_rad=0.4, pitch_rad=-0.3))
        view = np.s_[150:, :420]  # below notifications, beside the panel
        empty = visitor.shoot("layer-none")[view]
        assert empty.std() < 1
        for name in LAYERS:
            visitor.tick(name)
            visitor.settle()
            seen = visitor.shoot(f"layer-{name.replace(' ', '-')}")[view]
            changed = (np.abs(seen.astype(int) - empty).max(-1) > 20).mean()
            assert changed > (0.002 if name == "certificate" else 0.05), (name, changed)
            visitor.tick(name)
            visitor.settle()
        assert np.abs(visitor.shoot("layer-none-again")[view].astype(int) - empty).max() < 20


def test_a_path_is_authored_generated_and_undone(browser, world, pictures):
    """Clicks on the floor and the camera make a path; frames arrive as they are painted; undo gives all back."""
    before = content(world)
    with visiting(browser, world, pictures) as visitor:
        desk, page = visitor.explorer.desk, visitor.page
        visitor.show("mesh")
        begin = desk.draft.T_world_begin.copy()
        visitor.tab("Path")
        visitor.says("No key pose yet")
        visitor.tick("click on the floor adds a place")
        visitor.point(220, 360, lambda: len(desk.draft.keys) == 1, "a click on the floor is a key pose")
        place = desk.draft.keys[0][:3, 3]
        beside = place + np.array([0.3, 0.0, 0.1])
        assert place[2] == pytest.approx(begin[2, 3]) and 0.3 < np.linalg.norm(place[:2]) < 6
        visitor.tick("click on the floor adds a place")
        visitor.look(camera_pose(beside, heading_rad=0.2))
        visitor.press("Add this camera")
        until(lambda: len(desk.draft.keys) == 2, "the camera is a key pose")
        np.testing.assert_allclose(desk.draft.keys[1][:3, 3], beside, atol=1e-3)
        visitor.press("Move it to this camera")
        visitor.press("earlier")
        until(lambda: np.allclose(desk.draft.keys[0][:3, 3], beside, atol=1e-3), "it is visited earlier")
        visitor.press("Remove it")
        until(lambda: len(desk.draft.keys) == 1, "it is removed")
        visitor.press("Add this camera")
        visitor.says("2 key poses")
        visitor.look(camera_pose(np.array([-1.0, 0.0, 2.2]), pitch_rad=-0.5))
        visitor.shoot("path")
        visitor.press("Look along the path")
        until(lambda: visitor.explorer.panels.path.previewed_frame == 80, "the camera has run along the path")
        visitor.settle()
        seen_from = next(iter(visitor.explorer.server.get_clients().values())).camera.position
        np.testing.assert_allclose(seen_from, desk.draft.keys[-1][:3, 3], atol=1e-3)
        with page.expect_download() as download:
            visitor.press("Save as path.npz")
        assert Path(download.value.path()).read_bytes() == desk.draft.trajectory(desk.contents.viewpoint[0])

        visitor.write("prompt", "a quiet room")
        page.evaluate(WATCH)
        visitor.press("Generate along the path")
        until(lambda: page.evaluate("seen.size"), "a painted frame arrives")
        page.get_by_role("tab", name="Path").scroll_into_view_if_needed()
        visitor.shoot("painting")
        until(lambda: not desk.state.busy, "the path is generated")
        assert desk.state.done is not None and desk.state.done.exit_code == 0, desk.state.done
        assert page.evaluate("seen.size") >= 2
        assert chunks(world) == 3 and desk.draft.keys == []
        visitor.says("Done.")
        visitor.tab("View")
        visitor.shoot("painted")
        visitor.tab("World")
        visitor.says("chunks: 3")
        page.get_by_label("go on to").first.click()
        page.get_by_role("option", name="splats and mesh").click()
        until(lambda: visitor.explorer.panels.world.until == "reconstruct", "steps lead to splats and mesh")
        visitor.press("Undo the last chunk")
        until(lambda: chunks(world) == 2 and not desk.state.busy, "the chunk is taken back")
        assert desk.state.done.exit_code == 0, desk.state.done
        visitor.says("still to do: simulate, certify, preview")
    after = content(world)
    assert {"mesh.glb", "splats.ply", "memory/explored.npz"} <= after.keys()
    assert [name for name in after if name != "world.json" and after[name] != before.get(name)] == []


def test_painted_and_splats_drive_and_measure(browser, world, pictures):
    """A look both ways; the robot stops at walls; a known distance gives the world its size."""
    with visiting(browser, world, pictures) as visitor:
        desk, page = visitor.explorer.desk, visitor.page
        visitor.show("mesh")
        visitor.tab("View")
        painted = page.locator("img").last.get_attribute("src")
        visitor.press("splats")
        visitor.says("look 0, splats")
        visitor.shoot("look-splats")
        assert page.locator("img").last.get_attribute("src") != painted
        visitor.press("painted")
        visitor.says("look 0, painted")

        visitor.tab("Drive")
        visitor.press("Place the robot where it fits")
        visitor.says("m clear.")
        for _ in range(3):
            page.keyboard.press("j")
        for _ in range(60):
            visitor.press("ahead")
            if desk.robot is not None and desk.robot.state is not None and desk.robot.state.blocked:
                break
        state = desk.robot.state
        assert state.blocked and state.clearance_m < 0.1 and state.heading_rad == pytest.approx(np.radians(45))
        visitor.says("Something is in the way.")
        visitor.look(camera_pose(np.array([*state.xy_m, 1.8]) - [1.5, 1.5, 0], heading_rad=np.pi / 4, pitch_rad=-0.6))
        visitor.shoot("robot")

        visitor.look(desk.contents.viewpoint[1])
        metres = load_world(world).manifest.metres_per_unit
        visitor.tick("click on two places")
        visitor.point(120, 360, lambda: len(desk.ruler.ends_world) == 1, "one end of the ruler")
        visitor.point(380, 360, lambda: desk.ruler.length_m is not None, "both ends of the ruler")
        visitor.says("in this world")
        visitor.shoot("ruler")
        measured = desk.ruler.length_m
        visitor.write("is in reality", f"{1.25 * measured:.4f}m")
        visitor.press("Give the world this size")
        until(lambda: desk.state.done is not None and not desk.state.busy, "the world has its size")
        assert desk.state.done.exit_code == 0, desk.state.done
        assert load_world(world).manifest.metres_per_unit == pytest.approx(1.25 * metres, rel=1e-3)


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_everything_is_within_reach(browser, world, pictures, device, request):
    """On a large screen and on a phone every tab opens, every control is reached, and nothing is too wide."""
    name = request.node.callspec.id
    with visiting(browser, world, pictures, device) as visitor:
        visitor.tab("View")
        visitor.tick("splats")
        visitor.tick("mesh")
        visitor.settle()
        visitor.shoot(f"{name}-view")
        for tab, last in (("Path", "Go on with a path that was cut short"), ("Drive", "Give the world this size")):
            visitor.tab(tab)
            visitor.shoot(f"{name}-{tab.lower()}")
            button = visitor.page.get_by_role("button", name=last)
            button.scroll_into_view_if_needed()
            assert button.is_visible()
        visitor.tab("World")
        visitor.shoot(f"{name}-world")
        width = visitor.page.evaluate("document.documentElement.scrollWidth")
        assert width <= device["viewport"]["width"]


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
        visitor.shoot("begun")
        assert load_world(folder).manifest.stages.keys() == {"understand"}
