"""A mesh becomes a world through the controller: here, on a server, and with the command line, with the same bytes."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lyra.worldgen.core.world import load_world
from lyra.worldgen.kit import controller as kit_controller
from lyra.worldgen.kit.controller import Phase, WorldgenController
from lyra.worldgen.kit.jobs import ImportRequest, WorkPlace, import_command, open_session

for package in ("requests", "fastapi", "trimesh", "pxr"):
    pytest.importorskip(package, reason=f"{package} is not installed, which imports through a server need")

from scan_files import room_glb  # noqa: E402
from service_client import PATIENCE_S, Server  # noqa: E402

pytestmark = pytest.mark.slow


def imported(mesh: Path, folder: Path, place: WorkPlace) -> None:
    """As the window does it, polled until it rests."""
    controller = WorldgenController(lambda folder: open_session(folder, place, near=None))
    assert controller.import_file(ImportRequest(source=str(mesh), out=str(folder), seed=3, up="z-up", units="m"))
    give_up = time.monotonic() + PATIENCE_S
    while controller.state.busy and time.monotonic() < give_up:
        controller.poll()
        time.sleep(0.02)
    assert controller.state.phase is Phase.DONE, controller.state
    controller.close()


def test_the_same_world_here_and_there(tmp_path, monkeypatch):
    """The window on this machine, the window with a server, and `lyra-worldgen import`."""
    # What follows the import is the same for every world.
    monkeypatch.setattr(kit_controller, "import_command", lambda r: replace(import_command(r), until="import"))
    mesh = tmp_path / "room.glb"
    mesh.write_bytes(room_glb(1005))
    server = Server(tmp_path / "data", real=True).start()
    try:
        imported(mesh, tmp_path / "far", WorkPlace(server=server.address, token=server.token))
    finally:
        server.stop()
    imported(mesh, tmp_path / "near", WorkPlace(launcher=sys.executable))
    said = [mesh, "--out", tmp_path / "typed", "--seed", 3, "--up", "z-up", "--units", "m", "--until", "import"]
    subprocess.run([sys.executable, "-m", "lyra.worldgen", "import", *map(str, said)], check=True, capture_output=True)
    typed = load_world(tmp_path / "typed")
    for folder in ("far", "near"):
        world = load_world(tmp_path / folder)
        assert world.manifest.id == typed.manifest.id and world.manifest.files() == typed.manifest.files()
