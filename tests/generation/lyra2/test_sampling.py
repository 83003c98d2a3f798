"""One chunk sampled with the tiny network against the recording, and what holds for any network."""

from __future__ import annotations

import pytest

from lyra.worldgen.core.errors import BackendError, Cancelled, InputError
from lyra.worldgen.core.progress import Progress
from lyra.worldgen.generation.lyra2.sampling import (
    chunk_noise,
    conditioned,
    sample_distilled,
    sample_unipc,
    seeded_draws,
)
from tiny_lyra2 import golden_tensors, recorded_model, structural_validity

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

ATOL = 1e-5


@pytest.fixture(scope="module")
def chunk() -> dict:
    """Recording, and the network told of the prompt and of the negative prompt."""
    g = golden_tensors("sampling_tiny")
    model = recorded_model()
    cond = torch.cat([torch.ones(1, 4, *g["cond"].shape[2:]), g["cond"]], 1)
    inputs = {"cond": cond, "buffer": g["buffer"], "buffer_valid": structural_validity(), "image": g["clip"]}
    return {
        "g": g,
        "velocity": conditioned(model, **inputs, text=g["text"]),
        "negative": conditioned(model, **inputs, text=g["neg_text"]),
    }


def recording(velocity, seen: list):
    """A velocity that notes what it is told and what it gives."""

    def asked(latents, timestep):
        v = velocity(latents, timestep)
        seen.append((latents, timestep, v))
        return v

    return asked


def off(got, want) -> float:
    return float((got - want).abs().max())


def test_a_chunk_equals_the_recording(chunk):
    """Noise from the seed, every velocity of both prompts, timesteps, and the latents after four steps."""
    g = chunk["g"]
    noise = chunk_noise(7, g["history"], 4)
    assert off(noise, g["init_noise"]) == 0
    prompt, negative = [], []
    out = sample_unipc(
        recording(chunk["velocity"], prompt),
        noise,
        history=g["history"],
        negative=recording(chunk["negative"], negative),
        steps=4,
        guidance=5.0,
    )
    assert [int(t) for _, t, _ in prompt] == [999, 937, 833, 624]
    for k in range(4):
        assert off(prompt[k][2], g["v_cond"][k]) <= ATOL
        assert off(negative[k][2], g["v_uncond"][k]) <= ATOL
    assert off(out, g["out"]) <= ATOL


def test_a_distilled_chunk_equals_the_recording(chunk):
    """With the recorded draws between the steps."""
    g = chunk["g"]
    out = sample_distilled(
        chunk["velocity"], g["init_noise"], history=g["history"], draws=lambda step: g["dmd_renoise"][step]
    )
    assert off(out, g["dmd_out"]) <= ATOL


def straight_way(clean, noise):
    """The velocity that leads any noise level to `clean`, and a list of what it was told."""
    return lambda latents, timestep: noise - clean


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_straight_way_is_walked_to_its_end(steps):
    """Whatever the number of steps, and the history reaches the network bit for bit every time."""
    generator = torch.Generator().manual_seed(1)
    clean, noise, history = (torch.randn(1, 16, 2, 4, 4, generator=generator) for _ in range(3))
    seen: list = []
    got = sample_unipc(recording(straight_way(clean, noise), seen), noise, history=history, steps=steps)
    assert len(seen) == steps and all(torch.equal(latents[:, :, :2], history) for latents, _, _ in seen)
    # The released levels begin a little below pure noise.
    assert off(got, clean) < 2e-3
    seen.clear()
    draws = seeded_draws(3, noise)
    sample_distilled(recording(straight_way(clean, noise), seen), noise, history=history, draws=draws)
    assert len(seen) == 4 and all(torch.equal(latents[:, :, :2], history) for latents, _, _ in seen)


def test_guidance_of_one_asks_for_the_prompt_alone():
    """And no guidance needs no negative prompt."""
    noise = torch.randn(1, 16, 1, 2, 2, generator=torch.Generator().manual_seed(1))

    def refused(latents, timestep):
        raise AssertionError("asked for the negative prompt")

    def velocity(latents, timestep):
        return 0.1 * latents[:, :, -1:]

    options = {"history": noise, "steps": 3}
    alone = sample_unipc(velocity, noise, negative=refused, guidance=1.0, **options)
    assert torch.equal(alone, sample_unipc(velocity, noise, **options))
    assert not torch.equal(alone, sample_unipc(velocity, noise, negative=lambda x, t: 0 * x[:, :, -1:], **options))


def test_draws_follow_the_seed():
    """The same seed draws the same, another one something else, and each step anew."""
    like = torch.zeros(1, 16, 1, 2, 2)
    a, b, c = (seeded_draws(seed, like) for seed in (5, 5, 6))
    first = a(0)
    assert torch.equal(first, b(0)) and not torch.equal(first, c(0)) and not torch.equal(first, a(1))


class Stopping(Progress):
    """Notes steps and stops after some."""

    def __init__(self, after: int) -> None:
        self.after, self.done = after, []

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        self.done.append((stage, done, total))

    def keep_going(self) -> bool:
        return len(self.done) <= self.after


def test_progress_is_told_of_every_step_and_can_stop_it():
    noise = torch.zeros(1, 16, 1, 2, 2)
    seen: list = []
    velocity = recording(lambda latents, timestep: latents[:, :, -1:], seen)
    whole = Stopping(99)
    sample_unipc(velocity, noise, history=noise, steps=3, progress=whole)
    assert whole.done == [("denoise", k, 3) for k in range(4)]
    seen.clear()
    with pytest.raises(Cancelled, match="denoise"):
        sample_unipc(velocity, noise, history=noise, steps=3, progress=Stopping(1))
    assert len(seen) == 2
    with pytest.raises(Cancelled):
        sample_distilled(velocity, noise, history=noise, draws=seeded_draws(0, noise), progress=Stopping(0))


def test_bad_chunks():
    noise = torch.zeros(1, 16, 1, 2, 2)
    with pytest.raises(InputError, match="history"):
        sample_unipc(lambda x, t: x, noise, history=torch.zeros(1, 16, 1, 4, 2))
    with pytest.raises(BackendError, match="not finite"):
        sample_unipc(lambda x, t: torch.full_like(noise, float("nan")), noise, history=noise, steps=2)
