"""Coverage by rooms in closed form, and a scripted explorer that covers furnished ones."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")
pytest.importorskip("torch")

import torch

from ideal_robot import IdealRobot
from lyra.worldgen.core.raycast import Raycaster
from lyra_tasks import rules
from lyra_tasks.atlas import load_atlas
from lyra_tasks.coverage import CELL_M, RAYS, CoverageBook, CoverageOptions, floor_cells
from lyra_tasks.explorer import Explorer
from lyra_tasks.isaac_sim.nav_task import RobotState
from lyra_tasks.planar_lidar import PlanarLidar
from lyra_tasks.pursuit import PurePursuit
from lyra_tasks.robots.diff_drive import SIZES
from sample_worlds import simple_room
from task_worlds import write_known_worlds, write_world

SPEC = SIZES["medium"]
OPTIONS = CoverageOptions(near_m=2.0, sight_m=6.0, share=0.9)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """A plain room, x -4 to 6, y -3.5 to 4.5, and two furnished ones."""
    folder = tmp_path_factory.mktemp("worlds")
    write_world(folder / "plain", simple_room())
    write_known_worlds(folder, (1000, 1004))
    return load_atlas(str(folder), robot_radius_m=SPEC.footprint_radius_m + 0.05)


class Eyes:
    """Ranges of every environment's lidar, without Warp."""

    def __init__(self, atlas) -> None:
        self._atlas = atlas
        self._lidars = [PlanarLidar(g.colliders, g.world.floor_z_m + SPEC.lidar_height_m) for g in atlas.grounds]

    def ranges(self, xy_w: np.ndarray, yaw: np.ndarray) -> torch.Tensor:
        rows = [
            self._lidars[i % len(self._atlas)].ranges_m(
                xy_w[i] - self._atlas.offsets_m[i % len(self._atlas), :2], yaw[i], rays=RAYS, max_range_m=6.0
            )
            for i in range(len(xy_w))
        ]
        return torch.tensor(np.array(rows), dtype=torch.float32)


def look(book, eyes, xy_w, yaw) -> None:
    ranges = eyes.ranges(xy_w, np.array(yaw))
    book.look(torch.tensor(xy_w, dtype=torch.float32), torch.tensor(yaw, dtype=torch.float32), ranges)


def test_floor_is_the_floor_that_can_be_reached(atlas):
    """Cells times their size is the free area, to a few percent; none lies in an obstacle."""
    for ground in atlas.grounds:
        cells = floor_cells(ground)
        assert ground.grid.free_at(cells).all()
        assert len(cells) * CELL_M**2 == pytest.approx(ground.grid.free.sum() * ground.grid.cell_m**2, rel=0.04)


def test_what_is_near_and_in_sight_is_covered(atlas):
    """In every world from several places: all that is covered is near and unblocked, most of what is so is covered."""
    count = 12
    book = CoverageBook(atlas, OPTIONS, env_count=count, device="cpu")
    eyes, rng = Eyes(atlas), np.random.default_rng(3)
    cast = [Raycaster(g.colliders) for g in atlas.grounds]
    xy_w = np.zeros((count, 2))
    for i in range(count):
        places = np.argwhere(atlas.grounds[i % 3].navigable)
        xy_w[i] = atlas.grounds[i % 3].grid.centre_xy_m(places[rng.integers(len(places))]) + atlas.offsets_m[i % 3, :2]
    look(book, eyes, xy_w, rng.uniform(-3, 3, count))
    assert (book.gained_m2 == 0).all(), "the first look is nobody's merit"
    for i in range(count):
        real = book.real[i].numpy()
        to = book.cells_w[i].numpy()[real] - xy_w[i]
        far = np.linalg.norm(to, axis=1)
        start = np.r_[xy_w[i] - atlas.offsets_m[i % 3, :2], SPEC.lidar_height_m]
        t, _, _ = cast[i % 3].cast(start, np.c_[to / far[:, None], np.zeros(len(to))])
        free = (far < 2.0) & (t > far)
        covered = book.covered[i].numpy()[real]
        # Rays are 4 degrees apart: beside an edge a cell may be taken for seen that is 7 cm behind it.
        assert (covered & ~free).sum() <= 0.05 * covered.sum() and (covered & free).sum() >= 0.85 * free.sum()
    before = book.share.clone()
    look(book, eyes, xy_w, np.zeros(count))
    assert (book.share >= before).all(), "what is covered stays covered"


