"""What a variant may say about its base: hostile paths are refused, and only the world that was meant is read."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.base_world import BaseRecord, base_from_json, base_to_json, expect_base_path
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.files import write_json
from lyra.worldgen.core.manifest import VARY, Manifest, PhotoRecord, StageRecord, manifest_from_json, manifest_to_json
from lyra.worldgen.core.world import load_world, locate
from lyra.worldgen.core.world_writer import open_for_writing

PHOTO = PhotoRecord(name="room.png", sha256="0" * 64, size_px=(4, 4))
HEX = "ab" * 32


def write_own(folder: Path, **files: str) -> Manifest:
    """A world of its own with files of given content; `__` in a name is a slash."""
    with open_for_writing(folder) as writer:
        writer.start(Manifest(generator="test", photo=PHOTO, config={"seed": 1}, plan=("simulate",)))
        with writer.stage("simulate", inputs="0") as notes:
            for name, text in files.items():
                path = notes.folder / name.replace("__", "/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return writer.manifest


def write_variant(folder: Path, base: Manifest, *, path: str, hidden: tuple[str, ...] = (), **facts) -> None:
    """The manifest of a variant without files of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    record = BaseRecord(path=path, id=base.id, sha256=base.content_sha256, hidden=hidden)
    stages = {VARY: StageRecord(inputs="0", facts=facts)}
    manifest = Manifest(
        generator="test", photo=PHOTO, config={"seed": 1}, plan=(VARY, "certify"), stages=stages, base=record
    )
    write_json(folder / "world.json", manifest_to_json(manifest))


@pytest.fixture
def place(tmp_path) -> Path:
    """A world `room` and a variant of it."""
    base = write_own(tmp_path / "room", a="one", payloads__b="two", certificate="three")
    write_variant(tmp_path / "variants" / "v", base, path="../../room", hidden=("certificate", "memory/"))
    return tmp_path


def test_what_is_missing_comes_from_the_base(place):
    """A file of the base is lent unless it is hidden; what nobody lists is not there."""
    variant = load_world(place / "variants" / "v")
    assert variant.has("a") and variant.path("payloads/b").read_text() == "two"
    assert locate(variant.folder, "a").read_text() == "one"
    assert not variant.has("certificate") and not locate(variant.folder, "certificate").exists()
    with pytest.raises(InputError, match="has no file 'certificate'"):
        variant.path("certificate")
    (place / "room" / "stranger").write_text("unlisted")
    assert not variant.has("stranger") and not locate(variant.folder, "stranger").exists()
    assert variant.check_files().ok


def test_ids_follow_from_base_and_draw(place):
    """Variants of one world have ids of their own, which the files do not decide."""
    base = load_world(place / "room").manifest
    write_variant(place / "variants" / "w", base, path="../../room", index=1)
    ids = {base.id, *(load_world(place / "variants" / name).manifest.id for name in "vw")}
    assert len(ids) == 3


def test_a_changed_base_is_noticed(place):
    """Another content by its manifest, another size on the disk, or no base at all: a clear error each."""
    variant = place / "variants" / "v"
    (place / "room" / "a").write_text("longer than before")
    with pytest.raises(InputError, match="'a' of the world that this is a variant of has changed"):
        load_world(variant).path("a")
    write_own(place / "other", a="another")
    os.replace(place / "room", place / "gone")
    with pytest.raises(InputError, match=r"is not at '\.\./\.\./room'; put it back"):
        load_world(variant).has("a")
    assert [f.code for f in load_world(variant).check_files()] == ["world.base"]
    os.replace(place / "other", place / "room")
    for ask in (lambda: load_world(variant).path("a"), lambda: locate(variant, "a")):
        with pytest.raises(InputError, match="has changed since this variant of it was made"):
            ask()


def test_a_certificate_does_not_change_a_base(place):
    """Measuring or drawing a world again leaves its variants alone."""
    with open_for_writing(place / "room") as writer, writer.stage("certify", inputs="1") as notes:
        (notes.folder / "certificate.json").write_text("{}")
    assert load_world(place / "variants" / "v").path("a").read_text() == "one"


HOSTILE = [
    "", ".", "..", "../..", "../../..", "/etc", "//etc", "~/worlds", "../room/../../etc", "room/..", "./room",
    "../room/", "..\\room", "C:/room", "../a\0b", "../a\nb", "../" * 17 + "room", "x" * 1001,
    None, 7, ["../room"], "../*",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_paths_are_refused(place, path):
    """Absolute, pointing nowhere, stepping back and forth, or no text: the manifest is not read."""
    file = place / "variants" / "v" / "world.json"
    plain = json.loads(file.read_text())
    plain["base"]["path"] = path
    file.write_text(json.dumps(plain))
    with pytest.raises(InputError, match=r"base\.path is"):
        load_world(file.parent)
    with pytest.raises(InputError, match=r"base\.path is"):
        locate(file.parent, "a")


@given(st.text(alphabet="./\\~ab\0:*", max_size=24))
def test_any_path_is_relative_and_ends_in_a_name(text):
    """Whatever passes is some steps up and then names, so it cannot be absolute or come back out of a folder."""
    try:
        parts = expect_base_path(text).split("/")
    except InputError:
        return
    ups = [i for i, part in enumerate(parts) if part == ".."]
    assert ups == list(range(len(ups))) and len(ups) < len(parts)
    assert not text.startswith(("/", "~")) and "\\" not in text and ":" not in text


def test_loops_and_chains_are_refused(place):
    """A variant of itself, of a folder in itself, and of another variant."""
    base = load_world(place / "room").manifest
    for path in ("../v", "inner"):
        write_variant(place / "variants" / "v", base, path=path)
        with pytest.raises(InputError, match="which is the variant itself"):
            load_world(place / "variants" / "v").has("a")
    write_variant(place / "variants" / "v", base, path="../../room")
    write_variant(place / "variants" / "w", base, path="../v")
    write_variant(place / "variants" / "v", base, path="../w")
    for name in "vw":
        with pytest.raises(InputError, match="is a variant itself"):
            load_world(place / "variants" / name).has("a")


def test_links_do_not_lead_out_of_the_base(place):
    """A listed file that was replaced by a link to elsewhere is not read through a variant either."""
    secret = place / "secret"
    secret.write_text("one")
    (place / "room" / "a").unlink()
    (place / "room" / "a").symlink_to(secret)
    with pytest.raises(InputError, match="leads out of the world folder"):
        load_world(place / "variants" / "v").path("a")


@given(st.data())
def test_any_base_is_refused_or_kept(data):
    """Whatever stands in `base`, reading gives a manifest that says the same, or an `InputError`."""
    junk = st.sampled_from([None, True, 0, "x", "..", [], {}, ["a"], [1], HEX, HEX[:16], "../room", HEX.upper()])
    keys = ("path", "id", "sha256", "hidden", "mirrored")
    plain = data.draw(st.one_of(junk, st.fixed_dictionaries({}, optional=dict.fromkeys(keys, junk))))
    try:
        record = base_from_json(plain)
    except InputError:
        return
    assert base_from_json(base_to_json(record)) == record


def test_worlds_of_their_own_say_nothing_about_a_base(place):
    """Their manifests are what they were before there were variants."""
    manifest = load_world(place / "room").manifest
    plain = manifest_to_json(manifest)
    assert "base" not in plain and manifest_from_json(plain) == manifest
    assert replace(manifest, base=None).id == manifest.id
