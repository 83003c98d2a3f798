"""Several rooms behind doors: the records, the closed mesh, and the free space of cameras in it.

Every room is star-shaped about its own origin, as the proxy world of one room is, and stands apart from the others by
solid wall. Doors are openings in flat panels; a straight passage joins the two panels of a door through the wall.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.frames import invert_rigid, rigid, rotation_z, transform_points
from ..core.mesh import Label, TriMesh, concatenate_meshes
from ..core.optional import require
from ..core.views import PolarLayout
from .proxy import build_proxy, object_prisms
from .room_outline import Outline
from .trajectory import CELL_M, CLEARANCE_M, FreeSpace


@dataclass(frozen=True, kw_only=True)
class Room:
    """One star-shaped room."""

    layout: PolarLayout
    """Full turn in the room's frame, its doors closed by flat panels: what a panorama from its origin shows."""
    outline: Outline
    """Of its floor in the room's frame, with the openings of its doors."""
    T_world_room: np.ndarray
    """[4, 4]: a turn about the vertical and a shift on the floor; identity for the photo's room."""
    mirrored: bool
    """The room repeats the photo's room as seen in a mirror."""

    @property
    def yaw_rad(self) -> float:
        return float(np.arctan2(self.T_world_room[1, 0], self.T_world_room[0, 0]))

    @property
    def outline_world_m(self) -> np.ndarray:
        """[P, 2]."""
        return floor_points(self.T_world_room, self.outline.xy_m)


@dataclass(frozen=True, kw_only=True)
class Door:
    """An opening between two rooms with the passage through the wall between them."""

    rooms: tuple[int, int]
    """The room nearer to the start, then the one behind the door."""
    corners_xy_m: np.ndarray
    """[4, 2] of the passage's floor, counter-clockwise: right and left are seen from the first room; first room's
    right, second room's right, second room's left, first room's left."""
    width_m: float
    height_m: float

    @property
    def centre_xy_m(self) -> np.ndarray:
        """[2] middle of the passage."""
        return self.corners_xy_m.mean(0)

    @property
    def axis_xy(self) -> np.ndarray:
        """[2] unit vector from the first room into the second."""
        along = self.corners_xy_m[[1, 2]].mean(0) - self.corners_xy_m[[0, 3]].mean(0)
        return along / np.linalg.norm(along)

    @property
    def length_m(self) -> float:
        """Of the passage."""
        return float(np.linalg.norm(self.corners_xy_m[[1, 2]].mean(0) - self.corners_xy_m[[0, 3]].mean(0)))


@dataclass(frozen=True, kw_only=True)
class RoomPlan:
    """All rooms of a world, decided before anything is painted; room 0 is the photo's."""

    rooms: tuple[Room, ...]
    doors: tuple[Door, ...]
    free_area_m2: float
    """Estimate of the floor that a camera can reach."""
    notes: tuple[str, ...] = ()
    """Why there are fewer rooms than asked for."""

    def room_of(self, xy_m: np.ndarray) -> np.ndarray:
        """[...] int32 room at world positions [..., 2]; -1 in passages and in the walls."""
        xy = np.asarray(xy_m, float)
        room = np.full(xy.shape[:-1], -1, np.int32)
        for index, one in enumerate(self.rooms):
            room[inside_layout(one.layout, floor_points(invert_rigid(one.T_world_room), xy))] = index
        return room


def floor_points(T_a_b: np.ndarray, xy_b_m: np.ndarray) -> np.ndarray:
    """Floor points [..., 2] from frame b to frame a."""
    return transform_points(T_a_b, np.concatenate([xy_b_m, np.zeros((*xy_b_m.shape[:-1], 1))], -1))[..., :2]


def floor_pose(yaw_rad: float, xy_m: np.ndarray) -> np.ndarray:
    """T_world_room of a turn and a shift on the floor."""
    return rigid(rotation_z(yaw_rad), np.array([xy_m[0], xy_m[1], 0.0]))


def inside_layout(layout: PolarLayout, xy_m: np.ndarray) -> np.ndarray:
    """[...] bool: nearer than the boundary, at positions [..., 2] in the layout's frame; objects are not looked at."""
    a = np.arctan2(xy_m[..., 1], xy_m[..., 0])
    b = np.floor((a - layout.azimuth_rad[0]) / layout.step_rad + 0.5).astype(int) % len(layout.azimuth_rad)
    return np.hypot(xy_m[..., 0], xy_m[..., 1]) < layout.boundary_m[b]


