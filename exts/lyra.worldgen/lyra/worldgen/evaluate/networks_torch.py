"""The networks: AlexNet and VGG-16 up to the layers that are compared, LPIPS over them, features of Inception.

The two stacks of layers are written out because torchvision's binaries exist for some builds of torch only; their
numbering is torchvision's, so that its published weights fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch  # noqa: TID253 -- loaded by `networks.py` when a network is asked for
from torch import nn  # noqa: TID253

from ..core.arrays import expect_shape
from ..core.errors import InputError

LEAST_SIDE_PX = 64
"""Smaller pictures leave nothing of the deepest layers."""
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""LPIPS's normalisation of colours in -1..1 (Zhang et al. 2018, version 0.1)."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of colours in 0..1."""


class TappedLayers(nn.Module):
    """Layers one after the other, some of whose outputs are looked at."""

    def __init__(self, layers: Sequence[nn.Module], taps: Sequence[int]) -> None:
        """
        Args:
            layers: the first takes pictures [N, 3, H, W].
            taps: numbers of the layers whose outputs are wanted, ascending.
        """
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.taps = tuple(taps)

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Outputs [N, C, h, w] of the tapped layers."""
        out, x = [], pictures
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in self.taps:
                out.append(x)
        return out


def alexnet_taps() -> TappedLayers:
    """AlexNet's convolutions, tapped after each ReLU."""
    shapes = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
    layers: list[nn.Module] = []
    for number, (into, out, size, stride, padding) in enumerate(shapes):
        layers += [nn.Conv2d(into, out, size, stride, padding), nn.ReLU()]
        if number < 2:
            layers.append(nn.MaxPool2d(3, 2))
    return TappedLayers(layers, (1, 4, 7, 9, 11))


