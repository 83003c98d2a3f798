"""Which rooms lie behind the photo's room, and where the doors are.

A further room repeats the photo's room, mirrored or not and turned, because that is all that is known about the place.
It slides towards the wall of an existing room along the door's axis until a wall's thickness remains between the two
outlines, so rooms nest into each other's corners and none has to be clipped: content copied along a ring of columns
keeps the distances it was seen at. A door is always straight ahead of the origins of both its rooms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from ..core.errors import InputError
from ..core.mesh import Label
from ..core.views import PolarLayout
from .room_outline import (
    PROFILE_STEP_M,
    DoorSpot,
    Outline,
    door_spot,
    gap_between,
    mirrored,
    outline_of,
    profile,
    with_door,
    with_panel,
)
from .rooms import Door, Room, RoomPlan, floor_points, floor_pose
from .trajectory import CELL_M, CLEARANCE_M, free_space

WALL_M = 0.2
"""Solid matter between two rooms, as much as a collider box is thick."""
DOOR_WIDTH_M, DOOR_HEIGHT_M = 1.1, 2.1
DOOR_SPARE_M = 0.3
"""A door is at least this much wider than the robot."""
LINTEL_M = 0.2
SECTOR_MARGIN_RAD = np.radians(2.0)
"""A panel stays this far from the photo's sector and from the panels of other doors."""
DIRECTIONS = 48
MAX_ROOMS = 12
CHOICE_M = 1.0
"""Places whose scores differ by less are equally good; the seed decides between them."""


@dataclass(kw_only=True)
class _Draft:
    layout: PolarLayout
    outline: Outline
    yaw_rad: float
    xy_m: np.ndarray
    mirrored: bool
    depth: int
    kept: list[tuple[float, float]] = field(default_factory=list)
    """(middle, half width) of the angles that no panel may touch."""
    exits: _Exits | None = None
    """Found when first asked for."""

    def finished(self) -> Room:
        return Room(
            layout=self.layout,
            outline=self.outline,
            T_world_room=floor_pose(self.yaw_rad, self.xy_m) if self.depth else np.eye(4),
            mirrored=self.mirrored,
        )


@dataclass(frozen=True, kw_only=True)
class _Exits:
    """Where a room may have doors."""

    spots: list[DoorSpot]
    profiles: np.ndarray
    """[len(spots), 2 * half_count]: how far the room reaches towards each, from `room_outline.profile`."""
    cost_m: np.ndarray
    """[len(spots)] what is bad about each, in metres of passage."""

    @property
    def distance_m(self) -> np.ndarray:
        return np.array([s.distance_m for s in self.spots])


@dataclass(frozen=True, kw_only=True)
class _Template:
    """A room that may be placed."""

    layout: PolarLayout
    outline: Outline
    mirrored: bool
    exits: _Exits


@dataclass(frozen=True, kw_only=True)
class _Placement:
    parent: int
    spot: DoorSpot
    template: _Template
    entry: DoorSpot
    offset_m: float
    """Between the two rooms' origins."""


