"""What holds of the network for any weights: sizes and names of the release, saving, training, context."""

from __future__ import annotations

import pytest

from lyra.worldgen.core.errors import ConfigError, InputError
from tiny_lyra2 import TINY, golden_tensors, recorded_inputs, recorded_model

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from lyra.worldgen.generation.lyra2 import transformer  # noqa: E402
from lyra.worldgen.generation.lyra2.token_grid import fold, token_count  # noqa: E402
from lyra.worldgen.generation.lyra2.transformer import NEW_PARTS, Lyra2Transformer3DModel  # noqa: E402

LAYOUTS = [TINY["layout"], "f1s1_g1", "f3k2f2s4_g3", "f1k1f4s2f1s1f16k4f2k2f1k1_g20"]


@pytest.fixture(scope="module")
def model():
    return recorded_model()


@pytest.fixture(scope="module")
def inputs():
    return recorded_inputs(golden_tensors("dit_case_even"))


def random_inputs(model, h: int, w: int, *, texts: int = 3, images: int = 2) -> dict:
    """Inputs of any layout, on the model's device."""
    config, positions = model.config, model.context.total_latents
    channels = config.mask_channels + config.latent_channels + config.ray_channels
    shapes = {
        "latents": (1, config.latent_channels, positions, h, w),
        "cond": (1, channels, positions, h, w),
        "buffer": (1, model.map_channels, positions, h, w),
        "text": (1, texts, config.text_width),
        "image": (1, images, config.image_width),
    }
    if model.device.type == "meta":
        draw = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    else:
        generator = torch.Generator().manual_seed(0)
        draw = {name: torch.randn(shape, generator=generator).tanh() for name, shape in shapes.items()}
    valid = torch.ones(positions, dtype=torch.bool, device=model.device)
    return {**draw, "buffer_valid": valid, "timestep": torch.full((1,), 500, device=model.device)}


def seeded(layout: str, **options):
    """A tiny network of a layout, the same every time, without touching the global generator's state for others."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Lyra2Transformer3DModel(**{**TINY, "layout": layout, **options})


def released_shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the released 14B weights, as our notes list them (3.7)."""
    d, f = 5120, 13824
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name, out, inward, bias=True):
        shapes[f"{name}.weight"] = (out, inward)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    linear("patch_embedding", d, 144)
    linear("text_embedding.0", d, 4096)
    linear("text_embedding.2", d, d)
    linear("time_embedding.0", d, 256)
    linear("time_embedding.2", d, d)
    linear("time_projection.1", 30720, d)
    shapes["head.modulation"] = (1, 2, d)
    linear("head.head", 64, d)
    for i, width in ((0, 1280), (4, d)):
        shapes[f"img_emb.proj.{i}.weight"] = shapes[f"img_emb.proj.{i}.bias"] = (width,)
    linear("img_emb.proj.1", 1280, 1280)
    linear("img_emb.proj.3", d, 1280)
    for i, width in enumerate((144, 576, 144, 9216, 1152, 144)):
        linear(f"clean_patch_embeddings.{i}", d, width)
    for i in range(layers):
        block = f"blocks.{i}"
        shapes[f"{block}.modulation"] = (1, 6, d)
        for name in ("q", "k", "v", "o"):
            linear(f"{block}.self_attn.{name}", d, d)
        for name in ("q", "k", "v", "o", "k_img", "v_img"):
            linear(f"{block}.cross_attn.{name}", d, d)
        for name in ("self_attn.norm_q", "self_attn.norm_k"):
            shapes[f"{block}.{name}.weight"] = (d,)
        for name in ("cross_attn.norm_q", "cross_attn.norm_k", "cross_attn.norm_k_img"):
            shapes[f"{block}.{name}.weight"] = (d,)
        shapes[f"{block}.norm3.weight"] = shapes[f"{block}.norm3.bias"] = (d,)
        linear(f"{block}.ffn.0", f, d)
        linear(f"{block}.ffn.2", d, f)
        linear(f"{block}.cam_encoder", d, 1536, bias=False)
        linear(f"{block}.buffer_encoder.0", 256, 20480, bias=False)
        linear(f"{block}.buffer_encoder.1", d, 256, bias=False)
    return shapes


def test_the_default_is_the_released_model():
    """Exactly its names and shapes, 17.03 G parameters of which 0.635 G are new; built without holding any of them."""
    with torch.device("meta"):
        model = Lyra2Transformer3DModel()
    shapes = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    assert shapes == released_shapes(40)
    new = sum(x.numel() for name, x in model.named_parameters() if any(part in name for part in NEW_PARTS))
    assert (sum(x.numel() for x in model.parameters()), new) == (17_029_871_424, 634_992_640)
    assert all(x.is_meta for x in model.parameters())


