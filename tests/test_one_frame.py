"""Splats, meshes and colliders of a world share one frame, and a payload that does not is found in its file."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.certify.one_frame import LIMIT_CM, LIMIT_DEG, frame_lines, measure_frames
from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.frames import (
    quat_wxyz_from_rotation,
    rigid,
    rotation_from_quat_wxyz,
    rotation_x,
    rotation_z,
    transform_points,
)
from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.core.splats import GaussianCloud, sh_from_rgb, transform_splats
from lyra.worldgen.reconstruction.glb import write_mesh_glb
from lyra.worldgen.reconstruction.splat_io import write_splats as write_ply
from lyra.worldgen.sim.collision import build_colliders
from lyra.worldgen.sim.usd_mesh import write_visual
from lyra.worldgen.sim.usd_physics import write_collision
from lyra.worldgen.sim.usd_read import read_colliders, read_splats_usd, read_visual
from lyra.worldgen.sim.usd_splats import write_splats
from sample_worlds import simple_room

pytest.importorskip("pxr")
FILES = ("payloads/collision.usdc", "mesh.glb", "payloads/splats.usdc", "splats.ply")


def discs(mesh: TriMesh, count: int = 4000) -> GaussianCloud:
    """Flat splats on the faces."""
    rng = np.random.default_rng(1)
    area = mesh.face_areas_m2()
    face = rng.choice(mesh.face_count, count, p=area / area.sum())
    normal = mesh.face_normals()[face]
    first = np.cross(normal, np.where(np.abs(normal[:, 2:]) < 0.9, [[0.0, 0, 1]], [[1.0, 0, 0]]))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    axes = np.stack([first, np.cross(normal, first), normal], -1)
    return GaussianCloud(
        means=np.einsum("nk,nkc->nc", rng.dirichlet([1, 1, 1], count), mesh.triangles()[face]).astype(np.float32),
        scales_m=np.tile(np.array([0.05, 0.05, 0.002], np.float32), (count, 1)),
        quats_wxyz=quat_wxyz_from_rotation(axes).astype(np.float32),
        opacities=np.full(count, 0.9, np.float32),
        sh=sh_from_rgb(rng.uniform(0, 1, (count, 3))),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Every geometric file of a room with furniture, as the stages write them."""
    folder = tmp_path_factory.mktemp("frames")
    mesh = simple_room()
    write_visual(folder / "payloads" / "visual.usdc", mesh)
    write_collision(folder / "payloads" / "collision.usdc", build_colliders(mesh, SimulationConfig()))
    write_splats(folder / "payloads" / "splats.usdc", discs(mesh))
    write_ply(folder / "splats.ply", discs(mesh))
    write_mesh_glb(folder / "mesh.glb", mesh)
    return folder


def moved(mesh: TriMesh, T: np.ndarray) -> TriMesh:
    return replace(mesh, vertices=transform_points(T, mesh.vertices))


def rewrite(folder: Path, name: str, T: np.ndarray) -> None:
    """Write one file anew with its content moved."""
    path = folder / name
    if name.endswith("glb"):
        write_mesh_glb(path, moved(simple_room(), T))
    elif "collision" in name:
        plan = build_colliders(simple_room(), SimulationConfig())
        write_collision(path, replace(plan, boxes=(), rest=moved(plan.as_mesh(), T)))
    else:
        (write_ply if name.endswith("ply") else write_splats)(path, transform_splats(T, discs(simple_room())))


def test_what_the_stages_write_shares_one_frame(world):
    """Centres of mass, planes, edges and the best similarity agree to a tenth of the limits."""
    results = measure_frames(world)
    assert tuple(r.file for r in results) == FILES
    for r in results:
        assert r.offset_cm < 0.1 * LIMIT_CM and r.angle_deg < 0.1 * LIMIT_DEG and r.matched_share > 0.97, r
        assert {"floor", "wall", "ceiling", "object"} <= set(r.shift_cm)
        assert any(name.startswith("the edge of the floor and wall") for name in r.planes_deg)
        assert any("top" in name for name in r.planes_cm)  # the sides of the chest are among the planes
    lines, _ = frame_lines(world)
    assert [line.id for line in lines] == ["frame.offset", "frame.angle"] and all(line.passed for line in lines)