def test_gain_is_the_new_area(atlas):
    """Two metres on in the open, the gain is the new area; a reset forgets; others keep theirs."""
    book, eyes = CoverageBook(atlas, OPTIONS, env_count=4, device="cpu"), Eyes(atlas)
    xy = np.zeros((4, 2)) + atlas.offsets_m[[0, 1, 2, 0], :2]
    look(book, eyes, xy, np.zeros(4))
    start = book.covered.sum(1).clone()
    look(book, eyes, xy - [[1.5, 0.0]] * 4, np.zeros(4))
    np.testing.assert_allclose(book.gained_m2, (book.covered.sum(1) - start) * CELL_M**2, rtol=1e-5)
    assert book.gained_m2[0] == book.gained_m2[3] > 1.0
    book.reset(torch.tensor([0, 2]))
    assert not book.covered[[0, 2]].any() and book.covered[[1, 3]].any()
    assert not book.covered[~book.real].any() and float(book.share.max()) <= 1.0


def test_directions_point_to_what_is_left(atlas):
    """At the origin of the plain room, all but the lap to the right covered: only the sectors there have any left."""
    book, eyes = CoverageBook(atlas, OPTIONS, env_count=1, device="cpu"), Eyes(atlas)
    look(book, eyes, np.zeros((1, 2)), np.zeros(1))
    here = book.cells_w[0]
    right = (here[:, 1] < -2.2) & (here[:, 0].abs() < 1.0)
    book.covered[0] = book.real[0] & ~right
    in_sight, anywhere = book.left_in_sight(4)[0], book.left_anywhere(4, 3.0)[0]
    # Sectors from the back, counter-clockwise: back right, front right, front left, back left.
    assert (in_sight[:2] > 0.01).all() and (in_sight[2:] == 0).all()
    assert (anywhere[:2] > 0.005).all() and (anywhere[2:] == 0).all() and (anywhere <= in_sight).all()
    book.covered[0] = book.real[0]
    assert not book.left_in_sight(4).any() and bool(book.explored[0])


@pytest.mark.slow
def test_the_scripted_explorer_covers_every_world(atlas):
    """Ideal robots cover 90 % of each room within the task's time, without touching anything."""
    count, near = 3, OPTIONS.near_m
    book, eyes = CoverageBook(atlas, OPTIONS, env_count=count, device="cpu"), Eyes(atlas)
    robots, pursuit = [IdealRobot(SPEC) for _ in range(count)], PurePursuit(count)
    explorer = Explorer(count, near_m=near, footprint_radius_m=SPEC.footprint_radius_m)
    for i, ground in enumerate(atlas.grounds):
        episode = ground.world.episodes[0]
        robots[i].place(RobotState(xy_m=episode.start_xy_m, yaw_rad=episode.start_yaw_rad))
    nearest = np.inf
    times = {"time_limit_s": rules.EXPLORE.time_limit_s, "sweep_share": rules.EXPLORE.sweep_share}
    limit = rules.explore_step_limit(book.floor_m2, SPEC, near_m=near, **times)
    for _ in range(int(limit.min())):
        xy = np.array([r.state().xy_m for r in robots])
        yaw = np.array([r.state().yaw_rad for r in robots])
        look(book, eyes, xy + atlas.offsets_m[:, :2], yaw)
        if bool(book.explored.all()):
            break
        left = (book.real & ~book.covered).numpy()
        for i, ground in enumerate(atlas.grounds):
            pieces = book.cells_w[i].numpy()[left[i]] - atlas.offsets_m[i, :2]
            if explorer.wants_new_way(i, xy[i], pieces):
                pursuit.follow(i, explorer.way(i, ground, xy[i], yaw[i], pieces))
            nearest = min(nearest, float(ground.clearance_at(xy[i])))
        wheels = rules.wheel_speeds(pursuit.act(xy, yaw).astype(float), SPEC)
        for robot, speeds in zip(robots, wheels, strict=True):
            robot.drive(speeds)
            robot.step()
    assert bool(book.explored.all()), book.share
    assert nearest > SPEC.footprint_radius_m