def test_a_full_size_pass_has_the_right_shapes():
    """On the meta device: all 38 246 tokens through two of the layers, in bfloat16 and out in float32."""
    with torch.device("meta"):
        model = Lyra2Transformer3DModel(layers=2)
        for x in model.parameters():
            x.data = x.data.to(torch.bfloat16)
    assert token_count(model.context, 60, 104) == 38_246
    with torch.no_grad():
        out = model(**random_inputs(model, 60, 104, texts=512, images=257))
    assert (out.shape, out.dtype, out.is_meta) == ((1, 16, 20, 60, 104), torch.float32, True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_saved_and_loaded_it_is_the_same(layout, tmp_path):
    """Weights and configuration bit for bit; the velocity to rounding, as kernels sum by how memory is aligned."""
    model = seeded(layout).eval()
    model.save_pretrained(tmp_path)
    again = Lyra2Transformer3DModel.from_pretrained(tmp_path).eval()
    assert {k: v for k, v in again.config.items() if not k.startswith("_")} == {
        k: v for k, v in model.config.items() if not k.startswith("_")
    }
    weights = again.state_dict()
    assert all(torch.equal(x, weights[name]) for name, x in model.state_dict().items())
    with torch.inference_mode():
        given_inputs = random_inputs(model, 6, 4)
        torch.testing.assert_close(model(**given_inputs), again(**given_inputs), rtol=0, atol=1e-6)


def test_loaded_in_bfloat16_norms_and_times_stay_float32(tmp_path, inputs):
    """And the velocity stays close to that of float32, given back in float32."""
    recorded_model().save_pretrained(tmp_path)
    half = Lyra2Transformer3DModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16).eval()
    kept = {name for name, x in half.named_parameters() if x.dtype == torch.float32}
    parts = ("modulation", "norm", "time_")
    assert kept == {name for name, _ in half.named_parameters() if any(part in name for part in parts)}
    with torch.inference_mode():
        want, got = recorded_model()(**inputs), half(**inputs)
    assert got.dtype == torch.float32
    assert (got - want).norm() < 0.02 * want.norm()
    assert not torch.equal(got, want)


def test_checkpointed_gradients_are_the_same(inputs):
    """Bit for bit, for every parameter; all of them have one."""
    found = []
    for checkpointed in (False, True):
        model = recorded_model().train()
        if checkpointed:
            model.enable_gradient_checkpointing()
        model(**inputs).square().mean().backward()
        found.append({name: x.grad for name, x in model.named_parameters()})
    plain, checkpointed = found
    assert all(g is not None and g.abs().sum() > 0 for g in plain.values())
    assert all(torch.equal(g, checkpointed[name]) for name, g in plain.items())


def test_slices_change_nothing(model, inputs, monkeypatch):
    """Tokens taken 7 at a time give what the whole sequence gives, to rounding."""
    with torch.inference_mode():
        whole = model(**inputs)
        monkeypatch.setattr(transformer, "SLICE_TOKENS", 7)
        torch.testing.assert_close(model(**inputs), whole, rtol=0, atol=1e-5)


def test_a_view_without_correspondence_contributes_none(model, inputs):
    """What the buffer holds at an invalid position does not matter, nor what it holds for history."""
    layout = model.context
    position = layout.spatial_positions[0]
    noise = torch.rand(inputs["buffer"].shape, generator=torch.Generator().manual_seed(2))
    other = inputs["buffer"].clone()
    other[:, :, position] = noise[:, :, position]
    other[:, :, layout.temporal_positions] = noise[:, :, layout.temporal_positions]
    invalid = inputs["buffer_valid"].clone()
    invalid[position] = False
    with torch.inference_mode():
        as_given = model(**inputs)
        assert not torch.equal(model(**{**inputs, "buffer": other}), as_given)
        without = model(**{**inputs, "buffer_valid": invalid})
        assert not torch.equal(without, as_given)
        assert torch.equal(model(**{**inputs, "buffer": other, "buffer_valid": invalid}), without)
        # History has no correspondence even where it is said to have some.
        claimed = invalid.clone()
        claimed[layout.temporal_positions] = True
        assert torch.equal(model(**{**inputs, "buffer": other, "buffer_valid": claimed}), without)


def test_the_order_of_history_matters(model, inputs):
    """The same latents in another order give another velocity."""
    first, last = model.context.temporal_positions[1:3]
    swapped = {name: inputs[name].clone() for name in ("latents", "cond")}
    for x in swapped.values():
        x[:, :, [first, last]] = x[:, :, [last, first]]
    with torch.inference_mode():
        change = (model(**{**inputs, **swapped}) - model(**inputs)).abs().max()
    assert change > 1e-4


