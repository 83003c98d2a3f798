"""The explorer without a browser, over real workers with tiny stages: it says what a session says, and no more."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fake_stages import CHUNKS, content
from lyra.worldgen.core.chunks import chunk_stages
from lyra.worldgen.core.config import load_config
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.world import load_world
from lyra.worldgen.core.world_writer import open_for_writing
from lyra.worldgen.explore.desk import Desk, News
from lyra.worldgen.explore.options import ExplorerOptions
from lyra.worldgen.explore.shelf import open_shelf
from lyra.worldgen.explore.uploads import MAX_UPLOAD_BYTES, keep_photo
from service_client import picture

PROGRAM = Path(__file__).resolve().parent.parent / "session" / "fake_program.py"
PATIENCE_S = 120.0


class Hand:
    """A desk on tiny stages, and everything that it told."""

    def __init__(self, folder: Path, scratch: Path, pause_s: float = 0.0) -> None:
        scratch.mkdir(exist_ok=True)
        launcher = [sys.executable, str(PROGRAM), str(pause_s)]
        self.desk = Desk(
            open_shelf(folder), scratch, ExplorerOptions(config=load_config(None, {"seed": 3}), launcher=launcher)
        )
        self.news: list[News] = []
        self._at_rest = threading.Event()
        self.desk.subscribe(self._hear)

    def _hear(self, news: News) -> None:
        self.news.append(news)
        if news.kind == "notice":
            self._at_rest.set()

    def wait(self) -> News:
        """The words that a command ended with."""
        assert self._at_rest.wait(PATIENCE_S)
        self._at_rest.clear()
        return [news for news in self.news if news.kind == "notice"][-1]


@pytest.fixture
def hand(tmp_path):
    made = []

    def make(folder: str = "world", pause_s: float = 0.0) -> Hand:
        made.append(Hand(tmp_path / folder, tmp_path / "scratch", pause_s))
        return made[-1]

    yield make
    for each in made:
        each.desk.close()


def chunks(folder: Path) -> int:
    return len(chunk_stages(load_world(folder).manifest.stages))


@pytest.mark.slow
def test_a_photo_becomes_a_world_step_by_step(hand, tmp_path):
    """Seed, extend, undo, finish: each is told, frames arrive, and the world is the one made at once."""
    slow, fast = hand("slow"), hand("fast")
    desk = slow.desk
    assert desk.generate(picture(), "kitchen.png", painter="patch", seed=7) == tmp_path / "slow"
    assert not slow.wait().bad and desk.contents is not None and not desk.contents.has_layer("mesh")
    desk.extend("forward", until="explore")
    slow.wait()
    assert chunks(desk.folder) == CHUNKS and sum(news.kind == "frame" for news in slow.news) == CHUNKS
    desk.undo(2, until="explore")
    slow.wait()
    assert chunks(desk.folder) == CHUNKS - 2
    desk.extend(until="explore")
    slow.wait()
    desk.finish()
    assert not slow.wait().bad
    fast.desk.config = load_config(None, {"generation.path": "forward"})
    fast.desk.generate(picture(), "kitchen.png", painter="patch", seed=7, until="")
    fast.wait()
    assert content(tmp_path / "slow") == content(tmp_path / "fast")
    assert [news.kind for news in slow.news].count("world") >= 5


@pytest.mark.slow
def test_an_authored_path_goes_to_the_worker_in_metres(hand):
    """The worker gets the file that can be saved; a path that was walked is taken off the desk."""
    it = hand()
    it.desk.generate(picture(), "kitchen.png")
    it.wait()
    with pytest.raises(InputError, match="no key pose"):
        it.desk.extend_along_draft(until="explore")
    key = it.desk.draft.T_world_begin.copy()
    key[0, 3] += 1.0
    it.desk.draft.add(key)
    it.desk.extend_along_draft(prompt="a door", seed=9, until="explore")
    it.wait()
    manifest = load_world(it.desk.folder).manifest
    generation = manifest.config["generation"]
    assert generation["path"].startswith("path.npz#") and generation["pose_scale"] == 1.0
    assert generation["prompt"] == "a door" and manifest.journey[0].seed == 9
    assert it.desk.draft.keys == []


@pytest.mark.slow
def test_stopped_work_goes_on(hand):
    """Cancelled in the middle: said so; what is finished stays, and resuming ends with the whole path."""
    it = hand(pause_s=0.2)
    it.desk.generate(picture(), "kitchen.png")
    it.wait()
    begun = threading.Event()
    it.desk.subscribe(lambda news: begun.set() if news.kind == "frame" else None)
    it.desk.extend("forward", until="explore")
    with pytest.raises(InputError, match="still running"):
        it.desk.undo()
    with pytest.raises(InputError, match="still running"):
        it.desk.open(it.desk.folder)
    assert begun.wait(PATIENCE_S)
    it.desk.cancel()
    assert "Stopped" in it.wait().text
    it.desk.resume()
    it.wait()
    assert chunks(it.desk.folder) == CHUNKS
    with pytest.raises(InputError, match="nothing was stopped"):
        it.desk.resume()


@pytest.mark.slow
def test_what_cannot_be_done_is_said_in_words(hand, tmp_path):
    """No world yet, bad photos, a world that is taken, a world that somebody else writes to, and a worker's refusal."""
    it = hand()
    for act in (it.desk.finish, it.desk.undo, it.desk.extend, it.desk.resume, it.desk.place_robot):
        with pytest.raises(InputError, match="no world yet"):
            act()
    for data, words in ((b"", "empty"), (b"not a picture", "not a picture"), (picture(size=(8, 8)), "at least 16 px")):
        with pytest.raises(InputError, match=words):
            it.desk.generate(data, "kitchen.png")
    assert not (tmp_path / "world").exists() and it.desk.folder is None
    it.desk.generate(picture(), "kitchen.png")
    it.wait()
    with pytest.raises(InputError, match="holds a world already"):
        it.desk.generate(picture(1), "hall.png")
    with pytest.raises(InputError, match="no world of the folder"):
        it.desk.open(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="two places"):
        it.desk.rescale("1m")
    it.desk.undo()
    assert it.wait().bad
    with open_for_writing(tmp_path / "world"):
        with pytest.raises(InputError, match="writes to this world"):
            it.desk.finish()
        watcher = hand()
        watcher.desk.open(tmp_path / "world")
        assert "you can look" in watcher.wait().text and watcher.desk.other_writer == it.desk.other_writer != ""
    watcher.desk.look_again()
    assert watcher.desk.other_writer == "" and watcher.desk.contents is not None


