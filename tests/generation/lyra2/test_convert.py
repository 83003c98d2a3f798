"""Released files become a converted folder: bit for bit, in little memory, all or nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lyra.worldgen.core.errors import Cancelled, InputError
from lyra.worldgen.core.progress import Progress
from lyra.worldgen.generation.lyra2 import checkpoint_keys as keys
from lyra.worldgen.generation.lyra2.checkpoint_reader import open_checkpoint
from lyra.worldgen.generation.lyra2.convert import ReleaseFiles, convert, find_release
from lyra.worldgen.generation.lyra2.model_folder import LICENCE, Lyra2Folder, weights_file
from tiny_lyra2 import TINY_LAYOUT, golden_tensors, recorded_inputs
from tiny_release import release_states, write_network, write_release

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

OPTIONS = {"layout": TINY_LAYOUT, "heads": 2}
NETWORKS = ("distributed", "pth", "safetensors", "shards")
PARTS = ("transformer", "vae", "text_encoder", "image_encoder", "negative_prompt.safetensors")


@pytest.fixture(scope="module")
def states() -> dict:
    return release_states()


@pytest.fixture(scope="module")
def release(states, tmp_path_factory) -> Path:
    return write_release(tmp_path_factory.mktemp("release") / "repository", states)


@pytest.fixture(scope="module")
def converted(release, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "lyra2"
    convert(find_release(release), out, **OPTIONS)
    return out


def tensors_in(place: Path) -> dict:
    with open_checkpoint(place if place.is_file() else weights_file(place)) as file:
        return {key: file.read(key) for key in file.tensors}


def back_to_release(out: Path) -> dict[str, dict]:
    """State dicts of a converted folder under the released names."""
    folder = Lyra2Folder.open(out, parts=PARTS)
    names = {
        "vae": keys.vae_names(folder.config("vae")),
        "text_encoder": keys.text_names(folder.config("text_encoder")["num_layers"]),
        "image_encoder": keys.vision_names(folder.config("image_encoder")["num_hidden_layers"]),
    }
    found = {part: keys.to_release(names[part], tensors_in(out / part)) for part in names}
    found["transformer"] = {f"net.{key}": tensor for key, tensor in tensors_in(out / "transformer").items()}
    return found


def expect_same_bits(found: dict, states: dict) -> None:
    for part, tensors in found.items():
        ignored = {key for key in states[part] if "accum_" in key or key in ("visual.head", "log_scale")}
        ignored |= {key for key in states[part] if key.startswith("textual.")}
        assert set(tensors) == set(states[part]) - ignored, part
        for key, tensor in tensors.items():
            assert tensor.dtype == states[part][key].dtype and torch.equal(tensor, states[part][key]), key


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_release_converts_bit_for_bit(converted, states):
    """Every tensor is there with its bits and its number type, and goes back under its released name."""
    expect_same_bits(back_to_release(converted), states)
    text = Lyra2Folder.open(converted, parts=PARTS).negative_prompt()
    assert torch.equal(text, states["negative_prompt"]["t5_text_embeddings"])


@pytest.mark.parametrize("kind", NETWORKS[1:])
def test_the_network_may_come_in_any_format(kind, states, converted, tmp_path):
    """One file, safetensors or shards, wrapped or not: the same converted bytes."""
    write_network(tmp_path, states["transformer"], kind)
    convert(ReleaseFiles(transformer=tmp_path), tmp_path / "out", **OPTIONS)
    there, here = (tensors_in(folder / "transformer") for folder in (converted, tmp_path / "out"))
    assert set(there) == set(here) and all(torch.equal(there[key], here[key]) for key in there)


@pytest.mark.slow
def test_every_released_name_converts(tmp_path):
    """With as many layers as the release has, every key of the released lists is taken and comes back."""
    states = release_states(full_names=True)
    released = states["transformer"]
    assert {"net.blocks.39.self_attn.norm_k.weight", "net.blocks.0.buffer_encoder.1.weight"} <= set(released)
    assert {"net.clean_patch_embeddings.5.bias", "net.head.modulation", "net.img_emb.proj.4.bias"} <= set(released)
    assert len([key for key in released if "accum_" not in key]) == 40 * 35 + 35
    assert "decoder.upsamples.14.residual.6.weight" in states["vae"] and len(states["vae"]) == 194
    done = convert(find_release(write_release(tmp_path / "r", states)), tmp_path / "out", heads=1)
    expect_same_bits(back_to_release(tmp_path / "out"), states)
    assert {part["keys"]["unexpected"] for part in done.index["parts"].values()} == {0}


def test_converted_parts_compute_what_the_recordings_say(states, tmp_path):
    """Network and VAE, converted from their recorded weights, give the recorded results."""
    recorded = {"net." + key: tensor for key, tensor in golden_tensors("dit_tiny_weights").items()}
    (tmp_path / "r").mkdir()
    write_network(tmp_path / "r", recorded, "distributed")
    torch.save(states["vae"], tmp_path / "vae.pth")
    convert(ReleaseFiles(transformer=tmp_path / "r" / "model", vae=tmp_path / "vae.pth"), tmp_path / "out", **OPTIONS)
    folder = Lyra2Folder.open(tmp_path / "out", parts=("transformer", "vae"))
    case = golden_tensors("dit_case_even")
    with torch.inference_mode():
        velocity = folder.load_transformer(torch.float32)(**recorded_inputs(case))
    torch.testing.assert_close(velocity, case["out"], atol=1e-5, rtol=0)
    clip = golden_tensors("vae_cases")
    latents, _ = folder.load_vae(torch.float32).encode(clip["video"])
    torch.testing.assert_close(latents, clip["latents"], atol=1e-5, rtol=0)


def test_text_and_image_encoders_compute_the_same_after_the_round_trip(tmp_path):
    """The mapped names lead to the same outputs as the models that the released names were made from."""
    from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

    with torch.random.fork_rng():
        torch.manual_seed(4)
        text = UMT5EncoderModel(UMT5Config(vocab_size=31, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4))
        size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2}
        vision = CLIPVisionModel(CLIPVisionConfig(**size, image_size=28, patch_size=14, hidden_act="gelu"))
    torch.save(keys.to_release(keys.text_names(2), text.state_dict()), tmp_path / "encoder.pth")
    image_state = keys.to_release(keys.vision_names(3), vision.state_dict())
    lacking = {key: tensor for key, tensor in image_state.items() if "post_norm" not in key}
    torch.save(lacking, tmp_path / "model.pth")
    sources = ReleaseFiles(text_encoder=tmp_path / "encoder.pth", image_encoder=tmp_path / "model.pth")
    done = convert(sources, tmp_path / "out")
    assert done.index["parts"]["image_encoder"]["keys"]["missing_keys"] == [
        "visual.post_norm.bias",
        "visual.post_norm.weight",
    ]
    ids = torch.arange(2, 12)[None]
    with torch.inference_mode():
        loaded = UMT5EncoderModel.from_pretrained(tmp_path / "out" / "text_encoder")
        assert torch.equal(loaded.eval()(ids).last_hidden_state, text.eval()(ids).last_hidden_state)
        image = torch.linspace(-1, 1, 3 * 20 * 30).reshape(1, 3, 20, 30)
        encoder = Lyra2Folder.open(tmp_path / "out", parts=("image_encoder",)).load_vision(torch.float32)
        from lyra.worldgen.generation.lyra2.vision import ImageEncoder

        assert torch.equal(encoder.embed(image), ImageEncoder(vision.eval()).embed(image))


def test_the_record_names_licence_files_and_keys(converted, release):
    """`lyra2.json` holds licence, hashes of the sources and what became of every key; no path of this machine."""
    import hashlib

    text = (converted / "lyra2.json").read_text()
    index = json.loads(text)
    assert index["licence"] == LICENCE and str(release) not in text
    vae = release / "checkpoints" / "vae" / "vae.pth"
    assert index["parts"]["vae"]["sources"] == [
        {"file": "vae.pth", "bytes": vae.stat().st_size, "sha256": hashlib.sha256(vae.read_bytes()).hexdigest()}
    ]
    report = index["parts"]["transformer"]["keys"]
    assert (report["taken"], report["ignored"], report["missing"], report["unexpected"]) == (105, 5, 0, 0)
    assert "net.blocks.0.self_attn.attn_op._extra_state" in report["ignored_keys"]


def test_running_again_does_nothing(release, tmp_path):
    """The second run writes no file, and says so."""
    first = convert(find_release(release), tmp_path / "out", **OPTIONS)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    second = convert(find_release(release), tmp_path / "out", **OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    assert second.written == () and set(second.kept) == set(first.written) and second.index == first.index
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_parts_come_one_after_the_other(release, converted, tmp_path):
    """Parts that are given later join the others; the folder is the same as when they come together."""
    everything = find_release(release)
    for name, path in everything.given().items():
        field = name.removesuffix(".safetensors")
        convert(ReleaseFiles(**{field: path}), tmp_path / "out", **OPTIONS)
    assert contents(tmp_path / "out") == contents(converted)


def test_another_part_is_not_overwritten(release, converted, states, tmp_path):
    """A folder with another VAE keeps it."""
    torch.save({key: tensor + 1 for key, tensor in states["vae"].items()}, tmp_path / "vae.pth")
    before = contents(converted)
    with pytest.raises(InputError, match="holds another vae already"):
        convert(ReleaseFiles(vae=tmp_path / "vae.pth"), converted)
    assert contents(converted) == before


def test_small_shards_load_as_well(states, tmp_path):
    """Weights split over numbered files load through diffusers and transformers and through our own loader."""
    from transformers import UMT5EncoderModel

    from lyra.worldgen.generation.lyra2.transformer import Lyra2Transformer3DModel

    write_network(tmp_path, states["transformer"], "pth")
    torch.save(states["text_encoder"], tmp_path / "encoder.pth")
    sources = ReleaseFiles(transformer=tmp_path / "model.pth", text_encoder=tmp_path / "encoder.pth")
    convert(sources, tmp_path / "out", shard_bytes=200_000, **OPTIONS)
    place = tmp_path / "out" / "transformer"
    assert len(list(place.glob("diffusion_pytorch_model-*-of-*.safetensors"))) > 3
    theirs = Lyra2Transformer3DModel.from_pretrained(place, torch_dtype=torch.bfloat16).state_dict()
    ours = Lyra2Folder.open(tmp_path / "out", parts=("transformer",)).load_transformer(torch.bfloat16).state_dict()
    assert all(torch.equal(tensor, ours[key]) and tensor.dtype == ours[key].dtype for key, tensor in theirs.items())
    UMT5EncoderModel.from_pretrained(tmp_path / "out" / "text_encoder")


def damage(states: dict, how: str) -> dict:
    """The network's state dict with one thing wrong at one key."""
    state = dict(states["transformer"])
    key = "net.blocks.1.ffn.2.weight"
    if how == "missing":
        del state[key]
    elif how == "shape":
        state[key] = state[key].T.contiguous()
    else:
        state[key] = state[key].to(torch.int32)
    return state


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("how", ["missing", "shape", "type"])
def test_the_first_bad_key_is_named_and_nothing_is_written(kind, how, states, tmp_path):
    """Missing, of another shape, of another type: refused by name before anything is written."""
    (tmp_path / "r").mkdir()
    write_network(tmp_path / "r", damage(states, how), kind)
    source = tmp_path / "r" / "model" if kind == "distributed" else tmp_path / "r"
    with pytest.raises(InputError, match=r"blocks\.1\.ffn\.2\.weight'"):
        convert(ReleaseFiles(transformer=source), tmp_path / "out", **OPTIONS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_damage_met_while_writing_leaves_the_folder_as_it_was(release, converted, share, tmp_path):
    """Wrong bits, found by their checksum half-way, and files cut off: named, and the folder beside is untouched."""
    data = bytearray((release / "checkpoints" / "vae" / "vae.pth").read_bytes())
    (tmp_path / "cut.pth").write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"'[\w.]+' is cut off"):
        convert(ReleaseFiles(vae=tmp_path / "cut.pth"), tmp_path / "out")
    data[int(share * len(data))] ^= 1
    (tmp_path / "vae.pth").write_bytes(data)
    with pytest.raises(InputError, match=r"'[\w.]+' is damaged"):
        convert(ReleaseFiles(vae=tmp_path / "vae.pth"), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.pth", "vae.pth"]


def test_stopping_leaves_nothing_behind(release, tmp_path):
    """A run that the user stops half-way leaves no folder; what a killed run left is cleared away."""

    class Stop(Progress):
        def keep_going(self) -> bool:
            return not list(tmp_path.glob(".out.part/transformer/*.safetensors"))

    (tmp_path / ".out.part" / "old").mkdir(parents=True)
    with pytest.raises(Cancelled):
        convert(find_release(release), tmp_path / "out", progress=Stop(), **OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_foreign_folders_and_files_are_refused(release, tmp_path):
    """Anything else is refused in words: an empty release, a foreign target, one part given as another."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds nothing of Lyra 2\.0; expected checkpoints/model/model"):
        find_release(tmp_path / "empty")
    with pytest.raises(InputError, match="nothing to convert"):
        convert(ReleaseFiles(), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    vae = release / "checkpoints" / "vae" / "vae.pth"
    with pytest.raises(InputError, match="something else already"):
        convert(ReleaseFiles(vae=vae), tmp_path / "mine")
    for name in ("transformer", "text_encoder", "image_encoder", "negative_prompt"):
        with pytest.raises(InputError, match="lack"):
            convert(ReleaseFiles(**{name: vae}), tmp_path / "out")
    with pytest.raises(InputError, match="tokenizer lacks"):
        convert(ReleaseFiles(tokenizer=tmp_path / "mine"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_peak_memory_is_about_one_tensor(tmp_path):
    """Converting holds one tensor at a time, whatever the size of the checkpoint and whatever its format."""
    psutil = pytest.importorskip("psutil")
    from transformers import UMT5Config, UMT5EncoderModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        size = {"vocab_size": 4096, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_heads": 8}
        model = UMT5EncoderModel(UMT5Config(**size, num_layers=7))
    state = keys.to_release(keys.text_names(7), {key: tensor.detach() for key, tensor in model.state_dict().items()})
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    largest = max(tensor.numel() * tensor.element_size() for tensor in state.values())
    assert total > 100 << 20 and largest <= 8 << 20
    for kind in NETWORKS:
        (tmp_path / kind).mkdir()
        write_network(tmp_path / kind, state, kind)
    del model, state
    sources = [tmp_path / kind / ("model" if kind == "distributed" else "") for kind in NETWORKS]
    convert(ReleaseFiles(text_encoder=sources[1]), tmp_path / "warm")  # what libraries take once
    process = psutil.Process()
    for kind, source in zip(NETWORKS, sources, strict=True):
        before, peak, stop = process.memory_info().rss, [0], threading.Event()

        def watch(peak=peak, stop=stop):
            while not stop.wait(0.001):
                peak[0] = max(peak[0], process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            convert(ReleaseFiles(text_encoder=source), tmp_path / f"out-{kind}", shard_bytes=32 << 20)
        finally:
            stop.set()
            watcher.join()
        grown = peak[0] - before
        # One tensor, what the allocator keeps of the last ones, and what Python holds.
        assert grown < 3 * largest + (16 << 20), f"{kind}: {grown / 2**20:.1f} MiB for {total / 2**20:.0f} MiB"


def test_the_script_converts_and_its_help_is_light(release, repository, tmp_path):
    """`--help` imports nothing heavy; a run prints the key report, wrong input ends with code 2."""
    script = repository / "tools" / "convert_lyra2.py"
    probe = (
        f"import runpy, sys; sys.argv = ['convert_lyra2.py', '--help']\n"
        f"try: runpy.run_path({str(script)!r}, run_name='__main__')\n"
        "except SystemExit: print(sorted({'torch', 'numpy', 'diffusers'} & set(sys.modules)))"
    )
    shown = subprocess.check_output([sys.executable, "-c", probe], text=True)
    assert "--negative-prompt" in shown and shown.strip().endswith("[]")
    import convert_lyra2

    out = tmp_path / "out"
    assert convert_lyra2.main([str(release), "--out", str(out), "--heads", "2", "--layout", TINY_LAYOUT]) == 0
    assert Lyra2Folder.open(out, parts=PARTS).licence == LICENCE
    assert convert_lyra2.main([str(tmp_path / "absent"), "--out", str(out)]) == 2
