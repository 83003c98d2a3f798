"""Further rooms behind doors: what is known stays, rooms stand apart, and the whole is one closed world."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import invert_rigid, rotate_vectors, transform_points
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.views import PolarLayout
from lyra.worldgen.generation import room_plan
from lyra.worldgen.generation.proxy import build_proxy, clear_start, full_turn
from lyra.worldgen.generation.room_outline import contains, gap_between, mirrored, outline_of, turned
from lyra.worldgen.generation.room_plan import WALL_M, plan_rooms
from lyra.worldgen.generation.rooms import RoomPlan, build_rooms_proxy, floor_points, free_space_of_rooms
from lyra.worldgen.generation.trajectory import CELL_M, CLEARANCE_M, free_space
from lyra.worldgen.sim.collision import build_colliders
from lyra.worldgen.sim.occupancy import build_occupancy
from rooms import analytic_room

SECTOR = (-0.7, 0.7)
RADIUS_M = 0.25
BINS = 480


def box_layout(**changes) -> PolarLayout:
    """The analytic 7 x 6 m room as a full turn."""
    azimuth = -np.pi + (np.arange(BINS) + 0.5) * 2 * np.pi / BINS
    return replace(analytic_room().layout(azimuth), **changes)


def planned(layout: PolarLayout, *, count: int = 4, seed: int = 0, sector=SECTOR, **options) -> RoomPlan:
    return plan_rooms(layout, sector, seed=seed, robot_radius_m=RADIUS_M, count=count, manhattan_yaw_rad=0.0, **options)


@pytest.fixture(scope="module")
def four_rooms() -> RoomPlan:
    """The plan that most tests look at; nothing changes it."""
    return planned(box_layout())


@pytest.fixture(scope="module")
def four_rooms_mesh(four_rooms) -> TriMesh:
    return build_rooms_proxy(four_rooms)


@st.composite
def homes(draw: st.DrawFn) -> tuple[PolarLayout, tuple[float, float]]:
    """A full-turn layout unfolded from a photo of a corner or corridor, perhaps with an object, and the sector."""
    half = draw(st.floats(0.4, 1.2))
    front, side = draw(st.floats(1.5, 9.0)), draw(st.floats(1.2, 6.0))
    lean = draw(st.floats(-0.4, 0.4))
    azimuth = np.linspace(-half, half, 200)
    boundary = np.minimum(
        front / np.cos(azimuth - lean * (half < 1.1)), side / np.maximum(np.abs(np.sin(azimuth)), 1e-9)
    )
    bins = np.flatnonzero(np.abs(azimuth - draw(st.floats(-half, half))) < 0.1 * draw(st.integers(0, 1)))
    near = 0.6 * boundary[bins].min() if len(bins) else 1.0
    layout = PolarLayout(
        azimuth_rad=azimuth,
        boundary_m=boundary,
        boundary_top_m=np.full(200, np.inf),
        boundary_label=np.full(200, Label.WALL, np.uint8),
        object_bin=bins.astype(np.int32),
        object_near_m=np.full(len(bins), near),
        object_far_m=np.full(len(bins), near + 0.4),
        object_top_m=np.full(len(bins), 0.9),
        ceiling_m=draw(st.floats(2.2, 4.0)),
        camera_height_m=1.5,
    )
    return clear_start(full_turn(layout, None, bins=BINS)), (-half, half)


def free_points(plan: RoomPlan, count: int, rng: np.random.Generator) -> np.ndarray:
    """[count, 3] positions in free space, at most as high as a door."""
    space = free_space_of_rooms(plan)
    cells = np.argwhere(space.clearance_m > CELL_M)
    at = space.cells_xy_m()[tuple(cells[rng.integers(0, len(cells), count)].T)]
    return np.column_stack([at, rng.uniform(0.05, 1.6, count)])


def open_edges(mesh: TriMesh) -> int:
    """Edges of the mesh, objects left out, that are not shared by exactly two faces of opposite direction."""
    assert mesh.face_labels is not None
    shell = mesh.select_faces(mesh.face_labels != Label.OBJECT)
    same = np.unique(shell.vertices, axis=0, return_inverse=True)[1].reshape(-1)[shell.faces]
    edges = Counter(map(tuple, np.concatenate([same[:, [0, 1]], same[:, [1, 2]], same[:, [2, 0]]]).tolist()))
    return sum(n != 1 or edges.get((b, a), 0) != 1 for (a, b), n in edges.items())


@pytest.mark.slow
@settings(max_examples=10)
@given(home=homes(), seed=st.integers(0, 99))
def test_any_home_with_further_rooms_is_a_sound_world(home, seed):
    """Closed and facing free space, rooms that stand apart, and a first room that is the photo's as before."""
    layout, sector = home
    plan = planned(layout, count=3, seed=seed, sector=sector)
    expect_apart(plan)
    mesh = build_rooms_proxy(plan)
    expect_photo_untouched(plan, mesh, layout, sector)
    if len(plan.rooms) > 1:
        expect_closed(plan, mesh, np.random.default_rng(seed))


