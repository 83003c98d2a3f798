"""What a user types leads to world folders in a stated order, or to one error."""

from __future__ import annotations

import json

import pytest

from lyra.worldgen.core.errors import InputError
from lyra_tasks.world_list import find_world_folders


@pytest.fixture
def shelf(tmp_path):
    """Folders b, a and c; c holds no world."""
    for name in "bac":
        (tmp_path / name).mkdir()
        if name != "c":
            (tmp_path / name / "world.json").write_text("{}")
    return tmp_path


def test_folders_and_patterns_are_sorted(shelf):
    """A world, its manifest, a folder of worlds and a pattern."""
    assert find_world_folders(str(shelf / "a")) == [shelf / "a"]
    assert find_world_folders(str(shelf / "a" / "world.json")) == [shelf / "a"]
    assert find_world_folders(str(shelf)) == [shelf / "a", shelf / "b"]
    assert find_world_folders(str(shelf / "[bc]*")) == [shelf / "b"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.json", json.dumps(["b", "a"])),
        ("list.json", json.dumps({"worlds": [{"folder": "b"}, "a"]})),
        ("list.txt", "# best first\nb\n\na  # the other\n"),
        ("list.txt", "[b]*\n[abc]\n"),
    ],
)
def test_lists_keep_their_order(shelf, name, text):
    """Paths in a list are relative to it, patterns are what they match, and nothing is taken twice."""
    (shelf / name).write_text(text)
    assert find_world_folders(str(shelf / name)) == [shelf / "b", shelf / "a"]


def test_a_folder_that_lists_its_worlds_is_that_list(shelf):
    """A batch says which worlds and variants it holds, wherever they lie below it."""
    (shelf / "c" / "variant_000").mkdir()
    (shelf / "c" / "variant_000" / "world.json").write_text("{}")
    (shelf / "worlds.json").write_text(json.dumps({"worlds": [{"folder": "c/variant_000"}, {"folder": "a"}]}))
    assert find_world_folders(str(shelf)) == [shelf / "c" / "variant_000", shelf / "a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "lists 1"),
        ("{}", "lists None"),
        ("[", "no JSON"),
        ('["c"]', "no world.json"),
        ("[]", "lists no world"),
        ('["x*"]', "matches no world"),
    ],
)
def test_bad_lists_are_named(shelf, text, said):
    """One error with the file's path."""
    (shelf / "list.json").write_text(text)
    with pytest.raises(InputError, match=said):
        find_world_folders(str(shelf / "list.json"))


@pytest.mark.parametrize("where", ["", "c", "nowhere", "x*"])
def test_nothing_found_is_an_error(shelf, where):
    """No world is never an empty list."""
    with pytest.raises(InputError, match=r"env\.worlds|holds no world"):
        find_world_folders(str(shelf / where) if where else where)
