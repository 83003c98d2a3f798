"""What a world adds to a stage, read back from the composed stage: beside what is there, once, solid or not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("pxr")
from pxr import Gf, Sdf, Usd, UsdGeom, UsdPhysics, UsdShade

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose, usd_from_cv_camera
from lyra.worldgen.kit.jobs import Showing
from lyra.worldgen.kit.spawn import Spawn, spawn_of
from lyra.worldgen.kit.stage_content import (
    OVERLAY_ABOVE_M,
    add_robot,
    add_world,
    camera_pose_in,
    hide,
    reload_world,
    show_floor_picture,
    show_path,
    world_prims,
    world_transform,
)


def new_stage(up: str = "Z", metres: float = 1.0) -> Usd.Stage:
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z if up == "Z" else UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, metres)
    return stage


def colliders(stage: Usd.Stage, path: str) -> int:
    return sum(p.HasAPI(UsdPhysics.CollisionAPI) for p in Usd.PrimRange(stage.GetPrimAtPath(path)))


def test_a_world_stands_beside_what_is_there(room_world):
    """It is a payload with its own variant and its colliders; the stage gets one physics scene and keeps its own."""
    stage = new_stage()
    stage.DefinePrim("/World/Lyra", "Xform")
    path = add_world(stage, room_world, "/World/Lyra", Showing())
    assert path == "/World/Lyra_2" and stage.GetPrimAtPath(f"{path}/Visual/floor").IsA(UsdGeom.Mesh)
    assert colliders(stage, path) > 3 and world_prims(stage) == {str(room_world.resolve()): path}
    scenes = [p for p in stage.Traverse() if p.IsA(UsdPhysics.Scene)]
    assert len(scenes) == 1 and UsdPhysics.Scene(scenes[0]).GetGravityMagnitudeAttr().Get() == pytest.approx(9.81)
    with_scene = new_stage()
    UsdPhysics.Scene.Define(with_scene, "/Mine")
    add_world(with_scene, room_world, "/World/Lyra", Showing())
    assert [str(p.GetPath()) for p in with_scene.Traverse() if p.IsA(UsdPhysics.Scene)] == ["/Mine"]


def test_a_world_that_is_there_is_shown_anew(room_world):
    """Loading again changes what is shown and whether it is solid, and adds no second world."""
    stage = new_stage()
    first = add_world(stage, room_world, "/World/Lyra", Showing())
    again = add_world(stage, room_world, "/World/Lyra", Showing(representation="splats", physics=False))
    assert first == again and len(world_prims(stage)) == 1
    assert not stage.GetPrimAtPath(f"{first}/Visual") and colliders(stage, first) == 0
    add_world(stage, room_world, "/World/Lyra", Showing(representation="both"))
    assert stage.GetPrimAtPath(f"{first}/Visual") and colliders(stage, first) > 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stage": ("Y", 1.0)}, "up axis Y"),
        ({"stage": ("Z", 0.01)}, "metres per unit"),
        ({"wanted": "no path"}, "no absolute prim path"),
        ({"wanted": "World"}, "no absolute prim path"),
        ({"showing": Showing(representation="points")}, "none of"),
    ],
)
def test_what_cannot_be_is_said(room_world, change, words):
    """The reason is one line, and nothing is added."""
    stage = new_stage(*change.get("stage", ("Z", 1.0)))
    with pytest.raises(InputError, match=words):
        add_world(stage, room_world, change.get("wanted", "/World/Lyra"), change.get("showing", Showing()))
    assert list(stage.Traverse()) == []
    with pytest.raises(InputError, match=r"no world\.usda"):
        add_world(stage, room_world / "nav", "/World/Lyra", Showing())


def test_a_world_made_anew_is_read_again(room_world, tmp_path):
    """After the files of a world were replaced, an open stage shows what is in them."""
    folder = tmp_path / "world"
    folder.mkdir()
    layer = Sdf.Layer.CreateNew(str(folder / "world.usda"))
    Sdf.CreatePrimInLayer(layer, "/World/Old").specifier = Sdf.SpecifierDef
    layer.defaultPrim = "World"
    layer.Save()
    stage = new_stage()
    path = add_world(stage, folder, "/World/Lyra", Showing(physics=False))
    assert stage.GetPrimAtPath(f"{path}/Old")
    (folder / "world.usda").write_text((folder / "world.usda").read_text().replace("Old", "New"))
    reload_world(folder)
    assert stage.GetPrimAtPath(f"{path}/New") and not stage.GetPrimAtPath(f"{path}/Old")


def turned(stage: Usd.Stage, path: str) -> np.ndarray:
    """Move a world on a stage; `T_stage_world`."""
    M = Gf.Matrix4d().SetRotate(Gf.Rotation(Gf.Vec3d(0, 0, 1), 90))
    M.SetTranslateOnly(Gf.Vec3d(5, -2, 1))
    UsdGeom.Xformable(stage.GetPrimAtPath(path)).MakeMatrixXform().Set(M)
    return world_transform(stage, path)


def test_the_robot_stands_where_an_episode_begins(room_world, tmp_path):
    """On the floor of the world, turned with it; a second one replaces the first."""
    robot = Usd.Stage.CreateNew(str(tmp_path / "robot.usda"))
    UsdGeom.SetStageUpAxis(robot, UsdGeom.Tokens.z)
    robot.SetDefaultPrim(UsdGeom.Xform.Define(robot, "/Robot").GetPrim())
    UsdGeom.Xform.Define(robot, "/Robot/base").AddTranslateOp().Set(Gf.Vec3d(0, 0, 0.1))
    robot.GetRootLayer().Save()
    stage = new_stage()
    path = add_world(stage, room_world, "/World/Lyra", Showing())
    T = turned(stage, path)
    first = json.loads((room_world / "nav" / "episodes.jsonl").read_text().splitlines()[0])
    x, y, z, yaw = first["start"]
    for _ in range(2):
        placed = add_robot(stage, tmp_path / "robot.usda", "/World/LyraRobot", path, spawn_of(room_world))
    assert placed == "/World/LyraRobot" and stage.GetPrimAtPath("/World/LyraRobot/base")
    M = np.array(UsdGeom.Xformable(stage.GetPrimAtPath(placed)).ComputeLocalToWorldTransform(Usd.TimeCode.Default())).T
    np.testing.assert_allclose(M[:3, 3], (T @ [x, y, z, 1])[:3], atol=1e-9)
    np.testing.assert_allclose(M[:3, 0], T[:3, :3] @ [np.cos(yaw), np.sin(yaw), 0], atol=1e-9)


def test_spawns(room_world, tmp_path):
    """An episode's start, or the start of the free space when there is no such episode."""
    lines = (room_world / "nav" / "episodes.jsonl").read_text().splitlines()
    second = json.loads(lines[1])["start"]
    assert spawn_of(room_world, 1) == Spawn(xy_m=(second[0], second[1]), yaw_rad=second[3], floor_z_m=second[2])
    start = json.loads((room_world / "nav" / "free_space.json").read_text())
    assert spawn_of(room_world, 10_000).xy_m == tuple(start["start_xy_m"])
    with pytest.raises(InputError):
        spawn_of(tmp_path)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    at=st.tuples(*[st.floats(-20, 20)] * 3),
    heading=st.floats(-3, 3),
    pitch=st.floats(-1.4, 1.4),
    scale=st.floats(0.1, 10),
)
def test_a_camera_is_where_it_is_in_the_world(room_world, at, heading, pitch, scale):
    """Whatever moved the world and whatever scale the camera's parents carry, its pose in the world is the true one."""
    stage = new_stage()
    path = add_world(stage, room_world, "/World/Lyra", Showing(physics=False))
    T_stage_world = turned(stage, path)
    T_world_cam = camera_pose(np.array(at), heading_rad=heading, pitch_rad=pitch)
    parent = UsdGeom.Xform.Define(stage, "/Rig")
    parent.AddScaleOp().Set(Gf.Vec3f(scale))
    camera = UsdGeom.Camera.Define(stage, "/Rig/Camera")
    M_stage = Gf.Matrix4d(usd_from_cv_camera(T_stage_world @ T_world_cam).T.tolist())
    M_parent = parent.ComputeLocalToWorldTransform(Usd.TimeCode.Default())
    camera.MakeMatrixXform().Set(M_stage * M_parent.GetInverse())
    np.testing.assert_allclose(camera_pose_in(stage, "/Rig/Camera", path), T_world_cam, atol=1e-6)


