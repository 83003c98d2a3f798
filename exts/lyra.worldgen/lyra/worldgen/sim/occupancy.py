"""Where a robot can drive: the occupancy grid of a collider, its statistics, and the ROS map files.

A cell is OCCUPIED when collider geometry lies over it between ankle height and the robot's top, FREE when it has floor,
no obstacle, and can be reached from the start, and UNKNOWN otherwise: outside the walls, or inside a closed object.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.config import SimulationConfig
from ..core.errors import InputError
from ..core.grid import Cell, OccupancyGrid
from ..core.mesh import Label, TriMesh
from ..core.optional import require
from ..core.raycast import Raycaster
from .collision import ColliderPlan
from .usd_mesh import write_png

ANKLE_M = 0.05
"""Lower geometry is rolled over: thresholds, carpets, reconstruction ripple."""
HEADROOM_M = 0.05
MARGIN_M = 0.05
"""Kept between the robot and obstacles when it plans; about one cell, which rasterising may be wrong by."""
ROUNDING = 0.35
"""Share of a cell by which an obstacle has to reach into it. Nothing would keep the robot away from walls by up to a
whole cell too much, half a cell would bring it as often too near as too far; this errs by a third to the safe side."""
PGM_FREE, PGM_UNKNOWN, PGM_OCCUPIED = 254, 127, 0
"""Grey values that map_server and MobilityGen both read back as free, unknown, occupied."""
OCCUPIED_THRESH, FREE_THRESH = 0.65, 0.196


@dataclass(frozen=True, kw_only=True)
class FreeSpace:
    """The grid and what follows from it for one robot."""

    grid: OccupancyGrid
    clearance_m: np.ndarray
    """[rows, cols] float32 distance of every cell's centre to the nearest cell that is not free; 0 there."""
    navigable: np.ndarray
    """[rows, cols] bool: the robot's centre may be here, in the part that is connected to the start."""
    start_xy_m: tuple[float, float]
    """Navigable position nearest to the origin; the origin itself if nothing is navigable."""
    floor_z_m: float
    stats: dict[str, Any]
    """JSON values; see `free_space_stats`."""


def build_occupancy(mesh: TriMesh, plan: ColliderPlan, cfg: SimulationConfig) -> FreeSpace:
    """Rasterise a collider into the grid of a robot that drives on its floor.

    Args:
        mesh: the visual mesh, which says where there is floor; SKY is ignored.
        plan: its collider, which says where the obstacles are.
        cfg: cell size and robot size.

    Raises:
        InputError: the world is so large that the grid would exceed 64 million cells.
    """
    floor = _floor_faces(mesh, plan.floor_z_m)
    if not floor.face_count:
        raise InputError("the mesh has no faces at floor height; expected FLOOR faces under the camera")
    cell = cfg.cell_m
    low, high = floor.bounds()
    # Two cells of rim, snapped to multiples of the cell so that equal worlds get equal grids.
    first = np.floor(low[:2] / cell).astype(int) - 2
    count = np.ceil(high[:2] / cell).astype(int) + 2 - first
    if count.prod() > 64_000_000:
        raise InputError(f"the map would have {count[0]}x{count[1]} cells; use a larger cell_m or a smaller world")
    grid = OccupancyGrid(
        cells=np.full((count[1], count[0]), Cell.UNKNOWN, np.uint8),
        cell_m=cell,
        origin_xy_m=(float(first[0] * cell), float(first[1] * cell)),
    )
    supported = _supported(floor, grid, plan.floor_z_m)
    obstacle = _obstacles(plan, grid, plan.floor_z_m + ANKLE_M, plan.floor_z_m + cfg.robot_height_m + HEADROOM_M)
    open_cells = supported & ~obstacle
    components, _ = _components(open_cells)
    start = _nearest(open_cells, grid, (0.0, 0.0))
    free = np.zeros_like(open_cells) if start is None else components == components[start]
    return describe_space(grid, free, obstacle, plan.floor_z_m, cfg)


