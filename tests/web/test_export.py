"""The site of a world: complete, within its budget, honest about the world, and never in the way of other files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.certify.world_data import read_world
from lyra.worldgen.cli.main import main
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.raycast import Raycaster
from lyra.worldgen.reconstruction.splat_io import read_splats
from lyra.worldgen.sim.usd_read import read_colliders
from lyra.worldgen.web import export, export_site
from lyra.worldgen.web.about import start_points
from physx_rooms import write_room_world
from web_worlds import write_splat_room

pytest.importorskip("pxr")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "room"
    write_splat_room(folder, 20_000)
    return folder


def listing(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_site_is_complete(world, tmp_path):
    """Every file that page and site.json name is there, with the stated size, and all splats; the sum is reported."""
    site = export_site(world, tmp_path / "site")
    files = listing(tmp_path / "site")
    assert sum(map(len, files.values())) == site.bytes
    about = json.loads(files["site.json"])
    layers = [about["files"]["collider"], about["files"]["mesh"], *about["files"]["splats"]]
    for layer in layers:
        assert len(files[layer["url"].partition("?")[0]]) == layer["bytes"]
    assert [level["count"] for level in about["files"]["splats"]] == [20_000] == list(site.splats)
    assert len(read_splats(tmp_path / "site" / "world" / "splats-0.spz")) == 20_000
    named = re.findall(r'(?:href|src)="([^"]+)"', files["index.html"].decode())
    named += [row["link"] for row in about["facts"] if "link" in row]
    assert (
        {name for name in named if not name.startswith("data:")}
        == {
            "style.css",
            "app.js",
            "licences.txt",
            "certificate.html",
        }
        <= set(files)
    )


def test_page_names_no_other_server(world, tmp_path):
    """Nothing in page and script is an address of another server; the one that stands there names a namespace."""
    export_site(world, tmp_path / "site")
    for name, data in listing(tmp_path / "site").items():
        if Path(name).suffix in (".html", ".css", ".js", ".json"):
            found = set(re.findall(rb"\b(?:https?|wss?)://[^\s\"'`)]+", data))
            assert found <= {b"http://www.w3.org/1999/xhtml"}, name


def test_same_world_same_bytes(world, tmp_path):
    """Two exports are equal, byte by byte."""
    for name in ("a", "b"):
        export_site(world, tmp_path / name)
    assert listing(tmp_path / "a") == listing(tmp_path / "b")


def test_panel_says_what_is_known(world, tmp_path):
    """Verdict, area, scale and licences; markup in a text stays text, and a missing licence is called missing."""
    manifest = json.loads((world / "world.json").read_text())
    origin = {"photo": {"name": "hall.png"}, "licence": "non-commercial research", "generator": "g 1", "seed": 3}
    (world / "world.json").write_text(json.dumps(manifest | origin))
    try:
        export_site(world, tmp_path / "site", photo_licence="CC0-1.0, by <b>M</b>")
        export_site(world, tmp_path / "bare")
        stated = {"config": {"source": {"licence": "CC-BY-4.0"}}}
        (world / "world.json").write_text(json.dumps(manifest | origin | stated))
        export_site(world, tmp_path / "said")
    finally:
        (world / "world.json").write_text(json.dumps(manifest))
    about = json.loads((tmp_path / "site" / "site.json").read_text())
    facts = {row["label"]: row for row in about["facts"]}
    assert about["name"] == "hall"
    assert facts["certificate"]["tone"] == "passed" and facts["certificate"]["link"] == "certificate.html"
    assert facts["its licence"]["text"] == "CC0-1.0, by <b>M</b>"
    assert facts["painter"]["tone"] == "failed" and "research only" in facts["painter"]["text"]
    assert facts["scale"]["text"] == "± 5 %, from camera height"
    said = {row["label"]: row["text"] for row in json.loads((tmp_path / "said" / "site.json").read_text())["facts"]}
    assert said["its licence"] == "CC-BY-4.0"
    bare = {row["label"]: row["text"] for row in json.loads((tmp_path / "bare" / "site.json").read_text())["facts"]}
    assert bare["its licence"].startswith("not stated")


def test_visitors_start_where_the_robot_drove(world):
    """The first start is the point of a drive nearest to the camera, on the floor; failed drives lend none."""
    room = read_world(world)
    solid = Raycaster(read_colliders(room.scene).mesh)
    certificate = json.loads((world / "certificate.json").read_text())
    starts = start_points(room, certificate, solid)
    assert [s["feet_m"] for s in starts] == [[0.0, 0.0, 0.0], [-0.5, 0.0, 0.0]]
    assert {s["source"] for s in starts} == {"driven"} and starts[0]["yaw_rad"] == 0.0
    planned = start_points(room, {}, solid)
    assert len(planned) == len(room.episodes) and {s["source"] for s in planned} == {"planned"}
    for start in planned:
        assert room.grid.free_at(np.array(start["feet_m"][:2])) and start["feet_m"][2] == 0.0


def test_world_without_drives_and_episodes_starts_at_the_photo(tmp_path):
    """There is always a start."""
    write_room_world(tmp_path / "room", episodes=0)
    site = export_site(tmp_path / "room", tmp_path / "site")
    about = json.loads((tmp_path / "site" / "site.json").read_text())
    assert site.splats == () and about["files"]["splats"] == [] and about["files"]["mesh"]["bytes"] > 0
    assert about["spawns"][0]["source"] == "photo"


@pytest.mark.slow
def test_many_splats_come_in_two_levels_and_fit(tmp_path, monkeypatch):
    """A budget is kept to the byte: harmonics go first, then splats are merged; a coarse level comes first."""
    monkeypatch.setattr("lyra.worldgen.web.layers.COARSE_COUNT", 3_000)
    write_splat_room(tmp_path / "room", 60_000, degree=2)
    page_mb = sum((export.PAGE / name).stat().st_size for name in export.PAGE_FILES) / 1e6
    free = export_site(tmp_path / "room", tmp_path / "free", max_mb=40)
    assert free.splats == (3_000, 60_000)
    assert read_splats(tmp_path / "free" / "world" / "splats-1.spz").sh_degree == 2
    small = export_site(tmp_path / "room", tmp_path / "small", max_mb=page_mb + 0.45)
    assert small.bytes <= (page_mb + 0.45) * 1e6 and small.mesh
    assert small.splats[0] == 3_000 and 6_000 < small.splats[1] < 60_000
    assert read_splats(tmp_path / "small" / "world" / "splats-1.spz").sh_degree == 0
    with pytest.raises(InputError, match="expected at least"):
        export_site(tmp_path / "room", tmp_path / "none", max_mb=page_mb)
    assert not (tmp_path / "none").exists() and not list(tmp_path.glob(".*"))


def test_texture_is_halved_until_the_mesh_fits(world, tmp_path, monkeypatch):
    """The mesh stays in the site when its texture is too large for it; the triangles are all there."""
    from lyra.worldgen.web.layers import write_mesh

    trimesh = pytest.importorskip("trimesh")
    room = read_world(world)
    whole = write_mesh(tmp_path, room, 10**9)
    assert whole is not None
    monkeypatch.setattr("lyra.worldgen.web.layers.LEAST_TEXTURE_PX", 32)
    half = write_mesh(tmp_path, room, whole.bytes - 1)
    assert half is not None and half.bytes < whole.bytes and half.count == room.mesh.face_count
    assert trimesh.load(tmp_path / "mesh.glb", force="scene").to_geometry().area == pytest.approx(
        room.mesh.face_areas_m2().sum(), rel=1e-6
    )
    assert write_mesh(tmp_path, room, 100) is None and not (tmp_path / "mesh.glb").exists()


def test_collider_file_holds_the_same_triangles(world, tmp_path):
    """`collider.glb` has every triangle of the stage's colliders, in Y-up axes."""
    trimesh = pytest.importorskip("trimesh")
    export_site(world, tmp_path / "site")
    want = read_colliders(world / "world_scene.usda").mesh.triangles()
    got = trimesh.load(tmp_path / "site" / "world" / "collider.glb", force="scene").to_geometry().triangles
    turned = np.stack([got[..., 0], -got[..., 2], got[..., 1]], -1)
    np.testing.assert_allclose(turned, want, atol=1e-5)


