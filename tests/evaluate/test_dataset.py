"""Scenes of DL3DV and Tanks and Temples, written from a known room: read, aligned, walked and compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.cli.main import main
from lyra.worldgen.core.config import GenerationConfig, WorldConfig
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.views import RgbdView
from lyra.worldgen.evaluate import dataset_run
from lyra.worldgen.evaluate.dataset import read_dataset
from lyra.worldgen.evaluate.dataset_run import DatasetConfig, align_scale, commanded_poses, first_photo, measure_scene
from lyra.worldgen.evaluate.networks import Networks, Unavailable
from lyra.worldgen.generation.painter_fake import PainterFake
from posed_scans import Similarity, any_similarity, write_colmap, write_transforms
from textured_room import big_room, textured_view, walk_poses

pytestmark = pytest.mark.slow

ROOM = big_room()
NOTHING = Networks(**{name: Unavailable(reason="no weights") for name in ("perceptual", "inception", "style")})
SIMILARITY = any_similarity(1000, scale=0.37)


@pytest.fixture(scope="module")
def views() -> list[RgbdView]:
    """Twelve real frames of a walk."""
    return [textured_view(ROOM, T, view_id=k) for k, T in enumerate(walk_poses(ROOM, 12, step_m=0.08))]


def write_log(folder: Path, views: list[RgbdView], similarity: Similarity) -> Path:
    """A folder as Tanks and Temples has it: pictures, a trajectory log, and the lens that we ask for."""
    write_colmap(folder, views, similarity)
    for name in ("cameras.txt", "images.txt"):
        (folder / "sparse" / "0" / name).unlink()
    lines = []
    for k, view in enumerate(views):
        rows = [" ".join(map(repr, map(float, row))) for row in similarity.pose(view.T_world_cam)]
        lines += [f"{k} {k} 0", *rows]
    (folder / "Room_COLMAP_SfM.log").write_text("\n".join(lines) + "\n")
    np.savetxt(folder / "intrinsics.txt", views[0].camera.K_px)
    return folder


def write_dl3dv(folder: Path, views: list[RgbdView], similarity: Similarity) -> Path:
    """As DL3DV ships scenes: nerfstudio's file with the size of the originals, and quarter-size pictures only."""
    write_transforms(folder / "nerfstudio", views, similarity)
    place = folder / "nerfstudio"
    (place / "images").rename(place / "images_4")
    told = json.loads((place / "transforms.json").read_text())
    for key in ("w", "h", "fl_x", "fl_y", "cx", "cy"):
        told[key] *= 4
    (place / "transforms.json").write_text(json.dumps(told))
    return folder


WRITERS = {
    "dl3dv": ("dl3dv", write_dl3dv),
    "transforms": ("dl3dv", write_transforms),
    "colmap": ("tanks-and-temples", write_colmap),
    "log": ("tanks-and-temples", write_log),
}


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_gives_the_same_film(layout, views, tmp_path):
    kind, write = WRITERS[layout]
    posed = read_dataset(write(tmp_path / "scene", views, SIMILARITY), kind)
    assert len(posed.frames) == 12
    for frame, view in zip(posed.frames, views, strict=True):
        np.testing.assert_allclose(frame.T_file_cam, SIMILARITY.pose(view.T_world_cam), atol=1e-6)
    rgb, inside = dataset_run.real_frame(posed, 3, (256, 192))
    np.testing.assert_array_equal(rgb, views[3].rgb_u8)
    assert inside.all()
    photo = first_photo(posed, 832)
    np.testing.assert_array_equal(photo.rgb_u8, views[0].rgb_u8)
    assert photo.hfov_rad == pytest.approx(ROOM.camera.hfov_rad) and photo.calibrated


def test_frames_come_in_the_order_of_their_numbers(views, tmp_path):
    """Frame 10 after frame 9, whatever the alphabet says."""
    folder = write_transforms(tmp_path / "scene", views, SIMILARITY)
    told = json.loads((folder / "transforms.json").read_text())
    for k, frame in enumerate(told["frames"]):
        (folder / frame["file_path"]).rename(folder / "images" / f"f{k}.png")
        frame["file_path"] = f"images/f{k}.png"
    told["frames"].reverse()
    (folder / "transforms.json").write_text(json.dumps(told))
    names = [frame.name for frame in read_dataset(folder, "dl3dv").frames]
    assert names == [f"images/f{k}.png" for k in range(12)]


def test_scale_is_found_from_the_pictures(views, tmp_path):
    """A unit of the file is 1 / 0.37 m; commanded poses are then the real ones."""
    posed = read_dataset(write_colmap(tmp_path / "scene", views, SIMILARITY), "tanks-and-temples")
    geometry = ROOM.geometry()
    alignment = align_scale(posed, geometry)
    assert alignment.matches > 200
    assert alignment.pose_scale == pytest.approx(1 / 0.37, rel=0.02) and alignment.relative_spread < 0.05
    Ts = commanded_poses(posed, geometry, 1 / 0.37)
    np.testing.assert_allclose(Ts, [view.T_world_cam for view in views], atol=1e-6)


def test_pictures_from_one_place_have_no_scale(views, tmp_path):
    still = [replace(view, T_world_cam=views[0].T_world_cam) for view in views[:1] * 5]
    posed = read_dataset(write_colmap(tmp_path / "scene", still, SIMILARITY), "tanks-and-temples")
    with pytest.raises(InputError, match="--pose-scale"):
        align_scale(posed, ROOM.geometry())


