"""Weights of the networks that judge pictures: which files, where they are looked for, and what is said without them.

Nothing is downloaded. A metric whose file is missing has no number, and the report says which file it wants.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..core.errors import DependencyError, InputError
from ..core.optional import require

if TYPE_CHECKING:
    from .networks_torch import InceptionFeatures, Perceptual, TappedLayers

MAX_WEIGHTS_BYTES = 2 << 30
N = TypeVar("N")


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A published file of weights."""

    name: str
    network: str
    origin: str
    """Where its publisher offers it."""


ALEXNET = WeightFile(
    name="alexnet-owt-7be5be79.pth",
    network="AlexNet of torchvision",
    origin="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
)
VGG16 = WeightFile(
    name="vgg16-397923af.pth",
    network="VGG-16 of torchvision",
    origin="https://download.pytorch.org/models/vgg16-397923af.pth",
)
INCEPTION = WeightFile(
    name="weights-inception-2015-12-05-6726825d.pth",
    network="Inception v3 of torch-fidelity",
    origin="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
)
WEIGHTS = (ALEXNET, VGG16, INCEPTION)


@dataclass(frozen=True, kw_only=True)
class Unavailable:
    """Why there is no network."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What can be asked on this machine."""

    perceptual: Perceptual | Unavailable
    """LPIPS."""
    inception: InceptionFeatures | Unavailable
    """Features of FID and KID."""
    style: TappedLayers | Unavailable
    """Features of the style distance."""


def weight_folders(folder: Path | None = None) -> tuple[Path, ...]:
    """Where weights are looked for: in `folder` alone, else where torch's hub keeps its files."""
    if folder is not None:
        return (folder,)
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return (Path(home).expanduser() / "hub" / "checkpoints",)


def find_weights(file: WeightFile, folder: Path | None = None) -> Path | Unavailable:
    """The file, or which one is missing and where it was looked for.

    Raises:
        InputError: `folder` is no folder, or the file is too large.
    """
    if folder is not None and not folder.is_dir():
        raise InputError(f"there is no such folder of weights: {folder}")
    looked = weight_folders(folder)
    for place in looked:
        path = place / file.name
        if path.is_file():
            if path.stat().st_size > MAX_WEIGHTS_BYTES:
                raise InputError(f"the weights have more than {MAX_WEIGHTS_BYTES >> 30} GiB: {path}")
            return path
    return Unavailable(
        reason=f"{file.name} ({file.network}) is not in {', '.join(map(str, looked))}; get it from {file.origin} and "
        "name its folder with --networks"
    )


def load_networks(folder: Path | None = None) -> Networks:
    """Every network whose weights and packages are on this machine.

    Args:
        folder: of weight files; None looks where torch's hub keeps them.

    Raises:
        InputError: no such folder, or a file that does not hold the weights that its name promises.
    """
    return Networks(
        perceptual=_load(ALEXNET, folder, _perceptual),
        inception=_load(INCEPTION, folder, _inception),
        style=_load(VGG16, folder, _style),
    )


def _load(file: WeightFile, folder: Path | None, build: Callable[[Path], N]) -> N | Unavailable:
    path = find_weights(file, folder)
    if isinstance(path, Unavailable):
        return path
    try:
        return build(path)
    except DependencyError as error:
        return Unavailable(reason=str(error))


def _perceptual(path: Path) -> Perceptual:
    require("torch", extra="gen")
    torchmetrics = require("torchmetrics", extra="metrics")
    from .networks_torch import Perceptual, alexnet_taps, linear_weights, load_layers

    # The learned weights of the layers come with torchmetrics.
    linear = Path(str(torchmetrics.__file__)).parent / "functional" / "image" / "lpips_models" / "alex.pth"
    return Perceptual(load_layers(alexnet_taps(), path), linear_weights(linear))


def _inception(path: Path) -> InceptionFeatures:
    require("torch", extra="gen")
    require("torchmetrics", extra="metrics")
    module = require("torch_fidelity.feature_extractor_inceptionv3", extra="fid", package="torch-fidelity")
    from .networks_torch import InceptionFeatures

    return InceptionFeatures.from_file(module, path)


def _style(path: Path) -> TappedLayers:
    require("torch", extra="gen")
    from .networks_torch import load_layers, vgg16_taps

    return load_layers(vgg16_taps(), path)
