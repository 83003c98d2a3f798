"""Foreign inpainting pipelines: real classes at toy size behind the painter, and every way in which they fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lyra.worldgen.build import build_world, default_stages, resolve_backends
from lyra.worldgen.core.config import GenerationConfig, WorldConfig, load_config
from lyra.worldgen.core.errors import BackendError, ConfigError, DependencyError, InputError
from lyra.worldgen.core.world import load_world
from lyra.worldgen.generation.painter import PAINTERS, PaintHint
from lyra.worldgen.generation.painter_inpaint import InpaintPainter
from lyra.worldgen.generation.pipeline import explore
from rooms import analytic_room
from tiny_pipelines import one_channel_vae, write_pipeline

# One test process loads the libraries, not each.
pytestmark = [pytest.mark.usefixtures("model_libraries"), pytest.mark.xdist_group("models")]

KINDS = ("sd9", pytest.param("sd4", marks=pytest.mark.slow), pytest.param("xl", marks=pytest.mark.slow), "flux")


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Folder of a tiny pipeline by kind; made once, not to be changed."""
    place, made = tmp_path_factory.mktemp("weights"), {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = write_pipeline(kind, place / f"tiny-{kind}")
        return made[kind]

    return get


def config(painter: Path | str, **overrides: Any) -> WorldConfig:
    settings = {
        "models.painter": str(painter),
        "models.device": "cpu",
        "generation.painter": "inpaint",
        "inpaint.steps": 2,
        "inpaint.tile_px": 64,
    }
    return load_config(None, settings | {key.replace("__", "."): value for key, value in overrides.items()})


def painter_of(folder: Path | str, **overrides: Any) -> InpaintPainter:
    return PAINTERS.load("inpaint").from_config(config(folder, **overrides))


def hint_with_holes(frames: int = 1, height: int = 48, width: int = 64) -> PaintHint:
    """A smooth picture whose unknown pixels hold garbage."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:height, :width]
    picture = np.stack([x * 255 / width, y * 255 / height, 0 * x + 90], -1)
    rgb = np.broadcast_to(picture, (frames, height, width, 3)).astype(np.uint8).copy()
    known = np.ones((frames, height, width), bool)
    known[:, 10:30, 20 : width - 10] = False
    rgb[~known] = rng.integers(0, 256, (int((~known).sum()), 3))
    return PaintHint(rgb_u8=rgb, known=known, prompt="a quiet room")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_family_paints_only_the_holes(weights, kind):
    """Nine and four channels, two text encoders, a transformer: known pixels stay, the seed decides the rest."""
    painter = painter_of(weights(kind))
    assert painter.prepare(analytic_room().photo(), analytic_room().geometry(), seed=0) is None
    hint = hint_with_holes(frames=2)
    first = painter.paint(hint, seed=5)
    assert first.shape == hint.rgb_u8.shape and first.dtype == np.uint8
    np.testing.assert_array_equal(first[hint.known], hint.rgb_u8[hint.known])
    np.testing.assert_array_equal(painter.paint(hint, seed=5), first)
    assert not np.array_equal(painter.paint(hint, seed=6), first)
    assert not np.array_equal(first[0], first[1]), "each frame has noise of its own"
    assert first[~hint.known].std() > 1


def test_garbage_below_the_mask_never_shows(weights):
    """What stands in unknown pixels is undefined and changes nothing."""
    painter, hint = painter_of(weights("sd4")), hint_with_holes()
    other = hint.rgb_u8.copy()
    other[~hint.known] = 255
    np.testing.assert_array_equal(painter.paint(hint, seed=1), painter.paint(replace(hint, rgb_u8=other), seed=1))


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_come_from_the_weights(weights, kind):
    """Native size and multiples are read off the parts: 16 latent pixels of 4, or 128 of 8 in patches of 2."""
    pipeline = painter_of(weights(kind))._pipeline
    assert (pipeline.side_px, pipeline.multiple_px) == ((1024, 16) if kind == "flux" else (64, 4))


def test_prompt_and_guidance_reach_the_model(weights):
    """Another prompt, another negative prompt and another scale each give another picture."""
    folder, hint = weights("sd9"), hint_with_holes()
    base = painter_of(folder)
    pictures = [
        base.paint(hint, seed=1),
        base.paint(replace(hint, prompt="a loud hall"), seed=1),
        painter_of(folder, inpaint__negative_prompt="people").paint(hint, seed=1),
        painter_of(folder, inpaint__guidance=1.5).paint(hint, seed=1),
        painter_of(folder, inpaint__steps=4, inpaint__strength=0.5).paint(hint, seed=1),
    ]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_a_prompt_that_is_too_long_is_said_once(weights, caplog):
    """The model reads the beginning; the user is told one time, not for every tile."""
    painter, hint = painter_of(weights("sd9")), hint_with_holes(frames=2)
    painter.paint(hint, seed=0)
    assert not caplog.records
    painter.paint(replace(hint, prompt="a very long story " * 20), seed=0)
    assert [record.message for record in caplog.records] == [
        "the prompt is longer than the 77 tokens that tiny-sd9 reads"
    ]


def test_large_pictures_are_painted_in_tiles_that_hold_a_hole(weights, monkeypatch):
    """One call a tile with a hole, best known first; each later tile sees what the one before it painted."""
    painter = painter_of(weights("sd9"))
    calls = []
    real = painter._pipeline.complete

    def spy(rgb_u8, mask, *, prompt, seed):
        calls.append((rgb_u8.shape, float(mask.mean())))
        return real(rgb_u8, mask, prompt=prompt, seed=seed)

    monkeypatch.setattr(painter._pipeline, "complete", spy)
    rgb = np.full((1, 64, 160, 3), 120, np.uint8)
    known = np.ones((1, 64, 160), bool)
    known[0, 20:40, 4:12] = False
    painter.paint(PaintHint(rgb_u8=rgb, known=known), seed=0)
    assert [shape for shape, _ in calls] == [(64, 64, 3)]
    calls.clear()
    known[0, :, 70:] = False
    out = painter.paint(PaintHint(rgb_u8=rgb, known=known), seed=0)
    np.testing.assert_array_equal(out[known], rgb[known])
    assert len(calls) == 3 and calls[0][1] < 0.1
    assert calls[2][1] < 0.9, "the overlap with the tile before is known by then"


def test_small_pictures_are_painted_at_native_size(weights, monkeypatch):
    """A small picture is enlarged for the model, keeping its shape, and comes back in its own size."""
    painter = painter_of(weights("flux"), inpaint__tile_px=128)
    sizes = []
    real = painter._pipeline.complete
    monkeypatch.setattr(
        painter._pipeline, "complete", lambda rgb, mask, **rest: (sizes.append(rgb.shape), real(rgb, mask, **rest))[1]
    )
    hint = hint_with_holes(height=45, width=61)
    assert painter.paint(hint, seed=0).shape == (1, 45, 61, 3)
    assert sizes == [(96, 128, 3)]


@pytest.mark.slow
def test_exploring_a_room_with_foreign_weights(weights):
    """The whole loop accepts the painter; a full turn comes home to the photo."""
    room = analytic_room(width_px=64, height_px=48)
    world = explore(
        room.photo(), room.geometry(), painter_of(weights("sd9"), inpaint__steps=1),
        GenerationConfig(path="turn", view_long_side_px=64), seed=3,
    )  # fmt: skip
    assert world.metrics["loop_closure_psnr_db"] >= 40


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("", ConfigError, "models.painter is empty"),
        ("/nowhere/at all", InputError, "does not exist"),
        ("someone/some-model", ConfigError, "pass --download"),
    ],
)
def test_weights_that_are_not_here(value, error, words):
    """A name alone is no model; nothing is fetched unless it is allowed."""
    with pytest.raises(error, match=words):
        painter_of(value)


def test_fetching_without_a_network():
    """Allowed to fetch, but unable to: one error that says what to look at."""
    with pytest.raises(BackendError, match=r"cannot be fetched .* check the name and the network"):
        painter_of("someone/some-model", models__download=True)


def test_settings_without_a_step(weights):
    """A strength so small that nothing is denoised is refused before anything is loaded."""
    with pytest.raises(ConfigError, match=r"inpaint.steps, inpaint.strength are 2, 0.1"):
        painter_of(weights("sd9"), inpaint__strength=0.1)


def test_a_folder_that_is_no_pipeline(tmp_path):
    """No index, an index that is no JSON, an index without a class."""
    with pytest.raises(InputError, match=r"holds no model_index\.json"):
        painter_of(tmp_path)
    for text in ("{", "[]", "{}"):
        (tmp_path / "model_index.json").write_text(text)
        with pytest.raises(InputError, match=r"model_index\.json"):
            painter_of(tmp_path)


def test_a_pipeline_that_does_not_inpaint(weights):
    """An unconditional generator has no inpainting relative."""
    with pytest.raises(InputError, match="DDPMPipeline, which is no inpainting pipeline"):
        painter_of(weights("unconditional"))


def test_a_pipeline_that_needs_more_than_a_mask(weights):
    """One that wants a control picture is refused when it is loaded, not at the first hole."""
    with pytest.raises(InputError, match="does not complete pictures by itself"):
        painter_of(weights("control"))


@pytest.fixture
def copy(weights, tmp_path):
    """A tiny pipeline that may be damaged."""
    return Path(shutil.copytree(weights("sd9"), tmp_path / "copy"))


def test_missing_and_damaged_files(copy):
    """A truncated file, a missing file and a missing folder are told apart and named."""
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(BackendError, match=r"is damaged .*diffusion_pytorch_model.safetensors"):
        painter_of(copy)
    file.write_bytes(b"\xff" * 64)
    with pytest.raises(BackendError, match="header is longer"):
        painter_of(copy)
    file.unlink()
    with pytest.raises(InputError, match="part 'unet' has no weights file"):
        painter_of(copy)
    shutil.rmtree(copy / "unet")
    with pytest.raises(InputError, match="lacks its part 'unet'"):
        painter_of(copy)


def test_weights_of_another_shape_do_not_load(copy):
    """A configuration that does not fit its weights is the model's fault, in one error."""
    path = copy / "unet" / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"block_out_channels": [8, 8]}))
    with pytest.raises(BackendError, match=r"models\.painter cannot be loaded"):
        painter_of(copy)