def test_cameras_that_are_not_there(room_world):
    """No camera, no world: words, not a crash."""
    stage = new_stage()
    path = add_world(stage, room_world, "/World/Lyra", Showing(physics=False))
    for camera, world in (("/absent", path), ("", path), (f"{path}/Visual", path)):
        with pytest.raises(InputError, match="no camera"):
            camera_pose_in(stage, camera, world)
    UsdGeom.Camera.Define(stage, "/Camera")
    for world in ("/absent", ""):
        with pytest.raises(InputError, match="not on the stage"):
            camera_pose_in(stage, "/Camera", world)


def test_drawings_are_seen_and_not_saved(room_world, tmp_path):
    """The map lies on the floor at its place, the path runs through its poses; neither collides nor reaches a file."""
    stage = new_stage()
    path = add_world(stage, room_world, "/World/Lyra", Showing())
    T = turned(stage, path)
    solid = colliders(stage, "/")
    Image.new("RGBA", (8, 4), (0, 255, 0, 128)).save(tmp_path / "map.png")
    for _ in range(2):
        show_floor_picture(stage, "/LyraFreeSpace", path, tmp_path / "map.png", (4.0, 2.0), np.array([1.0, 0.5, 0.0]))
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/LyraFreeSpace"))
    M = np.array(mesh.ComputeLocalToWorldTransform(Usd.TimeCode.Default())).T
    corners = np.c_[np.array(mesh.GetPointsAttr().Get()), np.ones(4)] @ M.T
    expected = np.array([[-1, -0.5], [3, -0.5], [3, 1.5], [-1, 1.5]])
    expected = np.c_[expected, np.full(4, OVERLAY_ABOVE_M), np.ones(4)] @ T.T
    np.testing.assert_allclose(corners, expected, atol=1e-6)
    # The picture's top is the highest y: texture v grows with y.
    np.testing.assert_allclose(UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").Get()[2], (1, 1))
    material, _ = UsdShade.MaterialBindingAPI(mesh).ComputeBoundMaterial()
    texture = UsdShade.Shader(stage.GetPrimAtPath(f"{material.GetPath()}/Texture"))
    assert Path(texture.GetInput("file").Get().path) == tmp_path / "map.png"
    poses = np.stack([camera_pose(np.array([x, 0.0, 1.5])) for x in (0.0, 1.0, 2.0)])
    show_path(stage, "/LyraCameraPath", path, poses)
    curve = UsdGeom.BasisCurves(stage.GetPrimAtPath("/LyraCameraPath"))
    assert len(curve.GetPointsAttr().Get()) == 3 and list(curve.GetCurveVertexCountsAttr().Get()) == [3]
    M = np.array(curve.ComputeLocalToWorldTransform(Usd.TimeCode.Default())).T
    drawn = (np.c_[np.array(curve.GetPointsAttr().Get()), np.ones(3)] @ M.T)[:, :3]
    np.testing.assert_allclose(drawn, (T @ poses)[:, :3, 3], atol=1e-6)
    assert colliders(stage, "/") == solid
    saved = stage.GetRootLayer().ExportToString()
    assert "LyraFreeSpace" not in saved and "LyraCameraPath" not in saved
    show_path(stage, "/LyraCameraPath", path, poses[:1])
    hide(stage, "/LyraFreeSpace")
    assert not stage.GetPrimAtPath("/LyraCameraPath") and not stage.GetPrimAtPath("/LyraFreeSpace")
