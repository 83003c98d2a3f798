"""Variants as folders: equal runs are equal, longer lists keep shorter ones, and tasks take them as any worlds."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")

from lyra.worldgen.build import finish_world
from lyra.worldgen.certify.world_data import read_world
from lyra.worldgen.cli.main import main
from lyra.worldgen.core.errors import Cancelled, ConfigError, InputError
from lyra.worldgen.core.progress import Progress
from lyra.worldgen.core.world import load_world
from lyra.worldgen.vary import vary_world
from lyra_tasks.atlas import load_atlas
from lyra_tasks.worlds import load_navigation_world


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def again(place: Path, ranges, *, count: int = 6, **changes):
    options = {"seed": 1001, "cfg": ranges, "certify": False, **changes}
    return vary_world(place / "room", place / "variants", count=count, **options)


def test_two_runs_give_the_same_bytes(place, ranges, made_variants):
    """Every file, pictures and manifests included; the world that they are made from is only read."""
    before = content(place / "room")
    shutil.rmtree(place / "variants")
    variants = again(place, ranges)
    assert variants.made == 6 and content(place / "variants") == content(made_variants)
    assert content(place / "room") == before


def test_the_same_call_again_makes_nothing(place, ranges):
    """What is there stays; what was damaged or removed is made again, to the same bytes."""
    before = content(place / "variants")
    assert again(place, ranges).made == 0
    shutil.rmtree(place / "variants" / "variant_002")
    (place / "variants" / "variant_003" / "payloads" / "visual.usdc").write_bytes(b"damaged")
    assert again(place, ranges).made == 2
    assert content(place / "variants") == before


def test_longer_lists_keep_shorter_ones(place, ranges, made_variants, tmp_path):
    """Variant k does not depend on how many there are."""
    shutil.rmtree(place / "variants")
    again(place, ranges, count=2)
    for name in ("variant_000", "variant_001"):
        assert content(place / "variants" / name) == content(made_variants / name)
    assert again(place, ranges, count=6).made == 4


class StopAt(Progress):
    """Asks to stop after some variants."""

    def __init__(self, done: int) -> None:
        self._done, self.seen = done, 0

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        self.seen = max(self.seen, done if stage == "vary" else 0)

    def keep_going(self) -> bool:
        return self.seen < self._done


def test_a_stopped_call_goes_on(place, ranges, made_variants):
    """Nothing half-made is left, and the next call ends with the same bytes."""
    shutil.rmtree(place / "variants")
    with pytest.raises(Cancelled):
        again(place, ranges, progress=StopAt(3))
    whole = sorted(p.name for p in (place / "variants").iterdir())
    assert whole == [f"variant_{k:03d}" for k in range(len(whole))] and 0 < len(whole) < 6
    (place / "variants" / ".variant_005.partial").mkdir()
    (place / "variants" / ".variant_005.partial" / "world.usda").write_text("half")
    assert again(place, ranges).made == 6 - len(whole)
    assert content(place / "variants") == content(made_variants)


def test_others_variants_are_not_replaced(place, ranges):
    """Another seed or other ranges need `overwrite`, and a folder with other things is left alone."""
    before = content(place / "variants")
    with pytest.raises(InputError, match="variants of another world, seed or ranges"):
        again(place, ranges, seed=1002)
    assert content(place / "variants") == before
    assert again(place, ranges, seed=1002, overwrite=True).made == 6
    (place / "variants" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"holds other things \(thesis\.tex\)"):
        again(place, ranges, seed=1002)
    with pytest.raises(InputError, match="cannot lie in the world"):
        vary_world(place / "room", place / "room" / "v", count=1, seed=0, cfg=ranges, certify=False)
    for count, seed in ((0, 0), (4097, 0), (1, -1), (1, 2**32)):
        with pytest.raises(ConfigError, match="expected"):
            vary_world(place / "room", place / "new", count=count, seed=seed, cfg=ranges, certify=False)
    assert not (place / "new").exists()


def test_a_changed_world_disowns_its_variants(place, ranges):
    """Tasks, readers and the next call all say so instead of showing a mixture."""
    manifest = json.loads((place / "room" / "world.json").read_text())
    manifest["stages"]["simulate"]["files"]["payloads/visual.usdc"]["sha256"] = "1" * 64
    (place / "room" / "world.json").write_text(json.dumps(manifest))
    folder = place / "variants" / "variant_000"
    for read in (load_navigation_world, read_world):
        with pytest.raises(InputError, match="has changed since this variant of it was made"):
            read(folder)
    with pytest.raises(InputError, match=r"payloads/visual\.usdc .* is changed"):
        again(place, ranges)


def test_variants_of_variants_and_other_commands_are_refused(place, ranges):
    """A variant cannot be varied or finished: its base can."""
    folder = place / "variants" / "variant_000"
    with pytest.raises(InputError, match=r"is a variant of '\.\./\.\./room' already"):
        vary_world(folder, place / "deep", count=1, seed=0, cfg=ranges, certify=False)
    with pytest.raises(InputError, match=r"this is a variant of '\.\./\.\./room'; change that world"):
        finish_world(folder)


def test_tasks_take_the_folder_as_it_is(place, made_variants):
    """All variants side by side; starts and goals lie in the free space of each, mirrored with the world."""
    atlas = load_atlas(str(made_variants), robot_radius_m=0.25, certified_only=False)
    assert len(atlas) == 6
    base = load_navigation_world(place / "room")
    for ground in atlas.grounds:
        world = ground.world
        facts = load_world(world.folder).facts("vary")
        flip = np.array([1, -1]) if facts["values"]["mirrored"] else np.array([1, 1])
        np.testing.assert_allclose(world.goals_xy_m(), base.goals_xy_m() * flip, atol=1e-9)
        np.testing.assert_allclose(world.geodesics_m(), base.geodesics_m())
        np.testing.assert_allclose(world.starts_xy_yaw()[:, 2], base.starts_xy_yaw()[:, 2] * flip[1], atol=1e-9)
        for thing in facts["things"]:
            # Exact clearance beside a thing, from the colliders that a simulator loads.
            middle = np.array(thing["xy_m"]) * flip
            assert not world.map.free_at(middle)
            assert ground.clearance_at(middle) == 0
        assert (ground.clearance_at(world.goals_xy_m()) >= 0.25).all()
    assert load_navigation_world(made_variants / "variant_000").robot_radius_m == base.robot_radius_m


def test_a_variant_is_a_world_with_its_bases_provenance(made_variants, made_room):
    """Licence, scale, photo and parents are the base's; its certificate is not."""
    base = load_world(made_room)
    world = load_world(made_variants / "variant_000")
    assert world.manifest.licence == base.manifest.licence == "Apache-2.0"
    assert world.manifest.scale == base.manifest.scale
    assert world.manifest.parents == (base.manifest.id,) and world.manifest.photo == base.manifest.photo
    assert base.verdict == "passed" and world.verdict == "" and not world.finished
    assert world.check_files().ok