ASIDE = rigid(np.eye(3), np.array([0.015, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("name", "T", "failing"),
    [
        *((name, ASIDE, {"frame.offset"}) for name in FILES),
        ("splats.ply", rigid(np.eye(3), np.array([0.0, 0.0, -0.02])), {"frame.offset"}),
        ("payloads/splats.usdc", rigid(rotation_z(math.radians(0.3)), np.zeros(3)), {"frame.angle"}),
        ("payloads/collision.usdc", rigid(rotation_z(math.radians(0.3)), np.zeros(3)), {"frame.angle"}),
        ("mesh.glb", np.diag([1.01, 1.01, 1.01, 1.0]), {"frame.offset"}),
        ("payloads/splats.usdc", np.diag([100.0, 100.0, 100.0, 1.0]), {"frame.offset", "frame.angle"}),
        ("mesh.glb", rigid(rotation_x(-math.pi / 2), np.zeros(3)), {"frame.offset", "frame.angle"}),
    ],
)
def test_a_moved_payload_fails(world, tmp_path, name, T, failing):
    """A shift, a turn, another unit or another up axis of a single file fails the certificate and names the file."""
    shutil.copytree(world, tmp_path / "w")
    rewrite(tmp_path / "w", name, T)
    lines, _ = frame_lines(tmp_path / "w")
    assert failing <= {line.id for line in lines if line.passed is False}
    assert all(Path(name).name in line.detail for line in lines if line.id in failing)


def test_leaning_walls_do_not_say_how_far_they_moved_up(tmp_path):
    """Splats 3 mm in front of walls that lean by a third of a degree are 3 mm off; along the lean nothing faces."""
    room = simple_room()
    lean = 1 + 0.002 * room.vertices[:, 2:]
    flared = replace(room, vertices=np.c_[room.vertices[:, :2] * lean, room.vertices[:, 2]])
    cloud = discs(flared)
    normal = rotation_from_quat_wxyz(cloud.quats_wxyz.astype(float))[..., 2]
    write_visual(tmp_path / "payloads" / "visual.usdc", flared)
    write_ply(tmp_path / "splats.ply", replace(cloud, means=(cloud.means + 0.003 * normal).astype(np.float32)))
    (result,) = measure_frames(tmp_path)
    assert 0.2 < result.shift_cm["floor"] < 0.4 and result.offset_cm < 0.6 * LIMIT_CM, result


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("payloads/collision.usdc", "metersPerUnit", 0.01), ("payloads/splats.usdc", "upAxis", "Y")],
)
def test_what_a_layer_says_about_itself_counts(world, tmp_path, name, key, value):
    """Right numbers under a wrong unit or up axis are wrong for whoever reads the layer."""
    from pxr import Sdf

    shutil.copytree(world, tmp_path / "w")
    layer = Sdf.Layer.FindOrOpen(str(tmp_path / "w" / name))
    layer.pseudoRoot.SetInfo(key, value)
    layer.Save()
    lines, _ = frame_lines(tmp_path / "w")
    assert all(line.passed is False for line in lines)


def test_a_damaged_payload_is_not_measured(world, tmp_path):
    """A file that cannot be read leaves the lines without a measurement; a world without payloads has no lines."""
    shutil.copytree(world, tmp_path / "w")
    (tmp_path / "w" / "payloads" / "collision.usdc").write_bytes(b"PXR-USDC nonsense")
    lines, results = frame_lines(tmp_path / "w")
    assert [line.status for line in lines] == ["not measured"] * 2 and results == ()
    assert frame_lines(tmp_path / "nothing") == ([], ())


def test_layers_read_back_as_they_were_written(world):
    """Faces, labels, texture and coordinates of the visual layer, colliders' labels, and every array of the splats."""
    mesh, back = simple_room(), read_visual(world / "payloads" / "visual.usdc")
    assert mesh.face_labels is not None and back.face_labels is not None and back.texture_u8 is not None
    assert back.face_count == mesh.face_count and mesh.uv is not None and back.uv is not None
    for label in np.unique(mesh.face_labels):
        mine, its = mesh.face_labels == label, back.face_labels == label
        np.testing.assert_allclose(back.triangles()[its], mesh.triangles()[mine], atol=1e-6)
        np.testing.assert_allclose(back.uv[its], mesh.uv[mine], atol=1e-6)
    assert np.abs(back.texture_u8.astype(int) - mesh.texture_u8).mean() < 3  # JPEG
    collider_labels = read_colliders(world / "payloads" / "collision.usdc").mesh.face_labels
    assert collider_labels is not None and set(collider_labels.tolist()) == {1, 2, 3, 4}
    cloud, splats = read_splats_usd(world / "payloads" / "splats.usdc"), discs(mesh)
    np.testing.assert_array_equal(cloud.means, splats.means)
    np.testing.assert_array_equal(cloud.scales_m, splats.scales_m)
    np.testing.assert_allclose(cloud.quats_wxyz, splats.quats_wxyz, atol=1e-6)
    np.testing.assert_array_equal(cloud.sh, splats.sh)