@pytest.mark.parametrize(("part", "words"), [("unet", "non-finite numbers in step 1"), ("vae", "non-finite")])
def test_non_finite_output(copy, part, words):
    """NaN is found in the step that makes it, or at the latest in the picture."""
    break_weights(copy / part)
    painter = painter_of(copy)
    with pytest.raises(BackendError, match=words):
        painter.paint(hint_with_holes(), seed=0)


def break_weights(place: Path) -> None:
    """Put NaN into the last convolution of a part."""
    from safetensors.numpy import load_file, save_file

    path = place / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    name = "conv_out.bias" if "conv_out.bias" in tensors else "decoder.conv_out.bias"
    tensors[name][:] = np.nan
    save_file(tensors, path, {"format": "pt"})


def test_a_picture_of_another_shape(tmp_path):
    """A decoder of grey pictures is refused."""
    folder = write_pipeline("sd9", tmp_path / "grey", vae=one_channel_vae())
    with pytest.raises(BackendError, match=r"returned a picture of shape \(48, 64, 1\); expected \(48, 64, 3\)"):
        painter_of(folder).paint(hint_with_holes(), seed=0)


def test_out_of_memory_frees_the_model(weights):
    """One error with advice, and the model is gone."""
    import torch

    painter = painter_of(weights("sd9"))

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to")

    painter._pipeline.residency.model.unet.register_forward_pre_hook(full)
    with pytest.raises(BackendError, match=r"ran out of memory while it painted .* choose smaller weights"):
        painter.paint(hint_with_holes(), seed=0)
    assert painter._pipeline.residency.model is None
    with pytest.raises(BackendError, match="was freed"):
        painter.paint(hint_with_holes(), seed=0)


