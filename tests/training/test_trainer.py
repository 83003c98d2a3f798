"""The training loop on a network of a few thousand parameters and two tiny films."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.cli.main import main
from lyra.worldgen.core.errors import ConfigError, InputError
from lyra.worldgen.core.progress import Progress
from lyra.worldgen.core.schema import load_schema, resolved_dict
from lyra.worldgen.training import trainer as trainer_module
from lyra.worldgen.training.components import load_small_network, small_components, small_painter
from lyra.worldgen.training.config import NEW_PARTS, DataConfig, NetworkConfig, OptimConfig, TrainingConfig
from lyra.worldgen.training.patch_vae import PatchVae, fit_patch_vae
from lyra.worldgen.training.procedural import FilmSpec
from lyra.worldgen.training.rollout import continue_film, drift_of
from lyra.worldgen.training.run import open_films, train
from lyra.worldgen.training.trainer import Trainer, checkpoints, select_trainable
from lyra.worldgen.training.writer import procedural_films, write_films

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("embreex")

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).resolve().parents[2] / "config" / "training"
TINY = TrainingConfig(
    steps=4,
    checkpoint_every=2,
    checkpoints_kept=2,
    log_every=1,
    dtype="float32",
    gradient_checkpointing=False,
    data=DataConfig(frames=41, resize_width_px=48, width_px=48, height_px=32),
    network=NetworkConfig(layout="f1k1f1s1f1k1_g2", width=16, layers=1, heads=2, ffn_width=16, squeeze_width=4),
    optim=OptimConfig(lr=1e-3, trainable="all", clip_norm=1.0, warmup_steps=2),
)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("films")
    write_films(root, procedural_films(2, FilmSpec(frames=41), seed=11))
    return root


def weights_of(out: Path) -> dict:
    return {name: p.detach().clone() for name, p in load_small_network(out).named_parameters()}


class Stop(Progress):
    """Stops before the step after `last`."""

    def __init__(self, last: int) -> None:
        self.last, self.done = last, -1

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        self.done = done

    def keep_going(self) -> bool:
        return self.done < self.last


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_two_and_two_steps_are_four(films, tmp_path, ema):
    """A run that was stopped ends with the very same weights and log as one that was not."""
    from lyra.worldgen.core.errors import Cancelled

    config = dataclasses.replace(TINY, optim=dataclasses.replace(TINY.optim, ema_decay=ema))
    train(config, films, tmp_path / "whole", cpu=True)
    with pytest.raises(Cancelled):
        train(config, films, tmp_path / "parts", cpu=True, progress=Stop(3))
    assert [c.name for c in checkpoints(tmp_path / "parts")] == ["step-000000002"]
    assert train(config, films, tmp_path / "parts", cpu=True).steps == 4
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    assert [line["step"] for line in logs[1]] == [1, 2, 3, 4]
    assert [line["loss_step"] for line in logs[0]] == [line["loss_step"] for line in logs[1]]


def test_a_finished_run_does_nothing_and_goes_on_when_asked_for_more(films, tmp_path):
    """The same command again changes nothing; more steps are appended; other settings are refused."""
    config = dataclasses.replace(TINY, steps=2)
    assert train(config, films, tmp_path, cpu=True).loss is not None
    before = weights_of(tmp_path)
    assert train(config, films, tmp_path, cpu=True).loss is None
    assert all(torch.equal(before[n], p) for n, p in weights_of(tmp_path).items())
    assert train(dataclasses.replace(config, steps=3), films, tmp_path, cpu=True).steps == 3
    with pytest.raises(InputError, match="other values of seed"):
        train(dataclasses.replace(config, seed=9), films, tmp_path, cpu=True)


def test_a_damaged_checkpoint_is_named(films, tmp_path):
    """What cannot be read is said, with the folder."""
    train(dataclasses.replace(TINY, steps=2), films, tmp_path, cpu=True)
    (checkpoints(tmp_path)[-1] / "training.json").write_text("{")
    with pytest.raises(InputError, match="checkpoint is damaged"):
        train(TINY, films, tmp_path, cpu=True)


def test_only_what_is_chosen_learns(films, tmp_path):
    """The released list moves and nothing else."""
    config = dataclasses.replace(TINY, steps=2, optim=dataclasses.replace(TINY.optim, trainable="new"))
    before = dict(small_components(config, open_films(config, films), tmp_path).painter.network.named_parameters())
    before = {name: p.detach().clone() for name, p in before.items()}
    train(config, films, tmp_path, cpu=True)
    moved = {name for name, p in weights_of(tmp_path).items() if not torch.equal(p, before[name])}
    assert moved and all(any(part in name for part in NEW_PARTS) for name in moved)
    with pytest.raises(ConfigError, match="none of cam_encoder"):
        select_trainable(torch.nn.Linear(2, 2), "new")


def test_bad_gradients_become_zero(films, tmp_path, monkeypatch):
    """NaN and infinity do not reach the weights, and the length is clipped."""
    config = dataclasses.replace(TINY, optim=dataclasses.replace(TINY.optim, clip_norm=0.01))
    trainer = Trainer(config, small_components(config, open_films(config, films), tmp_path), open_films(config, films),
                      tmp_path, cpu=True)  # fmt: skip
    real = trainer.accelerator.backward

    def spoiled(loss):
        real(loss)
        trainer.network.head.head.bias.grad[:2] = torch.tensor([float("nan"), float("inf")])

    monkeypatch.setattr(trainer.accelerator, "backward", spoiled)
    trainer.advance()
    gradients = torch.cat([p.grad.flatten() for p in trainer.network.parameters() if p.grad is not None])
    assert torch.isfinite(gradients).all() and gradients.norm() <= 0.0101
    assert not trainer.network.head.head.bias.grad[:2].any()
    assert all(torch.isfinite(p).all() for p in trainer.network.parameters())


def test_checkpointed_activations_change_nothing(films, tmp_path):
    """Computing activations again gives the same weights."""
    for name, again in (("kept", False), ("again", True)):
        train(dataclasses.replace(TINY, steps=2, gradient_checkpointing=again), films, tmp_path / name, cpu=True)
    kept, again = weights_of(tmp_path / "kept"), weights_of(tmp_path / "again")
    assert all(torch.allclose(kept[name], again[name], atol=1e-7) for name in kept)


def test_the_rate_follows_the_released_schedule():
    """100 steps up to 0.99, then down to 0.4 at 400 000."""
    optim = OptimConfig()
    assert optim.factor(0) == 1e-6 and abs(optim.factor(50) - 0.495) < 1e-5 and optim.factor(100) == 0.99
    assert abs(optim.factor(400_000) - 0.4) < 1e-9 and optim.factor(10**7) == optim.factor(400_000)


def test_presets_are_read():
    """`released.yaml` holds the defaults, `tiny.yaml` fits the schema."""
    assert resolved_dict(load_schema(TrainingConfig, CONFIG / "released.yaml")) == resolved_dict(TrainingConfig())
    tiny = load_schema(TrainingConfig, CONFIG / "tiny.yaml", {"optim.lr": 0.001})
    assert tiny.network.width == 128 and tiny.optim.lr == 0.001
    with pytest.raises(ConfigError, match=r"did you mean 'optim\.clip_norm'"):
        load_schema(TrainingConfig, None, {"clip_nrm": 1})


def test_tensorboard_holds_what_the_log_holds(films, tmp_path):
    """Its own reader finds the scalars of every step, also of those after a checkpoint that were taken up again."""
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps in (1, 2):
        train(dataclasses.replace(TINY, steps=steps), films, tmp_path, cpu=True)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = {event.step: event.value for event in events.Scalars("loss")}
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses == pytest.approx({line["step"]: line["loss"] for line in lines if "loss" in line})
    assert set(losses) == {1, 2}


def test_without_tensorboard_there_is_the_log(films, tmp_path, monkeypatch):
    """The package is optional; the JSON log is always there."""
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr(trainer_module.importlib.util, "find_spec", lambda name: None)
    train(dataclasses.replace(TINY, steps=1), films, tmp_path, cpu=True)
    assert (tmp_path / "log.jsonl").is_file() and not (tmp_path / "tensorboard").exists()


class TestPatchVae:
    def test_pieces_are_the_whole(self, rng):
        """Latents and frames do not depend on how a film is cut, and what was decoded is encoded to the same."""
        films = [rng.integers(0, 255, (24, 16, 24, 3)).astype(np.uint8) for _ in range(2)]
        vae = fit_patch_vae(films)
        video = torch.from_numpy(np.moveaxis(films[0][:17], -1, 0).astype(np.float32) / 127.5 - 1)[None]
        whole, _ = vae.encode(video)
        first, cache = vae.encode(video[:, :, :9])
        second, _ = vae.encode(video[:, :, 9:], cache)
        torch.testing.assert_close(torch.cat([first, second], 2), whole, rtol=0, atol=1e-6)
        decoded, _ = vae.decode(whole)
        assert decoded.shape == video.shape
        start, cache = vae.decode(whole[:, :, :2])
        rest, _ = vae.decode(whole[:, :, 2:], cache)
        torch.testing.assert_close(torch.cat([start, rest], 2), decoded, rtol=0, atol=1e-6)
        # The first latent's frames beyond the one that is shown are lost.
        torch.testing.assert_close(vae.encode(decoded)[0][:, :, 1:], whole[:, :, 1:], rtol=0, atol=1e-4)

    def test_files_are_checked(self, tmp_path, rng):
        """Saved and read again, or refused."""
        vae = fit_patch_vae([rng.integers(0, 255, (24, 16, 24, 3)).astype(np.uint8)])
        vae.save(tmp_path / "v.safetensors")
        assert torch.equal(PatchVae.load(tmp_path / "v.safetensors").patterns, vae.patterns)
        (tmp_path / "w.safetensors").write_bytes(b"\0" * 40)
        for name in ("w.safetensors", "x.safetensors"):
            with pytest.raises(InputError, match=name):
                PatchVae.load(tmp_path / name)
        with pytest.raises(InputError, match="fit them again"):
            PatchVae(np.ones((16, 768), np.float32), np.zeros(768, np.float32), np.ones(16, np.float32))
        with pytest.raises(InputError, match="expected"):
            vae.encode(torch.zeros(1, 3, 6, 16, 16))


def test_continued_films_are_held_against_the_truth(films, tmp_path):
    """The first frame stays, every chunk is measured, and a perfect film has no drift."""
    config = dataclasses.replace(TINY, steps=1)
    opened = open_films(config, films)
    components = small_components(config, opened, tmp_path)
    clip = opened.clip(0)
    text = components.text_of(clip, 0, False)
    made = continue_film(components.painter, clip, chunks=3, steps=2, seed=0, text=text)
    assert made.shape == (25, 32, 48, 3)
    np.testing.assert_array_equal(made[0], clip.rgb_u8[0])
    again = continue_film(components.painter, clip, chunks=3, steps=2, seed=0, text=text)
    np.testing.assert_array_equal(made, again)
    late = continue_film(components.painter, clip, chunks=1, steps=2, seed=0, text=text, shown=2)
    assert late.shape == made.shape
    np.testing.assert_array_equal(late[:17], clip.rgb_u8[:17])
    assert [d.chunk for d in drift_of(made, clip.rgb_u8[:25], chunk_frames=8)] == [1, 2, 3]
    same = drift_of(clip.rgb_u8[:25], clip.rgb_u8[:25], chunk_frames=8)
    assert all(d.absolute_levels == 0 and d.psnr_db > 90 for d in same)
    darker = drift_of(clip.rgb_u8[:25] // 2, clip.rgb_u8[:25], chunk_frames=8)
    assert all(d.absolute_levels > 10 and max(d.signed_levels) < 0 for d in darker)


def test_the_command_makes_films_and_trains(tmp_path, capsys, monkeypatch):
    """From nothing to a trained network, by the command line alone."""
    monkeypatch.chdir(tmp_path)
    make = ["train-painter", "--make-data", "procedural", "--videos", "2", "--frames", "41", "--out", "films", "--json"]
    assert main(make) == 0
    assert len(json.loads(capsys.readouterr().out)["films"]) == 2
    sets = ["steps=1", "data.frames=41", "network.layout=f1k1f1s1f1k1_g2", "network.width=16", "network.heads=2"]
    run = ["train-painter", "films", "--out", "run", "--config", str(CONFIG / "tiny.yaml"), "--cpu", "--json"]
    assert main([*run, *(part for s in sets for part in ("--set", s))]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["steps"] == 1 and Path(values["network"], "config.json").is_file()
    more = ["--start", "run", "--out", "run2"]
    assert main([*run, *(part for s in sets for part in ("--set", s)), *more]) == 0
    capsys.readouterr()
    assert main(["train-painter", "films", "--out", "x", "--videos", "3"]) == 2
    assert "belongs to --make-data" in capsys.readouterr().err
    assert main(["train-painter", "--out", "x"]) == 2
    assert "no folder of films" in capsys.readouterr().err
    shutil.rmtree("films/pose")
    assert main([*run[:-1], "--out", "run3"]) == 2
    assert "pose" in capsys.readouterr().err


def test_weights_of_a_folder_are_trained(films, tmp_path):
    """A converted Lyra 2.0 (tiny, random) learns; captions without embeddings are refused unless dropped."""
    pytest.importorskip("transformers")
    from tiny_lyra2 import write_tiny_folder

    folder = write_tiny_folder(tmp_path / "lyra2")
    config = dataclasses.replace(TINY, steps=1, augment=dataclasses.replace(TINY.augment, text_drop_rate=1.0))
    outcome = train(config, films, tmp_path / "run", weights=folder, cpu=True)
    assert outcome.loss is not None and np.isfinite(outcome.loss)
    config = dataclasses.replace(config, augment=dataclasses.replace(TINY.augment, text_drop_rate=0.0))
    with pytest.raises(InputError, match="has no embedding"):
        train(config, films, tmp_path / "other", weights=folder, cpu=True)


def test_small_painters_are_those_that_were_trained(films, tmp_path):
    """A network that is loaded again has the layout and weights it was trained with."""
    train(dataclasses.replace(TINY, steps=1), films, tmp_path, cpu=True)
    painter = small_painter(load_small_network(tmp_path), PatchVae.load(tmp_path / "vae.safetensors"))
    assert painter.layout.new_latents == 2
    with pytest.raises(InputError, match="left no network"):
        load_small_network(tmp_path / "nowhere")
