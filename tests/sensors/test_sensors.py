"""Sensors of a room in closed form: ground truth is exact, and each way in which splats can lie is told apart."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.certify.sensor_agreement import MEASURES, robot_poses, sensor_lines
from lyra.worldgen.certify.space import analyse
from lyra.worldgen.certify.world_data import read_world
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose, rigid, rotate_vectors, rotation_z
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.splats import GaussianCloud, transform_splats
from lyra.worldgen.reconstruction.splat_lift import lift_splats
from lyra.worldgen.reconstruction.surface_hits import cast_views
from lyra.worldgen.sensors import (
    LIDAR_16,
    PLANAR_LIDAR,
    LidarPattern,
    SensorWorld,
    load_sensor_world,
    render_sensors,
    scan_lidar,
)
from lyra.worldgen.sensors.agreement import compare_frame, compare_lidar
from lyra.worldgen.sim.collision import build_colliders
from lyra.worldgen.sim.usd_mesh import write_visual
from lyra.worldgen.sim.usd_physics import write_collision
from lyra.worldgen.sim.usd_splats import write_splats
from physx_rooms import textured, write_room_world
from rooms import AnalyticRoom, analytic_room, surface_labels

CAMERA = PinholeCamera.from_hfov(96, 72, math.radians(70))
POSE = camera_pose(np.array([0.4, 0.3, 0.8]), heading_rad=0.15, pitch_rad=-0.1)


@pytest.fixture(scope="module")
def room() -> AnalyticRoom:
    return analytic_room(width_px=160, height_px=120)


def painted(room: AnalyticRoom) -> TriMesh:
    """The room's mesh with one colour a face, like the picture's but for its checker."""
    mesh = room.mesh()
    flat = mesh.triangles().reshape(-1, 3)
    faces = np.arange(len(flat), dtype=np.int32).reshape(-1, 3)
    surface = np.concatenate([np.repeat(np.arange(6), 2), *(np.full(10, 6 + i) for i in range(len(room.boxes_m)))])
    rgb = room.colour(np.repeat(mesh.triangles().mean(1), 3, 0), np.repeat(surface, 3))
    return TriMesh(vertices=flat, faces=faces, face_labels=mesh.face_labels, vertex_rgb_u8=rgb)


@pytest.fixture(scope="module")
def splats(room) -> GaussianCloud:
    """Lifted from exact views all around, with a second place behind the boxes."""
    views = room.views().views
    views += [
        room.render(T_world_cam=camera_pose(np.array([4.4, 0.0, 1.2]), heading_rad=a)) for a in (0, 1.6, 3.1, 4.7)
    ]
    mesh = room.mesh()
    return lift_splats(mesh, views, cast_views(mesh, views), budget=200_000).splats


@pytest.fixture(scope="module")
def world(room, splats) -> SensorWorld:
    return SensorWorld(mesh=painted(room), collider=room.mesh(), splats=splats)


def test_ground_truth_is_exact(room, world):
    """Depth, labels and normals are those of the room; everything is valid indoors."""
    frame = render_sensors(world, POSE, CAMERA)
    t, surface = room.cast(POSE[:3, 3], rotate_vectors(POSE, CAMERA.rays_cam()).reshape(-1, 3))
    assert frame.valid.all()
    inner = np.abs(frame.depth_z_m - t.reshape(frame.depth_z_m.shape)) < 0.15  # pixels are sampled off their middle
    assert inner.mean() > 0.97
    same = frame.labels == surface_labels(surface).reshape(frame.labels.shape)
    assert same.mean() > 0.98
    floor = frame.labels == Label.FLOOR
    np.testing.assert_allclose(frame.normals_world[floor], np.tile([0, 0, 1.0], (floor.sum(), 1)), atol=1e-6)
    assert (np.einsum("hwi,hwi->hw", frame.normals_world, rotate_vectors(POSE, CAMERA.rays_cam())) < 0).all()


def test_splats_of_exact_views_agree(world):
    """What was lifted onto the surface agrees with it but for outlines, and has no holes."""
    found = compare_frame(render_sensors(world, POSE, CAMERA))
    assert found.disagree_percent is not None and found.disagree_percent < 5
    assert found.median_cm is not None and found.median_cm < 1.5
    assert found.holes_percent is not None and found.holes_percent < 1
    assert found.psnr_db is not None and found.psnr_db > 18


def test_moved_splats_disagree(world, splats):
    """Splats 20 cm too low are told by depth and by the shift of the pictures."""
    before = compare_frame(render_sensors(world, POSE, CAMERA))
    low = transform_splats(rigid(np.eye(3), np.array([0.0, 0.0, -0.2])), splats)
    after = compare_frame(render_sensors(replace(world, splats=low), POSE, CAMERA))
    assert after.disagree_percent is not None and before.disagree_percent is not None
    assert after.disagree_percent > before.disagree_percent + 20
    turned = transform_splats(rigid(rotation_z(math.radians(1.0)), np.zeros(3)), splats)
    off = compare_frame(render_sensors(replace(world, splats=turned), POSE, CAMERA))
    assert off.shift_deg is not None and before.shift_deg is not None and off.shift_deg > before.shift_deg + 0.4


def test_missing_splats_are_holes(world, splats):
    """Without the floor's splats the floor is a hole, and holes do not count as wrong depth."""
    assert splats.labels is not None
    frame = render_sensors(replace(world, splats=splats.take(splats.labels != Label.FLOOR)), POSE, CAMERA)
    found = compare_frame(frame)
    floor = 100 * float((frame.labels == Label.FLOOR).mean())
    assert found.holes_percent == pytest.approx(floor, abs=4)
    assert (~frame.splat_valid[frame.labels == Label.FLOOR]).mean() > 0.9


