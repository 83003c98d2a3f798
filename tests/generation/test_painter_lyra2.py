"""Lyra 2.0 behind the painter: a tiny model of the released classes paints, is taken up, and fails in one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_stages import content
from lyra.worldgen.build import build_world, default_stages, extend_world, resolve_backends, undo_world
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import Lyra2Config, WorldConfig, load_config
from lyra.worldgen.core.errors import BackendError, ConfigError, DependencyError, InputError
from lyra.worldgen.core.journey import Leg
from lyra.worldgen.core.licences import is_research_only
from lyra.worldgen.core.views import WorldViews
from lyra.worldgen.core.world import load_world
from lyra.worldgen.generation.painter import PAINTERS, ChunkHint, ChunkPainter, Shot
from lyra.worldgen.generation.painter_lyra2 import LATENTS, Lyra2Painter, check_settings
from lyra.worldgen.generation.pipeline import explore
from mortal_store import MortalStore
from rooms import analytic_room
from tiny_lyra2 import TINY_LAYOUT, write_tiny_folder

# One test process loads the libraries, not each.
pytestmark = [pytest.mark.usefixtures("model_libraries"), pytest.mark.xdist_group("models")]

ROOM = analytic_room(width_px=64, height_px=48)
CAMERA = PinholeCamera.from_hfov(48, 32, 1.2)
LEGS = (Leg(path="spin:turns=2", prompt="a quiet room"),)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A converted folder, made once, not to be changed."""
    return write_tiny_folder(tmp_path_factory.mktemp("lyra2") / "tiny")


@pytest.fixture
def copy(tiny, tmp_path) -> Path:
    """A converted folder that may be damaged."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def config(folder: Path | str, **overrides: Any) -> WorldConfig:
    settings = {
        "models.painter": str(folder),
        "models.device": "cpu",
        "generation.painter": "lyra2",
        "generation.path": "turn",
        "lyra2.width_px": 48,
        "lyra2.height_px": 32,
        "lyra2.steps": 2,
    }
    return load_config(None, settings | {key.replace("__", "."): value for key, value in overrides.items()})


def painter_of(folder: Path | str, **overrides: Any) -> Lyra2Painter:
    return PAINTERS.load("lyra2").from_config(config(folder, **overrides))


def run(painter: Lyra2Painter, *, store=None, legs=LEGS, seed: int = 3) -> WorldViews:
    return explore(ROOM.photo(), ROOM.geometry(), painter, config("x").generation, seed=seed, store=store, journey=legs)


@pytest.fixture(scope="session")
def painter(tiny) -> Lyra2Painter:
    return painter_of(tiny)


@pytest.fixture(scope="session")
def whole(painter) -> WorldViews:
    """Two chunks in one run."""
    return run(painter)


def test_what_it_says_of_itself(painter):
    """Format and provenance come from the folder."""
    assert isinstance(painter, ChunkPainter)
    assert (painter.film.frames, painter.film.retrieved_views) == (16, 2)
    assert painter.model == "tiny" and is_research_only(painter.weights_licence)
    assert painter.info["layout"] == TINY_LAYOUT and painter.info["size_px"] == [48, 32]
    json.dumps(painter.info)


def test_a_film_with_a_pause_equals_one_without(painter, tiny, whole):
    """Killed after a chunk, another process's painter goes on to the same pixels from the latents that were kept."""
    store = MortalStore(limit=1)
    with pytest.raises(KeyboardInterrupt):
        run(painter, store=store)
    _, chunk = store.chunks[0]
    assert chunk.arrays[LATENTS].shape == (16, 4, 4, 6) and chunk.arrays[LATENTS].dtype == np.float32
    store.limit = 99
    got = run(painter_of(tiny), store=store)
    assert len(got.views) == len(whole.views) and len(store.chunks) == 2
    for x, y in zip(whole.views, got.views, strict=True):
        np.testing.assert_array_equal(x.rgb_u8, y.rgb_u8)
        np.testing.assert_array_equal(x.source, y.source)
    assert whole.metrics["loop_closure_psnr_db"] >= 40


