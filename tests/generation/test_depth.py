"""How depth models are held: whole, in full precision, by their size where it can be read."""

from __future__ import annotations

import numpy as np
import pytest

from lyra.worldgen.core.config import ModelsConfig
from lyra.worldgen.core.errors import BackendError, ConfigError, DependencyError
from lyra.worldgen.generation import depth
from lyra.worldgen.generation.depth import load_model, plan_depth
from lyra.worldgen.generation.residency import GIB, MachineMemory
from lyra.worldgen.generation.weights import Weights, find_weights
from lyra.worldgen.generation.weights_files import WeightsSize

# One test process loads the libraries, not each.
pytestmark = [pytest.mark.usefixtures("model_libraries"), pytest.mark.xdist_group("models")]

BILLION = 10**9


def weights(name: object = "org/model") -> Weights:
    return find_weights(str(name), key="models.depth", flag="--depth-model", download=True)


@pytest.fixture
def on(monkeypatch):
    """Puts the plan onto a machine of so much memory with a model of so many parameters."""

    def put(parameters: float | None, *, ram_gib: float = 32, gpu_gib: float = 0) -> None:
        memory = MachineMemory(ram_bytes=int(ram_gib * GIB), gpu_bytes=int(gpu_gib * GIB), bfloat16=True)
        size = None if parameters is None else WeightsSize(parameters=int(parameters), largest_part=int(parameters))
        monkeypatch.setattr(depth, "this_machine", lambda: memory)
        monkeypatch.setattr(depth, "_size_of", lambda *_: size)

    return put


@pytest.mark.parametrize(
    ("parameters", "memory", "settings", "plan"),
    [
        (BILLION, {}, {}, ("cpu", "float32")),
        (BILLION, {"gpu_gib": 24}, {}, ("cuda", "float32")),
        (BILLION, {"gpu_gib": 24}, {"dtype": "float16"}, ("cuda", "float16")),
        (BILLION, {"gpu_gib": 24}, {"device": "cpu"}, ("cpu", "float32")),
        (BILLION, {"gpu_gib": 24}, {"offload": "layers"}, ("cuda", "float32")),
        (BILLION, {"gpu_gib": 2}, {}, ("cpu", "float32")),
        (BILLION, {"gpu_gib": 2}, {"device": "cuda"}, ("cuda", "float32")),
        (BILLION, {}, {"dtype": "bfloat16"}, ("cpu", "bfloat16")),
        (BILLION / 40, {"ram_gib": 1}, {}, ("cpu", "float32")),
        (None, {"ram_gib": 0.1}, {}, ("cpu", "float32")),
        (None, {"gpu_gib": 0.5}, {}, ("cuda", "float32")),
        (None, {"gpu_gib": 0.5}, {"device": "cpu"}, ("cpu", "float32")),
    ],
)
def test_the_plan_of_a_depth_model(on, parameters, memory, settings, plan):
    """Never in parts, in full precision unless told otherwise; an unknown size counts as one that fits."""
    on(parameters, **memory)
    found = plan_depth(weights(), ModelsConfig(**settings))
    assert (found.device, found.dtype, found.offload) == (*plan, "none")
    assert ("unknown size" in found.why) == (parameters is None)


@pytest.mark.parametrize(
    ("memory", "settings", "error", "words"),
    [
        ({"ram_gib": 3}, {}, BackendError, "3.7 GiB in float32 and 0.5 GiB to work with"),
        ({}, {"device": "cuda"}, ConfigError, "torch sees no CUDA device"),
        ({}, {"dtype": "float16"}, ConfigError, "has to run on the CPU"),
    ],
)
def test_what_cannot_be_held_is_refused(on, memory, settings, error, words):
    """The same words as for every other model."""
    on(BILLION, **memory)
    with pytest.raises(error, match=words):
        plan_depth(weights(), ModelsConfig(**settings))


def test_sizes_are_read_where_the_model_lies(tmp_path, monkeypatch):
    """A folder, a checkpoint in a folder, a file, a snapshot in the hub cache; damaged files say nothing."""
    import huggingface_hub.constants
    from safetensors.numpy import save_file

    def gib_in(name: object, filename: str = "config.json") -> str:
        return plan_depth(weights(name), ModelsConfig(device="cpu"), filename=filename).why.partition(" GiB")[0]

    cache = tmp_path / "models--org--model"
    snapshot = cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    save_file({"a": np.zeros(2**26, np.int8)}, snapshot / "model.safetensors")
    (snapshot / "config.json").write_text("{}")
    with open(snapshot / "model.pt", "wb") as file:
        file.truncate(2**28)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for name in (snapshot, "org/model"):
        assert gib_in(name) == "0.2" and gib_in(name, "model.pt") == "0.5"
    assert gib_in(snapshot / "model.pt", "model.pt") == "0.5"
    assert "unknown size" in gib_in("org/other")
    (snapshot / "model.safetensors").write_bytes(b"x")
    assert "unknown size" in gib_in(snapshot)


def test_running_out_of_memory_while_loading_says_what_helps(tmp_path):
    """The remedy is that of depth models, and missing packages are told apart."""

    def full(dtype):
        raise MemoryError

    def bare(dtype):
        raise ImportError("no timm")

    with pytest.raises(BackendError, match=r"while it was loaded .*lower geometry\.working_long_side_px"):
        load_model(weights(tmp_path), ModelsConfig(), full)
    with pytest.raises(DependencyError, match="no timm"):
        load_model(weights(tmp_path), ModelsConfig(), bare)
