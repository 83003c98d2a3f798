"""The whole simulation stage on star-shaped worlds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.errors import ConversionError, InputError
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.mesh import TriMesh
from lyra.worldgen.sim.simulate import WorldMeta, write_simulation, write_thumbnail
from sample_worlds import noisy_room, open_place, sample_splats, simple_room

WORLDS = {"quads": lambda: simple_room(step_m=0.13), "place": open_place, "noisy": noisy_room}
EACH = pytest.mark.parametrize("name", ["place", "quads", pytest.param("noisy", marks=pytest.mark.slow)])
CFG = SimulationConfig(episode_count=12)


def meta(name: str = "sample") -> WorldMeta:
    camera = PinholeCamera.from_hfov(832, 624, 1.1)
    return WorldMeta(name=name, camera=camera, T_world_cam=camera_pose(np.array([0.0, 0.0, 1.5]), pitch_rad=-0.1))


def written(folder: Path, mesh: TriMesh):
    splats = sample_splats(simple_room(), 300)
    return write_simulation(folder, mesh, splats, cfg=CFG, meta=meta(), seed=3)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.mark.slow
@EACH
def test_files_are_those_announced_and_the_bytes_repeat(tmp_path, name):
    """Two runs write the same files with the same bytes, exactly those in the result, and nothing half-written."""
    mesh = WORLDS[name]()
    result = written(tmp_path / "a", mesh)
    written(tmp_path / "b", mesh)
    first = hashes(tmp_path / "a")
    assert sorted(first) == list(result.files)
    assert first == hashes(tmp_path / "b")


@pytest.mark.slow
@EACH
def test_collider_agrees_with_the_visual_mesh(tmp_path, name):
    """A range sensor sees the collider where the picture is: median below 1 cm, 95th percentile below 3 cm."""
    result = written(tmp_path, WORLDS[name]())
    assert result.ray_error_median_m < 0.01
    assert result.ray_error_p95_m < 0.03
    assert result.report.ok and not len(result.report)


def test_navigation_files_agree_with_one_another(tmp_path):
    """Episodes and statistics on disk describe the grid in the result."""
    result = written(tmp_path, simple_room())
    lines = [json.loads(line) for line in (tmp_path / "nav/episodes.jsonl").read_text().splitlines()]
    summary = json.loads((tmp_path / "nav/free_space.json").read_text())
    assert [line["id"] for line in lines] == list(range(CFG.episode_count))
    assert summary["episodes"] == len(lines)
    assert 70 < summary["free_area_m2"] < 80
    assert summary["largest_connected_share"] == 1.0
    assert all(result.space.grid.free_at(np.array(line["goal"][:2])) for line in lines)


def test_a_mesh_without_floor_is_refused(tmp_path):
    """No floor, no world: one line that says so."""
    mesh = simple_room()
    with pytest.raises(ConversionError, match="floor"):
        written(tmp_path, mesh.select_faces(mesh.face_labels != 1))
    with pytest.raises(InputError, match="no faces"):
        written(tmp_path, mesh.select_faces(np.zeros(mesh.face_count, bool)))


def test_thumbnail_is_a_small_square(tmp_path):
    """Any picture becomes the 256 x 256 thumbnail where packages expect it."""
    from PIL import Image

    path = write_thumbnail(tmp_path, np.full((90, 400, 3), 99, np.uint8))
    with Image.open(tmp_path / path) as image:
        assert image.size == (256, 256)
        assert image.getpixel((10, 10)) == (99, 99, 99)
