"""Faults of a lidar are as large as asked, late by as much as asked, and drawn anew where they should be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from lyra.worldgen.core.errors import ConfigError
from lyra_tasks.lidar_faults import FaultOptions, LidarFaults

COUNT, RAYS = 50, 64


def faults(*, noise: float = 0.0, dropout: float = 0.0, latency_steps: int = 0, seed: int = 1) -> LidarFaults:
    options = FaultOptions(noise=noise, dropout=dropout, latency_steps=latency_steps, seed=seed)
    return LidarFaults(options, env_count=COUNT, rays=RAYS, device="cpu")


def scan(step: int) -> torch.Tensor:
    """A scan that tells its step."""
    return torch.full((COUNT, RAYS), step / 1000)


def test_noise_and_dropout_are_as_large_as_asked():
    """Spread and share over 3200 rays; ranges stay shares, what is out of range stays so."""
    told = faults(noise=0.01).apply(torch.full((COUNT, RAYS), 0.5), 0)
    assert abs(float(told.mean()) - 0.5) < 0.001 and abs(float(told.std()) - 0.01) < 0.001
    assert (faults(noise=0.5).apply(torch.ones(COUNT, RAYS), 0) == 1).all()
    near = faults(noise=0.5).apply(torch.full((COUNT, RAYS), 0.01), 0)
    assert near.min() >= 0 and near.max() <= 1
    lost = faults(dropout=0.2).apply(torch.full((COUNT, RAYS), 0.5), 0)
    assert abs(float((lost == 1).float().mean()) - 0.2) < 0.03 and ((lost == 1) | (lost == 0.5)).all()
    again = faults(noise=0.01, dropout=0.2)
    first, second = (again.apply(torch.full((COUNT, RAYS), 0.5), step) for step in range(2))
    assert not torch.equal(first, second)
    same = faults(noise=0.01, dropout=0.2).apply(torch.full((COUNT, RAYS), 0.5), 0)
    assert torch.equal(first, same) and not torch.equal(
        same, faults(noise=0.01, dropout=0.2, seed=2).apply(torch.full((COUNT, RAYS), 0.5), 0)
    )


@given(st.integers(0, 6), st.data())
def test_scans_are_late_by_a_constant_that_resets_draw_anew(latency, data):
    """Any mixture of steps, resets and looking twice: an environment is told the scan of so many steps ago, and none
    from before its drive."""
    lidar = faults(latency_steps=latency)
    began = torch.zeros(COUNT, dtype=torch.long)
    assert lidar.delay_steps.min() >= 0 and lidar.delay_steps.max() <= latency
    for step in range(data.draw(st.integers(1, 25))):
        ids = data.draw(st.sets(st.integers(0, COUNT - 1), max_size=6))
        if ids:
            delays = lidar.delay_steps.clone()
            lidar.reset(torch.tensor(sorted(ids)))
            others = [i for i in range(COUNT) if i not in ids]
            assert torch.equal(delays[others], lidar.delay_steps[others])
            began[sorted(ids)] = step
        for _ in range(data.draw(st.integers(1, 2))):
            told = lidar.apply(scan(step), step)
        expected = torch.maximum(torch.tensor(step) - lidar.delay_steps, began)
        torch.testing.assert_close(told[:, 0], expected / 1000)


def test_latencies_differ():
    """Fifty environments, up to five steps: all six values occur."""
    assert set(faults(latency_steps=5).delay_steps.tolist()) == set(range(6))


@pytest.mark.parametrize("values", [{"noise": -1.0}, {"dropout": 1.5}, {"latency_steps": -1}])
def test_impossible_faults_are_refused(values):
    """The message says what is expected."""
    with pytest.raises(ConfigError, match="expected no negative noise"):
        faults(**values)
