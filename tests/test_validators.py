"""Public USD validators on a world that the real simulation stage wrote, and on one that is broken on purpose."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rooms import analytic_room

pytest.importorskip("pxr.Usd")
pytest.importorskip("scipy")

from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.splats import GaussianCloud, sh_from_rgb
from lyra.worldgen.sim.simulate import WorldMeta, write_simulation, write_thumbnail

ROOT = Path(__file__).resolve().parent.parent
SIMREADY_PYTHON = Path(os.environ.get("LYRA_SIMREADY_PYTHON") or ROOT / ".venv-simready" / "bin" / "python")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """The analytic room with a texture and a few splats."""
    folder = tmp_path_factory.mktemp("valid") / "room"
    mesh = analytic_room().mesh()
    corners = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]], np.float32)
    mesh = replace(mesh, uv=np.tile(corners, (mesh.face_count, 1, 1)), texture_u8=np.full((16, 16, 3), 128, np.uint8))
    n = 50
    splats = GaussianCloud(
        means=np.random.default_rng(0).uniform(0, 1, (n, 3)).astype(np.float32),
        scales_m=np.full((n, 3), 0.02, np.float32),
        quats_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1)),
        opacities=np.full(n, 0.9, np.float32),
        sh=sh_from_rgb(np.full((n, 3), 0.4)),
    )
    write_simulation(folder, mesh, splats, cfg=SimulationConfig(episode_count=5), meta=WorldMeta(name="room"), seed=0)
    write_thumbnail(folder, np.full((256, 256, 3), 90, np.uint8))
    return folder


@pytest.fixture
def broken(world, tmp_path) -> Path:
    """The same world without a default prim and with centimetres."""
    from pxr import Sdf

    folder = Path(shutil.copytree(world, tmp_path / "broken"))
    layer = Sdf.Layer.FindOrOpen(str(folder / "world.usda"))
    layer.ClearDefaultPrim()
    layer.pseudoRoot.ClearInfo("metersPerUnit")
    layer.pseudoRoot.ClearInfo("customLayerData")
    layer.Save()
    shutil.rmtree(folder / ".thumbs")
    return folder


def validate(python: str | Path, folder: Path, *options: str) -> tuple[int, dict[str, list[str]]]:
    """Exit code and findings of the tool, in a process of its own: validators register rules globally."""
    command = [str(python), str(ROOT / "tools" / "validate_usd.py"), *options, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_openusd_and_nvidia_rules_pass(world):
    """No error of OpenUSD's validators and no failure of NVIDIA's rules, on both stages."""
    pytest.importorskip("usd_validation_nvidia")
    code, found = validate(sys.executable, world)
    assert len(found) == 4 and not any(found.values()), found
    assert code == 0


@pytest.mark.slow
def test_a_broken_stage_is_noticed(broken):
    """The check itself can fail: a missing default prim is an error to both."""
    pytest.importorskip("usd_validation_nvidia")
    code, found = validate(sys.executable, broken)
    assert code == 1
    for name in ("openusd", "nvidia"):
        assert found[f"{broken}/world.usda {name}"], name


@pytest.mark.slow
@pytest.mark.skipif(not SIMREADY_PYTHON.is_file(), reason="no SimReady environment; tools/test.sh makes it")
def test_simready_package_candidate(world, broken):
    """The SimReady profile passes for the world and not for the broken one."""
    code, found = validate(SIMREADY_PYTHON, world, "--simready")
    assert code == 0, found
    code, found = validate(SIMREADY_PYTHON, broken, "--simready")
    assert code == 1 and any(found.values())
