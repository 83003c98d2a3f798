"""`write_preview`: contact sheet, walkthrough film and thumbnail of a world folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..certify.plan import plan_drives
from ..certify.space import analyse
from ..certify.topview import TopView, draw_top_view
from ..certify.world_data import (
    WorldData,
    find_photo,
    has_splats,
    origin_of,
    read_path_poses,
    read_world,
    world_splats,
)
from ..core.camera import PinholeCamera
from ..core.errors import BackendError, DependencyError, InputError
from ..core.files import write_bytes
from ..core.frames import camera_pose, heading_of
from ..core.progress import SILENT, SupportsProgress
from ..core.raycast import Raycaster
from ..core.store import load_view, view_path
from ..sim.simulate import write_thumbnail
from ..sim.usd_read import read_colliders
from .colliders import draw_wireframe
from .film import film_poses, write_film
from .raster import MeshRasteriser
from .sheet import VERDICT_RGB, WIDTH_PX, Chip, Tile, draw_sheet

DIRECTIONS = ("ahead", "45° left", "left", "135° left", "behind", "135° right", "right", "45° right")
_LOOK_PX = (480, 320)
_PHOTO_LONG_PX = 720


def write_preview(folder: Path, *, progress: SupportsProgress = SILENT) -> tuple[str, ...]:
    """Write `preview.png`, `walkthrough.mp4` and `.thumbs/256x256/world.usda.png` into a world folder.

    The same world gives the same bytes. Splats, colliders or the film are left out, and their tiles say why, where the
    package that draws them is missing.

    Returns:
        Names of the files relative to the folder.

    Raises:
        InputError: the folder holds no finished world.
        DependencyError: numba or embreex is missing.
        Cancelled: through `progress`.
    """
    folder = Path(folder)
    progress.step("preview", 0, 5, "reading the world")
    world = read_world(folder)
    rasteriser = MeshRasteriser(world.mesh)
    camera = _photo_size(world.photo_camera)
    mesh_view = rasteriser.render(camera, world.T_world_photo, supersample=2).rgb_u8
    progress.step("preview", 1, 5, "splats")
    photo = _photo(world)
    place = "the viewpoint" if world.imported else "the photo's pose"
    first = [Tile(rgb_u8=mesh_view, caption=f"mesh, from {place}"), _splat_tile(world, camera, place)]
    if photo is not None or not world.imported:
        first.insert(0, Tile(rgb_u8=photo, caption=f"the {origin_word(world)}" if photo is not None else "no photo"))
    progress.step("preview", 2, 5, "directions and map")
    around = _directions(world, rasteriser)
    below = [_top_tile(world), _collider_tile(world, camera, mesh_view)]
    aspect = min(max(camera.height_px / camera.width_px, 0.5), 1.2)
    sheet = draw_sheet(
        world.name,
        _chips(world),
        [
            (first, aspect),
            (around[:4], _LOOK_PX[1] / _LOOK_PX[0]),
            (around[4:], _LOOK_PX[1] / _LOOK_PX[0]),
            (below, 0.72),
        ],
    )
    write_bytes(folder / "preview.png", _png(sheet))
    written = ["preview.png", write_thumbnail(folder, photo if photo is not None else mesh_view)]
    progress.step("preview", 3, 5, "film")
    try:
        write_film(
            folder / "walkthrough.mp4",
            rasteriser,
            film_poses(read_path_poses(folder), world.T_world_photo),
            progress,
        )
        written.append("walkthrough.mp4")
    except (DependencyError, BackendError):
        # A world without its film is complete; the sheet shows the same.
        (folder / "walkthrough.mp4").unlink(missing_ok=True)
    progress.step("preview", 5, 5, "written")
    return tuple(sorted(written))


def _photo_size(camera: PinholeCamera) -> PinholeCamera:
    scale = _PHOTO_LONG_PX / max(camera.width_px, camera.height_px)
    return camera.resized(max(2, round(camera.width_px * scale)), max(2, round(camera.height_px * scale)))


def origin_word(world: WorldData) -> str:
    """What the picture of the first tile is a view of."""
    return "panorama" if world.imported and origin_of(world.manifest).get("kind") == "panorama" else "photo"


def _photo(world: WorldData) -> np.ndarray | None:
    """The photo as it was used; else the copy of the input."""
    try:
        return load_view(view_path(world.folder / "memory", 0)).rgb_u8
    except InputError:
        pass
    path = find_photo(world.folder)
    if path is None:
        return None
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * _PHOTO_LONG_PX, 2 * _PHOTO_LONG_PX))
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((_PHOTO_LONG_PX, _PHOTO_LONG_PX))
            return np.asarray(small)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _splat_tile(world: WorldData, camera: PinholeCamera, place: str) -> Tile:
    if not has_splats(world.folder):
        return Tile(rgb_u8=None, caption="no splats in this world")
    try:
        from ..reconstruction.splat_render import render_splats

        splats = world_splats(world.folder)
        image = render_splats(splats, camera, world.T_world_photo).rgb_u8((0.6, 0.7, 0.85))
        return Tile(rgb_u8=image, caption=f"splats, from {place} ({len(splats):,})")
    except (DependencyError, InputError) as error:
        return Tile(rgb_u8=None, caption=str(error).splitlines()[0][:60])


def _directions(world: WorldData, rasteriser: MeshRasteriser) -> list[Tile]:
    eye, heading = world.T_world_photo[:3, 3], heading_of(world.T_world_photo)
    camera = PinholeCamera.from_hfov(*_LOOK_PX, math.radians(75))
    tiles = []
    for i, name in enumerate(DIRECTIONS):
        T_world_cam = camera_pose(eye, heading_rad=heading + i * math.pi / 4, pitch_rad=math.radians(-6))
        tiles.append(Tile(rgb_u8=rasteriser.render(camera, T_world_cam, supersample=2).rgb_u8, caption=name))
    return tiles


def _top_tile(world: WorldData) -> Tile:
    """The map with the routes that the certificate's robot drove, else with planned ones."""
    from PIL import Image, ImageDraw

    view = draw_top_view(world, Raycaster(world.solid), long_side_px=780)
    drives = read_certificate(world.folder).get("drives")
    traces, caption = traces_of(drives), "from above: free space green, driven in PhysX"
    if not traces:
        planned = plan_drives(world, analyse(world.grid, world.robot_radius_m), 4)
        traces = [(d.route_xy_m, True) for d in planned if d.route_xy_m is not None]
        caption = "from above: free space green, planned routes"
    scale = 2
    size = (view.rgb_u8.shape[1] * scale, view.rgb_u8.shape[0] * scale)
    picture = Image.fromarray(view.rgb_u8).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for trace, reached in traces:
        colour = (47, 123, 255) if reached else (255, 59, 48)
        points = [tuple(p) for p in (view.pixels(trace) * scale).tolist()]
        draw.line(points, fill=(255, 255, 255), width=11, joint="curve")
        draw.line(points, fill=colour, width=7, joint="curve")
        _dot(draw, points[0], 11, colour)
        _dot(draw, points[-1], 7, (255, 255, 255))
    _draw_eye(draw, world, view, scale)
    return Tile(rgb_u8=np.asarray(picture.resize(view.rgb_u8.shape[1::-1], Image.Resampling.LANCZOS)), caption=caption)


