"""Pictures of the certificate, each a self-contained piece of HTML."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..core.raycast import Raycaster
from .judge import Evidence
from .sensor_agreement import SensorEvidence, difference_picture
from .space import FreeSpace
from .topview import TopView, draw_top_view
from .world_data import WorldData, find_photo

_HEAT_CM = (0.1, 1.0, 3.0, 10.0, 100.0)
_HEAT_RGB = ((29, 41, 61), (36, 123, 120), (242, 201, 76), (229, 83, 61), (122, 16, 60))
_SKY_RGB = (196, 203, 214)
_HOLE_RGB = (255, 0, 255)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture."""

    html: str
    caption: str
    """HTML."""


def draw_pictures(
    world: WorldData, space: FreeSpace, evidence: Evidence | None, sensors: SensorEvidence
) -> Mapping[str, Picture]:
    """All pictures by name: `photo`, `view`, `map`, `disagreement`, `sensors`; those without evidence are left out."""
    raycaster = Raycaster(world.solid)
    pictures: dict[str, Picture] = {}
    photo = find_photo(world.folder)
    if photo is not None and (uri := _photo_uri(photo)):
        pictures["photo"] = Picture(html=f'<img alt="The input photo" src="{uri}">', caption="The photo")
    pictures["view"] = Picture(
        html=f'<img alt="The world from the photo\'s pose" src="{_jpeg_uri(_view(world))}">',
        caption="The world from the same place",
    )
    pictures["map"] = _map(world, draw_top_view(world, raycaster, long_side_px=720), evidence)
    if evidence is not None and evidence.panorama_error_m.size:
        pictures["disagreement"] = _disagreement(evidence.panorama_error_m)
    if sensors.worst:
        pictures["sensors"] = _sensors(sensors)
    return pictures


def _view(world: WorldData) -> np.ndarray:
    """The textured world from the photo's pose."""
    long_side = 480
    camera = world.photo_camera
    scale = long_side / max(camera.width_px, camera.height_px)
    camera = camera.resized(max(1, round(camera.width_px * scale)), max(1, round(camera.height_px * scale)))
    caster = Raycaster(world.mesh)
    return caster.render(camera, world.T_world_photo).shade(world.mesh)


def _map(world: WorldData, view: TopView, evidence: Evidence | None) -> Picture:
    h, w = view.rgb_u8.shape[:2]
    marks: list[str] = []
    legend = ['<b class="key free"></b>free space']
    if evidence is not None:
        marks, shown = _evidence_marks(view, evidence)
        legend += shown
    marks.append(_eye_mark(world, view))
    marks.append(_scale_bar(view, w, h))
    html = (
        f'<svg viewBox="0 0 {w} {h}" role="img" aria-label="Map of the world from above">'
        f'<image href="{_jpeg_uri(view.rgb_u8)}" width="{w}" height="{h}"/>{"".join(marks)}</svg>'
    )
    return Picture(html=html, caption="From above, ceiling cut off. " + " ".join(f"<span>{t}</span>" for t in legend))