def with_things(grid: OccupancyGrid, things: TriMesh, floor_z_m: float, cfg: SimulationConfig) -> FreeSpace:
    """The map after things were put on its floor.

    Args:
        grid: the map without them.
        things: what they collide with, faces outward.
        floor_z_m: height of the floor.
        cfg: robot size; the cells are the map's.
    """
    plan = ColliderPlan(
        boxes=(), rest=things, floor_z_m=floor_z_m, mode="mesh", boxed_share=0.0, floaters_removed=0, flipped_pieces=0
    )
    added = _obstacles(plan, grid, floor_z_m + ANKLE_M, floor_z_m + cfg.robot_height_m + HEADROOM_M)
    obstacle = (grid.cells == Cell.OCCUPIED) | added
    free = grid.free & ~obstacle
    # What they cut off from where most of the floor is cannot be reached any more; their insides are such places.
    parts, sizes = _components(free)
    sizes[0] = 0
    if len(sizes) > 1:
        free = parts == int(sizes.argmax())
    return describe_space(grid, free, obstacle, floor_z_m, cfg)


def describe_space(
    grid: OccupancyGrid, free: np.ndarray, obstacle: np.ndarray, floor_z_m: float, cfg: SimulationConfig
) -> FreeSpace:
    """What follows for a robot from where there is floor and where there are obstacles.

    Args:
        grid: size and place of the cells; their values do not matter.
        free: [rows, cols] bool, floor that can be reached from the start.
        obstacle: [rows, cols] bool.
        floor_z_m: height of the floor.
        cfg: cell size and robot size.
    """
    ndimage = require("scipy.ndimage", extra="sim")

    def clearance_of(mask: np.ndarray) -> np.ndarray:
        # Half a cell less: distance to the blocked cell's border, not to its centre.
        distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] - 0.5
        return (np.maximum(distance, 0.0) * cfg.cell_m).astype(np.float32)

    fits = clearance_of(free) >= cfg.robot_radius_m + MARGIN_M
    parts, sizes = _components(fits)
    navigable = np.zeros_like(fits)
    if len(sizes) > 1:
        # The part around the start, unless the start is pinched off in a nook far smaller than the main part.
        seat = _nearest(fits, grid, (0.0, 0.0))
        chosen = int(parts[seat]) if seat is not None else 0
        largest = int(sizes[1:].argmax()) + 1
        if sizes[chosen] < 0.5 * sizes[largest]:
            chosen = largest
        navigable = parts == chosen
        # Free is what belongs to the chosen part; a neighbouring room behind a gap too narrow stays free as well.
    cells = np.full(grid.shape, Cell.UNKNOWN, np.uint8)
    cells[obstacle] = Cell.OCCUPIED
    cells[free] = Cell.FREE
    grid = OccupancyGrid(cells=cells, cell_m=grid.cell_m, origin_xy_m=grid.origin_xy_m)
    seat = _nearest(navigable, grid, (0.0, 0.0))
    start = (0.0, 0.0) if seat is None else tuple(float(x) for x in grid.centre_xy_m(np.array(seat)))
    clearance = clearance_of(free)
    return FreeSpace(
        grid=grid,
        clearance_m=clearance,
        navigable=navigable,
        start_xy_m=(start[0], start[1]),
        floor_z_m=floor_z_m,
        stats=free_space_stats(grid, clearance, fits, navigable, cfg),
    )


def free_space_stats(
    grid: OccupancyGrid, clearance_m: np.ndarray, fits: np.ndarray, navigable: np.ndarray, cfg: SimulationConfig
) -> dict[str, Any]:
    """Numbers a user asks for first: areas [m²], shares and clearances [m], rounded to millimetres."""
    cell_m2 = grid.cell_m**2
    _, sizes = _components(fits)
    inside = clearance_m[navigable]
    return {
        "free_area_m2": round(float(grid.free.sum() * cell_m2), 3),
        "navigable_area_m2": round(float(navigable.sum() * cell_m2), 3),
        "navigable_components": int(len(sizes) - 1),
        "largest_connected_share": round(float(sizes[1:].max() / max(sizes[1:].sum(), 1)), 4)
        if len(sizes) > 1
        else 0.0,
        "clearance_median_m": round(float(np.median(inside)), 3) if len(inside) else 0.0,
        "clearance_max_m": round(float(inside.max()), 3) if len(inside) else 0.0,
        "robot_radius_m": cfg.robot_radius_m,
        "robot_height_m": cfg.robot_height_m,
        "cell_m": grid.cell_m,
    }


