"""One self-augmented iteration against the recording of the reference."""

from __future__ import annotations

import numpy as np
import pytest

from golden_data import load_golden
from lyra.worldgen.generation.chunk_inputs_torch import warp_on
from lyra.worldgen.generation.context_layout import ContextLayout
from lyra.worldgen.generation.lyra2 import checkpoint_keys as keys
from lyra.worldgen.generation.lyra2.vae_stream import StreamingVae
from lyra.worldgen.generation.schedules import training_times
from lyra.worldgen.training.clips import Clip
from lyra.worldgen.training.footage import Footage
from lyra.worldgen.training.plan import AUGMENTED, StageDraws, StepPlan
from lyra.worldgen.training.segments import Segment, remembered_frames
from lyra.worldgen.training.selfaug import training_step
from lyra.worldgen.training.step_inputs import Painter
from tiny_lyra2 import recorded_model

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

LAYOUT = ContextLayout.parse("f1k1f1s2f1s1f4k4f2k2f1k1_g4")
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def recording() -> tuple[dict[str, np.ndarray], dict]:
    return load_golden("selfaug_step")


def golden_vae() -> StreamingVae:
    from diffusers import AutoencoderKLWan

    release = {name: torch.from_numpy(value) for name, value in load_golden("vae_tiny_weights")[0].items()}
    config = keys.vae_config({key: tuple(tensor.shape) for key, tensor in release.items()})
    vae = AutoencoderKLWan(**config)
    vae.load_state_dict(keys.to_ours(keys.vae_names(config), release))
    return StreamingVae(vae.eval().requires_grad_(False))


def golden_footage(g: dict[str, np.ndarray]) -> Footage:
    """The recorded film is float, finer than a data set's bytes."""
    video = g["video"][0]
    clip = Clip(
        video_id="recording",
        rgb_u8=np.zeros((*video.shape[1:], 3), np.uint8),
        depth_z=g["depth"][0],
        w2c=g["w2c"][0],
        K_px=g["K"],
    )
    return Footage(clip).painted_over(np.arange(video.shape[1]), video)


def recorded_draws(g: dict[str, np.ndarray], meta: dict, stage: str) -> StageDraws:
    sigma = g[f"stage{stage}_corruption_sigma"][0]
    noise = (g[f"stage{stage}_corruption_noisy"] - g[f"stage{stage}_corruption_clean"])[0]
    return StageDraws(
        picks=tuple(meta[f"stage{stage}_retrieval"]["picked"]),
        corruption_sigma=sigma,
        corruption_noise=noise / sigma[None, :, None, None],
        time_u=float(g[f"stage{stage}_u"][0]),
        noise=g[f"stage{stage}_eps"][0],
    )


@pytest.fixture(scope="module")
def result(recording):
    """The recorded step, computed by us."""
    g, meta = recording
    painter = Painter(
        network=recorded_model(),
        vae=golden_vae(),
        layout=LAYOUT,
        times=training_times(),
        warp=warp_on("cpu"),
        vision=lambda frame: torch.from_numpy(g["clip"]),
    )
    plan = StepPlan(
        kind=AUGMENTED,
        before=Segment.of(meta["stageA_segment"], LAYOUT),
        before_draws=recorded_draws(g, meta, "A"),
        target=Segment.of(meta["stageB_segment"], LAYOUT),
        draws=recorded_draws(g, meta, "B"),
    )
    return training_step(painter, golden_footage(g), plan, text=torch.from_numpy(g["text"]))


@pytest.mark.parametrize("stage", ["A", "B"])
def test_windows_and_memory_match_the_recording(recording, stage):
    """The frames of each window, and which frames may be retrieved."""
    g, meta = recording
    segment = Segment.of(meta[f"stage{stage}_segment"], LAYOUT)
    assert segment.window.tolist() == meta[f"stage{stage}_video_indices"]
    assert segment.new_frames == meta["new_frames_per_segment"]
    assert remembered_frames(segment, g["video"].shape[2]) == meta[f"stage{stage}_retrieval"]["cache"]


def worst(got, want) -> float:
    got = got.detach().numpy() if hasattr(got, "detach") else np.asarray(got)
    assert got.shape == want.shape, f"{got.shape} against {want.shape}"
    return float(np.abs(got - want).max())


def test_own_prediction_matches_the_recording(recording, result):
    """Noise level, noisy input, velocity and the clean latents of the segment before the target."""
    g, _ = recording
    made = result.augmented
    assert made.prediction.timestep == g["stageA_net_timestep"].item()
    assert abs(made.prediction.sigma - g["stageA_sigma"].item()) <= TOLERANCE
    assert worst(made.prediction.x_in, g["stageA_x_in"]) <= TOLERANCE
    assert worst(made.prediction.velocity, g["stageA_v"]) <= TOLERANCE
    assert worst(made.clean, g["stageA_pred_x0"]) <= TOLERANCE
    decoded = torch.cat([made.encoded.history[None], made.clean], 2)
    assert worst(decoded, g["stageA_decode_input"]) <= TOLERANCE


def test_painted_film_matches_the_recording(recording, result):
    """Exactly the recorded frames were painted over, with the recorded pixels."""
    g, meta = recording
    indices = meta["changed_frame_indices"]
    film = golden_footage(g).frames(np.arange(g["video"].shape[2]))
    painted = result.augmented.footage.frames(np.arange(g["video"].shape[2]))
    changed = np.flatnonzero(np.abs(painted - film).max((0, 2, 3)) > 0)
    assert changed.tolist() == indices
    assert worst(painted[None][:, :, indices], g["augmented_video_changed"]) <= TOLERANCE


def test_inputs_of_the_loss_match_the_recording(recording, result):
    """Context, conditions, mask, last frame and target of the second pass."""
    g, meta = recording
    inputs = result.inputs
    latents = torch.cat([inputs.context, result.target], 2)
    assert worst(latents, g["stageB_latents"]) <= TOLERANCE
    assert worst(inputs.cond[:, 4:], g["stageB_cond"]) <= TOLERANCE
    assert worst(inputs.cond[:, 3:4], g["stageB_mask"]) == 0
    assert worst(result.prediction.x_in, g["stageB_x_in"]) <= TOLERANCE
    last = Segment.of(meta["stageB_segment"], LAYOUT).last_history
    assert worst(result.augmented.footage.frame(last)[None], g["stageB_last_frame"]) <= TOLERANCE


def test_loss_matches_the_recording(recording, result):
    """Time, weight, velocity and loss."""
    g, _ = recording
    assert abs(result.prediction.timestep - g["stageB_timestep"].item()) <= 1e-4
    assert abs(result.prediction.sigma - g["stageB_sigma"].item()) <= TOLERANCE
    assert abs(result.weight - g["time_weight"].item()) <= TOLERANCE
    assert worst(result.prediction.velocity, g["stageB_v_pred"]) <= TOLERANCE
    assert abs(result.loss.item() - g["loss"].item()) <= TOLERANCE