def plan_rooms(
    layout: PolarLayout,
    photo_sector_rad: tuple[float, float],
    *,
    seed: int,
    robot_radius_m: float,
    target_area_m2: float | None = None,
    count: int | None = None,
    manhattan_yaw_rad: float | None = None,
) -> RoomPlan:
    """Decide all rooms of a world.

    Args:
        layout: full turn of the photo's room, its start cleared.
        photo_sector_rad: first and last azimuth that the photo shows; nothing in there changes and no door is cut.
        seed: decides between equally good places, and how rooms are turned and mirrored.
        robot_radius_m: of the robot that must fit through the doors.
        target_area_m2: floor wanted within a camera's reach; rooms are added until it is there.
        count: number of rooms wanted, the photo's included; give this or the area.
        manhattan_yaw_rad: direction of one family of walls, modulo 90 degrees; doors prefer to face these walls.

    Raises:
        InputError: the layout is no full turn, or not exactly one of area and count is given.
    """
    bins = len(layout.azimuth_rad)
    if abs(bins * layout.step_rad - 2 * np.pi) > 1e-6:
        raise InputError(f"layout spans {bins * layout.step_rad:.3f} rad; expected a full turn, see proxy.full_turn")
    if (target_area_m2 is None) == (count is None):
        raise InputError("plan_rooms takes target_area_m2 or count; expected exactly one of the two")
    widest = max(robot_radius_m, CLEARANCE_M)
    width = max(DOOR_WIDTH_M, 2 * widest + DOOR_SPARE_M)
    space = free_space(layout, reach_m=float(layout.boundary_m.max()) + 1.0)
    area = float(np.count_nonzero(space.reachable)) * CELL_M**2
    first, last = photo_sector_rad
    sector = (0.5 * (first + last), 0.5 * (last - first) + layout.step_rad + SECTOR_MARGIN_RAD)
    home = _Draft(
        layout=layout, outline=outline_of(layout), yaw_rad=0.0, xy_m=np.zeros(2), mirrored=False, depth=0, kept=[sector]
    )
    wanted = count if count is not None else int(np.ceil((target_area_m2 or 0.0) / max(area, CELL_M**2)))
    notes = []
    if wanted > MAX_ROOMS:
        notes.append(f"{wanted} rooms would be needed; a world has at most {MAX_ROOMS}")
    obstacle = _why_alone(layout, widest, area) if wanted > 1 else None
    if obstacle is not None or wanted <= 1:
        notes = [obstacle] if obstacle is not None else []
        return RoomPlan(rooms=(home.finished(),), doors=(), free_area_m2=area, notes=tuple(notes))
    assert layout.ceiling_m is not None, "worlds without a ceiling stay one room"
    height = min(max(DOOR_HEIGHT_M, layout.camera_height_m + widest), layout.ceiling_m - LINTEL_M)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 7]))
    search = _Search(width_m=width, yaw_rad=manhattan_yaw_rad, half_count=_half_count(layout))
    templates = []
    for flag, shape in ((False, layout), (True, mirrored(layout))):
        outline = outline_of(shape)
        exits = search.exits(outline, shape, flag, [])
        templates.append(_Template(layout=shape, outline=outline, mirrored=flag, exits=exits))
    drafts, doors = [home], list[Door]()
    while len(drafts) < min(wanted, MAX_ROOMS):
        placements = search.placements(drafts, templates, rng)
        if not any(_add_room(p, drafts, doors, width, height) for p in placements):
            notes.append(f"{len(drafts)} of {wanted} rooms: no wall is left that allows another door")
            break
    return RoomPlan(
        rooms=tuple(d.finished() for d in drafts),
        doors=tuple(doors),
        free_area_m2=area * len(drafts),
        notes=tuple(notes),
    )


def _why_alone(layout: PolarLayout, widest_m: float, area_m2: float) -> str | None:
    """Why the photo's room gets no neighbours, or None."""
    if layout.ceiling_m is None:
        return "one room: there is no ceiling, so there is no wall to cut a door into"
    if np.mean(layout.boundary_label != Label.WALL) > 0.5:
        return "one room: most of the boundary is scenery and not wall"
    if layout.ceiling_m - LINTEL_M < layout.camera_height_m + 0.5 * widest_m:
        return f"one room: a camera at {layout.camera_height_m:.2f} m does not pass under a door's lintel"
    if not area_m2:
        return f"one room: there is no clearance of {CLEARANCE_M} m around its origin"
    return None


def _half_count(layout: PolarLayout) -> int:
    """Strips to either side of a room's origin; doors shrink a room, so it is enough for all rooms of a world."""
    return int(np.ceil((float(layout.boundary_m.max()) + WALL_M) / PROFILE_STEP_M)) + 8


