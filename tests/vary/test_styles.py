"""Other materials on the same geometry: mesh and splats agree, things and light stay, styles are shared and exact."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")
pytest.importorskip("cv2")
pytest.importorskip("numba")

from pxr import Sdf

from lyra.worldgen.core.errors import ConfigError, InputError
from lyra.worldgen.core.world import load_world
from lyra.worldgen.generation.painter_patch import PatchPainter
from lyra.worldgen.sensors import load_world_splats
from lyra.worldgen.sim.usd_read import read_colliders, read_splats_usd, read_visual
from lyra.worldgen.vary import vary_world
from lyra.worldgen.vary.config import vary_config_from_dict
from lyra.worldgen.vary.exemplar import photo_sheet
from lyra.worldgen.vary.surface_map import map_surfaces
from sample_worlds import coloured_splats, papered_room, write_certified_room

pytestmark = pytest.mark.slow

RANGES = {
    "surface": {"restyle": 1.0},
    "styles": {
        "count": 2,
        "floor": ["wood", "tile"],
        "wall": ["paint"],
        "ceiling": ["white", "keep"],
        "object": ["paint"],
    },
}


@pytest.fixture(scope="module")
def room():
    return papered_room()


@pytest.fixture(scope="module")
def mapped(room):
    """The room's surfaces, and splats on them."""
    splats = coloured_splats(room)
    return map_surfaces(room, splats), splats


@pytest.fixture(scope="module")
def place(room, tmp_path_factory) -> Path:
    """`room` and four `variants` of it in two styles; nobody may change them."""
    folder = tmp_path_factory.mktemp("styles")
    write_certified_room(folder / "room", room, coloured_splats(room))
    vary_world(
        folder / "room", folder / "variants", count=4, seed=1003, cfg=vary_config_from_dict(RANGES), certify=False
    )
    return folder


@pytest.fixture
def own_place(place, tmp_path) -> Path:
    """The same to change."""
    shutil.copytree(place, tmp_path / "own")
    return tmp_path / "own"


