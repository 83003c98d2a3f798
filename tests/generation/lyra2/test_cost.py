"""Formulas of cost against what torch counts."""

from __future__ import annotations

import weakref

import pytest

from lyra.worldgen.core.errors import ConfigError, InputError
from lyra.worldgen.generation.lyra2 import cost
from lyra.worldgen.generation.lyra2.cost import (
    chunk_operations,
    layer_parameters,
    new_parameter_count,
    parameter_bytes,
    parameter_count,
    pass_cost,
    pass_memory,
)
from tiny_lyra2 import TINY, golden_tensors, recorded_inputs, recorded_model

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from lyra.worldgen.generation.lyra2 import transformer  # noqa: E402
from lyra.worldgen.generation.lyra2.transformer import NEW_PARTS, Lyra2Transformer3DModel  # noqa: E402


@pytest.mark.parametrize("case", ["even", "padded"])
def test_operations_equal_what_torch_counts(case):
    """Exactly; torch's counter knows the textbook attention, not the processor's fused one."""
    model, inputs = recorded_model(), recorded_inputs(golden_tensors(f"dit_case_{case}"))
    model.set_attention_kernel("plain")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(**inputs)
    assert pass_cost(model.config, *inputs["latents"].shape[-2:]).total == counter.get_total_flops()


def test_parameters_equal_those_of_the_model():
    """All of them, those of a layer, and those that training adds to Wan 2.1."""
    for options in (TINY, {**TINY, "octaves": 3, "layout": "f2k2f3s4f1s1_g2", "layers": 1, "squeeze_width": 8}):
        model = Lyra2Transformer3DModel(**options)
        sizes = {name: x.numel() for name, x in model.named_parameters()}
        new = sum(n for name, n in sizes.items() if any(part in name for part in NEW_PARTS))
        layer = sum(x.numel() for x in model.blocks[0].parameters())
        assert parameter_count(model.config) == sum(sizes.values())
        assert (new_parameter_count(model.config), layer_parameters(model.config)) == (new, layer)


def test_parameter_bytes_are_what_loading_takes(tmp_path):
    """In bfloat16, with the parts that stay float32."""
    recorded_model().save_pretrained(tmp_path)
    model = Lyra2Transformer3DModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert parameter_bytes(model.config) == sum(x.numel() * x.element_size() for x in model.parameters())


class PeakBytes(TorchDispatchMode):
    """The most bytes that tensors made inside held at once; storages are counted until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor):
                storage = x.untyped_storage()
                key = storage._cdata
                if key not in self._known and key not in given:
                    self._known.add(key)
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._freed, key, storage.nbytes())
        return out

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@pytest.mark.parametrize(("slice_tokens", "ffn_width"), [(64, 512), (8192, 512), (64, 32768)])
def test_memory_is_what_a_pass_holds(slice_tokens, ffn_width, monkeypatch):
    """Sliced and not, with correspondence or the feed-forward part at the top; never much less than what is held."""
    for module in (cost, transformer):
        monkeypatch.setattr(module, "SLICE_TOKENS", slice_tokens)
    options = {**TINY, "width": 512, "heads": 8, "ffn_width": ffn_width, "squeeze_width": 64}
    model = Lyra2Transformer3DModel(**options).eval()
    for x in model.parameters():
        x.data = x.data.to(torch.bfloat16)
    inputs = recorded_inputs(golden_tensors("dit_case_even"))
    inputs = {k: x.repeat(1, 1, 1, 2, 2) if x.ndim == 5 else x[:, :16] if x.ndim == 3 else x for k, x in inputs.items()}
    with torch.inference_mode(False), torch.no_grad(), PeakBytes() as held:
        model(**inputs)
    memory = pass_memory(model.config, 16, 16)
    assert memory.inputs == sum(x.numel() * 4 for x in inputs.values() if x.ndim == 5)
    ratio = (memory.kept + memory.layer_peak) / held.peak
    assert 0.95 < ratio < 1.1, f"{ratio:.2f} of what is held"


def test_released_cost():
    """2.2 PFLOP a pass: more than half of it is attention over 38 246 tokens; 70 passes a guided chunk."""
    with torch.device("meta"):
        config = Lyra2Transformer3DModel(layers=1).config
    released = {**config, "layers": 40}
    one = pass_cost(released, 60, 104)
    assert one.total == pytest.approx(2.184e15, rel=1e-3)
    assert one.layer_attention > one.layer_matrices
    assert chunk_operations(one, 35, guided=True) == 70 * one.total
    assert chunk_operations(one, 4, guided=False) == 4 * one.total
    assert pass_memory(released, 60, 104).total < 8e9


def test_cost_of_impossible_sizes():
    config = {**Lyra2Transformer3DModel(**TINY).config}
    with pytest.raises(InputError, match="latents are 9x8"):
        pass_cost(config, 8, 9)
    with pytest.raises(ConfigError, match="context layout"):
        pass_memory({**config, "layout": "nonsense"}, 8, 8)