def test_a_missing_package(weights, monkeypatch):
    """Without transformers the extra is named."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DependencyError, match=r"lyra-worldgen\[models\]"):
        painter_of(weights("sd9"))


def test_safety_checkers(tmp_path, capfd):
    """One that objects stops the work with a reason; one that does not, or one that was left out, is never heard of."""
    strict = write_pipeline("sd9", tmp_path / "strict", safety_threshold=-2.0)
    with pytest.raises(BackendError, match="safety checker of 'strict' withheld the picture"):
        painter_of(strict).paint(hint_with_holes(), seed=0)
    mild = write_pipeline("sd9", tmp_path / "mild", safety_threshold=2.0)
    shutil.rmtree(strict / "safety_checker")
    capfd.readouterr()
    want = painter_of(mild).paint(hint_with_holes(), seed=0)
    np.testing.assert_array_equal(painter_of(strict).paint(hint_with_holes(), seed=0), want)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_variant_loads_when_it_is_all_there_is(tmp_path, weights):
    """A folder that holds fp16 files only needs no setting."""
    folder = write_pipeline("sd9", tmp_path / "half", variant="fp16")
    np.testing.assert_array_equal(
        painter_of(folder).paint(hint_with_holes(), seed=0), painter_of(weights("sd9")).paint(hint_with_holes(), seed=0)
    )


@pytest.mark.parametrize(
    ("dtype", "kind"), [("bfloat16", "sd9"), pytest.param("bfloat16", "flux", marks=pytest.mark.slow)]
)
def test_half_the_memory_on_the_cpu(weights, dtype, kind):
    """bfloat16 paints on the CPU too; float16 is refused there."""
    painter = painter_of(weights(kind), models__dtype=dtype)
    part = painter._pipeline.residency.model
    assert str(next(part.vae.parameters()).dtype) == f"torch.{dtype}"
    hint = hint_with_holes()
    np.testing.assert_array_equal(painter.paint(hint, seed=0)[hint.known], hint.rgb_u8[hint.known])
    with pytest.raises(ConfigError, match="float16"):
        painter_of(weights(kind), models__dtype="float16")


def test_auto_takes_usable_weights_and_says_why_not(weights, caplog, tmp_path):
    """`auto` stays with the embedded painter unless the named weights can be used."""
    caplog.set_level("INFO")
    auto = {"generation__painter": "auto"}
    assert resolve_backends(WorldConfig()).generation.painter == "patch"
    assert resolve_backends(config(weights("sd9"), **auto)).generation.painter == "inpaint"
    assert "tiny-sd9" in caplog.text and "on the CPU in float32" in caplog.text
    assert resolve_backends(config(tmp_path, **auto)).generation.painter == "patch"
    assert "cannot be used" in caplog.text and "model_index.json" in caplog.text
    assert resolve_backends(config("someone/some-model", **auto)).generation.painter == "patch"
    fetched = config("someone/some-model", models__download=True, **auto)
    assert resolve_backends(fetched).generation.painter == "inpaint"


def first_stages():
    stages = default_stages()
    return replace(stages, items=stages.items[:2])


SMALL = {
    "geometry__working_long_side_px": 96,
    "generation__view_long_side_px": 64,
    "generation__path": "turn",
}


@pytest.mark.slow
def test_a_failed_world_goes_on_with_good_weights(copy, weights, photos, tmp_path):
    """Bad weights cost the stage, not the folder: with good ones in their place the same command finishes it."""
    out, settings = tmp_path / "world", config(copy, inpaint__steps=1, **SMALL)
    file = Path("unet") / "diffusion_pytorch_model.safetensors"
    (copy / file).rename(copy / "aside")
    with pytest.raises(InputError, match="no weights file"):
        build_world(photos / "hall.png", out, settings, stages=first_stages())
    assert not out.exists(), "nothing was begun"
    (copy / "aside").rename(copy / file)
    break_weights(copy / "unet")
    with pytest.raises(BackendError, match="non-finite"):
        build_world(photos / "hall.png", out, settings, stages=first_stages())
    done = load_world(out).manifest.stages
    assert "understand" in done and "explore" not in done
    shutil.copy(weights("sd9") / file, copy / file)
    (copy / "README.md").write_text("---\nlicense: openrail++\n---\n# Tiny\n")
    build_world(photos / "hall.png", out, settings, stages=first_stages())
    record = load_world(out).manifest.stages["explore"]
    assert (record.backend, record.model, record.weights_licence) == ("inpaint", "copy", "openrail++")
    assert "transformers" in record.versions


@pytest.mark.slow
@pytest.mark.physx
@pytest.mark.parametrize("kind", ["sd9", "xl", "flux"])
def test_generate_with_foreign_weights(weights, photos, tmp_path, kind):
    """A whole world from the command line: the manifest names painter, model and licence, the libraries stay silent."""
    sets = [f"{key.replace('__', '.')}={value}" for key, value in SMALL.items()]
    sets += ["inpaint.steps=2", "reconstruction.texture_px=256", "reconstruction.splat_budget=20000"]
    sets += ["simulation.episode_count=4", "simulation.cell_m=0.1"]
    sets += ["certificate.drops=2", "certificate.drive_episodes=1"]
    out = tmp_path / "world"
    command = [sys.executable, "-W", "default", "-m", "lyra.worldgen", "generate", photos / "hall.png", "--out", out]
    command += ["--painter", "inpaint", "--painter-model", weights(kind), "--json-lines"]
    command += [part for text in sets for part in ("--set", text)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert not any(word in done.stderr for word in ("transformers", "diffusers", "Loading", "it/s")), done.stderr
    world = load_world(out)
    assert world.finished and world.check_files().ok
    values = json.loads((out / "world.json").read_text())
    explored = values["stages"]["explore"]
    assert (explored["backend"], explored["model"]) == ("inpaint", weights(kind).name)
    assert explored["weights_licence"] == values["licence"] == f"unknown: see {weights(kind).name}"
