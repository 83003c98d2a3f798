"""Up, floor and size of known scenes in foreign axes, units and tilts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from known_scenes import known_scene
from lyra.worldgen.core.config import SourceConfig
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.report import Report
from lyra.worldgen.importing.samples import sample_mesh, sample_splats
from lyra.worldgen.importing.settle import settle
from lyra.worldgen.importing.splat_clean import clean_splats
from lyra.worldgen.importing.splat_source import CUSTOMS
from lyra.worldgen.importing.upright import find_upright
from scan_files import Y_DOWN, foreign_axes, in_file, mesh_in_file, scanned_splats

OFFSET = np.array([310.0, -45.0, 77.0])


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1000, 1001, 1002])
def test_splats_in_centimetres_with_y_down(seed):
    """Up within half a degree, the floor within two centimetres, walls along the axes, the origin on free floor."""
    scene = known_scene(seed)
    R = foreign_axes(seed)
    splats = in_file(R, 100.0, scanned_splats(scene, count=40_000), OFFSET)
    cleaned = clean_splats(splats)
    assert cleaned.floaters + cleaned.strays + cleaned.haze > 0.7 * 400
    assert len(cleaned.splats) > 0.985 * 40_000
    report = Report()
    settled = settle(sample_splats(cleaned.splats), SourceConfig(units="cm"), CUSTOMS, report, said=None)
    T = settled.T_scene_file
    assert settled.facts["up"] == "-y"
    assert angle_deg(T[2, :3], R[:, 2]) < 0.5
    assert abs((T[:3, :3] @ OFFSET + T[:3, 3])[2]) < 2.0  # the file's image of the world's origin lies on the floor
    assert settled.scale.metres_per_unit == 0.01 and settled.scale.relative_sigma == 0.01
    assert settled.ceiling == pytest.approx(100 * scene.ceiling_m, abs=3.0)
    stand = np.linalg.inv(T) @ [0, 0, 0, 1]
    xy = ((stand[:3] - OFFSET) @ R / 100)[:2]
    assert scene.clearance_m(xy, 0.05, 1.7) > 0.3
    eye = settled.Ts_scene_path[0]
    np.testing.assert_allclose(eye[:2, 3], 0, atol=1e-6)
    np.testing.assert_allclose(eye[:3, 2], [1, 0, 0], atol=1e-6)


@pytest.mark.slow
def test_without_any_convention_and_with_a_stated_axis():
    """The evidence alone finds up; what the user says is refined, and an axis without a floor is refused."""
    scene = known_scene(1004)
    R = foreign_axes(1004, tilt_deg=9.0)
    samples = sample_mesh(mesh_in_file(R, 1.0, scene.truth, OFFSET), count=40_000)
    assert angle_deg(find_upright(samples).R_world_file[2], R[:, 2]) < 0.5
    said = find_upright(samples, said="-y")
    assert angle_deg(said.R_world_file[2], R[:, 2]) < 0.5 and said.tilt_deg > 1.0
    thin = sample_mesh(scene.truth.select_faces(scene.truth.face_labels == Label.WALL), count=20_000)
    with pytest.raises(InputError, match="no floor was found"):
        find_upright(thin, said="z")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("units_per_metre", "sets", "metres", "sigma"),
    [
        (1000.0, {"units": "mm"}, 0.001, 0.011),
        (3.7, {"ceiling_height_m": 2.8}, 1 / 3.7, 0.02),
        (3.7, {"measure3d": "0,0,0:0,3.7,0=1m; 0,0,0:7.4,0,0=200+-2cm"}, 1 / 3.7, 0.02),
        (3.7, {}, 1 / 3.7, 0.3),
    ],
)
def test_size_as_said_or_as_rooms_are(units_per_metre, sets, metres, sigma):
    """The scale is what was said; without a word the room's height tells it, with a doubt that covers the truth."""
    scene = known_scene(1002)
    mesh = mesh_in_file(Y_DOWN, units_per_metre, scene.truth, OFFSET)
    if "ceiling_height_m" in sets:
        sets = {"ceiling_height_m": scene.ceiling_m}
    settled = settle(sample_mesh(mesh, count=20_000), SourceConfig(**sets), CUSTOMS, Report(), said="-y")
    scale = settled.scale
    assert scale.relative_sigma <= sigma
    assert abs(np.log(scale.metres_per_unit / metres)) < max(2 * scale.relative_sigma, 0.005)


@pytest.mark.slow
def test_contradictions_and_absurd_sizes():
    """Two statements that exclude each other are a finding with a wide doubt; a doll's house is refused."""
    scene = known_scene(1002)
    samples = sample_mesh(scene.truth, count=20_000)
    report = Report()
    cfg = SourceConfig(units="m", measure3d="0,0,0:1,0,0=2m")
    settled = settle(samples, cfg, CUSTOMS, report, said="z")
    assert settled.scale.relative_sigma > 0.3
    assert [f.code for f in report] == ["scale.contradiction"]
    for units, words in (("mm", "too small"), ("m", None)):
        cfg = SourceConfig(units=units)
        if words:
            with pytest.raises(InputError, match=words):
                settle(samples, cfg, CUSTOMS, Report(), said="z")
    big = replace(samples, points=samples.points * 1000)
    with pytest.raises(InputError, match="too large"):
        settle(big, SourceConfig(units="m"), CUSTOMS, Report(), said="z")
