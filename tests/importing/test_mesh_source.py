"""Meshes of other programs: read through trimesh with colours kept, wound into free space, floors closed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from known_scenes import KnownScene, known_scene
from lyra.worldgen.core.config import WorldConfig, config_from_dict
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import rotation_x
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.report import Report
from lyra.worldgen.importing.enclosure import enclose
from lyra.worldgen.importing.floor_holes import close_floor_holes
from lyra.worldgen.importing.kinds import find_source
from lyra.worldgen.importing.mesh_source import read_mesh_source
from lyra.worldgen.importing.mesh_world import reconstruct_mesh
from lyra.worldgen.importing.surface_labels import label_surface
from scan_files import foreign_axes, mesh_in_file

Y_UP = rotation_x(np.pi / 2).T
EYES = np.array([[0.0, 0.0, 1.5]])


@pytest.fixture(scope="module")
def scene() -> KnownScene:
    return known_scene(1005)


def coloured(scene: KnownScene, R: np.ndarray, units: float, *, flip: bool = False) -> trimesh.Trimesh:
    """The truth with colours at its corners, in a file's axes; `flip` winds everything the wrong way."""
    mesh = mesh_in_file(R, units, scene.truth, np.array([3.0, 1.0, 2.0]) * units)
    rgb = scene.colour(scene.truth.triangles().reshape(-1, 3), np.repeat(np.arange(scene.truth.face_count), 3))
    faces = np.arange(3 * mesh.face_count).reshape(-1, 3)
    return trimesh.Trimesh(
        mesh.triangles().reshape(-1, 3),
        faces[:, ::-1] if flip else faces,
        vertex_colors=np.c_[rgb, np.full(len(rgb), 255)].astype(np.uint8),
        process=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "units", "flip", "sets"),
    [("a.glb", 1.0, False, {}), ("a.ply", 1000.0, True, {"units": "mm", "up": "y-up"}), ("a.obj", 100.0, False, {})],
)
def test_a_room_comes_out_upright_metric_and_with_its_colours(name, units, flip, sets, scene, tmp_path):
    """Walls, floor and ceiling are where they are in truth, faces show their front, colours are the file's."""
    R = foreign_axes(1005, base=Y_UP, tilt_deg=2.0)
    coloured(scene, R, units, flip=flip).export(tmp_path / name)
    imported = read_mesh_source(find_source(tmp_path / name), config_from_dict({"source": sets}))
    mesh, T = imported.mesh, np.array(imported.facts["T_scene_file"])
    assert mesh is not None and mesh.uv is not None and mesh.texture_u8 is not None
    assert imported.facts["up"] == "y" and imported.scale.metres_per_unit == pytest.approx(1 / units, rel=1e-9)
    assert np.degrees(np.arccos(min(1.0, T[2, :3] @ R[:, 2]))) < 0.1
    assert mesh.vertices[:, 2].min() == pytest.approx(0, abs=0.002 * units)
    assert mesh.vertices[:, 2].max() == pytest.approx(scene.ceiling_m * units, abs=0.005 * units)
    assert imported.facts["turned"] == (mesh.face_count if flip else 0)
    # Back to the truth: what a ray sees there has the colour that the truth has.
    back = np.linalg.inv(T)
    to_truth = np.c_[R.T / units, -R.T @ [3.0, 1.0, 2.0]]
    places = np.stack([mesh.triangles().mean(1)])[0]
    in_file = places @ back[:3, :3].T + back[:3, 3]
    truth = in_file @ to_truth[:, :3].T + to_truth[:, 3]
    seen = Raycaster(scene.truth)
    corner_rgb = scene.colour(scene.truth.triangles().reshape(-1, 3), np.repeat(np.arange(scene.truth.face_count), 3))
    expected = corner_rgb.reshape(-1, 3, 3).mean(1)
    normals = mesh.face_normals() @ back[:3, :3].T @ to_truth[:, :3].T * units
    t, face, _ = seen.cast(truth + 0.05 * normals, -normals)
    close = np.abs(t - 0.05) < 0.01
    assert close.mean() > 0.9
    uv = mesh.uv.mean(1)
    h, w = mesh.texture_u8.shape[:2]
    shown = mesh.texture_u8[((1 - uv[:, 1]) * h).astype(int), (uv[:, 0] * w).astype(int)]
    assert np.median(np.abs(shown[close] - expected[face[close]]).max(1)) < 12


