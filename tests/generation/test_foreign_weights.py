"""Weights found by name, and their licences as their own files state them."""

from __future__ import annotations

import pytest

from lyra.worldgen.generation.foreign_weights import find_weights


def weights(name: str):
    return find_weights(name, key="models.depth", flag="--depth-model", download=False)


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": "---\nlicense: apache-2.0\n---\n# Card"}, "Apache-2.0"),
        ({"README.md": "---\ntags:\n- depth\nlicense: cc-by-nc-4.0 # free for research\n---\n"}, "CC-BY-NC-4.0"),
        ({"README.md": "---\nlicense: other\nlicense_name: apple-amlr\n---\n"}, "apple-amlr"),
        ({"README.md": "---\nlicense: 'mit'\n---\n"}, "MIT"),
        ({"README.md": "# Card\nlicense: mit\n"}, "unknown: see weights"),
        ({"README.md": "# Card", "LICENSE": "MIT License\n\nCopyright"}, "MIT"),
        ({"LICENSE": "\n   Apache License\n   Version 2.0, January 2004\n"}, "Apache-2.0"),
        ({"LICENSE.txt": "Attribution-NonCommercial 4.0 International\n"}, "CC-BY-NC-4.0"),
        ({"LICENSE": "A Company's Research Licence\nYou may look.\n"}, "A Company's Research Licence"),
        ({}, "unknown: see weights"),
        ({"README.md": ""}, "unknown: see weights"),
    ],
)
def test_licence_is_what_the_files_say(tmp_path, files, licence):
    """Model card first, then LICENSE, else unknown with the model's name and no path."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    found = weights(str(folder))
    assert found.licence() == licence
    assert found.model == "weights" and found.local_files_only


def test_a_file_stands_in_its_folder(tmp_path):
    """A checkpoint file takes the licence that lies beside it."""
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "model.pt").write_bytes(b"x")
    found = weights(str(tmp_path / "model.pt"))
    assert found.licence() == "MIT" and found.model == "model.pt"


def test_a_hub_id_keeps_its_name():
    """Nothing on this machine, nothing asked of a network."""
    found = weights("org/some-model")
    assert found.path is None and found.model == "org/some-model" and found.local_files_only
    assert found.licence() == "unknown: see org/some-model"