@dataclass(frozen=True, kw_only=True)
class _Search:
    """Looks for places of doors and rooms."""

    width_m: float
    """Of doors."""
    yaw_rad: float | None
    """Of one family of walls in the photo's room."""
    half_count: int
    """Strips of a profile to either side."""

    def exits(self, outline: Outline, layout: PolarLayout, flag: bool, kept: list[tuple[float, float]]) -> _Exits:
        """Where a room, mirrored or not, may have doors in its present state."""
        sign, base = -1.0 if flag else 1.0, self.yaw_rad or 0.0
        spots, costs = [], []
        for turn in np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS:
            spot = door_spot(outline, layout, sign * float(base + turn), width_m=self.width_m, kept=kept)
            if spot is None:
                continue
            spots.append(spot)
            off = abs((turn + np.pi / 4) % (np.pi / 2) - np.pi / 4) if self.yaw_rad is not None else 0.0
            # A door that faces no family of walls looks less built than a metre more of passage.
            costs.append(0.5 * spot.depth_m + (1.0 if off > 1e-6 else 0.0) + (4.0 if spot.obstructed else 0.0))
        profiles = [profile(outline, s.angle_rad, half_count=self.half_count, margin_m=WALL_M) for s in spots]
        return _Exits(spots=spots, profiles=np.array(profiles).reshape(-1, 2 * self.half_count), cost_m=np.array(costs))

    def placements(
        self, drafts: list[_Draft], templates: list[_Template], rng: np.random.Generator
    ) -> Iterator[_Placement]:
        """Every way to add one room, best first: short passages in smooth walls near the start."""
        scores, sources = [], []
        for parent, draft in enumerate(drafts):
            if draft.exits is None:
                draft.exits = self.exits(draft.outline, draft.layout, draft.mirrored, draft.kept)
            ahead = draft.exits
            for template in templates:
                towards = template.exits
                # The rooms look at the wall from opposite sides: one's left is the other's right.
                offsets = np.array([(a + towards.profiles[:, ::-1]).max(1) for a in ahead.profiles]) + WALL_M
                offsets = offsets.reshape(len(ahead.spots), len(towards.spots))
                passage = offsets - ahead.distance_m[:, None] - towards.distance_m
                score = passage + ahead.cost_m[:, None] + towards.cost_m + draft.depth
                scores.append((score + CHOICE_M * rng.uniform(size=score.shape)).ravel())
                sources += [
                    (parent, spot, template, entry, float(offset))
                    for spot, row in zip(ahead.spots, offsets, strict=True)
                    for entry, offset in zip(towards.spots, row, strict=True)
                ]
        for k in np.argsort(np.concatenate(scores), kind="stable"):
            parent, spot, template, entry, offset = sources[k]
            yield _Placement(parent=parent, spot=spot, template=template, entry=entry, offset_m=offset)


def _add_room(placement: _Placement, drafts: list[_Draft], doors: list[Door], width_m: float, height_m: float) -> bool:
    """Add the room and its door if they touch nothing that is already there; whether they did."""
    parent, spot, entry = drafts[placement.parent], placement.spot, placement.entry
    heading = parent.yaw_rad + spot.angle_rad
    draft = _Draft(
        layout=placement.template.layout,
        outline=placement.template.outline,
        yaw_rad=heading + np.pi - entry.angle_rad,
        xy_m=parent.xy_m + placement.offset_m * np.array([np.cos(heading), np.sin(heading)]),
        mirrored=placement.template.mirrored,
        depth=parent.depth + 1,
    )
    index = len(doors)
    changed = _opened(parent, spot, width_m, index)
    draft = _opened(draft, entry, width_m, index)
    corners = _passage_corners(changed, draft, index)
    room = draft.finished().outline_world_m
    for i, other in enumerate(drafts):
        shape = (changed if i == placement.parent else other).finished().outline_world_m
        if gap_between(room, shape) < 0.75 * WALL_M:
            return False
        if i != placement.parent and gap_between(corners, shape) < 0.75 * WALL_M:
            return False
    if any(min(gap_between(d.corners_xy_m, room), gap_between(d.corners_xy_m, corners)) < 0.75 * WALL_M for d in doors):
        return False
    drafts[placement.parent] = changed
    drafts.append(draft)
    doors.append(
        Door(rooms=(placement.parent, len(drafts) - 1), corners_xy_m=corners, width_m=width_m, height_m=height_m)
    )
    return True


def _opened(draft: _Draft, spot: DoorSpot, width_m: float, door: int) -> _Draft:
    return replace(
        draft,
        layout=with_panel(draft.layout, spot),
        outline=with_door(draft.outline, spot, width_m=width_m, door=door),
        kept=[*draft.kept, (spot.angle_rad, spot.half_angle_rad + SECTOR_MARGIN_RAD)],
        exits=None,
    )


def _passage_corners(first: _Draft, second: _Draft, door: int) -> np.ndarray:
    """[4, 2] world, as in `Door.corners_xy_m`."""
    ends = []
    for draft in (first, second):
        edge = int(np.flatnonzero(draft.outline.door == door)[0])
        pair = draft.outline.xy_m[[edge, (edge + 1) % len(draft.outline.xy_m)]]
        ends.append(floor_points(draft.finished().T_world_room, pair))
    return np.array([ends[0][0], ends[1][1], ends[1][0], ends[0][1]])