@pytest.mark.slow
def test_textures_of_several_materials_become_one(tmp_path):
    """Two pictures, one of them repeated, and a plain colour end in one texture at the right places."""
    parts = []
    for k, (rgb, side) in enumerate((((200, 40, 30), 1.0), ((30, 60, 210), 3.0))):
        picture = Image.new("RGB", (32, 32), rgb)
        visual = trimesh.visual.TextureVisuals(
            uv=np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * side,
            material=trimesh.visual.material.PBRMaterial(baseColorTexture=picture),
        )
        x = 6.0 * k
        corners = np.array([[x, 0, 0], [x + 6, 0, 0], [x + 6, 6, 0], [x, 6, 0]])
        parts.append(trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False))
    wall = trimesh.creation.box((12, 6, 2.6))
    wall.apply_translation((6, 3, 1.3))
    wall.invert()
    wall.update_faces(wall.triangles_center[:, 2] > 0.01)
    wall.visual.face_colors = (90, 160, 90, 255)
    scene = trimesh.Scene([*parts, wall])
    scene.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, (1, 0, 0)))
    scene.export(tmp_path / "a.glb")
    imported = read_mesh_source(find_source(tmp_path / "a.glb"), WorldConfig())
    mesh = imported.mesh
    assert mesh is not None and mesh.uv is not None and mesh.texture_u8 is not None
    image = Raycaster(mesh)
    x = [mesh.vertices[:, 0].min() + 2, mesh.vertices[:, 0].max() - 2, 0.0]
    t, face, bary = image.cast(np.c_[x, np.zeros(3), np.ones(3)], np.array([[0.0, 0, -1], [0, 0, -1], [0, 0, 1]]))
    assert np.isfinite(t).all()
    uv = np.einsum("nk,nkc->nc", bary, mesh.uv[face])
    h, w = mesh.texture_u8.shape[:2]
    shown = mesh.texture_u8[((1 - uv[:, 1]) * h).astype(int), (uv[:, 0] * w).astype(int)].astype(int)
    reds = sorted(shown[:2].tolist())
    assert np.abs(np.array(reds) - [[30, 60, 210], [200, 40, 30]]).max() <= 3
    assert np.abs(shown[2] - [90, 160, 90]).max() <= 3


def test_holes_are_closed_and_open_places_get_a_backdrop(scene):
    """A small hole in the floor is patched, a missing wall is backed, a missing ceiling becomes sky."""
    truth = label_surface(scene.truth, ceiling_m=scene.ceiling_m)
    agree = truth.face_labels == scene.truth.face_labels
    area = truth.face_areas_m2()
    assert area[agree].sum() > 0.9 * area.sum()
    rim = np.array([[-9, -9], [9, -9], [9, 9], [-9, 9]], float)
    hole = np.array([[-0.3, -0.3], [0.3, -0.3], [0.3, 0.3], [-0.3, 0.3]])
    vertices = np.c_[np.concatenate([rim, hole]), np.zeros(8)]
    quads = [[k, (k + 1) % 4, 4 + (k + 1) % 4, 4 + k] for k in range(4)]
    faces = np.array([[q[0], q[1], q[2]] for q in quads] + [[q[0], q[2], q[3]] for q in quads], np.int32)
    floor = TriMesh(vertices=vertices, faces=faces, face_labels=np.full(8, Label.FLOOR, np.uint8))
    report = Report()
    closed = close_floor_holes(floor, report)
    t, _, _ = Raycaster(closed).cast(np.array([[0.05, 0.02, 1.0]]), np.array([[0.0, 0.0, -1.0]]))
    assert t[0] == pytest.approx(1.0, abs=0.01) and [f.code for f in report] == ["floor.closed"]
    report = Report()
    world = enclose(closed, EYES, ceiling_m=None, report=report)
    labels = world.face_labels
    assert labels is not None and {Label.BACKDROP, Label.SKY} <= set(labels.tolist())
    rays = np.array([[1.0, 0.2, 0.0], [-1.0, 0.1, 0.0], [0.1, 0.1, 1.0]])
    assert np.isfinite(Raycaster(world).cast(np.tile(EYES, (3, 1)), rays)[0]).all()
    assert {f.code for f in report} == {"import.open", "import.outdoors"}
    untouched = enclose(scene.truth, EYES, ceiling_m=scene.ceiling_m, report=Report())
    assert untouched is scene.truth