def expect_closed(plan: RoomPlan, mesh: TriMesh, rng: np.random.Generator) -> None:
    """Every edge of the shell joins two faces, every ray from a free point ends on the front of a face."""
    assert open_edges(mesh) == 0
    assert mesh.face_areas_m2().min() > 1e-8
    directions = rng.normal(size=(3000, 3))
    t, face, _ = Raycaster(mesh).cast(free_points(plan, 3000, rng), directions)
    assert np.isfinite(t).all()
    assert mesh.face_labels is not None
    shell = mesh.face_labels[face] != Label.OBJECT
    assert (np.einsum("ij,ij->i", mesh.face_normals()[face], directions)[shell] < 0).all()


def expect_apart(plan: RoomPlan) -> None:
    """Solid wall remains between any two rooms, and between a passage and the rooms it does not join."""
    outlines = [r.outline_world_m for r in plan.rooms]
    for i, one in enumerate(outlines):
        for other in outlines[:i]:
            assert gap_between(one, other) >= 0.7 * WALL_M
        for door in plan.doors:
            if i not in door.rooms:
                assert gap_between(one, door.corners_xy_m) >= 0.7 * WALL_M


def expect_photo_untouched(plan: RoomPlan, mesh: TriMesh, layout: PolarLayout, sector: tuple[float, float]) -> None:
    """Inside the photo's sector the layout keeps its bits and rays keep their length, however many rooms there are."""
    shown = (layout.azimuth_rad >= sector[0]) & (layout.azimuth_rad <= sector[1])
    first = plan.rooms[0]
    np.testing.assert_array_equal(first.layout.boundary_m[shown], layout.boundary_m[shown])
    for name in ("object_near_m", "object_far_m", "object_top_m"):
        kept, before = (getattr(one, name)[shown[one.object_bin]] for one in (first.layout, layout))
        np.testing.assert_array_equal(kept, before)
    np.testing.assert_array_equal(first.T_world_room, np.eye(4))
    a = np.linspace(sector[0], sector[1], 300)
    rays = np.stack([np.cos(a), np.sin(a), np.tile([-0.4, 0.0, 0.3], 100)], 1)
    eye = np.array([0.0, 0.0, 1.5])
    before, after = (Raycaster(m).cast(eye, rays)[0] for m in (build_proxy(layout), mesh))
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_a_single_room_is_the_proxy():
    """One room without doors gives the very mesh of `build_proxy`, and the same free space."""
    layout = box_layout()
    plan = planned(layout, count=1)
    want, got = build_proxy(layout), build_rooms_proxy(plan)
    np.testing.assert_array_equal(got.vertices, want.vertices)
    np.testing.assert_array_equal(got.faces, want.faces)
    np.testing.assert_array_equal(got.face_labels, want.face_labels)
    assert plan.doors == () and plan.notes == ()
    one, many = free_space(layout), free_space_of_rooms(plan)
    at = np.stack(np.meshgrid(np.arange(-2.5, 5.5, 0.05) + 0.025, np.arange(-3.5, 3.5, 0.05) + 0.025), -1)
    # `free_space` draws an object up to half a cell longer.
    np.testing.assert_allclose(many.clearance_at(at), one.clearance_at(at), atol=CELL_M)
    assert np.count_nonzero(many.reachable) == pytest.approx(np.count_nonzero(one.reachable), rel=0.01)


def test_the_floor_leads_through_every_door(four_rooms, four_rooms_mesh):
    """On the straight way from origin to origin there is floor all along, and nothing stands at a robot's height."""
    plan, mesh = four_rooms, four_rooms_mesh
    assert len(plan.rooms) == 4 and len(plan.doors) == 3
    caster = Raycaster(mesh)
    assert mesh.face_labels is not None
    for door in plan.doors:
        a, b = (plan.rooms[i].T_world_room[:2, 3] for i in door.rooms)
        way = a + np.linspace(0, 1, 500)[:, None] * (b - a)
        side = np.array([-door.axis_xy[1], door.axis_xy[0]])
        for offset in (-0.45, 0.0, 0.45):
            at = np.column_stack([way + offset * side, np.full(500, 1.0)])
            t, face, _ = caster.cast(at, np.tile([0.0, 0.0, -1.0], (500, 1)))
            np.testing.assert_allclose(t, 1.0, atol=1e-9)
            assert (mesh.face_labels[face] == Label.FLOOR).all()
            t, _, _ = caster.cast(at[:1], np.array([[*(b - a), 0.0]]))
            assert t[0] >= 1.0


