"""The explorer in headless Chromium, over real workers that really paint: what a user sees and does.

Pictures of every step go to the folder that LYRA_EXPLORER_PICTURES names, to be looked at; else to a temporary one.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import DESKTOP, PHONE, TIMEOUT_MS, Watched, chromium, opened
from fake_stages import CHUNKS, content
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.chunks import chunk_stages
from lyra.worldgen.core.config import WorldConfig, load_config
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.world import load_world
from lyra.worldgen.core.world_writer import open_for_writing
from lyra.worldgen.explore.app import Explorer
from lyra.worldgen.explore.options import ExplorerOptions
from lyra.worldgen.explore.reel import Reel
from lyra.worldgen.explore.shelf import open_shelf
from lyra.worldgen.explore.stage import pose_of
from lyra.worldgen.faces.contents import LAYERS
from lyra.worldgen.preview.raster import MeshRasteriser
from lyra.worldgen.session import Generate, Session
from lyra.worldgen.session.summary import read_certificate
from service_client import picture

pytest.importorskip("viser")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

FAKE = Path(__file__).resolve().parent.parent / "session" / "fake_program.py"
PATIENCE_S = 600.0
CLICK_S = 20.0
"""How long a click may take to arrive before it counts as lost [s]."""
CANVAS = (640, 360)
"""The middle of the 3D view of `DESKTOP`, beside the panel."""
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


def test_layers_are_seen(browser, world, pictures):
    """Each layer alone changes the picture, none of them is one colour, and off again it is gone."""
    with visiting(browser, world, pictures) as visitor:
        visitor.says(f"{read_certificate(load_world(world))['facts']['connected_area_m2']:.1f} m²")
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
        # No light and no tone mapping comes on top of the one in the photo: the mesh is as bright as its texture.
        visitor.tick("mesh")
        visitor.settle()
        seen = visitor.shoot("layer-mesh-again")[view].astype(float)
        client = next(iter(visitor.explorer.server.get_clients().values()))
        w, h = COMPACT["viewport"]["width"], COMPACT["viewport"]["height"]
        hfov_rad = 2 * float(np.arctan(np.tan(client.camera.fov / 2) * w / h))
        camera = PinholeCamera.from_hfov(w, h, hfov_rad)
        drawn = MeshRasteriser(load_world(world).mesh()).render(camera, pose_of(client.camera), supersample=1)
        texture = drawn.rgb_u8[view].astype(float)
        np.testing.assert_allclose(seen.mean((0, 1)), texture.mean((0, 1)), atol=3)


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
        np.testing.assert_allclose(visitor.eye, desk.draft.keys[-1][:3, 3], atol=1e-3)
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
        assert chunks(world) == 2 and desk.draft.keys == []
        visitor.says("Done.")
        visitor.tab("View")
        visitor.press("splats")
        visitor.says("the world has no splats now")
        visitor.write("frame", "104")
        visitor.says("105 of 105 (chunk 2, film), painted")
        visitor.shoot("painted")
        visitor.tab("World")
        visitor.says("chunks: 2")
        page.get_by_label("go on to").first.click()
        page.get_by_role("option", name="splats and mesh").click()
        until(lambda: visitor.explorer.panels.world.until == "reconstruct", "steps lead to splats and mesh")
        visitor.press("Undo the last chunk")
        until(lambda: chunks(world) == 1 and not desk.state.busy, "the chunk is taken back")
        assert desk.state.done.exit_code == 0, desk.state.done
        visitor.says("still to do: simulate, certify, preview")
    after = content(world)
    assert {"mesh.glb", "splats.ply", "memory/explored.npz"} <= after.keys()
    assert [name for name in after if name != "world.json" and after[name] != before.get(name)] == []


def shown_picture(page: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """[H, W, 3] the picture of the open tab, in another size if that is wanted."""
    data = page.locator("img:visible").last.evaluate("""async (image) => {
      const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
      return btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(""));
    }""")
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        rgb = np.asarray(image.convert("RGB"))
    return rgb if shape is None else resized(rgb, shape)


def resized(rgb_u8: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb_u8).resize((shape[1], shape[0])))


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference of two pictures of the same size."""
    return float(np.abs(a.astype(float) - b).mean())


