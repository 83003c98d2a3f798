"""The stage of a variant: it opens with stock USD, shares the base's payloads, and everybody sees the same of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")

from pxr import Usd, UsdGeom, UsdLux, UsdPhysics, UsdUtils

from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.world import load_world
from lyra.worldgen.sim.usd_read import read_colliders, read_splats_usd, read_visual
from lyra.worldgen.vary import vary_world
from lyra.worldgen.vary.config import vary_config_from_dict

NUMBERS = range(6)


def facts(folder: Path) -> dict:
    return json.loads((folder / "world.json").read_text())["stages"]["vary"]["facts"]


def variant(made_variants: Path, k: int) -> Path:
    return made_variants / f"variant_{k:03d}"


def mirrored(points: np.ndarray, folder: Path) -> np.ndarray:
    """Points of the base where the variant has them."""
    return points * [1, -1, 1] if facts(folder)["values"]["mirrored"] else points


def places(points: np.ndarray) -> dict[tuple[int, ...], int]:
    """Row of each point [N, 3], by its place in tenths of a millimetre."""
    return {tuple(v): i for i, v in enumerate(np.rint(np.asarray(points, float) * 1e4).astype(int).tolist())}


def signed_volume(mesh: TriMesh) -> float:
    triangles = mesh.triangles()
    return float((triangles[:, 0] * np.cross(triangles[:, 1], triangles[:, 2])).sum())


@pytest.mark.parametrize("k", NUMBERS)
@pytest.mark.parametrize("name", ["world.usda", "world_scene.usda"])
def test_stages_open_and_resolve(made_variants, k, name):
    """Every layer and asset is found, the payloads are the variant's, and the base's stage lies below."""
    path = variant(made_variants, k) / name
    _, _, missing = UsdUtils.ComputeAllDependencies(str(path))
    assert not missing
    stage = Usd.Stage.Open(str(path))
    assert stage.GetDefaultPrim().GetPath() == "/World"
    assert UsdGeom.GetStageUpAxis(stage) == "Z" and UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    used = {Path(layer.realPath) for layer in stage.GetUsedLayers() if layer.realPath}
    assert (variant(made_variants, k) / "payloads" / "visual.usdc").resolve() in used
    assert (made_variants.parent / "room" / "payloads" / "visual.usdc").resolve() in used
    assert bool(stage.GetPrimAtPath("/World/Lights/dome")) == (name == "world_scene.usda")
    assert stage.GetPrimAtPath("/World/Visual/floor") and stage.GetPrimAtPath("/World/Collision/floor_000")


def test_mirrored_and_straight_variants_are_tested(made_variants):
    """The six hold both, and things in all of them."""
    assert {facts(variant(made_variants, k))["values"]["mirrored"] for k in NUMBERS} == {True, False}
    assert all(facts(variant(made_variants, k))["things"] for k in NUMBERS)


@pytest.mark.parametrize("k", NUMBERS)
def test_geometry_is_the_bases_and_the_things(made_room, made_variants, k):
    """Mesh, colliders and splats are those of the base, mirrored or not and wound outward, and what was put there."""
    folder = variant(made_variants, k)
    things = facts(folder)["things"]
    for name, read in (("visual", read_visual), ("collision", lambda path: read_colliders(path).mesh)):
        before, after = (read(f / "payloads" / f"{name}.usdc") for f in (made_room, folder))
        whole = read(folder / "world.usda") if name == "visual" else read_colliders(folder / "world.usda").mesh
        np.testing.assert_allclose(np.sort(whole.vertices, 0), np.sort(after.vertices, 0), atol=1e-6)
        old = {tuple(v) for v in np.round(mirrored(before.vertices, folder), 4) + 0.0}
        new = {tuple(v) for v in np.round(after.vertices, 4) + 0.0}
        assert old <= new
        added = np.array(sorted(new - old))
        for thing in things:
            middle = mirrored(np.array([*thing["xy_m"], 0.0]), folder)
            near = np.linalg.norm(added[:, :2] - middle[:2], axis=1) <= thing["width_m"] / 2 + 1e-3
            assert near.any() and added[near, 2].max() == pytest.approx(thing["height_m"], abs=1e-3)
            assert added[near, 2].min() == pytest.approx(0.0, abs=1e-6)
        assert (signed_volume(before) > 0) == (signed_volume(after) > 0)  # faces look to where the base's do
    splats, drawn = (read_splats_usd(f / "payloads" / "splats.usdc") for f in (made_room, folder))
    extra = len(drawn) - len(splats)
    assert extra > facts(folder)["values"]["floaters"] > 0
    assert places(mirrored(splats.means, folder)).keys() <= places(drawn.means).keys()


@pytest.mark.parametrize("k", NUMBERS)
def test_mirrored_textures_stay_on_their_faces(made_room, made_variants, k):
    """The texture coordinates of each corner are those it had, wherever it went."""
    folder = variant(made_variants, k)
    before, after = (read_visual(f / "payloads" / "visual.usdc") for f in (made_room, folder))

    def corners(mesh, points) -> set:
        assert mesh.uv is not None
        both = np.concatenate([points[mesh.faces], mesh.uv], -1).reshape(-1, 5)
        return {tuple(row) for row in np.round(both, 4) + 0.0}

    assert corners(before, mirrored(before.vertices, folder)) <= corners(after, after.vertices)


@pytest.mark.parametrize("k", NUMBERS)
def test_colours_of_mesh_and_splats_go_together(made_room, made_variants, k):
    """Splats and texture get the same factors; nothing of either is copied."""
    folder = variant(made_variants, k)
    values = facts(folder)["values"]
    before, after = (read_visual(f / "payloads" / "visual.usdc").texture_u8 for f in (made_room, folder))
    cloud, now = (read_splats_usd(f / "payloads" / "splats.usdc") for f in (made_room, folder))
    assert before is not None and after is not None
    assert (after != before).any()
    stage = Usd.Stage.Open(str(folder / "payloads" / "splats.usdc"))
    gain = np.array(stage.GetPrimAtPath("/World/Splats").GetAttribute("lyra:colour:gain").Get())
    want = np.clip(np.rint(before * gain + 255 * values["haze"]), 0, 255)
    assert np.abs(after - want).max() <= 1
    shown = np.clip(cloud.rgb() * gain + values["haze"], 0, 1)
    order = places(now.means)
    rows = [order[place] for place in places(mirrored(cloud.means, folder))]
    np.testing.assert_allclose(now.rgb()[rows], shown, atol=1e-5)


@pytest.mark.parametrize("k", NUMBERS)
def test_friction_is_what_was_drawn(made_room, made_variants, k):
    """Both in the whole stage and in the payload that tasks load; static keeps its ratio to dynamic, in the range."""
    folder = variant(made_variants, k)
    wanted = facts(folder)["surfaces"]
    base = Usd.Stage.Open(str(made_room / "payloads" / "collision.usdc"))
    for name in ("world.usda", "payloads/collision.usdc"):
        stage = Usd.Stage.Open(str(folder / name))
        for kind, (static, dynamic, restitution) in wanted.items():
            prim = stage.GetPrimAtPath(f"/World/PhysicsMaterials/{kind}")
            api, made = UsdPhysics.MaterialAPI(prim), UsdPhysics.MaterialAPI(base.GetPrimAtPath(prim.GetPath()))
            assert api.GetStaticFrictionAttr().Get() == pytest.approx(static)
            assert api.GetDynamicFrictionAttr().Get() == pytest.approx(dynamic)
            assert api.GetRestitutionAttr().Get() == pytest.approx(restitution)
            ratio = made.GetStaticFrictionAttr().Get() / made.GetDynamicFrictionAttr().Get()
            assert static / dynamic == pytest.approx(ratio, rel=1e-4)
    assert {"floor", "wall"} <= set(wanted)


def test_a_sun_shines_under_open_sky_only(made_room, tmp_path, made_variants):
    """A place without a lamp gets a sun from where it stands; a room does not, and says so."""
    from sample_worlds import open_place
    from task_worlds import write_world

    room = Usd.Stage.Open(str(variant(made_variants, 0) / "world_scene.usda"))
    assert not room.GetPrimAtPath("/World/Lights/sun")
    assert any("no sun" in note for note in facts(variant(made_variants, 0))["notes"])
    write_world(tmp_path / "yard", open_place(), episode_count=3)
    cfg = vary_config_from_dict({"light": {"sun": [1.0, 2.0], "sun_elevation_deg": [30, 40]}})
    vary_world(tmp_path / "yard", tmp_path / "variants", count=1, seed=1000, cfg=cfg, certify=False)
    folder = tmp_path / "variants" / "variant_000"
    stage = Usd.Stage.Open(str(folder / "world_scene.usda"))
    sun = UsdLux.DistantLight(stage.GetPrimAtPath("/World/Lights/sun"))
    values = facts(folder)["values"]
    assert sun.GetIntensityAttr().Get() == pytest.approx(np.pi * 1000.0 * values["sun"], rel=1e-5)
    along = np.array(UsdGeom.XformCache().GetLocalToWorldTransform(sun.GetPrim()))[2, :3] * -1
    elevation, azimuth = np.radians(values["sun_elevation_deg"]), np.radians(values["sun_azimuth_deg"])
    towards = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    np.testing.assert_allclose(along, -np.array(towards), atol=1e-6)


def test_the_index_holds_all_variants(made_variants):
    """One stage, one list; each choice is that variant's scene."""
    stage = Usd.Stage.Open(str(made_variants / "variants.usda"))
    choices = stage.GetDefaultPrim().GetVariantSet("variation")
    assert choices.GetVariantNames() == [f"variant_{k:03d}" for k in NUMBERS]
    for k in NUMBERS:
        choices.SetVariantSelection(f"variant_{k:03d}")
        used = {Path(layer.realPath).parent.name for layer in stage.GetUsedLayers() if layer.realPath}
        assert f"variant_{k:03d}" in used and stage.GetPrimAtPath("/World/PhysicsScene")


def test_labels_are_kept(made_variants):
    """What stands on the floor is an object to segmentation."""
    mesh = read_visual(variant(made_variants, 0) / "payloads" / "visual.usdc")
    assert mesh.face_labels is not None
    assert {Label.FLOOR, Label.WALL, Label.CEILING, Label.OBJECT} == {
        Label(int(v)) for v in np.unique(mesh.face_labels)
    }
    assert load_world(variant(made_variants, 0)).base is not None