def vgg16_taps() -> TappedLayers:
    """VGG-16's convolutions up to relu4_3, tapped at the end of each of its four blocks."""
    layers: list[nn.Module] = []
    into, taps = 3, []
    for block, (width, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3))):
        if block:
            layers.append(nn.MaxPool2d(2, 2))
        for _ in range(count):
            layers += [nn.Conv2d(into, width, 3, 1, 1), nn.ReLU()]
            into = width
        taps.append(len(layers) - 1)
    return TappedLayers(layers, taps)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name of a file that torch wrote; nothing in it is executed.

    Raises:
        InputError: the file is damaged or holds something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises whatever broken data makes it raise
        raise InputError(f"the file holds no weights that can be read ({str(error)[:80]}): {path}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"the file holds no tensors by name: {path}")
    return state


def load_layers(network: TappedLayers, path: Path) -> TappedLayers:
    """Fill the layers from a whole network's file in torchvision's names; raises `InputError` if they do not fit."""
    state = read_weights(path)
    wanted = network.layers.state_dict()
    missing = [name for name in wanted if f"features.{name}" not in state]
    if missing:
        raise InputError(f"the file lacks the weights features.{missing[0]}: {path}")
    given = {name: state[f"features.{name}"] for name in wanted}
    for name, value in given.items():
        if value.shape != wanted[name].shape or not bool(torch.isfinite(value).all()):
            raise InputError(
                f"features.{name} is {tuple(value.shape)}; expected finite {tuple(wanted[name].shape)}: {path}"
            )
    network.layers.load_state_dict(given)
    return network.eval().requires_grad_(False)


def linear_weights(path: Path) -> list[torch.Tensor]:
    """[C] weights of the channels of each layer; raises `InputError` for a file without them."""
    state = read_weights(path)
    found = [state[name].reshape(-1).float() for name in sorted(state) if name.startswith("lin")]
    if not found:
        raise InputError(f"the file holds no weights of LPIPS: {path}")
    return found


class Perceptual:
    """LPIPS, version 0.1: squared differences of unit-length features, weighted by channel, averaged over the picture.

    Args:
        network: features of several layers.
        linear: [C] weights for each of them, not negative.
    """

    def __init__(self, network: TappedLayers, linear: Sequence[torch.Tensor]) -> None:
        if len(linear) != len(network.taps):
            raise InputError(f"LPIPS has weights of {len(linear)} layers; expected {len(network.taps)}")
        self.network, self.linear = network, list(linear)

    @torch.inference_mode()
    def distance(self, a_u8: np.ndarray, b_u8: np.ndarray) -> float:
        """Distance of two pictures [H, W, 3]; 0 for equal ones.

        Raises:
            InputError: other shapes, or pictures too small for the network.
        """
        h, w, _ = expect_shape("a_u8", a_u8, (None, None, 3)).shape
        expect_shape("b_u8", b_u8, (h, w, 3))
        if min(h, w) < LEAST_SIDE_PX:
            raise InputError(f"the pictures have {w}x{h} px; LPIPS needs at least {LEAST_SIDE_PX} px a side")
        both = normalised(np.stack([a_u8, b_u8]), 2 / 255, -1.0, _SHIFT, _SCALE)
        total = 0.0
        for features, weights in zip(self.network(both), self.linear, strict=True):
            unit = features / torch.sqrt(1e-8 + features.square().sum(1, keepdim=True))
            apart = (unit[0] - unit[1]).square()  # [C, h, w]
            total += float((weights[:, None, None] * apart).sum(0).mean())
        return total


@torch.inference_mode()
def gram_matrices(network: TappedLayers, rgb_u8: np.ndarray) -> list[np.ndarray]:
    """[C, C] float64 second moments of the features of each layer of a picture [H, W, 3], mean over its places."""
    expect_shape("rgb_u8", rgb_u8, (None, None, 3))
    out = []
    for features in network(normalised(rgb_u8[None], 1 / 255, 0.0, _MEAN, _DEVIATION)):
        flat = features[0].flatten(1).double()  # [C, h*w]
        out.append((flat @ flat.T / flat.shape[1]).numpy())
    return out


def normalised(
    pictures_u8: np.ndarray, factor: float, offset: float, shift: Sequence[float], scale: Sequence[float]
) -> torch.Tensor:
    """[N, 3, H, W] float32 of pictures [N, H, W, 3]: (factor x + offset - shift) / scale."""
    x = torch.from_numpy(np.ascontiguousarray(pictures_u8)).permute(0, 3, 1, 2).float()
    middle, width = (torch.tensor(v, dtype=torch.float32)[None, :, None, None] for v in (shift, scale))
    return (x * factor + offset - middle) / width


class InceptionFeatures:
    """2048 features of a picture, as FID wants them."""

    def __init__(self, extractor: nn.Module) -> None:
        """
        Args:
            extractor: takes uint8 [N, 3, H, W]; returns features [N, D], or a tuple that begins with them.
        """
        self.extractor = extractor.eval()

    @classmethod
    def from_file(cls, module: ModuleType, path: Path) -> InceptionFeatures:
        """Inception with weights in torch-fidelity's layout; `module` is its `feature_extractor_inceptionv3`."""
        # torch-fidelity unpickles whatever the file holds; a file that this can read holds tensors only.
        read_weights(path)
        build: Any = module.FeatureExtractorInceptionV3
        try:
            return cls(build("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)))
        except (RuntimeError, ValueError) as error:
            raise InputError(f"the weights do not fit Inception ({str(error)[:120]}): {path}") from error

    @torch.inference_mode()
    def __call__(self, pictures_u8: Sequence[np.ndarray]) -> np.ndarray:
        """[N, D] float64 features of pictures [H, W, 3], each of any size."""
        out = []
        for picture in pictures_u8:
            x = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
            found = self.extractor(x)
            found = found[0] if isinstance(found, tuple | list) else found
            out.append(found.reshape(1, -1).double().numpy())
        return np.concatenate(out)