def test_painted_and_splats_drive_and_measure(browser, world, pictures):
    """A look both ways; the robot stops at walls; a known distance gives the world its size."""
    with visiting(browser, world, pictures) as visitor:
        desk, page = visitor.explorer.desk, visitor.page
        visitor.show("mesh")
        visitor.tab("View")
        film = len(Reel(desk.contents.world))
        assert film == 25
        visitor.says(f"1 of {film} (photo), painted")
        visitor.write("frame", "12")
        visitor.says(f"13 of {film} (chunk 1, film), painted")
        painted = shown_picture(page)
        visitor.shoot("film-painted")
        visitor.press("splats")
        visitor.says(f"13 of {film} (chunk 1, film), splats")
        splats = shown_picture(page, painted.shape)
        visitor.shoot("film-splats")
        # The same camera: what the splats show resembles this frame, and this one more than where the film ends.
        last = resized(Reel(desk.contents.world).frame(film - 1).rgb_u8, painted.shape)
        assert apart(splats, painted) < min(20, 0.8 * apart(splats, last)), (
            apart(splats, painted),
            apart(splats, last),
        )
        visitor.press("painted")
        visitor.press("Play")
        visitor.says(f"{film} of {film} (chunk 1, film), painted")
        visitor.press("Look from there")
        until(
            lambda: np.allclose(visitor.eye, desk.draft.T_world_begin[:3, 3], atol=1e-3),
            "the camera is at the film's end",
        )

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
        visitor.settle()
        # What was found in the photo is there as points, seen from where it was taken, so that a path can be chosen.
        np.testing.assert_allclose(visitor.eye, load_world(folder).geometry().T_world_cam[:3, 3], atol=1e-3)
        # The brown floor, where no notice covers it.
        seen = visitor.shoot("begun")[310:370, 285:415]
        assert (np.ptp(seen, axis=-1) > 10).mean() > 0.6
        assert load_world(folder).manifest.stages.keys() == {"understand"}


def test_a_path_is_recorded_and_taken_from_a_preset_and_a_click_places_the_robot(browser, world, pictures):
    """Walking with the keys leaves key poses; a preset becomes key poses; the robot stands where the map is clicked."""
    with visiting(browser, world, pictures, DESKTOP) as visitor:
        desk, page = visitor.explorer.desk, visitor.page
        visitor.show("mesh")
        T_world_home = desk.contents.viewpoint[1]
        visitor.look(T_world_home)
        visitor.tab("Path")
        visitor.tick("record my camera")
        keys = desk.draft.keys
        page.mouse.click(*CANVAS)  # keys go to what was clicked last
        give_up = time.monotonic() + PATIENCE_S
        while len(keys) < 4 and time.monotonic() < give_up:
            page.keyboard.down("w")
            page.wait_for_timeout(200)
            page.keyboard.up("w")
        visitor.settle()
        visitor.tick("record my camera")
        steps = np.diff(np.stack([key[:3, 3] for key in keys]), axis=0)
        assert len(keys) >= 4 and (steps @ T_world_home[:3, 2] > 0.9 * np.linalg.norm(steps, axis=1)).all()
        assert (np.linalg.norm(steps, axis=1) > 0.2).all()
        recorded = len(keys)
        visitor.says(f"{recorded} key poses")
        visitor.look(camera_pose(np.array([-1.0, 0.0, 2.2]), pitch_rad=-0.5))
        assert len(keys) == recorded, "what is not recorded any more leaves no key pose"
        visitor.shoot("recorded")
        visitor.press("Remove all")
        page.get_by_text("Presets").click()
        visitor.choose("preset", "turn")
        visitor.press("Turn it into key poses")
        until(lambda: len(keys) > 2, "the preset is key poses")
        np.testing.assert_allclose(keys[-1][:3, 3], desk.draft.T_world_begin[:3, 3], atol=1e-6)
        visitor.shoot("preset")
        visitor.choose("preset", "explore")
        visitor.says("so without preview")
        assert page.get_by_role("button", name="Turn it into key poses").is_disabled()

        visitor.tab("Drive")
        space = desk.contents.space
        fits = space.grid.centre_xy_m(np.argwhere(space.component))
        target = fits[np.linalg.norm(fits, axis=1).argmin()]
        visitor.look(overlooking(target))
        visitor.tick("click on the floor places it")
        visitor.point(
            *CANVAS, lambda: desk.robot is not None and desk.robot.state is not None, "the robot stands there"
        )
        np.testing.assert_allclose(desk.robot.state.xy_m, target, atol=0.05)
        visitor.says("m clear.")
        visitor.press("ahead")
        until(lambda: desk.robot.state.xy_m[0] > target[0] + 0.1 or desk.robot.state.blocked, "it drives")
        visitor.shoot("robot-placed")
        stands = desk.robot.state
        taken = space.grid.centre_xy_m(np.argwhere(space.clearance_m < 0.5 * space.robot_radius_m))
        visitor.look(overlooking(taken[np.linalg.norm(taken - target, axis=1).argmin()]))
        refused = page.get_by_text("does not fit at")
        visitor.point(*CANVAS, refused.count, "a place where it does not fit is refused")
        assert desk.robot.state == stands


def overlooking(xy_m: np.ndarray) -> np.ndarray:
    """A camera that has a place of the floor in the middle of its picture."""
    back_m, height_m = 1.0, 1.4
    return camera_pose(np.array([xy_m[0] - back_m, xy_m[1], height_m]), pitch_rad=-np.arctan2(height_m, back_m))


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