def test_only_sites_are_replaced(world, tmp_path):
    """An older site makes room for the new one; a folder of somebody else stays as it is."""
    site = tmp_path / "site"
    export_site(world, site, name="old")
    (site / "left over.txt").write_text("x")
    export_site(world, site, name="new")
    assert json.loads((site / "site.json").read_text())["name"] == "new" and not (site / "left over.txt").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="no exported site"):
        export_site(world, foreign)
    assert (foreign / "thesis.tex").read_text() == "years of work"


def test_failure_leaves_the_old_site(world, tmp_path, monkeypatch):
    """When the export fails on the way, nothing half-written stays and the old site is whole."""
    site = tmp_path / "site"
    export_site(world, site)
    before = listing(tmp_path)
    monkeypatch.setattr(export, "write_splat_levels", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(InputError, match="disk is full"):
        export_site(world, site)
    assert listing(tmp_path) == before


def test_command(world, tmp_path, capsys):
    """The command says how large the site is and how to look at it; bad budgets and folders are errors of input."""
    assert main(["export-web", str(world), "--out", str(tmp_path / "site"), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["splats"] == [20_000] and values["mesh"] and values["bytes"] < 40e6
    assert main(["export-web", str(world), "--out", str(tmp_path / "site"), "--max-mb", "0.5"]) == 2
    assert main(["export-web", str(tmp_path), "--out", str(tmp_path / "other")]) == 2
    capsys.readouterr()
    assert main(["export-web", str(world), "--out", str(tmp_path / "site")]) == 0
    assert "http.server" in capsys.readouterr().out