def build_rooms_proxy(plan: RoomPlan) -> TriMesh:
    """The closed proxy world of all rooms, with face labels; faces point into free space.

    Floor, walls, ceilings and passages share whole edges everywhere, so the shell is a closed surface; objects are
    closed solids of their own. A single room gives `proxy.build_proxy` of its layout.
    """
    if len(plan.rooms) == 1:
        return build_proxy(plan.rooms[0].layout)
    parts = [_placed(part, room.T_world_room) for room in plan.rooms for part in _room_parts(room, plan.doors)]
    ends: dict[int, list[np.ndarray]] = {k: [] for k in range(len(plan.doors))}
    for room in plan.rooms:
        at = room.outline_world_m
        for edge in np.flatnonzero(room.outline.door >= 0):
            ends[int(room.outline.door[edge])].append(at[[edge, (edge + 1) % len(at)]])
    for index, door in enumerate(plan.doors):
        first, second = ends[index]
        # Each room walks its own opening counter-clockwise, so the second one's order continues the first one's.
        corners = np.array([first[0], second[1], second[0], first[1]])
        parts.append(_passage(corners, door.height_m))
    return concatenate_meshes(parts).validate()


def _placed(mesh: TriMesh, T_world_room: np.ndarray) -> TriMesh:
    return TriMesh(
        vertices=transform_points(T_world_room, mesh.vertices), faces=mesh.faces, face_labels=mesh.face_labels
    )


def _room_parts(room: Room, doors: tuple[Door, ...]) -> list[TriMesh]:
    """Floor, walls, ceiling and objects of one room in its own frame."""
    xy, n = room.outline.xy_m, len(room.outline.xy_m)
    assert room.layout.ceiling_m is not None, "rooms with doors are indoors"
    top = float(room.layout.ceiling_m)
    middle = np.array([doors[d].height_m if d >= 0 else 0.0 for d in room.outline.door])
    opening = room.outline.door >= 0
    # Vertices at the sides of a door get a second one at the height of its lintel, so that no edge ends inside another.
    side = np.where(opening, middle, np.roll(middle, 1))
    low, high = np.column_stack([xy, np.zeros(n)]), np.column_stack([xy, np.full(n, top)])
    vertices = np.concatenate([low, high, np.column_stack([xy, side])])
    faces, labels = [], []
    for i in range(n):
        j = (i + 1) % n
        if opening[i]:
            ring = [j + 2 * n, i + 2 * n, i + n, j + n]
        else:
            # Counter-clockwise from the room; it starts at a vertex from which the fan has no flat triangle.
            ring = [j, i, *([i + 2 * n] if side[i] else []), i + n, j + n, *([j + 2 * n] if side[j] else [])]
            apex = ring.index(i + 2 * n) if side[i] else ring.index(j + 2 * n) if side[j] else 0
            ring = ring[apex:] + ring[:apex]
        faces += [[ring[0], ring[k], ring[k + 1]] for k in range(1, len(ring) - 1)]
        labels += [Label.WALL if opening[i] else room.outline.label[i]] * (len(ring) - 2)
    walls = TriMesh(
        vertices=vertices, faces=np.array(faces, np.int32), face_labels=np.array(labels, np.uint8)
    ).select_faces(np.ones(len(faces), bool))
    i, j = np.arange(n), np.roll(np.arange(n), -1)
    fan = np.stack([np.full(n, n), i, j], 1).astype(np.int32)
    floor = TriMesh(
        vertices=np.concatenate([low, np.zeros((1, 3))]), faces=fan, face_labels=np.full(n, Label.FLOOR, np.uint8)
    )
    ceiling = TriMesh(
        vertices=np.concatenate([high, [[0.0, 0.0, top]]]),
        faces=fan[:, ::-1].copy(),
        face_labels=np.full(n, Label.CEILING, np.uint8),
    )
    return [floor, walls, ceiling, *object_prisms(room.layout)]