def write_ros_map(folder: Path, grid: OccupancyGrid, *, picture: str = "map.png") -> list[str]:
    """A map's picture and `map.yaml` as map_server, Nav2 and MobilityGen read them; returns the file names.

    The picture is PNG, or PGM where its name says so. Its first row is the highest y; only here the grid is flipped.
    """
    shades = np.full(grid.shape, PGM_UNKNOWN, np.uint8)
    shades[grid.cells == Cell.FREE] = PGM_FREE
    shades[grid.cells == Cell.OCCUPIED] = PGM_OCCUPIED
    if picture.endswith(".pgm"):
        folder.mkdir(parents=True, exist_ok=True)
        rows, cols = grid.shape
        (folder / picture).write_bytes(b"P5\n%d %d\n255\n" % (cols, rows) + shades[::-1].tobytes())
    else:
        write_png(folder / picture, shades[::-1])
    x, y = (round(v, 6) for v in grid.origin_xy_m)
    text = (
        f"image: {picture}\nresolution: {grid.cell_m}\norigin: [{x}, {y}, 0.0]\nnegate: 0\n"
        f"occupied_thresh: {OCCUPIED_THRESH}\nfree_thresh: {FREE_THRESH}\n"
    )
    replace_text(folder / "map.yaml", text)
    return [picture, "map.yaml"]