@pytest.mark.slow
def test_large_meshes_are_simplified_with_their_colours(scene, tmp_path):
    """A budget of faces is kept, and what is seen still has the original's colours."""
    mesh = coloured(scene, Y_UP, 1.0)
    vertices, faces = trimesh.remesh.subdivide_to_size(mesh.vertices, mesh.faces, 0.4)
    trimesh.Trimesh(vertices, faces, process=False).export(tmp_path / "a.glb")
    config = config_from_dict({"source": {"max_faces": 2000}, "reconstruction": {"texture_px": 512}})
    imported = read_mesh_source(find_source(tmp_path / "a.glb"), config)
    assert imported.mesh is not None and imported.mesh.face_count <= 2100
    assert imported.mesh.vertices[:, 2].max() == pytest.approx(scene.ceiling_m, abs=0.01)
    assert "import.simplified" in [f.code for f in imported.report]
    splats = reconstruct_mesh(
        imported.mesh,
        imported.Ts_world_path,
        config_from_dict({"reconstruction": {"splat_budget": 5000, "texture_px": 512}}),
    ).splats
    assert len(splats) == 5000 and splats.labels is not None and (splats.labels == Label.FLOOR).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: trimesh.creation.icosphere(subdivisions=3), "floor|too small"),
        (lambda: trimesh.creation.box((0.3, 0.2, 0.4)), "too small"),
        (lambda: trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], process=False), "triangles"),
    ],
)
def test_what_is_no_place_is_refused(make, words, tmp_path):
    """A ball, a thing and a line are no worlds, and the message says so."""
    make().export(tmp_path / "a.ply")
    with pytest.raises(InputError, match=words):
        read_mesh_source(find_source(tmp_path / "a.ply"), config_from_dict({"source": {"units": "m"}}))


def test_pictures_beside_an_obj_are_read_and_elsewhere_are_not(tmp_path):
    """`map_Kd` beside the file counts."""
    folder: Path = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (16, 16), (10, 200, 20)).save(folder / "p.png")
    (folder / "a.mtl").write_text("newmtl m\nmap_Kd p.png\n")
    room = trimesh.creation.box((6, 5, 2.7))
    room.invert()
    lines = ["mtllib a.mtl", "usemtl m"]
    lines += [f"v {x} {y} {z}" for x, y, z in room.vertices] + ["vt 0.5 0.5"]
    lines += [f"f {a + 1}/1 {b + 1}/1 {c + 1}/1" for a, b, c in room.faces]
    (folder / "a.obj").write_text("\n".join(lines))
    imported = read_mesh_source(find_source(folder / "a.obj"), config_from_dict({"source": {"up": "z", "units": "m"}}))
    assert imported.mesh is not None and imported.mesh.texture_u8 is not None
    assert np.abs(imported.mesh.texture_u8.reshape(-1, 3).mean(0) - [10, 200, 20]).max() < 2
    assert imported.facts["watertight"] is True