def test_lidar_is_exact(room, world):
    """Ranges of both scanners are those of the room, in the sensor's frame and inside its range."""
    place = rigid(rotation_z(0.7), np.array([0.5, -0.4, 0.35]))
    for pattern in (PLANAR_LIDAR, LIDAR_16):
        scan = scan_lidar(world, place, pattern)
        directions = rotate_vectors(place, pattern.directions())
        t, surface = room.cast(place[:3, 3], directions.reshape(-1, 3))
        np.testing.assert_allclose(scan.range_m[scan.valid], t.reshape(scan.range_m.shape)[scan.valid], atol=1e-4)
        assert scan.valid.all() and (scan.labels.ravel() == surface_labels(surface)).mean() > 0.999
        np.testing.assert_allclose(scan.points_world, place[:3, 3] + scan.range_m[..., None] * directions)
    short = scan_lidar(world, place, LidarPattern(elevations_rad=(0.0,), azimuth_count=90, max_range_m=3.5))
    assert 0 < short.valid.mean() < 1 and (short.range_m[~short.valid] == 0).all()


def test_lidar_finds_a_wrong_collider(world):
    """A collider 10 cm too small is found at another distance nearly everywhere; the right one nowhere."""
    assert compare_lidar(world, np.array([0.5, -0.4, 0.35]), 0.0).disagree_percent == 0
    small = replace(world.collider, vertices=world.collider.vertices * 0.95)
    off = compare_lidar(replace(world, collider=small), np.array([0.5, -0.4, 0.35]), 0.0)
    assert off.disagree_percent is not None and off.disagree_percent > 50


def test_a_world_without_splats_shows_its_mesh(room, world):
    """RGB comes from the mesh, and the sky is neither solid nor hit by a LiDAR."""
    labels = np.where(world.mesh.face_labels == Label.CEILING, Label.SKY, world.mesh.face_labels).astype(np.uint8)
    bare = SensorWorld(mesh=replace(world.mesh, face_labels=labels), collider=room.mesh())
    pose = camera_pose(np.array([0.0, 0.0, 1.0]), pitch_rad=0.5)
    frame = render_sensors(bare, pose, CAMERA)
    np.testing.assert_array_equal(frame.rgb_u8, frame.mesh_rgb_u8)
    assert (frame.valid == (frame.labels != Label.SKY)).all() and 0.1 < frame.valid.mean() < 0.9
    assert (frame.depth_z_m[~frame.valid] == 0).all()
    up = LidarPattern(elevations_rad=(1.2,), azimuth_count=36)
    assert not scan_lidar(bare, rigid(np.eye(3), np.array([0.0, 0.0, 1.0])), up).valid.any()
    assert scan_lidar(bare, rigid(np.eye(3), np.array([0.0, 0.0, 1.0])), up, surface="collider").valid.all()


def test_wrong_questions_are_refused(world):
    """Poses that are not rigid, surfaces and patterns that do not exist."""
    with pytest.raises(InputError, match="T_world_cam"):
        render_sensors(world, np.diag([2.0, 1, 1, 1]), CAMERA)
    with pytest.raises(InputError, match="surface is 'splats'"):
        scan_lidar(world, np.eye(4), PLANAR_LIDAR, surface="splats")
    with pytest.raises(InputError, match="0 beams"):
        LidarPattern(elevations_rad=(), azimuth_count=360)


@pytest.mark.slow
def test_the_certificate_shows_the_worst_views(room, splats, tmp_path):
    """A folder with payloads gets one line a measure, numbers for every view, and pictures of the worst; the same
    numbers every time."""
    folder = tmp_path / "room"
    write_room_world(folder, room)
    mesh = textured(room.mesh())
    write_visual(folder / "payloads" / "visual.usdc", mesh)
    write_collision(folder / "payloads" / "collision.usdc", build_colliders(mesh, SimulationConfig()))
    write_splats(folder / "payloads" / "splats.usdc", splats)
    world = read_world(folder)
    space = analyse(world.grid, world.robot_radius_m)
    lines, evidence = sensor_lines(world, space)
    assert [line.id for line in lines] == [measure.id for measure in MEASURES]
    assert all(line.measured is not None for line in lines), lines
    assert next(line for line in lines if line.id == "sensors.lidar").passed
    assert len(evidence.views) == 12 and len(evidence.worst) == 3
    heights = {view.position_m[2] for view in evidence.views}
    assert heights == {0.3, 0.6, 0.9, 1.2}
    assert evidence.as_dict() == sensor_lines(world, space)[1].as_dict()
    (folder / "payloads" / "splats.usdc").write_bytes(b"nonsense")
    assert {line.status for line in sensor_lines(world, space)[0]} <= {"not measured", "info"}
    with pytest.raises(InputError):
        load_sensor_world(folder)
    (folder / "payloads" / "splats.usdc").unlink()
    assert sensor_lines(world, space)[0] == []


def test_robots_look_from_where_they_fit(tmp_path, room):
    """Poses keep the robot's radius from everything and look in all directions."""
    write_room_world(tmp_path / "room", room)
    world = read_world(tmp_path / "room")
    poses = robot_poses(analyse(world.grid, world.robot_radius_m), world.floor_z_m)
    xy = np.array([position[:2] for position, _, _ in poses])
    assert room.free_at(xy, 0.25).all()
    assert len({int(heading // (math.pi / 2)) for _, heading, _ in poses}) == 4
