"""Foreign weights by name: where they lie, what they are called, their licences, and what goes wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lyra.worldgen.core.errors import BackendError, ConfigError, DependencyError, InputError
from lyra.worldgen.generation.weights import Weights, find_weights

INDEX = "model_index.json"


def find(value: Path | str, *, download: bool = False) -> Weights:
    return find_weights(str(value), key="models.painter", flag="--painter-model", download=download)


def no_network(hub_id: str) -> str:
    raise ConnectionError(f"no network for {hub_id}")


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return folder


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": "---\nlicense: apache-2.0\n---\n# M"}, "Apache-2.0"),
        ({"README.md": "\ufeff---\r\nlicense: openrail++\r\ntags: [a]\r\n---\r\n"}, "openrail++"),
        ({"README.md": "---\ntags:\n- depth\nlicense: cc-by-nc-4.0 # free for research\n---\n"}, "CC-BY-NC-4.0"),
        ({"README.md": "---\nlicense: 'mit'\n---\n"}, "MIT"),
        ({"README.md": "---\nlicense: other\nlicense_name: flux-1-dev\n---\n"}, "flux-1-dev"),
        ({"README.md": "---\nlicense: [mit, cc-by-4.0]\n---\n"}, "MIT AND CC-BY-4.0"),
        ({"README.md": "---\nlicense: other\n---\n", "LICENSE.md": "# My [dev] Licence\ntext"}, "My [dev] Licence"),
        ({"README.md": "no front matter", "LICENSE": "\n   Apache License\n  Version 2.0"}, "Apache-2.0"),
        ({"README.md": "# Card\nlicense: mit\n"}, "unknown: see m"),
        ({"README.md": "# Card", "LICENSE": "MIT License\n\nCopyright"}, "MIT"),
        ({"LICENSE": "Copyright (c) 2020 A. Person\n\nThe MIT License (MIT)\n"}, "MIT"),
        ({"LICENSE.txt": "Attribution-NonCommercial 4.0 International\n"}, "CC-BY-NC-4.0"),
        ({"LICENSE": "Creative Commons Attribution-NonCommercial-ShareAlike 4.0\n"}, "CC-BY-NC-SA-4.0"),
        ({"LICENSE": "A Company's Research Licence\nYou may look.\n"}, "A Company's Research Licence"),
        ({"LICENSE": "My Terms\nThis is stricter than the MIT License is."}, "My Terms"),
        ({"README.md": "---\n{{{\n---\n"}, "unknown: see m"),
        ({"README.md": ""}, "unknown: see m"),
        ({"LICENSE": "\n\n"}, "unknown: see m"),
        ({}, "unknown: see m"),
    ],
)  # fmt: skip
def test_licence_is_what_the_files_say(tmp_path, files, licence):
    """The card's front matter first, then a licence file's title, else an honest "unknown" without a path."""
    found = find(write(tmp_path / "m", files))
    assert found.licence() == licence
    assert found.name == "m" and found.local_files_only


def test_a_file_stands_in_its_folder(tmp_path):
    """A checkpoint file takes the licence that lies beside it."""
    write(tmp_path, {"README.md": "---\nlicense: mit\n---\n", "model.pt": "x"})
    found = find(tmp_path / "model.pt")
    assert found.licence() == "MIT" and found.name == "model.pt" and found.source == str(tmp_path / "model.pt")


def test_names(tmp_path, monkeypatch):
    """A folder is called by its name, a place in a hub cache by its hub id, wherever it is given from."""
    snapshot = write(tmp_path / "models--org--some-model" / "snapshots" / "0123", {INDEX: "{}"})
    assert find(snapshot).name == find(snapshot / INDEX).name == "org/some-model"
    assert find(write(tmp_path / "models--one" / "snapshots" / "0123", {})).name == "one"
    plain = write(tmp_path / "mine", {INDEX: "{}"})
    assert find(plain).name == "mine"
    monkeypatch.chdir(plain)
    assert find(".").name == "mine"
    monkeypatch.chdir(snapshot)
    assert find(".").name == "org/some-model"


@pytest.mark.parametrize("name", ["org/some-model", "some-model", "_a/b.c"])
def test_a_hub_id_keeps_its_name(name):
    """Nothing on this machine, nothing asked of a network."""
    found = find(name)
    assert found.path is None and found.name == found.source == name and found.local_files_only
    assert found.licence() == f"unknown: see {name}"
    assert not find(name, download=True).local_files_only


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("", ConfigError, r"models\.painter is empty; .* with --painter-model FOLDER"),
        (" ", ConfigError, "is empty"),
        ("/nowhere/at all", InputError, "is a folder that does not exist; check the path: /nowhere/at all"),
        ("./some/model", InputError, "does not exist"),
        ("a/b/c", InputError, "does not exist"),
        ("~nobody-of-that-name/m", ConfigError, "expected a local folder or a hub id"),
        ("x" * 5000 + "/", ConfigError, "expected a local folder or a hub id"),
    ],
)
def test_what_is_no_name(value, error, words):
    """Empty, a path to nothing, and what is neither path nor hub id."""
    with pytest.raises(error, match=words) as caught:
        find(value)
    assert len(str(caught.value)) < 400


def test_the_folder_of_a_model(tmp_path):
    """A folder with the index is taken; a file and a folder without it are told apart."""
    folder = write(tmp_path / "m", {INDEX: "{}"})
    assert find(folder).in_folder(INDEX, fetch=no_network).path == folder
    with pytest.raises(InputError, match="is a file; expected a folder"):
        find(folder / INDEX).in_folder(INDEX, fetch=no_network)
    with pytest.raises(InputError, match=r"holds no model_index\.json"):
        find(tmp_path).in_folder(INDEX, fetch=no_network)


def test_a_hub_id_that_is_not_here(tmp_path):
    """Not fetched unasked; asked, one error says what to look at, and a fetched folder is taken."""
    for look in (lambda w: w.in_folder(INDEX, fetch=no_network), lambda w: w.expect_here(INDEX)):
        with pytest.raises(ConfigError, match=r"not in this machine's hub cache; .*pass --download"):
            look(find("someone/some-model"))
    asked = find("someone/some-model", download=True)
    asked.expect_here(INDEX)
    with pytest.raises(BackendError, match=r"cannot be fetched .*no network.* check the name and the network"):
        asked.in_folder(INDEX, fetch=no_network)
    here = asked.in_folder(INDEX, fetch=lambda hub_id: write(tmp_path / "got", {INDEX: "{}"}))
    assert here.source == str(tmp_path / "got") and here.name == "someone/some-model"


def test_a_cached_model_needs_no_network(tmp_path, monkeypatch):
    """A hub id whose snapshot is cached is found with its licence, and found again when fetching fails."""
    import huggingface_hub.constants

    cache = tmp_path / "models--org--some-model"
    snapshot = write(cache / "snapshots" / "0123", {INDEX: "{}", "README.md": "---\nlicense: mit\n---\n"})
    write(cache / "refs", {"main": "0123"})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for download in (False, True):
        weights = find("org/some-model", download=download)
        weights.expect_here(INDEX)
        assert weights.licence() == "MIT" and weights.path is None
        here = weights.in_folder(INDEX, fetch=no_network)
        assert here.path == snapshot and here.name == "org/some-model" and here.licence() == "MIT"


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [
        (ImportError("X requires the Torchvision library\nbut"), DependencyError, "a package that is missing .*but"),
        (ValueError("No class. Missing optional dependencies: torchvision."), DependencyError, "torchvision"),
        (OSError("no file named\n\nmodel"), BackendError, r"cannot be loaded \(OSError: no file named model\)"),
        (ConfigError("kept"), ConfigError, "^kept$"),
    ],
)
def test_what_goes_wrong_while_loading_is_one_line(tmp_path, raised, error, words):
    """A missing package, damaged files, and our own errors as they are."""
    with pytest.raises(error, match=words) as caught, find(tmp_path).loading():
        raise raised
    assert "\n" not in str(caught.value)


def test_loading_what_had_to_be_fetched():
    """A library that fetches and loads in one go leaves open which of the two failed."""
    with (
        pytest.raises(BackendError, match=r"'org/m' cannot be fetched or loaded .* check the name and the network"),
        find("org/m", download=True).loading(),
    ):
        raise OSError("no")
