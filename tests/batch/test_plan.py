"""A batch file is read strictly and always means the same worlds."""

from __future__ import annotations

from pathlib import Path

import pytest

from lyra.worldgen.batch import load_plan
from lyra.worldgen.core.errors import ConfigError, InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.png", "notes.txt"):
        (tmp_path / "photos" / name).write_bytes(b"photo " + name.encode())
    (tmp_path / "photos" / "copy_of_a.jpg").write_bytes(b"photo a.jpg")
    return tmp_path


def plan(folder: Path, text: str, **overrides):
    path = folder / "batch.yaml"
    path.write_text(text)
    return load_plan(path, overrides)


FULL = """
title: two kitchens
photos: [photos]
photo_licence: {a.jpg: CC0-1.0, "": CC-BY-4.0}
set: {reconstruction.texture_px: 512}
seeds: [0-2, 7, 1]
paths: [auto, turn]
variations:
  plain: {}
  narrow: {simulation.robot_radius_m: 0.18}
"""


def test_every_combination_is_one_world(folder):
    """Photos count by content, seeds once; names differ and settings arrive."""
    made = plan(folder, FULL)
    assert len(made.items) == 2 * 4 * 2 * 2 == len({item.name for item in made.items})
    assert {item.photo.name for item in made.items} == {"a.jpg", "b.png"}
    assert {item.photo_licence for item in made.items if item.photo.name == "a.jpg"} == {"CC0-1.0"}
    assert {item.photo_licence for item in made.items if item.photo.name == "b.png"} == {"CC-BY-4.0"}
    assert {item.config.reconstruction.texture_px for item in made.items} == {512}
    narrow = [item for item in made.items if item.axes["variation"] == "narrow"]
    assert {item.config.simulation.robot_radius_m for item in narrow} == {0.18}
    assert all(item.name.startswith("a-s") or item.name.startswith("b-s") for item in made.items)


def test_the_same_file_means_the_same_worlds_and_a_longer_one_keeps_them(folder):
    """Names follow from photo and settings alone, not from the place of a world in the list."""
    names = [item.name for item in plan(folder, FULL).items]
    assert names == [item.name for item in plan(folder, FULL).items]
    longer = plan(folder, FULL.replace("7, 1", "7, 1, 99"))
    assert set(names) < {item.name for item in longer.items}
    changed = plan(folder, FULL, **{"reconstruction.texture_px": 1024})
    assert not set(names) & {item.name for item in changed.items}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("photo: [photos]", "did you mean 'photos'"),
        ("photos: [nowhere/*.jpg]", "nothing is found"),
        ("photos: []", "photos is"),
        ("title: x", "photos is missing"),
        ("photos: [photos]\nphoto_licence: {a.jpeg: MIT}", "none of the photos, did you mean 'a.jpg'"),
        ("photos: [photos]\nseeds: [3-1]", "range that grows"),
        ("photos: [photos]\nseeds: [-1]", "whole numbers"),
        ("photos: [photos]\nseeds: [0-99999999]", "at most"),
        ("photos: [photos]\nset: {reconstruction.texture: 3}", "texture_px"),
        ("photos: [photos]\nset: {seed: 3}", "give it under seeds"),
        ("photos: [photos]\nvariations: {a: {nothing.here: 1}}", "variation 'a'"),
        ("photos: [photos]\nvariations: []", "names with settings"),
        ("photos: [photos]\nattempts: 0", "from 1 to 20"),
        ("photos: [photos]\nvary: 3", "a mapping"),
        ("photos: [photos]\nvary: {coutn: 3}", "did you mean 'count'"),
        ("photos: [photos]\nvary: {count: 0}", "vary.count is"),
        ("photos: [photos]\nvary: {seed: x}", "vary.seed is"),
        ("photos: [photos]\nvary: {config: nowhere.yaml}", "nowhere.yaml"),
        ("photos: [photos]\nvary: {set: {light.dom: [1, 2]}}", "dome"),
        ("photos: [photos]\nvary: {certify: 3}", "true or false"),
        ("photos: [photos]\nphoto_licence: 3", "a licence"),
        ("photos: [photos]\npaths: {a: 1}", "paths is"),
        ("- photos", "expected sections"),
        ("photos: [photos]\nphotos: [photos]", "stands twice"),
    ],
)
def test_mistakes_are_named(folder, text, says):
    """Each message holds the key and what is expected, and ends with the file."""
    with pytest.raises((ConfigError, InputError), match=says):
        plan(folder, text)