def scene_values(folder: Path, **more) -> dict[str, float | None]:
    """Figures of a scene whose geometry is known exactly."""
    posed = read_dataset(folder, "tanks-and-temples")
    config = WorldConfig(generation=GenerationConfig(view_long_side_px=128))
    report = measure_scene("room", posed, PainterFake(), config, DatasetConfig(**more), NOTHING)
    assert report.settings["frames"] == 12 and report.settings["frame_px"] == [128, 96]
    return {measure.id: measure.value for measure in report.measures}


def test_a_film_along_the_real_path_is_like_the_real_film(views, tmp_path, monkeypatch):
    """With the true geometry it is; at twice the scale it is less so, and the camera is where it should not be."""
    monkeypatch.setattr(dataset_run, "estimate_geometry", lambda *args, **kwargs: ROOM.geometry())
    folder = write_colmap(tmp_path / "scene", views, SIMILARITY)
    good = scene_values(folder)
    assert good["reference.psnr"] > 22 and good["reference.ssim"] > 0.7 and good["dataset.held_back"] == 0.0
    assert good["camera.rotation"] < 0.5 and good["camera.translation"] < 0.05
    assert good["reference.lpips"] is None and good["reference.fid"] is None
    twice = scene_values(folder, pose_scale=2 / 0.37)
    assert twice["reference.psnr"] < good["reference.psnr"] - 3


def cut(folder: Path, name: str) -> None:
    (folder / name).unlink()


def edited(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


LOG = "Room_COLMAP_SfM.log"
DAMAGE = {
    "no poses": ("log", lambda f: cut(f, LOG), "0 trajectories"),
    "two logs": ("log", lambda f: (f / "b.log").write_text("x"), "2 trajectories"),
    "no lens": ("log", lambda f: cut(f, "intrinsics.txt"), "what lens"),
    "lens of words": ("log", lambda f: (f / "intrinsics.txt").write_text("a b c d e f g h i"), "9 finite numbers"),
    "lens cut off": ("log", lambda f: (f / "intrinsics.txt").write_text("1 2 3"), "3x3 or 4x4"),
    "lens negative": ("log", lambda f: (f / "intrinsics.txt").write_text("-9 0 1 0 9 1 0 0 1"), "positive"),
    "picture missing": ("log", lambda f: cut(f, "images/0004.png"), "12 poses for 11 pictures"),
    "log cut off": ("log", lambda f: (f / LOG).write_text("0 0 0\n1 0 0 0\n"), "5 for each"),
    "log counts on": ("log", lambda f: edited(f, LOG, "3 3 0", "4 4 0"), "expected 3"),
    "log with nan": ("log", lambda f: edited(f, LOG, "0.0 0.0 0.0 1.0", "0.0 nan 0.0 1.0"), "finite"),
    "log scaled": ("log", lambda f: edited(f, LOG, "0.0 0.0 0.0 1.0", "0.0 0.0 0.0 2.0"), "0 0 0 1"),
    "no transforms": ("transforms", lambda f: cut(f, "transforms.json"), "no scene of DL3DV"),
    "transforms cut off": ("transforms", lambda f: (f / "transforms.json").write_text('{"frames": ['), "no JSON"),
    "file not there": ("transforms", lambda f: cut(f, "images/0002.png"), "not there"),
    "leads out": ("transforms", lambda f: edited(f, "transforms.json", "./images/0001", "../x"), "beside it"),
    "no such picture": (
        "colmap",
        lambda f: edited(f, "sparse/0/images.txt", "0003.png", "x.png"),
        "no such picture",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_scenes_are_refused_in_one_clear_line(damage, views, tmp_path, capsys):
    """Each with what is wrong and where; the command ends with 2 before anything is made."""
    layout, spoil, said = DAMAGE[damage]
    kind, write = WRITERS[layout]
    folder = write(tmp_path / "scene", views, SIMILARITY)
    spoil(folder)
    with pytest.raises(InputError, match=said) as caught:
        read_dataset(folder, kind)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert main(["evaluate", str(folder), "--dataset", kind, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_is_no_scene_is_refused(views, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_dataset(tmp_path / "absent", "dl3dv")
    with pytest.raises(InputError, match="dl3dv, tanks-and-temples"):
        read_dataset(tmp_path, "kitti")
    with pytest.raises(InputError, match="at least 3"):
        read_dataset(write_colmap(tmp_path / "two", views[:2], SIMILARITY), "tanks-and-temples")
    for wrong in ({"frames": 2}, {"seed": -1}, {"pose_scale": 0.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            DatasetConfig(**wrong)


def test_command_makes_a_film_of_a_scene(views, tmp_path, capsys, monkeypatch):
    """The real painter and the real geometry, small: a whole report whose missing figures name their files."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    folder = write_dl3dv(tmp_path / "room", views, SIMILARITY)
    config = tmp_path / "small.yaml"
    config.write_text("generation: {view_long_side_px: 96}\n")
    argv = ["evaluate", str(folder), "--dataset", "dl3dv", "--out", str(tmp_path / "out"), "--frames", "6", "--json"]
    assert main([*argv, "--config", str(config), "--seed", "1000"]) == 0
    film = json.loads(capsys.readouterr().out)["films"]["room"]
    assert film["frames"] == 6 and film["pose_scale_matches"] >= 30 and film["seed"] == 1000
    missing = {name for name, measure in film["measures"].items() if measure["value"] is None}
    assert {"reference.lpips", "reference.fid", "reference.kid", "style.gram"} <= missing
    assert film["measures"]["reference.psnr"]["value"] > 5
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "dataset.html", "dataset.json", "dataset.md", "dataset.png",
    ]  # fmt: skip
