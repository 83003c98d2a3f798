"""Materials of surfaces: the table, what decides, what stands in USD, and what a sliding body feels of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.core.config import SURFACE_MATERIALS, SimulationConfig, config_from_dict
from lyra.worldgen.core.errors import ConfigError
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.sim.physx_job import GRAVITY_M_S2, Drop, PhysxJob
from lyra.worldgen.sim.physx_process import run_physx_job
from lyra.worldgen.sim.simulate import WorldMeta, write_simulation
from lyra.worldgen.sim.surface_materials import KINDS, MATERIALS, choose_materials, surface_rgb
from sample_worlds import open_place, sample_splats, simple_room

AUTO = SimulationConfig()
WHITE, BROWN, GREY, GREEN = (235, 232, 226), (205, 165, 120), (130, 130, 128), (95, 130, 60)


def painted(mesh: TriMesh, **colours: tuple[int, int, int]) -> TriMesh:
    """The sample world with a plain colour for each label; its texture has one column block a label."""
    assert mesh.texture_u8 is not None
    texture = np.full_like(mesh.texture_u8, 128)
    for name, rgb in colours.items():
        k = int(Label[name.upper()])
        texture[:, k * 8 : (k + 1) * 8] = rgb
    return replace(mesh, texture_u8=texture)


def test_the_table_is_sane_and_every_row_names_its_source():
    """Static friction is not below dynamic, values lie in their own range, and the configuration knows all names."""
    assert tuple(MATERIALS) == SURFACE_MATERIALS
    for name, row in MATERIALS.items():
        low, high = row.friction_range
        assert low <= row.dynamic_friction <= high, name
        assert row.dynamic_friction <= row.static_friction <= 1.1, name
        assert 0 <= row.restitution <= 0.2 and 50 <= row.density_kg_m3 <= 8000 and row.source, name


def test_the_page_shows_the_table():
    """docs/colliders.md repeats every number."""
    page = (Path(__file__).parents[2] / "docs" / "colliders.md").read_text(encoding="utf-8")
    for name, row in MATERIALS.items():
        low, high = row.friction_range
        friction = f"{row.static_friction:.2f} | {row.dynamic_friction:.2f} | {low:.2f}–{high:.2f}"
        line = f"| {name} | {friction} | {row.restitution:g} | {row.density_kg_m3:g} | {row.source} |"
        assert line in page, line


@pytest.mark.parametrize(
    ("world", "colours", "expected"),
    [
        (simple_room, {"floor": BROWN, "wall": WHITE}, ("wood", "colour")),
        (simple_room, {"floor": BROWN, "wall": (225, 190, 150)}, ("indoor_floor", "default")),
        (simple_room, {"floor": GREY, "wall": WHITE}, ("indoor_floor", "default")),
        (open_place, {"floor": GREEN}, ("grass", "colour")),
        (open_place, {"floor": (150, 110, 75)}, ("soil", "colour")),
        (open_place, {"floor": GREY}, ("outdoor_ground", "default")),
    ],
    ids=["parquet", "warm light", "grey", "lawn", "earth", "pavement"],
)
def test_colour_decides_only_where_it_says_something(world, colours, expected):
    """A brown floor between white walls is wood; under warm light, or in grey, nobody knows."""
    floor = choose_materials(painted(world(), **colours), AUTO)["floor"]
    assert (floor.material, floor.basis) == expected


def test_what_somebody_says_wins():
    """Configured names replace every guess; ceilings follow the walls."""
    cfg = SimulationConfig(floor_material="tile", wall_material="glass", object_material="metal")
    chosen = choose_materials(painted(simple_room(), floor=BROWN, wall=WHITE), cfg)
    assert [chosen[kind].material for kind in KINDS] == ["tile", "glass", "glass", "metal", "outdoor_ground"]
    assert chosen["floor"].as_dict()["basis"] == "config"
    with pytest.raises(ConfigError, match="did you mean 'wood'"):
        config_from_dict({"simulation": {"floor_material": "woods"}})


def test_colour_counts_area_not_faces():
    """Half of the faces on a tenth of the floor do not change its colour; a mesh without texture has none."""
    mesh = painted(simple_room(), floor=BROWN)
    assert surface_rgb(mesh, Label.FLOOR) == pytest.approx(np.array(BROWN) / 255)
    assert surface_rgb(replace(mesh, texture_u8=None), Label.FLOOR) is None
    assert surface_rgb(mesh, Label.SKY) is None


def test_usd_holds_the_chosen_numbers(tmp_path):
    """One physics material a kind, bound to its colliders, with combine mode, density, name and label."""
    pxr = pytest.importorskip("pxr")
    from pxr import UsdPhysics, UsdSemantics, UsdShade

    mesh = simple_room()
    cfg = SimulationConfig(episode_count=0, floor_material="carpet")
    result = write_simulation(tmp_path, mesh, sample_splats(mesh, 10), cfg=cfg, meta=WorldMeta(name="x"), seed=0)
    assert result.materials["floor"].material == "carpet"
    stage = pxr.Usd.Stage.Open(str(tmp_path / "world_scene.usda"))
    for path, kind, material in (
        ("/World/Collision/floor_000", "floor", "carpet"),
        ("/World/Collision/wall_000", "wall", "plaster"),
        ("/World/Collision/rest", "object", "furniture"),
        ("/World/SafetyGround", "ground", "outdoor_ground"),
    ):
        prim = stage.GetPrimAtPath(path)
        bound, _ = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial("physics")
        assert bound.GetPath() == f"/World/PhysicsMaterials/{kind}"
        api, row = UsdPhysics.MaterialAPI(bound.GetPrim()), MATERIALS[material]
        assert api.GetStaticFrictionAttr().Get() == pytest.approx(row.static_friction)
        assert api.GetDynamicFrictionAttr().Get() == pytest.approx(row.dynamic_friction)
        assert api.GetDensityAttr().Get() == row.density_kg_m3
        assert bound.GetPrim().GetAttribute("physxMaterial:frictionCombineMode").Get() == "multiply"
        assert bound.GetPrim().GetCustomDataByKey("lyra")["material"] == material
        assert list(UsdSemantics.LabelsAPI(prim, "material").GetLabelsAttr().Get()) == [material]


@pytest.mark.physx
def test_a_body_slides_as_far_as_the_table_says(tmp_path):
    """A block of 2 m/s stops after v² / (2 μ g); its own friction is PhysX's default of one half, which multiplies."""
    pytest.importorskip("ovphysx", reason="PhysX is not installed")
    mesh = simple_room()
    cfg = SimulationConfig(episode_count=0, floor_material="concrete")
    write_simulation(tmp_path, mesh, sample_splats(mesh, 10), cfg=cfg, meta=WorldMeta(name="x"), seed=0)
    block = Drop(shape="box", half_m=0.1, position_m=(0.0, 0.0, 0.1), velocity_m_s=(2.0, 0.0, 0.0))
    job = PhysxJob(scene=str(tmp_path / "world_scene.usda"), drops=(block,), settle_s=2.0)
    outcome = run_physx_job(job, tmp_path, timeout_s=60)
    assert outcome.result is not None, outcome.problem
    mu = 0.5 * MATERIALS["concrete"].dynamic_friction
    assert outcome.result.drop_end_m[0, 0] == pytest.approx(2.0**2 / (2 * mu * GRAVITY_M_S2), rel=0.06)