def test_disk(made_variants, made_room):
    """A variant of even this tiny room takes less than it; what it adds does not grow with the world."""
    for folder in made_variants.glob("variant_*"):
        assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 200_000


def test_neutral_ranges_add_next_to_nothing(place):
    """Without anything that varies there is no payload, no map and nothing hidden but what the base says of itself."""
    cfg = replace(_neutral())
    vary_world(place / "room", place / "plain", count=1, seed=0, cfg=cfg, certify=False)
    names = sorted(content(place / "plain" / "variant_000"))
    assert names == ["world.json", "world.usda", "world_scene.usda"]
    world = load_world(place / "plain" / "variant_000")
    assert world.mesh().face_count == load_world(place / "room").mesh().face_count
    assert read_world(world.folder).episodes == read_world(place / "room").episodes


def _neutral():
    from lyra.worldgen.vary.config import VaryConfig

    return VaryConfig()


def test_blocking_draws_new_episodes(place, ranges):
    """Where things may block, the episodes are those of the new map."""
    cfg = replace(ranges, clutter=replace(ranges.clutter, blocking=True, count=(8.0, 8.0)))
    vary_world(place / "room", place / "blocked", count=2, seed=1000, cfg=cfg, certify=False)
    for k in range(2):
        world = load_navigation_world(place / "blocked" / f"variant_{k:03d}")
        assert world.episodes
        for episode in world.episodes:
            assert world.map.free_at(np.array(episode.waypoints_xy_m)).all()


def test_command_line(place, capsys, monkeypatch):
    """The folder beside the world by default; help and ranges teach; errors are one line."""
    monkeypatch.chdir(place)
    assert main(["vary", "room", "--count", "2", "--no-certify", "--set", "clutter.count=[1,2]", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["made"] == 2 and Path(values["folder"]) == place / "room-variants"
    assert sorted(p.name for p in (place / "room-variants").iterdir()) == [
        *("variant_000", "variant_001", "variants.json", "variants.png", "variants.usda")
    ]
    rows = json.loads((place / "room-variants" / "variants.json").read_text())
    assert [row["folder"] for row in rows["worlds"]] == ["variant_000", "variant_001"]
    assert main(["vary", "room", "--dry-run", "--set", "light.dome=[0.5,2]"]) == 0
    assert "dome:\n  - 0.5\n  - 2.0" in capsys.readouterr().out
    assert main(["vary", "room", "--set", "light.dome"]) == 2
    assert "expected SECTION.KEY=VALUE" in capsys.readouterr().err
    assert main(["vary", "variants", "--no-certify"]) == 2
    assert "no world folder" in capsys.readouterr().err
    assert main(["info", "room-variants/variant_000"]) == 0
    said = capsys.readouterr().out
    assert "../../room, number 0 of seed 0" in said and "go on with lyra-worldgen certify" in said
    with pytest.raises(SystemExit):
        main(["vary", "--help"])
    assert "env.worlds=" in capsys.readouterr().out