@pytest.fixture(scope="session")
def begun(painter) -> Any:
    """A film of one frame; painters that share a VAE share it too."""
    return painter.begin(ROOM.photo().rgb_u8[8:40, 8:56].astype(np.float32), CAMERA, ROOM.T_world_cam)


def first_latents(painter: Lyra2Painter, begun: Any, *, prompt: str = "a quiet room", seed: int = 3) -> bytes:
    Ts = np.repeat(ROOM.T_world_cam[None], 16, axis=0)
    Ts[:, 0, 3] += 0.05 * np.arange(1, 17)
    shot = Shot(Ts_world_cam=Ts, cameras=(CAMERA,) * 16)
    hint = ChunkHint(last_depth_z_m=np.full((32, 48), 3.0, np.float32), retrieved=(), prompt=prompt)
    steps = []
    draft = painter.draft(begun, shot, hint, seed=seed, step=lambda done, of: steps.append((done, of)))
    assert steps[-1][0] == steps[-1][1] > 0
    return draft.kept[LATENTS].tobytes()


@pytest.mark.slow
def test_what_is_asked_reaches_the_network(painter, begun, tiny):
    """Prompt, seed, guidance, shift, sampler and adapters each lead to another film."""
    films = [
        first_latents(painter, begun),
        first_latents(painter, begun, prompt="a loud hall"),
        first_latents(painter, begun, seed=4),
        first_latents(painter_of(tiny, lyra2__guidance=1.0), begun),
        first_latents(painter_of(tiny, lyra2__shift=3.0), begun),
        first_latents(painter_of(tiny, lyra2__loras="realism_boost=0.5"), begun),
        first_latents(painter_of(tiny, lyra2__sampler="distilled"), begun),
    ]
    assert len(set(films)) == len(films)


@pytest.mark.slow
def test_layers_one_after_the_other(painter, begun, tiny):
    """A network whose layers are fetched one by one, and one that comes and goes with the VAE, paint the same film."""
    moving, coming = painter_of(tiny), painter_of(tiny)
    moving._networks.enable_sequential_cpu_offload(device="cpu")
    coming._networks.enable_model_cpu_offload(device="cpu")
    for other in (moving, coming):
        assert other._networks.loop.caches_rest_on_cpu
        assert first_latents(other, begun) == first_latents(painter, begun)


@pytest.mark.slow
def test_half_the_memory_on_the_cpu(painter, begun, tiny):
    """bfloat16 paints on the CPU too, much the same latents; float16 is refused there."""
    half = painter_of(tiny, models__dtype="bfloat16")
    film = half.begin(ROOM.photo().rgb_u8[8:40, 8:56].astype(np.float32), CAMERA, ROOM.T_world_cam)
    want, got = (np.frombuffer(first_latents(p, f), np.float32) for p, f in ((painter, begun), (half, film)))
    assert not np.array_equal(want, got) and np.corrcoef(want, got)[0, 1] > 0.9
    with pytest.raises(ConfigError, match="float16"):
        check_settings(config(tiny, models__dtype="float16"))


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("", ConfigError, "models.painter is empty"),
        ("/nowhere/at all", InputError, "does not exist"),
        ("someone/some-model", ConfigError, "fetches nothing"),
    ],
)
def test_weights_that_are_not_here(value, error, words):
    """Only a folder on this machine will do; no network is ever asked."""
    with pytest.raises(error, match=words):
        check_settings(config(value, models__download=True))


