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

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import ConfigError
from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.core.splats import transform_splats
from lyra_tasks import rules
from lyra_tasks.atlas import load_atlas
from lyra_tasks.coverage import RAYS, CoverageBook, CoverageOptions
from lyra_tasks.mirroring import MOTION_SIGNS, MOTIONS, PICTURES, SECTORS, SIGNS, mirror, with_mirror_images
from lyra_tasks.mirroring import RAYS as RAY_TERMS
from lyra_tasks.planar_lidar import PlanarLidar
from lyra_tasks.robots import omni
from lyra_tasks.robots.diff_drive import SIZES
from lyra_tasks.splat_cameras import camera_poses
from lyra_tasks.splat_drawers import CpuSplats
from sample_worlds import sample_splats, simple_room
from task_worlds import write_world

SPEC = SIZES["medium"]
OMNI = omni.SIZES["medium"]
SHAPES = {
    **{name: (len(signs),) for name, signs in SIGNS.items()},
    "velocity": (2,),
    "last_action": (3,),
    "lidar": (36,),
    "left": (12,),
    "depth": (1, 24, 32),
    "rgb": (3, 5, 7),
}
SPLATS = sample_splats(simple_room(), 400)
coordinates = st.floats(-3.0, 3.0, width=32)


def pose(x: float, y: float, yaw: float) -> torch.Tensor:
    """[1, 4, 4] of a camera."""
    return camera_poses(torch.tensor([[x, y]]), torch.tensor([yaw]), ahead_m=0.2, height_m=0.4, pitch_rad=0.1)


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
    torch.testing.assert_close(rules.wheel_speeds(action * torch.tensor(MOTION_SIGNS[2]), SPEC), wheels.flip(-1))


@given(coordinates, coordinates, coordinates, st.floats(-1.5, 1.5, width=32), st.floats(-1.5, 1.5, width=32))
def test_actions_move_a_mirrored_robot_that_strafes(speed, left, turn, steer_left, steer_right):
    """Wheels change places, and are steered to the other side; one at right angles to its way may turn either way."""
    action, steer = torch.tensor([[speed, left, turn]]), torch.tensor([[steer_left, steer_right]])
    wheels, aims = rules.steered_wheels(action, steer, OMNI)
    image, image_aims = rules.steered_wheels(action * torch.tensor(MOTION_SIGNS[3]), -steer.flip(-1), OMNI)
    torch.testing.assert_close(image, wheels.flip(-1), atol=1e-4, rtol=1e-4)
    apart = (image_aims + aims.flip(-1)).abs()
    assert (torch.minimum(apart, (apart - torch.pi).abs()) < 1e-3).all()


def test_velocities_are_mirrored_by_their_width():
    """Forward stays; left and turning change their signs."""
    assert mirror("velocity", torch.tensor([[0.5, 0.25]])).tolist() == [[0.5, -0.25]]
    assert mirror("velocity", torch.tensor([[0.5, 0.1, 0.25]])).tolist() == [[0.5, -0.10000000149011612, -0.25]]


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


@given(st.sampled_from(sorted(SHAPES)), st.integers(0, 2**31))
def test_mirrored_twice_is_the_original(term, seed):
    """Every term that is known."""
    values = torch.rand(3, *SHAPES[term], generator=torch.Generator().manual_seed(seed))
    assert set(SHAPES) == {*SIGNS, *MOTIONS, *RAY_TERMS, *SECTORS, *PICTURES}
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
    strafing = with_mirror_images(env, actions=torch.tensor([[0.5, 0.75, 0.25]]))[1]
    assert strafing.tolist() == [[0.5, 0.75, 0.25], [0.5, -0.75, -0.25]]


def test_pictures_are_mirrored_row_by_row():
    """Left becomes right in every row of every channel; rows, channels and the other groups stay where they are."""
    tensordict = pytest.importorskip("tensordict")
    manager = SimpleNamespace(
        active_terms={"policy": ["velocity"], "camera": ["rgb"]},
        group_obs_term_dim={"policy": [(2,)], "camera": [(3, 4, 6)]},
    )
    env = SimpleNamespace(unwrapped=SimpleNamespace(observation_manager=manager))
    picture = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    obs = tensordict.TensorDict({"policy": torch.ones(2, 2), "camera": picture}, batch_size=[2])
    both, _ = with_mirror_images(env, obs=obs)
    assert torch.equal(both["camera"][:2], picture)
    for column in range(6):
        assert torch.equal(both["camera"][2:, :, :, column], picture[:, :, :, 5 - column])
    assert both["policy"].tolist() == [[1, 1], [1, 1], [1, -1], [1, -1]]


@pytest.mark.parametrize(
    ("term", "shape"), [("depth", (1, 24 * 32)), ("lidar", (1, 3, 4, 36)), ("thermal", (1, 1, 4, 4))]
)
def test_pictures_are_known_by_name_and_shape(term, shape):
    """A flat picture, rays that are no picture, a picture of something else."""
    with pytest.raises(ConfigError, match=f"'{term}'"):
        mirror(term, torch.zeros(shape))


def test_groups_of_a_picture_and_more_are_refused():
    """They could not be taken apart again."""
    tensordict = pytest.importorskip("tensordict")
    manager = SimpleNamespace(
        active_terms={"camera": ["rgb", "depth"]}, group_obs_term_dim={"camera": [(3, 4, 6), (1, 4, 6)]}
    )
    env = SimpleNamespace(unwrapped=SimpleNamespace(observation_manager=manager))
    obs = tensordict.TensorDict({"camera": torch.zeros(2, 4, 4, 6)}, batch_size=[2])
    with pytest.raises(ConfigError, match="give each its own group"):
        with_mirror_images(env, obs=obs)


@given(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), coordinates)
def test_colours_are_seen_as_in_a_mirrored_world(x, y, yaw):
    """The picture of the mirrored splats from the mirrored pose is the mirrored picture."""
    pytest.importorskip("numba")
    camera = PinholeCamera.from_hfov(16, 12, 1.4)
    straight, crosswise = (
        CpuSplats([cloud], threads=1).draw(0, pose(x, side * y, side * yaw), camera).rgb
        for cloud, side in ((SPLATS, 1.0), (transform_splats(np.diag([1.0, -1.0, 1.0, 1.0]), SPLATS), -1.0))
    )
    image = mirror("rgb", straight.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(image, crosswise, atol=2e-3, rtol=0)
