"""Files of foreign weights: sizes, variants and missing pieces, without loading anything."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from lyra.worldgen.core.errors import BackendError, InputError
from lyra.worldgen.generation.weights_files import (
    expect_whole_pipeline,
    model_size,
    pipeline_size,
    pipeline_variant,
    weight_files,
)


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


def test_size_of_a_model_that_is_no_pipeline(tmp_path):
    """A folder of one part or a single file; nothing is guessed where no file says it, and damage is reported."""
    assert model_size(tmp_path) is None and model_size(tmp_path / "nowhere") is None
    file = tmp_path / "model.safetensors"
    save_file({"a": np.zeros((30, 2), np.float16), "b": np.zeros(5, np.float32)}, file)
    for place in (tmp_path, file):
        size = model_size(place)
        assert size is not None and (size.parameters, size.largest_part) == (65, 65)
    (tmp_path / "model.pt").write_bytes(b"x" * 100)
    checkpoint = model_size(tmp_path / "model.pt")
    assert checkpoint is not None and checkpoint.parameters == 50
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BackendError, match="a weights file is damaged"):
        model_size(tmp_path)
