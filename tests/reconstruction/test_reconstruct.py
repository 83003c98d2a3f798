"""Views in, mesh and splats out, files that other programs read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.core.config import ReconstructionConfig
from lyra.worldgen.core.errors import Cancelled, InputError
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.progress import Progress
from lyra.worldgen.core.store import load_mesh
from lyra.worldgen.reconstruction.glb import write_mesh_glb
from lyra.worldgen.reconstruction.metrics import psnr_db
from lyra.worldgen.reconstruction.reconstruct import reconstruct, write_reconstruction
from lyra.worldgen.reconstruction.splat_io import read_splats
from reconstruction.analytic_world import make_world

for _package in ("numba", "embreex", "cv2", "scipy", "xatlas", "trimesh"):
    pytest.importorskip(_package)
pytestmark = pytest.mark.slow
CONFIG = ReconstructionConfig(texture_px=1024, splat_budget=60_000)


@pytest.fixture(scope="module", params=[2.7, None], ids=["indoors", "outdoors"])
def world(request):
    return make_world(width_px=128, height_px=96, turns=5, bins=60, step_m=0.3, ceiling_m=request.param)


@pytest.fixture(scope="module")
def result(world):
    return reconstruct(world, CONFIG)


def test_the_photo_is_reproduced(result):
    """Both representations show the photo from its own pose well above the limits."""
    assert result.metrics["splat_psnr_db"] > 30
    assert result.metrics["mesh_psnr_db"] > 30
    assert result.report.ok and not len(result.report)
    assert len(result.splats) <= CONFIG.splat_budget
    result.mesh.validate()
    result.splats.validate()


def test_fewer_splats_by_merging(world):
    """A quarter of the splats merged out of all shows the photo better than as many lifted."""
    cut = ReconstructionConfig(texture_px=256, splat_budget=12_000, splat_max_count=3_000)
    merged = reconstruct(world, cut)
    lifted = reconstruct(world, ReconstructionConfig(texture_px=256, splat_budget=3_000))
    assert len(merged.splats.validate()) == 3_000 >= len(lifted.splats)
    assert merged.metrics["splats"] == 3_000
    assert merged.metrics["splat_psnr_db"] > lifted.metrics["splat_psnr_db"]


def test_labels_survive(world, result):
    """Every label of the proxy keeps its area on the mesh and appears among the splats."""
    for label in np.unique(world.proxy.face_labels):
        area = [m.face_areas_m2()[m.face_labels == label].sum() for m in (world.proxy, result.mesh)]
        np.testing.assert_allclose(area[1], area[0], rtol=1e-6)
        assert (result.splats.labels == label).any()


def test_files_are_read_by_others(tmp_path: Path, result):
    """The glb holds one textured part per label with Y up, the ply all splats, the npz the exact mesh."""
    trimesh = pytest.importorskip("trimesh")
    write_reconstruction(tmp_path, result)
    scene = trimesh.load(tmp_path / "mesh.glb")
    labels = set(np.unique(result.mesh.face_labels).tolist())
    assert set(scene.geometry) == {Label(i).name.lower() for i in labels}
    low, high = result.mesh.bounds()
    np.testing.assert_allclose(scene.bounds[0], [low[0], low[2], -high[1]], atol=1e-4)
    part = scene.geometry["floor"]
    # Y up: the floor looks along +Y.
    np.testing.assert_allclose(part.face_normals[:, 1], 1.0, atol=1e-5)
    picture = np.asarray(part.visual.material.baseColorTexture.convert("RGB"))
    assert psnr_db(picture, result.mesh.texture_u8) > 35
    face = np.flatnonzero(result.mesh.face_labels == Label.FLOOR)[0]
    gap = np.abs(part.visual.uv[None] - result.mesh.uv[face][:, None]).max(-1).min(1)
    assert gap.max() < 1e-5
    assert len(read_splats(tmp_path / "splats.ply")) == len(result.splats)
    np.testing.assert_array_equal(load_mesh(tmp_path / "memory" / "mesh.npz").uv, result.mesh.uv)
    assert len(trimesh.load(tmp_path / "points.ply").vertices) > 1000


@pytest.mark.slow
def test_same_views_same_files(tmp_path: Path, world, result):
    """A second run writes the same bytes."""
    again = reconstruct(world, CONFIG)
    first = write_reconstruction(tmp_path / "a", result) if (tmp_path / "a").mkdir() is None else []
    second = write_reconstruction(tmp_path / "b", again) if (tmp_path / "b").mkdir() is None else []
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_progress_and_cancelling(world):
    """Every step is announced, and a user who stops is obeyed."""

    class Stop(Progress):
        stages: list[str] = []  # noqa: RUF012 - one short-lived instance

        def update(self, stage: str, done: int, total: int, note: str = "") -> None:
            self.stages.append(stage)

        def keep_going(self) -> bool:
            return "baking" not in self.stages

    stop = Stop()
    with pytest.raises(Cancelled):
        reconstruct(world, CONFIG, progress=stop)
    assert {"surface", "looking", "baking"} <= set(stop.stages)


def test_a_poor_result_is_a_finding(world):
    """A texture and a budget that are far too small are reported, not hidden and not raised."""
    poor = reconstruct(world, ReconstructionConfig(texture_px=256, splat_budget=1000))
    codes = {f.code for f in poor.report}
    assert {"texture.coarse", "splat.psnr"} <= codes


def test_glb_needs_a_texture(tmp_path: Path):
    """A bare mesh is refused."""
    bare = TriMesh(vertices=np.eye(3), faces=np.array([[0, 1, 2]], np.int32))
    with pytest.raises(InputError, match="texture"):
        write_mesh_glb(tmp_path / "m.glb", bare)


def test_psnr():
    """PSNR of a difference of one step is 48.13 dB; equal pictures give infinity; an empty mask is refused."""
    a = np.zeros((4, 4, 3), np.uint8)
    np.testing.assert_allclose(psnr_db(a, a + 1), 48.1308, atol=1e-3)
    assert psnr_db(a, a) == np.inf
    with pytest.raises(InputError, match="mask"):
        psnr_db(a, a, np.zeros((4, 4), bool))
    with pytest.raises(InputError, match="shapes"):
        psnr_db(a, a[:2])
