"""One session, three faces: command line, service and explorer make the same world of one seed, to the byte."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fake_stages import content
from lyra.worldgen.core.config import load_config
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.world import load_world
from lyra.worldgen.explore.desk import PATH_FILE, Desk, News
from lyra.worldgen.explore.options import ExplorerOptions
from lyra.worldgen.explore.shelf import open_shelf
from service_client import Server

pytest.importorskip("fastapi")
pytestmark = pytest.mark.slow

PATIENCE_S = 900.0
FAKE = Path(__file__).resolve().parent.parent / "session" / "fake_program.py"
PROMPT, PATH_SEED = "a quiet room", 5
SETTINGS = {
    "seed": 1007,
    "geometry": {"working_long_side_px": 192},
    "generation": {"view_long_side_px": 64, "painter": "patch"},
    "reconstruction": {"texture_px": 128, "splat_budget": 5000},
}
LAST = "reconstruct"


def flat() -> dict[str, object]:
    """The settings by key path."""
    sections = {f"{a}.{b}": v for a, part in SETTINGS.items() if isinstance(part, dict) for b, v in part.items()}
    return {"seed": SETTINGS["seed"], **sections}


def in_the_explorer(photo: Path, folder: Path, scratch: Path, launcher: Sequence[str]) -> bytes:
    """As the panels do it; the trajectory file that was authored."""
    scratch.mkdir()
    desk = Desk(open_shelf(folder), scratch, ExplorerOptions(config=load_config(None, flat()), launcher=launcher))
    ended, endings = threading.Event(), []

    def hear(news: News) -> None:
        if news.kind == "notice":
            endings.append(news)
            ended.set()

    def wait() -> None:
        assert ended.wait(PATIENCE_S)
        ended.clear()
        assert not endings[-1].bad, endings[-1].text

    desk.subscribe(hear)
    try:
        desk.generate(photo.read_bytes(), photo.name, painter="patch", seed=1007)
        wait()
        begin = desk.draft.T_world_begin
        desk.draft.add_waypoint(begin[:2, 3] + [0.6, 0.2])
        desk.draft.add(camera_pose(begin[:3, 3] + [0.8, 0.2, 0.1], heading_rad=0.4))
        assert desk.contents is not None
        file = desk.draft.trajectory(desk.contents.viewpoint[0])
        desk.extend_along_draft(prompt=PROMPT, seed=PATH_SEED, until="explore")
        wait()
        desk.extend("turn", until="explore")
        wait()
        desk.undo(until="explore")
        wait()
        desk.finish(until=LAST)
        wait()
    finally:
        desk.close()
    return file


def on_the_command_line(photo: Path, folder: Path, path: Path, program: Sequence[str]) -> None:
    """As a user types it."""
    settings = [f"--set={key}={value}" for key, value in flat().items()]
    for said in (
        ["generate", photo, "--out", folder, "--until", "understand", *settings],
        [
            "extend",
            folder,
            "--path",
            path,
            "--pose-scale",
            1,
            "--prompt",
            PROMPT,
            "--seed",
            PATH_SEED,
            "--until",
            "explore",
        ],
        ["extend", folder, "--path", "turn", "--until", "explore"],
        ["undo", folder, "--until", "explore"],
        ["finish", folder, "--until", LAST],
    ):
        subprocess.run([*program, *map(str, said)], check=True, capture_output=True, timeout=PATIENCE_S)


def over_http(photo: Path, data: Path, path: Path, *, real: bool) -> Path:
    """As a client of the service asks for it; the world's folder."""
    server = Server(data, real=real).start()
    try:
        with server.client() as client:
            upload = client.upload(photo.read_bytes(), name=photo.name).json()["id"]
            file = client.upload(path.read_bytes(), "trajectory", path.name)
            assert file.status_code == 201, file.text
            world, job = client.new_world(upload, settings=SETTINGS, until="understand")
            assert client.wait(job, PATIENCE_S)["state"] == "finished"
            along = {"trajectory": file.json()["id"], "pose_scale": 1.0, "prompt": PROMPT, "seed": PATH_SEED}
            for command, more in (
                ("extend", {**along, "until": "explore"}),
                ("extend", {"path": "turn", "until": "explore"}),
                ("undo", {"until": "explore"}),
                ("finish", {"until": LAST}),
            ):
                ended = client.wait(client.new_job(world, command, **more), PATIENCE_S)
                assert ended["state"] == "finished", ended
    finally:
        server.stop()
    return data / "worlds" / world


@pytest.mark.parametrize("real", [False, True], ids=["tiny-stages", "real"])
def test_equal_bytes_whichever_face_is_used(real, photos, tmp_path):
    """Seed, an authored path, another one, undo, finish: every file is equal but for the `seconds` of stages."""
    photo = photos / "apartment.png"
    program = [sys.executable, "-m", "lyra.worldgen"] if real else [sys.executable, str(FAKE), "0"]
    explored, typed = tmp_path / "explored", tmp_path / "typed"
    file = in_the_explorer(photo, explored, tmp_path / "scratch", program)
    path = tmp_path / PATH_FILE
    path.write_bytes(file)
    on_the_command_line(photo, typed, path, program)
    served = over_http(photo, tmp_path / "service", path, real=real)
    mine = content(explored)
    for other in (typed, served):
        theirs = content(other)
        assert mine.keys() == theirs.keys()
        assert [name for name in mine if mine[name] != theirs[name]] == []
    world = load_world(explored)
    assert world.has("mesh.glb") and world.manifest.journey[0].path.startswith(f"{PATH_FILE}#")
    if real:
        assert np.isfinite(world.splats().means).all()