def _dot(draw: Any, p: tuple[float, ...], r: float, colour: tuple[int, int, int]) -> None:
    draw.ellipse((p[0] - r, p[1] - r, p[0] + r, p[1] + r), fill=colour, outline=(255, 255, 255), width=3)


def _draw_eye(draw: Any, world: WorldData, view: TopView, scale: int) -> None:
    """Where the photo was taken, with its field of view."""
    eye = view.pixels(world.T_world_photo[:2, 3]) * scale
    heading, half = -heading_of(world.T_world_photo), world.photo_camera.hfov_rad / 2
    for side in (-1, 1):
        a = heading + side * half
        end = eye + 0.9 * view.px_per_m * scale * np.array([math.cos(a), math.sin(a)])
        draw.line([tuple(eye.tolist()), tuple(end.tolist())], fill=(255, 255, 255), width=4)
    _dot(draw, tuple(eye.tolist()), 9, (24, 27, 33))


def _collider_tile(world: WorldData, camera: PinholeCamera, backdrop_u8: np.ndarray) -> Tile:
    try:
        colliders = read_colliders(world.scene)
    except (DependencyError, InputError) as error:
        return Tile(rgb_u8=None, caption=str(error).splitlines()[0][:90])
    picture = draw_wireframe(colliders, camera, world.T_world_photo, backdrop_u8)
    rest = colliders.mesh.face_count - 12 * colliders.boxes
    return Tile(rgb_u8=picture, caption=f"colliders: {colliders.boxes} boxes, {rest:,} triangles")


def _chips(world: WorldData) -> list[Chip]:
    certificate = read_certificate(world.folder)
    verdict = str(certificate.get("verdict", ""))
    shown = {"passed": "certified", "failed": "not certified", "incomplete": "not measured"}.get(
        verdict, "no certificate"
    )
    chips = [Chip(text=shown, rgb=VERDICT_RGB.get(verdict, (70, 78, 90)))]
    area_m2 = analyse(world.grid, world.robot_radius_m).connected_area_m2
    chips.append(Chip(text=f"{area_m2:.0f} m² to drive"))
    scale = world.manifest.get("scale")
    sigma = scale.get("relative_sigma") if isinstance(scale, dict) else None
    if isinstance(sigma, int | float) and math.isfinite(sigma):
        chips.append(Chip(text=f"scale ± {100 * sigma:.0f} %"))
    chips.append(Chip(text="outdoors" if world.outdoors else "indoors"))
    return chips


def read_certificate(folder: Path) -> dict[str, Any]:
    """What the certificate says; nothing when there is none or it is damaged."""
    try:
        plain = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


def traces_of(drives: object) -> list[tuple[np.ndarray, bool]]:
    """(positions [K, 2], reached) of the `drives` of a certificate that make sense."""
    traces = []
    for drive in drives if isinstance(drives, list) else []:
        try:
            xy = np.array(drive["trace_xy_m"], float)
            if xy.ndim == 2 and xy.shape[1] == 2 and len(xy) > 1 and np.isfinite(xy).all():
                traces.append((xy, bool(drive["reached"])))
        except (KeyError, TypeError, ValueError):
            continue
    return traces


def _png(rgb_u8: np.ndarray) -> bytes:
    import io

    from PIL import Image

    assert rgb_u8.shape[1] == WIDTH_PX, "sheets have one width"
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb_u8)).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
