"""Mirror images of observations are what a robot is told in a mirrored world."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")
pytest.importorskip("torch")

import torch

from lyra.worldgen.core.errors import ConfigError
from lyra.worldgen.core.mesh import TriMesh
from lyra_tasks import rules
from lyra_tasks.atlas import load_atlas
from lyra_tasks.coverage import RAYS, CoverageBook, CoverageOptions
from lyra_tasks.mirroring import ACTION_SIGNS, PICTURES, SECTORS, SIGNS, mirror, with_mirror_images
from lyra_tasks.mirroring import RAYS as RAY_TERMS
from lyra_tasks.planar_lidar import PlanarLidar
from lyra_tasks.robots.diff_drive import SIZES
from sample_worlds import simple_room
from task_worlds import write_world

SPEC = SIZES["medium"]
WIDTHS = {**{name: len(signs) for name, signs in SIGNS.items()}, "lidar": 36, "left": 12, "depth": 24 * 32}
coordinates = st.floats(-3.0, 3.0, width=32)


def mirrored(mesh: TriMesh) -> TriMesh:
    """The world with left and right exchanged."""
    return TriMesh(
        vertices=mesh.vertices * (1.0, -1.0, 1.0), faces=mesh.faces[:, ::-1].copy(), face_labels=mesh.face_labels
    )


@pytest.fixture(scope="module")
def lidars():
    """Of a room and of its mirror image."""
    room = simple_room()
    return PlanarLidar(room, 0.2), PlanarLidar(mirrored(room), 0.2)


@given(coordinates, coordinates, coordinates)
def test_goal_is_told_as_in_a_mirrored_world(x, y, yaw):
    """Wherever the goal lies."""

    def told(side: float) -> torch.Tensor:
        way = torch.tensor([[x, side * y]])
        return rules.goal_told(way, way.norm(dim=-1), torch.tensor([side * yaw]), 8.0)

    torch.testing.assert_close(mirror("goal", told(1.0)), told(-1.0), atol=1e-5, rtol=0)


@given(coordinates, coordinates)
def test_actions_move_a_mirrored_robot(speed, turn):
    """What the left wheel did, the right one does."""
    action = torch.tensor([[speed, turn]])
    wheels = rules.wheel_speeds(action, SPEC)
    torch.testing.assert_close(rules.wheel_speeds(action * torch.tensor(ACTION_SIGNS), SPEC), wheels.flip(-1))


@given(coordinates, coordinates, coordinates)
def test_trail_is_told_as_in_a_mirrored_world(x, y, yaw):
    """Wherever the robot comes from."""

    def told(side: float) -> torch.Tensor:
        return rules.trail_told(torch.tensor([[[x, side * y], [y, side * x]]]), torch.tensor([side * yaw]))

    torch.testing.assert_close(mirror("trail", told(1.0)), told(-1.0), atol=1e-5, rtol=0)


@given(st.floats(-2.5, 2.5), st.floats(-2.5, 2.5), coordinates)
def test_lidar_sees_a_mirrored_room(lidars, x, y, yaw):
    """Ray by ray, up to those that graze an edge."""
    straight, crosswise = (
        lidar.ranges_m(np.array([x, side * y]), side * yaw, rays=36, max_range_m=6.0)
        for lidar, side in zip(lidars, (1.0, -1.0), strict=True)
    )
    image = mirror("lidar", torch.tensor(straight)[None])[0].numpy()
    assert (np.abs(image - crosswise) > 1e-6).sum() <= 1


def test_uncovered_floor_is_told_as_in_a_mirrored_room(tmp_path):
    """By directions: the same floor in a room and in its mirror image."""
    write_world(tmp_path / "a", simple_room())
    write_world(tmp_path / "b", mirrored(simple_room()))
    atlas = load_atlas(str(tmp_path), robot_radius_m=SPEC.footprint_radius_m + 0.05)
    book = CoverageBook(atlas, CoverageOptions(near_m=2.0, sight_m=6.0, share=0.9), env_count=2, device="cpu")
    ranges, places = [], np.array([[1.0, 0.5, 0.4], [1.0, -0.5, -0.4]])
    for ground, (x, y, yaw) in zip(atlas.grounds, places, strict=True):
        lidar = PlanarLidar(ground.colliders, ground.world.floor_z_m + SPEC.lidar_height_m)
        ranges.append(lidar.ranges_m(np.array([x, y]), yaw, rays=RAYS, max_range_m=6.0))
    xy_w = torch.tensor(places[:, :2] + atlas.offsets_m[:, :2], dtype=torch.float32)
    book.look(xy_w, torch.tensor(places[:, 2], dtype=torch.float32), torch.tensor(np.array(ranges)).float())
    told = book.left_in_sight(12)
    assert told.max() > 0.1 and (told[0] - told[0].flip(-1)).abs().max() > 0.05, "it tells left from right"
    # Cells of 0.25 m at a sector's border may count to its neighbour.
    torch.testing.assert_close(mirror("left", told[:1]), told[1:], atol=0.05, rtol=0)


@given(st.sampled_from(sorted(WIDTHS)), st.integers(0, 2**31))
def test_mirrored_twice_is_the_original(term, seed):
    """Every term that is known."""
    values = torch.rand(3, WIDTHS[term], generator=torch.Generator().manual_seed(seed))
    assert set(WIDTHS) == {*SIGNS, *RAY_TERMS, *SECTORS, *PICTURES}
    assert torch.equal(mirror(term, mirror(term, values)), values)


@pytest.mark.parametrize(("term", "columns"), [("camera", 3), ("goal", 4)])
def test_unknown_terms_are_refused(term, columns):
    """Nothing is guessed: an unknown name, a known one of another width."""
    with pytest.raises(ConfigError, match=f"'{term}' with {columns} columns"):
        mirror(term, torch.zeros(1, columns))


def test_batches_are_followed_by_their_images():
    """Groups are taken apart by their terms; what is not given stays away."""
    tensordict = pytest.importorskip("tensordict")
    manager = SimpleNamespace(active_terms={"policy": ["goal", "lidar"]}, group_obs_term_dim={"policy": [(3,), (36,)]})
    env = SimpleNamespace(unwrapped=SimpleNamespace(observation_manager=manager))
    obs = tensordict.TensorDict({"policy": torch.rand(5, 39)}, batch_size=[5])
    both, actions = with_mirror_images(env, obs=obs, actions=None)
    assert actions is None and both.batch_size[0] == 10
    assert torch.equal(both["policy"][:5], obs["policy"])
    assert torch.equal(both["policy"][5:, :3], mirror("goal", obs["policy"][:, :3]))
    assert torch.equal(both["policy"][5:, 3:], mirror("lidar", obs["policy"][:, 3:]))
    none, actions = with_mirror_images(env, obs=None, actions=torch.tensor([[0.5, 0.25]]))
    assert none is None and actions.tolist() == [[0.5, 0.25], [0.5, -0.25]]


def test_pictures_are_mirrored_row_by_row():
    """Left becomes right in every row of a picture; rows stay where they are."""
    width = PICTURES["depth"]
    picture = torch.arange(3.0 * width).reshape(1, 3 * width)
    image = mirror("depth", picture).reshape(3, width)
    assert torch.equal(image, picture.reshape(3, width).flip(1))
    with pytest.raises(ConfigError, match="depth"):
        mirror("depth", picture[:, 1:])
