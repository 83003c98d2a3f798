"""Figures of films: exact walks are good, disturbed ones are found out, and what was not measured is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lyra.worldgen.cli.main import main
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import rigid, rotation_y
from lyra.worldgen.core.manifest import Manifest, PhotoRecord
from lyra.worldgen.core.views import RgbdView
from lyra.worldgen.core.world import World
from lyra.worldgen.core.world_writer import open_for_writing
from lyra.worldgen.evaluate.film import load_film, resized
from lyra.worldgen.evaluate.measures import FilmFigures, find_revisits, measure_film, measure_reference
from lyra.worldgen.evaluate.networks import Networks, Unavailable
from lyra.worldgen.evaluate.networks_torch import InceptionFeatures, Perceptual, TappedLayers
from lyra.worldgen.evaluate.style import look_of, style_distance
from lyra.worldgen.evaluate.video import named_worlds, write_films
from lyra.worldgen.evaluate.video_page import FilmReport, draw_curves, shown_frames
from textured_room import big_room, textured_view, walk_poses

pytestmark = pytest.mark.slow

ROOM = big_room()
NOTHING = Networks(
    perceptual=Unavailable(reason="no AlexNet"),
    inception=Unavailable(reason="no Inception"),
    style=Unavailable(reason="no VGG"),
)


def values(figures: FilmFigures) -> dict[str, float | None]:
    return {measure.id: measure.value for measure in figures.measures}


@pytest.fixture(scope="module")
def there_and_back() -> list[RgbdView]:
    """Five frames out, four back through the same poses."""
    Ts = walk_poses(ROOM, 5, step_m=0.15)
    out = [textured_view(ROOM, T, view_id=k) for k, T in enumerate(Ts)]
    return [*out, *(replace(out[k], view_id=8 - k) for k in (3, 2, 1, 0))]


@pytest.fixture(scope="module")
def exact(there_and_back) -> FilmFigures:
    return measure_film(there_and_back, NOTHING)


def stub_networks() -> Networks:
    """Networks with fixed weights in the places of the real ones."""
    torch.manual_seed(2)
    layers = TappedLayers([torch.nn.Conv2d(3, 5, 3, 2), torch.nn.ReLU()], (1,)).eval().requires_grad_(False)

    class Means(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.adaptive_avg_pool2d(x.double() / 255, (2, 2)).flatten(1)

    return Networks(perceptual=Perceptual(layers, [torch.ones(5)]), inception=InceptionFeatures(Means()), style=layers)


def test_a_film_has_one_size_whatever_the_photo_has(there_and_back, tmp_path):
    """The photo is larger than what is painted, and a look back at it may stand anywhere in the memory."""
    photo = PhotoRecord(name="room.png", sha256="0" * 64, size_px=(64, 48))
    world = World(folder=tmp_path, manifest=Manifest(generator="test", photo=photo, config={}, plan=()))
    camera = there_and_back[0].camera
    width, height = camera.width_px * 2, camera.height_px * 2
    views = [resized(v, width, height) if k in (0, 4) else v for k, v in enumerate(there_and_back)]
    film = load_film(world, views)
    assert {(v.camera.width_px, v.camera.height_px) for v in film} == {(camera.width_px, camera.height_px)}
    assert values(measure_film(film, NOTHING))["camera.recovered"] == 100.0


def test_an_exact_film_has_no_errors(exact):
    found = values(exact)
    assert found["camera.recovered"] == 100.0 and found["camera.score"] > 95
    assert found["camera.rotation"] < 0.1 and found["camera.translation"] < 0.01
    assert found["reprojection.flow"] < 0.25 and found["reprojection.photometric"] < 0.02
    assert found["revisit.psnr"] == 99.0 and found["revisit.ssim"] == pytest.approx(1.0)
    assert exact.revisits == ((3, 5), (2, 6), (1, 7), (0, 8))


def test_a_film_of_a_camera_that_turns_too_far_is_found_out(there_and_back, exact):
    """Every frame shows 2 degrees more than it was told: the median says so, and the score falls."""
    turned = [there_and_back[0]]
    for frame in there_and_back[1:]:
        seen = textured_view(ROOM, frame.T_world_cam @ rigid(rotation_y(np.radians(2.0)), np.zeros(3)))
        turned.append(replace(frame, rgb_u8=seen.rgb_u8))
    found = values(measure_film([turned[0], *turned[1:3]], NOTHING))
    assert found["camera.rotation"] == pytest.approx(2.0, abs=0.2)
    assert found["camera.score"] < values(exact)["camera.score"] - 10
    # The same frames, when the turned poses are what was asked for.
    T_asked = np.stack([f.T_world_cam @ rigid(rotation_y(np.radians(2.0)), np.zeros(3)) for f in turned[:3]])
    assert values(measure_film(turned[:3], NOTHING, Ts_commanded=T_asked))["camera.rotation"] < 0.1


def test_a_film_that_changes_its_look_loses_style(there_and_back, exact):
    """Darker and bluer; noise. Colours see the first, contrasts the second, and the score both."""
    rng = np.random.default_rng(1)
    dark = [there_and_back[0]]
    noisy = [there_and_back[0]]
    for frame in there_and_back[1:]:
        dark.append(replace(frame, rgb_u8=(frame.rgb_u8 * np.array([0.5, 0.6, 0.9])).astype(np.uint8)))
        grain = rng.normal(0, 25, frame.rgb_u8.shape)
        noisy.append(replace(frame, rgb_u8=np.clip(frame.rgb_u8 + grain, 0, 255).astype(np.uint8)))
    good, of_dark, of_noisy = (
        values(f) for f in (exact, measure_film(dark[:4], NOTHING), measure_film(noisy[:4], NOTHING))
    )
    assert of_dark["style.colour"] > good["style.colour"] + 15
    assert of_noisy["style.texture"] > good["style.texture"] + 0.25
    assert max(of_dark["style.score"], of_noisy["style.score"]) < good["style.score"] - 10


def test_looks_of_plain_colours_are_apart_by_their_lightness():
    """Grey levels whose L differs by 20: that, and no contrast on either side."""
    import cv2

    greys = [np.full((40, 50, 3), level, np.uint8) for level in (80, 130)]
    light = [float(cv2.cvtColor(g.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0, 0]) for g in greys]
    found = style_distance(*(look_of(g) for g in greys))
    assert found.colour_lab == pytest.approx(abs(light[0] - light[1]), rel=1e-3) and found.texture_octaves == 0.0
    assert style_distance(look_of(greys[0]), look_of(greys[0])).score == 100.0


def test_contrast_twice_as_strong_is_an_octave_away(rng):
    noise = rng.normal(0, 1, (96, 128, 1)) * np.ones(3)
    weak, strong = (look_of(np.clip(128 + a * noise, 0, 255).astype(np.uint8)) for a in (12, 24))
    assert style_distance(weak, strong).texture_octaves == pytest.approx(1.0, abs=0.05)


def test_standing_still_is_no_revisit(there_and_back):
    still = [there_and_back[0]] * 3
    assert find_revisits(still) == []
    found = {m.id: m for m in measure_film(still, NOTHING).measures}
    assert found["revisit.psnr"].value is None and "--persistence" in found["revisit.psnr"].detail


def test_what_has_no_network_says_so_and_what_has_one_is_measured(there_and_back):
    without = {m.id: m for m in measure_film(there_and_back[:3], NOTHING).measures}
    assert without["style.gram"].value is None and without["style.gram"].detail == "no VGG"
    assert without["revisit.lpips"].value is None and without["revisit.lpips"].detail == "no AlexNet"
    figures = values(measure_film(there_and_back, stub_networks()))
    assert figures["style.gram"] > 0 and figures["revisit.lpips"] == 0.0
    with pytest.raises(InputError, match="at least 2"):
        measure_film(there_and_back[:1], NOTHING)


def test_likeness_to_real_frames(there_and_back):
    """Equal frames are equal by every figure; brighter ones are not; without networks three figures are missing."""
    real = [f.rgb_u8 for f in there_and_back[:5]]
    where = [np.ones(x.shape[:2], bool) for x in real]
    same = {m.id: m.value for m in measure_reference(real, real, where, stub_networks())}
    assert same["reference.psnr"] == 99.0 and same["reference.ssim"] == pytest.approx(1.0)
    assert same["reference.lpips"] == 0.0 and same["reference.fid"] == pytest.approx(0.0, abs=1e-6)
    brighter = [np.minimum(x.astype(int) + 30, 255).astype(np.uint8) for x in real]
    other = {m.id: m.value for m in measure_reference(real, brighter, where, stub_networks())}
    assert other["reference.psnr"] == pytest.approx(20 * np.log10(255 / 30), abs=0.1)
    assert other["reference.fid"] > 0.05 and other["reference.lpips"] > 0
    for measure in measure_reference(real, brighter, where, NOTHING):
        assert (measure.value is None) == (measure.id in {"reference.lpips", "reference.fid", "reference.kid"})
    lone = {m.id: m for m in measure_reference(real[:1], real[:1], where[:1], stub_networks())}
    assert lone["reference.fid"].value is None and "at least 2" in lone["reference.fid"].detail


def test_curves_of_nothing_and_of_one_wrong_pose_are_drawn(there_and_back, exact):
    """A film of which no pose was recovered, one with a pose that is far off: two other pictures."""
    lost = [replace(p, rotation_deg=None, translation_m=None) for p in exact.poses]
    wrong = [replace(exact.poses[0], rotation_deg=100.0, translation_m=12.0), *exact.poses[1:]]
    drawn = [
        draw_curves(
            [
                FilmReport(
                    name="a",
                    figures=replace(exact, poses=tuple(poses)),
                    measures=(),
                    shown_u8=there_and_back[0].rgb_u8,
                    caption="",
                    settings={},
                )
            ]
        )
        for poses in (exact.poses, lost, wrong)
    ]
    assert len(set(drawn)) == 3 and all(png.startswith(b"\x89PNG") for png in drawn)


def test_the_report_is_whole_and_the_same_twice(there_and_back, exact, tmp_path):
    shown, caption = shown_frames(there_and_back, exact)
    film = FilmReport(
        name="<room>", figures=exact, measures=exact.measures, shown_u8=shown, caption=caption, settings={"frames": 9}
    )
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        report = write_films(tmp_path / folder, "video", "Films", [film], timings_s={})
    assert [path.name for path in report.files] == ["video.json", "video.md", "video.png", "video.html"]
    for path in report.files:
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()
    page = report.files[3].read_text()
    assert "&lt;room&gt;" in page and "<room>" not in page and "no VGG" in page and "not measured" in page
    assert page.count("data:image/") == 2 and "http" not in page.split("</style>")[-1]
    assert "no AlexNet" in report.files[1].read_text()
    along = json.loads(report.files[0].read_text())["films"]["<room>"]["along"]
    assert [frame["frame"] for frame in along] == list(range(1, 9)) and report.passed


def test_a_batch_is_its_finished_worlds(tmp_path, capsys):
    """What is under way is left out and named; the command says what is wrong with folders that hold nothing."""
    batch = tmp_path / "kitchens"
    photo = PhotoRecord(name="room.png", sha256="0" * 64, size_px=(64, 48))
    begun = Manifest(generator="test", photo=photo, config={}, plan=("understand",))
    for folder in (batch / "worlds" / "a", batch / "worlds" / "b", batch / "worlds" / "c", batch / "shown" / "d"):
        with open_for_writing(folder) as writer:
            writer.start(begun)
            if folder.name != "b":
                with writer.stage("understand", inputs="0" * 64):
                    pass
    (batch / "batch.json").write_text("{}")
    for folder in (batch, batch / "worlds"):
        worlds, notes = named_worlds([folder])
        assert [world.folder.name for world in worlds] == ["a", "c"]
        assert len(notes) == 1 and "worlds/b, it is not finished" in notes[0]
    worlds, notes = named_worlds([batch / "worlds" / "b", batch])
    assert [world.folder.name for world in worlds] == ["b", "a", "c"] and len(notes) == 1
    (tmp_path / "empty").mkdir()
    assert main(["evaluate", str(tmp_path / "empty"), "--video", "--out", str(tmp_path / "report")]) == 2
    assert "neither a world nor a folder with worlds in it" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_command_on_a_generated_world(photos: Path, tmp_path, capsys, monkeypatch):
    """A walk out and back, small: all figures without networks are numbers, the others name the missing file."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    world = tmp_path / "worlds" / "lobby"
    made = ["generate", str(photos / "lobby.png"), "--out", str(world), "--path", "out-and-back:distance=1"]
    assert main([*made, "--seed", "1000", "--set", "generation.view_long_side_px=128", "--until", "explore"]) == 0
    capsys.readouterr()
    out = tmp_path / "report"
    assert main(["evaluate", str(world), str(world), "--video", "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["films"]) == ["lobby", "lobby 2"] and sorted(p.name for p in out.iterdir()) == [
        "video.html", "video.json", "video.md", "video.png",
    ]  # fmt: skip
    film = report["films"]["lobby"]
    (tmp_path / "batch.json").write_text("{}")
    assert main(["evaluate", str(tmp_path), "--video", "--out", str(out), "--json"]) == 2
    assert "no world in it is finished" in capsys.readouterr().err
    found = {name: measure["value"] for name, measure in film["measures"].items()}
    assert [name for name, value in found.items() if value is None] == ["style.gram", "revisit.lpips"]
    assert "vgg16-397923af.pth" in film["measures"]["style.gram"]["detail"]
    assert found["revisit.psnr"] > 30 and found["reprojection.flow"] < 1 and len(film["revisits"]) >= 5
    assert main(["evaluate", str(world), "--video", "--loops", "2", "--out", str(out)]) == 2
    assert "--loops means something with --persistence only" in capsys.readouterr().err
    assert main(["evaluate", str(world), "--persistence", "--networks", str(tmp_path), "--out", str(out)]) == 2
    assert main(["evaluate", str(world), "--video", "--networks", str(tmp_path / "none"), "--out", str(out)]) == 2
