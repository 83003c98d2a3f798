"""A photo with evidence of its size becomes a world of that size, through the real stage that understands photos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lyra.worldgen.build import build_world
from lyra.worldgen.cli.main import main
from lyra.worldgen.core.config import load_config
from lyra.worldgen.core.frames import invert_rigid, transform_points
from lyra.worldgen.core.world import load_world
from rooms import AnalyticRoom, analytic_room

PAINT = {"generation.painter": "patch"}


@pytest.fixture(scope="module")
def room() -> AnalyticRoom:
    """Photographed by a robot: from 0.9 m."""
    return analytic_room(width_px=640, height_px=480, camera_height_m=0.9, pitch_deg=-4.0)


@pytest.fixture(scope="module")
def photo(room, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "room.png"
    Image.fromarray(room.render().rgb_u8).save(path)
    return path


def floor_length(room: AnalyticRoom) -> str:
    """A metre and a half across the floor, as people write it."""
    ends = np.array([[2.2, 0.8, 0.0], [2.2, -0.7, 0.0]])
    uv, _ = room.camera.project(transform_points(invert_rigid(room.T_world_cam), ends))
    return ",".join(f"{value:.1f}" for value in (uv - 0.5).ravel()) + "=1.5m"


@pytest.mark.slow
def test_a_measure_makes_the_world_metric(room, photo, tmp_path):
    """The camera of the world stands where the robot's stood, within the stated doubt, which is less than a guess's."""
    config = load_config(None, {**PAINT, "scale.measure": floor_length(room)})
    world = build_world(photo, tmp_path / "w", config, until="understand")
    scale, geometry = world.manifest.scale, world.geometry()
    assert scale is not None and scale.metres_per_unit == 1.0 and scale.source == "measure"
    assert (
        scale.relative_sigma == pytest.approx(geometry.relative_scale_sigma, abs=1e-3) and scale.relative_sigma < 0.12
    )
    assert abs(np.log(geometry.layout.camera_height_m / 0.9)) < 2 * scale.relative_sigma
    kinds = {piece["kind"]: piece for piece in scale.evidence}
    assert kinds["measure"]["in_world_m"] == pytest.approx(1.5, rel=0.02)
    assert kinds["camera_height"]["used"] is False  # nobody is 1.5 m above this floor
    codes = [finding["code"] for finding in world.manifest.stages["understand"].findings]
    assert codes == ["scale.guess"]


@pytest.mark.slow
def test_the_command_line_tells_and_shows(room, photo, tmp_path, capsys):
    """A given height counts as measured; `info` shows the metre with its doubt and what it rests on."""
    out = str(tmp_path / "w")
    assert main(["generate", str(photo), "--out", out, "--camera-height", "0.9", "--until", "understand"]) == 0
    assert "1.00 m is 1.00 ± 0.0" in capsys.readouterr().out
    world = load_world(tmp_path / "w")
    assert world.geometry().layout.camera_height_m == 0.9
    assert world.manifest.config["scale"]["camera_height_sigma"] == 0.03
    assert main(["info", out, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["scale"]
    assert shown["source"] == "camera_height" and shown["evidence"][0]["says"] == "the camera height of 0.9 m"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--measure", "10,10,9999,20=1m"], "lies outside the photo, which is 640 x 480 px"),
        (["--known", "person:300,20,310,60"], "at or above the horizon"),
        (["--tag-size", "0.16"], "no AprilTag"),
        (["--exif-distance"], "states no subject distance"),
    ],
)
def test_evidence_that_cannot_be_used_ends_before_painting(photo, tmp_path, capsys, flags, message):
    """One line, exit code 2, no folder."""
    assert main(["generate", str(photo), "--out", str(tmp_path / "w"), *flags]) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and message in errors[0]
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "a.png", "--measure", "1,2,3=1m"], "is no pair of pixels"),
        (["generate", "a.png", "--measure", "1,2,30,40=1"], "has no unit"),
        (["generate", "a.png", "--measure", "nan,2,30,40=1m"], "is no pair of pixels"),
        (["generate", "a.png", "--known", "cat:1,2,30,40"], "names no thing of known size"),
        (["generate", "a.png", "--tag-size", "-1"], "scale.tag_size_m is -1.0"),
        (["generate", "a.png", "--tag-size", "nan"], "scale.tag_size_m is nan"),
        (["rescale", "."], "nothing says how large the world is"),
        (["rescale", ".", "--factor", "0"], "rescale.factor is 0.0"),
        (["rescale", ".", "--factor", "nan"], "rescale.factor is nan"),
        (["rescale", ".", "--factor", "1e9"], "rescale.factor is 1000000000.0"),
        (["rescale", ".", "--factor", "2", "--camera-height", "1"], "give one of the two"),
        (["rescale", ".", "--measure", "1,2,30,40=1parsec"], "has the unit 'parsec'"),
        (["rescale", ".", "--factor", "2"], "this is no world folder"),
    ],
)
def test_slips_are_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    """Said before anything is read or written."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert not any(tmp_path.iterdir())
