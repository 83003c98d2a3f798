"""Coarser copies of a mesh: budgets, measured errors, textures and borders hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.core.config import ReconstructionConfig
from lyra.worldgen.core.errors import ConfigError
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.mesh_levels import MeshLevel, mesh_levels, point_distance_m

pytest.importorskip("numba")
pytest.importorskip("scipy")
pytest.importorskip("embreex")

TEXTURE_PX = 512


def textured_hills(cells: int, roughness_m: float, seed: int) -> TriMesh:
    """A bumpy sheet of two labels, laid into the texture as two charts with room between them."""
    rng = np.random.default_rng(seed)
    n = cells + 1
    x, y = np.meshgrid(np.linspace(0, 4, n), np.linspace(0, 4, n), indexing="ij")
    z = 0.3 * np.sin(1.3 * x + 0.5 * y) + roughness_m * rng.standard_normal((n, n))
    number = np.arange(n * n).reshape(n, n)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    faces = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], 2).reshape(-1, 3)
    vertices = np.stack([x, y, z], -1).reshape(-1, 3)
    right = (vertices[faces].mean(1)[:, 0] > 2).astype(int)
    uv = vertices[faces][..., :2] / 10 + 0.05 + 0.2 * right[:, None, None] * [1, 0]
    return TriMesh(
        vertices=vertices,
        faces=faces.astype(np.int32),
        face_labels=np.where(right, Label.OBJECT, Label.FLOOR).astype(np.uint8),
        uv=uv.astype(np.float32),
        texture_u8=np.zeros((TEXTURE_PX, TEXTURE_PX, 3), np.uint8),
    )


def uv_areas(mesh: TriMesh) -> np.ndarray:
    """[F] signed, in texels."""
    uv = mesh.uv.astype(float) * TEXTURE_PX
    a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    return 0.5 * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def open_edges_m(mesh: TriMesh) -> float:
    """Length of all edges that only one face has."""
    edge = np.sort(np.stack([mesh.faces, np.roll(mesh.faces, -1, 1)], -1).reshape(-1, 2), 1)
    edge, count = np.unique(edge, axis=0, return_counts=True)
    assert count.max() <= 2
    lonely = edge[count == 1]
    return float(np.linalg.norm(mesh.vertices[lonely[:, 0]] - mesh.vertices[lonely[:, 1]], axis=1).sum())


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(st.integers(12, 24), st.sampled_from([0.0, 0.002, 0.01]), st.integers(0, 1000))
def test_every_level_keeps_its_promises(cells, roughness_m, seed):
    """Budgets are met, the stated error holds at other points too, nothing is turned over, no crack opens, and the
    texture is where it was."""
    mesh = textured_hills(cells, roughness_m, seed)
    levels = mesh_levels(mesh, (mesh.face_count // 8, mesh.face_count // 2))
    assert levels, "a smooth sheet can lose half of its faces"
    rng = np.random.default_rng(seed + 1)
    weight, face = rng.dirichlet((1, 1, 1), 3000), rng.integers(0, mesh.face_count, 3000)
    points = (mesh.triangles()[face] * weight[..., None]).sum(1)
    for level, budget in zip(levels, (mesh.face_count // 2, mesh.face_count // 8), strict=False):
        small = level.mesh.validate()
        assert small.face_count <= budget
        away_m = point_distance_m(points, small)
        assert away_m.max() <= 1.1 * level.error_m + 1e-6 and level.error_m < 0.3
        assert (small.face_normals()[:, 2] > 0).all()
        assert small.uv.min() >= 0 and small.uv.max() <= 1
        assert (uv_areas(small) > 0).all()
        # Both charts keep their outlines, so no border of one shows what is beside it in the texture.
        for label in (Label.FLOOR, Label.OBJECT):
            area = [uv_areas(m)[m.face_labels == label].sum() for m in (mesh, small)]
            assert area[1] == pytest.approx(area[0], rel=0.02)
        assert open_edges_m(small) == pytest.approx(open_edges_m(mesh), rel=0.1)
        middle, place = small.triangles().mean(1), small.uv.astype(float).mean(1)
        right = small.face_labels == Label.OBJECT
        np.testing.assert_allclose((place - 0.05 - 0.2 * right[:, None] * [1, 0]) * 10, middle[:, :2], atol=0.02)


def test_a_closed_body_stays_closed():
    """Simplifying a box opens no edge."""
    corner = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], float)
    quads = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]
    faces = np.array([t for q in quads for t in ([q[0], q[1], q[2]], [q[0], q[2], q[3]])], np.int32)
    from lyra.worldgen.reconstruction.mesh_extract import refine_near

    fine = refine_near(TriMesh(vertices=corner, faces=faces), np.zeros((1, 3)), shortest_m=0.1, ratio=0.1)
    levels = mesh_levels(fine, (fine.face_count // 3,))
    assert [level.mesh.face_count <= fine.face_count // 3 for level in levels] == [True]
    assert open_edges_m(levels[0].mesh) == 0 and levels[0].error_m < 1e-6


def test_budgets_that_save_nothing_are_left_out():
    """A budget above the mesh's own size gives no level."""
    assert mesh_levels(textured_hills(8, 0.0, 0), (200_000, 50_000)) == []
    assert ReconstructionConfig(lod_faces="").level_budgets == ()
    assert ReconstructionConfig().level_budgets == (200_000, 50_000, 12_000)
    for text in ("12", "a lot", "1000,,x", "-4000"):
        with pytest.raises(ConfigError, match="lod_faces"):
            ReconstructionConfig(lod_faces=text)


