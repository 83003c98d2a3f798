"""MoGe and Depth Anything 3: the documented interfaces, played by fakes; the real packages are not run here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import ModelsConfig, WorldConfig
from lyra.worldgen.core.errors import BackendError, ConfigError, DependencyError
from lyra.worldgen.core.views import SPACE_DEPTH, SPACE_METRIC, SPACE_SCALE
from lyra.worldgen.generation.depth_da3 import DepthAnything3Depth
from lyra.worldgen.generation.depth_moge import MogeDepth

# One test process loads the libraries, not each.
pytestmark = pytest.mark.xdist_group("models")

RGB = np.zeros((30, 40, 3), np.uint8)


def config(depth: object) -> WorldConfig:
    return WorldConfig(models=ModelsConfig(depth=str(depth)))


def install(monkeypatch, names: list[str], module: ModuleType) -> None:
    assert "fake" in module.__name__
    for name in names:
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def fake_moge(monkeypatch) -> list[dict[str, Any]]:
    """A module that speaks as MoGe-2 does; the list holds what it was asked."""
    import torch

    asked: list[dict[str, Any]] = []

    class FakeMogeModel(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale_head = torch.nn.Identity()

        @classmethod
        def from_pretrained(cls, where, **options):
            asked.append({"where": where, **options})
            if Path(where).suffix == ".pt" and not Path(where).exists():
                raise FileNotFoundError(f"no such file:\n{where}")
            return cls()

        def infer(self, image, *, fov_x=None, apply_mask=True, use_fp16=True):
            asked.append({"shape": tuple(image.shape), "max": float(image.max()), "fov_x": fov_x, "fp16": use_fp16})
            h, w = image.shape[-2:]
            mask = torch.ones(h, w, dtype=torch.bool)
            mask[:5] = False
            K = torch.tensor([[0.9, 0.0, 0.5], [0.0, 1.2, 0.5], [0.0, 0.0, 1.0]])
            return {"depth": torch.full((h, w), 2.5), "mask": mask, "intrinsics": K}

    module = ModuleType("fake_moge")
    module.MoGeModel = FakeMogeModel  # type: ignore[attr-defined]
    install(monkeypatch, ["moge", "moge.model", "moge.model.v1", "moge.model.v2"], module)
    return asked


def test_moge_gives_metric_depth_and_pixels(fake_moge, tmp_path):
    """Intrinsics come back in pixels, the masked sky is not valid, the known field of view is passed on in degrees."""
    (tmp_path / "model.pt").write_bytes(b"weights")
    model = MogeDepth.from_config(config(tmp_path))
    found = model.estimate(RGB, PinholeCamera.from_hfov(40, 30, np.radians(50.0)))
    assert found.space == SPACE_METRIC
    np.testing.assert_allclose(found.K_px, [[36.0, 0.0, 20.0], [0.0, 36.0, 15.0], [0.0, 0.0, 1.0]], rtol=1e-6)
    assert not found.valid[:5].any() and found.valid[5:].all()
    np.testing.assert_allclose(found.depth_z_m, 2.5)
    assert fake_moge[0] == {"where": str(tmp_path / "model.pt")}
    assert fake_moge[1]["shape"] == (3, 30, 40) and fake_moge[1]["fp16"] is False
    np.testing.assert_allclose(fake_moge[1]["fov_x"], 50.0)


def test_moge_without_its_checkpoint_is_one_line(fake_moge, tmp_path):
    """A folder without `model.pt`."""
    with pytest.raises(BackendError, match=r"models.depth cannot be loaded") as caught:
        MogeDepth.from_config(config(tmp_path)).estimate(RGB, None)
    assert "\n" not in str(caught.value)


def test_moge_is_not_fetched_unasked(fake_moge):
    """A hub id needs the word to download."""
    with pytest.raises(ConfigError, match=r"models.download=true"):
        MogeDepth.from_config(config("org/moge")).estimate(RGB, None)


@pytest.fixture
def fake_da3(monkeypatch):
    """A module that speaks as Depth Anything 3 does; the returned record is what it will say."""
    import torch

    says = SimpleNamespace(name="da3nested-giant-large", metric=1, K=True, sky=False, options={})

    class FakeDepthAnything3(torch.nn.Module):
        @classmethod
        def from_pretrained(cls, where, **options):
            says.options = {"where": where, **options}
            made = cls()
            made.model_name = says.name
            return made

        def inference(self, image):
            depth = np.full((1, 15, 20), 3.0, np.float32)
            K = np.array([[[18.0, 0.0, 10.0], [0.0, 18.0, 7.5], [0.0, 0.0, 1.0]]]) if says.K else None
            sky = np.zeros((1, 15, 20), bool) if says.sky else None
            if sky is not None:
                sky[:, :4] = True
            return SimpleNamespace(depth=depth, is_metric=says.metric, sky=sky, intrinsics=K)

    module = ModuleType("fake_depth_anything_3")
    module.DepthAnything3 = FakeDepthAnything3  # type: ignore[attr-defined]
    install(monkeypatch, ["depth_anything_3", "depth_anything_3.api"], module)
    return says


def test_nested_depth_anything_3_is_metric(fake_da3, tmp_path):
    """The map and the intrinsics come back at the picture's size; the sky is not valid."""
    fake_da3.sky = True
    found = DepthAnything3Depth.from_config(config(tmp_path)).estimate(RGB, None)
    assert found.space == SPACE_METRIC and found.valid.shape == (30, 40)
    np.testing.assert_allclose(found.K_px, [[36.0, 0.0, 20.0], [0.0, 36.0, 15.0], [0.0, 0.0, 1.0]])
    assert not found.valid[:7].any() and found.valid[9:].all()
    assert fake_da3.options == {"where": str(tmp_path), "local_files_only": True}


@pytest.mark.parametrize(
    ("name", "K", "camera", "space", "value"),
    [
        ("da3-large", True, False, SPACE_SCALE, 3.0),
        ("da3mono-large", False, False, SPACE_DEPTH, 3.0),
        ("da3metric-large", False, False, SPACE_SCALE, 3.0),
        # 3.0 for a focal length of 300 px; the camera has 40 px, that is 20 px at the size of the answer.
        ("da3metric-large", False, True, SPACE_METRIC, 3.0 * 20.0 / 300.0),
    ],
)
def test_other_presets_say_what_they_know(fake_da3, tmp_path, name, K, camera, space, value):
    """Depth up to a factor with a camera head, with a shift without one; the metric preset needs a focal length."""
    fake_da3.name, fake_da3.metric, fake_da3.K = name, 0, K
    known = PinholeCamera(width_px=40, height_px=30, fx_px=40.0, fy_px=40.0, cx_px=20.0, cy_px=15.0) if camera else None
    found = DepthAnything3Depth.from_config(config(tmp_path)).estimate(RGB, known)
    assert found.space == space
    np.testing.assert_allclose(found.values, value, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "install_line"),
    [
        (MogeDepth, "pip install git+https://github.com/microsoft/MoGe.git"),
        (DepthAnything3Depth, "pip install git+https://github.com/ByteDance-Seed/Depth-Anything-3.git"),
    ],
)
def test_a_missing_package_is_named_with_its_install_line(kind, install_line, tmp_path):
    """Neither package is part of an extra: it is not on the index."""
    with pytest.raises(DependencyError) as caught:
        kind.from_config(config(tmp_path)).estimate(RGB, None)
    assert install_line in str(caught.value) and "\n" not in str(caught.value)