def content(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def again(folder: Path, **changes):
    options = {"count": 4, "seed": 1003, "cfg": vary_config_from_dict(RANGES), "certify": False, **changes}
    return vary_world(folder / "room", folder / "variants", **options)


def test_things_on_walls_are_told_from_walls(room, mapped):
    """The door is no wall, the rest of the wall is; floors and crates are all surface."""
    surfaces, _ = mapped
    wall, floor = surfaces.texels["wall"], surfaces.texels["floor"]
    rgb = room.texture_u8.reshape(-1, 3)[wall.index]
    door = rgb[:, 2] > rgb[:, 0]
    assert door.any() and wall.share[door].mean() < 0.1 and wall.share[~door].mean() > 0.97
    assert (floor.share == 1).all()
    np.testing.assert_allclose(wall.usual_rgb * 255, (205, 195, 160), atol=4)


def test_light_on_the_floor_is_told_from_its_pattern(room, mapped):
    """It falls along x as it was made, whatever the pattern."""
    surfaces, splats = mapped
    places = surfaces.splats["floor"]
    x = splats.means[places.index, 0]
    inner = (x > -1.4) & (x < 3.4)
    np.testing.assert_allclose(places.light[inner], (1.15 - 0.1 * (x[inner] + 2)) / (1.15 - 0.3), atol=0.06)


def test_splats_take_kind_and_place_of_their_surface(room, mapped):
    """Every splat on the mesh belongs to the kind of the face that it was put on."""
    surfaces, splats = mapped
    z = splats.means[surfaces.splats["floor"].index, 2]
    assert np.abs(z).max() < 0.02 and sum(len(p.index) for p in surfaces.splats.values()) == len(splats)
    assert (splats.means[surfaces.splats["ceiling"].index, 2] > 2.58).all()


@pytest.mark.parametrize("k", range(4))
def test_geometry_stays_and_mesh_and_splats_agree(place, k):
    """Same faces and colliders; the colour of a splat is that of the mesh where it lies, new or kept."""
    folder = place / "variants" / f"variant_{k:03d}"
    before, after = (read_visual(f / "payloads" / "visual.usdc") for f in (place / "room", folder))
    np.testing.assert_array_equal(before.vertices, after.vertices)
    np.testing.assert_array_equal(before.uv, after.uv)
    assert not (folder / "payloads" / "collision.usdc").exists() and not (folder / "nav").exists()
    assert (
        read_colliders(folder / "world.usda").mesh.face_count
        == read_colliders(place / "room/world.usda").mesh.face_count
    )
    cloud, base_cloud = load_world_splats(folder), load_world_splats(place / "room")
    assert cloud is not None and base_cloud is not None
    assert before.texture_u8 is not None and after.texture_u8 is not None
    np.testing.assert_array_equal(cloud.means, base_cloud.means)
    surfaces = map_surfaces(after, cloud)
    facts = load_world(folder).facts("vary")
    assert set(facts["style"]["surfaces"]) >= {"floor", "wall", "object"}
    for kind in ("floor", "wall", "object"):
        texels, splats = surfaces.texels[kind], surfaces.splats[kind]
        shown = (after.texture_u8.reshape(-1, 3)[texels.index] / 255).astype(float)
        seen = cloud.rgb()[splats.index]
        # Pictures of both over half-metre squares of the surface.
        square = lambda uv: np.floor(uv / 0.5).astype(int) @ np.array([1000, 1])  # noqa: E731
        cells = np.intersect1d(square(texels.uv_m), square(splats.uv_m))
        apart = []
        for cell in cells:
            mine, theirs = square(splats.uv_m) == cell, square(texels.uv_m) == cell
            if mine.sum() > 30:
                apart.append(np.abs(seen[mine].mean(0) - shown[theirs].mean(0)).max())
        assert np.median(apart) < 0.03, kind
        old = before.texture_u8.reshape(-1, 3)[texels.index] / 255
        assert np.abs(old.mean(0) - shown.mean(0)).max() > 0.02, kind


def test_doors_keep_their_colours(place, room, mapped):
    """What is on a wall stays, in the texture and in the splats to the bit."""
    surfaces, _ = mapped
    after = read_visual(place / "variants" / "variant_000" / "payloads" / "visual.usdc").texture_u8
    assert after is not None
    after = after.reshape(-1, 3)
    wall = surfaces.texels["wall"]
    door = (wall.share == 0) & (room.texture_u8.reshape(-1, 3)[wall.index, 2] == 150)
    assert door.sum() > 5000
    np.testing.assert_allclose(after[wall.index[door]].mean(0), (40, 60, 150), atol=3)
    cloud = read_splats_usd(place / "variants" / "variant_000" / "payloads" / "splats.usdc")
    base = read_splats_usd(place / "room" / "payloads" / "splats.usdc")
    kept = surfaces.splats["wall"].index[surfaces.splats["wall"].share == 0]
    assert len(kept) > 50
    np.testing.assert_allclose(cloud.sh[kept], base.sh[kept], atol=1e-6)


def test_styles_are_shared_and_recorded(place):
    """At most two are made; variants of one number read one folder, and every draw is on record."""
    styles = sorted(p.name for p in (place / "variants" / "styles").iterdir())
    facts = [load_world(place / "variants" / f"variant_{k:03d}").facts("vary") for k in range(4)]
    assert styles == sorted({f["style"]["name"] for f in facts}) and len(styles) <= 2
    assert all(f["style"]["name"] == f"style_{f['values']['style']:03d}" for f in facts)
    rows = json.loads((place / "variants" / "variants.json").read_text())["worlds"]
    assert [row["style"] for row in rows] == [f["style"] for f in facts]
    floor = facts[0]["style"]["surfaces"]["floor"]
    assert floor["material"] in ("wood", "tile") and floor["colour"] and floor["shift_m"]
    assert (place / "variants" / "variants.png").is_file()
    # Caches of robots' splats go by the variant's content, which follows from the style's.
    layer = Sdf.Layer.FindOrOpen(str(place / "variants" / "variant_000" / "payloads" / "splats.usdc"))
    assert layer.customLayerData["lyra:style"] == facts[0]["style"]["sha256"]


def test_equal_calls_give_equal_bytes(place, own_place):
    """All files, styles included; a damaged style is made again, a variant that is there is left."""
    before = content(place / "variants")
    shutil.rmtree(own_place / "variants")
    assert again(own_place).made == 4 and content(own_place / "variants") == before
    name = load_world(own_place / "variants" / "variant_000").facts("vary")["style"]["name"]
    (own_place / "variants" / "styles" / name / "albedo.jpg").write_bytes(b"damaged")
    assert again(own_place).made == 0 and content(own_place / "variants") == before
    with pytest.raises(InputError, match="another world, seed or ranges"):
        again(own_place, seed=1)
    assert content(own_place / "variants") == before


def test_overwriting_leaves_what_a_new_folder_would_hold(own_place):
    """Styles and variants of the earlier call go, files of the user in their folders stay."""
    plain = vary_config_from_dict({**RANGES, "styles": {**RANGES["styles"], "count": 1}})
    variants = own_place / "variants"
    assert {path.name for path in (variants / "styles").iterdir()} == {"style_000", "style_001"}
    mine = [variants / name for name in ("styles/style_001/mine.blend", "variant_000/mine.txt", "variant_003/a/b.txt")]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    again(own_place, seed=1004, count=2, cfg=plain, overwrite=True)
    assert all(path.read_text() == "mine" for path in mine)
    for name in ("styles/style_001", "variant_003"):
        shutil.rmtree(variants / name)
    (variants / "variant_000" / "mine.txt").unlink()
    vary_world(own_place / "room", own_place / "new", count=2, seed=1004, cfg=plain, certify=False)
    assert content(variants) == content(own_place / "new")
    again(own_place, seed=1004, count=2, cfg=vary_config_from_dict({}), overwrite=True)
    assert not (variants / "styles").exists()


def test_a_record_that_names_files_elsewhere_removes_nothing(own_place):
    """The record of a style may come from anywhere."""
    style = own_place / "variants" / "styles" / "style_001"
    victim = own_place / "victim.txt"
    victim.write_text("mine")
    record = json.loads((style / "style.json").read_text())
    for name in ("../../../victim.txt", str(victim), "sub/file.txt"):
        (style / "style.json").write_text(json.dumps({**record, "files": {**record["files"], name: "0" * 64}}))
        with pytest.raises(InputError):
            again(own_place, seed=1004, count=1, cfg=vary_config_from_dict({}), overwrite=True)
        assert victim.exists() and (style / "albedo.jpg").exists()


def test_a_style_that_is_gone_is_an_error(own_place):
    """Nothing shows the base's colours in its place."""
    shutil.rmtree(own_place / "variants" / "styles")
    for name, read in (("visual", read_visual), ("splats", read_splats_usd)):
        with pytest.raises(InputError, match="a layer of the stage is missing"):
            read(own_place / "variants" / "variant_000" / "payloads" / f"{name}.usdc")


def test_worlds_whose_texture_cannot_be_changed_say_so(made_room, tmp_path):
    """In the sample room all faces of a kind share their texels: it is left as it is, with a note."""
    shutil.copytree(made_room, tmp_path / "room")
    vary_world(tmp_path / "room", tmp_path / "v", count=1, seed=0, cfg=vary_config_from_dict(RANGES), certify=False)
    facts = load_world(tmp_path / "v" / "variant_000").facts("vary")
    assert facts["style"] is None and "with the same texels" in facts["notes"][0]
    assert not (tmp_path / "v" / "styles").exists()


def test_a_painted_floor_looks_like_the_photos(room, mapped):
    """The piece goes on in the colours and with the squares that the floor has."""
    surfaces, _ = mapped
    texture = room.texture_u8.reshape(-1, 3)
    sheet = photo_sheet(texture, surfaces.texels["floor"], PatchPainter(threads=1), kind="floor", seed=7)
    assert sheet is not None and sheet.facts["painter"] == "patch"
    floor = surfaces.texels["floor"]
    lit = texture[floor.index] / 255 / floor.light[:, None]
    np.testing.assert_allclose(sheet.rgb.mean((0, 1)), lit.mean(0), atol=0.03)
    assert sheet.rgb.std() == pytest.approx(lit.std(), rel=0.35)
    for axis in (0, 1):
        step = np.abs(np.diff(sheet.rgb, axis=axis, append=sheet.rgb.take([0], axis))).mean((1 - axis, 2))
        assert step[-1] <= step[:-1].max() + 1e-4


def test_materials_that_do_not_exist_are_refused():
    """By name, with the nearest one."""
    with pytest.raises(ConfigError, match=r"styles\.floor holds 'woods', did you mean wood"):
        vary_config_from_dict({"styles": {"floor": ["woods"]}})
    with pytest.raises(ConfigError, match=r"styles\.wall holds 'photo'"):
        vary_config_from_dict({"styles": {"wall": ["photo"]}})
    with pytest.raises(ConfigError, match=r"styles\.floor is empty"):
        vary_config_from_dict({"styles": {"floor": []}})
    with pytest.raises(ConfigError, match=r"styles\.count"):
        vary_config_from_dict({"styles": {"count": 0}})


def test_foreign_weights_paint_the_middle_of_a_material(tmp_path, model_libraries):
    """A real pipeline at toy size: the frame stays, so the sheet repeats; what was drawn stays on record."""
    from lyra.worldgen.core.config import load_config
    from lyra.worldgen.generation.painter import PAINTERS
    from lyra.worldgen.vary.exemplar import FRAME_PX, PIECE_PX, painted_sheet
    from lyra.worldgen.vary.materials import make_sheet
    from tiny_pipelines import write_pipeline

    weights = write_pipeline("sd9", tmp_path / "tiny")
    settings = {"models.painter": str(weights), "models.device": "cpu", "inpaint.steps": 1, "inpaint.strength": 1.0}
    painter = PAINTERS.load("inpaint").from_config(load_config(None, {**settings, "inpaint.tile_px": 512}))
    sheet = make_sheet("wood", np.random.default_rng(4))
    painted = painted_sheet(sheet, painter, material="wood", kind="floor", seed=3)
    middle = slice(FRAME_PX, PIECE_PX - FRAME_PX)
    np.testing.assert_allclose(
        painted.rgb[:FRAME_PX, : PIECE_PX - FRAME_PX], sheet.rgb[:FRAME_PX, : PIECE_PX - FRAME_PX], atol=0.01
    )
    assert np.abs(painted.rgb[middle, middle] - sheet.rgb[middle, middle]).mean() > 0.02
    np.testing.assert_array_equal(painted.rgb[:PIECE_PX], painted.rgb[PIECE_PX:])
    assert painted.facts["painter"] == "inpaint" and painted.facts["colour"] == sheet.facts["colour"]