def _passage(corners_xy_m: np.ndarray, height_m: float) -> TriMesh:
    """Threshold, jambs and soffit between two openings; corners [4, 2] counter-clockwise, openings at 3-0 and 1-2."""
    low, high = np.column_stack([corners_xy_m, np.zeros(4)]), np.column_stack([corners_xy_m, np.full(4, height_m)])
    quads = np.array([[0, 1, 2, 3], [1, 0, 4, 5], [3, 2, 6, 7], [7, 6, 5, 4]])
    labels = np.array([Label.FLOOR, Label.WALL, Label.WALL, Label.CEILING], np.uint8)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    return TriMesh(vertices=np.concatenate([low, high]), faces=faces, face_labels=np.tile(labels, 2))


def free_space_of_rooms(plan: RoomPlan, *, clearance_m: float = CLEARANCE_M) -> FreeSpace:
    """Clearance of camera positions in all rooms and passages; walls and objects of every height count.

    Args:
        plan: rooms and doors.
        clearance_m: what a camera or robot keeps; `reachable` is what it reaches from the origin.
    """
    ndimage: Any = require("scipy.ndimage", extra="gen")
    outlines = [room.outline_world_m for room in plan.rooms]
    lowest, highest = np.concatenate(outlines).min(0), np.concatenate(outlines).max(0)
    first = np.floor(lowest / CELL_M).astype(int) - 1
    cols, rows = np.ceil(highest / CELL_M).astype(int) + 1 - first
    origin = first * CELL_M
    free = np.zeros((rows, cols), bool)
    for room, outline in zip(plan.rooms, outlines, strict=True):
        window, xy = _cells_around(outline, origin, free.shape)
        free[window] |= inside_layout(room.layout, floor_points(invert_rigid(room.T_world_room), xy))
    for room in plan.rooms:
        cells = np.floor((floor_points(room.T_world_room, _object_points(room.layout)) - origin) / CELL_M).astype(int)
        free[cells[:, 1], cells[:, 0]] = False
    for door in plan.doors:
        window, xy = _cells_around(door.corners_xy_m, origin, free.shape)
        offset = xy - door.centre_xy_m
        across = np.abs(offset @ np.array([-door.axis_xy[1], door.axis_xy[0]]))
        # One cell longer at both ends, where the panel's own bins round the opening off.
        free[window] |= (across < 0.5 * door.width_m) & (np.abs(offset @ door.axis_xy) < 0.5 * door.length_m + CELL_M)
    clearance = ndimage.distance_transform_edt(np.pad(free, 1))[1:-1, 1:-1] * CELL_M
    clearance = np.where(free, np.maximum(clearance - CELL_M / 2, 0.0), 0.0)
    parts = ndimage.label(clearance > clearance_m)[0]
    home = parts[-first[1], -first[0]]
    return FreeSpace(clearance_m=clearance, origin_xy_m=origin, reachable=(parts == home) & (home > 0))


def _cells_around(
    polygon_xy_m: np.ndarray, origin_xy_m: np.ndarray, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], np.ndarray]:
    """The window of the grid around a polygon, and its cells' centres [rows, cols, 2]."""
    low = np.maximum(np.floor((polygon_xy_m.min(0) - origin_xy_m) / CELL_M).astype(int) - 2, 0)
    high = np.minimum(np.ceil((polygon_xy_m.max(0) - origin_xy_m) / CELL_M).astype(int) + 2, shape[::-1])
    x = origin_xy_m[0] + (np.arange(low[0], high[0]) + 0.5) * CELL_M
    y = origin_xy_m[1] + (np.arange(low[1], high[1]) + 0.5) * CELL_M
    return (slice(low[1], high[1]), slice(low[0], high[0])), np.stack(np.meshgrid(x, y), -1)


def _object_points(layout: PolarLayout) -> np.ndarray:
    """[N, 2] points on all objects, less than a cell apart along and across every bin."""
    near = layout.object_near_m
    # What lies behind the boundary is no part of the room.
    far = np.minimum(layout.object_far_m, layout.boundary_m[layout.object_bin])
    counts = np.maximum(np.ceil((far - near) / (0.5 * CELL_M)).astype(int) + 1, 0)
    index = np.repeat(np.arange(len(near)), counts)
    along = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
    radius = np.minimum(near[index] + 0.5 * CELL_M * along, far[index])
    angle = layout.azimuth_rad[layout.object_bin[index]][:, None] + layout.step_rad * np.array([-0.5, 0.0, 0.5])
    return (radius[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], -1)).reshape(-1, 2)
