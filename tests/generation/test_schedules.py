"""Noise schedules against the recording of the reference, through the real solver of diffusers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_data import load_golden
from lyra.worldgen.core.errors import ConfigError
from lyra.worldgen.generation.schedules import (
    distilled_levels,
    initial_noise,
    levels_at,
    network_timestep,
    predict_clean,
    released_levels,
    renoise,
    training_times,
    unipc_scheduler,
)

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")


def toy_velocity(x: np.ndarray, t: float) -> np.ndarray:
    """The recording's stand-in for a network."""
    return 0.5 * x - 0.3 + 0.1 * np.sin(0.01 * t) + 0.02 * x * np.abs(x)


@pytest.mark.parametrize("steps", [35, 50, 4])
def test_released_grid_equals_the_recording(steps):
    """Sigmas, and the whole timesteps exactly, also after diffusers has taken them."""
    g, _ = load_golden("schedulers")
    levels = released_levels(steps)
    np.testing.assert_allclose(levels.sigmas, g[f"unipc_sigmas_{steps}"], atol=1e-6)
    np.testing.assert_array_equal(levels.timesteps, g[f"unipc_timesteps_{steps}"])
    scheduler = unipc_scheduler(levels)
    np.testing.assert_allclose(scheduler.sigmas.numpy(), g[f"unipc_sigmas_{steps}"], atol=1e-6)
    np.testing.assert_array_equal(scheduler.timesteps.numpy(), g[f"unipc_timesteps_{steps}"])


@pytest.mark.parametrize("steps", [35, 4])
def test_solver_equals_the_recording(steps):
    """Every state of the way; channels without velocity, as history positions have none, stay as they were."""
    g, _ = load_golden("schedulers")
    x = torch.from_numpy(g["unipc_x_init"])
    scheduler = unipc_scheduler(released_levels(steps))
    for t, want in zip(scheduler.timesteps, g[f"unipc_trajectory_{steps}"], strict=True):
        velocity = toy_velocity(x.numpy(), float(t))
        velocity[:, :2] = 0
        x = scheduler.step(torch.from_numpy(velocity), t, x).prev_sample
        np.testing.assert_allclose(x.numpy(), want, atol=1e-5)
        np.testing.assert_allclose(x[:, :2].numpy(), g["unipc_x_init"][:, :2], atol=1e-5)


def test_one_step_equals_the_recording():
    """From one explicit sigma straight to the clean latent: by the solver and by the formula."""
    g, _ = load_golden("schedulers")
    levels = levels_at([0.37])
    np.testing.assert_allclose(levels.sigmas, g["onestep_sigmas"], atol=1e-7)
    np.testing.assert_array_equal(levels.timesteps, g["onestep_timesteps"])
    x = g["unipc_x_init"]
    velocity = toy_velocity(x, float(levels.timesteps[0]))
    np.testing.assert_allclose(velocity, g["onestep_v"], atol=1e-5)
    np.testing.assert_allclose(predict_clean(x, velocity, 0.37), g["onestep_out"], atol=1e-5)
    scheduler = unipc_scheduler(levels)
    got = scheduler.step(torch.from_numpy(velocity), scheduler.timesteps[0], torch.from_numpy(x)).prev_sample
    np.testing.assert_allclose(got.numpy(), g["onestep_out"], atol=1e-5)


def test_distilled_steps_equal_the_recording():
    """Four levels, and the three that a clean guess is brought back to."""
    g, _ = load_golden("schedulers")
    steps = list(distilled_levels().steps())
    np.testing.assert_allclose([t for t, _, _ in steps], g["dmd_steps"], rtol=1e-6)
    np.testing.assert_allclose([sigma for _, sigma, _ in steps], g["dmd_step_sigmas"], atol=1e-6)
    np.testing.assert_allclose([after for _, _, after in steps], [*g["dmd_renoise_sigmas"], 0], atol=1e-6)


