"""How alike two sets of pictures are as distributions of features: FID and KID, through torchmetrics."""

from __future__ import annotations

import numpy as np

from ..core.arrays import expect_shape
from ..core.errors import InputError
from ..core.optional import require

LEAST_PICTURES = 2


def frechet_distance(real: np.ndarray, made: np.ndarray) -> float:
    """Fréchet distance of the normal distributions that fit two sets of features (FID, Heusel et al. 2017).

    With fewer pictures than features the covariances are singular and the distance is too large; compare distances
    only at equal numbers of pictures.

    Args:
        real: [N, D] float.
        made: [M, D] float.

    Raises:
        InputError: fewer than two pictures on one side, or features that are not finite.
        DependencyError: torchmetrics is missing.
    """
    real, made = _checked(real, made)
    torch = require("torch", extra="gen")
    module = require("torchmetrics.image.fid", extra="metrics", package="torchmetrics")
    features = torch.nn.Identity()
    features.num_features = real.shape[1]
    metric = module.FrechetInceptionDistance(feature=features).set_dtype(torch.float64)
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(made), real=False)
    # Rounding makes the distance of a set to itself a little negative.
    return max(0.0, float(metric.compute()))


def kernel_distance(real: np.ndarray, made: np.ndarray) -> float:
    """Squared maximum mean discrepancy, unbiased, with the cubic kernel of KID (Bińkowski et al. 2018).

    Every picture is used and nothing is drawn at random. May be a little below 0 where the two sets are alike.

    Args:
        real: [N, D] float.
        made: [M, D] float; the first min(N, M) of each are compared.

    Raises:
        InputError: fewer than two pictures on one side, or features that are not finite.
        DependencyError: torchmetrics is missing.
    """
    real, made = _checked(real, made)
    torch = require("torch", extra="gen")
    module = require("torchmetrics.image.kid", extra="metrics", package="torchmetrics")
    count = min(len(real), len(made))
    return float(module.poly_mmd(torch.from_numpy(real[:count]), torch.from_numpy(made[:count])))


def _checked(real: np.ndarray, made: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, width = expect_shape("real", real, (None, None)).shape
    expect_shape("made", made, (None, width))
    if min(len(real), len(made)) < LEAST_PICTURES:
        raise InputError(f"{len(real)} and {len(made)} pictures are compared; expected at least {LEAST_PICTURES} each")
    if not (np.isfinite(real).all() and np.isfinite(made).all()):
        raise InputError("features of pictures are not finite")
    return np.ascontiguousarray(real, np.float64), np.ascontiguousarray(made, np.float64)