def usd_levels(folder, mesh: TriMesh) -> list[MeshLevel]:
    from lyra.worldgen.sim.usd_mesh import write_visual

    levels = mesh_levels(mesh, (mesh.face_count // 2, mesh.face_count // 6))
    assert len(levels) == 2
    write_visual(folder / "visual.usdc", mesh, levels)
    return levels


def test_usd_shows_the_full_mesh_and_offers_the_others(tmp_path):
    """Readers get the full mesh; the variant set `lod` has the others, with one texture and their errors."""
    Usd = pytest.importorskip("pxr.Usd")
    UsdGeom = pytest.importorskip("pxr.UsdGeom")
    from lyra.worldgen.sim.usd_read import read_visual

    mesh = textured_hills(20, 0.002, 3)
    levels = usd_levels(tmp_path, mesh)
    assert read_visual(tmp_path / "visual.usdc").face_count == mesh.face_count
    stage = Usd.Stage.Open(str(tmp_path / "visual.usdc"))
    visual = stage.GetPrimAtPath("/World/Visual")
    lod = visual.GetVariantSet("lod")
    assert lod.GetVariantNames() == ["full", "lod1", "lod2"] and lod.GetVariantSelection() == "full"
    errors = visual.GetCustomDataByKey("lyra:lod_error_m")
    for number, level in enumerate(levels, 1):
        lod.SetVariantSelection(f"lod{number}")
        shown = [UsdGeom.Mesh(p) for p in stage.Traverse() if p.IsA(UsdGeom.Mesh)]
        assert sum(len(m.GetFaceVertexCountsAttr().Get()) for m in shown) == level.mesh.face_count
        assert all(UsdGeom.PrimvarsAPI(m).HasPrimvar("st") for m in shown)
        assert errors[f"lod{number}"] == pytest.approx(level.error_m)


def test_gltf_shows_the_full_mesh_and_hangs_the_others_on_it(tmp_path):
    """Viewers without MSFT_lod see the full mesh only; each node lists its coarser copies."""
    trimesh = pytest.importorskip("trimesh")
    import json

    from lyra.worldgen.reconstruction.glb import write_mesh_glb

    mesh = textured_hills(20, 0.002, 3)
    levels = mesh_levels(mesh, (mesh.face_count // 2, mesh.face_count // 6))
    write_mesh_glb(tmp_path / "m.glb", mesh, [level.mesh for level in levels])
    data = (tmp_path / "m.glb").read_bytes()
    tree = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    nodes = {node["name"]: node for node in tree["nodes"]}
    assert "MSFT_lod" in tree["extensionsUsed"] and len(tree["images"]) == 1
    for label, name in ((Label.FLOOR, "floor"), (Label.OBJECT, "object")):
        ids = nodes[name]["extensions"]["MSFT_lod"]["ids"]
        assert [tree["nodes"][i]["name"] for i in ids] == [f"{name}_lod1", f"{name}_lod2"]
        for i, level in zip(ids, levels, strict=True):
            part = tree["meshes"][tree["nodes"][i]["mesh"]]["primitives"][0]
            assert tree["accessors"][part["indices"]]["count"] == 3 * int((level.mesh.face_labels == label).sum())
        assert len(nodes[name]["extras"]["MSFT_screencoverage"]) == 3
    shown = trimesh.load(tmp_path / "m.glb", process=False)
    assert sum(len(g.faces) for g in shown.dump()) == mesh.face_count