@pytest.mark.slow
def test_worlds_of_a_folder_are_opened_in_turn(hand, tmp_path):
    """A folder of worlds takes another photo; its world gets a name of its own."""
    first = hand("worlds/a")
    first.desk.generate(picture(), "a.png")
    first.wait()
    it = hand("worlds")
    it.desk.open(tmp_path / "worlds" / "a")
    assert it.desk.generate(picture(1), "a.png") == tmp_path / "worlds" / "a-2"
    it.wait()
    assert it.desk.shelf.worlds() == [tmp_path / "worlds" / "a", tmp_path / "worlds" / "a-2"]
    it.desk.open(tmp_path / "worlds" / "a")
    assert it.desk.folder == tmp_path / "worlds" / "a"
    np.testing.assert_array_equal(it.desk.draft.keys, [])


def test_an_upload_gets_a_name_that_leads_nowhere(tmp_path):
    """Folders, dots and marks in a name are gone; too many bytes are refused before they are looked at."""
    for name in ("../../etc/passwd.png", "C:\\x\\y.png", "...", ".hidden", "a\0b.png", ""):
        path = keep_photo(picture(), name, tmp_path)
        assert path.parent == tmp_path and not path.name.startswith(".") and path.read_bytes() == picture()
    with pytest.raises(InputError, match="at most 64"):
        keep_photo(bytes(MAX_UPLOAD_BYTES + 1), "large.png", tmp_path)
