"""The exported page in headless Chromium: it loads, shows what the package's own renderers show, and walls stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import DESKTOP, PHONE, SMALL, chromium, decode_png, opened, serving
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.reconstruction.splat_io import read_splats
from lyra.worldgen.reconstruction.splat_render import render_splats
from lyra.worldgen.web import export_site
from physx_rooms import textured
from rooms import AnalyticRoom, analytic_room
from web_worlds import write_splat_room

pytest.importorskip("pxr")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

SPLATS = 500_000
LIMIT_BYTES = 40_000_000
RADIUS_M = 0.25
EYE = np.array([0.0, 0.6, 1.5])
CAMERA = PinholeCamera.from_hfov(320, 180, math.radians(80))
READY = "async () => { await lyra.ready; await lyra.complete(); }"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A site and the room that it shows."""

    site: Path
    room: AnalyticRoom


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Exported:
    """The analytic room with 500 000 splats."""
    folder = tmp_path_factory.mktemp("large")
    room = write_splat_room(folder / "room", SPLATS)
    export_site(folder / "room", folder / "site", name="Analytic room")
    return Exported(site=folder / "site", room=room)


def stairs() -> AnalyticRoom:
    """Three steps of 15 cm along +X, and beside them a block too high to step on."""
    from dataclasses import replace

    steps = tuple(((1.0 + 0.4 * k, -1.0, 0.0), (1.4 + 0.4 * k, 0.5, 0.15 * (k + 1))) for k in range(3))
    return replace(analytic_room(boxes=False), boxes_m=(*steps, ((1.0, 1.0, 0.0), (2.0, 2.5, 0.5))))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Exported:
    """A room with stairs and few splats, for everything that moves."""
    folder = tmp_path_factory.mktemp("small")
    room = write_splat_room(folder / "room", 4_000, room=stairs(), cover=0.4)
    export_site(folder / "room", folder / "site")
    return Exported(site=folder / "site", room=room)


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / max(float(((a.astype(float) - b) ** 2).mean()), 1e-9))


def picture(page: Any, T_world_cam: np.ndarray) -> np.ndarray:
    page.call("(view) => lyra.look(view)", {"T_world_cam": T_world_cam.tolist(), "vfov_rad": CAMERA.vfov_rad})
    return decode_png(page.call("() => lyra.picture({width_px: 320, height_px: 180})"))


def test_half_a_million_splats(browser, large):
    """One page load of at most 40 MB without a request elsewhere or a word on the console; what is seen is what the
    package's renderers see from there, and from nowhere a metre away."""
    T_world_cam = camera_pose(EYE, heading_rad=0.3, pitch_rad=-0.15)
    cloud = read_splats(large.site / "world" / "splats-1.spz")
    want = render_splats(cloud, CAMERA, T_world_cam).rgb_u8((0x14 / 255, 0x17 / 255, 0x1C / 255))
    with serving(large.site) as server, opened(browser, server.url, DESKTOP) as page:
        page.call(READY)
        assert page.call("lyra.state()") == {"layer": "splats", "splats": SPLATS, "start": 0}
        got = picture(page, T_world_cam)
        assert got.shape == want.shape
        # Both blend the same splats in the same order; Spark leaves out what is farther than sqrt(8) deviations.
        agreement = psnr_db(got, want)
        assert agreement > 35, f"{agreement:.1f} dB"
        for shift in ([1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]):
            moved = T_world_cam.copy()
            moved[:3, 3] += shift
            elsewhere = psnr_db(picture(page, moved), want)
            assert elsewhere < agreement - 12, f"{elsewhere:.1f} dB a metre away, {agreement:.1f} dB here"

        page.call("lyra.show('mesh')")
        from lyra.worldgen.preview.raster import MeshRasteriser

        mesh = MeshRasteriser(textured(large.room.mesh())).render(CAMERA, T_world_cam, supersample=2).rgb_u8
        agreement = psnr_db(picture(page, T_world_cam), mesh)
        assert agreement > 32, f"{agreement:.1f} dB"  # outlines and texture filters differ

        assert server.served_bytes <= LIMIT_BYTES
        assert page.problems == []


