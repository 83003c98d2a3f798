"""Files of other programs become certified worlds: splats with foreign customs, meshes with and without holes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from known_scenes import KnownScene, known_scene
from lyra.worldgen.build import import_world, rerun_stage, rescale_world
from lyra.worldgen.core.config import RescaleConfig, WorldConfig, load_config
from lyra.worldgen.core.frames import rotation_x
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.core.world import World
from lyra.worldgen.reconstruction.splat_io import write_splats
from scan_files import foreign_axes, in_file, sample_mesh_faces, scanned_splats

pytestmark = [pytest.mark.slow, pytest.mark.physx]

OFFSET = np.array([130.0, -75.0, 42.0])


def config(**sets: object) -> WorldConfig:
    small = {
        "reconstruction.texture_px": 1024,
        "reconstruction.splat_budget": 200_000,
        "simulation.episode_count": 8,
        "certificate.drops": 6,
        "certificate.drive_episodes": 2,
    }
    return load_config(None, {**small, **{f"source.{name}": value for name, value in sets.items()}})


def failed(world: World) -> list[str]:
    return [f"{line} ({world.facts('certify')['summary']})" for line in world.facts("certify")["failed"]]


def solid(mesh: TriMesh) -> TriMesh:
    assert mesh.face_labels is not None
    return mesh.select_faces(~np.isin(mesh.face_labels, (Label.SKY, Label.BACKDROP)))


def distances_m(mesh: TriMesh, scene: KnownScene, T_scene_file: np.ndarray, R: np.ndarray, units: float) -> np.ndarray:
    """[N] distance of points of an imported mesh to the truth."""
    points, face = sample_mesh_faces(solid(mesh), 20_000)
    back = np.linalg.inv(T_scene_file)
    in_units = points * units
    truth = ((in_units @ back[:3, :3].T + back[:3, 3]) - OFFSET) @ R / units
    normals = solid(mesh).face_normals()[face] @ back[:3, :3].T @ R
    best = np.full(len(points), np.inf)
    caster = Raycaster(scene.truth)
    for direction in (normals, -normals):
        t, _, _ = caster.cast(truth, direction)
        best = np.minimum(best, t)
    return best


@pytest.mark.parametrize("seed", [1008])
def test_splats_in_centimetres_with_y_down_and_floaters(seed, tmp_path):
    """Up within 0.5 degrees, floor within 2 cm, scale as stated, surfaces where they are in truth, and certified."""
    scene = known_scene(seed)
    R = foreign_axes(seed)
    path = tmp_path / "scan.ply"
    write_splats(path, in_file(R, 100.0, scanned_splats(scene, count=150_000), OFFSET))
    world = import_world(path, tmp_path / "world", config(units="cm"))
    facts = world.facts("import")
    T = np.array(facts["T_scene_file"])
    assert np.degrees(np.arccos(np.clip(T[2, :3] @ R[:, 2], -1, 1))) < 0.5
    assert abs((T[:3, :3] @ OFFSET + T[:3, 3])[2]) / 100 < 0.02
    scale = world.manifest.scale
    assert scale is not None and scale.metres_per_unit == 0.01 and scale.source == "units"
    removed = facts["removed"]
    assert sum(removed.values()) > 280 and facts["splats_kept"] > 0.98 * 150_000
    d = distances_m(world.mesh(), scene, T, R, 100.0)
    assert np.median(d) < 0.01 and np.percentile(d, 95) < 0.05
    assert failed(world) == [] and world.verdict == "passed"


def inverted_room(tmp_path: Path, *, holes: bool) -> Path:
    """A watertight room of one piece with watertight things in it, or the same with holes in floor and wall."""
    room = trimesh.creation.box((7.0, 5.0, 2.6))
    room.apply_translation((0, 0, 1.3))
    room.invert()
    things = [((-1.5, 1.2, 0.4), (0.8, 0.6, 0.8)), ((2.0, -1.5, 0.5), (1.0, 0.8, 1.0))]
    boxes = [
        trimesh.creation.box(size, transform=trimesh.transformations.translation_matrix(at)) for at, size in things
    ]
    parts = []
    for part, rgb in zip([room, *boxes], ((190, 180, 170), (120, 70, 50), (60, 90, 140)), strict=True):
        vertices, faces = trimesh.remesh.subdivide_to_size(part.vertices, part.faces, 0.3)
        if holes and part is room:
            centre = vertices[faces].mean(1)
            floor = (np.abs(centre[:, 2]) < 1e-6) & (np.linalg.norm(centre[:, :2] - [0.4, -0.2], axis=1) < 0.4)
            wall = (np.abs(centre[:, 1] - 2.5) < 1e-6) & (np.linalg.norm(centre[:, [0, 2]] - [1.0, 1.2], axis=1) < 0.5)
            faces = faces[~(floor | wall)]
        colours = np.tile(np.array([*rgb, 255], np.uint8), (len(vertices), 1))
        parts.append(trimesh.Trimesh(vertices, faces, vertex_colors=colours, process=False))
    whole = trimesh.util.concatenate(parts)
    whole.merge_vertices()
    turn = np.eye(4)
    turn[:3, :3] = rotation_x(np.pi / 2).T
    whole.apply_transform(turn)
    path = tmp_path / "room.glb"
    whole.export(path)
    return path


@pytest.mark.parametrize("holes", [False, True])
def test_meshes_with_and_without_holes(holes, tmp_path):
    """Certified either way; holes that a robot would fall through are closed and reported."""
    world = import_world(inverted_room(tmp_path, holes=holes), tmp_path / "world", config())
    assert failed(world) == [] and world.verdict == "passed"
    facts = world.facts("import")
    assert facts["watertight"] is not holes and facts["up"] == "y"
    codes = {finding["code"] for finding in world.manifest.stages["reconstruct"].findings}
    assert codes == ({"floor.closed", "import.open"} if holes else set())
    mesh = world.mesh()
    down, _, _ = Raycaster(solid(mesh)).cast(
        np.array([[x, y, 0.5] for x, y in grid_xy(mesh)]), np.tile([0, 0, -1.0], (100, 1))
    )
    assert np.isfinite(down).mean() == 1.0
    if holes:
        return
    again = rescale_world(tmp_path / "world", RescaleConfig(factor=0.9))
    assert again.manifest.scale is not None and again.manifest.scale.metres_per_unit == pytest.approx(0.9)
    assert again.mesh().vertices[:, 2].max() == pytest.approx(2.6 * 0.9, abs=0.01)
    assert rerun_stage(tmp_path / "world", "preview").finished
    listed = json.loads((tmp_path / "world" / "world.json").read_text())
    assert listed["source"]["kind"] == "mesh" and "photo" not in listed


def grid_xy(mesh: TriMesh) -> np.ndarray:
    """[100, 2] places all over the floor plan, away from its rim."""
    low, high = mesh.bounds()
    x, y = np.meshgrid(np.linspace(low[0] + 0.5, high[0] - 0.5, 10), np.linspace(low[1] + 0.5, high[1] - 0.5, 10))
    return np.stack([x.ravel(), y.ravel()], -1)
