"""`lyra-worldgen splats`: files of any generator to files for any consumer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.cli.main import main
from lyra.worldgen.cli.splats import FRAMES
from lyra.worldgen.core.frames import rigid, rotation_x
from lyra.worldgen.core.splats import transform_splats
from lyra.worldgen.reconstruction.splat_io import read_splats, write_splats
from sample_splats import random_splats


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A hundred splats of degree 1 in a `.ply` file."""
    write_splats(tmp_path / "scan.ply", random_splats(100, 1))
    return tmp_path / "scan.ply"


def test_converts_turns_and_scales(scan: Path, capsys: pytest.CaptureFixture):
    """+Y down and centimetres become +Z up and metres; what was done is said as JSON."""
    target = scan.with_name("out.ply")
    assert main(["splats", str(scan), str(target), "--frame", "y-down", "--scale", "0.01", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["read"], values["written"], values["frame"], values["layout"]) == (100, 100, "y-down", "ply")
    before, after = read_splats(scan), read_splats(target)
    np.testing.assert_allclose(after.means[:, 2], -0.01 * before.means[:, 1], rtol=1e-5)
    expected = transform_splats(rigid(0.01 * rotation_x(-np.pi / 2), np.zeros(3)), before)
    np.testing.assert_allclose(after.sh, expected.sh, atol=1e-5)


@pytest.mark.parametrize("frame", FRAMES)
def test_every_axis_can_be_up(scan: Path, frame: str):
    """The named direction of the file is +Z afterwards."""
    target = scan.with_name("out.ply")
    assert main(["splats", str(scan), str(target), "--frame", frame]) == 0
    height = read_splats(scan).means[:, "xyz".index(frame[0])] * (1 if frame.endswith("up") else -1)
    np.testing.assert_allclose(read_splats(target).means[:, 2], height, rtol=1e-5, atol=1e-5)


def test_thins_out(scan: Path, capsys: pytest.CaptureFixture):
    """A budget keeps that many, in every form that can be read back; a larger one changes nothing."""
    for name in ("small.spz", "small.ply"):
        target = scan.with_name(name)
        assert main(["splats", str(scan), str(target), "--max-count", "7"]) == 0
        assert len(read_splats(target)) == 7 and "7 of 100 splats" in capsys.readouterr().out
    assert main(["splats", str(scan), str(scan.with_name("all.ply")), "--max-count", "700"]) == 0
    assert scan.with_name("all.ply").read_bytes() == scan.read_bytes()


@pytest.mark.parametrize("name", ["out.usdc", "out.usda", "out.usdz"])
def test_usd(scan: Path, name: str):
    """USD of either kind opens and holds one prim of splats."""
    Usd = pytest.importorskip("pxr.Usd")
    assert main(["splats", str(scan), str(scan.with_name(name))]) == 0
    stage = Usd.Stage.Open(str(scan.with_name(name)))
    kinds = [prim.GetTypeName() for prim in stage.Traverse()]
    assert kinds.count("Volume" if name.endswith("z") else "ParticleField3DGaussianSplat") == 1


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("out.obj", [], "'.obj'; expected .ply"),
        ("out.ply", ["--scale", "0"], "--scale is 0.0"),
        ("out.ply", ["--scale", "nan"], "--scale is nan"),
        ("out.ply", ["--max-count", "0"], "--max-count is 0"),
    ],
)
def test_nonsense_is_refused(scan: Path, target: str, options: list[str], said: str, capsys: pytest.CaptureFixture):
    """Exit code 2, one line that says what to do, and no file."""
    assert main(["splats", str(scan), str(scan.with_name(target)), *options]) == 2
    assert said in capsys.readouterr().err and not scan.with_name(target).exists()
