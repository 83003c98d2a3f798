"""Every path by name: it can be planned in a room, in whole chunks, from where the world stands, out of geometry."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.errors import ConfigError, InputError
from lyra.worldgen.core.journey import Leg
from lyra.worldgen.generation.chunk_plan import ChunkPlan
from lyra.worldgen.generation.paths import (
    Surrounding,
    centre_depth,
    parse_path,
    path_names,
    path_options,
    plan_leg,
    whole_chunks,
)
from lyra.worldgen.generation.proxy import build_proxy, clear_start, full_turn
from lyra.worldgen.generation.scene import Scene
from rooms import analytic_room

ROOM = analytic_room(width_px=96, height_px=64)
GEOMETRY = ROOM.geometry()
LAYOUT = clear_start(full_turn(clear_start(GEOMETRY.layout), None))
SCENE = Scene(LAYOUT, build_proxy(LAYOUT), None)


def around(*, is_first: bool = True, arrays=None) -> Surrounding:
    return Surrounding(
        geometry=GEOMETRY,
        scene=SCENE,
        view_long_side_px=64,
        T_world_begin=GEOMETRY.T_world_cam,
        is_first=is_first,
        load_file=lambda name: arrays,
        views=list,
        views_before=lambda k: 0,
    )


def all_plans(path: str, **options) -> list[ChunkPlan]:
    planner = plan_leg(Leg(path=path), around(**options))
    plans: list[ChunkPlan] = []
    while (plan := planner.plan(len(plans))) is not None and len(plans) < 50:
        plans.append(plan)
    if path != "explore":  # which knows the rest only when something was seen
        assert planner.frames_from(0) == sum(len(p.Ts_world_cam) for p in plans)
    return plans


@pytest.mark.parametrize("name", sorted(path_names()))
def test_every_named_path_stays_in_free_space(name: str) -> None:
    """All presets of upstream and our own: poses are rigid, cameras clear of walls and objects, sizes even."""
    plans = all_plans(name) if name != "explore" else [plan_leg(Leg(path=name), around()).plan(0)]
    assert plans
    for plan in plans:
        assert plan is not None and len(plan.cameras) == len(plan.keys) == len(plan.Ts_world_cam)
        at = plan.Ts_world_cam[:, :3, 3]
        assert (SCENE.space.clearance_at(at[:, :2]) > 0.2).all() and (at[:, 2] > 0.1).all()
        R = plan.Ts_world_cam[:, :3, :3]
        np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.tile(np.eye(3), (len(R), 1, 1)), atol=1e-5)
        if plan.filmed:
            assert len(R) <= 80 and plan.keys[-1]
            assert {(c.width_px % 2, c.height_px % 2) for c in plan.cameras} == {(0, 0)}


def test_options_are_read_and_refused_by_name() -> None:
    """Values change the path; what a path does not know is refused with what it knows."""
    assert path_options("spin") == {"turns": 1.0}
    assert parse_path("orbit_vertical:direction=down,frames=41").options["frames"] == 41
    assert len(all_plans("spin:turns=2")) == 2
    assert len(all_plans("out-and-back:distance=1,times=3")) == 6
    far = all_plans("horizontal_zoom:strength=0.2,frames=81")[0].Ts_world_cam[-1, :3, 3]
    near = all_plans("horizontal_zoom:strength=0.1,frames=81")[0].Ts_world_cam[-1, :3, 3]
    start = GEOMETRY.T_world_cam[:3, 3]
    np.testing.assert_allclose(np.linalg.norm(far - start), 2 * np.linalg.norm(near - start), rtol=0.02)
    for text, message in {
        "turnn": "did you mean 'turn'",
        "turn:x=1": "expected none",
        "spin:turns=0": "more than 0",
        "spin:turns=nan": "more than 0",
        "spin:turns": "has no option",
        "": "unknown path",
    }.items():
        with pytest.raises(ConfigError, match=message):
            parse_path(text)


def test_a_spin_ends_where_it_began_and_out_and_back_returns() -> None:
    """The last frame of a closed path has the pose of its first one."""
    for path in ("spin:turns=2", "out-and-back:distance=1.5"):
        plans = all_plans(path)
        np.testing.assert_allclose(plans[-1].Ts_world_cam[-1], GEOMETRY.T_world_cam, atol=1e-9)


def trajectory(frames: int, step=(0.0, 0.0, 0.004)) -> dict[str, np.ndarray]:
    w2c = np.tile(np.eye(4), (frames, 1, 1))
    w2c[:, :3, 3] = -np.arange(frames)[:, None] * np.array(step) + np.array([5.0, 0, 0])
    K = np.tile(np.array([[80.0, 0, 40], [0, 80, 24], [0, 0, 1]]), (frames, 1, 1))
    return {"w2c": w2c, "intrinsics": K, "image_height": np.array([48.0]), "image_width": np.array([80.0])}


def test_a_file_is_walked_from_where_the_world_stands() -> None:
    """Frame 0 is the photo's pose whatever the file says; translations are scaled; whole chunks are walked."""
    plans = all_plans("walk.npz#0123456789ab", arrays=trajectory(200))
    assert [len(p.Ts_world_cam) for p in plans] == [80, 80]
    T0 = GEOMETRY.T_world_cam
    moved = np.linalg.inv(T0) @ plans[-1].Ts_world_cam[-1]
    np.testing.assert_allclose(moved[:3, 3], [0, 0, 160 * 0.004 * 1.1], atol=1e-5)
    assert plans[0].cameras[0].width_px == 64 and plans[0].cameras[0].height_px == 38
    assert plans[0].cameras[0].fx_px == pytest.approx(64.0) and plans[0].cameras[0].cx_px == pytest.approx(32.5)
    assert [whole_chunks(n) for n in (2, 80, 81, 160, 161, 500)] == [2, 80, 81, 81, 161, 481]
    with pytest.raises(InputError, match="does not hold the trajectory file"):
        all_plans("walk.npz#0123456789ab")
    with pytest.raises(InputError, match="has 1 frame"):
        all_plans("walk.npz#0123456789ab", arrays=trajectory(1))