def test_walls_stop_who_walks(browser, small):
    """Straight on, the wall is a shoulder's width away; at a slant one slides along it; in a corner nothing gives."""
    x1, y1 = small.room.hi_m[:2]
    with serving(small.site) as server, opened(browser, server.url, DESKTOP) as page:
        page.call(READY)
        start = page.call("lyra.pose()")
        assert start["on_floor"] and start["feet_m"] == pytest.approx([0, 0, 0], abs=1e-6)

        page.call("lyra.place({feet_m: [0, -2, 0], yaw_rad: 0})")
        early = page.call("lyra.walk({forward: 1, seconds: 2})")
        assert early["feet_m"] == pytest.approx([2.8, -2, 0], abs=0.02)
        stopped = page.call("lyra.walk({forward: 1, seconds: 5})")
        assert stopped["feet_m"] == pytest.approx([x1 - RADIUS_M, -2, 0], abs=0.02)
        assert page.call("lyra.walk({forward: 1, seconds: 5})")["feet_m"] == pytest.approx(stopped["feet_m"], abs=1e-3)

        page.call("lyra.place({yaw_rad: Math.PI / 4})")
        slid = page.call("lyra.walk({forward: 1, seconds: 1})")
        assert slid["feet_m"] == pytest.approx([x1 - RADIUS_M, -2 + 1.4 / math.sqrt(2), 0], abs=0.05)
        corner = page.call("lyra.walk({forward: 1, seconds: 20})")
        assert corner["feet_m"] == pytest.approx([x1 - RADIUS_M, y1 - RADIUS_M, 0], abs=0.02)
        assert page.problems == []


def test_stairs_are_climbed_and_blocks_are_not(browser, small):
    """Steps of 15 cm are walked up; down one falls to the floor; half a metre is a wall."""
    with serving(small.site) as server, opened(browser, server.url, DESKTOP) as page:
        page.call(READY)
        page.call("lyra.place({feet_m: [0, -0.3, 0], yaw_rad: 0})")
        top = page.call("lyra.walk({forward: 1, seconds: 1.4})")
        assert top["feet_m"] == pytest.approx([1.96, -0.3, 0.45], abs=0.03) and top["on_floor"]
        down = page.call("lyra.walk({forward: 1, seconds: 1})")
        assert down["feet_m"] == pytest.approx([3.36, -0.3, 0.0], abs=0.03) and down["on_floor"]
        page.call("lyra.place({feet_m: [0, 1.75, 0], yaw_rad: 0})")
        blocked = page.call("lyra.walk({forward: 1, seconds: 5})")
        assert blocked["feet_m"] == pytest.approx([1.0 - RADIUS_M, 1.75, 0.0], abs=0.02)
        assert page.problems == []


def test_keys_mouse_and_buttons(browser, small):
    """W walks, dragging turns, the buttons and their keys switch layers, R goes to the next start, the panel folds."""
    with serving(small.site) as server, opened(browser, server.url, DESKTOP) as page:
        page.call(READY)
        before = page.call("lyra.pose()")
        page.page.keyboard.down("KeyW")
        page.page.wait_for_function("lyra.pose().feet_m[0] > 0.3")
        page.page.keyboard.up("KeyW")
        page.page.mouse.move(640, 400)
        page.page.mouse.down()
        page.page.mouse.move(740, 380, steps=4)
        page.page.mouse.up()
        turned = page.call("lyra.pose()")
        assert turned["yaw_rad"] == pytest.approx(before["yaw_rad"] - 0.28, abs=0.02)
        assert turned["pitch_rad"] == pytest.approx(0.056, abs=0.01)

        page.page.click("#mesh")
        page.page.wait_for_function("lyra.state().layer === 'mesh'")
        page.page.keyboard.press("KeyM")
        page.page.wait_for_function("lyra.state().layer === 'splats'")
        page.page.click("#collider")
        assert page.page.get_attribute("#collider", "aria-pressed") == "true"
        page.page.keyboard.press("KeyR")
        assert page.call("lyra.state().start") == 1
        assert page.call("lyra.pose().feet_m") == pytest.approx([-0.5, 0, 0], abs=1e-3)

        assert "certified: all <checks> passed" in page.page.inner_text("#facts")
        page.page.click("#fold")
        assert not page.page.is_visible("#facts")
        assert page.page.title() == "room" and not page.page.is_visible("#vr")
        assert page.problems == []


