"""Commands in the words of the service: only what was said is sent, and the server understands it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lyra.worldgen.core.config import RescaleConfig, WorldConfig, load_config
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.session import Certify, Extend, Finish, Generate, Import, Preview, Rescale, Undo
from lyra.worldgen.session.service_words import chosen_settings, command_from_request, job_request

BRANCH = Path("/worlds/second")


def understood(said: dict[str, object]) -> object:
    """What a server does of a request whose uploads lie in `/uploads`."""

    def upload(kind: str) -> Path | None:
        return Path("/uploads", str(said[kind])) if said.get(kind) is not None else None

    return command_from_request(
        said, upload=upload, configured=lambda settings: load_config(None, dict(settings)), branch=BRANCH
    )


def test_only_what_was_said_is_sent():
    """Defaults stay the server's choice; a command that the service has not is refused."""
    assert job_request(Extend(path="turn", chunks=2)) == {
        "command": "extend",
        "path": "turn",
        "chunks": 2,
        "until": "",
    }
    assert job_request(Undo(chunks=3)) == {"command": "undo", "chunks": 3, "until": ""}
    assert job_request(Rescale()) == {"command": "rescale", "until": ""}
    with pytest.raises(InputError):
        job_request(Generate(photo=Path("a.png")))
    config = load_config(None, {"seed": 3, "source.up": "y-up"})
    assert chosen_settings(Import(source=Path("a.ply"), config=config)) == {"seed": 3, "source": {"up": "y-up"}}


@pytest.mark.parametrize(
    "command",
    [
        Extend(path="spin:turns=1", prompt="a hall", chunks=2, seed=9, pose_scale=1.5, until="explore"),
        Extend(),
        Undo(chunks=3, until="reconstruct"),
        Finish(until="simulate"),
        Rescale(rescale=RescaleConfig(factor=1.25)),
        Certify(),
        Preview(),
    ],
    ids=lambda command: command.name,
)
def test_the_server_understands_what_the_client_says(command):
    """There and back it is the same command."""
    assert understood(job_request(command)) == command


def test_uploads_stand_for_files():
    """Photo, trajectory, captions and scene become paths of the server; names stay those of the user."""
    said = {"settings": {"seed": 4}, "photo": "p", "photo_name": "kitchen.jpg", "trajectory": "t", "captions": "c"}
    made = understood({"command": "generate", "trajectory_name": "walk.npz", **said})
    assert isinstance(made, Generate) and (made.photo, made.photo_name) == (Path("/uploads/p"), "kitchen.jpg")
    assert made.config.generation.path == "/uploads/t" and made.config.generation.captions == "/uploads/c"
    assert made.config.seed == 4 and made.trajectory_name == "walk.npz"
    scene = {"command": "import", "scene": "s", "source_name": "scan.ply", "settings": {}}
    assert understood(scene) == Import(source=Path("/uploads/s"), source_name="scan.ply", config=WorldConfig())
    branch = understood({"command": "branch", "chunks": 2})
    assert getattr(branch, "out", None) == BRANCH
    with pytest.raises(InputError, match="unknown command"):
        understood({"command": "format"})
