"""A converted folder is checked when it is opened, and its parts load as their libraries load them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lyra.worldgen.core.errors import BackendError, InputError
from lyra.worldgen.generation.lyra2.model_folder import LICENCE, PARTS, Lyra2Folder, weights_file
from tiny_lyra2 import write_tiny_folder

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write_tiny_folder(tmp_path_factory.mktemp("tiny") / "lyra2-tiny", seed=1)


@pytest.fixture
def copied(tiny, tmp_path) -> Path:
    """A folder that a test may damage."""
    return Path(shutil.copytree(tiny, tmp_path / "folder"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_network_loads_as_diffusers_loads_it(tiny, dtype):
    """Same parameters, same bits, same number types, ready to compute with."""
    from lyra.worldgen.generation.lyra2.transformer import Lyra2Transformer3DModel

    theirs = Lyra2Transformer3DModel.from_pretrained(tiny / "transformer", torch_dtype=dtype).state_dict()
    model = Lyra2Folder.open(tiny).load_transformer(dtype)
    ours = model.state_dict()
    assert list(theirs) == list(ours) and not model.training
    for name, tensor in theirs.items():
        assert tensor.dtype == ours[name].dtype and torch.equal(tensor, ours[name]), name


def test_adapters_are_folded_in_while_loading(tiny):
    """Loading with adapters gives what folding into the loaded network gives, and every tensor is placed once."""
    from lyra.worldgen.generation.lyra2.lora import fold_into

    folder = Lyra2Folder.open(tiny)
    adapters = folder.adapters([("realism_boost", 0.4), ("dmd_distillation", 1.0)])
    placed = []

    def place(name, tensor):
        placed.append(name)
        return tensor

    loaded = folder.load_transformer(torch.float32, adapters=adapters, place=place)
    plain = folder.load_transformer(torch.float32)
    before = plain.state_dict()["blocks.0.self_attn.q.weight"].clone()
    fold_into(plain, adapters)
    assert sorted(placed) == sorted(plain.state_dict())
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    assert float((loaded.state_dict()["blocks.0.self_attn.q.weight"] - before).abs().max()) > 0.01
    with pytest.raises(InputError, match="no adapter 'detail'; expected one of dmd_distillation, realism_boost"):
        folder.adapters([("detail", 1.0)])


def test_every_part_loads_and_computes(tiny):
    """VAE, text and image encoder, negative prompt, licence and sizes come out of one folder."""
    folder = Lyra2Folder.open(tiny)
    vae = folder.load_vae(torch.float32)
    assert vae.encode(torch.zeros(1, 3, 5, 16, 24))[0].shape == (1, 16, 2, 2, 3)
    assert not any(parameter.requires_grad for parameter in vae.vae.parameters())
    assert folder.load_text(torch.float32).embed(["a room"]).shape == (1, 512, 32)
    assert folder.load_vision(torch.float32).embed(torch.zeros(1, 3, 20, 30)).shape == (1, 5, 32)
    assert folder.negative_prompt().shape == (1, 512, 32)
    assert folder.licence == LICENCE and folder.weights.name == "lyra2-tiny"
    parameters = sum(tensor.numel() for tensor in folder.empty_transformer().state_dict().values())
    assert folder.size("transformer").parameters == parameters


@pytest.mark.parametrize("part", sorted(PARTS))
def test_missing_parts_are_named_with_the_remedy(part, copied):
    """What is missing is named with the option that adds it, unless it is not needed."""
    place = copied / part
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    with pytest.raises(InputError, match=rf"lacks {part}; add it with tools/convert_lyra2\.py \(--"):
        Lyra2Folder.open(copied)
    Lyra2Folder.open(copied, parts=[name for name in PARTS if name != part])


def test_other_folders_are_refused(copied, tmp_path):
    """No folder, no index, a foreign format: each says what to do."""
    with pytest.raises(InputError, match="no folder"):
        Lyra2Folder.open(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no converted Lyra 2\.0; convert the released files"):
        Lyra2Folder.open(tmp_path / "empty")
    (copied / "lyra2.json").write_text('{"format": 2}')
    with pytest.raises(InputError, match="has format 2; this version reads format 1"):
        Lyra2Folder.open(copied)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "{", '"x"', "\x00"])
def test_damaged_json_is_an_input_error(text, copied):
    """Index and configuration of a hostile folder raise nothing but InputError."""
    folder = Lyra2Folder.open(copied)
    (copied / "transformer" / "config.json").write_text(text)
    with pytest.raises(InputError):
        folder.empty_transformer()
    (copied / "lyra2.json").write_text(text)
    with pytest.raises(InputError):
        Lyra2Folder.open(copied)


def test_links_out_of_the_folder_are_refused(copied, tmp_path):
    """A link to a file elsewhere is refused, one to a file inside is not."""
    weights = weights_file(copied / "vae")
    weights.rename(copied / "vae" / "kept.bin")
    weights.symlink_to(copied / "vae" / "kept.bin")
    Lyra2Folder.open(copied)
    (copied / "vae" / "kept.bin").rename(tmp_path / "outside.bin")
    weights.unlink()
    weights.symlink_to(tmp_path / "outside.bin")
    with pytest.raises(InputError, match="a link leads out of the folder"):
        Lyra2Folder.open(copied)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers": 10**9}, "'layers' is 1000000000; expected at most"),
        ({"width": 10**12}, "'width' is 1000000000000; expected at most"),
        ({"heads": -(10**30)}, "'heads' is"),
        ({"width": 128}, r"'patch_embedding\.weight' has shape \(64, 144\), expected \(128, 144\)"),
        ({"layers": 3}, r"'blocks\.2\.[\w.]+' is missing"),
        ({"layers": 1}, r"'blocks\.1\.[\w.]+' is no parameter of this network"),
        ({"width": "wide"}, "the network cannot be built"),
        ({"layout": "x" * 50}, "layout"),
    ],
)
def test_absurd_or_foreign_configurations_are_refused(change, words, copied):
    """A configuration that the weights do not fit names the first bad key; absurd sizes are refused at once."""
    path = copied / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=words):
        Lyra2Folder.open(copied).load_transformer(torch.float32)


@pytest.mark.parametrize(("part", "load"), [("vae", "vae"), ("text_encoder", "text"), ("image_encoder", "vision")])
def test_parts_that_do_not_fit_their_configuration_are_refused(part, load, copied):
    """Libraries would make up what is missing; here the first missing key is named."""
    from safetensors.torch import load_file, save_file

    path = weights_file(copied / part)
    state = load_file(path)
    gone = sorted(state)[3]
    save_file({key: tensor for key, tensor in state.items() if key != gone}, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"'{gone}' is missing; convert the released files again"):
        getattr(Lyra2Folder.open(copied), f"load_{load}")(torch.float32)


def test_a_damaged_tokenizer_is_a_backend_error(copied):
    """What foreign code raises while loading has one class and names the setting."""
    (copied / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(BackendError, match=r"models\.painter cannot be loaded"):
        Lyra2Folder.open(copied).load_text(torch.float32)


def test_a_foreign_negative_prompt_is_refused(copied):
    """Its shape has to be the text width of the network."""
    from safetensors.torch import save_file

    save_file({"text": torch.zeros(1, 512, 8)}, copied / "negative_prompt.safetensors")
    with pytest.raises(InputError, match=r"'text' is shape \(1, 512, 8\); expected \(1, 512, 32\)"):
        Lyra2Folder.open(copied).negative_prompt()
