"""Foreign weights on disk: names, sizes, licences, without loading anything."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.generation.weights import (
    expect_whole_pipeline,
    find_weights,
    pipeline_size,
    pipeline_variant,
    read_licence,
    weight_files,
)


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": "---\nlicense: apache-2.0\n---\n# M"}, "Apache-2.0"),
        ({"README.md": "\ufeff---\r\nlicense: openrail++\r\ntags: [a]\r\n---\r\n"}, "openrail++"),
        ({"README.md": "---\nlicense: other\nlicense_name: flux-1-dev\n---\n"}, "flux-1-dev"),
        ({"README.md": "---\nlicense: [mit, cc-by-4.0]\n---\n"}, "MIT AND CC-BY-4.0"),
        ({"README.md": "---\nlicense: other\n---\n", "LICENSE.md": "# My [dev] Licence\ntext"}, "My [dev] Licence"),
        ({"README.md": "no front matter", "LICENSE": "\n   Apache License\n  Version 2.0"}, "Apache-2.0"),
        ({"README.md": "---\n{{{\n---\n"}, "unknown: see m"),
        ({"LICENSE": "\n\n"}, "unknown: see m"),
        ({}, "unknown: see m"),
    ],
)  # fmt: skip
def test_licences(tmp_path, files, licence):
    """The card's front matter first, then a licence file's title, else an honest "unknown"."""
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode())
    assert read_licence(tmp_path, "m") == licence


def test_size_counts_numbers_not_bytes(tmp_path):
    """Half and full precision files of the same network are the same size; variants are not counted twice."""
    index = (
        '{"_class_name": "X", "unet": ["diffusers", "U"], "vae": ["diffusers", "V"], "mode": "a", "no": [null, null]}'
    )
    (tmp_path / "model_index.json").write_text(index)
    for part, count, dtype in (("unet", 600, np.float16), ("vae", 100, np.float32)):
        (tmp_path / part).mkdir()
        save_file({"a": np.zeros((count, 2), dtype)}, tmp_path / part / "diffusion_pytorch_model.safetensors")
    save_file({"a": np.zeros(9)}, tmp_path / "unet" / "diffusion_pytorch_model.non_ema.safetensors")
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    size = pipeline_size(tmp_path)
    assert (size.parameters, size.largest_part) == (1400, 1200)
    assert pipeline_variant(tmp_path) is None
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").rename(
        tmp_path / "vae" / "diffusion_pytorch_model.fp16-00001-of-00001.safetensors"
    )
    assert pipeline_variant(tmp_path) == "fp16"
    (tmp_path / "vae" / "diffusion_pytorch_model.fp16-00001-of-00001.safetensors").unlink()
    assert weight_files(tmp_path / "vae") == []


def test_a_missing_shard_is_named(tmp_path):
    """Large weights come in pieces; a list that names one that is not there is found before loading."""
    (tmp_path / "model_index.json").write_text('{"_class_name": "X", "unet": ["diffusers", "U"]}')
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}')
    with pytest.raises(InputError, match=r"part 'unet' lacks model-2\.safetensors"):
        expect_whole_pipeline(tmp_path)


def find(value: str, **options):
    def fetch(hub_id):
        raise ConnectionError(f"no network for {hub_id}")

    return find_weights(
        "models.painter", value, index_name="model_index.json", fetch=fetch, **({"download": False} | options)
    )


def test_names(tmp_path, monkeypatch):
    """A folder is called by its name, a snapshot in a hub cache by its hub id, wherever it is given from."""
    folder = tmp_path / "models--org--some-model" / "snapshots" / "0123"
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    assert find(str(folder)).name == "org/some-model"
    plain = tmp_path / "mine"
    plain.mkdir()
    (plain / "model_index.json").write_text("{}")
    assert find(str(plain)).name == "mine"
    monkeypatch.chdir(plain)
    assert find(".").name == "mine"
    with pytest.raises(InputError, match="is a file; expected a folder"):
        find(str(plain / "model_index.json"))


def test_a_cached_model_needs_no_network(tmp_path, monkeypatch):
    """A hub id whose snapshot is cached is found, and found again when fetching fails."""
    import huggingface_hub.constants

    snapshot = tmp_path / "models--org--some-model" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    (tmp_path / "models--org--some-model" / "refs").mkdir()
    (tmp_path / "models--org--some-model" / "refs" / "main").write_text("0123")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for download in (False, True):
        weights = find("org/some-model", download=download)
        assert weights.folder == snapshot and weights.name == "org/some-model"
