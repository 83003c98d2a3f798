"""The real stages, small: the same bytes again, also after kill -9 at ten moments."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fake_stages import content
from lyra.worldgen.core.world import load_world

pytestmark = [pytest.mark.slow, pytest.mark.physx]

SETTINGS = (
    "seed=3",
    "source.licence=CC0-1.0",
    "geometry.working_long_side_px=192",
    "generation.view_long_side_px=96",
    "generation.path=turn",
    "reconstruction.texture_px=256",
    "reconstruction.splat_budget=20000",
    "simulation.rest_faces=500",
    "simulation.episode_count=4",
    "simulation.cell_m=0.1",
    "certificate.drops=2",
    "certificate.drive_episodes=1",
)


def start(photo: Path, out: Path, hash_seed: int) -> subprocess.Popen[str]:
    """`lyra-worldgen generate` in a process group of its own."""
    arguments = [part for setting in SETTINGS for part in ("--set", setting)]
    return subprocess.Popen(
        [sys.executable, "-m", "lyra.worldgen", "generate", photo, "--out", out, "--json-lines", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
    )


def without_times(folder: Path) -> dict[str, bytes]:
    """Content of a world but for what a clock decides: `seconds` of stages and `timings` of the certificate."""
    found = content(folder)
    certificate = json.loads(found["certificate.json"])
    certificate["timings"] = {}
    found["certificate.json"] = json.dumps(certificate, indent=1).encode()
    manifest = json.loads(found["world.json"])
    manifest["stages"]["certify"]["files"]["certificate.json"] = {}
    found["world.json"] = json.dumps(manifest, indent=1).encode()
    return found


def test_the_same_world_after_ten_kills_as_in_one_run(photos, tmp_path):
    """One seed gives one world, whatever the order of sets, and a run that is killed again and again ends with it."""
    photo = photos / "apartment.png"
    process = start(photo, tmp_path / "whole", hash_seed=1)
    output, _ = process.communicate(timeout=1800)
    assert process.returncode in (0, 1), output[-500:]
    milestones = output.count("\n")
    dice = random.Random(7)
    kills = 0
    while kills < 10:
        process = start(photo, tmp_path / "killed", hash_seed=10 + kills)
        assert process.stdout is not None
        for _ in range(dice.randrange(1, max(2, milestones // 12))):
            process.stdout.readline()
        assert process.poll() is None, f"the run finished after {kills} kills; kill it earlier"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
    process = start(photo, tmp_path / "killed", hash_seed=99)
    output, _ = process.communicate(timeout=1800)
    assert process.returncode in (0, 1), output[-500:]
    whole, killed = without_times(tmp_path / "whole"), without_times(tmp_path / "killed")
    assert [name for name in whole if whole[name] != killed.get(name)] == []
    assert whole.keys() == killed.keys()
    world = load_world(tmp_path / "whole")
    assert world.finished and world.check_files().ok and world.verdict in ("passed", "failed")
    for name in world.manifest.files():
        assert str(tmp_path).encode() not in whole[name], f"{name} holds a path of this machine"
    usd = pytest.importorskip("pxr.Sdf").Layer.FindOrOpen(str(world.path("world.usda")))
    assert usd.customLayerData["SimReady_Metadata"]["asset_license"].endswith("; photo: CC0-1.0")