def _evidence_marks(view: TopView, evidence: Evidence) -> tuple[list[str], list[str]]:
    plan, result = evidence.plan, evidence.result
    px = view.px_per_m
    marks, legend = [], []
    outcomes = iter(result.drives)
    for drive in plan.drives:
        if drive.route_xy_m is None:
            ends = view.pixels(np.array([drive.episode.start_xy_m, drive.episode.goal_xy_m]))
            marks.append(_polyline(ends, "noroute"))
            continue
        outcome = next(outcomes)
        marks.append(_polyline(view.pixels(drive.route_xy_m), "route"))
        marks.append(_polyline(view.pixels(outcome.trace_xy_m), "drive" if outcome.reached else "drive bad"))
        start, goal = view.pixels(np.array([drive.episode.start_xy_m, drive.episode.goal_xy_m]))
        radius = plan.job.robot.radius_m * px
        marks.append(f'<circle class="start" cx="{start[0]:.1f}" cy="{start[1]:.1f}" r="{radius:.1f}"/>')
        marks.append(_cross(goal, 0.6 * radius, "goal" if outcome.reached else "goal bad"))
    if plan.drives:
        legend.append('<b class="key drive"></b>driven (ring: start, cross: goal)')
    for (x, y), good in zip(view.pixels(result.drop_end_m[:, :2]).tolist(), evidence.landed.tolist(), strict=True):
        marks.append(
            f'<circle class="{"drop" if good else "drop bad"}" cx="{x:.1f}" cy="{y:.1f}" r="{0.09 * px:.1f}"/>'
        )
    if len(result.drop_end_m):
        legend.append('<b class="key drop"></b>dropped body at rest')
    origins, _ = plan.job.rays["down"]
    holes = origins[origins[:, 2] - result.rays["down"] < plan.job.floor_z_m - 0.9]
    blocked = plan.job.spheres["free"][0][result.spheres["free"]]
    trouble = np.concatenate([holes[:, :2], blocked[:, :2]])
    marks += [_cross(p, max(3.0, 0.06 * px), "bad") for p in view.pixels(trouble[:400])]
    origins, directions = plan.job.rays["around"]
    out = ~np.isfinite(result.rays["around"])
    for a, b in zip(view.pixels(origins[out, :2]), view.pixels((origins + 2 * directions)[out, :2]), strict=True):
        marks.append(_polyline(np.stack([a, b]), "bad"))
    if len(trouble) or out.any() or not evidence.landed.all():
        legend.append('<b class="key bad"></b>hole, blocked place, way out or lost body')
    return marks, legend


def _eye_mark(world: WorldData, view: TopView) -> str:
    """Where the photo was taken, with its field of view."""
    T = world.T_world_photo
    eye = view.pixels(T[:2, 3])
    heading = math.atan2(-T[1, 2], T[0, 2])  # pictures have y down
    half, reach = world.photo_camera.hfov_rad / 2, 0.9 * view.px_per_m
    a, b = (eye + reach * np.array([math.cos(heading + s * half), math.sin(heading + s * half)]) for s in (-1, 1))
    return (
        f'<path class="eye" d="M{a[0]:.1f} {a[1]:.1f}L{eye[0]:.1f} {eye[1]:.1f}L{b[0]:.1f} {b[1]:.1f}"/>'
        f'<circle class="eyedot" cx="{eye[0]:.1f}" cy="{eye[1]:.1f}" r="4"/>'
    )


def _scale_bar(view: TopView, w: int, h: int) -> str:
    length = 1.0 if view.size_m[0] < 14 else 5.0
    x1, y = w - 18, h - 16
    x0 = x1 - length * view.px_per_m
    return (
        f'<path class="bar" d="M{x0:.1f} {y - 5}V{y}H{x1}V{y - 5}"/>'
        f'<text class="bartext" x="{(x0 + x1) / 2:.1f}" y="{y - 8}">{length:g} m</text>'
    )


def _polyline(points: np.ndarray, style: str) -> str:
    return f'<polyline class="{style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points.tolist())}"/>'


def _cross(p: np.ndarray, r: float, style: str) -> str:
    x, y = p
    return (
        f'<path class="{style}" d="M{x - r:.1f} {y - r:.1f}L{x + r:.1f} {y + r:.1f}'
        f'M{x - r:.1f} {y + r:.1f}L{x + r:.1f} {y - r:.1f}"/>'
    )


