"""How far later pictures look from the first one: colours and contrasts always, features of a network if it is there.

Both compare what a picture is made of and not where it is, so that a camera may move. A view of another part of the
place does look different, and counts; compare figures of the same path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.arrays import expect_shape

if TYPE_CHECKING:
    from .networks_torch import TappedLayers

BANDS = 4
"""Octaves of detail whose contrast is compared."""
COLOUR_LAB, TEXTURE_OCTAVES = 20.0, 1.0
"""Distances at which the score has lost 63 % of what colours and contrasts each are worth."""
_LEAST_CONTRAST = 0.25
"""Grey levels: below this a picture is plain, and rounding decides."""
_QUANTILES = (np.arange(256) + 0.5) / 256


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a picture is made of."""

    colour_lab: np.ndarray
    """[3, Q] quantiles of CIELAB's L, a and b."""
    contrast_log2: np.ndarray
    """[BANDS] log2 of the RMS contrast of brightness in each octave [grey levels]."""


@dataclass(frozen=True, kw_only=True)
class StyleDistance:
    """How far two looks are apart."""

    colour_lab: float
    """Earth mover's distance of the values of L, a and b, root of the sum of squares over the three [CIELAB units]."""
    texture_octaves: float
    """Mean absolute difference of contrast over the bands [octaves]; 1 is twice or half the contrast."""

    @property
    def score(self) -> float:
        """100 for equal looks, towards 0 for different ones; ours, not comparable with WorldScore's."""
        colour = np.exp(-self.colour_lab / COLOUR_LAB)
        return float(50 * (colour + np.exp(-self.texture_octaves / TEXTURE_OCTAVES)))


def look_of(rgb_u8: np.ndarray) -> Look:
    """The look of a picture [H, W, 3]."""
    import cv2

    expect_shape("rgb_u8", rgb_u8, (None, None, 3))
    unit = rgb_u8.astype(np.float32) / 255
    lab = cv2.cvtColor(unit, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    grey = cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2GRAY).astype(np.float32)
    contrast = []
    for _ in range(BANDS):
        if min(grey.shape) < 8:
            contrast.append(contrast[-1] if contrast else _LEAST_CONTRAST)
            continue
        smooth = cv2.GaussianBlur(grey, (0, 0), 1.0, borderType=cv2.BORDER_REFLECT)
        contrast.append(max(float(np.sqrt(np.mean((grey - smooth) ** 2))), _LEAST_CONTRAST))
        grey = np.ascontiguousarray(smooth[::2, ::2])
    return Look(colour_lab=np.quantile(lab, _QUANTILES, axis=0).T, contrast_log2=np.log2(np.array(contrast)))


def style_distance(a: Look, b: Look) -> StyleDistance:
    """How far two looks are apart; 0 for equal ones."""
    # The earth mover's distance on a line is the area between the two quantile functions.
    moved = np.abs(a.colour_lab - b.colour_lab).mean(1)
    return StyleDistance(
        colour_lab=float(np.sqrt((moved**2).sum())),
        texture_octaves=float(np.abs(a.contrast_log2 - b.contrast_log2).mean()),
    )


def gram_distances(network: TappedLayers, pictures_u8: Sequence[np.ndarray]) -> list[float]:
    """Distance of each later picture [H, W, 3] from the first: the Gram matrices of a network's layers.

    Frobenius norm of the difference over the norm of the first one's matrix, mean over the layers (after Gatys et al.
    2016); 0 for equal pictures.
    """
    from .networks_torch import gram_matrices

    first = gram_matrices(network, pictures_u8[0])
    norms = [max(float(np.linalg.norm(gram)), 1e-12) for gram in first]
    out = []
    for picture in pictures_u8[1:]:
        grams = gram_matrices(network, picture)
        apart = [np.linalg.norm(b - a) / norm for a, b, norm in zip(first, grams, norms, strict=True)]
        out.append(float(np.mean(apart)))
    return out
