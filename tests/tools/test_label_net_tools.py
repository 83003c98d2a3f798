"""The procedural scenes are exact and repeatable, and the trainer learns from them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lyra.worldgen.core.frames import up_in_cam


@pytest.fixture
def tools(repository, monkeypatch):
    """Modules of tools/label_net, imported by their own names."""
    for package in ("numba", "torch", "safetensors"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(str(repository / "tools" / "label_net"))
    for name in ("model", "scenes", "raycast", "train"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import scenes
    import train

    return scenes, train


@pytest.mark.slow
def test_scenes_are_repeatable_and_exact(tools):
    scenes, _ = tools
    for seed in range(6):
        one, two = scenes.sample(seed), scenes.sample(seed)
        assert one.rgb_u8.tobytes() == two.rgb_u8.tobytes() and one.labels.tobytes() == two.labels.tobytes()
        h, w = one.labels.shape
        x, y = np.meshgrid((np.arange(w) + 0.5 - w / 2) / one.f_px, (np.arange(h) + 0.5 - h / 2) / one.f_px)
        up = up_in_cam(one.pitch_rad, one.roll_rad)
        fall = -(x * up[0] + y * up[1] + up[2])
        floor = (one.labels == 0) & (fall > 0.02)
        # Rugs and lane marks lie a few millimetres above the floor and are floor, too.
        np.testing.assert_allclose(one.depth_z_m[floor], (one.height_m / fall)[floor], rtol=0.03)
        assert ((one.depth_z_m == 0) == (one.labels == 4)).all()


@pytest.mark.slow
def test_training_lowers_the_loss(tools):
    scenes, train = tools
    pool = train.make_pool(50, 96, 96, 64)
    net = train.LabelNet()
    losses = train.train(net, pool, seed=0, passes=12, rate=2e-3)
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:5])
    assert len(scenes.KINDS) == len({s.kind for s in pool})
