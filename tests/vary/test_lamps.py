"""Lamps and windows of rooms whose lamps are known, and the lights that variants make of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.views import SOURCE_PAINTED, SOURCE_PHOTO, RgbdView
from lyra.worldgen.vary.config import vary_config_from_dict
from lyra.worldgen.vary.draw import draw
from lyra.worldgen.vary.lamps import CEILING_LAMP, WINDOW, FoundLamp, lamps_of_view, light_shares, merged
from lyra.worldgen.vary.light import exposure_ev, mean_light

LOW, HIGH = np.array([-2.0, -3.0, 0.0]), np.array([6.0, 3.0, 3.0])
"""Corners of the room [m]."""
CAMERA = PinholeCamera.from_hfov(320, 240, math.radians(90))


def room_view(
    lamps: dict[str, tuple], *, heading_rad: float = 0.0, wall: float = 0.6, floor_glare: bool = False
) -> RgbdView:
    """A ray-cast box room with bright rectangles.

    Args:
        lamps: by name, (axis, side, low [3], high [3]): a part of one side of the room that is white.
        heading_rad: of the camera, 1.5 m above the origin.
        wall: brightness of everything else, up to a slow change.
        floor_glare: whether the lamps' mirror images lie on the floor.
    """
    T = camera_pose(np.array([0.0, 0.0, 1.5]), heading_rad=heading_rad, pitch_rad=0.15)
    rays = CAMERA.rays_cam() @ T[:3, :3].T
    eye = T[:3, 3]
    with np.errstate(divide="ignore"):
        far = np.maximum((LOW - eye) / rays, (HIGH - eye) / rays)
    axis = far.argmin(-1)
    points = eye + rays * far.min(-1)[..., None]
    side = (np.take_along_axis(rays, axis[..., None], -1)[..., 0] > 0).astype(int)
    labels = np.where(axis < 2, Label.WALL, np.where(side == 1, Label.CEILING, Label.FLOOR)).astype(np.uint8)
    rng = np.random.default_rng(3)
    light = wall * (0.85 + 0.1 * np.sin(points[..., 0]) + 0.05 * np.cos(2 * points[..., 1]))
    light = light + rng.normal(0, 0.01, light.shape)
    for of_axis, of_side, low, high in lamps.values():
        inside = ((points >= np.array(low) - 1e-6) & (points <= np.array(high) + 1e-6)).all(-1)
        light[(axis == of_axis) & (side == of_side) & inside] = 1.0
        if floor_glare:
            below = ((points >= np.array(low))[..., :2] & (points <= np.array(high))[..., :2]).all(-1)
            light[below & (labels == Label.FLOOR)] = 1.0
    depth = ((points - eye) @ T[:3, 2]).astype(np.float32)
    rgb = np.repeat(np.clip(light * 255, 0, 255).astype(np.uint8)[..., None], 3, -1)
    whole = np.ones(depth.shape, bool)
    source = np.full(depth.shape, SOURCE_PHOTO, np.uint8)
    return RgbdView(
        view_id=0, camera=CAMERA, T_world_cam=T, rgb_u8=rgb, depth_z_m=depth, valid=whole, source=source, labels=labels
    )


@pytest.mark.parametrize("seed", range(6))
def test_known_lamps_are_found_where_they_are(seed):
    """A ceiling lamp and a window of drawn sizes, to a few centimetres, shining into the room; nothing else."""
    rng = np.random.default_rng([1000, seed])
    x, y, w, d = rng.uniform(2.2, 3.2), rng.uniform(-0.8, 0.8), rng.uniform(0.3, 1.0), rng.uniform(0.3, 0.8)
    wy, ww, wh = rng.uniform(-1.2, 0.0), rng.uniform(0.6, 1.6), rng.uniform(0.6, 1.2)
    lamps = {
        "lamp": (2, 1, (x, y, 3.0), (x + w, y + d, 3.0)),
        "window": (0, 1, (6.0, wy, 1.0), (6.0, wy + ww, 1.0 + wh)),
    }
    found = {lamp.kind: lamp for lamp in lamps_of_view(room_view(lamps, floor_glare=True))}
    assert set(found) == {CEILING_LAMP, WINDOW}
    lamp, window = found[CEILING_LAMP], found[WINDOW]
    np.testing.assert_allclose(lamp.centre_m, (x + w / 2, y + d / 2, 3.0), atol=0.08)
    np.testing.assert_allclose(sorted(lamp.size_m), sorted((w, d)), atol=0.12)
    np.testing.assert_allclose(window.centre_m, (6.0, wy + ww / 2, 1.0 + wh / 2), atol=0.06)
    np.testing.assert_allclose(window.size_m, (ww, wh), atol=0.12)
    assert lamp.normal == (0.0, 0.0, -1.0) and np.dot(window.normal, (-1, 0, 0)) > 0.99
    assert min(lamp.confidence, window.confidence) > 0.6


def test_metres_follow_the_scale():
    """A world that was rescaled has its lamps where its walls are."""
    lamps = {"window": (0, 1, (6.0, -0.5, 1.0), (6.0, 0.5, 2.0))}
    (one,), (two,) = (lamps_of_view(room_view(lamps), metres_per_unit=f) for f in (1.0, 1.5))
    np.testing.assert_allclose(two.centre_m, np.array(one.centre_m) * 1.5, atol=1e-3)
    np.testing.assert_allclose(two.size_m, np.array(one.size_m) * 1.5, atol=2e-3)


def test_rooms_without_lamps_have_none():
    """Neither even light nor a bright wall nor what was painted is a lamp."""
    assert lamps_of_view(room_view({})) == []
    assert lamps_of_view(room_view({}, wall=0.98)) == []
    assert lamps_of_view(room_view({"wall": (0, 1, (6.0, -3.0, 0.0), (6.0, 3.0, 3.0))})) == []
    lamps = {"window": (0, 1, (6.0, -0.5, 1.0), (6.0, 0.5, 2.0))}
    view = room_view(lamps)
    view.source[:] = SOURCE_PAINTED
    assert lamps_of_view(view) == []


def test_two_views_of_a_lamp_give_one():
    """And two lamps stay two."""
    lamps = {
        "left": (0, 1, (6.0, 0.5, 1.2), (6.0, 1.3, 2.0)),
        "right": (0, 1, (6.0, -1.4, 1.2), (6.0, -0.6, 2.0)),
    }
    views = [room_view(lamps, heading_rad=h) for h in (0.0, 0.2)]
    assert len(merged([lamp for view in views for lamp in lamps_of_view(view)])) == 2


def lamp_at(x: float, size: tuple[float, float] = (1.0, 0.5)) -> FoundLamp:
    return FoundLamp(
        kind=CEILING_LAMP,
        centre_m=(x, 1.0, 2.8),
        normal=(0.0, 0.0, -1.0),
        along=(1.0, 0.0, 0.0),
        size_m=size,
        confidence=0.9,
    )


RANGES = {"light": {"found": True, "each": [0.5, 2.0], "lit": 0.5, "temperature_k": [3000, 8000]}}


def test_lamps_are_drawn_each_for_itself():
    """In their ranges, the same for the same number, and never all of them off."""
    cfg = vary_config_from_dict(RANGES)
    shares = light_shares([lamp_at(0.0), lamp_at(3.0), lamp_at(6.0, (2.0, 1.0))])
    assert shares == pytest.approx((1 / 6, 1 / 6, 2 / 3), abs=1e-5)
    off = 0
    for k in range(60):
        drawn = draw(cfg, seed=1, index=k, lamp_shares=shares)
        assert drawn == draw(cfg, seed=1, index=k, lamp_shares=shares)
        lit = [lamp for lamp in drawn.lamps if lamp.factor > 0]
        assert lit and all(0.5 <= lamp.factor <= 2.0 and 3000 <= lamp.temperature_k <= 8000 for lamp in lit)
        off += 3 - len(lit)
        light = mean_light(drawn, indoors=True) / 2 ** exposure_ev(drawn, indoors=True)
        assert np.isfinite(light).all() and (light > 0).all()
    assert 60 < off < 120
    assert draw(cfg, seed=1, index=0).lamps == ()


def test_lights_of_a_stage_stand_where_the_lamps_are(made_room, tmp_path, monkeypatch):
    """Real lights with their sizes, mirrored with the variant; the scene's own lamp is away, and all is on record."""
    pytest.importorskip("pxr.Usd")
    from pxr import Usd, UsdGeom, UsdLux

    import lyra.worldgen.vary.run as run

    lamps = (lamp_at(1.0), lamp_at(-2.0))
    monkeypatch.setattr(run, "find_lamps", lambda world: lamps)
    cfg = vary_config_from_dict({**RANGES, "layout": {"mirrored": 0.5}})
    out = made_room.with_name("lit")
    run.vary_world(made_room, out, count=6, seed=1005, cfg=cfg, certify=False)
    seen = set()
    for k in range(6):
        folder = out / f"variant_{k:03d}"
        facts = json.loads((Path(folder) / "world.json").read_text())["stages"]["vary"]["facts"]
        assert [lamp["centre_m"] for lamp in facts["lamps"]] == [[1.0, 1.0, 2.8], [-2.0, 1.0, 2.8]]
        stage = Usd.Stage.Open(str(folder / "world_scene.usda"))
        lamp = stage.GetPrimAtPath("/World/Lights/lamp")
        assert lamp and not lamp.IsActive()
        flip = -1 if facts["values"]["mirrored"] else 1
        for i, drawn in enumerate(facts["values"]["lamps"]):
            prim = stage.GetPrimAtPath(f"/World/Lights/found_{i:02d}")
            assert bool(prim) == (drawn["factor"] > 0)
            seen.add((flip, bool(prim)))
            if not prim:
                continue
            light = UsdLux.RectLight(prim)
            assert (light.GetWidthAttr().Get(), light.GetHeightAttr().Get()) == pytest.approx((1.0, 0.5))
            T = np.array(UsdGeom.XformCache().GetLocalToWorldTransform(prim)).T
            np.testing.assert_allclose(T[:3, 3], (lamps[i].centre_m[0], flip * 1.0, 2.77), atol=1e-6)
            np.testing.assert_allclose(-T[:3, 2], (0, 0, -1), atol=1e-9)  # it shines along its own -z
            assert np.linalg.det(T[:3, :3]) == pytest.approx(1.0)
            assert light.GetColorTemperatureAttr().Get() == pytest.approx(drawn["temperature_k"], rel=1e-5)
            assert light.GetIntensityAttr().Get() > 0
    assert seen == {(1, True), (1, False), (-1, True), (-1, False)} or len(seen) >= 3


def test_rooms_whose_photo_shows_no_lamp_keep_the_scenes_own(made_room, tmp_path):
    """And say so."""
    pytest.importorskip("pxr.Usd")
    from lyra.worldgen.vary import vary_world

    out = made_room.with_name("unlit")
    vary_world(made_room, out, count=1, seed=0, cfg=vary_config_from_dict(RANGES), certify=False)
    facts = json.loads((out / "variant_000" / "world.json").read_text())["stages"]["vary"]["facts"]
    assert facts["lamps"] == [] and "no lamp is found" in facts["notes"][0]