def test_a_file_that_leads_into_a_wall_is_held_back_and_says_so() -> None:
    """The camera stops at the wall; the plan notes by how much."""
    plans = all_plans("walk.npz#0123456789ab", arrays=trajectory(81, step=(0.0, 0.0, 0.2)))
    assert "held back" in plans[0].note
    assert (SCENE.space.clearance_at(plans[0].Ts_world_cam[:, :2, 3]) > 0.3).all()


def test_captions_hold_from_their_frame_on() -> None:
    """Each chunk is painted to the caption that upstream would take."""
    leg = Leg(path="walk.npz#0123456789ab", captions={0: "a", 81: "b", 170: "c"})
    planner = plan_leg(leg, around(arrays=trajectory(241)))
    plans = [planner.plan(i) for i in range(3)]
    assert [p.prompt for p in plans if p is not None] == ["a", "b", "b"]
    assert centre_depth(GEOMETRY) > 0.5


@pytest.mark.parametrize("turns", [1, 2, 7, 11, 99])
def test_every_turn_has_the_same_poses(turns: int) -> None:
    """The n-th turn looks exactly where the first one did, and each ends where the walk began."""
    plans = [plan_leg(Leg(path=f"spin:turns={turns}"), around()).plan(k) for k in (0, turns // 2, turns - 1)]
    for plan in plans:
        assert plan is not None and plans[0] is not None
        np.testing.assert_array_equal(plan.Ts_world_cam, plans[0].Ts_world_cam)
        np.testing.assert_allclose(plan.Ts_world_cam[-1], GEOMETRY.T_world_cam, atol=1e-12)