def test_settings_that_cannot_work(tiny, tmp_path, monkeypatch):
    """Each is refused before anything is loaded, with what to change."""
    assert "in float32" in check_settings(config(tiny))
    with pytest.raises(InputError, match=r"holds no lyra2\.json"):
        check_settings(config(tmp_path))
    with pytest.raises(InputError, match="holds no adapter 'nonsense'; it has: dmd_distillation, realism_boost"):
        check_settings(config(tiny, lyra2__loras="nonsense"))
    with pytest.raises(ConfigError, match="path 'explore' looks at separate places"):
        check_settings(config(tiny, generation__path="explore"))
    with pytest.raises(ConfigError, match="quantised matrices stay on a CUDA device"):
        check_settings(config(tiny, lyra2__quantize="4bit"))
    with pytest.raises(ConfigError, match=r"lyra2\.text_device is 'cuda'"):
        check_settings(config(tiny, lyra2__text_device="cuda"))
    with pytest.raises(InputError, match=r"lyra2\.caption_model is a folder that does not exist"):
        check_settings(config(tiny, lyra2__caption_model="/nowhere/at all"))
    with pytest.raises(ConfigError, match=r"lyra2\.width_px is 50; expected a multiple of 16"):
        config(tiny, lyra2__width_px=50)
    for text in ("=1", "a=x", "a=1,a=2", "a=99", "../a"):
        with pytest.raises(ConfigError, match=r"lyra2\.loras names"):
            Lyra2Config(loras=text)
    assert Lyra2Config(loras="a, b=0.4").lora_weights() == {"a": 1.0, "b": 0.4}


def test_quantised_matrices_name_their_package(painter):
    """Without bitsandbytes the extra is named."""
    from lyra.worldgen.generation.lyra2.networks import quantize

    if "bitsandbytes" in sys.modules:
        pytest.skip("bitsandbytes is installed")
    with pytest.raises(DependencyError, match=r"lyra-worldgen\[quantize\]"):
        quantize(painter._networks._network, "4bit", None)


def test_a_part_that_is_missing(copy):
    """The part and how to add it are named, and nothing is loaded."""
    shutil.rmtree(copy / "text_encoder")
    with pytest.raises(InputError, match="lacks text_encoder; add it with"):
        painter_of(copy)


def test_auto_takes_a_converted_folder(tiny, copy):
    """`auto` looks what the folder is, and stays with the embedded painter where it cannot be used."""
    assert resolve_backends(config(tiny, generation__painter="auto")).generation.painter == "lyra2"
    (copy / "vae" / "config.json").unlink()
    assert resolve_backends(config(copy, generation__painter="auto")).generation.painter == "patch"


def test_out_of_memory_frees_the_model(begun, tiny):
    """One error with advice, and the model is gone."""
    import torch

    painter = painter_of(tiny)

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to")

    painter._networks._network.register_forward_pre_hook(full)
    with pytest.raises(BackendError, match=r"ran out of memory while it painted .* lyra2\.quantize=4bit"):
        first_latents(painter, begun)
    with pytest.raises(BackendError, match="was freed"):
        first_latents(painter, begun)


def test_latents_of_another_model(painter, begun):
    """A chunk that was painted at another size cannot be taken up; the error says so."""
    for kept, found in (({LATENTS: np.zeros((16, 4, 8, 8), np.float32)}, "float32"), ({}, "nothing")):
        with pytest.raises(InputError, match=f"a chunk keeps {found}"):
            painter.redraft(begun, kept)


def first_stages():
    stages = default_stages()
    return replace(stages, items=stages.items[:2])


SMALL = {"geometry__working_long_side_px": 96, "generation__view_long_side_px": 64}


def break_network(folder: Path) -> None:
    """Put NaN into the network's head."""
    from safetensors.torch import load_file, save_file

    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["head.head.bias"][:] = float("nan")
    save_file(tensors, path, {"format": "pt"})