def load_ros_map(path: Path) -> OccupancyGrid:
    """Read a trinary ROS map from its yaml file.

    Raises:
        InputError: the yaml or the image is unreadable, incomplete or out of range, or the image lies elsewhere.
    """
    import yaml
    from PIL import Image

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        name, cell = data["image"], float(data["resolution"])
        x, y, yaw = (float(v) for v in data["origin"])
        negate = bool(data["negate"])
        occupied, free = float(data["occupied_thresh"]), float(data["free_thresh"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a ROS map: {error}\nFile: {path}") from error
    if not isinstance(name, str) or Path(name).name != name:
        raise InputError(f"the map's image is {name!r}; expected a file name beside the yaml\nFile: {path}")
    if not (np.isfinite([cell, x, y, yaw]).all() and cell > 0 and yaw == 0):
        raise InputError(
            f"resolution {cell}, origin ({x}, {y}, {yaw}); expected positive metres and no yaw\nFile: {path}"
        )
    try:
        with Image.open(path.with_name(name)) as image:
            if image.width * image.height > 64_000_000:
                raise InputError(f"the map has {image.width}x{image.height} cells; expected at most 64 million")
            grey = np.asarray(image.convert("L"), float)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"the map's image cannot be read: {error}\nFile: {path.with_name(name)}") from error
    probability = grey / 255 if negate else (255 - grey) / 255
    cells = np.full(grey.shape, Cell.UNKNOWN, np.uint8)
    cells[probability < free] = Cell.FREE
    cells[probability > occupied] = Cell.OCCUPIED
    return OccupancyGrid(cells=np.ascontiguousarray(cells[::-1]), cell_m=cell, origin_xy_m=(x, y))


def replace_text(path: Path, text: str) -> None:
    """Write UTF-8 with `\\n` line ends beside `path` and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    os.replace(partial, path)


def _floor_faces(mesh: TriMesh, floor_z_m: float) -> TriMesh:
    """Faces that a wheel can stand on: level, face up, within ankle height of the floor."""
    z = mesh.triangles()[:, :, 2]
    keep = (np.abs(z - floor_z_m).max(1) <= ANKLE_M) & (mesh.face_normals()[:, 2] > 0.7)
    if mesh.face_labels is not None:
        # Ground beyond the boundary is BACKDROP and stays out.
        keep &= np.isin(mesh.face_labels, (Label.FLOOR, Label.UNKNOWN))
    return mesh.select_faces(keep)


def _supported(floor: TriMesh, grid: OccupancyGrid, floor_z_m: float) -> np.ndarray:
    """[rows, cols] bool: floor under the cell's centre; pinholes are closed because the floor's slab closes them."""
    ndimage = require("scipy.ndimage", extra="sim")
    row, col = np.indices(grid.shape)
    xy = grid.centre_xy_m(np.stack([row, col], -1)).reshape(-1, 2)
    # A little off the centre: rays along shared triangle edges may slip through.
    start = np.c_[xy + 1e-4 * np.array([1.0, 0.7]), np.full(len(xy), floor_z_m + 0.5)]
    t, _, _ = Raycaster(floor).cast(start, np.broadcast_to(np.array([0.0, 0.0, -1.0]), start.shape))
    seen = np.isfinite(t).reshape(grid.shape)
    reach = max(1, round(0.1 / grid.cell_m))
    return seen | ndimage.binary_closing(np.pad(seen, reach), iterations=reach)[reach:-reach, reach:-reach]


def _obstacles(plan: ColliderPlan, grid: OccupancyGrid, low_m: float, high_m: float) -> np.ndarray:
    """[rows, cols] bool: collider geometry between two heights reaches into the cell, by `ROUNDING` of it.

    What is thinner than that still blocks the cells that it stands in.
    """
    blocked = np.zeros(grid.shape, bool)
    for box in plan.boxes:
        corner = box.corners_m()
        if box.label == Label.FLOOR or corner[:, 2].max() <= low_m or corner[:, 2].min() >= high_m:
            continue
        rc = grid.rowcol(corner[:, :2])
        r0, c0 = np.maximum(rc.min(0), 0)
        r1, c1 = np.minimum(rc.max(0) + 1, grid.shape)
        if r0 >= r1 or c0 >= c1:
            continue
        row, col = np.meshgrid(np.arange(r0, r1), np.arange(c0, c1), indexing="ij")
        centre = grid.centre_xy_m(np.stack([row, col], -1))
        local = (centre - box.centre_m[:2]) @ box.R_world_box[:2, :2]
        # A cell is reached when its centre is within its own extent along the box's axes, less the rounding.
        half_cell = (0.5 - ROUNDING) * grid.cell_m * np.abs(box.R_world_box[:2, :2]).sum(0)
        half_cell = np.maximum(half_cell, 0.5 * grid.cell_m - box.half_m[:2])
        blocked[r0:r1, c0:c1] |= (np.abs(local) < box.half_m[:2] + half_cell - 1e-6).all(-1)
    if plan.rest.face_count:
        triangles = plan.rest.triangles()
        z = triangles[:, :, 2]
        near = (z.max(1) > low_m) & (z.min(1) < high_m)
        triangles = triangles[near]
        # A face bounds the matter behind it.
        triangles[:, :, :2] -= ROUNDING * grid.cell_m * plan.rest.face_normals()[near, None, :2]
        points = np.concatenate([outline_points(triangles, low_m, high_m, grid.cell_m / 3), _insides(triangles, grid)])
        points = points[(points[:, 2] >= low_m) & (points[:, 2] <= high_m)]
        rc = grid.rowcol(points[:, :2])
        rc = rc[grid.inside(rc)]
        blocked[rc[:, 0], rc[:, 1]] = True
    return blocked


def outline_points(triangles: np.ndarray, low_m: float, high_m: float, spacing_m: float) -> np.ndarray:
    """Points [N, 3] along the edges of triangles [F, 3, 3] and along their cuts at two heights, between these heights.

    Together they are the outline of the part between the heights; of an upright triangle they are all there is from
    above.
    """
    start, end = [triangles.reshape(-1, 3)], [np.roll(triangles, -1, axis=1).reshape(-1, 3)]
    for height in (low_m, high_m):
        a, b = cut_at(triangles, height)
        start.append(a)
        end.append(b)
    a, b = np.concatenate(start), np.concatenate(end)
    # Clip to the heights before sampling: tall walls have long edges outside them.
    rise = b[:, 2] - a[:, 2]
    flat = np.abs(rise) < 1e-9
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.sort(np.stack([(low_m - a[:, 2]) / rise, (high_m - a[:, 2]) / rise]), axis=0)
    t0, t1 = np.where(flat, 0.0, np.clip(t[0], 0, 1)), np.where(flat, 1.0, np.clip(t[1], 0, 1))
    a, b = a + t0[:, None] * (b - a), a + t1[:, None] * (b - a)
    steps = np.ceil(np.linalg.norm((b - a)[:, :2], axis=1) / spacing_m).astype(int) + 1
    owner, k = _counted(steps + 1)
    return a[owner] + (b - a)[owner] * (k / steps[owner])[:, None]


def cut_at(triangles: np.ndarray, height_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Where triangles [F, 3, 3] meet a level plane: both ends [S, 3] of every piece of line.

    A corner in the plane counts as above it, so that a surface that has an edge there is cut once and not missed.
    """
    ordered = np.take_along_axis(triangles, np.argsort(triangles[:, :, 2], axis=1)[:, :, None], axis=1)
    cut = ordered[(ordered[:, 0, 2] < height_m) & (ordered[:, 2, 2] >= height_m)]
    lower, middle, upper = cut[:, 0], cut[:, 1], cut[:, 2]
    below = (middle[:, 2] < height_m)[:, None]
    first = _at_height(lower, upper, height_m)
    second = _at_height(np.where(below, middle, lower), np.where(below, upper, middle), height_m)
    return first, second


def _insides(triangles: np.ndarray, grid: OccupancyGrid) -> np.ndarray:
    """Points [N, 3] of triangles [F, 3, 3] over the centres of the cells that they cover seen from above."""
    corners = triangles[:, :, :2]
    first = np.clip(grid.rowcol(corners.min(1)), 0, np.array(grid.shape) - 1)
    last = np.clip(grid.rowcol(corners.max(1)), 0, np.array(grid.shape) - 1)
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    span = last - first + 1
    level = np.abs(normal[:, 2]) > 1e-6
    owner, k = _counted(np.where(level, span.prod(1), 0))
    width = span[owner, 1]
    centre = grid.centre_xy_m(np.stack([first[owner, 0] + k // width, first[owner, 1] + k % width], -1))
    a, b, c = (corners[owner, i] for i in range(3))

    def side(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return (q[:, 0] - p[:, 0]) * (centre[:, 1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (centre[:, 0] - p[:, 0])

    sides = np.stack([side(a, b), side(b, c), side(c, a)], -1)
    inside = (sides >= 0).all(1) | (sides <= 0).all(1)
    owner, centre = owner[inside], centre[inside]
    n, p = normal[owner], triangles[owner, 0]
    z = p[:, 2] - ((centre - p[:, :2]) * n[:, :2]).sum(1) / n[:, 2]
    return np.c_[centre, z]


def _at_height(a: np.ndarray, b: np.ndarray, height: float) -> np.ndarray:
    """Points [N, 3] of the segments from a to b at one height."""
    rise = b[:, 2] - a[:, 2]
    t = np.where(np.abs(rise) < 1e-12, 0.0, (height - a[:, 2]) / np.where(rise == 0, 1.0, rise))
    return a + np.clip(t, 0, 1)[:, None] * (b - a)


def _counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every group i, `counts[i]` rows: the group [N] and the running number within it [N]."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """4-connected parts [rows, cols] int (0 outside) and their sizes, size of the outside first."""
    ndimage = require("scipy.ndimage", extra="sim")
    labels, count = ndimage.label(mask)
    return labels, np.bincount(labels.ravel(), minlength=count + 1)


def _nearest(mask: np.ndarray, grid: OccupancyGrid, xy_m: tuple[float, float]) -> tuple[int, int] | None:
    """The marked cell whose centre is nearest to a position; the first one in row order on a tie."""
    where = np.argwhere(mask)
    if not len(where):
        return None
    distance = np.linalg.norm(grid.centre_xy_m(where) - np.asarray(xy_m), axis=1)
    row, col = where[int(np.round(distance, 9).argmin())]
    return int(row), int(col)
