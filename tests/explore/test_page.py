"""The explorer in headless Chromium, over real workers that really paint: what a user sees.

Pictures of every step go to the folder that LYRA_EXPLORER_PICTURES names, to be looked at; else to a temporary one.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import DESKTOP, PHONE
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.world import load_world
from lyra.worldgen.explore.reel import Reel
from lyra.worldgen.explore.stage import pose_of
from lyra.worldgen.faces.contents import LAYERS
from lyra.worldgen.preview.raster import MeshRasteriser
from lyra.worldgen.session.summary import read_certificate
from page_visitor import COMPACT, until, visiting

pytest.importorskip("viser")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]


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
