"""Exposure, white balance and noise of robots' cameras."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from lyra.worldgen.core.colour import display_gain
from lyra.worldgen.core.errors import ConfigError
from lyra_tasks.camera_faults import CameraFaultOptions, CameraFaults

ENVS = 400


def faults(**options) -> CameraFaults:
    """With nothing but what is given."""
    return CameraFaults(
        CameraFaultOptions(**{"exposure_ev": 0.0, "white_balance": 0.0, "noise": 0.0, "seed": 3} | options),
        env_count=ENVS,
        device="cpu",
    )


def reset(made: CameraFaults, drive: int = 0) -> CameraFaults:
    """All environments begin a drive of that number."""
    ids = torch.arange(ENVS)
    made.reset(ids, torch.full_like(ids, drive))
    return made


def test_exposure_spans_its_range_and_keeps_hues():
    """One EV more is twice the light; all three channels alike."""
    gain = reset(faults(exposure_ev=1.0)).gain
    low, high = float(display_gain((0.5,))[0]), float(display_gain((2.0,))[0])
    assert (gain == gain[:, :1]).all()
    assert low - 1e-6 <= gain.min() < low * 1.05 and high / 1.05 < gain.max() <= high + 1e-6


def test_white_balance_leaves_green_alone():
    """Red and blue differ from environment to environment, each for itself."""
    gain = reset(faults(white_balance=0.2)).gain
    assert (gain[:, 1] == 1).all()
    most = float(display_gain((1.2,))[0])
    for channel in (0, 2):
        assert 1 / most - 1e-6 <= gain[:, channel].min() < 0.95 and 1.05 < gain[:, channel].max() <= most + 1e-6
    assert abs(torch.corrcoef(gain[:, [0, 2]].T)[0, 1]) < 0.2


def test_noise_has_its_spread_and_stays_in_range():
    """In the middle of the range; at black it is cut off."""
    made = faults(noise=0.05)
    told = made.apply(torch.full((ENVS, 4, 4, 3), 0.5))
    assert abs(float(told.std()) - 0.05) < 0.002 and abs(float(told.mean()) - 0.5) < 0.002
    dark = made.apply(torch.zeros(ENVS, 4, 4, 3))
    assert dark.min() == 0 and dark.max() <= 1
    assert not torch.equal(made.apply(torch.full((ENVS, 4, 4, 3), 0.5)), told), "every picture has noise of its own"


def test_faults_depend_on_the_seed_and_the_drive_alone():
    """Same seed and drive: same gains, whoever is reset with whom; another seed or drive: others."""
    everything = dict(exposure_ev=1.0, white_balance=0.1, noise=0.02)
    whole, apart = reset(faults(**everything)), faults(**everything)
    for i in (3, 1):
        apart.reset(torch.tensor([i]), torch.tensor([0]))
        torch.testing.assert_close(whole.gain[i], apart.gain[i], atol=1e-6, rtol=0)
    picture = torch.rand(ENVS, 4, 4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(whole.apply(picture), reset(faults(**everything)).apply(picture))
    assert not torch.equal(whole.gain, reset(faults(**everything), drive=1).gain)
    assert not torch.equal(whole.gain, reset(faults(**everything, seed=4)).gain)


def test_without_faults_pictures_stay_as_they_are():
    """To the last bit."""
    picture = torch.rand(ENVS, 4, 4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(reset(faults()).apply(picture), picture)


@pytest.mark.parametrize("wrong", [{"exposure_ev": -1.0}, {"white_balance": 1.0}, {"noise": 2.0}])
def test_values_that_make_no_sense_are_refused(wrong):
    """Each is named with its range."""
    with pytest.raises(ConfigError, match="camera exposure"):
        faults(**wrong)
