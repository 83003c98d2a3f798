"""The painted video: every frame in the order in which it was painted, with the camera that it was painted from."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fake_stages import fake_stages
from lyra.worldgen.build import build_world
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.chunks import Chunk, FolderChunkStore
from lyra.worldgen.core.config import load_config
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.views import RgbdView
from lyra.worldgen.core.world import load_world
from lyra.worldgen.core.world_writer import open_for_writing
from lyra.worldgen.explore.playback import STOP, Playback
from lyra.worldgen.explore.reel import Reel
from lyra.worldgen.generation.film_painting import encoded_film
from service_client import picture

SIZE = (48, 32)
FILMED = 12
METRES = 2.0


def grey(level: int) -> np.ndarray:
    return np.full((SIZE[1], SIZE[0], 3), level, np.uint8)


def pose(frame: int) -> np.ndarray:
    return camera_pose(np.array([0.1 * frame, 0.0, 1.5]), heading_rad=0.02 * frame)


def view(number: int, level: int, T_world_cam: np.ndarray, focal_px: float = 40.0) -> RgbdView:
    w, h = SIZE
    camera = PinholeCamera(width_px=w, height_px=h, fx_px=focal_px, fy_px=focal_px, cx_px=w / 2, cy_px=h / 2)
    return RgbdView(
        view_id=number,
        camera=camera,
        T_world_cam=T_world_cam,
        rgb_u8=grey(level),
        depth_z_m=np.ones((h, w), np.float32),
        valid=np.ones((h, w), bool),
        source=np.ones((h, w), np.uint8),
        labels=np.ones((h, w), np.uint8),
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    """A world that was stopped after a filmed chunk, which zooms, and one of two looks; it is scaled afterwards."""
    (tmp_path / "a.png").write_bytes(picture())
    out = tmp_path / "w"
    build_world(tmp_path / "a.png", out, load_config(None, {}), stages=fake_stages(), until="understand")
    with open_for_writing(out) as writer:
        store = FolderChunkStore(writer, stage="explore", inputs="x")
        film = encoded_film([grey(10 * (k + 1)) for k in range(FILMED)])
        keys = (view(0, 5, pose(0)), view(1, 40, pose(4), 44.0), view(2, 120, pose(12), 60.0))
        path = np.stack([pose(k + 1) for k in range(FILMED)])
        store.save_chunk(0, "a", Chunk(views=keys, Ts_world_path=path, film_mp4=film))
        looks = (view(3, 200, pose(12)), view(4, 220, camera_pose(np.array([1.0, 2.0, 1.5]))))
        store.save_chunk(1, "b", Chunk(views=looks, Ts_world_path=np.zeros((0, 4, 4))))
        understood = writer.manifest.stages["understand"]
        scale = {"metres_per_unit": METRES, "source": "given", "relative_sigma": 0.1}
        scaled = replace(understood, facts={**understood.facts, "scale": scale})
        writer.amend(stages={**writer.manifest.stages, "understand": scaled})
    return out


def test_frames_come_in_the_order_of_painting(folder):
    """The photo, every frame of the film, then the looks: each its own picture and pose, in metres."""
    reel = Reel(load_world(folder))
    assert len(reel) == 1 + FILMED + 2
    levels = [5, *(10 * (k + 1) for k in range(FILMED)), 200, 220]
    for number, level in enumerate(levels):
        frame = reel.frame(number)
        assert abs(frame.rgb_u8.mean() - level) < 4, number
        assert (frame.camera.width_px, frame.camera.height_px) == SIZE
    for number in range(FILMED):
        expected = pose(number + 1)
        expected[:3, 3] *= METRES
        np.testing.assert_allclose(reel.frame(1 + number).T_world_cam, expected, atol=1e-6)
    assert "film" in reel.frame(3).text and "chunk 2" in reel.frame(FILMED + 2).text
    for number in (-1, len(reel)):
        with pytest.raises(InputError, match="does not exist"):
            reel.frame(number)


def test_a_zoom_is_even_between_remembered_frames(folder):
    """Frames 4 and 12 of the walk are remembered with focal lengths of 44 and 60 px."""
    reel = Reel(load_world(folder))
    focal = [reel.frame(number).camera.fx_px for number in (2, 4, 8, 10, 12)]
    np.testing.assert_allclose(focal, [44, 44, 52, 56, 60], atol=1e-9)


def test_damaged_films_are_refused_in_words(folder):
    """A film that ends early, and one without cameras."""
    film = folder / "memory" / "chunks" / "000.mp4"
    film.write_bytes(b"no film")
    with pytest.raises(InputError, match="video"):
        Reel(load_world(folder)).frame(2)
    film.with_suffix(".npz").write_bytes(b"no arrays")
    with pytest.raises(InputError):
        Reel(load_world(folder))


def test_a_world_that_only_understood_its_photo_has_no_frame(tmp_path):
    """Nothing is painted yet, and that is no error."""
    (tmp_path / "a.png").write_bytes(picture())
    world = build_world(
        tmp_path / "a.png", tmp_path / "w", load_config(None, {}), stages=fake_stages(), until="understand"
    )
    assert len(Reel(world)) == 0


def test_playing_runs_to_the_end_and_stops_when_pressed_again():
    """Numbers never fall, the last one is shown; a second press ends it early."""
    button = SimpleNamespace(label="Play")
    playback, shown = Playback(button, 200.0), []
    playback.toggle(3, 20, shown.append)
    assert shown == sorted(shown) and shown[0] >= 3 and shown[-1] == 19 and button.label == "Play"
    begun = threading.Event()
    slow = threading.Thread(target=playback.toggle, args=(0, 10**9, lambda number: begun.set()))
    slow.start()
    assert begun.wait(10) and button.label == STOP
    playback.toggle(0, 10**9, lambda number: None)
    slow.join(10)
    assert not slow.is_alive() and button.label == "Play"