def test_rooms_are_seen_through_doors_only(four_rooms, four_rooms_mesh):
    """A ray from one room that ends in another has passed a door's opening, below its lintel."""
    plan, mesh = four_rooms, four_rooms_mesh
    rng = np.random.default_rng(5)
    start = free_points(plan, 8000, rng)
    directions = rng.normal(size=start.shape) * [1, 1, 0.2]
    t, _, _ = Raycaster(mesh).cast(start, directions)
    end = start + 0.999 * t[:, None] * directions
    came, went = plan.room_of(start[:, :2]), plan.room_of(end[:, :2])
    through = np.flatnonzero((came >= 0) & (went >= 0) & (came != went))
    assert len(through) > 20
    for k in through:
        path = start[k] + np.linspace(0, 1, 500)[:, None] * (end[k] - start[k])
        passed = [d for d in plan.doors if contains(d.corners_xy_m, path[:, :2]).any()]
        assert passed
        for door in passed:
            assert path[contains(door.corners_xy_m, path[:, :2]), 2].max() <= door.height_m


@pytest.mark.slow
@settings(max_examples=6)
@given(home=homes(), radius=st.floats(0.1, 0.5), seed=st.integers(0, 99))
def test_the_robot_fits_through_every_door(home, radius, seed):
    """All rooms' origins and doors belong to one space for the robot, and doors keep their measures."""
    layout, sector = home
    plan = plan_rooms(layout, sector, seed=seed, robot_radius_m=radius, count=3)
    clearance = max(radius, CLEARANCE_M)
    space = free_space_of_rooms(plan, clearance_m=clearance)
    # An origin may stand between narrow walls, where not even one room is free for a wide robot.
    assume(free_space_of_rooms(planned(layout, count=1, sector=sector), clearance_m=clearance).reachable.any())
    places = [r.T_world_room[:2, 3] for r in plan.rooms] + [d.centre_xy_m for d in plan.doors]
    cells = np.floor((np.array(places) - space.origin_xy_m) / CELL_M).astype(int)
    assert space.reachable[cells[:, 1], cells[:, 0]].all()
    for door in plan.doors:
        assert door.width_m >= 2 * radius + 0.3
        assert layout.camera_height_m < door.height_m <= layout.ceiling_m - 0.2
        assert door.length_m >= 0.7 * WALL_M


def test_grid_and_mesh_agree_about_free_space(four_rooms, four_rooms_mesh):
    """A camera in a reachable cell keeps the clearance from the mesh that the grid states, but for rasterising."""
    space, caster = free_space_of_rooms(four_rooms), Raycaster(four_rooms_mesh)
    cells = np.argwhere(space.reachable)[::97]
    at = np.column_stack([space.cells_xy_m()[tuple(cells.T)], np.full(len(cells), 0.5)])
    a = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    around = np.stack([np.cos(a), np.sin(a), np.zeros_like(a)], 1)
    t, _, _ = caster.cast(np.repeat(at, len(a), 0), np.tile(around, (len(at), 1)))
    nearest = t.reshape(len(at), -1).min(1)
    assert (nearest > space.clearance_m[tuple(cells.T)] - 1.5 * CELL_M).all()
    assert np.median(nearest - space.clearance_m[tuple(cells.T)]) < 1.5 * CELL_M


@pytest.mark.parametrize("flag", [False, True])
def test_a_further_room_repeats_the_first_one(flag):
    """Away from doors a further room's layout is the photo's room, turned or seen in a mirror."""
    plan = next(p for p in (planned(box_layout(), count=2, seed=s) for s in range(20)) if p.rooms[1].mirrored == flag)
    room = plan.rooms[1]
    want = mirrored(box_layout()) if flag else box_layout()
    same = room.layout.boundary_m == want.boundary_m
    assert 0.8 < np.mean(same) < 1.0 and (room.layout.boundary_m <= want.boundary_m).all()
    # Above the doors, measured in the world.
    rays = rotate_vectors(
        room.T_world_room, np.array([[np.cos(a), np.sin(a), 0] for a in room.layout.azimuth_rad[same]])
    )
    eye = transform_points(room.T_world_room, np.array([0.0, 0.0, 2.4]))
    t, _, _ = Raycaster(build_rooms_proxy(plan)).cast(eye, rays)
    assert np.mean(np.abs(t / room.layout.boundary_m[same] - 1) < 0.02) > 0.97


def test_seeds_differ_and_repeat():
    """The same seed gives the same plan; other seeds give other plans."""
    poses = [np.stack([r.T_world_room for r in planned(box_layout(), count=2, seed=s).rooms]) for s in (0, 0, 1, 2, 3)]
    np.testing.assert_array_equal(poses[0], poses[1])
    assert any(not np.allclose(poses[0], other) for other in poses[2:])


