"""What `lyra-worldgen explore DIR` takes: a world, worlds, or a place for one."""

from __future__ import annotations

import pytest

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.explore.shelf import open_shelf


def make_world(folder):
    folder.mkdir(parents=True)
    (folder / "world.json").write_text("{}")
    return folder


def test_a_folder_of_worlds_lists_them_and_has_room_for_more(tmp_path):
    """Sorted by name; a photo's world gets its name, and a number when that is taken."""
    b, a = make_world(tmp_path / "b"), make_world(tmp_path / "a")
    (tmp_path / "notes").mkdir()
    shelf = open_shelf(tmp_path)
    assert shelf.many and shelf.worlds() == [a, b]
    assert shelf.room_for("c d.jpg") == tmp_path / "c-d"
    assert shelf.room_for("a.jpg") == tmp_path / "a-2"
    assert shelf.room_for("../../etc.png") == tmp_path / "etc"
    assert shelf.room_for("....") == tmp_path / "world"


def test_a_folder_that_is_missing_or_empty_becomes_the_world(tmp_path):
    """The first photo's world goes there itself."""
    for folder in (tmp_path, tmp_path / "new" / "deeper"):
        shelf = open_shelf(folder)
        assert not shelf.many and shelf.worlds() == [] and shelf.room_for("kitchen.jpg") == folder


def test_what_holds_other_things_is_refused(tmp_path):
    """A file, a folder with somebody's things, and a damaged world are not touched."""
    file = tmp_path / "file"
    file.write_text("")
    things = tmp_path / "things"
    things.mkdir()
    (things / "letter.txt").write_text("")
    for folder in (file, things, make_world(tmp_path / "damaged")):
        with pytest.raises(InputError):
            open_shelf(folder)