def heat(error_m: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8 colours of distances [H, W] [m] on a logarithmic scale; NaN is sky."""
    value = np.log10(np.clip(100 * np.abs(error_m), _HEAT_CM[0], _HEAT_CM[-1]))
    stops, colours = np.log10(_HEAT_CM), np.array(_HEAT_RGB, float)
    rgb = np.stack([np.interp(value, stops, colours[:, c]) for c in range(3)], -1)
    return np.where(np.isnan(error_m)[..., None], _SKY_RGB, rgb).astype(np.uint8)


def _disagreement(error_m: np.ndarray) -> Picture:
    rgb = np.repeat(np.repeat(heat(error_m), 8, 0), 8, 1)
    html = f'<img class="crisp" alt="Panorama of collider error" src="{_png_uri(rgb)}">{_ramp()}'
    return Picture(
        html=html,
        caption="All around from the photo's place (its heading in the middle, up at the top): "
        "how far the collider is from the visible surface [cm]. Grey is sky.",
    )


def _sensors(sensors: SensorEvidence) -> Picture:
    """One row a view: RGB of the splats, depth of mesh and splats, and their difference."""
    rows, told = [], []
    for number, frame in sensors.worst:
        far_m = float(np.percentile(frame.depth_z_m[frame.valid], 98)) if frame.valid.any() else 1.0
        error_m, hole = difference_picture(frame)
        difference = np.where(hole[..., None], _HOLE_RGB, heat(error_m)).astype(np.uint8)
        splat_depth = _depth_picture(frame.splat_depth_z_m, frame.splat_valid, far_m)
        tiles = [frame.rgb_u8, _depth_picture(frame.depth_z_m, frame.valid, far_m), splat_depth, difference]
        rows.append(np.concatenate(tiles, 1))
        view = sensors.views[number - 1]
        x, y, z = view.position_m
        off = view.camera.disagree_percent
        told.append(
            f"view {number} at x={x:.1f}, y={y:.1f}, z={z:.1f} m"
            + (f" ({off:.1f} % off)" if off is not None else " (nothing to compare)")
        )
    html = f'<img alt="Robot views: splats, depths and their difference" src="{_jpeg_uri(np.concatenate(rows))}">'
    return Picture(
        html=html + _ramp(),
        caption="From left to right: RGB of the splats, depth of the mesh, depth of the splats, and how far they are "
        f"apart [cm]; magenta is a hole in the splats, grey is sky. The worst of {len(sensors.views)} views: "
        f"{'; '.join(told)}.",
    )


def _depth_picture(depth_z_m: np.ndarray, valid: np.ndarray, far_m: float) -> np.ndarray:
    """[H, W, 3] uint8: bright is near, black is nothing."""
    shade = 255 - 215 * np.sqrt(np.clip(depth_z_m / max(far_m, 1e-6), 0, 1))
    return np.repeat(np.where(valid, shade, 0)[..., None], 3, -1).astype(np.uint8)


def _ramp() -> str:
    """Colours of `heat` with their centimetres."""
    stops = ", ".join(
        f"rgb{c} {100 * math.log10(v / _HEAT_CM[0]) / math.log10(_HEAT_CM[-1] / _HEAT_CM[0]):.0f}%"
        for v, c in zip(_HEAT_CM, _HEAT_RGB, strict=True)
    )
    ticks = "".join(f"<i>{v:g}</i>" for v in _HEAT_CM)
    return (
        f'<div class="ramp" style="background:linear-gradient(90deg, {stops})"></div><div class="ticks">{ticks}</div>'
    )


def _photo_uri(path: object) -> str:
    """A small copy of the photo; empty when it cannot be read."""
    from pathlib import Path

    from PIL import Image, ImageOps

    try:
        with Image.open(Path(str(path))) as image:
            image.draft("RGB", (960, 960))
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((480, 480))
            return _jpeg_uri(np.asarray(small))
    except (OSError, ValueError, Image.DecompressionBombError, SyntaxError):
        return ""


def _jpeg_uri(rgb_u8: np.ndarray) -> str:
    return _uri(rgb_u8, "JPEG", quality=85)


def _png_uri(rgb_u8: np.ndarray) -> str:
    return _uri(rgb_u8, "PNG", optimize=True)


def _uri(rgb_u8: np.ndarray, kind: str, **options: object) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb_u8)).save(buffer, kind, **options)  # pyright: ignore[reportArgumentType]
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