def test_initial_values_for_training():
    """Context embeddings see a patch made small; the new matrices have the deviation they should; the rest stays."""
    model = seeded("f1k1f2s2_g1", width=192, heads=4)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    model.initialise(torch.Generator().manual_seed(4))
    after = model.state_dict()
    changed = {name for name, x in before.items() if not torch.equal(x, after[name])}
    assert changed == {name for name in before if any(part in name for part in NEW_PARTS)}
    constant = torch.randn(36, 1, 1, 1, generator=torch.Generator().manual_seed(5)).expand(36, 2, 4, 4)[None]
    small = model.patch_embedding(fold(constant[:, :, :1, :2, :2], (1, 2, 2)))
    large = model.clean_patch_embeddings[1](fold(constant[:, :, :1], (1, 4, 4)))
    torch.testing.assert_close(large, small)
    for name in ("cam_encoder", "buffer_encoder.0"):
        drawn = after[f"blocks.1.{name}.weight"]
        assert drawn.abs().max() <= 3 * 192**-0.5
        assert drawn.std().item() == pytest.approx(192**-0.5, rel=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "f1k1_g1"}, "no place for a retrieved view"),
        ({"layout": "nonsense"}, "context layout"),
        ({"heads": 3}, "width 64 with 3 heads"),
        ({"heads": 16}, "width 64 with 16 heads"),
        ({"time_width": 15}, "time_width 15"),
    ],
)
def test_impossible_configurations(options, message):
    with pytest.raises(ConfigError, match=message):
        Lyra2Transformer3DModel(**{**TINY, **options})


@pytest.mark.parametrize("layout", LAYOUTS[1:3])
def test_chunks_of_a_batch_do_not_see_each_other(layout):
    """Each has the velocity that it has alone, at a noise level of its own."""
    model = seeded(layout).eval()
    one = random_inputs(model, 6, 4)
    other = {name: x if name == "buffer_valid" else -x.flip(-1) for name, x in one.items()}
    other["timestep"] = torch.full((1,), 20.0)
    both = {name: x if name == "buffer_valid" else torch.cat([x, other[name]]) for name, x in one.items()}
    with torch.inference_mode():
        want = torch.cat([model(**one), model(**other)])
        assert (want[0] - want[1]).abs().max() > 0.01
        torch.testing.assert_close(model(**both), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["latents", "cond", "buffer", "buffer_valid", "timestep", "text", "image"])
def test_inputs_of_a_wrong_shape_are_named(model, inputs, name):
    with pytest.raises(InputError, match=f"{name} has shape"):
        model(**{**inputs, name: torch.cat([inputs[name], inputs[name]])})


def test_unknown_attention_kernel(model):
    with pytest.raises(ConfigError, match="'fast'"):
        model.set_attention_kernel("fast")


@pytest.mark.parametrize("offload_type", ["block_level", "leaf_level"])
def test_layers_may_be_held_elsewhere(offload_type, inputs):
    """The hooks of diffusers that hold groups of weights on another device change nothing."""
    model = recorded_model()
    with torch.inference_mode():
        want = model(**inputs)
    blocks = 1 if offload_type == "block_level" else None
    model.enable_group_offload(
        onload_device=torch.device("cpu"), offload_type=offload_type, num_blocks_per_group=blocks
    )
    with torch.no_grad():
        assert torch.equal(model(**inputs), want)


def test_layers_may_be_stored_smaller(inputs):
    """Layerwise casting to 8 bit keeps embeddings, norms and modulation, and stays near."""
    model = recorded_model()
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    stored = {name for name, x in model.named_parameters() if x.dtype == torch.float8_e4m3fn}
    assert "blocks.0.self_attn.q.weight" in stored
    assert not any(part in name for name in stored for part in ("patch_emb", "time_", "norm", "modulation", "head."))
    with torch.no_grad():
        got, want = model(**inputs), recorded_model()(**inputs)
    assert (got - want).norm() < 0.1 * want.norm()


def test_every_weight_is_used_where_it_lives(model, inputs):
    """Accelerate's hooks bring each module's own weights only while that module runs."""
    accelerate = pytest.importorskip("accelerate")
    offloaded = recorded_model()
    accelerate.cpu_offload(offloaded, execution_device=torch.device("cpu"))
    assert all(x.is_meta for x in offloaded.parameters())
    with torch.no_grad():
        assert torch.equal(offloaded(**inputs), model(**inputs))


def test_autocast_keeps_the_timestep_in_float32(model, inputs):
    """As training runs it: float32 weights, products in bfloat16."""
    seen = []
    hook = model.time_projection.register_forward_hook(lambda module, args, out: seen.append(out))
    try:
        with torch.no_grad():
            want = model(**inputs)
            with torch.autocast("cpu", torch.bfloat16):
                got = model(**inputs)
    finally:
        hook.remove()
    assert got.dtype == torch.float32 and torch.equal(*seen)
    assert 0 < (got - want).norm() < 0.02 * want.norm()