def test_two_thumbs_on_a_phone(browser, small):
    """The left thumb walks, the right one looks, at once; nothing is cut off by the small screen."""
    with serving(small.site) as server, opened(browser, server.url, PHONE) as page:
        page.call(READY)
        before = page.call("lyra.pose()")
        touch = page.page.context.new_cdp_session(page.page)

        def send(kind: str, *points: tuple[int, float, float]) -> None:
            touch.send(
                "Input.dispatchTouchEvent",
                {"type": kind, "touchPoints": [{"id": i, "x": x, "y": y} for i, x, y in points]},
            )

        send("touchStart", (0, 90, 700))
        send("touchMove", (0, 90, 640))
        send("touchStart", (0, 90, 640), (1, 300, 500))
        send("touchMove", (0, 90, 640), (1, 250, 500))
        assert page.page.is_visible("#stick")
        page.page.wait_for_function("lyra.pose().feet_m[0] > 0.3")
        send("touchEnd")
        after = page.call("lyra.pose()")
        assert abs(after["yaw_rad"] - before["yaw_rad"]) > 0.1
        assert not page.page.is_visible("#stick")
        rest = page.call("async () => { await new Promise((r) => setTimeout(r, 400)); return lyra.pose(); }")
        # Only along the floor: on a slow machine the walker may not have come down to it yet.
        assert rest["feet_m"][:2] == pytest.approx(after["feet_m"][:2], abs=0.2)

        for name in ("#fold", "#splats", "#mesh", "#collider", "#restart"):
            box = page.page.locator(name).bounding_box()
            assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390, name
        assert not page.page.is_visible("#facts")
        assert page.problems == []


def test_headset_button_shows_where_there_is_one(browser, small):
    """With a headset the button is there and asks for an immersive session; a refusal is said, not thrown."""
    script = (
        "Object.defineProperty(navigator, 'xr', { value: { addEventListener() {},"
        " isSessionSupported: async (mode) => mode === 'immersive-vr',"
        " requestSession: async (mode) => { window.asked = mode; throw new Error('the headset sleeps'); } } });"
    )
    with serving(small.site) as server, opened(browser, server.url, DESKTOP, script=script) as page:
        page.call(READY)
        page.page.click("#vr")
        page.page.wait_for_function("document.getElementById('hint').textContent === 'the headset sleeps'")
        assert page.call("window.asked") == "immersive-vr" and page.problems == []


def test_walking_in_a_headset(browser, small):
    """With an emulated headset: sticks walk and turn, real steps count, walls stop both, and the page comes back."""
    emulator = Path(__file__).parents[2] / "tools" / "web" / "node_modules" / "iwer" / "build" / "iwer.min.js"
    if not emulator.is_file():
        pytest.skip("needs the packages of tools/web (npm ci, in that folder)")
    script = emulator.read_text(encoding="utf-8")
    script += "window.quest = new IWER.XRDevice(IWER.metaQuest3); quest.installRuntime({forceInstall: true});"
    stick = "([hand, x, y]) => quest.controllers[hand].updateAxes('thumbstick', x, y)"
    step = "([x, z]) => quest.position.set(x, 1.6, z)"
    low_y = small.room.lo_m[1]
    with serving(small.site) as server, opened(browser, server.url, SMALL, script=script) as page:
        page.call(READY)
        page.call("lyra.show('mesh')")
        page.call("lyra.place({feet_m: [0, -2, 0], yaw_rad: 0})")
        page.call(step, [0, 0])
        page.page.click("#vr")
        page.page.wait_for_selector("#vr[aria-pressed='true']")
        page.call(stick, ["left", 0, -1])
        page.page.wait_for_function("lyra.pose().feet_m[0] > 0.4")
        page.call(stick, ["left", 0, 0])
        page.call(stick, ["right", 1, 0])
        page.page.wait_for_function("Math.abs(lyra.pose().yaw_rad + Math.PI / 6) < 0.01")
        page.call(stick, ["right", 0, 0])
        walked = page.call("lyra.pose()")
        assert walked["feet_m"][1] == pytest.approx(-2, abs=0.05) and walked["on_floor"]
        page.call(step, [0, -0.5])  # half a metre ahead on one's own feet
        page.page.wait_for_function(f"lyra.pose().feet_m[0] > {walked['feet_m'][0] + 0.3}")
        page.call(step, [0, -9])
        page.page.wait_for_function(f"lyra.pose().feet_m[1] < {low_y + RADIUS_M + 0.05}")
        assert page.call("lyra.pose()")["feet_m"][1] >= low_y + RADIUS_M - 0.02
        page.call("document.getElementById('vr').click()")
        page.page.wait_for_selector("#vr[aria-pressed='false']")
        assert page.call("lyra.pose()")["yaw_rad"] == pytest.approx(-math.pi / 6, abs=0.02)
        assert page.problems == []


def test_what_cannot_be_loaded_is_named(browser, small, tmp_path):
    """A site with a missing file says which, instead of an empty page."""
    import shutil

    shutil.copytree(small.site, tmp_path / "site")
    (tmp_path / "site" / "world" / "collider.glb").unlink()
    with serving(tmp_path / "site") as server, opened(browser, server.url, DESKTOP) as page:
        page.page.wait_for_selector("#loading.failed")
        assert "world/collider.glb" in page.page.inner_text("#step") and "404" in page.page.inner_text("#step")
