"""Adapters folded into the network: every way that files spell them, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.generation.lyra2.lora import Adapter, AdapterFile, fold_into, folded, open_adapter
from tiny_lyra2 import TINY

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

RANK = 4
MODULES = (
    "blocks.0.self_attn.q", "blocks.1.self_attn.o", "blocks.0.cross_attn.k_img", "blocks.1.ffn.0", "blocks.1.ffn.2",
    "blocks.0.cam_encoder", "blocks.0.buffer_encoder.0", "blocks.0.buffer_encoder.1", "time_projection.1", "head.head",
    "text_embedding.0", "time_embedding.2", "patch_embedding", "clean_patch_embeddings.3", "img_emb.proj.1",
    "img_emb.proj.3",
)  # fmt: skip
"""One of each kind of layer that adapters change."""


@pytest.fixture(scope="module")
def model():
    from lyra.worldgen.generation.lyra2.transformer import Lyra2Transformer3DModel

    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Lyra2Transformer3DModel(**TINY).eval()


@pytest.fixture(scope="module")
def shapes(model) -> dict:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def halves(shapes: dict, module: str, seed: int = 0) -> tuple:
    generator = torch.Generator().manual_seed(seed)
    rows, columns = shapes[f"{module}.weight"]
    return torch.randn(RANK, columns, generator=generator), torch.randn(rows, RANK, generator=generator)


def write(folder: Path, tensors: dict, name: str = "x") -> Path:
    from safetensors.torch import save_file

    save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def opened(path: Path, shapes: dict, factor: float = 1.0) -> Adapter:
    return open_adapter(AdapterFile(path=path, factor=factor), shapes)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "net.", "lora_unet_"])
@pytest.mark.parametrize("names", [("lora_A", "lora_B"), ("lora_down", "lora_up")])
def test_every_spelling_changes_its_layer(module, prefix, names, shapes, tmp_path):
    """Up times down is added to the layer that the key names, in each spelling of it."""
    down, up = halves(shapes, module)
    spelt = prefix + (module.replace(".", "_") if prefix.endswith("_") else module)
    path = write(tmp_path, {f"{spelt}.{names[0]}.weight": down, f"{spelt}.{names[1]}.weight": up})
    adapter = opened(path, shapes, 0.5)
    assert list(adapter.changes) == [f"{module}.weight"]
    torch.testing.assert_close(adapter.change_of(f"{module}.weight"), 0.5 * up @ down)


def test_alpha_over_rank_scales(shapes, tmp_path):
    """Alpha counts against the rank; without it the two are equal."""
    down, up = halves(shapes, "head.head")
    tensors = {"head.head.lora_A.weight": down, "head.head.lora_B.weight": up, "head.head.alpha": torch.tensor(1.0)}
    torch.testing.assert_close(opened(write(tmp_path, tensors), shapes).change_of("head.head.weight"), up @ down / RANK)


def test_biases_and_whole_tensors(shapes, tmp_path):
    """`diff_b` is added to the bias, `.diff` to the weight, unless their magnitudes span next to nothing."""
    bias = torch.linspace(-1, 1, 64)
    tensors = {
        "blocks.0.self_attn.q.diff_b": bias,
        "blocks.0.norm3.diff": torch.linspace(0, 0.5, 64),
        "blocks.1.norm3.diff": torch.linspace(0, 0.01, 64),
        "blocks.1.self_attn.q.diff_b": torch.linspace(-0.015, 0.015, 64),
    }
    adapter = opened(write(tmp_path, tensors), shapes, 2.0)
    torch.testing.assert_close(adapter.change_of("blocks.0.self_attn.q.bias"), 2 * bias)
    torch.testing.assert_close(adapter.change_of("blocks.0.norm3.weight"), torch.linspace(0, 1, 64))
    assert adapter.dropped == ("blocks.1.norm3.diff", "blocks.1.self_attn.q.diff_b")
    assert adapter.change_of("blocks.1.norm3.weight") is None


def small(shapes: dict, seed: int) -> dict:
    tensors = {}
    for i, module in enumerate(MODULES):
        down, up = halves(shapes, module, 100 * seed + i)
        tensors |= {f"{module}.lora_A.weight": 0.1 * down, f"{module}.lora_B.weight": 0.1 * up}
    return tensors


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=3))
def test_folding_and_unfolding_returns_the_weights(model, shapes, tmp_path_factory, factors):
    """Several adapters add up, and the same with the sign turned gives the weights back within float error."""
    folder = tmp_path_factory.mktemp("adapters")
    paths = [write(folder, small(shapes, i), f"a{i}") for i in range(len(factors))]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    there = [opened(path, shapes, factor) for path, factor in zip(paths, factors, strict=True)]
    back = [opened(path, shapes, -factor) for path, factor in zip(paths, factors, strict=True)]
    assert fold_into(model, there) == len(MODULES)
    for name in ("blocks.0.self_attn.q.weight", "head.head.weight"):
        expected = before[name] + sum(adapter.change_of(name) for adapter in there)
        torch.testing.assert_close(model.state_dict()[name], expected, atol=1e-6, rtol=1e-6)
    fold_into(model, back)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], atol=1e-6, rtol=0)


def test_folding_one_tensor_keeps_its_type_and_leaves_others_alone(shapes, tmp_path):
    """As a loader folds: one tensor, rounded once to its own type; what no adapter names is the same object."""
    adapter = opened(write(tmp_path, small(shapes, 1)), shapes, 0.4)
    weight = torch.randn(shapes["patch_embedding.weight"], generator=torch.Generator().manual_seed(0)).bfloat16()
    result = folded("patch_embedding.weight", weight, [adapter])
    expected = weight.float() + adapter.change_of("patch_embedding.weight")
    assert result.dtype == torch.bfloat16 and torch.equal(result, expected.bfloat16())
    untouched = torch.ones(64)
    assert folded("blocks.0.norm3.weight", untouched, [adapter]) is untouched


def test_a_model_without_numbers_is_refused(shapes, tmp_path):
    """Parameters that are elsewhere cannot be folded into; the first one is named."""
    from lyra.worldgen.generation.lyra2.transformer import Lyra2Transformer3DModel

    with torch.device("meta"):
        empty = Lyra2Transformer3DModel(**TINY)
    adapter = opened(write(tmp_path, small(shapes, 1)), shapes)
    with pytest.raises(InputError, match="is not in memory; fold adapters in before"):
        fold_into(empty, [adapter])


A, B = torch.ones(RANK, 64), torch.ones(64, RANK)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"blocks.0.self_attn.q.hada_w1": A}, r"unknown key 'blocks\.0\.self_attn\.q\.hada_w1'"),
        ({"blocks.9.self_attn.q.lora_A.weight": A}, r"no 'blocks\.9\.self_attn\.q\.weight'"),
        ({"lora_unet_blocks_0_attn1_to_q.lora_down.weight": A}, "no 'lora_unet_blocks_0_attn1_to_q"),
        ({"blocks.0.cam_encoder.diff_b": torch.ones(64)}, r"no 'blocks\.0\.cam_encoder\.bias'"),
        ({"blocks.0.self_attn.q.lora_A.weight": A}, "lacks its other half"),
        ({"blocks.0.self_attn.q.alpha": torch.ones(())}, "lacks its other half"),
        (
            {"blocks.0.self_attn.q.lora_A.weight": A, "blocks.0.self_attn.q.lora_B.weight": B[:, :3]},
            r"lora_B\.weight' has shape \(64, 3\), expected \(64, 4\)",
        ),
        (
            {"blocks.0.self_attn.q.lora_A.weight": A, "net.blocks.0.self_attn.q.lora_A.weight": A},
            "is there twice",
        ),
        ({"blocks.0.norm3.diff": torch.ones(3)}, r"norm3\.diff' has shape \(3,\), expected \(64,\)"),
        ({"blocks.0.norm3.diff": torch.ones(64, dtype=torch.int32)}, "number type int32"),
    ],
)
def test_adapters_that_do_not_fit_name_their_key(tensors, words, shapes, tmp_path):
    """Nothing is skipped silently."""
    with pytest.raises(InputError, match=words):
        opened(write(tmp_path, tensors), shapes)


def test_numbers_that_are_none_are_named(shapes, tmp_path):
    """NaN in an adapter never reaches the weights."""
    down, up = halves(shapes, "head.head")
    path = write(tmp_path, {"head.head.lora_A.weight": down * float("nan"), "head.head.lora_B.weight": up})
    with pytest.raises(InputError, match=r"'head\.head\.lora_A\.weight' holds NaN"):
        opened(path, shapes).change_of("head.head.weight")
    with pytest.raises(InputError, match="factor of an adapter is nan"):
        opened(path, shapes, float("nan"))