def test_training_table_equals_the_recording():
    """Table, weights, and the draw by quantile; distillation used the same table."""
    g, _ = load_golden("schedulers")
    table = training_times()
    for name in ("train", "dmd_table"):
        np.testing.assert_allclose(table.timesteps, g[f"{name}_timesteps"], rtol=1e-6)
        np.testing.assert_allclose(table.sigmas, g[f"{name}_sigmas"], atol=1e-6)
    np.testing.assert_allclose(table.weights, g["train_time_weight"], atol=1e-5)
    k = table.index_of(g["u"])
    np.testing.assert_allclose(table.timesteps[k], g["u_timestep"], rtol=1e-6)
    np.testing.assert_allclose(table.sigmas[k], g["u_sigma"], atol=1e-6)
    np.testing.assert_allclose(table.weights[k], g["u_weight"], atol=1e-5)


def test_halved_timesteps_equal_the_recording():
    g, _ = load_golden("schedulers")
    table = training_times()
    k = table.halved(g["u_timestep"])
    np.testing.assert_allclose(table.timesteps[k], g["u_selfaug_timestep"], rtol=1e-6)
    np.testing.assert_allclose(table.sigmas[k], g["u_selfaug_sigma"], atol=1e-6)
    assert table.halved(1000.0).shape == ()


def test_initial_noise_equals_the_recording():
    """Bit for bit: old worlds can be drawn again."""
    g, _ = load_golden("schedulers")
    noise = initial_noise(1, (1, 16, 2, 3, 4))
    assert noise.dtype == np.float32
    np.testing.assert_array_equal(noise, g["init_noise_seed1"])


@given(steps=st.integers(1, 1000), shift=st.floats(0.1, 20.0))
def test_any_grid_leads_to_a_clean_latent(steps, shift):
    """Sigmas fall strictly from below 1 to 0, and the network's timestep is never above 1000 sigma."""
    levels = released_levels(steps, shift=shift)
    assert len(levels) == steps and levels.sigmas[0] < 1 and levels.sigmas[-1] == 0
    assert (np.diff(levels.sigmas.astype(float)) < 0).all()
    over = 1000 * levels.sigmas[:-1].astype(float) - levels.timesteps
    assert (over > -1e-3).all() and (over < 1 + 1e-3).all()


def test_a_grid_that_repeats_timesteps_is_walked_to_its_end():
    """A straight velocity is solved exactly by any grid, however fine."""
    rng = np.random.default_rng(3)
    clean, noise = rng.standard_normal((2, 1, 2, 1, 4, 4)).astype(np.float32)
    levels = levels_at(np.linspace(0.9, 0.3, 400) ** 3)
    assert len(set(levels.timesteps.tolist())) < len(levels)
    scheduler = unipc_scheduler(levels)
    x = torch.from_numpy(renoise(clean, noise, levels.sigmas[0]))
    for t in scheduler.timesteps:
        x = scheduler.step(torch.from_numpy(noise - clean), t, x).prev_sample
    np.testing.assert_allclose(x.numpy(), clean, atol=1e-4)


@given(sigma=st.floats(0.01, 1.0))
def test_renoise_and_predict_undo_each_other(sigma):
    clean, noise = np.array([0.3, -1.2]), np.array([1.1, 0.4])
    np.testing.assert_allclose(predict_clean(renoise(clean, noise, sigma), noise - clean, sigma), clean, atol=1e-12)


def test_weights_average_to_one():
    """So that the loss keeps its scale; pure noise teaches nothing."""
    weights = training_times().weights
    assert weights.astype(float).mean() == pytest.approx(1.0, abs=1e-6)
    assert weights[0] == 0 and weights.min() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: released_levels(0), "steps is 0"),
        (lambda: released_levels(4, shift=0.0), "shift is 0"),
        (lambda: released_levels(4, shift=1e9), "decrease"),
        (lambda: levels_at([]), "decrease"),
        (lambda: levels_at([0.3, 0.3]), "decrease"),
        (lambda: levels_at([1.0, 0.3]), "decrease"),
        (lambda: levels_at([float("nan")]), "decrease"),
        (lambda: unipc_scheduler(distilled_levels()), "not whole"),
        (lambda: initial_noise(-1, (1,)), "seed is -1"),
    ],
)
def test_bad_schedules(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_network_timestep_rounds_down():
    np.testing.assert_array_equal(network_timestep([0.9998, 0.37, 0.0009]), [999, 370, 0])
