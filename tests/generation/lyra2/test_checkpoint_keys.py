"""Names of the released weights: at the released sizes every tensor has one, and its shape tells the configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.generation.lyra2 import checkpoint_keys as keys

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")


def released_shapes(names: list[keys.Name], model) -> dict:
    """Shapes of a released file for an empty model, after checking that names and parameters pair off."""
    ours = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    named = [key for name in names for key in name.ours]
    assert sorted(named) == sorted(set(ours) - {"encoder.embed_tokens.weight"})  # tied to `shared`
    assert len({name.release for name in names}) == len(names)
    return {name.release: keys.release_shape(name, ours) for name in names}


def test_the_released_vae():
    """The shapes of Wan 2.1's VAE give the configuration that diffusers has as its default."""
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        vae = AutoencoderKLWan()
    config = dict(vae.config)
    shapes = released_shapes(keys.vae_names(config), vae)
    assert keys.vae_config(shapes) == {name: config[name] for name in keys.vae_config(shapes)}
    assert shapes["decoder.upsamples.4.shortcut.weight"] == (384, 192, 1, 1, 1)
    assert shapes["encoder.downsamples.8.time_conv.weight"] == (384, 384, 3, 1, 1)


def test_the_released_image_encoder():
    """The shapes of CLIP XLM-R ViT-H/14 give 32 layers with 16 heads over 16 x 16 patches."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    size = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}
    config = {**size, "image_size": 224, "patch_size": 14, "hidden_act": "gelu", "layer_norm_eps": 1e-5}
    with torch.device("meta"):
        model = CLIPVisionModel(CLIPVisionConfig(**config))
    shapes = released_shapes(keys.vision_names(32), model)
    assert keys.vision_config(shapes) == config
    assert shapes["visual.cls_embedding"] == (1, 1, 1280) and shapes["visual.pos_embedding"] == (1, 257, 1280)
    assert shapes["visual.transformer.31.attn.to_qkv.bias"] == (3840,)


def test_the_released_text_encoder():
    """The shapes of UMT5-XXL give 24 layers with 64 heads, a table of positions in each."""
    from transformers import UMT5Config, UMT5EncoderModel

    config = {
        "vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
        "relative_attention_num_buckets": 32, "feed_forward_proj": "gated-gelu",
    }  # fmt: skip
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config(**config))
    shapes = released_shapes(keys.text_names(24), model)
    assert keys.text_config(shapes) == config
    assert shapes["blocks.23.pos_embedding.embedding.weight"] == (32, 64)


def test_the_released_network():
    """The shapes of our notes, 3.7, give the defaults of the network, and its names are theirs."""
    from lyra.worldgen.generation.lyra2.transformer import Lyra2Transformer3DModel

    with torch.device("meta"):
        model = Lyra2Transformer3DModel()
    names = keys.same_names(model.state_dict())
    shapes = released_shapes(names, model)
    config = keys.backbone_config(shapes)
    assert config == {name: model.config[name] for name in config}
    block = {
        "modulation": (1, 6, 5120), "self_attn.q.weight": (5120, 5120), "self_attn.norm_q.weight": (5120,),
        "norm3.bias": (5120,), "cross_attn.v_img.bias": (5120,), "cross_attn.norm_k_img.weight": (5120,),
        "ffn.0.weight": (13824, 5120), "ffn.2.weight": (5120, 13824), "cam_encoder.weight": (5120, 1536),
        "buffer_encoder.0.weight": (256, 20480), "buffer_encoder.1.weight": (5120, 256),
    }  # fmt: skip
    top = {
        "patch_embedding.weight": (5120, 144), "text_embedding.0.weight": (5120, 4096),
        "time_embedding.0.weight": (5120, 256), "time_projection.1.weight": (30720, 5120),
        "head.modulation": (1, 2, 5120), "head.head.weight": (64, 5120), "img_emb.proj.0.weight": (1280,),
        "img_emb.proj.3.weight": (5120, 1280), "clean_patch_embeddings.1.weight": (5120, 576),
        "clean_patch_embeddings.3.weight": (5120, 9216), "clean_patch_embeddings.4.weight": (5120, 1152),
    }  # fmt: skip
    told = top | {f"blocks.39.{name}": shape for name, shape in block.items()}
    assert {name: shapes[name] for name in told} == told


@given(st.lists(st.sampled_from(["net.", "model.", "module.", "state_dict."]), max_size=4))
def test_wrappers_are_taken_off_in_any_order(wrappers):
    """Whatever a trainer wrapped the network in, the bare names remain; bookkeeping is nobody's."""
    prefix = "".join(wrappers)
    assert keys.bare_key(f"{prefix}blocks.0.ffn.0.weight") == "blocks.0.ffn.0.weight"
    for counter in ("accum_iteration", "blocks.3.cross_attn.attn_op_image._extra_state"):
        assert keys.bare_key(prefix + counter) is None


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({}, r"lack 'encoder\.conv1\.weight'"),
        ({"encoder.conv1.weight": ()}, "expected at least 1 dimensions"),
        ({"encoder.conv1.weight": (0, 3)}, "lacks 'encoder.downsamples"),
        (
            {"encoder.conv1.weight": (8, 3), "encoder.downsamples.0.resample.1.weight": (1,)},
            "resamples at layers",
        ),
    ],
)
def test_shapes_of_something_else_are_refused(shapes, words):
    """A VAE that is none is told by the first name that it lacks."""
    with pytest.raises(InputError, match=words):
        keys.vae_config(shapes)


def test_rows_that_do_not_divide_are_refused():
    """Queries, keys and values are thirds of the rows."""
    name = keys.Name(release="qkv", ours=("q", "k", "v"))
    with pytest.raises(InputError, match=r"'qkv' has shape \(4, 2\); expected rows that divide into 3 parts"):
        keys.split(name, torch.ones(4, 2))
    with pytest.raises(InputError, match="lack 'qkv'"):
        keys.to_ours([name], {})
    with pytest.raises(InputError, match="lack 'k'"):
        keys.to_release([name], {"q": torch.ones(1)})
