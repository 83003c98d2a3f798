"""The explorer in headless Chromium, over real workers that really paint: paths that a user authors.

Pictures of every step go to the folder that LYRA_EXPLORER_PICTURES names, to be looked at; else to a temporary one.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from browser import DESKTOP
from fake_stages import content
from lyra.worldgen.core.frames import camera_pose
from page_visitor import PATIENCE_S, chunks, until, visiting

pytest.importorskip("viser")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

CANVAS = (640, 360)
"""The middle of the 3D view of `DESKTOP`, beside the panel."""
WATCH = """() => {
  window.seen = new Set();
  new MutationObserver(() => {
    const label = [...document.querySelectorAll("p, div")].find((e) => e.textContent === "being painted");
    const image = label?.parentElement.querySelector("img");
    if (image?.src) seen.add(image.src);
  }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["src"] });
}"""
"""Remembers every painted frame that the page shows, however shortly."""


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