@pytest.mark.slow
def test_a_failed_world_goes_on_with_good_weights(copy, tiny, photos, tmp_path):
    """NaN from the network costs the stage, not the folder: with good weights the same command finishes it."""
    out, settings = tmp_path / "world", config(copy, **SMALL)
    break_network(copy)
    with pytest.raises(BackendError, match="not finite"):
        build_world(photos / "hall.png", out, settings, stages=first_stages())
    done = load_world(out).manifest.stages
    assert "understand" in done and "explore" not in done
    shutil.copy(
        tiny / "transformer" / "diffusion_pytorch_model.safetensors",
        copy / "transformer" / "diffusion_pytorch_model.safetensors",
    )
    world = build_world(photos / "hall.png", out, settings, stages=first_stages())
    record = world.manifest.stages["explore"]
    assert (record.backend, record.model) == ("lyra2", "copy") and "transformers" in record.versions
    assert record.facts["painter"]["sampler"] == "unipc"
    assert is_research_only(record.weights_licence) and is_research_only(world.manifest.licence)
    assert record.weights_licence in (out / "NOTICE.txt").read_text()


@pytest.mark.slow
def test_extended_and_undone_without_a_trace(tiny, photos, tmp_path):
    """A world that was extended and undone is what it was, to the byte; it may also be moved in between."""
    out = tmp_path / "world"
    build_world(photos / "hall.png", out, config(tiny, **SMALL), stages=first_stages())
    before = content(out)
    leg = {"path": "horizontal_zoom:frames=17,direction=left", "prompt": "a hall", "stages": first_stages()}
    extend_world(out, **leg)
    longer = content(out)
    assert longer.keys() - before.keys() >= {"memory/chunks/001.npz", "memory/chunks/001.mp4"}
    undo_world(out, stages=first_stages())
    assert content(out) == before
    shutil.move(out, tmp_path / "moved")
    extend_world(tmp_path / "moved", **leg)
    assert content(tmp_path / "moved") == longer


@pytest.mark.slow
@pytest.mark.physx
def test_generate_killed_and_taken_up(tiny, photos, tmp_path):
    """A whole world from the command line, killed between two chunks, ends as one that was not, and says what it is."""
    sets = {
        **{key.replace("__", "."): value for key, value in SMALL.items()},
        "lyra2.width_px": 96,
        "lyra2.height_px": 64,
        "lyra2.steps": 2,
        "generation.path": "spin:turns=2",
        "reconstruction.texture_px": 256,
        "reconstruction.splat_budget": 20000,
        "simulation.rest_faces": 500,
        "simulation.episode_count": 4,
        "simulation.cell_m": 0.1,
        "certificate.drops": 2,
        "certificate.drive_episodes": 1,
    }

    def start(out: Path, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "default", "-m", "lyra.worldgen", "generate", str(photos / "apartment.png")]
        command += ["--out", str(out), "--painter", "lyra2", "--painter-model", str(tiny), "--prompt", "a flat", *more]
        command += [part for key, value in sets.items() for part in ("--set", f"{key}={value}")]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    whole = start(tmp_path / "whole")
    said, errors = whole.communicate(timeout=1800)
    assert whole.returncode in (0, 1), errors
    assert "NOTICE" in said and "research only" in said
    assert not any(word in errors for word in ("transformers", "diffusers", "Loading", "it/s")), errors
    killed = start(tmp_path / "killed")
    while "explore/000" not in _stages(tmp_path / "killed"):
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert "explore" not in _stages(tmp_path / "killed")
    again = start(tmp_path / "killed", "--json")
    said, errors = again.communicate(timeout=1800)
    assert again.returncode in (0, 1), errors
    assert json.loads(said)["research_only"] is True
    a, b = content(tmp_path / "whole"), content(tmp_path / "killed")
    timed = {"certificate.json", "certificate.html", "world.json"}
    assert [name for name in a if name not in timed and a[name] != b.get(name)] == []
    world = load_world(tmp_path / "killed")
    assert world.finished and world.check_files().ok
    explored = world.manifest.stages["explore"]
    assert (explored.backend, explored.model) == ("lyra2", "tiny")
    assert "research only" in (tmp_path / "killed" / "NOTICE.txt").read_text()


def _stages(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "world.json").read_text())["stages"]
    except (OSError, ValueError):
        return {}
