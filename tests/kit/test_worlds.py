"""The browser's list, pictures for the window, tasks by the simulation's clock, and where work is done."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lyra.worldgen.core.errors import DependencyError, InputError
from lyra.worldgen.kit.driving import TimedDrive, find_tasks
from lyra.worldgen.kit.jobs import WorkPlace, open_session
from lyra.worldgen.kit.pictures import PREVIEW_LONG_SIDE_PX, preview_pixels
from lyra.worldgen.kit.worlds import list_worlds
from lyra.worldgen.session import Finish
from lyra.worldgen.session.remote import RemoteNote, write_note


def test_worlds_of_a_folder(room_world, tmp_path):
    """Newest first, damaged ones with their problem, worlds that a server makes with its name; other things not."""
    (tmp_path / "good").symlink_to(room_world)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "world.json").write_text("{")
    os.utime(tmp_path / "broken" / "world.json", (2e9, 2e9))
    (tmp_path / "holiday").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    write_note(tmp_path / "far", RemoteNote(server="https://worlds.example.com", world="w", job="j"))
    os.utime(tmp_path / "far.remote.json", (1e9, 1e9))
    cards = list_worlds(tmp_path)
    assert [card.name for card in cards] == ["broken", "good", "far"]
    broken, good, far = cards
    assert "damaged" in broken.text and not broken.readable
    assert good.verdict == "passed" and good.readable and good.text.startswith("passed") and good.certificate == ""
    assert "worlds.example.com" in far.text and not far.readable and far.folder == str(tmp_path / "far")
    assert list_worlds(tmp_path / "absent") == []


def test_previews(tmp_path):
    """Any picture becomes small and upright; what is none becomes nothing."""
    data = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    Image.new("RGB", (2000, 1000), (255, 0, 0)).save(data, "JPEG", exif=exif)
    pixels = preview_pixels(data.getvalue())
    assert pixels is not None and pixels.height_px == PREVIEW_LONG_SIDE_PX and pixels.width_px == 256
    rgba = np.frombuffer(pixels.rgba, np.uint8).reshape(pixels.height_px, pixels.width_px, 4)
    assert (abs(rgba.astype(int) - [254, 0, 0, 255]) < 3).all()
    for bad in (b"", b"no picture", data.getvalue()[:200], tmp_path / "absent.png"):
        assert preview_pixels(bad) is None


class Episodes:
    """A driver that counts its ticks."""

    def __init__(self, count: int = 2, error: Exception | None = None) -> None:
        self.ticks: list[float] = []
        self.now = 0.0
        self.error = error
        self.task = SimpleNamespace(
            driven=[], episode_count=count, metrics=lambda: {"success": 0.5, "spl": None, "count": 2}
        )

    @property
    def done(self) -> bool:
        return len(self.task.driven) == self.task.episode_count

    def tick(self) -> None:
        if self.error is not None:
            raise self.error
        self.ticks.append(self.now)
        if len(self.ticks) % 10 == 0:
            self.task.driven.append(None)


@pytest.mark.parametrize("update_s", [1 / 240, 1 / 60, 0.02, 0.1])
def test_tasks_keep_their_own_time(update_s):
    """However fast the app updates: a tick every step of the task, none more."""
    driver = Episodes()
    drive = TimedDrive(driver, 0.1)
    for k in range(10_000):
        driver.now = k * update_s
        drive.update(driver.now)
        if drive.over:
            break
    steps = np.diff(driver.ticks)
    assert len(driver.ticks) == 20 and (steps > 0.1 - 1e-6).all() and (steps < 0.1 + update_s).all()
    assert drive.message == "all 2 episodes driven: success 0.50"


def test_a_clock_that_is_set_back(tmp_path):
    """A timeline that loops does not stop the drive, and a failure ends it with words."""
    driver = Episodes(count=100)
    drive = TimedDrive(driver, 0.1)
    for k in range(400):
        driver.now = (k % 40) * 0.025
        drive.update(driver.now)
    assert len(driver.ticks) >= 99
    assert "of 100 episodes driven" in drive.message
    failing = TimedDrive(Episodes(error=InputError("the pilot gave no action")), 0.1)
    failing.update(0.0)
    assert failing.over and failing.message == "the pilot gave no action"
    failing.update(5.0)


def test_the_tasks_are_found(tmp_path, monkeypatch):
    """Beside a checkout's extension or packed inside it; without them there are words."""
    extension = Path(__file__).resolve().parents[2] / "exts" / "lyra.worldgen"
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not p.endswith("robot_tasks")])
    for name in [n for n in sys.modules if n.partition(".")[0] == "lyra_tasks"]:
        monkeypatch.delitem(sys.modules, name)
    with monkeypatch.context() as here:
        # An installed one would be found anywhere.
        here.setattr(sys, "meta_path", [f for f in sys.meta_path if "editable" not in repr(f).lower()])
        if not any(Path(p, "lyra_tasks").is_dir() for p in sys.path):
            with pytest.raises(DependencyError, match="lyra_tasks"):
                find_tasks(tmp_path / "a" / "b")
        assert find_tasks(extension).__name__ == "lyra_tasks"


@pytest.mark.slow
def test_where_work_is_done(tmp_path):
    """Without an installation and without a server there are words; a server's address is looked at first."""
    nowhere = open_session(tmp_path / "w", WorkPlace(), near=None, env={"PATH": ""})
    with pytest.raises(FileNotFoundError, match="quickstart"):
        nowhere.start(Finish())
    unsafe = open_session(tmp_path / "w", WorkPlace(server="http://worlds.example.com", token="t"), near=None)
    with pytest.raises(InputError, match="in the clear"):
        unsafe.start(Finish())
    here = open_session(tmp_path / "w", WorkPlace(launcher=sys.executable), near=None)
    here.start(Finish())
    done = here.wait(120)
    assert done is not None and done.exit_code == 2 and str(tmp_path / "w") in done.message
    here.close()