def test_enough_rooms_for_the_area():
    """Rooms are added until the floor asked for is within reach."""
    plan = plan_rooms(box_layout(), SECTOR, seed=0, robot_radius_m=RADIUS_M, target_area_m2=60.0)
    reachable = np.count_nonzero(free_space_of_rooms(plan).reachable) * CELL_M**2
    assert reachable >= 60.0 and plan.free_area_m2 == pytest.approx(reachable, rel=0.1)
    assert len(plan.rooms) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ceiling_m": None}, "no ceiling"),
        ({"boundary_label": np.full(BINS, Label.BACKDROP, np.uint8)}, "scenery"),
        ({"ceiling_m": 1.6}, "lintel"),
        ({"boundary_m": np.full(BINS, 0.3)}, "no clearance"),
    ],
)
def test_no_room_behind_scenery(changes, words):
    """Outdoors, and where no door is high enough, the photo's room stays alone and a note says why."""
    plan = planned(box_layout(**changes))
    assert len(plan.rooms) == 1 and plan.doors == ()
    assert len(plan.notes) == 1 and words in plan.notes[0]


def test_what_cannot_be_planned_is_said(monkeypatch):
    """Too many rooms give a note, a part of a turn or two targets an error."""
    monkeypatch.setattr(room_plan, "MAX_ROOMS", 2)
    plan = planned(box_layout(), count=40)
    assert len(plan.rooms) == 2 and any("at most 2" in note for note in plan.notes)
    with pytest.raises(InputError, match="full turn"):
        planned(analytic_room().layout(np.linspace(-0.5, 0.5, 50)))
    with pytest.raises(InputError, match="exactly one"):
        planned(box_layout(), target_area_m2=20.0)


def test_doors_avoid_objects_and_scenery():
    """No object of the planned rooms stands on the way from an origin to its doors; panels are walls."""
    layout = box_layout()
    behind = np.abs(np.abs(layout.azimuth_rad) - np.pi) < 0.6
    layout = replace(layout, boundary_label=np.where(behind, Label.BACKDROP, Label.WALL).astype(np.uint8))
    plan = planned(layout)
    for door in plan.doors:
        for k in door.rooms:
            room = plan.rooms[k]
            towards = floor_points(invert_rigid(room.T_world_room), door.centre_xy_m)
            angle = np.arctan2(towards[1], towards[0])
            bins = np.abs(np.angle(np.exp(1j * (room.layout.azimuth_rad - angle)))) < 0.05
            assert (room.layout.boundary_label[bins] == Label.WALL).all()
            assert not bins[room.layout.object_bin].any()


def test_mirroring_twice_is_nothing():
    """A layout mirrored twice is itself, and its outline is the mirrored outline."""
    layout = box_layout()
    again = mirrored(mirrored(layout))
    np.testing.assert_allclose(again.azimuth_rad, layout.azimuth_rad)
    np.testing.assert_array_equal(again.boundary_m, layout.boundary_m)
    np.testing.assert_array_equal(again.object_bin, layout.object_bin)
    flipped, straight = outline_of(mirrored(layout)).xy_m * [1, -1], outline_of(layout).xy_m
    for side in (np.min, np.max):
        np.testing.assert_allclose(side(flipped, 0), side(straight, 0), atol=0.02)


@given(
    x=st.floats(2.1, 9.0), y=st.floats(-3.0, 3.0), angle=st.floats(-3.0, 3.0),
)  # fmt: skip
def test_gap_between_squares(x, y, angle):
    """The distance of two unit squares is what coordinates say, in any turn of the plane."""
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    want = np.hypot(x - 2, max(abs(y) - 2, 0))
    got = gap_between(turned(square, angle), turned(square + np.array([x, y]), angle))
    assert got == pytest.approx(want, abs=1e-9)
    assert gap_between(square, 0.3 * square) == 0 and gap_between(square, square + np.array([1.5, 0.5])) == 0


def test_a_simulated_robot_reaches_all_rooms():
    """The collider built from the several-room mesh has one navigable floor with all rooms' origins."""
    plan = planned(box_layout(), count=3)
    mesh, cfg = build_rooms_proxy(plan), SimulationConfig()
    collider = build_colliders(mesh, cfg)
    space = build_occupancy(mesh, collider, cfg)
    for room in plan.rooms:
        assert space.navigable[tuple(space.grid.rowcol(room.T_world_room[:2, 3]))]
    rng = np.random.default_rng(0)
    t, _, _ = Raycaster(collider.as_mesh()).cast(free_points(plan, 5000, rng), rng.normal(size=(5000, 3)))
    assert np.isfinite(t).all()
